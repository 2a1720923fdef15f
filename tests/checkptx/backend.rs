//! Where cases run: the emulator under several schedules, and a GPU where there is one.
//!
//! `WARPFERRY_BACKEND` chooses: `emu`, `cuda` (no GPU is then an error), or `auto`, both (no GPU is then a skip that is
//! told). `WARPFERRY_CASES` multiplies seeds and schedules; 0 takes every tenth case.

use std::env;
use std::fmt;
use std::sync::Arc;

use warpferry::driver::emu::EmuMachine;
use warpferry::driver::Driver;
use warpferry::kernel::launch::KernelSet;
use warpferry::{World, WorldConfig};
use warpferry_emu::{MachineConfig, Schedule};

use crate::cases::{Case, Mismatch};

/// Device memory of the emulated GPU.
const MEMORY_BYTES: u64 = 4 << 30;
/// Warp instructions after which a run counts as endless.
const WARP_INSTRUCTIONS_MAX: u64 = 20_000_000;

/// One way to run a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The emulator; without a seed, round robin.
    Emulator { schedule: Option<u64> },
    /// The first GPU; with code that the build assembled, or that the driver compiles from the text.
    Cuda { compiles: bool },
}

impl Backend {
    /// A driver for one case; inputs, garbage in registers and shared memory follow `seed`.
    pub fn driver(self, seed: u64) -> Result<Arc<dyn Driver>, Mismatch> {
        match self {
            Backend::Emulator { schedule } => Ok(EmuMachine::new(machine(schedule, seed))?.driver(0)?),
            Backend::Cuda { compiles } => cuda::driver(compiles).map_err(Mismatch::Failed),
        }
    }

    /// Takes the backend out of a case that names it.
    pub fn take(case: &mut Case) -> Result<Option<Backend>, String> {
        let (name, schedule, code) = (case.take("backend"), case.take("schedule"), case.take("code"));
        match (name.as_deref(), schedule.as_deref().or(code.as_deref())) {
            (None, None) => Ok(None),
            (Some("cuda"), None | Some("assembled")) => Ok(Some(Backend::Cuda { compiles: false })),
            (Some("cuda"), Some("compiled")) => Ok(Some(Backend::Cuda { compiles: true })),
            (Some("emu"), None | Some("round_robin")) => Ok(Some(Backend::Emulator { schedule: None })),
            (Some("emu"), Some(schedule)) => match schedule.strip_prefix("random:").map(str::parse) {
                Some(Ok(seed)) => Ok(Some(Backend::Emulator { schedule: Some(seed) })),
                _ => Err(format!("schedule={schedule} is neither round_robin nor random:SEED")),
            },
            (name, how) => Err(format!("backend {name:?} with {how:?} is no backend")),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Emulator { schedule: None } => f.write_str("backend=emu schedule=round_robin"),
            Backend::Emulator { schedule: Some(seed) } => write!(f, "backend=emu schedule=random:{seed}"),
            Backend::Cuda { compiles: false } => f.write_str("backend=cuda code=assembled"),
            Backend::Cuda { compiles: true } => f.write_str("backend=cuda code=compiled"),
        }
    }
}

/// An emulated GPU.
pub fn machine(schedule: Option<u64>, seed: u64) -> MachineConfig {
    let mut config = MachineConfig::new(1, 1);
    config.gpu.memory_bytes = MEMORY_BYTES;
    config.limits.warp_instructions = WARP_INSTRUCTIONS_MAX;
    config.garbage_seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed;
    if let Some(seed) = schedule {
        config.schedule = Schedule::Random { seed };
    }
    config
}

/// Backends of this run, and why a GPU is not among them when it might be.
#[derive(Debug)]
pub struct Backends {
    pub all: Vec<Backend>,
    pub skipped: Option<String>,
}

