//! One act of a device: fetching, placing, atomics, retiring.

use crate::bus::{pick, Agent, Bus, BusFault, Choose, Purpose};
use crate::config::{NicId, Ordering, QueuePairNumber};
use crate::cqe::{self, Completion};
use crate::error::{Cause, Failure, Violation};
use crate::fault::FaultAction;
use crate::network::{Network, MAX_RECORDS};
use crate::queue::{Action, Outcome, Outstanding, Pieces, QueueState};
use crate::region::Use;
use crate::wqe::{self, AtomicOperation, DataSegment, Fence, Header, Payload, Remote, Work, BLOCK_BYTES};

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
        let (position, act) = match action {
            Action::Retire => self.retire(queue, bus, choose),
            Action::Execute(place) => self.execute(queue, place, bus, choose),
            Action::Fetch => self.fetch(queue, bus),
        };
        self.queues[queue].looked = act == Act::ReadRecord;
        self.pace(queue);
        self.update(queue);
        StepOutcome::Did(Event { nic: self.queues[queue].nic, queue_pair: self.queues[queue].number, position, act })
    }

    fn agent(&self, queue: usize, purpose: Purpose) -> Agent {
        Agent { nic: self.queues[queue].nic, queue_pair: self.queues[queue].number, purpose }
    }

    fn memory_violation(&mut self, agent: Agent, fault: BusFault) -> Cause {
        self.violate(Violation::Memory { agent, fault });
        Cause::Memory(fault)
    }

    // Fetching

    fn fetch(&mut self, queue: usize, bus: &mut dyn Bus) -> (u16, Act) {
        if self.queues[queue].rung || self.config.read_before_post {
            if let Err(violation) = self.read_record(queue, bus) {
                self.violate(violation);
                // What is posted is not known any more: nothing is fetched, the rest is flushed.
                let state = &mut self.queues[queue];
                state.rung = false;
                state.producer = state.next;
                state.enter_error();
                return (state.next, Act::ReadRecord);
            }
        }
        let state = &self.queues[queue];
        if state.producer == state.next {
            return (state.producer, Act::ReadRecord);
        }
        let entry = self.fetch_entry(queue, bus);
        let state = &mut self.queues[queue];
        let (position, opcode) = (entry.position, entry.opcode);
        state.next = state.next.wrapping_add(entry.blocks);
        state.counters.entries_fetched += 1;
        if state.state == QueueState::ReadyToSend {
            state.failing |= matches!(entry.outcome, Outcome::Failed { .. });
        }
        state.window.push_back(entry);
        (position, Act::Fetched { opcode })
    }

    fn read_record(&mut self, queue: usize, bus: &mut dyn Bus) -> Result<(), Violation> {
        let agent = self.agent(queue, Purpose::DoorbellRecord);
        let record = self.queues[queue].config.doorbell_record_address;
        let mut counter = [0; 4];
        bus.read(agent, record + wqe::RECORD_SEND_COUNTER_OFFSET, &mut counter)
            .map_err(|fault| Violation::Memory { agent, fault })?;
        self.queues[queue].read_record(u32::from_be_bytes(counter) as u16)
    }

    /// The next entry. One that cannot be fetched or understood comes back as failed.
    fn fetch_entry(&mut self, queue: usize, bus: &mut dyn Bus) -> Outstanding {
        let state = &self.queues[queue];
        let (position, number, nic) = (state.next, state.number, state.nic);
        let posted = state.producer.wrapping_sub(position);
        let flushing = state.state == QueueState::Error;
        let mut entry = Outstanding::new(position);
        let mut bytes = Vec::new();
        if let Err(cause) = self.read_blocks(queue, position, 1, &mut bytes, bus) {
            self.fail_entry(queue, &mut entry, cause);
            return entry;
        }
        let mut first = [0; 8];
        first.copy_from_slice(&bytes[..8]);
        let header = Header::decode(first);
        entry.opcode = header.opcode;
        entry.completion = bytes[wqe::FENCE_COMPLETION_OFFSET] >> 2 & 3;
        let length_sound = (1..=posted).contains(&header.blocks());
        if flushing {
            entry.blocks = if length_sound { header.blocks() } else { 1 };
            entry.outcome = Outcome::FLUSHED;
            return entry;
        }
        let violation = if header.queue_pair != number {
            Some(Violation::EntryOfOther { queue_pair: number, position, found: header.queue_pair })
        } else if header.position != position {
            Some(Violation::EntryPosition { queue_pair: number, expected: position, found: header.position })
        } else if !length_sound {
            Some(Violation::EntryLength { queue_pair: number, position, blocks: header.blocks(), posted })
        } else {
            None
        };
        if let Some(violation) = violation {
            self.violate(violation);
            self.fail_entry(queue, &mut entry, Cause::Posting);
            return entry;
        }
        entry.blocks = header.blocks();
        if let Err(cause) = self.read_blocks(queue, position, entry.blocks, &mut bytes, bus) {
            self.fail_entry(queue, &mut entry, cause);
            return entry;
        }
        match wqe::decode(&bytes) {
            Ok(request) => {
                entry.fence = request.fence;
                entry.accept(request.work, self.config.max_write_piece_bytes);
            }
            Err(error) => {
                self.violate(Violation::Entry { queue_pair: number, position, error });
                self.fail_entry(queue, &mut entry, Cause::Entry(error));
                return entry;
            }
        }
        if self.config.retransmit {
            entry.entry_digest = digest(DIGEST_START, &bytes);
            entry.piece_digests = vec![DIGEST_START; entry.pieces.count() as usize];
        }
        let opcode = entry.opcode;
        if let Some(action) = self.faults.meet(nic, number, position, opcode, &entry.work) {
            self.inject(queue, &mut entry, action);
        }
        entry
    }

    /// Reads basic blocks from a position on, beyond those already in `bytes`.
    fn read_blocks(
        &mut self,
        queue: usize,
        position: u16,
        blocks: u16,
        bytes: &mut Vec<u8>,
        bus: &mut dyn Bus,
    ) -> Result<(), Cause> {
        let agent = self.agent(queue, Purpose::Entry);
        let config = self.queues[queue].config;
        for block in (bytes.len() / BLOCK_BYTES) as u16..blocks {
            let place = u32::from(position.wrapping_add(block)) & (config.send_queue_entries - 1);
            let address = config.send_queue_address + u64::from(place) * BLOCK_BYTES as u64;
            let mut into = [0; BLOCK_BYTES];
            bus.read(agent, address, &mut into).map_err(|fault| self.memory_violation(agent, fault))?;
            bytes.extend_from_slice(&into);
        }
        Ok(())
    }

    fn inject(&mut self, queue: usize, entry: &mut Outstanding, action: FaultAction) {
        match action {
            FaultAction::DropToError { syndrome } => {
                let cause = Cause::Planned;
                self.record_failure(queue, entry, syndrome, cause);
                entry.outcome = Outcome::Failed { syndrome, cause };
            }
            FaultAction::Stall => {
                entry.stalled = true;
                entry.outcome = Outcome::Pending;
            }
            FaultAction::CorruptKey => match &mut entry.work {
                Work::Nop => {}
                Work::Write { remote, .. } | Work::Read { remote, .. } | Work::Atomic { remote, .. } => {
                    remote.rkey ^= 1
                }
            },
            FaultAction::LoseSignal => entry.lost = matches!(entry.work, Work::Atomic { .. }),
        }
    }

    fn fail_entry(&mut self, queue: usize, entry: &mut Outstanding, cause: Cause) {
        if self.queues[queue].state == QueueState::Error {
            entry.outcome = Outcome::FLUSHED;
            return;
        }
        let syndrome = cause.local_syndrome();
        self.record_failure(queue, entry, syndrome, cause);
        entry.outcome = Outcome::Failed { syndrome, cause };
    }

    fn record_failure(&mut self, queue: usize, entry: &Outstanding, syndrome: u8, cause: Cause) {
        if self.failures.len() == MAX_RECORDS {
            return;
        }
        self.failures.push(Failure {
            nic: self.queues[queue].nic,
            queue_pair: self.queues[queue].number,
            position: entry.position,
            opcode: entry.opcode,
            syndrome,
            cause,
        });
    }

    // Executing

    fn execute(&mut self, queue: usize, place: usize, bus: &mut dyn Bus, choose: &mut dyn Choose) -> (u16, Act) {
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
                    self.count(queue, &entry);
                }
                act
            }
            Err(refusal) => {
                let cause = refusal.cause;
                let syndrome = if refusal.remote { cause.remote_syndrome() } else { cause.local_syndrome() };
                self.record_failure(queue, &entry, syndrome, cause);
                entry.outcome = Outcome::Failed { syndrome, cause };
                self.queues[queue].failing = true;
                if refusal.remote && !matches!(cause, Cause::PeerDown { .. }) {
                    self.fail_responder(queue);
                }
                Act::Failed { syndrome }
            }
        };
        self.queues[queue].window[place] = entry;
        (position, act)
    }

    /// The responder of a refused request goes to error too.
    fn fail_responder(&mut self, queue: usize) {
        if let Some(peer) = self.queues[queue].peer {
            self.queues[peer].enter_error();
            self.update(peer);
        }
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

    // Retiring

    fn retire(&mut self, queue: usize, bus: &mut dyn Bus, choose: &mut dyn Choose) -> (u16, Act) {
        // Retire is offered only with a finished entry at the front.
        let Some(mut entry) = self.queues[queue].window.pop_front() else {
            return (self.queues[queue].next, Act::Retired);
        };
        let position = entry.position;
        let is_write = matches!(entry.work, Work::Write { .. });
        let may_read_again = self.config.retransmit && is_write && !entry.checked && entry.outcome == Outcome::Done;
        if may_read_again && pick(choose, 2) == 1 {
            self.read_again(queue, &entry, bus);
            entry.checked = true;
            self.queues[queue].window.push_front(entry);
            return (position, Act::ReadAgain);
        }
        let (syndrome, cause) = match entry.outcome {
            Outcome::Failed { syndrome, cause } => (syndrome, Some(cause)),
            Outcome::Done | Outcome::Pending => (0, None),
        };
        let wanted = match (cause, entry.completion) {
            (_, wqe::COMPLETION_ALWAYS | wqe::COMPLETION_AND_EVENT) => true,
            (None, _) => false,
            (Some(Cause::Flushed), wqe::COMPLETION_ON_FIRST_ERROR) => false,
            (Some(_), _) => true,
        };
        let act = if wanted {
            self.complete(queue, &entry, syndrome, cause, bus);
            Act::Completed { syndrome }
        } else {
            Act::Retired
        };
        if cause.is_some() && self.queues[queue].state == QueueState::ReadyToSend {
            self.queues[queue].enter_error();
        }
        (position, act)
    }

    fn complete(&mut self, queue: usize, entry: &Outstanding, syndrome: u8, cause: Option<Cause>, bus: &mut dyn Bus) {
        if self.queues[queue].completions_dead {
            return;
        }
        let written = self.write_completion(queue, entry, syndrome, cause, bus);
        let state = &mut self.queues[queue];
        if let Err(violation) = written {
            // Without completions the owner learns nothing more; the violation tells.
            state.completions_dead = true;
            state.enter_error();
            self.violate(violation);
            return;
        }
        state.produced = state.produced.wrapping_add(1);
        state.completed = entry.position.wrapping_add(entry.blocks);
        if cause.is_some() {
            state.counters.errors += 1;
        } else {
            state.counters.completions += 1;
        }
    }

    fn write_completion(
        &mut self,
        queue: usize,
        entry: &Outstanding,
        syndrome: u8,
        cause: Option<Cause>,
        bus: &mut dyn Bus,
    ) -> Result<(), Violation> {
        let state = &self.queues[queue];
        let (config, produced, number) = (state.config, state.produced, state.number);
        let entries = config.completion_queue_entries;
        if !config.collapsed {
            let consumed = self.consumed(queue, bus)?;
            let waiting = produced.wrapping_sub(consumed) & 0x00ff_ffff;
            if waiting >= entries {
                return Err(Violation::CompletionOverrun { queue_pair: number, produced, consumed, entries });
            }
        }
        let completion = Completion {
            opcode: match cause {
                None => cqe::OPCODE_REQUEST,
                Some(_) => cqe::OPCODE_REQUEST_ERROR,
            },
            owner: produced & entries != 0,
            entry_opcode: entry.opcode,
            queue_pair: number,
            entry_counter: entry.position,
            byte_count: match &entry.work {
                Work::Atomic { .. } => 8,
                Work::Read { .. } => entry.pieces.message_bytes as u32,
                Work::Nop | Work::Write { .. } => 0,
            },
            syndrome,
            vendor_syndrome: cause.map_or(0, |cause| cause.vendor_syndrome()),
        };
        let place = if config.collapsed { 0 } else { u64::from(produced & (entries - 1)) };
        let address = config.completion_queue_address + place * cqe::ENTRY_BYTES as u64;
        let agent = self.agent(queue, Purpose::Completion);
        bus.write(agent, address, &completion.encode()).map_err(|fault| Violation::Memory { agent, fault })
    }

    /// What the consumer of the completion ring took, as it says.
    fn consumed(&self, queue: usize, bus: &mut dyn Bus) -> Result<u32, Violation> {
        let Some(record) = self.queues[queue].config.completion_record_address else {
            return Ok(0);
        };
        let agent = self.agent(queue, Purpose::CompletionRecord);
        let mut counter = [0; 4];
        bus.read(agent, record, &mut counter).map_err(|fault| Violation::Memory { agent, fault })?;
        Ok(u32::from_be_bytes(counter))
    }

    /// Reads an entry and its payload as a device that sends them once more would.
    fn read_again(&mut self, queue: usize, entry: &Outstanding, bus: &mut dyn Bus) {
        let (number, position) = (self.queues[queue].number, entry.position);
        let mut bytes = Vec::new();
        let read = self.read_blocks(queue, position, entry.blocks, &mut bytes, bus);
        if read.is_ok() && digest(DIGEST_START, &bytes) != entry.entry_digest {
            self.violate(Violation::EntryChanged { queue_pair: number, position });
        }
        for (piece, &sent) in entry.piece_digests.iter().enumerate() {
            let (offset_bytes, length) = entry.pieces.range(piece as u64);
            let mut seen = DIGEST_START;
            for part in parts(&entry.work, offset_bytes, length) {
                match self.digest_part(queue, &part, seen, bus) {
                    Ok(next) => seen = next,
                    Err(_) => return,
                }
            }
            if seen != sent {
                return self.violate(Violation::SourceChanged { queue_pair: number, position, offset_bytes });
            }
        }
    }

    fn digest_part(&mut self, queue: usize, part: &Part<'_>, mut state: u64, bus: &mut dyn Bus) -> Result<u64, Cause> {
        let here = match part.place {
            Place::Inline(payload) => return Ok(digest(state, payload)),
            Place::Memory(here) => here,
        };
        let agent = self.agent(queue, Purpose::Payload);
        let mut buffer = [0; 1024];
        let mut done = 0;
        while done < part.bytes {
            let now = (part.bytes - done).min(buffer.len() as u64);
            let into = &mut buffer[..now as usize];
            bus.read(agent, here + done, into).map_err(|fault| self.memory_violation(agent, fault))?;
            state = digest(state, into);
            done += now;
        }
        Ok(state)
    }
}

