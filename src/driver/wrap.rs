//! A driver around a driver: one place that forwards every call, with a hook before and after.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Driver, DriverInfo, EventId, FunctionAttributes, FunctionId, GraphId, Launch, RawHandles, StreamId, StreamPriority,
    Wait, WordWait,
};
use crate::error::Result;
use crate::kernel::KernelImage;
use crate::mem::{DevicePtr, HostBlock, WindowHandle};

/// What a wrapper does about a call.
pub trait Hook: Send + Sync + fmt::Debug {
    /// Before the call; an error takes its place.
    fn before(&self, call: &'static str, arguments: fmt::Arguments<'_>) -> Result<()>;

    /// After the call.
    fn after(&self, call: &'static str, outcome: Outcome<'_>);
}

/// How a call went.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It gave this.
    Gave(&'a dyn fmt::Debug),
    /// It failed.
    Failed(&'a crate::error::Error),
}

/// The driver `inner` with `hook` around every call but [`Driver::info`].
#[derive(Debug)]
pub struct Wrapped<H> {
    inner: Arc<dyn Driver>,
    hook: H,
}

impl<H: Hook> Wrapped<H> {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Driver>, hook: H) -> Wrapped<H> {
        Wrapped { inner, hook }
    }

    /// The hook.
    pub fn hook(&self) -> &H {
        &self.hook
    }

    fn around<T: fmt::Debug>(
        &self,
        call: &'static str,
        arguments: fmt::Arguments<'_>,
        act: impl FnOnce(&dyn Driver) -> Result<T>,
    ) -> Result<T> {
        self.hook.before(call, arguments)?;
        let result = act(&*self.inner);
        match &result {
            Ok(value) => self.hook.after(call, Outcome::Gave(value)),
            Err(error) => self.hook.after(call, Outcome::Failed(error)),
        }
        result
    }
}

impl<H: Hook> Driver for Wrapped<H> {
    fn info(&self) -> &DriverInfo {
        self.inner.info()
    }

    fn alloc(&self, bytes: u64) -> Result<DevicePtr> {
        self.around("alloc", format_args!("bytes {bytes}"), |driver| driver.alloc(bytes))
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        self.around("reserve", format_args!("bytes {bytes}"), |driver| driver.reserve(bytes))
    }

    fn free(&self, ptr: DevicePtr) -> Result<()> {
        self.around("free", format_args!("{ptr}"), |driver| driver.free(ptr))
    }

    fn check_range(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        self.around("check_range", format_args!("{ptr}, bytes {bytes}"), |driver| driver.check_range(ptr, bytes))
    }

    fn alloc_host(&self, bytes: u64) -> Result<HostBlock> {
        self.around("alloc_host", format_args!("bytes {bytes}"), |driver| driver.alloc_host(bytes))
    }

    fn free_host(&self, block: &HostBlock) -> Result<()> {
        self.around("free_host", format_args!("{}", block.device), |driver| driver.free_host(block))
    }

    fn read_host(&self, block: &HostBlock, offset: u64, into: &mut [u8]) -> Result<()> {
        let bytes = into.len();
        self.around("read_host", format_args!("{} + {offset}, bytes {bytes}", block.device), |driver| {
            driver.read_host(block, offset, into)
        })
    }

    fn write_host(&self, block: &HostBlock, offset: u64, bytes: &[u8]) -> Result<()> {
        self.around("write_host", format_args!("{} + {offset}, bytes {}", block.device, bytes.len()), |driver| {
            driver.write_host(block, offset, bytes)
        })
    }

    fn export_window(&self, ptr: DevicePtr) -> Result<WindowHandle> {
        self.around("export_window", format_args!("{ptr}"), |driver| driver.export_window(ptr))
    }

    fn import_window(&self, handle: &WindowHandle) -> Result<DevicePtr> {
        self.around("import_window", format_args!("{handle:?}"), |driver| driver.import_window(handle))
    }

    fn release_window(&self, ptr: DevicePtr) -> Result<()> {
        self.around("release_window", format_args!("{ptr}"), |driver| driver.release_window(ptr))
    }

    fn load(&self, image: &KernelImage) -> Result<FunctionId> {
        self.around("load", format_args!("{}", image.name), |driver| driver.load(image))
    }

    fn attributes(&self, function: FunctionId) -> Result<FunctionAttributes> {
        self.around("attributes", format_args!("{function:?}"), |driver| driver.attributes(function))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.around(
            "launch",
            format_args!(
                "{:?} grid {} block {} shared {} stream {}",
                launch.function, launch.grid, launch.block, launch.shared_bytes, launch.stream.0
            ),
            |driver| driver.launch(launch),
        )
    }

    fn create_stream(&self, priority: StreamPriority) -> Result<StreamId> {
        self.around("create_stream", format_args!("{priority:?}"), |driver| driver.create_stream(priority))
    }

    fn streams(&self) -> Vec<StreamId> {
        self.inner.streams()
    }

    fn raw_handles(&self, stream: StreamId) -> Result<RawHandles> {
        self.around("raw_handles", format_args!("stream {}", stream.0), |driver| driver.raw_handles(stream))
    }

