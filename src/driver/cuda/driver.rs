//! [`Driver`] over one CUDA context: one of these a rank; ranks that share a GPU share its context.

use std::any::Any;
use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cudarc::driver::sys::CUstream;

use super::api;
use super::context::{Context, EventHandle};
use super::graph::{self, GraphHandle};
use super::hostmem::HostMemory;
use super::module::{self, Loaded};
use super::staging;
use super::wait::{self, Deadline};
use super::window;
use crate::driver::capture::Captures;
use crate::driver::{
    Driver, DriverInfo, EventId, FunctionAttributes, FunctionId, GraphId, Launch, RawHandles, StreamId, StreamPriority,
    Wait, WordWait,
};
use crate::error::{Error, Result};
use crate::kernel::KernelImage;
use crate::mem::{DevicePtr, HostBlock, WindowHandle};

/// Driver of one rank.
pub struct CudaDriver {
    pub(super) context: Arc<Context>,
    info: DriverInfo,
    /// Kernels are compiled by the driver even where the build has a cubin.
    compile: bool,
    /// Most streams that the context may have, when ranks share the GPU.
    streams_max: Option<u32>,
    names: AtomicU64,
    /// Bytes reserved with the context.
    reserved: AtomicU64,
    streams: Mutex<HashMap<u64, StreamHandle>>,
    events: Mutex<HashMap<u64, EventHandle>>,
    functions: Mutex<HashMap<u64, Loaded>>,
    graphs: Mutex<HashMap<u64, GraphHandle>>,
    captures: Captures,
    /// Memory given back while a stream captured, which takes no mark: where it starts, and whether it is the host's.
    late: Mutex<Vec<(u64, bool)>>,
    /// What keeps lent streams alive.
    keepers: Mutex<HashMap<u64, Box<dyn Any + Send + Sync>>>,
}

/// A stream, ours or a caller's.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamHandle {
    pub raw: CUstream,
    owned: bool,
}

// SAFETY: streams may be used from any thread; the pointer is never followed here.
unsafe impl Send for StreamHandle {}
// SAFETY: as above.
unsafe impl Sync for StreamHandle {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing(call: &'static str, what: &str, name: u64) -> Error {
    Error::Driver { call, message: format!("no {what} {name}") }
}

impl CudaDriver {
    pub(super) fn new(context: Arc<Context>, info: DriverInfo, compile: bool, streams_max: Option<u32>) -> CudaDriver {
        CudaDriver {
            context,
            info,
            compile,
            streams_max,
            names: AtomicU64::new(1),
            reserved: AtomicU64::new(0),
            streams: Mutex::default(),
            events: Mutex::default(),
            functions: Mutex::default(),
            graphs: Mutex::default(),
            captures: Captures::default(),
            late: Mutex::default(),
            keepers: Mutex::default(),
        }
    }

    /// Lends a caller's stream to the driver; [`Driver::destroy_stream`] on it only forgets it.
    ///
    /// # Safety
    /// `raw` must be a live `CUstream` that lives until it is forgotten.
    ///
    /// # Errors
    /// [`Error::Argument`] when the stream is of another context, or a default stream, which synchronizes with others.
    pub unsafe fn lend_stream(&self, raw: *mut c_void) -> Result<StreamId> {
        if (raw as usize) < 3 {
            return Err(Error::argument(
                "stream",
                format!("{raw:?}"),
                "a stream made by cuStreamCreate, no default stream",
            ));
        }
        let raw: CUstream = raw.cast();
        let mut owner = std::ptr::null_mut();
        let refused = |what: String| Error::argument("stream", what, "a stream of the driver's context");
        // SAFETY: the stream is alive by the caller's promise; one handle is written.
        let asked =
            self.context.with(|api| api.check("cuStreamGetCtx", unsafe { (api.cuStreamGetCtx)(raw, &mut owner) }));
        asked.map_err(|error| refused(format!("{raw:?}, of which {error}")))?;
        if owner != self.context.raw() {
            return Err(refused(format!("{raw:?} of another context")));
        }
        self.context.count_stream();
        Ok(self.add_stream(StreamHandle { raw, owned: false }))
    }

