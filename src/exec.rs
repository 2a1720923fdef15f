//! Turns operations into launches and waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crate::comm::owner;
use crate::comm::shared::{Counts, Known, Report, Shared, StatusPart, Totals, PRELUDE_LINES};
use crate::driver::WordWait;
use crate::error::{Error, Result};
use crate::kernel::args;
use crate::kernel::launch::{Dimensions, Region};
use crate::mem::{Buffer, DType, DevicePtr, HostBuffer, Tensor};
use crate::op::{choices_of_a_row, Combine, Combined, Dispatch, Dispatched, Handle, HandleInner, Keep, Pending};
use crate::plan::blocks::{HandleHead, TotalsHead, STATUS_LINE_BYTES};
use crate::plan::{LaunchPlan, Op, OutputLayout, ScaleKind};
use crate::status::Source;

/// Time that the host gives kernels to end by their own deadline before it stops waiting.
const GRACE: Duration = Duration::from_secs(10);

const LAYOUT_PART: StatusPart = StatusPart { source: Source::Exchange, first: 0, lines: 1 };
const EXCHANGE_PART: StatusPart = StatusPart { source: Source::Exchange, first: 1, lines: 1 };

/// Lines of a dispatch in its status block.
pub(crate) fn dispatch_parts(shared: &Shared) -> Vec<StatusPart> {
    let lines = shared.plan.dispatch.sms;
    let source = Source::Op(Op::Dispatch);
    vec![LAYOUT_PART, EXCHANGE_PART, StatusPart { source, first: PRELUDE_LINES, lines }]
}

/// Lines of a combine in its status block.
pub(crate) fn combine_parts(shared: &Shared) -> Vec<StatusPart> {
    let lines = shared.plan.combine.sms;
    vec![StatusPart { source: Source::Op(Op::Combine), first: PRELUDE_LINES, lines }]
}

/// Layout, exchange, host wait for totals (unless there is a bound or the routing is cached), outputs, dispatch.
pub(crate) fn dispatch(shared: &Arc<Shared>, op: Dispatch) -> Result<Pending<Dispatched>> {
    shared.check_usable()?;
    let tokens = op.check(shared)?;
    shared.check_not_capturing()?;
    op.cached.as_ref().map_or(Ok(()), Handle::check_filled)?;
    let (mut dispatched, routing) = match prepare_dispatch(shared, &op, tokens)? {
        Some(dispatched) => {
            let routing = Arc::clone(&dispatched.handle.inner.buffer);
            (Some(dispatched), routing)
        }
        None => (None, routing(shared)?),
    };
    let known = dispatched.as_ref().map_or_else(Arc::default, |out| Arc::clone(&out.handle.inner.counts));
    let counts = match (op.bound, &dispatched) {
        (Some(room), _) => Counts::Exchange(known, room),
        (None, out) => Counts::Handle(known, out.as_ref().map_or(usize::MAX, |out| out.handle.rows())),
    };
    let mut tensors = dispatch_inputs(&op);
    tensors.extend(dispatched.iter().flat_map(dispatch_outputs));
    // Nothing of these is taken between the first launch and the last.
    let status = shared.take_status()?;
    shared.wait_for_events(&op.after)?;
    let event = shared.take_event()?;
    let status_at = status.device();
    let report = Report { op: "dispatch", status, parts: dispatch_parts(shared), counts };
    let mut keep = Keep { reports: vec![report], routing: Some(routing), tensors, graph: None };
    let launched = match &dispatched {
        Some(out) => launch_prepared(shared, &op, out, status_at),
        None => launch_unprepared(shared, &op, tokens, &mut keep).map(|out| dispatched = Some(out)),
    };
    let ticket = shared.begin("dispatch", event, keep, patience(op.timeout), launched)?;
    if let Some(out) = &dispatched {
        out.handle.inner.filled.store(true, Ordering::Release);
    }
    let dispatched = dispatched.ok_or_else(|| Error::Bug("a dispatch was launched without outputs".into()))?;
    Ok(Pending::new(shared, "dispatch", ticket, dispatched))
}

/// Handle and outputs of a dispatch whose number of rows, or a bound, is known beforehand.
pub(crate) fn prepare_dispatch(shared: &Shared, op: &Dispatch, tokens: usize) -> Result<Option<Dispatched>> {
    let handle = match (&op.cached, op.bound) {
        (Some(handle), _) => handle.clone(),
        (None, Some(bound)) => {
            let most = shared.plan.topology.ranks() as usize * shared.plan.shape.max_tokens() as usize;
            handle(shared, &routing(shared)?, tokens, ([bound, most], true), Arc::default())?
        }
        (None, None) => return Ok(None),
    };
    outputs(shared, op, handle).map(Some)
}

