//! What a plan and a workload come to: the numbers that the formulas are made of, and the terms that wires and copies bound.

use super::acts::{Acts, Code, PLAIN};
use super::load::Load;
use super::terms::Part;
use crate::bench::Workload;
use crate::machine::Machine;
use crate::plan::{Fabric, Op, OutputLayout, Plan};

/// What a CTA does before its first claim: constants, control words, its number.
const FRAME: Code = Code { instructions: 190.0, exchanges: 6.0, shared: 4.0, atomics: 2.0, loads: 10.0, ..PLAIN };
/// A turn of its threads over streams, each one's.
const STREAMS: Code = Code { instructions: 75.0, atomics: 1.0, loads: 5.0, ..PLAIN };

/// Numbers of a plan, as floats.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub load: Load,
    pub nodes: f64,
    pub gpus: f64,
    pub ranks: f64,
    /// Tokens of a rank.
    pub tokens: f64,
    pub channels: f64,
    /// Tokens of the channel that has most.
    pub channel_tokens: f64,
    /// Channels of the SM that has most.
    pub sm_channels: f64,
    pub dispatch_workers: f64,
    pub combine_workers: f64,
    pub chunk_ib: f64,
    pub chunk_nv: f64,
    pub depth_ib: f64,
    pub depth_nv: f64,
    pub credit_ib: f64,
    pub stage_bytes: u32,
    pub piece_bytes: f64,
    pub sum_piece_bytes: f64,
    /// Header and row of a message there, and back.
    pub header_bytes: f64,
    pub row_bytes: f64,
    pub sum_header_bytes: f64,
    pub sum_row_bytes: f64,
    pub scales: f64,
    /// Elements of a row that is quantized on its way; else 0.
    pub quantized_elements: f64,
    /// Output rows of a row that comes.
    pub row_copies: f64,
    /// Rows of a token at a rank that combine adds first.
    pub pairs_of_row: f64,
    pub lands: bool,
    /// Words of bit sets, and queues of a CTA.
    pub dispatch_words: f64,
    pub combine_words: f64,
    pub queues: f64,
    pub crosses_leaves: bool,
    pub loopback: bool,
    threads: f64,
}

impl Settings {
    /// Of the kernel of an operation.
    pub fn new(machine: &Machine, workload: &Workload, plan: &Plan, load: Load, op: Op) -> Settings {
        let (topology, shape, tuning) = (plan.topology, &plan.shape, &plan.tuning);
        let launch = plan.launch(op);
        let number = |value: u32| f64::from(value);
        let pairs = (number(shape.topk()) / load.ranks.max(1.0)).max(1.0);
        let pairs = match shape.layout() {
            OutputLayout::Rows => 1.0,
            OutputLayout::Experts { .. } => pairs,
        };
        let channels = tuning.channels.max(1);
        let sm_channels = number(channels.div_ceil(launch.sms.max(1)));
        let quantized = shape.payload().quantization().map_or(0, |_| shape.hidden());
        Settings {
            load,
            nodes: number(topology.nodes()),
            gpus: number(topology.gpus_per_node()),
            ranks: number(topology.ranks()),
            tokens: number(workload.tokens),
            channels: number(channels),
            channel_tokens: number(workload.tokens.div_ceil(channels)),
            sm_channels,
            dispatch_workers: number(plan.dispatch.block.workers.max(1)),
            combine_workers: number(plan.combine.block.workers.max(1)),
            chunk_ib: number(tuning.chunk_ib),
            chunk_nv: number(tuning.chunk_nv),
            depth_ib: number(tuning.depth_ib),
            depth_nv: number(tuning.depth_nv),
            credit_ib: number(tuning.credit_ib()),
            stage_bytes: tuning.stage_bytes,
            piece_bytes: number(plan.dispatch.block.piece_bytes.max(16)),
            sum_piece_bytes: number(plan.combine.block.piece_bytes.max(16)),
            header_bytes: number(shape.dispatch_header_bytes(topology)),
            row_bytes: number(shape.dispatch_row_bytes()),
            sum_header_bytes: number(shape.combine_header_bytes()),
            sum_row_bytes: number(shape.combine_row_bytes()),
            scales: number(shape.scale_columns()),
            quantized_elements: number(quantized),
            row_copies: pairs,
            pairs_of_row: pairs,
            lands: plan.landing().rows() > 0,
            dispatch_words: number(plan.dispatch.block.words),
            combine_words: number(plan.combine.block.words),
            queues: sm_channels * 2.0 * number(topology.nodes()),
            crosses_leaves: topology.nodes() > machine.timing().nic.leaf_nodes,
            loopback: plan.fabric == Fabric::Loopback,
            threads: number(launch.threads),
        }
    }

    /// Messages of one flow within a node.
    pub fn flow_messages(&self) -> f64 {
        self.channel_tokens * self.load.ranks / self.ranks * self.load.rank_most
    }

