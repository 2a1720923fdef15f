//! The driver: what the library asks of one GPU context, at the level of the CUDA driver API.
//!
//! Nothing above this module asks which driver it has. [`null`] does nothing, [`trace`] and [`fault`] wrap another
//! driver, [`emu`] runs the kernels' PTX on the CPU. A driver checks what it is given; a failed call is an
//! [`crate::Error::Driver`] that names the call.

#[cfg(any(feature = "cuda", feature = "emu"))]
mod capture;
#[cfg(feature = "emu")]
mod coverage;
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
pub mod cuda;
#[cfg(feature = "emu")]
pub mod emu;
#[cfg(test)]
mod emu_tests;
pub mod fault;
#[cfg(all(test, feature = "emu"))]
mod graph_tests;
pub mod null;
pub mod trace;
#[cfg(any(test, feature = "emu"))]
pub(crate) mod turns;
pub mod wrap;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Result;
use crate::kernel::KernelImage;
use crate::mem::{DevicePtr, HostBlock, WindowHandle};

/// A driver's identity within this process: tells whether memory belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DriverId(u64);

impl DriverId {
    /// An identity that no other driver of this process has.
    pub fn next() -> DriverId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        DriverId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DriverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a driver says of its GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverInfo {
    /// Identity.
    pub id: DriverId,
    /// Name for people.
    pub name: String,
    /// Number of SMs.
    pub sms: u32,
    /// Most shared memory of a CTA in bytes.
    pub shared_bytes: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// What kind of driver this is.
    pub backend: Backend,
    /// Which GPU of this machine it is; `None` where GPUs are not real.
    pub gpu: Option<GpuShare>,
}

/// A GPU of this machine, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GpuShare {
    /// The GPU, as the driver counts.
    pub ordinal: u32,
    /// Ranks among which its SMs, memory and hardware queues were divided.
    pub ranks: u32,
}

/// Kinds of driver, for reports: nothing decides by it how an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Does nothing.
    Null,
    /// The emulated cluster.
    Emulator,
    /// A GPU, through the CUDA driver.
    Cuda,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Null => "null",
            Backend::Emulator => "emu",
            Backend::Cuda => "cuda",
        })
    }
}

/// A loaded entry point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FunctionId(pub u64);

/// A queue of work that runs in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

/// A mark in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(pub u64);

/// Work that was captured, to be run again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GraphId(pub u64);

/// Which streams' work comes first where there is not room for all: those with the lower number, as CUDA counts. A driver
/// moves it into the range that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamPriority(pub i32);

impl StreamPriority {
    /// Before all others.
    pub const HIGHEST: StreamPriority = StreamPriority(i32::MIN);
    /// As streams have that nobody gave a priority.
    pub const NORMAL: StreamPriority = StreamPriority(0);
}

/// Native names of a stream and of its context, for other code of the process that uses the same GPU. Numbers, not
/// pointers: nothing here follows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawHandles {
    /// `CUcontext`.
    pub context: usize,
    /// `CUstream`.
    pub stream: usize,
}

/// What a driver says of a loaded entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionAttributes {
    /// Static shared memory in bytes.
    pub static_shared: u32,
    /// Most threads of a CTA.
    pub max_threads: u32,
    /// Bytes of packed arguments.
    pub argument_bytes: u32,
}

/// Memory that a launch may touch through one argument, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessRule {
    /// Start.
    pub address: DevicePtr,
    /// Size.
    pub bytes: u64,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
}

/// A launch.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Entry point.
    pub function: FunctionId,
    /// CTAs.
    pub grid: u32,
    /// Threads of a CTA.
    pub block: u32,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Stream it runs in.
    pub stream: StreamId,
    /// Arguments, packed with natural alignment.
    pub args: &'a [u8],
    /// What the contract says of the arguments' memory; drivers that can check it do.
    pub access: &'a [AccessRule],
}

/// How a bounded wait for a stream or event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// What was waited for came.
    Done,
    /// Time ran out first.
    TimedOut,
}

/// How a bounded wait for a word ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordWait {
    /// The word has the value or more.
    Reached,
    /// The stream ran dry and the word still is below.
    StreamIdle,
    /// Time ran out first.
    TimedOut,
}

/// One GPU context. Calls may come from any thread; those on one stream are applied in order.
pub trait Driver: Send + Sync + fmt::Debug {
    /// What GPU this is.
    fn info(&self) -> &DriverInfo;

    /// Device memory; contents are not defined. Aligned to 256 bytes at least.
    fn alloc(&self, bytes: u64) -> Result<DevicePtr>;

