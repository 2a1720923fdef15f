//! Where cases run: the emulator under several schedules, and a GPU where there is one.
//!
//! `WARPFERRY_BACKEND` chooses: `emu`, `cuda` (no GPU is then an error), or `auto`, both (no GPU is then a skip that is
//! told). `WARPFERRY_CASES` multiplies seeds and schedules.

use std::env;
use std::fmt;
use std::sync::{Arc, OnceLock};

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
    /// The first GPU.
    Cuda,
}

impl Backend {
    /// A driver for one case; inputs, garbage in registers and shared memory follow `seed`.
    pub fn driver(self, seed: u64) -> Result<Arc<dyn Driver>, Mismatch> {
        match self {
            Backend::Emulator { schedule } => Ok(EmuMachine::new(machine(schedule, seed))?.driver(0)?),
            Backend::Cuda => gpu().map_err(Mismatch::Failed),
        }
    }

    /// Takes the backend out of a case that names it.
    pub fn take(case: &mut Case) -> Result<Option<Backend>, String> {
        let (name, schedule) = (case.take("backend"), case.take("schedule"));
        match (name.as_deref(), schedule.as_deref()) {
            (None, None) => Ok(None),
            (Some("cuda"), None) => Ok(Some(Backend::Cuda)),
            (Some("emu"), None | Some("round_robin")) => Ok(Some(Backend::Emulator { schedule: None })),
            (Some("emu"), Some(schedule)) => match schedule.strip_prefix("random:").map(str::parse) {
                Some(Ok(seed)) => Ok(Some(Backend::Emulator { schedule: Some(seed) })),
                _ => Err(format!("schedule={schedule} is neither round_robin nor random:SEED")),
            },
            (name, schedule) => Err(format!("backend {name:?} with schedule {schedule:?} is no backend")),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Emulator { schedule: None } => f.write_str("backend=emu schedule=round_robin"),
            Backend::Emulator { schedule: Some(seed) } => write!(f, "backend=emu schedule=random:{seed}"),
            Backend::Cuda => f.write_str("backend=cuda"),
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
    match chosen.as_str() {
        "emu" => Backends { all: emulator.collect(), skipped: None },
        "cuda" => match gpu() {
            Ok(_) => Backends { all: vec![Backend::Cuda], skipped: None },
            Err(reason) => panic!("WARPFERRY_BACKEND=cuda: {reason}"),
        },
        "auto" | "" => match gpu() {
            Ok(_) => Backends { all: emulator.chain([Backend::Cuda]).collect(), skipped: None },
            Err(reason) => Backends { all: emulator.collect(), skipped: Some(reason) },
        },
        other => panic!("WARPFERRY_BACKEND={other}: valid are emu, cuda, auto"),
    }
}

/// Factor of the number of seeds.
pub fn more() -> u64 {
    match env::var("WARPFERRY_CASES") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("WARPFERRY_CASES={text} is no number")),
        Err(_) => 1,
    }
}

/// The first GPU's driver, opened once; or why there is none.
fn gpu() -> Result<Arc<dyn Driver>, String> {
    static GPU: OnceLock<Result<Arc<dyn Driver>, String>> = OnceLock::new();
    GPU.get_or_init(open_gpu).clone()
}

/// A world of ranks.
pub fn world_on(on: Backend, config: WorldConfig, kernels: KernelSet) -> Result<World, Mismatch> {
    match on {
        Backend::Emulator { .. } => Ok(World::emulated_kernels(config, kernels)?),
        Backend::Cuda => gpu_world(&config).map_err(Mismatch::Failed),
    }
}

/// The seam where ranks of one GPU come in.
fn gpu_world(_config: &WorldConfig) -> Result<World, String> {
    Err("this build opens no GPU".to_string())
}

/// The seam where the CUDA driver comes in.
fn open_gpu() -> Result<Arc<dyn Driver>, String> {
    Err("this build opens no GPU".to_string())
}
