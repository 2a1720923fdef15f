//! Events for checkers and tracers.

use crate::launch::LaunchId;
use crate::memory::WarpRef;

/// Sees what a machine does, in the order in which it takes effect.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event);
}

/// Identity of a resident warp: its CTA's number over the machine's life, and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WarpId {
    /// Number of the CTA.
    pub cta: u64,
    /// Index of the warp in it.
    pub warp: u32,
}

impl From<WarpRef> for WarpId {
    fn from(warp: WarpRef) -> WarpId {
        WarpId { cta: warp.serial, warp: warp.warp }
    }
}

/// What an access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKind {
    /// `ld`.
    Load,
    /// `st`.
    Store,
    /// `atom`, `red`.
    Atomic,
}

/// An event.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A launch begins.
    LaunchBegin {
        /// The launch.
        launch: LaunchId,
        /// Its GPU.
        gpu: usize,
    },
    /// A launch and all its copies are done.
    LaunchEnd {
        /// The launch.
        launch: LaunchId,
        /// Its GPU.
        gpu: usize,
    },
    /// A CTA becomes resident.
    CtaBegin {
        /// Its number over the machine's life.
        cta: u64,
        /// Its launch.
        launch: LaunchId,
        /// Its index in the grid.
        index: [u32; 3],
        /// Name of the entry.
        entry: &'a str,
        /// For each instruction of the program, the number of the instruction in the text that it was made from: the
        /// emulator does some in several steps.
        written: &'a [u32],
    },
    /// A warp accesses memory.
    Access {
        /// The warp.
        warp: WarpId,
        /// The instruction's number in its program.
        pc: u32,
        /// What it does.
        kind: AccessKind,
        /// Lanes that take part.
        lanes: u32,
        /// Addresses of the lanes, generic.
        addresses: &'a [u64; 32],
        /// Bytes of each lane.
        bytes: u32,
    },
    /// A warp executes a fence.
    Fence {
        /// The warp.
        warp: WarpId,
        /// The instruction's number in its program.
        pc: u32,
        /// Lanes that take part.
        lanes: u32,
    },
    /// A warp executes a proxy fence.
    ProxyFence {
        /// The warp.
        warp: WarpId,
        /// The instruction's number in its program.
        pc: u32,
        /// Lanes that take part.
        lanes: u32,
    },
    /// A named barrier is complete.
    Barrier {
        /// The CTA.
        cta: u64,
        /// The barrier.
        id: u32,
    },
    /// A bulk copy is issued.
    CopyIssued {
        /// The copy.
        copy: u64,
        /// The warp.
        warp: WarpId,
        /// The lane.
        lane: u32,
        /// Size.
        bytes: u32,
    },
    /// A bulk copy has written its target.
    CopyLanded {
        /// The copy.
        copy: u64,
    },
    /// A doorbell is rung.
    Doorbell {
        /// The warp.
        warp: WarpId,
        /// The value.
        value: u64,
    },
}
