//! Entries of a send queue: offsets, codes, building and reading.
//!
//! An entry is a row of 16-byte segments, in basic blocks of 64 bytes:
//!
//! ```text
//! control  opmod_idx_opcode:be32  qpn_ds:be32  signature:8 -:16 fm_ce_se:8  immediate:be32
//! remote   address:be64  rkey:be32  -:32                        writes, reads, atomics
//! atomic   swap_or_add:be64  compare:be64                       atomics
//! data     bytes:be32  lkey:be32  address:be64                  any number
//! inline   bytes:be32 with bit 31, then the bytes, padded to 16 instead of data, for writes
//! ```
//!
//! What comes from memory is not trusted: [`decode`] answers every row of bytes with a work request
//! or with an [`EntryError`].

use std::fmt;

use crate::config::QueuePairNumber;

/// Bytes of a basic block, the unit of positions and of the send counter.
pub const BLOCK_BYTES: usize = 64;
/// Bytes of a segment, the unit of `ds`.
pub const SEGMENT_BYTES: usize = 16;
/// The most segments of an entry: `ds` has six bits.
pub const MAX_SEGMENTS: usize = 63;
/// The longest message: 2^31 bytes, which a data segment writes as 0.
pub const MAX_MESSAGE_BYTES: u64 = 1 << 31;

/// Offset of the big-endian word `opmod << 24 | position << 8 | opcode`.
pub const OPMOD_INDEX_OPCODE_OFFSET: usize = 0;
/// Offset of the big-endian word `queue pair << 8 | segments`.
pub const QUEUE_PAIR_SEGMENTS_OFFSET: usize = 4;
/// Offset of the entry's signature, not checked.
pub const SIGNATURE_OFFSET: usize = 8;
/// Offset of the byte `fence << 5 | completion << 2 | solicited << 1`.
pub const FENCE_COMPLETION_OFFSET: usize = 11;
/// Offset of the immediate.
pub const IMMEDIATE_OFFSET: usize = 12;
/// Offset of the remote segment: address.
pub const REMOTE_ADDRESS_OFFSET: usize = 16;
/// Offset of the remote key.
pub const REMOTE_KEY_OFFSET: usize = 24;
/// Offset of an atomic's value to add or to store.
pub const ATOMIC_SWAP_ADD_OFFSET: usize = 32;
/// Offset of an atomic's value to compare with.
pub const ATOMIC_COMPARE_OFFSET: usize = 40;
/// Offset of a write's or read's first data segment.
pub const DATA_OFFSET: usize = 32;
/// Offset of an atomic's data segment, where the old value goes.
pub const ATOMIC_DATA_OFFSET: usize = 48;
/// Offset of the big-endian send counter in a doorbell record.
pub const RECORD_SEND_COUNTER_OFFSET: u64 = 4;
/// Offset of the doorbell in a device's doorbell page.
pub const DOORBELL_OFFSET_BYTES: u64 = 0x800;
/// Bit of a data segment's length that marks payload in the entry.
pub const INLINE_BIT: u32 = 1 << 31;

/// Does nothing.
pub const OPCODE_NOP: u8 = 0x00;
/// Writes remote memory.
pub const OPCODE_RDMA_WRITE: u8 = 0x08;
/// Writes remote memory and consumes a receive entry; refused.
pub const OPCODE_RDMA_WRITE_IMMEDIATE: u8 = 0x09;
/// Sends to a receive entry; refused.
pub const OPCODE_SEND: u8 = 0x0a;
/// Sends with an immediate; refused.
pub const OPCODE_SEND_IMMEDIATE: u8 = 0x0b;
/// Reads remote memory.
pub const OPCODE_RDMA_READ: u8 = 0x10;
/// Compares and swaps a remote 64-bit word.
pub const OPCODE_ATOMIC_COMPARE_SWAP: u8 = 0x11;
/// Adds to a remote 64-bit word.
pub const OPCODE_ATOMIC_FETCH_ADD: u8 = 0x12;

/// `ce`: a completion entry only for an error.
pub const COMPLETION_ON_ERROR: u8 = 0;
/// `ce`: a completion entry only for the first error.
pub const COMPLETION_ON_FIRST_ERROR: u8 = 1;
/// `ce`: a completion entry always.
pub const COMPLETION_ALWAYS: u8 = 2;
/// `ce`: a completion entry and an event, always; the event is not modelled.
pub const COMPLETION_AND_EVENT: u8 = 3;

