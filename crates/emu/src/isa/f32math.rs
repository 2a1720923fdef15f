//! Rounding of floats: exact or rounded-to-odd doubles, cut to a narrower format in any direction.

/// Rounding directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

/// The NaN that f32 arithmetic gives.
pub(crate) const NAN32: u64 = 0x7fff_ffff;
/// A subnormal becomes a zero of its sign.
#[inline(always)]
pub(crate) fn flush(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE {
        0f32.copysign(value)
    } else {
        value
    }
}

/// Bits of a result: any NaN is the canonical one.
#[inline(always)]
pub(crate) fn bits32(value: f32) -> u64 {
    if value.is_nan() {
        NAN32
    } else {
        value.to_bits() as u64
    }
}

/// A double whose error is known by sign, moved so that its last bit is odd when it is inexact. Rounding such a value
/// to at most 51 bits gives what rounding the exact value gives.
#[inline(always)]
fn to_odd(value: f64, error: f64) -> f64 {
    if error == 0.0 || !value.is_finite() || error.is_nan() || value.to_bits() & 1 == 1 {
        return value;
    }
    let away = (error > 0.0) == (value > 0.0);
    let bits = value.to_bits();
    f64::from_bits(if away { bits + 1 } else { bits - 1 })
}

/// `a + b` rounded to odd.
#[inline(always)]
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let from_b = sum - a;
    let error = (a - (sum - from_b)) + (b - from_b);
    to_odd(sum, error)
}

/// `a / b` of two f32, rounded to odd.
pub(crate) fn divide_odd(a: f32, b: f32) -> f64 {
    let (a, b) = (a as f64, b as f64);
    let quotient = a / b;
    if !quotient.is_finite() || quotient == 0.0 {
        return quotient;
    }
    let rest = (-quotient).mul_add(b, a);
    to_odd(quotient, if b < 0.0 { -rest } else { rest })
}

/// Square root of an f32, rounded to odd.
pub(crate) fn root_odd(a: f32) -> f64 {
    let a = a as f64;
    let root = a.sqrt();
    if !root.is_finite() || root == 0.0 {
        return root;
    }
    to_odd(root, (-root).mul_add(root, a))
}

/// An integer as a double rounded to odd.
pub(crate) fn integer_odd(value: i128) -> f64 {
    let near = value as f64;
    let rest = value - near as i128;
    to_odd(near, rest as f64)
}

/// Rounds an exact or odd double to f32.
#[inline(always)]
pub(crate) fn round32(value: f64, rounding: Rounding) -> f32 {
    let near = value as f32;
    let wide = near as f64;
    if wide == value || value.is_nan() || value.is_infinite() {
        return near;
    }
    match rounding {
        Rounding::Nearest => near,
        Rounding::Zero if wide.abs() > value.abs() => step32(near, value < 0.0),
        Rounding::Down if wide > value => step32(near, false),
        Rounding::Up if wide < value => step32(near, true),
        _ => near,
    }
}

/// Rounds to f32 and gives a zero where the result would be subnormal: where the value, rounded to 24 bits whatever its
/// exponent, is below the least normal number.
#[inline(always)]
pub(crate) fn round32_flush(value: f64, rounding: Rounding) -> f32 {
    if value.abs() >= f32::MIN_POSITIVE as f64 || value == 0.0 {
        return round32(value, rounding);
    }
    const SCALE: f64 = (1u128 << 100) as f64;
    // Such a small value may itself be a subnormal double, or far below f32; then it is no matter how it is rounded.
    let scaled = round32(value * SCALE, rounding);
    if scaled.abs() >= f32::MIN_POSITIVE * SCALE as f32 {
        f32::MIN_POSITIVE.copysign(scaled)
    } else if value.is_nan() {
        f32::NAN
    } else {
        0f32.copysign(value as f32)
    }
}

/// `.sat`: into 0 to 1; a NaN and any zero become +0.
#[inline(always)]
pub(crate) fn saturate(value: f64) -> f64 {
    if value > 0.0 {
        value.min(1.0)
    } else {
        0.0
    }
}

/// The neighbour above (`up`) or below.
fn step32(value: f32, up: bool) -> f32 {
    if value == 0.0 {
        let least = f32::from_bits(1);
        return if up { least } else { -least };
    }
    let bits = value.to_bits();
    let away = (value > 0.0) == up;
    f32::from_bits(if away { bits + 1 } else { bits - 1 })
}

/// `a * b + c` in f32.
#[inline(always)]
pub(crate) fn fma32(a: f32, b: f32, c: f32) -> f32 {
    let product = a as f64 * b as f64;
    add_odd(product, c as f64) as f32
}

/// A binary format below f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub exponent_bits: u32,
    pub mantissa_bits: u32,
    /// No infinities: the top exponent holds numbers, all ones is NaN.
    pub finite_only: bool,
}

