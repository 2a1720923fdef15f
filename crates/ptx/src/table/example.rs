//! Examples made from rows: for tests against an assembler, and for readers.

use super::operand::{shape, Kind, OperandPattern, Range, SpaceName, TypeName, TypedPattern, Vector};
use super::pattern::Node;
use super::{check, table, Bindings, Row, ROWS};

/// Declarations that the text of an [`Example`] uses; they stand at the start of a function's body.
pub const EXAMPLE_DECLARATIONS: &str = "\
.reg .b16 r_b16; .reg .u16 r_u16; .reg .s16 r_s16; .reg .f16 r_f16;
.reg .b32 r_b32; .reg .u32 r_u32; .reg .s32 r_s32; .reg .f32 r_f32; .reg .f16x2 r_f16x2;
.reg .b64 r_b64; .reg .u64 r_u64; .reg .s64 r_s64; .reg .f64 r_f64; .reg .b128 r_b128;
.reg .b8 r_b8; .reg .u8 r_u8; .reg .s8 r_s8;
.reg .pred r_p, r_q;
targets: .branchtargets here;
here:
";

/// One instruction that a row describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row.
    pub row: &'static Row,
    /// Modifiers in order.
    pub modifiers: Vec<&'static str>,
    /// Operands as text.
    pub operands: Vec<String>,
}

impl Example {
    /// Makes an example of row `index` of [`ROWS`]. `pick(n)` chooses among `n` possibilities and gives less than
    /// `n`. `None` for an index that is no row.
    pub fn new(index: usize, pick: &mut dyn FnMut(usize) -> usize) -> Option<Example> {
        let row = ROWS.get(index)?;
        let compiled = table().get(row.opcode())?.iter().find(|compiled| compiled.row == row)?;
        let mut example = Example { row, modifiers: Vec::new(), operands: Vec::new() };
        let mut bindings = Bindings::default();
        choose(&compiled.syntax, pick, &mut example.modifiers, &mut bindings);
        let patterns: Vec<&OperandPattern> = check::present(&compiled.operands, &bindings).collect();
        for pattern in patterns {
            if pattern.is_optional && pick(2) == 0 {
                continue;
            }
            example.operands.push(text(&pattern.kind, pattern.is_written, &bindings, pick));
        }
        Some(example)
    }

    /// The instruction as text, with its semicolon.
    pub fn text(&self) -> String {
        let mut text = self.row.opcode().to_string();
        for modifier in &self.modifiers {
            text.push('.');
            text.push_str(modifier);
        }
        if !self.operands.is_empty() {
            text.push(' ');
            text.push_str(&self.operands.join(", "));
        }
        text.push(';');
        text
    }
}

fn choose(
    nodes: &[Node],
    pick: &mut dyn FnMut(usize) -> usize,
    modifiers: &mut Vec<&'static str>,
    bindings: &mut Bindings,
) {
    for node in nodes {
        match node {
            Node::Word(word) => modifiers.push(word),
            Node::Set(letter, words) => {
                let word = words[pick(words.len()).min(words.len() - 1)];
                modifiers.push(word);
                if let Some(letter) = letter {
                    bindings.set(*letter, Some(word));
                }
            }
            Node::Group(alternatives, is_optional) => {
                if *is_optional && pick(2) == 0 {
                    continue;
                }
                let index = pick(alternatives.len()).min(alternatives.len() - 1);
                choose(&alternatives[index], pick, modifiers, bindings);
            }
        }
    }
}

fn name_of(ty: TypeName, bindings: &Bindings) -> &'static str {
    match ty {
        TypeName::Named(name) => name,
        TypeName::Bound(letter) => bindings.of(letter).unwrap_or("b32"),
    }
}

