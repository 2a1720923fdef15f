//! All ranks of a world in one process: threads on one emulated cluster, or on drivers that the caller brings.

#[cfg(all(test, feature = "emu"))]
mod damage_tests;
#[cfg(all(test, feature = "emu"))]
mod emu_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
#[cfg(feature = "cuda")]
use std::sync::Arc;
use std::time::Duration;

use crate::comm::connect::{Offer, Prepared};
use crate::comm::shared::Shared;
use crate::comm::Communicator;
#[cfg(feature = "cuda")]
use crate::driver::cuda::Gpu;
#[cfg(feature = "emu")]
use crate::driver::emu::EmuMachine;
use crate::driver::Backend;
#[cfg(feature = "cuda")]
use crate::driver::Driver;
use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::fabric::served::ServedNetwork;
pub use crate::fabric::Device;
use crate::kernel::launch::KernelSet;
use crate::plan::{Fabric, Plan, Shape, Tuning};
use crate::topology::Topology;
use crate::tune;
use crate::tune::store::{Stored, Wanted};

/// Longest that closing a world waits for a rank's kernels.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(300);

/// SMs of a rank's launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sms {
    /// CTAs of a dispatch.
    pub dispatch: u32,
    /// CTAs of a combine.
    pub combine: u32,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Nodes and GPUs.
    pub topology: Topology,
    /// What is moved.
    pub shape: Shape,
    /// How it is moved.
    pub tuning: Tuning,
    /// Ranks that use other SM counts than `tuning` says.
    pub sms: BTreeMap<u32, Sms>,
    /// Inter-node fabric.
    pub fabric: Fabric,
    /// The emulated cluster; its nodes and GPUs follow the topology.
    #[cfg(feature = "emu")]
    pub machine: warpferry_emu::MachineConfig,
}

impl WorldConfig {
    /// A world with default tuning, mlx5 fabric, and an emulated cluster with all checks.
    pub fn new(topology: Topology, shape: Shape) -> WorldConfig {
        WorldConfig {
            topology,
            shape,
            tuning: Tuning::default_for(topology, shape.dispatch_row_bytes()),
            sms: BTreeMap::new(),
            fabric: Fabric::Mlx5,
            #[cfg(feature = "emu")]
            machine: warpferry_emu::MachineConfig::new(topology.nodes() as usize, topology.gpus_per_node() as usize),
        }
    }

    /// With this tuning.
    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> WorldConfig {
        self.tuning = tuning;
        self
    }

    /// With the setting that is stored for this world: of the file that `WARPFERRY_TUNING` names, of the user's store, of those that
    /// ship, or the documented defaults ([`tune::stored`](crate::tune::stored())). Says which, and how well it fits. Comes behind
    /// [`WorldConfig::fabric`], since settings are kept by fabric. `device` is a machine or a GPU by name
    /// ([`DriverInfo::name`](crate::driver::DriverInfo)), `gate` the class of the gate. Ranks of several processes that look up
    /// different files may get different settings: joining them then fails and names the rank and what differs.
    ///
    /// ```
    /// use warpferry::{Shape, Topology, WorldConfig};
    ///
    /// let config = WorldConfig::new(Topology::new(2, 8)?, Shape::new(7168, 256, 8, 4096)?);
    /// let (config, stored) = config.stored("h800-cx7", "uniform")?;
    /// println!("{stored}: {:?}", config.tuning);
    /// # Ok::<(), warpferry::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`tune::stored`](crate::tune::stored()).
    pub fn stored(self, device: &str, gate: &str) -> Result<(WorldConfig, Stored)> {
        let (fabric, topology, shape) = (self.fabric, self.topology, &self.shape);
        let stored = tune::stored(&Wanted { device, fabric, topology, shape, gate })?;
        Ok((self.tuning(stored.tuning.clone()), stored))
    }

    /// With this fabric.
    #[must_use]
    pub fn fabric(mut self, fabric: Fabric) -> WorldConfig {
        self.fabric = fabric;
        self
    }

    /// With other SM counts for one rank.
    #[must_use]
    pub fn sms(mut self, rank: u32, sms: Sms) -> WorldConfig {
        self.sms.insert(rank, sms);
        self
    }

