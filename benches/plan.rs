//! Plan and layout of a world of 256 ranks: the plan of one rank, and the scalar layout and counts that the kernels'
//! are compared with.
#![allow(missing_docs)] // criterion makes public functions

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use warpferry::plan::Plan;
use warpferry::reference::{Exchange, Layout};
use warpferry::{Fabric, Shape, Topology, Tuning};

const TOKENS: u32 = 128;
const EXPERTS: u32 = 256;
const TOPK: u32 = 8;

/// Choices that spread over all experts, different for every rank.
fn choices(rank: u32) -> Vec<i32> {
    (0..TOKENS * TOPK).map(|at| ((at * 37 + rank * 101 + at / TOPK * 13) % EXPERTS) as i32).collect()
}

fn plans(criterion: &mut Criterion) {
    let topology = Topology::new(32, 8).expect("256 ranks");
    let shape = Shape::new(7168, EXPERTS, TOPK, TOKENS).expect("the shape of DeepSeek-V3");
    let tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
    let layouts: Vec<Layout> = (0..topology.ranks())
        .map(|rank| Layout::new(topology, shape, &choices(rank)).expect("the choices are experts"))
        .collect();
    let mut group = criterion.benchmark_group("256 ranks");
    group.bench_function("plan", |bencher| {
        bencher.iter(|| Plan::new(topology, shape, black_box(tuning.clone()), Fabric::Mlx5).expect("the defaults fit"));
    });
    let own = choices(3);
    group.bench_function("layout of a rank", |bencher| {
        bencher.iter(|| Layout::new(topology, shape, black_box(&own)).expect("the choices are experts"));
    });
    group.bench_function("counts at a rank", |bencher| {
        bencher.iter(|| Exchange::new(black_box(3), tuning.channels, &layouts));
    });
    group.finish();
}

criterion_group!(benches, plans);
criterion_main!(benches);
