//! One act of a device, and executing in particular: pieces of writes and reads, atomics.

use crate::bus::{pick, Agent, Bus, BusFault, Choose, Purpose};
use crate::config::{NetworkConfig, NicId, Ordering, QueuePairNumber};
use crate::error::{Cause, Violation};
use crate::network::Network;
use crate::queue::{Action, Outcome, Outstanding, QueueState};
use crate::region::Use;
use crate::retire::DIGEST_START;
use crate::wqe::{AtomicOperation, DataSegment, Payload, Remote, Work};

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// No queue pair can act now.
    Idle,
    /// A queue pair acted.
    Did(Event),
}

/// An act of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The requester's device.
    pub nic: NicId,
    /// The requester's queue pair.
    pub queue_pair: QueuePairNumber,
    /// The position that it was about: of the entry, or the record's counter.
    pub position: u16,
    /// The act.
    pub act: Act,
}

/// What a queue pair did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Read its record, which told nothing new or something wrong.
    ReadRecord,
    /// Fetched an entry.
    Fetched {
        /// The entry's opcode.
        opcode: u8,
    },
    /// Placed a piece of a write at the peer.
    Placed {
        /// Where.
        address: u64,
        /// How much.
        bytes: u64,
        /// Whether it was the last one.
        last: bool,
    },
    /// Placed a piece of a read at home.
    Read {
        /// From where at the peer.
        address: u64,
        /// How much.
        bytes: u64,
        /// Whether it was the last one.
        last: bool,
    },
    /// Performed an atomic.
    Atomic {
        /// Where at the peer.
        address: u64,
        /// What was there.
        old: u64,
    },
    /// Skipped an atomic, by a planned fault.
    Lost,
    /// Found that an entry cannot be performed.
    Failed {
        /// What its completion will say.
        syndrome: u8,
    },
    /// Read a write's entry and payload again.
    ReadAgain,
    /// Let time pass before it retires an entry.
    Late,
    /// Retired an entry that asked for no completion.
    Retired,
    /// Retired an entry with a completion.
    Completed {
        /// What the completion says; 0 without an error.
        syndrome: u8,
    },
}

/// A cause, and whether the peer found it.
struct Refusal {
    cause: Cause,
    remote: bool,
}

impl Refusal {
    fn local(cause: Cause) -> Refusal {
        let remote = false;
        Refusal { cause, remote }
    }

    fn remote(cause: Cause) -> Refusal {
        let remote = true;
        Refusal { cause, remote }
    }
}

impl Network {
    /// One act of one queue pair that can act: which, and which act, is up to `choose`.
    pub fn step(&mut self, bus: &mut dyn Bus, choose: &mut dyn Choose) -> StepOutcome {
        let Some(queue) = self.schedule.choose(|n| pick(choose, n)) else {
            return StepOutcome::Idle;
        };
        let actions = &mut self.schedule.actions;
        self.queues[queue].actions(&self.config, actions);
        // Only queue pairs that can act are listed.
        let Some(&action) = actions.get(pick(choose, actions.len())) else {
            return StepOutcome::Idle;
        };
        StepOutcome::Did(self.perform(queue, action, bus, choose))
    }

    /// An act that a queue pair can do.
    pub(crate) fn perform(
        &mut self,
        queue: usize,
        action: Action,
        bus: &mut dyn Bus,
        choose: &mut dyn Choose,
    ) -> Event {
        let (position, act) = match action {
            Action::Retire => self.retire(queue, bus, choose),
            Action::Execute(place) => self.execute(queue, place, bus, choose),
            Action::Fetch => self.fetch(queue, bus),
        };
        self.queues[queue].looked = act == Act::ReadRecord;
        self.pace(queue);
        self.update(queue);
        Event { nic: self.queues[queue].nic, queue_pair: self.queues[queue].number, position, act }
    }

    pub(crate) fn agent(&self, queue: usize, purpose: Purpose) -> Agent {
        Agent { nic: self.queues[queue].nic, queue_pair: self.queues[queue].number, purpose }
    }

    pub(crate) fn memory_violation(&mut self, agent: Agent, fault: BusFault) -> Cause {
        self.violate(Violation::Memory { agent, fault });
        Cause::Memory(fault)
    }

