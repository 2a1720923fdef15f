//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures a device: probes, then dispatch and combine against them.
#[derive(Debug, Clone, Parser)]
#[command(name = "device")]
pub struct Options {
    /// What to run on; `auto` takes a GPU where there is one.
    #[arg(long, value_enum, default_value = "auto")]
    pub backend: BackendChoice,
    /// Emulator: takes times of this machine, a preset or a `.toml` file, and the settings of its calibration.
    #[arg(long)]
    pub machine: Option<String>,
    /// Fewer settings.
    #[arg(long)]
    pub quick: bool,
    /// The smallest sizes, as on the emulator: whether everything runs, no figures.
    #[arg(long)]
    pub tiny: bool,
    /// Only this group.
    #[arg(long, value_enum)]
    pub only: Option<Group>,
    /// No group is begun, and no setting of the longer ones, after this many seconds.
    #[arg(long, default_value_t = 210)]
    pub seconds: u64,
    /// Prints every result as it comes, not only the best of each subject at the end.
    #[arg(long)]
    pub verbose: bool,
    /// Writes all results to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Commit that was built, for the results.
    #[arg(long, env = "WARPFERRY_COMMIT", default_value = "unknown")]
    pub commit: String,
    /// Cargo passes it to every bench.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// What to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// A GPU where there is one, else the emulator.
    Auto,
    /// The emulator.
    Emu,
    /// The first GPU.
    Cuda,
}

impl BackendChoice {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            BackendChoice::Auto => "auto",
            BackendChoice::Emu => "emu",
            BackendChoice::Cuda => "cuda",
        }
    }
}

/// Groups of measurements, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// An empty launch.
    Launch,
    /// Bulk copies, global to shared.
    Read,
    /// Bulk copies, shared to global.
    Write,
    /// Bulk copies through shared memory: the limit.
    Copy,
    /// Fences.
    Fence,
    /// Loads by order and scope.
    Load,
    /// `nanosleep`.
    Sleep,
    /// Stores to host-mapped memory, doorbell posts.
    Post,
    /// The computation, alone.
    Gemm,
    /// Dispatch and combine.
    Operations,
    /// Launch to done for few tokens.
    Latency,
    /// The computation beside communication, and beside SMs that are only held.
    Beside,
}

impl Group {
    /// All of them.
    pub const ALL: [Group; 12] = [
        Group::Launch,
        Group::Read,
        Group::Write,
        Group::Copy,
        Group::Fence,
        Group::Load,
        Group::Sleep,
        Group::Post,
        Group::Gemm,
        Group::Operations,
        Group::Latency,
        Group::Beside,
    ];

    /// As on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Group::Launch => "launch",
            Group::Read => "read",
            Group::Write => "write",
            Group::Copy => "copy",
            Group::Fence => "fence",
            Group::Load => "load",
            Group::Sleep => "sleep",
            Group::Post => "post",
            Group::Gemm => "gemm",
            Group::Operations => "operations",
            Group::Latency => "latency",
            Group::Beside => "beside",
        }
    }
}
