//! What weak-memory exploration asks of the clocks: who knows of which write, and what a release carries.

use super::access::At;
use super::actor::{Actor, Who};
use super::clock::{carry, Released, Seat, GLOBAL, SHARED};
use super::mark::{Mark, What};
use super::{CopyRace, Race};
use crate::park::Where;
use crate::program::{Order, Scope};
use warpferry_nic::{Agent, Purpose};

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// A lane; `constant`: it reads through `.nc`.
    Lane { at: At, lane: u32, constant: bool },
    /// A bulk copy, at one end of it. `number` is that of its completion.
    Copy { copy: &'a CopyRace, shared: bool, number: u32 },
    /// A queue pair, which is known to the clocks.
    QueuePair(u32),
}

impl Race {
    /// Whether an access is ordered before what the asker does now.
    pub fn knows(&self, asker: &Asker, mark: &Mark) -> bool {
        let Race { seats, running, completions, .. } = self;
        let actor = |who: Who, seat: Seat, lanes: u32| {
            let of = |who| Actor { who, seat, completions, seats, running };
            of(who).ordered(mark, lanes)
        };
        match *asker {
            Asker::Lane { at, lane, constant } => {
                let warp = self.warps[self.slot_at(at) as usize].as_deref().expect("a resident warp has a clock");
                match constant {
                    // What was written since the kernel began need not be seen.
                    true => actor(Who::Plain { slot: u32::MAX, know: &warp.base }, warp.seat, 1),
                    false => actor(Who::Warp(warp), warp.seat, 1 << lane),
                }
            }
            Asker::Copy { copy, shared, .. } => {
                let (view, lane, cta) = (copy.view(), copy.lane(), copy.serial());
                let space = if shared { SHARED } else { GLOBAL };
                actor(Who::Copy { view, lane, space, cta }, seats[view.slot as usize], 1 << lane)
            }
            Asker::QueuePair(number) => {
                let Some(queue) = self.queue_pairs.get(&number) else { return false };
                actor(Who::Plain { slot: queue.slot, know: &queue.know }, Seat::OUTSIDE, 1)
            }
        }
    }

    /// An access that the asker makes now.
    pub fn mark(&self, asker: &Asker, what: What) -> (Mark, Seat) {
        let (slot, time, lanes, site) = match *asker {
            Asker::Lane { at, lane, .. } => {
                let slot = self.slot_at(at);
                let now = self.warps[slot as usize].as_deref().map_or(0, |warp| warp.now);
                (slot, now, 1 << lane, at.pc)
            }
            Asker::Copy { copy, number, .. } => (copy.view().slot, number, 1 << copy.lane(), 0),
            Asker::QueuePair(number) => {
                let queue = &self.queue_pairs[&number];
                (queue.slot, queue.now, 1, 0)
            }
        };
        (Mark { slot, time, lanes, site, what, bytes: 0xf }, self.seats[slot as usize])
    }

    fn slot_at(&self, at: At) -> u32 {
        self.ctas[at.cta as usize].slots[at.warp as usize]
    }

    /// Lanes have read a value that carries these clocks.
    pub fn acquire(&mut self, at: At, lanes: u32, scope: Scope, acquires: bool, list: &[Released]) {
        let slot = self.slot_at(at);
        let warp = self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        warp.read(lanes, scope, acquires, list, None);
    }

    /// What a strong write of a lane carries. What the lane does afterwards is not in it.
    pub fn released(&mut self, at: At, lane: u32, scope: Scope, releases: bool) -> Vec<Released> {
        let slot = self.slot_at(at);
        let warp = self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        let mut new = warp.fenced(lane);
        if releases {
            new.push(warp.release(lane, scope));
        }
        new
    }

    /// What the last value of a word carries, for readers that are no lanes.
    pub fn set_released(&mut self, place: Where, offset: usize, list: &[Released]) {
        let Where::Global(storage) = place else { return };
        Race::shadow(&mut self.shadows, storage);
        if list.is_empty() {
            self.words.remove(&(storage, offset));
        } else {
            self.words.entry((storage, offset)).or_default().carried = list.to_vec();
        }
    }

    /// What the last values of bytes carry.
    pub fn released_on(&self, storage: usize, bytes: std::ops::Range<usize>) -> Vec<Released> {
        let words = bytes.filter_map(|at| self.words.get(&(storage, at)));
        words.flat_map(|word| &word.carried).cloned().collect()
    }

    /// What a value carries after an atomic that read one with `before` and released `own`.
    pub fn chained(before: Vec<Released>, own: Vec<Released>) -> Vec<Released> {
        let mut list = before;
        own.into_iter().for_each(|released| carry(&mut list, released));
        list
    }

    /// The access that a NIC is about to make.
    pub fn nic_mark(&mut self, agent: Agent, write: bool, atomic: bool) -> (Mark, Seat) {
        let number = agent.queue_pair.0;
        self.queue_pair(number, agent.nic.to_string());
        self.mark(&Asker::QueuePair(number), Race::nic_what(agent, write, atomic))
    }

    /// What an access of a NIC is, for the queue pair that makes it.
    pub fn nic_what(agent: Agent, write: bool, atomic: bool) -> What {
        let record = matches!(agent.purpose, Purpose::DoorbellRecord | Purpose::CompletionRecord);
        let strong = record || atomic || matches!(agent.purpose, Purpose::AtomicResult | Purpose::Completion);
        let kind = match (atomic, write) {
            (true, _) => What::ATOMIC,
            (false, true) => What::WRITE,
            (false, false) => What::READ,
        };
        if strong { kind.strong(Order::Relaxed, Scope::Sys, 8) } else { kind }.by_device()
    }
}
