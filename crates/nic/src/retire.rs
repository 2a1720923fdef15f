//! Retiring, in order: completions, and the last look at what was sent.

use crate::bus::{pick, Bus, Choose, Purpose};
use crate::cqe::{self, Completion};
use crate::error::{Cause, Failure, Violation};
use crate::execute::{parts, Act, Part, Place};
use crate::network::{Network, MAX_RECORDS};
use crate::queue::{Outcome, Outstanding, QueueState};
use crate::wqe::{self, Work};

impl Network {
    pub(crate) fn retire(&mut self, queue: usize, bus: &mut dyn Bus, choose: &mut dyn Choose) -> (u16, Act) {
        self.fail(queue);
        // Retire is offered only with a finished entry at the front.
        let Some(mut entry) = self.queues[queue].window.pop_front() else {
            return (self.queues[queue].next, Act::Retired);
        };
        let position = entry.position;
        // What is sent again is sent late.
        if entry.outcome == Outcome::Done && entry.patience > 0 {
            entry.patience -= 1;
            self.queues[queue].window.push_front(entry);
            return (position, Act::Late);
        }
        let is_write = matches!(entry.work, Work::Write { .. });
        let may_read_again = self.config.retransmit && is_write && !entry.checked && entry.outcome == Outcome::Done;
        if may_read_again && pick(choose, 2) == 1 {
            self.read_again(queue, &entry, bus);
            entry.checked = true;
            self.queues[queue].window.push_front(entry);
            return (position, Act::ReadAgain);
        }
        let (syndrome, cause) = match entry.outcome {
            Outcome::Failed { syndrome, cause, .. } => (syndrome, Some(cause)),
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
        (position, act)
    }

    /// When the oldest entry failed: this queue pair goes to error, and with it a peer that refused
    /// the request. Only now, since what is earlier was to succeed.
    fn fail(&mut self, queue: usize) {
        let state = &mut self.queues[queue];
        let Some(entry) = state.window.front() else {
            return;
        };
        let Outcome::Failed { syndrome, cause, refused_by_peer } = entry.outcome else {
            return;
        };
        if cause == Cause::Flushed {
            return;
        }
        let failure = Failure {
            nic: state.nic,
            queue_pair: state.number,
            position: entry.position,
            opcode: entry.opcode,
            syndrome,
            cause,
        };
        if self.failures.len() < MAX_RECORDS {
            self.failures.push(failure);
        }
        if state.state == QueueState::ReadyToSend {
            state.enter_error();
        }
        if let Some(peer) = state.peer.filter(|_| refused_by_peer) {
            let other = &mut self.queues[peer];
            if other.peer == Some(queue) && other.state == QueueState::ReadyToSend {
                other.enter_error();
                self.update(peer);
            }
        }
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

    pub(crate) fn digest_part(
        &mut self,
        queue: usize,
        part: &Part<'_>,
        mut state: u64,
        bus: &mut dyn Bus,
    ) -> Result<u64, Cause> {
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

pub(crate) const DIGEST_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: told apart are accidental changes, not attacks.
pub(crate) fn digest(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
