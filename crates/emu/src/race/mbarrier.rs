//! Mbarriers: who arrived at which phase, what copies completed in it, and who is ordered behind that.
//!
//! By the PTX ISA ("mbarrier.arrive", "mbarrier.test_wait / mbarrier.try_wait", "Release and Acquire Patterns"):
//! - An arrival with `.release`, the default, and a wait with `.acquire`, the default, that found its phase ended
//!   synchronize when their scopes, `.cta` by default, include each other's threads.
//! - `.relaxed` orders nothing. With a fence it is part of a pattern as any strong access: `fence.release` before the
//!   arrival, `fence.acquire` behind the wait.
//! - A bulk copy's report releases its own accesses at cluster scope, and no others of its issuer: an acquiring wait of
//!   any scope has them. A wait without order does not, unless an acquiring fence follows.
//! - A wait that found its phase open orders nothing.
//! - A wait knows a phase by its parity. So before the next phase ends, the waits for this one must be over: each must be
//!   ordered before an arrival at the next. Else, in another order of the same program, the wait misses its phase.

use super::access::At;
use super::actor::{Actor, Missing, Who};
use super::clock::{carry, Released, Seat, View, SHARED};
use super::late::Small;
use super::mark::{Mark, What};
use super::shadow::{Conflict, Pattern};
use super::warp::{Given, WarpClock};
use super::{Checked, Race};
use crate::park::Where;
use crate::program::{lanes as each, Order, Scope};

/// What lanes gave by an arrival with release.
#[derive(Debug)]
struct Arrival {
    given: Given,
    scope: Scope,
    seat: Seat,
}

/// The phases of an mbarrier.
#[derive(Debug, Default)]
pub(super) struct Phases {
    /// Released by arrivals at the open phase.
    gathered: Vec<Arrival>,
    /// Released by arrivals at ended phases: the last of each group of lanes.
    done: Vec<Arrival>,
    /// By release fences before arrivals whose own order does not do it.
    fenced: Vec<Released>,
    fenced_done: Vec<Released>,
    /// Issuers' slots, and the completions of their copies that land in the open phase.
    open: Vec<(u32, u32)>,
    /// Completions of `cp.async` that arrived at the open phase.
    small: Vec<u32>,
    /// Completions of ended phases, the last one last.
    ended: Vec<Vec<u32>>,
    /// The init, and whether `fence.mbarrier_init` stands behind it.
    init: Option<(Mark, bool)>,
    /// Waits for the last phase that ended, as long as no arrival at the open one is behind them.
    waits: Vec<Mark>,
    /// The last arrival at the open phase.
    arrival: Option<Mark>,
}

/// Ended phases that somebody may still be told of: a wait knows a phase by its parity.
const PHASES_KEPT: usize = 2;

/// Most completions that a warp keeps for a later fence.
const WAITED_MAX: usize = 64;

