//! Graphs: a step of operations that is captured once and then launched as a whole, again and again.
//!
//! A [`Step`] collects operations and the caller's own work between them; all memory is taken while it does. Capturing
//! it puts everything into the communicator's stream once more, nothing of which runs; what comes of that, a [`Graph`],
//! is one launch with fixed arguments. A step can also become part of a graph that the caller captures in the
//! communicator's stream, and launches; then only what its replays report is asked for here. Kernels keep their counters in device memory, so they are made for it. What the
//! host does for a call by itself is done by the stream here: status blocks lie on the device, the graph zeroes them, and
//! each replay has them copied behind it to a block of its own.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crate::comm::shared::{Counts, Outcome, Report, Shared, StatusPart};
use crate::driver::{Driver, EventId, GraphId, StreamId};
use crate::error::{Error, Result};
use crate::exec;
use crate::mem::{Buffer, Element, Tensor};
use crate::op::{expert_offsets, Combine, Combined, Dispatch, Dispatched, Finish, Handle, Keep, Pending};

/// What a caller puts between operations.
type Work<'a> = Box<dyn FnOnce(&Arc<dyn Driver>, StreamId) -> Result<()> + 'a>;

/// One part of a step.
enum Part<'a> {
    Dispatch(Box<(Dispatch, Dispatched)>, Buffer),
    Combine(Box<(Combine, Combined)>, Buffer),
    Work(Work<'a>),
}

/// Operations to be captured together, in order: [`Communicator::step`](crate::Communicator::step) makes it,
/// [`Communicator::capture`](crate::Communicator::capture) takes it. All ranks must make the same.
#[must_use]
pub struct Step<'a> {
    shared: Arc<Shared>,
    parts: Vec<Part<'a>>,
    kept: Vec<Tensor>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(shared: &Arc<Shared>) -> Step<'a> {
        Step { shared: Arc::clone(shared), parts: Vec::new(), kept: Vec::new() }
    }

    /// A dispatch with a bound of rows or a cached handle. Its handle is of use outside the step from the first replay on. Takes the memory of its results, which each replay overwrites; what
    /// [`Dispatched`] says of numbers of rows is told by each replay instead.
    ///
    /// # Errors
    /// [`Error::Argument`] for tensors that do not fit, and for a dispatch that would wait for its counts; what the driver
    /// says.
    pub fn dispatch(&mut self, op: Dispatch) -> Result<Dispatched> {
        let tokens = op.check(&self.shared)?;
        let Some(dispatched) = exec::prepare_dispatch(&self.shared, &op, tokens)? else {
            let valid = "rows, or a cached handle: a graph does not wait for the number of rows";
            return Err(Error::argument("bound", "none", valid));
        };
        let status = self.status()?;
        self.parts.push(Part::Dispatch(Box::new((op, dispatched.clone())), status));
        Ok(dispatched)
    }

    /// A combine. Takes the memory of its results, which each replay overwrites.
    ///
    /// # Errors
    /// [`Error::Argument`] for tensors that do not fit; what the driver says.
    pub fn combine(&mut self, op: Combine) -> Result<Combined> {
        op.check(&self.shared)?;
        let combined = exec::prepare_combine(&self.shared, &op)?;
        let status = self.status()?;
        self.parts.push(Part::Combine(Box::new((op, combined.clone())), status));
        Ok(combined)
    }

    /// Work of the caller's, between the operations before and behind it: called once, while the communicator's stream is
    /// captured, with the driver and that stream. It may put launches, copies within the device, fills and events into the
    /// stream, and into others that wait for an event of it, as long as it waits for them in the end. It must not take
    /// memory, wait, or copy from or to the host. Addresses of results that the step gave go into it by `move`. What it uses
    /// must live as long as the graph; [`Step::keep`] sees to tensors.
    pub fn work(&mut self, act: impl FnOnce(&Arc<dyn Driver>, StreamId) -> Result<()> + 'a) {
        self.parts.push(Part::Work(Box::new(act)));
    }

    /// Keeps a tensor as long as the graph and its replays.
    pub fn keep(&mut self, tensor: &Tensor) {
        self.kept.push(tensor.clone());
    }

    fn status(&self) -> Result<Buffer> {
        Buffer::new(&self.shared.driver, self.shared.status_bytes())
    }
}

