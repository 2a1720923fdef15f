//! Extended-precision arithmetic: the condition code is a predicate per warp.

use super::integer::{Part, PARTS};
use super::lower::{Lower, Reason};
use crate::program::{lanes, Args, Pure, Registers, CARRY};
use warpferry_ptx::ast::Type;

type Done = Result<(), Reason>;

/// `a + b + carry in` in `BITS` bits; `OUT` writes the condition code, `IN` reads it.
fn sum<const BITS: u32, const IN: bool, const OUT: bool>(r: &mut Registers, mask: u32, s: &Args) {
    for i in lanes(mask) {
        let (a, b) = (narrow::<BITS>(r.columns[s.a as usize][i]), narrow::<BITS>(r.columns[s.b as usize][i]));
        let carry = if IN { r.predicates[CARRY as usize] >> i & 1 } else { 0 };
        let total = a as u128 + b as u128 + carry as u128;
        finish::<BITS, OUT>(r, s.d, i, total);
    }
}

/// `a - b`, less one when carry in is clear: hardware adds `!b`, so the condition code holds the opposite of a borrow.
/// Chains of subtractions do not show it; `addc` and `madc` after a subtraction, or `subc` after an addition, do.
fn difference<const BITS: u32, const IN: bool, const OUT: bool>(r: &mut Registers, mask: u32, s: &Args) {
    for i in lanes(mask) {
        let (a, b) = (narrow::<BITS>(r.columns[s.a as usize][i]), narrow::<BITS>(!r.columns[s.b as usize][i]));
        let carry = if IN { r.predicates[CARRY as usize] >> i & 1 } else { 1 };
        let total = a as u128 + b as u128 + carry as u128;
        finish::<BITS, OUT>(r, s.d, i, total);
    }
}

/// Low or high half (`imm` 1) of `a * b`, plus `c` and the carry in. `imm` 2 marks signed operands.
fn product<const BITS: u32, const IN: bool, const OUT: bool>(r: &mut Registers, mask: u32, s: &Args) {
    for i in lanes(mask) {
        let at = |column: u16| narrow::<BITS>(r.columns[column as usize][i]);
        let (a, b, c) = (at(s.a), at(s.b), at(s.c));
        let whole = if s.imm & 2 != 0 {
            let extend = |v: u64| ((v << (64 - BITS)) as i64 >> (64 - BITS)) as i128;
            (extend(a) * extend(b)) as u128
        } else {
            a as u128 * b as u128
        };
        let part = if s.imm & 1 != 0 { whole >> BITS } else { whole };
        let carry = if IN { r.predicates[CARRY as usize] >> i & 1 } else { 0 };
        let total = narrow::<BITS>(part as u64) as u128 + c as u128 + carry as u128;
        finish::<BITS, OUT>(r, s.d, i, total);
    }
}

fn narrow<const BITS: u32>(value: u64) -> u64 {
    value & (u64::MAX >> (64 - BITS))
}

fn finish<const BITS: u32, const OUT: bool>(r: &mut Registers, d: u16, lane: usize, total: u128) {
    r.columns[d as usize][lane] = narrow::<BITS>(total as u64);
    if OUT {
        let carry = (total >> BITS) as u32 & 1;
        r.write_predicate(CARRY, 1 << lane, carry << lane);
    }
}

/// Which of the eight variants an instruction is.
macro_rules! variant {
    ($name:ident, $wide:expr, $input:expr, $output:expr) => {
        match ($wide, $input, $output) {
            (false, false, true) => $name::<32, false, true> as Pure,
            (false, true, false) => $name::<32, true, false> as Pure,
            (false, true, true) => $name::<32, true, true> as Pure,
            (false, false, false) => $name::<32, false, false> as Pure,
            (true, false, true) => $name::<64, false, true> as Pure,
            (true, true, false) => $name::<64, true, false> as Pure,
            (true, true, true) => $name::<64, true, true> as Pure,
            (true, false, false) => $name::<64, false, false> as Pure,
        }
    };
}

fn integer_type(l: &mut Lower) -> Result<Type, Reason> {
    match l.modifiers.ty()? {
        ty @ (Type::U32 | Type::S32 | Type::B32 | Type::U64 | Type::S64 | Type::B64) => Ok(ty),
        ty => Err(format!("type {ty:?} is not supported here")),
    }
}

fn two(l: &mut Lower, ty: Type, run: Pure) -> Done {
    l.finish(3..=3)?;
    let (d, a, b) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, ty)?);
    l.emit_pure(run, Args { d, a, b, ..Args::default() });
    Ok(())
}

/// `add.cc`, its `.cc` already taken.
pub(super) fn add(l: &mut Lower) -> Done {
    let ty = integer_type(l)?;
    two(l, ty, variant!(sum, ty.bytes() == 8, false, true))
}

/// `sub.cc`, its `.cc` already taken.
pub(super) fn sub(l: &mut Lower) -> Done {
    let ty = integer_type(l)?;
    two(l, ty, variant!(difference, ty.bytes() == 8, false, true))
}

pub(super) fn addc(l: &mut Lower) -> Done {
    let (out, ty) = (l.modifiers.flag("cc"), integer_type(l)?);
    two(l, ty, variant!(sum, ty.bytes() == 8, true, out))
}

pub(super) fn subc(l: &mut Lower) -> Done {
    let (out, ty) = (l.modifiers.flag("cc"), integer_type(l)?);
    two(l, ty, variant!(difference, ty.bytes() == 8, true, out))
}

/// `mad.cc`, part and `.cc` already taken.
pub(super) fn mad(l: &mut Lower, part: Part) -> Done {
    multiply(l, part, false, true)
}

pub(super) fn madc(l: &mut Lower) -> Done {
    let part = l.modifiers.require("part of the product", PARTS)?;
    let out = l.modifiers.flag("cc");
    multiply(l, part, true, out)
}

fn multiply(l: &mut Lower, part: Part, input: bool, output: bool) -> Done {
    let ty = integer_type(l)?;
    if part == Part::Wide {
        return Err(".wide has no carry".into());
    }
    l.finish(4..=4)?;
    let run = variant!(product, ty.bytes() == 8, input, output);
    let (d, a, b, c) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, ty)?, l.source(3, ty)?);
    let signed = matches!(ty, Type::S32 | Type::S64);
    let imm = (part == Part::High) as u32 | (signed as u32) << 1;
    l.emit_pure(run, Args { d, a, b, c, imm, ..Args::default() });
    Ok(())
}
