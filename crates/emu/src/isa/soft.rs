//! f64 arithmetic in every rounding direction, by integers.
//!
//! A finite value is a sign, a mantissa of up to 128 bits and an exponent of two; bits that were shifted out are kept
//! as one sticky bit. [`round64`] is the only place that rounds.

use super::f32math::Rounding;

/// `mantissa * 2^exponent`, and whether there is anything below the mantissa.
#[derive(Debug, Clone, Copy)]
struct Exact {
    negative: bool,
    mantissa: u128,
    exponent: i32,
    sticky: bool,
}

const SIGN: u64 = 1 << 63;
const INFINITY: u64 = 0x7ff0 << 48;
/// Bit that makes a NaN quiet.
const QUIET: u64 = 1 << 51;
/// The NaN of an invalid operation.
pub(super) const INVALID64: u64 = 0xfff8 << 48;

fn is_nan(bits: u64) -> bool {
    bits & !SIGN > INFINITY
}

/// The NaN of a result: the first operand that is one, made quiet, otherwise that of an invalid operation.
pub(super) fn nan64(operands: &[u64]) -> u64 {
    operands.iter().find(|bits| is_nan(**bits)).map_or(INVALID64, |bits| bits | QUIET)
}

/// `value`, unless it is a NaN: then what the operands make of it.
#[inline(always)]
pub(crate) fn settle64(value: f64, operands: &[u64]) -> u64 {
    if value.is_nan() {
        nan64(operands)
    } else {
        value.to_bits()
    }
}

fn unpack(bits: u64) -> Exact {
    let field = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let mantissa = if field == 0 { fraction } else { fraction | 1 << 52 };
    Exact { negative: bits & SIGN != 0, mantissa: mantissa as u128, exponent: field.max(1) - 1075, sticky: false }
}

/// Highest bit at place `top`; nothing is lost when it moves up.
fn normalize(mut value: Exact, top: u32) -> Exact {
    let at = 127 - value.mantissa.leading_zeros();
    if at <= top {
        value.mantissa <<= top - at;
        value.exponent -= (top - at) as i32;
    } else {
        let lost = at - top;
        value.sticky |= value.mantissa & ((1 << lost) - 1) != 0;
        value.mantissa >>= lost;
        value.exponent += lost as i32;
    }
    value
}

/// Rounds up by one unit?
pub(super) fn rounds_up(rounding: Rounding, negative: bool, odd: bool, half: bool, rest: bool) -> bool {
    match rounding {
        Rounding::Nearest => half && (rest || odd),
        Rounding::Zero => false,
        Rounding::Down => negative && (half || rest),
        Rounding::Up => !negative && (half || rest),
    }
}

fn round64(value: Exact, rounding: Rounding) -> u64 {
    let sign = if value.negative { SIGN } else { 0 };
    if value.mantissa == 0 {
        return sign;
    }
    // 53 bits and 10 below them, unless the result is subnormal.
    let mut value = normalize(value, 63);
    let least = -1074 - 11;
    if value.exponent < least {
        let lost = (least - value.exponent) as u32;
        value.sticky |= lost >= 128 || value.mantissa & ((1u128 << lost.min(127)) - 1) != 0;
        value.mantissa = value.mantissa.checked_shr(lost).unwrap_or(0);
        value.exponent = least;
    }
    let units = (value.mantissa >> 11) as u64;
    let half = value.mantissa >> 10 & 1 == 1;
    let rest = value.sticky || value.mantissa & 0x3ff != 0;
    let units = units + rounds_up(rounding, value.negative, units & 1 == 1, half, rest) as u64;
    // The exponent field of the units; a carry into it by rounding is right.
    let field = (value.exponent - least) as u64;
    let bits = if units < 1 << 52 { units } else { (field << 52) + units };
    if bits < INFINITY {
        return sign | bits;
    }
    let stays = match rounding {
        Rounding::Nearest => false,
        Rounding::Zero => true,
        Rounding::Down => !value.negative,
        Rounding::Up => value.negative,
    };
    sign | if stays { INFINITY - 1 } else { INFINITY }
}

/// Bits of a sum whose terms are finite.
fn sum(a: Exact, b: Exact, rounding: Rounding) -> u64 {
    let zero = |negative: bool| if negative { SIGN } else { 0 };
    match (a.mantissa == 0, b.mantissa == 0) {
        (true, true) if a.negative == b.negative => return zero(a.negative),
        (true, true) => return zero(rounding == Rounding::Down),
        (true, false) => return round64(b, rounding),
        (false, true) => return round64(a, rounding),
        (false, false) => {}
    }
    let (a, b) = (normalize(a, 125), normalize(b, 125));
    let (large, small) = if (a.exponent, a.mantissa) >= (b.exponent, b.mantissa) { (a, b) } else { (b, a) };
    let lost = (large.exponent - small.exponent) as u32;
    let sticky = lost >= 128 || small.mantissa & ((1u128 << lost.min(127)) - 1) != 0;
    let shifted = small.mantissa.checked_shr(lost).unwrap_or(0);
    if large.negative == small.negative {
        return round64(Exact { mantissa: large.mantissa + shifted, sticky, ..large }, rounding);
    }
    // What was shifted out is taken away too: one unit less, and something is left.
    let mantissa = large.mantissa - shifted - sticky as u128;
    if mantissa == 0 && !sticky {
        return zero(rounding == Rounding::Down);
    }
    round64(Exact { mantissa, sticky, ..large }, rounding)
}

