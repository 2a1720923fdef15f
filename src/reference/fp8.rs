//! FP8 and UE8M0 to the bit.
//!
//! Formats are those of "OCP 8-bit Floating Point Specification (OFP8)" and, for scales, "OCP Microscaling Formats (MX)
//! Specification". Rounding is that of PTX's `cvt.rn.satfinite`: to nearest even, beyond the largest finite value to it,
//! infinities too; every NaN is 0x7f.

use crate::plan::Fp8;

/// What every NaN becomes.
pub const NAN: u8 = 0x7f;
/// The UE8M0 byte that is no number.
pub const NAN_SCALE: u8 = 0xff;

/// Bits of the mantissa, exponent of the least normal number, code of the largest finite one.
fn parameters(format: Fp8) -> (i32, i32, u8) {
    match format {
        Fp8::E4m3 => (3, -6, 0x7e),
        Fp8::E5m2 => (2, -14, 0x7b),
    }
}

/// The value of a byte: exact. NaN is positive and quiet.
pub fn to_f32(format: Fp8, byte: u8) -> f32 {
    let (mantissa_bits, least_exponent, largest) = parameters(format);
    let magnitude = byte & 0x7f;
    let value = if magnitude <= largest {
        let (field, mantissa) =
            (i32::from(magnitude >> mantissa_bits), i32::from(magnitude) & ((1 << mantissa_bits) - 1));
        let units = if field == 0 { mantissa } else { mantissa + (1 << mantissa_bits) };
        units as f32 * power_of_two(field.max(1) - 1 + least_exponent - mantissa_bits) as f32
    } else if format == Fp8::E5m2 && magnitude == largest + 1 {
        f32::INFINITY
    } else {
        return f32::NAN;
    };
    if byte & 0x80 == 0 {
        value
    } else {
        -value
    }
}

/// Rounds to nearest, ties to even; saturates.
pub fn from_f32(format: Fp8, value: f32) -> u8 {
    if value.is_nan() {
        return NAN;
    }
    let (mantissa_bits, least_exponent, largest) = parameters(format);
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    if value.abs() >= format.max() {
        return sign | largest;
    }
    // Multiples of the unit in the last place: exact in f64, and at most 2^(mantissa_bits + 1) after rounding.
    let magnitude = f64::from(value.abs());
    let exponent = exponent(magnitude).max(least_exponent);
    let units = (magnitude / power_of_two(exponent - mantissa_bits)).round_ties_even() as i32;
    // The hidden bit of a normal number, or what rounding carries, counts the exponent's field up.
    let code = ((exponent - least_exponent) << mantissa_bits) + units;
    sign | code.min(i32::from(largest)) as u8
}

/// The value of a UE8M0 byte: exact.
pub fn scale_to_f32(byte: u8) -> f32 {
    match byte {
        NAN_SCALE => f32::NAN,
        _ => power_of_two(i32::from(byte) - 127) as f32,
    }
}

