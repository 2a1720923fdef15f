//! `demo`: one dispatch and one combine on an emulated cluster, every bit compared with the reference.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use half::bf16;
use indicatif::{ProgressBar, ProgressStyle};
use warpferry::plan::{Op, Plan, Shape};
use warpferry::reference::{self, DispatchInput, DispatchOutput, Layout, Row};
use warpferry::{Combine, Communicator, Dispatch, Dispatched, Error, Fabric, Result, World, WorldConfig};
use warpferry_emu::{Checks, Schedule};
use warpferry_nic::Ordering;

use crate::inputs::{Inputs, RankInputs, Source};
use crate::memory::{self, Need};
use crate::options::DemoOptions;
use crate::output::{complain, say};
use crate::report::{OpReport, Report};
use crate::traffic::{Counted, Least};

/// Longest that the host waits for an operation; kernels give up on their own long before.
const WAIT: Duration = Duration::from_secs(3600);
/// Mismatches printed before the rest is only counted.
const MISMATCHES_SHOWN: usize = 5;

/// Runs the demo; false when a result differs from the reference.
pub fn run(options: &DemoOptions) -> Result<bool> {
    let topology = options.topology()?;
    let source = Source::new(options, topology)?;
    let config = config(options, source.shape)?;
    let plan = config.plan(0)?;
    let memory_bytes = config.memory_bytes()?;
    let available = memory::available_bytes();
    let need = |rows| Need::new(&plan, memory_bytes, options.tokens, rows, config.machine.checks.uninitialized);
    // Choices take memory too, so what is needed whatever they are is checked before they are made.
    need(0).check(&plan, options.tokens, available)?;
    let choices = source.choices(options, topology)?;
    let need = need(choices.rows(topology, source.shape)?);
    if !options.json {
        say(&plan);
        say(format_args!("routing  {}", source.origin));
        say(format_args!("memory   {need}\n"));
    }
    need.check(&plan, options.tokens, available)?;
    let inputs = Inputs::new(options, source, choices);
    let expected = Expected::new(&plan, &inputs)?;
    let done = transfer(config, &inputs)?;
    let mut mismatches = Vec::new();
    for (rank, (output, combined)) in done.ranks.iter().enumerate() {
        compare_dispatch(rank, output, &expected.dispatched[rank], &mut mismatches);
        compare(&format!("rank {rank}: combined x"), combined, &expected.combined[rank], &mut mismatches);
    }
    let report = Report {
        verified: mismatches.is_empty(),
        routing: inputs.origin.clone(),
        tokens: options.tokens,
        roles: options.roles.to_string(),
        unordered: options.unordered,
        checks: !options.no_checks,
        seed: options.seed,
        memory_bytes,
        memory_total_bytes: need.total_bytes(),
        least: expected.least,
        rows: done.ranks.iter().map(|(output, _)| output.source.len() as u64).sum(),
        dispatch: OpReport::new(Op::Dispatch, &plan, done.dispatch, done.dispatch_time)?,
        combine: OpReport::new(Op::Combine, &plan, done.combine, done.combine_time)?,
        plan,
    };
    for mismatch in mismatches.iter().take(MISMATCHES_SHOWN) {
        complain(format_args!("differs from the reference: {mismatch}"));
    }
    if options.json {
        say(report.to_json());
    } else {
        say(&report);
    }
    Ok(report.verified)
}

fn config(options: &DemoOptions, shape: Shape) -> Result<WorldConfig> {
    let topology = options.topology()?;
    let mut config = WorldConfig::new(topology, shape).fabric(Fabric::Mlx5);
    config.tuning = options.tuning(topology, &shape)?;
    if let Some(seed) = options.seed {
        config.machine.schedule = Schedule::Random { seed };
    }
    if options.no_checks {
        config.machine.checks = Checks::NONE;
    }
    if options.unordered {
        config.machine.nic.ordering = Ordering::WritesUnordered;
    }
    Ok(config)
}

/// What the reference makes of the inputs.
struct Expected {
    dispatched: Vec<DispatchOutput>,
    combined: Vec<Vec<u16>>,
    least: Least,
}

