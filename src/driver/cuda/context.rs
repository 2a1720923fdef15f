//! A CUDA context and what its drivers share: memory, modules, streams' number.
//!
//! Every call makes the context current for its own length and then puts back what was current: a caller's own context
//! is never disturbed.

use std::any::Any;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cudarc::driver::sys::{CUcontext, CUdevice, CUevent};

use super::api::{self, Api};
use super::arena::Arena;
use super::module::Loaded;
use crate::error::{Error, Result};

/// Size of the blocks that device and host memory are taken in, at least.
const DEVICE_BLOCK_BYTES: u64 = 64 << 20;
const HOST_BLOCK_BYTES: u64 = 4 << 20;

/// What a context's GPU is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Number of the GPU, as the driver counts.
    pub ordinal: u32,
    /// Name.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute: (u32, u32),
    /// SMs.
    pub sms: u32,
    /// Most shared memory of a CTA in bytes, by opt-in.
    pub shared_bytes: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Version that the driver supports, 1000 x major + 10 x minor.
    pub driver_version: u32,
}

/// A context, ours or a caller's.
pub(super) struct Context {
    pub api: &'static Api,
    raw: Handle,
    device: CUdevice,
    pub facts: DeviceFacts,
    memory: Mutex<Pool>,
    host: Mutex<Pool>,
    pub modules: Mutex<HashMap<(usize, bool), Loaded>>,
    /// Streams alive that drivers of this context made.
    pub streams: AtomicU32,
    /// Events without times, for reuse.
    events: Mutex<Vec<EventHandle>>,
    /// Holds the context alive, unless a caller has promised to. Goes last, after all that is ours in the context.
    keeper: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

/// A reference of ours to a GPU's primary context.
struct Retained {
    api: &'static Api,
    device: CUdevice,
}

impl Drop for Retained {
    fn drop(&mut self) {
        // SAFETY: made behind a successful cuDevicePrimaryCtxRetain, and released once.
        unsafe { (self.api.cuDevicePrimaryCtxRelease_v2)(self.device) };
    }
}

/// A context's handle. The driver allows its use from every thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Handle(CUcontext);

// SAFETY: a context may be made current on any thread; the pointer itself is never followed here.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// An event's handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventHandle(pub CUevent);

// SAFETY: events may be used from any thread; the pointer is never followed here.
unsafe impl Send for EventHandle {}
// SAFETY: as above.
unsafe impl Sync for EventHandle {}

/// Memory of one kind: pieces of blocks, and pieces whose last use is not over.
#[derive(Default)]
struct Pool {
    arena: Arena,
    /// Where the device sees a host block, by the block's start.
    mapped: HashMap<u64, u64>,
    /// Pieces given back, each with events after which nothing uses it.
    resting: Vec<(u64, Vec<EventHandle>)>,
    /// Bytes that drivers asked to have at hand.
    promised: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Contexts that are alive, so that all drivers of one share its memory.
static CONTEXTS: Mutex<Vec<(Handle, Weak<Context>)>> = Mutex::new(Vec::new());

impl Context {
    /// The primary context of GPU `ordinal`.
    pub fn primary(ordinal: usize) -> Result<Arc<Context>> {
        let api = api::api()?;
        let mut count = 0;
        // SAFETY: one integer is written.
        api.check("cuDeviceGetCount", unsafe { (api.cuDeviceGetCount)(&mut count) })?;
        if ordinal >= count as usize {
            return Err(Error::argument("gpu", ordinal, format!("below {count}, the number of GPUs")));
        }
        let (mut device, mut raw) = (0, std::ptr::null_mut());
        // SAFETY: `ordinal` is a GPU; both calls write one value.
        api.check("cuDeviceGet", unsafe { (api.cuDeviceGet)(&mut device, ordinal as c_int) })?;
        // SAFETY: as above; the reference taken is `Retained`'s to release.
        api.check("cuDevicePrimaryCtxRetain", unsafe { (api.cuDevicePrimaryCtxRetain)(&mut raw, device) })?;
        let retained = Retained { api, device };
        let context = Context::shared(api, raw, device, ordinal as u32)?;
        context.keep(Box::new(retained));
        Ok(context)
    }

