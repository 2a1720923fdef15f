//! Copies, fills and words in the order of their streams.

use crate::bench::{launch, load, mapped, ok, stream, synchronize, word, zeroed, Context, WAIT};
use cuda_emu::*;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

/// A host word that kernels and copies see.
fn host_word<'a>(pointer: *mut u8, index: usize) -> &'a AtomicU64 {
    // SAFETY: the tests ask for words within memory that lives as long as their context, and use it through atomics.
    unsafe { &*pointer.cast::<AtomicU64>().add(index) }
}

#[test]
fn copies_go_round() {
    let _context = Context::new(0);
    let (first, second, stream) = (zeroed(1000), zeroed(1000), stream());
    let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 31) as u8).collect();
    let mut back = vec![0u8; 1000];
    // SAFETY: all ranges have 1000 bytes.
    unsafe {
        ok(cuMemcpyHtoDAsync_v2(first, bytes.as_ptr().cast(), 1000, stream));
        ok(cuMemcpyDtoDAsync_v2(second + 3, first, 997, stream));
        ok(cuMemsetD8Async(second, 7, 3, stream));
        ok(cuMemcpyDtoHAsync_v2(back.as_mut_ptr().cast(), second, 1000, stream));
        assert_eq!((&back[..3], &back[3..]), ([7, 7, 7].as_slice(), &bytes[..997]));
        ok(cuMemcpyHtoD_v2(first, back.as_ptr().cast(), 1000));
        ok(cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), first, 1000));
        assert_eq!(&back[3..], &bytes[..997]);
        ok(cuMemcpyHtoDAsync_v2(first, bytes.as_ptr().cast(), 0, stream));
    }
}

/// Pinned memory is read when the stream comes to the copy, other memory at the call; a copy to pinned memory returns
/// before its end.
#[test]
fn pinned_memory_is_used_late() {
    let _context = Context::new(0);
    let (stream, function) = (stream(), load(WAIT));
    let (flag, flag_address) = mapped(8);
    let (pinned, _) = mapped(8192);
    let (first, second) = (zeroed(8), zeroed(8));
    ok(launch(function, stream, [flag_address, 0, 0]));
    host_word(pinned, 0).store(1, Ordering::Relaxed);
    let pageable = Box::new(AtomicU64::new(1));
    // SAFETY: all ranges have 8 bytes.
    unsafe {
        ok(cuMemcpyHtoDAsync_v2(first, pinned.cast(), 8, stream));
        ok(cuMemcpyHtoDAsync_v2(second, pageable.as_ptr().cast(), 8, stream));
        ok(cuMemcpyDtoHAsync_v2(pinned.add(4096).cast(), first, 8, stream));
        assert_eq!(cuStreamQuery(stream), codes::ERROR_NOT_READY);
    }
    host_word(pinned, 0).store(2, Ordering::Relaxed);
    pageable.store(2, Ordering::Relaxed);
    assert_eq!(host_word(pinned, 512).load(Ordering::Acquire), 0);
    host_word(flag, 0).store(1, Ordering::Release);
    ok(synchronize(stream));
    assert_eq!((word(first), word(second)), (2, 1));
    assert_eq!(host_word(pinned, 512).load(Ordering::Acquire), 2);
}

/// A word is written behind the copy before it: who sees the word sees the copy.
#[test]
fn words_are_written_behind_copies() {
    let _context = Context::new(0);
    let (stream, function) = (stream(), load(WAIT));
    let (host, address) = mapped(4096);
    let source = zeroed(8);
    // SAFETY: all ranges are allocated.
    unsafe {
        ok(cuMemsetD8Async(source, 5, 8, stream));
        ok(launch(function, stream, [address, 0, 0]));
        ok(cuMemcpyDtoDAsync_v2(address + 64, source, 8, stream));
        ok(cuStreamWriteValue64_v2(stream, address + 128, 77, 0));
        assert_eq!(cuStreamWriteValue64_v2(stream, address + 132, 77, 0), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuStreamWriteValue64_v2(stream, address + 4096, 77, 0), codes::ERROR_INVALID_VALUE);
    }
    assert_eq!(host_word(host, 16).load(Ordering::Acquire), 0);
    host_word(host, 0).store(1, Ordering::Release);
    while host_word(host, 16).load(Ordering::Acquire) != 77 {
        std::thread::yield_now();
    }
    assert_eq!(host_word(host, 8).load(Ordering::Relaxed), 0x0505_0505_0505_0505);
    ok(synchronize(stream));
}

/// The default stream and blocking streams wait for each other; others do not.
#[test]
fn the_default_stream_waits_for_blocking_ones() {
    let _context = Context::new(0);
    let function = load(WAIT);
    let (flag, address) = mapped(8);
    let (mut blocking, free, done) = (null_mut(), stream(), zeroed(16));
    // SAFETY: there is room for the handle; all ranges are allocated.
    unsafe {
        ok(cuStreamCreate(&mut blocking, 0));
        ok(launch(function, blocking, [address, 0, 0]));
        ok(cuMemsetD8Async(done, 1, 8, null_mut()));
        ok(cuMemsetD8Async(done + 8, 1, 8, free));
        ok(synchronize(free));
        assert_eq!(cuStreamQuery(null_mut()), codes::ERROR_NOT_READY);
        host_word(flag, 0).store(1, Ordering::Release);
        ok(synchronize(null_mut()));
        ok(cuStreamQuery(blocking));
        ok(cuStreamQuery(2 as *mut _));
    }
    assert_eq!(word(done), 0x0101_0101_0101_0101);
}

/// Freeing memory waits for the work of the GPU.
#[test]
fn free_waits_for_work() {
    let _context = Context::new(3);
    let (stream, function, memory) = (stream(), load(WAIT), zeroed(8));
    let (flag, address) = mapped(8);
    ok(launch(function, stream, [address, 0, 0]));
    let (released, flag) = (AtomicU64::new(0), host_word(flag, 0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            released.store(1, Ordering::SeqCst);
            flag.store(1, Ordering::Release);
        });
        // SAFETY: no pointers are given.
        ok(unsafe { cuMemFree_v2(memory) });
        assert_eq!(released.load(Ordering::SeqCst), 1);
    });
}
