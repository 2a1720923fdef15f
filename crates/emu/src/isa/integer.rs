//! Integer arithmetic. `add`, `sub`, `mul`, `min` and their kind go to the float file when the type says so.

use super::lower::{Lower, Reason};
use super::{carry, float};
use crate::program::{Args, Pure};
use warpferry_ptx::ast::Type;

type Done = Result<(), Reason>;

fn is_float(l: &Lower) -> bool {
    use Type::*;
    matches!(l.modifiers.peek_type(), Some(F16 | F16x2 | BF16 | BF16x2 | F32 | F64))
}

fn unsupported(ty: Type) -> Reason {
    format!("type {ty:?} is not supported here")
}

/// `op d, a` with both of type `ty`.
fn unary_of(l: &mut Lower, ty: Type, run: Option<Pure>) -> Done {
    l.finish(2..=2)?;
    let run = run.ok_or_else(|| unsupported(ty))?;
    let (d, a) = (l.dest_for(0, ty)?, l.source(1, ty)?);
    l.emit_pure(run, Args { d, a, ..Args::default() });
    Ok(())
}

/// `op d, a, b`, all of type `ty`.
fn binary_of(l: &mut Lower, ty: Type, run: Option<Pure>) -> Done {
    l.finish(3..=3)?;
    let run = run.ok_or_else(|| unsupported(ty))?;
    let (d, a, b) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, ty)?);
    l.emit_pure(run, Args { d, a, b, ..Args::default() });
    Ok(())
}

/// `op d, a, b, c`.
fn ternary_of(l: &mut Lower, out: Type, ab: Type, c: Type, run: Option<Pure>) -> Done {
    l.finish(4..=4)?;
    let run = run.ok_or_else(|| unsupported(ab))?;
    let (d, a, b, c) = (l.dest_for(0, out)?, l.source(1, ab)?, l.source(2, ab)?, l.source(3, c)?);
    l.emit_pure(run, Args { d, a, b, c, ..Args::default() });
    Ok(())
}

pub(super) fn add(l: &mut Lower) -> Done {
    if is_float(l) {
        return float::add(l);
    }
    if l.modifiers.flag("cc") {
        return carry::add(l);
    }
    if let Some(signed) = packed_type(l) {
        return packed_of(l, if signed { packed::<ADD, true> } else { packed::<ADD, false> });
    }
    let (saturate, ty) = (l.modifiers.flag("sat"), l.modifiers.ty()?);
    let run = match (saturate, ty) {
        (true, Type::S32) => by_integer!(ty, |a, b| a.saturating_add(b)),
        (true, _) => None,
        (false, _) => by_integer!(ty, |a, b| a.wrapping_add(b)),
    };
    binary_of(l, ty, run)
}

pub(super) fn sub(l: &mut Lower) -> Done {
    if is_float(l) {
        return float::sub(l);
    }
    if l.modifiers.flag("cc") {
        return carry::sub(l);
    }
    let (saturate, ty) = (l.modifiers.flag("sat"), l.modifiers.ty()?);
    let run = match (saturate, ty) {
        (true, Type::S32) => by_integer!(ty, |a, b| a.saturating_sub(b)),
        (true, _) => None,
        (false, _) => by_integer!(ty, |a, b| a.wrapping_sub(b)),
    };
    binary_of(l, ty, run)
}

/// Which part of a product is kept.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
    Low,
    High,
    Wide,
}

pub(super) const PARTS: &[(&str, Part)] = &[("lo", Part::Low), ("hi", Part::High), ("wide", Part::Wide)];

/// The type of a wide result.
fn wide(ty: Type) -> Result<Type, Reason> {
    Ok(match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return Err(unsupported(ty)),
    })
}

fn sx(value: u64, bits: u32) -> i128 {
    ((value << (64 - bits)) as i64 >> (64 - bits)) as i128
}

