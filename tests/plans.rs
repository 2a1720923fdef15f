//! What a plan says of worlds of several sizes, compared with committed text: a change of layout, of shared memory or of a
//! default shows here first. `WARPFERRY_PLANS=write cargo test --test plans` writes the files.

use std::fs;
use std::path::Path;

use warpferry::plan::Plan;
use warpferry::{Fabric, Shape, Topology, Tuning};

/// `world` is nodes and GPUs a node, `sizes` hidden, experts, top-k and tokens.
fn check(name: &str, world: [u32; 2], fabric: Fabric, sizes: [u32; 4]) {
    let ([nodes, gpus], [hidden, experts, topk, tokens]) = (world, sizes);
    let topology = Topology::new(nodes, gpus).expect("a valid world");
    let shape = Shape::new(hidden, experts, topk, tokens).expect("a valid shape");
    let tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
    let plan = Plan::new(topology, shape, tuning, fabric).expect("defaults fit");
    let window = format!("{:#?}\n", plan.window);
    let text = format!("{plan}\nagreement {:#018x}\n{window}", plan.agreement_hash());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(format!("{name}.txt"));
    if std::env::var_os("WARPFERRY_PLANS").is_some_and(|value| value == "write") {
        fs::write(&path, &text).expect("tests/plans is writable");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, committed, "{}: the plan changed; see the head of this file", path.display());
}

#[test]
fn one_node_of_8() {
    check("1x8", [1, 8], Fabric::Mlx5, [7168, 256, 8, 4096]);
}

#[test]
fn four_nodes_of_8() {
    check("4x8", [4, 8], Fabric::Mlx5, [7168, 256, 8, 4096]);
}

#[test]
fn decode_of_40_nodes() {
    check("40x8", [40, 8], Fabric::Mlx5, [7168, 320, 9, 128]);
}

#[test]
fn loopback_of_2_by_4() {
    check("2x4-loopback", [2, 4], Fabric::Loopback, [2048, 64, 6, 1024]);
}

#[test]
fn more_locals_than_a_mask_word() {
    check("2x72", [2, 72], Fabric::Mlx5, [4096, 288, 8, 512]);
}