impl Outstanding {
    /// An entry of which nothing is known but where it lies.
    fn new(position: u16) -> Outstanding {
        Outstanding {
            position,
            blocks: 1,
            opcode: wqe::OPCODE_NOP,
            completion: wqe::COMPLETION_ON_ERROR,
            fence: Fence::None,
            work: Work::Nop,
            outcome: Outcome::Pending,
            stalled: false,
            lost: false,
            pieces: Pieces::default(),
            entry_digest: 0,
            piece_digests: Vec::new(),
            checked: false,
        }
    }

    fn accept(&mut self, work: Work, max_piece_bytes: u32) {
        let message_bytes = match &work {
            Work::Nop | Work::Atomic { .. } => 0,
            Work::Write { payload, .. } => payload.iter().map(Payload::length_bytes).sum(),
            Work::Read { into, .. } => into.iter().map(DataSegment::length_bytes).sum(),
        };
        self.pieces = Pieces::new(message_bytes, u64::from(max_piece_bytes));
        self.work = work;
    }
}

/// What one segment has of a piece.
struct Part<'a> {
    /// From the message's start.
    offset: u64,
    bytes: u64,
    place: Place<'a>,
}

enum Place<'a> {
    Memory(u64),
    Inline(&'a [u8]),
}

/// The parts of a piece, in order.
fn parts(work: &Work, offset: u64, bytes: u64) -> Vec<Part<'_>> {
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

const DIGEST_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: told apart are accidental changes, not attacks.
fn digest(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
