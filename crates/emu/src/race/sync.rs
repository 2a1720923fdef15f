//! What lanes do to be ordered: fences, barriers, mbarriers.

use super::access::At;
use super::actor::{Actor, Missing, Who};
use super::clock::{Knowledge, View, SHARED};
use super::mark::{Mark, What};
use super::shadow::{Conflict, Pattern};
use super::warp::Given;
use super::{Checked, Race};
use crate::park::Where;
use crate::program::{Order, ProxyFence, Scope};
use std::sync::Arc;

/// A phase of a barrier of the CTA.
#[derive(Debug, Default)]
pub(super) struct Gather {
    know: Knowledge,
    /// Warp, lanes and their time, of those who wait.
    waiting: Vec<(u32, u32, u32)>,
}

/// The phases of an mbarrier.
#[derive(Debug, Default)]
pub(super) struct Phases {
    /// Released by arrivals at the open phase.
    gathered: Vec<Given>,
    /// Released by arrivals at ended phases: the last of each group of lanes.
    done: Vec<Given>,
    /// Completion of the copies that land in the open phase.
    pub open: Option<u32>,
    /// Those of ended phases, the last one last.
    pub ended: Vec<u32>,
    /// The init, and whether `fence.mbarrier_init` stands behind it.
    init: Option<(Mark, bool)>,
}

/// What an mbarrier instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPhase {
    Init,
    Inval,
    Arrive {
        order: Order,
        scope: Scope,
    },
    /// A change of the count of bytes.
    Count,
    /// A wait that found its phase ended.
    Waited {
        order: Order,
        scope: Scope,
    },
    /// One that did not.
    Polled,
}

impl Race {
    fn clock(&mut self, at: At) -> &mut super::WarpClock {
        let slot = self.ctas[at.cta as usize].slots[at.warp as usize];
        self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock")
    }

    /// `fence` by lanes.
    pub fn fence(&mut self, at: At, lanes: u32, order: Order, scope: Scope) {
        let both = matches!(order, Order::AcqRel | Order::Sc);
        let sc = self.explores && order == Order::Sc;
        if sc {
            self.behind_fences(at, lanes, scope);
        }
        self.clock(at).fence(lanes, scope, both || order == Order::Release, both || order == Order::Acquire);
        if sc {
            self.before_fences(at, lanes, scope);
        }
    }

    /// `fence.proxy` and `fence.mbarrier_init` by lanes.
    pub fn fence_proxy(&mut self, at: At, lanes: u32, kind: ProxyFence, live: u32) {
        match kind {
            ProxyFence::Alias => {}
            ProxyFence::Async { global, shared } => {
                let clock = self.clock(at);
                clock.live = live;
                clock.fence_proxy(lanes, [global, shared]);
            }
            ProxyFence::MbarrierInit => {
                let slot = self.clock(at).slot;
                for phases in self.ctas[at.cta as usize].mbarriers.values_mut() {
                    if let Some((mark, announced)) = &mut phases.init {
                        *announced |= mark.slot == slot && mark.lanes & lanes == mark.lanes;
                    }
                }
            }
        }
    }

    /// Lanes met at a `bar.warp.sync`.
    pub fn warp_barrier(&mut self, at: At, lanes: u32, live: u32) {
        let clock = self.clock(at);
        clock.live = live;
        clock.meet(lanes);
    }

    /// Lanes arrive at a phase of a barrier.
    pub fn barrier(&mut self, at: At, lanes: u32, live: u32, id: u32, generation: u64, waits: bool) {
        let clock = self.clock(at);
        clock.live = live;
        let time = clock.now;
        let given = clock.give(lanes);
        let gather = self.ctas[at.cta as usize].barriers.entry((id, generation)).or_default();
        gather.know.join(&given);
        if waits {
            gather.waiting.push((at.warp, lanes, time));
        }
    }

    /// A phase of a barrier is complete.
    pub fn barrier_done(&mut self, cta: u32, id: u32, generation: u64) {
        let Some(gather) = self.ctas[cta as usize].barriers.remove(&(id, generation)) else { return };
        let know = Arc::new(gather.know);
        for (warp, lanes, time) in gather.waiting {
            self.clock(At { cta, warp, pc: 0 }).leave_barrier(lanes, time, &know);
        }
    }