/// Memory for the routing of a dispatch.
fn routing(shared: &Shared) -> Result<Arc<Buffer>> {
    Buffer::new(&shared.driver, shared.plan.handle.bytes).map(Arc::new)
}

/// What a dispatch reads of its caller's.
pub(crate) fn dispatch_inputs(op: &Dispatch) -> Vec<Tensor> {
    let optional = op.x_scales.iter().chain(&op.topk_weights);
    [&op.x, &op.topk_idx].into_iter().chain(optional).cloned().collect()
}

/// What it writes, but the routing.
pub(crate) fn dispatch_outputs(out: &Dispatched) -> Vec<Tensor> {
    let optional = out.x_scales.iter().chain(&out.topk_weights).chain(&out.handle.inner.places);
    [&out.x, &out.topk_idx, &out.source].into_iter().chain(optional).cloned().collect()
}

/// Launches a dispatch whose memory is there; nothing is awaited.
pub(crate) fn launch_prepared(shared: &Shared, op: &Dispatch, out: &Dispatched, status: DevicePtr) -> Result<()> {
    if op.cached.is_none() {
        launch_routing(shared, op, out.handle.tokens(), &out.handle.inner.buffer, status)?;
    }
    if out.handle.inner.bounded {
        // Rows that do not come say so.
        for tensor in [&out.topk_idx, &out.source] {
            shared.driver.fill(tensor.ptr(), 0xff, tensor.bytes(), shared.stream.id())?;
        }
    }
    launch_pad(shared, out)?;
    launch_dispatch(shared, op, out, status)
}

/// Launches a dispatch whose number of rows is not known, waits for it, and takes outputs from what is reserved; they are in
/// `keep` before the launch that writes them.
fn launch_unprepared(shared: &Shared, op: &Dispatch, tokens: usize, keep: &mut Keep) -> Result<Dispatched> {
    let lost = || Error::Bug("a dispatch without routing or status".into());
    let (routing, report) = keep.routing.as_ref().zip(keep.reports.first()).ok_or_else(lost)?;
    let status = report.status.device();
    launch_routing(shared, op, tokens, routing, status)?;
    // The exchange's time starts when the stream comes to it.
    shared.wait_earlier()?;
    let totals = wait_totals(shared, op.timeout, &report.status)?;
    let rows = [totals.rows, totals.rank_rows];
    let known = match &report.counts {
        Counts::Handle(known, _) | Counts::Exchange(known, _) => Arc::clone(known),
        Counts::None => Arc::default(),
    };
    known.set(totals);
    let dispatched = outputs(shared, op, handle(shared, routing, tokens, (rows, false), known)?)?;
    keep.tensors.extend(dispatch_outputs(&dispatched));
    launch_pad(shared, &dispatched)?;
    launch_dispatch(shared, op, &dispatched, status)?;
    Ok(dispatched)
}

/// Counts, tells and hears how many rows go where.
fn launch_routing(shared: &Shared, op: &Dispatch, tokens: usize, routing: &Buffer, status: DevicePtr) -> Result<()> {
    shared.driver.fill(routing.ptr(), 0, HandleHead::BYTES as u64, shared.stream.id())?;
    launch_layout(shared, op, tokens, routing, status)?;
    launch_exchange(shared, op, routing, status)
}

/// A handle over `routing`; `rows` and `rank_rows` are what tensors have room for, which may be a bound.
fn handle(
    shared: &Shared,
    routing: &Arc<Buffer>,
    tokens: usize,
    ([rows, rank_rows], bounded): ([usize; 2], bool),
    counts: Arc<Known>,
) -> Result<Handle> {
    let (owner, shape, layout) = (owner(shared), &shared.plan.shape, &shared.plan.handle);
    let places = match shape.layout() {
        OutputLayout::Rows => None,
        OutputLayout::Experts { .. } => Some(Tensor::empty(&owner, DType::I32, &[rank_rows, shape.topk() as usize])?),
    };
    let array = |offset, count| Tensor::part(&owner, routing, offset, DType::I32, &[count]);
    let experts = shape.experts_per_rank(shared.plan.topology) as usize;
    let offsets = places.as_ref().map(|_| array(layout.expert_offsets, experts + 1));
    let rows_on_device = array(std::mem::offset_of!(HandleHead, rows) as u64, 1);
    let on_device = (array(layout.expert_totals, experts), offsets);
    let (buffer, communicator) = (Arc::clone(routing), shared.id);
    let filled = AtomicBool::new(false);
    Ok(Handle {
        inner: Arc::new(HandleInner {
            buffer,
            communicator,
            tokens,
            rows,
            bounded,
            counts,
            places,
            rows_on_device,
            on_device,
            filled,
        }),
    })
}