    /// Takes memory for later calls of [`Driver::alloc`] now: on a GPU, taking it beside a kernel that waits for a peer
    /// may block.
    fn reserve(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    /// Frees device memory that nothing uses any more.
    fn free(&self, ptr: DevicePtr) -> Result<()>;

    /// Checks that a range is memory of this GPU, as far as the driver can tell: for memory that a caller lends.
    fn check_range(&self, ptr: DevicePtr, bytes: u64) -> Result<()>;

    /// Host memory that the device has mapped.
    fn alloc_host(&self, bytes: u64) -> Result<HostBlock>;

    /// Frees host memory that nothing uses any more.
    fn free_host(&self, block: &HostBlock) -> Result<()>;

    /// Copies from a host block with acquire order: what was stored before a word that is seen here is seen next.
    fn read_host(&self, block: &HostBlock, offset: u64, into: &mut [u8]) -> Result<()>;

    /// Copies into a host block.
    fn write_host(&self, block: &HostBlock, offset: u64, bytes: &[u8]) -> Result<()>;

    /// What lets other drivers map the allocation that starts at `ptr`.
    fn export_window(&self, ptr: DevicePtr) -> Result<WindowHandle>;

    /// Maps another GPU's window; a driver's own window comes back as it is.
    fn import_window(&self, handle: &WindowHandle) -> Result<DevicePtr>;

    /// Takes an imported window out of the map.
    fn release_window(&self, ptr: DevicePtr) -> Result<()>;

    /// Loads a kernel; at once, not at its first launch.
    fn load(&self, image: &KernelImage) -> Result<FunctionId>;

    /// What a loaded kernel needs.
    fn attributes(&self, function: FunctionId) -> Result<FunctionAttributes>;

    /// Puts a launch into its stream.
    fn launch(&self, launch: &Launch<'_>) -> Result<()>;

    /// A new stream. Among CTAs that wait for an SM, those of a stream that comes first are placed first; what runs goes on.
    fn create_stream(&self, priority: StreamPriority) -> Result<StreamId>;

    /// Streams of this driver that were not ended, lent ones too.
    fn streams(&self) -> Vec<StreamId> {
        Vec::new()
    }

    /// The stream's names outside the library: only drivers of real contexts have them.
    fn raw_handles(&self, _stream: StreamId) -> Result<RawHandles> {
        Err(crate::Error::Unsupported {
            need: "a driver over CUDA".into(),
            have: format!("the {} driver", self.info().backend),
        })
    }

    /// The event's name outside the library (`CUevent`): only drivers of real contexts have it.
    fn raw_event(&self, _event: EventId) -> Result<usize> {
        Err(crate::Error::Unsupported {
            need: "a driver over CUDA".into(),
            have: format!("the {} driver", self.info().backend),
        })
    }

    /// Ends a stream that has run dry.
    fn destroy_stream(&self, stream: StreamId) -> Result<()>;

    /// Waits until the stream has run dry.
    fn synchronize(&self, stream: StreamId, timeout: Duration) -> Result<Wait>;

    /// Whether the stream has run dry.
    fn is_idle(&self, stream: StreamId) -> Result<bool>;

    /// A new event, reached from the start.
    fn create_event(&self) -> Result<EventId>;

    /// Ends an event.
    fn destroy_event(&self, event: EventId) -> Result<()>;

    /// Marks the present end of the stream; the event is reached when the stream comes there.
    fn record_event(&self, event: EventId, stream: StreamId) -> Result<()>;

    /// Later work of the stream waits for the event.
    fn stream_wait_event(&self, stream: StreamId, event: EventId) -> Result<()>;

    /// Waits for the event.
    fn synchronize_event(&self, event: EventId, timeout: Duration) -> Result<Wait>;

    /// Whether the event was reached.
    fn is_reached(&self, event: EventId) -> Result<bool>;

    /// Nanoseconds between two events that were reached: [`Driver::record_event`] takes the time.
    fn elapsed_ns(&self, start: EventId, end: EventId) -> Result<u64>;

    /// Stores a 64-bit word in the stream's order, after everything before it in the stream is visible to all GPUs.
    fn write_word(&self, to: DevicePtr, value: u64, stream: StreamId) -> Result<()>;

    /// Copies to the device in the stream's order; `bytes` may be changed as soon as this returns.
    fn copy_to_device(&self, to: DevicePtr, bytes: &[u8], stream: StreamId) -> Result<()>;

    /// Copies from the device in the stream's order and waits for it.
    fn copy_from_device(&self, into: &mut [u8], from: DevicePtr, stream: StreamId) -> Result<()>;

    /// Copies from the device into a host block in the stream's order; returns at once.
    fn copy_to_host(&self, into: &HostBlock, offset: u64, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()>;

    /// Copies within the device in the stream's order.
    fn copy_within(&self, to: DevicePtr, from: DevicePtr, bytes: u64, stream: StreamId) -> Result<()>;

    /// Fills device memory in the stream's order.
    fn fill(&self, to: DevicePtr, byte: u8, bytes: u64, stream: StreamId) -> Result<()>;

    /// Waits until the 64-bit word at `offset` of `block` is `at_least` or more, the stream has run dry, or time is out.
    fn wait_word(
        &self,
        block: &HostBlock,
        offset: u64,
        at_least: u64,
        stream: StreamId,
        timeout: Duration,
    ) -> Result<WordWait>;

    /// From now on work that is put into the stream does not run, but becomes part of a graph. So does the work of streams
    /// that wait for an event which is recorded in it; they must be waited for before the end. Until then this thread may
    /// call nothing that takes memory, loads code, waits, or copies from or to the host: such a call fails, and the end too.
    fn begin_capture(&self, _stream: StreamId) -> Result<()> {
        Err(no_graphs(self.info()))
    }

    /// Whether work that is put into the stream is captured, by whomever.
    fn is_capturing(&self, _stream: StreamId) -> Result<bool> {
        Ok(false)
    }

    /// Ends the capture that began at this stream, also when it fails.
    fn end_capture(&self, _stream: StreamId) -> Result<GraphId> {
        Err(no_graphs(self.info()))
    }

    /// Puts all work of a graph into a stream, with the arguments that were captured.
    fn launch_graph(&self, _graph: GraphId, _stream: StreamId) -> Result<()> {
        Err(no_graphs(self.info()))
    }

    /// Ends a graph that no stream runs any more.
    fn destroy_graph(&self, _graph: GraphId) -> Result<()> {
        Err(no_graphs(self.info()))
    }
}

fn no_graphs(info: &DriverInfo) -> crate::Error {
    crate::Error::Unsupported {
        need: "a driver that captures graphs".into(),
        have: format!("the {} driver", info.backend),
    }
}
