//! The ranks of a world on one device: threads with a stream each, windows mapped, fabric loopback.

use std::sync::Arc;

use half::bf16;
use warpferry::driver::emu::EmuMachine;
use warpferry::reference::Layout;
use warpferry::routing::Routing;
use warpferry::world::{close, connect};
use warpferry::{Communicator, Fabric, Shape, Tensor, Topology, Tuning, WorldConfig};

use super::backend::Backend;
use super::gemm::{computations, Computation};
use super::lab::{Lab, Timer};
use super::pattern::pattern;
use super::record::Failure;
use super::Scale;

/// Recorded routing: see tests/data/README.md.
const RECORDED: &[u8] = include_bytes!("../../tests/data/routing_v3_e256_k8.safetensors");
/// Memory of a call beside its rows: routing, status.
const RESERVE_SLACK: u64 = 4 << 20;
/// Seed of drawn choices.
const GATE_SEED: u32 = 0x9a7e;

/// Where expert choices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Distinct experts, each as likely as any other.
    Uniform,
    /// The recorded sample, as often as needed.
    Recorded,
}

impl Gate {
    /// As in results.
    pub fn name(self) -> &'static str {
        match self {
            Gate::Uniform => "uniform",
            Gate::Recorded => "recorded_v3",
        }
    }
}

/// Sizes of a world's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Nodes and GPUs.
    pub topology: Topology,
    /// Elements of a row.
    pub hidden: u32,
    /// Tokens of each rank.
    pub tokens: u32,
    /// Experts of the world.
    pub experts: u32,
    /// Experts a token chooses.
    pub topk: u32,
    /// Where choices come from.
    pub gate: Gate,
}

impl Work {
    /// What is moved.
    pub fn shape(&self) -> Result<Shape, Failure> {
        Ok(Shape::new(self.hidden, self.experts, self.topk, self.tokens)?)
    }

    /// Choices of all ranks, `[tokens, topk]` each.
    fn choices(&self) -> Result<Vec<Vec<i32>>, Failure> {
        let ranks = self.topology.ranks() as usize;
        let each = self.tokens as usize * self.topk as usize;
        let all: Vec<i32> = match self.gate {
            Gate::Uniform => self.drawn(),
            Gate::Recorded => {
                let routing = Routing::from_bytes("the committed sample", RECORDED)?;
                let one = Topology::new(1, 1)?;
                let recorded = routing.deal(one, routing.tokens() as u32)?.remove(0).topk_idx;
                recorded.iter().copied().cycle().take(ranks * each).collect()
            }
        };
        Ok(all.chunks(each.max(1)).map(<[i32]>::to_vec).collect())
    }

    /// Distinct experts a token: the first steps of a shuffle.
    fn drawn(&self) -> Vec<i32> {
        let mut order: Vec<i32> = (0..self.experts as i32).collect();
        let choices = self.topology.ranks() * self.tokens * self.topk;
        (0..choices)
            .map(|draw| {
                let place = (draw % self.topk) as usize;
                let left = self.experts - place as u32;
                let other = place + (pattern(draw, GATE_SEED) % left) as usize;
                order.swap(place, other);
                order[place]
            })
            .collect()
    }
}

/// What ranks send, and where it goes.
#[derive(Debug)]
pub struct Inputs {
    /// The sizes.
    pub work: Work,
    /// Choices of each rank, `[tokens, topk]`.
    choices: Vec<Vec<i32>>,
    /// Rows of each rank, `[tokens, hidden]`.
    rows: Vec<Vec<bf16>>,
    /// Where each rank's tokens go.
    pub layouts: Vec<Layout>,
}

impl Inputs {
    /// Draws choices and rows.
    pub fn new(work: Work) -> Result<Inputs, Failure> {
        let (shape, choices) = (work.shape()?, work.choices()?);
        let layouts = choices.iter().map(|idx| Layout::new(work.topology, shape, idx)).collect::<Result<_, _>>()?;
        let rows = (0..work.topology.ranks()).map(|rank| rows(rank, work.tokens, work.hidden)).collect();
        Ok(Inputs { work, choices, rows, layouts })
    }

    /// Rows that `rank` receives.
    pub fn received(&self, rank: u32) -> u64 {
        let of = |layout: &Layout| {
            (0..layout.tokens()).filter(|&token| layout.destinations(token).contains(&rank)).count() as u64
        };
        self.layouts.iter().map(of).sum()
    }
}

/// Element of a row: a whole number from -8 to 7. A sum of as many equal rows as there are ranks is exact in bf16.
pub fn element(rank: u32, token: u32, column: u32) -> bf16 {
    let bits = pattern(column, rank << 20 ^ token ^ 0x51ed_0000);
    bf16::from_f32((bits >> 8 & 15) as f32 - 8.0)
}

