//! bf16 and the few fp32 operations of the kernels, to the bit.
//!
//! The rules are those of PTX: `cvt.rn.bf16.f32` rounds to nearest even and turns every NaN into 0x7fff;
//! `add.f32` keeps subnormals and turns every NaN into 0x7fffffff.

/// What every NaN becomes when rounded to bf16.
pub const NAN: u16 = 0x7fff;
/// What every sum that is no number becomes in fp32.
pub const NAN_F32: u32 = 0x7fff_ffff;

/// The value of bf16 bits: exact.
pub fn to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounds to nearest, ties to even.
pub fn from_f32(value: f32) -> u16 {
    if value.is_nan() {
        return NAN;
    }
    let bits = value.to_bits();
    // Adding one less than half, and one more where the kept part is odd, carries exactly when rounding goes up;
    // a carry into the exponent gives the next power of two, or infinity from the largest values.
    let odd = (bits >> 16) & 1;
    ((bits + 0x7fff + odd) >> 16) as u16
}

/// `a + b` in fp32.
pub fn add(a: f32, b: f32) -> f32 {
    let sum = a + b;
    if sum.is_nan() {
        f32::from_bits(NAN_F32)
    } else {
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearest bf16 by search over both neighbours, in exact f64 arithmetic.
    fn nearest(value: f32) -> u16 {
        let low = (value.to_bits() >> 16) as u16; // towards zero
        let high = low + 1; // away from zero; may be infinity, whose value continues the scale
        let scale = |bits: u16| match bits {
            0x7f80 => 2f64.powi(128),
            0xff80 => -2f64.powi(128),
            _ => f64::from(to_f32(bits)),
        };
        let (below, above) = ((f64::from(value) - scale(low)).abs(), (f64::from(value) - scale(high)).abs());
        match below.partial_cmp(&above).expect("finite") {
            std::cmp::Ordering::Less => low,
            std::cmp::Ordering::Greater => high,
            std::cmp::Ordering::Equal => low + (low & 1),
        }
    }

    #[test]
    fn rounds_to_nearest_even() {
        // Every bf16 exponent and sign with the low halves around each rounding boundary.
        for high in (0..=u16::MAX).step_by(7) {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(high) << 16 | low);
                if value.is_finite() {
                    assert_eq!(from_f32(value), nearest(value), "{value:e} ({:#010x})", value.to_bits());
                }
            }
        }
    }

    #[test]
    fn keeps_bf16_values_and_canonizes_nan() {
        for bits in 0..=u16::MAX {
            let value = to_f32(bits);
            assert_eq!(from_f32(value), if value.is_nan() { NAN } else { bits });
        }
        assert_eq!(from_f32(f32::from_bits(0xffc0_0001)), NAN);
    }

    #[test]
    fn sums_have_one_nan_and_keep_signed_zero() {
        assert_eq!(add(f32::INFINITY, f32::NEG_INFINITY).to_bits(), NAN_F32);
        assert_eq!(add(f32::from_bits(0xffc0_0001), 1.0).to_bits(), NAN_F32);
        assert_eq!(add(-0.0, -0.0).to_bits(), 0x8000_0000);
        assert_eq!(add(-0.0, 0.0).to_bits(), 0);
        assert_eq!(add(f32::from_bits(1), f32::from_bits(1)).to_bits(), 2);
    }
}
