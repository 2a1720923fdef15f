//! Where the threads and locations of a test are on an emulated machine.

use warpferry_emu::{Checks, FaultKind, Launch, Machine, MachineConfig, MemoryOrder, RunOutcome, Schedule, StreamId};
use warpferry_litmus::{Place, Queue, Request, Space, Test, Variable};
use warpferry_nic::wqe::{self, Control, DataSegment, Remote};
use warpferry_nic::{QueueConfig, Rights};

use crate::kernel;

/// Bytes from one location to the next.
pub const STRIDE: u64 = 128;

/// Of a queue pair's memory: where its doorbell record and completion entry are, and where old values go.
const RECORD: u64 = 2048;
const COMPLETION: u64 = 2112;
const SCRAP: u64 = 2240;
const QUEUE_BYTES: u64 = 4096;

/// Registers of a thread that are written out, and a word that says that it came to its end.
pub const REGISTERS: usize = 15;
pub const DONE: usize = REGISTERS;
pub const OUT: u64 = 8 * (REGISTERS as u64 + 1);

/// How a test is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Sequential memory under the race check.
    Races,
    /// Weak memory.
    Weak,
}

/// What ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The race check found this.
    Race(String),
    /// It ended with these values of the observed variables.
    State(Vec<i64>),
    /// A NIC found no entry where one should be.
    Broken(String),
    /// Somebody got stuck, or the state shows what only a NIC knows.
    Stuck,
}

/// A thread's place on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub gpu: usize,
    pub cta: usize,
    pub warp: usize,
    pub lane: usize,
}

/// A queue pair as a kernel uses it.
#[derive(Debug)]
pub struct Pair {
    pub entries: Vec<Vec<u8>>,
    pub queue: u64,
    pub record: u64,
    pub bell: u64,
    pub completion: u64,
}

/// The places of a test.
#[derive(Debug)]
pub struct World {
    pub gpus: usize,
    pub spots: Vec<Spot>,
    /// Warps of each thread block, by GPU.
    pub warps: Vec<Vec<usize>>,
    /// By GPU, where it sees each GPU's memory.
    pub bases: Vec<Vec<u64>>,
    /// Where each GPU's threads write their registers.
    pub outs: Vec<u64>,
    pub pairs: Vec<Pair>,
}

impl World {
    /// Places the columns: their numbers of GPUs, thread blocks and warps become dense.
    pub fn new(test: &Test) -> Self {
        let columns: Vec<Place> =
            test.threads.iter().filter(|thread| thread.queue.is_none()).map(|thread| thread.place).collect();
        let far = test.locations.iter().filter_map(|location| location.gpu);
        let gpus = columns.iter().map(|place| place.gpu).chain(far).max().unwrap_or(0) as usize + 1;
        let mut world = Self {
            gpus,
            spots: Vec::new(),
            warps: vec![Vec::new(); gpus],
            bases: Vec::new(),
            outs: Vec::new(),
            pairs: Vec::new(),
        };
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        let mut lanes: Vec<(Place, usize)> = Vec::new();
        for place in columns {
            let gpu = place.gpu as usize;
            let known: Vec<_> = blocks.iter().filter(|(of, _)| *of == place.gpu).collect();
            let cta = known.iter().position(|(_, cta)| *cta == place.cta).unwrap_or(known.len());
            if cta == world.warps[gpu].len() {
                blocks.push((place.gpu, place.cta));
                world.warps[gpu].push(0);
            }
            let mates = lanes.iter().filter(|(other, _)| *other == place && place.warp.is_some()).count();
            let warp = match lanes.iter().find(|(other, _)| *other == place && place.warp.is_some()) {
                Some((_, warp)) => *warp,
                None => {
                    world.warps[gpu][cta] += 1;
                    world.warps[gpu][cta] - 1
                }
            };
            lanes.push((place, warp));
            world.spots.push(Spot { gpu, cta, warp, lane: mates });
        }
        world
    }

    /// The GPU in whose memory a location is.
    pub fn owner(test: &Test, location: usize) -> usize {
        test.locations[location].gpu.unwrap_or(0) as usize
    }