/// A register for a type: its own name where such registers exist, otherwise bits of its width.
fn register(name: &str, double: bool) -> String {
    let bits = shape(name).map_or(32, |(_, bits)| bits);
    match (name, double) {
        (_, true) => format!("r_b{}", bits * 2),
        ("bf16" | "bf16x2" | "tf32" | "e4m3x2" | "e5m2x2" | "f32x2" | "u16x2" | "s16x2", _) => format!("r_b{bits}"),
        (name, false) => format!("r_{name}"),
    }
}

fn typed(
    pattern: &TypedPattern,
    is_written: bool,
    bindings: &Bindings,
    pick: &mut dyn FnMut(usize) -> usize,
) -> String {
    let name = name_of(pattern.ty, bindings);
    let count = match pattern.vector {
        Vector::None => None,
        Vector::Fixed(count) => Some(count),
        Vector::Bound(letter) => bindings.of(letter).and_then(|name| name.trim_start_matches(['v', 'x']).parse().ok()),
    };
    if let Some(count) = count {
        return format!("{{{}}}", vec![register(name, pattern.is_double); count].join(", "));
    }
    let is_integer = matches!(name, "u16" | "s16" | "u32" | "s32" | "u64" | "s64" | "b16" | "b32" | "b64");
    if pattern.takes_sink && pick(4) == 0 {
        return "_".to_string();
    }
    if !is_written && is_integer && !pattern.is_register && pick(4) == 0 {
        return "1".to_string();
    }
    register(name, pattern.is_double)
}

fn text(kind: &Kind, is_written: bool, bindings: &Bindings, pick: &mut dyn FnMut(usize) -> usize) -> String {
    match kind {
        Kind::Typed(pattern) => typed(pattern, is_written, bindings, pick),
        Kind::Predicate(true) if pick(2) == 0 => "!r_q".to_string(),
        Kind::Predicate(_) => "r_p".to_string(),
        Kind::Pair(first, is_optional) => {
            let first = text(first, is_written, bindings, pick);
            if *is_optional && pick(2) == 0 {
                first
            } else {
                format!("{first}|r_q")
            }
        }
        Kind::Address(space) => {
            let space = match space {
                SpaceName::Named(name) => name,
                SpaceName::Bound(letter) => bindings.of(*letter).unwrap_or("generic"),
            };
            let is_narrow = space.starts_with("shared") && pick(2) == 0;
            format!("[{}]", if is_narrow { "r_u32" } else { "r_u64" })
        }
        Kind::Tensor => {
            let count = bindings.of('N').and_then(|name| name.trim_end_matches('d').parse().ok()).unwrap_or(1);
            format!("[r_u64, {{{}}}]", vec!["r_s32"; count].join(", "))
        }
        Kind::Literal(Range::Between(least, most)) => most.min(&(least + 8)).to_string(),
        Kind::Literal(Range::OneOf(values)) => values.first().copied().unwrap_or_default().to_string(),
        Kind::Label => "here".to_string(),
        Kind::List => "targets".to_string(),
        Kind::Call => "callee, (r_u32)".to_string(),
        Kind::Barrier => ["3", "r_u32"][pick(2).min(1)].to_string(),
        Kind::Threads => ["64", "r_u32"][pick(2).min(1)].to_string(),
        Kind::Parity => ["1", "r_u32"][pick(2).min(1)].to_string(),
        Kind::Bytes16 => ["32", "r_u32"][pick(2).min(1)].to_string(),
        Kind::Fraction => ["0.5", "r_f32"][pick(2).min(1)].to_string(),
        Kind::Sink => "_".to_string(),
        Kind::Move(ty) | Kind::Place(ty) => register(name_of(*ty, bindings), false),
        Kind::Pack(ty) => {
            let bits = shape(name_of(*ty, bindings)).map_or(32, |(_, bits)| bits);
            let count = if bits == 16 || pick(2) == 0 { 2 } else { 4 };
            let register = format!("r_b{}", bits / count);
            format!("{{{}}}", vec![register; count as usize].join(", "))
        }
    }
}
