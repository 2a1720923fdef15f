//! Acts by name: for callers who decide when each queue pair does what.

use crate::bus::{Bus, Choose};
use crate::config::{NicId, QueuePairNumber};
use crate::execute::StepOutcome;
use crate::network::Network;
use crate::queue::Action;
use crate::wqe::{Payload, Work};

/// What a queue pair can do now, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Read the record or fetch the next entry.
    Fetch,
    /// Work on the oldest entry that can be worked on.
    Execute,
    /// Retire the oldest entry.
    Retire,
}

/// A message that an entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The device that sends it.
    pub nic: NicId,
    /// The device that it goes to, while the queue pair has a peer.
    pub peer: Option<NicId>,
    /// Payload.
    pub bytes: u64,
    /// Where at the peer.
    pub target: Option<u64>,
    /// The entry itself has the payload.
    pub inline: bool,
    /// It is an atomic operation.
    pub atomic: bool,
}

impl Network {
    /// What a queue pair can do now; of each kind the oldest.
    pub fn ready_acts(&mut self, number: QueuePairNumber) -> Vec<Ready> {
        let Ok(queue) = self.find(number) else { return Vec::new() };
        let mut found: Vec<Ready> = self.actions_of(queue).iter().map(Ready::of).collect();
        found.dedup();
        found
    }

    /// One act of a kind. Idle when the queue pair cannot do it now.
    pub fn act(
        &mut self,
        number: QueuePairNumber,
        ready: Ready,
        bus: &mut dyn Bus,
        choose: &mut dyn Choose,
    ) -> StepOutcome {
        let Ok(queue) = self.find(number) else { return StepOutcome::Idle };
        let found = self.actions_of(queue).iter().copied().find(|action| Ready::of(action) == ready);
        match found {
            Some(action) => StepOutcome::Did(self.perform(queue, action, bus, choose)),
            None => StepOutcome::Idle,
        }
    }

    /// The message of the entry that was fetched last; none when there is no such entry or it asks for none.
    pub fn newest(&self, number: QueuePairNumber) -> Option<Posted> {
        let queue = &self.queues[self.find(number).ok()?];
        let entry = queue.window.back()?;
        let peer = queue.peer.map(|peer| self.queues[peer].nic);
        let plain = Posted { nic: queue.nic, peer, bytes: 0, target: None, inline: false, atomic: false };
        Some(match &entry.work {
            Work::Nop => plain,
            Work::Write { remote, payload } => Posted {
                bytes: payload.iter().map(Payload::length_bytes).sum(),
                target: Some(remote.address),
                inline: payload.iter().any(|part| matches!(part, Payload::Inline(_))),
                ..plain
            },
            Work::Read { into, .. } => Posted { bytes: into.iter().map(|data| data.length_bytes()).sum(), ..plain },
            Work::Atomic { remote, .. } => {
                Posted { bytes: 8, target: Some(remote.address), inline: true, atomic: true, ..plain }
            }
        })
    }

    /// The devices at both ends of a queue pair that has a peer.
    pub fn ends(&self, number: QueuePairNumber) -> Option<(NicId, NicId)> {
        let queue = &self.queues[self.find(number).ok()?];
        Some((queue.nic, self.queues[queue.peer?].nic))
    }

    fn actions_of(&mut self, queue: usize) -> &[Action] {
        let actions = &mut self.schedule.actions;
        self.queues[queue].actions(&self.config, actions);
        actions
    }
}

impl Ready {
    fn of(action: &Action) -> Ready {
        match action {
            Action::Retire => Ready::Retire,
            Action::Execute(_) => Ready::Execute,
            Action::Fetch => Ready::Fetch,
        }
    }
}
