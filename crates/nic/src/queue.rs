//! A queue pair's state: positions, and the entries that are fetched but not retired.

use std::collections::VecDeque;

use crate::config::{NetworkConfig, NicId, Ordering, QueueConfig, QueuePairNumber};
use crate::counters::Counters;
use crate::cqe;
use crate::error::{Cause, Violation};
use crate::wqe::{Fence, Work};

/// What a queue pair can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueState {
    /// Not connected.
    Reset,
    /// Connected and at work.
    ReadyToSend,
    /// A request failed, here or at the peer: all that is posted completes as flushed.
    Error,
}

/// How far a fetched entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pending,
    Done,
    Failed { syndrome: u8, cause: Cause, refused_by_peer: bool },
}

impl Outcome {
    pub(crate) const FLUSHED: Outcome =
        Outcome::Failed { syndrome: cqe::SYNDROME_FLUSHED, cause: Cause::Flushed, refused_by_peer: false };
}

/// How far a position is ahead of another, or behind it when negative. Positions in use are less
/// than 2^15 apart.
fn ahead(position: u16, of: u16) -> i32 {
    i32::from(position.wrapping_sub(of) as i16)
}

/// A fetched entry.
#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    pub(crate) position: u16,
    pub(crate) blocks: u16,
    pub(crate) opcode: u8,
    /// `ce` of the control segment.
    pub(crate) completion: u8,
    pub(crate) fence: Fence,
    pub(crate) work: Work,
    pub(crate) outcome: Outcome,
    /// A planned fault: neither this nor anything after it moves.
    pub(crate) stalled: bool,
    /// A planned fault: completes without being performed.
    pub(crate) lost: bool,
    pub(crate) pieces: Pieces,
    /// Digest of the entry, when the device may read it again.
    pub(crate) entry_digest: u64,
    /// Digests of the pieces of a write, when the device may read them again.
    pub(crate) piece_digests: Vec<u64>,
    /// The device has read again what it may.
    pub(crate) checked: bool,
    /// Acts that still pass before it is retired.
    pub(crate) patience: u16,
}

/// The most pieces of one message.
pub(crate) const MAX_PIECES: u64 = 64;

/// A message cut into pieces, and which are placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pieces {
    pub(crate) message_bytes: u64,
    piece_bytes: u64,
    /// One bit for each piece that is not placed.
    left: u64,
}

impl Pieces {
    pub(crate) fn new(message_bytes: u64, max_piece_bytes: u64) -> Pieces {
        if message_bytes == 0 {
            return Pieces::default();
        }
        let fewest = message_bytes.div_ceil(MAX_PIECES).next_multiple_of(cqe::ENTRY_BYTES as u64);
        let piece_bytes = if message_bytes.div_ceil(max_piece_bytes) > MAX_PIECES { fewest } else { max_piece_bytes };
        let count = message_bytes.div_ceil(piece_bytes);
        Pieces { message_bytes, piece_bytes, left: u64::MAX >> (MAX_PIECES - count) }
    }

    pub(crate) fn left(&self) -> usize {
        self.left.count_ones() as usize
    }

    pub(crate) fn count(&self) -> u64 {
        if self.message_bytes == 0 {
            return 0;
        }
        self.message_bytes.div_ceil(self.piece_bytes)
    }

    /// Offset and length of a piece.
    pub(crate) fn range(&self, piece: u64) -> (u64, u64) {
        let start = piece * self.piece_bytes;
        (start, self.piece_bytes.min(self.message_bytes - start))
    }

    /// Takes the nth piece of those left.
    pub(crate) fn take(&mut self, nth: usize) -> Option<u64> {
        let mut rest = self.left;
        for _ in 0..nth {
            rest &= rest.wrapping_sub(1);
        }
        if rest == 0 {
            return None;
        }
        let piece = u64::from(rest.trailing_zeros());
        self.left &= !(1 << piece);
        Some(piece)
    }
}

/// One thing that a queue pair can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Retire the oldest entry.
    Retire,
    /// Work on the entry at this place of the window.
    Execute(usize),
    /// Read the record or fetch an entry.
    Fetch,
}

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) number: QueuePairNumber,
    pub(crate) nic: NicId,
    pub(crate) config: QueueConfig,
    pub(crate) state: QueueState,
    pub(crate) peer: Option<usize>,
    /// Not destroyed.
    pub(crate) live: bool,
    /// A doorbell came since the record was read.
    pub(crate) rung: bool,
    /// The record was read in vain since the queue pair last did something else: so the devices of
    /// an idle network come to rest.
    pub(crate) looked: bool,
    /// The send counter of the doorbells.
    pub(crate) doorbell: u16,
    /// The send counter as the record said.
    pub(crate) producer: u16,
    /// The position to fetch next.
    pub(crate) next: u16,
    /// Entries before this were reported as complete.
    pub(crate) completed: u16,
    pub(crate) window: VecDeque<Outstanding>,
    /// Completion entries written.
    pub(crate) produced: u32,
    /// No completion can be written any more.
    pub(crate) completions_dead: bool,
    pub(crate) delay_ticks: u64,
    pub(crate) not_before: u64,
    pub(crate) counters: Counters,
}

impl Queue {
    pub(crate) fn new(number: QueuePairNumber, nic: NicId, config: QueueConfig) -> Queue {
        Queue {
            number,
            nic,
            config,
            state: QueueState::Reset,
            peer: None,
            live: true,
            rung: false,
            looked: false,
            doorbell: 0,
            producer: 0,
            next: 0,
            completed: 0,
            window: VecDeque::new(),
            produced: 0,
            completions_dead: false,
            delay_ticks: 0,
            not_before: 0,
            counters: Counters::default(),
        }
    }

