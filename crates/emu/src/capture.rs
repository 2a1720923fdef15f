//! Graphs: work that was put into a capturing stream, to be run again and again with the same arguments.
//!
//! Other streams join a capture when they wait for an event that was recorded in it, and must be waited for before its
//! end. A graph runs its work one behind the other, in the order in which it was captured: one of the orders that its
//! events allow. So work of two branches never runs side by side here, and never races.

use crate::error::MachineError;
use crate::launch::{EventId, GraphId, Launch, StreamId};
use crate::machine::Machine;
use crate::stream::Command;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why work cannot be captured, or a capture not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// No such work in a graph.
    #[error("{0} cannot be captured")]
    Unsupported(&'static str),
    /// An earlier call made the capture worthless.
    #[error("the capture is no longer valid: {0}")]
    Invalidated(&'static str),
    /// Streams of two captures would have to wait for each other.
    #[error("an event of one capture is waited for in another")]
    Merge,
    /// The stream does not capture, or did not begin the capture.
    #[error("the stream did not begin a capture")]
    Unmatched,
    /// The stream captures already.
    #[error("the stream captures already")]
    Nested,
    /// A stream that joined the capture was not waited for.
    #[error("a stream that joined the capture was not waited for by the one that began it")]
    Unjoined,
    /// A capturing stream would have to wait for what is no part of the capture.
    #[error("a capturing stream waits for an event that was recorded outside the capture")]
    Isolation,
    /// No stream ever comes to an event that was recorded in a capture.
    #[error("the event was recorded in a capture")]
    CapturedEvent,
}

/// A stream of a GPU.
type At = (usize, u32);
/// Number of nodes of each stream that come before something.
type Seen = BTreeMap<At, usize>;

/// Work of a graph.
#[derive(Debug, Clone)]
enum Node {
    Launch(Box<Launch>, Option<[u32; 3]>),
    Command(Command),
}

/// A capture under way.
#[derive(Debug)]
struct Capture {
    number: u64,
    origin: At,
    nodes: Vec<Node>,
    /// By each stream that takes part: what comes before its next work.
    seen: BTreeMap<At, Seen>,
    spoiled: Option<&'static str>,
}

impl Capture {
    fn add(&mut self, at: At, node: Node) {
        self.nodes.push(node);
        *self.seen.entry(at).or_default().entry(at).or_default() += 1;
    }

    /// `later` has all of `earlier` before it.
    fn merge(&mut self, later: At, earlier: &Seen) {
        let seen = self.seen.entry(later).or_default();
        for (&stream, &count) in earlier {
            let known = seen.entry(stream).or_default();
            *known = count.max(*known);
        }
    }

    /// The stream that began it has the work of all others before it.
    fn is_joined(&self) -> bool {
        let own = &self.seen[&self.origin];
        self.seen.iter().all(|(at, seen)| seen.get(at).is_none_or(|count| own.get(at) == Some(count)))
    }
}

/// A record of an event in a capture.
#[derive(Debug)]
struct Mark {
    capture: u64,
    seen: Seen,
}

/// A graph.
#[derive(Debug)]
struct Graph {
    gpu: usize,
    nodes: Vec<Node>,
}

/// Captures under way, and what came of those that ended.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    live: Vec<Capture>,
    begun: u64,
    /// Events that were last recorded in a capture.
    marks: BTreeMap<u32, Mark>,
    graphs: Vec<Option<Arc<Graph>>>,
}

impl Captures {
    fn of(&mut self, at: At) -> Option<&mut Capture> {
        self.live.iter_mut().find(|capture| capture.seen.contains_key(&at))
    }

    /// A stream's capture, to which work can be added.
    fn open(&mut self, at: At) -> Result<Option<&mut Capture>, MachineError> {
        match self.of(at) {
            Some(Capture { spoiled: Some(by), .. }) => Err(CaptureError::Invalidated(by).into()),
            open => Ok(open),
        }
    }

    /// Captures a launch, when the stream captures; true when it did.
    pub fn take_launch(&mut self, launch: &Launch, cluster: Option<[u32; 3]>) -> Result<bool, MachineError> {
        let at = (launch.gpu, launch.stream.0);
        let Some(capture) = self.open(at)? else { return Ok(false) };
        capture.add(at, Node::Launch(Box::new(launch.clone()), cluster));
        Ok(true)
    }

    /// Captures other work, when the stream captures; gives it back when it does not.
    pub fn take(&mut self, at: At, command: Command) -> Result<Option<Command>, MachineError> {
        let Some(capture) = self.open(at)? else { return Ok(Some(command)) };
        match command {
            Command::Read { .. } => {
                capture.spoiled = Some("a read in stream order");
                Err(CaptureError::Unsupported("a read in stream order").into())
            }
            command => {
                capture.add(at, Node::Command(command));
                Ok(None)
            }
        }
    }

    /// Captures the record of an event, when the stream captures; true when it did.
    pub fn take_record(&mut self, at: At, event: EventId) -> Result<bool, MachineError> {
        let Some(capture) = self.open(at)? else {
            self.marks.remove(&event.0);
            return Ok(false);
        };
        let mark = Mark { capture: capture.number, seen: capture.seen[&at].clone() };
        self.marks.insert(event.0, mark);
        Ok(true)
    }

