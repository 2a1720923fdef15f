//! Accesses of warps.

use super::actor::{Actor, Who};
use super::mark::{Mark, What};
use super::shadow::{Conflict, Pattern};
use super::{Checked, Race};
use crate::park::Where;
use crate::program::{lanes as each, Access, Atomic, Column, Order, Scope};
use crate::warp::{CtaState, Warp};

/// The instruction that acts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    /// Number of the CTA here.
    pub cta: u32,
    pub warp: u32,
    pub pc: u32,
    /// Number of the CTA whose shared memory is accessed.
    pub home: u32,
}

impl At {
    pub fn new(cta: &CtaState, warp: &Warp, pc: u32) -> At {
        At { cta: cta.race, warp: warp.index, pc, home: cta.race }
    }

    /// As this, for shared memory of another CTA of the cluster.
    pub fn toward(self, other: &CtaState) -> At {
        At { home: other.race, ..self }
    }
}

/// Order of an access that is not weak, as scopes count it.
fn strength(access: &Access) -> Option<(Order, Scope)> {
    (access.order != Order::Weak).then_some((access.order, access.scope))
}

impl Race {
    pub(super) fn slot_of(&self, at: At) -> u32 {
        self.ctas[at.cta as usize].slots[at.warp as usize]
    }

    /// Records and checks an access of lanes.
    fn touch(
        &mut self,
        at: At,
        place: Where,
        lanes: u32,
        what: What,
        pattern: Pattern,
        range: (usize, usize),
    ) -> Checked {
        self.touch_until(at, place, lanes, what, pattern, range, None)
    }

