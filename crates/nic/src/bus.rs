//! How the devices reach memory and who makes their choices: traits of the caller, and the plain
//! implementations that tests use.

use std::fmt;

use crate::config::{NicId, QueuePairNumber};

/// What an access to memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Reads the send counter that a queue pair's owner wrote before the doorbell.
    DoorbellRecord,
    /// Fetches an entry of the send queue.
    Entry,
    /// Reads or places the bytes of a write or a read.
    Payload,
    /// Performs an atomic at the remote memory: all earlier writes of the queue pair are placed.
    Atomic,
    /// Writes the old value of an atomic to the requester's memory.
    AtomicResult,
    /// Writes a completion entry: all that it completes is placed.
    Completion,
    /// Reads the consumer's counter of a completion queue.
    CompletionRecord,
}

/// Who makes an access: the device at the bus, and the queue pair whose work it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Agent {
    /// The device that makes the access: the target's for payload placed remotely.
    pub nic: NicId,
    /// The queue pair whose entry caused it: the requester's, at both ends.
    pub queue_pair: QueuePairNumber,
    /// What the access is for.
    pub purpose: Purpose,
}

/// Why memory refused an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusFaultReason {
    /// No memory at some byte of the range.
    Unmapped,
    /// Memory that this device may not reach, or not in this way.
    NotPermitted,
    /// An atomic whose address the bus cannot serve.
    Misaligned,
    /// The caller found an error of its own; it keeps the details.
    Reported,
}

/// An access that memory refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusFault {
    /// First byte of the access.
    pub address: u64,
    /// Its length.
    pub bytes: u64,
    /// Why it was refused.
    pub reason: BusFaultReason,
}

impl fmt::Display for BusFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            BusFaultReason::Unmapped => "no memory there",
            BusFaultReason::NotPermitted => "not permitted",
            BusFaultReason::Misaligned => "misaligned",
            BusFaultReason::Reported => "refused by the memory",
        };
        write!(f, "{} bytes at {:#x}: {reason}", self.bytes, self.address)
    }
}

impl std::error::Error for BusFault {}

/// Memory as a device sees it. Addresses are the virtual addresses that were registered.
pub trait Bus {
    /// Reads `into.len()` bytes.
    fn read(&mut self, agent: Agent, address: u64, into: &mut [u8]) -> Result<(), BusFault>;

    /// Writes `bytes`.
    fn write(&mut self, agent: Agent, address: u64, bytes: &[u8]) -> Result<(), BusFault>;

    /// Adds to a little-endian 64-bit word in one indivisible act; the old value.
    fn fetch_add(&mut self, agent: Agent, address: u64, add: u64) -> Result<u64, BusFault>;

    /// Stores `swap` in a little-endian 64-bit word that holds `compare`, in one indivisible act;
    /// the old value.
    fn compare_swap(&mut self, agent: Agent, address: u64, compare: u64, swap: u64) -> Result<u64, BusFault>;

    /// Copies payload. A memory with shadow state (bytes never written) carries it along, which a
    /// read and a write cannot.
    fn copy(
        &mut self,
        from_agent: Agent,
        source: u64,
        to_agent: Agent,
        destination: u64,
        bytes: u64,
    ) -> Result<(), BusFault> {
        let mut buffer = [0u8; COPY_BYTES];
        let mut done = 0u64;
        while done < bytes {
            let now = (bytes - done).min(COPY_BYTES as u64);
            let part = &mut buffer[..now as usize];
            self.read(from_agent, source.wrapping_add(done), part)?;
            self.write(to_agent, destination.wrapping_add(done), part)?;
            done += now;
        }
        Ok(())
    }
}

/// Bytes that the default [`Bus::copy`] moves at a time.
const COPY_BYTES: usize = 4096;

/// The source of all choices: which queue pair acts, which piece is placed.
pub trait Choose {
    /// A number in `0..n`, with `n >= 1`; 0 is the plain choice. A number that is too large counts
    /// as `n - 1`.
    fn choose(&mut self, n: usize) -> usize;
}

/// Always the plain choice: queue pairs take turns, entries run one after another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Choose for Plain {
    fn choose(&mut self, _n: usize) -> usize {
        0
    }
}

impl<F: FnMut(usize) -> usize> Choose for F {
    fn choose(&mut self, n: usize) -> usize {
        self(n)
    }
}

/// One answer of `choose`, made valid; not asked when there is nothing to choose.
pub(crate) fn pick(choose: &mut dyn Choose, n: usize) -> usize {
    if n <= 1 {
        return 0;
    }
    choose.choose(n).min(n - 1)
}

/// One flat range of memory that every device reaches: for tests and examples.
#[derive(Clone, Debug)]
pub struct FlatBus {
    base: u64,
    bytes: Vec<u8>,
}

impl FlatBus {
    /// Zeroed memory from address `base` on.
    pub fn new(base: u64, bytes: usize) -> FlatBus {
        FlatBus { base, bytes: vec![0; bytes] }
    }

    /// Some of the memory.
    ///
    /// # Panics
    /// When the range is not inside the memory: the caller is the host, not a device.
    pub fn bytes(&self, address: u64, bytes: usize) -> &[u8] {
        let range = self.range(address, bytes).expect("range inside the memory");
        &self.bytes[range]
    }

    /// Some of the memory, to be written.
    ///
    /// # Panics
    /// When the range is not inside the memory: the caller is the host, not a device.
    pub fn bytes_mut(&mut self, address: u64, bytes: usize) -> &mut [u8] {
        let range = self.range(address, bytes).expect("range inside the memory");
        &mut self.bytes[range]
    }

    /// A little-endian word.
    ///
    /// # Panics
    /// As [`FlatBus::bytes`].
    pub fn word(&self, address: u64) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(self.bytes(address, 8));
        u64::from_le_bytes(word)
    }

    fn range(&self, address: u64, bytes: usize) -> Result<std::ops::Range<usize>, BusFault> {
        let fault = BusFault { address, bytes: bytes as u64, reason: BusFaultReason::Unmapped };
        let start = address.checked_sub(self.base).ok_or(fault)?;
        let end = start.checked_add(bytes as u64).ok_or(fault)?;
        if end > self.bytes.len() as u64 {
            return Err(fault);
        }
        Ok(start as usize..end as usize)
    }

    fn update(&mut self, address: u64, f: impl FnOnce(u64) -> u64) -> Result<u64, BusFault> {
        if !address.is_multiple_of(8) {
            return Err(BusFault { address, bytes: 8, reason: BusFaultReason::Misaligned });
        }
        let range = self.range(address, 8)?;
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[range.clone()]);
        let old = u64::from_le_bytes(word);
        self.bytes[range].copy_from_slice(&f(old).to_le_bytes());
        Ok(old)
    }
}

impl Bus for FlatBus {
    fn read(&mut self, _agent: Agent, address: u64, into: &mut [u8]) -> Result<(), BusFault> {
        let range = self.range(address, into.len())?;
        into.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, _agent: Agent, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        let range = self.range(address, bytes.len())?;
        self.bytes[range].copy_from_slice(bytes);
        Ok(())
    }

    fn fetch_add(&mut self, _agent: Agent, address: u64, add: u64) -> Result<u64, BusFault> {
        self.update(address, |old| old.wrapping_add(add))
    }

    fn compare_swap(&mut self, _agent: Agent, address: u64, compare: u64, swap: u64) -> Result<u64, BusFault> {
        self.update(address, |old| if old == compare { swap } else { old })
    }
}
