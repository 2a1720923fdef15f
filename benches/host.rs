//! What the host side costs by itself: dispatches that count, with a bound and along a handle, and a combine, call and wait, on
//! the driver that does nothing (goal: less than 10 us a call); and what benches do before and behind a run: the bytes that
//! choices lead to, and the comparison of two results.
#![allow(missing_docs)] // criterion makes public functions

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{criterion_group, criterion_main, Criterion};
use half::bf16;
use warpferry::bench::compare::ratio;
use warpferry::bench::Moved;
use warpferry::driver::null::NullDriver;
use warpferry::gate::Gate;
use warpferry::world::{connect, Device};
use warpferry::{Combine, Communicator, Dispatch, Fabric, Shape, Topology, WorldConfig};

const WAIT: Duration = Duration::from_secs(1);
const TOKENS: usize = 128;
const HIDDEN: usize = 7168;
const TOPK: usize = 8;

fn communicator() -> Communicator {
    let topology = Topology::new(1, 8).expect("a node");
    let shape = Shape::new(HIDDEN as u32, 256, TOPK as u32, TOKENS as u32).expect("the shape of DeepSeek-V3");
    let config = WorldConfig::new(topology, shape).fabric(Fabric::Loopback);
    let devices: Vec<Device> = (0..8).map(|_| Device::new(Arc::new(NullDriver::new()))).collect();
    connect(&config, &devices).expect("the null driver refuses nothing").remove(0)
}

fn calls(criterion: &mut Criterion) {
    let mut rank = communicator();
    let x = rank.tensor(&vec![bf16::ONE; TOKENS * HIDDEN], &[TOKENS, HIDDEN]).expect("rows");
    let topk_idx = rank.tensor(&vec![0_i32; TOKENS * TOPK], &[TOKENS, TOPK]).expect("choices");
    let weights = rank.tensor(&vec![0.125_f32; TOKENS * TOPK], &[TOKENS, TOPK]).expect("weights");
    let mut group = criterion.benchmark_group("host");
    group.bench_function("dispatch", |bencher| {
        bencher.iter(|| {
            let mut pending = rank.dispatch(Dispatch::new(&x, &topk_idx).weights(&weights)).expect("nothing fails");
            black_box(pending.wait(WAIT).expect("nothing fails"))
        });
    });
    let dispatched = rank.dispatch(Dispatch::new(&x, &topk_idx)).and_then(|mut pending| pending.wait(WAIT));
    let dispatched = dispatched.expect("nothing fails");
    let along = Dispatch::new(&x, &topk_idx).weights(&weights).cached(&dispatched.handle);
    let bounded = Dispatch::new(&x, &topk_idx).weights(&weights).bound(8 * TOKENS);
    for (name, op) in [("dispatch along a handle", along), ("dispatch with a bound", bounded)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut pending = rank.dispatch(op.clone()).expect("nothing fails");
                black_box(pending.wait(WAIT).expect("nothing fails"))
            });
        });
    }
    group.bench_function("combine", |bencher| {
        bencher.iter(|| {
            let mut pending = rank.combine(Combine::new(&dispatched.x, &dispatched.handle)).expect("nothing fails");
            black_box(pending.wait(WAIT).expect("nothing fails"))
        });
    });
    group.finish();
}

/// Bytes of 4,096 tokens a rank on 8 x 8 ranks, and the noise bounds of two runs of 1,000 repeats.
fn around_runs(criterion: &mut Criterion) {
    let topology = Topology::new(8, 8).expect("a world");
    let shape = Shape::new(HIDDEN as u32, 256, TOPK as u32, 4096).expect("the shape of DeepSeek-V3");
    let plan = WorldConfig::new(topology, shape).plan(0).expect("the defaults are valid");
    let choices = Gate::Uniform.draw(topology, &shape, 4096, 1).expect("a gate of this world");
    let times = |offset: u32| (0..1000).map(|at| 100.0 + f64::from(at * 7 % 11 + offset)).collect::<Vec<f64>>();
    let (old, new) = (times(0), times(1));
    let mut group = criterion.benchmark_group("around runs");
    group.sample_size(10);
    group.bench_function("bytes of 64 ranks", |bencher| {
        bencher.iter(|| black_box(Moved::new(&plan, &choices, false).expect("valid")));
    });
    group.bench_function("comparison", |bencher| bencher.iter(|| black_box(ratio(&old, &new, false))));
    group.finish();
}

criterion_group!(benches, calls, around_runs);
criterion_main!(benches);
