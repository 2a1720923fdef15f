//! What can go wrong: loading, host calls, and faults of a running kernel.

use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// A module that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The text does not parse.
    #[error("{module}: {message}")]
    Parse {
        /// Name of the module.
        module: String,
        /// The parser's words.
        message: String,
    },
    /// An instruction that the emulator does not know, or a combination it does not support.
    #[error("{file}:{line}: {reason}: {instruction}")]
    Instruction {
        /// Source file.
        file: String,
        /// Line in it.
        line: u32,
        /// The instruction as written.
        instruction: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A function or variable that cannot be used.
    #[error("{file}:{line}: {symbol}: {reason}")]
    Symbol {
        /// Source file.
        file: String,
        /// Line in it.
        line: u32,
        /// Name of the function or variable.
        symbol: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Memory for the module's variables is not to be had.
    #[error("{module}: {cause}")]
    Memory {
        /// Name of the module.
        module: String,
        /// Why.
        cause: MachineError,
    },
}

/// A host call with bad arguments, or on a GPU that has faulted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MachineError {
    /// An index is beyond what exists.
    #[error("no {what} {index}: there are {count}")]
    NoSuch {
        /// `gpu`, `node`, `stream`, `module`, ...
        what: &'static str,
        /// The index given.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// The module has no entry of this name.
    #[error("module {module} has no entry {entry}")]
    NoSuchEntry {
        /// Name of the module.
        module: String,
        /// The entry asked for.
        entry: String,
    },
    /// Work that cannot be captured, or a capture that cannot be ended.
    #[error("capture: {0}")]
    Capture(#[from] crate::capture::CaptureError),
    /// An allocation or copy of no bytes, or of more than an address can tell.
    #[error("{what} of {bytes} bytes: must be in 1..={max}")]
    Size {
        /// What was asked for.
        what: &'static str,
        /// Size asked for.
        bytes: u64,
        /// Greatest valid.
        max: u64,
    },
    /// The GPU's memory is used up.
    #[error("gpu {gpu} has {free} bytes free, {bytes} asked for")]
    OutOfMemory {
        /// Which GPU.
        gpu: usize,
        /// Asked for.
        bytes: u64,
        /// Free.
        free: u64,
    },
    /// No region index is left.
    #[error("the address space is used up")]
    OutOfAddresses,
    /// `free` or `unmap` of an address that is not the start of a live allocation or mapping.
    #[error("{address:#x} is not the start of a live {what} ({region})")]
    NotAnAllocation {
        /// The address.
        address: u64,
        /// `allocation` or `mapping`.
        what: &'static str,
        /// What is there.
        region: String,
    },
    /// A peer mapping across nodes, or of memory that is not a GPU's own.
    #[error("{address:#x} ({region}) cannot be mapped for gpu {gpu}: {reason}")]
    NotMappable {
        /// The address.
        address: u64,
        /// What is there.
        region: String,
        /// Who wanted it.
        gpu: usize,
        /// Why not.
        reason: &'static str,
    },
    /// A host access outside a live region, or of bytes nobody wrote.
    #[error("host access to {address:#x}: {problem}")]
    Access {
        /// First offending address.
        address: u64,
        /// What is wrong.
        problem: FaultKind,
    },
    /// A launch whose shape or arguments the entry or the GPU does not take.
    #[error("launch of {entry}: {what} is {have}, valid: {valid}")]
    Launch {
        /// Entry.
        entry: String,
        /// What is wrong.
        what: &'static str,
        /// What was given.
        have: u64,
        /// What is valid.
        valid: String,
    },
    /// The entry has something that cannot be loaded; other entries of its module may be fine.
    #[error("{0}")]
    Unloadable(Box<LoadError>),
    /// The NIC model refused.
    #[error("nic: {0}")]
    Nic(String),
    /// The host's access and an earlier one, which nothing orders.
    #[error("{0}")]
    Race(Box<crate::race::RaceReport>),
    /// An earlier fault of this GPU; it stays, as on real hardware.
    #[error("gpu {} has faulted: {}", .0.gpu, .0)]
    Faulted(Arc<Fault>),
}

/// A fault of a running kernel or of a NIC on its behalf. Sticky for its GPU.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// GPU it happened on, or on whose behalf.
    pub gpu: usize,
    /// Which thread, when a warp did it.
    pub thread: Option<Box<Thread>>,
    /// Which instruction, when a warp or its copy did it.
    pub location: Option<Box<Location>>,
    /// The address concerned.
    pub address: Option<u64>,
    /// What is at that address.
    pub region: Option<String>,
}

/// A thread of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Entry point.
    pub entry: String,
    /// CTA in the grid.
    pub cta: [u32; 3],
    /// Warp in the CTA.
    pub warp: u32,
    /// Lane in the warp.
    pub lane: u32,
    /// Thread in the CTA.
    pub thread: [u32; 3],
}