    /// A caller's context, which must outlive the result, or be kept by what [`Context::keep`] is given.
    ///
    /// # Safety
    /// `raw` must be a live context.
    pub unsafe fn lent(raw: *mut c_void) -> Result<Arc<Context>> {
        let api = api::api()?;
        let raw: CUcontext = raw.cast();
        if raw.is_null() {
            return Err(Error::argument("context", "null", "a CUDA context"));
        }
        let mut device = 0;
        current(api, raw, || api.check("cuCtxGetDevice", unsafe { (api.cuCtxGetDevice)(&mut device) }))?;
        Context::shared(api, raw, device, device as u32)
    }

    /// Holds `keeper`, which keeps the context alive, until this goes. One is enough: another is dropped at once.
    pub fn keep(&self, keeper: Box<dyn Any + Send + Sync>) {
        let mut kept = lock(&self.keeper);
        let spare = match *kept {
            Some(_) => Some(keeper),
            None => kept.replace(keeper),
        };
        drop(kept);
        // Without the lock: a caller's keeper may do what it likes.
        drop(spare);
    }

    fn shared(api: &'static Api, raw: CUcontext, device: CUdevice, ordinal: u32) -> Result<Arc<Context>> {
        let mut contexts = lock(&CONTEXTS);
        contexts.retain(|(_, weak)| weak.strong_count() > 0);
        if let Some(found) = contexts.iter().find(|(handle, _)| handle.0 == raw).and_then(|(_, weak)| weak.upgrade()) {
            return Ok(found);
        }
        let facts = facts(api, device, ordinal)?;
        let context = Arc::new(Context {
            api,
            raw: Handle(raw),
            device,
            facts,
            memory: Mutex::default(),
            host: Mutex::default(),
            modules: Mutex::default(),
            streams: AtomicU32::new(0),
            events: Mutex::default(),
            keeper: Mutex::default(),
        });
        contexts.push((context.raw, Arc::downgrade(&context)));
        Ok(context)
    }

    /// The raw handle, for window handles and interoperation.
    pub fn raw(&self) -> CUcontext {
        self.raw.0
    }

    /// Does `act` with the context current.
    pub fn with<T>(&self, act: impl FnOnce(&'static Api) -> Result<T>) -> Result<T> {
        current(self.api, self.raw.0, || act(self.api))
    }

    /// Device memory.
    pub fn alloc(&self, bytes: u64) -> Result<u64> {
        if let Some(address) = self.take(&self.memory, bytes) {
            return Ok(address);
        }
        // Without the lock: the driver may wait for running kernels, and others must not wait for it meanwhile.
        let (base, taken) = self.device_block(bytes)?;
        let mut pool = lock(&self.memory);
        pool.arena.add(base, taken);
        pool.arena.take(bytes).ok_or_else(|| no_room("alloc", bytes))
    }

    /// A piece of what is at hand.
    fn take(&self, pool: &Mutex<Pool>, bytes: u64) -> Option<u64> {
        let mut pool = lock(pool);
        self.sweep(&mut pool);
        pool.arena.take(bytes)
    }

    /// Has `bytes` more of device memory at hand than was asked for so far.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        let lacking = {
            let mut pool = lock(&self.memory);
            self.sweep(&mut pool);
            pool.promised = pool.promised.saturating_add(bytes);
            pool.promised.saturating_sub(pool.arena.free_bytes())
        };
        if lacking == 0 {
            return Ok(());
        }
        // Whole, so that the pieces asked for later fit.
        let (base, taken) = self.device_block(lacking.max(bytes)).inspect_err(|_| self.unreserve(bytes))?;
        lock(&self.memory).arena.add(base, taken);
        Ok(())
    }

