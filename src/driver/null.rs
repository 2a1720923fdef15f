//! A driver that does nothing: kernels end at once, words are reached, device memory reads as zeros.
//!
//! It measures what the host side costs and shows which calls an operation makes. Host-mapped memory is real, so
//! status areas and totals can be read; they hold what the host wrote.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Backend, Driver, DriverId, DriverInfo, EventId, FunctionAttributes, FunctionId, GraphId, Launch, StreamId,
    StreamPriority, Wait, WordWait,
};
use crate::error::{Error, Result};
use crate::kernel::KernelImage;
use crate::mem::{DevicePtr, HostBlock, WindowHandle};

/// Alignment of addresses.
const ALIGN: u64 = 256;

/// The driver that does nothing.
#[derive(Debug)]
pub struct NullDriver {
    info: DriverInfo,
    next_address: AtomicU64,
    next_name: AtomicU64,
    blocks: Mutex<HashMap<u64, Vec<u8>>>,
    functions: Mutex<Vec<FunctionAttributes>>,
}

impl NullDriver {
    /// A driver with the sizes of an H100.
    pub fn new() -> NullDriver {
        NullDriver {
            info: DriverInfo {
                id: DriverId::next(),
                name: "null".to_string(),
                sms: 132,
                shared_bytes: crate::plan::launch::SHARED_BYTES_MAX,
                memory_bytes: 80 << 30,
                backend: Backend::Null,
                gpu: None,
            },
            next_address: AtomicU64::new(1 << 32),
            next_name: AtomicU64::new(1),
            blocks: Mutex::default(),
            functions: Mutex::default(),
        }
    }

    fn take(&self, bytes: u64) -> u64 {
        self.next_address.fetch_add(bytes.next_multiple_of(ALIGN).max(ALIGN), Ordering::Relaxed)
    }

    fn blocks(&self) -> MutexGuard<'_, HashMap<u64, Vec<u8>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn functions(&self) -> MutexGuard<'_, Vec<FunctionAttributes>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The range `offset..offset + bytes` of a block, handed to `act`.
    fn with_block<T>(
        &self,
        call: &'static str,
        block: &HostBlock,
        offset: u64,
        bytes: usize,
        act: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T> {
        let mut blocks = self.blocks();
        let range = offset as usize..(offset as usize).saturating_add(bytes);
        match blocks.get_mut(&block.id).and_then(|contents| contents.get_mut(range)) {
            Some(slice) => Ok(act(slice)),
            None => Err(Error::Driver {
                call,
                message: format!("{bytes} bytes at offset {offset} are outside the block {block:?}"),
            }),
        }
    }
}

impl Default for NullDriver {
    fn default() -> Self {
        NullDriver::new()
    }
}

impl Driver for NullDriver {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64) -> Result<DevicePtr> {
        Ok(DevicePtr::new(self.take(bytes)))
    }

    fn free(&self, _ptr: DevicePtr) -> Result<()> {
        Ok(())
    }

    fn check_range(&self, _ptr: DevicePtr, _bytes: u64) -> Result<()> {
        Ok(())
    }

    fn alloc_host(&self, bytes: u64) -> Result<HostBlock> {
        let id = self.take(bytes);
        self.blocks().insert(id, vec![0; bytes as usize]);
        Ok(HostBlock { id, device: DevicePtr::new(id), bytes })
    }

    fn free_host(&self, block: &HostBlock) -> Result<()> {
        self.blocks().remove(&block.id);
        Ok(())
    }

    fn read_host(&self, block: &HostBlock, offset: u64, into: &mut [u8]) -> Result<()> {
        self.with_block("read_host", block, offset, into.len(), |slice| into.copy_from_slice(slice))
    }

    fn write_host(&self, block: &HostBlock, offset: u64, bytes: &[u8]) -> Result<()> {
        self.with_block("write_host", block, offset, bytes.len(), |slice| slice.copy_from_slice(bytes))
    }

    fn export_window(&self, ptr: DevicePtr) -> Result<WindowHandle> {
        let mut handle = [0; 64];
        handle[..8].copy_from_slice(&ptr.address().to_le_bytes());
        Ok(WindowHandle(handle))
    }

    fn import_window(&self, handle: &WindowHandle) -> Result<DevicePtr> {
        let address = handle.0.first_chunk::<8>().expect("a window handle has 64 bytes");
        Ok(DevicePtr::new(u64::from_le_bytes(*address)))
    }

