//! Dispatch and combine beside a program's own cudarc work: one rank, the program's context, stream and memory.
//!
//! `cargo run --example cudarc` on a machine with a GPU; elsewhere it says what is missing.

use std::time::Duration;

use cudarc::driver::CudaContext;
use warpferry::interop::cudarc::{device, tensor, Borrowed};
use warpferry::world::{close, connect};
use warpferry::{Combine, Dispatch, Fabric, Shape, Topology, WorldConfig};

const TOKENS: usize = 64;
const HIDDEN: usize = 512;
const WAIT: Duration = Duration::from_secs(10);
/// 1.0 as bf16.
const ONE: u16 = 0x3f80;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // cudarc panics without a driver; this says what is missing.
    let summary = warpferry::driver::cuda::summary()?;
    println!("{}", summary.gpus[0].name);

    let stream = CudaContext::new(0)?.new_stream()?;
    let x = stream.clone_htod(&vec![ONE; TOKENS * HIDDEN])?;
    let topk_idx = stream.clone_htod(&(0..2 * TOKENS as i32).map(|choice| choice % 8).collect::<Vec<_>>())?;

    // Kernels run in the program's stream. Experts 0 to 7 are here; each token goes to two of them.
    let shape = Shape::new(HIDDEN as u32, 8, 2, TOKENS as u32)?;
    let config = WorldConfig::new(Topology::new(1, 1)?, shape).fabric(Fabric::Loopback);
    let mut ranks = connect(&config, &[device(&stream)?])?;
    let rank = &mut ranks[0];

    let x = tensor(rank, x, &[TOKENS, HIDDEN])?;
    let topk_idx = tensor(rank, topk_idx, &[TOKENS, 2])?;
    let rows = rank.dispatch(Dispatch::new(&x, &topk_idx))?.wait(WAIT)?;

    // The experts would read `arrived`, a `CudaSlice`, and write to one of their own.
    let arrived = Borrowed::<u16>::new(rank, &rows.x, &stream)?;
    let result = tensor(rank, stream.clone_dtod(&*arrived)?, &[rows.rows, HIDDEN])?;
    let sums = rank.combine(Combine::new(&result, &rows.handle))?.wait(WAIT)?;

    let sums = stream.clone_dtoh(&*Borrowed::<u16>::new(rank, &sums.x, &stream)?)?;
    println!("{} rows came, {} sums went back", rows.rows, sums.len() / HIDDEN);
    drop(arrived);
    close(ranks)?;
    Ok(())
}
