//! Dispatch along the routing of an earlier one, with the real kernels on the emulated cluster.
//!
//! Method: the same rows are dispatched with and without a cached handle; every bit of the results must be the same,
//! and so must what a combine along either handle gives.
#![cfg(feature = "emu")]

use std::time::Duration;

use half::bf16;
use warpferry::plan::{Landing, OutputLayout};
use warpferry::{
    Combine, Communicator, Dispatch, Dispatched, Fabric, Result, Shape, Topology, Tuning, World, WorldConfig,
};

const HIDDEN: usize = 64;
const TOPK: usize = 3;
const EXPERTS: i32 = 8;
const WAIT: Duration = Duration::from_secs(1000);

/// A small generator: rows and choices follow from rank and call.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *state >> 40
}

fn rows(rank: &Communicator, tokens: usize, call: u64) -> Vec<bf16> {
    let mut state = u64::from(rank.rank()) << 8 | call;
    (0..tokens * HIDDEN).map(|_| bf16::from_f32(draw(&mut state) as f32 / 1000.0)).collect()
}

fn choices(rank: &Communicator, tokens: usize) -> Vec<i32> {
    let mut state = u64::from(rank.rank()) << 8 | 0xff;
    (0..tokens)
        .flat_map(|_| {
            let first = draw(&mut state) as i32 % EXPERTS;
            // Different experts, now and then none.
            [first, (first + 3) % EXPERTS, if draw(&mut state).is_multiple_of(4) { -1 } else { (first + 5) % EXPERTS }]
        })
        .collect()
}

fn contents(rows: &Dispatched) -> Result<Vec<Vec<u8>>> {
    let weights = rows.topk_weights.as_ref().map_or(Ok(Vec::new()), |weights| weights.to_bytes())?;
    Ok(vec![rows.x.to_bytes()?, rows.topk_idx.to_bytes()?, weights, rows.source.to_bytes()?])
}

fn compare(rank: &mut Communicator) -> Result<()> {
    let tokens = 5 + 4 * rank.rank() as usize;
    let idx = rank.tensor(&choices(rank, tokens), &[tokens, TOPK])?;
    let weights: Vec<f32> = (0..tokens * TOPK).map(|index| index as f32 / 8.0).collect();
    let weights = rank.tensor(&weights, &[tokens, TOPK])?;
    let x = rank.tensor(&rows(rank, tokens, 0), &[tokens, HIDDEN])?;
    let first = rank.dispatch(Dispatch::new(&x, &idx).weights(&weights))?.wait(WAIT)?;
    for call in 1..4 {
        let x = rank.tensor(&rows(rank, tokens, call), &[tokens, HIDDEN])?;
        let op = Dispatch::new(&x, &idx).weights(&weights);
        let plain = rank.dispatch(op.clone())?.wait(WAIT)?;
        let cached = rank.dispatch(op.cached(&first.handle))?.wait(WAIT)?;
        assert_eq!(contents(&plain)?, contents(&cached)?, "rank {} call {call}", rank.rank());
        assert_eq!((plain.rows, &plain.expert_counts), (cached.rows, &cached.expert_counts));
        // The sum of what arrived may go back along any of the handles.
        let along = rank.combine(Combine::new(&cached.x, &plain.handle))?.wait(WAIT)?;
        let back = rank.combine(Combine::new(&plain.x, &first.handle))?.wait(WAIT)?;
        assert_eq!(along.x.to_bytes()?, back.x.to_bytes()?, "rank {} call {call}", rank.rank());
    }
    Ok(())
}

#[test]
fn a_cached_dispatch_gives_what_a_plain_one_gives() {
    let (rows, experts) = (OutputLayout::Rows, OutputLayout::Experts { align: 4 });
    for (nodes, gpus, fabric, layout) in [
        (1, 4, Fabric::Mlx5, rows),
        (2, 2, Fabric::Mlx5, rows),
        (2, 2, Fabric::Loopback, rows),
        (2, 2, Fabric::Mlx5, experts),
        (1, 4, Fabric::Loopback, experts),
    ] {
        for landing in [Landing::Staged, Landing::Direct { rows: 512 }] {
            try_world((nodes, gpus), fabric, layout, landing);
        }
    }
}

fn try_world((nodes, gpus): (u32, u32), fabric: Fabric, layout: OutputLayout, landing: Landing) {
    let topology = Topology::new(nodes, gpus).unwrap_or_else(|error| panic!("{error}"));
    let shape = Shape::new(HIDDEN as u32, EXPERTS as u32, TOPK as u32, 32).and_then(|shape| shape.with_layout(layout));
    let shape = shape.unwrap_or_else(|error| panic!("{error}"));
    let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
    (tuning.channels, tuning.dispatch_sms, tuning.combine_sms) = (3, 2, 2);
    tuning.landing = landing;
    let config = WorldConfig::new(topology, shape).tuning(tuning).fabric(fabric);
    let mut world = World::emulated(config).unwrap_or_else(|error| panic!("{error}"));
    for outcome in world.run(compare).unwrap_or_else(|error| panic!("{error}")) {
        outcome.unwrap_or_else(|error| panic!("{nodes} x {gpus} {fabric:?}: {error}"));
    }
    world.close().unwrap_or_else(|error| panic!("{error}"));
}