/// The field's name for an opcode.
pub fn opcode_name(opcode: u8) -> &'static str {
    match opcode {
        OPCODE_NOP => "NOP",
        OPCODE_RDMA_WRITE => "RDMA_WRITE",
        OPCODE_RDMA_WRITE_IMMEDIATE => "RDMA_WRITE_IMM",
        OPCODE_SEND => "SEND",
        OPCODE_SEND_IMMEDIATE => "SEND_IMM",
        OPCODE_RDMA_READ => "RDMA_READ",
        OPCODE_ATOMIC_COMPARE_SWAP => "ATOMIC_CS",
        OPCODE_ATOMIC_FETCH_ADD => "ATOMIC_FA",
        _ => "unknown",
    }
}

/// What an entry waits for before it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fence {
    /// Nothing beyond the queue pair's own order (modes 0 and 1).
    #[default]
    None,
    /// All earlier reads and atomics (modes 2 and 4).
    ReadsAndAtomics,
    /// All that is earlier (mode 3).
    All,
}

impl Fence {
    fn mode(self) -> u8 {
        match self {
            Fence::None => 0,
            Fence::ReadsAndAtomics => 4,
            Fence::All => 3,
        }
    }
}

/// The control segment's variable part, for building.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The queue pair that the entry is posted to.
    pub queue_pair: QueuePairNumber,
    /// Position of the entry's first basic block, modulo 2^16.
    pub position: u16,
    /// `ce`, see [`COMPLETION_ALWAYS`].
    pub completion: u8,
    /// What it waits for.
    pub fence: Fence,
}

impl Control {
    /// An entry without completion or fence.
    pub fn new(queue_pair: QueuePairNumber, position: u16) -> Control {
        Control { queue_pair, position, completion: COMPLETION_ON_ERROR, fence: Fence::None }
    }

    /// With a completion entry.
    pub fn signaled(self) -> Control {
        Control { completion: COMPLETION_ALWAYS, ..self }
    }

    /// With a fence.
    pub fn fenced(self, fence: Fence) -> Control {
        Control { fence, ..self }
    }
}

/// Where at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// First byte.
    pub address: u64,
    /// The peer's key for it.
    pub rkey: u32,
}

/// Where at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSegment {
    /// Length; 0 stands for 2^31, as on the device.
    pub bytes: u32,
    /// The own key for it.
    pub lkey: u32,
    /// First byte.
    pub address: u64,
}

impl DataSegment {
    /// The length that the device understands.
    pub fn length_bytes(&self) -> u64 {
        match self.bytes {
            0 => MAX_MESSAGE_BYTES,
            bytes => u64::from(bytes),
        }
    }
}

/// Some of a write's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// In memory, read when a piece is placed.
    Memory(DataSegment),
    /// In the entry itself.
    Inline(Vec<u8>),
}

impl Payload {
    /// Its length.
    pub fn length_bytes(&self) -> u64 {
        match self {
            Payload::Memory(segment) => segment.length_bytes(),
            Payload::Inline(bytes) => bytes.len() as u64,
        }
    }
}

/// What an atomic does to the remote word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOperation {
    /// Adds.
    FetchAdd {
        /// What is added.
        add: u64,
    },
    /// Stores when equal.
    CompareSwap {
        /// What the word must hold.
        compare: u64,
        /// What is stored then.
        swap: u64,
    },
}

/// What an entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Nop,
    /// A write of all payload, end to end, from the remote address on.
    Write {
        /// The target.
        remote: Remote,
        /// The bytes, in order.
        payload: Vec<Payload>,
    },
    /// A read into all segments, end to end, from the remote address on.
    Read {
        /// The source.
        remote: Remote,
        /// Where the bytes go, in order.
        into: Vec<DataSegment>,
    },
    /// An atomic on a 64-bit word.
    Atomic {
        /// The word.
        remote: Remote,
        /// What is done to it.
        operation: AtomicOperation,
        /// Where the old value goes.
        result: DataSegment,
    },
}

/// An entry, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkRequest {
    /// The control segment.
    pub header: Header,
    /// `ce`, 0 to 3.
    pub completion: u8,
    /// What it waits for.
    pub fence: Fence,
    /// What it asks for.
    pub work: Work,
}

impl WorkRequest {
    /// Whether success gives a completion entry.
    pub fn is_signaled(&self) -> bool {
        matches!(self.completion, COMPLETION_ALWAYS | COMPLETION_AND_EVENT)
    }
}

/// The first 8 bytes of an entry, which are a doorbell as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The opcode's modifier.
    pub modifier: u8,
    /// Position of the first basic block.
    pub position: u16,
    /// The opcode.
    pub opcode: u8,
    /// The queue pair.
    pub queue_pair: QueuePairNumber,
    /// Segments, 0 to 63.
    pub segments: u8,
}

