//! Layout of a rank's window: the symmetric memory that peers write.
//!
//! Counters first (tails with the consumer, heads with the producer, so that all polling is local), then exchange
//! boxes, then rings. Every rank of a world has the same layout. Dimensions of each array are in its field's doc;
//! rings between nodes are indexed by [`Topology::peer_index`], counters by plain node or rank.

use super::shape::Shape;
use super::tuning::Tuning;
use super::Fabric;
use crate::topology::Topology;

/// Hands out aligned byte ranges of a zone in order.
pub(super) struct Zone {
    bytes: u64,
}

impl Zone {
    pub(super) fn starting_at(bytes: u64) -> Zone {
        Zone { bytes }
    }

    /// Offset of `bytes` more bytes, aligned to 128.
    pub(super) fn take(&mut self, bytes: u64) -> u64 {
        let at = self.bytes.next_multiple_of(128);
        self.bytes = at + bytes;
        at
    }

    pub(super) fn end(&self) -> u64 {
        self.bytes.next_multiple_of(128)
    }
}

/// Byte offsets in a window. N nodes, G GPUs a node, R ranks, C channels; words are 64 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// `[C][N]` messages that arrived from each node.
    pub dispatch_forward_tail: u64,
    /// `[C][N]` messages that the rail peer of each node took.
    pub dispatch_send_head: u64,
    /// `[C][R]` rows that arrived from each source rank.
    pub dispatch_receive_tail: u64,
    /// `[C][N][G]` rows of source (node, own rail) that each local rank took.
    pub dispatch_receive_head: u64,
    /// `[C][N][G]` partial rows for source (node, own rail) from each local rank.
    pub combine_partial_tail: u64,
    /// `[C][R]` partial rows for each source rank that its forwarder took.
    pub combine_partial_head: u64,
    /// `[C][N]` sums that arrived from each node.
    pub combine_sum_tail: u64,
    /// `[C][N]` sums that the rail peer of each node took.
    pub combine_send_head: u64,
    /// `[N]` boxes that arrived from each node.
    pub box_stamp: u64,
    /// `[R]` row boxes that arrived for each source rank.
    pub rows_stamp: u64,
    /// `[2][N]` boxes to each node.
    pub box_out: u64,
    /// `[2][N]` boxes from each node.
    pub box_in: u64,
    /// `[2][R]` row boxes of each source rank.
    pub rows_in: u64,
    /// `[C][N][2] + [N]` words that fetch-and-adds return into.
    pub scrap: u64,
    /// `[C][N-1][depth_ib]` slots to each other node (mlx5 only).
    pub dispatch_send_ring: u64,
    /// `[C][N-1][depth_ib]` slots from each other node.
    pub dispatch_forward_ring: u64,
    /// `[C][R][depth_nv]` slots from each source rank.
    pub dispatch_receive_ring: u64,
    /// `[C][N-1][depth_ib]` sums to each other node (mlx5 only).
    pub combine_send_ring: u64,
    /// `[C][N-1][depth_ib]` sums from each other node.
    pub combine_sum_ring: u64,
    /// `[C][N][G][depth_nv]` partial rows for source (node, own rail) from each local rank.
    pub combine_partial_ring: u64,
    /// `[C][N][G]` where rows of source (node, own rail) land at each local rank: shift, and twice the call's number.
    pub landing_open: u64,
    /// `[L]` rows of the landing zone; L is 0 where nothing lands.
    pub landing_x: u64,
    /// `[L][scales]` of them.
    pub landing_scales: u64,
    /// `[L][topk]` local experts of them, or -1; 32-bit words.
    pub landing_idx: u64,
    /// `[L][topk]` weights of them; 32-bit words.
    pub landing_weights: u64,
    /// `[L][2]` rank and token that each came from; 32-bit words.
    pub landing_source: u64,
    /// Bytes of a box between nodes: 16 of head, C x (1 + G) counts, G x pairs of a rank's experts by channel.
    pub box_bytes: u32,
    /// Bytes of a box within a node: 16 of head, C counts, pairs of a rank's experts by channel.
    pub rows_box_bytes: u32,
    /// Bytes before the rings: what is zeroed when the window is made.
    pub counter_bytes: u64,
    /// Bytes in all.
    pub bytes: u64,
}