pub(super) fn mul(l: &mut Lower) -> Done {
    if is_float(l) {
        return float::mul(l);
    }
    let part = l.modifiers.require("part of the product", PARTS)?;
    let ty = l.modifiers.ty()?;
    if part != Part::Wide {
        let run = match part {
            Part::Low => by_integer!(ty, |a, b| a.wrapping_mul(b)),
            _ => high_product(ty),
        };
        return binary_of(l, ty, run);
    }
    let out = wide(ty)?;
    let run = match ty {
        Type::U16 => binary!(|a, b| (a & 0xffff) * (b & 0xffff)),
        Type::S16 => binary!(|a, b| (a as i16 as i32 * b as i16 as i32) as u32 as u64),
        Type::U32 => binary!(|a, b| (a as u32 as u64) * (b as u32 as u64)),
        _ => binary!(|a, b| (a as i32 as i64 * b as i32 as i64) as u64),
    };
    l.finish(3..=3)?;
    let (d, a, b) = (l.dest_for(0, out)?, l.source(1, ty)?, l.source(2, ty)?);
    l.emit_pure(run, Args { d, a, b, ..Args::default() });
    Ok(())
}

fn high_product(ty: Type) -> Option<Pure> {
    Some(match ty {
        Type::U16 => binary!(|a, b| ((a & 0xffff) * (b & 0xffff)) >> 16),
        Type::S16 => binary!(|a, b| ((a as i16 as i32 * b as i16 as i32) >> 16) as u16 as u64),
        Type::U32 => binary!(|a, b| ((a as u32 as u64) * (b as u32 as u64)) >> 32),
        Type::S32 => binary!(|a, b| ((a as i32 as i64 * b as i32 as i64) >> 32) as u32 as u64),
        Type::U64 => binary!(|a, b| ((a as u128 * b as u128) >> 64) as u64),
        Type::S64 => binary!(|a, b| ((a as i64 as i128 * b as i64 as i128) >> 64) as u64),
        _ => return None,
    })
}

pub(super) fn mad(l: &mut Lower) -> Done {
    if is_float(l) {
        return float::mad(l);
    }
    let part = l.modifiers.require("part of the product", PARTS)?;
    if l.modifiers.flag("cc") {
        return carry::mad(l, part);
    }
    let (saturate, ty) = (l.modifiers.flag("sat"), l.modifiers.ty()?);
    if saturate && !(part == Part::High && ty == Type::S32) {
        return Err(".sat needs .hi.s32".into());
    }
    match part {
        Part::Low => ternary_of(l, ty, ty, ty, by_integer!(ty, |a, b, c| a.wrapping_mul(b).wrapping_add(c))),
        Part::High => {
            let run = match ty {
                Type::S32 if saturate => Some(ternary!(|a, b, c| {
                    let high = ((a as i32 as i64 * b as i32 as i64) >> 32) as i32;
                    high.saturating_add(c as i32) as u32 as u64
                })),
                Type::U16 => Some(ternary!(|a, b, c| ((((a & 0xffff) * (b & 0xffff)) >> 16) + c) & 0xffff)),
                Type::S16 => Some(ternary!(|a, b, c| {
                    (((sx(a, 16) * sx(b, 16)) >> 16) as i16).wrapping_add(c as i16) as u16 as u64
                })),
                Type::U32 => {
                    Some(ternary!(|a, b, c| { (((a as u32 as u64 * b as u32 as u64) >> 32) + c) & 0xffff_ffff }))
                }
                Type::S32 => Some(ternary!(|a, b, c| {
                    (((a as i32 as i64 * b as i32 as i64) >> 32) as i32).wrapping_add(c as i32) as u32 as u64
                })),
                Type::U64 => Some(ternary!(|a, b, c| (((a as u128 * b as u128) >> 64) as u64).wrapping_add(c))),
                Type::S64 => {
                    Some(ternary!(|a, b, c| (((a as i64 as i128 * b as i64 as i128) >> 64) as u64).wrapping_add(c)))
                }
                _ => None,
            };
            ternary_of(l, ty, ty, ty, run)
        }
        Part::Wide => {
            let out = wide(ty)?;
            let run = match ty {
                Type::U16 => ternary!(|a, b, c| ((a & 0xffff) * (b & 0xffff) + c) & 0xffff_ffff),
                Type::S16 => {
                    ternary!(|a, b, c| { (a as i16 as i32 * b as i16 as i32).wrapping_add(c as i32) as u32 as u64 })
                }
                Type::U32 => ternary!(|a, b, c| ((a as u32 as u64) * (b as u32 as u64)).wrapping_add(c)),
                _ => ternary!(|a, b, c| (a as i32 as i64 * b as i32 as i64).wrapping_add(c as i64) as u64),
            };
            ternary_of(l, out, ty, out, Some(run))
        }
    }
}