    pub(crate) fn execute(
        &mut self,
        queue: usize,
        place: usize,
        bus: &mut dyn Bus,
        choose: &mut dyn Choose,
    ) -> (u16, Act) {
        // Taken out of the window for the act, so that the network can be used beside it.
        let placeholder = Outstanding::new(0);
        let mut entry = std::mem::replace(&mut self.queues[queue].window[place], placeholder);
        let position = entry.position;
        let done = match &entry.work {
            Work::Nop => Ok(Act::Retired),
            Work::Write { .. } | Work::Read { .. } => self.piece(queue, &mut entry, bus, choose),
            Work::Atomic { .. } => self.atomic(queue, &entry, bus),
        };
        let act = match done {
            Ok(act) => {
                if entry.pieces.left() == 0 {
                    entry.outcome = Outcome::Done;
                    if self.config.late_completions {
                        let most = NetworkConfig::patience(self.queues[queue].number);
                        entry.patience = pick(choose, usize::from(most) + 1) as u16;
                    }
                    self.count(queue, &entry);
                }
                act
            }
            Err(refusal) => {
                let cause = refusal.cause;
                let syndrome = if refusal.remote { cause.remote_syndrome() } else { cause.local_syndrome() };
                let refused_by_peer = refusal.remote && !matches!(cause, Cause::PeerDown { .. });
                entry.outcome = Outcome::Failed { syndrome, cause, refused_by_peer };
                Act::Failed { syndrome }
            }
        };
        self.queues[queue].window[place] = entry;
        (position, act)
    }

    fn count(&mut self, queue: usize, entry: &Outstanding) {
        let counters = &mut self.queues[queue].counters;
        match &entry.work {
            Work::Nop => {}
            Work::Write { payload, .. } => {
                let inline = |part: &Payload| matches!(part, Payload::Inline(_));
                counters.writes += 1;
                counters.inline_writes += u64::from(payload.iter().any(inline));
            }
            Work::Read { .. } => counters.reads += 1,
            Work::Atomic { .. } => counters.atomics += u64::from(!entry.lost),
        }
    }

    /// The peer's device, when the peer answers.
    fn responder(&self, queue: usize) -> Result<NicId, Refusal> {
        // Only a connected queue pair executes, and a reset drops what it had under way.
        let Some(index) = self.queues[queue].peer else {
            return Err(Refusal::remote(Cause::PeerDown { peer: self.queues[queue].number, state: QueueState::Reset }));
        };
        let peer = &self.queues[index];
        if peer.state == QueueState::ReadyToSend && peer.peer == Some(queue) {
            return Ok(peer.nic);
        }
        Err(Refusal::remote(Cause::PeerDown { peer: peer.number, state: peer.state }))
    }

    fn check_local(&self, queue: usize, data: &DataSegment, usage: Use) -> Result<(), Refusal> {
        let (nic, bytes) = (self.queues[queue].nic, data.length_bytes());
        self.regions.check(nic, data.lkey, data.address, bytes, usage).map_err(Refusal::local)
    }

    fn check_remote(&self, queue: usize, remote: Remote, bytes: u64, usage: Use) -> Result<NicId, Refusal> {
        let nic = self.responder(queue)?;
        if bytes > 0 {
            self.regions.check(nic, remote.rkey, remote.address, bytes, usage).map_err(Refusal::remote)?;
        }
        Ok(nic)
    }

    /// Checks the whole message, then moves one piece of it.
    fn piece(
        &mut self,
        queue: usize,
        entry: &mut Outstanding,
        bus: &mut dyn Bus,
        choose: &mut dyn Choose,
    ) -> Result<Act, Refusal> {
        let message_bytes = entry.pieces.message_bytes;
        let (remote, is_write) = match &entry.work {
            Work::Write { remote, payload } => {
                for part in payload {
                    if let Payload::Memory(data) = part {
                        self.check_local(queue, data, Use::LocalRead)?;
                    }
                }
                (*remote, true)
            }
            Work::Read { remote, into } => {
                for data in into {
                    self.check_local(queue, data, Use::LocalWrite)?;
                }
                (*remote, false)
            }
            Work::Nop | Work::Atomic { .. } => return Ok(Act::Retired),
        };
        let usage = if is_write { Use::RemoteWrite } else { Use::RemoteRead };
        let responder = self.check_remote(queue, remote, message_bytes, usage)?;
        let nth = match self.config.ordering {
            Ordering::InOrder => 0,
            Ordering::WritesUnordered => pick(choose, entry.pieces.left()),
        };
        let (mut offset, mut bytes) = (0, 0);
        if let Some(piece) = entry.pieces.take(nth) {
            (offset, bytes) = entry.pieces.range(piece);
            let mut sent = DIGEST_START;
            for part in parts(&entry.work, offset, bytes) {
                let there = remote.address + part.offset;
                if self.config.retransmit && is_write {
                    sent = self.digest_part(queue, &part, sent, bus).map_err(Refusal::local)?;
                }
                self.move_part(queue, responder, &part, there, is_write, bus)?;
            }
            if let Some(digest) = entry.piece_digests.get_mut(piece as usize) {
                *digest = sent;
            }
            if is_write {
                self.queues[queue].counters.write_pieces += 1;
            }
        }
        let counters = &mut self.queues[queue].counters;
        let last = entry.pieces.left() == 0;
        let address = remote.address.wrapping_add(offset);
        if is_write {
            counters.write_bytes += bytes;
            return Ok(Act::Placed { address, bytes, last });
        }
        counters.read_bytes += bytes;
        Ok(Act::Read { address, bytes, last })
    }