    /// What a driver reserved is no longer needed.
    pub fn unreserve(&self, bytes: u64) {
        let mut pool = lock(&self.memory);
        pool.promised = pool.promised.saturating_sub(bytes);
    }

    /// Takes device memory back once `events` are reached.
    pub fn free(&self, address: u64, events: Vec<EventHandle>) -> Result<()> {
        give(&mut lock(&self.memory), "free", address, events)
    }

    /// Size of a piece of device memory that starts at `address`.
    pub fn size(&self, address: u64) -> Option<u64> {
        lock(&self.memory).arena.size(address)
    }

    /// Host memory that the device has mapped: its addresses on the host and on the device.
    pub fn alloc_host(&self, bytes: u64) -> Result<(u64, u64)> {
        let address = match self.take(&self.host, bytes) {
            Some(address) => address,
            None => {
                self.add_host_block(bytes)?;
                lock(&self.host).arena.take(bytes).ok_or_else(|| no_room("alloc_host", bytes))?
            }
        };
        let pool = lock(&self.host);
        let (base, _) = pool.arena.block(address).ok_or_else(|| no_room("alloc_host", bytes))?;
        let device = pool.mapped.get(&base).copied().unwrap_or(base);
        Ok((address, device + (address - base)))
    }

    /// Makes sure that `bytes` of host memory are at hand in one piece.
    pub fn reserve_host(&self, bytes: u64) -> Result<()> {
        let at_hand = {
            let mut pool = lock(&self.host);
            self.sweep(&mut pool);
            pool.arena.largest_free()
        };
        if at_hand >= bytes {
            return Ok(());
        }
        self.add_host_block(bytes)
    }

    /// Takes host memory back once `events` are reached.
    pub fn free_host(&self, address: u64, events: Vec<EventHandle>) -> Result<()> {
        give(&mut lock(&self.host), "free_host", address, events)
    }

    /// Size of a piece of host memory that starts at `address`.
    pub fn host_size(&self, address: u64) -> Option<u64> {
        lock(&self.host).arena.size(address)
    }

    /// Gives blocks of which nothing is in use back to the system. Call it when no kernel runs: the driver may wait for
    /// all of them.
    pub fn trim(&self) -> Result<()> {
        let blocks = {
            let mut pool = lock(&self.memory);
            self.sweep(&mut pool);
            pool.arena.idle_blocks()
        };
        // SAFETY: nothing of the block is handed out, and it is in no list any more.
        let freed = |block| self.with(|api| api.check("cuMemFree_v2", unsafe { (api.cuMemFree_v2)(block) }));
        // All of them, whatever fails; the first error.
        let ended: Vec<Result<()>> = blocks.into_iter().map(freed).collect();
        ended.into_iter().collect()
    }

    /// An event without a time.
    pub fn event(&self) -> Result<EventHandle> {
        if let Some(event) = lock(&self.events).pop() {
            return Ok(event);
        }
        self.with(|api| {
            let mut event = std::ptr::null_mut();
            // SAFETY: one handle is written.
            api.check("cuEventCreate", unsafe { (api.cuEventCreate)(&mut event, api::EVENT_DISABLE_TIMING) })?;
            Ok(EventHandle(event))
        })
    }

    /// Whether everything before the event's record is done.
    pub fn reached(&self, event: EventHandle) -> Result<bool> {
        // SAFETY: events are destroyed with their context only, or by their driver.
        self.with(|api| api.ready("cuEventQuery", unsafe { (api.cuEventQuery)(event.0) }))
    }

    /// Takes an event back.
    pub fn recycle(&self, event: EventHandle) {
        lock(&self.events).push(event);
    }

    /// Hands pieces out again whose last use is over.
    fn sweep(&self, pool: &mut Pool) {
        let mut kept = Vec::new();
        for (address, mut events) in std::mem::take(&mut pool.resting) {
            while let Some(&event) = events.last() {
                // A context that has failed runs nothing any more.
                if !self.reached(event).unwrap_or(true) {
                    break;
                }
                self.recycle(event);
                events.pop();
            }
            if events.is_empty() {
                pool.arena.give(address);
            } else {
                kept.push((address, events));
            }
        }
        pool.resting = kept;
    }

