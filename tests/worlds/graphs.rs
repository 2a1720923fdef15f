//! Steps that are captured once and replayed: what replays give, with inputs that change between them.
//!
//! Method: a step is a dispatch with a bound and its combine. Before each replay the inputs of another call are written
//! into the tensors that were captured; what comes out is compared with the reference bit by bit.

use std::sync::Mutex;

use warpferry::graph::DispatchedRows;
use warpferry::{Combine, Combined, Communicator, Dispatch, Dispatched, Error, Graph, Replayed, Tensor, World};

use crate::case::{Case, Link, Ordered};
use crate::play::{self, all_well, Call, Stop, PATIENCE};
use crate::traced::Traced;

/// Both fabrics with both orders of rows, across nodes and within one; by source through rings and straight to their places.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for fabric in [Link::Mlx5, Link::Loopback] {
        for layout in [Ordered::Source, Ordered::Expert(4)] {
            for (nodes, gpus) in [(2, 2), (1, 3)] {
                let case = Case { nodes, gpus, fabric, layout, tokens: vec![14], calls: 4, ..Case::default() };
                let case = Case { weights_back: true, ..case };
                if layout == Ordered::Source {
                    cases.push(Case { landing: 512, ..case.clone() });
                }
                cases.push(case);
            }
        }
    }
    cases
}

fn calls(case: &Case) -> Vec<Call> {
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let calls = (0..case.calls).map(|number| Call::new(case, config.topology, config.shape, number));
    calls.collect::<Result<Vec<Call>, _>>().unwrap_or_else(|error| panic!("{error}"))
}

/// A captured step of one rank with its tensors.
struct Captured {
    graph: Graph,
    x: Tensor,
    topk_idx: Tensor,
    weights: Tensor,
    rows: Dispatched,
    back: Tensor,
    back_weights: Tensor,
    sums: Combined,
}

/// Most rows that come to a rank in one of the calls.
fn most_rows(calls: &[Call], rank: u32) -> usize {
    calls.iter().map(|call| call.dispatched[rank as usize].source.len()).max().unwrap_or(0)
}

/// Captures a step with room for `bound` rows; its inputs hold nothing of use yet.
fn capture(rank: &mut Communicator, case: &Case, bound: usize) -> Result<Captured, Stop> {
    captured_with(rank, case, bound, |rank, step| rank.capture(step))
}