    /// Moves what one segment has of a piece.
    fn move_part(
        &mut self,
        queue: usize,
        responder: NicId,
        part: &Part<'_>,
        there: u64,
        is_write: bool,
        bus: &mut dyn Bus,
    ) -> Result<(), Refusal> {
        let home = self.agent(queue, Purpose::Payload);
        let away = Agent { nic: responder, ..home };
        let bytes = part.bytes;
        let (result, source) = match part.place {
            Place::Inline(payload) => (bus.write(away, there, payload), None),
            Place::Memory(here) if is_write => {
                let result = bus.copy(home, here, away, there, bytes);
                (result, Some((home, here, away)))
            }
            Place::Memory(here) => {
                let result = bus.copy(away, there, home, here, bytes);
                (result, Some((away, there, home)))
            }
        };
        let Err(fault) = result else {
            return Ok(());
        };
        // A copy does not say at which end it was refused; the address does, unless both match.
        let inside = |start: u64| fault.address.wrapping_sub(start) < bytes;
        let agent = match source {
            None => away,
            Some((from, start, _)) if inside(start) => from,
            Some((_, _, to)) => to,
        };
        let cause = self.memory_violation(agent, fault);
        if agent == away && agent != home {
            return Err(Refusal::remote(cause));
        }
        Err(Refusal::local(cause))
    }

    fn atomic(&mut self, queue: usize, entry: &Outstanding, bus: &mut dyn Bus) -> Result<Act, Refusal> {
        let Work::Atomic { remote, operation, result } = &entry.work else {
            return Ok(Act::Retired);
        };
        self.check_local(queue, result, Use::LocalWrite)?;
        let nic = self.check_remote(queue, *remote, 8, Use::RemoteAtomic)?;
        let address = remote.address;
        if !address.is_multiple_of(8) {
            return Err(Refusal::remote(Cause::MisalignedAtomic { address }));
        }
        if entry.lost {
            return Ok(Act::Lost);
        }
        let away = Agent { nic, ..self.agent(queue, Purpose::Atomic) };
        let performed = match *operation {
            AtomicOperation::FetchAdd { add } => bus.fetch_add(away, address, add),
            AtomicOperation::CompareSwap { compare, swap } => bus.compare_swap(away, address, compare, swap),
        };
        let old = performed.map_err(|fault| Refusal::remote(self.memory_violation(away, fault)))?;
        let home = self.agent(queue, Purpose::AtomicResult);
        bus.write(home, result.address, &old.to_le_bytes())
            .map_err(|fault| Refusal::local(self.memory_violation(home, fault)))?;
        Ok(Act::Atomic { address, old })
    }
}

/// What one segment has of a piece.
pub(crate) struct Part<'a> {
    /// From the message's start.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) place: Place<'a>,
}

pub(crate) enum Place<'a> {
    Memory(u64),
    Inline(&'a [u8]),
}

/// The parts of a piece, in order.
pub(crate) fn parts(work: &Work, offset: u64, bytes: u64) -> Vec<Part<'_>> {
    let end = offset + bytes;
    let mut parts = Vec::new();
    let mut start = 0;
    let mut cut = |length: u64| {
        let (from, to) = (offset.max(start), end.min(start + length));
        let inside = (from < to).then(|| (from, to - from, from - start));
        start += length;
        inside
    };
    match work {
        Work::Write { payload, .. } => {
            for segment in payload {
                let Some((offset, bytes, skip)) = cut(segment.length_bytes()) else {
                    continue;
                };
                let place = match segment {
                    Payload::Memory(data) => Place::Memory(data.address + skip),
                    Payload::Inline(all) => Place::Inline(&all[skip as usize..(skip + bytes) as usize]),
                };
                parts.push(Part { offset, bytes, place });
            }
        }
        Work::Read { into, .. } => {
            for data in into {
                let Some((offset, bytes, skip)) = cut(data.length_bytes()) else {
                    continue;
                };
                let place = Place::Memory(data.address + skip);
                parts.push(Part { offset, bytes, place });
            }
        }
        Work::Nop | Work::Atomic { .. } => {}
    }
    parts
}
