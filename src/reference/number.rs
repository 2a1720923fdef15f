//! Elements of rows that combine adds: to f32 and back, to the bit.

use super::bf16;
use crate::plan::Sum;

/// What every NaN becomes when rounded to fp16, by `cvt.rn.f16x2.f32`.
const NAN_F16: u16 = 0x7fff;

/// A row's elements as f32: exact.
pub fn widen(sum: Sum, row: &[u8]) -> Vec<f32> {
    let halves = || row.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    match sum {
        Sum::Bf16 => halves().map(bf16::to_f32).collect(),
        Sum::Fp16 => halves().map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
        Sum::Fp32 => {
            row.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
        }
    }
}

/// Elements rounded to nearest, ties to even; NaN of 16 bits is 0x7fff, f32 keeps its bits.
pub fn round(sum: Sum, row: &[f32]) -> Vec<u8> {
    match sum {
        Sum::Bf16 => row.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        Sum::Fp16 => row.iter().flat_map(|&value| to_fp16(value).to_le_bytes()).collect(),
        Sum::Fp32 => row.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect(),
    }
}

fn to_fp16(value: f32) -> u16 {
    match value.is_nan() {
        true => NAN_F16,
        false => half::f16::from_f32(value).to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(bits: &[u16]) -> Vec<u8> {
        bits.iter().flat_map(|bits| bits.to_le_bytes()).collect()
    }

    #[test]
    fn halves_come_back_but_for_nan() {
        for bits in 0..=u16::MAX {
            for sum in [Sum::Bf16, Sum::Fp16] {
                let wide = widen(sum, &halves(&[bits]));
                let want = if wide[0].is_nan() { 0x7fff } else { bits };
                assert_eq!(round(sum, &wide), halves(&[want]), "{sum} {bits:#06x}");
            }
        }
    }

    #[test]
    fn fp16_rounds_to_nearest_even() {
        // Exponent and last place: a tie to even both ways, overflow at half a step beyond 65504, the least subnormal.
        for (value, bits) in [
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (65519.0, 0x7bff),
            (65520.0, 0x7c00),
            (-65520.0, 0xfc00),
            (2f32.powi(-25), 0x0000),
            (2f32.powi(-25) * 1.5, 0x0001),
        ] {
            assert_eq!(round(Sum::Fp16, &[value]), halves(&[bits]), "{value}");
        }
    }

    #[test]
    fn fp32_keeps_every_bit() {
        for bits in [0u32, 1, 0x8000_0000, 0x7f80_0001, 0xffc0_1234] {
            assert_eq!(round(Sum::Fp32, &widen(Sum::Fp32, &bits.to_le_bytes())), bits.to_le_bytes());
        }
    }
}