    /// Captures the wait for an event, when it is part of a capture or the stream is; true when it did. `recorded`: it
    /// was, in some stream.
    pub fn take_wait(&mut self, at: At, event: EventId, recorded: bool) -> Result<bool, MachineError> {
        let own = self.open(at)?.map(|capture| capture.number);
        let Some(Mark { capture, seen }) = self.marks.get(&event.0) else {
            return match self.of(at) {
                Some(capture) if recorded => {
                    capture.spoiled = Some("a wait for an event outside it");
                    Err(CaptureError::Isolation.into())
                }
                // Nothing to wait for.
                Some(_) => Ok(true),
                None => Ok(false),
            };
        };
        let (number, seen) = (*capture, seen.clone());
        let Some(capture) = self.live.iter_mut().find(|capture| capture.number == number) else {
            return Err(CaptureError::CapturedEvent.into());
        };
        if own.is_some_and(|own| own != number) {
            capture.spoiled = Some("a merge of two captures");
            return Err(CaptureError::Merge.into());
        }
        if at.0 != capture.origin.0 {
            return Err(CaptureError::Unsupported("work of several GPUs").into());
        }
        capture.merge(at, &seen);
        Ok(true)
    }

    /// Whether the event was last recorded in a capture.
    pub fn has_mark(&self, event: EventId) -> bool {
        self.marks.contains_key(&event.0)
    }
}

impl Machine {
    /// From now on work that is put into the stream becomes part of a graph and does not run.
    pub fn begin_capture(&mut self, gpu: usize, stream: StreamId) -> Result<(), MachineError> {
        self.stream_idle(gpu, stream)?;
        let at = (gpu, stream.0);
        if self.captures.of(at).is_some() {
            return Err(CaptureError::Nested.into());
        }
        self.captures.begun += 1;
        let (number, seen) = (self.captures.begun, BTreeMap::from([(at, Seen::new())]));
        self.captures.live.push(Capture { number, origin: at, nodes: Vec::new(), seen, spoiled: None });
        Ok(())
    }

    /// Whether work that is put into the stream is captured.
    pub fn is_capturing(&self, gpu: usize, stream: StreamId) -> bool {
        self.captures.live.iter().any(|capture| capture.seen.contains_key(&(gpu, stream.0)))
    }

    /// Makes the capture that the stream takes part in worthless: `by` was called, which has no place in a capture.
    pub fn spoil_capture(&mut self, gpu: usize, stream: StreamId, by: &'static str) {
        if let Some(capture) = self.captures.of((gpu, stream.0)) {
            capture.spoiled.get_or_insert(by);
        }
    }

    /// Ends the capture that the stream began, also when it fails.
    pub fn end_capture(&mut self, gpu: usize, stream: StreamId) -> Result<GraphId, MachineError> {
        let live = &mut self.captures.live;
        let Some(index) = live.iter().position(|capture| capture.origin == (gpu, stream.0)) else {
            return Err(CaptureError::Unmatched.into());
        };
        let capture = live.remove(index);
        if let Some(by) = capture.spoiled {
            return Err(CaptureError::Invalidated(by).into());
        }
        if !capture.is_joined() {
            return Err(CaptureError::Unjoined.into());
        }
        self.captures.graphs.push(Some(Arc::new(Graph { gpu, nodes: capture.nodes })));
        Ok(GraphId(self.captures.graphs.len() as u32 - 1))
    }

    fn graph(&self, graph: GraphId) -> Result<Arc<Graph>, MachineError> {
        let graphs = &self.captures.graphs;
        let missing = MachineError::NoSuch { what: "graph", index: graph.0.into(), count: graphs.len() as u64 };
        graphs.get(graph.0 as usize).and_then(Clone::clone).ok_or(missing)
    }

    /// Puts all work of a graph into a stream of its GPU.
    pub fn launch_graph(&mut self, gpu: usize, stream: StreamId, graph: GraphId) -> Result<(), MachineError> {
        let graph = self.graph(graph)?;
        if self.is_capturing(gpu, stream) {
            self.spoil_capture(gpu, stream, "a graph within it");
            return Err(CaptureError::Unsupported("a graph").into());
        }
        if gpu != graph.gpu {
            return Err(CaptureError::Unsupported("work of another GPU").into());
        }
        for node in &graph.nodes {
            match node.clone() {
                Node::Launch(launch, cluster) => {
                    self.launch_clusters(Launch { stream, ..*launch }, cluster)?;
                }
                Node::Command(command) => self.enqueue(gpu, stream, command)?,
            }
        }
        Ok(())
    }

    /// The launches of a graph, in order, as they were captured.
    pub fn graph_launches(&self, graph: GraphId) -> Result<Vec<Launch>, MachineError> {
        let graph = self.graph(graph)?;
        let launch = |node: &Node| match node {
            Node::Launch(launch, _) => Some((**launch).clone()),
            Node::Command(_) => None,
        };
        Ok(graph.nodes.iter().filter_map(launch).collect())
    }

    /// Memory that a graph's launches say they touch, and that its other work touches: starts and sizes.
    pub fn graph_memory(&self, graph: GraphId) -> Result<Vec<(u64, u64)>, MachineError> {
        let graph = self.graph(graph)?;
        let mut ranges = Vec::new();
        for node in &graph.nodes {
            match node {
                Node::Launch(launch, _) => {
                    let whole =
                        |address| self.memory.region(address).map_or(1, |region| region.base + region.bytes - address);
                    let rules = launch.access.iter();
                    ranges.extend(rules.map(|rule| (rule.address, rule.bytes.unwrap_or_else(|| whole(rule.address)))));
                }
                Node::Command(command) => ranges.extend(command.memory()),
            }
        }
        Ok(ranges)
    }

    /// Forgets a graph; what of it is in streams goes on.
    pub fn destroy_graph(&mut self, graph: GraphId) -> Result<(), MachineError> {
        self.graph(graph)?;
        self.captures.graphs[graph.0 as usize] = None;
        Ok(())
    }
}
