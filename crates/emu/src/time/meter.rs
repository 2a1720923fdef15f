//! What a warp's turn takes.

use super::nic::Ranges;
use super::Timing;
use crate::coverage::Marks;
use crate::memory::{Kind, Memory};
use crate::program::{Inst, Op, Order, Scope};
use std::collections::{HashMap, VecDeque};

/// Times that outlast a turn of a warp.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WarpTimes {
    /// When it can go on.
    pub ready_ps: u64,
    /// When the loads that it has issued are there.
    loads_ps: u64,
    /// When its stores to others' memory are there, and it knows.
    stores_ps: u64,
    /// It has stored what a NIC reads since its last fence of the system.
    posted: bool,
    /// Length of its last sleep as the kernel asked for it.
    pub sleep_ps: u64,
    /// Where it was last, and since when, when that is marked.
    last: Option<(u32, u64)>,
}

/// Measures turns, one after another.
#[derive(Debug)]
pub(crate) struct Meter {
    timing: Timing,
    /// Where queue entries and doorbell records lie.
    pub queues: Ranges,
    /// Of the warp whose turn it is.
    pub times: WarpTimes,
    began_ps: u64,
    /// Instructions so far.
    pub instructions: u64,
    /// What they took beyond being issued.
    extra_ps: u64,
    /// What they loaded and stored beyond the SM's own memory.
    pub access_bytes: u64,
    /// The turn is over: others may see what comes next, and its time has not come.
    pub is_over: bool,
    /// Storages to which the turn sends stores, and when they arrive.
    pub sent: Vec<(u64, usize)>,
    /// Stores that have not arrived: by storage, offset and bytes.
    late: HashMap<usize, VecDeque<(usize, Vec<u8>)>>,
    /// Values of doorbells, and when they come to their NICs.
    pub doorbells: Vec<(u64, u64)>,
}

/// What kind of memory answers a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Shared,
    Kind(Kind),
}

impl Meter {
    pub fn new(timing: Timing) -> Meter {
        Meter {
            timing,
            queues: Ranges::default(),
            times: WarpTimes::default(),
            began_ps: 0,
            instructions: 0,
            extra_ps: 0,
            access_bytes: 0,
            is_over: false,
            sent: Vec::new(),
            late: HashMap::new(),
            doorbells: Vec::new(),
        }
    }

    /// The next turn.
    pub fn begin(&mut self, times: WarpTimes, now_ps: u64) {
        (self.times, self.began_ps) = (times, now_ps);
        (self.instructions, self.extra_ps, self.access_bytes, self.is_over) = (0, 0, 0, false);
    }

    /// The warp's own time.
    pub fn now_ps(&self) -> u64 {
        self.began_ps + self.instructions * self.timing.gpu.instruction_ps + self.extra_ps
    }

    /// Before each instruction; true when the turn ends before it, since others may see it and its time has not come.
    #[inline(always)]
    pub fn ends_before(&mut self, inst: &Inst, uses_loads: bool) -> bool {
        if uses_loads {
            self.wait_until(self.times.loads_ps);
        }
        if is_seen(&inst.op) && self.now_ps() - self.began_ps > self.timing.grain_ps {
            self.is_over = true;
            return true;
        }
        self.instructions += 1;
        false
    }

    /// The warp comes to `pc`: what passed since it came to the instruction before, that one took.
    pub fn spend(&mut self, marks: &Marks, pc: u32) {
        // The instruction itself is counted already.
        let now_ps = self.now_ps() - self.timing.gpu.instruction_ps;
        if let Some((last, since_ps)) = self.times.last.replace((pc, now_ps)) {
            marks.spend(last, now_ps.saturating_sub(since_ps));
        }
    }

    /// An instruction is done by some lanes.
    #[inline(always)]
    pub fn charge(&mut self, op: &Op) {
        self.extra_ps += self.extra(op);
    }

    fn wait_until(&mut self, at_ps: u64) {
        self.extra_ps += at_ps.saturating_sub(self.now_ps());
    }

    /// What an instruction takes whatever memory it is about.
    #[inline(always)]
    fn extra(&self, op: &Op) -> u64 {
        let gpu = &self.timing.gpu;
        match op {
            Op::Shuffle(_) | Op::Vote(_) | Op::Match { .. } | Op::Redux(_) | Op::Elect | Op::WarpBarrier => {
                gpu.exchange_ps
            }
            Op::ProxyFence(_) => gpu.fence_proxy_ps,
            Op::Bulk(_) => gpu.bulk_issue_ps,
            Op::Mbarrier(_) => gpu.shared_atomic_ps,
            Op::Barrier(_) => gpu.exchange_ps,
            _ => 0,
        }
    }

