//! Writes of a block of eight bytes in coherence order, and which of them a reader may still see.
//!
//! One order of the whole block refines the orders of its bytes. A read takes a position in it: every byte has the value
//! of the last write at or before it, so that no element tears.

use crate::program::lanes as each;
use crate::race::{join, Mark, Race, Released, Seat, What};

/// Bytes of a block.
pub(super) const BLOCK: usize = 8;
/// Most writes that are kept; the oldest ones become one that everybody may read, and nobody anything older.
const MESSAGES_MAX: usize = 8;
/// Most readers that a write remembers; beyond them nothing older than the write is kept.
const SEEN_MAX: usize = 48;
/// Most releases of writes gone that a block remembers before they are joined.
const PAST_MAX: usize = 16;
/// Most releases that writes gone leave to the first one before they are joined.
const RELEASED_MAX: usize = 8;

/// A write.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// Number in its block, from 1.
    pub number: u64,
    /// Bytes of the block that it wrote.
    pub mask: u8,
    /// Those of them that hold a value.
    pub written: u8,
    pub value: u64,
    pub mark: Mark,
    pub seat: Seat,
    /// Number of the earlier write that an atomic read: nothing morally strong with the atomic's own write comes between.
    pub joined: Option<u64>,
    /// Strong reads that took it and are morally strong with it: who is behind them is behind the write.
    pub seen: Vec<Mark>,
    pub released: Vec<Released>,
}

/// The writes of a block; the first one stands for all that came before.
#[derive(Debug)]
pub(super) struct History {
    pub messages: Vec<Message>,
    /// Number of the last message.
    number: u64,
    /// Releases of writes gone, one for each lane: later writes of the lane are part of the pattern.
    past: Vec<Released>,
}

/// Adds a release to a list that has one for each lane and scope.
fn keep(list: &mut Vec<Released>, new: &Released) {
    match list.iter_mut().find(|old| old.owner == new.owner && old.scope == new.scope) {
        Some(old) if old.is(new) => {}
        // Of a lane's releases the later one has the earlier in it, but not what came through a chain of atomics.
        Some(old) if old.time < new.time && !old.merged => old.clone_from(new),
        Some(old) if old.time >= new.time && !new.merged => {}
        Some(old) => {
            join(&mut old.know, &new.know);
            old.time = old.time.max(new.time);
            old.merged = true;
        }
        None => list.push(new.clone()),
    }
}

/// Bits of a mask as a mask of bytes.
pub(super) fn spread(mask: u8) -> u64 {
    (0..8).filter(|byte| mask >> byte & 1 == 1).fold(0, |all, byte| all | 0xff << (8 * byte))
}

/// Both are strong, of the same bytes, and their scopes include each other.
pub(super) fn morally_strong(a: (What, Seat, u8), b: (What, Seat, u8)) -> bool {
    let whole = a.2 == b.2 || a.0.is_device() || b.0.is_device();
    a.0.is_strong()
        && b.0.is_strong()
        && whole
        && !a.0.is_async()
        && !b.0.is_async()
        && a.1.meet(a.0.scope(), b.1, b.0.scope())
}

impl Message {
    /// What [`morally_strong`] compares.
    pub fn nature(&self) -> (What, Seat, u8) {
        (self.mark.what, self.seat, self.mask)
    }

    /// A strong read, morally strong with the write, took it. False when there is no room for that.
    fn see(&mut self, by: Mark) -> bool {
        let same = |old: &&mut Mark| old.slot == by.slot && (old.time == by.time || old.lanes & by.lanes == by.lanes);
        let room = self.seen.len() < SEEN_MAX;
        match self.seen.iter_mut().find(same) {
            // An earlier read by the same lane says more.
            Some(old) if old.time < by.time => {}
            Some(old) => old.lanes |= by.lanes,
            None if room => self.seen.push(by),
            None => return false,
        }
        true
    }
}

