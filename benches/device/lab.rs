//! One driver with a stream and two events: memory, launches of probe kernels, times.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use warpferry::driver::{AccessRule, Driver, EventId, FunctionId, Launch, StreamId, StreamPriority, Wait};
use warpferry::kernel::{ArgType, KernelImage};
use warpferry::mem::{Buffer, DevicePtr, HostBuffer};

use super::record::Failure;

/// The probe kernels that the build embedded.
static PROBES: &[KernelImage] = include!(concat!(env!("OUT_DIR"), "/probes.rs"));
/// Longest that a probe may run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Threads of a warp.
pub const WARP: u32 = 32;

/// An argument of a probe, and the memory behind it.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// A number.
    Word(u32),
    /// A long number.
    Long(u64),
    /// Memory and its size.
    Memory(DevicePtr, u64),
}

/// A launch of a probe.
#[derive(Debug, Clone, Copy)]
pub struct Shot<'a> {
    /// Name of the variant.
    pub kernel: &'static str,
    /// CTAs.
    pub grid: u32,
    /// Warps of a CTA.
    pub warps: u32,
    /// Dynamic shared memory.
    pub shared_bytes: u32,
    /// Arguments in order.
    pub args: &'a [Value],
    /// Memory that the kernel reaches through its arguments' memory.
    pub reach: &'a [AccessRule],
}

/// A stream and two events that take the time in it.
#[derive(Debug)]
pub struct Timer {
    driver: Arc<dyn Driver>,
    stream: StreamId,
    start: EventId,
    end: EventId,
}

impl Timer {
    /// With a new stream.
    pub fn new(driver: Arc<dyn Driver>) -> Result<Timer, Failure> {
        let stream = driver.create_stream(StreamPriority::NORMAL)?;
        let (start, end) = (driver.create_event()?, driver.create_event()?);
        Ok(Timer { driver, stream, start, end })
    }

    /// The stream.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Marks the beginning of what [`Timer::time_ns`] gives.
    pub fn begin(&self) -> Result<(), Failure> {
        Ok(self.driver.record_event(self.start, self.stream)?)
    }

    /// Marks the end.
    pub fn end(&self) -> Result<(), Failure> {
        Ok(self.driver.record_event(self.end, self.stream)?)
    }

    /// Whether the end was reached.
    pub fn ended(&self) -> Result<bool, Failure> {
        Ok(self.driver.is_reached(self.end)?)
    }

    /// Waits for the end and gives the time since the beginning.
    pub fn time_ns(&self) -> Result<u64, Failure> {
        match self.driver.synchronize_event(self.end, PATIENCE)? {
            Wait::Done => Ok(self.driver.elapsed_ns(self.start, self.end)?),
            Wait::TimedOut => Err(Failure::hangs()),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // A driver that failed has said so already.
        let _ = self.driver.destroy_stream(self.stream);
        let _ = self.driver.destroy_event(self.start);
        let _ = self.driver.destroy_event(self.end);
    }
}

/// A driver and what it takes to run probes there.
#[derive(Debug)]
pub struct Lab {
    driver: Arc<dyn Driver>,
    timer: Timer,
    functions: HashMap<&'static str, FunctionId>,
    #[cfg(feature = "cuda")]
    raw: Option<Raw>,
}

/// A lab's `CUcontext` and `CUstream`, for libraries that know no driver but CUDA. Numbers: nothing here follows them.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, Copy)]
pub struct Raw {
    /// The context.
    pub context: usize,
    /// The stream.
    pub stream: usize,
}

impl Lab {
    /// A lab with a stream of its own; all probes are loaded at once, before anything runs.
    pub fn new(driver: Arc<dyn Driver>) -> Result<Lab, Failure> {
        let timer = Timer::new(Arc::clone(&driver))?;
        let functions = PROBES
            .iter()
            .map(|image| Ok((image.name, driver.load(image)?)))
            .collect::<warpferry::Result<HashMap<_, _>>>()?;
        Ok(Lab {
            driver,
            timer,
            functions,
            #[cfg(feature = "cuda")]
            raw: None,
        })
    }

    /// With the handles that another library needs.
    #[must_use]
    #[cfg(feature = "cuda")]
    pub fn with_raw(mut self, raw: Raw) -> Lab {
        self.raw = Some(raw);
        self
    }

