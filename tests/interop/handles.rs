//! Contexts, streams and memory by plain handles.

use std::ffi::c_void;
use std::time::Duration;

use half::bf16;
use warpferry::mem::DevicePtr;
use warpferry::world::{close, connect};
use warpferry::{interop, Combine, Communicator, DType, Dispatch, Tensor};

use crate::rounds::{config, words_of, Round, HIDDEN, TOPK};
use crate::support::{context, done, Drops, Raw};

const WAIT: Duration = Duration::from_secs(300);

fn bytes(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn lend(
    rank: &Communicator,
    address: u64,
    size: usize,
    dtype: DType,
    shape: &[usize],
    keeper: Box<crate::support::Counted>,
) -> Tensor {
    // SAFETY: the tests free the memory when nothing uses it, and do not write it.
    unsafe { rank.lend(DevicePtr::new(address), size as u64, dtype, shape, keeper) }.expect("the memory fits")
}

/// Input and results of a rank in memory of the caller's. Taken before any kernel runs: filling it waits for all.
fn memory(raw: &Raw, round: &Round, number: usize) -> [u64; 3] {
    let input = &round.inputs[number];
    let idx: Vec<u8> = input.topk_idx.iter().flat_map(|choice| choice.to_le_bytes()).collect();
    [raw.memory(&bytes(&input.x)), raw.memory(&idx), raw.memory(&bytes(&round.results[number]))]
}

/// One rank's part of a round, with its memory lent.
fn play(rank: &mut Communicator, addresses: [u64; 3], round: &Round, drops: &Drops) {
    let number = rank.rank() as usize;
    let input = &round.inputs[number];
    let tokens = input.topk_idx.len() / TOPK;
    let x = lend(rank, addresses[0], input.x.len() * 2, DType::Bf16, &[tokens, HIDDEN], drops.keeper());
    let idx = lend(rank, addresses[1], input.topk_idx.len() * 4, DType::I32, &[tokens, TOPK], drops.keeper());
    let rows = rank.dispatch(Dispatch::new(&x, &idx)).and_then(|mut rows| rows.wait(WAIT)).expect("dispatch ends well");
    let found: Vec<bf16> = rows.x.to_vec().expect("the rows can be read");
    assert!(found.iter().map(|value| value.to_bits()).eq(words_of(&round.dispatched[number].x)), "rows");
    let size = rows.rows * HIDDEN * 2;
    let given = lend(rank, addresses[2], size, DType::Bf16, &[rows.rows, HIDDEN], drops.keeper());
    let sums = rank.combine(Combine::new(&given, &rows.handle)).and_then(|mut sums| sums.wait(WAIT));
    let found: Vec<bf16> = sums.expect("combine ends well").x.to_vec().expect("the sums can be read");
    assert!(found.iter().map(|value| value.to_bits()).eq(round.combined[number].iter().copied()), "sums");
}

/// Method: two ranks in a context of cuCtxCreate, with streams and memory of the caller's, against the reference.
#[test]
fn a_world_in_a_context_of_the_callers() {
    if context().is_none() {
        return;
    }
    let raw = Raw::new();
    let streams = [raw.stream(), raw.stream()];
    // SAFETY: both outlive the world; the context is destroyed below.
    let devices = unsafe { interop::devices(raw.context, &streams) }.expect("the streams fit");
    let mut ranks = connect(&config(2), &devices).expect("the world is made");
    let (round, drops) = (Round::new(2, 6), Drops::default());
    let addresses: Vec<[u64; 3]> = (0..2).map(|number| memory(&raw, &round, number)).collect();
    std::thread::scope(|scope| {
        for (rank, &addresses) in ranks.iter_mut().zip(&addresses) {
            let (round, drops) = (&round, &drops);
            scope.spawn(move || play(rank, addresses, round, drops));
        }
    });
    assert_eq!(drops.seen(), 6, "all that was lent came back");
    // SAFETY: the streams are of this context.
    unsafe {
        interop::wait_for(&ranks[0], streams[1]).expect("the stream is of this context");
        interop::release_to(&ranks[0], streams[1]).expect("the stream is of this context");
        interop::wait_for(&ranks[0], std::ptr::null_mut::<c_void>()).expect("the default stream can be waited for");
    }
    close(ranks).expect("the world is closed");
    drop(devices);
    addresses.into_iter().flatten().for_each(|address| raw.free(address));
    raw.destroy();
    done("handles::a_world_in_a_context_of_the_callers");
}

/// Method: a keeper counts its end. Clones, views and an operation under way hold it; the end of the last lets it go.
#[test]
fn keepers_go_after_the_last_use() {
    if context().is_none() {
        return;
    }
    let raw = Raw::new();
    let streams = [raw.stream(), raw.stream()];
    // SAFETY: both outlive the world; the context is destroyed below.
    let devices = unsafe { interop::devices(raw.context, &streams) }.expect("the streams fit");
    let mut ranks = connect(&config(2), &devices).expect("the world is made");
    let (round, drops) = (Round::new(2, 7), Drops::default());
    let mut addresses = Vec::new();
    let mut ops = Vec::new();
    for (rank, input) in ranks.iter().zip(&round.inputs) {
        let tokens = input.topk_idx.len() / TOPK;
        let x = bytes(&input.x);
        addresses.push(raw.memory(&x));
        let whole = lend(rank, addresses[addresses.len() - 1], x.len(), DType::Bf16, &[tokens, HIDDEN], drops.keeper());
        let view = whole.narrow(0..tokens).expect("the view is inside");
        drop(whole);
        let idx = rank.tensor(&input.topk_idx, &[tokens, TOPK]).expect("a tensor can be made");
        ops.push(Dispatch::new(&view, &idx));
    }
    assert_eq!(drops.seen(), 0, "the views hold the memory");
    let pending: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = ranks
            .iter_mut()
            .zip(ops)
            .map(|(rank, op)| scope.spawn(move || rank.dispatch(op).expect("dispatch starts")))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("the rank goes on")).collect()
    });
    assert_eq!(drops.seen(), 0, "nobody has seen the operations end");
    // Nobody asks for the results; closing sees the end.
    drop(pending);
    close(ranks).expect("the world is closed");
    assert_eq!(drops.seen(), 2, "the last use is over");
    drop(devices);
    addresses.into_iter().for_each(|address| raw.free(address));
    raw.destroy();
    done("handles::keepers_go_after_the_last_use");
}