impl fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("rank", &self.shared.rank)
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

/// An operation of a graph: what its replays report.
#[derive(Debug)]
struct Reporting {
    op: &'static str,
    status: Buffer,
    parts: Vec<StatusPart>,
    counts: Counts,
    /// Rows of a dispatch's tensors.
    room: Option<usize>,
    timeout: Duration,
}

/// A captured step with all memory that its kernels use. Goes when nobody can launch it and no replay is under way.
#[derive(Debug)]
pub(crate) struct Captured {
    driver: Arc<dyn Driver>,
    /// None where the graph is the caller's.
    id: Option<GraphId>,
    communicator: u64,
    operations: Vec<Reporting>,
    inputs: Vec<Tensor>,
    /// Handles that its exchanges fill, and those that its operations go along.
    filled: Vec<Handle>,
    along: Vec<Handle>,
    #[allow(dead_code)] // held, not looked at
    held: (Vec<Tensor>, Vec<Arc<Buffer>>),
}

impl Drop for Captured {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        if let Err(error) = self.driver.destroy_graph(id) {
            tracing::warn!(graph = id.0, %error, "a graph could not be ended");
        }
    }
}

/// A captured step, to be launched by [`Communicator::replay`](crate::Communicator::replay), or a part of a graph that the
/// caller launches ([`Communicator::enlist`](crate::Communicator::enlist)): then it must live as long. Its tensors and handles are
/// fixed; each replay overwrites them. Dropped while a replay is under way, its memory stays until that has ended.
#[derive(Debug)]
pub struct Graph {
    captured: Arc<Captured>,
}

impl Graph {
    /// New contents of `tensor`, which an operation of the graph reads, in the order of the replays: those before still read
    /// the old ones, those to come the new.
    ///
    /// # Errors
    /// [`Error::Argument`] when it is no such tensor or lent, or type or number of values differ; what the driver says.
    pub fn write<T: Element>(&self, tensor: &Tensor, values: &[T]) -> Result<()> {
        self.check_input(tensor)?;
        tensor.overwrite(values)
    }

    /// The same from bytes as they lie in memory.
    ///
    /// # Errors
    /// As [`Graph::write`].
    pub fn write_bytes(&self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        self.check_input(tensor)?;
        tensor.overwrite_bytes(bytes)
    }

    fn check_input(&self, tensor: &Tensor) -> Result<()> {
        let same = |input: &Tensor| input.ptr() == tensor.ptr() && input.bytes() == tensor.bytes();
        match self.captured.inputs.iter().any(same) {
            true => Ok(()),
            false => {
                Err(Error::argument("tensor", tensor.ptr(), "a tensor that was given to an operation of the graph"))
            }
        }
    }
}

/// What one replay did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Numbers of rows, for each dispatch of the step in order.
    pub dispatches: Vec<DispatchedRows>,
    /// By operation, rows of a dispatch's tensors.
    rooms: Vec<Option<usize>>,
}

/// How many rows a dispatch of a graph delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DispatchedRows {
    /// Rows that were delivered: the first of its tensors.
    pub rows: usize,
    /// (token, choice) pairs of each local expert.
    pub expert_counts: Vec<u32>,
    /// By expert: first row of each local expert's part, and the number of rows.
    pub expert_offsets: Vec<u32>,
}