/// Rows of a rank.
fn rows(rank: u32, tokens: u32, hidden: u32) -> Vec<bf16> {
    (0..tokens).flat_map(|token| (0..hidden).map(move |column| element(rank, token, column))).collect()
}

/// One rank: its communicator, whose kernels run in the timer's stream, and its inputs.
#[derive(Debug)]
pub struct Rank {
    /// What operations are called on. Dropped before its stream.
    pub communicator: Communicator,
    /// The stream and its clock.
    pub timer: Timer,
    /// bf16 `[tokens, hidden]`.
    pub x: Tensor,
    /// i32 `[tokens, topk]`.
    pub topk_idx: Tensor,
    /// What rank 0 computes beside, where it was asked for.
    pub beside: Option<Beside>,
}

/// Computations with a stream of their own.
#[derive(Debug)]
pub struct Beside {
    /// The stream.
    pub lab: Lab,
    /// The computations, each run once.
    pub computations: Vec<Box<dyn Computation>>,
}

/// A world that was set up.
#[derive(Debug)]
pub struct Ranks {
    ranks: Vec<Rank>,
    machine: Option<EmuMachine>,
}

impl Ranks {
    /// Makes ranks, uploads what they send, and takes memory for `calls` operations under way at once: nothing may be
    /// taken or loaded beside a kernel that waits for a peer. `computes`: of this scale, rank 0 can compute beside.
    pub fn new(
        backend: &Backend,
        inputs: &Inputs,
        tuning: &Tuning,
        calls: u32,
        computes: Option<Scale>,
    ) -> Result<Ranks, Failure> {
        let work = &inputs.work;
        let config = WorldConfig::new(work.topology, work.shape()?).tuning(tuning.clone()).fabric(Fabric::Loopback);
        let (devices, machine) = backend.devices(work.topology.ranks())?;
        let timers =
            devices.iter().map(|device| Timer::new(Arc::clone(&device.driver))).collect::<Result<Vec<_>, _>>()?;
        let mut beside = match computes {
            Some(scale) => {
                let lab = backend.lab_beside(&devices[0])?;
                let computations = computations(&lab, scale)?.found;
                Some(Beside { lab, computations })
            }
            None => None,
        };
        let devices: Vec<_> =
            devices.into_iter().zip(&timers).map(|(device, timer)| device.stream(timer.stream())).collect();
        let communicators = connect(&config, &devices)?;
        let (tokens, topk) = (work.tokens as usize, work.topk as usize);
        let mut ranks = Vec::with_capacity(communicators.len());
        for (communicator, timer) in communicators.into_iter().zip(timers) {
            let rank = communicator.rank();
            let x = communicator.tensor(&inputs.rows[rank as usize], &[tokens, work.hidden as usize])?;
            let topk_idx = communicator.tensor(&inputs.choices[rank as usize], &[tokens, topk])?;
            // A row with its choices and source, for each call; some more for the first one and its sums.
            let row_bytes = u64::from(2 * work.hidden + 4 * work.topk + 8);
            let rows = inputs.received(rank) + u64::from(work.tokens);
            communicator.driver().reserve((u64::from(calls) + 2) * (rows * row_bytes + RESERVE_SLACK))?;
            ranks.push(Rank { communicator, timer, x, topk_idx, beside: beside.take() });
        }
        Ok(Ranks { ranks, machine })
    }

    /// Bytes that bulk copies loaded and stored so far, of all ranks: where the emulator counts them.
    pub fn counted(&self) -> Option<[u64; 2]> {
        let machine = self.machine.as_ref()?;
        Some(machine.with(|machine| {
            let gpus = &machine.statistics().gpus;
            let loaded = gpus.iter().map(|gpu| gpu.bulk_load_bytes + gpu.bulk_load_peer_bytes).sum();
            [loaded, gpus.iter().map(|gpu| gpu.bulk_store_bytes + gpu.bulk_store_peer_bytes).sum()]
        }))
    }

    /// Runs `act` once a rank, each on a thread of its own; gives the results in rank order, or the first failure.
    pub fn run<T: Send>(&mut self, act: impl Fn(&mut Rank) -> Result<T, Failure> + Sync) -> Result<Vec<T>, Failure> {
        let ranks: Vec<&mut Rank> = self.ranks.iter_mut().collect();
        let results = match &self.machine {
            Some(machine) => machine.run(ranks, &act)?,
            None => std::thread::scope(|scope| {
                let act = &act;
                let threads: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(move || act(rank))).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            }),
        };
        results.into_iter().collect()
    }

    /// Waits for all and gives everything back.
    pub fn close(self) -> Result<(), Failure> {
        let mut streams = Vec::new();
        let communicators = self
            .ranks
            .into_iter()
            .map(|rank| {
                streams.push((rank.timer, rank.beside));
                rank.communicator
            })
            .collect();
        close(communicators)?;
        drop(streams);
        Ok(())
    }
}
