//! Streams are first in first out, run beside each other, and meet at events.

use crate::{launch, schedules, Bench};
use warpferry_emu::{Launch, MachineConfig, RunOutcome, Stall, StreamId};

const ADD: &str = "@leader ld.global.u64 y0, [x0]; @leader mad.lo.u64 y0, y0, 10, x2; @leader st.global.u64 [x0], y0;";

#[test]
fn launches_of_a_stream_run_in_order() {
    for schedule in schedules(5) {
        let mut bench = Bench::scheduled(schedule, ADD);
        for digit in 1..=5 {
            bench.machine.launch(launch(0, bench.module, 1, 32, [bench.x0, bench.x1, digit])).unwrap();
        }
        let transfer = bench.machine.stream_read(0, StreamId::DEFAULT, bench.x0, 8).unwrap();
        bench.machine.stream_write(0, StreamId::DEFAULT, bench.x0, vec![0; 8]).unwrap();
        bench.machine.run_until_idle().unwrap();
        assert_eq!(bench.machine.take_transfer(transfer).unwrap(), 12345u64.to_le_bytes());
        assert_eq!(bench.word(bench.x0), 0);
    }
}

#[test]
fn events_order_streams() {
    for schedule in schedules(10) {
        let mut bench = Bench::scheduled(schedule, ADD);
        let (a, b) = (bench.machine.create_stream(0).unwrap(), bench.machine.create_stream(0).unwrap());
        let event = bench.machine.create_event();
        assert!(bench.machine.event_reached(event).unwrap());
        let on = |stream, digit: u64, x0: u64, bench: &Bench| Launch {
            stream,
            ..launch(0, bench.module, 1, 32, [x0, 0, digit])
        };
        let first = on(a, 1, bench.x0, &bench);
        bench.machine.launch(first).unwrap();
        bench.machine.record_event(0, a, event).unwrap();
        bench.machine.wait_event(0, b, event).unwrap();
        let second = on(b, 2, bench.x0, &bench);
        bench.machine.launch(second).unwrap();
        assert!(!bench.machine.stream_idle(0, b).unwrap());
        bench.machine.run(|m| m.event_reached(event).unwrap()).unwrap();
        bench.machine.run_until_idle().unwrap();
        assert_eq!(bench.word(bench.x0), 12);
    }
}

/// Two kernels on different streams wait for each other: they are resident together.
#[test]
fn streams_run_beside_each_other() {
    let body = "
        @!leader bra end;
        st.release.gpu.global.u64 [x0], 1;
    poll: ld.acquire.gpu.global.u64 y0, [x1]; setp.eq.u64 p, y0, 0; @p bra poll;
    end:";
    for schedule in schedules(5) {
        let mut bench = Bench::scheduled(schedule, body);
        let other = bench.machine.create_stream(0).unwrap();
        bench.machine.launch(launch(0, bench.module, 1, 32, [bench.x0, bench.x1, 0])).unwrap();
        let back = launch(0, bench.module, 1, 32, [bench.x1, bench.x0, 0]);
        bench.machine.launch(Launch { stream: other, ..back }).unwrap();
        assert!(matches!(bench.machine.run_until_idle().unwrap(), RunOutcome::Idle));
    }
}

/// Without room for both they cannot be, and that is a deadlock with a report.
#[test]
fn a_full_gpu_blocks() {
    let body = "
        @!leader bra end;
        st.release.gpu.global.u64 [x0], 1;
    poll: ld.acquire.gpu.global.u64 y0, [x1]; setp.ne.u64 p, y0, 0; @p bra end; nanosleep.u32 20; bra poll;
    end:";
    let mut config = MachineConfig { stall: Stall::Report, ..MachineConfig::new(1, 1) };
    config.gpu.resident_ctas = Some(1);
    let mut bench = Bench::new(config, body);
    let other = bench.machine.create_stream(0).unwrap();
    bench.machine.launch(launch(0, bench.module, 1, 32, [bench.x0, bench.x1, 0])).unwrap();
    let back = launch(0, bench.module, 1, 32, [bench.x1, bench.x0, 0]);
    bench.machine.launch(Launch { stream: other, ..back }).unwrap();
    let RunOutcome::Stalled(report) = bench.machine.run_until_idle().unwrap() else { panic!("no stall") };
    assert!(report.streams.iter().any(|s| s.contains("room on an SM")), "{report}");
}

#[test]
fn copies_and_fills_in_stream_order() {
    let mut bench = Bench::scheduled(warpferry_emu::Schedule::RoundRobin, ADD);
    let stream = StreamId::DEFAULT;
    bench.machine.stream_fill(0, stream, bench.x0, 0, 64).unwrap();
    bench.machine.launch(launch(0, bench.module, 1, 32, [bench.x0, 0, 7])).unwrap();
    bench.machine.stream_copy(0, stream, bench.x0, bench.x1 + 8, 8).unwrap();
    bench.machine.run_until_idle().unwrap();
    assert_eq!(bench.word(bench.x1 + 8), 7);
}
