//! A world that can be timed: its drivers carry marks.

#[cfg(feature = "cuda")]
use crate::driver::cuda::Gpu;
use crate::error::Result;
use crate::world::{Device, World, WorldConfig};

use super::marks::Marks;

/// A world whose launches can be marked.
#[derive(Debug)]
pub struct Bed {
    world: World,
    marks: Vec<Marks>,
}

impl Bed {
    /// On an emulated cluster.
    ///
    /// # Errors
    /// As [`World::emulated`].
    #[cfg(feature = "emu")]
    pub fn emulated(config: &WorldConfig) -> Result<Bed> {
        let machine = config.emulated_machine()?;
        let (marks, devices) = marked(machine.devices());
        Ok(Bed { world: World::on_machine(config, machine, &devices)?, marks })
    }

    /// On GPUs of this process, as [`World::on_gpus`].
    ///
    /// # Errors
    /// As [`World::on_gpus`].
    #[cfg(feature = "cuda")]
    pub fn on_gpus(config: &WorldConfig, gpus: &[Gpu]) -> Result<Bed> {
        Bed::on_devices(config, config.devices_on_gpus(gpus)?)
    }

    /// On devices of the caller, one a rank: drivers without turns, such as GPUs of several libraries.
    ///
    /// # Errors
    /// As [`World::on_devices`].
    pub fn on_devices(config: &WorldConfig, devices: Vec<Device>) -> Result<Bed> {
        let (marks, devices) = marked(devices);
        Ok(Bed { world: World::on_devices(config, &devices)?, marks })
    }

    /// The world.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// Marks of each rank's driver.
    pub fn marks(&self) -> Vec<Marks> {
        self.marks.clone()
    }

    /// Waits for every rank and frees all memory.
    ///
    /// # Errors
    /// As [`World::close`].
    pub fn close(self) -> Result<()> {
        self.world.close()
    }
}

fn marked(devices: Vec<Device>) -> (Vec<Marks>, Vec<Device>) {
    let one = |device: Device| {
        let (marks, driver) = Marks::around(device.driver);
        (marks, Device { driver, ..device })
    };
    devices.into_iter().map(one).unzip()
}
