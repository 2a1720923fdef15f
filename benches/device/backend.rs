//! Where the benches run.

use std::sync::Arc;

use serde_json::Value;
use warpferry::driver::emu::EmuMachine;
use warpferry::driver::Driver;
use warpferry::fabric::Device;
use warpferry_emu::MachineConfig;

use super::options::BackendChoice;
use super::record::Failure;

#[cfg(feature = "cuda")]
use warpferry::driver::cuda::{summary, Gpu};

/// What was opened.
#[derive(Debug)]
pub enum Backend {
    /// The emulated cluster.
    Emulator,
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Gpu),
}

impl Backend {
    /// Opens what `choice` asks for.
    pub fn open(choice: BackendChoice) -> Result<Backend, Failure> {
        match choice {
            BackendChoice::Emu => Ok(Backend::Emulator),
            BackendChoice::Cuda => open_gpu(),
            BackendChoice::Auto => open_gpu().or_else(|why| {
                println!("no GPU   {why}");
                Ok(Backend::Emulator)
            }),
        }
    }

    /// As in results.
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Emulator => "emu",
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => "cuda",
        }
    }

    /// Version of the GPU's driver, null without one.
    pub fn driver_version(&self) -> Value {
        match self {
            Backend::Emulator => Value::Null,
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => summary().map_or(Value::Null, |summary| summary.driver_version.into()),
        }
    }

    /// A driver that has the device for itself.
    pub fn driver(&self) -> Result<Arc<dyn Driver>, Failure> {
        match self {
            Backend::Emulator => Ok(EmuMachine::new(MachineConfig::new(1, 1))?.driver(0)?),
            #[cfg(feature = "cuda")]
            Backend::Cuda(gpu) => Ok(gpu.driver()?),
        }
    }

    /// A device for each of `ranks` ranks, and the emulated cluster that they are in, if they are.
    pub fn devices(&self, ranks: u32) -> Result<(Vec<Device>, Option<EmuMachine>), Failure> {
        match self {
            Backend::Emulator => {
                let machine = EmuMachine::new(MachineConfig::new(1, ranks as usize))?;
                Ok((machine.devices(), Some(machine)))
            }
            #[cfg(feature = "cuda")]
            Backend::Cuda(gpu) => {
                let drivers = gpu.drivers(ranks as usize)?;
                Ok((drivers.into_iter().map(Device::new).collect(), None))
            }
        }
    }
}

#[cfg(feature = "cuda")]
fn open_gpu() -> Result<Backend, Failure> {
    Ok(Backend::Cuda(Gpu::open(0)?))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu() -> Result<Backend, Failure> {
    Err(Failure::wrong("backend cuda", "this build has no feature `cuda`"))
}
