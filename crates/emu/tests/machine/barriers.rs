//! Named barriers and mbarriers.

use crate::{fault, schedules, Bench};
use warpferry_emu::{FaultKind, MachineConfig, RunOutcome, Schedule, Stall, WaitReason};

#[test]
fn cta_barriers_order_warps() {
    // Every warp writes its word, all meet, every warp sums all words.
    let body = "
        shr.u32 r0, tid, 5; mad.lo.u32 r1, r0, 4, s; add.u32 r2, r0, 10;
        st.shared.u32 [r1], r2;
        bar.sync 0;
        mov.u32 r3, 0; mov.u32 r4, 0;
    sum:
        mad.lo.u32 r1, r4, 4, s; ld.shared.u32 r2, [r1]; add.u32 r3, r3, r2;
        add.u32 r4, r4, 1; setp.lt.u32 p, r4, 8; @p bra sum;
        mad.wide.u32 y0, tid, 4, x0; st.global.u32 [y0], r3;";
    for schedule in schedules(20) {
        let mut bench = Bench::scheduled(schedule.clone(), body);
        bench.run(1, 256, 0).unwrap_or_else(|f| panic!("{schedule:?}: {f}"));
        for thread in 0..128 {
            assert_eq!(bench.word(bench.x0 + 8 * thread), 108 | 108 << 32);
        }
    }
}

#[test]
fn named_barriers_with_counts() {
    // Warp 0 produces and arrives, warp 1 waits; warps 2 and 3 do not take part.
    let body = "
        shr.u32 r0, tid, 5;
        setp.gt.u32 p, r0, 1; @p bra end;
        setp.eq.u32 p, r0, 1; @p bra consumer;
        @leader st.shared.u32 [s], 77;
        bar.arrive 3, 64;
        bra end;
    consumer:
        bar.sync 3, 64;
        ld.shared.u32 r1, [s];
        st.global.u32 [x0], r1;
    end:";
    for schedule in schedules(20) {
        let mut bench = Bench::scheduled(schedule.clone(), body);
        bench.run(1, 128, 0).unwrap_or_else(|f| panic!("{schedule:?}: {f}"));
        assert_eq!(bench.word(bench.x0), 77);
    }
}

#[test]
fn barrier_reductions() {
    let body = "
        setp.lt.u32 p, tid, 70;
        bar.red.popc.u32 r0, 1, p;
        bar.red.and.pred q, 1, p; selp.u32 r1, 1, 0, q;
        bar.red.or.pred q, 1, !p; selp.u32 r2, 1, 0, q;
        mad.lo.u32 r0, r1, 1000, r0; mad.lo.u32 r0, r2, 10000, r0;
        mad.wide.u32 y0, tid, 4, x0; st.global.u32 [y0], r0;";
    for schedule in schedules(20) {
        let mut bench = Bench::scheduled(schedule, body);
        bench.run(1, 96, 0).unwrap();
        for thread in 0..48 {
            assert_eq!(bench.word(bench.x0 + 8 * thread), 10070 | 10070 << 32);
        }
    }
}

/// Warps that have exited are not waited for by a barrier of all threads.
#[test]
fn exited_warps_do_not_count() {
    let body = "shr.u32 r0, tid, 5; setp.eq.u32 p, r0, 2; @p exit; bar.sync 0; st.global.u32 [x0], 1;";
    for schedule in schedules(20) {
        let mut bench = Bench::scheduled(schedule, body);
        assert!(matches!(bench.run(1, 128, 0), Ok(RunOutcome::Idle)));
        assert_eq!(bench.word(bench.x0), 1);
    }
}

#[test]
fn mbarrier_phases() {
    // Four warps arrive once a phase; all wait by parity, three phases, and count in between.
    let body = "
        @leader mbarrier.init.shared.b64 [s], 4;
        @leader st.shared.u32 [s+8], 0;
        bar.sync 0;
        mov.u32 r0, 0;
    phase:
        setp.eq.u32 p, lane, 0;
        @p atom.shared.add.u32 r1, [s+8], 1;
        @p mbarrier.arrive.shared.b64 y0, [s];
        and.b32 r2, r0, 1;
    wait:
        mbarrier.try_wait.parity.shared.b64 q, [s], r2;
        @!q bra wait;
        ld.shared.u32 r3, [s+8];
        add.u32 r0, r0, 1;
        mul.lo.u32 r4, r0, 4;
        setp.lt.u32 q, r3, r4;
        @q trap;
        setp.lt.u32 q, r0, 3;
        @q bra phase;
        @leader st.global.u32 [x0], r3;";
    for schedule in schedules(30) {
        let mut bench = Bench::scheduled(schedule.clone(), body);
        bench.run(1, 128, 0).unwrap_or_else(|f| panic!("{schedule:?}: {f}"));
    }
}