/// Tensors for the rows of `handle`, in the landing zone if there is room for them.
fn outputs(shared: &Shared, op: &Dispatch, handle: Handle) -> Result<Dispatched> {
    let (owner, shape, rows, window) = (owner(shared), shared.plan.shape, handle.rows(), &shared.plan.window);
    let landing = shared.landing_rows(rows);
    let (payload, choices) = (shape.payload(), choices_of_a_row(&shape));
    let output = |array, dtype, columns| match &landing {
        Some(range) => Ok(range.tensor(&owner, array, dtype, [rows, columns])),
        None => Tensor::empty(&owner, dtype, &[rows, columns]),
    };
    let scales = |kind: ScaleKind| output(window.landing_scales, kind.dtype(), shape.scale_columns() as usize);
    let weights = |_: &Tensor| output(window.landing_weights, DType::F32, choices);
    let mut dispatched = Dispatched {
        x: output(window.landing_x, payload.dtype(), payload.columns(shape.hidden()) as usize)?,
        x_scales: payload.scales().map(scales).transpose()?,
        topk_idx: output(window.landing_idx, DType::I32, choices)?,
        topk_weights: op.topk_weights.as_ref().map(weights).transpose()?,
        source: output(window.landing_source, DType::I32, 2)?,
        landed: landing.is_some(),
        rows,
        expert_counts: Vec::new(),
        expert_offsets: Vec::new(),
        handle,
    };
    if let Some(totals) = dispatched.handle.inner.counts.get() {
        dispatched.fill(shared, &totals);
    }
    Ok(dispatched)
}

/// One launch.
pub(crate) fn combine(shared: &Arc<Shared>, op: Combine) -> Result<Pending<Combined>> {
    shared.check_usable()?;
    op.check(shared)?;
    shared.check_not_capturing()?;
    op.handle.check_filled()?;
    let combined = prepare_combine(shared, &op)?;
    let status = shared.take_status()?;
    shared.wait_for_events(&op.after)?;
    let event = shared.take_event()?;
    let status_at = status.device();
    let report = Report { op: "combine", status, parts: combine_parts(shared), counts: Counts::None };
    let routing = Some(Arc::clone(&op.handle.inner.buffer));
    let tensors = combine_inputs(&op).into_iter().chain(combine_outputs(&op, &combined)).collect();
    let keep = Keep { reports: vec![report], routing, tensors, graph: None };
    let launched = launch_combine(shared, &op, &combined, status_at);
    let ticket = shared.begin("combine", event, keep, patience(op.timeout), launched)?;
    Ok(Pending::new(shared, "combine", ticket, combined))
}

/// Outputs of a combine.
pub(crate) fn prepare_combine(shared: &Shared, op: &Combine) -> Result<Combined> {
    let shape = &shared.plan.shape;
    let output = |dtype, columns: u32| Tensor::empty(&owner(shared), dtype, &[op.handle.tokens(), columns as usize]);
    Ok(Combined {
        x: output(shape.sum().dtype(), shape.hidden())?,
        topk_weights: op.rows_weights.as_ref().map(|_| output(DType::F32, shape.topk())).transpose()?,
    })
}

/// What a combine reads of its caller's.
pub(crate) fn combine_inputs(op: &Combine) -> Vec<Tensor> {
    let optional = op.biases.iter().chain(&op.rows_weights).chain(&op.rows_scales);
    [&op.rows_x].into_iter().chain(optional).cloned().collect()
}

/// What it writes, and what it reads of the handle's, but the routing.
pub(crate) fn combine_outputs(op: &Combine, out: &Combined) -> Vec<Tensor> {
    [&out.x].into_iter().chain(&out.topk_weights).chain(&op.handle.inner.places).cloned().collect()
}

