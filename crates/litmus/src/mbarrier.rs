//! Which phase of its mbarrier each arrival, report and wait belongs to.
//!
//! All orders in which the operations of the mbarriers can happen are followed with the mbarriers' counts. A phase ends
//! when no arrival is pending and no byte is expected; a wait for a parity passes while the current phase has the other
//! one. An order is possible where it agrees with program order, the issue of copies, and the bulk groups that were
//! waited for: nothing is executed ahead of a wait.

use std::collections::BTreeSet;

use crate::frame::Frame;
use crate::paths::Action;
use crate::relation::{members, Relation, Set};

/// The most states that are followed.
const STATES: usize = 100_000;

/// Every way in which phases can end: from each arrival and report of a phase to the waits that find it complete. None of
/// the waits in `last` passes even when all else is done. None where there are too many orders to follow.
pub(crate) fn choices(frame: &Frame, last: Set) -> Option<Vec<Relation>> {
    let looks = |i: &usize| matches!(frame.events[*i].action, Action::Wait { done: true, .. });
    let operations: Vec<usize> = (0..frame.count()).filter(|i| looks(i) || frame.events[*i].is_signal()).collect();
    if operations.is_empty() {
        // A wait that failed may be all there is.
        let stuck = |i: usize| never_passes(frame, i, &vec![0; frame.mbarriers.len()]);
        return Some(if members(last).all(stuck) { vec![Relation::empty(frame.count())] } else { Vec::new() });
    }
    let order = frame.program_order.or(&frame.completion).closure();
    let issued = order.or_same().then(&frame.issue).or(&order);
    let after = issued.or(&issued.then(&order));
    let state = State {
        phase: vec![0; frame.mbarriers.len()],
        pending: frame.mbarriers.iter().map(|count| count.unwrap_or(0)).collect(),
        bytes: vec![0; frame.mbarriers.len()],
        of: vec![None; operations.len()],
        done: 0,
    };
    let mut orders = Orders { frame, operations, after, last, seen: BTreeSet::new(), found: BTreeSet::new() };
    orders.follow(&state);
    if orders.seen.len() > STATES {
        return None;
    }
    let relation = |of: &Vec<Option<i64>>| {
        let mut relation = Relation::empty(frame.count());
        for (&wait, at) in orders.operations.iter().zip(of).filter(|(i, _)| looks(i)) {
            for (&signal, phase) in orders.operations.iter().zip(of).filter(|(i, _)| !looks(i)) {
                let one = frame.same_address.has(signal, wait);
                if one && phase.is_some_and(|phase| Some(phase + 1) == *at) {
                    relation.add(signal, wait);
                }
            }
        }
        relation
    };
    Some(orders.found.iter().map(relation).collect())
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// Of each mbarrier: phases that ended, arrivals and bytes that the current one lacks.
    phase: Vec<i64>,
    pending: Vec<i64>,
    bytes: Vec<i64>,
    /// The phase in which each operation happened.
    of: Vec<Option<i64>>,
    done: Set,
}

struct Orders<'a> {
    frame: &'a Frame,
    operations: Vec<usize>,
    /// What happens before what.
    after: Relation,
    last: Set,
    seen: BTreeSet<State>,
    found: BTreeSet<Vec<Option<i64>>>,
}

impl Orders<'_> {
    fn follow(&mut self, state: &State) {
        if self.seen.len() > STATES || !self.seen.insert(state.clone()) {
            return;
        }
        if state.of.iter().all(Option::is_some) {
            if members(self.last).all(|wait| never_passes(self.frame, wait, &state.phase)) {
                self.found.insert(state.of.clone());
            }
            return;
        }
        for next in 0..self.operations.len() {
            let event = self.operations[next];
            let ready = |&(other, &of): &(usize, &usize)| other != next && self.after.has(of, event);
            let waits_for = self.operations.iter().enumerate().filter(ready).any(|(i, _)| state.of[i].is_none());
            if state.of[next].is_none() && !waits_for {
                if let Some(state) = self.step(state, next) {
                    self.follow(&state);
                }
            }
        }
    }

    /// The state after an operation; none where it is a wait whose phase is not complete.
    fn step(&self, state: &State, operation: usize) -> Option<State> {
        let event = &self.frame.events[self.operations[operation]];
        let mbarrier = event.place?.1;
        let mut next = state.clone();
        next.of[operation] = Some(state.phase[mbarrier]);
        match event.action {
            Action::Wait { parity, .. } => {
                return passes(parity, state.phase[mbarrier]).then_some(next);
            }
            Action::Arrive { arrives, expects, .. } => {
                next.pending[mbarrier] -= i64::from(arrives);
                next.bytes[mbarrier] += expects;
            }
            Action::Completion { bytes, .. } => next.bytes[mbarrier] -= bytes,
            _ => {}
        }
        if next.pending[mbarrier] <= 0 && next.bytes[mbarrier] == 0 {
            next.phase[mbarrier] += 1;
            next.pending[mbarrier] = self.frame.mbarriers[mbarrier].unwrap_or(0);
        }
        Some(next)
    }
}

/// Whether a wait for this parity passes in this phase: the one before has that parity.
fn passes(parity: i64, phase: i64) -> bool {
    (phase + 1) & 1 == parity & 1
}

/// Whether this event is a wait that would find its phase incomplete; other events are none of ours.
fn never_passes(frame: &Frame, event: usize, phases: &[i64]) -> bool {
    match (frame.events[event].action, frame.events[event].place) {
        (Action::Wait { parity, .. }, Some((_, mbarrier))) => !passes(parity, phases[mbarrier]),
        _ => true,
    }
}
