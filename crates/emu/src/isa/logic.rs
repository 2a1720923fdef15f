//! Logic, shifts, byte permutation; on predicates too.

use super::lower::{Lower, Reason};
use crate::program::{Args, Pure, Registers};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

/// Predicate logic: sources `a` and `b`, `imm` bit 0 negates `a`, bit 1 negates `b`, bits 2.. name the operation.
fn predicate_logic(r: &mut Registers, mask: u32, s: &Args) {
    let a = r.predicates[s.a as usize] ^ if s.imm & 1 != 0 { u32::MAX } else { 0 };
    let b = r.predicates[s.b as usize] ^ if s.imm & 2 != 0 { u32::MAX } else { 0 };
    let bits = match s.imm >> 2 {
        0 => a & b,
        1 => a | b,
        2 => a ^ b,
        _ => !a,
    };
    r.write_predicate(s.d, mask, bits);
}

pub(super) fn logic(l: &mut Lower) -> Done {
    let opcode = l.instruction.opcode.as_str();
    if opcode == "lop3" {
        return lop3(l);
    }
    let ty = l.modifiers.ty()?;
    let one = matches!(opcode, "not" | "cnot");
    let count = if one { 2 } else { 3 };
    l.finish(count..=count)?;
    if ty == Type::Pred {
        let code = match opcode {
            "and" => 0,
            "or" => 1,
            "xor" => 2,
            "not" => 3,
            _ => return Err("cnot has no predicates".into()),
        };
        let target = l.operand(0)?;
        let d = l.dest_predicate(target)?;
        let first = l.operand(1)?;
        let (a, not_a) = l.source_predicate(first)?;
        let (b, not_b) = if one { (a, false) } else { l.source_predicate(l.operand(2)?)? };
        l.emit_pure(
            predicate_logic,
            Args { d, a, b, imm: code << 2 | not_a as u32 | (not_b as u32) << 1, ..Args::default() },
        );
        return Ok(());
    }
    let run = match (opcode, ty) {
        ("and", Type::B16 | Type::B32 | Type::B64) => binary!(|a, b| a & b),
        ("or", Type::B16) => binary!(|a, b| (a | b) & 0xffff),
        ("or", Type::B32) => binary!(|a, b| (a | b) & 0xffff_ffff),
        ("or", Type::B64) => binary!(|a, b| a | b),
        ("xor", Type::B16) => binary!(|a, b| (a ^ b) & 0xffff),
        ("xor", Type::B32) => binary!(|a, b| (a ^ b) & 0xffff_ffff),
        ("xor", Type::B64) => binary!(|a, b| a ^ b),
        ("not", Type::B16) => unary!(|a| !a & 0xffff),
        ("not", Type::B32) => unary!(|a| !a & 0xffff_ffff),
        ("not", Type::B64) => unary!(|a| !a),
        ("cnot", Type::B16) => unary!(|a| (a as u16 == 0) as u64),
        ("cnot", Type::B32) => unary!(|a| (a as u32 == 0) as u64),
        ("cnot", Type::B64) => unary!(|a| (a == 0) as u64),
        _ => return Err(format!("type {ty:?} is not supported here")),
    };
    let (d, a) = (l.dest_for(0, ty)?, l.source(1, ty)?);
    let b = if one { a } else { l.source(2, ty)? };
    l.emit_pure(run, Args { d, a, b, ..Args::default() });
    Ok(())
}

fn lut3(a: u32, b: u32, c: u32, lut: u32) -> u32 {
    let mut out = 0;
    for term in 0..8 {
        if lut >> term & 1 == 1 {
            let x = if term & 4 != 0 { a } else { !a };
            let y = if term & 2 != 0 { b } else { !b };
            let z = if term & 1 != 0 { c } else { !c };
            out |= x & y & z;
        }
    }
    out
}

