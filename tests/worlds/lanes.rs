//! A cluster whose queue pairs are known by what they are for, so that one of them can be made to fail, and whose words
//! can be damaged ([`crate::damage`]).
//!
//! Method: each rank's NIC is wrapped in one that writes down the numbers of the queue pairs it makes; their order is
//! that of [`warpferry::comm::connect::NicOffer::queues`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use warpferry::comm::Canceller;
use warpferry::driver::emu::EmuMachine;
use warpferry::driver::wrap::Wrapped;
use warpferry::fabric::{Nic, NicCounters, Queue, QueueAddress, QueueMemory, WindowKeys};
use warpferry::kernel::launch::KernelSet;
use warpferry::mem::DevicePtr;
use warpferry::world::{self, Device};
use warpferry::{Communicator, Fabric, Result, WorldConfig};
use warpferry_emu::MemoryOrder;
use warpferry_nic::{Fault, FaultAction, FaultMatch, FaultPlan, QueuePairNumber};

use crate::damage::{Damage, Meddler, Under, Word};

/// What a queue pair is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Payload { channel: u32 },
    Credit { channel: u32 },
    Exchange,
}

/// One thing that goes wrong, once.
#[derive(Debug, Clone, Copy)]
pub struct Mishap {
    /// Rank whose queue pair it is.
    pub rank: u32,
    /// Node at the other end.
    pub node: u32,
    pub lane: Lane,
    pub matching: FaultMatch,
    /// Requests of this kind that go well first.
    pub after: u64,
    pub action: FaultAction,
}

#[derive(Debug)]
struct Recorder {
    nic: Arc<dyn Nic>,
    made: Arc<Mutex<Vec<u32>>>,
}

impl Nic for Recorder {
    fn register(&self, window: DevicePtr, bytes: u64) -> Result<WindowKeys> {
        self.nic.register(window, bytes)
    }

    fn deregister(&self, keys: WindowKeys) -> Result<()> {
        self.nic.deregister(keys)
    }

    fn create_queue(&self, memory: &QueueMemory) -> Result<Queue> {
        let queue = self.nic.create_queue(memory)?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(queue.number);
        Ok(queue)
    }

    fn destroy_queue(&self, number: u32) -> Result<()> {
        self.nic.destroy_queue(number)
    }

    fn address(&self, number: u32) -> QueueAddress {
        self.nic.address(number)
    }

    fn connect(&self, number: u32, peer: QueueAddress) -> Result<()> {
        self.nic.connect(number, peer)
    }

    fn counters(&self) -> Result<NicCounters> {
        self.nic.counters()
    }

    fn queue_counters(&self, number: u32) -> Result<NicCounters> {
        self.nic.queue_counters(number)
    }
}

/// Ranks on an emulated cluster.
pub struct Cluster {
    pub machine: EmuMachine,
    ranks: Vec<Communicator>,
    config: WorldConfig,
    queues: Vec<Arc<Mutex<Vec<u32>>>>,
    damages: Vec<Arc<Mutex<Damage>>>,
}

impl Cluster {
    pub fn new(config: WorldConfig) -> Result<Cluster> {
        let kernels = KernelSet::of_shape(config.fabric, &config.shape, &config.tuning)?;
        Cluster::with_kernels(config, kernels)
    }

    /// One that runs these kernels.
    pub fn with_kernels(config: WorldConfig, kernels: KernelSet) -> Result<Cluster> {
        let mut machine = config.machine.clone();
        if config.fabric == Fabric::Loopback {
            (machine.nodes, machine.gpus_per_node) = (1, config.topology.ranks() as usize);
        }
        let machine = EmuMachine::new(machine)?;
        let mut queues = Vec::new();
        let mut damages = Vec::new();
        let mut devices = machine.devices();
        let plan = config.plan(0)?;
        let (hash, handle_bytes) = (plan.agreement_hash(), plan.memory_bytes().handle_bytes);
        for (rank, Device { nic, driver, .. }) in (0..).zip(&mut devices) {
            let tuning = config.plan(rank)?.tuning;
            let plain = !config.machine.checks.races && config.machine.memory == MemoryOrder::Sequential;
            let looks = plain && (tuning.dispatch_sms, tuning.combine_sms) == (1, 1);
            let damage = Arc::default();
            damages.push(Arc::clone(&damage));
            let meddler = Meddler { machine: machine.clone(), hash, handle_bytes, looks, damage };
            *driver = Arc::new(Wrapped::new(Arc::clone(driver), meddler));
            let made = Arc::default();
            queues.push(Arc::clone(&made));
            *nic = nic.take().map(|nic| Arc::new(Recorder { nic, made }) as Arc<dyn Nic>);
        }
        let ranks = world::connect_kernels(&config, &devices, kernels)?;
        Ok(Cluster { machine, ranks, config, queues, damages })
    }

