//! Small asynchronous accesses: `cp.async`, `st.async` and `red.async`, through the generic proxy.
//!
//! By the PTX ISA ("Asynchronous Operations", "cp.async", "cp.async.wait_group", "st.async", "red.async") they are ordered
//! behind what their thread did before, and not part of its program order: until their completion is known to somebody,
//! they are in conflict with everything, their own thread's accesses and each other among it. `cp.async` completes for
//! the thread that waits for its group, or by `cp.async.mbarrier.arrive` for who acquires that phase, which has nothing
//! else of the thread; the others report to their mbarrier as bulk copies do.

use super::access::At;
use super::mark::What;
use super::shadow::Pattern;
use super::{Checked, Race};
use crate::park::Where;
use crate::program::{lanes as each, Order, Scope};
use std::collections::VecDeque;

/// The `cp.async` of a lane that are not known to be complete, by completions.
#[derive(Debug, Default)]
pub(super) struct Small {
    /// Of the open group.
    open: Vec<u32>,
    /// Whether the last of the open group has arrived at an mbarrier already.
    sealed: bool,
    groups: VecDeque<Vec<u32>>,
}

/// Most groups of a lane that are kept apart.
const GROUPS_MAX: usize = 64;

impl Race {
    /// `cp.async` of a lane: `from` is storage, offset and size of what it reads, if it reads at all.
    pub fn small_copy(
        &mut self,
        at: At,
        lane: u32,
        from: Option<(usize, usize, usize)>,
        target: usize,
        bytes: usize,
    ) -> Checked {
        let now = self.clock(at).now;
        let small = self.ctas[at.cta as usize].small.entry((at.warp, lane)).or_default();
        let open = small.open.last().copied().filter(|_| !small.sealed);
        let number = open.unwrap_or_else(|| {
            let number = self.completions.add(now);
            small.open.push(number);
            small.sealed = false;
            number
        });
        if let Some((storage, offset, count)) = from {
            self.late(at, Where::Global(storage), lane, What::READ, (offset, offset + count), number)?;
        }
        self.late(at, Where::Shared, lane, What::WRITE, (target, target + bytes), number)
    }

    fn late(&mut self, at: At, place: Where, lane: u32, what: What, range: (usize, usize), number: u32) -> Checked {
        self.touch_until(at, place, 1 << lane, what.deferred(), Pattern::ONE, range, Some(number))
    }

    /// `cp.async.commit_group` of lanes.
    pub fn commit_small(&mut self, at: At, lanes: u32) {
        for lane in each(lanes) {
            let small = self.ctas[at.cta as usize].small.entry((at.warp, lane as u32)).or_default();
            small.commit();
        }
    }

    /// Lanes have waited for all but the last `pending` groups, or for everything.
    pub fn wait_small(&mut self, at: At, lanes: u32, pending: Option<u32>) {
        let clock = self.clock(at);
        clock.now += 1;
        let (slot, now) = (clock.slot, clock.now);
        for lane in each(lanes) {
            let Some(small) = self.ctas[at.cta as usize].small.get_mut(&(at.warp, lane as u32)) else { continue };
            if pending.is_none() {
                small.commit();
            }
            let done = small.groups.len().saturating_sub(pending.unwrap_or(0) as usize);
            for number in small.groups.drain(..done).flatten() {
                self.completions.observed(number, slot, 1 << lane, now);
            }
        }
    }

    /// `st.async`, or `red.async` of words of `word` bytes, of a lane, reported to an mbarrier of the target's CTA.
    pub fn store_async(
        &mut self,
        at: At,
        lane: u32,
        mbarrier: usize,
        target: usize,
        bytes: usize,
        word: Option<usize>,
    ) -> Checked {
        let what = match word {
            Some(bytes) => What::ATOMIC.strong(Order::Relaxed, Scope::Cluster, bytes),
            None => What::WRITE,
        };
        let (slot, now) = (self.slot_of(at), self.clock(at).now);
        self.check_object(at, 1 << lane, mbarrier)?;
        let phases = self.ctas[at.home as usize].mbarriers.entry(mbarrier).or_default();
        let number = phases.number(slot, || self.completions.add(now));
        self.late(at, Where::Shared, lane, what, (target, target + bytes), number)
    }
}

impl Small {
    fn commit(&mut self) {
        let group = std::mem::take(&mut self.open);
        self.sealed = false;
        // Of very many groups the oldest become one: a wait for more of them takes the younger ones too seldom.
        if self.groups.len() == GROUPS_MAX {
            let first = self.groups.pop_front().unwrap_or_default();
            self.groups[0].extend(first);
        }
        self.groups.push_back(group);
    }

    /// What is under way arrives at an mbarrier: its completions. What is issued later is not in it.
    pub fn seal(&mut self) -> Vec<u32> {
        self.sealed = true;
        self.groups.iter().flatten().chain(&self.open).copied().collect()
    }

    /// All completions that are kept.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.iter().flatten().chain(&self.open).copied()
    }
}

impl Race {
    /// An asynchronous access reports to an mbarrier, whose init must be known.
    fn check_object(&mut self, at: At, lanes: u32, offset: usize) -> Checked {
        let what = What::ATOMIC.strong(Order::Relaxed, Scope::Cluster, 8).barrier();
        self.touch_until(at, Where::Shared, lanes, what, Pattern::ONE, (offset, offset + 8), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_closed_and_sealed() {
        let mut small = Small { open: vec![1], ..Small::default() };
        assert_eq!(small.seal(), [1]);
        assert!(small.sealed);
        small.commit();
        small.open.push(2);
        assert!(!small.sealed);
        assert_eq!(small.seal(), [1, 2]);
        for number in 3..3 + 2 * GROUPS_MAX as u32 {
            small.commit();
            small.open.push(number);
        }
        assert_eq!(small.groups.len(), GROUPS_MAX);
        assert_eq!(small.numbers().count(), 2 * GROUPS_MAX + 2);
    }
}
