//! Events before and behind operations: order between streams that no host waits for.
//!
//! Method: a kernel of the test waits for a word of the host's, and so holds its stream and all that waits for that.

use std::time::Duration;

use warpferry::driver::trace::Trace;
use warpferry::driver::{StreamPriority, Wait};
use warpferry::{Combine, Communicator, Dispatch, Error};

use crate::case::{Case, Link};
use crate::gate::Gate;
use crate::play::{self, Call, Stop, PATIENCE};
use crate::traced::Traced;

/// Long beside an operation of the case.
const WHILE: Duration = Duration::from_millis(20);

/// Runs `act` as every rank of a small world, with the trace of its driver.
fn ranks(fabric: Link, act: impl Fn(&mut Communicator, &Case, &Call, &Trace) -> Result<(), Stop> + Sync) {
    let (nodes, gpus) = if fabric == Link::Mlx5 { (2, 1) } else { (1, 2) };
    let case = Case { nodes, gpus, fabric, experts_per_rank: 4, tokens: vec![12], ..Case::default() };
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let call = Call::new(&case, config.topology, config.shape, 0).unwrap_or_else(|error| panic!("{error}"));
    Traced::new(&case).run(&case, |rank, trace| act(rank, &case, &call, trace));
}

/// Method: the outputs are filled in the communicator's stream before, and read through another stream while the gate is
/// shut: no kernel of the operation has begun.
#[test]
fn an_operation_behind_an_event_does_not_begin_before_it() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        ranks(fabric, |rank, case, call, _| {
            let driver = rank.driver().clone();
            let rows = call.dispatched[rank.rank() as usize].source.len();
            let warm = play::dispatch(rank, case, call)?;
            let gate = Gate::shut(&*driver)?;
            let x = rank.tensor(&vec![half::bf16::ONE; rows * 64], &[rows, 64])?;
            let mut combined = rank.combine(Combine::new(&x, &warm.handle).after(gate.event).timeout(play::TIMEOUT))?;
            let waited = combined.wait(WHILE).map(drop);
            assert!(matches!(waited, Err(Error::WaitTimeout { .. })), "{waited:?}");
            assert!(!driver.is_idle(rank.stream())? && !combined.is_done()?);
            gate.open(&*driver)?;
            combined.wait(PATIENCE)?;

            let topk_idx = rank.tensor(&call.inputs[rank.rank() as usize].topk_idx, &[12, 3])?;
            let x = rank.tensor(&vec![half::bf16::ZERO; 12 * 64], &[12, 64])?;
            let input = &call.inputs[rank.rank() as usize].x;
            let gate = Gate::shut(&*driver)?;
            // What the other stream writes behind the gate is what is sent.
            let given = rank.tensor_of_bytes(x.dtype(), input, &[12, 64])?;
            rank.release_to(gate.stream)?;
            driver.copy_within(x.ptr(), given.ptr(), x.bytes(), gate.stream)?;
            let written = driver.create_event()?;
            driver.record_event(written, gate.stream)?;
            let op = Dispatch::new(&x, &topk_idx).bound(rows.max(1)).after(gate.event).after(written);
            let mut behind = rank.dispatch(op.timeout(play::TIMEOUT))?;
            assert!(matches!(behind.wait(WHILE).map(drop), Err(Error::WaitTimeout { .. })));
            gate.open(&*driver)?;
            let got = behind.wait(PATIENCE)?;
            let want = &call.dispatched[rank.rank() as usize];
            assert_eq!(got.x.narrow(0..got.rows)?.to_bytes()?, want.x);
            Ok(())
        });
    }
}

/// Method: the caller's stream copies the results behind the operation's event; nothing waits before all is launched.
#[test]
fn a_stream_that_waits_for_an_operations_event_sees_its_results() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        for by_event in [true, false] {
            ranks(fabric, |rank, case, call, trace| {
                let driver = rank.driver().clone();
                let want = &call.dispatched[rank.rank() as usize];
                let rows = want.source.len().max(1);
                let other = driver.create_stream(StreamPriority::NORMAL)?;
                let saved = rank.empty(warpferry::DType::Bf16, &[rows, 64])?;
                trace.clear();
                let mut pending = play::begin_bounded(rank, case, call, rows)?;
                match by_event {
                    true => driver.stream_wait_event(other, pending.event()?)?,
                    false => pending.release_to(other)?,
                }
                let results = pending.results().ok_or_else(|| Stop::Wrong("no results".to_string()))?;
                driver.copy_within(saved.ptr(), results.x.ptr(), saved.bytes(), other)?;
                let names = trace.names();
                let waits = ["synchronize", "synchronize_event", "wait_word", "copy_from_device", "is_idle"];
                assert!(!names.iter().any(|name| waits.contains(name)), "{names:?}");
                let mut back = vec![0; want.x.len()];
                driver.copy_from_device(&mut back, saved.ptr(), other)?;
                assert!(back == want.x, "the other stream saw something else");
                pending.wait(PATIENCE)?;
                assert!(pending.results().is_none());
                assert!(matches!(pending.event(), Err(Error::Argument { .. })));
                pending.release_to(other)?;
                Ok(())
            });
        }
    }
}