/// The same, captured by `act`.
fn captured_with(
    rank: &mut Communicator,
    case: &Case,
    bound: usize,
    act: impl FnOnce(&mut Communicator, warpferry::Step<'_>) -> warpferry::Result<Graph>,
) -> Result<Captured, Stop> {
    let (tokens, hidden, topk) = (case.tokens[0] as usize, case.hidden as usize, case.topk as usize);
    let x = rank.tensor_of_bytes(case.payload.payload().given(), &vec![0; tokens * hidden * 2], &[tokens, hidden])?;
    let topk_idx = rank.tensor(&vec![0i32; tokens * topk], &[tokens, topk])?;
    let weights = rank.tensor(&vec![0f32; tokens * topk], &[tokens, topk])?;
    let back = rank.tensor_of_bytes(case.sum.sum().dtype(), &vec![0; bound * hidden * 2], &[bound, hidden])?;
    let back_weights = rank.tensor(&vec![0f32; bound * case.choices()], &[bound, case.choices()])?;
    let mut step = rank.step();
    let op = Dispatch::new(&x, &topk_idx).weights(&weights).bound(bound).timeout(play::TIMEOUT);
    let rows = step.dispatch(op)?;
    let sums = step.combine(Combine::new(&back, &rows.handle).weights(&back_weights).timeout(play::TIMEOUT))?;
    let graph = act(rank, step)?;
    Ok(Captured { graph, x, topk_idx, weights, rows, back, back_weights, sums })
}

impl Captured {
    /// New inputs, behind the replays so far.
    fn write(&self, rank: &Communicator, call: &Call) -> Result<(), Stop> {
        let at = rank.rank() as usize;
        let (input, results) = (&call.inputs[at], &call.results[at]);
        self.graph.write_bytes(&self.x, &input.x)?;
        self.graph.write(&self.topk_idx, &input.topk_idx)?;
        self.graph.write(&self.weights, &input.topk_weights)?;
        let mut back = results.x.clone();
        back.resize(self.back.bytes() as usize, 0xff);
        self.graph.write_bytes(&self.back, &back)?;
        let mut weights = results.topk_weights.clone();
        weights.resize(self.back_weights.bytes() as usize / 4, f32::NAN);
        self.graph.write(&self.back_weights, &weights)?;
        Ok(())
    }

    /// The results of the latest replay, with the numbers it gave.
    fn dispatched(&self, rows: &DispatchedRows) -> Dispatched {
        Dispatched {
            rows: rows.rows,
            expert_counts: rows.expert_counts.clone(),
            expert_offsets: rows.expert_offsets.clone(),
            ..self.rows.clone()
        }
    }
}

/// The numbers of the only dispatch.
fn only(replayed: Replayed) -> Result<DispatchedRows, Stop> {
    let [rows] = &replayed.dispatches[..] else { return Err(Stop::Wrong(format!("{replayed:?}"))) };
    Ok(rows.clone())
}

/// Ranks of a world, each with its step.
struct Steps {
    world: World,
    calls: Vec<Call>,
    steps: Vec<Mutex<Captured>>,
}

/// Captures everywhere before anything is replayed. `less`: so many rows less than would do, by rank.
fn steps(case: &Case, mut world: World, less: impl Fn(u32) -> usize + Sync) -> Steps {
    let calls = calls(case);
    let captured = world.run(|rank| {
        let bound = most_rows(&calls, rank.rank()) - less(rank.rank());
        capture(rank, case, bound.max(1))
    });
    let steps = all_well(case, captured).into_iter().map(Mutex::new).collect();
    Steps { world, calls, steps }
}

fn emulated(case: &Case) -> World {
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    World::emulated(config).unwrap_or_else(|error| panic!("{error}"))
}

/// Replays one call after the other, each compared before the next.
fn replay_and_compare(case: &Case, world: World) {
    let Steps { mut world, calls, steps } = steps(case, world, |_| 0);
    let outcomes = world.run(|rank| {
        let step = steps[rank.rank() as usize].lock().expect("no rank panics");
        for call in &calls {
            step.write(rank, call)?;
            let rows = only(rank.replay(&step.graph)?.wait(PATIENCE)?)?;
            play::verify(rank, case, call, step.dispatched(&rows))?;
            play::verify_combined(rank, call, &step.sums)?;
        }
        // Calls of the usual kind go on beside it, with the handle of the last replay too.
        play::combine(rank, case, &calls[calls.len() - 1], &step.rows.handle)?;
        play::round(rank, case, &calls[0])
    });
    all_well(case, outcomes);
    drop(steps);
    world.close().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn replays_give_what_calls_give() {
    for case in cases() {
        replay_and_compare(&case, emulated(&case));
    }
}

#[test]
fn replays_have_no_races() {
    for case in cases().into_iter().step_by(2) {
        let case = Case { races: true, calls: 2, schedule: Some(5), ..case };
        replay_and_compare(&case, emulated(&case));
    }
}

/// Calls that wait for the GPU.
const WAITS: [&str; 5] = ["synchronize", "synchronize_event", "is_idle", "wait_word", "copy_from_device"];

/// Method: every replay's results are copied elsewhere in the stream, and compared when all are over. The driver's trace
/// has no wait between the first write and the last copy, and no launch but that of graphs.
#[test]
fn many_replays_in_a_row_wait_for_nothing() {
    for case in cases() {
        let case = Case { calls: 6, ..case };
        let calls = calls(&case);
        Traced::new(&case).run(&case, |rank, trace| {
            let step = capture(rank, &case, most_rows(&calls, rank.rank()))?;
            let like = |tensor: &Tensor| rank.empty(tensor.dtype(), tensor.shape());
            let saved = calls.iter().map(|_| Ok((like(&step.rows.x)?, like(&step.rows.source)?, like(&step.sums.x)?)));
            let saved = saved.collect::<warpferry::Result<Vec<_>>>()?;
            trace.clear();
            let mut pending = Vec::new();
            for (call, (x, source, sums)) in calls.iter().zip(&saved) {
                step.write(rank, call)?;
                pending.push(rank.replay(&step.graph)?);
                for (to, from) in [(x, &step.rows.x), (source, &step.rows.source), (sums, &step.sums.x)] {
                    rank.driver().copy_within(to.ptr(), from.ptr(), from.bytes(), rank.stream())?;
                }
            }
            let names = trace.names();
            assert!(!names.iter().any(|name| WAITS.contains(name) || *name == "launch"), "{names:?}");
            assert_eq!(names.iter().filter(|&&name| name == "launch_graph").count(), calls.len());
            for ((call, mut replay), (x, source, sums)) in calls.iter().zip(pending).zip(&saved) {
                let rows = only(replay.wait(PATIENCE)?)?;
                let want = &call.dispatched[rank.rank() as usize];
                assert_eq!(rows.rows, want.source.len());
                assert_eq!(rows.expert_counts, want.expert_counts);
                assert_eq!(rows.expert_offsets, want.expert_offsets);
                assert_eq!(x.narrow(0..rows.rows)?.to_bytes()?, want.x, "rows of call {}", call.number);
                let sources = source.narrow(0..rows.rows)?.to_vec::<i32>()?;
                let expected: Vec<i32> =
                    want.source.iter().flat_map(|row| [row.rank as i32, row.token as i32]).collect();
                assert_eq!(sources, expected);
                assert_eq!(sums.to_bytes()?, call.combined[rank.rank() as usize].x, "sums of call {}", call.number);
            }
            Ok(())
        });
    }
}

/// One rank has room for all rows but one of its fullest call: that replay says so, on that rank alone, and the others are
/// right.
#[test]
fn a_replay_that_overflows_says_so_and_the_next_goes_on() {
    const SHORT: u32 = 1;
    for case in cases() {
        let Steps { mut world, calls, steps } = steps(&case, emulated(&case), |rank| usize::from(rank == SHORT));
        let bound = most_rows(&calls, SHORT) - 1;
        let rows_of = |call: &Call| call.dispatched[SHORT as usize].source.len();
        assert!(calls.iter().any(|call| rows_of(call) <= bound), "some replay fits");
        let outcomes = world.run(|rank| {
            let step = steps[rank.rank() as usize].lock().expect("no rank panics");
            for call in calls.iter().chain(&calls) {
                step.write(rank, call)?;
                let mut replay = rank.replay(&step.graph)?;
                let overflows = rows_of(call) > bound;
                match replay.wait(PATIENCE) {
                    Ok(rows) if !overflows || rank.rank() != SHORT => {
                        play::verify(rank, &case, call, step.dispatched(&only(rows)?))?;
                    }
                    // Also where the only row without room is one of zeros.
                    Err(Error::Overflow { op: "dispatch", rank: SHORT, need, have }) if overflows => {
                        assert_eq!((need, have), (bound as u64 + 1, bound as u64));
                        let fits = replay.take_what_fits().ok_or_else(|| Stop::Wrong("nothing fits".into()))?;
                        let fits = only(fits)?;
                        assert_eq!(fits.rows, bound);
                        assert_eq!(fits.expert_counts, call.dispatched[SHORT as usize].expert_counts);
                    }
                    other => return Err(Stop::Wrong(format!("{other:?}"))),
                }
                // Sums of tokens whose row was dropped are of no use.
                if !overflows {
                    play::verify_combined(rank, call, &step.sums)?;
                }
            }
            Ok(())
        });
        all_well(&case, outcomes);
        drop(steps);
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A step as of a backward pass: dispatch, combine, then a dispatch by the routing of the first and its combine.
#[test]
fn a_cached_dispatch_within_a_graph_takes_the_routing_of_each_replay() {
    let case = Case { tokens: vec![11], calls: 3, weights: vec![false], ..Case::default() };
    let calls = calls(&case);
    let mut world = emulated(&case);
    let outcomes = world.run(|rank| {
        let (at, hidden, topk) = (rank.rank() as usize, case.hidden as usize, case.topk as usize);
        let bound = most_rows(&calls, rank.rank());
        let x = rank.tensor_of_bytes(warpferry::DType::Bf16, &vec![0; 11 * hidden * 2], &[11, hidden])?;
        let topk_idx = rank.tensor(&vec![-1i32; 11 * topk], &[11, topk])?;
        let mut step = rank.step();
        let first = step.dispatch(Dispatch::new(&x, &topk_idx).bound(bound).timeout(play::TIMEOUT))?;
        step.combine(Combine::new(&first.x, &first.handle).timeout(play::TIMEOUT))?;
        let again = step.dispatch(Dispatch::new(&x, &topk_idx).cached(&first.handle).timeout(play::TIMEOUT))?;
        let graph = rank.capture(step)?;
        for call in &calls {
            graph.write_bytes(&x, &call.inputs[at].x)?;
            graph.write(&topk_idx, &call.inputs[at].topk_idx)?;
            let replayed = rank.replay(&graph)?.wait(PATIENCE)?;
            let want = &call.dispatched[at];
            let [one, other] = &replayed.dispatches[..] else { return Err(Stop::Wrong(format!("{replayed:?}"))) };
            assert_eq!((one.rows, one), (want.source.len(), other));
            assert_eq!(first.x.narrow(0..one.rows)?.to_bytes()?, want.x);
            assert_eq!(again.x.narrow(0..one.rows)?.to_bytes()?, want.x);
        }
        Ok(())
    });
    all_well(&case, outcomes);
    world.close().unwrap_or_else(|error| panic!("{error}"));
}

/// Two ranks replay, the others do not: the replay ends by its deadline, and the communicator with it.
#[test]
fn a_replay_that_fails_breaks_the_communicator() {
    let case = Case { tokens: vec![14], ..Case::default() };
    let Steps { mut world, calls, steps } = steps(&case, emulated(&case), |_| 0);
    let outcomes = world.run(|rank| {
        if rank.rank() > 1 {
            return Ok(());
        }
        let step = steps[rank.rank() as usize].lock().expect("no rank panics");
        step.write(rank, &calls[0])?;
        let (mut first, mut second) = (rank.replay(&step.graph)?, rank.replay(&step.graph)?);
        let ended = first.wait(PATIENCE);
        assert!(matches!(ended, Err(Error::Ended { op: "dispatch", .. })), "{ended:?}");
        let followed = second.wait(PATIENCE);
        assert!(matches!(followed, Err(Error::Broken { .. } | Error::Ended { .. })), "{followed:?}");
        let refused = rank.replay(&step.graph);
        assert!(matches!(refused, Err(Error::Broken { .. })), "{refused:?}");
        Ok(())
    });
    all_well(&case, outcomes);
}

/// What an argument error says of which argument.
fn argument<T: std::fmt::Debug>(outcome: warpferry::Result<T>) -> (String, String) {
    match outcome {
        Err(Error::Argument { argument, valid, .. }) => (argument, valid),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_a_graph_is_named() {
    let case =
        Case { nodes: 1, gpus: 1, experts_per_rank: 4, tokens: vec![4], fabric: Link::Loopback, ..Case::default() };
    let (mut world, mut other) = (emulated(&case), emulated(&case));
    let calls = calls(&case);
    let graph = other.run(|rank| capture(rank, &case, 4).map(|captured| captured.graph));
    let graph = all_well(&case, graph).remove(0);
    let foreign = &other.communicators()[0];
    let outcomes = world.run(|rank| {
        let x = rank.tensor(&[half::bf16::ONE; 64], &[1, 64])?;
        let topk_idx = rank.tensor(&[0i32; 3], &[1, 3])?;
        let (name, valid) = argument(rank.step().dispatch(Dispatch::new(&x, &topk_idx)));
        assert!(name == "bound" && valid.contains("does not wait"), "{name}: {valid}");
        assert_eq!(argument(rank.replay(&graph)).0, "graph");
        assert_eq!(argument(rank.capture(foreign.step())).0, "step");
        let own = capture(rank, &case, 12)?;
        assert_eq!(argument(own.graph.write(&x, &[half::bf16::ZERO; 64])).0, "tensor");
        assert_eq!(argument(own.graph.write(&own.x, &[half::bf16::ZERO; 3])).0, "values");
        // The caller captures the stream: what would be called then is refused and the capture goes on.
        rank.driver().begin_capture(rank.stream())?;
        let dispatch = rank.dispatch(Dispatch::new(&x, &topk_idx).bound(3)).map(drop);
        let replay = rank.replay(&own.graph).map(drop);
        let graph = rank.driver().end_capture(rank.stream())?;
        rank.driver().destroy_graph(graph)?;
        for refused in [dispatch, replay] {
            let (name, valid) = argument(refused);
            assert!(name == "stream" && valid.contains("Communicator::capture"), "{name}: {valid}");
        }
        play::round(rank, &case, &calls[0])
    });
    all_well(&case, outcomes);
    other.close().unwrap_or_else(|error| panic!("{error}"));
    drop(graph);
    world.close().unwrap_or_else(|error| panic!("{error}"));
}

/// Method: each call is made by the caller's work within a capture. It fails, the capture too, and nothing else: the next
/// capture and its replay go well.
#[test]
fn calls_that_have_no_place_in_a_graph_end_its_capture() {
    use warpferry::driver::Driver;
    use warpferry::driver::StreamId;
    use warpferry::mem::{DevicePtr, HostBlock};
    type Act = fn(&dyn Driver, StreamId, DevicePtr, &HostBlock) -> warpferry::Result<()>;
    let acts: [(&str, Act); 9] = [
        ("alloc", |driver, _, _, _| driver.alloc(8).map(drop)),
        ("alloc_host", |driver, _, _, _| driver.alloc_host(8).map(drop)),
        ("write_host", |driver, _, _, block| driver.write_host(block, 0, &[1])),
        ("synchronize", |driver, stream, _, _| driver.synchronize(stream, PATIENCE).map(drop)),
        ("is_idle", |driver, stream, _, _| driver.is_idle(stream).map(drop)),
        ("wait_word", |driver, stream, _, block| driver.wait_word(block, 0, 1, stream, PATIENCE).map(drop)),
        ("copy_to_device", |driver, stream, at, _| driver.copy_to_device(at, &[0; 8], stream)),
        ("copy_from_device", |driver, stream, at, _| driver.copy_from_device(&mut [0; 8], at, stream)),
        ("is_reached", |driver, stream, _, _| {
            let event = driver.create_event()?;
            driver.record_event(event, stream)?;
            driver.is_reached(event).map(drop)
        }),
    ];
    let case =
        Case { nodes: 1, gpus: 1, experts_per_rank: 4, tokens: vec![4], fabric: Link::Loopback, ..Case::default() };
    let (mut world, calls) = (emulated(&case), calls(&case));
    let outcomes = world.run(|rank| {
        let block = rank.driver().alloc_host(8)?;
        let memory = rank.tensor(&[0u8; 8], &[8])?;
        for (name, act) in acts {
            let mut step = rank.step();
            step.work(|driver, stream| act(&**driver, stream, memory.ptr(), &block));
            let refused = rank.capture(step);
            assert!(matches!(&refused, Err(Error::Driver { call, .. }) if *call == name), "{name}: {refused:?}");
            // Also when the work keeps the error to itself.
            let mut step = rank.step();
            step.work(|driver, stream| {
                assert!(act(&**driver, stream, memory.ptr(), &block).is_err(), "{name}");
                Ok(())
            });
            let refused = rank.capture(step);
            assert!(matches!(&refused, Err(Error::Driver { call: "end_capture", .. })), "{name}: {refused:?}");
        }
        let step = capture(rank, &case, most_rows(&calls, 0))?;
        step.write(rank, &calls[0])?;
        let rows = only(rank.replay(&step.graph)?.wait(PATIENCE)?)?;
        play::verify(rank, &case, &calls[0], step.dispatched(&rows))?;
        rank.driver().free_host(&block)?;
        Ok(())
    });
    all_well(&case, outcomes);
    world.close().unwrap_or_else(|error| panic!("{error}"));
}

/// Method: graph, tensors and replay are dropped as soon as it is launched; the trace tells when the memory goes.
#[test]
fn a_graph_that_is_dropped_stays_until_its_replay_has_ended() {
    let case =
        Case { nodes: 1, gpus: 1, experts_per_rank: 4, tokens: vec![4], fabric: Link::Loopback, ..Case::default() };
    let calls = calls(&case);
    Traced::new(&case).run(&case, |rank, trace| {
        let step = capture(rank, &case, most_rows(&calls, 0))?;
        step.write(rank, &calls[0])?;
        trace.clear();
        let replay = rank.replay(&step.graph)?;
        drop((step, replay));
        let gone = |names: Vec<&str>| names.iter().filter(|name| ["destroy_graph", "free"].contains(name)).count();
        assert_eq!(gone(trace.names()), 0, "{:?}", trace.names());
        // What comes next sees that the replay has ended.
        play::round(rank, &case, &calls[0])?;
        assert!(trace.names().contains(&"destroy_graph"));
        Ok(())
    });
}

#[cfg(feature = "cuda")]
mod device {
    use warpferry::driver::cuda::{use_all_hardware_queues, Gpu};

    use super::*;
    use crate::device::stand_in;
    use crate::skip::skipped;

    #[test]
    fn replays_on_a_gpu() {
        use_all_hardware_queues();
        let gpu = match Gpu::open(0) {
            Ok(gpu) => gpu,
            Err(error) => return skipped("graphs on cuda", error),
        };
        for case in cases() {
            let config = case.config().unwrap_or_else(|error| panic!("{error}"));
            let world = World::on_gpus(&config, std::slice::from_ref(&gpu)).unwrap_or_else(|error| panic!("{error}"));
            replay_and_compare(&case, world);
        }
        println!("replays verified");
    }

    #[test]
    fn replays_on_the_stand_in() {
        let Some((ended_well, said)) = stand_in("graphs::device::replays_on_a_gpu", &[]) else { return };
        assert!(ended_well && said.contains("replays verified"), "{said}");
    }
}

/// The caller captures the stream itself, with other work of its own in it, and launches what comes of that.
#[test]
fn steps_in_a_graph_of_the_callers() {
    for case in cases() {
        let case = Case { races: true, ..case };
        let calls = calls(&case);
        let mut world = emulated(&case);
        let captured = world.run(|rank| {
            let (driver, stream) = (std::sync::Arc::clone(rank.driver()), rank.stream());
            let copy = rank.empty(warpferry::DType::U8, &[64])?;
            let marks = rank.tensor(&[7u8; 64], &[64])?;
            let bound = most_rows(&calls, rank.rank()).max(1);
            let mut own = None;
            let step = captured_with(rank, &case, bound, |rank, step| {
                driver.begin_capture(stream)?;
                driver.copy_within(copy.ptr(), marks.ptr(), 64, stream)?;
                let graph = rank.enlist(step)?;
                own = Some(driver.end_capture(stream)?);
                Ok(graph)
            })?;
            let own = own.ok_or_else(|| Stop::Wrong("nothing was captured".to_string()))?;
            let refused = rank.replay(&step.graph).map(drop).expect_err("the caller launches it").to_string();
            assert!(refused.contains("argument `graph`") && refused.contains("Communicator::capture"), "{refused}");
            let refused = rank.enlist(rank.step()).map(drop).expect_err("nobody captures").to_string();
            assert!(refused.contains("argument `stream`"), "{refused}");
            Ok((Mutex::new(step), own, copy, marks))
        });
        let captured = all_well(&case, captured);
        let outcomes = world.run(|rank| {
            let (step, own, copy, _) = &captured[rank.rank() as usize];
            let step = step.lock().expect("no rank panics");
            for call in &calls {
                step.write(rank, call)?;
                rank.driver().launch_graph(*own, rank.stream())?;
                let rows = only(rank.replayed(&step.graph)?.wait(PATIENCE)?)?;
                play::verify(rank, &case, call, step.dispatched(&rows))?;
                play::verify_combined(rank, call, &step.sums)?;
                assert_eq!(copy.to_vec::<u8>()?, [7; 64]);
            }
            play::round(rank, &case, &calls[0])
        });
        all_well(&case, outcomes);
        let ended = world.run(|rank| {
            let (_, own, ..) = &captured[rank.rank() as usize];
            rank.driver().destroy_graph(*own).map_err(Stop::from)
        });
        all_well(&case, ended);
        drop(captured);
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A handle of a step holds nothing before the first replay: whatever goes along it before that is refused, and goes after it.
#[test]
fn handles_of_steps_that_were_not_replayed_are_refused() {
    let case = Case { tokens: vec![12], calls: 2, weights: vec![false], ..Case::default() };
    let calls = calls(&case);
    let mut world = emulated(&case);
    let outcomes = world.run(|rank| {
        let step = capture(rank, &case, 100)?;
        step.write(rank, &calls[0])?;
        let along = |rank: &mut Communicator| -> Vec<warpferry::Result<()>> {
            let cached = Dispatch::new(&step.x, &step.topk_idx).cached(&step.rows.handle).timeout(play::TIMEOUT);
            let dispatched = rank.dispatch(cached.clone()).and_then(|mut op| op.wait(PATIENCE)).map(drop);
            let combine = Combine::new(&step.back, &step.rows.handle).timeout(play::TIMEOUT);
            let combined = rank.combine(combine).and_then(|mut op| op.wait(PATIENCE)).map(drop);
            let mut other = rank.step();
            let replayed = other.dispatch(cached).and_then(|_| rank.capture(other));
            let replayed = replayed.and_then(|graph| rank.replay(&graph)?.wait(PATIENCE)).map(drop);
            vec![dispatched, combined, replayed]
        };
        for refused in along(rank) {
            let said = refused.expect_err("nothing was exchanged yet").to_string();
            assert!(said.contains("argument `handle` = of a step that was not replayed"), "{said}");
        }
        rank.replay(&step.graph)?.wait(PATIENCE)?;
        along(rank).into_iter().collect::<warpferry::Result<Vec<()>>>()?;
        play::round(rank, &case, &calls[1])
    });
    all_well(&case, outcomes);
    world.close().unwrap_or_else(|error| panic!("{error}"));
}

/// Whether rows landed is said anew of each call along a graph's handle.
#[test]
fn an_earlier_overflow_says_nothing_of_later_calls() {
    let case = Case { landing: 512, tokens: vec![10], calls: 2, weights: vec![false], ..Case::default() };
    let calls = calls(&case);
    let mut world = emulated(&case);
    let outcomes = world.run(|rank| {
        let at = rank.rank() as usize;
        let many: Vec<i32> = (0..10).flat_map(|_| [0, 2, 4]).collect();
        let x = rank.tensor_of_bytes(warpferry::DType::Bf16, &calls[0].inputs[at].x, &[10, 64])?;
        let idx = rank.tensor(&many, &[10, 3])?;
        let mut step = rank.step();
        let rows = step.dispatch(Dispatch::new(&x, &idx).bound(16).timeout(play::TIMEOUT))?;
        let graph = rank.capture(step)?;
        let first = rank.replay(&graph)?.wait(PATIENCE).map(drop);
        assert_eq!(first.is_err(), at < 3, "{first:?}");
        let mut few = vec![-1; 30];
        few[0] = 1;
        graph.write(&idx, &few)?;
        let mut second = rank.replay(&graph)?;
        let mut cached = rank.dispatch(Dispatch::new(&x, &idx).cached(&rows.handle).timeout(play::TIMEOUT))?;
        second.wait(PATIENCE)?;
        assert!(cached.wait(PATIENCE)?.landed);
        Ok(())
    });
    all_well(&case, outcomes);
    world.close().unwrap_or_else(|error| panic!("{error}"));
}