    /// The same for a stream that `keeper` keeps alive: it is dropped when the stream is forgotten.
    ///
    /// # Safety
    /// `raw` must be a live `CUstream` for as long as `keeper` lives.
    ///
    /// # Errors
    /// As [`CudaDriver::lend_stream`].
    pub unsafe fn lend_kept_stream(&self, raw: *mut c_void, keeper: Box<dyn Any + Send + Sync>) -> Result<StreamId> {
        // SAFETY: the caller's promise, and the keeper is held until the stream is forgotten.
        let stream = unsafe { self.lend_stream(raw) }?;
        lock(&self.keepers).insert(stream.0, keeper);
        Ok(stream)
    }

    /// The `CUstream` behind a stream of this driver.
    ///
    /// # Errors
    /// [`Error::Driver`] when it is none.
    pub fn raw_stream(&self, stream: StreamId) -> Result<*mut c_void> {
        self.stream("raw_stream", stream).map(|stream| stream.raw.cast())
    }

    /// The `CUcontext` of this driver.
    pub fn raw_context(&self) -> *mut c_void {
        self.context.raw().cast()
    }

    fn name(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    fn add_stream(&self, stream: StreamHandle) -> StreamId {
        let name = self.name();
        lock(&self.streams).insert(name, stream);
        StreamId(name)
    }

    pub(super) fn stream(&self, call: &'static str, stream: StreamId) -> Result<StreamHandle> {
        lock(&self.streams).get(&stream.0).copied().ok_or_else(|| missing(call, "stream", stream.0))
    }

    fn event(&self, call: &'static str, event: EventId) -> Result<EventHandle> {
        lock(&self.events).get(&event.0).copied().ok_or_else(|| missing(call, "event", event.0))
    }

    fn loaded(&self, call: &'static str, function: FunctionId) -> Result<Loaded> {
        lock(&self.functions).get(&function.0).cloned().ok_or_else(|| missing(call, "function", function.0))
    }

    /// Events behind everything that this driver's streams hold now.
    fn marks(&self) -> Vec<EventHandle> {
        // Under the lock: a stream that is in the list is not ended by another thread meanwhile.
        let streams = lock(&self.streams);
        // A stream that takes no mark has failed, and with it its context, which runs nothing any more.
        streams.values().filter_map(|stream| staging::mark(&self.context, stream.raw).ok()).collect()
    }

    /// Takes a piece of memory back, the host's or the device's, once nothing uses it.
    fn give_back(&self, address: u64, of_host: bool) -> Result<()> {
        lock(&self.late).push((address, of_host));
        self.give_back_late()
    }

    /// The same for all that was given back while a stream captured.
    fn give_back_late(&self) -> Result<()> {
        // Kept locked while the marks are made, so that no capture of ours begins meanwhile.
        let mut late = lock(&self.late);
        if self.captures.any() || self.lent_stream_captures() {
            return Ok(());
        }
        let give = |(address, of_host)| match of_host {
            true => self.context.free_host(address, self.marks()),
            false => self.context.free(address, self.marks()),
        };
        // All of it, whatever fails; the first error.
        let given: Vec<Result<()>> = std::mem::take(&mut *late).into_iter().map(give).collect();
        given.into_iter().collect()
    }

    /// Whether a caller captures the stream that it lends.
    fn lent_stream_captures(&self) -> bool {
        let streams = lock(&self.streams);
        streams.values().any(|stream| !stream.owned && graph::is_capturing(&self.context, stream.raw).unwrap_or(false))
    }

    fn graph(&self, call: &'static str, graph: GraphId) -> Result<GraphHandle> {
        lock(&self.graphs).get(&graph.0).copied().ok_or_else(|| missing(call, "graph", graph.0))
    }

    fn idle(&self, stream: StreamHandle) -> Result<bool> {
        // SAFETY: the stream is alive: it is in the list.
        self.context.with(|api| api.ready("cuStreamQuery", unsafe { (api.cuStreamQuery)(stream.raw) }))
    }

    fn host(&self, call: &'static str, block: &HostBlock, offset: u64, bytes: u64) -> Result<HostMemory> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= block.bytes);
        if !inside || self.context.host_size(block.id).is_none_or(|size| block.bytes > size) {
            let message = format!("{bytes} bytes at offset {offset} are outside the block {block:?}");
            return Err(Error::Driver { call, message });
        }
        // SAFETY: the block is handed out and the range lies inside it.
        Ok(unsafe { HostMemory::new(block.id + offset, bytes) })
    }
}

impl fmt::Debug for CudaDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaDriver").field("gpu", &self.context.facts.ordinal).finish_non_exhaustive()
    }
}

