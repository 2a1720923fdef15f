//! A detector of data races by the memory consistency model of the PTX ISA.
//!
//! Memory of the emulator is sequentially consistent; the detector follows what the model guarantees. It keeps the
//! causality order with vector clocks (`clock`, `warp`): program order, release and acquire patterns with their scopes,
//! fences, barriers of warp, CTA and cluster, mbarriers, completion of asynchronous copies, queue pairs, streams and the
//! host. Every access is compared with the earlier ones to the same bytes (`shadow`). Two that conflict must be ordered,
//! or strong with scopes that include each other, through one proxy, and the same size.
//!
//! Rules, by sections of the PTX ISA (9.x):
//! - "Conflict and Data-races", "Morally strong operations": what is a race. Threads of a warp are threads as all others:
//!   two lanes that store to one place in one instruction race, whatever they store. `.volatile` and `.mmio` count as
//!   relaxed at system scope. Votes, shuffles, matches, reductions and elections of a warp order nothing.
//! - "Release and Acquire Patterns", "Memory synchronization", "Fence-SC Order": `sync`, `warp`. `bar.warp.sync` orders the
//!   threads of its mask, as its own section says. `mbarrier` and `cluster` name the sections of theirs.
//! - "Proxies", "Causality Order", "Async Proxy": generic accesses and bulk copies need `fence.proxy.async` between them,
//!   whichever comes first and whether they read or write, but for the copy's own completion, which has one within.
//!   Copies of one CTA need none among each other; of several CTAs they do, as the rule of the same thread block says.
//!   The fence counts wherever it stands on the path, in the state space that it names.
//! - "Scope and applicability of the model" leaves out `ld.global.nc`: nothing orders it, so that a location read through
//!   `.nc` must not be written by anybody while the kernel runs.
//! - "Asynchronous Operations": `copies`, `late`. Elements of `cp.reduce.async.bulk` are relaxed operations at GPU scope.
//!
//! What it takes as order, beyond the model's words:
//! - A NIC takes what a system-scope release before the doorbell covers; a queue pair's acts are in order; its
//!   fetch-and-adds and completion entries release at system scope.
//! - A kernel begins behind its stream, and the host at the call; a kernel's end is the stream's order. The host is taken
//!   to see at once what a stream has completed. Calls of the host are in order, whichever threads make them.
//! - The init of an mbarrier must be announced to copies (`fence.mbarrier_init` or `fence.proxy.async`), which the ISA asks
//!   for up to 9.2 by silence and from 9.3 on no more. To a cluster it is announced by its barrier.
//! - `.sync_restrict` fences count as whole ones, and one of the two halves of `fence.proxy.async::generic` as both.
//!
//! What it may miss: races that need another order of events than the run had, as every detector of this kind: among lanes
//! of one atomic instruction that is ascending. Races in local memory, which is each thread's own; accesses of host threads
//! to memory that they share with a running machine.

mod access;
mod actor;
mod agents;
mod clock;
mod cluster;
mod completion;
mod copies;
mod knows;
mod late;
mod mark;
mod mbarrier;
mod report;
mod shadow;
mod sync;
mod warp;
mod word;

pub(crate) use access::At;
pub(crate) use clock::{join, Released, Seat};
pub(crate) use copies::CopyRace;
pub(crate) use knows::Asker;
pub(crate) use mark::{Mark, What};
pub(crate) use mbarrier::OnPhase;
pub use report::{RaceAccess, RacePlace, RaceReport};

use crate::config::{Hosts, MachineConfig, MemoryOrder, Schedule};
use crate::error::FaultKind;
use crate::memory::{Memory, SHARED_WINDOW};
use crate::program::Scope;
use crate::warp::{LaunchShape, Trouble};
use clock::Knowledge;
use cluster::ClusterBarrier;
use completion::Completions;
use late::Small;
use mbarrier::Phases;
use shadow::Shadow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use sync::Gather;
use warp::WarpClock;
use word::Word;

/// Every check of an access: a race ends the run.
pub(crate) type Checked = Result<(), Box<RaceReport>>;

/// Finds the place of a race in memory: its address.
pub(crate) fn locate(memory: &Memory, report: &mut RaceReport) -> Option<u64> {
    let address = match report.place {
        RacePlace::Shared(offset) => return Some(SHARED_WINDOW + offset),
        RacePlace::Global { storage, offset } => memory.address_of(storage)? + offset,
    };
    report.region = memory.describe(address);
    Some(address)
}

/// A race found by a lane, or by several of which the report names the first that races.
#[cold]
pub(crate) fn trouble(memory: &Memory, mut report: Box<RaceReport>, lane: u32, pc: u32) -> Trouble {
    let lane = report.second.thread.as_ref().map_or(lane, |thread| thread.lane);
    let address = locate(memory, &mut report);
    Trouble { kind: FaultKind::Race(report), lane, pc, address }
}

/// Who a slot stands for from some time on.
#[derive(Debug, Clone)]
enum Name {
    Warp { shape: Arc<LaunchShape>, cta: [u32; 3], warp: u32 },
    QueuePair { nic: String, number: String },
    Stream { gpu: usize, stream: u32 },
    Host,
}

/// An agent without lanes.
#[derive(Debug, Clone)]
struct Plain {
    slot: u32,
    now: u32,
    know: Knowledge,
}

