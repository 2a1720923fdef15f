//! A detector of data races by the memory consistency model of the PTX ISA.
//!
//! Memory of the emulator is sequentially consistent; the detector follows what the model guarantees. It keeps the
//! causality order with vector clocks (`clock`, `warp`): program order, release and acquire patterns with their scopes,
//! fences, barriers, mbarriers, completion of bulk copies, queue pairs, streams and the host. Every access is compared
//! with the earlier ones to the same bytes (`shadow`). Two that conflict must be ordered, or strong with scopes that
//! include each other and the same size. An access of the async proxy must also have a proxy fence behind what other
//! proxies, or other CTAs, did; a location that is read through `.nc` must not be written while the kernel runs.
//!
//! What it takes as order, beyond the model's words:
//! - Completion of a bulk copy, seen by who waits for it, orders the copy before that; bulk groups by the waiting lane.
//! - A NIC takes what a system-scope release before the doorbell covers; a queue pair's acts are in order; its
//!   fetch-and-adds and completion entries release at system scope.
//! - A kernel begins behind its stream, and the host at the call; a kernel's end is the stream's order. The host is taken
//!   to see at once what a stream has completed. Calls of the host are in order, whichever threads make them.
//!
//! What it may miss: races that need another order of events than the run had, as every detector of this kind; two lanes
//! that store the same value to the same place in one instruction; races in local memory; accesses of host threads to
//! memory that they share with a running machine; those of `cp.async` without `.bulk`, and of copies within a cluster.
//! Launches of clusters are refused.

mod access;
mod actor;
mod agents;
mod clock;
mod completion;
mod copies;
mod knows;
mod mark;
mod report;
mod shadow;
mod sync;
mod warp;

pub(crate) use access::At;
pub(crate) use clock::{Released, Seat};
pub(crate) use copies::CopyRace;
pub(crate) use knows::Asker;
pub(crate) use mark::{Mark, What};
pub use report::{RaceAccess, RacePlace, RaceReport};
pub(crate) use sync::OnPhase;

use crate::config::{Hosts, MachineConfig, MemoryOrder, Schedule};
use crate::error::FaultKind;
use crate::memory::{Memory, SHARED_WINDOW};
use crate::program::Scope;
use crate::warp::{LaunchShape, Trouble};
use clock::Knowledge;
use completion::Completions;
use shadow::Shadow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use sync::{Gather, Phases};
use warp::WarpClock;

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

/// A race found by a lane.
#[cold]
pub(crate) fn trouble(memory: &Memory, mut report: Box<RaceReport>, lane: u32, pc: u32) -> Trouble {
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
    words: HashMap<usize, Vec<Released>>,
    barriers: HashMap<(u32, u64), Gather>,
    mbarriers: HashMap<usize, Phases>,
    groups: Vec<Vec<Group>>,
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
    words: HashMap<(usize, usize), Vec<Released>>,
    ctas: Vec<CtaRace>,
    free_ctas: Vec<u32>,
    /// By slot.
    warps: Vec<Option<Box<WarpClock>>>,
    seats: Vec<Seat>,
    running: Vec<bool>,
    names: Vec<Vec<(u32, Name)>>,
    /// Slots whose warps have ended, and their last time, by GPU.
    ended: Vec<Vec<(u32, u32)>>,
    completions: Completions,
    launches: HashMap<u64, LaunchRace>,
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
    schedule: String,
    /// Whether a race is a fault. Otherwise only clocks are kept.
    checks: bool,
    /// Memory is explored: what a value carries is kept beside the value, not in `words`.
    explores: bool,
    /// What `fence.sc` released, when memory is explored.
    sc_fences: Vec<Released>,
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
            launches: HashMap::new(),
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
            schedule,
            checks: config.checks.races,
            explores: config.memory == MemoryOrder::Weak,
            sc_fences: Vec::new(),
        };
        race.host.0 = race.slot(Name::Host, Seat::OUTSIDE);
        race
    }

    /// A new slot.
    fn slot(&mut self, name: Name, seat: Seat) -> u32 {
        self.warps.push(None);
        self.seats.push(seat);
        self.running.push(false);
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
