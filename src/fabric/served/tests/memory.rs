//! Drivers over one flat memory of this process, with streams that apply at once or only when a test lets them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::{
    Backend, Driver, DriverId, DriverInfo, EventId, FunctionAttributes, FunctionId, Launch, StreamId, StreamPriority,
    Wait, WordWait,
};
use crate::error::{Error, Result};
use crate::kernel::KernelImage;
use crate::mem::{DevicePtr, HostBlock, WindowHandle};

/// First address.
pub const BASE: u64 = 0x10_0000;
const BYTES: usize = 8 << 20;
/// What the name of a host block differs in from its device address.
const HOST: u64 = 1 << 60;
/// Longest wait for a stream that a test holds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Work in a stream.
#[derive(Debug, Clone)]
pub enum Work {
    Write { to: u64, bytes: Vec<u8> },
    Copy { to: u64, from: u64, bytes: u64 },
    Fill { to: u64, byte: u8, bytes: u64 },
    Record(u64, u64),
    WaitFor(u64, u64),
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    next: u64,
    names: u64,
    blocks: BTreeMap<u64, u64>,
    streams: BTreeMap<u64, VecDeque<Work>>,
    /// How often each event was recorded, and reached.
    events: HashMap<u64, (u64, u64)>,
    held: bool,
    lost: bool,
}

impl Inner {
    fn range(&self, call: &'static str, address: u64, bytes: u64) -> Result<std::ops::Range<usize>> {
        let start = address.wrapping_sub(BASE);
        match start.checked_add(bytes) {
            Some(end) if end <= self.bytes.len() as u64 => Ok(start as usize..end as usize),
            _ => Err(Error::Driver { call, message: format!("{bytes} bytes at {address:#x} are not mapped") }),
        }
    }

    /// Does the first work of a stream, unless it waits for an event.
    fn step(&mut self, stream: u64) -> bool {
        let Some(work) = self.streams.get(&stream).and_then(|works| works.front().cloned()) else { return false };
        match work {
            Work::Write { to, bytes } => {
                let range = self.range("write", to, bytes.len() as u64).expect("checked when it came");
                self.bytes[range].copy_from_slice(&bytes);
            }
            Work::Copy { to, from, bytes } => {
                let from = self.range("copy", from, bytes).expect("checked when it came");
                let to = self.range("copy", to, bytes).expect("checked when it came");
                self.bytes.copy_within(from, to.start);
            }
            Work::Fill { to, byte, bytes } => {
                let range = self.range("fill", to, bytes).expect("checked when it came");
                self.bytes[range].fill(byte);
            }
            Work::Record(event, count) => self.events.entry(event).or_default().1 = count,
            Work::WaitFor(event, count) if self.events.get(&event).is_some_and(|&(_, reached)| reached < count) => {
                return false;
            }
            Work::WaitFor(..) => {}
        }
        self.streams.get_mut(&stream).map(VecDeque::pop_front);
        true
    }

    fn settle(&mut self) {
        let streams: Vec<u64> = self.streams.keys().copied().collect();
        while streams.iter().any(|&stream| self.step(stream)) {}
    }
}

/// The memory of all GPUs of a test, and what its drivers share.
#[derive(Debug, Clone)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
}

impl Memory {
    pub fn new() -> Memory {
        let inner = Inner { bytes: vec![0xa5; BYTES], next: BASE, ..Inner::default() };
        Memory { inner: Arc::new(Mutex::new(inner)) }
    }

    pub fn driver(&self) -> Arc<dyn Driver> {
        let info = DriverInfo {
            id: DriverId::next(),
            name: "flat memory".to_string(),
            sms: 1,
            shared_bytes: 0,
            memory_bytes: BYTES as u64,
            backend: Backend::Null,
            gpu: None,
        };
        Arc::new(MemoryDriver { info, memory: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory as a kernel would take it from the library: never given back.
    pub fn take(&self, bytes: u64) -> u64 {
        let mut inner = self.lock();
        let start = inner.next.next_multiple_of(256);
        assert!(start + bytes <= BASE + BYTES as u64, "a test takes less than {BYTES} bytes");
        inner.next = start + bytes;
        start
    }

    pub fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        let inner = self.lock();
        let range = inner.range("read", address, bytes as u64).expect("a test reads its own memory");
        inner.bytes[range].to_vec()
    }

    pub fn word(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.read(address, 8).try_into().expect("8 bytes"))
    }

    /// What a kernel stores.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let mut inner = self.lock();
        let range = inner.range("write", address, bytes.len() as u64).expect("a test writes its own memory");
        inner.bytes[range].copy_from_slice(bytes);
    }

