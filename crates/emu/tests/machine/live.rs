//! A machine beside real time: shared host memory, slices, time by hand, peers at their own addresses, hardware queues.

use crate::{kernel, launch, Bench};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use warpferry_emu::{FaultKind, Launch, Machine, MachineConfig, Slice, StreamId};

/// Answers each request at `x0` at the word `x1`, `x2` times.
const ECHO: &str = "
    @!leader bra end;
    mov.u64 y1, 0;
next:
    add.u64 y1, y1, 1;
poll:
    ld.acquire.sys.global.u64 y0, [x0];
    setp.ge.u64 p, y0, y1;
    @p bra answer;
    nanosleep.u32 100;
    bra poll;
answer:
    st.release.sys.global.u64 [x1], y0;
    setp.lt.u64 p, y1, x2;
    @p bra next;
end:";

/// Runs until idle beside real time; gives up after a second without anything.
fn drive(machine: &mut Machine) {
    let start = Instant::now();
    loop {
        match machine.run_slice(1000).unwrap_or_else(|fault| panic!("{fault}")) {
            Slice::Idle => return,
            Slice::More => {}
            Slice::Waiting { .. } => {
                std::thread::sleep(Duration::from_micros(20));
                if !machine.poke_shared() {
                    machine.let_time_pass(20_000);
                }
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{}", machine.stall_report());
    }
}

/// A host thread and a kernel answer each other through shared memory, with no call of the machine between.
#[test]
fn host_and_kernel_answer_each_other() {
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let module = machine.load_module("echo.ptx", &kernel(ECHO)).unwrap();
    let (address, words) = machine.alloc_host_shared(0, 8192).unwrap();
    machine.launch(launch(0, module, 1, 32, [address, address + 4096, 200])).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 1..=200 {
                words.word(0).store(turn, Ordering::Release);
                let start = Instant::now();
                while words.word(512).load(Ordering::Acquire) != turn {
                    assert!(start.elapsed() < Duration::from_secs(10), "no answer to {turn}");
                    std::thread::yield_now();
                }
            }
        });
        drive(&mut machine);
    });
    let mut word = [0; 8];
    machine.read(address + 4096, &mut word).unwrap();
    assert_eq!(u64::from_le_bytes(word), 200);
}

/// Atomics of a kernel and of the host on one word lose nothing.
#[test]
fn atomics_with_the_host_lose_nothing() {
    let body = "
        mov.u64 y0, 0;
    again:
        red.relaxed.sys.global.add.u64 [x0], 1;
        add.u64 y0, y0, 1;
        setp.lt.u64 p, y0, 2000;
        @p bra again;";
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let module = machine.load_module("add.ptx", &kernel(body)).unwrap();
    let (address, words) = machine.alloc_host_shared(0, 8).unwrap();
    machine.launch(launch(0, module, 1, 64, [address, 0, 0])).unwrap();
    let done = AtomicBool::new(false);
    let added = std::thread::scope(|scope| {
        // The host adds for as long as the kernel does.
        let host = scope.spawn(|| {
            let mut added = 0;
            while !done.load(Ordering::Relaxed) {
                words.word(0).fetch_add(1, Ordering::Relaxed);
                added += 1;
            }
            added
        });
        drive(&mut machine);
        done.store(true, Ordering::Relaxed);
        host.join().expect("the host's thread only adds")
    });
    assert_eq!(words.word(0).load(Ordering::Relaxed), added + 64 * 2000);
}

/// A warp that parked on a shared word runs again when the word has changed, with no time passing.
#[test]
fn a_poke_wakes_who_waits_for_a_shared_word() {
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let module = machine.load_module("echo.ptx", &kernel(ECHO)).unwrap();
    let (address, words) = machine.alloc_host_shared(0, 16).unwrap();
    machine.launch(launch(0, module, 1, 32, [address, address + 8, 2])).unwrap();
    let mut settle = || {
        // Sleeps that are no parking end; far too short a time for a look at the clock.
        for _ in 0..20 {
            machine.run_slice(1000).unwrap();
            machine.let_time_pass(200);
        }
        assert!(!machine.poke_shared(), "nothing has changed");
        let slice = machine.run_slice(1000).unwrap();
        (slice, words.word(1).load(Ordering::Acquire))
    };
    assert_eq!(settle(), (Slice::Waiting { until_ns: None }, 0));
    words.word(0).store(1, Ordering::Release);
    assert!(machine.poke_shared());
    machine.run_slice(1000).unwrap();
    assert_eq!(words.word(1).load(Ordering::Acquire), 1);
}

