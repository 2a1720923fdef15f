//! Errors of the caller, failures that a device reports, and violations that only a model reports.

use std::fmt;

use crate::bus::{Agent, BusFault};
use crate::config::{NicId, QueuePairNumber};
use crate::cqe::{self, syndrome_name};
use crate::queue::QueueState;
use crate::region::MemoryRegion;
use crate::wqe::{opcode_name, EntryError};

/// A call that sets something up is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such device.
    UnknownNic {
        /// The device asked for.
        nic: NicId,
        /// Devices that there are, numbered from 0.
        nics: u32,
    },
    /// No such queue pair.
    UnknownQueuePair {
        /// The number asked for.
        queue_pair: QueuePairNumber,
    },
    /// No such registration, or it was dropped.
    UnknownRegion {
        /// The registration.
        region: MemoryRegion,
    },
    /// An address is not aligned.
    Misaligned {
        /// Which address.
        what: &'static str,
        /// The address.
        address: u64,
        /// What it must be a multiple of.
        alignment: u64,
    },
    /// A number of entries is not a power of two up to `max`.
    Entries {
        /// Which number.
        what: &'static str,
        /// The number.
        have: u32,
        /// The largest that is valid.
        max: u32,
    },
    /// A parameter of the network is outside of its range.
    Range {
        /// Which parameter.
        what: &'static str,
        /// Its value.
        have: u64,
        /// The smallest valid value.
        min: u64,
        /// The largest valid value.
        max: u64,
    },
    /// Memory of no bytes.
    Empty {
        /// Which memory.
        what: &'static str,
        /// Its address.
        address: u64,
    },
    /// Memory that goes past the end of the address space.
    PastEnd {
        /// Which memory.
        what: &'static str,
        /// Its address.
        address: u64,
        /// Its length.
        bytes: u64,
    },
    /// A kind of object is used up.
    TooMany {
        /// Which kind.
        what: &'static str,
        /// How many there can be.
        limit: u64,
    },
    /// Both ends of a connection are one queue pair.
    ConnectedToItself {
        /// The queue pair.
        queue_pair: QueuePairNumber,
    },
    /// A queue pair is not in the state that the call needs.
    State {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// Its state.
        have: QueueState,
        /// The state that is needed.
        need: QueueState,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::UnknownNic { nic, nics } => write!(f, "no {nic}, there are {nics}"),
            ConfigError::UnknownQueuePair { queue_pair } => write!(f, "no {queue_pair}"),
            ConfigError::UnknownRegion { region } => {
                write!(f, "no memory region with local key {:#x}", region.lkey)
            }
            ConfigError::Misaligned { what, address, alignment } => {
                write!(f, "{what} {address:#x} is not a multiple of {alignment}")
            }
            ConfigError::Entries { what, have, max } => {
                write!(f, "{what} is {have}, valid are powers of two up to {max}")
            }
            ConfigError::Range { what, have, min, max } => write!(f, "{what} is {have}, valid are {min} to {max}"),
            ConfigError::Empty { what, address } => write!(f, "{what} at {address:#x} is empty"),
            ConfigError::PastEnd { what, address, bytes } => {
                write!(f, "{what} at {address:#x} with {bytes} bytes goes past the end")
            }
            ConfigError::TooMany { what, limit } => write!(f, "more than {limit} of {what}"),
            ConfigError::ConnectedToItself { queue_pair } => {
                write!(f, "{queue_pair} cannot be connected to itself")
            }
            ConfigError::State { queue_pair, have, need } => write!(f, "{queue_pair} is {have:?}, must be {need:?}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why a work request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The entry is not understood.
    Entry(EntryError),
    /// No live registration has this key as a key of this kind (local, remote).
    UnknownKey {
        /// The key.
        key: u32,
    },
    /// The key belongs to another device than the one that it was used at.
    KeyOfOther {
        /// The key.
        key: u32,
        /// The device that it belongs to.
        owner: NicId,
        /// The device that it was used at.
        nic: NicId,
    },
    /// The access is not inside the registration.
    OutOfBounds {
        /// The key.
        key: u32,
        /// First byte of the access.
        address: u64,
        /// Length of the access.
        bytes: u64,
        /// First byte of the registration.
        region_address: u64,
        /// Length of the registration.
        region_bytes: u64,
    },
    /// The registration does not permit the access.
    NotPermitted {
        /// The key.
        key: u32,
        /// The right that is missing.
        right: &'static str,
    },
    /// The address of an atomic is not a multiple of 8.
    MisalignedAtomic {
        /// The address.
        address: u64,
    },
    /// The peer's queue pair does not answer.
    PeerDown {
        /// The peer.
        peer: QueuePairNumber,
        /// Its state.
        state: QueueState,
    },
    /// Registered memory refused the access; a violation was recorded too.
    Memory(BusFault),
    /// The entry is not where or whose it says; a violation was recorded too.
    Posting,
    /// A fault of the plan.
    Planned,
    /// The queue pair was in error already.
    Flushed,
}

impl Cause {
    /// The model's number for the cause, in the vendor syndrome of a completion entry.
    pub fn vendor_syndrome(&self) -> u8 {
        match self {
            Cause::Entry(_) => 0x01,
            Cause::UnknownKey { .. } => 0x02,
            Cause::KeyOfOther { .. } => 0x03,
            Cause::OutOfBounds { .. } => 0x04,
            Cause::NotPermitted { .. } => 0x05,
            Cause::MisalignedAtomic { .. } => 0x06,
            Cause::PeerDown { .. } => 0x07,
            Cause::Memory(_) => 0x08,
            Cause::Posting => 0x09,
            Cause::Planned => 0x0a,
            Cause::Flushed => 0x0b,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Entry(error) => write!(f, "{error}"),
            Cause::UnknownKey { key } => write!(f, "no key {key:#x} of this kind"),
            Cause::KeyOfOther { key, owner, nic } => {
                write!(f, "key {key:#x} of {owner} used at {nic}")
            }
            Cause::OutOfBounds { key, address, bytes, region_address, region_bytes } => write!(
                f,
                "{bytes} bytes at {address:#x} under key {key:#x}, which covers \
                 {region_bytes} bytes at {region_address:#x}"
            ),
            Cause::NotPermitted { key, right } => write!(f, "key {key:#x} lacks {right}"),
            Cause::MisalignedAtomic { address } => {
                write!(f, "atomic at {address:#x}, not a multiple of 8")
            }
            Cause::PeerDown { peer, state } => write!(f, "the peer's {peer} is {state:?}"),
            Cause::Memory(fault) => write!(f, "memory refused {fault}"),
            Cause::Posting => f.write_str("posted wrongly"),
            Cause::Planned => f.write_str("planned fault"),
            Cause::Flushed => f.write_str("flushed"),
        }
    }
}

/// A work request that failed, as the device reports it and why. Flushed requests are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The device.
    pub nic: NicId,
    /// The queue pair, which is in error from then on.
    pub queue_pair: QueuePairNumber,
    /// The entry's position.
    pub position: u16,
    /// The entry's opcode.
    pub opcode: u8,
    /// What the completion entry says.
    pub syndrome: u8,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} at position {}: {} ({:#04x}): {}",
            self.queue_pair,
            opcode_name(self.opcode),
            self.position,
            syndrome_name(self.syndrome),
            self.syndrome,
            self.cause
        )
    }
}

