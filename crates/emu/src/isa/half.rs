//! f16 and bf16, scalar and packed.

use super::f32math::{add_odd, saturate, Format, Rounding, BF16, F16};
use super::lower::{Lower, Reason};
use crate::program::{lanes, Args, Pure, Registers};
use warpferry_ptx::ast::Type;

/// Value of an f16.
pub(crate) fn f16_value(bits: u16) -> f32 {
    let sign = (bits as u32 & 0x8000) << 16;
    let exponent = bits as u32 >> 10 & 31;
    let mantissa = bits as u32 & 0x3ff;
    match exponent {
        0 => f32::from_bits(sign | (mantissa as f32 * 2f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// Value of a bf16.
#[inline(always)]
pub(crate) fn bf16_value(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// Nearest bf16, ties to even.
#[inline(always)]
pub(crate) fn bf16_nearest(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return 0x7fff;
    }
    ((bits as u64 + 0x7fff + (bits >> 16 & 1) as u64) >> 16) as u16
}

/// Nearest f16, ties to even.
pub(crate) fn f16_nearest(value: f64) -> u16 {
    F16.encode(value, Rounding::Nearest, false) as u16
}

/// Sum of two f16 bit patterns.
pub(crate) fn add_f16(a: u16, b: u16) -> u16 {
    f16_nearest(f16_value(a) as f64 + f16_value(b) as f64)
}

/// Sum of two bf16 bit patterns.
pub(crate) fn add_bf16(a: u16, b: u16) -> u16 {
    BF16.encode(add_odd(bf16_value(a) as f64, bf16_value(b) as f64), Rounding::Nearest, false) as u16
}

/// Lesser or greater of two f16 bit patterns; a NaN loses.
pub(crate) fn extreme_f16(a: u16, b: u16, greatest: bool) -> u16 {
    apply(false, if greatest { Operation::Max } else { Operation::Min } as u32, a, b, 0)
}

/// Lesser or greater of two bf16 bit patterns; a NaN loses.
pub(crate) fn extreme_bf16(a: u16, b: u16, greatest: bool) -> u16 {
    apply(true, if greatest { Operation::Max } else { Operation::Min } as u32, a, b, 0)
}

/// What a half-precision instruction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Operation {
    Add,
    Sub,
    Mul,
    Fma,
    Min,
    Max,
    MinNan,
    MaxNan,
    Abs,
    Neg,
    FmaRelu,
    Exp2,
    Tanh,
}

const OPERATIONS: [Operation; 13] = [
    Operation::Add,
    Operation::Sub,
    Operation::Mul,
    Operation::Fma,
    Operation::Min,
    Operation::Max,
    Operation::MinNan,
    Operation::MaxNan,
    Operation::Abs,
    Operation::Neg,
    Operation::FmaRelu,
    Operation::Exp2,
    Operation::Tanh,
];

/// Flags in `imm` above the operation.
const SATURATE: u32 = 1 << 8;
const FLUSH: u32 = 1 << 9;
const BY_SIGN: u32 = 1 << 10;

fn apply(brain: bool, imm: u32, a: u16, b: u16, c: u16) -> u16 {
    let format = if brain { BF16 } else { F16 };
    let least_normal: u16 = if brain { 0x0080 } else { 0x0400 };
    let flush = |bits: u16| {
        if imm & FLUSH != 0 && bits & 0x7fff < least_normal {
            bits & 0x8000
        } else {
            bits
        }
    };
    let (a, b, c) = (flush(a), flush(b), flush(c));
    let operation = OPERATIONS[(imm & 0xff) as usize];
    let infinity = format.greatest() as u16 + 1;
    match operation {
        // Hardware adds a zero, so a NaN becomes the canonical one.
        Operation::Abs | Operation::Neg if a & 0x7fff > infinity => return 0x7fff,
        Operation::Abs => return a & 0x7fff,
        Operation::Neg => return a ^ 0x8000,
        _ => {}
    }
    let sign = (a ^ b) & 0x8000;
    let (a, b) = if imm & BY_SIGN != 0 { (a & 0x7fff, b & 0x7fff) } else { (a, b) };
    let value = |bits: u16| if brain { bf16_value(bits) as f64 } else { f16_value(bits) as f64 };
    let (x, y, z) = (value(a), value(b), value(c));
    let exact = match operation {
        Operation::Add => add_odd(x, y),
        Operation::Sub => add_odd(x, -y),
        Operation::Mul => x * y,
        Operation::Fma | Operation::FmaRelu => add_odd(x * y, z),
        Operation::Exp2 => x.exp2(),
        Operation::Tanh => x.tanh(),
        _ => {
            let wants_max = matches!(operation, Operation::Max | Operation::MaxNan);
            let keeps_nan = matches!(operation, Operation::MinNan | Operation::MaxNan);
            let found = match (x.is_nan(), y.is_nan()) {
                (false, false) => {
                    let less = x < y || (x == y && a & 0x8000 != 0);
                    if less != wants_max {
                        a
                    } else {
                        b
                    }
                }
                (true, false) if !keeps_nan => b,
                (false, true) if !keeps_nan => a,
                _ => return 0x7fff,
            };
            return if imm & BY_SIGN != 0 { found & 0x7fff | sign } else { found };
        }
    };
    let exact = match operation {
        // Also a negative zero.
        Operation::FmaRelu if exact.is_sign_negative() && !exact.is_nan() => 0.0,
        _ if imm & SATURATE != 0 => saturate(exact),
        _ => exact,
    };
    if imm & FLUSH != 0 && is_tiny(format, exact) {
        return if exact.is_sign_negative() { 0x8000 } else { 0 };
    }
    format.encode(exact, Rounding::Nearest, false) as u16
}

/// True when the value, rounded to the format's precision whatever its exponent, is below the least normal number.
fn is_tiny(format: Format, exact: f64) -> bool {
    let least = format.decode(1 << format.mantissa_bits);
    exact != 0.0 && exact.abs() < least && {
        // One unit below the least normal number is half as large as a subnormal's; halfway rounds up to even.
        let unit = least / (1u64 << (format.mantissa_bits + 1)) as f64;
        exact.abs() < least - unit / 2.0
    }
}

fn run<const BRAIN: bool, const PACKED: bool>(r: &mut Registers, mask: u32, s: &Args) {
    for i in lanes(mask) {
        let at = |column: u16| r.columns[column as usize][i];
        let (a, b, c) = (at(s.a), at(s.b), at(s.c));
        let low = apply(BRAIN, s.imm, a as u16, b as u16, c as u16) as u64;
        let out = if PACKED {
            low | (apply(BRAIN, s.imm, (a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16) as u64) << 16
        } else {
            low
        };
        r.columns[s.d as usize][i] = out;
    }
}

/// Lowers `min` or `max`; `by_sign` is `.xorsign.abs`.
pub(super) fn emit_extreme(
    l: &mut Lower,
    operation: Operation,
    ty: Type,
    by_sign: bool,
    flush: bool,
) -> Result<(), Reason> {
    let flags = if by_sign { BY_SIGN } else { 0 } | if flush { FLUSH } else { 0 };
    emit_flags(l, operation, ty, flags, 2)
}

/// Lowers `op d, a {, b {, c}}` of a half-precision type.
pub(super) fn emit(
    l: &mut Lower,
    operation: Operation,
    ty: Type,
    saturate: bool,
    flush: bool,
    sources: usize,
) -> Result<(), Reason> {
    let flags = if saturate { SATURATE } else { 0 } | if flush { FLUSH } else { 0 };
    emit_flags(l, operation, ty, flags, sources)
}

fn emit_flags(l: &mut Lower, operation: Operation, ty: Type, flags: u32, sources: usize) -> Result<(), Reason> {
    l.finish(sources + 1..=sources + 1)?;
    let run: Pure = match ty {
        Type::F16 => run::<false, false>,
        Type::F16x2 => run::<false, true>,
        Type::BF16 => run::<true, false>,
        Type::BF16x2 => run::<true, true>,
        _ => return Err(format!("type {ty:?} is not supported here")),
    };
    let (d, a) = (l.dest_for(0, ty)?, l.source(1, ty)?);
    let b = if sources > 1 { l.source(2, ty)? } else { a };
    let c = if sources > 2 { l.source(3, ty)? } else { a };
    let imm = operation as u32 | flags;
    l.emit_pure(run, Args { d, a, b, c, imm, ..Args::default() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quick conversions agree with the general ones on every value.
    #[test]
    fn quick_conversions_agree() {
        for bits in 0..=u16::MAX {
            let (quick, general) = (f16_value(bits) as f64, F16.decode(bits as u32));
            assert!(quick == general || (quick.is_nan() && general.is_nan()), "{bits:#x}");
            assert!(quick.is_sign_negative() == general.is_sign_negative() || quick.is_nan());
        }
        let mut seed = 3u64;
        for _ in 0..200_000 {
            let value = f32::from_bits(crate::choice::splitmix(&mut seed) as u32);
            let general = BF16.encode(value as f64, Rounding::Nearest, false) as u16;
            assert_eq!(bf16_nearest(value), general, "{value}");
        }
    }
}
