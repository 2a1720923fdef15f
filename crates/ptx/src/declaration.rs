//! Variables and registers: `.global .align 16 .b8 table[4][8] = {..}`, `.param .u64 .ptr .global p`, `.reg .b32 r<4>`.

use crate::ast::{FloatLiteral, InitialAddress, Pointer, Space, Type, Variable};
use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::expression::{self, Value};
use crate::lexer::Kind;
use crate::raw::{Name, RawRegister};

/// Largest initializer, in bytes.
const MAX_INIT_BYTES: u64 = 1 << 24;

/// Most array dimensions.
const MAX_DIMENSIONS: usize = 8;

/// Linkage directives before a declaration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Linkage {
    pub is_extern: bool,
    pub is_visible: bool,
    pub is_weak: bool,
    pub is_common: bool,
}

/// What stands between the state space and the name.
struct Head {
    ty: Type,
    width: u32,
    align: Option<u32>,
    pointer: Option<Pointer>,
    opaque: Option<&'static str>,
}

/// Types of which a program knows nothing but the name.
const OPAQUE: [&str; 3] = ["texref", "surfref", "samplerref"];

/// The state space that a directive opens a declaration with.
pub(crate) fn space(directive: &str) -> Option<Space> {
    Some(match directive {
        "global" => Space::Global,
        "shared" => Space::Shared,
        "const" => Space::Const,
        "local" => Space::Local,
        "param" => Space::Param,
        _ => return None,
    })
}

/// A whole declaration after its state space, through the semicolon.
pub(crate) fn variables<'a>(
    cursor: &mut Cursor<'_, 'a>,
    space: Space,
    linkage: Linkage,
) -> Result<Vec<(Name<'a>, Variable)>, ParseError> {
    let head = head(cursor)?;
    let mut found = Vec::new();
    loop {
        found.push(variable(cursor, space, linkage, &head)?);
        if !cursor.eat_mark(",") {
            break;
        }
    }
    cursor.mark(";")?;
    Ok(found)
}

/// One parameter of a function, an entry or a prototype: `.param ..` or `.reg ..`. A vector register is split: its
/// components follow each other, `a.x`, `a.y`, under the one name of the source.
pub(crate) fn parameter<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<(Name<'a>, Variable)>, ParseError> {
    let is_register = match cursor.kind() {
        Kind::Dot("param") => false,
        Kind::Dot("reg") => true,
        _ => return Err(cursor.expected("`.param` or `.reg`")),
    };
    cursor.advance();
    let mut head = head_types(cursor, is_register)?;
    let width = if is_register { std::mem::replace(&mut head.width, 1) } else { 1 };
    let (name, mut variable) = variable(cursor, Space::Param, Linkage::default(), &head)?;
    if is_register && variable.is_array {
        return Err(cursor.error_at(name.token, "a `.reg` parameter cannot be an array"));
    }
    if is_register && (head.align.is_some() || head.pointer.is_some()) {
        return Err(cursor.error_at(name.token, "a register takes neither `.align` nor `.ptr`"));
    }
    variable.is_register = is_register;
    if width == 1 {
        return Ok(vec![(name, variable)]);
    }
    let component = |suffix: &&str| (name, Variable { name: format!("{}.{suffix}", name.text), ..variable.clone() });
    Ok(["x", "y", "z", "w"].iter().take(width as usize).map(component).collect())
}

/// After `.reg`, through the semicolon.
pub(crate) fn registers<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<RawRegister<'a>>, ParseError> {
    let start = cursor.token();
    let head = head_types(cursor, true)?;
    if head.align.is_some() || head.pointer.is_some() {
        return Err(cursor.error_at(start, "a register takes neither `.align` nor `.ptr`"));
    }
    let mut found = Vec::new();
    loop {
        let name = name(cursor)?;
        let count = if cursor.eat_mark("<") {
            let count = cursor.small("number of registers")?;
            cursor.mark(">")?;
            Some(count)
        } else {
            None
        };
        found.push(RawRegister { name, ty: head.ty, width: head.width, count });
        if !cursor.eat_mark(",") {
            break;
        }
    }
    cursor.mark(";")?;
    Ok(found)
}

fn name<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Name<'a>, ParseError> {
    name_or_sink(cursor, false)
}

/// A name; where `takes_sink`, also `_`, as the parameters of a prototype are called.
fn name_or_sink<'a>(cursor: &mut Cursor<'_, 'a>, takes_sink: bool) -> Result<Name<'a>, ParseError> {
    let token = cursor.token();
    let text = cursor.word("a name")?;
    if (text == "_" && !takes_sink) || text == "WARP_SZ" {
        return Err(cursor.error_at(token, format!("`{text}` cannot be declared")));
    }
    Ok(Name { text, token })
}