#[test]
fn mbarrier_states_and_drops() {
    let body = "
        @!leader bra end;
        mbarrier.init.shared.b64 [s], 3;
        mbarrier.arrive.shared.b64 y0, [s], 2;
        mbarrier.test_wait.shared.b64 p, [s], y0; selp.u32 r0, 1, 0, p;
        mbarrier.arrive_drop.shared.b64 y1, [s];
        mbarrier.test_wait.shared.b64 p, [s], y0; selp.u32 r1, 1, 0, p;
        mbarrier.arrive.shared.b64 y2, [s], 2;
        mbarrier.test_wait.shared.b64 p, [s], y2; selp.u32 r2, 1, 0, p;
        mbarrier.pending_count.b64 r3, y2;
        mbarrier.arrive.expect_tx.shared.b64 y3, [s], 64;
        mbarrier.arrive.shared.b64 _, [s];
        mbarrier.test_wait.shared.b64 p, [s], y3; selp.u32 r4, 1, 0, p;
        mbarrier.complete_tx.shared.b64 [s], 64;
        mbarrier.test_wait.shared.b64 p, [s], y3; selp.u32 r5, 1, 0, p;
        mbarrier.inval.shared.b64 [s];
        mad.lo.u32 r0, r0, 10, r1; mad.lo.u32 r0, r0, 10, r2; mad.lo.u32 r0, r0, 10, r3;
        mad.lo.u32 r0, r0, 10, r4; mad.lo.u32 r0, r0, 10, r5;
        st.global.u32 [x0], r0;
    end:";
    let mut bench = Bench::scheduled(Schedule::RoundRobin, body);
    bench.run(1, 32, 0).unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(bench.word(bench.x0), 11201);
}

#[test]
fn mbarrier_misuse_is_a_fault() {
    for body in [
        "@leader mbarrier.arrive.shared.b64 y0, [s];",
        "@leader mbarrier.init.shared.b64 [s], 0;",
        "@leader mbarrier.init.shared.b64 [s+4], 1;",
        "@leader mbarrier.init.shared.b64 [s], 1; @leader mbarrier.init.shared.b64 [s], 1;",
        "@leader mbarrier.init.shared.b64 [s], 1; @leader mbarrier.arrive.shared.b64 y0, [s], 2;",
        "@leader mbarrier.init.shared.b64 [s], 1; @leader mbarrier.expect_tx.relaxed.cta.shared.b64 [s], 1048576;",
        "@leader mbarrier.init.shared.b64 [s], 1; @leader st.shared.u32 [s+4], 5; @leader mbarrier.arrive.shared.b64 y0, [s];",
    ] {
        let found = fault(body, 0);
        assert!(matches!(found.kind, FaultKind::Mbarrier(_)), "{body}: {found}");
    }
}

#[test]
fn barrier_misuse_is_a_fault() {
    for body in ["bar.sync 16;", "bar.sync 1, 33;", "bar.sync lane;"] {
        let found = fault(body, 0);
        assert!(matches!(found.kind, FaultKind::Barrier(_)), "{body}: {found}");
    }
}

/// A barrier that lacks a warp is a deadlock whose report says so.
#[test]
fn a_lacking_warp_is_reported() {
    let body = "shr.u32 r0, tid, 5; setp.eq.u32 p, r0, 0; @p bra other; bar.sync 1; bra end;
        other: bar.sync 2; end:";
    for schedule in schedules(5) {
        let config = MachineConfig { schedule, stall: Stall::Report, ..MachineConfig::new(1, 1) };
        let mut bench = Bench::new(config, body);
        let Ok(RunOutcome::Stalled(report)) = bench.run(1, 64, 0) else { panic!("no deadlock") };
        assert_eq!(report.waits.len(), 2);
        let ids: Vec<u32> = report
            .waits
            .iter()
            .filter_map(|w| match w.reason {
                WaitReason::Barrier { id, arrived: 32, expected: 64 } => Some(id),
                _ => None,
            })
            .collect();
        assert!(ids.contains(&1) && ids.contains(&2), "{report}");
        assert!(report.to_string().contains("test.ptx:"), "{report}");
    }
}
