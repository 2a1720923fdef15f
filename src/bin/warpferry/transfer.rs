//! A demo's work: dispatch, experts and combine of all ranks, each a thread of this process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use warpferry::comm::Canceller;
use warpferry::plan::OutputLayout;
use warpferry::reference::{self, CombineOutput, DispatchOutput, Row};
use warpferry::{
    Combine, Combined, Communicator, Dispatch, Dispatched, Error, Handle, LoadStatistics, Pending, Result, Shape,
    Tensor, World, WorldConfig,
};
use warpferry_emu::GpuStatistics;

use crate::backend::Backend;
use crate::inputs::{numbers, Inputs, RankInputs};
use crate::replays::{replay, Turn};
use crate::traffic::{Counted, Landed};

/// Longest that the host waits for an operation; kernels give up on their own long before.
pub const WAIT: Duration = Duration::from_secs(3600);

/// What came out of the world.
#[derive(Debug)]
pub struct Done {
    /// Dispatched and combined, by rank and turn.
    pub ranks: Vec<Vec<(DispatchOutput, CombineOutput)>>,
    pub landed: Landed,
    /// What each rank counted on its device.
    pub load: Vec<LoadStatistics>,
    pub dispatch: Counted,
    pub dispatch_time: Duration,
    pub combine: Counted,
    pub combine_time: Duration,
    /// Replays of a graph that differ.
    pub replays_wrong: Vec<String>,
}

/// How a demo does it.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Rows that each rank has room for.
    pub bound: Option<usize>,
    /// Longest time without progress.
    pub timeout: Option<Duration>,
    /// Replays of a graph of the first turn.
    pub replays: Option<u32>,
}

/// Makes a world, dispatches, plays the experts, combines; then the replays.
///
/// # Errors
/// The first error of a rank; what making or closing the world says.
pub fn transfer(
    backend: &Backend,
    config: WorldConfig,
    How { bound, timeout, replays }: How,
    inputs: &Inputs,
) -> Result<Done> {
    let ranks = config.topology.ranks();
    let shape = config.shape;
    let progress = Progress::new(3 * u64::from(ranks));
    progress.say("making the world");
    let mut world = backend.world(config)?;
    let start = counted(&mut world)?;

    progress.say("dispatch");
    let began = Instant::now();
    let outputs = run(&mut world, |communicator| {
        let done = dispatch_all(communicator, inputs, bound, timeout)?;
        progress.step();
        Ok(done)
    })?;
    let dispatch_time = began.elapsed();
    let middle = counted(&mut world)?;

    progress.say("experts");
    let rows: Vec<Vec<Vec<u8>>> = outputs
        .iter()
        .map(|turns| {
            progress.step();
            turns.iter().map(|(_, output)| experts(&shape, output)).collect()
        })
        .collect();

    progress.say("combine");
    let began = Instant::now();
    // Each rank takes its own element; the lock only hands it over.
    let handles: Vec<Mutex<Vec<Handle>>> =
        outputs.iter().map(|turns| turns.iter().map(|(got, _)| got.handle.clone()).collect()).map(Mutex::new).collect();
    let landed = outputs.iter().flatten().filter(|(got, _)| got.landed).count() as u64;
    let landed = Landed { outputs: landed, of: outputs.iter().flatten().count() as u64 };
    let arrived: Vec<Vec<&DispatchOutput>> =
        outputs.iter().map(|turns| turns.iter().map(|(_, output)| output).collect()).collect();
    let combined = run(&mut world, |communicator| {
        let rank = communicator.rank() as usize;
        let handles = std::mem::take(&mut *handles[rank].lock().unwrap_or_else(PoisonError::into_inner));
        // The last turn comes first, and each handle goes as soon as it is used.
        let pending = handles.into_iter().enumerate().rev().map(|(turn, handle)| {
            let sent = &inputs.turns[turn].ranks[rank];
            communicator.combine(combine(communicator, &rows[rank][turn], arrived[rank][turn], sent, &handle, timeout)?)
        });
        let pending = pending.collect::<Result<Vec<Pending<Combined>>>>()?;
        let results = pending.into_iter().map(|mut pending| combine_output(&pending.wait(WAIT)?));
        let mut results = results.collect::<Result<Vec<CombineOutput>>>()?;
        results.reverse();
        progress.step();
        Ok(results)
    })?;
    let combine_time = began.elapsed();
    let end = counted(&mut world)?;
    let load = run(&mut world, |communicator| communicator.load_statistics())?;
    let mut replays_wrong = Vec::new();
    if let Some((count, bound)) = replays.zip(bound) {
        progress.say("replays");
        let turns: Vec<Turn> = (0..ranks as usize)
            .map(|rank| Turn {
                sent: &inputs.turns[0].ranks[rank],
                rows: &rows[rank][0],
                dispatched: arrived[rank][0],
                combined: &combined[rank][0],
            })
            .collect();
        replays_wrong = replay(&mut world, &turns, count, bound, timeout)?;
    }
    progress.finish();
    let ranks = outputs
        .into_iter()
        .zip(combined)
        .map(|(turns, combined)| turns.into_iter().map(|(_, output)| output).zip(combined).collect())
        .collect();
    world.close()?;
    Ok(Done {
        ranks,
        landed,
        load,
        dispatch: middle.since(start),
        dispatch_time,
        combine: end.since(middle),
        combine_time,
        replays_wrong,
    })
}

