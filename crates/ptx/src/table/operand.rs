//! The operand half of a row: from text to patterns, and patterns against operands.

use super::Bindings;
use crate::ast::{AddressBase, Body, FloatLiteral, Function, Module, Operand, Space, Type, Variable, VariableRef};
use crate::special::special_register_bits;

/// One operand of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OperandPattern {
    pub kind: Kind,
    /// `=`: written.
    pub is_written: bool,
    /// `?`: may be left out.
    pub is_optional: bool,
    /// `H:`: there if and only if the letter is bound.
    pub when: Option<char>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Typed(TypedPattern),
    /// A predicate, and whether it may be negated or a literal.
    Predicate(bool),
    /// First half, and whether the predicate may be left out.
    Pair(Box<Kind>, bool),
    Address(SpaceName),
    Tensor,
    /// Values accepted.
    Literal(Range),
    Label,
    List,
    Call,
    Barrier,
    Threads,
    /// 0 or 1, or a register.
    Parity,
    /// A multiple of 16, or a register.
    Bytes16,
    /// Above 0 and up to 1, or a register.
    Fraction,
    Sink,
    /// A source of `mov`.
    Move(TypeName),
    /// A register or an address of a variable.
    Place(TypeName),
    /// A vector whose elements make up the type.
    Pack(TypeName),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct TypedPattern {
    pub ty: TypeName,
    /// `2T`
    pub is_double: bool,
    /// `+`
    pub is_loose: bool,
    /// `!`
    pub is_register: bool,
    /// `_`
    pub takes_sink: bool,
    pub vector: Vector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vector {
    None,
    /// `*V`: as many as the bound `v4` says, none when it is not bound.
    Bound(char),
    Fixed(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeName {
    Bound(char),
    Named(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpaceName {
    Bound(char),
    Named(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Range {
    Between(i128, i128),
    OneOf(Vec<i128>),
}

impl OperandPattern {
    /// Letters that the pattern refers to, except those of vectors, which need not be bound.
    #[cfg(test)]
    pub(super) fn letters(&self) -> Vec<char> {
        let mut found: Vec<char> = self.when.into_iter().collect();
        let mut kind = &self.kind;
        if let Kind::Pair(first, _) = kind {
            kind = first;
        }
        match kind {
            Kind::Typed(TypedPattern { ty: TypeName::Bound(letter), .. })
            | Kind::Move(TypeName::Bound(letter))
            | Kind::Place(TypeName::Bound(letter))
            | Kind::Pack(TypeName::Bound(letter))
            | Kind::Address(SpaceName::Bound(letter)) => found.push(*letter),
            _ => {}
        }
        found
    }
}

/// Compiles a row's operands.
pub(super) fn compile(operands: &'static str) -> Result<Vec<OperandPattern>, String> {
    operands.split_whitespace().map(one).collect()
}

fn one(token: &'static str) -> Result<OperandPattern, String> {
    let (when, token) = match token.split_once(':') {
        Some((letter, rest)) if letter.len() == 1 => (letter.chars().next(), rest),
        _ => (None, token),
    };
    let (is_written, token) = token.strip_prefix('=').map_or((false, token), |rest| (true, rest));
    if let Some((first, second)) = token.split_once('|') {
        let is_second_optional = match second {
            "p" => false,
            "p?" => true,
            _ => return Err(format!("`{token}`: the second half of a pair is a predicate")),
        };
        let kind = Kind::Pair(Box::new(kind(first)?), is_second_optional);
        return Ok(OperandPattern { kind, is_written, is_optional: false, when });
    }
    let (is_optional, token) = token.strip_suffix('?').map_or((false, token), |rest| (true, rest));
    Ok(OperandPattern { kind: kind(token)?, is_written, is_optional, when })
}

fn kind(token: &'static str) -> Result<Kind, String> {
    if let Some(space) = token.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Ok(match space {
            "tensor" => Kind::Tensor,
            _ => Kind::Address(match bound(space) {
                Some(letter) => SpaceName::Bound(letter),
                None => SpaceName::Named(space),
            }),
        });
    }
    if let Some(range) = token.strip_prefix('#') {
        return Ok(Kind::Literal(parse_range(range).ok_or_else(|| format!("`{token}` is not a range"))?));
    }
    if let Some((word, ty)) = token.split_once(':') {
        let ty = type_name(ty)?;
        return match word {
            "move" => Ok(Kind::Move(ty)),
            "place" => Ok(Kind::Place(ty)),
            "pack" => Ok(Kind::Pack(ty)),
            _ => Err(format!("`{token}` is not an operand")),
        };
    }
    Ok(match token {
        "p" => Kind::Predicate(false),
        "!p" => Kind::Predicate(true),
        "label" => Kind::Label,
        "list" => Kind::List,
        "call" => Kind::Call,
        "barrier" => Kind::Barrier,
        "threads" => Kind::Threads,
        "parity" => Kind::Parity,
        "bytes16" => Kind::Bytes16,
        "fraction" => Kind::Fraction,
        "_" => Kind::Sink,
        _ => Kind::Typed(typed(token)?),
    })
}

fn parse_range(text: &str) -> Option<Range> {
    if text.contains(',') {
        return Some(Range::OneOf(text.split(',').map(|value| value.parse().ok()).collect::<Option<_>>()?));
    }
    let (least, most) = text.split_once('-')?;
    let most = if most.is_empty() { i128::from(u32::MAX) } else { most.parse().ok()? };
    Some(Range::Between(least.parse().ok()?, most))
}

fn typed(token: &'static str) -> Result<TypedPattern, String> {
    let (token, vector) = match token.split_once('*') {
        None => (token, Vector::None),
        Some((token, count)) => match (bound(count), count.parse()) {
            (Some(letter), _) => (token, Vector::Bound(letter)),
            (None, Ok(count)) => (token, Vector::Fixed(count)),
            _ => return Err(format!("`*{count}` is not a vector")),
        },
    };
    let (token, takes_sink) = token.strip_suffix('_').map_or((token, false), |rest| (rest, true));
    let (token, is_register) = token.strip_suffix('!').map_or((token, false), |rest| (rest, true));
    let (token, is_loose) = token.strip_suffix('+').map_or((token, false), |rest| (rest, true));
    let (token, is_double) = token.strip_prefix('2').map_or((token, false), |rest| (rest, true));
    Ok(TypedPattern { ty: type_name(token)?, is_double, is_loose, is_register, takes_sink, vector })
}

fn bound(text: &str) -> Option<char> {
    let letter = text.chars().next()?;
    (text.len() == 1 && letter.is_ascii_uppercase()).then_some(letter)
}

fn type_name(text: &'static str) -> Result<TypeName, String> {
    if let Some(letter) = bound(text) {
        return Ok(TypeName::Bound(letter));
    }
    shape(text).map(|_| TypeName::Named(text)).ok_or_else(|| format!("`{text}` is not a type"))
}

/// What a type asks of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Bits,
    Integer,
    /// This float type, or bits.
    Float(Type),
    /// Only `.b` registers: `bf16`, packed and narrow types.
    OnlyBits,
}

/// Class and width in bits of a type modifier.
pub(super) fn shape(name: &str) -> Option<(Class, u32)> {
    Some(match name {
        "b8" | "b16" | "b32" | "b64" | "b128" => (Class::Bits, name[1..].parse().ok()?),
        "u8" | "u16" | "u32" | "u64" | "s8" | "s16" | "s32" | "s64" => (Class::Integer, name[1..].parse().ok()?),
        "f16" => (Class::Float(Type::F16), 16),
        "f16x2" => (Class::Float(Type::F16x2), 32),
        "f32" => (Class::Float(Type::F32), 32),
        "f64" => (Class::Float(Type::F64), 64),
        "bf16" | "e4m3x2" | "e5m2x2" => (Class::OnlyBits, 16),
        "bf16x2" | "tf32" | "u16x2" | "s16x2" => (Class::OnlyBits, 32),
        "f32x2" => (Class::OnlyBits, 64),
        _ => return None,
    })
}

/// Can a register of type `register` hold a `(class, bits)`?
pub(super) fn register_fits(register: Type, class: Class, bits: u32, is_loose: bool) -> bool {
    let width = register.bytes() * 8;
    if register == Type::Pred || width < bits || (width != bits && !is_loose) {
        return false;
    }
    let is_bits = matches!(register, Type::B8 | Type::B16 | Type::B32 | Type::B64 | Type::B128);
    match class {
        Class::Bits => true,
        Class::Integer => !matches!(register, Type::F16 | Type::F32 | Type::F64),
        Class::Float(ty) => is_bits || register == ty,
        Class::OnlyBits => is_bits,
    }
}

/// What an operand is checked in.
pub(super) struct Context<'c> {
    pub module: &'c Module,
    pub function: &'c Function,
    pub body: &'c Body,
    pub bindings: Bindings,
}

impl Context<'_> {
    pub fn type_of(&self, name: TypeName) -> (Class, u32, &'static str) {
        let name = match name {
            TypeName::Named(name) => name,
            TypeName::Bound(letter) => self.bindings.of(letter).unwrap_or("b32"),
        };
        let (class, bits) = shape(name).unwrap_or((Class::Bits, 32));
        (class, bits, name)
    }

    pub fn variable(&self, reference: VariableRef) -> Option<&Variable> {
        match reference {
            VariableRef::Module(index) => self.module.variables.get(index as usize),
            VariableRef::Local(index) => self.body.variables.get(index as usize),
            VariableRef::Param(index) => self.function.params.get(index as usize),
            VariableRef::Return(index) => self.function.returns.get(index as usize),
        }
    }

    fn register(&self, operand: &Operand) -> Option<Type> {
        match operand {
            Operand::Register(id) | Operand::Component(id, _) => {
                self.body.registers.get(id.0 as usize).map(|register| register.ty)
            }
            _ => None,
        }
    }

    /// `None`: the operand fits. `Some`: what was expected.
    pub fn refuses(&self, pattern: &OperandPattern, operand: &Operand) -> Option<String> {
        self.kind_refuses(&pattern.kind, pattern.is_written, operand)
    }

    fn kind_refuses(&self, kind: &Kind, is_written: bool, operand: &Operand) -> Option<String> {
        let unless = |fits: bool, expected: &str| (!fits).then(|| expected.to_string());
        match kind {
            Kind::Typed(typed) => self.typed_refuses(typed, is_written, operand),
            Kind::Predicate(is_free) => self.predicate_refuses(*is_free, false, operand),
            Kind::Pair(first, is_optional) => match operand {
                Operand::Pair(one, two) => {
                    self.half_refuses(first, is_written, one).or_else(|| self.predicate_refuses(false, true, two))
                }
                single if *is_optional => self.half_refuses(first, is_written, single),
                _ => Some("a pair `d|p`".to_string()),
            },
            Kind::Address(space) => self.address_refuses(*space, operand),
            Kind::Tensor => unless(matches!(operand, Operand::TensorAddress(_)), "`[map, {coordinates}]`"),
            Kind::Literal(range) => match (range, operand) {
                (Range::Between(least, most), Operand::Integer(value)) if (*least..=*most).contains(value) => None,
                (Range::OneOf(values), Operand::Integer(value)) if values.contains(value) => None,
                (Range::Between(least, most), _) => Some(format!("a literal from {least} to {most}")),
                (Range::OneOf(values), _) => Some(format!("a literal out of {values:?}")),
            },
            Kind::Label => unless(matches!(operand, Operand::Label(_)), "a label"),
            Kind::List => unless(matches!(operand, Operand::Name(_)), "the name of a `.branchtargets` list"),
            // The operands of a call are checked together.
            Kind::Call => None,
            Kind::Barrier => match operand {
                Operand::Integer(value) => unless((0..16).contains(value), "a barrier from 0 to 15"),
                _ => self.integer_refuses(operand, "a barrier from 0 to 15 or a 32-bit register"),
            },
            Kind::Threads => match operand {
                Operand::Integer(value) => unless(*value > 0 && value % 32 == 0, "a multiple of 32 threads"),
                _ => self.integer_refuses(operand, "a multiple of 32 threads or a 32-bit register"),
            },
            Kind::Parity => match operand {
                Operand::Integer(value) => unless((0..2).contains(value), "0 or 1"),
                _ => self.integer_refuses(operand, "0, 1 or a 32-bit register"),
            },
            Kind::Bytes16 => match operand {
                Operand::Integer(value) => unless(*value >= 0 && value % 16 == 0, "a multiple of 16 bytes"),
                _ => self.integer_refuses(operand, "a multiple of 16 bytes or a 32-bit register"),
            },
            Kind::Fraction => match operand {
                Operand::Float(literal) => {
                    let value = match literal {
                        FloatLiteral::Single(bits) => f64::from(f32::from_bits(*bits)),
                        FloatLiteral::Double(bits) => f64::from_bits(*bits),
                        FloatLiteral::Decimal(value) => *value,
                    };
                    unless(value > 0.0 && value <= 1.0, "a fraction above 0 and up to 1")
                }
                _ => {
                    let f32 = Class::Float(Type::F32);
                    let fits = self.register(operand).is_some_and(|ty| register_fits(ty, f32, 32, false));
                    unless(fits, "a fraction above 0 and up to 1, or a register for .f32")
                }
            },
            Kind::Sink => unless(*operand == Operand::Sink, "the sink `_`"),
            Kind::Move(ty) => self.move_refuses(*ty, operand),
            Kind::Place(ty) => self.place_refuses(*ty, operand),
            Kind::Pack(ty) => self.pack_refuses(*ty, is_written, operand),
        }
    }

    /// The first half of a pair: there a predicate may be the sink.
    fn half_refuses(&self, kind: &Kind, is_written: bool, operand: &Operand) -> Option<String> {
        match kind {
            Kind::Predicate(_) => self.predicate_refuses(false, true, operand),
            kind => self.kind_refuses(kind, is_written, operand),
        }
    }

    fn integer_refuses(&self, operand: &Operand, expected: &str) -> Option<String> {
        let fits = self.register(operand).is_some_and(|ty| register_fits(ty, Class::Integer, 32, false));
        (!fits).then(|| expected.to_string())
    }

    fn typed_refuses(&self, typed: &TypedPattern, is_written: bool, operand: &Operand) -> Option<String> {
        let count = match typed.vector {
            Vector::None => None,
            Vector::Fixed(count) => Some(count),
            Vector::Bound(letter) => {
                self.bindings.of(letter).and_then(|name| name.trim_start_matches(['v', 'x']).parse().ok())
            }
        };
        let Some(count) = count else {
            return self.scalar_refuses(typed, is_written, typed.takes_sink, operand);
        };
        if *operand == Operand::Sink && typed.takes_sink {
            return None;
        }
        let (_, _, name) = self.type_of(typed.ty);
        let Operand::Vector(elements) = operand else {
            return Some(format!("a vector of {count} .{name}"));
        };
        if elements.len() != count {
            return Some(format!("a vector of {count} .{name}"));
        }
        if elements.iter().all(|element| *element == Operand::Sink) {
            return Some("a vector with at least one register".to_string());
        }
        elements.iter().find_map(|element| self.scalar_refuses(typed, is_written, is_written, element))
    }

    fn scalar_refuses(
        &self,
        typed: &TypedPattern,
        is_written: bool,
        takes_sink: bool,
        operand: &Operand,
    ) -> Option<String> {
        let (class, bits, name) = self.type_of(typed.ty);
        let bits = if typed.is_double { bits * 2 } else { bits };
        let wider = if typed.is_loose { " or wider" } else { "" };
        let double = if typed.is_double { " of twice the width" } else { "" };
        match operand {
            Operand::Sink if takes_sink => None,
            Operand::Integer(_) | Operand::Float(_) if !is_written && !typed.is_register => {
                (!literal_fits(operand, class, bits)).then(|| format!("a literal of type .{name}"))
            }
            // A conversion reads special registers, as a move does.
            Operand::Special(special) if typed.is_loose && !is_written => {
                let fits = special_register_bits(special).is_some_and(|found| found >= bits);
                (!fits || matches!(class, Class::Float(_))).then(|| format!("a value of type .{name}"))
            }
            operand => {
                let fits =
                    self.register(operand).is_some_and(|register| register_fits(register, class, bits, typed.is_loose));
                (!fits).then(|| format!("a register for .{name}{double}{wider}"))
            }
        }
    }

    fn predicate_refuses(&self, is_free: bool, takes_sink: bool, operand: &Operand) -> Option<String> {
        let is_predicate = |id: &crate::ast::RegisterId| {
            self.body.registers.get(id.0 as usize).is_some_and(|register| register.ty == Type::Pred)
        };
        let fits = match operand {
            Operand::Register(id) => is_predicate(id),
            Operand::NotRegister(id) => is_free && is_predicate(id),
            Operand::Integer(_) => is_free,
            Operand::Special(name) => is_free && special_register_bits(name) == Some(1),
            Operand::Sink => takes_sink,
            _ => false,
        };
        (!fits).then(|| "a predicate".to_string())
    }

    fn address_refuses(&self, space: SpaceName, operand: &Operand) -> Option<String> {
        let space = match space {
            SpaceName::Named(name) => name,
            SpaceName::Bound(letter) => self.bindings.of(letter).unwrap_or("generic"),
        };
        let root = space.split("::").next().unwrap_or(space);
        let Operand::Address(base, _) = operand else {
            return Some(format!("an address `[..]` in {root} space"));
        };
        match base {
            AddressBase::Absolute => (root != "local").then(|| format!("a register or a variable in {root} space")),
            AddressBase::Register(_) if space == "param::func" => Some("a `.param` variable of a call".to_string()),
            AddressBase::Register(id) => {
                let is_wide_only = !matches!(root, "shared" | "local" | "param");
                let ty = self.body.registers.get(id.0 as usize).map(|register| register.ty);
                let fits = ty.is_some_and(|ty| {
                    register_fits(ty, Class::Integer, 64, false)
                        || (!is_wide_only && register_fits(ty, Class::Integer, 32, false))
                });
                let width = if is_wide_only { "64-bit" } else { "32-bit or 64-bit" };
                (!fits).then(|| format!("an address in {root} space in a {width} integer register"))
            }
            AddressBase::Variable(reference) => {
                let found = self.variable(*reference).map(|variable| variable.space);
                let fits = root == "generic" || found.is_some_and(|found| found.name() == root);
                (!fits).then(|| format!("a variable in {root} space"))
            }
        }
    }

    fn move_refuses(&self, ty: TypeName, operand: &Operand) -> Option<String> {
        let (class, bits, name) = self.type_of(ty);
        match operand {
            Operand::Special(special) => {
                let found = special_register_bits(special);
                let is_cut = (found == Some(32) && bits == 16) || (special == "gridid" && bits == 32);
                let fits = found == Some(bits) || is_cut;
                (!fits || matches!(class, Class::Float(_))).then(|| format!("a value of type .{name}"))
            }
            Operand::Name(_) => (bits != 64).then(|| "a 64-bit destination for the address of a function".to_string()),
            _ => self.place_refuses(ty, operand),
        }
    }

    fn place_refuses(&self, ty: TypeName, operand: &Operand) -> Option<String> {
        let (class, bits, name) = self.type_of(ty);
        match operand {
            Operand::Variable(reference, _) => {
                let space = self.variable(*reference).map(|variable| variable.space);
                let is_narrow = matches!(space, Some(Space::Shared | Space::Local | Space::Param));
                let fits = matches!(class, Class::Bits | Class::Integer) && (bits == 64 || (bits == 32 && is_narrow));
                (!fits).then(|| format!("an operand of type .{name}; an address in this space is wider"))
            }
            _ => {
                let typed = TypedPattern {
                    ty,
                    is_double: false,
                    is_loose: false,
                    is_register: false,
                    takes_sink: false,
                    vector: Vector::None,
                };
                self.scalar_refuses(&typed, false, false, operand)
            }
        }
    }

    fn pack_refuses(&self, ty: TypeName, is_written: bool, operand: &Operand) -> Option<String> {
        let (_, bits, name) = self.type_of(ty);
        let Operand::Vector(elements) = operand else {
            return Some(format!("a vector that makes up a .{name}"));
        };
        let count = elements.len() as u32;
        if !matches!(count, 2 | 4) || bits / count < 8 || elements.iter().all(|element| *element == Operand::Sink) {
            return Some(format!("2 or 4 elements that make up a .{name}"));
        }
        let refused = elements.iter().any(|element| match element {
            Operand::Sink => !is_written,
            Operand::Integer(_) => is_written,
            Operand::Special(special) => is_written || special_register_bits(special) != Some(bits / count),
            element => !self
                .register(element)
                .is_some_and(|register| register_fits(register, Class::Bits, bits / count, false)),
        });
        refused.then(|| format!("{count} elements of {} bits", bits / count))
    }
}

/// Literals by class: integers for integers, float bits for bits of their size, floats for `f32` and `f64` (`0f` bits for
/// `f32` only).
fn literal_fits(operand: &Operand, class: Class, bits: u32) -> bool {
    match (operand, class) {
        (Operand::Integer(_), Class::Bits | Class::Integer) => true,
        (Operand::Float(FloatLiteral::Single(_)), Class::Bits) => bits == 32,
        (Operand::Float(FloatLiteral::Double(_)), Class::Bits) => bits == 64,
        (Operand::Float(FloatLiteral::Single(_)), Class::Float(Type::F64)) => false,
        (Operand::Float(_), Class::Float(Type::F32 | Type::F64)) => true,
        _ => false,
    }
}