    /// An mbarrier instruction of lanes at one object. `ends`: it ended a phase.
    pub fn mbarrier(&mut self, at: At, lanes: u32, offset: usize, act: OnPhase, ends: bool) -> Checked {
        let what = match act {
            OnPhase::Init | OnPhase::Inval => What::WRITE.barrier(),
            OnPhase::Waited { order, scope } => What::READ.strong(order, scope, 8).barrier(),
            OnPhase::Polled => What::READ.strong(Order::Relaxed, Scope::Cta, 8).barrier(),
            OnPhase::Arrive { order, scope } => What::ATOMIC.strong(order, scope, 8).barrier(),
            OnPhase::Count => What::ATOMIC.strong(Order::Relaxed, Scope::Cta, 8).barrier(),
        };
        self.touch_barrier(at, lanes, what, offset)?;
        let slot = self.ctas[at.cta as usize].slots[at.warp as usize];
        let Race { ctas, warps, completions, .. } = self;
        let clock = warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        let cta = &mut ctas[at.cta as usize];
        match act {
            OnPhase::Init => {
                let mark = Mark { slot, time: clock.now, lanes, site: at.pc, what, bytes: 0xf };
                let phases = cta.mbarriers.entry(offset).or_default();
                phases.init = Some((mark, false));
                return Ok(());
            }
            OnPhase::Inval => {
                if let Some(phases) = cta.mbarriers.get_mut(&offset) {
                    phases.init = None;
                }
                return Ok(());
            }
            OnPhase::Polled => return Ok(()),
            _ => {}
        }
        let Some(phases) = cta.mbarriers.get_mut(&offset) else { return Ok(()) };
        match act {
            OnPhase::Arrive { order, .. } if order != Order::Relaxed => {
                phases.gathered.extend(clock.given(lanes));
            }
            OnPhase::Waited { order, .. } => {
                if order != Order::Relaxed {
                    phases.done.iter().for_each(|given| clock.take(lanes, given));
                }
                clock.now += 1;
                for &number in &phases.ended {
                    completions.observed(number, slot, lanes, clock.now);
                }
                let last = phases.ended.pop();
                phases.ended.clear();
                phases.ended.extend(last);
            }
            _ => {}
        }
        if ends {
            phases.end();
        }
        Ok(())
    }

    fn touch_barrier(&mut self, at: At, lanes: u32, what: What, offset: usize) -> Checked {
        if !self.checks {
            return Ok(());
        }
        let slot = self.ctas[at.cta as usize].slots[at.warp as usize];
        let Race { ctas, warps, seats, running, completions, .. } = self;
        let warp = warps[slot as usize].as_deref().expect("a resident warp has a clock");
        let actor = Actor { who: Who::Warp(warp), seat: warp.seat, completions, seats, running };
        let mark = Mark { slot, time: warp.now, lanes, site: at.pc, what, bytes: 0 };
        let shadow = &mut ctas[at.cta as usize].shared;
        let found = shadow.access(&actor, mark, Pattern::ONE, offset, offset + 8);
        found.map_err(|conflict| self.raced(Where::Shared, conflict))
    }

    /// A bulk copy is issued that reports to an mbarrier: its init must be visible to the async proxy.
    pub(super) fn check_init(&self, at: At, view: &View, lane: u32, offset: usize) -> Checked {
        let cta = &self.ctas[at.cta as usize];
        let init = cta.mbarriers.get(&offset).and_then(|phases| phases.init);
        let Some((init, announced)) = init.filter(|_| self.checks) else { return Ok(()) };
        let seat = self.seats[view.slot as usize];
        let who = Who::Copy { view, lane, space: SHARED, cta: cta.serial };
        let Race { seats, running, completions, .. } = self;
        let actor = Actor { who, seat, completions, seats, running };
        let what = What::ATOMIC.strong(Order::Relaxed, Scope::Cta, 8).by_copy().barrier();
        let new = Mark { slot: view.slot, time: view.now, lanes: 1 << lane, site: at.pc, what, bytes: 0xf };
        match actor.check(&init, &new) {
            Err(Missing::ProxyFence) if announced => Ok(()),
            Err(missing) => Err(self.raced(Where::Shared, Conflict { old: init, new, offset, missing })),
            Ok(()) => Ok(()),
        }
    }
}

impl Phases {
    /// The open phase ends.
    pub fn end(&mut self) {
        for given in self.gathered.drain(..) {
            self.done.retain(|old| !given.covers(old));
            self.done.push(given);
        }
        self.ended.extend(self.open.take());
    }
}
