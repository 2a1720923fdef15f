//! The body of a function, as raw statements.

use crate::ast::Prototype;
use crate::cursor::Cursor;
use crate::declaration::{self, Linkage};
use crate::error::ParseError;
use crate::expression::{self, Value};
use crate::lexer::{Kind, Token};
use crate::raw::{Name, RawInstruction, RawOperand, Statement};

/// Nesting of `{ }` scopes accepted.
const MAX_SCOPES: u32 = 256;

/// Nesting of operands (`[a, {b, c}]`) accepted.
const MAX_OPERAND_DEPTH: u32 = 4;

/// Parses from the opening brace through its closing one.
pub(crate) fn body<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<Statement<'a>>, ParseError> {
    let opening = cursor.token();
    let mut statements = Vec::new();
    let mut depth = 0u32;
    loop {
        if cursor.eat_mark("{") {
            depth += 1;
            if depth > MAX_SCOPES {
                return Err(cursor.error(format!("scopes are nested deeper than {MAX_SCOPES}")));
            }
            statements.push(Statement::Open);
        } else if cursor.eat_mark("}") {
            depth -= 1;
            statements.push(Statement::Close);
            if depth == 0 {
                return Ok(statements);
            }
        } else if cursor.kind() == Kind::End {
            return Err(cursor.error_at(opening, "this `{` is never closed"));
        } else {
            statement(cursor, &mut statements)?;
        }
    }
}

fn statement<'a>(cursor: &mut Cursor<'_, 'a>, statements: &mut Vec<Statement<'a>>) -> Result<(), ParseError> {
    match cursor.kind() {
        Kind::Mark(";") => return Err(cursor.error("an empty statement: ptxas takes no `;` here")),
        Kind::Mark("@") => statements.push(Statement::Instruction(instruction(cursor)?)),
        Kind::Word(text) if cursor.second() == Kind::Mark(":") => {
            let token = cursor.token();
            cursor.advance();
            cursor.advance();
            statements.push(labelled(cursor, Name { text, token })?);
        }
        Kind::Word(_) => statements.push(Statement::Instruction(instruction(cursor)?)),
        Kind::Dot(word) => directive(cursor, word, statements)?,
        _ => return Err(cursor.expected("an instruction, a label or a directive")),
    }
    Ok(())
}

fn directive<'a>(
    cursor: &mut Cursor<'_, 'a>,
    word: &str,
    statements: &mut Vec<Statement<'a>>,
) -> Result<(), ParseError> {
    let start = cursor.token();
    cursor.advance();
    if let Some(space) = declaration::space(word) {
        let found = declaration::variables(cursor, space, Linkage::default())?;
        statements.extend(found.into_iter().map(|(name, variable)| Statement::Variable(name, variable)));
        return Ok(());
    }
    match word {
        "reg" => statements.extend(declaration::registers(cursor)?.into_iter().map(Statement::Register)),
        "pragma" => statements.extend(pragma(cursor)?.into_iter().map(Statement::Pragma)),
        "loc" => skip_loc(cursor)?,
        _ => return Err(cursor.error_at(start, format!("directive `.{word}` does not belong in a function"))),
    }
    Ok(())
}

/// After `.pragma`, through the semicolon.
pub(crate) fn pragma(cursor: &mut Cursor<'_, '_>) -> Result<Vec<String>, ParseError> {
    let mut found = vec![cursor.text("a pragma string")?.to_string()];
    while cursor.eat_mark(",") {
        found.push(cursor.text("a pragma string")?.to_string());
    }
    cursor.mark(";")?;
    Ok(found)
}

/// `.loc 1 23 0 [, function_name NAME [+ N], inlined_at 1 2 3]`: debug information, without a semicolon.
pub(crate) fn skip_loc(cursor: &mut Cursor<'_, '_>) -> Result<(), ParseError> {
    for what in ["file index", "line", "column"] {
        cursor.small(what)?;
    }
    if !cursor.eat_mark(",") {
        return Ok(());
    }
    cursor.word("`function_name`")?;
    cursor.word("a label")?;
    if cursor.eat_mark("+") {
        cursor.small("offset")?;
    }
    cursor.mark(",")?;
    cursor.word("`inlined_at`")?;
    for what in ["file index", "line", "column"] {
        cursor.small(what)?;
    }
    Ok(())
}

