//! The report of a machine in which nothing can move.

use crate::error::{Location, Thread};
use std::fmt;

/// Everything that waits when nothing can move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StallReport {
    /// Why the machine counts as stalled.
    pub cause: StallCause,
    /// Virtual time.
    pub time_ns: u64,
    /// Every group of lanes that waits.
    pub waits: Vec<Wait>,
    /// Streams whose head cannot start, in words.
    pub streams: Vec<String>,
}

/// Why a machine counts as stalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StallCause {
    /// Everything waits for something that nobody will do.
    Deadlock,
    /// [`crate::Limits::warp_instructions`] were executed.
    InstructionLimit,
}

/// Lanes of one warp that wait at one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// GPU.
    pub gpu: usize,
    /// The first lane.
    pub thread: Thread,
    /// All lanes.
    pub lanes: u32,
    /// Where they are.
    pub location: Location,
    /// What they wait for.
    pub reason: WaitReason,
}

/// What lanes wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// Parked at `nanosleep` until one of these words changes.
    Words(Vec<WatchedWord>),
    /// A phase of an mbarrier.
    Mbarrier {
        /// Offset in shared memory.
        offset: u32,
        /// Parity of the phase that is open.
        phase: u32,
        /// Arrivals lacking.
        pending: u32,
        /// Bytes lacking.
        tx_count: i32,
    },
    /// A named barrier.
    Barrier {
        /// Its number.
        id: u32,
        /// Threads that have arrived.
        arrived: u32,
        /// Threads expected.
        expected: u32,
    },
    /// Other lanes of the warp.
    Lanes {
        /// Lanes that are not there.
        missing: u32,
    },
    /// Bulk copies.
    BulkGroup,
    /// The barrier of the cluster.
    Cluster,
    /// Time.
    Sleep {
        /// When it ends.
        until_ns: u64,
    },
    /// Nothing: it could run.
    Running,
}

/// A word that a parked warp has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedWord {
    /// Address; of shared memory as a generic address.
    pub address: u64,
    /// Size in bytes.
    pub bytes: u32,
    /// Value seen.
    pub value: u64,
    /// What is there.
    pub region: String,
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.cause {
            StallCause::Deadlock => "nothing can move",
            StallCause::InstructionLimit => "the limit of instructions is reached",
        };
        writeln!(f, "{cause} at {} ns", self.time_ns)?;
        for wait in &self.waits {
            writeln!(
                f,
                "  gpu {} {}, lanes {:#010x} at {}: {}",
                wait.gpu, wait.thread, wait.lanes, wait.location, wait.reason
            )?;
        }
        for stream in &self.streams {
            writeln!(f, "  {stream}")?;
        }
        Ok(())
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitReason::Words(words) => {
                write!(f, "a change of")?;
                for word in words {
                    write!(f, " [{:#x}] = {:#x} ({})", word.address, word.value, word.region)?;
                }
                Ok(())
            }
            WaitReason::Mbarrier { offset, phase, pending, tx_count } => write!(
                f,
                "mbarrier at shared +{offset:#x}, phase parity {phase}: {pending} arrivals and {tx_count} bytes lacking"
            ),
            WaitReason::Barrier { id, arrived, expected } => {
                write!(f, "barrier {id}: {arrived} of {expected} threads")
            }
            WaitReason::Lanes { missing } => write!(f, "lanes {missing:#010x} of the warp"),
            WaitReason::BulkGroup => write!(f, "bulk copies"),
            WaitReason::Cluster => write!(f, "the barrier of the cluster"),
            WaitReason::Sleep { until_ns } => write!(f, "time {until_ns} ns"),
            WaitReason::Running => write!(f, "nothing: it was running"),
        }
    }
}
