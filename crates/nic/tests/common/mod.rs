//! Two devices with one connected queue pair each over one flat memory, and the bookkeeping that a
//! kernel would do: positions, record, doorbell, completions.
#![allow(dead_code)]

use warpferry_nic::cqe::{self, Completion};
use warpferry_nic::wqe::{self, Control, DataSegment, Remote};
use warpferry_nic::{
    Agent, Bus, BusFault, FlatBus, MemoryRegion, Network, NetworkConfig, NicId, Plain, Purpose, QueueConfig, QueuePair,
    Rights, StepOutcome,
};

pub const BASE: u64 = 0x10_0000;
pub const MEMORY_BYTES: usize = 0x40_0000;
/// Registered at the first device with all rights.
pub const SOURCE: u64 = BASE + 0x10_0000;
/// Registered at the second device with all rights.
pub const TARGET: u64 = BASE + 0x20_0000;
pub const REGION_BYTES: u64 = 0x10_0000;
const QUEUES: u64 = 0x2_0000;
/// More steps than any test needs.
pub const MAX_STEPS: usize = 20_000_000;

/// One access of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub agent: Agent,
    pub address: u64,
    pub bytes: u64,
    pub write: bool,
}

/// A flat memory that writes down who reached it.
pub struct LogBus {
    pub memory: FlatBus,
    pub log: Vec<Access>,
}

impl LogBus {
    fn note(&mut self, agent: Agent, address: u64, bytes: u64, write: bool) {
        self.log.push(Access { agent, address, bytes, write });
    }

    /// Payload and atomics at the second device, in order.
    pub fn placed(&self, nic: NicId) -> Vec<Access> {
        let at_target = |access: &&Access| {
            access.agent.nic == nic
                && access.write
                && matches!(access.agent.purpose, Purpose::Payload | Purpose::Atomic)
        };
        self.log.iter().filter(at_target).copied().collect()
    }
}

impl Bus for LogBus {
    fn read(&mut self, agent: Agent, address: u64, into: &mut [u8]) -> Result<(), BusFault> {
        self.note(agent, address, into.len() as u64, false);
        self.memory.read(agent, address, into)
    }

    fn write(&mut self, agent: Agent, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        self.note(agent, address, bytes.len() as u64, true);
        self.memory.write(agent, address, bytes)
    }

    fn fetch_add(&mut self, agent: Agent, address: u64, add: u64) -> Result<u64, BusFault> {
        self.note(agent, address, 8, true);
        self.memory.fetch_add(agent, address, add)
    }

    fn compare_swap(&mut self, agent: Agent, address: u64, compare: u64, swap: u64) -> Result<u64, BusFault> {
        self.note(agent, address, 8, true);
        self.memory.compare_swap(agent, address, compare, swap)
    }
}

/// A queue pair and what its owner keeps.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub pair: QueuePair,
    pub config: QueueConfig,
    /// Position of the next entry.
    pub next: u16,
    last: [u8; 8],
}

impl End {
    pub fn control(&self) -> Control {
        Control::new(self.pair.number, self.next)
    }

    pub fn signaled(&self) -> Control {
        self.control().signaled()
    }
}

pub struct World {
    pub bus: LogBus,
    pub network: Network,
    pub here: NicId,
    pub there: NicId,
    pub source: MemoryRegion,
    pub target: MemoryRegion,
    pub a: End,
    pub b: End,
    ends: u64,
}

impl World {
    pub fn new(config: NetworkConfig) -> World {
        World::with_queues(config, |_| {})
    }

    /// A world whose queue pairs are made a little different.
    pub fn with_queues(config: NetworkConfig, change: impl Fn(&mut QueueConfig)) -> World {
        let mut network = Network::new(config).unwrap();
        let (here, there) = (network.add_nic().unwrap(), network.add_nic().unwrap());
        let source = network.register(here, SOURCE, REGION_BYTES, Rights::all()).unwrap();
        let target = network.register(there, TARGET, REGION_BYTES, Rights::all()).unwrap();
        let a = end(&mut network, here, BASE, &change);
        let b = end(&mut network, there, BASE + QUEUES, &change);
        network.connect(a.pair.number, b.pair.number).unwrap();
        World {
            bus: LogBus { memory: FlatBus::new(BASE, MEMORY_BYTES), log: Vec::new() },
            network,
            here,
            there,
            source,
            target,
            a,
            b,
            ends: 2,
        }
    }

