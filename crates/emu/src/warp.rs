//! What a resident CTA and its warps hold.

use crate::account::Tally;
use crate::choice::Garbage;
use crate::cluster::Cluster;
use crate::error::{Fault, FaultKind, Location, Thread};
use crate::launch::LaunchId;
use crate::memory::{AccessRule, Storage, Viewer, WarpRef, RESERVED_SHARED_BYTES};
use crate::park::Interval;
use crate::program::{lanes, ColumnStart, LaneMask, Program, Registers, Special, CARRY};
use crate::time::meter::WarpTimes;
use crate::visibility::Unflushed;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Number of named barriers of a CTA.
pub(crate) const BARRIERS: usize = 16;

/// What all CTAs of a launch share.
#[derive(Debug)]
pub(crate) struct LaunchShape {
    pub id: LaunchId,
    pub gpu: usize,
    pub node: usize,
    pub program: Arc<Program>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// CTAs of a cluster in each dimension.
    pub cluster: [u32; 3],
    /// The entry or the launch says what a cluster is.
    pub explicit_cluster: bool,
    pub shared_bytes: u32,
    pub args: Vec<u8>,
    /// Generic address of the parameters; 0 when nobody asks for it.
    pub param_address: u64,
    pub rules: Vec<AccessRule>,
    /// Address of each module variable on this GPU; 0 for those elsewhere.
    pub variables: Arc<Vec<u64>>,
    pub sm_count: usize,
    /// Warps that an SM can hold.
    pub sm_warps: u32,
}

/// A resident CTA.
#[derive(Debug)]
pub(crate) struct Cta {
    pub state: CtaState,
    pub warps: Vec<Warp>,
}

/// What the warps of a CTA share.
#[derive(Debug)]
pub(crate) struct CtaState {
    pub shape: Arc<LaunchShape>,
    pub slot: u32,
    pub serial: u64,
    pub index: [u32; 3],
    pub sm: usize,
    pub cluster: Cluster,
    pub shared: Storage,
    pub barriers: [NamedBarrier; BARRIERS],
    /// Lanes of each warp that have no thread or whose thread has exited.
    pub exited: Vec<u32>,
    /// Warps with lanes that have not exited.
    pub live_warps: u32,
    /// Bulk copies that still read or write shared memory.
    pub copies: u32,
    /// Offsets of mbarriers, and parities of their phases, to which loads have reported and which no thread of this CTA has
    /// seen end since.
    pub unseen_loads: BTreeSet<(u32, u32)>,
    /// Things that happened in the turn, for waiting groups of all warps.
    pub happened: Vec<Happening>,
    /// Stores made by threads before a barrier of this CTA, not yet visible to the bus.
    pub unflushed: Vec<Unflushed>,
    /// Number of the CTA in the race check.
    pub race: u32,
}

/// Why groups may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A phase of the mbarrier at this offset is complete.
    Phase(u32),
    /// A named barrier is complete; its result.
    Barrier { id: u32, generation: u64, outcome: Outcome },
    /// Lanes exited: barriers that wait for all threads may be complete.
    Exit,
    /// A phase of the cluster's barrier is complete.
    Cluster,
}

/// What a barrier reduction gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    /// Threads with a true predicate.
    pub popc: u32,
    /// Every predicate was true.
    pub all: bool,
}

/// A named barrier.
#[derive(Debug, Clone, Default)]
pub(crate) struct NamedBarrier {
    /// Lanes that have arrived, by warp; empty when nobody has.
    pub arrived: Vec<u32>,
    /// Threads that have arrived.
    pub threads: u32,
    /// Threads expected; 0 for all threads of the CTA.
    pub expected: u32,
    /// What the reduction gives so far.
    pub outcome: Outcome,
    /// Whether the arrivals are of a reduction.
    pub reduces: bool,
    /// Completions so far.
    pub generation: u64,
}

impl NamedBarrier {
    /// Whether this phase is under way and ends only when all threads of the CTA have come or exited.
    pub fn awaits_all(&self, generation: u64) -> bool {
        self.generation == generation && self.threads > 0 && self.expected == 0
    }
}