    fn raw_event(&self, event: EventId) -> Result<usize> {
        self.around("raw_event", format_args!("{}", event.0), |driver| driver.raw_event(event))
    }

    fn destroy_stream(&self, stream: StreamId) -> Result<()> {
        self.around("destroy_stream", format_args!("{}", stream.0), |driver| driver.destroy_stream(stream))
    }

    fn synchronize(&self, stream: StreamId, timeout: Duration) -> Result<Wait> {
        self.around("synchronize", format_args!("{} timeout {timeout:?}", stream.0), |driver| {
            driver.synchronize(stream, timeout)
        })
    }

    fn is_idle(&self, stream: StreamId) -> Result<bool> {
        self.around("is_idle", format_args!("{}", stream.0), |driver| driver.is_idle(stream))
    }

    fn create_event(&self) -> Result<EventId> {
        self.around("create_event", format_args!(""), |driver| driver.create_event())
    }

    fn destroy_event(&self, event: EventId) -> Result<()> {
        self.around("destroy_event", format_args!("{}", event.0), |driver| driver.destroy_event(event))
    }

    fn record_event(&self, event: EventId, stream: StreamId) -> Result<()> {
        self.around("record_event", format_args!("{} in {}", event.0, stream.0), |driver| {
            driver.record_event(event, stream)
        })
    }

    fn stream_wait_event(&self, stream: StreamId, event: EventId) -> Result<()> {
        self.around("stream_wait_event", format_args!("{} for {}", stream.0, event.0), |driver| {
            driver.stream_wait_event(stream, event)
        })
    }

    fn synchronize_event(&self, event: EventId, timeout: Duration) -> Result<Wait> {
        self.around("synchronize_event", format_args!("{} timeout {timeout:?}", event.0), |driver| {
            driver.synchronize_event(event, timeout)
        })
    }

    fn is_reached(&self, event: EventId) -> Result<bool> {
        self.around("is_reached", format_args!("{}", event.0), |driver| driver.is_reached(event))
    }

    fn elapsed_ns(&self, start: EventId, end: EventId) -> Result<u64> {
        self.around("elapsed_ns", format_args!("{start:?} to {end:?}"), |driver| driver.elapsed_ns(start, end))
    }

    fn write_word(&self, to: DevicePtr, value: u64, stream: StreamId) -> Result<()> {
        self.around("write_word", format_args!("{to} = {value}, {stream:?}"), |driver| {
            driver.write_word(to, value, stream)
        })
    }

    fn copy_to_device(&self, to: DevicePtr, bytes: &[u8], stream: StreamId) -> Result<()> {
        self.around("copy_to_device", format_args!("{to} bytes {} stream {}", bytes.len(), stream.0), |driver| {
            driver.copy_to_device(to, bytes, stream)
        })
    }

    fn copy_from_device(&self, into: &mut [u8], from: DevicePtr, stream: StreamId) -> Result<()> {
        let bytes = into.len();
        self.around("copy_from_device", format_args!("{from} bytes {bytes} stream {}", stream.0), |driver| {
            driver.copy_from_device(into, from, stream)
        })
    }

    fn copy_to_host(&self, into: &HostBlock, offset: u64, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()> {
        self.around(
            "copy_to_host",
            format_args!("{} + {offset} from {from} bytes {bytes} stream {}", into.device, stream.0),
            |driver| driver.copy_to_host(into, offset, from, bytes, stream),
        )
    }

    fn copy_within(&self, to: DevicePtr, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()> {
        self.around("copy_within", format_args!("{to} from {from} bytes {bytes} stream {}", stream.0), |driver| {
            driver.copy_within(to, from, bytes, stream)
        })
    }

    fn fill(&self, to: DevicePtr, byte: u8, bytes: u64, stream: StreamId) -> Result<()> {
        self.around("fill", format_args!("{to} byte {byte} bytes {bytes} stream {}", stream.0), |driver| {
            driver.fill(to, byte, bytes, stream)
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
        self.around(
            "wait_word",
            format_args!("{} + {offset} >= {at_least} stream {} timeout {timeout:?}", block.device, stream.0),
            |driver| driver.wait_word(block, offset, at_least, stream, timeout),
        )
    }

    fn begin_capture(&self, stream: StreamId) -> Result<()> {
        self.around("begin_capture", format_args!("{}", stream.0), |driver| driver.begin_capture(stream))
    }

    fn is_capturing(&self, stream: StreamId) -> Result<bool> {
        self.around("is_capturing", format_args!("{}", stream.0), |driver| driver.is_capturing(stream))
    }

    fn end_capture(&self, stream: StreamId) -> Result<GraphId> {
        self.around("end_capture", format_args!("{}", stream.0), |driver| driver.end_capture(stream))
    }

    fn launch_graph(&self, graph: GraphId, stream: StreamId) -> Result<()> {
        self.around("launch_graph", format_args!("{} in {}", graph.0, stream.0), |driver| {
            driver.launch_graph(graph, stream)
        })
    }

    fn destroy_graph(&self, graph: GraphId) -> Result<()> {
        self.around("destroy_graph", format_args!("{}", graph.0), |driver| driver.destroy_graph(graph))
    }
}
