//! Rows of FP8 with scales: formats, types of scales, and which scale a group of elements gets.
//!
//! FP8 formats are those of "OCP 8-bit Floating Point Specification (OFP8)", revision 1.0; UE8M0 is the scale E8M0 of
//! "OCP Microscaling Formats (MX) Specification", version 1.0.

use std::fmt;

use crate::mem::DType;

/// Consecutive elements of a row that share a scale; a row's last group may have fewer.
pub const GROUP_ELEMENTS: u32 = 128;

/// An 8-bit floating-point format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fp8 {
    /// 4 bits of exponent, 3 of mantissa: up to 448, no infinities, NaN is 0x7f or 0xff.
    #[default]
    E4m3,
    /// 5 bits of exponent, 2 of mantissa: up to 57344, infinities and NaN as IEEE 754 has them.
    E5m2,
}

impl Fp8 {
    /// All of them.
    pub const ALL: [Fp8; 2] = [Fp8::E4m3, Fp8::E5m2];

    /// Type of tensors.
    pub fn dtype(self) -> DType {
        match self {
            Fp8::E4m3 => DType::E4m3,
            Fp8::E5m2 => DType::E5m2,
        }
    }

    /// The largest finite value, 1.75 times a power of two.
    pub fn max(self) -> f32 {
        match self {
            Fp8::E4m3 => 448.0,
            Fp8::E5m2 => 57344.0,
        }
    }

    /// Name in kernel symbols.
    pub fn name(self) -> &'static str {
        match self {
            Fp8::E4m3 => "e4m3",
            Fp8::E5m2 => "e5m2",
        }
    }
}

impl fmt::Display for Fp8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Type of the scales beside a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ScaleKind {
    /// f32.
    #[default]
    F32,
    /// One byte: 2^(byte - 127), and 255 is NaN. Scales that are made here are 2^-29 to 2^120.
    Ue8m0,
}

impl ScaleKind {
    /// All of them.
    pub const ALL: [ScaleKind; 2] = [ScaleKind::F32, ScaleKind::Ue8m0];

    /// Type of tensors.
    pub fn dtype(self) -> DType {
        match self {
            ScaleKind::F32 => DType::F32,
            ScaleKind::Ue8m0 => DType::Ue8m0,
        }
    }

    /// Bytes of a scale.
    pub fn bytes(self) -> u32 {
        match self {
            ScaleKind::F32 => 4,
            ScaleKind::Ue8m0 => 1,
        }
    }

    /// Scales of a row of so many elements.
    pub fn columns(self, elements: u32) -> u32 {
        elements.div_ceil(GROUP_ELEMENTS)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ScaleKind::F32 => "f32",
            ScaleKind::Ue8m0 => "ue8m0",
        }
    }
}

impl fmt::Display for ScaleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How rows become FP8; [`reference::quantize`](crate::reference::quantize()) says it exactly.
///
/// ```
/// use half::bf16;
/// use warpferry::plan::{Fp8, Quantization, ScaleKind};
/// use warpferry::reference::{dequantize, quantize};
///
/// let how = Quantization::new(Fp8::E4m3, ScaleKind::Ue8m0);
/// let row: Vec<u8> = [2.0, -1.0].iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
/// let made = quantize(how, &row);
/// assert_eq!(made.scales, [120]); // 2^-7: the least power of two that is no smaller than 2 / 448
/// assert_eq!(dequantize(how, &made), [2.0, -1.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Quantization {
    format: Fp8,
    scales: ScaleKind,
    power_of_two: bool,
}

impl Quantization {
    /// Elements of `format`; scales in f32 are the quotient of a group's largest magnitude and [`Fp8::max`], UE8M0 ones
    /// the least power of two that is no smaller.
    pub fn new(format: Fp8, scales: ScaleKind) -> Quantization {
        Quantization { format, scales, power_of_two: scales == ScaleKind::Ue8m0 }
    }

    /// Scales are powers of two, in f32 too.
    #[must_use]
    pub fn power_of_two(self) -> Quantization {
        Quantization { power_of_two: true, ..self }
    }

    /// Format of the elements.
    pub fn format(self) -> Fp8 {
        self.format
    }

    /// Type of the scales.
    pub fn scales(self) -> ScaleKind {
        self.scales
    }

    /// Whether scales are powers of two.
    pub fn is_power_of_two(self) -> bool {
        self.power_of_two
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = if self.power_of_two && self.scales == ScaleKind::F32 { " that are powers of two" } else { "" };
        write!(f, "fp8 {} with {} scales{power}", self.format, self.scales)
    }
}