pub(crate) const F16: Format = Format { exponent_bits: 5, mantissa_bits: 10, finite_only: false };
pub(crate) const BF16: Format = Format { exponent_bits: 8, mantissa_bits: 7, finite_only: false };
pub(crate) const TF32: Format = Format { exponent_bits: 8, mantissa_bits: 10, finite_only: false };
pub(crate) const E4M3: Format = Format { exponent_bits: 4, mantissa_bits: 3, finite_only: true };
pub(crate) const E5M2: Format = Format { exponent_bits: 5, mantissa_bits: 2, finite_only: false };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    fn sign_bit(self) -> u32 {
        1 << (self.exponent_bits + self.mantissa_bits)
    }

    /// The NaN that operations give: all bits but the sign.
    pub fn nan(self) -> u32 {
        self.sign_bit() - 1
    }

    fn infinity(self) -> u32 {
        ((1 << self.exponent_bits) - 1) << self.mantissa_bits
    }

    /// The greatest finite number.
    pub fn greatest(self) -> u32 {
        if self.finite_only {
            self.nan() - 1
        } else {
            self.infinity() - 1
        }
    }

    /// The value of `bits`.
    pub fn decode(self, bits: u32) -> f64 {
        let negative = bits & self.sign_bit() != 0;
        let exponent = (bits >> self.mantissa_bits) & ((1 << self.exponent_bits) - 1);
        let mantissa = bits & ((1 << self.mantissa_bits) - 1);
        let top = exponent == (1 << self.exponent_bits) - 1;
        let magnitude = if top && self.finite_only && bits & self.nan() == self.nan() {
            f64::NAN
        } else if top && !self.finite_only {
            if mantissa == 0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        } else if exponent == 0 {
            mantissa as f64 * power(1 - self.bias() - self.mantissa_bits as i32)
        } else {
            let whole = (1u32 << self.mantissa_bits) | mantissa;
            whole as f64 * power(exponent as i32 - self.bias() - self.mantissa_bits as i32)
        };
        if negative {
            -magnitude
        } else {
            magnitude
        }
    }

    /// Bits of an exact or odd double. `saturate` gives the greatest finite number in place of an overflow.
    pub fn encode(self, value: f64, rounding: Rounding, saturate: bool) -> u32 {
        if value.is_nan() {
            return self.nan();
        }
        let sign = if value.is_sign_negative() { self.sign_bit() } else { 0 };
        let overflow = if saturate || self.finite_only { self.greatest() } else { self.infinity() };
        if value.is_infinite() {
            let unsaturated = if self.finite_only && !saturate { self.nan() } else { overflow };
            return sign | unsaturated;
        }
        let magnitude = value.abs();
        if magnitude == 0.0 {
            return sign;
        }
        let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - self.bias());
        // Units in the last place of the format at this magnitude; below 2^53, so exact.
        let scaled = magnitude * power(self.mantissa_bits as i32 - exponent);
        let whole = scaled.floor();
        let rest = scaled - whole;
        let even = whole as u64 & 1 == 0;
        let up = match rounding {
            Rounding::Nearest => rest > 0.5 || (rest == 0.5 && !even),
            Rounding::Zero => false,
            Rounding::Down => sign != 0 && rest > 0.0,
            Rounding::Up => sign == 0 && rest > 0.0,
        };
        let units = whole as u64 + up as u64;
        // Adding the units to the exponent field carries into it by itself.
        let field = (exponent + self.bias() - 1) as u64;
        let bits = (field << self.mantissa_bits) + units;
        if bits > self.greatest() as u64 {
            let stays = rounding == Rounding::Zero
                || (rounding == Rounding::Down && sign == 0)
                || (rounding == Rounding::Up && sign != 0);
            return sign | if stays { self.greatest() } else { overflow };
        }
        sign | bits as u32
    }
}

/// 2^n for n in the normal range of f64.
fn power(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every f16, bf16 and fp8 value decodes and encodes to itself, in every direction.
    #[test]
    fn formats_round_trip() {
        for (format, bits) in [(F16, 16), (BF16, 16), (E4M3, 8), (E5M2, 8)] {
            for value in 0..1u32 << bits {
                let decoded = format.decode(value);
                for rounding in [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up] {
                    let again = format.encode(decoded, rounding, false);
                    if decoded.is_nan() {
                        assert_eq!(again, format.nan());
                    } else {
                        assert_eq!(again, value, "{format:?} {value:#x} {decoded}");
                    }
                }
            }
        }
    }

    /// Directed roundings enclose the value, and nearest is one of the two.
    #[test]
    fn directed_roundings_enclose() {
        let mut seed = 7u64;
        for _ in 0..20_000 {
            let bits = crate::choice::splitmix(&mut seed);
            let value = f64::from_bits((bits & 0x800f_ffff_ffff_ffff) | ((1000 + bits % 37) << 52));
            for format in [F16, BF16, E5M2] {
                let [near, zero, down, up] = [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up]
                    .map(|r| format.decode(format.encode(value, r, false)));
                assert!(down <= value && value <= up, "{value} {down} {up}");
                assert!(near == down || near == up);
                assert_eq!(zero, if value < 0.0 { up } else { down });
                assert!((near - value).abs() <= (up - value).abs().min((value - down).abs()));
            }
            let [near, down, up] = [Rounding::Nearest, Rounding::Down, Rounding::Up].map(|r| round32(value, r) as f64);
            assert!(down <= value && value <= up && (near == down || near == up));
        }
    }

    /// The fused multiply-add equals the one of the standard library.
    #[test]
    fn fma_is_fused() {
        let mut seed = 11u64;
        for _ in 0..50_000 {
            let mut draw = || {
                let bits = crate::choice::splitmix(&mut seed) as u32;
                f32::from_bits((bits & 0x807f_ffff) | ((64 + (bits >> 23) % 128) << 23))
            };
            let (a, b, c) = (draw(), draw(), draw());
            assert_eq!(fma32(a, b, c).to_bits(), a.mul_add(b, c).to_bits(), "{a} {b} {c}");
        }
    }
}