/// Of the 48-bit product of two 24-bit values `lo` keeps bits 0 to 31, `hi` bits 16 to 47.
pub(super) fn mul24(l: &mut Lower) -> Done {
    let high = l.modifiers.require("part of the product", &[("lo", false), ("hi", true)])?;
    let ty = l.modifiers.ty()?;
    let run = match (ty, high) {
        (Type::U32, false) => binary!(|a, b| ((a & 0xff_ffff) * (b & 0xff_ffff)) & 0xffff_ffff),
        (Type::U32, true) => binary!(|a, b| (((a & 0xff_ffff) * (b & 0xff_ffff)) >> 16) & 0xffff_ffff),
        (Type::S32, false) => binary!(|a, b| (sx(a, 24) * sx(b, 24)) as u32 as u64),
        (Type::S32, true) => binary!(|a, b| ((sx(a, 24) * sx(b, 24)) >> 16) as u32 as u64),
        _ => return Err(unsupported(ty)),
    };
    binary_of(l, ty, Some(run))
}

pub(super) fn mad24(l: &mut Lower) -> Done {
    let high = l.modifiers.require("part of the product", &[("lo", false), ("hi", true)])?;
    if l.modifiers.flag("sat") {
        let ty = l.modifiers.ty()?;
        if !high || ty != Type::S32 {
            return Err(".sat needs .hi.s32".into());
        }
        let run = ternary!(|a, b, c| {
            let high = ((sx(a, 24) * sx(b, 24)) >> 16) as i32;
            high.saturating_add(c as i32) as u32 as u64
        });
        return ternary_of(l, ty, ty, ty, Some(run));
    }
    let ty = l.modifiers.ty()?;
    let run = match (ty, high) {
        (Type::U32, false) => ternary!(|a, b, c| ((a & 0xff_ffff) * (b & 0xff_ffff) + c) & 0xffff_ffff),
        (Type::U32, true) => ternary!(|a, b, c| ((((a & 0xff_ffff) * (b & 0xff_ffff)) >> 16) + c) & 0xffff_ffff),
        (Type::S32, false) => ternary!(|a, b, c| ((sx(a, 24) * sx(b, 24)) as u32).wrapping_add(c as u32) as u64),
        (Type::S32, true) => ternary!(|a, b, c| (((sx(a, 24) * sx(b, 24)) >> 16) as u32).wrapping_add(c as u32) as u64),
        _ => return Err(unsupported(ty)),
    };
    ternary_of(l, ty, ty, ty, Some(run))
}

pub(super) fn sad(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    let run = match ty {
        Type::U16 => Some(ternary!(|a, b, c| ((a as u16).abs_diff(b as u16) as u64 + c) & 0xffff)),
        Type::S16 => Some(ternary!(|a, b, c| ((a as i16).abs_diff(b as i16) as u64 + c) & 0xffff)),
        Type::U32 => Some(ternary!(|a, b, c| ((a as u32).abs_diff(b as u32) as u64 + c) & 0xffff_ffff)),
        Type::S32 => Some(ternary!(|a, b, c| ((a as i32).abs_diff(b as i32) as u64 + c) & 0xffff_ffff)),
        Type::U64 => Some(ternary!(|a, b, c| a.abs_diff(b).wrapping_add(c))),
        Type::S64 => Some(ternary!(|a, b, c| (a as i64).abs_diff(b as i64).wrapping_add(c))),
        _ => None,
    };
    ternary_of(l, ty, ty, ty, run)
}

