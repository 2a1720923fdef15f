//! Video instructions, scalar and of two or four elements. [`crate::video`] runs them.

use super::lower::{Lower, Reason};
use crate::program::{Args, Op};
use crate::video::{Lanes, Multiply, Part, Primary, Relation, Scalar, Secondary, Video};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

const RELATIONS: &[(&str, Relation)] = &[
    ("eq", Relation::Equal),
    ("ne", Relation::NotEqual),
    ("lt", Relation::Less),
    ("le", Relation::LessEqual),
    ("gt", Relation::Greater),
    ("ge", Relation::GreaterEqual),
];

const SECONDARY: &[(&str, Secondary)] =
    &[("add", Secondary::Add), ("min", Secondary::Least), ("max", Secondary::Greatest)];

/// An operand with what is selected of it.
struct Selected<'m> {
    operand: Operand,
    selector: &'m str,
    negated: bool,
}

fn selected<'m>(l: &Lower<'_, 'm>, index: usize) -> Result<Selected<'m>, Reason> {
    Ok(match l.operand(index)? {
        Operand::Part { register, selector, negated } => {
            Selected { operand: Operand::Register(*register), selector, negated: *negated }
        }
        other => Selected { operand: other.clone(), selector: "", negated: false },
    })
}

/// The selected part of operand `index`, which is not negated.
fn part(l: &Lower, index: usize) -> Result<(Operand, Part), Reason> {
    let Selected { operand, selector, negated } = selected(l, index)?;
    if negated {
        return Err(format!("operand {} cannot be negated", index + 1));
    }
    Ok((operand, part_of(selector)?))
}

fn part_of(selector: &str) -> Result<Part, Reason> {
    let bits = match selector.split_at(selector.len().min(1)) {
        ("", _) => return Ok(Part::ALL),
        ("b", "0" | "1" | "2" | "3") => 8,
        ("h", "0" | "1") => 16,
        _ => return Err(format!(".{selector} is not one of .b0 .b1 .b2 .b3 .h0 .h1")),
    };
    let index = u32::from(selector.as_bytes()[1] - b'0');
    Ok(Part { bits, at: bits * index })
}

/// `.u32` or `.s32`.
fn is_signed(l: &mut Lower) -> Result<bool, Reason> {
    match l.modifiers.ty()? {
        Type::U32 => Ok(false),
        Type::S32 => Ok(true),
        ty => Err(format!("type {ty:?} is not supported here, only U32 and S32")),
    }
}

/// `vadd`, `vsub`, `vabsdiff`, `vmin`, `vmax`, `vshl`, `vshr`, `vset`.
pub(super) fn scalar(l: &mut Lower) -> Done {
    let opcode = l.instruction.opcode.as_str();
    let signed = match opcode {
        "vset" => [false, is_signed(l)?, is_signed(l)?],
        _ => [is_signed(l)?, is_signed(l)?, is_signed(l)?],
    };
    let saturate = opcode != "vset" && l.modifiers.flag("sat");
    let wraps = |l: &mut Lower| l.modifiers.require("mode", &[("clamp", false), ("wrap", true)]);
    let primary = match opcode {
        "vadd" => Primary::Add,
        "vsub" => Primary::Subtract,
        "vabsdiff" => Primary::Difference,
        "vmin" => Primary::Least,
        "vmax" => Primary::Greatest,
        "vshl" => Primary::ShiftLeft(wraps(l)?),
        "vshr" => Primary::ShiftRight(wraps(l)?),
        _ => Primary::Compare(l.modifiers.require("comparison", RELATIONS)?),
    };
    if matches!(opcode, "vshl" | "vshr") && signed[2] {
        return Err("the amount of a shift is .u32".into());
    }
    let mut secondary = l.modifiers.choice(SECONDARY).unwrap_or(Secondary::Nothing);
    let (target, into) = part(l, 0)?;
    if into != Part::ALL {
        if secondary != Secondary::Nothing {
            return Err("a result that is merged takes no .add, .min or .max".into());
        }
        secondary = Secondary::Merge(into);
    }
    let operands = if secondary == Secondary::Nothing { 3 } else { 4 };
    l.finish(operands..=operands)?;
    let ((a, first), (b, second)) = (part(l, 1)?, part(l, 2)?);
    let op = Scalar { primary, secondary, saturate, signed, parts: [first, second] };
    emit(l, Video::Scalar(op), &target, &a, &b, operands == 4)
}

