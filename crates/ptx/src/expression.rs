//! Constant expressions: 64-bit integers with the signedness rules of PTX, and floats.

use crate::ast::FloatLiteral;
use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::lexer::Kind;

/// Nesting of parentheses, unary operators and `?:` accepted in one expression.
const MAX_DEPTH: u32 = 64;

/// Threads in a warp, the value of `WARP_SZ`.
const WARP_SIZE: u64 = 32;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// Bits, and whether the type is `.u64` rather than `.s64`.
    Integer(u64, bool),
    Float(FloatLiteral),
}

impl Value {
    /// The mathematical value of an integer.
    pub fn integer(self) -> Option<i128> {
        match self {
            Value::Integer(bits, true) => Some(i128::from(bits)),
            Value::Integer(bits, false) => Some(i128::from(bits as i64)),
            Value::Float(_) => None,
        }
    }

    fn float(self) -> Option<f64> {
        match self {
            Value::Integer(..) => None,
            Value::Float(FloatLiteral::Single(bits)) => Some(f64::from(f32::from_bits(bits))),
            Value::Float(FloatLiteral::Double(bits)) => Some(f64::from_bits(bits)),
            Value::Float(FloatLiteral::Decimal(value)) => Some(value),
        }
    }
}

/// Binding strength of binary operators; higher binds tighter.
const OPERATORS: [(&str, u32); 18] = [
    ("*", 10),
    ("/", 10),
    ("%", 10),
    ("+", 9),
    ("-", 9),
    ("<<", 8),
    (">>", 8),
    ("<", 7),
    (">", 7),
    ("<=", 7),
    (">=", 7),
    ("==", 6),
    ("!=", 6),
    ("&", 5),
    ("^", 4),
    ("|", 3),
    ("&&", 2),
    ("||", 1),
];

/// Parses a whole expression.
pub(crate) fn constant(cursor: &mut Cursor<'_, '_>) -> Result<Value, ParseError> {
    ternary(cursor, 0)
}

/// Parses an expression that must be an integer.
pub(crate) fn integer(cursor: &mut Cursor<'_, '_>, what: &str) -> Result<i128, ParseError> {
    let start = cursor.token();
    constant(cursor)?.integer().ok_or_else(|| cursor.error_at(start, format!("{what} must be an integer")))
}

/// Takes an integer literal.
pub(crate) fn integer_literal(cursor: &mut Cursor<'_, '_>) -> Result<u64, ParseError> {
    let Kind::Integer(value, _) = cursor.kind() else {
        return Err(cursor.expected("an integer"));
    };
    cursor.advance();
    Ok(value)
}

/// Parses what follows a name in an address, such as `+ 8 - 4`, as a sum that starts at 0. Like ptxas it wants the
/// first sign to be `+`.
pub(crate) fn offset(cursor: &mut Cursor<'_, '_>) -> Result<i64, ParseError> {
    if cursor.is_mark("-") {
        return Err(cursor.error("after a name comes `+`; write a negative offset as `+-8`"));
    }
    let start = cursor.token();
    let sum = binary_from(cursor, Value::Integer(0, false), 9, 0)?;
    match sum {
        Value::Integer(bits, _) => Ok(bits as i64),
        Value::Float(_) => Err(cursor.error_at(start, "an address offset must be an integer")),
    }
}

fn ternary(cursor: &mut Cursor<'_, '_>, depth: u32) -> Result<Value, ParseError> {
    if depth > MAX_DEPTH {
        return Err(cursor.error(format!("constant expression is nested deeper than {MAX_DEPTH}")));
    }
    let start = cursor.token();
    let condition = binary(cursor, 1, depth)?;
    if !cursor.eat_mark("?") {
        return Ok(condition);
    }
    let Some(condition) = condition.integer() else {
        return Err(cursor.error_at(start, "the condition of `?:` must be an integer"));
    };
    let yes = ternary(cursor, depth + 1)?;
    cursor.mark(":")?;
    let no = ternary(cursor, depth + 1)?;
    Ok(if condition != 0 { yes } else { no })
}

fn binary(cursor: &mut Cursor<'_, '_>, least: u32, depth: u32) -> Result<Value, ParseError> {
    let left = unary(cursor, depth)?;
    binary_from(cursor, left, least, depth)
}

fn binary_from(cursor: &mut Cursor<'_, '_>, first: Value, least: u32, depth: u32) -> Result<Value, ParseError> {
    let mut left = first;
    loop {
        let operator = cursor.token();
        let Kind::Mark(mark) = operator.kind else {
            return Ok(left);
        };
        let Some((_, strength)) = OPERATORS.iter().find(|(text, strength)| *text == mark && *strength >= least) else {
            return Ok(left);
        };
        cursor.advance();
        let right = binary(cursor, strength + 1, depth)?;
        left = apply(mark, left, right).map_err(|why| cursor.error_at(operator, why))?;
    }
}

