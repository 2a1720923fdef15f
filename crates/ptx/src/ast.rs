//! What a PTX module says, with scopes flattened and names resolved.
//!
//! The parser gives every register, variable and label of a function a number, so that nested `{ }` scopes
//! and shadowed names are gone here. Opcodes and modifiers stay text: the instruction table and the emulator
//! give them meaning.

use std::fmt;

/// A place in a source file, after the line markers of the C preprocessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// Index into [`Module::files`].
    pub file: u16,
    /// Line number, from 1.
    pub line: u32,
}

/// A parsed module.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Module {
    /// `.version` major and minor.
    pub version: (u32, u32),
    /// `.target` names in order, such as `sm_90`.
    pub targets: Vec<String>,
    /// `.address_size` in bits.
    pub address_size: u32,
    /// Module-scope variables, in order.
    pub variables: Vec<Variable>,
    /// Entries and device functions, in order. A function that is declared and later defined stands here twice;
    /// [`Module::function`] finds the definition.
    pub functions: Vec<Function>,
    /// `.alias` pairs: new name, existing function.
    pub aliases: Vec<(String, String)>,
    /// Module-scope `.pragma` texts.
    pub pragmas: Vec<String>,
    /// Names of the source files, from line markers; element 0 is the name given to the parser.
    pub files: Vec<String>,
}

/// Fundamental types of PTX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    BF16,
    BF16x2,
    F32,
    F64,
    E4M3x2,
    E5M2x2,
    TF32,
    Pred,
}

/// State spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Space {
    Generic,
    Global,
    Shared,
    Const,
    Local,
    Param,
}

/// A variable: module-scope, function-scope, or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Source name.
    pub name: String,
    /// State space.
    pub space: Space,
    /// Element type.
    pub ty: Type,
    /// Alignment in bytes (natural when not written).
    pub align: u32,
    /// Number of elements; 1 for a scalar, `None` for an unsized `extern .shared` array.
    pub elements: Option<u64>,
    /// True when declared as an array (`name[..]`) or vector.
    pub is_array: bool,
    /// Linkage: `.extern`.
    pub is_extern: bool,
    /// Linkage: `.visible`.
    pub is_visible: bool,
    /// Linkage: `.weak`.
    pub is_weak: bool,
    /// Linkage: `.common`.
    pub is_common: bool,
    /// A `.reg` parameter of a `.func`; [`Body::param_registers`] has its register.
    pub is_register: bool,
    /// `.ptr` attribute of a kernel parameter.
    pub pointer: Option<Pointer>,
    /// `texref`, `surfref` or `samplerref`: a handle of 64 bits. Its initial properties are not kept.
    pub opaque: Option<&'static str>,
    /// Initial bytes; empty when none were given. May be shorter than the variable: the rest is zero.
    pub init: Vec<u8>,
    /// Addresses among the initial bytes; they are zeros in `init`.
    pub addresses: Vec<InitialAddress>,
    /// Where it is declared.
    pub position: Position,
}

/// An address in an initial value: `table + 8`, `generic(table)`, `0xff00(table)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialAddress {
    /// Offset in the variable, in bytes.
    pub at: u64,
    /// Size of the element, in bytes.
    pub bytes: u32,
    /// Variable or function that it is the address of.
    pub symbol: String,
    /// Added to the address.
    pub offset: i64,
    /// A generic address rather than one of the symbol's state space.
    pub is_generic: bool,
    /// Bits that the address is shifted down by, in place of all of it one byte: `0xff00(symbol)` gives 8.
    pub byte_shift: Option<u32>,
}

/// `.ptr` attribute of a kernel parameter: a promise about what it points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// State space pointed into; `Generic` when not written.
    pub space: Space,
    /// Alignment in bytes; 4 when not written.
    pub align: u32,
}

/// A `.callprototype`: the signature of an indirect call.
#[derive(Debug, Clone, PartialEq)]
pub struct Prototype {
    /// Name, unique in its function.
    pub name: String,
    /// Return parameters.
    pub returns: Vec<Variable>,
    /// Parameters.
    pub params: Vec<Variable>,
    /// `.noreturn`.
    pub is_noreturn: bool,
}

/// A `.reg` of a function, after flattening. A vector register `.reg .v4 .f32 v` becomes the four registers
/// `v.x` to `v.w`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Source name.
    pub name: String,
    /// Declared type.
    pub ty: Type,
    /// Instructions of the braces that declare it, as indices into [`Body::code`]. Nothing else names it, and what it holds at
    /// the end of them is lost.
    pub block: std::ops::Range<usize>,
}

/// A label of a function, after flattening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Source name.
    pub name: String,
    /// Index into [`Body::code`] of the instruction it stands before (may equal `code.len()`).
    pub at: usize,
}

