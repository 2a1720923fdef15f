//! Rows of bf16 as FP8 with a scale for each group of 128 elements, and back.
//!
//! For a group, in f32, every operation rounded to nearest once:
//!
//! - `amax`: the largest |x|, NaN left out, and at least [`AMAX_MIN`].
//! - Scale: `amax / max`, with `max` the format's largest value; or the least power of two that is no smaller.
//! - Elements: `x * inverse`, rounded to the format with saturation; `inverse` is `max / amax`, or 1 / scale, exactly.
//!
//! A NaN becomes [`fp8::NAN`] and leaves its group alone. An infinity counts as 2^128 where scales are powers of two: it
//! becomes the format's largest value under the largest scale, 2^120 or 2^113, whose product is an infinity again, and the
//! finite elements keep what that scale leaves them (from 1.875 * 2^127 on they may round up to 2^128). Where scales are
//! quotients, this one is infinite and `inverse` 0: infinities become NaN, finite elements zeros, and nothing of the group
//! comes back.

use super::{bf16, fp8};
use crate::plan::fp8::GROUP_ELEMENTS;
use crate::plan::{Quantization, ScaleKind};

/// The smallest `amax`: a group of zeros has a scale too.
pub const AMAX_MIN: f32 = 1e-4;

/// A row as FP8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantized {
    /// A byte an element.
    pub elements: Vec<u8>,
    /// A scale a group, as bytes: little-endian f32 or UE8M0.
    pub scales: Vec<u8>,
}

/// Quantizes a row of bf16, given as bytes.
pub fn quantize(how: Quantization, row: &[u8]) -> Quantized {
    let values: Vec<f32> =
        row.chunks_exact(2).map(|bytes| bf16::to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))).collect();
    let mut quantized = Quantized { elements: Vec::new(), scales: Vec::new() };
    for group in values.chunks(GROUP_ELEMENTS as usize) {
        let amax = group.iter().fold(AMAX_MIN, |most, value| most.max(value.abs()));
        let max = how.format().max();
        let (scale, inverse) = match how.is_power_of_two() {
            false => (amax / max, max / amax),
            true => {
                let exponent = scale_exponent(amax, max);
                (2f32.powi(exponent), 2f32.powi(-exponent))
            }
        };
        quantized.elements.extend(group.iter().map(|value| fp8::from_f32(how.format(), value * inverse)));
        match how.scales() {
            ScaleKind::F32 => quantized.scales.extend(scale.to_bits().to_le_bytes()),
            ScaleKind::Ue8m0 => quantized.scales.push((scale.to_bits() >> 23) as u8),
        }
    }
    quantized
}

/// The values of a quantized row: each element times its group's scale, in f32.
///
/// # Panics
/// When there are fewer scales than groups.
pub fn dequantize(how: Quantization, row: &Quantized) -> Vec<f32> {
    let scales: Vec<f32> = match how.scales() {
        ScaleKind::F32 => {
            let words = row.scales.chunks_exact(4);
            words.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
        }
        ScaleKind::Ue8m0 => row.scales.iter().map(|&byte| fp8::scale_to_f32(byte)).collect(),
    };
    let element = |(at, &byte): (usize, &u8)| fp8::to_f32(how.format(), byte) * scales[at / GROUP_ELEMENTS as usize];
    row.elements.iter().enumerate().map(element).collect()
}