    /// A load of `bytes` was issued. L2 has what loads ask for: device memory shows in bulk copies.
    pub fn load(&mut self, from: From, bytes: u64) {
        let (gpu, links) = (&self.timing.gpu, &self.timing.links);
        let latency = match from {
            From::Shared => gpu.shared_load_ps,
            From::Kind(Kind::Peer { .. }) => links.nvlink_load_ps,
            From::Kind(Kind::Host { .. }) => links.host_load_ps,
            From::Kind(Kind::Constant) => gpu.shared_load_ps,
            From::Kind(_) => gpu.l2_load_ps,
        };
        self.access_bytes += if from == From::Shared { 0 } else { bytes };
        self.times.loads_ps = self.times.loads_ps.max(self.now_ps() + latency);
    }

    /// An atomic operation was issued.
    pub fn atomic(&mut self, from: From) {
        let (gpu, links) = (&self.timing.gpu, &self.timing.links);
        let latency = match from {
            From::Shared => gpu.shared_atomic_ps,
            From::Kind(Kind::Peer { .. }) => links.nvlink_load_ps,
            From::Kind(Kind::Host { .. }) => links.host_load_ps,
            From::Kind(_) => gpu.l2_atomic_ps,
        };
        self.times.loads_ps = self.times.loads_ps.max(self.now_ps() + latency);
    }

    /// A store to a storage's range was issued; when it is there, if that is later.
    pub fn store(&mut self, kind: Kind, storage: usize, start: u64, end: u64) -> Option<u64> {
        self.times.posted |= self.queues.meets(storage, start, end);
        self.access_bytes += end - start;
        let one_way = match kind {
            Kind::Peer { .. } => self.timing.links.nvlink_ps,
            Kind::Host { .. } => self.timing.links.host_store_ps,
            _ => return None,
        };
        let there = self.now_ps() + one_way;
        self.times.stores_ps = self.times.stores_ps.max(there + one_way);
        matches!(kind, Kind::Peer { .. }).then_some(there)
    }

    /// The bytes of such a store.
    pub fn send(&mut self, at_ps: u64, storage: usize, offset: usize, bytes: Vec<u8>) {
        self.sent.push((at_ps, storage));
        self.late.entry(storage).or_default().push_back((offset, bytes));
    }

    /// The next store to a storage arrives.
    pub fn arrive(&mut self, storage: usize, memory: &mut Memory) {
        let next = self.late.get_mut(&storage).and_then(VecDeque::pop_front);
        if let Some((offset, bytes)) = next {
            memory.put_bytes(storage, offset, &bytes);
        }
    }

    /// All stores to a storage arrive now: who looks there sees what it has stored itself.
    pub fn settle(&mut self, storage: usize, memory: &mut Memory) {
        while self.late.get(&storage).is_some_and(|late| !late.is_empty()) {
            self.arrive(storage, memory);
        }
    }

    /// A doorbell was stored.
    pub fn doorbell(&mut self, value: u64) {
        let now_ps = self.now_ps();
        self.doorbells.push((now_ps + self.timing.links.host_store_ps, value));
    }

    /// One clock.
    pub fn clock_ps(&self) -> u64 {
        self.timing.gpu.clock_ps.max(1)
    }

    /// A fence, or an access that releases.
    pub fn fence(&mut self, order: Order, scope: Scope) {
        if !matches!(order, Order::AcqRel | Order::Sc | Order::Release) {
            return;
        }
        let gpu = &self.timing.gpu;
        let takes = match scope {
            Scope::Cta | Scope::Cluster => gpu.fence_proxy_ps,
            Scope::Gpu => gpu.fence_gpu_ps,
            Scope::Sys if self.times.posted => gpu.fence_posted_ps,
            Scope::Sys => gpu.fence_system_ps,
        };
        self.extra_ps += takes;
        if scope == Scope::Sys {
            self.times.posted = false;
            self.wait_until(self.times.stores_ps);
        }
    }
}

/// Whether others see the instruction, or it sees them, so that its time matters.
#[inline(always)]
fn is_seen(op: &Op) -> bool {
    match op {
        Op::Pure(_) | Op::Branch { .. } => false,
        Op::Load(access) => access.order != Order::Weak,
        Op::Store(access) => access.order != Order::Weak,
        Op::Atomic(_)
        | Op::Mbarrier(_)
        | Op::Barrier(_)
        | Op::Bulk(_)
        | Op::BulkWait { .. }
        | Op::StoreAsync(_)
        | Op::AsyncCopy(_)
        | Op::ClusterArrive { .. }
        | Op::ClusterWait
        | Op::Nanosleep
        | Op::Exit
        | Op::Dynamic(_) => true,
        _ => false,
    }
}