/// An entry (kernel) or a device function.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Symbol.
    pub name: String,
    /// `.entry` rather than `.func`.
    pub is_entry: bool,
    /// `.visible`.
    pub is_visible: bool,
    /// `.extern`.
    pub is_extern: bool,
    /// `.weak`.
    pub is_weak: bool,
    /// `.noreturn`.
    pub is_noreturn: bool,
    /// Return parameters of a `.func`.
    pub returns: Vec<Variable>,
    /// Parameters in order. For register parameters of a `.func`, `space` is `Param` all the same.
    pub params: Vec<Variable>,
    /// `.maxntid`, missing dimensions 1.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`, missing dimensions 1.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_ctas_per_sm: Option<u32>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// `.reqnctapercluster`, missing dimensions 1.
    pub required_cluster: Option<[u32; 3]>,
    /// `.maxclusterrank`.
    pub max_cluster_rank: Option<u32>,
    /// `.explicitcluster`.
    pub is_explicit_cluster: bool,
    /// `.pragma` texts between header and body.
    pub pragmas: Vec<String>,
    /// `None` for a declaration.
    pub body: Option<Body>,
    /// Where it is declared.
    pub position: Position,
}

/// Flat code of a function.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Body {
    /// Registers; [`RegisterId`] indexes them.
    pub registers: Vec<Register>,
    /// Function-scope variables (`.shared`, `.local`, `.param` of a call), [`VariableRef::Local`] indexes them. Those in
    /// `.global` and `.const` are variables of the module.
    pub variables: Vec<Variable>,
    /// Instructions in order.
    pub code: Vec<Instruction>,
    /// Labels; [`LabelId`] indexes them.
    pub labels: Vec<Label>,
    /// `.branchtargets` lists by name, for `brx.idx`. Names are unique: a list in a nested scope whose name was
    /// taken has a `$` and a number added, and the operand that names it agrees.
    pub branch_targets: Vec<(String, Vec<LabelId>)>,
    /// `.calltargets` lists by name, unique like those of `branch_targets`.
    pub call_targets: Vec<(String, Vec<String>)>,
    /// `.callprototype` signatures, names unique likewise.
    pub prototypes: Vec<Prototype>,
    /// `.pragma` texts with the index of the instruction each stands before.
    pub pragmas: Vec<(usize, String)>,
    /// For each of [`Function::params`], the register of a `.reg` parameter.
    pub param_registers: Vec<Option<RegisterId>>,
    /// For each of [`Function::returns`], the register of a `.reg` return value.
    pub return_registers: Vec<Option<RegisterId>>,
}

/// Index into [`Body::registers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterId(pub u32);

/// Index into [`Body::labels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LabelId(pub u32);

/// `@p` or `@!p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: RegisterId,
    /// `@!p`.
    pub negated: bool,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// Where it stands in the source.
    pub position: Position,
    /// Guard predicate.
    pub guard: Option<Guard>,
    /// Opcode root, such as `ld`, `cp`, `mbarrier`.
    pub opcode: String,
    /// Modifiers in order, without dots: `ld.acquire.sys.global.u64` gives `acquire sys global u64`;
    /// `shared::cta` and `L2::128B` are one modifier each.
    pub modifiers: Vec<String>,
    /// Operands in order. `call` gives: optional [`Operand::List`] of returns, the callee, optional list of arguments,
    /// optional prototype or target list.
    pub operands: Vec<Operand>,
}

/// What a name in an address or an operand refers to, when it is a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VariableRef {
    /// Index into [`Module::variables`].
    Module(u32),
    /// Index into [`Body::variables`].
    Local(u32),
    /// Index into [`Function::params`].
    Param(u32),
    /// Index into [`Function::returns`].
    Return(u32),
}

/// Base of an address operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressBase {
    /// A register.
    Register(RegisterId),
    /// A variable.
    Variable(VariableRef),
    /// An absolute address: the offset alone.
    Absolute,
}