/// Runs `act` once a rank. On a GPU the first rank that fails stops the others' kernels, which would wait for it until
/// their time is out; its error is the one that counts. On the emulator that time is virtual.
pub fn run<T: Send>(world: &mut World, act: impl Fn(&mut Communicator) -> Result<T> + Sync) -> Result<Vec<T>> {
    let emulated = world.machine().is_some();
    let others: Vec<Canceller> = match emulated {
        true => Vec::new(),
        false => world.communicators().iter().map(Communicator::canceller).collect(),
    };
    let first: Mutex<Option<Error>> = Mutex::new(None);
    let results = world.run(|communicator| {
        act(communicator).inspect_err(|error| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_some() {
                return;
            }
            *first = Some(error.clone());
            drop(first);
            for other in &others {
                // A GPU that has failed altogether cannot be told anything; its kernels are gone already.
                let _ = other.cancel();
            }
        })
    })?;
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => results.into_iter().collect(),
    }
}

/// Every turn of a rank: micro-batches one behind the other, none awaited before the next; then what goes along their
/// handles.
fn dispatch_all(
    communicator: &mut Communicator,
    inputs: &Inputs,
    bound: Option<usize>,
    timeout: Option<Duration>,
) -> Result<Vec<(Dispatched, DispatchOutput)>> {
    let mut done: Vec<(Dispatched, DispatchOutput)> = Vec::new();
    for stage in inputs.turns.chunk_by(|a, b| a.along.is_some() == b.along.is_some()) {
        let handles: Vec<Handle> = done.iter().map(|(got, _)| got.handle.clone()).collect();
        let mut pending = Vec::new();
        for turn in stage {
            let along = turn.along.map(|at| &handles[at]);
            let sent = &turn.ranks[communicator.rank() as usize];
            let op = dispatch(communicator, sent, timeout)?;
            let op = match (along, bound) {
                (Some(handle), _) => op.cached(handle),
                (None, Some(rows)) => op.bound(rows),
                (None, None) => op,
            };
            pending.push(communicator.dispatch(op)?);
        }
        for mut pending in pending {
            let got = pending.wait(WAIT)?;
            let output = dispatch_output(&got)?;
            done.push((got, output));
        }
    }
    Ok(done)
}

/// The dispatch of a turn.
pub fn dispatch(communicator: &Communicator, sent: &RankInputs, timeout: Option<Duration>) -> Result<Dispatch> {
    let shape = communicator.plan().shape;
    let topk = shape.topk() as usize;
    let tokens = sent.topk_idx.len() / topk;
    let payload = shape.payload();
    let columns = payload.columns(shape.hidden()) as usize;
    let x = communicator.tensor_of_bytes(payload.given(), &sent.x, &[tokens, columns])?;
    let topk_idx = communicator.tensor(&sent.topk_idx, &[tokens, topk])?;
    let weights = communicator.tensor(&sent.topk_weights, &[tokens, topk])?;
    let mut operation = Dispatch::new(&x, &topk_idx).weights(&weights);
    if let Some(kind) = payload.scales().filter(|_| payload.takes_scales()) {
        let shape = [tokens, shape.scale_columns() as usize];
        operation = operation.scales(&communicator.tensor_of_bytes(kind.dtype(), &sent.scales, &shape)?);
    }
    if let Some(timeout) = timeout {
        operation = operation.timeout(timeout);
    }
    Ok(operation)
}

/// What a dispatch gave, on the host.
pub fn dispatch_output(got: &Dispatched) -> Result<DispatchOutput> {
    let weights = got.topk_weights.as_ref().ok_or_else(|| Error::Bug("weights were sent and none came".into()))?;
    let row = |pair: &[i32]| Row { rank: pair[0] as u32, token: pair[1] as u32 };
    // With a bound there may be room for more.
    let rows = |tensor: &Tensor| tensor.narrow(0..got.rows);
    Ok(DispatchOutput {
        x: rows(&got.x)?.to_bytes()?,
        scales: got.x_scales.as_ref().map_or(Ok(Vec::new()), |scales| rows(scales)?.to_bytes())?,
        topk_idx: rows(&got.topk_idx)?.to_vec()?,
        topk_weights: rows(weights)?.to_vec()?,
        source: rows(&got.source)?.to_vec::<i32>()?.chunks_exact(2).map(row).collect(),
        expert_counts: got.expert_counts.clone(),
        expert_offsets: got.expert_offsets.clone(),
        places: Vec::new(),
    })
}

