//! Weak-memory exploration: what the memory model of PTX allows a load to return, chosen by the schedule.
//!
//! Instructions of a thread execute in order. Beside the bytes, which hold the last value in coherence order, a history of
//! writes is kept for every eight of them (`history`). A load takes any write that is not older than one that the reader
//! knows, or than one that somebody read whom the reader knows. Who knows what is the causality order that the race
//! detector follows (`crate::race`): program order, release and acquire patterns, fences, barriers, mbarriers, completions
//! and proxy fences, with their scopes; in this mode a value carries what its own writer released, so that a reader
//! synchronizes with the write that it took. A store may go before writes that its thread does not know, but never
//! between an atomic's read and its write. An atomic may read late too, when its write can follow at once. `fence.sc` is
//! behind all earlier ones whose scopes include each other. A bulk copy and a NIC read by what they know, which is why a
//! missing proxy fence, release or wait shows as wrong bytes. Elements of a vector, and lanes, choose by themselves;
//! `.nc` loads need not see anything that was written since the kernel began.
//!
//! Choice 0 is always the last value, and random schedules draw it every other time, so that whoever polls ends.
//!
//! Every execution shown satisfies the axioms. What it cannot show:
//! - load buffering: a load that returns a store which comes later in an order of program order, values read and `fence.sc`;
//! - writes that are forgotten: more than eight to one block, those before a host's or stream's write to the block
//!   (which everybody sees), before a `cp.async`, `stmatrix` or reduction by a bulk copy there, and those of an earlier
//!   CTA in shared memory; `cp.async` and `ldmatrix` read the last value;
//! - torn elements, late writes of bulk copies and NICs behind others in coherence order, late mbarrier objects, and
//!   late values in local memory, parameters, memory that host threads share, and for hosts;
//! - `fence.sc` orders and racing weak writes that are not one order of the whole machine;
//! - CTAs of clusters, which are refused.

mod access;
mod agents;
mod history;

pub(crate) use access::{load, store, update, update_wide};
pub(crate) use agents::{copy_reads, copy_writes, nic_reads, nic_writes};

use crate::memory::Storage;
use crate::race::{Asker, Mark, Race, Released};
use history::{History, BLOCK};
use std::collections::HashMap;

/// Whose bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A storage of the machine.
    Global(usize),
    /// Shared memory of the CTA with this number in the race detector.
    Shared(u32),
}

/// The histories of a machine.
#[derive(Debug, Default)]
pub(crate) struct Weak {
    global: Vec<Blocks>,
    shared: Vec<Blocks>,
    /// Where the choices of a NIC's action come from; 0 makes plain ones.
    pub draw: u64,
}

type Blocks = HashMap<usize, History>;

impl Weak {
    fn blocks(&mut self, place: Place) -> &mut Blocks {
        let (list, index) = match place {
            Place::Global(storage) => (&mut self.global, storage),
            Place::Shared(cta) => (&mut self.shared, cta as usize),
        };
        if list.len() <= index {
            list.resize_with(index + 1, Blocks::default);
        }
        &mut list[index]
    }

    /// The history of the block at an offset, if there is one.
    fn history(&mut self, place: Place, offset: usize) -> Option<&mut History> {
        let blocks = match place {
            Place::Global(storage) => self.global.get_mut(storage),
            Place::Shared(cta) => self.shared.get_mut(cta as usize),
        };
        blocks.filter(|blocks| !blocks.is_empty())?.get_mut(&(offset / BLOCK))
    }

    /// The history of the block at an offset, begun with what the storage holds.
    fn begin(&mut self, race: &Race, place: Place, storage: &Storage, offset: usize) -> &mut History {
        self.blocks(place).entry(offset / BLOCK).or_insert_with(|| {
            let start = offset & !(BLOCK - 1);
            let (mut value, mut written) = (0, 0);
            for at in start..(start + BLOCK).min(storage.len()) {
                value |= storage.load(at, 1) << (8 * (at - start));
                written |= (storage.is_initialized(at, 1) as u8) << (at - start);
            }
            let released = match place {
                Place::Global(id) => race.released_on(id, start..start + BLOCK),
                Place::Shared(_) => Vec::new(),
            };
            History::new(value, written, released)
        })
    }

    /// Bytes are written at once for everybody: nothing older can be read.
    pub fn settle(&mut self, place: Place, offset: usize, bytes: usize) {
        let blocks = self.blocks(place);
        if blocks.is_empty() || bytes == 0 {
            return;
        }
        let range = offset / BLOCK..(offset + bytes).div_ceil(BLOCK);
        if range.len() > blocks.len() {
            blocks.retain(|block, _| !range.contains(block));
        } else {
            range.for_each(|block| drop(blocks.remove(&block)));
        }
    }

    /// A storage was freed.
    pub fn forget(&mut self, storage: usize) {
        self.blocks(Place::Global(storage)).clear();
    }

    /// A CTA has ended.
    pub fn cta_ends(&mut self, cta: u32) {
        self.blocks(Place::Shared(cta)).clear();
    }
}

/// Whether an asker knows an access.
fn knowing<'a>(race: &'a Race, asker: &'a Asker<'a>) -> impl Fn(&Mark) -> bool + 'a {
    move |mark| race.knows(asker, mark)
}

/// What a value carries, in no list when it is nothing.
fn nothing() -> Vec<Released> {
    Vec::new()
}