    /// The plan of `rank`.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub fn plan(&self, rank: u32) -> Result<Plan> {
        let mut tuning = self.tuning.clone();
        if let Some(sms) = self.sms.get(&rank) {
            tuning.dispatch_sms = sms.dispatch;
            tuning.combine_sms = sms.combine;
        }
        Plan::new(self.topology, self.shape, tuning, self.fabric)
    }

    /// The emulated cluster of [`WorldConfig::machine`], with the nodes and GPUs of the topology.
    ///
    /// # Errors
    /// As [`WorldConfig::plan`]; [`Error::Argument`] for a machine out of range.
    #[cfg(feature = "emu")]
    pub fn emulated_machine(&self) -> Result<EmuMachine> {
        self.plan(0)?;
        let mut machine = self.machine.clone();
        (machine.nodes, machine.gpus_per_node) = match self.fabric {
            Fabric::Mlx5 => (self.topology.nodes() as usize, self.topology.gpus_per_node() as usize),
            Fabric::Loopback => (1, self.topology.ranks() as usize),
        };
        EmuMachine::new(machine)
    }

    /// Devices of a world on GPUs of this process, in rank order: what [`World::on_gpus`] connects.
    ///
    /// # Errors
    /// As [`World::on_gpus`].
    #[cfg(feature = "cuda")]
    pub fn devices_on_gpus(&self, gpus: &[Gpu]) -> Result<Vec<Device>> {
        self.plan(0)?;
        let ranks = self.topology.ranks() as usize;
        let ordinals: Vec<u32> = gpus.iter().map(|gpu| gpu.facts().ordinal).collect();
        if let Some(twice) = (1..ordinals.len()).find(|&at| ordinals[..at].contains(&ordinals[at])) {
            let value = format!("GPU {} twice", ordinals[twice]);
            return Err(Error::argument("gpus", value, "each GPU once: its ranks share it"));
        }
        if gpus.is_empty() || !ranks.is_multiple_of(gpus.len()) {
            return Err(Error::argument("gpus", gpus.len(), format!("a number that divides the {ranks} ranks")));
        }
        let drivers: Vec<Vec<Arc<dyn Driver>>> =
            gpus.iter().map(|gpu| gpu.drivers(ranks / gpus.len())).collect::<Result<_>>()?;
        let drivers: Vec<Arc<dyn Driver>> = drivers.into_iter().flatten().collect();
        let mut devices: Vec<Device> = drivers.iter().map(|driver| Device::new(Arc::clone(driver))).collect();
        if self.fabric == Fabric::Mlx5 && self.topology.nodes() > 1 {
            // Served NICs write from one GPU into the windows of all others.
            for (from, to) in gpus.iter().flat_map(|from| gpus.iter().map(move |to| (from, to))) {
                from.reach(to)?;
            }
            let nics = ServedNetwork::new(&drivers)?.nics();
            devices = devices.into_iter().zip(nics).map(|(device, nic)| device.nic(nic)).collect();
        }
        Ok(devices)
    }

    /// Device memory of all ranks in bytes, with one handle each.
    ///
    /// # Errors
    /// As [`WorldConfig::plan`].
    pub fn memory_bytes(&self) -> Result<u64> {
        (0..self.topology.ranks()).try_fold(0, |sum, rank| Ok(sum + self.plan(rank)?.memory_bytes().bytes()))
    }
}

/// Makes a communicator for every device, in rank order.
///
/// # Errors
/// [`Error::Argument`] when the number of devices is not that of ranks; what plan and driver say.
pub fn connect(config: &WorldConfig, devices: &[Device]) -> Result<Vec<Communicator>> {
    connect_kernels(config, devices, KernelSet::of_shape(config.fabric, &config.shape, &config.tuning)?)
}

/// Ranks that share a GPU must know it: their SMs and hardware queues were divided, or their kernels may keep each other
/// from running.
fn check_shares(devices: &[Device]) -> Result<()> {
    let shares = devices.iter().filter_map(|device| device.driver.info().gpu);
    let mut ranks: BTreeMap<u32, u32> = BTreeMap::new();
    shares.clone().for_each(|share| *ranks.entry(share.ordinal).or_default() += 1);
    for share in shares {
        let here = ranks[&share.ordinal];
        if share.ranks < here {
            return Err(Error::argument(
                "devices",
                format!("{here} ranks on GPU {}, with drivers for {}", share.ordinal, share.ranks),
                format!("drivers made for {here} ranks together (`Gpu::drivers`, `interop::devices`, `World::on_gpu`)"),
            ));
        }
    }
    Ok(())
}