pub(crate) fn launch_combine(shared: &Shared, op: &Combine, out: &Combined, status: DevicePtr) -> Result<()> {
    let plan = &shared.plan.combine;
    let status_at = line(status, PRELUDE_LINES);
    let args = args::Combine {
        comm: shared.addresses.comm.address(),
        launch: shared.addresses.combine.address(),
        handle: op.handle.inner.buffer.ptr().address(),
        rows_x: op.rows_x.ptr().address(),
        rows_capacity: op.handle.rows() as u64,
        rows_weights: address(op.rows_weights.as_ref()),
        rows_scales: address(op.rows_scales.as_ref()),
        places: address(op.handle.inner.places.as_ref()),
        places_capacity: tokens_of(op.handle.inner.places.as_ref()),
        bias0: address(op.biases.first()),
        bias1: address(op.biases.get(1)),
        out: out.x.ptr().address(),
        out_weights: address(out.topk_weights.as_ref()),
        weighs: op.rows_weights.is_some().into(),
        status: status_at.address(),
        deadline_ns: nanoseconds(op.timeout),
    };
    let mut regions = vec![
        buffer("handle", &op.handle.inner.buffer),
        tensor("rows_x", &op.rows_x),
        tensor("out", &out.x),
        Region { arg: "status", address: status_at, bytes: status_bytes(plan.sms) },
    ];
    regions.extend(op.rows_weights.as_ref().map(|weights| tensor("rows_weights", weights)));
    regions.extend(op.rows_scales.as_ref().map(|scales| tensor("rows_scales", scales)));
    regions.extend(op.handle.inner.places.as_ref().map(|places| tensor("places", places)));
    regions.extend(out.topk_weights.as_ref().map(|weights| tensor("out_weights", weights)));
    regions.extend(["bias0", "bias1"].into_iter().zip(&op.biases).map(|(name, bias)| tensor(name, bias)));
    shared.functions.combine.launch(&shared.driver, dimensions(shared, plan), &args, &regions, &shared.reach)
}

fn launch_layout(shared: &Shared, op: &Dispatch, tokens: usize, handle: &Buffer, status: DevicePtr) -> Result<()> {
    let status_at = line(status, 0);
    let args = args::Layout {
        comm: shared.addresses.comm.address(),
        handle: handle.ptr().address(),
        topk_idx: op.topk_idx.ptr().address(),
        tokens: u32::try_from(tokens).map_err(|_| Error::Bug("a checked token count grew".into()))?,
        status: status_at.address(),
    };
    let regions = [
        buffer("handle", handle),
        tensor("topk_idx", &op.topk_idx),
        Region { arg: "status", address: status_at, bytes: status_bytes(1) },
    ];
    let at = Dimensions {
        grid: 1,
        block: shared.functions.layout.max_threads(),
        shared_bytes: 0,
        stream: shared.stream.id(),
    };
    shared.functions.layout.launch(&shared.driver, at, &args, &regions, &shared.reach)
}

fn launch_exchange(shared: &Shared, op: &Dispatch, handle: &Buffer, status: DevicePtr) -> Result<()> {
    let status_at = line(status, 1);
    let totals = status.offset(shared.totals_at());
    let args = args::Exchange {
        comm: shared.addresses.comm.address(),
        handle: handle.ptr().address(),
        totals: totals.address(),
        status: status_at.address(),
        deadline_ns: nanoseconds(op.timeout),
    };
    let regions = [
        buffer("handle", handle),
        Region { arg: "totals", address: totals, bytes: shared.totals_bytes() },
        Region { arg: "status", address: status_at, bytes: status_bytes(1) },
    ];
    let at = Dimensions {
        grid: 1,
        block: shared.functions.exchange.max_threads(),
        shared_bytes: 0,
        stream: shared.stream.id(),
    };
    shared.functions.exchange.launch(&shared.driver, at, &args, &regions, &shared.reach)
}

fn launch_dispatch(shared: &Shared, op: &Dispatch, out: &Dispatched, status: DevicePtr) -> Result<()> {
    let plan = &shared.plan.dispatch;
    let status_at = line(status, PRELUDE_LINES);
    let args = args::Dispatch {
        comm: shared.addresses.comm.address(),
        launch: shared.addresses.dispatch.address(),
        handle: out.handle.inner.buffer.ptr().address(),
        x: op.x.ptr().address(),
        x_scales: address(op.x_scales.as_ref()),
        topk_idx: op.topk_idx.ptr().address(),
        topk_weights: address(op.topk_weights.as_ref()),
        rows_x: out.x.ptr().address(),
        rows_scales: address(out.x_scales.as_ref()),
        rows_idx: out.topk_idx.ptr().address(),
        rows_weights: address(out.topk_weights.as_ref()),
        rows_source: out.source.ptr().address(),
        places: address(out.handle.inner.places.as_ref()),
        places_capacity: tokens_of(out.handle.inner.places.as_ref()),
        rows_capacity: out.handle.rows() as u64,
        landing: shared.landing_row(&out.x).unwrap_or(args::LANDING_NONE),
        status: status_at.address(),
        deadline_ns: nanoseconds(op.timeout),
    };
    let mut regions = vec![
        buffer("handle", &out.handle.inner.buffer),
        tensor("x", &op.x),
        tensor("topk_idx", &op.topk_idx),
        tensor("rows_x", &out.x),
        tensor("rows_idx", &out.topk_idx),
        tensor("rows_source", &out.source),
        Region { arg: "status", address: status_at, bytes: status_bytes(plan.sms) },
    ];
    regions.extend(out.handle.inner.places.as_ref().map(|places| tensor("places", places)));
    regions.extend(op.x_scales.as_ref().map(|scales| tensor("x_scales", scales)));
    regions.extend(out.x_scales.as_ref().map(|scales| tensor("rows_scales", scales)));
    regions.extend(op.topk_weights.as_ref().map(|weights| tensor("topk_weights", weights)));
    regions.extend(out.topk_weights.as_ref().map(|weights| tensor("rows_weights", weights)));
    shared.functions.dispatch.launch(&shared.driver, dimensions(shared, plan), &args, &regions, &shared.reach)
}

