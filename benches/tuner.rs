//! The search itself, on a cost surface that takes no time to ask: what a search adds to what it measures. Also the count of
//! valid points, the check of one, and a lookup of a stored setting.
#![allow(missing_docs)] // criterion makes public functions

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use warpferry::plan::{Fp8, Limits, Payload, ScaleKind};
use warpferry::tune::store::Wanted;
use warpferry::tune::{stored, Axis, Search, Space};
use warpferry::{Fabric, Shape, Topology, Tuning};

#[path = "../src/tune/tests/surface.rs"]
#[allow(dead_code)]
mod surface;

use surface::{Surface, H800};

fn space(nodes: u32) -> Space {
    let limits = Limits { name: H800.name.to_string(), sms: 132, shared_bytes: 232_448, memory_bytes: 80 << 30 };
    let topology = Topology::new(nodes, 8).expect("a world");
    let shape = Shape::new(7168, 256, 8, 4096).expect("the shape of DeepSeek-V3");
    let shape = shape.with_payload(Payload::Fp8(Fp8::E4m3, ScaleKind::F32)).expect("rows of FP8");
    Space::new(topology, shape, Fabric::Mlx5, limits).expect("a space")
}

/// A space of some thousand points.
fn narrow() -> Space {
    let pins = [
        (Axis::ChunkIb, 4),
        (Axis::DepthIb, 16),
        (Axis::DepthNv, 8),
        (Axis::Roles, 0),
        (Axis::StageBytes, 16384),
        (Axis::Landing, 0),
    ];
    pins.into_iter().fold(space(2), |space, (axis, value)| space.pinned(axis, value).expect("an axis"))
}

fn searches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10);
    for nodes in [1, 2, 8] {
        let space = space(nodes);
        group.bench_function(format!("{nodes} x 8"), |bencher| {
            bencher.iter(|| Search::new(&space, "uniform").run(&mut Surface::new(H800)).expect("a setting"));
        });
    }
    let narrow = narrow();
    group.bench_function("full grid of a narrow space", |bencher| {
        bencher.iter(|| Search::new(&narrow, "uniform").exhaustive(&mut Surface::new(H800)).expect("a setting"));
    });
    group.finish();
}

fn spaces(criterion: &mut Criterion) {
    let space = space(2);
    let point = space.nearest(&Tuning::default_for(space.topology(), space.shape().dispatch_row_bytes()));
    let mut group = criterion.benchmark_group("space, 2 x 8");
    group.bench_function("valid points", |bencher| bencher.iter(|| black_box(&space).valid_points()));
    group.bench_function("check of a point", |bencher| bencher.iter(|| space.is_valid(black_box(&point))));
    group.finish();
}

fn lookups(criterion: &mut Criterion) {
    let (topology, shape) = (Topology::new(2, 8).expect("a world"), *space(2).shape());
    let wanted = Wanted { device: "h800-cx7", fabric: Fabric::Mlx5, topology, shape: &shape, gate: "uniform" };
    criterion.bench_function("lookup of a setting", |bencher| {
        bencher.iter(|| stored(black_box(&wanted)).expect("what ships can be read"));
    });
}

criterion_group!(benches, searches, spaces, lookups);
criterion_main!(benches);