/// What follows `name:`: a list directive, or anything else, to which the label belongs.
fn labelled<'a>(cursor: &mut Cursor<'_, 'a>, name: Name<'a>) -> Result<Statement<'a>, ParseError> {
    Ok(match cursor.kind() {
        Kind::Dot("branchtargets") => Statement::BranchTargets(name, names(cursor)?),
        Kind::Dot("calltargets") => Statement::CallTargets(name, names(cursor)?),
        Kind::Dot("callprototype") => {
            cursor.advance();
            Statement::Prototype(name, prototype(cursor, name)?)
        }
        _ => Statement::Label(name),
    })
}

/// After the directive word, which is still current: `a, b, c;`.
fn names<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<Name<'a>>, ParseError> {
    cursor.advance();
    let mut found = Vec::new();
    loop {
        let token = cursor.token();
        let text = cursor.word("a name")?;
        found.push(Name { text, token });
        if !cursor.eat_mark(",") {
            break;
        }
    }
    cursor.mark(";")?;
    Ok(found)
}

fn prototype(cursor: &mut Cursor<'_, '_>, name: Name<'_>) -> Result<Prototype, ParseError> {
    let returns = if cursor.is_mark("(") { parameters(cursor)? } else { Vec::new() };
    cursor.word("`_`")?;
    let params = if cursor.is_mark("(") { parameters(cursor)? } else { Vec::new() };
    let is_noreturn = cursor.eat_dot("noreturn");
    cursor.mark(";")?;
    let variables = |list: Vec<(Name<'_>, _)>| list.into_iter().map(|(_, variable)| variable).collect();
    Ok(Prototype { name: name.text.to_string(), returns: variables(returns), params: variables(params), is_noreturn })
}

/// `(.param .b32 a, .reg .u64 b)`.
pub(crate) fn parameters<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<(Name<'a>, crate::ast::Variable)>, ParseError> {
    let mut found = Vec::new();
    cursor.mark("(")?;
    if cursor.eat_mark(")") {
        return Ok(found);
    }
    loop {
        found.extend(declaration::parameter(cursor)?);
        if !cursor.eat_mark(",") {
            break;
        }
    }
    cursor.mark(")")?;
    Ok(found)
}

fn instruction<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<RawInstruction<'a>, ParseError> {
    let guard = if cursor.eat_mark("@") {
        let negated = cursor.eat_mark("!");
        let token = cursor.token();
        let text = cursor.word("a predicate")?;
        Some((Name { text, token }, negated))
    } else {
        None
    };
    let token = cursor.token();
    let opcode = cursor.word("an opcode")?;
    let mut modifiers = Vec::new();
    while let Kind::Dot(word) = cursor.kind() {
        modifiers.push(word);
        cursor.advance();
    }
    let mut operands = Vec::new();
    if !cursor.is_mark(";") {
        loop {
            operands.push(top_operand(cursor, opcode == "call")?);
            if !cursor.eat_mark(",") {
                break;
            }
        }
    }
    if !cursor.eat_mark(";") {
        return Err(cursor.expected(&format!("`,` or `;` in `{opcode}`")));
    }
    Ok(RawInstruction { token, opcode, modifiers, guard, operands })
}

fn top_operand<'a>(cursor: &mut Cursor<'_, 'a>, is_call: bool) -> Result<RawOperand<'a>, ParseError> {
    if !is_call || !cursor.is_mark("(") {
        return operand(cursor, 0);
    }
    cursor.advance();
    let mut list = Vec::new();
    if cursor.eat_mark(")") {
        return Ok(RawOperand::List(list));
    }
    loop {
        list.push(operand(cursor, 1)?);
        if !cursor.eat_mark(",") {
            break;
        }
    }
    cursor.mark(")")?;
    Ok(RawOperand::List(list))
}

