//! Contexts, streams and slices of cudarc.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream};
use half::bf16;
use warpferry::interop::cudarc::{devices, release_to, tensor, wait_for, Borrowed};
use warpferry::world::{close, connect};
use warpferry::{Combine, Communicator, Dispatch};

use crate::rounds::{bytes_of, config, Round, HIDDEN, TOPK};
use crate::support::{context, done};

const WAIT: Duration = Duration::from_secs(300);
const RANKS: u32 = 2;

fn streams(context: &Arc<CudaContext>, count: u32) -> Vec<Arc<CudaStream>> {
    (0..count).map(|_| context.new_stream().expect("a stream can be made")).collect()
}

/// Slices to be freed when no rank's kernels run: where the GPU has no memory pools, cudarc waits for all of it.
type Used = Vec<Box<dyn Any + Send>>;

/// One rank's part of a round: inputs from slices, outputs read as slices.
fn play(rank: &mut Communicator, stream: &Arc<CudaStream>, round: &Round) -> Used {
    let number = rank.rank() as usize;
    let (input, wanted) = (&round.inputs[number], &round.dispatched[number]);
    let tokens = input.topk_idx.len() / TOPK;
    // Written on a stream of its own.
    let beside = stream.context().new_stream().expect("a stream can be made");
    let x = Arc::new(beside.clone_htod(&input.x).expect("a slice can be made"));
    let idx = Arc::new(stream.clone_htod(&input.topk_idx).expect("a slice can be made"));
    let weights = Arc::new(stream.clone_htod(&input.topk_weights).expect("a slice can be made"));
    let x_tensor = tensor(rank, Arc::clone(&x), &[tokens, HIDDEN]).expect("the slice fits");
    let idx_tensor = tensor(rank, Arc::clone(&idx), &[tokens, TOPK]).expect("the slice fits");
    let weights_tensor = tensor(rank, Arc::clone(&weights), &[tokens, TOPK]).expect("the slice fits");
    let dispatch = Dispatch::new(&x_tensor, &idx_tensor).weights(&weights_tensor);
    drop((x_tensor, idx_tensor, weights_tensor));
    assert!(Arc::strong_count(&x) > 1, "the operation holds the slice");
    let rows = rank.dispatch(dispatch).and_then(|mut rows| rows.wait(WAIT)).expect("dispatch ends well");
    let x = Arc::into_inner(x).expect("the operation is over");
    assert_eq!(beside.clone_dtoh(&x).expect("a slice can be copied"), input.x, "it was only read");

    let arrived = Borrowed::<u16>::new(rank, &rows.x, stream).expect("the tensor can be read");
    assert_eq!(
        bytes_of(&stream.clone_dtoh(&*arrived).expect("a slice can be copied")),
        wanted.x,
        "rows at rank {number}"
    );
    // In another stream, in which cudarc's event tracking orders it.
    let copy = beside.clone_dtoh(&*arrived).expect("a slice can be copied");
    assert_eq!(bytes_of(&copy), wanted.x, "rows at rank {number}, in another stream");
    let experts = Borrowed::<i32>::new(rank, &rows.topk_idx, stream).expect("the tensor can be read");
    assert_eq!(stream.clone_dtoh(&*experts).expect("a slice can be copied"), wanted.topk_idx);
    let came = rows.topk_weights.as_ref().expect("the dispatch carried weights");
    let came = Borrowed::<f32>::new(rank, came, stream).expect("the tensor can be read");
    assert_eq!(stream.clone_dtoh(&*came).expect("a slice can be copied"), wanted.topk_weights);
    drop((arrived, experts, came));

    let results: Arc<CudaSlice<u16>> =
        Arc::new(beside.clone_htod(&round.results[number]).expect("a slice can be made"));
    let given = tensor(rank, Arc::clone(&results), &[rows.rows, HIDDEN]).expect("the slice fits");
    let combine = Combine::new(&given, &rows.handle);
    drop(given);
    let sums = rank.combine(combine).and_then(|mut sums| sums.wait(WAIT)).expect("combine ends well");
    let sums = Borrowed::<u16>::new(rank, &sums.x, stream).expect("the tensor can be read");
    assert_eq!(stream.clone_dtoh(&*sums).expect("a slice can be copied"), round.combined[number], "sums at {number}");

    let results = Arc::into_inner(results).expect("no operation uses it any more");
    assert_eq!(beside.clone_dtoh(&results).expect("a slice can be copied"), round.results[number], "it was only read");
    vec![Box::new(x), Box::new(idx), Box::new(weights), Box::new(results)]
}

