//! Options that say what runs the kernels.

use std::time::Duration;

use clap::{Args, ValueEnum};
use warpferry::plan::Fabric;

/// What runs the kernels, and how nodes reach each other.
#[derive(Debug, Clone, Args)]
pub struct PlaceOptions {
    /// What runs the kernels: `auto` takes a GPU of compute capability 9.0 or later where there is one
    #[arg(long, value_enum, default_value_t = BackendOption::Auto)]
    pub backend: BackendOption,
    /// How nodes reach each other: `mlx5` through NICs (on a GPU, NICs that a thread plays), `loopback` through memory
    #[arg(long, value_enum, default_value_t = FabricOption::Mlx5)]
    pub fabric: FabricOption,
    /// Number of the GPU; without it the first that fits
    #[arg(long, value_name = "NUMBER")]
    pub gpu: Option<u32>,
    /// Let the CUDA driver compile the kernels from their text, even where the build has assembled them
    #[arg(long)]
    pub jit: bool,
    /// Seconds without progress after which kernels give up; on the emulator of the cluster's own time
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout_s: Option<u64>,
}

impl PlaceOptions {
    /// Longest time without progress before kernels give up, when one was given.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_s.map(Duration::from_secs)
    }
}

/// `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendOption {
    /// A GPU where there is one, else the emulator.
    Auto,
    /// The emulator.
    Emu,
    /// A GPU.
    Cuda,
}

/// `--fabric`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FabricOption {
    /// NICs.
    Mlx5,
    /// Memory that all ranks have mapped.
    Loopback,
}

impl FabricOption {
    /// As the library has it.
    pub fn fabric(self) -> Fabric {
        match self {
            FabricOption::Mlx5 => Fabric::Mlx5,
            FabricOption::Loopback => Fabric::Loopback,
        }
    }
}
