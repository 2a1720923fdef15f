//! What a row holds: on its way to the experts, and on its way back.

use std::fmt;

use super::fp8::{Fp8, Quantization, ScaleKind};
use crate::mem::DType;

/// What dispatch carries for each token. Kernels move bytes: no bit of a row changes, unless they quantize it.
///
/// ```
/// use warpferry::plan::{Fp8, Payload, ScaleKind};
/// use warpferry::{DType, Shape};
///
/// let payload = Payload::Fp8(Fp8::E4m3, ScaleKind::F32);
/// let shape = Shape::new(7168, 256, 8, 4096)?.with_payload(payload)?;
/// assert_eq!((payload.dtype(), shape.dispatch_row_bytes()), (DType::E4m3, 7168));
/// assert_eq!((shape.scale_columns(), shape.scale_bytes()), (56, 4));
/// assert!(shape.with_payload(Payload::Bytes(100)).is_err()); // rows are multiples of 16 bytes
/// # Ok::<(), warpferry::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Payload {
    /// bf16 `[tokens, hidden]`.
    #[default]
    Bf16,
    /// IEEE half `[tokens, hidden]`.
    Fp16,
    /// f32 `[tokens, hidden]`.
    Fp32,
    /// u8 `[tokens, N]`: rows of N bytes that nobody looks into, a multiple of 16.
    Bytes(u32),
    /// FP8 `[tokens, hidden]` beside scales `[tokens, ceil(hidden / 128)]`, both given by the caller.
    Fp8(Fp8, ScaleKind),
    /// bf16 `[tokens, hidden]` that the sending warps turn into FP8 with scales, see [`Quantization`].
    Quantize(Quantization),
}

impl Payload {
    /// Type of the rows that are given.
    pub fn given(self) -> DType {
        match self {
            Payload::Quantize(_) => DType::Bf16,
            other => other.dtype(),
        }
    }

    /// Type of the rows that arrive.
    pub fn dtype(self) -> DType {
        match self {
            Payload::Bf16 => DType::Bf16,
            Payload::Fp16 => DType::F16,
            Payload::Fp32 => DType::F32,
            Payload::Bytes(_) => DType::U8,
            Payload::Fp8(format, _) => format.dtype(),
            Payload::Quantize(how) => how.format().dtype(),
        }
    }

    /// Type of the scales that arrive with the rows, where there are any.
    pub fn scales(self) -> Option<ScaleKind> {
        match self {
            Payload::Fp8(_, scales) => Some(scales),
            Payload::Quantize(how) => Some(how.scales()),
            _ => None,
        }
    }

    /// Whether the caller gives the scales.
    pub fn takes_scales(self) -> bool {
        matches!(self, Payload::Fp8(..))
    }

    /// How rows are quantized, if they are.
    pub fn quantization(self) -> Option<Quantization> {
        match self {
            Payload::Quantize(how) => Some(how),
            _ => None,
        }
    }

    /// Elements of a row where the model has `hidden` channels.
    pub fn columns(self, hidden: u32) -> u32 {
        match self {
            Payload::Bytes(bytes) => bytes,
            _ => hidden,
        }
    }

    /// Number in the agreement of all ranks: bits 0 to 7 the kind, then format, scales, whether powers of two.
    pub(crate) fn code(self) -> u64 {
        let fp8 = |format: Fp8, scales: ScaleKind| (format as u64) << 8 | (scales as u64) << 16;
        match self {
            Payload::Bf16 => 0,
            Payload::Fp16 => 1,
            Payload::Fp32 => 2,
            Payload::Bytes(_) => 3,
            Payload::Fp8(format, scales) => 4 | fp8(format, scales),
            Payload::Quantize(how) => 5 | fp8(how.format(), how.scales()) | u64::from(how.is_power_of_two()) << 24,
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Bf16 => f.write_str("bf16"),
            Payload::Fp16 => f.write_str("fp16"),
            Payload::Fp32 => f.write_str("fp32"),
            Payload::Bytes(bytes) => write!(f, "bytes:{bytes}"),
            Payload::Fp8(format, scales) => write!(f, "fp8 {format} with {scales} scales"),
            Payload::Quantize(how) => write!(f, "bf16 as {how}"),
        }
    }
}

/// Type of the rows that combine adds, and of its result. Sums are made in f32 whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Sum {
    /// bf16.
    #[default]
    Bf16,
    /// IEEE half.
    Fp16,
    /// f32: a sum is what its additions give, with no rounding behind them.
    Fp32,
}

impl Sum {
    /// All of them.
    pub const ALL: [Sum; 3] = [Sum::Bf16, Sum::Fp16, Sum::Fp32];

    /// Type of the tensors.
    pub fn dtype(self) -> DType {
        match self {
            Sum::Bf16 => DType::Bf16,
            Sum::Fp16 => DType::F16,
            Sum::Fp32 => DType::F32,
        }
    }

    /// Name in kernel symbols.
    pub fn name(self) -> &'static str {
        match self {
            Sum::Bf16 => "bf16",
            Sum::Fp16 => "fp16",
            Sum::Fp32 => "fp32",
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
