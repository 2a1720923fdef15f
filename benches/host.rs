//! What the host side costs by itself: a dispatch and a combine, call and wait, on the driver that does nothing.
//! Goal: less than 10 us a call.
#![allow(missing_docs)] // criterion makes public functions

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{criterion_group, criterion_main, Criterion};
use half::bf16;
use warpferry::driver::null::NullDriver;
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
    group.bench_function("combine", |bencher| {
        bencher.iter(|| {
            let mut pending = rank.combine(Combine::new(&dispatched.x, &dispatched.handle)).expect("nothing fails");
            black_box(pending.wait(WAIT).expect("nothing fails"))
        });
    });
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