impl History {
    /// A block whose bytes are these, with what its last value carries.
    pub fn new(value: u64, written: u8, released: Vec<Released>) -> History {
        let first = Message {
            number: 0,
            mask: u8::MAX,
            written,
            value,
            mark: Mark::default(),
            seat: Seat::OUTSIDE,
            joined: None,
            seen: Vec::new(),
            released,
        };
        History { messages: vec![first], number: 0, past: Vec::new() }
    }

    /// Whether only the last value of these bytes can be read.
    pub fn is_settled(&self, mask: u8, knows: &dyn Fn(&Mark) -> bool) -> bool {
        let last = self.last(mask, self.messages.len() - 1);
        last == 0 || knows(&self.messages[last].mark)
    }

    /// The last write to these bytes that the asker knows, by itself or by somebody who read it.
    fn known(&self, mask: u8, knows: &dyn Fn(&Mark) -> bool) -> usize {
        // Of lanes that read it, one that is known is enough.
        let one = |seen: &Mark| each(seen.lanes).any(|lane| knows(&Mark { lanes: 1 << lane, ..*seen }));
        let is_known = |message: &Message| knows(&message.mark) || message.seen.iter().any(one);
        let later = (1..self.messages.len()).rev();
        later.filter(|&at| self.messages[at].mask & mask != 0).find(|&at| is_known(&self.messages[at])).unwrap_or(0)
    }

    /// Positions that a read of these bytes may take, the last one first.
    pub fn readable(&self, mask: u8, knows: &dyn Fn(&Mark) -> bool) -> Vec<usize> {
        let last = self.last(mask, self.messages.len() - 1);
        if last == 0 || knows(&self.messages[last].mark) {
            return vec![last];
        }
        let first = self.known(mask, knows);
        (first..=last).rev().filter(|&at| at == first || self.messages[at].mask & mask != 0).collect()
    }

    /// The last write to any of these bytes at or before a position.
    fn last(&self, mask: u8, position: usize) -> usize {
        (1..=position).rev().find(|&at| self.messages[at].mask & mask != 0).unwrap_or(0)
    }

    /// Whether a write may come right behind a position: not between what an atomic read and what it wrote.
    fn open(&self, position: usize, nature: (What, Seat, u8)) -> bool {
        let mut later = self.messages[position + 1..].iter().filter(|message| message.mask & nature.2 != 0);
        later.all(|message| {
            let Some(joined) = message.joined else { return true };
            let before = self.messages[..=position].iter().any(|read| read.number == joined);
            let between = before || self.messages.iter().all(|read| read.number != joined);
            !between || !morally_strong(message.nature(), nature)
        })
    }

    /// Positions behind which a write may go in coherence order, the last one first.
    pub fn writable(&self, nature: (What, Seat, u8), knows: &dyn Fn(&Mark) -> bool) -> Vec<usize> {
        let mut positions = self.readable(nature.2, knows);
        positions[0] = self.messages.len() - 1;
        positions.retain(|&at| self.open(at, nature));
        positions
    }

    /// Whether the write that an access at a position takes first is morally strong with it, or stands for all before.
    pub fn is_strong_with(&self, nature: (What, Seat, u8), position: usize) -> bool {
        position == 0 || morally_strong(self.messages[position].nature(), nature)
    }

    /// Positions behind which the write of an atomic that reads at `position` may go: there, or behind writes that are not
    /// morally strong with it, or, when nothing says that it is later than what it read, before that.
    pub fn behind(&self, nature: (What, Seat, u8), position: usize, knows: &dyn Fn(&Mark) -> bool) -> Vec<usize> {
        let strong = |at: &usize| morally_strong(self.messages[*at].nature(), nature);
        let later = (position + 1..self.messages.len()).take_while(|at| !strong(at));
        let mut positions: Vec<usize> =
            std::iter::once(position).chain(later).filter(|&at| self.open(at, nature)).collect();
        if !self.is_strong_with(nature, position) {
            positions.extend(self.writable(nature, knows).into_iter().filter(|&at| at < position));
        }
        positions
    }