    /// One more connected pair between the devices; its end at the first device.
    pub fn add_pair(&mut self) -> End {
        let a = BASE + QUEUES * self.ends;
        let first = end(&mut self.network, self.here, a, &|_| {});
        let second = end(&mut self.network, self.there, a + QUEUES, &|_| {});
        self.ends += 2;
        self.network.connect(first.pair.number, second.pair.number).unwrap();
        first
    }

    pub fn remote(&self, offset: u64) -> Remote {
        Remote { address: TARGET + offset, rkey: self.target.rkey }
    }

    pub fn data(&self, offset: u64, bytes: u32) -> DataSegment {
        DataSegment { bytes, lkey: self.source.lkey, address: SOURCE + offset }
    }

    /// Writes an entry and the record, without the doorbell.
    pub fn post(&mut self, end: &mut End, entry: &[u8]) {
        for block in entry.chunks(wqe::BLOCK_BYTES) {
            let place = u64::from(end.next) & u64::from(end.config.send_queue_entries - 1);
            let at = end.config.send_queue_address + place * wqe::BLOCK_BYTES as u64;
            self.bus.memory.bytes_mut(at, block.len()).copy_from_slice(block);
            end.next = end.next.wrapping_add(1);
        }
        end.last.copy_from_slice(&entry[..8]);
        self.write_record(end, end.next);
    }

    pub fn write_record(&mut self, end: &End, counter: u16) {
        let at = end.config.doorbell_record_address + wqe::RECORD_SEND_COUNTER_OFFSET;
        self.bus.memory.bytes_mut(at, 4).copy_from_slice(&u32::from(counter).to_be_bytes());
    }

    pub fn ring(&mut self, end: &End) {
        let value = u64::from_le_bytes(end.last);
        self.network.doorbell(end.pair.nic, value);
    }

    /// Posts to the first device's queue pair, rings and runs plainly until nothing can act.
    pub fn run_one(&mut self, entry: &[u8]) -> Completion {
        let mut a = self.a;
        self.post(&mut a, entry);
        self.a = a;
        self.ring(&a);
        self.run();
        self.completion(&a)
    }

    pub fn run(&mut self) {
        for _ in 0..MAX_STEPS {
            if self.network.step(&mut self.bus, &mut Plain) == StepOutcome::Idle {
                return;
            }
        }
        panic!("the devices do not come to rest");
    }

    pub fn run_random(&mut self, random: &mut Random) {
        for _ in 0..MAX_STEPS {
            let mut choose = |n: usize| random.below(n as u64) as usize;
            if self.network.step(&mut self.bus, &mut choose) == StepOutcome::Idle {
                return;
            }
        }
        panic!("the devices do not come to rest");
    }

    /// The completion entry 0.
    pub fn completion(&self, end: &End) -> Completion {
        self.completion_at(end, 0)
    }

    pub fn completion_at(&self, end: &End, place: u64) -> Completion {
        let at = end.config.completion_queue_address + place * cqe::ENTRY_BYTES as u64;
        let mut entry = [0; cqe::ENTRY_BYTES];
        entry.copy_from_slice(self.bus.memory.bytes(at, cqe::ENTRY_BYTES));
        Completion::decode(&entry)
    }

    pub fn fill(&mut self, address: u64, bytes: usize, random: &mut Random) {
        for byte in self.bus.memory.bytes_mut(address, bytes) {
            *byte = random.next() as u8;
        }
    }

    pub fn set_word(&mut self, address: u64, word: u64) {
        let bytes = self.bus.memory.bytes_mut(address, 8);
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

fn end(network: &mut Network, nic: NicId, at: u64, change: &impl Fn(&mut QueueConfig)) -> End {
    let mut config = QueueConfig::collapsed(at, 256, at + 0x1_8000, at + 0x1_0000);
    change(&mut config);
    let pair = network.create_queue_pair(nic, config).unwrap();
    End { pair, config, next: 0, last: [0; 8] }
}

/// SplitMix64: seeded, and the seed is printed by the test that fails.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Runs a property under many seeds; a failure names the seed.
pub fn for_seeds(count: u64, property: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in 0..count {
        if let Err(cause) = std::panic::catch_unwind(|| property(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(cause);
        }
    }
}