fn unary(cursor: &mut Cursor<'_, '_>, depth: u32) -> Result<Value, ParseError> {
    if depth > MAX_DEPTH {
        return Err(cursor.error(format!("constant expression is nested deeper than {MAX_DEPTH}")));
    }
    let start = cursor.token();
    match start.kind {
        Kind::Integer(value, is_unsigned) => {
            cursor.advance();
            Ok(Value::Integer(value, is_unsigned))
        }
        Kind::Float(literal) => {
            cursor.advance();
            Ok(Value::Float(literal))
        }
        Kind::Word("WARP_SZ") => {
            cursor.advance();
            Ok(Value::Integer(WARP_SIZE, false))
        }
        Kind::Mark("(") => {
            cursor.advance();
            if let Some(is_unsigned) = cast(cursor)? {
                let operand = cursor.token();
                return match unary(cursor, depth + 1)? {
                    Value::Integer(bits, _) => Ok(Value::Integer(bits, is_unsigned)),
                    Value::Float(_) => Err(cursor.error_at(operand, "a float cannot be cast in a constant expression")),
                };
            }
            let value = ternary(cursor, depth + 1)?;
            cursor.mark(")")?;
            Ok(value)
        }
        Kind::Mark(mark @ ("+" | "-" | "~" | "!")) => {
            cursor.advance();
            let value = unary(cursor, depth + 1)?;
            apply_unary(mark, value).map_err(|why| cursor.error_at(start, why))
        }
        _ => Err(cursor.expected("a constant")),
    }
}

/// After `(`: eats `.s64)` or `.u64)` and says whether it is the unsigned one.
fn cast(cursor: &mut Cursor<'_, '_>) -> Result<Option<bool>, ParseError> {
    let is_unsigned = match cursor.kind() {
        Kind::Dot("u64") => true,
        Kind::Dot("s64") => false,
        Kind::Dot(other) => {
            return Err(cursor.error(format!("cast to `.{other}`; a constant is cast to `.s64` or `.u64`")));
        }
        _ => return Ok(None),
    };
    cursor.advance();
    cursor.mark(")")?;
    Ok(Some(is_unsigned))
}

fn apply_unary(mark: &str, value: Value) -> Result<Value, String> {
    Ok(match (mark, value) {
        ("+", value) => value,
        ("-", Value::Integer(bits, is_unsigned)) => Value::Integer(bits.wrapping_neg(), is_unsigned),
        ("-", Value::Float(FloatLiteral::Decimal(value))) => Value::Float(FloatLiteral::Decimal(-value)),
        ("-", Value::Float(_)) => return Err("a float given by its bits takes no sign; set its sign bit".to_string()),
        ("~", Value::Integer(bits, is_unsigned)) => Value::Integer(!bits, is_unsigned),
        ("!", Value::Integer(bits, _)) => Value::Integer(u64::from(bits == 0), false),
        (mark, _) => return Err(format!("`{mark}` does not take a float")),
    })
}

fn apply(mark: &str, left: Value, right: Value) -> Result<Value, String> {
    let (Value::Integer(a, a_unsigned), Value::Integer(b, b_unsigned)) = (left, right) else {
        return apply_float(mark, left, right);
    };
    let is_unsigned = a_unsigned || b_unsigned;
    let truth = |value: bool| Ok(Value::Integer(u64::from(value), false));
    let order = if is_unsigned { a.cmp(&b) } else { (a as i64).cmp(&(b as i64)) };
    let bits = match mark {
        "<" => return truth(order.is_lt()),
        ">" => return truth(order.is_gt()),
        "<=" => return truth(order.is_le()),
        ">=" => return truth(order.is_ge()),
        "==" => return truth(a == b),
        "!=" => return truth(a != b),
        "&&" => return truth(a != 0 && b != 0),
        "||" => return truth(a != 0 || b != 0),
        "/" | "%" if b == 0 => return Err("division by zero in a constant expression".to_string()),
        "<<" | ">>" => return Ok(Value::Integer(shift(mark, a, a_unsigned, b), a_unsigned)),
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "*" => a.wrapping_mul(b),
        "/" if is_unsigned => a / b,
        "%" if is_unsigned => a % b,
        "/" => (a as i64).wrapping_div(b as i64) as u64,
        "%" => (a as i64).wrapping_rem(b as i64) as u64,
        "&" => a & b,
        "|" => a | b,
        "^" => a ^ b,
        other => return Err(format!("unknown operator `{other}`")),
    };
    Ok(Value::Integer(bits, is_unsigned))
}

/// Shift counts of 64 and more shift everything out.
fn shift(mark: &str, value: u64, is_unsigned: bool, count: u64) -> u64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    match (mark, is_unsigned) {
        ("<<", _) => value.checked_shl(count).unwrap_or(0),
        (_, true) => value.checked_shr(count).unwrap_or(0),
        (_, false) => ((value as i64) >> count.min(63)) as u64,
    }
}

fn apply_float(mark: &str, left: Value, right: Value) -> Result<Value, String> {
    let (Some(a), Some(b)) = (left.float(), right.float()) else {
        return Err(format!("`{mark}` mixes an integer and a float"));
    };
    let value = match mark {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        other => return Err(format!("`{other}` does not take floats")),
    };
    if !value.is_finite() {
        return Err("a float constant expression is not finite".to_string());
    }
    Ok(Value::Float(FloatLiteral::Decimal(value)))
}
