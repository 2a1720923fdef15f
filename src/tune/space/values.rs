//! The documented values of each axis.

use super::super::axis::Axis;
use crate::plan::tuning::channels_max;
use crate::plan::{Landing, Limits, OutputLayout, Shape, Tuning};
use crate::topology::Topology;

const SMS: &[u32] = &[2, 4, 6, 8, 10, 12, 16, 20, 24, 32];
const CHANNELS: &[u32] = &[4, 8, 16, 24, 32, 48, 64];
const CHUNKS_IB: &[u32] = &[1, 2, 4, 8, 16];
const CHUNKS_NV: &[u32] = &[1, 2, 4, 8];
const DEPTHS_IB: &[u32] = &[4, 8, 16, 32];
const DEPTHS_NV: &[u32] = &[4, 8, 16];
const WORKERS: &[u32] = &[3, 7, 11, 15];
const STAGE_BYTES: &[u32] = &[4096, 8192, 16384];

/// Values of `axis`, ascending; never none.
pub(super) fn of(axis: Axis, topology: Topology, shape: &Shape, limits: &Limits) -> Vec<u32> {
    let defaults = Tuning::default_for(topology, shape.dispatch_row_bytes());
    let one_node = topology.nodes() == 1;
    match axis {
        Axis::DispatchSms | Axis::CombineSms => up_to(SMS, limits.sms),
        Axis::Channels => up_to(CHANNELS, channels_max(topology)),
        Axis::ChunkIb if one_node => vec![defaults.chunk_ib],
        Axis::DepthIb if one_node => vec![defaults.depth_ib],
        Axis::ChunkIb => CHUNKS_IB.to_vec(),
        Axis::DepthIb => DEPTHS_IB.to_vec(),
        Axis::ChunkNv => CHUNKS_NV.to_vec(),
        Axis::DepthNv => DEPTHS_NV.to_vec(),
        Axis::Workers => WORKERS.to_vec(),
        Axis::Roles => vec![0, 1],
        Axis::StageBytes => STAGE_BYTES.to_vec(),
        Axis::Landing => match shape.layout() {
            OutputLayout::Rows => vec![0, Landing::direct_for(topology, shape).rows()],
            OutputLayout::Experts { .. } => vec![0],
        },
    }
}

/// The values that are not above `most`; `most` itself where all are.
fn up_to(values: &[u32], most: u32) -> Vec<u32> {
    let fit: Vec<u32> = values.iter().copied().filter(|&value| value <= most).collect();
    if fit.is_empty() {
        vec![most.max(1)]
    } else {
        fit
    }
}
