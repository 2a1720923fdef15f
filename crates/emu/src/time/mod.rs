//! The clock: when agents act, when the machine's parts have times.
//!
//! A discrete-event model. Every agent acts at a time: a warp when its last instructions are through, a bulk copy when it has
//! read and when it has landed, a NIC when it fetches, places and completes. [`Clock`] keeps them in order and the machine does
//! the earliest. What they take is made of latencies, and of parts that serve one request after another (`server`): an SM's
//! issue and its bulk unit, L2, device memory, NVLink and PCIe in each direction, NICs.
//!
//! Kernels, schedules and checks are the same as without it; nothing is chosen, so a run depends on its inputs alone.
//!
//! | file | what |
//! | --- | --- |
//! | `timing` | the numbers, [`Timing`] |
//! | `server` | parts that serve one after another |
//! | `cache` | what L2 holds |
//! | `meter`, `access`, `uses` | a warp's turn: instructions, fences, loads and where they are waited for |
//! | `paths` | bulk copies through the parts |
//! | `nic` | doorbells, entries, messages, completions |
//!
//! What it leaves out: instruction caches, bank conflicts, row misses of device memory, packets and their congestion beyond
//! the NICs' own rates.

mod access;
mod cache;
pub(crate) mod meter;
pub(crate) mod nic;
mod paths;
mod server;
mod timing;
mod uses;

pub(crate) use access::{atomic, load};
pub(crate) use paths::Place;
pub use timing::{GpuTiming, LinkTiming, NicTiming, Timing};

pub(crate) use uses::{bytes_of, first_uses};

use crate::launch::LaunchId;
use crate::memory::WarpRef;
use cache::Cache;
use meter::{Meter, WarpTimes};
use server::{Line, Pool};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use warpferry_nic::{QueuePairNumber, Ready};

/// Someone who acts at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Warp(WarpRef),
    /// A bulk copy, by slot.
    Copy(u32),
    /// A launch whose stream has come to it.
    Launch {
        gpu: usize,
        stream: usize,
        launch: LaunchId,
    },
    /// A store to another GPU's memory arrives in this storage.
    Store(usize),
    Nic(QueuePairNumber, Ready),
}

/// Why a warp can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Its turn was over, or its sleep.
    GoesOn,
    /// What it waited for has happened.
    Told,
    /// A word changed at which it looks between sleeps.
    Looks,
}

/// An entry of the agenda; equal times go by number.
#[derive(Debug)]
struct Entry {
    at_ps: u64,
    number: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        (self.at_ps, self.number).cmp(&(other.at_ps, other.number))
    }
}

/// Parts of one GPU.
#[derive(Debug, Default)]
struct GpuParts {
    sms: Vec<SmParts>,
    cache: Cache,
    l2: Pool,
    hbm: Pool,
    nvlink_out: Pool,
    nvlink_in: Pool,
    pcie_out: Pool,
    pcie_in: Pool,
    nic: nic::NicParts,
}

/// Parts of one SM.
#[derive(Debug, Clone, Default)]
struct SmParts {
    schedulers: Vec<Line>,
    accesses: Line,
    bulk_loads: Line,
    bulk_stores: Line,
}

/// How long parts of a GPU have worked since the machine was made, in picoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// L2.
    pub l2_ps: u64,
    /// Device memory.
    pub hbm_ps: u64,
    /// NVLink, out of the GPU.
    pub nvlink_out_ps: u64,
    /// NVLink, into the GPU.
    pub nvlink_in_ps: u64,
    /// Its NIC, sending.
    pub nic_out_ps: u64,
    /// Its NIC, receiving.
    pub nic_in_ps: u64,
}

/// When agents act, and what serves them.
#[derive(Debug)]
pub(crate) struct Clock {
    pub timing: Timing,
    pub now_ps: u64,
    agenda: BinaryHeap<Reverse<Entry>>,
    numbers: u64,
    gpus: Vec<GpuParts>,
    gpus_per_node: usize,
    nics: nic::Queues,
    /// Taken out while a warp has its turn.
    pub meter: Option<Box<Meter>>,
}

impl Clock {
    pub fn new(timing: Timing, nodes: usize, gpus_per_node: usize, sms: usize) -> Clock {
        let lines = vec![Line::default(); timing.gpu.schedulers as usize];
        let sm = SmParts { schedulers: lines, ..SmParts::default() };
        let gpu = || GpuParts { sms: vec![sm.clone(); sms], ..GpuParts::default() };
        Clock {
            meter: Some(Box::new(Meter::new(timing.clone()))),
            timing,
            now_ps: 0,
            agenda: BinaryHeap::new(),
            numbers: 0,
            gpus: (0..nodes * gpus_per_node).map(|_| gpu()).collect(),
            gpus_per_node,
            nics: nic::Queues::default(),
        }
    }

    /// How long a GPU's parts have worked.
    pub fn work(&self, gpu: usize) -> Work {
        let parts = &self.gpus[gpu];
        let (nic_out_ps, nic_in_ps) = parts.nic.work();
        Work {
            l2_ps: parts.l2.busy_ps,
            hbm_ps: parts.hbm.busy_ps,
            nvlink_out_ps: parts.nvlink_out.busy_ps,
            nvlink_in_ps: parts.nvlink_in.busy_ps,
            nic_out_ps,
            nic_in_ps,
        }
    }

    /// Someone acts at a time, which is not over.
    pub fn add(&mut self, at_ps: u64, due: Due) {
        debug_assert!(at_ps >= self.now_ps, "nobody acts in the past");
        let number = self.numbers;
        self.numbers += 1;
        self.agenda.push(Reverse(Entry { at_ps, number, due }));
    }

    /// Time of the next act.
    pub fn next_ps(&self) -> Option<u64> {
        self.agenda.peek().map(|Reverse(entry)| entry.at_ps)
    }

    /// Whose turn it is; time goes on to then.
    pub fn take(&mut self) -> Option<Due> {
        let Reverse(entry) = self.agenda.pop()?;
        self.now_ps = self.now_ps.max(entry.at_ps);
        Some(entry.due)
    }

    /// A warp can run: when its own work is done, and it knows.
    pub fn wake(&mut self, warp: WarpRef, times: &WarpTimes, wake: Wake) {
        let wake_ps = self.timing.gpu.wake_ps;
        let knows_ps = match wake {
            Wake::GoesOn => self.now_ps,
            Wake::Told => self.now_ps + wake_ps,
            // On average half of the time between two looks has still to pass.
            Wake::Looks => self.now_ps + wake_ps + times.sleep_ps / 2,
        };
        self.add(knows_ps.max(times.ready_ps), Due::Warp(warp));
    }

    /// When the turn of a warp is over that began now, with its own work and that of others on the SM.
    pub fn turn_over(&mut self, gpu: usize, sm: usize, warp: u32, meter: &Meter) -> u64 {
        let (now_ps, timing) = (self.now_ps, &self.timing.gpu);
        let parts = &mut self.gpus[gpu].sms[sm];
        let scheduler = &mut parts.schedulers[warp as usize % timing.schedulers as usize];
        let issued = scheduler.serve(now_ps, meter.instructions * timing.clock_ps).1;
        let accessed = match meter.access_bytes {
            0 => 0,
            bytes => parts.accesses.serve(now_ps, server::duration(bytes, timing.sm_access_rate)).1,
        };
        meter.now_ps().max(issued).max(accessed)
    }
}
