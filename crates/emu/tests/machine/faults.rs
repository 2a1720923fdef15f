//! Every wrong access is found, and its report names file, line, thread and place.

use crate::{fault, launch, Bench};
use warpferry_emu::{AccessRule, FaultKind, Machine, MachineConfig, MachineError, RunOutcome, Schedule};

#[test]
fn out_of_bounds() {
    let found = fault("add.u64 y0, x0, 4096; st.global.u32 [y0], lane;", 0);
    assert_eq!(found.kind, FaultKind::OutOfBounds { bytes: 4 });
    let thread = found.thread.clone().unwrap();
    assert_eq!((thread.lane, thread.cta), (0, [0, 0, 0]));
    assert!(found.to_string().contains("test.ptx:"), "{found}");
    assert!(found.to_string().contains("st.global.u32 [y0], lane"), "{found}");
    assert!(found.region.unwrap().contains("memory of gpu 0"));
    // Only the last lane is outside.
    let found = fault("mad.wide.u32 y0, lane, 132, x0; ld.global.u32 r0, [y0+4];", 0);
    assert_eq!(found.thread.unwrap().lane, 31);
    let found = fault("mov.u32 r1, 9000; st.shared.u32 [r1], lane;", 0);
    assert!(matches!(found.kind, FaultKind::OutOfBounds { .. }));
    // The system's part of shared memory.
    let found = fault("mov.u32 r1, 1020; st.shared.u32 [r1], lane;", 0);
    assert!(matches!(found.kind, FaultKind::OutOfBounds { .. }));
    let found = fault("st.global.u32 [x2], lane;", 64);
    assert_eq!(found.kind, FaultKind::Unmapped);
}

#[test]
fn misaligned() {
    let found = fault("ld.global.u32 r0, [x0+2];", 0);
    assert_eq!(found.kind, FaultKind::Misaligned { align: 4 });
    let found = fault("ld.global.v4.b32 {r0, r1, r2, r3}, [x0+8];", 0);
    assert_eq!(found.kind, FaultKind::Misaligned { align: 16 });
    let found = fault("mad.lo.u32 s, lane, 3, s; ld.shared.u16 r0, [s];", 0);
    assert_eq!((found.kind, found.thread.unwrap().lane), (FaultKind::Misaligned { align: 2 }, 1));
}

#[test]
fn uninitialized() {
    let mut bench = Bench::scheduled(Schedule::RoundRobin, "ld.global.u32 r0, [x2];");
    let fresh = bench.machine.alloc(0, 64).unwrap();
    let found = bench.run(1, 32, fresh).unwrap_err();
    assert_eq!(found.kind, FaultKind::Uninitialized);
    assert_eq!(found.address, Some(fresh));
    // A row of lanes: the first one without its word is named.
    let mut bench = Bench::scheduled(
        Schedule::RoundRobin,
        "@leader st.global.u32 [x0], 1; mad.wide.u32 y0, lane, 4, x2; ld.global.u32 r0, [y0];",
    );
    let partly = bench.machine.alloc(0, 128).unwrap();
    bench.machine.fill(partly, 1, 40).unwrap();
    let found = bench.run(1, 32, partly).unwrap_err();
    assert_eq!((found.thread.unwrap().lane, found.address), (10, Some(partly + 40)));
    let found = fault("ld.shared.u32 r0, [s+4];", 0);
    assert_eq!(found.kind, FaultKind::Uninitialized);
    let found = fault("st.shared.u32 [s], lane; ld.shared.u64 y0, [s];", 0);
    assert_eq!(found.kind, FaultKind::Uninitialized);
    let found = fault("{ .local .b8 frame[8]; ld.local.u32 r0, [frame]; }", 0);
    assert_eq!(found.kind, FaultKind::Uninitialized);
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let at = machine.alloc(0, 64).unwrap();
    machine.fill(at, 1, 8).unwrap();
    let error = machine.read(at, &mut [0; 16]).unwrap_err();
    assert_eq!(error, MachineError::Access { address: at + 8, problem: FaultKind::Uninitialized });
    machine.read_raw(at, &mut [0; 16]).unwrap();
}