    /// Where a GPU sees a location.
    pub fn address(&self, test: &Test, gpu: usize, location: usize) -> u64 {
        self.bases[gpu][Self::owner(test, location)] + test.locations[location].memory as u64 * STRIDE
    }

    /// Where a thread writes its registers.
    pub fn out(&self, thread: usize) -> u64 {
        self.outs[self.spots[thread].gpu] + thread as u64 * OUT
    }

    /// The state after a run.
    fn state(&self, test: &Test, machine: &Machine, own: &[u64]) -> Result<Outcome, String> {
        let word = |address: u64| {
            let mut word = [0; 8];
            machine.read(address, &mut word).map(|()| i64::from_le_bytes(word)).map_err(|error| error.to_string())
        };
        for thread in 0..self.spots.len() {
            if word(self.out(thread) + 8 * DONE as u64)? == 0 {
                return Ok(Outcome::Stuck);
            }
        }
        let mut state = Vec::new();
        for variable in test.observed() {
            state.push(match variable {
                Variable::Register { thread, register } if thread < self.spots.len() && register < REGISTERS => {
                    word(self.out(thread) + 8 * register as u64)?
                }
                Variable::Memory { location } if !is_shared(test, location) => {
                    word(own[Self::owner(test, location)] + test.locations[location].memory as u64 * STRIDE)?
                }
                _ => return Ok(Outcome::Stuck),
            });
        }
        Ok(Outcome::State(state))
    }
}

/// One run; `None` where the test has something that no kernel here can do.
pub fn execute(test: &Test, mode: Mode, schedule: Schedule) -> Result<Option<(Outcome, Machine)>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut world = World::new(test);
    // Windows are mapped within a node, NICs are between nodes.
    let (nodes, per_node) = if test.queues.is_empty() { (1, world.gpus) } else { (world.gpus, 1) };
    let mut config = MachineConfig::new(nodes, per_node);
    config.checks = match mode {
        Mode::Races => Checks { uninitialized: false, bus_visibility: false, ..Checks::RACES },
        Mode::Weak => Checks::NONE,
    };
    config.memory = if mode == Mode::Weak { MemoryOrder::Weak } else { MemoryOrder::Sequential };
    config.schedule = schedule;
    config.limits.warp_instructions = 2_000_000;
    let mut machine = Machine::new(config).map_err(|e| said(&e))?;
    let bytes = test.initial.len() as u64 * STRIDE;
    let mut own = Vec::new();
    for gpu in 0..world.gpus {
        let base = machine.alloc(gpu, bytes).map_err(|e| said(&e))?;
        let mut image = vec![0; bytes as usize];
        for (place, initial) in test.initial.iter().enumerate() {
            image[place * STRIDE as usize..][..8].copy_from_slice(&initial.to_le_bytes());
        }
        machine.write(base, &image).map_err(|e| said(&e))?;
        own.push(base);
        let outs = world.spots.len() as u64 * OUT;
        let out = machine.alloc(gpu, outs).map_err(|e| said(&e))?;
        machine.fill(out, 0, outs).map_err(|e| said(&e))?;
        world.outs.push(out);
    }
    for gpu in 0..world.gpus {
        let mut bases = Vec::new();
        for (other, &base) in own.iter().enumerate() {
            // What is not mapped is not used: a kernel that did would fault.
            let mapped =
                if other == gpu || per_node == 1 { base } else { machine.map_peer(base, gpu).map_err(|e| said(&e))? };
            bases.push(mapped);
        }
        world.bases.push(bases);
    }
    for queue in &test.queues {
        let pair = connect(&mut machine, test, queue, &own, bytes)?;
        world.pairs.push(pair);
    }
    for gpu in 0..world.gpus {
        if world.warps[gpu].is_empty() {
            continue;
        }
        let Some(text) = kernel::text(test, &world, gpu) else { return Ok(None) };
        let module = machine.load_module("litmus.ptx", &text).map_err(|e| format!("{e}\n{text}"))?;
        let warps = world.warps[gpu].iter().max().copied().unwrap_or(1);
        machine
            .launch(Launch {
                gpu,
                stream: StreamId::DEFAULT,
                module,
                entry: "litmus".to_string(),
                grid: [world.warps[gpu].len() as u32, 1, 1],
                block: [32 * warps as u32, 1, 1],
                shared_bytes: bytes as u32,
                args: Vec::new(),
                access: Vec::new(),
            })
            .map_err(|e| said(&e))?;
    }
    let outcome = match machine.run_until_idle() {
        Ok(RunOutcome::Idle | RunOutcome::Reached) => world.state(test, &machine, &own)?,
        // A test may get stuck at a barrier.
        Ok(RunOutcome::Stalled(_)) => Outcome::Stuck,
        Err(fault) => match &fault.kind {
            FaultKind::Race(_) => Outcome::Race(fault.to_string()),
            FaultKind::Nic(problem) => Outcome::Broken(problem.clone()),
            _ => return Err(fault.to_string()),
        },
    };
    Ok(Some((outcome, machine)))
}

