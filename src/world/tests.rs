//! Host side without kernels: call sequences, argument errors, failing drivers, and who keeps memory alive.
//!
//! Method: worlds on the null driver with hollow kernels; traces are compared and every driver call is made to fail
//! in turn.

use std::sync::Arc;
use std::time::Duration;

use half::bf16;

use super::{connect_kernels, Device, Sms, WorldConfig};
use crate::comm::Communicator;
use crate::driver::fault::{FaultRule, Faults};
use crate::driver::null::NullDriver;
use crate::driver::trace::Trace;
use crate::driver::{Driver, StreamPriority};
use crate::error::Error;
use crate::kernel::hollow;
use crate::op::{Combine, Dispatch};
use crate::plan::{Fabric, Shape, Tuning};
use crate::topology::Topology;

const HIDDEN: usize = 16;
const TOPK: usize = 2;
/// Device memory of a communicator without NIC: window, state, three blocks, three tables.
const OWN_BUFFERS: usize = 8;
const WAIT: Duration = Duration::from_secs(1);

fn config(nodes: u32, gpus: u32) -> WorldConfig {
    let topology = Topology::new(nodes, gpus).expect("a small world");
    let shape = Shape::new(HIDDEN as u32, nodes * gpus, TOPK.min((nodes * gpus) as usize) as u32, 8);
    let mut tuning = Tuning::default_for(topology, 2 * HIDDEN as u32);
    (tuning.channels, tuning.dispatch_sms, tuning.combine_sms) = (4, 2, 2);
    WorldConfig::new(topology, shape.expect("a small shape")).tuning(tuning).fabric(Fabric::Loopback)
}

fn world_on(config: &WorldConfig, drivers: Vec<Arc<dyn Driver>>) -> crate::Result<Vec<Communicator>> {
    let devices: Vec<Device> = drivers.into_iter().map(Device::new).collect();
    connect_kernels(config, &devices, hollow::set())
}

fn null_drivers(count: usize) -> Vec<Arc<dyn Driver>> {
    (0..count).map(|_| Arc::new(NullDriver::new()) as Arc<dyn Driver>).collect()
}

fn pair() -> Communicator {
    world_on(&config(1, 2), null_drivers(2)).expect("a world of two").remove(0)
}

/// Dispatch and combine of `tokens` tokens.
fn round_trip(communicator: &mut Communicator, tokens: usize) -> crate::Result<()> {
    let x = communicator.tensor(&vec![bf16::ONE; tokens * HIDDEN], &[tokens, HIDDEN])?;
    let topk_idx = communicator.tensor(&vec![0i32; tokens * TOPK], &[tokens, TOPK])?;
    let weights = communicator.tensor(&vec![1f32; tokens * TOPK], &[tokens, TOPK])?;
    let dispatched = communicator.dispatch(Dispatch::new(&x, &topk_idx).weights(&weights))?.wait(WAIT)?;
    communicator.combine(Combine::new(&dispatched.x, &dispatched.handle))?.wait(WAIT)?;
    Ok(())
}

fn argument(result: crate::Result<impl std::fmt::Debug>) -> (String, String, String) {
    match result.expect_err("the argument is wrong") {
        Error::Argument { argument, value, valid } => (argument, value, valid),
        other => panic!("an argument error was expected, not: {other}"),
    }
}

#[test]
fn a_dispatch_and_a_combine_make_these_calls() {
    let trace = Trace::new();
    let drivers = null_drivers(2).into_iter().map(|driver| trace.wrap(driver)).collect();
    let mut ranks = world_on(&config(1, 2), drivers).expect("a world of two");
    let rank = &mut ranks[0];
    let x = rank.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
    let topk_idx = rank.tensor(&[0, 1], &[1, TOPK]).expect("two choices");
    trace.clear();
    let mut pending = rank.dispatch(Dispatch::new(&x, &topk_idx)).expect("the null driver does everything");
    // Only the outputs, whose size the counts say, are taken between launches.
    let expected = "is_capturing alloc alloc_host write_host create_event fill launch launch wait_word read_host \
                    alloc alloc alloc launch record_event";
    assert_eq!(trace.names().join(" "), expected);
    trace.clear();
    let dispatched = pending.wait(WAIT).expect("nothing fails");
    // Status of layout, exchange and dispatch.
    assert_eq!(trace.names().join(" "), "synchronize_event read_host read_host read_host");
    trace.clear();
    let mut combined = rank.combine(Combine::new(&dispatched.x, &dispatched.handle)).expect("nothing fails");
    // Status block and event are used again.
    assert_eq!(trace.names().join(" "), "is_capturing alloc write_host launch record_event");
    assert_eq!(combined.wait(WAIT).expect("nothing fails").x.shape(), [1, HIDDEN]);
}

