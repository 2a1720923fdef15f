//! Dispatch and combine of whole small worlds on the emulator, by what rows hold and how they are ordered, with and without
//! the exchange of counts, with a bound of rows; and what the load statistics take of it.
//!
//! What is timed is the emulator, one core and checks off, so the figures say how much work a variant's kernels are, not how
//! long a GPU takes. Elements are tokens of all ranks; each line before a group's figures says the warp instructions a token.
#![allow(missing_docs)] // criterion makes public functions

use std::time::Duration;

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use warpferry::kernel::image::KernelImage;
use warpferry::kernel::launch::KernelSet;
use warpferry::plan::{Fp8, Landing, OutputLayout, Payload, Quantization, ScaleKind, Sum};
use warpferry::{
    Combine, Communicator, DType, Dispatch, Fabric, Graph, Handle, Result, Shape, Tensor, Topology, Tuning, World,
    WorldConfig,
};
use warpferry_emu::Checks;

const TOKENS: usize = 32;
const HIDDEN: usize = 1024;
const TOPK: usize = 4;
const EXPERTS: usize = 16;
const WAIT: Duration = Duration::from_secs(600);

/// One way to move rows.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    payload: Payload,
    sum: Sum,
    layout: OutputLayout,
    /// Weights go back and biases are added.
    weights_and_biases: bool,
    /// Rows go straight to their places.
    lands: bool,
}

const PLAIN: Way = Way {
    name: "bf16",
    payload: Payload::Bf16,
    sum: Sum::Bf16,
    layout: OutputLayout::Rows,
    weights_and_biases: false,
    lands: false,
};

fn ways() -> Vec<Way> {
    let experts = OutputLayout::Experts { align: 16 };
    let quantize = Payload::Quantize(Quantization::new(Fp8::E4m3, ScaleKind::F32));
    vec![
        PLAIN,
        Way { name: "fp16", payload: Payload::Fp16, sum: Sum::Fp16, ..PLAIN },
        Way { name: "fp32", payload: Payload::Fp32, sum: Sum::Fp32, ..PLAIN },
        Way { name: "bytes", payload: Payload::Bytes(2 * HIDDEN as u32), ..PLAIN },
        Way { name: "fp8 given", payload: Payload::Fp8(Fp8::E4m3, ScaleKind::F32), ..PLAIN },
        Way { name: "fp8 quantized", payload: quantize, ..PLAIN },
        Way { name: "bf16, weights and biases", weights_and_biases: true, ..PLAIN },
        Way { name: "bf16 that lands", lands: true, ..PLAIN },
        Way { name: "fp8 quantized that lands", payload: quantize, lands: true, ..PLAIN },
        Way { name: "bf16 by expert", layout: experts, ..PLAIN },
        Way { name: "fp8 quantized by expert", payload: quantize, layout: experts, ..PLAIN },
    ]
}

impl Way {
    fn world(self) -> World {
        let topology = Topology::new(2, 2).expect("a small world");
        let shape = Shape::new(HIDDEN as u32, EXPERTS as u32, TOPK as u32, TOKENS as u32)
            .and_then(|shape| shape.with_payload(self.payload)?.with_sum(self.sum)?.with_layout(self.layout))
            .expect("a small shape");
        let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
        (tuning.channels, tuning.dispatch_sms, tuning.combine_sms) = (8, 4, 4);
        if self.lands {
            tuning.landing = Landing::direct_for(topology, &shape);
        }
        let mut config = WorldConfig::new(topology, shape).tuning(tuning);
        config.machine.checks = Checks::NONE;
        World::emulated(config).expect("the world is valid")
    }
}

/// Zeros of `[rows, columns]`.
fn zeros(rank: &Communicator, dtype: DType, rows: usize, columns: usize) -> Result<Tensor> {
    rank.tensor_of_bytes(dtype, &vec![0; rows * columns * dtype.bytes() as usize], &[rows, columns])
}