/// CTAs of `pad`: few, since there are few rows to write.
const PAD_CTAS: u32 = 8;
/// Their threads.
const PAD_THREADS: u32 = 256;

/// Rows of zeros, where rows are by expert.
fn launch_pad(shared: &Shared, out: &Dispatched) -> Result<()> {
    let Some(pad) = &shared.functions.pad else { return Ok(()) };
    let args = args::Pad {
        comm: shared.addresses.comm.address(),
        handle: out.handle.inner.buffer.ptr().address(),
        rows_x: out.x.ptr().address(),
        rows_scales: address(out.x_scales.as_ref()),
        rows_idx: out.topk_idx.ptr().address(),
        rows_weights: address(out.topk_weights.as_ref()),
        rows_source: out.source.ptr().address(),
        rows_capacity: out.handle.rows() as u64,
    };
    let mut regions = vec![
        buffer("handle", &out.handle.inner.buffer),
        tensor("rows_x", &out.x),
        tensor("rows_idx", &out.topk_idx),
        tensor("rows_source", &out.source),
    ];
    regions.extend(out.x_scales.as_ref().map(|scales| tensor("rows_scales", scales)));
    regions.extend(out.topk_weights.as_ref().map(|weights| tensor("rows_weights", weights)));
    let at = Dimensions { grid: PAD_CTAS, block: PAD_THREADS, shared_bytes: 0, stream: shared.stream.id() };
    pad.launch(&shared.driver, at, &args, &regions, &shared.reach)
}

/// How long the host waits for kernels with this timeout.
pub(crate) fn patience(timeout: Duration) -> Duration {
    timeout.saturating_mul(2).saturating_add(GRACE)
}

fn wait_totals(shared: &Shared, timeout: Duration, status: &HostBuffer) -> Result<Totals> {
    // The block was zeroed: any stamp is that of this exchange.
    let stamp = shared.totals_at() + std::mem::offset_of!(TotalsHead, stamp) as u64;
    let patience = patience(timeout);
    match shared.driver.wait_word(status.block(), stamp, 1, shared.stream.id(), patience)? {
        WordWait::Reached => shared.totals(status),
        WordWait::StreamIdle => match shared.report(status, &[LAYOUT_PART, EXCHANGE_PART])? {
            Some(report) => Err(shared.ended("dispatch", report)),
            None => Err(Error::Bug("an exchange ended without totals and without a status".into())),
        },
        WordWait::TimedOut => {
            let waited_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            Err(Error::WaitTimeout { op: "dispatch", rank: shared.rank, waited_ms })
        }
    }
}

fn dimensions(shared: &Shared, plan: &LaunchPlan) -> Dimensions {
    Dimensions { grid: plan.sms, block: plan.threads, shared_bytes: plan.shared_bytes, stream: shared.stream.id() }
}

fn line(status: DevicePtr, index: u32) -> DevicePtr {
    status.offset(status_bytes(index))
}

fn status_bytes(lines: u32) -> u64 {
    u64::from(lines) * STATUS_LINE_BYTES as u64
}

fn buffer(arg: &'static str, buffer: &Buffer) -> Region {
    Region { arg, address: buffer.ptr(), bytes: buffer.bytes() }
}

fn tensor(arg: &'static str, tensor: &Tensor) -> Region {
    Region { arg, address: tensor.ptr(), bytes: tensor.bytes() }
}

/// Rows of a tensor, 0 for none.
fn tokens_of(tensor: Option<&Tensor>) -> u64 {
    tensor.map_or(0, |tensor| tensor.shape()[0] as u64)
}

/// Where a tensor is, 0 for none.
fn address(tensor: Option<&Tensor>) -> u64 {
    tensor.map_or(DevicePtr::NULL, Tensor::ptr).address()
}

fn nanoseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX / 2)
}
