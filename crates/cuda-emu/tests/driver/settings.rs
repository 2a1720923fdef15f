//! What the environment changes, each in a child.

use crate::bench::{in_child, launch, load, mapped, ok, passed, stream, zeroed, Context};
use cuda_emu::*;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[test]
fn nothing_works_before_the_start() {
    passed(in_child("settings::nothing_works_before_the_start", &[], || {
        let (mut count, mut context) = (0, null_mut());
        // SAFETY: there is room for every result.
        unsafe {
            assert_eq!(cuDeviceGetCount(&mut count), codes::ERROR_NOT_INITIALIZED);
            assert_eq!(cuCtxGetCurrent(&mut context), codes::ERROR_NOT_INITIALIZED);
            ok(cuDriverGetVersion(&mut count));
            assert_eq!(cuInit(1), codes::ERROR_INVALID_VALUE);
            ok(cuInit(0));
            ok(cuInit(0));
        }
    }));
}

#[test]
fn no_device() {
    // SAFETY: no pointers are given.
    let act = || assert_eq!(unsafe { cuInit(0) }, codes::ERROR_NO_DEVICE);
    passed(in_child("settings::no_device", &[("WARPFERRY_CUDA_EMU_DEVICES", "0")], act));
}

#[test]
fn nonsense_is_refused() {
    // SAFETY: no pointers are given.
    let act = || assert_eq!(unsafe { cuInit(0) }, codes::ERROR_INVALID_VALUE);
    passed(in_child("settings::nonsense_is_refused", &[("WARPFERRY_CUDA_EMU_SMS", "lots")], act));
}

#[test]
fn versions_are_reported() {
    let settings = [("WARPFERRY_CUDA_EMU_VERSION", "11080"), ("WARPFERRY_CUDA_EMU_COMPUTE", "80")];
    passed(in_child("settings::versions_are_reported", &settings, || {
        let (mut version, mut major) = (0, 0);
        let _context = Context::new(0);
        let load = |text: &[u8]| {
            let mut module = null_mut();
            // SAFETY: the text ends with a zero byte.
            unsafe { cuModuleLoadData(&mut module, text.as_ptr().cast()) }
        };
        // SAFETY: there is room for every result.
        unsafe {
            ok(cuDriverGetVersion(&mut version));
            ok(cuDeviceGetAttribute(&mut major, 75, 0));
        }
        assert_eq!((version, major), (11080, 8));
        assert_eq!(load(b".version 8.0\n.target sm_80\n\0"), codes::ERROR_UNSUPPORTED_PTX_VERSION);
        assert_eq!(load(b".version 7.8\n.target sm_90\n\0"), codes::ERROR_INVALID_PTX);
    }));
}

#[test]
fn calls_fail_when_told_to() {
    let settings = [("WARPFERRY_CUDA_EMU_FAIL", "cuMemAlloc_v2:2:3,cuStreamCreate:999:1")];
    passed(in_child("settings::calls_fail_when_told_to", &settings, || {
        let _context = Context::new(0);
        let (mut address, mut stream) = (0, null_mut());
        // SAFETY: there is room for every result.
        let results = [(); 4].map(|()| unsafe { cuMemAlloc_v2(&mut address, 8) });
        assert_eq!(results, [0, 0, 2, 0]);
        // SAFETY: as above.
        let results = [(); 2].map(|()| unsafe { cuStreamCreate(&mut stream, 0) });
        assert_eq!(results, [999, 0]);
    }));
}

#[test]
fn no_peers() {
    let settings = [("WARPFERRY_CUDA_EMU_DEVICES", "2"), ("WARPFERRY_CUDA_EMU_PEERS", "0")];
    passed(in_child("settings::no_peers", &settings, || {
        let (other, _context) = (Context::new(1), Context::new(0));
        let mut can = 9;
        // SAFETY: there is room for every result.
        unsafe {
            ok(cuDeviceCanAccessPeer(&mut can, 0, 1));
            assert_eq!(cuCtxEnablePeerAccess(other.handle, 0), codes::ERROR_PEER_ACCESS_UNSUPPORTED);
        }
        assert_eq!(can, 0);
    }));
}

/// Sets the word at `x0`, then waits for the word at `x1`.
const MEET: &str = "
        st.release.sys.global.u64 [x0], 1;
    poll:
        ld.acquire.sys.global.u64 y0, [x1];
        setp.ne.u64 p, y0, 0;
        @p bra end;
        nanosleep.u32 200;
        bra poll;";

