//! Streams that are captured into graphs: what runs, with which arguments, and what has no place in a capture.

use crate::{launch, schedules, Bench};
use warpferry_emu::{CaptureError, EventId, Launch, MachineConfig, MachineError, StreamId};

/// Appends a digit to the number at `x0`.
const ADD: &str = "@leader ld.global.u64 y0, [x0]; @leader mad.lo.u64 y0, y0, 10, x2; @leader st.global.u64 [x0], y0;";
const STREAM: StreamId = StreamId::DEFAULT;

/// Puts a digit behind the number.
fn append(bench: &mut Bench, stream: StreamId, digit: u64) {
    let added = launch(0, bench.module, 1, 32, [bench.x0, bench.x1, digit]);
    bench.machine.launch(Launch { stream, ..added }).unwrap();
}

/// Why a call on a capture failed.
fn refused<T: std::fmt::Debug>(outcome: Result<T, MachineError>) -> CaptureError {
    match outcome {
        Err(MachineError::Capture(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_graph_runs_its_work_in_order_each_time_it_is_launched() {
    for schedule in schedules(5) {
        let mut bench = Bench::scheduled(schedule, ADD);
        bench.machine.begin_capture(0, STREAM).unwrap();
        assert!(bench.machine.is_capturing(0, STREAM));
        bench.machine.stream_fill(0, STREAM, bench.x1, 7, 8).unwrap();
        append(&mut bench, STREAM, 1);
        append(&mut bench, STREAM, 2);
        let graph = bench.machine.end_capture(0, STREAM).unwrap();
        bench.machine.run_until_idle().unwrap();
        // What is captured does not run.
        assert_eq!((bench.word(bench.x0), bench.word(bench.x1)), (0, 0));
        for _ in 0..3 {
            bench.machine.launch_graph(0, STREAM, graph).unwrap();
        }
        append(&mut bench, STREAM, 9);
        bench.machine.run_until_idle().unwrap();
        assert_eq!((bench.word(bench.x0), bench.word(bench.x1)), (1_212_129, 0x0707_0707_0707_0707));
        let launches = bench.machine.graph_launches(graph).unwrap();
        assert_eq!(launches.iter().map(|launch| launch.args[16]).collect::<Vec<_>>(), [1, 2]);
        bench.machine.launch_graph(0, STREAM, graph).unwrap();
        bench.machine.destroy_graph(graph).unwrap();
        assert!(bench.machine.launch_graph(0, STREAM, graph).is_err());
        bench.machine.run_until_idle().unwrap();
        assert_eq!(bench.word(bench.x0), 121_212_912);
    }
}

/// Streams of a capture: the one that began it, and another.
fn fork(bench: &mut Bench) -> (StreamId, [EventId; 2]) {
    let other = bench.machine.create_stream(0).unwrap();
    let events = [bench.machine.create_event(), bench.machine.create_event()];
    bench.machine.begin_capture(0, STREAM).unwrap();
    append(bench, STREAM, 1);
    bench.machine.record_event(0, STREAM, events[0]).unwrap();
    bench.machine.wait_event(0, other, events[0]).unwrap();
    assert!(bench.machine.is_capturing(0, other));
    append(bench, other, 2);
    (other, events)
}

#[test]
fn another_stream_joins_by_an_event_and_is_waited_for() {
    let mut bench = Bench::new(MachineConfig::new(1, 1), ADD);
    let (other, [fork, join]) = fork(&mut bench);
    bench.machine.record_event(0, other, join).unwrap();
    bench.machine.wait_event(0, STREAM, join).unwrap();
    append(&mut bench, STREAM, 3);
    let graph = bench.machine.end_capture(0, STREAM).unwrap();
    assert!(!bench.machine.is_capturing(0, other));
    // No stream ever comes to these records.
    assert_eq!(refused(bench.machine.event_reached(fork)), CaptureError::CapturedEvent);
    assert_eq!(refused(bench.machine.wait_event(0, STREAM, join)), CaptureError::CapturedEvent);
    bench.machine.launch_graph(0, other, graph).unwrap();
    bench.machine.run_until_idle().unwrap();
    assert_eq!(bench.word(bench.x0), 123);
    bench.machine.record_event(0, STREAM, fork).unwrap();
    bench.machine.run_until_idle().unwrap();
    assert!(bench.machine.event_reached(fork).unwrap());
}

#[test]
fn a_stream_that_joined_must_be_waited_for_to_its_end() {
    let mut bench = Bench::new(MachineConfig::new(1, 1), ADD);
    fork(&mut bench);
    assert_eq!(refused(bench.machine.end_capture(0, STREAM)), CaptureError::Unjoined);
    let (other, [_, join]) = fork(&mut bench);
    bench.machine.record_event(0, other, join).unwrap();
    append(&mut bench, other, 4);
    bench.machine.wait_event(0, STREAM, join).unwrap();
    assert_eq!(refused(bench.machine.end_capture(0, STREAM)), CaptureError::Unjoined);
    assert!(!bench.machine.is_capturing(0, STREAM));
}

#[test]
fn what_has_no_place_in_a_capture_ends_it() {
    let mut bench = Bench::new(MachineConfig::new(1, 2), ADD);
    let outside = bench.machine.create_event();
    bench.machine.begin_capture(0, STREAM).unwrap();
    assert_eq!(refused(bench.machine.begin_capture(0, STREAM)), CaptureError::Nested);
    // An event that nobody recorded is nothing to wait for.
    bench.machine.wait_event(0, STREAM, outside).unwrap();
    let graph = bench.machine.end_capture(0, STREAM).unwrap();
    assert_eq!(refused(bench.machine.end_capture(0, STREAM)), CaptureError::Unmatched);
    assert_eq!(refused(bench.machine.launch_graph(1, STREAM, graph)), CaptureError::Unsupported("work of another GPU"));
    let other = bench.machine.create_stream(0).unwrap();
    bench.machine.record_event(0, other, outside).unwrap();

    type Act = fn(&mut Bench, EventId, warpferry_emu::GraphId) -> Result<(), MachineError>;
    let acts: [(Act, CaptureError); 4] = [
        (
            |bench, _, _| bench.machine.stream_read(0, STREAM, bench.x0, 8).map(drop),
            CaptureError::Unsupported("a read in stream order"),
        ),
        (|bench, event, _| bench.machine.wait_event(0, STREAM, event), CaptureError::Isolation),
        (|bench, _, graph| bench.machine.launch_graph(0, STREAM, graph), CaptureError::Unsupported("a graph")),
        (|bench, _, _| bench.machine.destroy_stream(0, STREAM), CaptureError::Unsupported("the end of a stream")),
    ];
    for (act, why) in acts {
        bench.machine.begin_capture(0, STREAM).unwrap();
        assert_eq!(refused(act(&mut bench, outside, graph)), why);
        // Nothing more is captured.
        let more = bench.machine.stream_fill(0, STREAM, bench.x0, 0, 8);
        assert!(matches!(refused(more), CaptureError::Invalidated(_)));
        assert!(matches!(refused(bench.machine.end_capture(0, STREAM)), CaptureError::Invalidated(_)));
    }
    bench.machine.begin_capture(0, STREAM).unwrap();
    bench.machine.spoil_capture(0, STREAM, "a wait");
    assert_eq!(refused(bench.machine.end_capture(0, STREAM)), CaptureError::Invalidated("a wait"));
}

#[test]
fn two_captures_do_not_wait_for_each_other() {
    let mut bench = Bench::new(MachineConfig::new(1, 1), ADD);
    let (other, event) = (bench.machine.create_stream(0).unwrap(), bench.machine.create_event());
    bench.machine.begin_capture(0, STREAM).unwrap();
    bench.machine.begin_capture(0, other).unwrap();
    bench.machine.record_event(0, STREAM, event).unwrap();
    assert_eq!(refused(bench.machine.wait_event(0, other, event)), CaptureError::Merge);
    assert!(matches!(refused(bench.machine.end_capture(0, STREAM)), CaptureError::Invalidated(_)));
    bench.machine.end_capture(0, other).unwrap();
}

/// Method: room for one CTA; a launch of many fills the GPU, then one of each priority comes.
#[test]
fn of_ctas_that_wait_those_of_a_stream_of_high_priority_come_first() {
    let mut config = MachineConfig::new(1, 1);
    config.gpu.resident_ctas = Some(1);
    let mut bench = Bench::new(config, ADD);
    let [low, high, highest] = [3, -1, -5].map(|priority| {
        let stream = bench.machine.create_stream(0).unwrap();
        bench.machine.set_priority(0, stream, priority).unwrap();
        stream
    });
    for (stream, digit) in [(STREAM, 1), (low, 2), (high, 3), (highest, 4)] {
        append(&mut bench, stream, digit);
    }
    bench.machine.run_until_idle().unwrap();
    assert_eq!(bench.word(bench.x0), 1_432);
}
