//! Where the benches run.

use std::sync::Arc;

use serde_json::Value;
use warpferry::driver::emu::EmuMachine;
use warpferry::fabric::Device;
use warpferry_emu::{MachineConfig, Schedule};

use super::lab::Lab;
#[cfg(feature = "cuda")]
use super::lab::Raw;
use super::options::BackendChoice;
use super::record::Failure;

#[cfg(feature = "cuda")]
use warpferry::driver::cuda::{summary, Gpu};

/// Draws the emulator's schedule: copies that land late show a wait that is missing.
const SCHEDULE_SEED: u64 = 0x5c4ed;

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

    /// Whether times are virtual.
    pub fn is_emulator(&self) -> bool {
        matches!(self, Backend::Emulator)
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

    /// A lab that has the device for itself.
    pub fn lab(&self) -> Result<Lab, Failure> {
        match self {
            Backend::Emulator => Lab::new(EmuMachine::new(machine(1))?.driver(0)?),
            #[cfg(feature = "cuda")]
            Backend::Cuda(gpu) => {
                let driver = gpu.driver()?;
                let lab = Lab::new(driver.clone())?;
                let stream = driver.raw_stream(lab.timer().stream())? as usize;
                Ok(lab.with_raw(Raw { context: driver.raw_context() as usize, stream }))
            }
        }
    }

    /// A lab on the device of a rank, beside its communication.
    pub fn lab_beside(&self, device: &Device) -> Result<Lab, Failure> {
        match self {
            Backend::Emulator => Lab::new(Arc::clone(&device.driver)),
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => self.lab(),
        }
    }

    /// A device for each of `ranks` ranks, and the emulated cluster that they are in, if they are.
    pub fn devices(&self, ranks: u32) -> Result<(Vec<Device>, Option<EmuMachine>), Failure> {
        match self {
            Backend::Emulator => {
                let machine = EmuMachine::new(machine(ranks as usize))?;
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

/// An emulated node with a schedule that is drawn.
fn machine(gpus: usize) -> MachineConfig {
    MachineConfig { schedule: Schedule::Random { seed: SCHEDULE_SEED }, ..MachineConfig::new(1, gpus) }
}

#[cfg(feature = "cuda")]
fn open_gpu() -> Result<Backend, Failure> {
    Ok(Backend::Cuda(Gpu::open(0)?))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu() -> Result<Backend, Failure> {
    Err(Failure::wrong("backend cuda", "this build has no feature `cuda`"))
}
