//! What a machine is made of and how it is driven.

use thiserror::Error;

/// Size of a machine, its checks and its schedule.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// Number of nodes.
    pub nodes: usize,
    /// GPUs of each node. GPU `node * gpus_per_node + local` is rank `local` of node `node`.
    pub gpus_per_node: usize,
    /// What every GPU has.
    pub gpu: GpuConfig,
    /// Which misuses are looked for.
    pub checks: Checks,
    /// What a load may return.
    pub memory: MemoryOrder,
    /// Who runs next, and when asynchronous work lands.
    pub schedule: Schedule,
    /// Keep the choices made, for [`Schedule::Replay`].
    pub record_choices: bool,
    /// What happens when nothing can move.
    pub stall: Stall,
    /// The NICs and the network between them.
    pub nic: warpferry_nic::NetworkConfig,
    /// Bounds on a run.
    pub limits: Limits,
    /// Seed of the garbage in undefined registers and stale shared memory; 0 makes them zero.
    pub garbage_seed: u64,
    /// Whose the host calls are, for the race check.
    pub hosts: Hosts,
    /// Whether it is marked which instructions have run: see [`crate::Machine::coverage`].
    pub coverage: bool,
    /// What the NICs do when it is their turn.
    pub nic_turn: NicTurn,
    /// Whether it is kept how warps spend their time: see [`crate::Machine::take_accounts`].
    pub accounts: bool,
    /// What the machine's parts take: with it time is modelled, and every agent acts when its time has come. It needs
    /// [`Schedule::RoundRobin`], as nothing is left to choose, [`MemoryOrder::Sequential`] and no race check.
    pub timing: Option<crate::Timing>,
}

/// Whose the host calls are: what one host knows of finished kernels, another one may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// One host drives all GPUs.
    One,
    /// Every GPU has a host of its own, and they meet while nothing runs, unless they part
    /// ([`crate::Machine::part_hosts`]).
    PerGpu,
}

/// What the NICs, which the schedule has for one agent, do in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicTurn {
    /// One action of one queue pair: orders among NICs are as many as they can be.
    One,
    /// As many actions as queue pairs can act: NICs are as fast as if each queue pair was an agent of its own.
    EveryQueue,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuConfig {
    /// Number of SMs.
    pub sms: usize,
    /// Shared memory of one SM, and the most one CTA may have.
    pub shared_bytes_per_sm: u32,
    /// Resident threads of one SM.
    pub max_threads_per_sm: u32,
    /// Resident CTAs of one SM.
    pub max_ctas_per_sm: u32,
    /// Limit of resident CTAs of the whole GPU, as when other kernels hold its SMs.
    pub resident_ctas: Option<usize>,
    /// Device memory.
    pub memory_bytes: u64,
}

/// Which misuses are looked for. Bounds and rights always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// A register or the host takes a byte that nobody wrote; a function reads a register that nothing in it writes.
    pub uninitialized: bool,
    /// An access is not aligned to its size. Bulk copies and atomics are checked always.
    pub alignment: bool,
    /// A NIC reads bytes that their writer has not made visible to the bus.
    pub bus_visibility: bool,
    /// A thread ends before it has waited for its bulk stores, or a CTA before a thread has seen its bulk loads end: they
    /// may still use shared memory, which goes with the CTA.
    pub unawaited_copies: bool,
    /// Two accesses conflict, and nothing orders them by the memory model of PTX. It costs time: see `Checks::RACES`.
    pub races: bool,
}

/// What a load may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryOrder {
    /// The last value that was stored.
    Sequential,
    /// Any value that the memory model of PTX still allows, by the schedule's choice: stores, bulk copies and NIC
    /// writes become visible late and out of order. The plain choice is the last value, so `RoundRobin` shows nothing
    /// weak. CTAs of a cluster are refused.
    Weak,
}

/// Who runs next, how long, and when asynchronous work lands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Everyone in turn, asynchronous work in order, fixed turns.
    RoundRobin,
    /// Drawn from a seed: agents, lengths of turns, landing of copies, sleeping times.
    Random {
        /// The seed.
        seed: u64,
    },
    /// Probabilistic concurrency testing: agents have random priorities, the highest runs, and at `depth - 1` random turns
    /// of the first `steps` the one that would run gets the lowest. Who runs many turns on end gives way.
    /// Everything else is drawn as in `Random`.
    Pct {
        /// The seed.
        seed: u64,
        /// Ordering constraints that the bug sought needs; at least 1.
        depth: u32,
        /// Turns within which priorities change.
        steps: u32,
    },
    /// These choices, then plain ones. Turns end where another agent could make a difference, and nothing but order,
    /// asynchronous work and values is chosen. See [`crate::Exploration`].
    Explore {
        /// The first choices.
        choices: Vec<u32>,
    },
    /// The choices of an earlier run, see [`crate::Machine::recorded_choices`]. Beyond their end, plain choices.
    Replay(Vec<u32>),
}