/// Two kernels that wait for each other meet in two hardware queues, and never in one.
fn meet(test: &str, connections: &str, meets: bool) {
    passed(in_child(test, &[("CUDA_DEVICE_MAX_CONNECTIONS", connections)], || {
        let _context = Context::new(0);
        // The context's default stream has taken the first queue.
        let (streams, function) = ([stream(), stream()], load(MEET));
        let (host, address) = mapped(16);
        ok(launch(function, streams[0], [address, address + 8, 0]));
        ok(launch(function, streams[1], [address + 8, address, 0]));
        let start = Instant::now();
        // SAFETY: no pointers are given, only handles.
        let done = || streams.iter().all(|stream| unsafe { cuStreamQuery(*stream) } == codes::SUCCESS);
        while !done() && start.elapsed() < Duration::from_millis(if meets { 10_000 } else { 300 }) {
            std::thread::yield_now();
        }
        assert_eq!(done(), meets);
        // SAFETY: both words lie within the memory, and are used through atomics.
        unsafe { &*host.cast::<AtomicU64>().add(1) }.store(1, Ordering::Release);
    }));
}

#[test]
fn one_hardware_queue_is_too_few() {
    meet("settings::one_hardware_queue_is_too_few", "1", false);
}

#[test]
fn two_hardware_queues_suffice() {
    meet("settings::two_hardware_queues_suffice", "3", true);
}

/// With strict rules, taking memory waits for the kernel that runs; without, it does not.
fn take_memory(test: &str, strict: &str, waits: bool) {
    passed(in_child(test, &[("WARPFERRY_CUDA_EMU_STRICT_SYNC", strict)], || {
        let _context = Context::new(0);
        let (stream, function) = (stream(), load(MEET));
        let (host, address) = mapped(16);
        ok(launch(function, stream, [address, address + 8, 0]));
        let (released, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        let patience = Duration::from_millis(if waits { 100 } else { 20_000 });
        // SAFETY: both words lie within the memory, and are used through atomics.
        let flag = unsafe { &*host.cast::<AtomicU64>().add(1) };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let start = Instant::now();
                while start.elapsed() < patience && taken.load(Ordering::SeqCst) == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
                released.store(1, Ordering::SeqCst);
                flag.store(1, Ordering::Release);
            });
            let mut memory = 0;
            // SAFETY: there is room for the address.
            ok(unsafe { cuMemAlloc_v2(&mut memory, 8) });
            assert_eq!(released.load(Ordering::SeqCst) == 1, waits);
            taken.store(1, Ordering::SeqCst);
        });
    }));
}

#[test]
fn strict_memory_waits() {
    take_memory("settings::strict_memory_waits", "1", true);
}

#[test]
fn plain_memory_does_not_wait() {
    take_memory("settings::plain_memory_does_not_wait", "0", false);
}

/// The reason of a failure is told when asked for.
#[test]
fn reasons_are_told() {
    let output = in_child("settings::reasons_are_told", &[("WARPFERRY_CUDA_EMU_LOG", "1")], || {
        let _context = Context::new(0);
        zeroed(8);
        // SAFETY: no pointers are given.
        assert_eq!(unsafe { cuMemFree_v2(77) }, codes::ERROR_INVALID_VALUE);
    });
    let text = output.as_ref().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    passed(output);
    if let Some(text) = text {
        assert!(text.contains("cuMemFree_v2 gives 1: 0x4d is not the start of a live allocation"), "{text}");
    }
}

fn cubin(test: &str, settings: &[(&str, &str)], gives: CUresult) {
    passed(in_child(test, settings, || {
        let _context = Context::new(0);
        let mut module = null_mut();
        // SAFETY: there is room for the handle; the image has more than four bytes and a zero.
        let result =
            unsafe { cuModuleLoadDataEx(&mut module, c"\x7fELF\x02".as_ptr().cast(), 0, null_mut(), null_mut()) };
        assert_eq!(result, gives);
    }));
}

#[test]
fn machine_code_is_not_for_this_gpu() {
    cubin("settings::machine_code_is_not_for_this_gpu", &[], codes::ERROR_NO_BINARY_FOR_GPU);
}

#[test]
fn machine_code_is_not_valid() {
    let settings = [("WARPFERRY_CUDA_EMU_CUBIN", "200")];
    cubin("settings::machine_code_is_not_valid", &settings, codes::ERROR_INVALID_IMAGE);
}
