//! `mma` of 16 x 8 results.
//!
//! In which order the products are added, and how often the sum is rounded, is not specified. Integer sums do not care.
//! Float sums are given where they do not care either: where all terms are multiples of one unit and their magnitudes
//! add up to less than 2^24 units, so that every partial sum is exact. Anything else is a fault.

use crate::error::FaultKind;
use crate::program::{Elements, Matrix};
use crate::warp::{Trouble, Warp};

const ROWS: usize = 16;
const COLUMNS: usize = 8;

/// Exponent below all terms: the least product of two bf16 is 2^-266.
const LEAST: i32 = -300;

/// A term as mantissa and exponent of two.
type Term = (i64, i32);

/// Multiplies for a whole warp.
pub(crate) fn multiply(warp: &mut Warp, op: &Matrix, elements: Elements, pc: u32) -> Result<(), Trouble> {
    let a_registers = op.count as usize;
    let column = |index: usize| warp.registers.columns[op.columns[index] as usize];
    // Elements of a register, and of a row of `a`.
    let packed = match elements {
        Elements::Tf32 => 1,
        Elements::F16 | Elements::Bf16 => 2,
        Elements::Bytes(..) => 4,
    };
    let depth = 2 * packed * a_registers;
    let bits = 32 / packed;
    // Element `k` of a row is in lane `k / packed % 4` of the row's group of four.
    let element = |first: usize, group: usize, k: usize, upper: usize, stride: usize| {
        let (lane, part, at) = (4 * group + k / packed % 4, k % packed, k / (4 * packed));
        column(first + upper + stride * at)[lane] >> (bits * part) & (u64::MAX >> (64 - bits))
    };
    let a = |row: usize, k: usize| element(4, row % 8, k, row / 8, 2);
    let b = |k: usize, at: usize| element(4 + a_registers, at, k, 0, 1);
    let first_c = 4 + a_registers + a_registers / 2;
    let mut results = [[0u64; 32]; 4];
    for row in 0..ROWS {
        for at in 0..COLUMNS {
            let (lane, index) = (4 * (row % 8) + at / 2, 2 * (row / 8) + at % 2);
            let c = column(first_c + index)[lane] as u32;
            let value = match elements {
                Elements::Bytes(signed_a, signed_b) => {
                    let byte = |v: u64, signed: bool| if signed { v as u8 as i8 as i32 } else { v as u8 as i32 };
                    let terms = (0..depth).map(|k| byte(a(row, k), signed_a) * byte(b(k, at), signed_b));
                    terms.fold(c as i32, i32::wrapping_add) as u32
                }
                _ => {
                    let terms = (0..depth).map(|k| (a(row, k), b(k, at)));
                    exact_sum(elements, terms, c).map_err(|reason| Trouble {
                        kind: FaultKind::Matrix(format!("row {row} column {at}: {reason}")),
                        lane: lane as u32,
                        pc,
                        address: None,
                    })?
                }
            };
            results[index][lane] = value as u64;
        }
    }
    for (index, values) in results.into_iter().enumerate() {
        warp.registers.columns[op.columns[index] as usize] = values;
    }
    Ok(())
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
        Elements::F16 => crate::isa::f16_value(bits as u16).to_bits(),
        Elements::Bf16 => (bits as u32) << 16,
        _ => bits as u32 & !0x1fff,
    }
}

fn exact_sum(elements: Elements, products: impl Iterator<Item = (u64, u64)>, c: u32) -> Result<u32, &'static str> {
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
    if magnitude >= 1 << 24 || unit < LEAST {
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