    fn release_window(&self, _ptr: DevicePtr) -> Result<()> {
        Ok(())
    }

    fn load(&self, image: &KernelImage) -> Result<FunctionId> {
        let mut functions = self.functions();
        functions.push(FunctionAttributes {
            static_shared: image.static_shared,
            max_threads: image.max_threads,
            argument_bytes: image.argument_bytes(),
        });
        Ok(FunctionId(functions.len() as u64 - 1))
    }

    fn attributes(&self, function: FunctionId) -> Result<FunctionAttributes> {
        self.functions()
            .get(function.0 as usize)
            .cloned()
            .ok_or_else(|| Error::Driver { call: "attributes", message: format!("no function {}", function.0) })
    }

    fn launch(&self, _launch: &Launch<'_>) -> Result<()> {
        Ok(())
    }

    fn create_stream(&self, _priority: StreamPriority) -> Result<StreamId> {
        Ok(StreamId(self.next_name.fetch_add(1, Ordering::Relaxed)))
    }

    fn destroy_stream(&self, _stream: StreamId) -> Result<()> {
        Ok(())
    }

    fn synchronize(&self, _stream: StreamId, _timeout: Duration) -> Result<Wait> {
        Ok(Wait::Done)
    }

    fn is_idle(&self, _stream: StreamId) -> Result<bool> {
        Ok(true)
    }

    fn create_event(&self) -> Result<EventId> {
        Ok(EventId(self.next_name.fetch_add(1, Ordering::Relaxed)))
    }

    fn destroy_event(&self, _event: EventId) -> Result<()> {
        Ok(())
    }

    fn record_event(&self, _event: EventId, _stream: StreamId) -> Result<()> {
        Ok(())
    }

    fn stream_wait_event(&self, _stream: StreamId, _event: EventId) -> Result<()> {
        Ok(())
    }

    fn synchronize_event(&self, _event: EventId, _timeout: Duration) -> Result<Wait> {
        Ok(Wait::Done)
    }

    fn is_reached(&self, _event: EventId) -> Result<bool> {
        Ok(true)
    }

    fn elapsed_ns(&self, _start: EventId, _end: EventId) -> Result<u64> {
        Ok(0)
    }

    fn write_word(&self, _to: DevicePtr, _value: u64, _stream: StreamId) -> Result<()> {
        Ok(())
    }

    fn copy_to_device(&self, _to: DevicePtr, _bytes: &[u8], _stream: StreamId) -> Result<()> {
        Ok(())
    }

    fn copy_from_device(&self, into: &mut [u8], _from: DevicePtr, _stream: StreamId) -> Result<()> {
        into.fill(0);
        Ok(())
    }

    fn copy_to_host(
        &self,
        into: &HostBlock,
        offset: u64,
        _from: DevicePtr,
        bytes: u64,
        _stream: StreamId,
    ) -> Result<()> {
        self.with_block("copy_to_host", into, offset, bytes as usize, |slice| slice.fill(0))
    }

    fn copy_within(&self, _to: DevicePtr, _from: DevicePtr, _bytes: u64, _stream: StreamId) -> Result<()> {
        Ok(())
    }

    fn fill(&self, _to: DevicePtr, _byte: u8, _bytes: u64, _stream: StreamId) -> Result<()> {
        Ok(())
    }

    fn wait_word(
        &self,
        block: &HostBlock,
        offset: u64,
        at_least: u64,
        _stream: StreamId,
        _timeout: Duration,
    ) -> Result<WordWait> {
        self.with_block("wait_word", block, offset, 8, |word| word.copy_from_slice(&at_least.to_le_bytes()))?;
        Ok(WordWait::Reached)
    }

    fn begin_capture(&self, _stream: StreamId) -> Result<()> {
        Ok(())
    }

    fn end_capture(&self, _stream: StreamId) -> Result<GraphId> {
        Ok(GraphId(self.next_name.fetch_add(1, Ordering::Relaxed)))
    }

    fn launch_graph(&self, _graph: GraphId, _stream: StreamId) -> Result<()> {
        Ok(())
    }

    fn destroy_graph(&self, _graph: GraphId) -> Result<()> {
        Ok(())
    }
}
