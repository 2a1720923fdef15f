//! Completion entries of 64 bytes: offsets, codes, building and reading.

use crate::config::QueuePairNumber;

/// Bytes of a completion entry.
pub const ENTRY_BYTES: usize = 64;
/// Offset of the big-endian count of bytes moved by a read or atomic.
pub const BYTE_COUNT_OFFSET: usize = 44;
/// Offset of the vendor's syndrome in an entry with an error.
pub const VENDOR_SYNDROME_OFFSET: usize = 54;
/// Offset of the syndrome in an entry with an error.
pub const SYNDROME_OFFSET: usize = 55;
/// Offset of the big-endian word `opcode << 24 | queue pair`.
pub const OPCODE_QUEUE_PAIR_OFFSET: usize = 56;
/// Offset of the big-endian 16-bit position of the completed entry's first basic block.
pub const ENTRY_COUNTER_OFFSET: usize = 60;
/// Offset of the signature, always 0 here.
pub const SIGNATURE_OFFSET: usize = 62;
/// Offset of the byte `opcode << 4 | owner`.
pub const OPCODE_OWNER_OFFSET: usize = 63;
/// The part to be read with one 8-byte load starts here: opcode, queue pair, counter, owner.
pub const TAIL_OFFSET: usize = 56;

/// Completion code: a request of this side is done.
pub const OPCODE_REQUEST: u8 = 0;
/// Completion code: a request of this side failed.
pub const OPCODE_REQUEST_ERROR: u8 = 13;
/// Completion code: the entry was never written; its owner initializes it so.
pub const OPCODE_INVALID: u8 = 15;

/// The message does not fit what the entry or the path allows.
pub const SYNDROME_LOCAL_LENGTH: u8 = 0x01;
/// The entry makes no sense, or the device cannot do it.
pub const SYNDROME_LOCAL_QUEUE_OPERATION: u8 = 0x02;
/// A local key is unknown or does not cover the access.
pub const SYNDROME_LOCAL_PROTECTION: u8 = 0x04;
/// The queue pair was already in error.
pub const SYNDROME_FLUSHED: u8 = 0x05;
/// The peer finds the request malformed, such as a misaligned atomic.
pub const SYNDROME_REMOTE_INVALID_REQUEST: u8 = 0x12;
/// A remote key is unknown or does not cover the access.
pub const SYNDROME_REMOTE_ACCESS: u8 = 0x13;
/// The peer could not do it.
pub const SYNDROME_REMOTE_OPERATION: u8 = 0x14;
/// The peer does not answer.
pub const SYNDROME_TRANSPORT_RETRY_EXCEEDED: u8 = 0x15;
/// The peer has no receive entry.
pub const SYNDROME_RECEIVER_NOT_READY: u8 = 0x16;

/// The field's name for a syndrome.
pub fn syndrome_name(syndrome: u8) -> &'static str {
    match syndrome {
        SYNDROME_LOCAL_LENGTH => "local length error",
        SYNDROME_LOCAL_QUEUE_OPERATION => "local queue pair operation error",
        SYNDROME_LOCAL_PROTECTION => "local protection error",
        SYNDROME_FLUSHED => "flushed",
        SYNDROME_REMOTE_INVALID_REQUEST => "remote invalid request",
        SYNDROME_REMOTE_ACCESS => "remote access error",
        SYNDROME_REMOTE_OPERATION => "remote operation error",
        SYNDROME_TRANSPORT_RETRY_EXCEEDED => "transport retry counter exceeded",
        SYNDROME_RECEIVER_NOT_READY => "receiver not ready retry counter exceeded",
        _ => "unknown syndrome",
    }
}

/// A completion entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// [`OPCODE_REQUEST`] or [`OPCODE_REQUEST_ERROR`] when the device wrote it.
    pub opcode: u8,
    /// Turns with each pass over the ring, from 0.
    pub owner: bool,
    /// The opcode of the completed entry.
    pub entry_opcode: u8,
    /// The queue pair that it completes for.
    pub queue_pair: QueuePairNumber,
    /// Position of the completed entry's first basic block, modulo 2^16.
    pub entry_counter: u16,
    /// Bytes that a read or an atomic brought.
    pub byte_count: u32,
    /// Why it failed; 0 without an error.
    pub syndrome: u8,
    /// The model's own cause, see [`crate::Cause::vendor_syndrome`]; 0 without an error.
    pub vendor_syndrome: u8,
}

impl Completion {
    /// Whether it reports an error.
    pub fn is_error(&self) -> bool {
        self.opcode == OPCODE_REQUEST_ERROR
    }

    /// The bytes of the entry.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        if self.is_error() {
            entry[VENDOR_SYNDROME_OFFSET] = self.vendor_syndrome;
            entry[SYNDROME_OFFSET] = self.syndrome;
        } else {
            entry[BYTE_COUNT_OFFSET..BYTE_COUNT_OFFSET + 4].copy_from_slice(&self.byte_count.to_be_bytes());
        }
        let word = u32::from(self.entry_opcode) << 24 | self.queue_pair.0 & 0x00ff_ffff;
        entry[OPCODE_QUEUE_PAIR_OFFSET..OPCODE_QUEUE_PAIR_OFFSET + 4].copy_from_slice(&word.to_be_bytes());
        entry[ENTRY_COUNTER_OFFSET..ENTRY_COUNTER_OFFSET + 2].copy_from_slice(&self.entry_counter.to_be_bytes());
        entry[OPCODE_OWNER_OFFSET] = self.opcode << 4 | u8::from(self.owner);
        entry
    }

    /// Reads an entry's bytes. Every value has a meaning, so this cannot fail.
    pub fn decode(entry: &[u8; ENTRY_BYTES]) -> Completion {
        let word = u32::from_be_bytes([entry[56], entry[57], entry[58], entry[59]]);
        let opcode = entry[OPCODE_OWNER_OFFSET] >> 4;
        let error = opcode == OPCODE_REQUEST_ERROR;
        Completion {
            opcode,
            owner: entry[OPCODE_OWNER_OFFSET] & 1 != 0,
            entry_opcode: (word >> 24) as u8,
            queue_pair: QueuePairNumber(word & 0x00ff_ffff),
            entry_counter: u16::from_be_bytes([entry[60], entry[61]]),
            byte_count: if error { 0 } else { u32::from_be_bytes([entry[44], entry[45], entry[46], entry[47]]) },
            syndrome: if error { entry[SYNDROME_OFFSET] } else { 0 },
            vendor_syndrome: if error { entry[VENDOR_SYNDROME_OFFSET] } else { 0 },
        }
    }
}
