//! Fetching: the doorbell record, then one entry, its checks, and the faults planned for it.

use crate::bus::{Bus, Purpose};
use crate::error::{Cause, Violation};
use crate::execute::Act;
use crate::fault::FaultAction;
use crate::network::Network;
use crate::queue::{Outcome, Outstanding, Pieces, QueueState};
use crate::retire::{digest, DIGEST_START};
use crate::wqe::{self, DataSegment, Fence, Header, Payload, Work, BLOCK_BYTES};

impl Network {
    pub(crate) fn fetch(&mut self, queue: usize, bus: &mut dyn Bus) -> (u16, Act) {
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
            entry.inject(action);
        }
        entry
    }

    /// Reads basic blocks from a position on, beyond those already in `bytes`.
    pub(crate) fn read_blocks(
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

    fn fail_entry(&mut self, queue: usize, entry: &mut Outstanding, cause: Cause) {
        if self.queues[queue].state == QueueState::Error {
            entry.outcome = Outcome::FLUSHED;
            return;
        }
        let syndrome = cause.local_syndrome();
        entry.outcome = Outcome::Failed { syndrome, cause, refused_by_peer: false };
    }
}

impl Outstanding {
    /// An entry of which nothing is known but where it lies.
    pub(crate) fn new(position: u16) -> Outstanding {
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
            patience: 0,
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

    fn inject(&mut self, action: FaultAction) {
        match action {
            FaultAction::DropToError { syndrome } => {
                let cause = Cause::Planned;
                self.outcome = Outcome::Failed { syndrome, cause, refused_by_peer: false };
            }
            FaultAction::Stall => {
                self.stalled = true;
                self.outcome = Outcome::Pending;
            }
            FaultAction::CorruptKey => match &mut self.work {
                Work::Nop => {}
                Work::Write { remote, .. } | Work::Read { remote, .. } | Work::Atomic { remote, .. } => {
                    remote.rkey ^= 1
                }
            },
            FaultAction::LoseSignal => self.lost = matches!(self.work, Work::Atomic { .. }),
        }
    }
}