#[test]
fn a_cached_dispatch_counts_and_exchanges_nothing() {
    let trace = Trace::new();
    let drivers = null_drivers(2).into_iter().map(|driver| trace.wrap(driver)).collect();
    let mut ranks = world_on(&config(1, 2), drivers).expect("a world of two");
    let rank = &mut ranks[0];
    let x = rank.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
    let idx = rank.tensor(&[0, 1], &[1, TOPK]).expect("two choices");
    let first = rank.dispatch(Dispatch::new(&x, &idx)).and_then(|mut p| p.wait(WAIT)).expect("nothing fails");
    trace.clear();
    let mut again = rank.dispatch(Dispatch::new(&x, &idx).cached(&first.handle)).expect("nothing fails");
    assert_eq!(trace.names().join(" "), "is_capturing alloc alloc alloc write_host launch record_event");
    assert_eq!(again.wait(WAIT).expect("nothing fails").handle.tokens(), 1);
    let two = rank.tensor(&[bf16::ONE; 2 * HIDDEN], &[2, HIDDEN]).expect("two rows");
    let two_idx = rank.tensor(&[0; 4], &[2, TOPK]).expect("four choices");
    let found = argument(rank.dispatch(Dispatch::new(&two, &two_idx).cached(&first.handle)));
    assert!(found.2.contains("cached handle"), "{}", found.2);
}

#[test]
fn own_streams_come_before_others_unless_told() {
    let made = |device: &dyn Fn(Device) -> Device| {
        let trace = Trace::new();
        let drivers = null_drivers(2).into_iter().map(|driver| trace.wrap(driver));
        let devices: Vec<Device> = drivers.map(|driver| device(Device::new(driver))).collect();
        connect_kernels(&config(1, 2), &devices, hollow::set()).expect("a world of two");
        let calls = trace.calls().into_iter().filter(|call| call.name == "create_stream");
        calls.map(|call| call.arguments).collect::<Vec<String>>()
    };
    let text = |priority: StreamPriority| vec![format!("{priority:?}"); 4];
    assert_eq!(made(&|device| device), text(StreamPriority::HIGHEST));
    assert_eq!(made(&|device| device.priority(StreamPriority(-2))), text(StreamPriority(-2)));
}

#[test]
fn launches_carry_the_plan() {
    let trace = Trace::new();
    let mut config = config(1, 2).sms(1, Sms { dispatch: 4, combine: 1 });
    config.tuning.workers = 5;
    let drivers = null_drivers(2).into_iter().map(|driver| trace.wrap(driver)).collect();
    let mut ranks = world_on(&config, drivers).expect("a world of two");
    trace.clear();
    round_trip(&mut ranks[1], 3).expect("nothing fails");
    let launches: Vec<String> =
        trace.calls().into_iter().filter(|call| call.name == "launch").map(|call| call.arguments).collect();
    let plan = ranks[1].plan();
    assert_eq!(launches.len(), 4);
    assert!(launches[0].contains("grid 1 block 1024 shared 0"), "{}", launches[0]);
    // These kernels take a CTA of any size; exchange has its largest as well.
    assert!(launches[1].contains("grid 1 block 1024 shared 0"), "{}", launches[1]);
    let dispatch = format!("grid 4 block 192 shared {}", plan.dispatch.shared_bytes);
    assert!(launches[2].contains(&dispatch), "{} has no {dispatch}", launches[2]);
    let combine = format!("grid 1 block 192 shared {}", plan.combine.shared_bytes);
    assert!(launches[3].contains(&combine), "{} has no {combine}", launches[3]);
}