fn dispatch(rank: &Communicator, way: Way) -> Result<Dispatch> {
    let choices: Vec<i32> = (0..TOKENS * TOPK).map(|at| (at * 5 % EXPERTS) as i32).collect();
    let topk_idx = rank.tensor(&choices, &[TOKENS, TOPK])?;
    let x = zeros(rank, way.payload.given(), TOKENS, way.payload.columns(HIDDEN as u32) as usize)?;
    let op = Dispatch::new(&x, &topk_idx).weights(&zeros(rank, DType::F32, TOKENS, TOPK)?);
    let given = way.payload.scales().filter(|_| way.payload.takes_scales());
    Ok(match given {
        Some(kind) => op.scales(&zeros(rank, kind.dtype(), TOKENS, kind.columns(HIDDEN as u32) as usize)?),
        None => op,
    })
}

fn combine(rank: &Communicator, way: Way, handle: &Handle) -> Result<Combine> {
    let op = Combine::new(&zeros(rank, way.sum.dtype(), handle.rows(), HIDDEN)?, handle);
    if !way.weights_and_biases {
        return Ok(op);
    }
    let bias = zeros(rank, way.sum.dtype(), TOKENS, HIDDEN)?;
    Ok(op.weights(&zeros(rank, DType::F32, handle.rows(), TOPK)?).bias(&bias).bias(&bias))
}

fn all<T: Send>(world: &mut World, act: impl Fn(&mut Communicator) -> Result<T> + Sync) -> Vec<T> {
    let done = world.run(act).and_then(|ranks| ranks.into_iter().collect());
    done.unwrap_or_else(|error| panic!("{error}"))
}

fn round_trip(world: &mut World, way: Way) {
    all(world, |rank| {
        let got = rank.dispatch(dispatch(rank, way)?)?.wait(WAIT)?;
        rank.combine(combine(rank, way, &got.handle)?)?.wait(WAIT).map(drop)
    });
}

fn instructions(world: &World) -> u64 {
    world.machine().map_or(0, |machine| machine.with(|machine| machine.statistics().warp_instructions()))
}

fn whole_calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch and combine on 2 x 2, 1024 channels");
    group.sample_size(10).throughput(Throughput::Elements(4 * TOKENS as u64));
    for way in ways() {
        let mut world = way.world();
        round_trip(&mut world, way);
        let first = instructions(&world);
        round_trip(&mut world, way);
        let one = instructions(&world) - first;
        println!("{}: {} warp instructions a token", way.name, one / (4 * TOKENS as u64));
        group.bench_function(BenchmarkId::from_parameter(way.name), |bencher| {
            bencher.iter(|| round_trip(&mut world, way));
        });
    }
    group.finish();
}

/// A dispatch along the handle of an earlier one, and one with a bound, which does not wait on the host, beside one that counts.
fn dispatches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch on 2 x 2, 1024 channels");
    group.sample_size(10).throughput(Throughput::Elements(4 * TOKENS as u64));
    let mut world = PLAIN.world();
    let handles = all(&mut world, |rank| Ok(rank.dispatch(dispatch(rank, PLAIN)?)?.wait(WAIT)?.handle));
    let handles: Vec<std::sync::Mutex<Handle>> = handles.into_iter().map(std::sync::Mutex::new).collect();
    for (name, along, bound) in
        [("with counts", false, None), ("with a bound", false, Some(4 * TOKENS)), ("along a handle", true, None)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                all(&mut world, |rank| {
                    let op = dispatch(rank, PLAIN)?;
                    let handle = handles[rank.rank() as usize].lock().expect("no thread panicked").clone();
                    let op = if along { op.cached(&handle) } else { op };
                    rank.dispatch(bound.map_or(op.clone(), |rows| op.bound(rows)))?.wait(WAIT).map(drop)
                });
            });
        });
    }
    group.finish();
}