pub(super) fn div(l: &mut Lower) -> Done {
    if is_float(l) {
        return float::div(l);
    }
    let ty = l.modifiers.ty()?;
    // The result of a division by zero is not specified; all ones is what the hardware gives.
    let run = by_integer!(ty, |a, b| if b == 0 { !b } else { a.wrapping_div(b) });
    binary_of(l, ty, run)
}

pub(super) fn rem(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    // As with a division, all ones.
    let run = by_integer!(ty, |a, b| if b == 0 { !b } else { a.wrapping_rem(b) });
    binary_of(l, ty, run)
}

pub(super) fn abs(l: &mut Lower) -> Done {
    if is_float(l) {
        return float::sign(l, true);
    }
    let ty = l.modifiers.ty()?;
    let run = match ty {
        Type::S16 => Some(unary!(|a| (a as i16).wrapping_abs() as u16 as u64)),
        Type::S32 => Some(unary!(|a| (a as i32).wrapping_abs() as u32 as u64)),
        Type::S64 => Some(unary!(|a| (a as i64).wrapping_abs() as u64)),
        _ => None,
    };
    unary_of(l, ty, run)
}

pub(super) fn neg(l: &mut Lower) -> Done {
    if is_float(l) {
        return float::sign(l, false);
    }
    let ty = l.modifiers.ty()?;
    let run = match ty {
        Type::S16 => Some(unary!(|a| (a as i16).wrapping_neg() as u16 as u64)),
        Type::S32 => Some(unary!(|a| (a as i32).wrapping_neg() as u32 as u64)),
        Type::S64 => Some(unary!(|a| (a as i64).wrapping_neg() as u64)),
        _ => None,
    };
    unary_of(l, ty, run)
}

pub(super) fn min(l: &mut Lower) -> Done {
    extreme(l, false)
}

pub(super) fn max(l: &mut Lower) -> Done {
    extreme(l, true)
}

fn extreme(l: &mut Lower, greatest: bool) -> Done {
    if is_float(l) {
        return float::minmax(l, greatest);
    }
    let relu = l.modifiers.flag("relu");
    if let Some(signed) = packed_type(l) {
        let run = match (greatest, signed, relu) {
            (false, false, false) => packed::<MIN, false>,
            (true, false, false) => packed::<MAX, false>,
            (false, true, false) => packed::<MIN, true>,
            (true, true, false) => packed::<MAX, true>,
            (false, true, true) => packed::<{ MIN | RELU }, true>,
            (true, true, true) => packed::<{ MAX | RELU }, true>,
            _ => return Err(".relu is for signed types".into()),
        };
        return packed_of(l, run);
    }
    let ty = l.modifiers.ty()?;
    if matches!(ty, Type::B16 | Type::B32 | Type::B64) {
        return Err(unsupported(ty));
    }
    let run = match (relu, ty, greatest) {
        (false, _, false) => by_integer!(ty, |a, b| if a < b { a } else { b }),
        (false, _, true) => by_integer!(ty, |a, b| if a > b { a } else { b }),
        (true, Type::S32, false) => Some(binary!(|a, b| (a as i32).min(b as i32).max(0) as u64)),
        (true, Type::S32, true) => Some(binary!(|a, b| (a as i32).max(b as i32).max(0) as u64)),
        (true, ..) => None,
    };
    binary_of(l, ty, run)
}

/// Operations on two halves of 16 bits.
const ADD: u8 = 0;
const MIN: u8 = 1;
const MAX: u8 = 2;
/// Negative results become 0.
const RELU: u8 = 4;

/// Takes `.u16x2` (false) or `.s16x2` (true).
fn packed_type(l: &mut Lower) -> Option<bool> {
    l.modifiers.choice(&[("u16x2", false), ("s16x2", true)])
}

fn packed_of(l: &mut Lower, run: Pure) -> Done {
    binary_of(l, Type::B32, Some(run))
}

