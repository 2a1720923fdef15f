//! Launch of dispatch and combine: threads, shared memory, roles.

use super::blocks::{LaunchBlock, StreamRecord};
use super::fp8::GROUP_ELEMENTS;
use super::shape::{Shape, MAX_TOPK};
use super::tuning::{Role, Tuning, STAGE_BYTES_MAX};
use crate::error::{Error, Result};
use crate::topology::Topology;

/// Most dynamic shared memory of a CTA on sm_90 and sm_100 (CUDA C++ programming guide, table of compute capabilities).
pub const SHARED_BYTES_MAX: u32 = 232_448;
/// Most 32-bit words of one kind's bit set: a worker looks at one word a lane, its last word twice.
pub const KIND_WORDS_MAX: u32 = 31;
/// Stages of a moving worker, each with an mbarrier.
pub const STAGES: u32 = 4;
/// A worker's two buffers for results of sums.
pub const RESULT_BYTES: u32 = 2048;
/// Most words of all kinds: each of the fewest threads of a CTA, one worker and the scout, clears one.
const WORDS_MAX: u32 = 64;
/// Shared memory offset of the mbarriers: control words and bit sets come before (see `ptx/include/shared.ptxh`).
const BARRIERS: u32 = 1024;
/// mbarriers of a worker: one a stage, one for each half of the stages when they hold the terms of a sum.
const BARRIERS_PER_WORKER: u32 = STAGES + 2;
/// Bytes of a worker's list of destinations or sources: 32 addresses and 32 positions; flow positions follow it.
const LIST_BYTES: u32 = 384;

/// Which of the two kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Tokens to experts.
    Dispatch,
    /// Results back, summed.
    Combine,
}

/// Grid, block, shared memory and the constants that go with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    /// The kernel.
    pub op: Op,
    /// CTAs.
    pub sms: u32,
    /// Threads of a CTA: the workers and a scout.
    pub threads: u32,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Constants that the kernel reads.
    pub block: LaunchBlock,
}

impl LaunchPlan {
    /// Lays out shared memory; lowers the number of workers until it fits.
    ///
    /// # Errors
    /// [`Error::Argument`] when a CTA would serve too many streams.
    pub fn new(op: Op, topology: Topology, shape: &Shape, tuning: &Tuning) -> Result<LaunchPlan> {
        let sms = match op {
            Op::Dispatch => tuning.dispatch_sms,
            Op::Combine => tuning.combine_sms,
        };
        let channels = tuning.channels.div_ceil(sms);
        let streams = streams(op, topology, channels);
        let words = streams.map(|count| count.div_ceil(32));
        if words.iter().any(|&count| count > KIND_WORDS_MAX) || words.iter().sum::<u32>() > WORDS_MAX {
            let name = if op == Op::Dispatch { "dispatch_sms" } else { "combine_sms" };
            let (most, all) = (32 * KIND_WORDS_MAX, 32 * WORDS_MAX);
            return Err(Error::argument(
                name,
                sms,
                format!(
                    "enough that a CTA serves at most {most} streams of a kind and about {all} in all; it would serve \
                     {streams:?}"
                ),
            ));
        }
        let header = shape.dispatch_header_bytes(topology);
        if op == Op::Dispatch && header > tuning.stage_bytes / STAGES {
            let need = (header * STAGES).next_multiple_of(1024);
            if need > STAGE_BYTES_MAX {
                let what = format!("{} with {} scales", shape.hidden(), shape.scale_columns());
                let most = STAGE_BYTES_MAX / STAGES;
                let valid =
                    format!("fewer: a slot's header of {header} bytes has to fit in {most}, a quarter of the stages");
                return Err(Error::argument("hidden", what, valid));
            }
            let valid = format!("at least {need}: a quarter holds a slot's header");
            return Err(Error::argument("stage_bytes", tuning.stage_bytes, valid));
        }
        let roles = tuning.worker_roles();
        let mut workers = tuning.workers;
        loop {
            let plan = Self::with_workers(op, topology, shape, tuning, sms, channels, words, workers, &roles);
            if plan.shared_bytes <= SHARED_BYTES_MAX {
                return Ok(plan);
            }
            workers -= 1;
            let covered = [Role::Send, Role::Forward, Role::Receive]
                .iter()
                .all(|role| roles[..workers as usize].iter().any(|kinds| kinds.contains(role)));
            if workers == 0 || !covered {
                let experts = shape.experts_per_rank(topology);
                if shape.layout().expert_align() > 0 && 4 * experts > SHARED_BYTES_MAX / 8 {
                    let valid = "fewer a rank: by expert each worker counts the rows of all of them in shared memory";
                    return Err(Error::argument("experts", format!("{experts} a rank"), valid));
                }
                return Err(Error::argument(
                    "stage_bytes",
                    tuning.stage_bytes,
                    format!("less, or more SMs than {sms}: shared memory for {} workers and {channels} channels a CTA exceeds {SHARED_BYTES_MAX} bytes", workers + 1),
                ));
            }
        }
    }