/// The least e with `amax <= max * 2^e`, compared exactly; infinity is 2^128.
fn scale_exponent(amax: f32, max: f32) -> i32 {
    let amax = if amax.is_infinite() { 2f64.powi(128) } else { f64::from(amax) };
    let reaches = |exponent: &i32| amax <= f64::from(max) * 2f64.powi(*exponent);
    (-126..=127).find(reaches).expect("448 * 2^127 is beyond 2^128")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Fp8;

    fn row(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
    }

    fn all() -> Vec<Quantization> {
        Fp8::ALL
            .into_iter()
            .flat_map(|format| {
                let divided = Quantization::new(format, ScaleKind::F32);
                [divided, divided.power_of_two(), Quantization::new(format, ScaleKind::Ue8m0)]
            })
            .collect()
    }

    #[test]
    fn a_group_has_its_own_scale() {
        let mut values = vec![448.0; 128];
        values.extend([2.0, -1.0]);
        let got = quantize(Quantization::new(Fp8::E4m3, ScaleKind::Ue8m0), &row(&values));
        assert_eq!(got.elements[..128], [0x7e; 128]);
        // 2 / 448 is 1.14 * 2^-8: the scale is 2^-7.
        assert_eq!(got.elements[128..], [fp8::from_f32(Fp8::E4m3, 256.0), fp8::from_f32(Fp8::E4m3, -128.0)]);
        assert_eq!(got.scales, [127, 120]);
        assert_eq!(dequantize(Quantization::new(Fp8::E4m3, ScaleKind::Ue8m0), &got), values);
    }

    #[test]
    fn a_quotient_that_is_a_power_of_two_is_the_scale() {
        for format in Fp8::ALL {
            let how = Quantization::new(format, ScaleKind::Ue8m0);
            let scale = |amax: f32| i32::from(quantize(how, &row(&[amax])).scales[0]) - 127;
            for exponent in [-8, -1, 0, 1, 100] {
                let amax = format.max() * 2f32.powi(exponent);
                let above = bf16::to_f32((amax.to_bits() >> 16) as u16 + 1);
                assert_eq!((scale(amax), scale(above)), (exponent, exponent + 1), "{format} 2^{exponent}");
            }
        }
    }

    /// Every bf16 alone, but those that may round up to 2^128, comes back within half a unit of the format.
    #[test]
    fn every_value_comes_back_near() {
        for how in all() {
            for bits in 0..0x7f70 {
                let value = bf16::to_f32(bits);
                let got = quantize(how, &row(&[value]));
                let back = dequantize(how, &got)[0];
                // The byte of 1, half a unit of 1, half a unit of subnormal numbers.
                let (one, half, least) = match how.format() {
                    Fp8::E4m3 => (0x38, 2f32.powi(-4), 2f32.powi(-10)),
                    Fp8::E5m2 => (0x3c, 2f32.powi(-3), 2f32.powi(-17)),
                };
                let scale = dequantize(how, &Quantized { elements: vec![one], ..got })[0];
                let room = (value * half).max(least * scale) * 1.0001; // the scale was rounded too
                assert!((back - value).abs() <= room, "{how:?} {bits:#06x}: {value:e} came back as {back:e}");
            }
        }
    }

    #[test]
    fn zeros_have_the_least_scale() {
        for format in Fp8::ALL {
            let got = quantize(Quantization::new(format, ScaleKind::F32), &row(&[0.0, -0.0]));
            assert_eq!(got.elements, [0x00, 0x80]);
            assert_eq!(got.scales, (AMAX_MIN / format.max()).to_le_bytes());
        }
        // 1e-4 / 448 is 1.87 * 2^-23, 1e-4 / 57344 is 1.87 * 2^-30.
        let byte = |format| quantize(Quantization::new(format, ScaleKind::Ue8m0), &row(&[0.0])).scales[0];
        assert_eq!((byte(Fp8::E4m3), byte(Fp8::E5m2)), (127 - 22, 127 - 29));
    }

    #[test]
    fn a_nan_leaves_its_group_alone() {
        for how in all() {
            let (with, without) = (quantize(how, &row(&[3.0, f32::NAN, -5.0])), quantize(how, &row(&[3.0, -5.0])));
            assert_eq!(with.scales, without.scales);
            assert_eq!(with.elements, [without.elements[0], fp8::NAN, without.elements[1]]);
        }
    }

    #[test]
    fn an_infinity_comes_back_from_powers_of_two_only() {
        let values = [f32::INFINITY, f32::NEG_INFINITY, 1.5 * 2f32.powi(120), -1.0];
        for format in Fp8::ALL {
            let how = Quantization::new(format, ScaleKind::Ue8m0);
            let got = quantize(how, &row(&values));
            let (exponent, largest) = if format == Fp8::E4m3 { (120, 0x7e) } else { (113, 0x7b) };
            assert_eq!(got.scales, [127 + exponent]);
            assert_eq!(got.elements[..2], [largest, largest | 0x80]);
            assert_eq!(dequantize(how, &got), [f32::INFINITY, f32::NEG_INFINITY, values[2], -0.0]);

            let how = Quantization::new(format, ScaleKind::F32);
            let got = quantize(how, &row(&values));
            assert_eq!(got.scales, f32::INFINITY.to_le_bytes());
            assert_eq!(got.elements, [fp8::NAN, fp8::NAN, 0x00, 0x80]);
        }
    }
}