/// [`connect`] with these kernels instead of the embedded ones.
///
/// # Errors
/// As [`connect`].
pub fn connect_kernels(config: &WorldConfig, devices: &[Device], kernels: KernelSet) -> Result<Vec<Communicator>> {
    let ranks = config.topology.ranks();
    if devices.len() as u64 != u64::from(ranks) {
        return Err(Error::argument("devices", devices.len(), format!("one for each of {ranks} ranks")));
    }
    if let Some(rank) = config.sms.keys().find(|&&rank| rank >= ranks) {
        return Err(Error::argument("sms", format!("of rank {rank}"), format!("ranks below {ranks}")));
    }
    check_shares(devices)?;
    let prepared = (0..)
        .zip(devices)
        .map(|(rank, device)| Prepared::new(device, config.plan(rank)?, rank, kernels))
        .collect::<Result<Vec<_>>>()?;
    let offers: Vec<Offer> = prepared.iter().map(Prepared::offer).collect();
    let mut joined = Vec::with_capacity(prepared.len());
    // Ranks that have not joined keep their windows until nobody has them mapped.
    let mut prepared = prepared.into_iter();
    for rank in prepared.by_ref() {
        match rank.join(&offers) {
            Ok(communicator) => joined.push(communicator),
            Err(unjoined) => {
                if let Err(cause) = close(joined) {
                    tracing::warn!(%cause, "ranks of a world that could not be made were not closed");
                }
                return Err(unjoined.into());
            }
        }
    }
    Ok(joined)
}

/// Waits for all ranks of a world, then frees their memory: what [`connect`] made.
///
/// # Errors
/// [`Error::WaitTimeout`] when kernels go on; what driver and NIC say. Memory that a peer may still write stays.
pub fn close(communicators: Vec<Communicator>) -> Result<()> {
    // All ranks must be quiet before the first mapping goes, and all mappings gone before the first window does.
    let each = |act: &dyn Fn(&Shared) -> Result<()>| communicators.iter().try_for_each(|rank| act(rank.shared()));
    each(&|rank| rank.quiet(CLOSE_TIMEOUT))?;
    each(&Shared::unmap)?;
    each(&Shared::release)
}

/// The ranks of a world and what they run on.
#[derive(Debug)]
pub struct World {
    communicators: Vec<Communicator>,
    #[cfg(feature = "emu")]
    machine: Option<EmuMachine>,
}

impl World {
    /// A world on an emulated cluster. With fabric loopback the cluster is one node of all GPUs, since every rank's
    /// window must be mapped.
    ///
    /// # Errors
    /// [`Error::Argument`] for settings that do not fit each other.
    #[cfg(feature = "emu")]
    pub fn emulated(config: WorldConfig) -> Result<World> {
        let kernels = KernelSet::of_shape(config.fabric, &config.shape, &config.tuning)?;
        World::emulated_kernels(config, kernels)
    }

    /// The same with other kernels than the embedded ones: for mutants and experiments.
    ///
    /// # Errors
    /// As [`World::emulated`].
    #[cfg(feature = "emu")]
    pub fn emulated_kernels(config: WorldConfig, kernels: KernelSet) -> Result<World> {
        let machine = config.emulated_machine()?;
        let communicators = connect_kernels(&config, &machine.devices(), kernels)?;
        Ok(World { communicators, machine: Some(machine) })
    }

