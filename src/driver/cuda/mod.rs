//! GPUs through the CUDA driver.
//!
//! The driver library is opened when the first GPU is asked for; where it is missing, too old, or sees no GPU, an
//! [`Error::Unsupported`] says so and nothing else of the crate is touched. A [`Gpu`] is one context: the GPU's primary
//! context, or a caller's own. Its memory is taken from the system in large blocks and served from them, host memory
//! too, because taking or freeing memory beside a kernel that waits for a peer may block for ever.
//!
//! Several ranks may share a GPU ([`Gpu::drivers`]): they share its context, and each has streams of its own. Kernels
//! of one rank wait for those of another, so each stream needs a hardware queue of its own:
//! [`use_all_hardware_queues`].

mod api;
mod arena;
mod context;
mod driver;
mod graph;
mod hostmem;
mod module;
pub(crate) mod raw;
mod staging;
mod wait;
mod window;

pub use context::DeviceFacts;
pub use driver::CudaDriver;

use std::any::Any;
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use crate::driver::{Backend, Driver, DriverId, DriverInfo, GpuShare};
use crate::error::{Error, Result};
use context::Context;

/// Environment variable that says how many hardware queues a context has.
const QUEUES_VARIABLE: &str = "CUDA_DEVICE_MAX_CONNECTIONS";
/// Queues without it, and the most that can be asked for. Source: CUDA programming guide, "Environment Variables".
const QUEUES_DEFAULT: u32 = 8;
const QUEUES_MAX: u32 = 32;
/// SMs that ranks who share a GPU leave alone: the driver may fill and copy memory with kernels of its own, and a rank
/// whose fill waits for an SM keeps its peers waiting.
const SPARE_SMS: u32 = 4;
/// Host memory taken at once for each rank: status lines, totals, queues, pieces of copies.
const HOST_BYTES_PER_RANK: u64 = 12 << 20;

/// What this machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Version that the driver supports, 1000 x major + 10 x minor.
    pub driver_version: u32,
    /// Its GPUs.
    pub gpus: Vec<DeviceFacts>,
}

/// Looks for a driver and GPUs; makes no context.
///
/// # Errors
/// [`Error::Unsupported`] naming what is missing.
pub fn summary() -> Result<Summary> {
    let gpus = context::all_facts()?;
    Ok(Summary { driver_version: api::version()? as u32, gpus })
}

/// Asks the driver for all its hardware queues, unless the environment says a number already. To be called before the
/// process's first CUDA call and before it has other threads: it sets an environment variable. Later it does nothing.
pub fn use_all_hardware_queues() {
    if QUEUES.get().is_none() && std::env::var_os(QUEUES_VARIABLE).is_none() {
        std::env::set_var(QUEUES_VARIABLE, QUEUES_MAX.to_string());
    }
}

/// What the environment said when the driver was opened: it does not look again.
static QUEUES: OnceLock<u32> = OnceLock::new();

fn hardware_queues() -> u32 {
    *QUEUES.get_or_init(|| {
        let said = std::env::var(QUEUES_VARIABLE).ok().and_then(|value| value.trim().parse().ok());
        said.unwrap_or(QUEUES_DEFAULT).clamp(1, QUEUES_MAX)
    })
}

/// A GPU, by one of its contexts. Clones are the same.
#[derive(Clone)]
pub struct Gpu {
    context: Arc<Context>,
    compile: bool,
}

impl Gpu {
    /// GPU `ordinal`, by its primary context.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a driver or GPU; [`Error::Argument`] when there are not so many.
    pub fn open(ordinal: usize) -> Result<Gpu> {
        let context = Context::primary(ordinal)?;
        check_compute(&context.facts)?;
        Ok(Gpu { context, compile: false })
    }

    /// A GPU by a caller's own context (`CUcontext`), which stays the caller's.
    ///
    /// # Safety
    /// `context` must be a live context that outlives everything made of the result.
    ///
    /// # Errors
    /// [`Error::Argument`] for a null context; what the driver says.
    pub unsafe fn from_raw_context(context: *mut c_void) -> Result<Gpu> {
        // SAFETY: the caller's promise.
        let context = unsafe { Context::lent(context) }?;
        check_compute(&context.facts)?;
        Ok(Gpu { context, compile: false })
    }