fn lop3_lanes(r: &mut Registers, mask: u32, s: &Args) {
    let lut = s.imm;
    r.ternary(mask, s, |a, b, c| lut3(a as u32, b as u32, c as u32, lut) as u64)
}

/// Predicate `d`: whether column `a` is not zero, joined with predicate `c` by `imm` bits 0 to 1 (1 and, 2 or), of which
/// bit 2 negates `c`.
fn test_and_join(r: &mut Registers, mask: u32, s: &Args) {
    let bits = r.compare(mask, &Args { b: s.a, ..*s }, |a, _| a as u32 != 0);
    let c = r.predicates[s.c as usize] ^ if s.imm & 4 != 0 { u32::MAX } else { 0 };
    r.write_predicate(s.d, mask, if s.imm & 3 == 1 { bits & c } else { bits | c });
}

fn lop3(l: &mut Lower) -> Done {
    let join = l.modifiers.choice(&[("and", 1), ("or", 2)]);
    let ty = l.modifiers.ty()?;
    if ty != Type::B32 {
        return Err(format!("type {ty:?} is not supported here"));
    }
    let count = 5 + join.is_some() as usize;
    l.finish(count..=count)?;
    let target = l.operand(0)?;
    let (value, predicate) = match (target, join) {
        (Operand::Pair(d, p), Some(_)) => (&**d, Some(&**p)),
        (_, Some(_)) => return Err("the predicate form of lop3 needs d|p".into()),
        (d, None) => (d, None),
    };
    let (a, b, c) = (l.source(1, ty)?, l.source(2, ty)?, l.source(3, ty)?);
    let dest = l.dest_of(value)?;
    if dest.bytes < ty.bytes() {
        return Err("the destination register is too narrow".into());
    }
    let d = dest.column;
    let Operand::Integer(lut @ 0..=255) = l.operand(4)? else {
        return Err("the table must be a literal in 0..=255".into());
    };
    l.emit_pure(lop3_lanes, Args { d, a, b, c, imm: *lut as u32, ..Args::default() });
    if let (Some(predicate), Some(join)) = (predicate, join) {
        let (c, negated) = l.source_predicate(l.operand(5)?)?;
        let p = l.dest_predicate(predicate)?;
        l.emit_pure(test_and_join, Args { d: p, a: d, c, imm: join | (negated as u32) << 2, ..Args::default() });
    }
    Ok(())
}

pub(super) fn shift(l: &mut Lower) -> Done {
    let left = l.instruction.opcode == "shl";
    let ty = l.modifiers.ty()?;
    l.finish(3..=3)?;
    // Amounts beyond the width act as the width.
    let run = match (left, ty) {
        (true, Type::B16) => binary!(|a, b| if b > 15 { 0 } else { (a << b) & 0xffff }),
        (true, Type::B32) => binary!(|a, b| if b as u32 > 31 { 0 } else { (a << (b & 31)) & 0xffff_ffff }),
        (true, Type::B64) => binary!(|a, b| if b as u32 > 63 { 0 } else { a << (b & 63) }),
        (false, Type::B16 | Type::U16) => binary!(|a, b| if b as u32 > 15 { 0 } else { (a & 0xffff) >> (b & 15) }),
        (false, Type::B32 | Type::U32) => {
            binary!(|a, b| if b as u32 > 31 { 0 } else { (a & 0xffff_ffff) >> (b & 31) })
        }
        (false, Type::B64 | Type::U64) => binary!(|a, b| if b as u32 > 63 { 0 } else { a >> (b & 63) }),
        (false, Type::S16) => binary!(|a, b| (a as i16 >> (b as u32).min(15)) as u16 as u64),
        (false, Type::S32) => binary!(|a, b| (a as i32 >> (b as u32).min(31)) as u32 as u64),
        (false, Type::S64) => binary!(|a, b| (a as i64 >> (b as u32).min(63)) as u64),
        _ => return Err(format!("type {ty:?} is not supported here")),
    };
    let (d, a, b) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, Type::U32)?);
    l.emit_pure(run, Args { d, a, b, ..Args::default() });
    Ok(())
}