/// `vmad`.
pub(super) fn multiply(l: &mut Lower) -> Done {
    // The type of the destination says nothing: the others and the signs decide whether the result is signed.
    is_signed(l)?;
    let signed = [is_signed(l)?, is_signed(l)?];
    let (plus_one, saturate) = (l.modifiers.flag("po"), l.modifiers.flag("sat"));
    let shift = l.modifiers.choice(&[("shr7", 7), ("shr15", 15)]).unwrap_or(0);
    l.finish(4..=4)?;
    let (target, into) = part(l, 0)?;
    let (a, b, c) = (selected(l, 1)?, selected(l, 2)?, selected(l, 3)?);
    if into != Part::ALL || !c.selector.is_empty() {
        return Err("the destination and the third operand are whole registers".into());
    }
    let negate_product = a.negated != b.negated;
    if plus_one && (a.negated || b.negated || c.negated) {
        return Err(".po goes with no negated operand".into());
    }
    if negate_product && c.negated {
        return Err("either the product or the third operand may be negated".into());
    }
    let op = Multiply {
        signed,
        parts: [part_of(a.selector)?, part_of(b.selector)?],
        negate_product,
        negate_third: c.negated,
        plus_one,
        saturate,
        shift,
    };
    let third = l.source_of(&c.operand, Type::U32)?;
    emit_with(l, Video::Multiply(op), &target, &a.operand, &b.operand, third)
}

/// `vadd2`, `vset4` and their kind.
pub(super) fn lanes(l: &mut Lower) -> Done {
    let opcode = l.instruction.opcode.as_str();
    let (name, digit) = opcode.split_at(opcode.len() - 1);
    let count = if digit == "2" { 2 } else { 4 };
    let signed = match name {
        "vset" => [false, is_signed(l)?, is_signed(l)?],
        _ => [is_signed(l)?, is_signed(l)?, is_signed(l)?],
    };
    let primary = match name {
        "vadd" => Primary::Add,
        "vsub" => Primary::Subtract,
        "vavrg" => Primary::Average,
        "vabsdiff" => Primary::Difference,
        "vmin" => Primary::Least,
        "vmax" => Primary::Greatest,
        _ => Primary::Compare(l.modifiers.require("comparison", RELATIONS)?),
    };
    let saturate = name != "vset" && l.modifiers.flag("sat");
    let accumulate = l.modifiers.flag("add");
    if saturate && accumulate {
        return Err(".sat does not go with .add".into());
    }
    l.finish(4..=4)?;
    let (d, a, b) = (selected(l, 0)?, selected(l, 1)?, selected(l, 2)?);
    if d.negated || a.negated || b.negated {
        return Err("no operand can be negated".into());
    }
    let selected = [elements(a.selector, count, 0)?, elements(b.selector, count, count as u32)?];
    let op = Lanes { primary, count, saturate, accumulate, signed, mask: mask(d.selector, count)?, selected };
    emit(l, Video::Lanes(op), &d.operand, &a.operand, &b.operand, true)
}

/// Letter of a selector of `count` elements.
fn letter(count: usize) -> char {
    if count == 2 {
        'h'
    } else {
        'b'
    }
}

/// `.h32`: which elements of both operands, the lowest one last; without a selector those from `first` on.
fn elements(selector: &str, count: usize, first: u32) -> Result<[u32; 4], Reason> {
    let mut found = std::array::from_fn(|i| first + i as u32);
    if selector.is_empty() {
        return Ok(found);
    }
    let digits: Option<Vec<u32>> =
        selector.strip_prefix(letter(count)).and_then(|rest| rest.chars().rev().map(|c| c.to_digit(10)).collect());
    match digits {
        Some(digits) if digits.len() == count && digits.iter().all(|d| *d < 2 * count as u32) => {
            found[..count].copy_from_slice(&digits);
            Ok(found)
        }
        _ => Err(format!(".{selector} does not select {count} elements, such as .h32 or .b7654")),
    }
}

/// `.b20`: the elements that are computed, in falling order; without a mask all.
fn mask(selector: &str, count: usize) -> Result<[bool; 4], Reason> {
    let mut found = [selector.is_empty(); 4];
    let digits: Vec<char> = selector.chars().skip(1).collect();
    let fits = selector.is_empty()
        || (selector.starts_with(letter(count))
            && digits.windows(2).all(|pair| pair[0] > pair[1])
            && digits.iter().all(|digit| digit.to_digit(10).is_some_and(|d| (d as usize) < count)));
    if !fits {
        return Err(format!(".{selector} is no mask of {count} elements, such as .h10 or .b20"));
    }
    for digit in digits {
        found[digit.to_digit(10).unwrap_or(0) as usize] = true;
    }
    Ok(found)
}

fn emit(l: &mut Lower, op: Video, d: &Operand, a: &Operand, b: &Operand, has_third: bool) -> Done {
    let third = if has_third { l.source(3, Type::U32)? } else { l.constant(0)? };
    emit_with(l, op, d, a, b, third)
}

fn emit_with(l: &mut Lower, op: Video, d: &Operand, a: &Operand, b: &Operand, c: u16) -> Done {
    let (a, b) = (l.source_of(a, Type::U32)?, l.source_of(b, Type::U32)?);
    let dest = l.dest_of(d)?;
    if dest.bytes < 4 {
        return Err("the destination register is too narrow for U32".into());
    }
    l.emit(Op::Video(op.into()), Args { d: dest.column, a, b, c, ..Args::default() });
    Ok(())
}