    /// From the kernel's launch to its first claim, and from its last to its end.
    pub fn start_ns(&self, acts: &Acts<'_>) -> f64 {
        let streams = self.sm_channels * (2.0 * self.nodes + self.ranks);
        let turns = (streams / self.threads).ceil().max(3.0);
        acts.launch_ns() + acts.code(FRAME).ns + acts.code(STREAMS).times(turns).ns
    }
}

/// Times of an SM's bulk loads and stores.
pub(super) fn bulk_parts(acts: &Acts<'_>, load_bytes: f64, store_bytes: f64) -> [(Part, f64); 2] {
    let gpu = &acts.timing().gpu;
    [
        (Part::SmLoads, Acts::at_rate_ns(load_bytes, gpu.sm_load_rate)),
        (Part::SmStores, Acts::at_rate_ns(store_bytes, gpu.sm_store_rate)),
    ]
}

/// What a rank's wires carry in one operation: bytes of the busiest rank.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Moved {
    pub nic_out_bytes: f64,
    pub nic_in_bytes: f64,
    pub nic_messages: f64,
    pub nvlink_out_bytes: f64,
    pub nvlink_in_bytes: f64,
    /// Bytes that pass L2, and those that device memory has to give or take.
    pub l2_bytes: f64,
    pub hbm_bytes: f64,
}

impl Moved {
    /// Of dispatch.
    pub fn dispatch(settings: &Settings, slot_bytes: f64) -> Moved {
        let load = &settings.load;
        let slot = settings.header_bytes + settings.row_bytes;
        let crossing = if settings.lands { settings.row_bytes } else { slot };
        let peers = (settings.gpus - 1.0) / settings.gpus;
        let (sent, rows) = (settings.tokens * load.away, settings.tokens * load.ranks);
        let received = if settings.lands { 0.0 } else { rows * load.rank_most * (1.0 + settings.row_copies) };
        Moved {
            nic_out_bytes: sent * slot_bytes,
            nic_in_bytes: sent * load.node_most * slot_bytes,
            nic_messages: sent,
            nvlink_out_bytes: rows * load.relay_most * peers * crossing,
            nvlink_in_bytes: rows * load.rank_most * peers * crossing,
            // Read and written to send, written by the NIC, read to forward, written here; read and written to receive.
            l2_bytes: (4.0 * sent + settings.tokens * load.home() + rows * load.rank_most + received) * slot,
            // The input once, the output once; rings stay in L2.
            hbm_bytes: (settings.tokens + rows * load.rank_most * settings.row_copies) * slot,
        }
    }

    /// Of combine.
    pub fn combine(settings: &Settings, slot_bytes: f64) -> Moved {
        let load = &settings.load;
        let slot = settings.sum_header_bytes + settings.sum_row_bytes;
        let peers = (settings.gpus - 1.0) / settings.gpus;
        let (sums, rows) = (settings.tokens * load.away, settings.tokens * load.ranks);
        Moved {
            nic_out_bytes: sums * load.node_most * slot_bytes,
            nic_in_bytes: sums * slot_bytes,
            nic_messages: sums * load.node_most,
            nvlink_out_bytes: rows * load.rank_most * peers * slot,
            nvlink_in_bytes: rows * load.relay_most * peers * slot,
            l2_bytes: (rows * (load.rank_most + 2.0 * load.relay_most) + 4.0 * sums + settings.tokens) * slot,
            hbm_bytes: (rows * load.rank_most * settings.pairs_of_row + settings.tokens) * slot,
        }
    }

    /// Times of wires and memories. Without NICs, what goes between nodes goes over NVLink.
    pub fn parts(&self, acts: &Acts<'_>, settings: &Settings, chunk: f64) -> Vec<(Part, f64)> {
        let timing = acts.timing();
        let (links, gpu, nic) = (&timing.links, &timing.gpu, &timing.nic);
        let (nic_out, nic_in, over) = match settings.loopback {
            true => (0.0, 0.0, (self.nic_out_bytes, self.nic_in_bytes)),
            false => (self.nic_out_bytes, self.nic_in_bytes, (0.0, 0.0)),
        };
        // A write and a signal a chunk, and credit back.
        let puts = if settings.loopback { 0.0 } else { self.nic_messages * (2.0 / chunk + 1.0 / settings.credit_ib) };
        let queue_pairs = 2.0 * (settings.nodes - 1.0) * settings.channels;
        vec![
            (Part::NicOut, Acts::at_rate_ns(nic_out, nic.rate)),
            (Part::NicIn, Acts::at_rate_ns(nic_in, nic.rate)),
            (Part::NicMessages, puts * acts.message_gap_ns(queue_pairs)),
            (Part::NvlinkOut, Acts::at_rate_ns(self.nvlink_out_bytes + over.0, links.nvlink_rate)),
            (Part::NvlinkIn, Acts::at_rate_ns(self.nvlink_in_bytes + over.1, links.nvlink_rate)),
            (Part::L2, Acts::at_rate_ns(self.l2_bytes, gpu.l2_rate)),
            (Part::Hbm, Acts::at_rate_ns(self.hbm_bytes, gpu.hbm_rate)),
        ]
    }
}