pub(super) fn funnel(l: &mut Lower) -> Done {
    let left = l.modifiers.require("direction", &[("l", true), ("r", false)])?;
    let clamp = l.modifiers.require("mode", &[("clamp", true), ("wrap", false)])?;
    let ty = l.modifiers.ty()?;
    if ty != Type::B32 {
        return Err(format!("type {ty:?} is not supported here"));
    }
    l.finish(4..=4)?;
    let run = match (left, clamp) {
        (true, true) => ternary!(|a, b, c| ((b << 32 | (a & 0xffff_ffff)) << (c as u32).min(32)) >> 32),
        (true, false) => ternary!(|a, b, c| ((b << 32 | (a & 0xffff_ffff)) << (c & 31)) >> 32),
        (false, true) => {
            ternary!(|a, b, c| ((b << 32 | (a & 0xffff_ffff)) >> (c as u32).min(32)) & 0xffff_ffff)
        }
        (false, false) => ternary!(|a, b, c| ((b << 32 | (a & 0xffff_ffff)) >> (c & 31)) & 0xffff_ffff),
    };
    let (d, a, b, c) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, ty)?, l.source(3, Type::U32)?);
    l.emit_pure(run, Args { d, a, b, c, ..Args::default() });
    Ok(())
}

/// Byte of `b:a` that a selector nibble names; its top bit spreads the byte's sign.
fn select_byte(a: u64, b: u64, nibble: u64) -> u64 {
    let bytes = b << 32 | (a & 0xffff_ffff);
    let byte = (bytes >> (8 * (nibble & 7))) & 0xff;
    match nibble & 8 {
        0 => byte,
        _ => (byte >> 7) * 0xff,
    }
}

fn permute(a: u64, b: u64, c: u64) -> u64 {
    (0..4).map(|i| select_byte(a, b, c >> (4 * i)) << (8 * i)).sum()
}

/// Selectors of the named modes, by the low two bits of `c`.
fn permute_by(table: [u64; 4], a: u64, b: u64, c: u64) -> u64 {
    permute(a, b, table[(c & 3) as usize])
}

pub(super) fn prmt(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    let run: Pure = match l.modifiers.choice(&[("f4e", 1), ("b4e", 2), ("rc8", 3), ("ecl", 4), ("ecr", 5), ("rc16", 6)])
    {
        None => ternary!(permute),
        Some(1) => ternary!(|a, b, c| permute_by([0x3210, 0x4321, 0x5432, 0x6543], a, b, c)),
        Some(2) => ternary!(|a, b, c| permute_by([0x5670, 0x6701, 0x7012, 0x0123], a, b, c)),
        Some(3) => ternary!(|a, b, c| permute_by([0x0000, 0x1111, 0x2222, 0x3333], a, b, c)),
        Some(4) => ternary!(|a, b, c| permute_by([0x3210, 0x3211, 0x3222, 0x3333], a, b, c)),
        Some(5) => ternary!(|a, b, c| permute_by([0x0000, 0x1110, 0x2210, 0x3210], a, b, c)),
        _ => ternary!(|a, b, c| permute_by([0x1010, 0x3232, 0x1010, 0x3232], a, b, c)),
    };
    if ty != Type::B32 {
        return Err(format!("type {ty:?} is not supported here"));
    }
    l.finish(4..=4)?;
    let (d, a, b, c) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, ty)?, l.source(3, ty)?);
    l.emit_pure(run, Args { d, a, b, c, ..Args::default() });
    Ok(())
}

/// Constant truth of a predicate literal, for `mov.pred`.
pub(super) fn set_predicate(r: &mut Registers, mask: u32, s: &Args) {
    let bits = r.predicates[s.a as usize] ^ if s.imm & 1 != 0 { u32::MAX } else { 0 };
    r.write_predicate(s.d, mask, bits);
}
