//! Captures and graphs.

use crate::call::{entries, put};
use crate::graph::Mode;
use crate::memory::refused;
use crate::result::{fail, invalid};
use crate::state::{handle, here, pointer};
use crate::{codes, CUgraph, CUgraphExec, CUstream};
use std::ffi::{c_int, c_ulonglong};

/// Whether a stream captures.
const NONE: c_int = 0;
const ACTIVE: c_int = 1;
/// Names of default streams.
const DEFAULT_STREAMS: u64 = 2;

entries! {
    /// Work that is put into the stream from now on becomes part of a graph.
    fn cuStreamBeginCapture_v2(stream: CUstream, mode: c_int) {
        let (mut turn, here) = here()?;
        let mode = match mode {
            0 => Mode::Global,
            1 => Mode::ThreadLocal,
            2 => Mode::Relaxed,
            other => return invalid(format!("capture mode {other}")),
        };
        if handle(stream) < DEFAULT_STREAMS {
            return fail(codes::ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream is not captured");
        }
        let stream = turn.stream(handle(stream), here)?;
        turn.begin_capture(here, &stream, mode)
    }

    /// Whether a stream captures.
    fn cuStreamIsCapturing(stream: CUstream, status: *mut c_int) {
        let (mut turn, here) = here()?;
        let stream = turn.stream(handle(stream), here)?;
        let captures = turn.machine.is_capturing(here.device, stream.id);
        // SAFETY: the caller gives room for a number, or null.
        unsafe { put(status, "the status", if captures { ACTIVE } else { NONE }) }
    }

    /// Ends a capture.
    fn cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph) {
        let (mut turn, here) = here()?;
        if graph.is_null() {
            return invalid("no room for the graph");
        }
        let stream = turn.stream(handle(stream), here)?;
        let made = turn.end_capture(here, &stream)?;
        // SAFETY: the caller gives room for a handle.
        unsafe { put(graph, "the graph", pointer(made)) }
    }

    /// Makes a graph ready to be launched.
    fn cuGraphInstantiateWithFlags(ready: *mut CUgraphExec, graph: CUgraph, flags: c_ulonglong) {
        let (mut turn, here) = here()?;
        if ready.is_null() || flags != 0 {
            return invalid(format!("flags {flags:#x}"));
        }
        turn.wait_if_strict(here.device)?;
        let made = turn.instantiate(handle(graph))?;
        // SAFETY: the caller gives room for a handle.
        unsafe { put(ready, "the graph", pointer(made)) }
    }

    /// Takes a graph to the GPU ahead of its first launch: here it always is there.
    fn cuGraphUpload(graph: CUgraphExec, stream: CUstream) {
        let (mut turn, here) = here()?;
        turn.ready_graph(handle(graph), here)?;
        turn.stream(handle(stream), here).map(drop)
    }

    /// Puts the work of a graph into a stream.
    fn cuGraphLaunch(graph: CUgraphExec, stream: CUstream) {
        let (mut turn, here) = here()?;
        let graph = turn.ready_graph(handle(graph), here)?;
        let stream = turn.stream_for_work(handle(stream), here)?;
        turn.machine.launch_graph(here.device, stream.id, graph).or_else(refused)
    }

    /// Ends what was made of a graph.
    fn cuGraphExecDestroy(graph: CUgraphExec) {
        let (mut turn, _) = here()?;
        turn.drop_ready_graph(handle(graph))
    }

    /// Ends a graph.
    fn cuGraphDestroy(graph: CUgraph) {
        let (mut turn, _) = here()?;
        turn.drop_graph(handle(graph))
    }
}