impl Window {
    /// Lays out the window.
    pub fn new(topology: Topology, shape: &Shape, tuning: &Tuning, fabric: Fabric) -> Window {
        let n = u64::from(topology.nodes());
        let g = u64::from(topology.gpus_per_node());
        let r = u64::from(topology.ranks());
        let c = u64::from(tuning.channels);
        let pairs = u64::from(shape.experts_per_rank(topology) * shape.expert_channels(tuning));
        let box_bytes = (8 + 4 * (c * (1 + g) + g * pairs)).next_multiple_of(16);
        let rows_box_bytes = (8 + 4 * (c + pairs)).next_multiple_of(16);
        let dispatch_slot = u64::from(shape.dispatch_slot_bytes(topology));
        let combine_slot = u64::from(shape.combine_slot_bytes());
        let between = c * (n - 1) * u64::from(tuning.depth_ib);
        let within = c * r * u64::from(tuning.depth_nv);
        let sending = if fabric == Fabric::Mlx5 { between } else { 0 };

        let mut zone = Zone::starting_at(0);
        let mut words = |count: u64| zone.take(8 * count);
        let mut window = Window {
            dispatch_forward_tail: words(c * n),
            dispatch_send_head: words(c * n),
            dispatch_receive_tail: words(c * r),
            dispatch_receive_head: words(c * r),
            combine_partial_tail: words(c * r),
            combine_partial_head: words(c * r),
            combine_sum_tail: words(c * n),
            combine_send_head: words(c * n),
            box_stamp: words(n),
            rows_stamp: words(r),
            scrap: words(c * n * 2 + n),
            box_out: 0,
            box_in: 0,
            rows_in: 0,
            dispatch_send_ring: 0,
            dispatch_forward_ring: 0,
            dispatch_receive_ring: 0,
            combine_send_ring: 0,
            combine_sum_ring: 0,
            combine_partial_ring: 0,
            landing_open: 0,
            landing_x: 0,
            landing_scales: 0,
            landing_idx: 0,
            landing_weights: 0,
            landing_source: 0,
            box_bytes: box_bytes as u32,
            rows_box_bytes: rows_box_bytes as u32,
            counter_bytes: 0,
            bytes: 0,
        };
        window.box_out = zone.take(2 * n * box_bytes);
        window.box_in = zone.take(2 * n * box_bytes);
        window.rows_in = zone.take(2 * r * rows_box_bytes);
        let landing = u64::from(tuning.landing_of(shape).rows());
        window.landing_open = zone.take(if landing > 0 { 8 * c * r } else { 0 });
        window.counter_bytes = zone.end();
        window.dispatch_send_ring = zone.take(sending * dispatch_slot);
        window.dispatch_forward_ring = zone.take(between * dispatch_slot);
        window.dispatch_receive_ring = zone.take(within * dispatch_slot);
        window.combine_send_ring = zone.take(sending * combine_slot);
        window.combine_sum_ring = zone.take(between * combine_slot);
        window.combine_partial_ring = zone.take(within * combine_slot);
        window.landing_x = zone.take(landing * u64::from(shape.dispatch_row_bytes()));
        window.landing_scales = zone.take(landing * u64::from(shape.scale_columns() * shape.scale_bytes()));
        window.landing_idx = zone.take(landing * 4 * u64::from(shape.topk()));
        window.landing_weights = zone.take(landing * 4 * u64::from(shape.topk()));
        window.landing_source = zone.take(landing * 8);
        window.bytes = zone.end();
        window
    }
}