#[test]
fn bad_tensors_are_named() {
    let mut rank = pair();
    let x = rank.tensor(&[bf16::ONE; 4 * HIDDEN], &[4, HIDDEN]).expect("four rows");
    let idx = rank.tensor(&[0i32; 4 * TOPK], &[4, TOPK]).expect("four tokens");
    let weights = rank.tensor(&[0f32; 4 * TOPK], &[4, TOPK]).expect("four tokens");

    assert_eq!(argument(rank.dispatch(Dispatch::new(&idx, &idx))).0, "x");
    assert_eq!(argument(rank.dispatch(Dispatch::new(&x, &x))).0, "topk_idx");
    assert_eq!(argument(rank.dispatch(Dispatch::new(&x, &weights))), ("topk_idx".into(), "f32".into(), "i32".into()));
    assert_eq!(argument(rank.dispatch(Dispatch::new(&x, &idx).weights(&idx))).0, "topk_weights");

    let narrow = rank.tensor(&[bf16::ONE; 4 * 8], &[4, 8]).expect("short rows");
    let found = argument(rank.dispatch(Dispatch::new(&narrow, &idx)));
    assert_eq!(found, ("x".into(), "shape [4, 8]".into(), "[rows, 16]".into()));
    let flat = x.reshape(&[4 * HIDDEN]).expect("as many elements");
    assert_eq!(argument(rank.dispatch(Dispatch::new(&flat, &idx))).1, "shape [64]");
    let fewer = idx.narrow(0..3).expect("three rows");
    assert_eq!(argument(rank.dispatch(Dispatch::new(&x, &fewer))).1, "3 rows");

    let many = rank.tensor(&[bf16::ONE; 9 * HIDDEN], &[9, HIDDEN]).expect("nine rows");
    let many_idx = rank.tensor(&[0i32; 9 * TOPK], &[9, TOPK]).expect("nine tokens");
    assert!(argument(rank.dispatch(Dispatch::new(&many, &many_idx))).2.contains("at most 8"));

    // A view that starts in the middle of 16 bytes.
    let column = rank.tensor(&[bf16::ONE; 2 * HIDDEN], &[2 * HIDDEN, 1]).expect("a column");
    let odd = column.narrow(1..1 + HIDDEN).and_then(|view| view.reshape(&[1, HIDDEN])).expect("a view");
    let one = idx.narrow(0..1).expect("a token");
    assert!(argument(rank.dispatch(Dispatch::new(&odd, &one))).2.contains("16 bytes"));

    let zero = Dispatch::new(&x, &idx).timeout(Duration::ZERO);
    assert_eq!(argument(rank.dispatch(zero)).0, "timeout");
    rank.check_usable().expect("argument errors break nothing");
}

#[test]
fn tensors_and_handles_stay_with_their_communicator() {
    let (mut here, there) = (pair(), pair());
    let x = here.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
    let idx = here.tensor(&[0i32; TOPK], &[1, TOPK]).expect("a token");
    let foreign = there.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
    let found = argument(here.dispatch(Dispatch::new(&foreign, &idx)));
    assert_eq!(found.0, "x");
    assert!(found.1.contains("communicator"), "{}", found.1);

    let mut other = pair();
    let dispatched = here.dispatch(Dispatch::new(&x, &idx)).and_then(|mut p| p.wait(WAIT)).expect("nothing fails");
    assert_eq!(argument(other.combine(Combine::new(&dispatched.x, &dispatched.handle))).0, "handle");
    let found = argument(here.combine(Combine::new(&x, &dispatched.handle)));
    assert_eq!((found.0.as_str(), found.1.as_str()), ("x", "1 rows"));
}

#[test]
fn shared_memory_is_not_written() {
    let mut rank = pair();
    let mut x = rank.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
    let idx = rank.tensor(&[0i32; TOPK], &[1, TOPK]).expect("a token");
    x.write(&[bf16::ZERO; HIDDEN]).expect("nobody shares it");
    assert_eq!(argument(x.write(&[bf16::ZERO; 3])).0, "values");
    assert_eq!(argument(x.write(&[0f32; HIDDEN])).0, "element");
    let mut pending = rank.dispatch(Dispatch::new(&x, &idx)).expect("nothing fails");
    assert_eq!(argument(x.write(&[bf16::ZERO; HIDDEN])).0, "tensor");
    let _dispatched = pending.wait(WAIT).expect("nothing fails");
    x.write(&[bf16::ZERO; HIDDEN]).expect("the operation has ended");
    assert!(argument(pending.wait(WAIT)).1.contains("already"));
}