/// What `WARPFERRY_BACKEND` chooses, with `schedules` random schedules of the emulator.
pub fn backends(schedules: u64) -> Backends {
    let chosen = env::var("WARPFERRY_BACKEND").unwrap_or_else(|_| "auto".to_string());
    let emulator = (0..=schedules).map(|seed| Backend::Emulator { schedule: (seed > 0).then_some(seed) });
    let device = [false, true].map(|compiles| Backend::Cuda { compiles });
    match chosen.as_str() {
        "emu" => Backends { all: emulator.collect(), skipped: None },
        "cuda" => match cuda::there() {
            Ok(()) => Backends { all: device.to_vec(), skipped: None },
            Err(reason) => panic!("WARPFERRY_BACKEND=cuda: {reason}"),
        },
        "auto" | "" => match cuda::there() {
            Ok(()) => Backends { all: emulator.chain(device).collect(), skipped: None },
            Err(reason) => Backends { all: emulator.collect(), skipped: Some(reason) },
        },
        other => panic!("WARPFERRY_BACKEND={other}: valid are emu, cuda, auto"),
    }
}

/// Factor of the numbers of seeds and schedules, and which cases are taken: every one, or every tenth.
pub fn amount() -> (u64, usize) {
    match env::var("WARPFERRY_CASES") {
        Ok(text) => match text.parse() {
            Ok(0) => (1, 10),
            Ok(more) => (more, 1),
            Err(_) => panic!("WARPFERRY_CASES={text} is no number"),
        },
        Err(_) => (1, 1),
    }
}

/// A world of ranks; other kernels than the embedded ones are for the emulator alone.
pub fn world_on(on: Backend, config: WorldConfig, kernels: KernelSet) -> Result<World, Mismatch> {
    match on {
        Backend::Emulator { .. } => Ok(World::emulated_kernels(config, kernels)?),
        Backend::Cuda { compiles } => cuda::world(compiles, &config).map_err(Mismatch::Failed),
    }
}

/// The first GPU, opened once.
#[cfg(feature = "cuda")]
mod cuda {
    use std::sync::{Arc, OnceLock};

    use warpferry::driver::cuda::{use_all_hardware_queues, Gpu};
    use warpferry::driver::Driver;
    use warpferry::{World, WorldConfig};

    fn gpu(compiles: bool) -> Result<Gpu, String> {
        static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
        let open = || {
            use_all_hardware_queues();
            Gpu::open(0).map_err(|error| error.to_string())
        };
        let gpu = GPU.get_or_init(open).clone()?;
        Ok(if compiles { gpu.compile_kernels() } else { gpu })
    }

    /// Whether there is a GPU; else why not.
    pub fn there() -> Result<(), String> {
        gpu(false).map(drop)
    }

    /// The driver that all cases share.
    pub fn driver(compiles: bool) -> Result<Arc<dyn Driver>, String> {
        static DRIVERS: [OnceLock<Result<Arc<dyn Driver>, String>>; 2] = [const { OnceLock::new() }; 2];
        let open = || match gpu(compiles)?.driver() {
            Ok(driver) => Ok(driver as Arc<dyn Driver>),
            Err(error) => Err(error.to_string()),
        };
        DRIVERS[usize::from(compiles)].get_or_init(open).clone()
    }

    /// A world whose ranks share the GPU.
    pub fn world(compiles: bool, config: &WorldConfig) -> Result<World, String> {
        World::on_gpu(config, &gpu(compiles)?).map_err(|error| error.to_string())
    }
}

/// A build that knows no GPUs.
#[cfg(not(feature = "cuda"))]
mod cuda {
    use std::sync::Arc;

    use warpferry::driver::Driver;
    use warpferry::{World, WorldConfig};

    const REASON: &str = "built without the feature cuda";

    pub fn there() -> Result<(), String> {
        Err(REASON.to_string())
    }

    pub fn driver(_compiles: bool) -> Result<Arc<dyn Driver>, String> {
        Err(REASON.to_string())
    }

    pub fn world(_compiles: bool, _config: &WorldConfig) -> Result<World, String> {
        Err(REASON.to_string())
    }
}
