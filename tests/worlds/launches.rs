//! Nothing is taken inside a launch: between the first and the last thing that a call puts into its stream, the driver is
//! asked for no memory, no event and no code.
//!
//! Method: each rank's driver writes its calls down, in the order in which they are made.

use warpferry::driver::trace::Trace;
use warpferry::{Combine, Dispatch};

use crate::case::{Case, Ordered};
use crate::play::{self, Call, PATIENCE};
use crate::traced::Traced;

/// Work that a call puts into its stream.
const WORK: [&str; 7] =
    ["launch", "launch_graph", "fill", "copy_to_host", "copy_within", "copy_to_device", "record_event"];
/// What must not come between.
const TAKES: [&str; 13] = [
    "alloc",
    "free",
    "alloc_host",
    "free_host",
    "reserve",
    "create_event",
    "destroy_event",
    "create_stream",
    "destroy_stream",
    "load",
    "import_window",
    "release_window",
    "write_host",
];

/// What was taken between the first and the last work of a call.
fn taken(trace: &Trace) -> Vec<&'static str> {
    let names = trace.names();
    trace.clear();
    let first = names.iter().position(|name| WORK.contains(name)).expect("the call puts work into its stream");
    let last = names.iter().rposition(|name| WORK.contains(name)).expect("as above");
    names[first..last].iter().copied().filter(|name| TAKES.contains(name)).collect()
}

#[test]
fn nothing_is_taken_inside_a_launch() {
    for layout in [Ordered::Source, Ordered::Expert(4)] {
        let case = Case { layout, tokens: vec![14], calls: 2, ..Case::default() };
        let config = case.config().unwrap_or_else(|error| panic!("{error}"));
        let calls: Vec<Call> = (0..case.calls)
            .map(|number| Call::new(&case, config.topology, config.shape, number))
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{error}"));
        Traced::new(&case).run(&case, |rank, trace| {
            // Twice: with status blocks and events that are new, and with old ones.
            for call in &calls {
                let rows = call.dispatched[rank.rank() as usize].source.len().max(1);
                let none: [&str; 0] = [];
                trace.clear();
                let mut bounded = play::begin_bounded(rank, &case, call, rows)?;
                // The inputs were written before: only what begins with the handle's fill is the call's.
                assert_eq!(taken_behind_inputs(trace), none, "with a bound");
                let mut bounded = play::verify(rank, &case, call, bounded.wait(PATIENCE)?)?;
                let tokens = case.tokens[0] as usize;
                let x = rank.empty(bounded.x.dtype(), &[tokens, case.hidden as usize])?;
                let topk_idx =
                    rank.tensor(&call.inputs[rank.rank() as usize].topk_idx, &[tokens, case.topk as usize])?;
                rank.driver().fill(x.ptr(), 0, x.bytes(), rank.stream())?;

                trace.clear();
                let op = Dispatch::new(&x, &topk_idx).cached(&bounded.handle).timeout(play::TIMEOUT);
                let mut cached = rank.dispatch(op)?;
                assert_eq!(taken(trace), none, "with a cached handle");
                bounded.x = cached.wait(PATIENCE)?.x;

                trace.clear();
                let mut combined = rank.combine(Combine::new(&bounded.x, &bounded.handle).timeout(play::TIMEOUT))?;
                assert_eq!(taken(trace), none, "combine");
                combined.wait(PATIENCE)?;

                let mut step = rank.step();
                let op = Dispatch::new(&x, &topk_idx).bound(rows).timeout(play::TIMEOUT);
                let inside = step.dispatch(op)?;
                step.combine(Combine::new(&inside.x, &inside.handle).timeout(play::TIMEOUT))?;
                trace.clear();
                let graph = rank.capture(step)?;
                assert_eq!(taken(trace), none, "capture");
                let mut first = rank.replay(&graph)?;
                assert_eq!(taken(trace), none, "replay");
                first.wait(PATIENCE)?;

                // Without a bound: its outputs, when the counts are there; from what was reserved.
                trace.clear();
                let mut counted = rank.dispatch(Dispatch::new(&x, &topk_idx).timeout(play::TIMEOUT))?;
                let names = trace.names();
                let counts = names.iter().position(|&name| name == "wait_word").expect("it waits for its counts");
                let pairs = usize::from(layout != Ordered::Source);
                assert_eq!(taken(trace), vec!["alloc"; 3 + pairs], "without a bound");
                let early = names[..counts].iter().rposition(|name| TAKES.contains(name));
                let work = names.iter().position(|name| WORK.contains(name));
                assert!(early < work, "what is taken before the counts is taken before the launches: {names:?}");
                counted.wait(PATIENCE)?;
            }
            Ok(())
        });
    }
}

/// The same for a call whose inputs were written by the same trace.
fn taken_behind_inputs(trace: &Trace) -> Vec<&'static str> {
    let names = trace.names();
    trace.clear();
    let first = names.iter().position(|&name| name == "fill").expect("a dispatch clears the head of its handle");
    let last = names.iter().rposition(|name| WORK.contains(name)).expect("there is the fill");
    names[first..last].iter().copied().filter(|name| TAKES.contains(name)).collect()
}