#[test]
fn freed_memory_and_foreign_memory() {
    let mut bench = Bench::new(MachineConfig::new(1, 2), "ld.global.u32 r0, [x2];");
    let gone = bench.machine.alloc(0, 64).unwrap();
    bench.machine.free(gone).unwrap();
    assert_eq!(bench.run(1, 32, gone).unwrap_err().kind, FaultKind::Freed);
    let mut bench = Bench::new(MachineConfig::new(1, 2), "ld.global.u32 r0, [x2];");
    let other = bench.machine.alloc(1, 64).unwrap();
    bench.machine.fill(other, 3, 64).unwrap();
    let found = bench.run(1, 32, other).unwrap_err();
    assert!(matches!(found.kind, FaultKind::Rights { act: "read", .. }), "{found}");
    // Over a peer mapping it is fine, until the memory behind it goes away.
    let mut bench = Bench::new(MachineConfig::new(1, 2), "ld.global.u32 r0, [x2]; st.global.u32 [x0], r0;");
    let other = bench.machine.alloc(1, 64).unwrap();
    bench.machine.fill(other, 3, 64).unwrap();
    let peer = bench.machine.map_peer(other, 0).unwrap();
    bench.run(1, 32, peer).unwrap();
    assert_eq!(bench.word(bench.x0), 0x0303_0303);
    bench.machine.free(other).unwrap();
    assert_eq!(bench.run(1, 32, peer).unwrap_err().kind, FaultKind::Freed);
}

#[test]
fn contracts() {
    let run = |body: &str, write: bool, bytes: u64| {
        let mut bench = Bench::scheduled(Schedule::RoundRobin, body);
        let mut launch = launch(0, bench.module, 1, 32, [bench.x0, bench.x1, 0]);
        launch.access = vec![AccessRule { address: bench.x0, bytes: Some(bytes), read: true, write }];
        bench.machine.launch(launch).unwrap();
        bench.machine.run_until_idle()
    };
    let load = "mad.wide.u32 y0, lane, 4, x0; ld.global.u32 r0, [y0];";
    assert!(run(load, false, 128).is_ok());
    assert_eq!(run(load, false, 124).unwrap_err().kind, FaultKind::Contract { act: "read" });
    assert_eq!(run("st.global.u32 [x0], lane;", false, 128).unwrap_err().kind, FaultKind::Contract { act: "write" });
    assert!(run("st.global.u32 [x0], lane;", true, 128).is_ok());
    assert_eq!(run("ld.global.u32 r0, [x1];", true, 128).unwrap_err().kind, FaultKind::Contract { act: "read" });
}

#[test]
fn constants_cannot_be_written() {
    let body = "mov.u64 y0, table; ld.const.u32 r0, [table+4]; st.global.u32 [x0], r0; st.global.u32 [y0], r0;";
    let text =
        crate::kernel(body).replace(".visible .entry", ".const .align 4 .u32 table[2] = {7, 9};\n.visible .entry");
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let module = machine.load_module("test.ptx", &text).unwrap_or_else(|e| panic!("{e}"));
    let x0 = machine.alloc(0, 4096).unwrap();
    machine.launch(launch(0, module, 1, 32, [x0, 0, 0])).unwrap();
    let found = machine.run_until_idle().unwrap_err();
    assert!(matches!(found.kind, FaultKind::Rights { act: "write", .. }), "{found}");
    let mut word = [0; 4];
    machine.read(x0, &mut word).unwrap();
    assert_eq!(u32::from_le_bytes(word), 9);
}

#[test]
fn faults_are_sticky_for_their_gpu_only() {
    let mut bench = Bench::new(MachineConfig::new(1, 2), "@leader trap;");
    let found = bench.run(1, 32, 0).unwrap_err();
    assert_eq!(found.kind, FaultKind::Trap);
    assert_eq!(bench.machine.fault(0), Some(&found));
    let again = bench.machine.launch(launch(0, bench.module, 1, 32, [bench.x0, bench.x1, 0]));
    assert!(matches!(again, Err(MachineError::Faulted(_))));
    assert!(matches!(bench.machine.stream_idle(0, warpferry_emu::StreamId::DEFAULT), Err(MachineError::Faulted(_))));
    assert!(matches!(bench.machine.run_until_idle(), Ok(RunOutcome::Idle)));
    assert!(bench.machine.stream_idle(1, warpferry_emu::StreamId::DEFAULT).unwrap());
}

#[test]
fn bad_launches_are_refused() {
    let mut bench = Bench::scheduled(Schedule::RoundRobin, "");
    let good = launch(0, bench.module, 1, 32, [0; 3]);
    for (change, what) in [
        ((|l| l.block = [2048, 1, 1]) as fn(&mut warpferry_emu::Launch), "threads of a CTA"),
        (|l| l.grid = [0, 1, 1], "CTAs"),
        (|l| l.args.truncate(20), "bytes of arguments"),
        (|l| l.shared_bytes = 300_000, "shared memory with the static part"),
    ] {
        let mut wrong = good.clone();
        change(&mut wrong);
        let error = bench.machine.launch(wrong).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    let error = bench.machine.launch(warpferry_emu::Launch { entry: "none".into(), ..good }).unwrap_err();
    assert!(matches!(error, MachineError::NoSuchEntry { .. }));
}