    /// The launch of a kernel that would serve any number of streams: workers are fewer until shared memory suffices, or one.
    pub(super) fn sketch(op: Op, topology: Topology, shape: &Shape, tuning: &Tuning) -> LaunchPlan {
        let sms = match op {
            Op::Dispatch => tuning.dispatch_sms,
            Op::Combine => tuning.combine_sms,
        };
        let channels = tuning.channels.div_ceil(sms);
        let words = streams(op, topology, channels).map(|count| count.div_ceil(32));
        let roles = tuning.worker_roles();
        let of = |workers| Self::with_workers(op, topology, shape, tuning, sms, channels, words, workers, &roles);
        let fits = |plan: &LaunchPlan| plan.shared_bytes <= SHARED_BYTES_MAX;
        (1..=tuning.workers).rev().map(of).find(fits).unwrap_or_else(|| of(1))
    }

    #[allow(clippy::too_many_arguments)]
    fn with_workers(
        op: Op,
        topology: Topology,
        shape: &Shape,
        tuning: &Tuning,
        sms: u32,
        channels: u32,
        words: [u32; 3],
        workers: u32,
        roles: &[Vec<Role>],
    ) -> LaunchPlan {
        let n = topology.nodes();
        let all_words: u32 = words.iter().sum();
        let completed = (BARRIERS + workers * BARRIERS_PER_WORKER * 8).next_multiple_of(16);
        let scratch = (completed + channels * n * 16).next_multiple_of(128);
        let counters = LIST_BYTES + 16 * (topology.gpus_per_node() + n);
        let counted = match op {
            Op::Dispatch if shape.layout().expert_align() == 0 => 0,
            Op::Dispatch => shape.experts_per_rank(topology),
            Op::Combine => MAX_TOPK,
        };
        let scratch_bytes = (counters + 4 * counted).next_multiple_of(128);
        let streams = scratch + workers * scratch_bytes;
        let stages = (streams + all_words * 32 * StreamRecord::BYTES as u32).next_multiple_of(128);
        let results = stages + workers * tuning.stage_bytes;
        let header = shape.dispatch_header_bytes(topology);
        let quantizes = shape.payload().quantization().is_some();
        let (used, result_bytes) = match op {
            // Rows are read and quantized in whole groups; two headers are made beside them.
            Op::Dispatch if quantizes => (
                shape.given_row_bytes().max(header + shape.dispatch_row_bytes()).next_multiple_of(2 * GROUP_ELEMENTS),
                2 * header.next_multiple_of(128),
            ),
            Op::Dispatch => (header + shape.dispatch_row_bytes(), 0),
            Op::Combine => (shape.combine_header_bytes() + shape.combine_row_bytes(), RESULT_BYTES),
        };
        let shared_bytes = results + workers * result_bytes;
        let mut role_words = [0; 32];
        for (word, kinds) in role_words.iter_mut().zip(&roles[..workers as usize]) {
            *word = kinds.iter().rev().fold(0, |code, &kind| code << 4 | (kind as u32 + 1));
        }
        LaunchPlan {
            op,
            sms,
            threads: 32 * (workers + 1),
            shared_bytes,
            block: LaunchBlock {
                chunk_ib: tuning.chunk_ib,
                chunk_nv: tuning.chunk_nv,
                workers,
                send_words: words[0],
                forward_words: words[1],
                receive_words: words[2],
                words: all_words,
                barriers: BARRIERS,
                completed,
                scratch,
                streams,
                stages,
                results,
                scratch_bytes,
                stage_bytes: tuning.stage_bytes,
                result_bytes,
                counters,
                piece_bytes: (tuning.stage_bytes / STAGES).min(used.next_multiple_of(16)),
                roles: role_words,
            },
        }
    }
}

/// Streams of a CTA with so many channels, by kind.
fn streams(op: Op, topology: Topology, channels: u32) -> [u32; 3] {
    let (nodes, ranks) = (topology.nodes(), topology.ranks());
    match op {
        Op::Dispatch => [channels * (nodes - 1), channels * nodes, channels * ranks],
        Op::Combine => [channels * ranks, channels * (nodes - 1), channels],
    }
}

impl std::fmt::Display for LaunchPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let b = &self.block;
        write!(
            f,
            "{} CTAs x {} threads ({} workers), {} bytes shared; chunk {} between nodes, {} within; pieces of {} bytes",
            self.sms, self.threads, b.workers, self.shared_bytes, b.chunk_ib, b.chunk_nv, b.piece_bytes
        )
    }
}