fn packed<const OPERATION: u8, const SIGNED: bool>(r: &mut crate::program::Registers, mask: u32, s: &Args) {
    let half = |a: u64, b: u64| {
        let value = |v: u64| if SIGNED { v as i16 as i32 } else { v as u16 as i32 };
        let (a, b) = (value(a), value(b));
        let out = match OPERATION & 3 {
            ADD => a + b,
            MIN => a.min(b),
            _ => a.max(b),
        };
        (if OPERATION & RELU != 0 { out.max(0) } else { out }) as u16 as u64
    };
    r.binary(mask, s, |a, b| half(a, b) | half(a >> 16, b >> 16) << 16)
}

/// `op.type d, a` with a 32-bit result.
fn count(l: &mut Lower, ty: Type, narrow: Pure, wide: Pure) -> Done {
    l.finish(2..=2)?;
    let (d, a) = (l.dest_for(0, Type::U32)?, l.source(1, ty)?);
    l.emit_pure(if ty.bytes() == 8 { wide } else { narrow }, Args { d, a, ..Args::default() });
    Ok(())
}

pub(super) fn popc(l: &mut Lower) -> Done {
    match l.modifiers.ty()? {
        ty @ (Type::B32 | Type::B64) => {
            count(l, ty, unary!(|a| (a as u32).count_ones() as u64), unary!(|a| a.count_ones() as u64))
        }
        ty => Err(unsupported(ty)),
    }
}

pub(super) fn clz(l: &mut Lower) -> Done {
    match l.modifiers.ty()? {
        ty @ (Type::B32 | Type::B64) => {
            count(l, ty, unary!(|a| (a as u32).leading_zeros() as u64), unary!(|a| a.leading_zeros() as u64))
        }
        ty => Err(unsupported(ty)),
    }
}

/// Position of the highest bit that differs from the sign, or all ones; with `shift` its distance from the top.
fn find_bit(value: u64, bits: u32, signed: bool, shift: bool) -> u64 {
    let negative = signed && value >> (bits - 1) & 1 == 1;
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let found = if negative { !value & mask } else { value & mask };
    if found == 0 {
        return 0xffff_ffff;
    }
    let at = 63 - found.leading_zeros();
    (if shift { bits - 1 - at } else { at }) as u64
}

pub(super) fn bfind(l: &mut Lower) -> Done {
    let (shift, ty) = (l.modifiers.flag("shiftamt"), l.modifiers.ty()?);
    l.finish(2..=2)?;
    let run = match (ty, shift) {
        (Type::U32, false) => unary!(|a| find_bit(a, 32, false, false)),
        (Type::U32, true) => unary!(|a| find_bit(a, 32, false, true)),
        (Type::S32, false) => unary!(|a| find_bit(a, 32, true, false)),
        (Type::S32, true) => unary!(|a| find_bit(a, 32, true, true)),
        (Type::U64, false) => unary!(|a| find_bit(a, 64, false, false)),
        (Type::U64, true) => unary!(|a| find_bit(a, 64, false, true)),
        (Type::S64, false) => unary!(|a| find_bit(a, 64, true, false)),
        (Type::S64, true) => unary!(|a| find_bit(a, 64, true, true)),
        _ => return Err(unsupported(ty)),
    };
    let (d, a) = (l.dest_for(0, Type::U32)?, l.source(1, ty)?);
    l.emit_pure(run, Args { d, a, ..Args::default() });
    Ok(())
}

pub(super) fn brev(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    let run = match ty {
        Type::B32 => Some(unary!(|a| (a as u32).reverse_bits() as u64)),
        Type::B64 => Some(unary!(|a| a.reverse_bits())),
        _ => None,
    };
    unary_of(l, ty, run)
}

/// Bit field of `length` from `position`; a signed one is extended by its top bit.
fn extract(value: u64, position: u64, length: u64, bits: u32, signed: bool) -> u64 {
    let (position, length) = (position as u32 & 0xff, length as u32 & 0xff);
    let width = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let value = value & width;
    if length == 0 {
        return 0;
    }
    let top = (position + length - 1).min(bits - 1);
    let sign = signed && value >> top & 1 == 1;
    let field = if position >= bits { 0 } else { value >> position };
    let kept = length.min(bits.saturating_sub(position));
    let mask = if kept >= 64 { u64::MAX } else { (1u64 << kept) - 1 };
    (if sign { field | !mask } else { field & mask }) & width
}

