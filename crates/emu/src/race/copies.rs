//! Bulk copies: agents that begin where they were issued, and end for who waits for them.

use super::access::At;
use super::actor::{Actor, Who};
use super::clock::{View, GLOBAL, SHARED};
use super::mark::{Mark, What};
use super::shadow::Pattern;
use super::{Checked, Group, Race};
use crate::park::Where;
use crate::program::{Order, Scope};
use std::sync::Arc;

/// What the detector keeps of a bulk copy under way.
#[derive(Debug, Clone)]
pub(crate) struct CopyRace {
    /// What its lane knew.
    view: Arc<View>,
    at: At,
    lane: u32,
    serial: u64,
    /// Completions of a store: of its read, and of its write.
    read: u32,
    write: u32,
}

/// What a copy does at its target. Each element of a reduction is a relaxed operation at GPU scope (PTX ISA,
/// "cp.reduce.async.bulk"), a copy is weak.
fn written(word: Option<usize>) -> What {
    match word {
        Some(bytes) => What::ATOMIC.strong(Order::Relaxed, Scope::Gpu, bytes),
        None => What::WRITE,
    }
}

impl CopyRace {
    pub fn view(&self) -> &View {
        &self.view
    }

    pub fn lane(&self) -> u32 {
        self.lane
    }

    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Number of the completion of a store's write.
    pub fn write_number(&self) -> u32 {
        self.write
    }

    /// Number of the completion of a store's read.
    pub fn read_number(&self) -> u32 {
        self.read
    }
}

impl Race {
    /// Number of the completion of the loads that report to the open phase of an mbarrier.
    pub fn load_number(&mut self, copy: &CopyRace, mbarrier: usize) -> u32 {
        let phases = self.ctas[copy.at.home as usize].mbarriers.entry(mbarrier).or_default();
        phases.number(copy.view.slot, || self.completions.add(copy.view.now))
    }

    /// What lanes know as they issue copies. What they do afterwards is later than that.
    pub fn views(&mut self, at: At, lanes: u32) -> Vec<(u32, Arc<View>)> {
        let slot = self.ctas[at.cta as usize].slots[at.warp as usize];
        let clock = self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        let views = clock.views(lanes);
        clock.now += 1;
        views
    }

    /// A lane issues a copy: one that reports to the mbarrier at an offset, or one of a bulk group.
    pub fn issue(
        &mut self,
        at: At,
        lane: u32,
        views: &[(u32, Arc<View>)],
        report: Result<usize, u64>,
    ) -> Result<Box<CopyRace>, Box<super::RaceReport>> {
        let view = views.iter().find(|(lanes, _)| lanes >> lane & 1 == 1).map(|(_, view)| view.clone());
        let view = view.expect("every lane that issues has a view");
        let serial = self.ctas[at.cta as usize].serial;
        let (mut read, mut write) = (0, 0);
        match report {
            Ok(mbarrier) => self.check_init(at, &view, lane, mbarrier)?,
            Err(number) => {
                let groups = &mut self.ctas[at.cta as usize].groups[at.warp as usize];
                let found = groups.iter().find(|g| g.lane == lane && g.number == number).copied();
                let group = found.unwrap_or_else(|| {
                    let (read, write) = (self.completions.add(view.now), self.completions.add(view.now));
                    let group = Group { lane, number, read, write };
                    groups.push(group);
                    group
                });
                (read, write) = (group.read, group.write);
            }
        }
        Ok(Box::new(CopyRace { view, at, lane, serial, read, write }))
    }

    /// A load has read its source and writes its target, or reduces there words of `word` bytes.
    pub fn load_lands(
        &mut self,
        copy: &CopyRace,
        mbarrier: usize,
        (place, offset): (Where, usize),
        target: usize,
        bytes: usize,
        word: Option<usize>,
    ) -> Checked {
        let number = self.load_number(copy, mbarrier);
        let own = At { home: copy.at.cta, ..copy.at };
        self.copy_touch(copy, own, place, What::READ, number, (offset, bytes))?;
        self.copy_touch(copy, copy.at, Where::Shared, written(word), number, (target, bytes))
    }

    /// A load has reported, and with that the phase of its mbarrier ended.
    pub fn load_reported(&mut self, copy: &CopyRace, mbarrier: usize) -> Checked {
        self.phase_ended(copy.at, mbarrier)
    }

    /// A store reads its source.
    pub fn store_reads(&mut self, copy: &CopyRace, source: usize, bytes: usize) -> Checked {
        self.copy_touch(copy, copy.at, Where::Shared, What::READ, copy.read, (source, bytes))
    }

    /// A store writes its target, or reduces there words of `word` bytes.
    pub fn store_writes(
        &mut self,
        copy: &CopyRace,
        target: (usize, usize),
        bytes: usize,
        word: Option<usize>,
    ) -> Checked {
        let place = Where::Global(target.0);
        self.copy_touch(copy, copy.at, place, written(word), copy.write, (target.1, bytes))
    }

    fn copy_touch(
        &mut self,
        copy: &CopyRace,
        at: At,
        place: Where,
        what: What,
        number: u32,
        (offset, bytes): (usize, usize),
    ) -> Checked {
        if !self.checks {
            return Ok(());
        }
        let Race { shadows, ctas, seats, running, completions, .. } = self;
        let view = &*copy.view;
        let space = if place == Where::Shared { SHARED } else { GLOBAL };
        let who = Who::Copy { view, lane: copy.lane, space, cta: copy.serial };
        let actor = Actor { who, seat: seats[view.slot as usize], completions, seats, running };
        let what = what.by_copy();
        let mark = Mark { slot: view.slot, time: number, lanes: 1 << copy.lane, site: copy.at.pc, what, bytes: 0 };
        let shadow = match place {
            Where::Shared => &mut ctas[at.home as usize].shared,
            Where::Global(storage) => Race::shadow(shadows, storage),
        };
        let found = shadow.access(&actor, mark, Pattern::ONE, offset, offset + bytes);
        found.map_err(|conflict| self.raced(place, at.home, conflict))
    }

    /// Lanes waited for all their groups below a number each.
    pub fn waited(&mut self, at: At, bounds: &[(u32, u64)], read: bool) {
        let cta = &mut self.ctas[at.cta as usize];
        let groups = &mut cta.groups[at.warp as usize];
        if groups.is_empty() {
            return;
        }
        let slot = cta.slots[at.warp as usize];
        let clock = self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        clock.now += 1;
        let (now, completions) = (clock.now, &mut self.completions);
        groups.retain(|group| {
            let Some(_) = bounds.iter().find(|(lane, bound)| *lane == group.lane && group.number < *bound) else {
                return true;
            };
            completions.observed(group.read, slot, 1 << group.lane, now);
            if read {
                completions.only_read(group.write);
            } else {
                completions.observed(group.write, slot, 1 << group.lane, now);
            }
            read
        });
    }
}