impl Finish for Replayed {
    fn finish(&mut self, shared: &Shared, outcome: &Outcome) {
        let said = self.rooms.iter().zip(&outcome.totals);
        let rows = said.filter_map(|(room, totals)| {
            let (room, totals) = ((*room)?, totals.as_ref()?);
            Some(DispatchedRows {
                rows: totals.rows.min(room),
                expert_counts: totals.expert_counts.clone(),
                expert_offsets: expert_offsets(&shared.plan.shape, &totals.expert_counts),
            })
        });
        self.dispatches = rows.collect();
    }
}

/// Ends a capture in any case, so that a stream never stays captured.
struct Capturing<'a> {
    driver: &'a Arc<dyn Driver>,
    stream: StreamId,
    open: bool,
}

impl<'a> Capturing<'a> {
    fn begin(driver: &'a Arc<dyn Driver>, stream: StreamId) -> Result<Capturing<'a>> {
        driver.begin_capture(stream)?;
        Ok(Capturing { driver, stream, open: true })
    }

    fn end(mut self) -> Result<GraphId> {
        self.open = false;
        self.driver.end_capture(self.stream)
    }
}

impl Drop for Capturing<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // What led here is told already; a capture that is worth nothing gives no graph.
        if let Ok(graph) = self.driver.end_capture(self.stream) {
            if let Err(error) = self.driver.destroy_graph(graph) {
                tracing::warn!(graph = graph.0, %error, "a graph could not be ended");
            }
        }
    }
}

/// Captures a step.
pub(crate) fn capture(shared: &Arc<Shared>, step: Step<'_>) -> Result<Graph> {
    check_step(shared, &step)?;
    shared.check_not_capturing()?;
    let capturing = Capturing::begin(&shared.driver, shared.stream.id())?;
    let mut captured = put_step(shared, step)?;
    captured.id = Some(capturing.end()?);
    Ok(Graph { captured: Arc::new(captured) })
}

/// Puts a step into the graph that the caller captures.
pub(crate) fn enlist(shared: &Arc<Shared>, step: Step<'_>) -> Result<Graph> {
    check_step(shared, &step)?;
    let stream = shared.stream.id();
    if !shared.driver.is_capturing(stream)? {
        let valid = "one that the caller captures; `Communicator::capture` does both";
        return Err(Error::argument("stream", format!("{}, which nobody captures", stream.0), valid));
    }
    put_step(shared, step).map(|captured| Graph { captured: Arc::new(captured) })
}

fn check_step(shared: &Shared, step: &Step<'_>) -> Result<()> {
    shared.check_usable()?;
    if step.shared.id == shared.id {
        return Ok(());
    }
    let of = format!("of communicator {}", step.shared.id);
    Err(Error::argument("step", of, format!("a step of this communicator, {}", shared.id)))
}

/// Puts a step into the stream that is captured.
fn put_step(shared: &Shared, step: Step<'_>) -> Result<Captured> {
    let mut operations = Vec::new();
    let (mut inputs, mut tensors, mut routing) = (Vec::new(), step.kept, Vec::new());
    let (mut filled, mut along) = (Vec::new(), Vec::new());
    for part in step.parts {
        match part {
            Part::Work(act) => act(&shared.driver, shared.stream.id())?,
            Part::Dispatch(both, status) => {
                let (op, out) = *both;
                put(shared, &status, &op.after)?;
                exec::launch_prepared(shared, &op, &out, status.ptr())?;
                let known = Arc::clone(&out.handle.inner.counts);
                let counts = match op.bound {
                    Some(room) => Counts::Exchange(known, room),
                    None => Counts::Handle(known, out.handle.rows()),
                };
                if op.cached.is_some() { &mut along } else { &mut filled }.push(out.handle.clone());
                let (parts, room) = (exec::dispatch_parts(shared), Some(out.handle.rows()));
                operations.push(Reporting { op: "dispatch", status, parts, counts, room, timeout: op.timeout });
                inputs.extend(exec::dispatch_inputs(&op));
                tensors.extend(exec::dispatch_outputs(&out));
                routing.push(Arc::clone(&out.handle.inner.buffer));
            }
            Part::Combine(both, status) => {
                let (op, out) = *both;
                put(shared, &status, &op.after)?;
                exec::launch_combine(shared, &op, &out, status.ptr())?;
                along.push(op.handle.clone());
                let (parts, counts) = (exec::combine_parts(shared), Counts::None);
                operations.push(Reporting { op: "combine", status, parts, counts, room: None, timeout: op.timeout });
                inputs.extend(exec::combine_inputs(&op));
                tensors.extend(exec::combine_outputs(&op, &out));
                routing.push(Arc::clone(&op.handle.inner.buffer));
            }
        }
    }
    let (driver, communicator, held) = (Arc::clone(&shared.driver), shared.id, (tensors, routing));
    Ok(Captured { driver, id: None, communicator, operations, inputs, filled, along, held })
}