    /// Streams apply nothing from now on.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Streams apply everything again.
    pub fn let_run(&self) {
        let mut inner = self.lock();
        inner.held = false;
        inner.settle();
    }

    /// Lets one stream apply one piece of work; whether it could.
    pub fn step(&self, stream: u64) -> bool {
        self.lock().step(stream)
    }

    /// Work that waits in each stream.
    pub fn waiting(&self) -> Vec<(u64, usize)> {
        self.lock().streams.iter().map(|(&stream, works)| (stream, works.len())).collect()
    }

    /// Every call fails from now on.
    pub fn lose(&self) {
        self.lock().lost = true;
    }

    /// Host blocks, streams and events that were not given back.
    pub fn leaks(&self) -> (usize, usize, usize) {
        let inner = self.lock();
        (inner.blocks.len(), inner.streams.len(), inner.events.len())
    }
}

#[derive(Debug)]
struct MemoryDriver {
    info: DriverInfo,
    memory: Memory,
}

impl MemoryDriver {
    fn lock(&self, call: &'static str) -> Result<MutexGuard<'_, Inner>> {
        let inner = self.memory.lock();
        if inner.lost {
            return Err(Error::Driver { call, message: "context is lost".to_string() });
        }
        Ok(inner)
    }

    fn put(&self, call: &'static str, stream: StreamId, work: Work) -> Result<()> {
        let mut inner = self.lock(call)?;
        let held = inner.held;
        let works = inner
            .streams
            .get_mut(&stream.0)
            .ok_or_else(|| Error::Driver { call, message: format!("no stream {}", stream.0) })?;
        works.push_back(work);
        if !held {
            inner.settle();
        }
        Ok(())
    }

    fn wait_dry(&self, call: &'static str, stream: StreamId, timeout: Duration) -> Result<Wait> {
        let start = Instant::now();
        while self.lock(call)?.streams.get(&stream.0).is_some_and(|works| !works.is_empty()) {
            if start.elapsed() > timeout {
                return Ok(Wait::TimedOut);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(Wait::Done)
    }

    fn refuse<T>(call: &'static str) -> Result<T> {
        Err(Error::Driver { call, message: "a served NIC has no use for this call".to_string() })
    }
}

impl Driver for MemoryDriver {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64) -> Result<DevicePtr> {
        drop(self.lock("alloc")?);
        Ok(DevicePtr::new(self.memory.take(bytes)))
    }

    fn free(&self, _ptr: DevicePtr) -> Result<()> {
        Ok(())
    }

    fn alloc_host(&self, bytes: u64) -> Result<HostBlock> {
        drop(self.lock("alloc_host")?);
        let device = self.memory.take(bytes);
        self.lock("alloc_host")?.blocks.insert(device | HOST, bytes);
        Ok(HostBlock { id: device | HOST, device: DevicePtr::new(device), bytes })
    }

    fn free_host(&self, block: &HostBlock) -> Result<()> {
        self.memory.lock().blocks.remove(&block.id);
        Ok(())
    }

    fn read_host(&self, block: &HostBlock, offset: u64, into: &mut [u8]) -> Result<()> {
        let inner = self.lock("read_host")?;
        assert!(inner.blocks.contains_key(&block.id) && offset + into.len() as u64 <= block.bytes);
        // Only whole aligned words come whole from memory that a kernel writes meanwhile.
        assert!(offset.is_multiple_of(8) && into.len().is_multiple_of(8), "{} bytes at {offset}", into.len());
        let range = inner.range("read_host", (block.id ^ HOST) + offset, into.len() as u64)?;
        into.copy_from_slice(&inner.bytes[range]);
        Ok(())
    }

    fn write_host(&self, block: &HostBlock, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut inner = self.lock("write_host")?;
        assert!(inner.blocks.contains_key(&block.id) && offset + bytes.len() as u64 <= block.bytes);
        let range = inner.range("write_host", (block.id ^ HOST) + offset, bytes.len() as u64)?;
        inner.bytes[range].copy_from_slice(bytes);
        Ok(())
    }

    fn check_range(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        self.lock("check_range")?.range("check_range", ptr.address(), bytes).map(|_| ())
    }

    fn export_window(&self, _ptr: DevicePtr) -> Result<WindowHandle> {
        MemoryDriver::refuse("export_window")
    }

    fn import_window(&self, _handle: &WindowHandle) -> Result<DevicePtr> {
        MemoryDriver::refuse("import_window")
    }

    fn release_window(&self, _ptr: DevicePtr) -> Result<()> {
        MemoryDriver::refuse("release_window")
    }

    fn load(&self, _image: &KernelImage) -> Result<FunctionId> {
        MemoryDriver::refuse("load")
    }

    fn attributes(&self, _function: FunctionId) -> Result<FunctionAttributes> {
        MemoryDriver::refuse("attributes")
    }

    fn launch(&self, _launch: &Launch<'_>) -> Result<()> {
        MemoryDriver::refuse("launch")
    }

    fn create_stream(&self, _priority: StreamPriority) -> Result<StreamId> {
        let mut inner = self.lock("create_stream")?;
        inner.names += 1;
        let name = inner.names;
        inner.streams.insert(name, VecDeque::new());
        Ok(StreamId(name))
    }

    fn destroy_stream(&self, stream: StreamId) -> Result<()> {
        let works = self.memory.lock().streams.remove(&stream.0);
        assert!(works.is_none_or(|works| works.is_empty()), "a stream is ended when it has run dry");
        Ok(())
    }

    fn synchronize(&self, stream: StreamId, timeout: Duration) -> Result<Wait> {
        self.wait_dry("synchronize", stream, timeout)
    }

    fn is_idle(&self, stream: StreamId) -> Result<bool> {
        self.wait_dry("is_idle", stream, Duration::ZERO).map(|wait| wait == Wait::Done)
    }

    fn create_event(&self) -> Result<EventId> {
        let mut inner = self.lock("create_event")?;
        inner.names += 1;
        let name = inner.names;
        inner.events.insert(name, (0, 0));
        Ok(EventId(name))
    }

    fn destroy_event(&self, event: EventId) -> Result<()> {
        self.memory.lock().events.remove(&event.0);
        Ok(())
    }

    fn record_event(&self, event: EventId, stream: StreamId) -> Result<()> {
        let count = {
            let mut inner = self.lock("record_event")?;
            let counts = inner.events.entry(event.0).or_default();
            counts.0 += 1;
            counts.0
        };
        self.put("record_event", stream, Work::Record(event.0, count))
    }

    fn stream_wait_event(&self, stream: StreamId, event: EventId) -> Result<()> {
        let count = self.lock("stream_wait_event")?.events.get(&event.0).map_or(0, |&(recorded, _)| recorded);
        self.put("stream_wait_event", stream, Work::WaitFor(event.0, count))
    }

    fn synchronize_event(&self, _event: EventId, _timeout: Duration) -> Result<Wait> {
        MemoryDriver::refuse("synchronize_event")
    }

    fn is_reached(&self, _event: EventId) -> Result<bool> {
        MemoryDriver::refuse("is_reached")
    }

    fn elapsed_ns(&self, _start: EventId, _end: EventId) -> Result<u64> {
        MemoryDriver::refuse("elapsed_ns")
    }

    fn write_word(&self, to: DevicePtr, value: u64, stream: StreamId) -> Result<()> {
        assert!(to.address().is_multiple_of(8));
        self.copy_to_device(to, &value.to_le_bytes(), stream)
    }

    fn copy_to_device(&self, to: DevicePtr, bytes: &[u8], stream: StreamId) -> Result<()> {
        self.lock("copy_to_device")?.range("copy_to_device", to.address(), bytes.len() as u64)?;
        self.put("copy_to_device", stream, Work::Write { to: to.address(), bytes: bytes.to_vec() })
    }

    fn copy_from_device(&self, into: &mut [u8], from: DevicePtr, stream: StreamId) -> Result<()> {
        const CALL: &str = "copy_from_device";
        if self.wait_dry(CALL, stream, PATIENCE)? == Wait::TimedOut {
            return Err(Error::Driver { call: CALL, message: "the stream is held".to_string() });
        }
        let inner = self.lock(CALL)?;
        let range = inner.range(CALL, from.address(), into.len() as u64)?;
        into.copy_from_slice(&inner.bytes[range]);
        Ok(())
    }

    fn copy_to_host(&self, _: &HostBlock, _: u64, _: DevicePtr, _: u64, _: StreamId) -> Result<()> {
        MemoryDriver::refuse("copy_to_host")
    }

    fn copy_within(&self, to: DevicePtr, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()> {
        let (to, from) = (to.address(), from.address());
        for address in [to, from] {
            self.lock("copy_within")?.range("copy_within", address, bytes)?;
        }
        self.put("copy_within", stream, Work::Copy { to, from, bytes })
    }

    fn fill(&self, to: DevicePtr, byte: u8, bytes: u64, stream: StreamId) -> Result<()> {
        self.lock("fill")?.range("fill", to.address(), bytes)?;
        self.put("fill", stream, Work::Fill { to: to.address(), byte, bytes })
    }

    fn wait_word(
        &self,
        _block: &HostBlock,
        _offset: u64,
        _at_least: u64,
        _stream: StreamId,
        _timeout: Duration,
    ) -> Result<WordWait> {
        MemoryDriver::refuse("wait_word")
    }
}