/// What an mbarrier instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPhase {
    Init,
    Inval,
    Arrive {
        order: Order,
        scope: Scope,
    },
    /// `cp.async.mbarrier.arrive`: an arrival by the lane's copies so far, when they are complete.
    Copies,
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
    /// An mbarrier instruction of lanes at one object. `ends`: it ended a phase.
    pub fn mbarrier(&mut self, at: At, lanes: u32, offset: usize, act: OnPhase, ends: bool) -> Checked {
        let what = match act {
            OnPhase::Init | OnPhase::Inval => What::WRITE.barrier(),
            OnPhase::Waited { order, scope } => What::READ.strong(order, scope, 8).barrier(),
            OnPhase::Polled => What::READ.strong(Order::Relaxed, Scope::Cta, 8).barrier(),
            OnPhase::Arrive { order, scope } => What::ATOMIC.strong(order, scope, 8).barrier(),
            OnPhase::Count | OnPhase::Copies => What::ATOMIC.strong(Order::Relaxed, Scope::Cta, 8).barrier(),
        };
        self.touch_barrier(at, lanes, what, offset)?;
        let slot = self.ctas[at.cta as usize].slots[at.warp as usize];
        let home = self.home(at.home);
        let clock = self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock");
        let objects = &mut self.ctas[at.home as usize].mbarriers;
        if act == OnPhase::Init {
            let mark = Mark { slot, time: clock.now, lanes, site: at.pc, what, bytes: 0xf };
            objects.entry(offset).or_default().init = Some((mark, false));
            return Ok(());
        }
        let Some(phases) = objects.get_mut(&offset) else { return Ok(()) };
        match act {
            OnPhase::Inval => phases.init = None,
            OnPhase::Copies => {
                for lane in each(lanes) {
                    let small = self.ctas[at.cta as usize].small.get_mut(&(at.warp, lane as u32));
                    let numbers = small.map(Small::seal).unwrap_or_default();
                    let phases = self.ctas[at.home as usize].mbarriers.entry(offset).or_default();
                    phases.small.extend(numbers);
                }
            }
            OnPhase::Arrive { order, scope } => phases.arrive(clock, lanes, order != Order::Relaxed, scope, home),
            OnPhase::Waited { order, scope } => {
                let what = What::READ.barrier();
                phases.wait(Mark { slot, time: clock.now, lanes, site: at.pc, what, bytes: 0xf });
                let seen = phases.waited(clock, lanes, order != Order::Relaxed, scope);
                let now = clock.now;
                for number in seen {
                    match order {
                        Order::Relaxed => self.completions.relaxed_wait(number),
                        _ => self.completions.observed(number, slot, lanes, now),
                    }
                }
            }
            _ => {}
        }
        if matches!(act, OnPhase::Arrive { .. } | OnPhase::Copies) {
            self.arrived(at, slot, lanes, offset);
        }
        if ends {
            self.phase_ended(at, offset)?;
        }
        Ok(())
    }

    /// Waits for the phase before that lie before this arrival of lanes are over.
    fn arrived(&mut self, at: At, slot: u32, lanes: u32, offset: usize) {
        let Race { ctas, warps, seats, running, completions, .. } = self;
        let Some(phases) = ctas[at.home as usize].mbarriers.get_mut(&offset) else { return };
        let warp = warps[slot as usize].as_deref().expect("a resident warp has a clock");
        let actor = Actor { who: Who::Warp(warp), seat: warp.seat, completions, seats, running };
        phases.arrival =
            Some(Mark { slot, time: warp.now, lanes, site: at.pc, what: What::ATOMIC.barrier(), bytes: 0xf });
        phases.waits.retain_mut(|wait| {
            let behind = |lane: usize| {
                let own = wait.slot == slot && lanes >> lane & 1 == 1;
                let one = Mark { lanes: 1 << lane, ..*wait };
                own || each(lanes).any(|arriving| actor.ordered(&one, 1 << arriving))
            };
            wait.lanes = each(wait.lanes).filter(|&lane| !behind(lane)).fold(0, |set, lane| set | 1 << lane);
            wait.lanes != 0
        });
    }

    /// The open phase of an mbarrier has ended.
    pub fn phase_ended(&mut self, at: At, offset: usize) -> Checked {
        let Some(phases) = self.ctas[at.home as usize].mbarriers.get_mut(&offset) else { return Ok(()) };
        phases.end();
        let (waits, arrival) = (std::mem::take(&mut phases.waits), phases.arrival.take());
        match (waits.first(), arrival) {
            (Some(&old), Some(new)) if self.checks => {
                let missing = Missing::NextPhase;
                Err(self.raced(Where::Shared, at.home, Conflict { old, new, offset, missing }))
            }
            _ => Ok(()),
        }
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
        let shadow = &mut ctas[at.home as usize].shared;
        let found = shadow.access(&actor, mark, Pattern::ONE, offset, offset + 8);
        found.map_err(|conflict| self.raced(Where::Shared, at.home, conflict))
    }

    /// A bulk copy is issued that reports to an mbarrier: its init must be visible to the async proxy. PTX ISA 9.3 has
    /// copies reach the object through the generic proxy; before that nothing is said, and the fence is asked for.
    pub(super) fn check_init(&self, at: At, view: &View, lane: u32, offset: usize) -> Checked {
        let object = self.ctas[at.home as usize].mbarriers.get(&offset);
        let init = object.and_then(|phases| phases.init).filter(|_| self.checks);
        let Some((init, announced)) = init else { return Ok(()) };
        let seat = self.seats[view.slot as usize];
        let who = Who::Copy { view, lane, space: SHARED, cta: self.ctas[at.cta as usize].serial };
        let Race { seats, running, completions, .. } = self;
        let actor = Actor { who, seat, completions, seats, running };
        let what = What::ATOMIC.strong(Order::Relaxed, Scope::Cta, 8).by_copy().barrier();
        let new = Mark { slot: view.slot, time: view.now, lanes: 1 << lane, site: at.pc, what, bytes: 0xf };
        match actor.check(&init, &new) {
            Err(Missing::ProxyFence) if announced => Ok(()),
            Err(missing) => Err(self.raced(Where::Shared, at.home, Conflict { old: init, new, offset, missing })),
            Ok(()) => Ok(()),
        }
    }
}