impl Expected {
    fn new(plan: &Plan, inputs: &Inputs) -> Result<Expected> {
        let (topology, shape) = (plan.topology, plan.shape);
        let given: Vec<DispatchInput> = inputs
            .ranks
            .iter()
            .map(|rank| DispatchInput { x: &rank.x, topk_idx: &rank.topk_idx, topk_weights: Some(&rank.topk_weights) })
            .collect();
        let layouts =
            given.iter().map(|rank| Layout::new(topology, shape, rank.topk_idx)).collect::<Result<Vec<Layout>>>()?;
        let dispatched = reference::dispatch(topology, shape, &given)?;
        let rows: Vec<Vec<u16>> = dispatched.iter().map(experts).collect();
        let rows: Vec<&[u16]> = rows.iter().map(Vec::as_slice).collect();
        let combined = reference::combine(topology, shape, &layouts, &rows)?;
        Ok(Expected { dispatched, combined, least: Least::new(topology, &layouts) })
    }
}

/// Stands for a rank's experts: each row times the sum of its local weights. So combine gives about x times the sum of
/// all weights of the token, and every rank's share differs.
fn experts(rows: &DispatchOutput) -> Vec<u16> {
    let count = rows.source.len().max(1);
    let (hidden, topk) = (rows.x.len() / count, rows.topk_weights.len() / count);
    let mut out = Vec::with_capacity(rows.x.len());
    for (row, weights) in rows.x.chunks(hidden.max(1)).zip(rows.topk_weights.chunks(topk.max(1))) {
        let weight: f32 = weights.iter().sum();
        out.extend(row.iter().map(|&bits| reference::bf16::from_f32(reference::bf16::to_f32(bits) * weight)));
    }
    out
}

/// What came out of the emulated cluster.
struct Done {
    /// Dispatched and combined, a rank each.
    ranks: Vec<(DispatchOutput, Vec<u16>)>,
    dispatch: Counted,
    dispatch_time: Duration,
    combine: Counted,
    combine_time: Duration,
}

fn transfer(config: WorldConfig, inputs: &Inputs) -> Result<Done> {
    let ranks = config.topology.ranks();
    let progress = Progress::new(3 * u64::from(ranks));
    progress.say("making the cluster");
    let mut world = World::emulated(config)?;
    let start = counted(&mut world)?;

    progress.say("dispatch");
    let began = Instant::now();
    let outputs = world.run(|communicator| {
        let sent = &inputs.ranks[communicator.rank() as usize];
        let (handle, output) = dispatch(communicator, sent)?;
        progress.step();
        Ok((handle, output))
    })?;
    let dispatch_time = began.elapsed();
    let outputs = outputs.into_iter().collect::<Result<Vec<(Dispatched, DispatchOutput)>>>()?;
    let middle = counted(&mut world)?;

    progress.say("experts");
    let rows: Vec<Vec<u16>> = outputs
        .iter()
        .map(|(_, output)| {
            progress.step();
            experts(output)
        })
        .collect();

    progress.say("combine");
    let began = Instant::now();
    // Each rank takes its own element; the lock only hands it over.
    let dispatched: Vec<Mutex<&Dispatched>> = outputs.iter().map(|(dispatched, _)| Mutex::new(dispatched)).collect();
    let combined = world.run(|communicator| {
        let rank = communicator.rank() as usize;
        let handle = dispatched[rank].lock().map_err(|_| Error::Bug("a rank's thread panicked".into()))?.handle.clone();
        let combined = combine(communicator, &rows[rank], &handle)?;
        progress.step();
        Ok(combined)
    })?;
    let combine_time = began.elapsed();
    let combined = combined.into_iter().collect::<Result<Vec<Vec<u16>>>>()?;
    let end = counted(&mut world)?;
    progress.finish();
    let ranks = outputs.into_iter().map(|(_, output)| output).zip(combined).collect();
    world.close()?;
    Ok(Done { ranks, dispatch: middle.since(start), dispatch_time, combine: end.since(middle), combine_time })
}

