//! Plan and layout of a world of 256 ranks: the plan of one rank, and the scalar layout and counts that the kernels'
//! are compared with. Gates that limit nodes: drawing, checking, and what they cost.
#![allow(missing_docs)] // criterion makes public functions

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use warpferry::gate::{check_node_limit, Cost, Gate};
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

/// What a user asks of a node-limited gate: choices, whether they keep the limit, what they cost.
fn gates(criterion: &mut Criterion) {
    let topology = Topology::new(8, 8).expect("64 ranks");
    let shape = Shape::new(7168, EXPERTS, TOPK, TOKENS).expect("the shape of DeepSeek-V3");
    let gate = Gate::NodeLimited { nodes: 4 };
    let drawn = gate.draw(topology, &shape, TOKENS, 1).expect("the gate fits the world");
    let ranks: Vec<&[i32]> = drawn.iter().map(|rank| &rank.topk_idx[..]).collect();
    let mut group = criterion.benchmark_group("node-limited gate, 64 ranks");
    group.sample_size(10);
    group.bench_function("draw", |bencher| {
        bencher.iter(|| gate.draw(topology, &shape, TOKENS, black_box(2)).expect("the gate fits the world"));
    });
    group.bench_function("check", |bencher| {
        bencher.iter(|| {
            for choices in black_box(&ranks) {
                check_node_limit(topology, &shape, choices, 4).expect("they keep the limit");
            }
        });
    });
    group.bench_function("cost", |bencher| {
        bencher.iter(|| Cost::new(topology, &shape, black_box(&ranks)).expect("the choices are experts"));
    });
    group.finish();
}

criterion_group!(benches, plans, gates);
criterion_main!(benches);