/// A launch that runs.
#[derive(Debug)]
struct LaunchRace {
    base: Arc<Knowledge>,
    /// What its CTAs that ended knew and did.
    gathered: Knowledge,
    /// Bulk copies that nobody waited for: complete at its end.
    open: Vec<u32>,
    slots: Vec<u32>,
}

/// A bulk group of a lane with its completions.
#[derive(Debug, Clone, Copy)]
struct Group {
    lane: u32,
    number: u64,
    read: u32,
    write: u32,
}

/// A resident CTA.
#[derive(Debug, Default)]
struct CtaRace {
    serial: u64,
    launch: u64,
    slots: Vec<u32>,
    shared: Shadow,
    words: HashMap<usize, Word>,
    barriers: HashMap<(u32, u64), Gather>,
    mbarriers: HashMap<usize, Phases>,
    groups: Vec<Vec<Group>>,
    /// `cp.async` of lanes, by warp and lane.
    small: HashMap<(u32, u32), Small>,
}

/// What hosts know.
#[derive(Debug, Default)]
struct HostsKnow {
    know: Vec<Knowledge>,
    /// Strong writes that an acquiring read of a host saw, by storage and offset.
    seen: HashMap<(usize, usize), Vec<mark::Mark>>,
}

/// The detector of one machine.
#[derive(Debug)]
pub(crate) struct Race {
    shadows: Vec<Shadow>,
    words: HashMap<(usize, usize), Word>,
    ctas: Vec<CtaRace>,
    free_ctas: Vec<u32>,
    /// By slot.
    warps: Vec<Option<Box<WarpClock>>>,
    seats: Vec<Seat>,
    running: Vec<u32>,
    names: Vec<Vec<(u32, Name)>>,
    /// Slots whose warps have ended, and their last time, by GPU.
    ended: Vec<Vec<(u32, u32)>>,
    completions: Completions,
    /// What `fence.sc` so far made known.
    fences_sc: Vec<Released>,
    launches: HashMap<u64, LaunchRace>,
    /// Barriers of clusters, by the number of the first CTA.
    clusters: HashMap<u64, ClusterBarrier>,
    streams: HashMap<(usize, u32), Plain>,
    events: HashMap<u32, Knowledge>,
    queue_pairs: HashMap<u32, Plain>,
    /// Slot and time of the host.
    host: (u32, u32),
    /// What each host knows: one, or one for each GPU.
    hosts: Mutex<HostsKnow>,
    /// The stream whose command is being executed.
    acting: Option<(usize, u32)>,
    /// Whether that command stores one word that others may look at meanwhile.
    acting_word: bool,
    one_host: bool,
    /// Hosts do not meet, whether something runs or not.
    hosts_apart: bool,
    schedule: String,
    /// Whether a race is a fault. Otherwise only clocks are kept.
    checks: bool,
    /// Memory is explored: what a value carries is kept beside the value, not in `words`.
    explores: bool,
}

impl Race {
    pub fn new(config: &MachineConfig) -> Race {
        let gpus = config.nodes * config.gpus_per_node;
        let one_host = config.hosts == Hosts::One;
        let schedule = match &config.schedule {
            Schedule::RoundRobin => "round robin".to_string(),
            Schedule::Random { seed } => format!("random, seed {seed}"),
            Schedule::Pct { seed, depth, steps } => format!("pct, seed {seed}, depth {depth}, steps {steps}"),
            Schedule::Replay(choices) => format!("replay of {} choices", choices.len()),
            Schedule::Explore { choices } => format!("exploration, choices {choices:?}"),
        };
        let mut race = Race {
            shadows: Vec::new(),
            words: HashMap::new(),
            ctas: Vec::new(),
            free_ctas: Vec::new(),
            warps: Vec::new(),
            seats: Vec::new(),
            running: Vec::new(),
            names: Vec::new(),
            ended: vec![Vec::new(); gpus],
            completions: Completions::default(),
            fences_sc: Vec::new(),
            launches: HashMap::new(),
            clusters: HashMap::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            queue_pairs: HashMap::new(),
            host: (0, 1),
            hosts: Mutex::new(HostsKnow {
                know: vec![Knowledge::default(); if one_host { 1 } else { gpus }],
                seen: HashMap::new(),
            }),
            acting: None,
            acting_word: false,
            one_host,
            hosts_apart: false,
            schedule,
            checks: config.checks.races,
            explores: config.memory == MemoryOrder::Weak,
        };
        race.host.0 = race.slot(Name::Host, Seat::OUTSIDE);
        race
    }

    /// A new slot.
    fn slot(&mut self, name: Name, seat: Seat) -> u32 {
        self.warps.push(None);
        self.seats.push(seat);
        self.running.push(actor::IDLE);
        self.names.push(vec![(0, name)]);
        self.seats.len() as u32 - 1
    }

    fn shadow(shadows: &mut Vec<Shadow>, storage: usize) -> &mut Shadow {
        if shadows.len() <= storage {
            shadows.resize_with(storage + 1, Shadow::default);
        }
        &mut shadows[storage]
    }

    /// Forgets a storage that was freed.
    pub fn forget(&mut self, storage: usize) {
        if let Some(shadow) = self.shadows.get_mut(storage) {
            shadow.clear();
        }
        self.words.retain(|(of, _), _| *of != storage);
    }
}