impl Phases {
    /// Lanes arrive; `home` is the CTA of the object, in which everyone who waits is.
    fn arrive(&mut self, clock: &mut WarpClock, lanes: u32, releases: bool, scope: Scope, home: Seat) {
        if releases {
            let seat = clock.seat;
            self.gathered.extend(clock.given(lanes).into_iter().map(|given| Arrival { given, scope, seat }));
        }
        if releases && clock.seat.includes(scope, home) {
            return;
        }
        for lane in each(lanes) {
            for released in clock.fenced(lane as u32) {
                carry(&mut self.fenced, released);
            }
        }
    }

    /// Keeps a wait for the last phase that ended; a later one by the same lanes takes its place.
    fn wait(&mut self, wait: Mark) {
        self.waits.retain(|old| old.slot != wait.slot || old.lanes & !wait.lanes != 0);
        self.waits.push(wait);
    }

    /// Lanes found a phase ended. Gives the completions in it, which a wait that acquires has with that.
    fn waited(&mut self, clock: &mut WarpClock, lanes: u32, acquires: bool, scope: Scope) -> Vec<u32> {
        let mut later = Vec::new();
        for Arrival { given, scope: theirs, seat } in &self.done {
            if acquires && clock.seat.meet(scope, *seat, *theirs) {
                clock.take(lanes, given);
            } else {
                later.push(given.released(*theirs, *seat));
            }
        }
        clock.read(lanes, scope, false, &later, None);
        clock.read(lanes, scope, acquires, &self.fenced_done, None);
        clock.now += 1;
        let seen: Vec<u32> = self.ended.iter().flatten().copied().collect();
        if !acquires {
            clock.waited.retain(|(of, number)| !(*of == lanes && seen.contains(number)));
            clock.waited.extend(seen.iter().map(|&number| (lanes, number)));
            let old = clock.waited.len().saturating_sub(WAITED_MAX);
            clock.waited.drain(..old);
        }
        let old = self.ended.len().saturating_sub(PHASES_KEPT);
        self.ended.drain(..old);
        seen
    }

    /// The open phase ends.
    fn end(&mut self) {
        for new in self.gathered.drain(..) {
            self.done.retain(|old| old.scope > new.scope || !new.given.covers(&old.given));
            self.done.push(new);
        }
        for released in self.fenced.drain(..) {
            carry(&mut self.fenced_done, released);
        }
        let open = self.open.drain(..).map(|(_, number)| number);
        self.ended.push(open.chain(self.small.drain(..)).collect());
    }

    /// Completion of the copies of a warp that land in the open phase.
    pub fn number(&mut self, slot: u32, add: impl FnOnce() -> u32) -> u32 {
        if let Some(&(_, number)) = self.open.iter().find(|(of, _)| *of == slot) {
            return number;
        }
        let number = add();
        self.open.push((slot, number));
        number
    }

    /// All completions that are kept.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let open = self.open.iter().map(|&(_, number)| number).chain(self.small.iter().copied());
        self.ended.iter().flatten().copied().chain(open)
    }

    /// The init is known to all threads that may use the object: true when it was announced.
    pub fn published(&mut self) -> bool {
        let announced = self.init.is_some_and(|(_, announced)| announced);
        if announced {
            self.init = None;
        }
        announced
    }

    /// `fence.mbarrier_init` by lanes of a slot: who uses the object must be behind it, not only behind the init.
    pub fn announce(&mut self, slot: u32, lanes: u32, now: u32) {
        if let Some((mark, announced)) = &mut self.init {
            if mark.slot == slot && mark.lanes & lanes == mark.lanes {
                (mark.time, *announced) = (now, true);
            }
        }
    }
}
