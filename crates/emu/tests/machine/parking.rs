//! Warps that wait cost nothing, wake when they must, and a deadlock is told from a long wait.

use crate::{launch, schedules, Bench};
use warpferry_emu::{Machine, MachineConfig, RunOutcome, Schedule, Stall, StallCause, WaitReason};

const POLL: &str = "
    @!leader bra end;
poll:
    ld.relaxed.sys.global.u64 y0, [x0];
    setp.ne.u64 p, y0, 0;
    @p bra seen;
    nanosleep.u32 100;
    bra poll;
seen:
    st.global.u64 [x1], y0;
end:";

/// The warp parks; a host write wakes it. Waiting a long time costs few instructions.
#[test]
fn a_host_write_wakes() {
    for schedule in schedules(10) {
        let config = MachineConfig { schedule, stall: Stall::Report, ..MachineConfig::new(1, 1) };
        let mut bench = Bench::new(config, POLL);
        let outcome = bench.run(1, 32, 0).unwrap();
        let RunOutcome::Stalled(report) = outcome else { panic!("{outcome:?}") };
        let WaitReason::Words(words) = &report.waits.iter().find(|w| w.lanes & 1 == 1).unwrap().reason else {
            panic!("{report}")
        };
        assert_eq!((words[0].address, words[0].value, words[0].bytes), (bench.x0, 0, 8));
        let before = bench.machine.statistics().warp_instructions();
        assert!(before < 100, "{before} instructions while parked");
        bench.machine.write(bench.x0, &7u64.to_le_bytes()).unwrap();
        assert!(matches!(bench.machine.run_until_idle().unwrap(), RunOutcome::Idle));
        assert_eq!(bench.word(bench.x1), 7);
    }
}

/// A deadline of the kernel fires by time jumps, and the machine does not call that a deadlock.
#[test]
fn deadlines_fire() {
    let body = "
        @!leader bra end;
        mov.u64 y1, %globaltimer;
    poll:
        ld.relaxed.sys.global.u64 y0, [x0];
        setp.ne.u64 p, y0, 0;
        @p bra end;
        mov.u64 y2, %globaltimer;
        sub.u64 y3, y2, y1;
        setp.gt.u64 p, y3, x2;
        @p bra late;
        nanosleep.u32 100;
        bra poll;
    late:
        st.global.u64 [x1], y3;
    end:";
    for schedule in schedules(10) {
        let mut bench = Bench::scheduled(schedule, body);
        let outcome = bench.run(1, 32, 100_000_000_000).unwrap();
        assert!(matches!(outcome, RunOutcome::Idle), "{outcome:?}");
        assert!(bench.word(bench.x1) > 100_000_000_000);
        assert!(bench.machine.statistics().warp_instructions() < 10_000);
    }
}

/// Lanes of one warp that wait at a barrier of all threads do not keep the lane that polls awake; behind a barrier of
/// fewer threads they may be let go at any time, so there it sleeps by the clock.
#[test]
fn a_warp_parks_while_its_lanes_are_at_a_barrier() {
    let body = |barrier: &str| {
        format!(
            "@!leader bra meet;
        poll:
            ld.relaxed.sys.global.u64 y0, [x0];
            setp.ne.u64 p, y0, 0;
            @p bra meet;
            nanosleep.u32 100;
            bra poll;
        meet:
            barrier.cta.{barrier};
            st.global.u64 [x1], 1;"
        )
    };
    for (barrier, parks) in [("sync 0", true), ("red.or.pred p, 0, p", true), ("sync 0, 32", false)] {
        let mut config = MachineConfig { stall: Stall::Report, ..MachineConfig::new(1, 1) };
        config.limits.warp_instructions = 10_000;
        let mut bench = Bench::new(config, &body(barrier));
        let RunOutcome::Stalled(report) = bench.run(1, 32, 0).unwrap() else { panic!("{barrier}: no stall") };
        let limit = report.cause == StallCause::InstructionLimit;
        assert_eq!(limit, !parks, "{barrier}: {report}");
        if parks {
            bench.machine.write(bench.x0, &7u64.to_le_bytes()).unwrap();
            assert!(matches!(bench.machine.run_until_idle().unwrap(), RunOutcome::Idle), "{barrier}");
            assert_eq!(bench.word(bench.x1), 1, "{barrier}");
        }
    }
}

#[test]
fn a_wait_for_ever_is_a_deadlock() {
    let mut bench = Bench::scheduled(Schedule::RoundRobin, POLL);
    let RunOutcome::Stalled(report) = bench.run(1, 32, 0).unwrap() else { panic!("no stall") };
    assert_eq!(report.cause, StallCause::Deadlock);
    // An mbarrier that nobody completes, too.
    let body = "@!leader bra end; mbarrier.init.shared.b64 [s], 1;
        wait: mbarrier.try_wait.parity.shared.b64 p, [s], 0; @!p bra wait; end:";
    let mut bench = Bench::scheduled(Schedule::RoundRobin, body);
    let RunOutcome::Stalled(report) = bench.run(1, 32, 0).unwrap() else { panic!("no stall") };
    assert!(matches!(report.waits[0].reason, WaitReason::Mbarrier { pending: 1, phase: 0, .. }), "{report}");
}

/// A spin without sleep ends by the limit of instructions.
#[test]
fn endless_spins_end_by_the_limit() {
    let mut config = MachineConfig::new(1, 1);
    config.limits.warp_instructions = 100_000;
    let mut bench = Bench::new(config, "spin: ld.volatile.global.u64 y0, [x0]; setp.eq.u64 p, y0, 0; @p bra spin;");
    let RunOutcome::Stalled(report) = bench.run(1, 32, 0).unwrap() else { panic!("no limit") };
    assert_eq!(report.cause, StallCause::InstructionLimit);
}

/// Two GPUs play ping-pong over NVLink, parked in between.
#[test]
fn peers_wake_each_other() {
    // x0: my word, x1: the peer's word, x2: 0 for the one who starts.
    let body = "
        @!leader bra end;
        mov.u64 y0, x2;
    next:
        setp.eq.u64 p, y0, 0;
        @p bra send;
    poll:
        ld.acquire.sys.global.u64 y1, [x0];
        setp.lt.u64 p, y1, y0;
        @!p bra send;
        nanosleep.u32 50;
        bra poll;
    send:
        add.u64 y0, y0, 1;
        st.release.sys.global.u64 [x1], y0;
        add.u64 y0, y0, 1;
        setp.lt.u64 p, y0, 100;
        @p bra next;
    end:";
    for schedule in schedules(10) {
        let mut machine =
            Machine::new(MachineConfig { schedule: schedule.clone(), ..MachineConfig::new(1, 2) }).unwrap();
        let module = machine.load_module("test.ptx", &crate::kernel(body)).unwrap();
        let words = [0, 1].map(|gpu| machine.alloc(gpu, 8).unwrap());
        words.iter().for_each(|w| machine.write(*w, &[0; 8]).unwrap());
        for gpu in 0..2usize {
            let peer = machine.map_peer(words[1 - gpu], gpu).unwrap();
            machine.launch(launch(gpu, module, 1, 32, [words[gpu], peer, gpu as u64])).unwrap();
        }
        let outcome = machine.run_until_idle().unwrap_or_else(|f| panic!("{f}"));
        assert!(matches!(outcome, RunOutcome::Idle), "{schedule:?} {outcome:?}");
        assert!(machine.statistics().gpus[0].store_peer_bytes >= 8 * 49);
    }
}
