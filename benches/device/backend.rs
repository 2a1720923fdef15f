//! Where the benches run.

use std::sync::Arc;

use serde_json::Value;
use warpferry::driver::emu::EmuMachine;
use warpferry::fabric::Device;
use warpferry::machine::Machine;
use warpferry::Topology;
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
    /// The emulated cluster, with the clock of a machine if there is one.
    Emulator(Option<Box<Machine>>),
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Gpu),
}

impl Backend {
    /// Opens what `choice` asks for.
    pub fn open(choice: BackendChoice) -> Result<Backend, Failure> {
        match choice {
            BackendChoice::Emu => Ok(Backend::Emulator(None)),
            BackendChoice::Cuda => open_gpu(),
            BackendChoice::Auto => open_gpu().or_else(|why| {
                println!("no GPU   {why}");
                Ok(Backend::Emulator(None))
            }),
        }
    }

    /// The machine whose clock the emulator has.
    pub fn machine(&self) -> Option<&Machine> {
        match self {
            Backend::Emulator(machine) => machine.as_deref(),
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => None,
        }
    }

    /// Whether times are virtual.
    pub fn is_emulator(&self) -> bool {
        matches!(self, Backend::Emulator(_))
    }

    /// As in results.
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Emulator(_) => "emu",
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => "cuda",
        }
    }

    /// Version of the GPU's driver, null without one.
    pub fn driver_version(&self) -> Value {
        match self {
            Backend::Emulator(_) => Value::Null,
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => summary().map_or(Value::Null, |summary| summary.driver_version.into()),
        }
    }

    /// A lab that has the device for itself.
    pub fn lab(&self) -> Result<Lab, Failure> {
        match self {
            Backend::Emulator(clock) => Lab::new(EmuMachine::new(machine(clock.as_deref(), 1)?)?.driver(0)?),
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
            Backend::Emulator(_) => Lab::new(Arc::clone(&device.driver)),
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => self.lab(),
        }
    }

    /// A device for each of `ranks` ranks, and the emulated cluster that they are in, if they are.
    pub fn devices(&self, ranks: u32) -> Result<(Vec<Device>, Option<EmuMachine>), Failure> {
        match self {
            Backend::Emulator(clock) => {
                let machine = EmuMachine::new(machine(clock.as_deref(), ranks)?)?;
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

/// An emulated node: of a machine with its clock, else with a schedule that is drawn.
fn machine(clock: Option<&Machine>, gpus: u32) -> Result<MachineConfig, Failure> {
    if let Some(clock) = clock {
        return Ok(clock.emulator(Topology::new(1, gpus)?));
    }
    Ok(MachineConfig { schedule: Schedule::Random { seed: SCHEDULE_SEED }, ..MachineConfig::new(1, gpus as usize) })
}

#[cfg(feature = "cuda")]
fn open_gpu() -> Result<Backend, Failure> {
    Ok(Backend::Cuda(Gpu::open(0)?))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu() -> Result<Backend, Failure> {
    Err(Failure::wrong("backend cuda", "this build has no feature `cuda`"))
}