    /// The handles that another library needs, on a GPU.
    #[cfg(feature = "cuda")]
    pub fn raw(&self) -> Option<Raw> {
        self.raw
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// The stream and its clock.
    pub fn timer(&self) -> &Timer {
        &self.timer
    }

    /// Waits until the stream has run dry.
    pub fn wait(&self) -> Result<(), Failure> {
        match self.driver.synchronize(self.timer.stream, PATIENCE)? {
            Wait::Done => Ok(()),
            Wait::TimedOut => Err(Failure::hangs()),
        }
    }

    /// Runs a probe and gives its time.
    pub fn run(&self, shot: &Shot<'_>) -> Result<u64, Failure> {
        self.timer.begin()?;
        self.launch(shot)?;
        self.timer.end()?;
        self.timer.time_ns()
    }

    /// Puts a probe into the stream.
    pub fn launch(&self, shot: &Shot<'_>) -> Result<(), Failure> {
        let image = PROBES.iter().find(|image| image.name == shot.kernel);
        let image = image.ok_or_else(|| Failure::wrong(shot.kernel, "no such probe in this build"))?;
        let function = self.functions[image.name];
        let (args, mut access) = pack(image, shot.args)?;
        access.extend_from_slice(shot.reach);
        self.driver.launch(&Launch {
            function,
            grid: shot.grid,
            block: shot.warps * WARP,
            shared_bytes: shot.shared_bytes,
            stream: self.timer.stream,
            args: &args,
            access: &access,
        })?;
        Ok(())
    }

    /// Device memory.
    pub fn alloc(&self, bytes: u64) -> Result<Buffer, Failure> {
        Ok(Buffer::new(&self.driver, bytes)?)
    }

    /// Device memory with contents.
    pub fn alloc_with(&self, contents: &[u8]) -> Result<Buffer, Failure> {
        Ok(Buffer::with_contents(&self.driver, contents, self.timer.stream)?)
    }

    /// Host memory that the device has mapped, zeroed.
    pub fn alloc_host(&self, bytes: u64) -> Result<HostBuffer, Failure> {
        Ok(HostBuffer::zeroed(&self.driver, bytes)?)
    }

    /// Copies back in stream order.
    pub fn read(&self, from: DevicePtr, bytes: usize) -> Result<Vec<u8>, Failure> {
        let mut into = vec![0; bytes];
        self.driver.copy_from_device(&mut into, from, self.timer.stream)?;
        Ok(into)
    }
}

/// A memory argument: all of a buffer.
pub fn all(buffer: &Buffer) -> Value {
    Value::Memory(buffer.ptr(), buffer.bytes())
}

/// Packs arguments as the kernel's parameters say; gives the rules for their memory.
fn pack(image: &KernelImage, values: &[Value]) -> Result<(Vec<u8>, Vec<AccessRule>), Failure> {
    let wrong = |what: String| Failure::wrong(image.name, &what);
    if values.len() != image.args.len() {
        return Err(wrong(format!("takes {} arguments, was given {}", image.args.len(), values.len())));
    }
    let mut bytes = vec![0; image.argument_bytes() as usize];
    let mut access = Vec::new();
    for (arg, value) in image.args.iter().zip(values) {
        let at = arg.offset as usize;
        match (arg.ty, *value) {
            (ArgType::U32, Value::Word(word)) => bytes[at..at + 4].copy_from_slice(&word.to_le_bytes()),
            (ArgType::U64, Value::Long(long)) => bytes[at..at + 8].copy_from_slice(&long.to_le_bytes()),
            (ArgType::U64, Value::Memory(address, size)) => {
                bytes[at..at + 8].copy_from_slice(&address.address().to_le_bytes());
                let pointer = arg.pointer.ok_or_else(|| wrong(format!("{} is no pointer", arg.name)))?;
                if size > 0 {
                    access.push(AccessRule { address, bytes: size, read: pointer.read, write: pointer.write });
                }
            }
            (ty, value) => return Err(wrong(format!("{} is {ty:?}, was given {value:?}", arg.name))),
        }
    }
    Ok((bytes, access))
}