pub(super) fn add64(a: u64, b: u64, rounding: Rounding) -> u64 {
    let near = f64::from_bits(a) + f64::from_bits(b);
    let special = |bits: u64| bits & INFINITY == INFINITY;
    if near.is_nan() || special(a) || special(b) {
        return settle64(near, &[a, b]);
    }
    sum(unpack(a), unpack(b), rounding)
}

pub(super) fn mul64(a: u64, b: u64, rounding: Rounding) -> u64 {
    let near = f64::from_bits(a) * f64::from_bits(b);
    if near.is_nan() || a & INFINITY == INFINITY || b & INFINITY == INFINITY {
        return settle64(near, &[a, b]);
    }
    round64(product(a, b), rounding)
}

fn product(a: u64, b: u64) -> Exact {
    let (a, b) = (unpack(a), unpack(b));
    Exact {
        negative: a.negative != b.negative,
        mantissa: a.mantissa * b.mantissa,
        exponent: a.exponent + b.exponent,
        sticky: false,
    }
}

pub(super) fn fma64(a: u64, b: u64, c: u64, rounding: Rounding) -> u64 {
    if [a, b, c].iter().any(|bits| bits & INFINITY == INFINITY) {
        return settle64(f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)), &[a, b, c]);
    }
    sum(product(a, b), unpack(c), rounding)
}

pub(super) fn div64(a: u64, b: u64, rounding: Rounding) -> u64 {
    let near = f64::from_bits(a) / f64::from_bits(b);
    if near.is_nan() || a & INFINITY == INFINITY || b & INFINITY == INFINITY || b & !SIGN == 0 || a & !SIGN == 0 {
        return settle64(near, &[a, b]);
    }
    let (a, b) = (normalize(unpack(a), 126), normalize(unpack(b), 52));
    let quotient = Exact {
        negative: a.negative != b.negative,
        mantissa: a.mantissa / b.mantissa,
        exponent: a.exponent - b.exponent,
        sticky: a.mantissa % b.mantissa != 0,
    };
    round64(quotient, rounding)
}

pub(super) fn sqrt64(a: u64, rounding: Rounding) -> u64 {
    let near = f64::from_bits(a).sqrt();
    if near.is_nan() || a & INFINITY == INFINITY || a & !SIGN == 0 {
        return settle64(near, &[a]);
    }
    let mut value = normalize(unpack(a), 125);
    if value.exponent & 1 != 0 {
        value.mantissa <<= 1;
        value.exponent -= 1;
    }
    let root = value.mantissa.isqrt();
    let sticky = root * root != value.mantissa;
    round64(Exact { mantissa: root, exponent: value.exponent / 2, sticky, ..value }, rounding)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearest agrees with the CPU; the other directions enclose it and agree on exact results.
    #[test]
    fn directions_enclose_the_nearest() {
        type Operation = (fn(&[f64; 3]) -> f64, fn(&[u64; 3], Rounding) -> u64);
        let operations: [Operation; 5] = [
            (|v| v[0] + v[1], |v, r| add64(v[0], v[1], r)),
            (|v| v[0] * v[1], |v, r| mul64(v[0], v[1], r)),
            (|v| v[0].mul_add(v[1], v[2]), |v, r| fma64(v[0], v[1], v[2], r)),
            (|v| v[0] / v[1], |v, r| div64(v[0], v[1], r)),
            (|v| v[0].abs().sqrt(), |v, r| sqrt64(v[0] & !SIGN, r)),
        ];
        let mut seed = 5u64;
        let edges = [0, 1, (1 << 52) - 1, 1 << 52, INFINITY - 1, INFINITY, SIGN, 1023 << 52, 1024 << 52, SIGN | 1];
        for case in 0..300_000u32 {
            let mut draw = || {
                let bits = crate::choice::splitmix(&mut seed);
                match bits % 7 {
                    0 => edges[(bits >> 8) as usize % edges.len()],
                    1 => bits & 0x800f_ffff_ffff_ffff | (1020 + (bits >> 4) % 8) << 52,
                    2 => bits & 0x8000_ffff_0000_0000 | (1020 + (bits >> 4) % 8) << 52,
                    3 => bits & 0x800f_ffff_ffff_ffff | ((bits >> 4) % 64) << 52,
                    _ => bits,
                }
            };
            let bits = [draw(), draw(), draw()];
            let values = bits.map(f64::from_bits);
            for (index, (native, soft)) in operations.iter().enumerate() {
                let want = native(&values);
                let [near, zero, down, up] =
                    [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up].map(|r| soft(&bits, r));
                let at = format!("case {case} operation {index} {bits:x?}");
                if want.is_nan() {
                    assert!(is_nan(near) && near == zero && near == down && near == up, "{at}");
                    continue;
                }
                assert_eq!(near, want.to_bits(), "{at}");
                let [near, zero, down, up] = [near, zero, down, up].map(f64::from_bits);
                assert!(down <= near && near <= up && (near == down || near == up), "{at}");
                assert_eq!(zero.abs(), down.abs().min(up.abs()), "{at}");
                // Neighbours, unless the result is exact.
                let step = |v: f64| if v == 0.0 { f64::from_bits(1) } else { v.next_up() };
                assert!(down == up || step(down) == up, "{at} {down:e} {up:e}");
            }
        }
    }
}
