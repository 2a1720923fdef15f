//! Graphs and events with a caller's streams and memory, by plain handles.

use std::ffi::c_void;
use std::time::Duration;

use warpferry::mem::DevicePtr;
use warpferry::world::{close, connect};
use warpferry::{interop, Combine, Communicator, DType, Dispatch, Tensor};

use crate::rounds::{config, Round, HIDDEN, TOKENS, TOPK};
use crate::support::{context, done, Raw};

const WAIT: Duration = Duration::from_secs(300);
const X_BYTES: usize = TOKENS * HIDDEN * 2;

fn bytes(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A world of one rank in a caller's stream.
fn rank(raw: &Raw, stream: *mut c_void) -> Communicator {
    // SAFETY: both outlive the world.
    let device = unsafe { interop::device(raw.context, stream) }.expect("the stream fits");
    connect(&config(1), &[device]).expect("the world is made").remove(0)
}

fn lend(rank: &Communicator, address: u64, bytes: usize, dtype: DType, shape: &[usize]) -> Tensor {
    // SAFETY: the memory outlives the world, and the streams order what is done to it.
    unsafe { rank.lend(DevicePtr::new(address), bytes as u64, dtype, shape, Box::new(())) }.expect("the memory fits")
}

/// The caller's memory of one rank: rows, choices, what experts give back.
fn memory(raw: &Raw, round: &Round) -> [u64; 3] {
    let idx: Vec<u8> = round.inputs[0].topk_idx.iter().flat_map(|choice| choice.to_le_bytes()).collect();
    [raw.memory(&bytes(&round.inputs[0].x)), raw.memory(&idx), raw.memory(&bytes(&round.results[0]))]
}

/// Method: between dispatch and combine the caller's own code copies results to where the combine reads them, in the stream
/// it lent. Replays do that copy again, with what lies there then.
#[test]
fn work_of_a_caller_becomes_part_of_a_graph() {
    if context().is_none() {
        return;
    }
    let raw = Raw::new();
    let stream = raw.stream();
    let rounds = [Round::new(1, 3), Round::new(1, 4)];
    let at: Vec<[u64; 3]> = rounds.iter().map(|round| memory(&raw, round)).collect();
    let mut rank = rank(&raw, stream);
    let given = rounds[0].results[0].len() * 2;
    let (x_at, idx_at, made_at, given_at) = (
        raw.memory(&[0; X_BYTES]),
        raw.memory(&[0; TOKENS * TOPK * 4]),
        raw.memory(&vec![0; given]),
        raw.memory(&vec![0; given]),
    );
    let x = lend(&rank, x_at, X_BYTES, DType::Bf16, &[TOKENS, HIDDEN]);
    let idx = lend(&rank, idx_at, TOKENS * TOPK * 4, DType::I32, &[TOKENS, TOPK]);
    let back = lend(&rank, given_at, given, DType::Bf16, &[TOKENS, HIDDEN]);
    let mut step = rank.step();
    let rows = step.dispatch(Dispatch::new(&x, &idx).bound(TOKENS)).expect("the memory fits");
    step.work(|_, _| {
        raw.copy(given_at, made_at, given, stream);
        Ok(())
    });
    let sums = step.combine(Combine::new(&back, &rows.handle)).expect("the memory fits");
    let graph = rank.capture(step).expect("everything can be captured");
    for _ in 0..2 {
        for (round, at) in rounds.iter().zip(&at) {
            for (to, from, bytes) in
                [(x_at, at[0], X_BYTES), (idx_at, at[1], TOKENS * TOPK * 4), (made_at, at[2], given)]
            {
                raw.copy(to, from, bytes, stream);
            }
            let mut replay = rank.replay(&graph).expect("the graph can be launched");
            let want = round.dispatched[0].source.len();
            assert_eq!(raw.read(sums.x.ptr().address(), X_BYTES, stream), bytes(&round.combined[0]), "sums");
            assert_eq!(replay.wait(WAIT).expect("the replay ends well").dispatches[0].rows, want);
            assert_eq!(rows.x.narrow(0..want).and_then(|rows| rows.to_bytes()).expect("rows"), round.dispatched[0].x);
        }
    }
    drop((x, idx, back, rows, sums, graph));
    close(vec![rank]).expect("the world is closed");
    let all = at.into_iter().flatten().chain([x_at, idx_at, made_at, given_at]);
    all.for_each(|address| raw.free(address));
    raw.destroy();
    done("graphs::work_of_a_caller_becomes_part_of_a_graph");
}

/// Method: rows are written in another stream of the caller's, whose event the operation waits for; a third waits for the
/// operation's event and reads the sums there.
#[test]
fn events_of_a_caller_come_before_and_behind() {
    if context().is_none() {
        return;
    }
    let raw = Raw::new();
    let (own, before, behind) = (raw.stream(), raw.stream(), raw.stream());
    let round = Round::new(1, 8);
    let at = memory(&raw, &round);
    let mut rank = rank(&raw, own);
    let x_at = raw.memory(&[0; X_BYTES]);
    let x = lend(&rank, x_at, X_BYTES, DType::Bf16, &[TOKENS, HIDDEN]);
    let idx = lend(&rank, at[1], TOKENS * TOPK * 4, DType::I32, &[TOKENS, TOPK]);
    raw.copy(x_at, at[0], X_BYTES, before);
    // SAFETY: the event is alive.
    unsafe { interop::wait_for_event(&rank, raw.record(before)) }.expect("the event is of this context");
    let mut pending = rank.dispatch(Dispatch::new(&x, &idx).bound(TOKENS)).expect("the dispatch begins");
    let event = pending.event().and_then(|event| interop::event(&rank, event)).expect("nobody waited for it");
    raw.wait(behind, event);
    let rows_at = pending.results().expect("nobody waited for it").x.ptr().address();
    let want = &round.dispatched[0].x;
    assert_eq!(&raw.read(rows_at, want.len(), behind), want);
    pending.wait(WAIT).expect("the dispatch ends well");
    drop((x, idx, pending));
    close(vec![rank]).expect("the world is closed");
    at.into_iter().chain([x_at]).for_each(|address| raw.free(address));
    raw.destroy();
    done("graphs::events_of_a_caller_come_before_and_behind");
}