    /// Value of the bytes at a position, in their place in the block, and which of them hold one.
    pub fn value(&self, mask: u8, position: usize) -> (u64, u8) {
        let (mut left, mut value, mut written) = (mask, 0, 0);
        for message in self.messages[..=position].iter().rev() {
            let here = message.mask & left;
            value |= message.value & spread(here);
            written |= message.written & here;
            left &= !here;
            if left == 0 {
                break;
            }
        }
        (value, written)
    }

    /// What an acquiring read at a position synchronizes with beside what it takes: what its lane read here before.
    pub fn read_before(&self, by: Mark, position: usize) -> Vec<Released> {
        let saw = |seen: &Mark| seen.slot == by.slot && seen.lanes & by.lanes != 0;
        let before = self.messages[..position].iter().filter(|message| message.seen.iter().any(saw));
        // Who read what is gone is not known any more.
        before.flat_map(|message| &message.released).chain(&self.past).cloned().collect()
    }

    /// A strong read takes these bytes at a position: what it may synchronize with.
    pub fn take(&mut self, nature: (What, Seat, u8), by: Mark, position: usize) -> Vec<Released> {
        let (mut left, mut released, mut full) = (nature.2, Vec::new(), None);
        for at in (0..=position).rev() {
            let message = &mut self.messages[at];
            if message.mask & left == 0 {
                continue;
            }
            left &= !message.mask;
            if at == 0 && message.mark.what.is_none() {
                // Of hosts and NICs.
                released.extend(message.released.iter().cloned());
            } else if morally_strong(message.nature(), nature) {
                released.extend(message.released.iter().cloned());
                if !message.see(by) {
                    full = full.max(Some(at));
                }
            }
            if left == 0 {
                break;
            }
        }
        if let Some(at) = full {
            (0..at).for_each(|_| self.fold());
        }
        released
    }

    /// What earlier writes of a lane to the same place released: its later ones are part of the same pattern.
    pub fn pattern(&self, mask: u8, slot: u32, lane: u32) -> Vec<Released> {
        let own = |released: &&Released| released.owner == (slot, lane);
        let messages = self.messages.iter().filter(|message| message.mask == mask);
        // Of joined ones nobody knows whose they are.
        let past = self.past.iter().filter(|released| own(released) || released.merged);
        let mut list: Vec<Released> = messages.flat_map(|m| &m.released).filter(own).chain(past).cloned().collect();
        // A later one of a lane and scope has the earlier ones in it.
        list.sort_by_key(|released| (released.owner, released.scope, std::cmp::Reverse(released.time)));
        list.dedup_by_key(|released| (released.owner, released.scope));
        list
    }

    /// Puts a write behind a position; the bytes that no later write covers.
    pub fn insert(&mut self, position: usize, message: Message) -> u8 {
        let later = self.messages[position + 1..].iter().fold(0, |all, message| all | message.mask);
        let shown = message.mask & !later;
        self.number += 1;
        self.messages.insert(position + 1, Message { number: self.number, ..message });
        if self.messages.len() > MESSAGES_MAX {
            self.fold();
        }
        shown
    }

    /// The first two writes become one.
    fn fold(&mut self) {
        let old = self.messages.remove(0);
        let next = &mut self.messages[0];
        let rest = old.mask & !next.mask;
        next.value |= old.value & spread(rest);
        next.written |= old.written & rest;
        next.joined = None;
        next.seen.clear();
        let mixed = rest != 0;
        if mixed {
            // It is several writes now: who reads it reads what all of them released.
            next.mask = u8::MAX;
            next.mark = Mark::default();
            old.released.iter().for_each(|released| keep(&mut next.released, released));
            if next.released.len() > RELEASED_MAX {
                next.released = Race::chained(Vec::new(), std::mem::take(&mut next.released));
            }
        }
        let gone = if mixed { &next.released } else { &old.released };
        gone.iter().for_each(|released| keep(&mut self.past, released));
        if self.past.len() > PAST_MAX {
            self.past = Race::chained(Vec::new(), std::mem::take(&mut self.past));
        }
    }
}