    /// The same for a context that `keeper` keeps alive: it is dropped after everything made of the result.
    ///
    /// # Safety
    /// `context` must be a live context for as long as `keeper` lives.
    ///
    /// # Errors
    /// As [`Gpu::from_raw_context`].
    pub unsafe fn from_kept_context(context: *mut c_void, keeper: Box<dyn Any + Send + Sync>) -> Result<Gpu> {
        // SAFETY: the caller's promise, and the context holds the keeper.
        let gpu = unsafe { Gpu::from_raw_context(context) }?;
        gpu.context.keep(keeper);
        Ok(gpu)
    }

    /// Lets this GPU reach all memory of `other`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when there is no peer access between them.
    pub fn reach(&self, other: &Gpu) -> Result<()> {
        if self.context.raw() == other.context.raw() {
            return Ok(());
        }
        window::reach(&self.context, &other.context)
    }

    /// With kernels compiled by the driver from their text, even where the build has assembled them.
    #[must_use]
    pub fn compile_kernels(mut self) -> Gpu {
        self.compile = true;
        self
    }

    /// What it is.
    pub fn facts(&self) -> &DeviceFacts {
        &self.context.facts
    }

    /// The driver of a rank that has the GPU for itself. A world refuses two such drivers of one GPU: ranks that share a
    /// GPU take [`Gpu::drivers`].
    ///
    /// # Errors
    /// What the driver says.
    pub fn driver(&self) -> Result<Arc<CudaDriver>> {
        self.context.reserve_host(HOST_BYTES_PER_RANK)?;
        Ok(self.make(1, None))
    }

    /// The `CUcontext`.
    pub fn raw_context(&self) -> *mut c_void {
        self.context.raw().cast()
    }

    /// The drivers of `ranks` ranks that share the GPU: each has its part of the SMs and of the memory.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are more ranks than SMs but a few, or none; what the driver says.
    pub fn drivers(&self, ranks: usize) -> Result<Vec<Arc<dyn Driver>>> {
        Ok(self.shares(ranks)?.into_iter().map(|driver| driver as Arc<dyn Driver>).collect())
    }

    /// As [`Gpu::drivers`], by their type: streams can be lent to them ([`CudaDriver::lend_stream`]).
    ///
    /// # Errors
    /// As [`Gpu::drivers`].
    pub fn shares(&self, ranks: usize) -> Result<Vec<Arc<CudaDriver>>> {
        let facts = &self.context.facts;
        let most = facts.sms.saturating_sub(SPARE_SMS).max(1);
        if ranks == 0 || ranks > most as usize {
            let valid = format!("1 to {most}: {} has {} SMs, and {SPARE_SMS} are left alone", facts.name, facts.sms);
            return Err(Error::argument("ranks", ranks, valid));
        }
        self.context.reserve_host(HOST_BYTES_PER_RANK * ranks as u64)?;
        let streams_max = (ranks > 1).then(hardware_queues);
        Ok((0..ranks).map(|_| self.make(ranks as u32, streams_max)).collect())
    }

    /// Gives memory that nothing uses back to the system. To be called when none of the process's kernels runs on this
    /// GPU: the driver may wait for all of them.
    ///
    /// # Errors
    /// What the driver says.
    pub fn trim(&self) -> Result<()> {
        self.context.trim()
    }

    fn make(&self, ranks: u32, streams_max: Option<u32>) -> Arc<CudaDriver> {
        let facts = &self.context.facts;
        let share = if ranks == 1 { String::new() } else { format!(", one of {ranks} ranks") };
        let info = DriverInfo {
            id: DriverId::next(),
            name: format!("{} (GPU {}{share})", facts.name, facts.ordinal),
            sms: if ranks == 1 { facts.sms } else { (facts.sms - SPARE_SMS) / ranks },
            shared_bytes: facts.shared_bytes,
            memory_bytes: facts.memory_bytes / u64::from(ranks),
            backend: Backend::Cuda,
            gpu: Some(GpuShare { ordinal: facts.ordinal, ranks }),
        };
        Arc::new(CudaDriver::new(Arc::clone(&self.context), info, self.compile, streams_max))
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("facts", &self.context.facts).finish_non_exhaustive()
    }
}

/// Our kernels use bulk copies and their barriers, which came with Hopper.
fn check_compute(facts: &DeviceFacts) -> Result<()> {
    let (major, minor) = facts.compute;
    if major >= 9 {
        return Ok(());
    }
    Err(Error::Unsupported {
        need: "a GPU of compute capability 9.0 or newer (Hopper)".into(),
        have: format!("{} of compute capability {major}.{minor}", facts.name),
    })
}