impl Driver for CudaDriver {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64) -> Result<DevicePtr> {
        self.captures.refuse("alloc")?;
        self.context.alloc(bytes).map(DevicePtr::new)
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        self.captures.refuse("reserve")?;
        self.context.reserve(bytes)?;
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn free(&self, ptr: DevicePtr) -> Result<()> {
        self.give_back(ptr.address(), false)
    }

    fn check_range(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        let valid = || format!("memory of GPU {} that holds {bytes} bytes from there", self.context.facts.ordinal);
        let (mut start, mut size, mut owner) = (0_u64, 0_usize, std::ptr::null_mut::<c_void>());
        let mut ordinal = 0_i32;
        let known = self.context.with(|api| {
            let ask = |into: *mut c_void, what| {
                // SAFETY: each attribute is written as the type of its variable.
                api.check("cuPointerGetAttribute", unsafe { (api.cuPointerGetAttribute)(into, what, ptr.address()) })
            };
            ask((&raw mut start).cast(), api::POINTER_RANGE_START)?;
            ask((&raw mut size).cast(), api::POINTER_RANGE_BYTES)?;
            // Memory of a pool belongs to a GPU, not to a context.
            if ask((&raw mut owner).cast(), api::POINTER_CONTEXT).is_err() || owner.is_null() {
                owner = std::ptr::null_mut();
                return ask((&raw mut ordinal).cast(), api::POINTER_DEVICE_ORDINAL);
            }
            Ok(())
        });
        let end = ptr.address().checked_add(bytes);
        let inside = end.is_some_and(|end| end <= start.saturating_add(size as u64));
        let own = match owner.is_null() {
            true => ordinal == self.context.device(),
            false => owner == self.context.raw().cast(),
        };
        if known.is_err() || !inside || !own {
            return Err(Error::argument("memory", ptr, valid()));
        }
        Ok(())
    }

    fn alloc_host(&self, bytes: u64) -> Result<HostBlock> {
        self.captures.refuse("alloc_host")?;
        let (host, device) = self.context.alloc_host(bytes)?;
        Ok(HostBlock { id: host, device: DevicePtr::new(device), bytes })
    }

    fn free_host(&self, block: &HostBlock) -> Result<()> {
        self.give_back(block.id, true)
    }

    fn read_host(&self, block: &HostBlock, offset: u64, into: &mut [u8]) -> Result<()> {
        self.host("read_host", block, offset, into.len() as u64)?.read(into);
        Ok(())
    }

    fn write_host(&self, block: &HostBlock, offset: u64, bytes: &[u8]) -> Result<()> {
        self.captures.refuse("write_host")?;
        self.host("write_host", block, offset, bytes.len() as u64)?.write(bytes);
        Ok(())
    }

    fn export_window(&self, ptr: DevicePtr) -> Result<WindowHandle> {
        window::export(&self.context, ptr)
    }

    fn import_window(&self, handle: &WindowHandle) -> Result<DevicePtr> {
        window::import(&self.context, handle)
    }

    fn release_window(&self, _ptr: DevicePtr) -> Result<()> {
        // Peer access holds for all memory of a context; it stays until the context goes.
        Ok(())
    }

    fn load(&self, image: &KernelImage) -> Result<FunctionId> {
        self.captures.refuse("load")?;
        let key = (image.text.as_ptr() as usize, self.compile);
        let mut modules = lock(&self.context.modules);
        let loaded = match modules.get(&key) {
            Some(loaded) => loaded.clone(),
            None => {
                let facts = &self.context.facts;
                let loaded = self.context.with(|api| module::load(api, facts, image, self.compile))?;
                modules.insert(key, loaded.clone());
                loaded
            }
        };
        let name = self.name();
        lock(&self.functions).insert(name, loaded);
        Ok(FunctionId(name))
    }