/// A warp.
#[derive(Debug)]
pub(crate) struct Warp {
    pub index: u32,
    pub registers: Registers,
    pub groups: Vec<Group>,
    /// Lanes without a thread, or whose thread has exited.
    pub exited: u32,
    /// Member mask of each lane that waits at a warp barrier.
    pub barrier_masks: [u32; 32],
    /// In the queue of agents.
    pub queued: bool,
    pub local: Storage,
    /// Saved registers of each lane, when functions are entered again.
    pub saved: Vec<Vec<u64>>,
    pub interval: Interval,
    /// Bulk stores of each lane that has issued one.
    pub bulk: Vec<LaneBulk>,
    /// Phase of the cluster's barrier, plus one, that each lane has arrived at and not waited for.
    pub cluster_phases: [u64; 32],
    pub unflushed: Vec<Unflushed>,
    /// How it spends its time, when that is kept.
    pub tally: Tally,
    /// When it goes on, when the machine's parts have times.
    pub times: WarpTimes,
}

/// Lanes that are together at one instruction.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub pc: u32,
    pub mask: u32,
    pub state: GroupState,
    /// Backward branches taken while others waited to run.
    pub spins: u32,
    /// The time of its `try_wait` is up: the next try does not wait.
    pub expired: bool,
}

impl Group {
    /// Lanes that can run.
    pub fn ready(pc: u32, mask: u32) -> Group {
        Group { pc, mask, state: GroupState::Ready, spins: 0, expired: false }
    }
}

/// What a group waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupState {
    Ready,
    /// Other lanes of the warp, at a `.sync` instruction.
    Converge,
    /// Other lanes of the warp, at a warp barrier.
    WarpBarrier,
    /// A phase of the mbarrier at this offset.
    Mbarrier {
        offset: u32,
    },
    Barrier {
        id: u32,
        generation: u64,
    },
    /// Bulk groups of its lanes.
    Bulk,
    /// The barrier of the cluster.
    Cluster,
    Sleep {
        until_ns: u64,
    },
    /// A change of a word it has read.
    Parked,
}

/// Bulk stores of one lane, in groups.
#[derive(Debug, Clone)]
pub(crate) struct LaneBulk {
    pub lane: u32,
    pub groups: VecDeque<BulkGroup>,
    /// Number of the open group.
    pub open: u64,
    /// Groups below this were waited for, at least until they had read.
    pub waited: u64,
}

/// A group of bulk stores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BulkGroup {
    pub number: u64,
    /// Copies that have not read their source.
    pub unread: u32,
    /// Copies that are not written.
    pub unwritten: u32,
    pub committed: bool,
    /// It has copies, done or not.
    pub has_copies: bool,
}

/// A failed instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub kind: FaultKind,
    pub lane: u32,
    pub pc: u32,
    pub address: Option<u64>,
}

impl CtaState {
    pub fn viewer(&self) -> Viewer<'_> {
        Viewer { gpu: self.shape.gpu, node: self.shape.node, rules: &self.shape.rules }
    }

    /// Whether the CTA's shared memory, but for what is the system's, has `bytes` at `offset`.
    #[inline(always)]
    pub fn holds(&self, offset: u64, bytes: u64) -> bool {
        offset >= RESERVED_SHARED_BYTES as u64 && offset.saturating_add(bytes) <= self.shared.bytes.len() as u64
    }

    /// Words for an address that is at best an offset in shared memory.
    pub fn describe_offset(&self) -> String {
        match self.shared.bytes.len() {
            all if all <= RESERVED_SHARED_BYTES as usize => "a bare offset; this CTA has no shared memory".to_string(),
            all => format!("a bare offset; this CTA's shared memory is at {RESERVED_SHARED_BYTES:#x} to {all:#x}"),
        }
    }

    pub fn warp_ref(&self, warp: u32) -> WarpRef {
        WarpRef { slot: self.slot, warp, serial: self.serial }
    }

    /// Index in the CTA of a lane of a warp.
    pub fn thread_index(&self, warp: u32, lane: u32) -> [u32; 3] {
        let [x, y, _] = self.shape.block;
        let linear = warp * 32 + lane;
        [linear % x, linear / x % y, linear / (x * y)]
    }

    pub fn thread(&self, warp: u32, lane: u32) -> Thread {
        Thread {
            entry: self.shape.program.name.clone(),
            cta: self.index,
            warp,
            lane,
            thread: self.thread_index(warp, lane),
        }
    }

    pub fn location(&self, pc: u32) -> Location {
        self.shape.program.location(pc)
    }

    /// The fault of a warp's failed instruction.
    pub fn fault(&self, warp: u32, trouble: Trouble, region: Option<String>) -> Fault {
        Fault {
            kind: trouble.kind,
            gpu: self.shape.gpu,
            thread: Some(Box::new(self.thread(warp, trouble.lane))),
            location: Some(Box::new(self.location(trouble.pc))),
            address: trouble.address,
            region,
        }
    }
}

