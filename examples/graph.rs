//! A step captured once and replayed: dispatch, the experts, combine, as one launch with fixed arguments.
//!
//! `cargo run --example graph` runs it on the emulated cluster. On a GPU the world is another (`World::on_gpus`), and the
//! experts' work is launches of the program's own in the stream that the step gives, instead of the copy here.

use std::time::Duration;

use half::bf16;
use warpferry::{Combine, Communicator, Dispatch, Result, Shape, Topology, World, WorldConfig};

const HIDDEN: usize = 64;
const TOKENS: usize = 4;
const TOPK: usize = 2;
/// Rows that each rank has room for.
const BOUND: usize = 16;
const WAIT: Duration = Duration::from_secs(60);

fn rank(comm: &mut Communicator) -> Result<()> {
    // What the graph reads stays where it is; only what is in it changes.
    let x = comm.tensor(&[bf16::ZERO; TOKENS * HIDDEN], &[TOKENS, HIDDEN])?;
    let topk_idx = comm.tensor(&[-1; TOKENS * TOPK], &[TOKENS, TOPK])?;
    let made = comm.tensor(&[bf16::ZERO; BOUND * HIDDEN], &[BOUND, HIDDEN])?;

    // All memory is taken here, and nothing runs.
    let mut step = comm.step();
    let rows = step.dispatch(Dispatch::new(&x, &topk_idx).bound(BOUND))?;
    let (to, from, bytes) = (made.ptr(), rows.x.ptr(), made.bytes());
    step.work(move |driver, stream| driver.copy_within(to, from, bytes, stream));
    let sums = step.combine(Combine::new(&made, &rows.handle))?;
    let graph = comm.capture(step)?;

    // Three replays in a row; the host waits for none before the last is launched.
    let mut replays = Vec::new();
    for number in 1..=3 {
        graph.write(&x, &[bf16::from_f32(number as f32); TOKENS * HIDDEN])?;
        graph.write(&topk_idx, &[0, 7, 1, 2, 3, 4, -1, 5])?;
        replays.push(comm.replay(&graph)?);
    }
    for replay in &mut replays {
        let told = replay.wait(WAIT)?; // or Error::Overflow, for this replay alone
        assert!(told.dispatches[0].rows <= BOUND);
    }
    // Each token's row went to as many ranks as its experts live on.
    let sums = sums.x.to_vec::<bf16>()?;
    assert_eq!([sums[0], sums[HIDDEN], sums[3 * HIDDEN]], [6.0, 6.0, 3.0].map(bf16::from_f32));
    Ok(())
}

fn main() -> Result<()> {
    let shape = Shape::new(HIDDEN as u32, 8, TOPK as u32, TOKENS as u32)?;
    let mut world = World::emulated(WorldConfig::new(Topology::new(2, 2)?, shape))?;
    world.run(rank)?.into_iter().collect::<Result<()>>()?;
    println!("three replays went well on every rank");
    world.close()
}