/// A dispatch with a bound and its combine, called and as a graph that is replayed.
fn graphs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bounded dispatch and combine on 2 x 2, 1024 channels");
    group.sample_size(10).throughput(Throughput::Elements(4 * TOKENS as u64));
    let bound = 4 * TOKENS;
    let mut world = PLAIN.world();
    group.bench_function("called", |bencher| {
        bencher.iter(|| {
            all(&mut world, |rank| {
                let got = rank.dispatch(dispatch(rank, PLAIN)?.bound(bound))?.wait(WAIT)?;
                rank.combine(combine(rank, PLAIN, &got.handle)?)?.wait(WAIT).map(drop)
            });
        });
    });
    let captured = all(&mut world, |rank| {
        let op = dispatch(rank, PLAIN)?.bound(bound);
        let y = zeros(rank, PLAIN.sum.dtype(), bound, HIDDEN)?;
        let mut step = rank.step();
        let rows = step.dispatch(op)?;
        step.combine(Combine::new(&y, &rows.handle))?;
        rank.capture(step)
    });
    let captured: Vec<std::sync::Mutex<Graph>> = captured.into_iter().map(std::sync::Mutex::new).collect();
    group.bench_function("replayed", |bencher| {
        bencher.iter(|| {
            all(&mut world, |rank| {
                let graph = captured[rank.rank() as usize].lock().expect("no thread panicked");
                rank.replay(&graph)?.wait(WAIT).map(drop)
            });
        });
    });
    group.finish();
}

/// Warp instructions of one dispatch on a rank of its own, where nothing is awaited and so nothing is left to chance.
fn alone(kernels: KernelSet, shape: Shape) -> u64 {
    let topology = Topology::new(1, 1).expect("a small world");
    let mut config = WorldConfig::new(topology, shape);
    config.machine.checks = Checks::NONE;
    let mut world = World::emulated_kernels(config, kernels).expect("the world is valid");
    let call = |world: &mut World| {
        let before = instructions(world);
        all(world, |rank| {
            let topk_idx = rank.tensor(&[0; TOPK], &[1, TOPK])?;
            let x = zeros(rank, DType::Bf16, 1, HIDDEN)?;
            rank.dispatch(Dispatch::new(&x, &topk_idx))?.wait(WAIT).map(drop)
        });
        instructions(world) - before
    };
    call(&mut world);
    call(&mut world)
}

/// What the load statistics cost: warp instructions of a dispatch with them, less those of an exchange that leaves before.
fn load_statistics(_: &mut Criterion) {
    println!("load statistics, on a rank of its own, in warp instructions a call:");
    for (experts, layout) in [
        (16, OutputLayout::Rows),
        (256, OutputLayout::Rows),
        (4096, OutputLayout::Rows),
        (256, OutputLayout::Experts { align: 16 }),
    ] {
        let shape = Shape::new(HIDDEN as u32, experts, TOPK as u32, TOKENS as u32)
            .and_then(|shape| shape.with_layout(layout))
            .expect("a small shape");
        let tuning = Tuning::default_for(Topology::new(1, 1).expect("a small world"), shape.dispatch_row_bytes());
        let sound = KernelSet::of_shape(Fabric::Mlx5, &shape, &tuning).expect("the kernels are embedded");
        let text = sound.exchange.marked_text.replacen("\nload:", "\nload:\n    bra finish;", 1);
        assert_ne!(text, sound.exchange.marked_text, "the exchange has a phase `load`");
        let without = KernelImage { marked_text: Box::leak(text.into_boxed_str()), ..*sound.exchange };
        let without = KernelSet { exchange: Box::leak(Box::new(without)), ..sound };
        let (with, without) = (alone(sound, shape), alone(without, shape));
        println!("  {experts} experts, rows {layout}: {} of {with}", with - without);
    }
}

criterion_group!(benches, whole_calls, dispatches, graphs, load_statistics);
criterion_main!(benches);
