//! Layout of a rank's private state: positions that survive from call to call, and load statistics. Only this rank's kernels
//! write it, and the host its cancel word and the zeros of a reset.

use super::blocks::StateHead;
use super::shape::Shape;
use super::tuning::Tuning;
use super::window::Zone;
use crate::topology::Topology;

/// Byte offsets. All arrays are of 64-bit words, all start at zero and only grow; a reset clears those of the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `[C][N]` messages put into the send ring to each node.
    pub dispatch_send_position: u64,
    /// `[C][N]` messages taken from the forward ring of each node.
    pub dispatch_forward_in: u64,
    /// `[C][N][G]` rows of source (node, own rail) given to each local rank.
    pub dispatch_forward_out: u64,
    /// `[C][N]` messages for which credit went back to each node.
    pub dispatch_forward_credited: u64,
    /// `[C][R]` rows taken from the receive ring of each source rank.
    pub dispatch_receive_position: u64,
    /// `[C][R]` partial rows given for each source rank.
    pub combine_send_position: u64,
    /// `[C][N][G]` partial rows for source (node, own rail) taken from each local rank.
    pub combine_forward_in: u64,
    /// `[C][N]` sums put into the send ring to each node.
    pub combine_forward_out: u64,
    /// `[C][N]` sums taken from each node.
    pub combine_sum_in: u64,
    /// `[C][N]` sums for which credit went back to each node.
    pub combine_sum_credited: u64,
    /// `[C][N][2]` work requests posted to the payload and the credit queue of each node.
    pub posted: u64,
    /// `[N]` work requests posted to the exchange queue of each node.
    pub exchange_posted: u64,
    /// `[C][N][depth_ib]` requests that must be complete before a dispatch send slot is used again.
    pub dispatch_slot_requests: u64,
    /// `[C][N][depth_ib]` likewise for combine.
    pub combine_slot_requests: u64,
    /// What exchanges counted.
    pub load: LoadLayout,
    /// Bytes in all.
    pub bytes: u64,
}

/// Byte offsets in the state of the load statistics, which lie in one piece. E experts of the world, R ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadLayout {
    /// Exchanges that were counted.
    pub calls: u64,
    /// `[E]` own (token, choice) pairs of each expert of the world.
    pub sent_pairs: u64,
    /// `[E/R]` pairs of each local expert, from all ranks.
    pub received_pairs: u64,
    /// `[R]` own rows to each rank.
    pub sent_rows: u64,
    /// `[R]` rows from each rank.
    pub received_rows: u64,
    /// Where they end.
    pub end: u64,
}

impl LoadLayout {
    fn new(topology: Topology, shape: &Shape, zone: &mut Zone) -> LoadLayout {
        let r = u64::from(topology.ranks());
        let mut words = |count: u64| zone.take(8 * count);
        let mut load = LoadLayout {
            calls: words(1),
            sent_pairs: words(u64::from(shape.experts())),
            received_pairs: words(u64::from(shape.experts_per_rank(topology))),
            sent_rows: words(r),
            received_rows: words(r),
            end: 0,
        };
        load.end = zone.end();
        load
    }

    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.end - self.calls
    }
}

impl State {
    /// Lays out the state.
    pub fn new(topology: Topology, shape: &Shape, tuning: &Tuning) -> State {
        let n = u64::from(topology.nodes());
        let r = u64::from(topology.ranks());
        let c = u64::from(tuning.channels);
        let depth = u64::from(tuning.depth_ib);
        let mut zone = Zone::starting_at(StateHead::BYTES as u64);
        let mut words = |count: u64| zone.take(8 * count);
        let mut state = State {
            dispatch_send_position: words(c * n),
            dispatch_forward_in: words(c * n),
            dispatch_forward_out: words(c * r),
            dispatch_forward_credited: words(c * n),
            dispatch_receive_position: words(c * r),
            combine_send_position: words(c * r),
            combine_forward_in: words(c * r),
            combine_forward_out: words(c * n),
            combine_sum_in: words(c * n),
            combine_sum_credited: words(c * n),
            posted: words(c * n * 2),
            exchange_posted: words(n),
            dispatch_slot_requests: words(c * n * depth),
            combine_slot_requests: words(c * n * depth),
            load: LoadLayout::new(topology, shape, &mut zone),
            bytes: 0,
        };
        state.bytes = zone.end();
        state
    }
}
