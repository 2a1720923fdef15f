//! Statements and operands before names are resolved.

use crate::ast::{FloatLiteral, Prototype, Type, Variable};
use crate::lexer::Token;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub text: &'a str,
    /// For errors.
    pub token: Token<'a>,
}

#[derive(Debug, Clone)]
pub(crate) enum RawOperand<'a> {
    Name(Name<'a>),
    /// `r.x`
    Component(Name<'a>, &'a str),
    /// `-r` or `-r.b2`, in `vmad`
    Negated(Name<'a>, &'a str),
    /// `!p`
    Not(Name<'a>),
    /// `name + 8`
    Offset(Name<'a>, i64),
    /// `name[3]`
    Indexed(Name<'a>, i64),
    Integer(i128),
    Float(FloatLiteral),
    /// `[name + 8]`
    Address(Name<'a>, i64),
    /// `[4096]`
    Absolute(i64),
    /// `[a, {b, c}]`
    Tuple(Vec<RawOperand<'a>>),
    /// `{a, b}`
    Vector(Vec<RawOperand<'a>>),
    /// `(a, b)` of a call
    List(Vec<RawOperand<'a>>),
    /// `d|p`
    Pair(Box<RawOperand<'a>>, Box<RawOperand<'a>>),
    Sink,
}

#[derive(Debug, Clone)]
pub(crate) struct RawInstruction<'a> {
    pub token: Token<'a>,
    pub opcode: &'a str,
    pub modifiers: Vec<&'a str>,
    /// Predicate and whether it is negated.
    pub guard: Option<(Name<'a>, bool)>,
    pub operands: Vec<RawOperand<'a>>,
}

/// One `.reg` name.
#[derive(Debug, Clone)]
pub(crate) struct RawRegister<'a> {
    pub name: Name<'a>,
    pub ty: Type,
    /// 1, 2 or 4.
    pub width: u32,
    /// `name<count>`
    pub count: Option<u32>,
}

#[derive(Debug, Clone)]
pub(crate) enum Statement<'a> {
    Open,
    Close,
    Register(RawRegister<'a>),
    Variable(Name<'a>, Variable),
    Label(Name<'a>),
    Instruction(RawInstruction<'a>),
    BranchTargets(Name<'a>, Vec<Name<'a>>),
    CallTargets(Name<'a>, Vec<Name<'a>>),
    Prototype(Name<'a>, Prototype),
    Pragma(String),
}
