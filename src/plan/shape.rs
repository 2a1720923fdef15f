//! What is moved: row size, experts, top-k, token bound.

use super::fp8::ScaleKind;
use super::output::{OutputLayout, MAX_ALIGN};
use super::payload::{Payload, Sum};
use super::tuning::Tuning;
use crate::error::{Error, Result};
use crate::mem::DType;
use crate::topology::Topology;

/// Most experts a token may choose.
pub const MAX_TOPK: u32 = 32;
/// Most bytes of a row.
pub const MAX_HIDDEN_BYTES: u32 = 1 << 20;
/// Most tokens of a rank in one call.
pub const MAX_TOKENS: u32 = 1 << 20;
/// Bytes of a bf16 element.
const BF16_BYTES: u32 = 2;
/// Bytes of a combine slot's header before the weights: call number, index in the flow, whether weights follow, zero.
const COMBINE_HEAD_BYTES: u32 = 16;

/// Shape of a Mixture-of-Experts exchange: rows of [`Payload`] for `[tokens]` out, rows of [`Sum`] for them back,
/// `topk_idx [tokens, topk]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    hidden: u32,
    experts: u32,
    topk: u32,
    max_tokens: u32,
    payload: Payload,
    sum: Sum,
    layout: OutputLayout,
}

impl Shape {
    /// Rows of `hidden` bf16 elements both ways, `experts` experts over all ranks, `topk` of them a token, at most
    /// `max_tokens` tokens a rank and call.
    ///
    /// # Errors
    /// [`Error::Argument`] for a hidden size that is not a multiple of 16 bytes, top-k outside 1 to 32, no experts,
    /// or a token bound of zero or above [`MAX_TOKENS`].
    pub fn new(hidden: u32, experts: u32, topk: u32, max_tokens: u32) -> Result<Shape> {
        let most = MAX_HIDDEN_BYTES / BF16_BYTES;
        if hidden == 0 || hidden > most || !(hidden * BF16_BYTES).is_multiple_of(16) {
            return Err(Error::argument("hidden", hidden, format!("a multiple of 8 elements (16 bytes), 8 to {most}")));
        }
        if topk == 0 || topk > MAX_TOPK {
            return Err(Error::argument("topk", topk, format!("1 to {MAX_TOPK}")));
        }
        if experts == 0 || experts > 1 << 16 {
            return Err(Error::argument("experts", experts, "1 to 65536"));
        }
        if topk > experts {
            return Err(Error::argument("topk", topk, format!("at most the number of experts, {experts}")));
        }
        if max_tokens == 0 || max_tokens > MAX_TOKENS {
            return Err(Error::argument("max_tokens", max_tokens, format!("1 to {MAX_TOKENS}")));
        }
        Ok(Shape {
            hidden,
            experts,
            topk,
            max_tokens,
            payload: Payload::Bf16,
            sum: Sum::Bf16,
            layout: OutputLayout::Rows,
        })
    }

    /// What dispatch carries; bf16 otherwise.
    ///
    /// # Errors
    /// [`Error::Argument`] when a row is not a multiple of 16 bytes or larger than [`MAX_HIDDEN_BYTES`].
    pub fn with_payload(self, payload: Payload) -> Result<Shape> {
        check_row("payload", payload, payload.columns(self.hidden), payload.dtype())?;
        Ok(Shape { payload, ..self })
    }

    /// What combine adds and gives; bf16 otherwise.
    ///
    /// # Errors
    /// [`Error::Argument`] when a row is larger than [`MAX_HIDDEN_BYTES`].
    pub fn with_sum(self, sum: Sum) -> Result<Shape> {
        check_row("sum", sum, self.hidden, sum.dtype())?;
        Ok(Shape { sum, ..self })
    }

    /// How output rows are ordered; by source rank and token otherwise.
    ///
    /// # Errors
    /// [`Error::Argument`] for an alignment of zero or above [`MAX_ALIGN`].
    pub fn with_layout(self, layout: OutputLayout) -> Result<Shape> {
        match layout {
            OutputLayout::Experts { align } if !(1..=MAX_ALIGN).contains(&align) => {
                Err(Error::argument("align", align, format!("1 to {MAX_ALIGN} rows")))
            }
            _ => Ok(Shape { layout, ..self }),
        }
    }