/// What comes before an operation's launches: its events, and an empty status block.
fn put(shared: &Shared, status: &Buffer, after: &[EventId]) -> Result<()> {
    shared.wait_for_events(after)?;
    shared.driver.fill(status.ptr(), 0, status.bytes(), shared.stream.id())
}

/// Launches a graph of ours.
pub(crate) fn replay(shared: &Arc<Shared>, graph: &Graph) -> Result<Pending<Replayed>> {
    if graph.captured.id.is_none() {
        let valid = "one of `Communicator::capture`; `replayed` is for those that the caller launches";
        return Err(Error::argument("graph", "a part of a graph of the caller's", valid));
    }
    follow(shared, graph)
}

/// Follows a launch of the caller's graph.
pub(crate) fn replayed(shared: &Arc<Shared>, graph: &Graph) -> Result<Pending<Replayed>> {
    if graph.captured.id.is_some() {
        let valid = "one of `Communicator::enlist`; `replay` launches the others";
        return Err(Error::argument("graph", "a graph of `Communicator::capture`", valid));
    }
    follow(shared, graph)
}

/// Launches a graph if that is for us to do, and copies what its operations report behind it to blocks of this replay.
fn follow(shared: &Arc<Shared>, graph: &Graph) -> Result<Pending<Replayed>> {
    let captured = &graph.captured;
    if captured.communicator != shared.id {
        let of = format!("of communicator {}", captured.communicator);
        return Err(Error::argument("graph", of, format!("a graph of this communicator, {}", shared.id)));
    }
    shared.check_usable()?;
    shared.check_not_capturing()?;
    let own = |handle: &Handle| captured.filled.iter().any(|own| Arc::ptr_eq(&own.inner, &handle.inner));
    captured.along.iter().filter(|handle| !own(handle)).try_for_each(Handle::check_filled)?;
    let report = |of: &Reporting| {
        let (status, parts, counts) = (shared.take_block()?, of.parts.clone(), of.counts.clone());
        Ok(Report { op: of.op, status, parts, counts })
    };
    let reports = captured.operations.iter().map(report).collect::<Result<Vec<Report>>>()?;
    let event = shared.take_event()?;
    let launched = captured.id.map_or(Ok(()), |id| shared.driver.launch_graph(id, shared.stream.id())).and_then(|()| {
        captured.operations.iter().zip(&reports).try_for_each(|(of, Report { status, .. })| {
            let (from, bytes) = (of.status.ptr(), of.status.bytes());
            shared.driver.copy_to_host(status.block(), 0, from, bytes, shared.stream.id())
        })
    });
    let timeout = captured.operations.iter().fold(Duration::ZERO, |sum, of| sum.saturating_add(of.timeout));
    let rooms = captured.operations.iter().map(|of| of.room).collect();
    let keep = Keep { reports, routing: None, tensors: Vec::new(), graph: Some(Arc::clone(captured)) };
    let ticket = shared.begin("replay", event, keep, exec::patience(timeout), launched)?;
    captured.filled.iter().for_each(|handle| handle.inner.filled.store(true, Ordering::Release));
    Ok(Pending::new(shared, "replay", ticket, Replayed { dispatches: Vec::new(), rooms }))
}