/// What happens when every warp is parked and nothing is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// Let time pass in growing steps, so that the kernels' own deadlines fire, and report a deadlock if they do not.
    AdvanceTime,
    /// Report at once.
    Report,
}

/// Bounds on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Warp instructions of the machine's life; beyond it a run ends as stalled.
    pub warp_instructions: u64,
    /// Time jumps without any change before a stall counts as a deadlock.
    pub stall_rounds: u32,
}

/// A configuration that makes no machine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A number is outside its range.
    #[error("{field} is {have}, must be in {min}..={max}")]
    Range {
        /// Name of the field.
        field: &'static str,
        /// What was given.
        have: u64,
        /// Least valid.
        min: u64,
        /// Greatest valid.
        max: u64,
    },
    /// A machine whose parts have times explores nothing.
    #[error("timing: must be none, or the schedule round robin, memory sequential and races unchecked")]
    Timed,
    /// The NIC model refused its part.
    #[error("nic: {0}")]
    Nic(String),
}

impl MachineConfig {
    /// A machine of `nodes` x `gpus_per_node` with defaults: all checks, round robin.
    pub fn new(nodes: usize, gpus_per_node: usize) -> MachineConfig {
        MachineConfig {
            nodes,
            gpus_per_node,
            gpu: GpuConfig::default(),
            checks: Checks::ALL,
            memory: MemoryOrder::Sequential,
            schedule: Schedule::RoundRobin,
            record_choices: false,
            stall: Stall::AdvanceTime,
            nic: warpferry_nic::NetworkConfig::default(),
            limits: Limits::default(),
            garbage_seed: 0x5eed,
            hosts: Hosts::One,
            coverage: false,
            nic_turn: NicTurn::One,
            accounts: false,
            timing: None,
        }
    }

    /// Checks every number against its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let range = |field, have: u64, min, max| {
            if (min..=max).contains(&have) {
                Ok(())
            } else {
                Err(ConfigError::Range { field, have, min, max })
            }
        };
        range("nodes", self.nodes as u64, 1, 4096)?;
        range("gpus_per_node", self.gpus_per_node as u64, 1, 256)?;
        range("gpu.sms", self.gpu.sms as u64, 1, 1024)?;
        range("gpu.shared_bytes_per_sm", self.gpu.shared_bytes_per_sm as u64, 1024, 1 << 20)?;
        range("gpu.max_threads_per_sm", self.gpu.max_threads_per_sm as u64, 32, 4096)?;
        range("gpu.max_ctas_per_sm", self.gpu.max_ctas_per_sm as u64, 1, 64)?;
        if let Some(ctas) = self.gpu.resident_ctas {
            range("gpu.resident_ctas", ctas as u64, 1, 1 << 20)?;
        }
        range("gpu.memory_bytes", self.gpu.memory_bytes, 1 << 16, 1 << 42)?;
        if let Some(timing) = &self.timing {
            for (field, rate) in timing.rates() {
                range(field, rate, 1, u64::MAX)?;
            }
            let untimed = self.schedule != Schedule::RoundRobin || self.checks.races;
            if untimed || self.memory != MemoryOrder::Sequential {
                return Err(ConfigError::Timed);
            }
        }
        range("limits.stall_rounds", self.limits.stall_rounds as u64, 1, 60)
    }
}

impl Default for GpuConfig {
    fn default() -> Self {
        GpuConfig {
            sms: 132,
            shared_bytes_per_sm: 227 * 1024,
            max_threads_per_sm: 2048,
            max_ctas_per_sm: 32,
            resident_ctas: None,
            memory_bytes: 80 << 30,
        }
    }
}

impl Checks {
    /// Everything that costs little is checked: all but races.
    pub const ALL: Checks =
        Checks { uninitialized: true, alignment: true, bus_visibility: true, unawaited_copies: true, races: false };
    /// Everything is checked.
    pub const RACES: Checks = Checks { races: true, ..Checks::ALL };
    /// Only bounds and rights.
    pub const NONE: Checks =
        Checks { uninitialized: false, alignment: false, bus_visibility: false, unawaited_copies: false, races: false };
}

impl Default for Limits {
    fn default() -> Self {
        Limits { warp_instructions: u64::MAX, stall_rounds: 45 }
    }
}