impl Header {
    /// Reads the first 8 bytes as they lie in memory.
    pub fn decode(bytes: [u8; 8]) -> Header {
        let operation = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Header {
            modifier: (operation >> 24) as u8,
            position: (operation >> 8) as u16,
            opcode: operation as u8,
            queue_pair: QueuePairNumber(length >> 8),
            segments: length as u8 & 0x3f,
        }
    }

    /// The first 8 bytes as they lie in memory.
    pub fn encode(&self) -> [u8; 8] {
        let operation = u32::from(self.modifier) << 24 | u32::from(self.position) << 8 | u32::from(self.opcode);
        let length = self.queue_pair.0 << 8 | u32::from(self.segments & 0x3f);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&operation.to_be_bytes());
        bytes[4..].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    /// Basic blocks of the entry, 0 for one without segments.
    pub fn blocks(&self) -> u16 {
        u16::from(self.segments).div_ceil((BLOCK_BYTES / SEGMENT_BYTES) as u16)
    }

    /// The send counter after this entry. A header without segments is the short form of a
    /// doorbell, whose position is the counter itself.
    pub fn end_position(&self) -> u16 {
        self.position.wrapping_add(self.blocks())
    }
}

/// Why an entry is not understood. The device reports a local error; the model names the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// The opcode exists but this device does not do it.
    Refused {
        /// The opcode.
        opcode: u8,
    },
    /// No such opcode.
    UnknownOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// A modifier other than 0.
    Modifier {
        /// The opcode.
        opcode: u8,
        /// The modifier.
        modifier: u8,
    },
    /// A fence mode that means nothing.
    FenceMode {
        /// The mode, 5 to 7.
        mode: u8,
    },
    /// The number of segments does not suit the opcode.
    Segments {
        /// The opcode.
        opcode: u8,
        /// Segments that it has.
        have: u8,
        /// The fewest that it needs.
        min: u8,
        /// The most that it can have.
        max: u8,
    },
    /// Inline payload goes past the entry's end.
    InlineLength {
        /// Its length as written.
        bytes: u32,
        /// What is left in the entry.
        room_bytes: u32,
    },
    /// Inline payload where memory is needed.
    InlineResult {
        /// The opcode.
        opcode: u8,
    },
    /// The result of an atomic is not 8 bytes.
    AtomicLength {
        /// The length as written.
        bytes: u32,
    },
    /// A message longer than [`MAX_MESSAGE_BYTES`].
    MessageLength {
        /// Its length.
        bytes: u64,
    },
}

impl EntryError {
    /// The syndrome that the device reports.
    pub fn syndrome(&self) -> u8 {
        match self {
            EntryError::AtomicLength { .. } | EntryError::MessageLength { .. } => crate::cqe::SYNDROME_LOCAL_LENGTH,
            _ => crate::cqe::SYNDROME_LOCAL_QUEUE_OPERATION,
        }
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EntryError::Refused { opcode } => write!(
                f,
                "opcode {opcode:#04x} ({}) needs receive entries, which this device does not have",
                opcode_name(opcode)
            ),
            EntryError::UnknownOpcode { opcode } => write!(f, "unknown opcode {opcode:#04x}"),
            EntryError::Modifier { opcode, modifier } => {
                write!(f, "{} with modifier {modifier:#04x}, only 0 is known", opcode_name(opcode))
            }
            EntryError::FenceMode { mode } => write!(f, "fence mode {mode}, valid are 0 to 4"),
            EntryError::Segments { opcode, have, min, max } => {
                write!(f, "{} with {have} segments, valid are {min} to {max}", opcode_name(opcode))
            }
            EntryError::InlineLength { bytes, room_bytes } => {
                write!(f, "{bytes} inline bytes where the entry has room for {room_bytes}")
            }
            EntryError::InlineResult { opcode } => {
                write!(f, "{} with inline payload", opcode_name(opcode))
            }
            EntryError::AtomicLength { bytes } => {
                write!(f, "atomic result of {bytes} bytes, must be 8")
            }
            EntryError::MessageLength { bytes } => {
                write!(f, "message of {bytes} bytes, at most {MAX_MESSAGE_BYTES}")
            }
        }
    }
}

impl std::error::Error for EntryError {}

