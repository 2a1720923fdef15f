//! Planned faults: what goes wrong, where and when, and what did.

use crate::config::{NicId, QueuePairNumber};
use crate::wqe::Work;

/// Which work requests count for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMatch {
    /// Every entry.
    Any,
    /// Writes.
    Write,
    /// Atomics.
    Atomic,
}

impl FaultMatch {
    pub(crate) fn matches(self, work: &Work) -> bool {
        match self {
            FaultMatch::Any => true,
            FaultMatch::Write => matches!(work, Work::Write { .. }),
            FaultMatch::Atomic => matches!(work, Work::Atomic { .. }),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// The request is not performed and completes in error.
    DropToError {
        /// The syndrome, such as [`crate::cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED`].
        syndrome: u8,
    },
    /// The request and all after it on its queue pair never progress and never complete: a path
    /// that is paused for ever.
    Stall,
    /// The remote key arrives with a flipped bit, so the peer refuses it. Nothing happens to an
    /// entry without a remote key.
    CorruptKey,
    /// An atomic completes without having been performed. No sound network does this: it shows
    /// whether the waiting side notices. Nothing happens to an entry that is no atomic.
    LoseSignal,
}

/// One planned fault. It fires once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// On this queue pair, or on any: then the entries of all are counted together, in the order
    /// in which they are fetched.
    pub queue_pair: Option<QueuePairNumber>,
    /// Which entries count.
    pub matching: FaultMatch,
    /// How many entries that count are spared first.
    pub after: u64,
    /// What goes wrong.
    pub action: FaultAction,
}

/// All planned faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// The faults; when several fire at one entry, the first wins and the others are used up.
    pub faults: Vec<Fault>,
}

/// A fault that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiredFault {
    /// Its place in the plan.
    pub fault: usize,
    /// The device.
    pub nic: NicId,
    /// The queue pair.
    pub queue_pair: QueuePairNumber,
    /// The entry's position.
    pub position: u16,
    /// The entry's opcode.
    pub opcode: u8,
    /// What went wrong.
    pub action: FaultAction,
}

/// The plan at work: entries seen by each fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultState {
    plan: FaultPlan,
    seen: Vec<u64>,
    pub(crate) fired: Vec<FiredFault>,
}

impl FaultState {
    pub(crate) fn new(plan: FaultPlan) -> FaultState {
        FaultState { seen: vec![0; plan.faults.len()], plan, fired: Vec::new() }
    }

    /// Counts an entry; the fault that fires at it.
    pub(crate) fn meet(
        &mut self,
        nic: NicId,
        queue_pair: QueuePairNumber,
        position: u16,
        opcode: u8,
        work: &Work,
    ) -> Option<FaultAction> {
        let mut action = None;
        for (index, fault) in self.plan.faults.iter().enumerate() {
            let here = fault.queue_pair.is_none_or(|number| number == queue_pair);
            if !here || !fault.matching.matches(work) {
                continue;
            }
            let seen = self.seen[index];
            self.seen[index] += 1;
            if seen != fault.after || action.is_some() {
                continue;
            }
            action = Some(fault.action);
            self.fired.push(FiredFault { fault: index, nic, queue_pair, position, opcode, action: fault.action });
        }
        action
    }
}
