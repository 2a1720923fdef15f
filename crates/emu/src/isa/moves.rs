//! `mov`: registers, constants, addresses, packing and unpacking.

use super::logic::set_predicate;
use super::lower::{Lower, Reason};
use crate::program::{Args, Pure};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

pub(super) fn copy() -> Pure {
    unary!(|a| a)
}

/// `a` shifted right by `imm` bits, cut to the width in column units: used to unpack.
fn take_part(r: &mut crate::program::Registers, mask: u32, s: &Args) {
    let (shift, bits) = (s.imm & 0xff, s.imm >> 8);
    let keep = u64::MAX >> (64 - bits);
    r.unary(mask, s, |a| (a >> shift) & keep)
}

/// `a | b << imm`: used to pack.
fn join_part(r: &mut crate::program::Registers, mask: u32, s: &Args) {
    let shift = s.imm;
    r.binary(mask, s, |a, b| a | b << shift)
}

/// Predicate `d` from a column of 0 and 1.
fn is_set(r: &mut crate::program::Registers, mask: u32, s: &Args) {
    let bits = r.compare(mask, s, |a, _| a != 0);
    r.write_predicate(s.d, mask, bits);
}

pub(super) fn mov(l: &mut Lower) -> Done {
    let elements = l.modifiers.vector();
    let ty = l.modifiers.ty()?;
    if elements > 1 {
        return move_vector(l, ty, elements as usize);
    }
    l.finish(2..=2)?;
    let (target, source) = (l.operand(0)?, l.operand(1)?);
    if ty == Type::Pred {
        let d = l.dest_predicate(target)?;
        if let Operand::Special(_) = source {
            let a = l.source_of(source, Type::U32)?;
            l.emit_pure(is_set, Args { d, a, b: a, ..Args::default() });
            return Ok(());
        }
        let (a, negated) = l.source_predicate(source)?;
        l.emit_pure(set_predicate, Args { d, a, imm: negated as u32, ..Args::default() });
        return Ok(());
    }
    match (target, source) {
        (Operand::Vector(parts), _) => unpack(l, ty, parts, source),
        (_, Operand::Vector(parts)) => pack(l, ty, target, parts),
        _ if ty == Type::B128 => {
            let ((dl, dh), (sl, sh)) = (l.wide(target, true)?, l.wide(source, false)?);
            l.emit_pure(copy(), Args { d: dl, a: sl, ..Args::default() });
            l.emit_pure(copy(), Args { d: dh, a: sh, ..Args::default() });
            Ok(())
        }
        _ => {
            let (d, a) = (l.dest_for(0, ty)?, l.source(1, ty)?);
            let run = match ty.bytes() {
                4 => unary!(|a| a & 0xffff_ffff),
                2 => unary!(|a| a & 0xffff),
                1 => unary!(|a| a & 0xff),
                _ => copy(),
            };
            l.emit_pure(run, Args { d, a, ..Args::default() });
            Ok(())
        }
    }
}

/// `mov.v2` and `mov.v4`: element by element, all read before one is written.
fn move_vector(l: &mut Lower, ty: Type, elements: usize) -> Done {
    l.finish(2..=2)?;
    let whole: Vec<Operand>;
    let sources = match l.operand(1)? {
        Operand::Vector(sources) => sources,
        Operand::Special(name) if warpferry_ptx::is_special_vector(name) => {
            if elements != 4 || !matches!(ty, Type::U32 | Type::B32 | Type::U16 | Type::B16) {
                return Err(format!("%{name} has four elements of 32 bits, read as .u32 or .u16"));
            }
            whole = ["x", "y", "z", "w"].iter().map(|axis| Operand::Special(format!("{name}.{axis}"))).collect();
            &whole
        }
        _ => return Err(format!("a vector move is from {elements} registers to {elements} registers")),
    };
    let Operand::Vector(targets) = l.operand(0)? else {
        return Err(format!("a vector move is from {elements} registers to {elements} registers"));
    };
    if ty == Type::Pred || ty.bytes() > 8 || elements > 4 {
        return Err(format!("vectors of {elements} elements of type {ty:?} are not supported"));
    }
    if targets.len() != elements || sources.len() != elements {
        return Err(format!("vectors of {} and {} elements, must be {elements}", targets.len(), sources.len()));
    }
    let mut copied = Vec::new();
    for source in sources {
        let (d, a) = (l.temporary()?, l.source_of(source, ty)?);
        l.emit_pure(take_part, Args { d, a, imm: (ty.bytes() * 8) << 8, ..Args::default() });
        copied.push(d);
    }
    for (target, a) in targets.iter().zip(copied) {
        let dest = l.dest_of(target)?;
        if dest.bytes < ty.bytes() {
            return Err(format!("the destination register is too narrow for {ty:?}"));
        }
        l.emit_pure(copy(), Args { d: dest.column, a, ..Args::default() });
    }
    Ok(())
}

