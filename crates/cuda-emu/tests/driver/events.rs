//! Events: order between streams, times.

use crate::bench::{launch, load, mapped, ok, stream, synchronize, word, zeroed, Context, WAIT};
use cuda_emu::*;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn events_order_streams_and_tell_times() {
    let _context = Context::new(0);
    let (first, second, function) = (stream(), stream(), load(WAIT));
    let (flag, address) = mapped(8);
    let memory = zeroed(8);
    let (mut start, mut end, mut untimed, mut time) = (null_mut(), null_mut(), null_mut(), 0f32);
    // SAFETY: there is room for every result; all ranges are allocated.
    unsafe {
        ok(cuEventCreate(&mut start, 0));
        ok(cuEventCreate(&mut end, 0));
        ok(cuEventCreate(&mut untimed, 2));
        // An event that was not recorded is reached, but has no time.
        ok(cuEventQuery(end));
        ok(cuEventSynchronize(end));
        assert_eq!(cuEventElapsedTime(&mut time, start, end), codes::ERROR_INVALID_HANDLE);
        ok(cuEventRecord(start, first));
        ok(launch(function, first, [address, 0, 0]));
        ok(cuMemsetD8Async(memory, 1, 8, first));
        ok(cuEventRecord(end, first));
        ok(cuStreamWaitEvent(second, end, 0));
        ok(cuMemsetD8Async(memory, 2, 8, second));
        ok(cuEventRecord(untimed, second));
        assert_eq!(cuEventQuery(end), codes::ERROR_NOT_READY);
        assert_eq!(cuEventQuery(untimed), codes::ERROR_NOT_READY);
        assert_eq!(cuEventElapsedTime(&mut time, start, end), codes::ERROR_NOT_READY);
        std::thread::sleep(std::time::Duration::from_millis(20));
        (*flag.cast::<AtomicU64>()).store(1, Ordering::Release);
        ok(cuEventSynchronize(untimed));
        ok(cuEventQuery(end));
        ok(cuEventElapsedTime(&mut time, start, end));
        assert!((15.0..60_000.0).contains(&time), "{time} ms");
        assert_eq!(cuEventElapsedTime(&mut time, start, untimed), codes::ERROR_INVALID_HANDLE);
    }
    ok(synchronize(second));
    assert_eq!(word(memory), 0x0202_0202_0202_0202);
}

/// The clock goes on while nothing is to be done.
#[test]
fn an_idle_device_has_a_clock() {
    let _context = Context::new(2);
    let (mut start, mut end, mut time) = (null_mut(), null_mut(), 0f32);
    // SAFETY: there is room for every result.
    unsafe {
        ok(cuEventCreate(&mut start, 0));
        ok(cuEventCreate(&mut end, 0));
        ok(cuEventRecord(start, null_mut()));
        std::thread::sleep(std::time::Duration::from_millis(30));
        ok(cuEventRecord(end, null_mut()));
        ok(cuEventSynchronize(end));
        ok(cuEventElapsedTime(&mut time, start, end));
    }
    assert!((25.0..60_000.0).contains(&time), "{time} ms");
}

/// A destroyed stream and a destroyed event still do what they were asked for.
#[test]
fn work_outlives_its_names() {
    let _context = Context::new(0);
    let (first, second, function) = (stream(), stream(), load(WAIT));
    let (flag, address) = mapped(8);
    let memory = zeroed(8);
    let mut event = null_mut();
    // SAFETY: there is room for the handle; all ranges are allocated.
    unsafe {
        ok(cuEventCreate(&mut event, 2));
        ok(launch(function, first, [address, 0, 0]));
        ok(cuMemsetD8Async(memory, 1, 8, first));
        ok(cuEventRecord(event, first));
        ok(cuStreamWaitEvent(second, event, 0));
        ok(cuMemsetD8Async(memory, 2, 8, second));
        ok(cuStreamDestroy_v2(first));
        ok(cuEventDestroy_v2(event));
        assert_eq!(cuStreamQuery(second), codes::ERROR_NOT_READY);
        (*flag.cast::<AtomicU64>()).store(1, Ordering::Release);
    }
    ok(synchronize(second));
    assert_eq!(word(memory), 0x0202_0202_0202_0202);
}