/// Makes the queue pair of a test: its entries are written by the kernel.
fn connect(machine: &mut Machine, test: &Test, queue: &Queue, own: &[u64], bytes: u64) -> Result<Pair, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let gpu = queue.poster.map_or(0, |place| place.gpu as usize);
    let remote_of = |request: &Request| match *request {
        Request::Write { remote, .. } | Request::Add { remote, .. } => World::owner(test, remote),
    };
    let peer = queue.entries.first().map_or(gpu, |(_, request)| remote_of(request));
    if queue.entries.iter().any(|(_, request)| remote_of(request) != peer) {
        return Err(format!("{}: entries for two GPUs", queue.name));
    }
    let mut ends = Vec::new();
    for at in [gpu, peer] {
        let base = machine.alloc(at, QUEUE_BYTES).map_err(|e| said(&e))?;
        machine.fill(base, 0, QUEUE_BYTES).map_err(|e| said(&e))?;
        machine.fill(base + COMPLETION, 0xff, 64).map_err(|e| said(&e))?;
        let config = QueueConfig::collapsed(base, 16, base + RECORD, base + COMPLETION);
        let pair = machine.create_queue_pair(at, config).map_err(|e| said(&e))?;
        ends.push((base, pair));
    }
    let (base, number) = (ends[0].0, ends[0].1.number);
    machine.network_mut().connect(number, ends[1].1.number).map_err(|e| said(&e))?;
    let local = machine.register_memory(gpu, own[gpu], bytes, Rights::default()).map_err(|e| said(&e))?;
    let result = machine.register_memory(gpu, base, QUEUE_BYTES, Rights::remote()).map_err(|e| said(&e))?;
    let remote = machine.register_memory(peer, own[peer], bytes, Rights::remote()).map_err(|e| said(&e))?;
    let place = |gpu: usize, location: usize| own[gpu] + test.locations[location].memory as u64 * STRIDE;
    let count = queue.entries.len();
    let entry = |(index, (_, request)): (usize, &(usize, Request))| {
        let control = Control::new(number, index as u16);
        let to = |location| Remote { address: place(peer, location), rkey: remote.rkey };
        match *request {
            Request::Write { remote, local: from } => {
                let segment = DataSegment { bytes: 8, lkey: local.lkey, address: place(gpu, from) };
                let control = if index + 1 == count { control.signaled() } else { control };
                wqe::rdma_write(control, to(remote), &[segment]).to_vec()
            }
            Request::Add { remote, by } => {
                let old = DataSegment { bytes: 8, lkey: result.lkey, address: base + SCRAP };
                wqe::fetch_add(control.signaled(), to(remote), by as u64, old).to_vec()
            }
        }
    };
    let entries = queue.entries.iter().enumerate().map(entry).collect();
    let bell = machine.map_doorbell(gpu, gpu).map_err(|e| said(&e))? + ends[0].1.doorbell_offset_bytes;
    Ok(Pair { entries, queue: base, record: base + RECORD, bell, completion: base + COMPLETION })
}

/// The space of a location.
pub fn is_shared(test: &Test, location: usize) -> bool {
    test.locations[location].space == Space::Shared
}
