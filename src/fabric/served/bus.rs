//! Memory as the served NICs reach it: queue memory in host blocks, everything else by work in streams.
//!
//! Each NIC has one stream. All that its queue pairs do to device memory goes there in their order, and so does the
//! last word of a completion entry: whoever sees the completion sees what it completes, and the serving thread waits
//! for nothing. It waits only for the first look at a word that is added to, and where it must order two streams of
//! different drivers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use warpferry_nic as nic;
use warpferry_nic::cqe;

use crate::driver::{Driver, EventId, StreamPriority, Wait};
use crate::error::{Error, Result};
use crate::mem::stream::Stream;
use crate::mem::{DevicePtr, HostBlock};

/// Longest wait for a stream that holds copies only.
pub(super) const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Offset of the word of a completion entry with the syndromes.
const SYNDROME_WORD_OFFSET: usize = cqe::TAIL_OFFSET - 8;

/// Driver and stream of one NIC.
#[derive(Debug)]
pub(super) struct Port {
    pub driver: Arc<dyn Driver>,
    stream: Arc<Stream>,
    /// Made when two streams meet at a word.
    event: Option<EventId>,
    /// The first call that failed.
    pub fault: Option<Error>,
    /// The doorbells cannot be read any more.
    pub dead: bool,
}

impl Port {
    pub fn new(driver: &Arc<dyn Driver>) -> Result<Port> {
        let stream = Stream::new(driver, StreamPriority::HIGHEST)?;
        Ok(Port { driver: Arc::clone(driver), stream, event: None, fault: None, dead: false })
    }

    /// What waits until everything that is in the stream now is done.
    pub fn settle(&self) -> Settle {
        Settle { driver: Arc::clone(&self.driver), stream: Arc::clone(&self.stream) }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Err(error) = self.settle().wait("drop") {
            tracing::warn!(%error, "the stream of a served NIC does not run dry: it is left as it is");
            std::mem::forget(Arc::clone(&self.stream));
            return;
        }
        if let Some(Err(error)) = self.event.map(|event| self.driver.destroy_event(event)) {
            tracing::warn!(%error, "an event of a served NIC could not be ended");
        }
    }
}

/// A stream to be waited for without holding anything else.
pub(super) struct Settle {
    driver: Arc<dyn Driver>,
    stream: Arc<Stream>,
}

impl Settle {
    pub fn wait(&self, call: &'static str) -> Result<()> {
        match self.driver.synchronize(self.stream.id(), SETTLE_TIMEOUT)? {
            Wait::Done => Ok(()),
            Wait::TimedOut => Err(Error::Driver {
                call,
                message: format!("the copies of a served NIC are not done after {SETTLE_TIMEOUT:?}"),
            }),
        }
    }
}

/// Where a queue pair lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    pub nic: usize,
    pub host: HostBlock,
}

impl Home {
    /// Offset of a range in the host block, when it lies there.
    pub fn offset(&self, address: u64, bytes: u64) -> Option<u64> {
        let offset = address.checked_sub(self.host.device.address())?;
        (offset.checked_add(bytes)? <= self.host.bytes).then_some(offset)
    }
}

/// A word that NICs advance: what it holds when all work is done, and the NIC in whose stream that was written.
#[derive(Debug, Clone, Copy)]
struct Word {
    value: u64,
    nic: usize,
}

/// The bus of all served NICs.
#[derive(Debug)]
pub(super) struct Ports {
    pub ports: Vec<Port>,
    pub homes: HashMap<u32, Home>,
    /// Only NICs ever advance these words (an invariant of the protocol), so what was stored last is what they hold.
    words: BTreeMap<u64, Word>,
}

/// Range of an access, for the fault that it may become.
#[derive(Clone, Copy)]
struct Range {
    address: u64,
    bytes: u64,
}

impl Range {
    fn new(address: u64, bytes: usize) -> Range {
        Range { address, bytes: bytes as u64 }
    }

    fn word(address: u64) -> Range {
        Range { address, bytes: 8 }
    }

    fn fault(self, reason: nic::BusFaultReason) -> nic::BusFault {
        nic::BusFault { address: self.address, bytes: self.bytes, reason }
    }
}

type Access<T> = std::result::Result<T, nic::BusFault>;

impl Ports {
    pub fn new(ports: Vec<Port>) -> Ports {
        Ports { ports, homes: HashMap::new(), words: BTreeMap::new() }
    }