/// Something that must not happen and that a real device would answer with silence, garbage or
/// a queue pair in error, at best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A doorbell for a queue pair that does not exist, or not on this device.
    UnknownDoorbell {
        /// The device that was rung.
        nic: NicId,
        /// The number in the doorbell.
        queue_pair: QueuePairNumber,
    },
    /// A doorbell for a queue pair that is not connected.
    DoorbellInReset {
        /// The queue pair.
        queue_pair: QueuePairNumber,
    },
    /// A doorbell whose opcode has a modifier, which no entry of this device has.
    DoorbellModifier {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// The modifier.
        modifier: u8,
    },
    /// A send counter, of a doorbell or a record, that is not within the queue's length of the
    /// entries whose completion was reported: it went backward, or entries were overwritten.
    SendCounter {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// The counter.
        counter: u16,
        /// The counter up to which entries may be used again.
        completed: u16,
        /// The counter up to which the device knows of entries.
        known: u16,
        /// Basic blocks of the queue.
        entries: u32,
    },
    /// The record was behind the doorbell when the device read it: it was not visible, or not
    /// written, before the doorbell.
    RecordBehindDoorbell {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// The record's counter.
        record: u16,
        /// The doorbell's counter.
        doorbell: u16,
    },
    /// An entry does not carry the position that it lies at: it was not visible, or not written,
    /// before the record.
    EntryPosition {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// Where it lies.
        expected: u16,
        /// What it says.
        found: u16,
    },
    /// An entry carries the number of another queue pair.
    EntryOfOther {
        /// The queue pair that it was posted to.
        queue_pair: QueuePairNumber,
        /// Its position.
        position: u16,
        /// The number that it carries.
        found: QueuePairNumber,
    },
    /// An entry's length is nothing, or more than was posted.
    EntryLength {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// Its position.
        position: u16,
        /// Its length in basic blocks.
        blocks: u16,
        /// Basic blocks that were posted from its position on.
        posted: u16,
    },
    /// An entry is not understood.
    Entry {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// Its position.
        position: u16,
        /// Why.
        error: EntryError,
    },
    /// An entry was changed before its completion.
    EntryChanged {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// Its position.
        position: u16,
    },
    /// The payload of a write was changed before its completion.
    SourceChanged {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// The entry's position.
        position: u16,
        /// First byte, counted from the message's start, of the piece that changed.
        offset_bytes: u64,
    },
    /// A completion would overwrite one that was not consumed, or the consumer's count is ahead.
    CompletionOverrun {
        /// The queue pair.
        queue_pair: QueuePairNumber,
        /// Completions written.
        produced: u32,
        /// Completions consumed, as the record says.
        consumed: u32,
        /// Entries of the completion queue.
        entries: u32,
    },
    /// Memory refused an access that the device was entitled to.
    Memory {
        /// Who made the access.
        agent: Agent,
        /// What was refused.
        fault: BusFault,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::UnknownDoorbell { nic, queue_pair } => {
                write!(f, "doorbell at {nic} for {queue_pair}, which is not there")
            }
            Violation::DoorbellInReset { queue_pair } => {
                write!(f, "doorbell for {queue_pair}, which is not connected")
            }
            Violation::DoorbellModifier { queue_pair, modifier } => {
                write!(f, "doorbell for {queue_pair} with opcode modifier {modifier:#04x}: entries have 0 there")
            }
            Violation::SendCounter { queue_pair, counter, completed, known, entries } => write!(
                f,
                "send counter {counter} for {queue_pair}: completed up to {completed}, known \
                 up to {known}, queue of {entries} blocks"
            ),
            Violation::RecordBehindDoorbell { queue_pair, record, doorbell } => {
                write!(f, "doorbell record of {queue_pair} says {record}, its doorbell said {doorbell}")
            }
            Violation::EntryPosition { queue_pair, expected, found } => {
                write!(f, "entry of {queue_pair} at position {expected} carries position {found}")
            }
            Violation::EntryOfOther { queue_pair, position, found } => {
                write!(f, "entry of {queue_pair} at position {position} carries {found}")
            }
            Violation::EntryLength { queue_pair, position, blocks, posted } => {
                write!(f, "entry of {queue_pair} at position {position} has {blocks} blocks, {posted} posted")
            }
            Violation::Entry { queue_pair, position, error } => {
                write!(f, "entry of {queue_pair} at position {position}: {error}")
            }
            Violation::EntryChanged { queue_pair, position } => {
                write!(f, "entry of {queue_pair} at position {position} changed before its completion")
            }
            Violation::SourceChanged { queue_pair, position, offset_bytes } => write!(
                f,
                "payload of {queue_pair} at position {position} changed before its completion, \
                 at or after byte {offset_bytes}"
            ),
            Violation::CompletionOverrun { queue_pair, produced, consumed, entries } => write!(
                f,
                "completion queue of {queue_pair}: {produced} produced, {consumed} consumed, \
                 {entries} entries"
            ),
            Violation::Memory { agent, fault } => {
                write!(f, "{} for {} ({:?}): {fault}", agent.nic, agent.queue_pair, agent.purpose)
            }
        }
    }
}

impl Cause {
    /// The syndrome for a cause found at the requester's end.
    pub(crate) fn local_syndrome(&self) -> u8 {
        match self {
            Cause::Entry(error) => error.syndrome(),
            Cause::Posting => cqe::SYNDROME_LOCAL_QUEUE_OPERATION,
            Cause::PeerDown { .. } => cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED,
            Cause::Flushed => cqe::SYNDROME_FLUSHED,
            _ => cqe::SYNDROME_LOCAL_PROTECTION,
        }
    }

    /// The syndrome for a cause found at the responder's end.
    pub(crate) fn remote_syndrome(&self) -> u8 {
        match self {
            Cause::MisalignedAtomic { .. } => cqe::SYNDROME_REMOTE_INVALID_REQUEST,
            Cause::Memory(_) => cqe::SYNDROME_REMOTE_OPERATION,
            Cause::PeerDown { .. } => cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED,
            _ => cqe::SYNDROME_REMOTE_ACCESS,
        }
    }
}