/// An instruction's place in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Source file.
    pub file: String,
    /// Line in it.
    pub line: u32,
    /// The instruction as written.
    pub instruction: String,
}

/// A store that the bus cannot see yet, and the NIC that read its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reader} reads bytes that are not visible to the bus ({lacks}), stored by cta {cta:?} thread {thread:?} at {stored}")]
pub struct HiddenStore {
    /// The store.
    pub stored: Location,
    /// CTA that stored.
    pub cta: [u32; 3],
    /// Thread that stored.
    pub thread: [u32; 3],
    /// What is missing.
    pub lacks: &'static str,
    /// Who reads: NIC, queue pair, purpose.
    pub reader: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// Nothing is mapped there.
    #[error("no region at this address")]
    Unmapped,
    /// The region was freed or unmapped.
    #[error("the region was freed")]
    Freed,
    /// Beyond the region's end.
    #[error("access of {bytes} bytes out of bounds")]
    OutOfBounds {
        /// Size of the access.
        bytes: u64,
    },
    /// Not aligned.
    #[error("not aligned to {align} bytes")]
    Misaligned {
        /// Alignment needed.
        align: u64,
    },
    /// A byte that nobody wrote.
    #[error("reads bytes that nobody wrote")]
    Uninitialized,
    /// This GPU or NIC has no mapping, or the mapping forbids it.
    #[error("{act} is not permitted here: {reason}")]
    Rights {
        /// `read` or `write`.
        act: &'static str,
        /// Which rule forbids it.
        reason: &'static str,
    },
    /// The launch's contract does not allow the access.
    #[error("{act} is outside the launch's contract")]
    Contract {
        /// `read` or `write`.
        act: &'static str,
    },
    /// A function that the driver gives on a real GPU.
    #[error("{0} is a function of the driver, and there is none here")]
    Runtime(String),
    /// Misuse of an mbarrier.
    #[error("mbarrier: {0}")]
    Mbarrier(String),
    /// Misuse of a named barrier.
    #[error("barrier: {0}")]
    Barrier(String),
    /// A lane executes a `.sync` instruction without being in its own member mask.
    #[error("lane is not in its member mask {mask:#010x}")]
    MemberMask {
        /// The mask.
        mask: u32,
    },
    /// A product of matrices that is not exact, so that the order of its additions would show.
    #[error("matrix product: {0}")]
    Matrix(String),
    /// A result of a video instruction that the manual and the assembler's code for it disagree about.
    #[error("video instruction: {0}")]
    Video(String),
    /// Another CTA of the cluster that is not there.
    #[error("cluster: {0}")]
    Cluster(String),
    /// A bulk copy with bad operands, or one that outlives its CTA.
    #[error("bulk copy: {0}")]
    Bulk(String),
    /// A doorbell rung with the wrong instruction.
    #[error("doorbell: {0}")]
    Doorbell(String),
    /// A NIC reads bytes that were not made visible to the bus.
    #[error("{0}")]
    BusVisibility(Box<HiddenStore>),
    /// Two accesses that conflict, and nothing orders them.
    #[error("{0}")]
    Race(Box<crate::race::RaceReport>),
    /// Work in a stream that cannot be done.
    #[error("stream: {0}")]
    Stream(String),
    /// The NIC model found a violation of its rules.
    #[error("nic: {0}")]
    Nic(String),
    /// `trap`.
    #[error("trap")]
    Trap,
    /// Functions that call themselves have used up the stack.
    #[error("the stack of calls is used up")]
    StackOverflow,
    /// `brx.idx` beyond its list.
    #[error("branch index {index} beyond a list of {targets}")]
    BranchIndex {
        /// The index.
        index: u64,
        /// Length of the list.
        targets: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.location {
            write!(f, "{at}: ")?;
        }
        write!(f, "{}", self.kind)?;
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        if let Some(region) = &self.region {
            write!(f, " ({region})")?;
        }
        write!(f, ", gpu {}", self.gpu)?;
        if let Some(thread) = &self.thread {
            write!(f, ", {thread}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cta {:?} thread {:?} (warp {} lane {})", self.entry, self.cta, self.thread, self.warp, self.lane)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.instruction)
    }
}
