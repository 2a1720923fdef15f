//! Streams that are captured, and graphs that are launched.

use crate::bench::{launch, load, mapped, ok, stream, synchronize, word, zeroed, Context};
use cuda_emu::*;
use std::ptr::null_mut;

const THREAD_LOCAL: i32 = 1;
/// Adds `arg1` to the word at `arg0`.
const ADD: &str = "ld.global.u64 y0, [x0]; add.u64 y0, y0, x1; st.global.u64 [x0], y0;";

/// A call with its name.
type Act<'a> = (&'a str, Box<dyn FnMut() -> CUresult + 'a>);

fn begin(stream: CUstream) {
    // SAFETY: a handle is given.
    ok(unsafe { cuStreamBeginCapture_v2(stream, THREAD_LOCAL) });
}

/// What the end of a capture gives.
fn end(stream: CUstream) -> (CUresult, CUgraph) {
    let mut graph = null_mut();
    // SAFETY: there is room for the handle.
    (unsafe { cuStreamEndCapture(stream, &mut graph) }, graph)
}

fn captures(stream: CUstream) -> bool {
    let mut status = -1;
    // SAFETY: there is room for the status.
    ok(unsafe { cuStreamIsCapturing(stream, &mut status) });
    status == 1
}

#[test]
fn a_graph_runs_with_the_arguments_that_were_captured() {
    let _context = Context::new(0);
    let (first, other, function) = (stream(), stream(), load(ADD));
    let (memory, mut ready) = (zeroed(8), null_mut());
    let (host, _) = mapped(8);
    begin(first);
    assert!(captures(first) && !captures(other));
    // SAFETY: all ranges are allocated.
    unsafe {
        ok(cuMemsetD8Async(memory, 0, 8, first));
        ok(launch(function, first, [memory, 5, 0]));
        ok(launch(function, first, [memory, 7, 0]));
        ok(cuMemcpyDtoHAsync_v2(host.cast(), memory, 8, first));
    }
    let (code, graph) = end(first);
    ok(code);
    // SAFETY: there is room for the handle; the graphs are alive.
    unsafe {
        ok(cuGraphInstantiateWithFlags(&mut ready, graph, 0));
        ok(cuGraphDestroy(graph));
        ok(cuGraphUpload(ready, first));
        ok(synchronize(first));
        assert_eq!(word(memory), 0, "what is captured does not run");
        for stream in [first, other] {
            ok(launch(function, stream, [memory, 100, 0]));
            ok(cuGraphLaunch(ready, stream));
            ok(launch(function, stream, [memory, 1, 0]));
            ok(synchronize(stream));
            assert_eq!((word(memory), host.cast::<u64>().read()), (13, 12));
        }
        ok(cuGraphExecDestroy(ready));
        assert_eq!(cuGraphLaunch(ready, first), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuGraphDestroy(graph), codes::ERROR_INVALID_VALUE);
    }
}

#[test]
fn streams_fork_and_join_by_events() {
    let _context = Context::new(0);
    let (first, other, memory) = (stream(), stream(), zeroed(16));
    let (mut fork, mut join) = (null_mut(), null_mut());
    // SAFETY: there is room for the handles; all ranges are allocated.
    unsafe {
        ok(cuEventCreate(&mut fork, 2));
        ok(cuEventCreate(&mut join, 2));
        for joined in [false, true] {
            begin(first);
            ok(cuEventRecord(fork, first));
            ok(cuStreamWaitEvent(other, fork, 0));
            assert!(captures(other));
            ok(cuMemsetD8Async(memory, 3, 8, other));
            if joined {
                ok(cuEventRecord(join, other));
                ok(cuStreamWaitEvent(first, join, 0));
            }
            ok(cuMemsetD8Async(memory + 8, 4, 8, first));
            let (code, graph) = end(first);
            assert!(!captures(other));
            if !joined {
                assert_eq!(code, codes::ERROR_STREAM_CAPTURE_UNJOINED);
                continue;
            }
            ok(code);
            assert_eq!(cuEventQuery(join), codes::ERROR_CAPTURED_EVENT);
            let mut ready = null_mut();
            ok(cuGraphInstantiateWithFlags(&mut ready, graph, 0));
            ok(cuGraphLaunch(ready, first));
            ok(synchronize(first));
            assert_eq!((word(memory), word(memory + 8)), (0x0303_0303_0303_0303, 0x0404_0404_0404_0404));
        }
    }
}

/// Each call, made by the thread that captures, fails and makes the capture worthless; by another it does not matter.
#[test]
fn calls_that_are_not_safe_end_a_capture_of_their_thread() {
    let context = Context::new(0);
    let (first, mut event, mut address, mut pointer) = (stream(), null_mut(), 0, null_mut());
    // SAFETY: there is room for the handle.
    ok(unsafe { cuEventCreate(&mut event, 2) });
    // SAFETY: there is room for results.
    let mut acts: [Act; 5] = unsafe {
        [
            ("cuMemAlloc_v2", Box::new(|| cuMemAlloc_v2(&mut address, 8))),
            ("cuMemHostAlloc", Box::new(|| cuMemHostAlloc(&mut pointer, 8, 3))),
            ("cuEventQuery", Box::new(move || cuEventQuery(event))),
            ("cuStreamQuery", Box::new(move || cuStreamQuery(first))),
            ("cuStreamSynchronize", Box::new(move || cuStreamSynchronize(first))),
        ]
    };
    for (name, act) in &mut acts {
        begin(first);
        assert_eq!(act(), codes::ERROR_STREAM_CAPTURE_UNSUPPORTED, "{name}");
        assert_eq!(end(first).0, codes::ERROR_STREAM_CAPTURE_INVALIDATED, "{name}");
    }
    begin(first);
    let handle = context.handle as usize;
    std::thread::spawn(move || {
        let mut address = 0;
        // SAFETY: the context is alive; there is room for the address.
        unsafe {
            ok(cuCtxSetCurrent(handle as CUcontext));
            ok(cuMemAlloc_v2(&mut address, 8));
        }
    })
    .join()
    .expect("the thread ends well");
    ok(end(first).0);
    assert_eq!(end(first).0, codes::ERROR_STREAM_CAPTURE_UNMATCHED);
}

#[test]
fn the_default_stream_stays_out_of_captures() {
    let _context = Context::new(0);
    let (mut blocking, memory) = (null_mut(), zeroed(8));
    // SAFETY: there is room for the handle; all ranges are allocated.
    unsafe {
        assert_eq!(cuStreamBeginCapture_v2(null_mut(), THREAD_LOCAL), codes::ERROR_STREAM_CAPTURE_UNSUPPORTED);
        ok(cuStreamCreate(&mut blocking, 0));
        begin(blocking);
        assert_eq!(cuMemsetD8Async(memory, 1, 8, null_mut()), codes::ERROR_STREAM_CAPTURE_IMPLICIT);
        assert_eq!(end(blocking).0, codes::ERROR_STREAM_CAPTURE_INVALIDATED);
        // What is not pinned would be read at every launch.
        let value = 0u64;
        begin(blocking);
        let copied = cuMemcpyHtoDAsync_v2(memory, (&raw const value).cast(), 8, blocking);
        assert_eq!(copied, codes::ERROR_STREAM_CAPTURE_UNSUPPORTED);
        assert_eq!(end(blocking).0, codes::ERROR_STREAM_CAPTURE_INVALIDATED);
    }
}