    /// Keeps the first error of a NIC's driver and tells it once.
    pub fn fail(&mut self, nic: usize, error: Error) {
        let port = &mut self.ports[nic];
        if port.fault.is_none() {
            tracing::warn!(nic, gpu = %port.driver.info().name, %error, "a served NIC's driver failed");
            port.fault = Some(error);
        }
    }

    /// Forgets words in a range whose memory is, or may become, something else.
    pub fn forget(&mut self, address: u64, bytes: u64) {
        // A word that begins before the range may reach into it.
        let (start, end) = (address.saturating_sub(7), address.saturating_add(bytes));
        while let Some((&word, _)) = self.words.range(start..end).next() {
            self.words.remove(&word);
        }
    }

    /// Words that are kept.
    #[cfg(test)]
    pub fn words_kept(&self) -> usize {
        self.words.len()
    }

    /// The queue pair on whose behalf an access is made: its NIC's stream orders it, also at the peer's memory.
    fn home(&self, agent: nic::Agent, range: Range) -> Access<Home> {
        let home = self.homes.get(&agent.queue_pair.0).copied();
        home.ok_or(range.fault(nic::BusFaultReason::NotPermitted))
    }

    /// A driver call of NIC `nic`; its error is kept, and the device only learns that memory refused.
    fn call<T>(
        &mut self,
        nic: usize,
        range: Range,
        act: impl FnOnce(&dyn Driver, crate::driver::StreamId) -> Result<T>,
    ) -> Access<T> {
        let port = &self.ports[nic];
        let done = act(port.driver.as_ref(), port.stream.id());
        done.map_err(|error| {
            self.fail(nic, error);
            range.fault(nic::BusFaultReason::Reported)
        })
    }

    fn write_word(&mut self, nic: usize, address: u64, value: u64) -> Access<()> {
        let range = Range::word(address);
        self.call(nic, range, |driver, stream| driver.write_word(DevicePtr::new(address), value, stream))
    }

    /// Lets later work in the stream of `to` come after what is in the stream of `from`.
    ///
    /// In this protocol one queue pair advances a word, so this is for other users.
    fn order(&mut self, from: usize, to: usize, range: Range) -> Access<()> {
        if self.ports[from].driver.info().id != self.ports[to].driver.info().id {
            // Events mean nothing to another driver.
            let settle = self.ports[from].settle();
            return self.call(from, range, |_, _| settle.wait("fetch_add"));
        }
        let event = match self.ports[from].event {
            Some(event) => event,
            None => self.call(from, range, |driver, _| driver.create_event())?,
        };
        self.ports[from].event = Some(event);
        self.call(from, range, |driver, stream| driver.record_event(event, stream))?;
        self.call(to, range, |driver, stream| driver.stream_wait_event(stream, event))
    }

    /// Replaces a word by what `act` makes of it; the old value.
    fn update(&mut self, agent: nic::Agent, address: u64, act: impl FnOnce(u64) -> u64) -> Access<u64> {
        let range = Range::word(address);
        let Home { nic, .. } = self.home(agent, range)?;
        let old = match self.words.get(&address).copied() {
            Some(word) if word.nic == nic => word.value,
            Some(word) => {
                self.order(word.nic, nic, range)?;
                word.value
            }
            None => {
                let mut bytes = [0; 8];
                self.call(nic, range, |driver, stream| {
                    driver.copy_from_device(&mut bytes, DevicePtr::new(address), stream)
                })?;
                u64::from_le_bytes(bytes)
            }
        };
        let value = act(old);
        // Taken out first: after a failed store nobody knows what the word holds.
        self.words.remove(&address);
        self.write_word(nic, address, value)?;
        self.words.insert(address, Word { value, nic });
        Ok(old)
    }

    /// Reads queue memory. A part of a word comes from one read of the whole word: a driver copies aligned words whole,
    /// and half a record whose bytes were stored at different times is a counter that nobody wrote.
    fn read_queue(&mut self, home: Home, offset: u64, into: &mut [u8]) -> Access<()> {
        let range = Range::new(home.host.device.address() + offset, into.len());
        let (skip, start) = ((offset % 8) as usize, offset - offset % 8);
        let end = skip + into.len();
        if end > 8 || start + 8 > home.host.bytes {
            return self.call(home.nic, range, |driver, _| driver.read_host(&home.host, offset, into));
        }
        let mut word = [0; 8];
        self.call(home.nic, range, |driver, _| driver.read_host(&home.host, start, &mut word))?;
        into.copy_from_slice(&word[skip..end]);
        Ok(())
    }