fn head(cursor: &mut Cursor<'_, '_>) -> Result<Head, ParseError> {
    head_types(cursor, false)
}

fn head_types(cursor: &mut Cursor<'_, '_>, is_register: bool) -> Result<Head, ParseError> {
    let mut ty = None;
    let mut width = 1;
    let mut align = None;
    let mut pointer = None;
    let mut opaque = None;
    while let Kind::Dot(word) = cursor.kind() {
        match word {
            "align" => {
                cursor.advance();
                align = Some(alignment(cursor)?);
                continue;
            }
            "ptr" => {
                cursor.advance();
                pointer = Some(pointer_attribute(cursor)?);
                continue;
            }
            "v2" => width = 2,
            "v4" => width = 4,
            "attribute" => {
                cursor.advance();
                attribute(cursor)?;
                continue;
            }
            word => match OPAQUE.iter().find(|name| **name == word) {
                Some(name) if !is_register => (ty, opaque) = (Some(Type::B64), Some(*name)),
                _ => ty = Some(declared_type(cursor, word, is_register)?),
            },
        }
        cursor.advance();
    }
    match ty {
        Some(ty) => Ok(Head { ty, width, align, pointer, opaque }),
        None => Err(cursor.expected("a type such as `.b32`")),
    }
}

/// After `.attribute`: `(.managed)` or `(.unified(1, 2))`, which say where a variable lives and change no value.
fn attribute(cursor: &mut Cursor<'_, '_>) -> Result<(), ParseError> {
    cursor.mark("(")?;
    loop {
        if cursor.eat_dot("unified") {
            cursor.mark("(")?;
            expression::integer(cursor, "an identifier")?;
            cursor.mark(",")?;
            expression::integer(cursor, "an identifier")?;
            cursor.mark(")")?;
        } else if !cursor.eat_dot("managed") {
            return Err(cursor.expected("`.managed` or `.unified(..)`"));
        }
        if !cursor.eat_mark(",") {
            break;
        }
    }
    cursor.mark(")")
}

/// Only fundamental types can be declared; packed and narrow floats live in `.b16` and `.b32`.
fn declared_type(cursor: &Cursor<'_, '_>, word: &str, is_register: bool) -> Result<Type, ParseError> {
    match Type::parse(word) {
        Some(Type::BF16 | Type::BF16x2 | Type::E4M3x2 | Type::E5M2x2 | Type::TF32) => {
            Err(cursor.error(format!("`.{word}` cannot be declared; use the `.b` type of its size")))
        }
        Some(Type::Pred) if !is_register => Err(cursor.error("`.pred` is a type of registers only")),
        Some(ty) => Ok(ty),
        None => Err(cursor.error(format!("`.{word}` is not a type"))),
    }
}

fn alignment(cursor: &mut Cursor<'_, '_>) -> Result<u32, ParseError> {
    let token = cursor.token();
    let align = cursor.small("alignment")?;
    if !align.is_power_of_two() {
        return Err(cursor.error_at(token, format!("alignment {align} is not a power of two")));
    }
    Ok(align)
}

fn pointer_attribute(cursor: &mut Cursor<'_, '_>) -> Result<Pointer, ParseError> {
    let mut pointer = Pointer { space: Space::Generic, align: 4 };
    if let Kind::Dot(word) = cursor.kind() {
        if let Some(found) = space(word) {
            pointer.space = found;
            cursor.advance();
        }
    }
    if cursor.eat_dot("align") {
        pointer.align = alignment(cursor)?;
    }
    Ok(pointer)
}

fn variable<'a>(
    cursor: &mut Cursor<'_, 'a>,
    space: Space,
    linkage: Linkage,
    head: &Head,
) -> Result<(Name<'a>, Variable), ParseError> {
    let position = cursor.position();
    let name = name_or_sink(cursor, space == Space::Param)?;
    let mut dimensions = dimensions(cursor)?;
    let is_array = head.width > 1 || !dimensions.is_empty();
    let mut init = Initial::default();
    if cursor.is_mark("=") {
        if !matches!(space, Space::Global | Space::Const) || linkage.is_extern {
            return Err(
                cursor.error("only `.global` and `.const` variables that are not `.extern` take an initial value")
            );
        }
        cursor.advance();
        if head.opaque.is_some() {
            skip_properties(cursor)?;
        } else {
            if head.width > 1 {
                dimensions.push(Some(u64::from(head.width)));
            }
            init = initializer(cursor, head.ty, &mut dimensions)?;
        }
    } else if head.width > 1 {
        dimensions.push(Some(u64::from(head.width)));
    }
    let elements = elements(&dimensions, head.ty).map_err(|why| cursor.error_at(name.token, why))?;
    if elements.is_none() && !(linkage.is_extern || space == Space::Param) {
        return Err(cursor.error_at(name.token, format!("array `{}` has no size", name.text)));
    }
    let variable = Variable {
        name: name.text.to_string(),
        space,
        ty: head.ty,
        align: head.align.unwrap_or(head.ty.bytes() * head.width),
        elements,
        is_array,
        is_extern: linkage.is_extern,
        is_visible: linkage.is_visible,
        is_weak: linkage.is_weak,
        is_common: linkage.is_common,
        is_register: false,
        pointer: head.pointer,
        opaque: head.opaque,
        init: init.bytes,
        addresses: init.addresses,
        position,
    };
    Ok((name, variable))
}