/// Reads an entry: the basic blocks that its header announces, as they lie in memory. Fewer bytes
/// count as fewer segments.
pub fn decode(entry: &[u8]) -> Result<WorkRequest, EntryError> {
    let header = Header::decode(array(entry, 0).unwrap_or([0; 8]));
    let have = usize::from(header.segments).min(entry.len() / SEGMENT_BYTES);
    let entry = &entry[..have * SEGMENT_BYTES];
    let opcode = header.opcode;
    let segments = |min: u8, max: u8| {
        if (usize::from(min)..=usize::from(max)).contains(&have) {
            return Ok(());
        }
        Err(EntryError::Segments { opcode, have: have as u8, min, max })
    };
    match opcode {
        OPCODE_NOP | OPCODE_RDMA_WRITE | OPCODE_RDMA_READ => {}
        OPCODE_ATOMIC_COMPARE_SWAP | OPCODE_ATOMIC_FETCH_ADD => {}
        OPCODE_SEND | OPCODE_SEND_IMMEDIATE | OPCODE_RDMA_WRITE_IMMEDIATE => {
            return Err(EntryError::Refused { opcode })
        }
        _ => return Err(EntryError::UnknownOpcode { opcode }),
    }
    // A NOP's modifier is ignored, as are its segments after the control segment.
    if header.modifier != 0 && opcode != OPCODE_NOP {
        let modifier = header.modifier;
        return Err(EntryError::Modifier { opcode, modifier });
    }
    segments(1, MAX_SEGMENTS as u8)?;
    let flags = entry[FENCE_COMPLETION_OFFSET];
    let fence = match flags >> 5 {
        0 | 1 => Fence::None,
        2 | 4 => Fence::ReadsAndAtomics,
        3 => Fence::All,
        mode => return Err(EntryError::FenceMode { mode }),
    };
    let work = match opcode {
        OPCODE_NOP => Work::Nop,
        OPCODE_RDMA_WRITE => {
            segments(2, MAX_SEGMENTS as u8)?;
            let payload = decode_payload(&entry[DATA_OFFSET..])?;
            message_length(payload.iter().map(Payload::length_bytes))?;
            Work::Write { remote: decode_remote(entry), payload }
        }
        OPCODE_RDMA_READ => {
            segments(3, MAX_SEGMENTS as u8)?;
            let mut into = Vec::new();
            for piece in entry[DATA_OFFSET..].chunks_exact(SEGMENT_BYTES) {
                into.push(decode_data(piece).ok_or(EntryError::InlineResult { opcode })?);
            }
            message_length(into.iter().map(DataSegment::length_bytes))?;
            Work::Read { remote: decode_remote(entry), into }
        }
        _ => {
            segments(4, 4)?;
            let result = decode_data(&entry[ATOMIC_DATA_OFFSET..]).ok_or(EntryError::InlineResult { opcode })?;
            if result.bytes != 8 {
                let bytes = result.bytes;
                return Err(EntryError::AtomicLength { bytes });
            }
            let swap_add = be64(entry, ATOMIC_SWAP_ADD_OFFSET);
            let operation = if opcode == OPCODE_ATOMIC_FETCH_ADD {
                AtomicOperation::FetchAdd { add: swap_add }
            } else {
                AtomicOperation::CompareSwap { compare: be64(entry, ATOMIC_COMPARE_OFFSET), swap: swap_add }
            };
            Work::Atomic { remote: decode_remote(entry), operation, result }
        }
    };
    Ok(WorkRequest { header, completion: flags >> 2 & 3, fence, work })
}

fn message_length(lengths: impl Iterator<Item = u64>) -> Result<(), EntryError> {
    // At most 63 segments of at most 2^31 bytes: no overflow.
    let bytes: u64 = lengths.sum();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(EntryError::MessageLength { bytes });
    }
    Ok(())
}

fn decode_payload(mut rest: &[u8]) -> Result<Vec<Payload>, EntryError> {
    let mut payload = Vec::new();
    while rest.len() >= SEGMENT_BYTES {
        if let Some(segment) = decode_data(rest) {
            payload.push(Payload::Memory(segment));
            rest = &rest[SEGMENT_BYTES..];
            continue;
        }
        let bytes = be32(rest, 0) & !INLINE_BIT;
        let room_bytes = (rest.len() - 4) as u32;
        if bytes > room_bytes {
            return Err(EntryError::InlineLength { bytes, room_bytes });
        }
        let end = 4 + bytes as usize;
        payload.push(Payload::Inline(rest[4..end].to_vec()));
        let next = end.next_multiple_of(SEGMENT_BYTES).min(rest.len());
        rest = &rest[next..];
    }
    Ok(payload)
}

/// A data segment, or nothing when it is marked as inline.
fn decode_data(segment: &[u8]) -> Option<DataSegment> {
    let bytes = be32(segment, 0);
    if bytes & INLINE_BIT != 0 {
        return None;
    }
    Some(DataSegment { bytes, lkey: be32(segment, 4), address: be64(segment, 8) })
}

