//! Layout of a handle: the routing of one dispatch, kept for its combine.
//!
//! Arrays are of 32-bit words. T is the token bound, W the words of a node's mask.

use super::blocks::HandleHead;
use super::shape::Shape;
use super::tuning::Tuning;
use super::window::Zone;
use crate::topology::Topology;

/// Byte offsets in a handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandleLayout {
    /// `[T][N][W]` local ranks of each node that each own token goes to.
    pub token_masks: u64,
    /// `[N][T]` own tokens that go to each node, in order; a channel's part starts at its first token.
    pub send_tokens: u64,
    /// `[C][N]` own messages to each node.
    pub send_messages: u64,
    /// `[C][R]` own rows to each rank.
    pub send_rows: u64,
    /// `[X][E]` own (token, choice) pairs of each expert; X is C where output rows are ordered by expert, else 1.
    pub expert_rows: u64,
    /// `[C][N]` messages from (node, own rail) to this rank.
    pub forward_messages: u64,
    /// `[C][N]` messages of lower channels from that node.
    pub forward_base: u64,
    /// `[C][R]` rows from each source rank.
    pub receive_rows: u64,
    /// `[C][R]` first output row of each flow: rows are ordered by (source rank, token).
    pub receive_base: u64,
    /// `[N][T][W]` destination masks of the messages forwarded from each node, in order.
    pub forward_masks: u64,
    /// `[E/R]` pairs of each local expert, from all ranks.
    pub expert_totals: u64,
    /// `[E/R + 1]` first output row of each local expert, and their number.
    pub expert_offsets: u64,
    /// `[C][R][E/R]` rows of each local expert before those of the flow.
    pub expert_base: u64,
    /// `[C][R][E/R]` next output row of each local expert in the flow.
    pub expert_next: u64,
    /// Bytes in all.
    pub bytes: u64,
}

impl HandleLayout {
    /// Lays out a handle.
    pub fn new(topology: Topology, shape: &Shape, tuning: &Tuning) -> HandleLayout {
        let n = u64::from(topology.nodes());
        let r = u64::from(topology.ranks());
        let c = u64::from(tuning.channels);
        let t = u64::from(shape.max_tokens());
        let w = u64::from(topology.mask_words());
        let own = u64::from(shape.experts_per_rank(topology));
        let flows = if shape.layout().expert_align() == 0 { 0 } else { c * r * own };
        let mut zone = Zone::starting_at(HandleHead::BYTES as u64);
        let mut words = |count: u64| zone.take(4 * count);
        let mut handle = HandleLayout {
            token_masks: words(t * n * w),
            send_tokens: words(n * t),
            send_messages: words(c * n),
            send_rows: words(c * r),
            expert_rows: words(u64::from(shape.expert_channels(tuning)) * u64::from(shape.experts())),
            forward_messages: words(c * n),
            forward_base: words(c * n),
            receive_rows: words(c * r),
            receive_base: words(c * r),
            forward_masks: words(n * t * w),
            expert_totals: words(own),
            expert_offsets: words(own + 1),
            expert_base: words(flows),
            expert_next: words(flows),
            bytes: 0,
        };
        handle.bytes = zone.end();
        handle
    }
}
