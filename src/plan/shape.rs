//! What is moved: row size, experts, top-k, token bound.

use crate::error::{Error, Result};
use crate::topology::Topology;

/// Most experts a token may choose.
pub const MAX_TOPK: u32 = 32;
/// Most bytes of a row.
pub const MAX_HIDDEN_BYTES: u32 = 1 << 20;
/// Most tokens of a rank in one call.
pub const MAX_TOKENS: u32 = 1 << 20;
/// Bytes of a bf16 element.
const BF16_BYTES: u32 = 2;
/// Bytes of a combine slot's header: call number, index in the flow, padding to 16.
pub const COMBINE_HEADER_BYTES: u32 = 16;

/// Shape of a Mixture-of-Experts exchange: `x [tokens, hidden]` in bf16, `topk_idx [tokens, topk]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    hidden: u32,
    experts: u32,
    topk: u32,
    max_tokens: u32,
}

impl Shape {
    /// Rows of `hidden` bf16 elements, `experts` experts over all ranks, `topk` of them a token, at most
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
        Ok(Shape { hidden, experts, topk, max_tokens })
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

    /// Bytes of a row.
    pub fn hidden_bytes(&self) -> u32 {
        self.hidden * BF16_BYTES
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

    /// Header of a dispatch slot: call, token, destination mask, then (expert, weight) pairs; padded to 16 bytes.
    pub fn dispatch_header_bytes(&self, topology: Topology) -> u32 {
        (8 + 4 * topology.mask_words() + 8 * self.topk).next_multiple_of(16)
    }

    /// Bytes of a dispatch slot, padded to 128.
    pub fn dispatch_slot_bytes(&self, topology: Topology) -> u32 {
        (self.dispatch_header_bytes(topology) + self.hidden_bytes()).next_multiple_of(128)
    }

    /// Bytes of a combine slot, padded to 128.
    pub fn combine_slot_bytes(&self) -> u32 {
        (COMBINE_HEADER_BYTES + self.hidden_bytes()).next_multiple_of(128)
    }
}