#[test]
fn a_dropped_operation_keeps_its_memory_until_it_has_ended() {
    let trace = Trace::new();
    let drivers = null_drivers(2).into_iter().map(|driver| trace.wrap(driver)).collect();
    let mut ranks = world_on(&config(1, 2), drivers).expect("a world of two");
    let rank = &mut ranks[0];
    let x = rank.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
    let idx = rank.tensor(&[0i32; TOPK], &[1, TOPK]).expect("a token");
    let pending = rank.dispatch(Dispatch::new(&x, &idx)).expect("nothing fails");
    trace.clear();
    drop((pending, x, idx));
    assert!(!trace.names().contains(&"free"), "{:?}", trace.names());
    rank.check_usable().expect("nothing fails");
    // x, topk_idx, three outputs and the handle.
    assert_eq!(trace.names().iter().filter(|&&name| name == "free").count(), 6);
    assert_eq!(rank.shared().calls_kept(), 0);
}

/// Method: each call after the first launch is made to fail; what the launched kernels use must stay until the close.
#[test]
fn a_failed_operation_keeps_its_memory_until_the_close() {
    for (call, nth) in [("launch", 2), ("wait_word", 1), ("launch", 3), ("record_event", 1)] {
        let trace = Trace::new();
        let rule = FaultRule { call, nth, message: "injected".to_string() };
        let mut drivers = null_drivers(2);
        drivers[0] = trace.wrap(Faults::wrap(Arc::clone(&drivers[0]), vec![rule]));
        let mut ranks = world_on(&config(1, 2), drivers).expect("a world of two");
        let rank = &mut ranks[0];
        let x = rank.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
        let idx = rank.tensor(&[0i32; TOPK], &[1, TOPK]).expect("a token");
        trace.clear();
        let error = rank.dispatch(Dispatch::new(&x, &idx)).map(drop).expect_err("a call fails");
        assert!(matches!(&error, Error::Driver { call: failed, .. } if *failed == call), "{call} {nth}: {error}");
        drop((x, idx));
        let frees = |name| trace.names().iter().filter(|&&found| found == name).count();
        assert_eq!((frees("free"), frees("free_host")), (0, 0), "{call} {nth}");
        super::close(ranks).expect("nothing else fails");
        // x, topk_idx, routing at least, beside what the communicator itself holds; status block with totals.
        let outputs = if matches!((call, nth), ("launch", 2) | ("wait_word", 1)) { 0 } else { 3 };
        assert_eq!((frees("free"), frees("free_host")), (3 + outputs + OWN_BUFFERS, 1), "{call} {nth}");
    }
}

/// Method: the calls of a round trip are traced; then each of them is made to fail on its own, in a fresh world.
#[test]
fn every_failing_call_is_reported_and_nothing_panics() {
    let trace = Trace::new();
    let drivers: Vec<_> = null_drivers(2).into_iter().map(|driver| trace.wrap(driver)).collect();
    let mut ranks = world_on(&config(1, 2), drivers).expect("a world of two");
    round_trip(&mut ranks[0], 2).expect("nothing fails");
    let calls = trace.names();
    assert!(calls.len() > 40, "{calls:?}");
    let names = [
        "alloc",
        "launch",
        "wait_word",
        "create_event",
        "record_event",
        "synchronize_event",
        "is_capturing",
        "fill",
        "load",
        "import_window",
    ];
    for name in names {
        assert!(calls.contains(&name), "{name} is not among {calls:?}");
        for nth in 1..=calls.iter().filter(|&&call| call == name).count() as u64 {
            let rule = FaultRule { call: name, nth, message: "injected".to_string() };
            let mut drivers = null_drivers(2);
            drivers[0] = Faults::wrap(Arc::clone(&drivers[0]), vec![rule]);
            let Ok(mut ranks) = world_on(&config(1, 2), drivers) else { continue };
            let Err(error) = round_trip(&mut ranks[0], 2) else { continue };
            assert!(matches!(&error, Error::Driver { call, .. } if *call == name), "{name} {nth}: {error}");
            let late = matches!(name, "launch" | "wait_word" | "record_event" | "synchronize_event");
            match round_trip(&mut ranks[0], 2) {
                Ok(()) => assert!(!late, "{name} {nth}: a call of the collective was lost, yet the next one goes"),
                Err(Error::Broken { cause, .. }) => assert_eq!(cause.to_string(), error.to_string()),
                Err(other) => panic!("{name} {nth}: {other}"),
            }
        }
    }
}