    fn attributes(&self, function: FunctionId) -> Result<FunctionAttributes> {
        self.loaded("attributes", function).map(|loaded| loaded.attributes)
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let loaded = self.loaded("launch", launch.function)?;
        let stream = self.stream("launch", launch.stream)?;
        let wanted = loaded.attributes.argument_bytes as usize;
        if launch.args.len() != wanted {
            let message = format!("{} bytes of arguments, the kernel takes {wanted}", launch.args.len());
            return Err(Error::Driver { call: "launch", message });
        }
        let mut bytes = launch.args.len();
        let mut extra: [*mut c_void; 5] = [
            api::LAUNCH_BUFFER as *mut c_void,
            launch.args.as_ptr().cast_mut().cast(),
            api::LAUNCH_BUFFER_BYTES as *mut c_void,
            (&raw mut bytes).cast(),
            api::LAUNCH_END as *mut c_void,
        ];
        self.context.with(|api| {
            // SAFETY: the function is loaded, the stream alive, and the packed arguments have the size of its
            // parameters; the driver copies them before it returns.
            let code = unsafe {
                (api.cuLaunchKernel)(
                    loaded.function,
                    launch.grid,
                    1,
                    1,
                    launch.block,
                    1,
                    1,
                    launch.shared_bytes,
                    stream.raw,
                    std::ptr::null_mut(),
                    extra.as_mut_ptr(),
                )
            };
            api.check("cuLaunchKernel", code)
        })
    }

    fn streams(&self) -> Vec<StreamId> {
        lock(&self.streams).keys().map(|&name| StreamId(name)).collect()
    }

    fn create_stream(&self, priority: StreamPriority) -> Result<StreamId> {
        let alive = self.context.count_stream();
        if let Some(most) = self.streams_max.filter(|&most| alive > most) {
            self.context.uncount_stream();
            return Err(Error::argument(
                "CUDA_DEVICE_MAX_CONNECTIONS",
                format!("{most} hardware queues for {alive} streams"),
                "a queue for each stream of the ranks that share a GPU: set it to 32, its most, before the first CUDA \
                 call of the process (`warpferry::driver::cuda::use_all_hardware_queues` does), or share it by fewer ranks",
            ));
        }
        let made = self.context.with(|api| {
            let (mut last, mut first, mut raw) = (0, 0, std::ptr::null_mut());
            // SAFETY: two numbers are written.
            let asked = unsafe { (api.cuCtxGetStreamPriorityRange)(&mut last, &mut first) };
            api.check("cuCtxGetStreamPriorityRange", asked)?;
            // The lower number comes first.
            let priority = priority.0.max(first).min(last);
            // SAFETY: one handle is written.
            let made = unsafe { (api.cuStreamCreateWithPriority)(&mut raw, api::STREAM_NON_BLOCKING, priority) };
            api.check("cuStreamCreateWithPriority", made)?;
            Ok(StreamHandle { raw, owned: true })
        });
        made.map(|stream| self.add_stream(stream)).inspect_err(|_| self.context.uncount_stream())
    }

    fn raw_handles(&self, stream: StreamId) -> Result<RawHandles> {
        let stream = self.stream("raw_handles", stream)?;
        Ok(RawHandles { context: self.context.raw() as usize, stream: stream.raw as usize })
    }

    fn raw_event(&self, event: EventId) -> Result<usize> {
        self.event("raw_event", event).map(|event| event.0 as usize)
    }

    fn destroy_stream(&self, stream: StreamId) -> Result<()> {
        let found = lock(&self.streams).remove(&stream.0);
        let found = found.ok_or_else(|| missing("destroy_stream", "stream", stream.0))?;
        self.context.uncount_stream();
        if !found.owned {
            let keeper = lock(&self.keepers).remove(&stream.0);
            // Without the lock: a caller's keeper may do what it likes.
            drop(keeper);
            return Ok(());
        }
        // SAFETY: ours, and no longer in the list.
        self.context.with(|api| api.check("cuStreamDestroy_v2", unsafe { (api.cuStreamDestroy_v2)(found.raw) }))
    }

    fn synchronize(&self, stream: StreamId, timeout: Duration) -> Result<Wait> {
        self.captures.refuse("synchronize")?;
        let stream = self.stream("synchronize", stream)?;
        wait::until(Deadline::after(timeout), || self.idle(stream))
    }