/// The CTA joins its cluster.
fn join_cluster(cta: &CtaState) {
    let mut state = cta.cluster.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    state.join(cta.slot, cta.serial, &cta.exited);
}

impl Cta {
    /// A CTA at its first instruction, registers full of garbage.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        shape: Arc<LaunchShape>,
        slot: u32,
        serial: u64,
        index: [u32; 3],
        sm: usize,
        shadowed: bool,
        garbage_seed: u64,
        cluster: Cluster,
    ) -> Cta {
        let bytes = (RESERVED_SHARED_BYTES + shape.program.shared_bytes) as usize + shape.shared_bytes as usize;
        let mut shared = Storage::new(bytes, shadowed);
        let mut garbage = Garbage::new(garbage_seed, serial);
        // Stale shared memory: what an earlier CTA might have left.
        for chunk in shared.bytes.chunks_mut(8) {
            let noise = garbage.next().to_le_bytes();
            chunk.copy_from_slice(&noise[..chunk.len()]);
        }
        let threads: u32 = shape.block.iter().product();
        let state = CtaState {
            slot,
            serial,
            index,
            sm,
            cluster,
            shared,
            barriers: Default::default(),
            exited: (0..threads.div_ceil(32)).map(|w| !(u32::MAX >> (32 - (threads - w * 32).min(32)))).collect(),
            live_warps: threads.div_ceil(32),
            copies: 0,
            unseen_loads: BTreeSet::new(),
            happened: Vec::new(),
            unflushed: Vec::new(),
            race: 0,
            shape,
        };
        join_cluster(&state);
        let warps = (0..threads.div_ceil(32)).map(|w| Warp::new(&state, w, threads, shadowed, &mut garbage)).collect();
        Cta { state, warps }
    }
}

impl Warp {
    fn new(cta: &CtaState, index: u32, threads: u32, shadowed: bool, garbage: &mut Garbage) -> Warp {
        let program = &cta.shape.program;
        let count = (threads - index * 32).min(32);
        let present = u32::MAX >> (32 - count);
        let columns = program
            .starts
            .iter()
            .map(|start| match *start {
                ColumnStart::Garbage(bytes) => {
                    let (noise, keep) = (garbage.next(), u64::MAX >> (64 - 8 * bytes as u32));
                    std::array::from_fn(|lane| noise.rotate_left(lane as u32) & keep)
                }
                ColumnStart::Constant(value) | ColumnStart::Initial(value) => [value; 32],
                ColumnStart::Variable(variable, offset) => {
                    [cta.shape.variables[variable as usize].wrapping_add(offset as u64); 32]
                }
                ColumnStart::Parameters => [cta.shape.param_address; 32],
                ColumnStart::Special(special) => {
                    std::array::from_fn(|lane| special_value(cta, index, lane as u32, special))
                }
            })
            .collect();
        let mut predicates: Vec<u32> = (0..program.predicates).map(|_| garbage.next() as u32).collect();
        predicates[CARRY as usize] = 0;
        if let Some(number) = program.true_predicate {
            predicates[number as usize] = u32::MAX;
        }
        Warp {
            index,
            registers: Registers { columns, predicates },
            groups: vec![Group::ready(0, present)],
            exited: !present,
            barrier_masks: [0; 32],
            queued: false,
            local: Storage::new(program.frame_bytes as usize * 32, shadowed),
            saved: Vec::new(),
            interval: Interval::default(),
            bulk: Vec::new(),
            cluster_phases: [0; 32],
            unflushed: Vec::new(),
            tally: Tally::default(),
            times: WarpTimes::default(),
        }
    }