/// A graph whose step forks: while the dispatch runs, another stream works for the combine, which waits for it.
#[test]
fn events_order_streams_within_a_graph() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        ranks(fabric, |rank, case, call, _| {
            let driver = rank.driver().clone();
            let (at, want) = (rank.rank() as usize, &call.combined[rank.rank() as usize]);
            let rows = call.dispatched[at].source.len().max(1);
            let x = rank.tensor_of_bytes(warpferry::DType::Bf16, &call.inputs[at].x, &[12, 64])?;
            let topk_idx = rank.tensor(&call.inputs[at].topk_idx, &[12, 3])?;
            let made = rank.tensor_of_bytes(warpferry::DType::Bf16, &call.results[at].x, &[rows, 64])?;
            let back = rank.empty(warpferry::DType::Bf16, &[rows, 64])?;
            let back_at = back.ptr();
            let side = driver.create_stream(StreamPriority::NORMAL)?;
            let (fork, join) = (driver.create_event()?, driver.create_event()?);
            let mut step = rank.step();
            step.keep(&made);
            let (from, bytes) = (made.ptr(), made.bytes());
            step.work(move |driver, stream| {
                driver.record_event(fork, stream)?;
                driver.stream_wait_event(side, fork)?;
                driver.copy_within(back_at, from, bytes, side)?;
                driver.record_event(join, side)
            });
            // The step keeps it.
            drop(made);
            let sent = step.dispatch(Dispatch::new(&x, &topk_idx).bound(rows).timeout(play::TIMEOUT))?;
            let sums = step.combine(Combine::new(&back, &sent.handle).after(join).timeout(play::TIMEOUT))?;
            let graph = rank.capture(step)?;
            for _ in 0..3 {
                driver.fill(back.ptr(), 0, back.bytes(), rank.stream())?;
                rank.replay(&graph)?.wait(PATIENCE)?;
                assert!(sums.x.to_bytes()? == want.x, "case {case}");
            }
            // The events are of the graph: nobody else comes to them.
            assert!(driver.is_reached(join).is_err());
            Ok(())
        });
    }
}

/// An event of the caller's before a whole replay.
#[test]
fn a_replay_waits_for_what_the_communicator_waits_for() {
    ranks(Link::Loopback, |rank, _, call, _| {
        let driver = rank.driver().clone();
        let at = rank.rank() as usize;
        let rows = call.dispatched[at].source.len().max(1);
        let x = rank.tensor_of_bytes(warpferry::DType::Bf16, &call.inputs[at].x, &[12, 64])?;
        let topk_idx = rank.tensor(&call.inputs[at].topk_idx, &[12, 3])?;
        let mut step = rank.step();
        let sent = step.dispatch(Dispatch::new(&x, &topk_idx).bound(rows).timeout(play::TIMEOUT))?;
        let graph = rank.capture(step)?;
        let gate = Gate::shut(&*driver)?;
        rank.wait_for_event(gate.event)?;
        let mut replay = rank.replay(&graph)?;
        assert!(matches!(replay.wait(WHILE), Err(Error::WaitTimeout { op: "replay", .. })));
        gate.open(&*driver)?;
        let other = driver.create_stream(StreamPriority::NORMAL)?;
        replay.release_to(other)?;
        assert_eq!(driver.synchronize(other, PATIENCE)?, Wait::Done);
        assert!(replay.is_done()?);
        let rows = replay.wait(PATIENCE)?.dispatches.remove(0).rows;
        assert_eq!(sent.x.narrow(0..rows)?.to_bytes()?, call.dispatched[at].x);
        Ok(())
    });
}