/// 2^exponent, which is a normal f64 here: what [`f64::powi`] gives too, sooner.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// Largest e with 2^e at most `magnitude`; any number for 0. A finite f32 is normal as f64, or 0.
fn exponent(magnitude: f64) -> i32 {
    (magnitude.to_bits() >> 52) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values by the tables of the specification: largest, least normal, largest subnormal, least subnormal.
    #[test]
    fn bytes_have_the_values_of_the_specification() {
        for (format, byte, value) in [
            (Fp8::E4m3, 0x00, 0.0),
            (Fp8::E4m3, 0x01, 2f32.powi(-9)),
            (Fp8::E4m3, 0x07, 0.875 * 2f32.powi(-6)),
            (Fp8::E4m3, 0x08, 2f32.powi(-6)),
            (Fp8::E4m3, 0x38, 1.0),
            (Fp8::E4m3, 0x7e, 448.0),
            (Fp8::E4m3, 0xfe, -448.0),
            (Fp8::E5m2, 0x01, 2f32.powi(-16)),
            (Fp8::E5m2, 0x03, 0.75 * 2f32.powi(-14)),
            (Fp8::E5m2, 0x04, 2f32.powi(-14)),
            (Fp8::E5m2, 0xbc, -1.0),
            (Fp8::E5m2, 0x7b, 57344.0),
            (Fp8::E5m2, 0x7c, f32::INFINITY),
            (Fp8::E5m2, 0xfc, f32::NEG_INFINITY),
        ] {
            assert_eq!(to_f32(format, byte), value, "{format} {byte:#04x}");
        }
        let nans = |format| (0..=u8::MAX).filter(|&byte| to_f32(format, byte).is_nan()).collect::<Vec<u8>>();
        assert_eq!(nans(Fp8::E4m3), [0x7f, 0xff]);
        assert_eq!(nans(Fp8::E5m2), [0x7d, 0x7e, 0x7f, 0xfd, 0xfe, 0xff]);
        assert_eq!(to_f32(Fp8::E4m3, 0x80).to_bits(), 0x8000_0000);
    }

    #[test]
    fn every_byte_comes_back() {
        for format in Fp8::ALL {
            for byte in 0..=u8::MAX {
                let value = to_f32(format, byte);
                let want = match value {
                    _ if value.is_nan() => NAN,
                    _ if value.is_infinite() => byte - 1,
                    _ => byte,
                };
                assert_eq!(from_f32(format, value), want, "{format} {byte:#04x}");
            }
        }
    }

    /// Between two neighbours the nearer one, at the middle the even one: the middle and the f32 beside it, of all pairs.
    #[test]
    fn rounds_to_nearest_even() {
        for format in Fp8::ALL {
            let (_, _, largest) = parameters(format);
            for low in 0..largest {
                let (below, above) = (to_f32(format, low), to_f32(format, low + 1));
                let middle = (below + above) / 2.0; // exact: one bit more
                let even = low + (low & 1);
                let next = f32::from_bits;
                for (value, want) in [
                    (next(below.to_bits() + 1), low),
                    (next(middle.to_bits() - 1), low),
                    (middle, even),
                    (next(middle.to_bits() + 1), low + 1),
                    (next(above.to_bits() - 1), low + 1),
                ] {
                    assert_eq!(from_f32(format, value), want, "{format} {value:e}");
                    assert_eq!(from_f32(format, -value), want | 0x80, "{format} {:e}", -value);
                }
            }
        }
    }

    #[test]
    fn saturates_and_has_one_nan() {
        for format in Fp8::ALL {
            let (_, _, largest) = parameters(format);
            let top = format.max();
            for value in [top, f32::from_bits(top.to_bits() + 1), top * 1.08, top * 2.0, f32::MAX, f32::INFINITY] {
                assert_eq!(from_f32(format, value), largest, "{format} {value}");
                assert_eq!(from_f32(format, -value), largest | 0x80, "{format} -{value}");
            }
            for bits in [0x7f80_0001, 0x7fff_ffff, 0xff80_0001, 0xffc0_0000] {
                assert_eq!(from_f32(format, f32::from_bits(bits)), NAN);
            }
            assert_eq!(from_f32(format, f32::from_bits(1)), 0);
            assert_eq!(from_f32(format, -0.0), 0x80);
        }
    }

    /// Values round up and down with their order: of every bf16, the byte's value does not fall.
    #[test]
    fn keeps_order() {
        for format in Fp8::ALL {
            let rounded = |bits: u32| to_f32(format, from_f32(format, f32::from_bits(bits << 16)));
            assert!((0..0x7f80).all(|bits| rounded(bits) <= rounded(bits + 1)), "{format}");
        }
    }

    #[test]
    fn scales_are_powers_of_two() {
        assert_eq!(scale_to_f32(0).to_bits(), 0x0040_0000); // 2^-127, subnormal
        assert_eq!(scale_to_f32(127), 1.0);
        assert!((1..255).all(|byte: u8| scale_to_f32(byte).to_bits() == u32::from(byte) << 23));
        assert!(scale_to_f32(255).is_nan());
    }
}
