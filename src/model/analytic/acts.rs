//! What the acts of a warp take on a machine: instructions, loads, fences, copies.
//!
//! Counts of instructions are those of the kernels' sources; times are the machine's.

use crate::machine::Machine;
use warpferry_emu::Timing;

/// Picoseconds in a nanosecond.
const PS: f64 = 1e3;
/// Bytes a microsecond in a GB/s are 1,000, so bytes over this rate are nanoseconds.
const US: f64 = 1e3;

/// Work of a warp.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Work {
    /// Instructions that the SM issues.
    pub instructions: f64,
    /// How long the warp is at it.
    pub ns: f64,
}

impl Work {
    pub fn times(self, count: f64) -> Work {
        Work { instructions: self.instructions * count, ns: self.ns * count }
    }

    /// The same, and waiting.
    pub fn wait(self, ns: f64) -> Work {
        Work { ns: self.ns + ns, ..self }
    }

    /// No shorter than so long.
    pub fn at_least(self, ns: f64) -> Work {
        Work { ns: self.ns.max(ns), ..self }
    }
}

impl std::ops::Add for Work {
    type Output = Work;

    fn add(self, other: Work) -> Work {
        Work { instructions: self.instructions + other.instructions, ns: self.ns + other.ns }
    }
}

/// What a stretch of code has beside plain instructions: counts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Code {
    /// All instructions.
    pub instructions: f64,
    /// Shuffles, votes, barriers of the warp, fences of proxies.
    pub exchanges: f64,
    /// Loads of shared memory that are waited for one after another.
    pub shared: f64,
    /// Atomic operations on shared memory and on mbarriers.
    pub atomics: f64,
    /// Loads that L2 answers and that are waited for one after another.
    pub loads: f64,
    /// Bulk copies.
    pub copies: f64,
}

/// No code: a stretch has none of what it does not name.
pub(super) const PLAIN: Code =
    Code { instructions: 0.0, exchanges: 0.0, shared: 0.0, atomics: 0.0, loads: 0.0, copies: 0.0 };

/// A machine's times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acts<'m>(&'m Timing);

impl<'m> Acts<'m> {
    pub fn new(machine: &'m Machine) -> Acts<'m> {
        Acts(machine.timing())
    }

    pub fn timing(&self) -> &Timing {
        self.0
    }

    /// A stretch of code.
    pub fn code(&self, code: Code) -> Work {
        let gpu = &self.0.gpu;
        let ps = code.instructions * gpu.instruction_ps as f64
            + code.exchanges * gpu.exchange_ps as f64
            + code.shared * gpu.shared_load_ps as f64
            + code.atomics * gpu.shared_atomic_ps as f64
            + code.loads * gpu.l2_load_ps as f64
            + code.copies * gpu.bulk_issue_ps as f64;
        Work { instructions: code.instructions, ns: ps / PS }
    }

    /// How long an SM issues so many instructions.
    pub fn issue_ns(&self, instructions: f64) -> f64 {
        instructions * self.0.gpu.clock_ps as f64 / PS / f64::from(self.0.gpu.schedulers)
    }

    /// From a bulk load's issue to the warp's next instruction: the unit's latency, the memory's, the transfer.
    pub fn load_ns(&self, bytes: f64, of_hbm: bool) -> f64 {
        let gpu = &self.0.gpu;
        let memory = if of_hbm { gpu.hbm_load_ps } else { gpu.l2_load_ps };
        (gpu.bulk_ps + memory + gpu.wake_ps) as f64 / PS + bytes * US / gpu.sm_load_rate as f64
    }

    /// From the last bulk store within a GPU to its being there.
    pub fn drain_local_ns(&self, bytes: f64) -> f64 {
        let gpu = &self.0.gpu;
        gpu.store_ps as f64 / PS + bytes * US / gpu.sm_store_rate as f64
    }

    /// From the last bulk store to another GPU to its being known to be there: two ways.
    pub fn drain_peer_ns(&self, bytes: f64) -> f64 {
        2.0 * self.one_way_ns() + bytes * US / self.0.gpu.sm_store_rate as f64
    }

    /// A fence of the system.
    pub fn fence_ns(&self) -> f64 {
        self.0.gpu.fence_system_ps as f64 / PS
    }

    /// Ringing a doorbell: a release behind queue entries, and a fence.
    pub fn doorbell_ns(&self) -> f64 {
        (self.0.gpu.fence_posted_ps + self.0.gpu.fence_system_ps) as f64 / PS
    }

    /// One way over NVLink.
    pub fn one_way_ns(&self) -> f64 {
        self.0.links.nvlink_ps as f64 / PS
    }

    pub fn launch_ns(&self) -> f64 {
        self.0.gpu.launch_ps as f64 / PS
    }

    /// From a doorbell to a message and its signal being in the memory there, without the transfer.
    pub fn message_ns(&self, crosses_leaves: bool) -> f64 {
        let nic = &self.0.nic;
        let spine = if crosses_leaves { nic.spine_ps } else { 0 };
        let nic_ps =
            nic.fetch_ps + 2 * nic.entry_ps + nic.payload_ps + nic.leaf_ps + spine + nic.place_ps + nic.atomic_ps;
        (self.0.links.host_store_ps + nic_ps) as f64 / PS
    }

    /// Time of a NIC for one message, when it has so many queue pairs.
    pub fn message_gap_ns(&self, queue_pairs: f64) -> f64 {
        let nic = &self.0.nic;
        let beyond = (queue_pairs - f64::from(nic.queue_pairs)).max(0.0);
        (nic.message_ps as f64 + nic.miss_ps as f64 * beyond / queue_pairs.max(1.0)) / PS
    }

    /// Bytes at a rate in bytes a microsecond.
    pub fn at_rate_ns(bytes: f64, rate: u64) -> f64 {
        bytes * US / rate as f64
    }
}