fn dispatch(communicator: &mut Communicator, sent: &RankInputs) -> Result<(Dispatched, DispatchOutput)> {
    let shape = communicator.plan().shape;
    let topk = shape.topk() as usize;
    let tokens = sent.topk_idx.len() / topk;
    let x = communicator.tensor(&from_bits(&sent.x), &[tokens, shape.hidden() as usize])?;
    let topk_idx = communicator.tensor(&sent.topk_idx, &[tokens, topk])?;
    let weights = communicator.tensor(&sent.topk_weights, &[tokens, topk])?;
    let got = communicator.dispatch(Dispatch::new(&x, &topk_idx).weights(&weights))?.wait(WAIT)?;
    let weights = got.topk_weights.as_ref().ok_or_else(|| Error::Bug("weights were sent and none came".into()))?;
    let row = |pair: &[i32]| Row { rank: pair[0] as u32, token: pair[1] as u32 };
    let output = DispatchOutput {
        x: to_bits(&got.x.to_vec::<bf16>()?),
        topk_idx: got.topk_idx.to_vec()?,
        topk_weights: weights.to_vec()?,
        source: got.source.to_vec::<i32>()?.chunks_exact(2).map(row).collect(),
        expert_counts: got.expert_counts.clone(),
    };
    Ok((got, output))
}

fn combine(communicator: &mut Communicator, rows: &[u16], handle: &warpferry::Handle) -> Result<Vec<u16>> {
    let hidden = communicator.plan().shape.hidden() as usize;
    let rows = communicator.tensor(&from_bits(rows), &[rows.len() / hidden, hidden])?;
    let combined = communicator.combine(Combine::new(&rows, handle))?.wait(WAIT)?;
    Ok(to_bits(&combined.x.to_vec::<bf16>()?))
}

fn from_bits(bits: &[u16]) -> Vec<bf16> {
    bits.iter().map(|&bits| bf16::from_bits(bits)).collect()
}

fn to_bits(values: &[bf16]) -> Vec<u16> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn compare_dispatch(rank: usize, have: &DispatchOutput, want: &DispatchOutput, mismatches: &mut Vec<String>) {
    let bits = |weights: &[f32]| weights.iter().map(|weight| weight.to_bits()).collect::<Vec<u32>>();
    compare(&format!("rank {rank}: source"), &have.source, &want.source, mismatches);
    compare(&format!("rank {rank}: x"), &have.x, &want.x, mismatches);
    compare(&format!("rank {rank}: topk_idx"), &have.topk_idx, &want.topk_idx, mismatches);
    compare(&format!("rank {rank}: topk_weights"), &bits(&have.topk_weights), &bits(&want.topk_weights), mismatches);
    compare(&format!("rank {rank}: expert_counts"), &have.expert_counts, &want.expert_counts, mismatches);
}

/// Notes the first element that differs.
fn compare<T: PartialEq + Debug>(what: &str, have: &[T], want: &[T], mismatches: &mut Vec<String>) {
    if have.len() != want.len() {
        mismatches.push(format!("{what} has {} elements, reference {}", have.len(), want.len()));
    } else if let Some(at) = have.iter().zip(want).position(|(have, want)| have != want) {
        mismatches.push(format!("{what}[{at}] = {:?}, reference {:?}", have[at], want[at]));
    }
}

fn counted(world: &mut World) -> Result<Counted> {
    let mut counted = Counted::default();
    for communicator in world.communicators() {
        let traffic = communicator.traffic()?;
        counted.payload.add(&traffic.payload);
        counted.control.add(&traffic.credit);
        counted.control.add(&traffic.exchange);
    }
    let machine = world.machine().ok_or_else(|| Error::Bug("an emulated world has a machine".into()))?;
    let statistics = machine.with(|machine| machine.statistics().clone());
    counted.peer_bytes = statistics.gpus.iter().map(|gpu| gpu.bulk_store_peer_bytes).sum();
    counted.warp_instructions = statistics.warp_instructions();
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
