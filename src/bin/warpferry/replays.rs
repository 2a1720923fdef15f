//! `demo --graph`: the first turn captured once as a graph and replayed, each replay compared.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use warpferry::bench::calls::{combine, combine_output, dispatch, dispatch_output, on_all, WAIT};
use warpferry::bench::rows::RankInputs;
use warpferry::reference::{CombineOutput, DispatchOutput};
use warpferry::{Combined, Communicator, Dispatched, Error, Graph, Result, World};

/// What one rank replays.
pub struct Turn<'a> {
    pub sent: &'a RankInputs,
    /// What its experts give back.
    pub rows: &'a [u8],
    pub dispatched: &'a DispatchOutput,
    pub combined: &'a CombineOutput,
}

/// A captured turn of a rank.
struct Captured {
    graph: Graph,
    rows: Dispatched,
    sums: Combined,
}

/// Captures a turn of every rank, then replays it so often; says which replays differ from the turn. Results are overwritten
/// before each, so that what is found there is the replay's.
///
/// # Errors
/// The first error of a rank.
pub fn replay(
    world: &mut World,
    turns: &[Turn],
    count: u32,
    bound: usize,
    timeout: Option<Duration>,
) -> Result<Vec<String>> {
    // Everywhere before the first replay: making a graph ready may wait for kernels of ranks that share the GPU.
    let captured = on_all(world, |rank| capture(rank, &turns[rank.rank() as usize], bound, timeout))?;
    // Each rank takes its own element; the lock only hands it over.
    let captured: Vec<Mutex<Captured>> = captured.into_iter().map(Mutex::new).collect();
    let wrong = on_all(world, |rank| {
        let at = rank.rank() as usize;
        let captured = captured[at].lock().unwrap_or_else(PoisonError::into_inner);
        let mut wrong = Vec::new();
        for number in 1..=count {
            if !replay_once(rank, &captured, &turns[at])? {
                wrong.push(format!("rank {at}: replay {number} of the graph"));
            }
        }
        Ok(wrong)
    })?;
    Ok(wrong.into_iter().flatten().collect())
}

fn capture(rank: &mut Communicator, turn: &Turn, bound: usize, timeout: Option<Duration>) -> Result<Captured> {
    let mut step = rank.step();
    let rows = step.dispatch(dispatch(rank, turn.sent, timeout)?.bound(bound))?;
    let sums = step.combine(combine(rank, turn.rows, turn.dispatched, turn.sent, &rows.handle, timeout)?)?;
    Ok(Captured { graph: rank.capture(step)?, rows, sums })
}

/// Whether a replay gives what the turn gave.
fn replay_once(rank: &mut Communicator, captured: &Captured, turn: &Turn) -> Result<bool> {
    for tensor in [&captured.rows.x, &captured.rows.source, &captured.sums.x] {
        rank.driver().fill(tensor.ptr(), 0x5a, tensor.bytes(), rank.stream())?;
    }
    let mut told = rank.replay(&captured.graph)?.wait(WAIT)?;
    let told = told.dispatches.pop().ok_or_else(|| Error::Bug("a replay told no number of rows".into()))?;
    let (expert_counts, expert_offsets) = (told.expert_counts, told.expert_offsets);
    let rows = Dispatched { rows: told.rows, expert_counts, expert_offsets, ..captured.rows.clone() };
    let (got, sums) = (dispatch_output(&rows)?, combine_output(&captured.sums)?);
    let bits = |weights: &[f32]| weights.iter().map(|weight| weight.to_bits()).collect::<Vec<u32>>();
    let sum_bits = |sums: &CombineOutput| sums.topk_weights.as_deref().map(bits);
    let want = turn.dispatched;
    Ok((&got.x, &got.scales, &got.source, &got.topk_idx) == (&want.x, &want.scales, &want.source, &want.topk_idx)
        && (&got.expert_counts, &got.expert_offsets) == (&want.expert_counts, &want.expert_offsets)
        && bits(&got.topk_weights) == bits(&want.topk_weights)
        && sums.x == turn.combined.x
        && sum_bits(&sums) == sum_bits(turn.combined))
}