    /// A block of device memory with room for `bytes`: start and size. Nothing is given back to make room: that waits for
    /// running kernels.
    fn device_block(&self, bytes: u64) -> Result<(u64, u64)> {
        let exact =
            bytes.max(1).checked_next_multiple_of(super::arena::GRAIN).ok_or_else(|| no_room("alloc", bytes))?;
        let mut address = 0;
        let mut last = Ok(());
        for wanted in [exact.max(DEVICE_BLOCK_BYTES), exact] {
            // SAFETY: one address is written.
            let code = self.with(|api| Ok(unsafe { (api.cuMemAlloc_v2)(&mut address, wanted as usize) }))?;
            last = self.api.check("cuMemAlloc_v2", code);
            match &last {
                Ok(()) => return Ok((address, wanted)),
                Err(_) if code == api::OUT_OF_MEMORY => {}
                Err(_) => break,
            }
        }
        let at_hand = lock(&self.memory).arena.free_bytes();
        let name = &self.facts.name;
        let more =
            format!("{bytes} bytes on {name}; {at_hand} bytes here are free in pieces, `Gpu::trim` gives them back");
        last.map_err(|error| error.of_driver(&more)).map(|()| (address, exact))
    }

    fn add_host_block(&self, bytes: u64) -> Result<()> {
        let taken = bytes.max(HOST_BLOCK_BYTES);
        let (host, device) = self.with(|api| {
            let (mut host, mut device) = (std::ptr::null_mut(), 0);
            let flags = api::HOST_PORTABLE | api::HOST_DEVICE_MAP;
            // SAFETY: one pointer is written.
            let code = unsafe { (api.cuMemHostAlloc)(&mut host, taken as usize, flags) };
            let more = format!("{taken} bytes of host memory for the GPU");
            api.check("cuMemHostAlloc", code).map_err(|error| error.of_driver(&more))?;
            // SAFETY: `host` was just allocated with a device mapping.
            let mapped = unsafe { (api.cuMemHostGetDevicePointer_v2)(&mut device, host, 0) };
            api.check("cuMemHostGetDevicePointer_v2", mapped).inspect_err(|_| {
                // SAFETY: allocated above, and known to nobody.
                unsafe { (api.cuMemFreeHost)(host) };
            })?;
            Ok((host as u64, device))
        })?;
        let mut pool = lock(&self.host);
        pool.arena.add(host, taken);
        pool.mapped.insert(host, device);
        Ok(())
    }
}

fn give(pool: &mut Pool, call: &'static str, address: u64, events: Vec<EventHandle>) -> Result<()> {
    let resting = pool.resting.iter().any(|&(other, _)| other == address);
    if pool.arena.size(address).is_none() || resting {
        return Err(Error::Driver { call, message: format!("{address:#x} is no allocation") });
    }
    pool.resting.push((address, events));
    Ok(())
}

fn no_room(call: &'static str, bytes: u64) -> Error {
    Error::Driver { call, message: format!("no room for {bytes} bytes") }
}

/// Does `act` while `context` is current on this thread.
pub(super) fn current<T>(api: &'static Api, context: CUcontext, act: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: the context is alive: its owner holds it.
    api.check("cuCtxPushCurrent_v2", unsafe { (api.cuCtxPushCurrent_v2)(context) })?;
    let result = act();
    let mut popped = std::ptr::null_mut();
    // SAFETY: pushed above.
    let code = unsafe { (api.cuCtxPopCurrent_v2)(&mut popped) };
    let value = result?;
    api.check("cuCtxPopCurrent_v2", code)?;
    Ok(value)
}

fn facts(api: &'static Api, device: CUdevice, ordinal: u32) -> Result<DeviceFacts> {
    let attribute = |which: c_int| {
        let mut value = 0;
        // SAFETY: one integer is written.
        let code = unsafe { (api.cuDeviceGetAttribute)(&mut value, which, device) };
        api.check("cuDeviceGetAttribute", code).map(|()| u32::try_from(value).unwrap_or(0))
    };
    let mut memory_bytes = 0;
    // SAFETY: one size is written.
    api.check("cuDeviceTotalMem_v2", unsafe { (api.cuDeviceTotalMem_v2)(&mut memory_bytes, device) })?;
    Ok(DeviceFacts {
        ordinal,
        name: name(api, device)?,
        compute: (attribute(api::DEVICE_COMPUTE_MAJOR)?, attribute(api::DEVICE_COMPUTE_MINOR)?),
        sms: attribute(api::DEVICE_MULTIPROCESSOR_COUNT)?,
        shared_bytes: attribute(api::DEVICE_SHARED_PER_BLOCK_OPTIN)?,
        memory_bytes: memory_bytes as u64,
        driver_version: api::version()? as u32,
    })
}

fn name(api: &'static Api, device: CUdevice) -> Result<String> {
    let mut text = [0_u8; 256];
    // SAFETY: the length passed is the buffer's; the driver ends the text with NUL.
    let code = unsafe { (api.cuDeviceGetName)(text.as_mut_ptr().cast(), text.len() as c_int, device) };
    api.check("cuDeviceGetName", code)?;
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// What is known of every GPU, without a context.
pub(super) fn all_facts() -> Result<Vec<DeviceFacts>> {
    let api = api::api()?;
    let mut count = 0;
    // SAFETY: one integer is written.
    api.check("cuDeviceGetCount", unsafe { (api.cuDeviceGetCount)(&mut count) })?;
    (0..count)
        .map(|ordinal| {
            let mut device = 0;
            // SAFETY: `ordinal` is a GPU; one value is written.
            api.check("cuDeviceGet", unsafe { (api.cuDeviceGet)(&mut device, ordinal) })?;
            facts(api, device, ordinal as u32)
        })
        .collect()
}

impl Context {
    /// Number of streams now alive, this one included.
    pub fn count_stream(&self) -> u32 {
        self.streams.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One stream less.
    pub fn uncount_stream(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// The GPU's handle.
    pub fn device(&self) -> CUdevice {
        self.device
    }
}

impl Drop for Context {
    /// Everything of ours goes. Nothing runs any more: communicators hold their drivers, and those hold this.
    fn drop(&mut self) {
        for pool in [&self.memory, &self.host] {
            let resting = std::mem::take(&mut lock(pool).resting);
            lock(&self.events).extend(resting.into_iter().flat_map(|(_, events)| events));
        }
        let freed = self.with(|api| {
            // All of it, whatever fails; the first error is told.
            let mut ended = Vec::new();
            for event in lock(&self.events).drain(..) {
                // SAFETY: ours, and recorded nowhere that still runs.
                ended.push(api.check("cuEventDestroy_v2", unsafe { (api.cuEventDestroy_v2)(event.0) }));
            }
            ended.extend(lock(&self.modules).drain().map(|(_, loaded)| loaded.unload(api)));
            for block in lock(&self.memory).arena.blocks() {
                // SAFETY: a block that `device_block` took.
                ended.push(api.check("cuMemFree_v2", unsafe { (api.cuMemFree_v2)(block) }));
            }
            for block in lock(&self.host).arena.blocks() {
                // SAFETY: a block that `add_host_block` took.
                ended.push(api.check("cuMemFreeHost", unsafe { (api.cuMemFreeHost)(block as *mut c_void) }));
            }
            ended.into_iter().collect::<Result<()>>()
        });
        if let Err(error) = freed {
            tracing::warn!(%error, "a CUDA context was left with memory of ours");
        }
    }
}

/// The living context with this raw handle.
pub(super) fn peer_of(raw: u64) -> Option<Arc<Context>> {
    lock(&CONTEXTS).iter().find(|(handle, _)| handle.0 as u64 == raw).and_then(|(_, weak)| weak.upgrade())
}