fn decode_remote(entry: &[u8]) -> Remote {
    Remote { address: be64(entry, REMOTE_ADDRESS_OFFSET), rkey: be32(entry, REMOTE_KEY_OFFSET) }
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

/// A big-endian word; a missing one reads as 0, but callers have checked the length.
fn be32(bytes: &[u8], offset: usize) -> u32 {
    array(bytes, offset).map_or(0, u32::from_be_bytes)
}

fn be64(bytes: &[u8], offset: usize) -> u64 {
    array(bytes, offset).map_or(0, u64::from_be_bytes)
}

/// An entry that does nothing.
pub fn nop(control: Control) -> Vec<u8> {
    finish(control, OPCODE_NOP, Vec::new())
}

/// An entry that writes `data`, end to end, at the peer. Segments beyond
/// [`MAX_SEGMENTS`] cannot be told in an entry; the device refuses what is left.
pub fn rdma_write(control: Control, remote: Remote, data: &[DataSegment]) -> Vec<u8> {
    let mut body = remote_bytes(remote);
    for segment in data {
        push_data(&mut body, *segment);
    }
    finish(control, OPCODE_RDMA_WRITE, body)
}

/// An entry that writes bytes of its own at the peer: at most 972.
pub fn rdma_write_inline(control: Control, remote: Remote, bytes: &[u8]) -> Vec<u8> {
    let mut body = remote_bytes(remote);
    body.extend_from_slice(&(bytes.len() as u32 | INLINE_BIT).to_be_bytes());
    body.extend_from_slice(bytes);
    finish(control, OPCODE_RDMA_WRITE, body)
}

/// An entry that reads from the peer.
pub fn rdma_read(control: Control, remote: Remote, into: &[DataSegment]) -> Vec<u8> {
    let mut body = remote_bytes(remote);
    for segment in into {
        push_data(&mut body, *segment);
    }
    finish(control, OPCODE_RDMA_READ, body)
}

/// An entry that adds to a remote word.
pub fn fetch_add(control: Control, remote: Remote, add: u64, result: DataSegment) -> Vec<u8> {
    atomic(control, OPCODE_ATOMIC_FETCH_ADD, remote, add, 0, result)
}

/// An entry that stores to a remote word that holds `compare`.
pub fn compare_swap(control: Control, remote: Remote, compare: u64, swap: u64, result: DataSegment) -> Vec<u8> {
    let opcode = OPCODE_ATOMIC_COMPARE_SWAP;
    atomic(control, opcode, remote, swap, compare, result)
}

/// The value that rings the doorbell after `entry`: its first 8 bytes, loaded little-endian.
pub fn doorbell_value(entry: &[u8]) -> u64 {
    array(entry, 0).map_or(0, u64::from_le_bytes)
}

fn atomic(control: Control, opcode: u8, remote: Remote, swap_add: u64, compare: u64, result: DataSegment) -> Vec<u8> {
    let mut body = remote_bytes(remote);
    body.extend_from_slice(&swap_add.to_be_bytes());
    body.extend_from_slice(&compare.to_be_bytes());
    push_data(&mut body, result);
    finish(control, opcode, body)
}

fn remote_bytes(remote: Remote) -> Vec<u8> {
    let mut body = Vec::with_capacity(BLOCK_BYTES);
    body.extend_from_slice(&remote.address.to_be_bytes());
    body.extend_from_slice(&remote.rkey.to_be_bytes());
    body.extend_from_slice(&[0; 4]);
    body
}

fn push_data(body: &mut Vec<u8>, segment: DataSegment) {
    body.extend_from_slice(&segment.bytes.to_be_bytes());
    body.extend_from_slice(&segment.lkey.to_be_bytes());
    body.extend_from_slice(&segment.address.to_be_bytes());
}

fn finish(control: Control, opcode: u8, body: Vec<u8>) -> Vec<u8> {
    let segments = 1 + body.len().div_ceil(SEGMENT_BYTES);
    let header = Header {
        modifier: 0,
        position: control.position,
        opcode,
        queue_pair: control.queue_pair,
        segments: segments.min(MAX_SEGMENTS) as u8,
    };
    let mut entry = Vec::with_capacity(SEGMENT_BYTES + body.len());
    entry.extend_from_slice(&header.encode());
    let flags = control.fence.mode() << 5 | (control.completion & 3) << 2;
    entry.extend_from_slice(&[0, 0, 0, flags, 0, 0, 0, 0]);
    entry.extend_from_slice(&body);
    entry.truncate(MAX_SEGMENTS * SEGMENT_BYTES);
    entry.resize(entry.len().next_multiple_of(BLOCK_BYTES), 0);
    entry
}
