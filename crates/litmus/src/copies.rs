//! Bulk copies on a path: the steps that each adds, and the groups that a thread waits for.
//!
//! A copy is an agent of its own, "as if by another thread": its steps stand in the path of the thread that issues it, but
//! only what comes before them there is ordered before them. A copy moves one location as one value.

use crate::ast::{Access, Order, Proxy, Scope};
use crate::paths::{Action, State, Step, WEAK};
use crate::relation::Set;

/// The most steps that one instruction adds.
pub(crate) const STEPS: usize = 5;

/// A bulk copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bulk {
    pub(crate) target: usize,
    pub(crate) source: usize,
    pub(crate) bytes: i64,
    pub(crate) mbarrier: Option<usize>,
}

/// What a thread has issued.
#[derive(Debug, Clone, Default)]
pub(crate) struct Copies {
    issued: usize,
    /// Completions of reads and of writes since the last commit.
    open: [Set; 2],
    /// Of each committed group.
    groups: Vec<[Set; 2]>,
}

impl Copies {
    /// The copies since the last commit are a group; there may be none.
    pub(crate) fn commit(&mut self) {
        self.groups.push(std::mem::take(&mut self.open));
    }

    /// The completions of all groups but the latest `pending`.
    pub(crate) fn wait(&self, pending: usize, read: bool) -> Set {
        let complete = self.groups.len().saturating_sub(pending);
        let of = |[reads, writes]: &[Set; 2]| if read { *reads } else { reads | writes };
        self.groups[..complete].iter().fold(0, |set, group| set | of(group))
    }
}

/// Adds the steps of a copy that reads this value. `step` has what all of them share.
pub(crate) fn issue(state: &mut State, copy: Bulk, value: i64, step: Step) {
    let number = state.copies.issued;
    state.copies.issued += 1;
    let step = Step { copy: Some(number), access: Access { proxy: Proxy::Async, ..WEAK }, ..step };
    // "the complete-tx operation on the mbarrier has .release semantics at the .cluster scope"
    let report = Access { order: Order::Release, scope: Scope::Cluster, ..WEAK };
    let done = |mbarrier: Option<usize>| {
        let access = if mbarrier.is_some() { report } else { WEAK };
        Step { action: Action::Completion { mbarrier, bytes: copy.bytes }, access, ..step }
    };
    if let Some(location) = copy.mbarrier {
        state.steps.push(Step { action: Action::Uses { location }, ..step });
    }
    let read: Set = 1 << state.steps.len();
    state.steps.push(Step { action: Action::Read { location: copy.source, value }, ..step });
    if copy.mbarrier.is_none() {
        state.copies.open[0] |= 1 << state.steps.len();
        state.steps.push(done(None));
    }
    let action = Action::Write { location: copy.target, value };
    state.steps.push(Step { action, depends: step.depends | read, data: read, ..step });
    if copy.mbarrier.is_none() {
        state.copies.open[1] |= 1 << state.steps.len();
    }
    state.steps.push(done(copy.mbarrier));
}