pub(super) fn bfe(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    l.finish(4..=4)?;
    let run = match ty {
        Type::U32 => ternary!(|a, b, c| extract(a, b, c, 32, false)),
        Type::S32 => ternary!(|a, b, c| extract(a, b, c, 32, true)),
        Type::U64 => ternary!(|a, b, c| extract(a, b, c, 64, false)),
        Type::S64 => ternary!(|a, b, c| extract(a, b, c, 64, true)),
        _ => return Err(unsupported(ty)),
    };
    let (d, a) = (l.dest_for(0, ty)?, l.source(1, ty)?);
    let (b, c) = (l.source(2, Type::U32)?, l.source(3, Type::U32)?);
    l.emit_pure(run, Args { d, a, b, c, ..Args::default() });
    Ok(())
}

/// `field` put into `into` at `position`.
fn insert(field: u64, into: u64, position: u64, length: u64, bits: u32) -> u64 {
    let (position, length) = (position as u32 & 0xff, length as u32 & 0xff);
    if length == 0 || position >= bits {
        return into;
    }
    let kept = length.min(bits - position);
    let mask = if kept >= 64 { u64::MAX } else { ((1u64 << kept) - 1) << position };
    (into & !mask) | ((field << position) & mask)
}

pub(super) fn bfi(l: &mut Lower) -> Done {
    fn narrow(r: &mut crate::program::Registers, mask: u32, s: &Args) {
        insert_lanes(r, mask, s, 32)
    }
    fn wide(r: &mut crate::program::Registers, mask: u32, s: &Args) {
        insert_lanes(r, mask, s, 64)
    }
    fn insert_lanes(r: &mut crate::program::Registers, mask: u32, s: &Args, bits: u32) {
        for i in crate::program::lanes(mask) {
            let at = |column: u16| r.columns[column as usize][i];
            r.columns[s.d as usize][i] = insert(at(s.a), at(s.b), at(s.c), at(s.e), bits);
        }
    }
    let ty = l.modifiers.ty()?;
    l.finish(5..=5)?;
    let run = match ty {
        Type::B32 => narrow as Pure,
        Type::B64 => wide as Pure,
        _ => return Err(unsupported(ty)),
    };
    let (d, a, b) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, ty)?);
    let (c, e) = (l.source(3, Type::U32)?, l.source(4, Type::U32)?);
    l.emit_pure(run, Args { d, a, b, c, e, ..Args::default() });
    Ok(())
}

pub(super) fn bmsk(l: &mut Lower) -> Done {
    let wrap = l.modifiers.require("mode", &[("wrap", true), ("clamp", false)])?;
    let ty = l.modifiers.ty()?;
    if ty != Type::B32 {
        return Err(unsupported(ty));
    }
    let run = if wrap {
        binary!(|a, b| insert(u64::MAX, 0, a & 31, b & 31, 32))
    } else {
        binary!(|a, b| insert(u64::MAX, 0, (a as u32).min(32) as u64, (b as u32).min(32) as u64, 32))
    };
    binary_of(l, ty, Some(run))
}

pub(super) fn szext(l: &mut Lower) -> Done {
    let wrap = l.modifiers.require("mode", &[("wrap", true), ("clamp", false)])?;
    let ty = l.modifiers.ty()?;
    let run = match (ty, wrap) {
        (Type::U32, true) => binary!(|a, b| extract(a, 0, b & 31, 32, false)),
        (Type::U32, false) => binary!(|a, b| extract(a, 0, (b as u32).min(32) as u64, 32, false)),
        (Type::S32, true) => binary!(|a, b| extract(a, 0, b & 31, 32, true)),
        (Type::S32, false) => binary!(|a, b| extract(a, 0, (b as u32).min(32) as u64, 32, true)),
        _ => return Err(unsupported(ty)),
    };
    binary_of(l, ty, Some(run))
}