/// An operand.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register.
    Register(RegisterId),
    /// `!p`.
    NotRegister(RegisterId),
    /// A special register without `%`, such as `tid.x` or `globaltimer`.
    Special(String),
    /// An integer literal (two's complement for negatives).
    Integer(i128),
    /// A float literal given by its bits: `0f…` and decimal literals.
    Float(FloatLiteral),
    /// Address of a variable, plus an offset in bytes. As an argument of `call`, the variable itself.
    Variable(VariableRef, i64),
    /// `[base + offset]`.
    Address(AddressBase, i64),
    /// `[a, {b, c}]`, a tensor or texture operand: the elements in order.
    TensorAddress(Vec<Operand>),
    /// `{a, b, ..}`.
    Vector(Vec<Operand>),
    /// `(a, b, ..)` of a call.
    List(Vec<Operand>),
    /// `d|p`.
    Pair(Box<Operand>, Box<Operand>),
    /// A label of this function.
    Label(LabelId),
    /// A function, a call prototype or a branch-target list, by name.
    Name(String),
    /// `_`.
    Sink,
    /// A vector component `r.x`, kept by name: 0 for x/r up to 3 for w/a. The parser never gives it, since it
    /// splits vector registers (see [`Register`]).
    Component(RegisterId, u8),
    /// An operand of a video instruction: `r.b2`, `r.h10`, `-r`.
    Part {
        /// The register.
        register: RegisterId,
        /// What is selected of it, such as `b2`, `h1` or `b7604`; empty for all.
        selector: String,
        /// With a `-` in front.
        negated: bool,
    },
}

/// A float literal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FloatLiteral {
    /// `0fXXXXXXXX`.
    Single(u32),
    /// `0dXXXXXXXXXXXXXXXX`.
    Double(u64),
    /// A decimal literal.
    Decimal(f64),
}

impl Type {
    /// Size in bytes; a predicate counts 1.
    pub const fn bytes(self) -> u32 {
        use Type::*;
        match self {
            B8 | U8 | S8 | Pred => 1,
            B16 | U16 | S16 | F16 | BF16 | E4M3x2 | E5M2x2 => 2,
            B32 | U32 | S32 | F32 | F16x2 | BF16x2 | TF32 => 4,
            B64 | U64 | S64 | F64 => 8,
            B128 => 16,
        }
    }

    /// The type named by a modifier such as `u32`.
    pub fn parse(name: &str) -> Option<Type> {
        use Type::*;
        Some(match name {
            "b8" => B8,
            "b16" => B16,
            "b32" => B32,
            "b64" => B64,
            "b128" => B128,
            "u8" => U8,
            "u16" => U16,
            "u32" => U32,
            "u64" => U64,
            "s8" => S8,
            "s16" => S16,
            "s32" => S32,
            "s64" => S64,
            "f16" => F16,
            "f16x2" => F16x2,
            "bf16" => BF16,
            "bf16x2" => BF16x2,
            "f32" => F32,
            "f64" => F64,
            "e4m3x2" => E4M3x2,
            "e5m2x2" => E5M2x2,
            "tf32" => TF32,
            "pred" => Pred,
            _ => return None,
        })
    }
}

impl Module {
    /// The function called `name`: its definition where there is one, else its declaration.
    pub fn function(&self, name: &str) -> Option<&Function> {
        let mut found = None;
        for function in self.functions.iter().filter(|f| f.name == name) {
            if function.body.is_some() {
                return Some(function);
            }
            found = found.or(Some(function));
        }
        found
    }

    /// Name of the source file of `position`.
    pub fn file(&self, position: Position) -> &str {
        self.files.get(usize::from(position.file)).map_or("", String::as_str)
    }
}

impl Variable {
    /// Size in bytes; 0 for an unsized array.
    pub fn bytes(&self) -> u64 {
        u64::from(self.ty.bytes()).saturating_mul(self.elements.unwrap_or(0))
    }
}

impl Type {
    /// Name as written after the dot.
    pub const fn name(self) -> &'static str {
        use Type::*;
        match self {
            B8 => "b8",
            B16 => "b16",
            B32 => "b32",
            B64 => "b64",
            B128 => "b128",
            U8 => "u8",
            U16 => "u16",
            U32 => "u32",
            U64 => "u64",
            S8 => "s8",
            S16 => "s16",
            S32 => "s32",
            S64 => "s64",
            F16 => "f16",
            F16x2 => "f16x2",
            BF16 => "bf16",
            BF16x2 => "bf16x2",
            F32 => "f32",
            F64 => "f64",
            E4M3x2 => "e4m3x2",
            E5M2x2 => "e5m2x2",
            TF32 => "tf32",
            Pred => "pred",
        }
    }
}

impl Space {
    /// Name as written after the dot.
    pub const fn name(self) -> &'static str {
        match self {
            Space::Generic => "generic",
            Space::Global => "global",
            Space::Shared => "shared",
            Space::Const => "const",
            Space::Local => "local",
            Space::Param => "param",
        }
    }
}

impl Instruction {
    /// True when `modifier` is among the modifiers.
    pub fn has(&self, modifier: &str) -> bool {
        self.modifiers.iter().any(|m| m == modifier)
    }

    /// Opcode with its modifiers, as written.
    pub fn mnemonic(&self) -> String {
        let mut text = self.opcode.clone();
        for modifier in &self.modifiers {
            text.push('.');
            text.push_str(modifier);
        }
        text
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)
    }
}