/// Width of a part in bits.
fn part_bits(ty: Type, parts: usize) -> Result<u32, Reason> {
    let bits = ty.bytes() * 8;
    let valid = matches!(ty, Type::B16 | Type::B32 | Type::B64 | Type::B128) && matches!(parts, 2 | 4);
    if !valid || bits / (parts as u32) < 8 {
        return Err(format!("{parts} parts do not make up {ty:?}"));
    }
    Ok(bits / parts as u32)
}

fn unpack(l: &mut Lower, ty: Type, parts: &[Operand], source: &Operand) -> Done {
    let bits = part_bits(ty, parts.len())?;
    let columns = if ty == Type::B128 {
        let (low, high) = l.wide(source, false)?;
        [low, high]
    } else {
        let column = l.source_of(source, ty)?;
        // A part may be the source register itself: take the parts from a copy.
        let copied = l.temporary()?;
        l.emit_pure(copy(), Args { d: copied, a: column, ..Args::default() });
        [copied, copied]
    };
    for (index, part) in parts.iter().enumerate() {
        if matches!(part, Operand::Sink) {
            continue;
        }
        let dest = l.dest_of(part)?;
        if dest.bytes * 8 < bits {
            return Err(format!("part {} is narrower than {bits} bits", index + 1));
        }
        let at = bits * index as u32;
        let (column, shift) = (columns[(at / 64) as usize], at % 64);
        l.emit_pure(take_part, Args { d: dest.column, a: column, imm: shift | bits << 8, ..Args::default() });
    }
    Ok(())
}

fn pack(l: &mut Lower, ty: Type, target: &Operand, parts: &[Operand]) -> Done {
    let bits = part_bits(ty, parts.len())?;
    let part_type = match bits {
        8 => Type::B8,
        16 => Type::B16,
        32 => Type::B32,
        _ => Type::B64,
    };
    let targets = if ty == Type::B128 {
        let (low, high) = l.wide(target, true)?;
        vec![low, high]
    } else {
        let dest = l.dest_of(target)?;
        if dest.bytes < ty.bytes() {
            return Err(format!("the destination register is too narrow for {ty:?}"));
        }
        vec![dest.column]
    };
    let per_target = parts.len() / targets.len();
    let mut packed = Vec::new();
    for half in parts.chunks(per_target) {
        let mut whole = None;
        for (index, part) in half.iter().enumerate() {
            let column = l.source_of(part, part_type)?;
            let cut = l.temporary()?;
            l.emit_pure(take_part, Args { d: cut, a: column, imm: bits << 8, ..Args::default() });
            whole = Some(match whole {
                None => cut,
                Some(low) => {
                    let d = l.temporary()?;
                    l.emit_pure(join_part, Args { d, a: low, b: cut, imm: bits * index as u32, ..Args::default() });
                    d
                }
            });
        }
        packed.push(whole.expect("a chunk has a part"));
    }
    for (d, a) in targets.into_iter().zip(packed) {
        l.emit_pure(copy(), Args { d, a, ..Args::default() });
    }
    Ok(())
}
