//! Graphs, and captures under way: what threads may call beside one.

use crate::memory::refused;
use crate::result::{codes, fail, Outcome};
use crate::state::{Here, Kind, State};
use crate::stream::Stream;
use crate::CUresult;
use std::collections::BTreeMap;
use std::thread::ThreadId;
use warpferry_emu::{CaptureError, GraphId, StreamId};

/// Whose unsafe calls a capture forbids. Source: CUDA driver API, "CUstreamCaptureMode".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

/// A capture under way.
#[derive(Debug)]
struct Capture {
    owner: Here,
    stream: StreamId,
    thread: ThreadId,
    mode: Mode,
}

/// A graph, or what was made of one to be launched.
#[derive(Debug, Clone, Copy)]
struct Graph {
    owner: Here,
    id: GraphId,
}

/// Graphs and captures.
#[derive(Debug, Default)]
pub(crate) struct Graphs {
    captures: Vec<Capture>,
    graphs: BTreeMap<u64, Graph>,
    ready: BTreeMap<u64, Graph>,
}

/// The driver's code for what the machine says of a capture.
pub(crate) fn code(error: CaptureError) -> CUresult {
    match error {
        CaptureError::Unsupported(_) => codes::ERROR_STREAM_CAPTURE_UNSUPPORTED,
        CaptureError::Invalidated(_) => codes::ERROR_STREAM_CAPTURE_INVALIDATED,
        CaptureError::Merge => codes::ERROR_STREAM_CAPTURE_MERGE,
        CaptureError::Unmatched => codes::ERROR_STREAM_CAPTURE_UNMATCHED,
        CaptureError::Nested => codes::ERROR_INVALID_VALUE,
        CaptureError::Unjoined => codes::ERROR_STREAM_CAPTURE_UNJOINED,
        CaptureError::Isolation => codes::ERROR_STREAM_CAPTURE_ISOLATION,
        CaptureError::CapturedEvent => codes::ERROR_CAPTURED_EVENT,
    }
}

impl State {
    /// A call that is not safe while a stream is captured: it ends the captures that forbid it to this thread.
    pub fn no_capture(&mut self, call: &'static str) -> Outcome {
        let own = std::thread::current().id();
        let forbids = |capture: &&Capture| match capture.mode {
            Mode::Global => true,
            Mode::ThreadLocal => capture.thread == own,
            Mode::Relaxed => false,
        };
        let mut forbidden = false;
        for capture in self.graphs.captures.iter().filter(forbids) {
            forbidden = true;
            self.machine.spoil_capture(capture.owner.device, capture.stream, call);
        }
        match forbidden {
            true => fail(codes::ERROR_STREAM_CAPTURE_UNSUPPORTED, format!("{call} while a stream is captured")),
            false => Ok(()),
        }
    }

    /// A call that a stream does not take while it is captured: it ends the capture.
    pub fn not_captured(&mut self, device: usize, stream: &Stream, call: &'static str) -> Outcome {
        if !self.machine.is_capturing(device, stream.id) {
            return Ok(());
        }
        self.machine.spoil_capture(device, stream.id, call);
        fail(codes::ERROR_STREAM_CAPTURE_UNSUPPORTED, format!("{call} on a stream that is captured"))
    }

    /// Begins a capture.
    pub fn begin_capture(&mut self, owner: Here, stream: &Stream, mode: Mode) -> Outcome {
        self.machine.begin_capture(owner.device, stream.id).or_else(refused)?;
        let thread = std::thread::current().id();
        self.graphs.captures.push(Capture { owner, stream: stream.id, thread, mode });
        Ok(())
    }

    /// Ends a capture, also when it fails; the graph's handle.
    pub fn end_capture(&mut self, owner: Here, stream: &Stream) -> Outcome<u64> {
        let captures = &mut self.graphs.captures;
        let own = |capture: &Capture| capture.owner.device == owner.device && capture.stream == stream.id;
        let Some(index) = captures.iter().position(own) else {
            return fail(codes::ERROR_STREAM_CAPTURE_UNMATCHED, "the stream did not begin a capture");
        };
        let elsewhere = captures[index].thread != std::thread::current().id();
        if elsewhere && captures[index].mode != Mode::Relaxed {
            return fail(codes::ERROR_STREAM_CAPTURE_WRONG_THREAD, "another thread began the capture");
        }
        captures.remove(index);
        let id = self.machine.end_capture(owner.device, stream.id).or_else(refused)?;
        let handle = self.new_handle(Kind::Graph);
        self.graphs.graphs.insert(handle, Graph { owner, id });
        Ok(handle)
    }

    /// Makes a graph ready.
    pub fn instantiate(&mut self, graph: u64) -> Outcome<u64> {
        let Some(&found) = self.graphs.graphs.get(&graph) else {
            return fail(codes::ERROR_INVALID_VALUE, format!("{graph:#x} is no graph"));
        };
        let handle = self.new_handle(Kind::ReadyGraph);
        self.graphs.ready.insert(handle, found);
        Ok(handle)
    }

    /// The machine's name of a graph that is ready, of this context's GPU.
    pub fn ready_graph(&self, graph: u64, here: Here) -> Outcome<GraphId> {
        match self.graphs.ready.get(&graph) {
            Some(found) if found.owner.device == here.device => Ok(found.id),
            Some(_) => fail(codes::ERROR_INVALID_VALUE, "the graph is of another GPU"),
            None => fail(codes::ERROR_INVALID_VALUE, format!("{graph:#x} is no graph that was made ready")),
        }
    }

    /// Ends a graph; what was made of it stays.
    pub fn drop_graph(&mut self, graph: u64) -> Outcome {
        let gone = self.graphs.graphs.remove(&graph);
        self.forget(graph, gone)
    }

    /// Ends what was made of a graph; what of it is in streams goes on.
    pub fn drop_ready_graph(&mut self, graph: u64) -> Outcome {
        let gone = self.graphs.ready.remove(&graph);
        self.forget(graph, gone)
    }

    /// The machine keeps a graph as long as it has a name.
    fn forget(&mut self, handle: u64, gone: Option<Graph>) -> Outcome {
        let Some(gone) = gone else {
            return fail(codes::ERROR_INVALID_VALUE, format!("{handle:#x} is no graph"));
        };
        let Graphs { graphs, ready, .. } = &self.graphs;
        match graphs.values().chain(ready.values()).any(|other| other.id == gone.id) {
            true => Ok(()),
            false => self.machine.destroy_graph(gone.id).or_else(refused),
        }
    }

    /// Graphs of one context, or of all.
    pub fn count_graphs(&self, context: Option<u64>) -> usize {
        let own = |graph: &&Graph| context.is_none_or(|context| graph.owner.context == context);
        self.graphs.graphs.values().chain(self.graphs.ready.values()).filter(own).count()
    }

    /// Forgets the graphs and captures of a context.
    pub fn drop_graphs(&mut self, context: u64) {
        let Graphs { captures, graphs, ready } = &mut self.graphs;
        captures.retain(|capture| capture.owner.context != context);
        graphs.retain(|_, graph| graph.owner.context != context);
        ready.retain(|_, graph| graph.owner.context != context);
    }
}