/// The n-th set bit from `base`, upwards for positive `offset`, downwards for negative; all ones when there is none.
fn nth_set(mask: u64, base: u64, offset: u64) -> u64 {
    let (mask, base, offset) = (mask as u32, base as u32 & 31, offset as i32);
    if offset == 0 {
        return if mask >> base & 1 == 1 { base as u64 } else { 0xffff_ffff };
    }
    let step = offset.signum();
    let (mut position, mut count) = (base as i32, 0u32);
    while (0..32).contains(&position) {
        if mask >> position & 1 == 1 {
            count += 1;
            if count == offset.unsigned_abs() {
                return position as u64;
            }
        }
        position += step;
    }
    0xffff_ffff
}

pub(super) fn fns(l: &mut Lower) -> Done {
    match l.modifiers.ty()? {
        ty @ Type::B32 => ternary_of(l, ty, Type::B32, Type::S32, Some(ternary!(nth_set))),
        ty => Err(unsupported(ty)),
    }
}

/// Byte `i` of a 32-bit value.
fn byte(value: u64, i: u32, signed: bool) -> i64 {
    let byte = (value >> (8 * i)) as u8;
    if signed {
        byte as i8 as i64
    } else {
        byte as i64
    }
}

fn half_word(value: u64, i: u32, signed: bool) -> i64 {
    let half = (value >> (16 * i)) as u16;
    if signed {
        half as i16 as i64
    } else {
        half as i64
    }
}

fn dot4(a: u64, b: u64, c: u64, sa: bool, sb: bool) -> u64 {
    let sum: i64 = (0..4).map(|i| byte(a, i, sa) * byte(b, i, sb)).sum();
    (c as u32).wrapping_add(sum as u32) as u64
}

fn dot2(a: u64, b: u64, c: u64, sa: bool, sb: bool, high: u32) -> u64 {
    let sum: i64 = (0..2).map(|i| half_word(a, i, sa) * byte(b, i + 2 * high, sb)).sum();
    (c as u32).wrapping_add(sum as u32) as u64
}

pub(super) fn dp4a(l: &mut Lower) -> Done {
    let (a, b) = (l.modifiers.ty()?, l.modifiers.ty()?);
    let run = match (a, b) {
        (Type::U32, Type::U32) => ternary!(|a, b, c| dot4(a, b, c, false, false)),
        (Type::U32, Type::S32) => ternary!(|a, b, c| dot4(a, b, c, false, true)),
        (Type::S32, Type::U32) => ternary!(|a, b, c| dot4(a, b, c, true, false)),
        (Type::S32, Type::S32) => ternary!(|a, b, c| dot4(a, b, c, true, true)),
        _ => return Err(unsupported(a)),
    };
    ternary_of(l, Type::U32, Type::B32, Type::U32, Some(run))
}

pub(super) fn dp2a(l: &mut Lower) -> Done {
    let high = l.modifiers.require("half", &[("lo", false), ("hi", true)])?;
    let (a, b) = (l.modifiers.ty()?, l.modifiers.ty()?);
    let run = match (a, b, high) {
        (Type::U32, Type::U32, false) => ternary!(|a, b, c| dot2(a, b, c, false, false, 0)),
        (Type::U32, Type::U32, true) => ternary!(|a, b, c| dot2(a, b, c, false, false, 1)),
        (Type::U32, Type::S32, false) => ternary!(|a, b, c| dot2(a, b, c, false, true, 0)),
        (Type::U32, Type::S32, true) => ternary!(|a, b, c| dot2(a, b, c, false, true, 1)),
        (Type::S32, Type::U32, false) => ternary!(|a, b, c| dot2(a, b, c, true, false, 0)),
        (Type::S32, Type::U32, true) => ternary!(|a, b, c| dot2(a, b, c, true, false, 1)),
        (Type::S32, Type::S32, false) => ternary!(|a, b, c| dot2(a, b, c, true, true, 0)),
        (Type::S32, Type::S32, true) => ternary!(|a, b, c| dot2(a, b, c, true, true, 1)),
        _ => return Err(unsupported(a)),
    };
    ternary_of(l, Type::U32, Type::B32, Type::U32, Some(run))
}