/// The properties of a texture, surface or sampler: `{ width = 5, filter_mode = nearest }`, or a list of such.
fn skip_properties(cursor: &mut Cursor<'_, '_>) -> Result<(), ParseError> {
    let start = cursor.token();
    cursor.mark("{")?;
    let mut depth = 1u32;
    while depth > 0 {
        match cursor.kind() {
            Kind::End | Kind::Mark(";") => return Err(cursor.error_at(start, "this `{` is never closed")),
            Kind::Mark("{") => depth += 1,
            Kind::Mark("}") => depth -= 1,
            _ => {}
        }
        cursor.advance();
    }
    Ok(())
}

/// `[4][8]`; only the first may be empty.
fn dimensions(cursor: &mut Cursor<'_, '_>) -> Result<Vec<Option<u64>>, ParseError> {
    let mut found = Vec::new();
    while cursor.eat_mark("[") {
        if found.len() == MAX_DIMENSIONS {
            return Err(cursor.error(format!("array has more than {MAX_DIMENSIONS} dimensions")));
        }
        if found.is_empty() && cursor.eat_mark("]") {
            found.push(None);
            continue;
        }
        // ptxas takes a plain number here, no expression.
        let Kind::Integer(size, _) = cursor.kind() else {
            return Err(cursor.expected("an array size"));
        };
        if size == 0 {
            return Err(cursor.error("array size 0 is not positive"));
        }
        found.push(Some(size));
        cursor.advance();
        cursor.mark("]")?;
    }
    Ok(found)
}

fn elements(dimensions: &[Option<u64>], ty: Type) -> Result<Option<u64>, String> {
    let mut elements = 1u64;
    for dimension in dimensions {
        let Some(dimension) = dimension else {
            return Ok(None);
        };
        elements = elements.checked_mul(*dimension).ok_or("array size does not fit in 64 bits")?;
    }
    if elements.checked_mul(u64::from(ty.bytes())).is_none_or(|bytes| i64::try_from(bytes).is_err()) {
        return Err("array size does not fit in 63 bits".to_string());
    }
    Ok(Some(elements))
}

/// An initial value.
#[derive(Default)]
struct Initial {
    bytes: Vec<u8>,
    addresses: Vec<InitialAddress>,
}

/// Initial bytes. Fills in the first dimension when it was left empty.
fn initializer(cursor: &mut Cursor<'_, '_>, ty: Type, dimensions: &mut [Option<u64>]) -> Result<Initial, ParseError> {
    let start = cursor.token();
    let mut bytes = Initial::default();
    if dimensions.is_empty() {
        scalar(cursor, ty, &mut bytes)?;
        return Ok(bytes);
    }
    let count = list(cursor, ty, dimensions, &mut bytes)?;
    if dimensions[0].is_none() {
        if count == 0 {
            return Err(cursor.error_at(start, "an array without a size needs at least one initial value"));
        }
        dimensions[0] = Some(count);
    }
    Ok(bytes)
}

/// `{ .. }` of one dimension; gives the number of its elements. Elements that are lists are padded with zeros.
fn list(
    cursor: &mut Cursor<'_, '_>,
    ty: Type,
    dimensions: &[Option<u64>],
    init: &mut Initial,
) -> Result<u64, ParseError> {
    let inner = &dimensions[1..];
    let stride_bytes =
        inner.iter().flatten().try_fold(u64::from(ty.bytes()), |product, size| product.checked_mul(*size));
    cursor.mark("{")?;
    let base = init.bytes.len() as u64;
    let mut count = 0u64;
    while !cursor.is_mark("}") {
        if dimensions[0].is_some_and(|size| count >= size) {
            return Err(cursor.error(format!("more initial values than the {count} elements of the array")));
        }
        let at = stride_bytes.and_then(|stride| stride.checked_mul(count)).and_then(|at| at.checked_add(base));
        match at {
            Some(at) if at <= MAX_INIT_BYTES => init.bytes.resize(at as usize, 0),
            _ => return Err(cursor.error(format!("initial values reach beyond {MAX_INIT_BYTES} bytes"))),
        }
        if inner.is_empty() {
            scalar(cursor, ty, init)?;
        } else {
            list(cursor, ty, inner, init)?;
        }
        count += 1;
        if !cursor.eat_mark(",") {
            break;
        }
    }
    cursor.mark("}")?;
    Ok(count)
}