    /// As [`Race::touch`]; `until` is the completion of a deferred access.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn touch_until(
        &mut self,
        at: At,
        place: Where,
        lanes: u32,
        what: What,
        pattern: Pattern,
        range: (usize, usize),
        until: Option<u32>,
    ) -> Checked {
        if !self.checks {
            return Ok(());
        }
        let slot = self.slot_of(at);
        let Race { shadows, ctas, warps, seats, running, completions, .. } = self;
        let warp = warps[slot as usize].as_deref().expect("a resident warp has a clock");
        let actor = Actor { who: Who::Warp(warp), seat: warp.seat, completions, seats, running };
        let mark = Mark { slot, time: until.unwrap_or(warp.now), lanes, site: at.pc, what, bytes: 0 };
        let shadow = match place {
            Where::Shared => &mut ctas[at.home as usize].shared,
            Where::Global(storage) => Race::shadow(shadows, storage),
        };
        let found = shadow.access(&actor, mark, pattern, range.0, range.1);
        found.map_err(|conflict| self.raced(place, at.home, conflict))
    }

    #[cold]
    pub(super) fn raced(&self, place: Where, home: u32, conflict: Conflict) -> Box<super::RaceReport> {
        self.report(place, home, conflict)
    }

    /// A weak access of all lanes, one behind the other from `start` on.
    pub fn row(&mut self, at: At, place: Where, access: &Access, write: bool, start: usize) -> Checked {
        let bytes = access.size as usize * access.count as usize;
        let what = weak(access, write);
        let pattern = Pattern { origin: start as u32, shift: bytes.trailing_zeros() as u8 };
        self.touch(at, place, u32::MAX, what, pattern, (start, start + 32 * bytes))
    }

    /// A weak load of all lanes from one place.
    pub fn point(&mut self, at: At, place: Where, access: &Access, start: usize) -> Checked {
        let bytes = access.size as usize * access.count as usize;
        self.touch(at, place, u32::MAX, weak(access, false), Pattern::ONE, (start, start + bytes))
    }

    /// Rows of one matrix of 16-bit elements in shared memory: each element is of the lane that holds it.
    pub fn matrix(&mut self, at: At, rows: &[usize; 8], transposed: bool, write: bool) -> Checked {
        let what = if write { What::WRITE } else { What::READ };
        for (row, &start) in rows.iter().enumerate() {
            for element in 0..8 {
                let lane = if transposed { 4 * element + row / 2 } else { 4 * row + element / 2 };
                let range = (start + 2 * element, start + 2 * element + 2);
                self.touch(at, Where::Shared, 1 << lane, what, Pattern::ONE, range)?;
            }
        }
        Ok(())
    }

    /// An access of lanes at their offsets.
    #[allow(clippy::too_many_arguments)]
    pub fn scattered(
        &mut self,
        at: At,
        place: Where,
        access: &Access,
        write: bool,
        offsets: &Column,
        set: u32,
    ) -> Checked {
        let bytes = access.size as usize * access.count as usize;
        let mut rest = set;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            let start = offsets[first] as usize;
            // Loads of lanes from the same place are one; stores are in conflict, whatever their values: the model has no
            // exception for threads of a warp (PTX ISA, "Conflict and Data-races").
            let same = |lane: usize| offsets[lane] == offsets[first] && (!write || lane == first);
            let together = each(rest).filter(|&l| same(l)).fold(0, |m, l| m | 1 << l);
            rest &= !together;
            match strength(access) {
                None => {
                    let what = weak(access, write);
                    self.touch(at, place, together, what, Pattern::ONE, (start, start + bytes))?;
                }
                Some((order, scope)) => {
                    for element in 0..access.count as usize {
                        let offset = start + element * access.size as usize;
                        if write {
                            each(together).try_for_each(|lane| {
                                self.strong_store(at, place, lane as u32, order, scope, offset, access.size as usize)
                            })?;
                        } else {
                            self.strong_load(at, place, together, order, scope, offset, access.size as usize)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn strong_load(
        &mut self,
        at: At,
        place: Where,
        lanes: u32,
        order: Order,
        scope: Scope,
        offset: usize,
        size: usize,
    ) -> Checked {
        let what = What::READ.strong(order, scope, size);
        self.touch(at, place, lanes, what, Pattern::ONE, (offset, offset + size))?;
        self.read_word(at, place, lanes, offset, scope, matches!(order, Order::Acquire | Order::AcqRel | Order::Sc));
        Ok(())
    }

    /// Lanes have read a value; they acquire what it carries, or may by a later fence.
    fn read_word(&mut self, at: At, place: Where, lanes: u32, offset: usize, scope: Scope, acquires: bool) {
        if self.explores {
            return;
        }
        let slot = self.slot_of(at);
        let word = match place {
            Where::Shared => self.ctas[at.home as usize].words.get(&offset),
            Where::Global(storage) => self.words.get(&(storage, offset)),
        };
        let warp = self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        let at = (at.home, place, offset);
        if acquires {
            warp.acquire_again(lanes, scope, at);
        }
        if let Some(word) = word {
            warp.read(lanes, scope, acquires, &word.carried, Some(at));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn strong_store(
        &mut self,
        at: At,
        place: Where,
        lane: u32,
        order: Order,
        scope: Scope,
        offset: usize,
        size: usize,
    ) -> Checked {
        let what = What::WRITE.strong(order, scope, size);
        self.touch(at, place, 1 << lane, what, Pattern::ONE, (offset, offset + size))?;
        self.write_word(
            at,
            place,
            lane,
            offset,
            scope,
            matches!(order, Order::Release | Order::AcqRel | Order::Sc),
            false,
        );
        Ok(())
    }

    /// A lane has written a value: it carries what the lane released, and, from an atomic, what it carried before.
    #[allow(clippy::too_many_arguments)]
    fn write_word(
        &mut self,
        at: At,
        place: Where,
        lane: u32,
        offset: usize,
        scope: Scope,
        releases: bool,
        atomic: bool,
    ) {
        if self.explores {
            return;
        }
        let slot = self.slot_of(at);
        let began = self.running[slot as usize];
        let warp = self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        let fenced = warp.fenced(lane);
        let released = releases.then(|| warp.release(lane, scope));
        // Where nobody ever released there is nothing to take away.
        let nothing = fenced.is_empty() && released.is_none();
        let local = &mut self.ctas[at.home as usize].words;
        let word = match place {
            Where::Shared if nothing => local.get_mut(&offset),
            Where::Shared => Some(local.entry(offset).or_default()),
            Where::Global(storage) if nothing => self.words.get_mut(&(storage, offset)),
            Where::Global(storage) => Some(self.words.entry((storage, offset)).or_default()),
        };
        if let Some(word) = word {
            word.write_by((slot, lane), began, fenced, released, atomic);
        }
    }

    /// An atomic of one lane.
    pub fn atomic(&mut self, at: At, place: Where, op: &Atomic, lane: u32, offset: usize) -> Checked {
        let size = op.size as usize;
        let what = What::ATOMIC.strong(op.order, op.scope, size);
        self.touch(at, place, 1 << lane, what, Pattern::ONE, (offset, offset + size))?;
        let acquires = matches!(op.order, Order::Acquire | Order::AcqRel | Order::Sc);
        let releases = matches!(op.order, Order::Release | Order::AcqRel | Order::Sc);
        // A reduction's read is no part of an acquire pattern (PTX ISA, "Release and Acquire Patterns").
        if op.returns {
            self.read_word(at, place, 1 << lane, offset, op.scope, acquires);
        }
        self.write_word(at, place, lane, offset, op.scope, releases, true);
        Ok(())
    }
}

fn weak(access: &Access, write: bool) -> What {
    match (write, access.constant) {
        (true, _) => What::WRITE,
        (false, true) => What::READ.constant(),
        (false, false) => What::READ,
    }
}