    /// Runs `act` at every rank.
    pub fn run<T: Send>(&mut self, act: impl Fn(&mut Communicator) -> T + Sync) -> Result<Vec<T>> {
        self.machine.run(self.ranks.iter_mut().collect(), act)
    }

    /// What cancels a rank's calls.
    pub fn canceller(&self, rank: usize) -> Canceller {
        self.ranks[rank].canceller()
    }

    /// Makes NICs fail as planned from now on.
    pub fn plan(&self, mishaps: &[Mishap]) {
        let faults = mishaps
            .iter()
            .map(|mishap| Fault {
                queue_pair: Some(self.queue(mishap.rank, mishap.lane, mishap.node)),
                matching: mishap.matching,
                after: mishap.after,
                action: mishap.action,
            })
            .collect();
        self.machine.with(|machine| machine.network_mut().set_faults(FaultPlan { faults }));
    }

    /// Makes every request of a queue pair start this much later.
    pub fn delay(&self, rank: u32, lane: Lane, node: u32, ticks: u64) {
        let number = self.queue(rank, lane, node);
        let set = self.machine.with(|machine| machine.network_mut().set_delay(number, ticks));
        set.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Damages a word of a rank in call number `call`.
    pub fn damage(&self, rank: u32, call: u32, word: Word) {
        self.damages[rank as usize].lock().unwrap_or_else(PoisonError::into_inner).plan(word, call);
    }

    /// Lets arrivals run ahead at a rank, `later` than its launch in call number `call` that reads them.
    pub fn damage_within(&self, rank: u32, call: u32, word: Word, later: Duration) {
        let mut damage = self.damages[rank as usize].lock().unwrap_or_else(PoisonError::into_inner);
        damage.plan_within(word, call, later);
    }

    /// Lets `rank` cancel all ranks `later` than a launch of its own in call number `call`.
    pub fn cancel_within(&self, rank: u32, call: u32, under: Under, later: Duration) {
        let cancellers = (0..self.ranks.len()).map(|rank| self.canceller(rank)).collect();
        let mut damage = self.damages[rank as usize].lock().unwrap_or_else(PoisonError::into_inner);
        damage.plan_cancel(under, call, later, cancellers);
    }

    /// What the cluster said where no host waited for it.
    pub fn fault(&self) -> Option<String> {
        let of = |damage: &Arc<Mutex<Damage>>| {
            damage.lock().unwrap_or_else(PoisonError::into_inner).fault().map(str::to_string)
        };
        self.damages.iter().find_map(of)
    }

    /// Whether that happened to any rank.
    pub fn is_damaged(&self) -> bool {
        self.damages.iter().any(|damage| damage.lock().unwrap_or_else(PoisonError::into_inner).is_done())
    }

    /// How many of the planned faults happened.
    pub fn fired(&self) -> usize {
        self.machine.with(|machine| machine.network_mut().fired().len())
    }

    /// Time of the cluster.
    pub fn time(&self) -> Duration {
        self.machine.with(|machine| Duration::from_nanos(machine.time_ns()))
    }

    /// Waits for all ranks and frees everything.
    pub fn close(self) -> Result<()> {
        world::close(self.ranks)
    }

    fn queue(&self, rank: u32, lane: Lane, node: u32) -> QueuePairNumber {
        let others = self.config.topology.nodes() - 1;
        let own = self.config.topology.node(rank);
        assert_ne!(own, node, "no queue pair leads to the own node");
        let peer = node - u32::from(node > own);
        let place = match lane {
            Lane::Payload { channel } => (channel * others + peer) * 2,
            Lane::Credit { channel } => (channel * others + peer) * 2 + 1,
            Lane::Exchange => self.config.tuning.channels * others * 2 + peer,
        };
        let made = self.queues[rank as usize].lock().unwrap_or_else(PoisonError::into_inner);
        QueuePairNumber(made[place as usize])
    }
}
