//! Parking: what a warp has read since its last sleep, so that it need not run again before a word of it changes.

use crate::memory::{Memory, Storage, WarpRef};

/// Most reads that are kept; a warp that reads more sleeps by the clock.
const MAX_READS: usize = 1024;

/// Reads and changes of a warp since its last `nanosleep`.
#[derive(Debug, Default)]
pub(crate) struct Interval {
    reads: Vec<Read>,
    /// Words watched while parked.
    watched: Vec<Read>,
    /// Something was changed, or too much was read: a sleep is a sleep.
    pub busy: bool,
    /// The clock was read.
    pub clock: bool,
    /// Lanes that ran.
    pub lanes: u32,
}

/// Which storage a word lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Shared,
    Global(usize),
}

/// A value that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub place: Where,
    pub offset: u64,
    pub bytes: u8,
    pub value: u64,
    pub address: u64,
}

impl Interval {
    /// Whether reads need to be told.
    #[inline(always)]
    pub fn records(&self) -> bool {
        !self.busy
    }

    pub fn read(&mut self, read: Read) {
        if self.reads.len() >= MAX_READS {
            self.busy = true;
            self.reads.clear();
            return;
        }
        self.reads.push(read);
    }

    /// A new interval begins.
    pub fn restart(&mut self) {
        self.reads.clear();
        self.busy = false;
        self.clock = false;
        self.lanes = 0;
    }

    /// Whether a warp whose lanes `mask` go to sleep may park: it did nothing but read, and all it read is as it was.
    pub fn may_park(&self, mask: u32, memory: &Memory, shared: &Storage) -> bool {
        let waits_for_something = !self.reads.is_empty() || !self.clock;
        let unchanged = |read: &Read| {
            let storage = match read.place {
                Where::Shared => Some(shared),
                Where::Global(id) => memory.storage_if_alive(id),
            };
            storage.is_some_and(|s| s.load(read.offset as usize, read.bytes as usize) == read.value)
        };
        !self.busy && self.lanes & !mask == 0 && waits_for_something && self.reads.iter().all(unchanged)
    }

    /// Watches all that was read.
    pub fn park(&mut self, warp: WarpRef, memory: &mut Memory, shared: &mut Storage) {
        self.watched = std::mem::take(&mut self.reads);
        self.watched.sort_unstable_by_key(|r| (r.address, r.bytes));
        self.watched.dedup();
        for read in &self.watched {
            match read.place {
                Where::Shared => shared.watch(read.offset as usize, read.bytes as usize, warp),
                Where::Global(id) => {
                    memory.storage_mut(id).watch(read.offset as usize, read.bytes as usize, warp);
                }
            }
        }
    }

    /// Ends the watching.
    pub fn unpark(&mut self, warp: WarpRef, memory: &mut Memory, shared: &mut Storage) {
        for read in std::mem::take(&mut self.watched) {
            let storage = match read.place {
                Where::Shared => Some(&mut *shared),
                Where::Global(id) => memory.storage_if_live(id),
            };
            if let Some(storage) = storage {
                storage.unwatch(read.offset as usize, read.bytes as usize, warp);
            }
        }
        self.restart();
    }

    /// Whether a word that is watched in memory outside the CTA has changed.
    pub fn is_stale(&self, memory: &Memory) -> bool {
        self.watched.iter().any(|read| match read.place {
            Where::Shared => false,
            Where::Global(id) => memory
                .storage_if_alive(id)
                .is_some_and(|s| s.load(read.offset as usize, read.bytes as usize) != read.value),
        })
    }

    /// The words that a parked warp watches.
    pub fn watched(&self) -> &[Read] {
        &self.watched
    }
}
