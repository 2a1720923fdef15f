//! What a network, a queue pair and a registration are made of.

use std::fmt;

use crate::error::ConfigError;

/// One device of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NicId(pub u32);

impl fmt::Display for NicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nic {}", self.0)
    }
}

/// A queue pair's 24-bit number. It is unique in a network, not only on its device, so that a
/// doorbell rung at the wrong device is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueuePairNumber(pub u32);

impl fmt::Display for QueuePairNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue pair {:#x}", self.0)
    }
}

/// What a network keeps of the order in which one queue pair's writes were posted. Atomics and
/// completions are in order in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// Entries execute one after another, the pieces of a write by ascending address.
    InOrder,
    /// Pieces of all outstanding writes are placed in any order, also before earlier atomics and
    /// reads; as under adaptive routing.
    WritesUnordered,
}

/// The behaviour of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Order among the writes of one queue pair.
    pub ordering: Ordering,
    /// A write is placed in pieces of this many bytes (the path's packet size); a write that would
    /// give more than 64 pieces is cut into larger ones.
    pub max_write_piece_bytes: u32,
    /// Entries of one queue pair that are fetched but not retired.
    pub max_outstanding: u32,
    /// A device at work on a queue pair may read the doorbell record again at any time, so it may
    /// fetch entries whose doorbell has not come yet.
    pub read_before_post: bool,
    /// Before a device retires a write it may, as one that retransmits would, read the entry and
    /// the payload again; [`crate::Violation::EntryChanged`] and
    /// [`crate::Violation::SourceChanged`] tell when they are no longer what was sent.
    pub retransmit: bool,
    /// A request may be done at the peer long before this side retires and completes it, as when an
    /// acknowledgement is late: up to [`NetworkConfig::patience`] acts of its queue pair pass.
    pub late_completions: bool,
}

impl NetworkConfig {
    /// Most acts that a late completion lets pass.
    pub const MAX_PATIENCE: u16 = 1023;

    /// Most acts that this queue pair lets pass: some are never late, some a little, some much, so that one falls behind
    /// while others go on.
    pub fn patience(number: QueuePairNumber) -> u16 {
        [0, 63, NetworkConfig::MAX_PATIENCE][number.0 as usize % 3]
    }
}

impl Default for NetworkConfig {
    fn default() -> NetworkConfig {
        NetworkConfig {
            ordering: Ordering::InOrder,
            max_write_piece_bytes: 4096,
            max_outstanding: 16,
            read_before_post: false,
            retransmit: false,
            late_completions: false,
        }
    }
}

/// Where the memory of a queue pair lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The send queue: basic blocks of 64 bytes; aligned to 64.
    pub send_queue_address: u64,
    /// Basic blocks in the send queue: a power of two, at most [`QueueConfig::MAX_ENTRIES`].
    pub send_queue_entries: u32,
    /// The doorbell record: 8 bytes, aligned to 8; the send counter is the big-endian word at +4.
    pub doorbell_record_address: u64,
    /// The completion queue: entries of 64 bytes; aligned to 64.
    pub completion_queue_address: u64,
    /// Entries of the completion queue: a power of two. A collapsed queue has memory for one, and
    /// this number only says when the owner bit turns.
    pub completion_queue_entries: u32,
    /// Every completion is written into entry 0, and may overwrite one not yet seen.
    pub collapsed: bool,
    /// Where the consumer of a completion ring that is not collapsed leaves its count, a
    /// big-endian word, aligned to 8; without it the ring can be filled once.
    pub completion_record_address: Option<u64>,
}

impl QueueConfig {
    /// The most basic blocks of a send queue: positions are 16-bit, and a counter that is ahead by
    /// a whole queue must differ from one that is behind by as much.
    pub const MAX_ENTRIES: u32 = 1 << 14;

    /// A queue pair with a collapsed completion queue, as the kernels use it.
    pub fn collapsed(
        send_queue_address: u64,
        send_queue_entries: u32,
        doorbell_record_address: u64,
        completion_entry_address: u64,
    ) -> QueueConfig {
        QueueConfig {
            send_queue_address,
            send_queue_entries,
            doorbell_record_address,
            completion_queue_address: completion_entry_address,
            completion_queue_entries: send_queue_entries,
            collapsed: true,
            completion_record_address: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let limit = QueueConfig::MAX_ENTRIES;
        entries("send_queue_entries", self.send_queue_entries, limit)?;
        let completions = self.completion_queue_entries;
        entries("completion_queue_entries", completions, 1 << 22)?;
        aligned("send_queue_address", self.send_queue_address, 64)?;
        aligned("doorbell_record_address", self.doorbell_record_address, 8)?;
        aligned("completion_queue_address", self.completion_queue_address, 64)?;
        if let Some(record) = self.completion_record_address {
            aligned("completion_record_address", record, 8)?;
        }
        let stored = if self.collapsed { 1 } else { completions };
        let spans = [
            ("send_queue_address", self.send_queue_address, self.send_queue_entries),
            ("completion_queue_address", self.completion_queue_address, stored),
        ];
        for (what, address, entries) in spans {
            let bytes = u64::from(entries) * 64;
            if address.checked_add(bytes).is_none() {
                return Err(ConfigError::PastEnd { what, address, bytes });
            }
        }
        Ok(())
    }
}

fn entries(what: &'static str, have: u32, max: u32) -> Result<(), ConfigError> {
    if have.is_power_of_two() && have <= max {
        return Ok(());
    }
    Err(ConfigError::Entries { what, have, max })
}

fn aligned(what: &'static str, address: u64, alignment: u64) -> Result<(), ConfigError> {
    if address.is_multiple_of(alignment) {
        return Ok(());
    }
    Err(ConfigError::Misaligned { what, address, alignment })
}

/// A queue pair as its owner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePair {
    /// Its number: in every entry and doorbell.
    pub number: QueuePairNumber,
    /// The device that it lives on.
    pub nic: NicId,
    /// Where in the device's doorbell page its 8-byte doorbell is stored.
    pub doorbell_offset_bytes: u64,
}

/// What registered memory may be used for. The device may always read it for a write that its own
/// side posts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Results of reads and atomics may be written to it.
    pub local_write: bool,
    /// A peer may write it.
    pub remote_write: bool,
    /// A peer may run atomics on it.
    pub remote_atomic: bool,
    /// A peer may read it.
    pub remote_read: bool,
}

impl Rights {
    /// All rights: what a window has.
    pub fn all() -> Rights {
        Rights { local_write: true, remote_write: true, remote_atomic: true, remote_read: true }
    }

    /// Remote writes and atomics: what the target of puts and signals needs.
    pub fn remote() -> Rights {
        Rights { remote_read: false, ..Rights::all() }
    }
}