    /// A world of which all ranks share one GPU: each has a share of its SMs and streams of its own; windows are plain
    /// device memory. With fabric mlx5 and more than one node the NICs are the model that the emulator uses, served by a
    /// thread of this process ([`crate::fabric::served`]): for correctness, not for speed.
    ///
    /// ```no_run
    /// use warpferry::driver::cuda::{use_all_hardware_queues, Gpu};
    /// use warpferry::{Fabric, Result, Shape, Topology, World, WorldConfig};
    ///
    /// fn main() -> Result<()> {
    ///     use_all_hardware_queues(); // before any CUDA call and any thread
    ///     let shape = Shape::new(4096, 64, 8, 128)?;
    ///     let config = WorldConfig::new(Topology::new(1, 4)?, shape).fabric(Fabric::Loopback);
    ///     let mut world = World::on_gpu(&config, &Gpu::open(0)?)?; // four ranks that share GPU 0
    ///     let ranks = world.run(|comm| comm.rank())?; // here dispatch and combine
    ///     assert_eq!(ranks, [0, 1, 2, 3]);
    ///     world.close()
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`connect`]; [`Error::Argument`] when the GPU has fewer SMs than the world ranks, or fewer hardware queues than
    /// their streams need.
    #[cfg(feature = "cuda")]
    pub fn on_gpu(config: &WorldConfig, gpu: &Gpu) -> Result<World> {
        World::on_gpus(config, std::slice::from_ref(gpu))
    }

    /// A world on several GPUs of this process: as many ranks on each, in rank order. Ranks on different GPUs reach each
    /// other's windows by peer access.
    ///
    /// # Errors
    /// As [`World::on_gpu`]; [`Error::Argument`] when the ranks do not divide by the GPUs; [`Error::Unsupported`] when two
    /// GPUs whose ranks reach each other have no peer access.
    #[cfg(feature = "cuda")]
    pub fn on_gpus(config: &WorldConfig, gpus: &[Gpu]) -> Result<World> {
        let kernels = KernelSet::of_shape(config.fabric, &config.shape, &config.tuning)?;
        let devices = config.devices_on_gpus(gpus)?;
        let communicators = connect_kernels(config, &devices, kernels)?;
        Ok(World {
            communicators,
            #[cfg(feature = "emu")]
            machine: None,
        })
    }

    /// A world on devices of an emulated cluster, one a rank: those of `machine`, with drivers of the caller around them.
    ///
    /// # Errors
    /// As [`connect`].
    #[cfg(feature = "emu")]
    pub fn on_machine(config: &WorldConfig, machine: EmuMachine, devices: &[Device]) -> Result<World> {
        Ok(World { communicators: connect(config, devices)?, machine: Some(machine) })
    }

    /// A world on devices of the caller: one a rank, in rank order.
    ///
    /// # Errors
    /// As [`connect`].
    pub fn on_devices(config: &WorldConfig, devices: &[Device]) -> Result<World> {
        let communicators = connect(config, devices)?;
        Ok(World {
            communicators,
            #[cfg(feature = "emu")]
            machine: None,
        })
    }

    /// Runs `act` once a rank, each on a thread of its own, and gives the results in rank order.
    ///
    /// On the emulator the threads take turns: one runs until it waits for the cluster, and the cluster runs when all
    /// wait. So a run depends on nothing but its inputs. Threads must not wait for each other by other means.
    ///
    /// # Errors
    /// [`Error::Driver`] when another run of the same cluster is under way.
    pub fn run<T: Send>(&mut self, act: impl Fn(&mut Communicator) -> T + Sync) -> Result<Vec<T>> {
        #[cfg(feature = "emu")]
        if let Some(machine) = self.machine.clone() {
            return machine.run(self.communicators.iter_mut().collect(), &act);
        }
        let act = &act;
        Ok(std::thread::scope(|scope| {
            let threads: Vec<_> =
                self.communicators.iter_mut().map(|communicator| scope.spawn(move || act(communicator))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        }))
    }

    /// The ranks' communicators.
    pub fn communicators(&mut self) -> &mut [Communicator] {
        &mut self.communicators
    }

    /// The emulated cluster, when the world has one.
    #[cfg(feature = "emu")]
    pub fn machine(&self) -> Option<&EmuMachine> {
        self.machine.as_ref()
    }

    /// Whether the ranks run on an emulated cluster, whose time is virtual.
    pub fn is_emulated(&self) -> bool {
        self.communicators.iter().all(|rank| rank.device().backend == Backend::Emulator)
    }

    /// Waits for every rank and frees all memory.
    ///
    /// # Errors
    /// As [`close`].
    pub fn close(mut self) -> Result<()> {
        close(std::mem::take(&mut self.communicators))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Err(error) = close(std::mem::take(&mut self.communicators)) {
            tracing::warn!(%error, "world dropped with ranks that could not be closed");
        }
    }
}
