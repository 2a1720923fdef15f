//! Bulk copies: right with their waits, caught without them.

use crate::{fault, schedules, Bench};
use warpferry_emu::{FaultKind, Schedule};

/// Loads 1 KiB from x0, waits, and stores it to x1; `LOAD_WAIT` and `STORE_WAIT` are put in.
fn round_trip(load_wait: &str, store_wait: &str) -> String {
    format!(
        "@!leader bra end;
        mov.u32 r1, s; add.u32 r2, s, 1024;
        mbarrier.init.shared::cta.b64 [r2], 1;
        fence.mbarrier_init.release.cluster;
        mbarrier.arrive.expect_tx.shared::cta.b64 y0, [r2], 1024;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [r1], [x0], 1024, [r2];
        {load_wait}
        cp.async.bulk.global.shared::cta.bulk_group [x1], [r1], 1024;
        cp.async.bulk.commit_group;
        {store_wait}
        end:"
    )
}

const LOAD_WAIT: &str = "wait: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [r2], 0; @!p bra wait;";

fn filled(schedule: Schedule, body: &str) -> Bench {
    let mut bench = Bench::scheduled(schedule, body);
    let bytes: Vec<u8> = (0..4096u32).map(|i| (i % 251) as u8 + 1).collect();
    bench.machine.write(bench.x0, &bytes).unwrap();
    bench
}

#[test]
fn copies_arrive() {
    for schedule in schedules(30) {
        let mut bench = filled(schedule.clone(), &round_trip(LOAD_WAIT, "cp.async.bulk.wait_group 0;"));
        bench.run(1, 32, 0).unwrap_or_else(|f| panic!("{schedule:?}: {f}"));
        let mut back = vec![0; 1024];
        bench.machine.read(bench.x1, &mut back).unwrap();
        let want: Vec<u8> = (0..1024u32).map(|i| (i % 251) as u8 + 1).collect();
        assert_eq!(back, want, "{schedule:?}");
        let counts = &bench.machine.statistics().gpus[0];
        assert_eq!((counts.bulk_load_bytes, counts.bulk_store_bytes), (1024, 1024));
    }
}

/// The store reads its source before the load has landed: under some schedule old bytes arrive.
#[test]
fn a_missing_wait_for_a_load_shows() {
    let wrong = schedules(40).filter(|schedule| {
        let mut bench = filled(schedule.clone(), &round_trip("", &format!("{LOAD_WAIT} cp.async.bulk.wait_group 0;")));
        match bench.run(1, 32, 0) {
            Err(_) => true,
            Ok(_) => bench.machine.read(bench.x1, &mut [0; 1024]).is_err(),
        }
    });
    assert!(wrong.count() > 0);
}

/// `.read` lets the source go, not the target: the flag may be seen before the bytes.
#[test]
fn waiting_for_the_read_alone_shows() {
    let body = |wait: &str| {
        format!(
            "{}
            @leader fence.acq_rel.sys;
            @leader st.relaxed.sys.global.u64 [x0+2048], 1;
            @leader ld.global.u64 y3, [x1];
            @leader st.global.u64 [x0+2056], y3;",
            round_trip(LOAD_WAIT, wait)
        )
    };
    let late = |wait: &str| {
        schedules(60)
            .filter(|schedule| {
                let mut bench = filled(schedule.clone(), &body(wait));
                bench.run(1, 32, 0).unwrap_or_else(|f| panic!("{f}"));
                bench.word(bench.x0 + 2056) == 0
            })
            .count()
    };
    assert_eq!(late("cp.async.bulk.wait_group 0;"), 0);
    assert!(late("cp.async.bulk.wait_group.read 0;") > 0);
}