fn operand<'a>(cursor: &mut Cursor<'_, 'a>, depth: u32) -> Result<RawOperand<'a>, ParseError> {
    if depth > MAX_OPERAND_DEPTH {
        return Err(cursor.error(format!("operands are nested deeper than {MAX_OPERAND_DEPTH}")));
    }
    match cursor.kind() {
        Kind::Mark("{") => {
            cursor.advance();
            Ok(RawOperand::Vector(elements(cursor, "}", depth)?))
        }
        Kind::Mark("[") => address(cursor, depth),
        Kind::Mark("!") if matches!(cursor.second(), Kind::Word(word) if word != "WARP_SZ") => {
            cursor.advance();
            let token = cursor.token();
            let text = cursor.word("a predicate")?;
            Ok(RawOperand::Not(Name { text, token }))
        }
        Kind::Mark("-") if matches!(cursor.second(), Kind::Word(word) if word != "WARP_SZ") => {
            cursor.advance();
            let token = cursor.token();
            let text = cursor.word("a register")?;
            let mut selector = "";
            if let Kind::Dot(word) = cursor.kind() {
                selector = word;
                cursor.advance();
            }
            Ok(RawOperand::Negated(Name { text, token }, selector))
        }
        Kind::Word(text) if text != "WARP_SZ" => named(cursor, text, depth),
        Kind::Mark("}" | ";" | "," | ")" | "]" | ":" | "@") | Kind::End | Kind::Dot(_) | Kind::Text(_) => {
            Err(cursor.expected("an operand"))
        }
        _ => Ok(match expression::constant(cursor)? {
            Value::Float(literal) => RawOperand::Float(literal),
            value => RawOperand::Integer(value.integer().unwrap_or_default()),
        }),
    }
}

/// Operands up to the closing mark, which is eaten.
fn elements<'a>(cursor: &mut Cursor<'_, 'a>, closing: &str, depth: u32) -> Result<Vec<RawOperand<'a>>, ParseError> {
    let mut found = Vec::new();
    loop {
        found.push(operand(cursor, depth + 1)?);
        if !cursor.eat_mark(",") {
            break;
        }
    }
    cursor.mark(closing)?;
    Ok(found)
}

/// An operand that starts with a name.
fn named<'a>(cursor: &mut Cursor<'_, 'a>, text: &'a str, depth: u32) -> Result<RawOperand<'a>, ParseError> {
    let name = Name { text, token: cursor.token() };
    cursor.advance();
    let first = match cursor.kind() {
        _ if text == "_" => RawOperand::Sink,
        Kind::Dot(component) => {
            cursor.advance();
            RawOperand::Component(name, component)
        }
        Kind::Mark("+" | "-") => RawOperand::Offset(name, expression::offset(cursor)?),
        Kind::Mark("[") => {
            cursor.advance();
            let start = cursor.token();
            let index = expression::integer(cursor, "an array index")?;
            cursor.mark("]")?;
            RawOperand::Indexed(name, fits(cursor, start, index)?)
        }
        _ => RawOperand::Name(name),
    };
    if !cursor.is_mark("|") {
        return Ok(first);
    }
    cursor.advance();
    let second = operand(cursor, depth + 1)?;
    Ok(RawOperand::Pair(Box::new(first), Box::new(second)))
}

fn address<'a>(cursor: &mut Cursor<'_, 'a>, depth: u32) -> Result<RawOperand<'a>, ParseError> {
    cursor.advance();
    let start = cursor.token();
    let first = operand(cursor, depth + 1)?;
    if cursor.eat_mark(",") {
        let mut tuple = vec![first];
        tuple.extend(elements(cursor, "]", depth)?);
        return Ok(RawOperand::Tuple(tuple));
    }
    cursor.mark("]")?;
    match first {
        RawOperand::Name(name) => Ok(RawOperand::Address(name, 0)),
        RawOperand::Offset(name, offset) => Ok(RawOperand::Address(name, offset)),
        // An absolute address is 64 bits, whatever its sign.
        RawOperand::Integer(value) => Ok(RawOperand::Absolute(value as u64 as i64)),
        _ => Err(cursor.error_at(start, "an address is a register, a variable or a constant, and an offset")),
    }
}

fn fits(cursor: &Cursor<'_, '_>, token: Token<'_>, value: i128) -> Result<i64, ParseError> {
    i64::try_from(value).map_err(|_| cursor.error_at(token, format!("{value} does not fit in 64 bits")))
}
