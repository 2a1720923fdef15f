//! `mma` of 16 x 8 and 8 x 8 results.
//!
//! In which order the products are added, and how often the sum is rounded, is not specified. Integer sums do not care.
//! Float sums are given where they do not care either: where all terms are multiples of one unit and their magnitudes
//! add up to less than 2^24 units (2^11 where the sums are f16), so that every partial sum is exact. Anything else is a
//! fault, and so are clamped integer sums where it matters when they are clamped.

use crate::error::FaultKind;
use crate::program::{Elements, Integers, Matrix};
use crate::warp::{Trouble, Warp};

const COLUMNS: usize = 8;

/// Exponent below all terms: the least product of two bf16 is 2^-266.
const LEAST: i32 = -300;

/// A term as mantissa and exponent of two.
type Term = (i64, i32);

/// Multiplies for a whole warp.
pub(crate) fn multiply(warp: &mut Warp, op: &Matrix, elements: Elements, pc: u32) -> Result<(), Trouble> {
    let a_registers = op.count as usize;
    let b_registers = (a_registers / 2).max(1);
    // With one register for `a` there are eight rows.
    let rows = if a_registers == 1 { 8 } else { 16 };
    let halves = elements == Elements::HalfSums;
    let d_registers = rows / if halves { 8 } else { 4 };
    let column = |index: usize| warp.registers.columns[op.columns[index] as usize];
    // Elements of a register, and of a row of `a`.
    let packed = match elements {
        Elements::Tf32 => 1,
        Elements::F16 | Elements::Bf16 | Elements::HalfSums => 2,
        Elements::Integers(kind) => 32 / kind.bits as usize,
    };
    let depth = 4 * packed * a_registers / (rows / 8);
    let bits = 32 / packed;
    // Element `k` of a row is in lane `k / packed % 4` of the row's group of four.
    let element = |first: usize, group: usize, k: usize, upper: usize, stride: usize| {
        let (lane, part, at) = (4 * group + k / packed % 4, k % packed, k / (4 * packed));
        column(first + upper + stride * at)[lane] >> (bits * part) & (u64::MAX >> (64 - bits))
    };
    let a = |row: usize, k: usize| element(d_registers, row % 8, k, row / 8, 2);
    let b = |k: usize, at: usize| element(d_registers + a_registers, at, k, 0, 1);
    let first_c = d_registers + a_registers + b_registers;
    let mut results = [[0u64; 32]; 4];
    for row in 0..rows {
        for at in 0..COLUMNS {
            let lane = 4 * (row % 8) + at / 2;
            let (index, shift) = if halves { (row / 8, 16 * (at % 2)) } else { (2 * (row / 8) + at % 2, 0) };
            let c = column(first_c + index)[lane] as u32 >> shift;
            let pairs = (0..depth).map(|k| (a(row, k), b(k, at)));
            let value = match elements {
                Elements::Integers(kind) => integer_sum(kind, pairs, c as i32),
                Elements::HalfSums => half_sum(pairs, c as u16),
                _ => exact_sum(elements, pairs, c, 24),
            };
            let value = value.map_err(|reason| Trouble {
                kind: FaultKind::Matrix(format!("row {row} column {at}: {reason}")),
                lane: lane as u32,
                pc,
                address: None,
            })?;
            results[index][lane] |= (value as u64) << shift;
        }
    }
    for (index, values) in results.into_iter().enumerate().take(d_registers) {
        warp.registers.columns[op.columns[index] as usize] = values;
    }
    Ok(())
}