/// What each driver was given and gave back, by the names of the calls.
fn balance(trace: &Trace) -> Vec<(&'static str, usize, usize)> {
    let names = trace.names();
    let count = |name| names.iter().filter(|&&found| found == name).count();
    [
        ("alloc", "free"),
        ("alloc_host", "free_host"),
        ("create_stream", "destroy_stream"),
        ("create_event", "destroy_event"),
        ("import_window", "release_window"),
    ]
    .map(|(take, give)| (take, count(take), count(give)))
    .to_vec()
}

/// Method: two operations are open at the close, one of them dropped; everything taken must have been given back.
#[test]
fn a_close_gives_everything_back() {
    let trace = Trace::new();
    let drivers = null_drivers(2).into_iter().map(|driver| trace.wrap(driver)).collect();
    let mut ranks = world_on(&config(1, 2), drivers).expect("a world of two");
    round_trip(&mut ranks[0], 2).expect("nothing fails");
    let x = ranks[0].tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
    let idx = ranks[0].tensor(&[0i32; TOPK], &[1, TOPK]).expect("a token");
    let first = ranks[0].dispatch(Dispatch::new(&x, &idx)).expect("nothing fails");
    drop(ranks[0].dispatch(Dispatch::new(&x, &idx)).expect("nothing fails"));
    super::close(ranks).expect("nothing fails");
    // A tensor can be read after the close.
    assert_eq!(x.to_vec::<bf16>().expect("nothing fails").len(), HIDDEN);
    drop((first, x, idx));
    for (name, taken, given) in balance(&trace) {
        assert!(taken > 0 && taken == given, "{name}: {taken} taken, {given} given back");
    }
}

/// Method: a driver call of each rank's joining fails in turn; everything taken must have been given back.
#[test]
fn a_world_that_cannot_be_made_gives_everything_back() {
    for failing in 0..3 {
        for (call, nth) in [("import_window", 1), ("import_window", 2), ("alloc", 3), ("alloc", 8)] {
            let trace = Trace::new();
            let mut drivers = null_drivers(3);
            let rule = FaultRule { call, nth, message: "injected".to_string() };
            drivers[failing] = Faults::wrap(Arc::clone(&drivers[failing]), vec![rule]);
            let drivers = drivers.into_iter().map(|driver| trace.wrap(driver)).collect();
            let error = world_on(&config(1, 3), drivers).expect_err("a call fails");
            assert!(matches!(&error, Error::Driver { call: failed, .. } if *failed == call), "{call} {nth}: {error}");
            for (name, taken, given) in balance(&trace) {
                let taken = taken - usize::from(name == call);
                assert_eq!(taken, given, "{name} when {call} {nth} of rank {failing} fails");
            }
        }
    }
}

#[test]
fn shapes_that_overflow_are_refused() {
    let rank = pair();
    let rows = rank.tensor::<f32>(&[], &[0, usize::MAX, 2]);
    assert_eq!(argument(rows.and_then(|rows| rows.narrow(0..0))).0, "shape");
    let late = rank.tensor::<f32>(&[], &[usize::MAX, 2, 0]);
    assert_eq!(argument(late).0, "shape");
}

#[test]
fn worlds_that_do_not_fit_are_refused() {
    let refused = |config: &WorldConfig, drivers| argument(world_on(config, drivers));
    assert_eq!(refused(&config(1, 2), null_drivers(3)).0, "devices");
    assert_eq!(refused(&config(1, 2).sms(2, Sms { dispatch: 1, combine: 1 }), null_drivers(2)).0, "sms");
    assert_eq!(refused(&config(1, 2).sms(1, Sms { dispatch: 5, combine: 1 }), null_drivers(2)).0, "dispatch_sms");
    assert_eq!(refused(&config(2, 1).fabric(Fabric::Mlx5), null_drivers(2)).0, "fabric");
}

#[test]
fn ranks_with_different_plans_do_not_join() {
    use crate::comm::connect::Prepared;
    let prepare = |rank: u32, depth: u32| {
        let mut config = config(1, 2);
        config.tuning.depth_nv = depth;
        let plan = config.plan(rank).expect("a small plan");
        Prepared::new(&Device::new(null_drivers(1).remove(0)), plan, rank, hollow::set())
            .expect("the null driver does it")
    };
    let ranks = [prepare(0, 8), prepare(1, 16)];
    let offers: Vec<_> = ranks.iter().map(Prepared::offer).collect();
    for rank in ranks {
        let found = argument(rank.join(&offers).map_err(Error::from));
        assert_eq!(found.0, "offers");
        assert!(found.1.contains("plan"), "{}", found.1);
    }
}
