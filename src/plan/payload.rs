//! What a row holds: on its way to the experts, and on its way back.

use std::fmt;

use crate::mem::DType;

/// What dispatch carries for each token. Kernels move bytes: no bit of a row changes.
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
}

impl Payload {
    /// Type of the tensors.
    pub fn dtype(self) -> DType {
        match self {
            Payload::Bf16 => DType::Bf16,
            Payload::Fp16 => DType::F16,
            Payload::Fp32 => DType::F32,
            Payload::Bytes(_) => DType::U8,
        }
    }

    /// Elements of a row where the model has `hidden` channels.
    pub fn columns(self, hidden: u32) -> u32 {
        match self {
            Payload::Bytes(bytes) => bytes,
            _ => hidden,
        }
    }

    /// Number in the agreement of all ranks.
    pub(crate) fn code(self) -> u64 {
        match self {
            Payload::Bf16 => 0,
            Payload::Fp16 => 1,
            Payload::Fp32 => 2,
            Payload::Bytes(_) => 3,
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
    /// f32: sums are not rounded at all.
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