/// Every width, row and vector of loads and stores, and bulk copies, give in shared memory what they give elsewhere.
#[test]
fn accesses_equal_those_of_ordinary_memory() {
    let body = "
        mul.wide.u32 y0, tid, 16; add.u64 y1, x1, y0; add.u64 y0, x0, y0;
        ld.global.v4.u32 {r0, r1, r2, r3}, [y0];
        st.global.v2.u32 [y1], {r3, r1};
        st.global.u16 [y1+8], r0;
        st.global.u8 [y1+11], r2;
        ld.global.u8 r4, [x0+5]; st.global.u8 [y1+10], r4;
        ld.global.s16 r5, [y0+2]; st.global.u32 [y1+12], r5;
        bar.sync 0;
        @!leader bra end;
        mov.u32 r6, stage;
        st.shared.u64 [r6], x0; st.shared.u64 [r6+8], x1; fence.proxy.async.shared::cta;
        cp.async.bulk.global.shared::cta.bulk_group [x1+1024], [r6], 16;
        cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
    end:";
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let module = machine.load_module("mixed.ptx", &kernel(body)).unwrap();
    let bytes: Vec<u8> = (0..1024u32).map(|i| (i * 7 + 3) as u8).collect();
    let (source, _) = machine.alloc_host_shared(0, 4096).unwrap();
    let (target, _) = machine.alloc_host_shared(0, 4096).unwrap();
    let (plain_source, plain_target) = (machine.alloc(0, 4096).unwrap(), machine.alloc(0, 4096).unwrap());
    let mut results = Vec::new();
    for (from, to) in [(source, target), (plain_source, plain_target)] {
        machine.fill(from, 0, 4096).unwrap();
        machine.fill(to, 9, 4096).unwrap();
        machine.write(from, &bytes).unwrap();
        machine.launch(launch(0, module, 1, 64, [from, to, 0])).unwrap();
        machine.run_until_idle().unwrap();
        let mut seen = vec![0; 4096];
        machine.read(to, &mut seen).unwrap();
        assert_eq!(seen[1024..1040], [from.to_le_bytes(), to.to_le_bytes()].concat());
        seen[1024..1040].fill(0);
        results.push(seen);
    }
    assert!(results[0] == results[1]);
}

/// A kernel's own deadline fires after the time that was let pass, not before.
#[test]
fn deadlines_follow_the_time_that_passes() {
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
    let mut bench = Bench::new(MachineConfig::new(1, 1), body);
    bench.machine.launch(launch(0, bench.module, 1, 32, [bench.x0, bench.x1, 50_000_000])).unwrap();
    let mut passed = 0;
    while bench.machine.run_slice(1000).unwrap() != Slice::Idle {
        assert!(passed < 60_000_000, "the deadline has not fired");
        bench.machine.let_time_pass(100_000);
        passed += 100_000;
    }
    let late = bench.word(bench.x1);
    assert!((50_000_000..52_000_000).contains(&late) && late <= passed + 100_000, "{late} after {passed}");
}

/// Memory of a peer is used at its own address, when that was enabled and in that direction only.
#[test]
fn peers_are_seen_at_their_own_address() {
    let mut machine = Machine::new(MachineConfig::new(1, 2)).unwrap();
    let module = machine.load_module("store.ptx", &kernel("@leader st.global.u64 [x0], x2;")).unwrap();
    let (own, other) = (machine.alloc(0, 64).unwrap(), machine.alloc(1, 64).unwrap());
    machine.enable_peer(0, 1).unwrap();
    machine.launch(launch(0, module, 1, 32, [other, 0, 77])).unwrap();
    machine.run_until_idle().unwrap();
    let mut word = [0; 8];
    machine.read(other, &mut word).unwrap();
    assert_eq!(u64::from_le_bytes(word), 77);
    assert_eq!(machine.statistics().gpus[0].store_peer_bytes, 8);
    machine.launch(launch(1, module, 1, 32, [own, 0, 1])).unwrap();
    let fault = machine.run_until_idle().unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Rights { .. }), "{fault}");
    assert!(machine.disable_peer(0, 1) && !machine.disable_peer(0, 1));
    assert!(machine.enable_peer(0, 0).is_err());
}

/// A launch behind one that waits for it, in another stream of the same hardware queue, never starts; in two it does.
#[test]
fn streams_that_share_a_queue_wait_for_each_other() {
    let body = "
        @!leader bra end;
        st.release.sys.global.u64 [x0], x2;
    poll:
        ld.acquire.sys.global.u64 y0, [x1];
        setp.ne.u64 p, y0, 0;
        @p bra end;
        nanosleep.u32 100;
        bra poll;
    end:";
    for (queues, meets) in [([0, 0], false), ([0, 1], true)] {
        let mut bench = Bench::new(MachineConfig::new(1, 1), body);
        let streams = queues.map(|queue| bench.machine.create_stream_on(0, queue).unwrap());
        let in_stream = |stream: StreamId, args| Launch { stream, ..launch(0, bench.module, 1, 32, args) };
        let (x0, x1) = (bench.x0, bench.x1);
        let (first, second) = (in_stream(streams[0], [x0, x1, 1]), in_stream(streams[1], [x1, x0, 1]));
        bench.machine.launch(first).unwrap();
        bench.machine.launch(second).unwrap();
        let mut slice = || {
            bench.machine.let_time_pass(10_000);
            bench.machine.run_slice(1000).unwrap()
        };
        let ended = (0..100).any(|_| slice() == Slice::Idle);
        assert_eq!(ended, meets, "queues {queues:?}");
        let report = bench.machine.stall_report().to_string();
        assert_eq!(report.contains("waits for hardware queue 0"), !meets, "{report}");
    }
}

/// An unloaded module has no entries, and its variables are free.
#[test]
fn modules_can_be_unloaded() {
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let text = format!("{}\n.visible .global .u64 counter;", kernel(""));
    let module = machine.load_module("counter.ptx", &text).unwrap();
    let address = machine.variable_address(module, 0, "counter").unwrap().unwrap();
    machine.unload_module(module).unwrap();
    assert!(machine.entry_info(module, "test").is_err());
    assert!(machine.read(address, &mut [0; 8]).is_err());
    assert!(machine.launch(launch(0, module, 1, 32, [0; 3])).is_err());
}