    fn is_idle(&self, stream: StreamId) -> Result<bool> {
        self.captures.refuse("is_idle")?;
        self.idle(self.stream("is_idle", stream)?)
    }

    fn create_event(&self) -> Result<EventId> {
        let event = self.context.with(|api| {
            let mut event = std::ptr::null_mut();
            // SAFETY: one handle is written.
            api.check("cuEventCreate", unsafe { (api.cuEventCreate)(&mut event, 0) })?;
            Ok(EventHandle(event))
        })?;
        let name = self.name();
        lock(&self.events).insert(name, event);
        Ok(EventId(name))
    }

    fn destroy_event(&self, event: EventId) -> Result<()> {
        let found = lock(&self.events).remove(&event.0);
        let found = found.ok_or_else(|| missing("destroy_event", "event", event.0))?;
        // SAFETY: ours, and no longer in the list; the driver keeps what is under way.
        self.context.with(|api| api.check("cuEventDestroy_v2", unsafe { (api.cuEventDestroy_v2)(found.0) }))
    }

    fn record_event(&self, event: EventId, stream: StreamId) -> Result<()> {
        let event = self.event("record_event", event)?;
        let stream = self.stream("record_event", stream)?;
        // SAFETY: both are alive: they are in the lists.
        self.context.with(|api| api.check("cuEventRecord", unsafe { (api.cuEventRecord)(event.0, stream.raw) }))
    }

    fn stream_wait_event(&self, stream: StreamId, event: EventId) -> Result<()> {
        let event = self.event("stream_wait_event", event)?;
        let stream = self.stream("stream_wait_event", stream)?;
        // SAFETY: both are alive: they are in the lists.
        let wait = |api: &'static api::Api| unsafe { (api.cuStreamWaitEvent)(stream.raw, event.0, 0) };
        self.context.with(|api| api.check("cuStreamWaitEvent", wait(api)))
    }

    fn synchronize_event(&self, event: EventId, timeout: Duration) -> Result<Wait> {
        self.captures.refuse("synchronize_event")?;
        let event = self.event("synchronize_event", event)?;
        wait::until(Deadline::after(timeout), || self.context.reached(event))
    }

    fn is_reached(&self, event: EventId) -> Result<bool> {
        self.captures.refuse("is_reached")?;
        self.context.reached(self.event("is_reached", event)?)
    }

    fn elapsed_ns(&self, start: EventId, end: EventId) -> Result<u64> {
        let (start, end) = (self.event("elapsed_ns", start)?, self.event("elapsed_ns", end)?);
        let mut milliseconds = 0.0_f32;
        self.context.with(|api| {
            // SAFETY: both are alive: they are in the list; one number is written.
            let code = unsafe { (api.cuEventElapsedTime)(&mut milliseconds, start.0, end.0) };
            api.check("cuEventElapsedTime", code)
        })?;
        Ok((f64::from(milliseconds) * 1e6).round() as u64)
    }

    fn write_word(&self, to: DevicePtr, value: u64, stream: StreamId) -> Result<()> {
        let stream = self.stream("write_word", stream)?;
        self.context.with(|api| {
            // SAFETY: the caller owns the word; flags 0 orders it after the stream's earlier writes for everyone.
            let code = unsafe { (api.cuStreamWriteValue64_v2)(stream.raw, to.address(), value, 0) };
            api.check("cuStreamWriteValue64_v2", code)
        })
    }

    fn copy_to_device(&self, to: DevicePtr, bytes: &[u8], stream: StreamId) -> Result<()> {
        self.captures.refuse("copy_to_device")?;
        staging::send(&self.context, to, bytes, self.stream("copy_to_device", stream)?.raw)
    }

    fn copy_from_device(&self, into: &mut [u8], from: DevicePtr, stream: StreamId) -> Result<()> {
        self.captures.refuse("copy_from_device")?;
        staging::fetch(&self.context, into, from, self.stream("copy_from_device", stream)?.raw)
    }