/// A sum of products of integers. Where it is clamped and does not fit, terms of both signs would be clamped differently
/// in another order.
fn integer_sum(kind: Integers, pairs: impl Iterator<Item = (u64, u64)>, c: i32) -> Result<u32, &'static str> {
    let value = |v: u64, signed: bool| {
        let sign = 1i64 << (kind.bits - 1);
        if signed {
            (v as i64 ^ sign) - sign
        } else {
            v as i64
        }
    };
    let product = |(a, b): (u64, u64)| match (kind.bits, kind.differs) {
        (1, true) => (a ^ b) as i64,
        _ => value(a, kind.signed[0]) * value(b, kind.signed[1]),
    };
    let (mut above, mut below) = (0i64, 0i64);
    for term in pairs.map(product) {
        *(if term > 0 { &mut above } else { &mut below }) += term;
    }
    let (c, sum) = (c as i64, c as i64 + above + below);
    let fits = |v: i64| i32::try_from(v).is_ok();
    if !kind.saturate || (fits(c + above) && fits(c + below)) {
        return Ok(sum as u32);
    }
    if above != 0 && below != 0 {
        return Err("a clamped sum leaves 32 bits in some order of its terms");
    }
    Ok(sum.clamp(i32::MIN as i64, i32::MAX as i64) as u32)
}

/// A sum in f16.
fn half_sum(pairs: impl Iterator<Item = (u64, u64)>, c: u16) -> Result<u32, &'static str> {
    let third = crate::isa::f16_value(c).to_bits();
    let sum = f32::from_bits(exact_sum(Elements::HalfSums, pairs, third, 11)?);
    let bits = crate::isa::f16_nearest(sum as f64);
    if crate::isa::f16_value(bits) != sum {
        return Err("the sum is no f16");
    }
    Ok(bits as u32)
}

/// Mantissa and exponent of a finite f32.
fn term(bits: u32) -> Result<Term, &'static str> {
    let field = (bits >> 23 & 0xff) as i32;
    if field == 255 {
        return Err("an operand is infinite or no number");
    }
    let fraction = (bits & 0x7f_ffff) as i64;
    let mantissa = if field == 0 { fraction } else { fraction | 1 << 23 };
    let shift = if mantissa == 0 { 0 } else { mantissa.trailing_zeros() };
    let mantissa = mantissa >> shift;
    Ok((if bits >> 31 == 1 { -mantissa } else { mantissa }, field.max(1) - 150 + shift as i32))
}

fn widened(elements: Elements, bits: u64) -> u32 {
    match elements {
        Elements::F16 | Elements::HalfSums => crate::isa::f16_value(bits as u16).to_bits(),
        Elements::Bf16 => (bits as u32) << 16,
        _ => bits as u32 & !0x1fff,
    }
}

/// A sum of floats of which all partial sums have at most `bits` bits.
fn exact_sum(
    elements: Elements,
    products: impl Iterator<Item = (u64, u64)>,
    c: u32,
    bits: u32,
) -> Result<u32, &'static str> {
    let mut terms = vec![term(c)?];
    for (a, b) in products {
        let ((a, ea), (b, eb)) = (term(widened(elements, a))?, term(widened(elements, b))?);
        terms.push((a * b, ea + eb));
    }
    terms.retain(|(mantissa, _)| *mantissa != 0);
    let Some(unit) = terms.iter().map(|(_, exponent)| *exponent).min() else {
        // Nothing but zeros, whose signs are not specified either.
        return if c >> 31 == 0 { Ok(0) } else { Err("a negative zero and nothing else") };
    };
    let (mut sum, mut magnitude) = (0i64, 0u64);
    for (mantissa, exponent) in terms {
        let shift = exponent - unit;
        if shift > 24 || mantissa.unsigned_abs() >> 40 != 0 {
            return Err("the terms are too far apart to be added exactly");
        }
        sum += mantissa << shift;
        magnitude += mantissa.unsigned_abs() << shift;
    }
    if magnitude >= 1 << bits || unit < LEAST {
        return Err("the terms are too far apart to be added exactly");
    }
    // At most 24 bits: exact as f64, and as f32 unless it leaves the range of f32.
    let exact = sum as f64 * 2f64.powi(unit);
    let single = exact as f32;
    if single as f64 != exact || (sum != 0 && !single.is_normal()) {
        return Err("the sum is no normal f32");
    }
    Ok(single.to_bits())
}