    /// Back to what [`Queue::new`] gave; delay and counts stay.
    pub(crate) fn reset(&mut self) {
        *self = Queue {
            delay_ticks: self.delay_ticks,
            counters: self.counters,
            ..Queue::new(self.number, self.nic, self.config)
        };
    }

    /// Accepts the send counter of a doorbell. It may be behind what was read from the record.
    pub(crate) fn ring(&mut self, counter: u16) -> Result<(), Violation> {
        let entries = self.config.send_queue_entries as i32;
        let backward = ahead(counter, self.doorbell) < 0;
        if backward || ahead(counter, self.completed) > entries {
            return Err(self.send_counter(counter, self.doorbell));
        }
        self.doorbell = counter;
        self.rung = true;
        self.counters.doorbells += 1;
        Ok(())
    }

    /// Accepts the send counter of the record.
    pub(crate) fn read_record(&mut self, counter: u16) -> Result<(), Violation> {
        let rung = std::mem::replace(&mut self.rung, false);
        if rung && ahead(counter, self.doorbell) < 0 {
            return Err(Violation::RecordBehindDoorbell {
                queue_pair: self.number,
                record: counter,
                doorbell: self.doorbell,
            });
        }
        let entries = self.config.send_queue_entries as i32;
        let backward = ahead(counter, self.producer) < 0;
        if backward || ahead(counter, self.completed) > entries {
            return Err(self.send_counter(counter, self.producer));
        }
        self.producer = counter;
        Ok(())
    }

    fn send_counter(&self, counter: u16, known: u16) -> Violation {
        Violation::SendCounter {
            queue_pair: self.number,
            counter,
            completed: self.completed,
            known,
            entries: self.config.send_queue_entries,
        }
    }

    /// All that can be done now, oldest work first; replaces what `actions` held.
    pub(crate) fn actions(&self, config: &NetworkConfig, actions: &mut Vec<Action>) {
        actions.clear();
        if self.state == QueueState::Reset || !self.live {
            return;
        }
        if let Some(oldest) = self.window.front() {
            if !matches!(oldest.outcome, Outcome::Pending) {
                actions.push(Action::Retire);
            }
        }
        self.executable(config.ordering, actions);
        let full = self.window.len() >= config.max_outstanding as usize;
        // Nothing is fetched after a stalled entry, so it is the last.
        let stalled = self.window.back().is_some_and(|entry| entry.stalled);
        if full || stalled {
            return;
        }
        let may_look = config.read_before_post && !self.window.is_empty() && !self.looked;
        if self.rung || self.producer != self.next || may_look {
            actions.push(Action::Fetch);
        }
    }

    fn executable(&self, ordering: Ordering, actions: &mut Vec<Action>) {
        let mut earlier_done = true;
        let mut earlier_results_done = true;
        for (place, entry) in self.window.iter().enumerate() {
            match entry.outcome {
                Outcome::Done => continue,
                Outcome::Failed { .. } => return,
                Outcome::Pending => {}
            }
            if entry.stalled {
                return;
            }
            let is_write = matches!(entry.work, Work::Write { .. });
            let may_overtake = ordering == Ordering::WritesUnordered && is_write;
            let fence_open = match entry.fence {
                Fence::None => true,
                Fence::ReadsAndAtomics => earlier_results_done,
                Fence::All => earlier_done,
            };
            if earlier_done || may_overtake && fence_open {
                actions.push(Action::Execute(place));
            }
            earlier_done = false;
            earlier_results_done &= is_write;
            if ordering == Ordering::InOrder {
                return;
            }
        }
    }

    /// Completes what is done, then the first failure as it is, and flushes what follows, done or
    /// not.
    pub(crate) fn enter_error(&mut self) {
        self.state = QueueState::Error;
        let mut flush = false;
        for entry in &mut self.window {
            match entry.outcome {
                Outcome::Done if !flush => {}
                Outcome::Failed { .. } if !flush => flush = true,
                _ => {
                    entry.outcome = Outcome::FLUSHED;
                    entry.stalled = false;
                    flush = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over lengths around each boundary: pieces cover the message once, in whatever order they
    /// are taken, are as long as asked for if 64 are enough, and else start at multiples of 64.
    #[test]
    fn pieces_cover_a_message_once() {
        for max_piece_bytes in [1, 3, 64, 100, 4096] {
            let full = MAX_PIECES * max_piece_bytes;
            for message_bytes in [0, 1, 2, 63, 64, 65, full - 1, full, full + 1, 5 * full, 1 << 31] {
                let mut pieces = Pieces::new(message_bytes, max_piece_bytes);
                assert!(pieces.count() <= MAX_PIECES);
                assert_eq!(pieces.left() as u64, pieces.count());
                let (mut covered, mut starts) = (0, Vec::new());
                while let Some(piece) = pieces.take(pieces.left() / 2) {
                    let (start, bytes) = pieces.range(piece);
                    assert!(bytes > 0);
                    covered += bytes;
                    starts.push(start);
                    let alignment = if message_bytes <= full { max_piece_bytes } else { 64 };
                    assert_eq!(start % alignment, 0);
                    if message_bytes <= full {
                        assert!(bytes <= max_piece_bytes);
                    }
                }
                assert_eq!((covered, pieces.left()), (message_bytes, 0));
                starts.sort_unstable();
                starts.dedup();
                assert_eq!(starts.len() as u64, pieces.count());
            }
        }
    }
}
