//! What the host hands to streams: launches, copies, events, and their names.

use crate::memory::AccessRule;

/// A loaded module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(pub(crate) u32);

/// A stream of one GPU. Stream 0 exists from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(crate) u32);

/// An event of the machine: any GPU's stream may record it or wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub(crate) u32);

/// Captured work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GraphId(pub(crate) u32);

/// A launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaunchId(pub(crate) u64);

/// A copy from device memory in stream order, whose bytes are picked up later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(pub(crate) u64);

impl StreamId {
    /// The stream that every GPU has.
    pub const DEFAULT: StreamId = StreamId(0);
}

/// One kernel launch.
#[derive(Debug, Clone)]
pub struct Launch {
    /// GPU to run on.
    pub gpu: usize,
    /// Stream of that GPU; launches of one stream run one after another.
    pub stream: StreamId,
    /// Module of the kernel.
    pub module: ModuleId,
    /// Name of the kernel.
    pub entry: String,
    /// CTAs in each dimension.
    pub grid: [u32; 3],
    /// Threads of a CTA in each dimension.
    pub block: [u32; 3],
    /// Dynamic shared memory.
    pub shared_bytes: u32,
    /// Arguments packed as CUDA does: each at the offset that [`EntryInfo::params`] tells.
    pub args: Vec<u8>,
    /// Contract of this launch: when not empty, an access to global memory that no rule permits is a fault.
    pub access: Vec<AccessRule>,
}

/// What an entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryInfo {
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Size of all parameters with their padding.
    pub param_bytes: usize,
    /// Static shared memory, with the padding before the dynamic part.
    pub static_shared_bytes: u32,
    /// Value and predicate registers that the text declares, called functions included (not what ptxas allocates).
    pub registers: usize,
    /// Most threads of a CTA, from `.maxntid` or `.reqntid`, otherwise 1024.
    pub max_threads: u32,
}

/// A kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Name in the source.
    pub name: String,
    /// Byte offset in the packed arguments.
    pub offset: usize,
    /// Size in bytes.
    pub bytes: usize,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub enum RunOutcome {
    /// The condition holds.
    Reached,
    /// Nothing is left to do, and the condition does not hold.
    Idle,
    /// Nothing can move, although something waits.
    Stalled(crate::stall::StallReport),
}