    /// True when some group can run.
    pub fn is_ready(&self) -> bool {
        self.groups.iter().any(|g| g.state == GroupState::Ready)
    }

    /// True when lanes sleep, and the others wait for them.
    pub fn is_asleep(&self) -> bool {
        let asleep = |g: &Group| matches!(g.state, GroupState::Sleep { .. } | GroupState::Parked);
        let waits = |g: &Group| matches!(g.state, GroupState::Converge | GroupState::WarpBarrier);
        self.groups.iter().any(asleep) && self.groups.iter().all(|g| asleep(g) || waits(g))
    }

    /// Bulk stores of a lane.
    pub fn lane_bulk(&mut self, lane: u32) -> &mut LaneBulk {
        let index = match self.bulk.iter().position(|b| b.lane == lane) {
            Some(index) => index,
            None => {
                self.bulk.push(LaneBulk { lane, groups: VecDeque::new(), open: 0, waited: 0 });
                self.bulk.len() - 1
            }
        };
        &mut self.bulk[index]
    }

    /// Bulk copies went on: groups that wait for them look again.
    pub fn release_bulk_waits(&mut self) {
        for group in &mut self.groups {
            if group.state == GroupState::Bulk {
                group.state = GroupState::Ready;
            }
        }
    }
}

fn special_value(cta: &CtaState, warp: u32, lane: u32, special: Special) -> u64 {
    let shape = &cta.shape;
    let shared_bytes = shape.program.shared_bytes + shape.shared_bytes;
    let value = match special {
        Special::Tid(axis) => cta.thread_index(warp, lane)[axis as usize],
        Special::Ntid(axis) => shape.block[axis as usize],
        Special::Ctaid(axis) => cta.index[axis as usize],
        Special::Nctaid(axis) => shape.grid[axis as usize],
        Special::ClusterId(axis) => cta.index[axis as usize] / shape.cluster[axis as usize],
        Special::ClusterCount(axis) => shape.grid[axis as usize] / shape.cluster[axis as usize],
        Special::ClusterCta(axis) => cta.index[axis as usize] % shape.cluster[axis as usize],
        Special::ClusterCtas(axis) => shape.cluster[axis as usize],
        Special::ClusterRank => cta.cluster.rank,
        Special::ClusterSize => shape.cluster.iter().product(),
        Special::LaneId => lane,
        Special::WarpId => warp,
        // Warp numbers that an SM has, not those that the CTA uses.
        Special::WarpCount => shape.sm_warps,
        Special::SmId => cta.sm as u32,
        Special::SmCount => shape.sm_count as u32,
        Special::GridId => return shape.id.0,
        Special::LaneMask(mask) => match mask {
            LaneMask::Equal => 1 << lane,
            LaneMask::Less => (1 << lane) - 1,
            LaneMask::LessEqual => u32::MAX >> (31 - lane),
            LaneMask::Greater => !(u32::MAX >> (31 - lane)),
            LaneMask::GreaterEqual => u32::MAX << lane,
        },
        Special::ExplicitCluster => shape.explicit_cluster as u32,
        Special::DynamicSharedBytes => shape.shared_bytes,
        // Shared memory is given out in units of 128 bytes.
        Special::TotalSharedBytes => shared_bytes.next_multiple_of(128),
        Special::AggregateSharedBytes => shared_bytes.next_multiple_of(128) + RESERVED_SHARED_BYTES,
    };
    value as u64
}

/// The first lane of a mask.
pub(crate) fn first(mask: u32) -> u32 {
    lanes(mask).next().unwrap_or(0) as u32
}