/// Runs a round on all ranks, each in a thread of its own.
fn play_all(ranks: &mut [Communicator], streams: &[Arc<CudaStream>], round: &Round) {
    let used: Vec<Used> = std::thread::scope(|scope| {
        let threads: Vec<_> = ranks
            .iter_mut()
            .zip(streams)
            .map(|(rank, stream)| scope.spawn(move || play(rank, stream, round)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("the rank goes to its end")).collect()
    });
    drop(used);
}

/// Method: two ranks share a GPU, each in a stream of cudarc's; three rounds against the reference.
#[test]
fn a_world_in_the_streams_of_a_program() {
    let Some(context) = context() else { return };
    let streams = streams(&context, RANKS);
    let mut ranks = connect(&config(RANKS), &devices(&streams).expect("the streams fit")).expect("the world is made");
    for seed in 1..=3 {
        play_all(&mut ranks, &streams, &Round::new(RANKS, seed));
    }
    close(ranks).expect("the world is closed");
    assert!(context.check_err().is_ok(), "cudarc saw no error");
    done("slices::a_world_in_the_streams_of_a_program");
}

/// Method: the program lets go of all its handles while a communicator lives; it goes on, and then all is let go.
#[test]
fn contexts_and_streams_live_as_long_as_they_are_used() {
    let Some(context) = context() else { return };
    let streams = streams(&context, RANKS);
    let weak_context = Arc::downgrade(&context);
    let weak_streams: Vec<_> = streams.iter().map(Arc::downgrade).collect();
    let made = devices(&streams).expect("the streams fit");
    let mut ranks = connect(&config(RANKS), &made).expect("the world is made");
    drop((context, streams, made));
    assert!(weak_context.upgrade().is_some(), "the communicators hold the context");
    assert!(weak_streams.iter().all(|stream| stream.upgrade().is_some()), "the communicators hold the streams");
    let streams: Vec<_> = weak_streams.iter().map(|stream| stream.upgrade().expect("it is held")).collect();
    play_all(&mut ranks, &streams, &Round::new(RANKS, 4));
    drop(streams);
    close(ranks).expect("the world is closed");
    assert!(weak_streams.iter().all(|stream| stream.upgrade().is_none()), "the streams are let go");
    assert!(weak_context.upgrade().is_none(), "the context is let go");
    done("slices::contexts_and_streams_live_as_long_as_they_are_used");
}

/// Method: a long row of copies stands in another stream before the one that writes the input; the output shows whether
/// the operation waited. Both ways in: by the slice, and by the whole stream.
#[test]
fn slices_written_on_other_streams_come_whole() {
    let Some(context) = context() else { return };
    let stream = streams(&context, 1).remove(0);
    let devices = devices(std::slice::from_ref(&stream)).expect("the stream fits");
    let mut ranks = connect(&config(1), &devices).expect("the world is made");
    let rank = &mut ranks[0];
    let round = Round::new(1, 5);
    let (input, tokens) = (&round.inputs[0], round.inputs[0].topk_idx.len() / TOPK);
    let topk_idx = stream.clone_htod(&input.topk_idx).expect("a slice can be made");
    let topk_idx = tensor(rank, topk_idx, &[tokens, TOPK]).expect("the slice fits");
    for by_stream in [false, true] {
        let busy = context.new_stream().expect("a stream can be made");
        let long = busy.alloc_zeros::<u16>(8 << 20).expect("a slice can be made");
        let source = busy.clone_htod(&input.x).expect("a slice can be made");
        let mut x = stream.alloc_zeros::<u16>(input.x.len()).expect("a slice can be made");
        let x_tensor = if by_stream {
            let first =
                tensor(rank, stream.clone_htod(&input.x).expect("a slice"), &[tokens, HIDDEN]).expect("it fits");
            wait_for(rank, &busy).expect("the stream is of this context");
            first
        } else {
            let copies: Vec<_> = (0..4).map(|_| busy.clone_dtod(&long).expect("a slice can be copied")).collect();
            busy.memcpy_dtod(&source, &mut x).expect("a slice can be copied");
            let given = tensor(rank, x, &[tokens, HIDDEN]).expect("the slice fits");
            drop(copies);
            given
        };
        let dispatched = rank.dispatch(Dispatch::new(&x_tensor, &topk_idx)).and_then(|mut rows| rows.wait(WAIT));
        let dispatched = dispatched.expect("dispatch ends well");
        release_to(rank, &busy).expect("the stream is of this context");
        let found: Vec<bf16> = dispatched.x.to_vec().expect("the rows can be read");
        let found: Vec<u16> = found.into_iter().map(bf16::to_bits).collect();
        assert_eq!(bytes_of(&found), round.dispatched[0].x, "by stream: {by_stream}");
    }
    close(ranks).expect("the world is closed");
    done("slices::slices_written_on_other_streams_come_whole");
}

/// Method: a tensor goes while a stream still reads it; new tensors of the same size, which would get its memory, are
/// written meanwhile; the copy shows the old contents.
#[test]
fn a_borrowed_tensor_outlives_its_tensor() {
    let Some(context) = context() else { return };
    let stream = streams(&context, 1).remove(0);
    let devices = devices(std::slice::from_ref(&stream)).expect("the stream fits");
    let ranks = connect(&config(1), &devices).expect("the world is made");
    let rank = &ranks[0];
    let length = 1 << 16;
    let reader = context.new_stream().expect("a stream can be made");
    let long = reader.alloc_zeros::<u16>(8 << 20).expect("a slice can be made");
    let mut copy = reader.alloc_zeros::<i32>(length).expect("a slice can be made");
    let old = rank.tensor(&vec![7_i32; length], &[length]).expect("a tensor can be made");
    let borrowed = Borrowed::<i32>::new(rank, &old, &reader).expect("the tensor can be read");
    let copies: Vec<_> = (0..4).map(|_| reader.clone_dtod(&long).expect("a slice can be copied")).collect();
    reader.memcpy_dtod(&*borrowed, &mut copy).expect("a slice can be copied");
    drop((borrowed, old));
    for value in 0..4 {
        rank.tensor(&vec![value; length], &[length]).expect("a tensor can be made");
    }
    let copy = reader.clone_dtoh(&copy).expect("a slice can be copied");
    assert!(copy.iter().all(|&value| value == 7), "the memory was used again while it was read");
    drop(copies);
    close(ranks).expect("the world is closed");
    done("slices::a_borrowed_tensor_outlives_its_tensor");
}