    fn copy_to_host(&self, into: &HostBlock, offset: u64, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()> {
        self.host("copy_to_host", into, offset, bytes)?;
        let (to, stream) = ((into.id + offset) as *mut c_void, self.stream("copy_to_host", stream)?);
        self.context.with(|api| {
            // SAFETY: the host range is handed out and pinned, so the call returns at once; the caller owns both ranges.
            let code = unsafe { (api.cuMemcpyDtoHAsync_v2)(to, from.address(), bytes as usize, stream.raw) };
            api.check("cuMemcpyDtoHAsync_v2", code)
        })
    }

    fn copy_within(&self, to: DevicePtr, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()> {
        let stream = self.stream("copy_within", stream)?;
        self.context.with(|api| {
            // SAFETY: the caller owns both ranges.
            let code = unsafe { (api.cuMemcpyDtoDAsync_v2)(to.address(), from.address(), bytes as usize, stream.raw) };
            api.check("cuMemcpyDtoDAsync_v2", code)
        })
    }

    fn fill(&self, to: DevicePtr, byte: u8, bytes: u64, stream: StreamId) -> Result<()> {
        let stream = self.stream("fill", stream)?;
        self.context.with(|api| {
            // SAFETY: the caller owns the range.
            let code = unsafe { (api.cuMemsetD8Async)(to.address(), byte, bytes as usize, stream.raw) };
            api.check("cuMemsetD8Async", code)
        })
    }

    fn wait_word(
        &self,
        block: &HostBlock,
        offset: u64,
        at_least: u64,
        stream: StreamId,
        timeout: Duration,
    ) -> Result<WordWait> {
        self.captures.refuse("wait_word")?;
        let memory = self.host("wait_word", block, offset, 8)?;
        let stream = self.stream("wait_word", stream)?;
        wait::word(Deadline::after(timeout), || memory.word() >= at_least, || self.idle(stream))
    }

    fn begin_capture(&self, stream: StreamId) -> Result<()> {
        let raw = self.stream("begin_capture", stream)?.raw;
        let _late = lock(&self.late);
        graph::begin(&self.context, raw)?;
        self.captures.begin(stream);
        Ok(())
    }

    fn is_capturing(&self, stream: StreamId) -> Result<bool> {
        graph::is_capturing(&self.context, self.stream("is_capturing", stream)?.raw)
    }

    fn end_capture(&self, stream: StreamId) -> Result<GraphId> {
        let raw = self.stream("end_capture", stream)?.raw;
        let captured = graph::end(&self.context, raw);
        let valid = self.captures.end(stream);
        let given = self.give_back_late();
        // The first of our own words: the library only knows that something was wrong.
        let graph = match (valid, captured) {
            (Err(error), captured) => {
                captured.map_or(Ok(()), |graph| graph.destroy(&self.context))?;
                return Err(error);
            }
            (Ok(()), captured) => captured?,
        };
        if let Err(error) = given {
            tracing::warn!(%error, "memory that was given back during a capture stays");
        }
        let ready = graph.instantiate(&self.context, raw)?;
        let name = self.name();
        lock(&self.graphs).insert(name, ready);
        Ok(GraphId(name))
    }

    fn launch_graph(&self, graph: GraphId, stream: StreamId) -> Result<()> {
        let stream = self.stream("launch_graph", stream)?;
        self.graph("launch_graph", graph)?.launch(&self.context, stream.raw)
    }

    fn destroy_graph(&self, graph: GraphId) -> Result<()> {
        let found = lock(&self.graphs).remove(&graph.0);
        found.ok_or_else(|| missing("destroy_graph", "graph", graph.0))?.destroy(&self.context)
    }
}

impl Drop for CudaDriver {
    fn drop(&mut self) {
        self.context.unreserve(self.reserved.load(Ordering::Relaxed));
        let graphs: Vec<u64> = lock(&self.graphs).keys().copied().collect();
        let graphs: Vec<Result<()>> = graphs.into_iter().map(|name| self.destroy_graph(GraphId(name))).collect();
        let streams: Vec<u64> = lock(&self.streams).keys().copied().collect();
        let events: Vec<u64> = lock(&self.events).keys().copied().collect();
        let streams: Vec<Result<()>> = streams.into_iter().map(|name| self.destroy_stream(StreamId(name))).collect();
        let events: Vec<Result<()>> = events.into_iter().map(|name| self.destroy_event(EventId(name))).collect();
        let ended: Result<()> = graphs.into_iter().chain(streams).chain(events).collect();
        if let Err(error) = ended {
            tracing::warn!(%error, "a graph, stream or event of a CUDA driver could not be ended");
        }
    }
}