fn scalar(cursor: &mut Cursor<'_, '_>, ty: Type, init: &mut Initial) -> Result<(), ParseError> {
    let start = cursor.token();
    let is_masked = matches!(start.kind, Kind::Integer(..)) && cursor.second() == Kind::Mark("(");
    if is_masked || matches!(start.kind, Kind::Word(word) if word != "WARP_SZ") {
        let address = address(cursor, ty, is_masked, init.bytes.len() as u64)?;
        init.bytes.resize(init.bytes.len() + ty.bytes() as usize, 0);
        init.addresses.push(address);
        return Ok(());
    }
    let value = expression::constant(cursor)?;
    match scalar_bytes(value, ty) {
        Ok((bits, size)) => init.bytes.extend_from_slice(&bits.to_le_bytes()[..size as usize]),
        Err(why) => return Err(cursor.error_at(start, why)),
    }
    Ok(())
}

/// `symbol`, `symbol + 8`, `generic(symbol) + 8`, each perhaps in `0xff00( .. )`.
fn address(cursor: &mut Cursor<'_, '_>, ty: Type, is_masked: bool, at: u64) -> Result<InitialAddress, ParseError> {
    let start = cursor.token();
    let mut byte_shift = None;
    if is_masked {
        let mask = expression::integer_literal(cursor)?;
        let shift = mask.trailing_zeros();
        if mask == 0 || shift % 8 != 0 || mask >> shift != 0xff {
            return Err(cursor.error_at(start, "a mask of an address is 0xff moved up by whole bytes"));
        }
        byte_shift = Some(shift);
        cursor.mark("(")?;
    }
    let is_generic = matches!(cursor.kind(), Kind::Word("generic")) && cursor.second() == Kind::Mark("(");
    if is_generic {
        cursor.advance();
        cursor.mark("(")?;
    }
    let symbol = cursor.word("a variable or a function")?.to_string();
    if is_generic {
        cursor.mark(")")?;
    }
    let mut offset = 0;
    if cursor.eat_mark("+") {
        let value = expression::integer(cursor, "an offset")?;
        offset = i64::try_from(value).map_err(|_| cursor.error_at(start, "the offset does not fit in 64 bits"))?;
    }
    if byte_shift.is_some() {
        cursor.mark(")")?;
    }
    let holds = match ty {
        Type::U8 | Type::S8 | Type::B8 => byte_shift.is_some(),
        Type::U32 | Type::S32 | Type::B32 | Type::U64 | Type::S64 | Type::B64 => true,
        _ => false,
    };
    if !holds {
        return Err(cursor.error_at(start, format!("an address cannot initialize a `.{}`", ty.name())));
    }
    Ok(InitialAddress { at, bytes: ty.bytes(), symbol, offset, is_generic, byte_shift })
}

fn scalar_bytes(value: Value, ty: Type) -> Result<(u128, u32), String> {
    let size = ty.bytes();
    let bits = match (value, ty) {
        (Value::Integer(..), Type::F16 | Type::F16x2 | Type::F32 | Type::F64) => {
            return Err(format!("an integer cannot initialize a `.{}`", ty.name()));
        }
        (Value::Integer(..), _) => {
            // What does not fit is cut, as by ptxas.
            value.integer().unwrap_or_default() as u128
        }
        (Value::Float(FloatLiteral::Single(bits)), Type::F32 | Type::B32) => u128::from(bits),
        (Value::Float(FloatLiteral::Single(_)), Type::F64) => {
            // The assembler puts these 32 bits where 64 belong, which nobody means.
            return Err("a literal 0f.. has 32 bits and cannot initialize a `.f64`: write 0d..".to_string());
        }
        (Value::Float(FloatLiteral::Double(bits)), Type::F64 | Type::B64) => u128::from(bits),
        (Value::Float(FloatLiteral::Decimal(value)), Type::F32) => u128::from((value as f32).to_bits()),
        (Value::Float(FloatLiteral::Decimal(value)), Type::F64) => u128::from(value.to_bits()),
        (Value::Float(_), _) => return Err(format!("this float cannot initialize a `.{}`", ty.name())),
    };
    Ok((bits, size))
}
