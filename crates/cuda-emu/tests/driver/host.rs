//! Host memory that kernels and host threads use at the same time, and real time.

use crate::bench::{launch, load, mapped, ok, stream, synchronize, Context};
use cuda_emu::*;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Answers each request at `x0` at the word behind it, `x2` times; sleeps between looks.
const ECHO: &str = "
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
        st.global.u64 [x1], y0;
        st.release.sys.global.u64 [x0+8], y0;
        setp.lt.u64 p, y1, x2;
        @p bra next;";

/// A host thread and a running kernel answer each other; what was stored before the answer is there with it.
#[test]
fn host_and_kernel_answer_each_other() {
    const TURNS: u64 = 300;
    let _context = Context::new(0);
    let (stream, function) = (stream(), load(ECHO));
    let (host, address) = mapped(8192);
    // SAFETY: the words lie within memory that lives as long as the context, and are used through atomics.
    let at = |offset: usize| unsafe { &*host.add(offset).cast::<AtomicU64>() };
    ok(launch(function, stream, [address, address + 4096, TURNS]));
    let start = Instant::now();
    for turn in 1..=TURNS {
        at(0).store(turn, Ordering::Release);
        while at(8).load(Ordering::Acquire) != turn {
            assert!(start.elapsed() < Duration::from_secs(20), "no answer to {turn}");
            std::thread::yield_now();
        }
        assert_eq!(at(4096).load(Ordering::Relaxed), turn);
    }
    ok(synchronize(stream));
}

/// A kernel's own deadline fires after about as much real time, while nothing can move.
#[test]
fn deadlines_follow_the_wall_clock() {
    let body = "
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
        st.release.sys.global.u64 [x1], y3;";
    let _context = Context::new(1);
    let (stream, function) = (stream(), load(body));
    let (host, address) = mapped(16);
    let start = Instant::now();
    ok(launch(function, stream, [address, address + 8, 200_000_000]));
    ok(synchronize(stream));
    let passed = start.elapsed();
    // SAFETY: the word lies within memory that lives as long as the context.
    let late = unsafe { &*host.cast::<AtomicU64>().add(1) }.load(Ordering::Acquire);
    assert!((200_000_000..10_000_000_000).contains(&late), "{late} ns");
    assert!(passed >= Duration::from_millis(190) && passed < Duration::from_secs(20), "{passed:?}");
}

/// Rights of host memory are those that were asked for.
#[test]
fn host_memory_has_the_rights_asked_for() {
    let first = Context::new(0);
    let (mut plain, mut own, mut address) = (null_mut(), null_mut(), 0);
    let (mut kind, mut bytes, mut pointer) = (0u32, 0usize, 0u64);
    // SAFETY: there is room for every result.
    unsafe {
        ok(cuMemHostAlloc(&mut plain, 100, 0));
        assert_eq!(plain as usize % 4096, 0);
        assert_eq!(cuMemHostGetDevicePointer_v2(&mut address, plain, 0), codes::ERROR_INVALID_VALUE);
        ok(cuMemHostAlloc(&mut own, 100, 2));
        ok(cuMemHostGetDevicePointer_v2(&mut address, own, 0));
        ok(cuPointerGetAttribute((&raw mut kind).cast(), 2, address + 5));
        ok(cuPointerGetAttribute((&raw mut bytes).cast(), 12, own as u64));
        ok(cuPointerGetAttribute((&raw mut pointer).cast(), 3, own as u64 + 5));
        assert_eq!((kind, bytes, pointer), (1, 100, address + 5));
        ok(cuPointerGetAttribute((&raw mut pointer).cast(), 4, address + 5));
        assert_eq!(pointer, own as u64 + 5);
        let second = Context::new(0);
        assert_eq!(cuMemHostGetDevicePointer_v2(&mut address, own, 0), codes::ERROR_INVALID_VALUE);
        drop(second);
        assert_eq!(cuMemFreeHost(own.byte_add(8)), codes::ERROR_INVALID_VALUE);
        ok(cuMemFreeHost(own));
        assert_eq!(cuMemFreeHost(own), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuPointerGetAttribute((&raw mut kind).cast(), 2, address), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemHostAlloc(&mut own, 100, 8), codes::ERROR_INVALID_VALUE);
    }
    drop(first);
}