/// A source that is overwritten before the store has read it: caught by its bytes under some schedule.
#[test]
fn reusing_a_source_too_early_shows() {
    let body = |wait: &str| {
        round_trip(LOAD_WAIT, &format!("{wait} mov.u64 y4, 0; st.shared.u64 [r1], y4; cp.async.bulk.wait_group 0;"))
    };
    let overwritten = |wait: &str| {
        schedules(60)
            .filter(|schedule| {
                let mut bench = filled(schedule.clone(), &body(wait));
                bench.run(1, 32, 0).unwrap_or_else(|f| panic!("{f}"));
                bench.word(bench.x1) == 0
            })
            .count()
    };
    assert_eq!(overwritten("cp.async.bulk.wait_group.read 0;"), 0);
    assert!(overwritten("") > 0);
}

#[test]
fn groups_are_waited_for_by_number() {
    // Two groups; all but the latest one done: the first target must be there.
    let body = "@!leader bra end;
        mov.u64 y0, 0x1111; mov.u64 y1, 0x2222; mov.u64 y2, 0;
        st.shared.v2.u64 [s], {y0, y0}; st.shared.v2.u64 [s+16], {y1, y1};
        fence.proxy.async.shared::cta;
        cp.async.bulk.global.shared::cta.bulk_group [x0], [s], 16;
        cp.async.bulk.commit_group;
        cp.async.bulk.global.shared::cta.bulk_group [x0+16], [s+16], 16;
        cp.async.bulk.commit_group;
        cp.async.bulk.wait_group 1;
        ld.global.u64 y3, [x0]; st.global.u64 [x1], y3;
        ld.global.u64 y4, [x0+16]; st.global.u64 [x1+8], y4;
        cp.async.bulk.wait_group 0;
        end:";
    let mut early = 0;
    for schedule in schedules(40) {
        let mut bench = Bench::scheduled(schedule.clone(), body);
        bench.run(1, 32, 0).unwrap_or_else(|f| panic!("{f}"));
        assert_eq!(bench.word(bench.x1), 0x1111, "{schedule:?}");
        assert_eq!(bench.word(bench.x0 + 16), 0x2222, "{schedule:?}");
        early += (bench.word(bench.x1 + 8) == 0) as u32;
    }
    assert!(early > 0, "the second group is not waited for");
}

#[test]
fn misuse_is_a_fault() {
    let init = "@!leader bra end; mbarrier.init.shared::cta.b64 [s+1024], 1;";
    let load = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes";
    let found = fault(&format!("{init} {load} [s], [x0], 24, [s+1024]; end:"), 0);
    assert!(matches!(found.kind, FaultKind::Bulk(_)), "{found}");
    let found = fault(&format!("{init} {load} [s], [x0+8], 16, [s+1024]; end:"), 0);
    assert_eq!(found.kind, FaultKind::Misaligned { align: 16 });
    let found = fault(&format!("@!leader bra end; {load} [s], [x0], 16, [s+1024]; end:"), 0);
    assert!(matches!(found.kind, FaultKind::Mbarrier(_)), "{found}");
    let found = fault(&format!("{init} {load} [s], [x0+4080], 32, [s+1024]; end:"), 0);
    assert_eq!(found.kind, FaultKind::OutOfBounds { bytes: 32 });
    // Ends before its load has landed.
    let found = fault(&round_trip("", "").replace("cp.async.bulk.global", "// "), 0);
    assert!(matches!(found.kind, FaultKind::Bulk(_)), "{found}");
}

/// What nobody wrote stays so through a copy.
#[test]
fn copies_carry_what_nobody_wrote() {
    let body = round_trip(LOAD_WAIT, "cp.async.bulk.wait_group 0;").replace("[x0], 1024", "[x2], 1024");
    let mut bench = Bench::scheduled(Schedule::RoundRobin, &body);
    let fresh = bench.machine.alloc(0, 1024).unwrap();
    bench.machine.fill(fresh, 5, 100).unwrap();
    bench.run(1, 32, fresh).unwrap_or_else(|f| panic!("{f}"));
    bench.machine.read(bench.x1, &mut [0; 100]).unwrap();
    assert!(bench.machine.read(bench.x1, &mut [0; 101]).is_err());
}