/// The combine of a turn.
pub fn combine(
    communicator: &Communicator,
    rows: &[u8],
    arrived: &DispatchOutput,
    sent: &RankInputs,
    handle: &Handle,
    timeout: Option<Duration>,
) -> Result<Combine> {
    let shape = communicator.plan().shape;
    let (hidden, topk) = (shape.hidden() as usize, shape.topk() as usize);
    let mut rows = rows.to_vec();
    rows.resize(handle.rows() * shape.combine_row_bytes() as usize, 0);
    let rows = communicator.tensor_of_bytes(shape.sum().dtype(), &rows, &[handle.rows(), hidden])?;
    let choices = if by_expert(&shape) { 1 } else { topk };
    let mut weights = arrived.topk_weights.clone();
    weights.resize(handle.rows() * choices, 0.0);
    let weights = communicator.tensor(&weights, &[handle.rows(), choices])?;
    let mut operation = Combine::new(&rows, handle).weights(&weights);
    if by_expert(&shape) {
        operation = operation.scaled_by(&weights);
    }
    for bias in &sent.biases {
        let bias = communicator.tensor_of_bytes(shape.sum().dtype(), bias, &[handle.tokens(), hidden])?;
        operation = operation.bias(&bias);
    }
    if let Some(timeout) = timeout {
        operation = operation.timeout(timeout);
    }
    Ok(operation)
}

/// What a combine gave, on the host.
pub fn combine_output(combined: &Combined) -> Result<CombineOutput> {
    let topk_weights = combined.topk_weights.as_ref().map(Tensor::to_vec).transpose()?;
    Ok(CombineOutput { x: combined.x.to_bytes()?, topk_weights })
}

/// Whether rows are ordered by expert.
pub fn by_expert(shape: &Shape) -> bool {
    matches!(shape.layout(), OutputLayout::Experts { .. })
}

/// Stands for a rank's experts: each row times the sum of its local weights; by expert the row itself, which combine scales.
/// So combine gives about x times the sum of all weights of the token, and every rank's share differs.
pub fn experts(shape: &Shape, rows: &DispatchOutput) -> Vec<u8> {
    let (row_bytes, scales) =
        (shape.dispatch_row_bytes() as usize, (shape.scale_columns() * shape.scale_bytes()) as usize);
    let mut out = Vec::with_capacity(rows.source.len() * shape.combine_row_bytes() as usize);
    let weights = rows.topk_weights.chunks(if by_expert(shape) { 1 } else { shape.topk() as usize });
    for (at, (row, weights)) in rows.x.chunks(row_bytes).zip(weights).enumerate() {
        let weight: f32 = if by_expert(shape) { 1.0 } else { weights.iter().sum() };
        let numbers = numbers(shape, row, &rows.scales[at * scales..(at + 1) * scales]);
        let weighted: Vec<f32> = numbers.iter().map(|number| number * weight).collect();
        out.extend(reference::round(shape.sum(), &weighted));
    }
    out
}

fn counted(world: &mut World) -> Result<Counted> {
    let mut counted = Counted::default();
    for communicator in world.communicators() {
        let traffic = communicator.traffic()?;
        counted.payload.add(&traffic.payload);
        counted.control.add(&traffic.credit);
        counted.control.add(&traffic.exchange);
    }
    if let Some(machine) = world.machine() {
        let statistics = machine.with(|machine| machine.statistics().clone());
        counted.peer_bytes = Some(statistics.gpus.iter().map(|gpu| gpu.bulk_store_peer_bytes).sum());
        let written = |gpu: &GpuStatistics| {
            gpu.bulk_store_bytes + gpu.bulk_store_peer_bytes + gpu.store_bytes + gpu.store_peer_bytes
        };
        counted.written_bytes = Some(statistics.gpus.iter().map(written).sum());
        counted.warp_instructions = Some(statistics.warp_instructions());
    }
    Ok(counted)
}

/// A bar on a terminal, nothing elsewhere: indicatif draws to stderr only when that is one.
struct Progress(ProgressBar);

impl Progress {
    fn new(steps: u64) -> Progress {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{spinner} {msg:20} {bar:30} {pos}/{len}  {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    fn say(&self, what: &'static str) {
        self.0.set_message(what);
    }

    fn step(&self) {
        self.0.inc(1);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