    /// Checks that experts divide over the ranks of `topology`.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the experts and the ranks.
    pub fn check(&self, topology: Topology) -> Result<()> {
        if !self.experts.is_multiple_of(topology.ranks()) {
            return Err(Error::argument(
                "experts",
                self.experts,
                format!("a multiple of the world's {} ranks, since every rank holds the same number", topology.ranks()),
            ));
        }
        Ok(())
    }

    /// Elements of a row.
    pub fn hidden(&self) -> u32 {
        self.hidden
    }

    /// What dispatch carries.
    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// What combine adds and gives.
    pub fn sum(&self) -> Sum {
        self.sum
    }

    /// How output rows are ordered.
    pub fn layout(&self) -> OutputLayout {
        self.layout
    }

    /// Channels by which pairs are counted: rows that are ordered by expert need to know where each flow's begin.
    pub fn expert_channels(&self, tuning: &Tuning) -> u32 {
        match self.layout {
            OutputLayout::Rows => 1,
            OutputLayout::Experts { .. } => tuning.channels,
        }
    }

    /// Bytes of a row on its way to the experts.
    pub fn dispatch_row_bytes(&self) -> u32 {
        row_bytes(self.payload.columns(self.hidden), self.payload.dtype()) as u32
    }

    /// Bytes of a row on its way back.
    pub fn combine_row_bytes(&self) -> u32 {
        row_bytes(self.hidden, self.sum.dtype()) as u32
    }

    /// Experts of the whole world.
    pub fn experts(&self) -> u32 {
        self.experts
    }

    /// Experts a token chooses.
    pub fn topk(&self) -> u32 {
        self.topk
    }

    /// Bound of tokens a rank and call.
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    /// Experts of each rank.
    pub fn experts_per_rank(&self, topology: Topology) -> u32 {
        self.experts / topology.ranks()
    }

    /// Bytes of a row that is given to dispatch.
    pub fn given_row_bytes(&self) -> u32 {
        row_bytes(self.payload.columns(self.hidden), self.payload.given()) as u32
    }

    /// Scales of a row.
    pub fn scale_columns(&self) -> u32 {
        self.payload.scales().map_or(0, |scales| scales.columns(self.hidden))
    }

    /// Bytes of one scale.
    pub fn scale_bytes(&self) -> u32 {
        self.payload.scales().map_or(0, ScaleKind::bytes)
    }

    /// Where the scales are in a dispatch slot: behind call, token, destination mask and (expert, weight) pairs.
    pub fn dispatch_scales_at(&self, topology: Topology) -> u32 {
        8 + 4 * topology.mask_words() + 8 * self.topk
    }

    /// Header of a dispatch slot, scales included; padded to 16 bytes.
    pub fn dispatch_header_bytes(&self, topology: Topology) -> u32 {
        (self.dispatch_scales_at(topology) + self.scale_columns() * self.scale_bytes()).next_multiple_of(16)
    }

    /// Bytes of a dispatch slot, padded to 128.
    pub fn dispatch_slot_bytes(&self, topology: Topology) -> u32 {
        (self.dispatch_header_bytes(topology) + self.dispatch_row_bytes()).next_multiple_of(128)
    }

    /// Header of a combine slot: call, position, whether weights follow, zero, topk weights; padded to 16 bytes.
    pub fn combine_header_bytes(&self) -> u32 {
        COMBINE_HEAD_BYTES + (4 * self.topk).next_multiple_of(16)
    }

    /// Bytes of a combine slot, padded to 128.
    pub fn combine_slot_bytes(&self) -> u32 {
        (self.combine_header_bytes() + self.combine_row_bytes()).next_multiple_of(128)
    }
}

fn row_bytes(columns: u32, dtype: DType) -> u64 {
    u64::from(columns) * dtype.bytes()
}

fn check_row(argument: &str, value: impl std::fmt::Display, columns: u32, dtype: DType) -> Result<()> {
    let bytes = row_bytes(columns, dtype);
    if bytes != 0 && bytes.is_multiple_of(16) && bytes <= u64::from(MAX_HIDDEN_BYTES) {
        return Ok(());
    }
    let valid = format!("rows of a multiple of 16 bytes, 16 to {MAX_HIDDEN_BYTES}");
    Err(Error::argument(argument, format!("{value} ({bytes} bytes a row)"), valid))
}