    /// Writes a completion entry: its last word, by which kernels know it, comes in the stream's order.
    ///
    /// The rest is written at once, beside an earlier completion whose word has not come yet. That is sound: kernels
    /// read nothing else of an entry without error, and an entry with an error brings its syndromes in order as well.
    fn complete(&mut self, home: Home, offset: u64, entry: &[u8; cqe::ENTRY_BYTES]) -> Access<()> {
        let address = home.host.device.address() + offset;
        let range = Range::new(address, entry.len());
        let word = |at: usize| {
            let bytes = entry[at..].first_chunk().expect("the last words of an entry are inside it");
            u64::from_le_bytes(*bytes)
        };
        let is_error = entry[cqe::OPCODE_OWNER_OFFSET] >> 4 == cqe::OPCODE_REQUEST_ERROR;
        let at_once = if is_error { SYNDROME_WORD_OFFSET } else { cqe::TAIL_OFFSET };
        self.call(home.nic, range, |driver, _| driver.write_host(&home.host, offset, &entry[..at_once]))?;
        let in_order = (at_once..cqe::ENTRY_BYTES)
            .step_by(8)
            .try_for_each(|at| self.write_word(home.nic, address + at as u64, word(at)));
        if in_order.is_ok() || !is_error {
            return in_order;
        }
        // The stream takes no more work. An error may be told without it: what it completes did not happen.
        let rest = [at_once..cqe::TAIL_OFFSET, cqe::TAIL_OFFSET..cqe::ENTRY_BYTES];
        self.call(home.nic, range, |driver, _| {
            rest.into_iter().try_for_each(|part| {
                let at = offset + part.start as u64;
                driver.write_host(&home.host, at, &entry[part])
            })
        })
    }
}

impl nic::Bus for Ports {
    fn read(&mut self, agent: nic::Agent, address: u64, into: &mut [u8]) -> Access<()> {
        let range = Range::new(address, into.len());
        let home = self.home(agent, range)?;
        match home.offset(address, range.bytes) {
            Some(offset) => self.read_queue(home, offset, into),
            None => self
                .call(home.nic, range, |driver, stream| driver.copy_from_device(into, DevicePtr::new(address), stream)),
        }
    }

    fn write(&mut self, agent: nic::Agent, address: u64, bytes: &[u8]) -> Access<()> {
        let range = Range::new(address, bytes.len());
        let home = self.home(agent, range)?;
        if let Some(offset) = home.offset(address, range.bytes) {
            return match (agent.purpose, bytes.try_into()) {
                (nic::Purpose::Completion, Ok(entry)) => self.complete(home, offset, entry),
                _ => self.call(home.nic, range, |driver, _| driver.write_host(&home.host, offset, bytes)),
            };
        }
        self.forget(address, range.bytes);
        match (agent.purpose, bytes.try_into()) {
            (nic::Purpose::AtomicResult, Ok(word)) if address.is_multiple_of(8) => {
                self.write_word(home.nic, address, u64::from_le_bytes(word))
            }
            _ => self
                .call(home.nic, range, |driver, stream| driver.copy_to_device(DevicePtr::new(address), bytes, stream)),
        }
    }

    fn fetch_add(&mut self, agent: nic::Agent, address: u64, add: u64) -> Access<u64> {
        self.update(agent, address, |old| old.wrapping_add(add))
    }

    fn compare_swap(&mut self, agent: nic::Agent, address: u64, compare: u64, swap: u64) -> Access<u64> {
        self.update(agent, address, |old| if old == compare { swap } else { old })
    }

    fn copy(
        &mut self,
        from_agent: nic::Agent,
        source: u64,
        _to_agent: nic::Agent,
        destination: u64,
        bytes: u64,
    ) -> Access<()> {
        let range = Range { address: destination, bytes };
        let Home { nic, .. } = self.home(from_agent, range)?;
        self.forget(destination, bytes);
        self.call(nic, range, |driver, stream| {
            driver.copy_within(DevicePtr::new(destination), DevicePtr::new(source), bytes, stream)
        })
    }
}
