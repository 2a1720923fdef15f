//! Runs a case and compares every bit with the reference.

use std::fmt;
use std::time::Duration;

use warpferry::driver::emu::EmuMachine;
use warpferry::driver::Backend;
use warpferry::gate::{self, PathCost};
use warpferry::kernel::image::KernelImage;
use warpferry::kernel::launch::KernelSet;
use warpferry::mem::Element;
use warpferry::reference::{self, CombineInput, CombineOutput, DispatchInput, DispatchOutput, Layout, Row};
use warpferry::{
    Combine, Combined, Communicator, DType, Dispatch, Dispatched, Error, Handle, Pending, Shape, Tensor, Topology,
    World, WorldConfig,
};

use crate::case::{Case, Link, Ordered, WARP_INSTRUCTIONS_MAX};
use crate::draw::{self, Inputs, Results};
use crate::rest::check_positions;
use crate::said;
use crate::trouble::suffer_within;

/// Longest that kernels go without progress, in the cluster's time.
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// The same on the clock of a real machine, where a rank's thread may start late.
const TIMEOUT_REAL: Duration = Duration::from_secs(20);
/// Longest that the host waits, in the cluster's time: the kernels' own deadline comes first.
pub const PATIENCE: Duration = Duration::from_secs(1000);

/// Why a case failed, with the line that replays it.
pub struct Failure(String);

impl Failure {
    /// `what` went wrong with `case`.
    pub fn new(case: &Case, what: &str) -> Failure {
        Failure(format!("{what}\n  replay: {}", replay_line(case)))
    }
}

/// The line that plays `case` again.
pub fn replay_line(case: &Case) -> String {
    said::line("WARPFERRY_CASE", case, "worlds", "replay::replay")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a run that went well cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    pub warp_instructions: u64,
    pub time_ns: u64,
}

/// What one call gets and has to give.
pub struct Call {
    pub inputs: Vec<Inputs>,
    pub dispatched: Vec<DispatchOutput>,
    /// What the experts of each rank give back.
    pub results: Vec<Results>,
    pub combined: Vec<CombineOutput>,
    /// Where the tokens of each rank go.
    pub layouts: Vec<Layout>,
    /// Its place in the order of calls.
    pub number: u32,
    /// Messages that its rows make.
    pub cost: gate::Cost,
}

impl Call {
    /// The reference's answers.
    pub fn new(case: &Case, topology: Topology, shape: Shape, number: u32) -> warpferry::Result<Call> {
        let mut inputs = draw::inputs(case, topology, number);
        // What is no expert counts as none.
        for (rank, input) in (0..).zip(&mut inputs) {
            for (at, _) in wrong_experts(case, rank, number, input) {
                input.topk_idx[at] = -1;
            }
        }
        let given: Vec<DispatchInput> = (0..)
            .zip(&inputs)
            .map(|(rank, input)| DispatchInput {
                x: &input.x,
                scales: &input.scales,
                topk_idx: &input.topk_idx,
                topk_weights: case.weighs(rank).then_some(&input.topk_weights[..]),
            })
            .collect();
        let dispatched = reference::dispatch(topology, shape, &given)?;
        let results: Vec<Results> =
            (0..).zip(&dispatched).map(|(rank, rows)| draw::results(case, rank, rows.source.len(), number)).collect();
        let layouts: Vec<Layout> =
            inputs.iter().map(|input| Layout::new(topology, shape, &input.topk_idx)).collect::<Result<_, _>>()?;
        let biases: Vec<Vec<&[u8]>> =
            results.iter().map(|result| result.biases.iter().map(Vec::as_slice).collect()).collect();
        let given: Vec<CombineInput> = (0..)
            .zip(&results)
            .zip(&dispatched)
            .zip(&biases)
            .map(|(((rank, result), dispatched), biases)| {
                let weights = case.weights_back.then_some(&result.topk_weights[..]);
                let scales = case.scales(rank).then_some(&result.scales[..]);
                CombineInput { rows: &result.x, places: &dispatched.places, scales, weights, biases }
            })
            .collect();
        let combined = reference::combine(topology, shape, &layouts, &given)?;
        let choices: Vec<&[i32]> = inputs.iter().map(|input| &input.topk_idx[..]).collect();
        let cost = gate::Cost::new(topology, &shape, &choices)?;
        Ok(Call { inputs, dispatched, results, combined, layouts, number, cost })
    }
}

/// Where this rank's input has choices that are no experts, and which.
fn wrong_experts(case: &Case, rank: u32, call: u32, input: &Inputs) -> Vec<(usize, i32)> {
    case.trouble.map_or(Vec::new(), |trouble| trouble.no_experts(case, rank, call, input.topk_idx.len()))
}

/// Why a rank stopped.
pub enum Stop {
    /// Something came back wrong.
    Wrong(String),
    /// The library gave an error.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

/// Runs `case`.
pub fn play(case: &Case) -> Result<Cost, Failure> {
    attempt(case).map_err(|what| Failure::new(case, &what))
}

/// Runs `case`, which must go well.
#[track_caller]
pub fn check(case: &Case) -> Cost {
    play(case).unwrap_or_else(|failure| panic!("{failure}"))
}

fn attempt(case: &Case) -> Result<Cost, String> {
    attempt_within(case, None, &Bounds::default()).map(|played| played.cost)
}

/// The kernels of a world, `mutant` in the place of the one whose name it has, if it is one of them.
pub fn kernels_with(config: &WorldConfig, mutant: Option<&'static KernelImage>) -> warpferry::Result<KernelSet> {
    let mut kernels = KernelSet::of_shape(config.fabric, &config.shape, &config.tuning)?;
    let KernelSet { layout, exchange, pad, dispatch, combine } = &mut kernels;
    for kernel in [layout, exchange, pad, dispatch, combine] {
        if let Some(mutant) = mutant.filter(|mutant| mutant.name == kernel.name) {
            *kernel = mutant;
        }
    }
    Ok(kernels)
}

fn tell(what: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{what}: {error}")
}

/// Runs `case` with a mutant; says what went wrong, or how it suffered from its trouble.
pub fn attempt_with(case: &Case, mutant: &'static KernelImage) -> Result<Cost, String> {
    attempt_within(case, Some(mutant), &Bounds::default()).map(|played| played.cost)
}

/// What a run is kept to.
pub struct Bounds<'a> {
    /// Warp instructions after which it counts as endless.
    pub warp_instructions: u64,
    /// Sees the machine first.
    pub prepare: &'a dyn Fn(&EmuMachine),
}

impl Default for Bounds<'_> {
    fn default() -> Self {
        Bounds { warp_instructions: WARP_INSTRUCTIONS_MAX, prepare: &|_| {} }
    }
}

/// A run that went as it must.
pub struct Played {
    pub cost: Cost,
    /// What ranks that had to stop said.
    pub said: String,
}

/// The same, kept to bounds, with a mutant or without.
pub fn attempt_within(case: &Case, mutant: Option<&'static KernelImage>, bounds: &Bounds) -> Result<Played, String> {
    let mut config = case.config().map_err(tell("the case is not valid"))?;
    let kernels = case.kernels(kernels_with(&config, mutant).map_err(tell("kernels"))?);
    if let Some(trouble) = case.trouble {
        let suffered = suffer_within(case, trouble, kernels, bounds)?;
        return Ok(Played { cost: suffered.cost, said: suffered.said });
    }
    config.machine.limits.warp_instructions = bounds.warp_instructions;
    let mut world = World::emulated_kernels(config, kernels).map_err(tell("world"))?;
    (bounds.prepare)(world.machine().ok_or("the world has no machine")?);
    attempt_in(case, &mut world)?;
    let machine = world.machine().cloned().ok_or("the world has no machine")?;
    world.close().map_err(tell("close"))?;
    Ok(Played { cost: cost(&machine), said: String::new() })
}

/// What a machine has cost so far.
pub fn cost(machine: &EmuMachine) -> Cost {
    machine.with(|machine| Cost {
        warp_instructions: machine.statistics().warp_instructions(),
        time_ns: machine.time_ns(),
    })
}

/// Runs `case` on a world made for it; says what went wrong.
pub fn attempt_in(case: &Case, world: &mut World) -> Result<(), String> {
    let config = case.config().map_err(tell("the case is not valid"))?;
    let (topology, shape) = (config.topology, config.shape);
    let calls = (0..case.calls)
        .map(|number| Call::new(case, topology, shape, number))
        .collect::<Result<Vec<Call>, _>>()
        .map_err(tell("reference"))?;
    let outcomes = world
        .run(|rank| {
            (0..).zip(&calls).try_for_each(|(number, call)| round(rank, case, call).map_err(|stop| (number, stop)))?;
            check_load(rank, &calls).map_err(|stop| (case.calls, stop))
        })
        .map_err(tell("run"))?;
    describe(&outcomes)?;
    check_traffic(case, world, &calls)?;
    let Some(machine) = world.machine().cloned() else { return Ok(()) };
    check_positions(world.communicators(), &machine)
}

/// Ranks that stopped: wrong bits are told before errors, and faults of the machine before others, since errors elsewhere
/// often follow from them.
fn describe(outcomes: &[Result<(), (u32, Stop)>]) -> Result<(), String> {
    let wrong = outcomes.iter().zip(0..).filter_map(|(outcome, rank)| match outcome {
        Err((call, Stop::Wrong(what))) => Some(format!("rank {rank} call {call}: {what}")),
        _ => None,
    });
    let errors = |of_machine: bool| {
        outcomes.iter().zip(0..).filter_map(move |(outcome, rank)| match outcome {
            Err((call, Stop::Error(error))) if matches!(error, Error::Driver { .. }) == of_machine => {
                Some(format!("rank {rank} call {call}: {error}"))
            }
            _ => None,
        })
    };
    let all: Vec<String> = wrong.chain(errors(true)).chain(errors(false)).collect();
    if all.is_empty() {
        return Ok(());
    }
    Err(all.join("\n  "))
}

/// Compares what a rank has counted with what `calls` are.
pub fn check_load<'a>(rank: &Communicator, calls: impl IntoIterator<Item = &'a Call>) -> Result<(), Stop> {
    let calls: Vec<Vec<Layout>> = calls.into_iter().map(|call| call.layouts.clone()).collect();
    let want = reference::load_statistics(rank.topology(), rank.plan().shape, rank.rank(), &calls);
    let have = rank.load_statistics()?;
    compare("calls counted", &[have.calls], &[want.calls], 1)?;
    compare("sent pairs", &have.sent_pairs, &want.sent_pairs, 1)?;
    compare("received pairs", &have.received_pairs, &want.received_pairs, 1)?;
    compare("sent rows", &have.sent_rows, &want.sent_rows, 1)?;
    compare("received rows", &have.received_rows, &want.received_rows, 1)
}

/// One dispatch and its combine at one rank, compared.
pub fn round(rank: &mut Communicator, case: &Case, call: &Call) -> Result<(), Stop> {
    let dispatched = dispatch(rank, case, call)?;
    combine(rank, case, call, &dispatched.handle)?;
    // One dispatch behind the other with nothing between: not even a combine tells ranks of each other.
    let mut handle = None;
    for _ in 0..case.rounds_along() {
        let op = operation(rank, case, call)?.cached(&dispatched.handle).timeout(timeout(rank, case));
        let again = rank.dispatch(op)?.wait(PATIENCE)?;
        handle = Some(verify(rank, case, call, again)?.handle);
    }
    if let Some(handle) = handle {
        combine(rank, case, call, &handle)?;
    }
    // Nobody wrote over what was kept.
    compare(
        "x bytes",
        &dispatched.x.narrow(0..dispatched.rows)?.to_bytes()?,
        &call.dispatched[rank.rank() as usize].x,
        1,
    )
}

/// One dispatch at one rank, compared.
pub fn dispatch(rank: &mut Communicator, case: &Case, call: &Call) -> Result<Dispatched, Stop> {
    let dispatched = begin(rank, case, call)?.wait(PATIENCE)?;
    verify(rank, case, call, dispatched)
}

/// Begins a dispatch at one rank.
pub fn begin(rank: &mut Communicator, case: &Case, call: &Call) -> warpferry::Result<Pending<Dispatched>> {
    begin_with(rank, case, call, timeout(rank, case))
}

/// Longest that kernels go without progress.
fn timeout(rank: &Communicator, case: &Case) -> Duration {
    match rank.device().backend {
        Backend::Emulator => case.trouble.map_or(TIMEOUT, |trouble| trouble.timeout()),
        _ => TIMEOUT_REAL,
    }
}

/// Begins a dispatch at one rank with room for so many rows.
pub fn begin_bounded(
    rank: &mut Communicator,
    case: &Case,
    call: &Call,
    rows: usize,
) -> warpferry::Result<Pending<Dispatched>> {
    let op = operation(rank, case, call)?.bound(rows).timeout(timeout(rank, case));
    rank.dispatch(op)
}

/// Begins a dispatch at one rank with a deadline of its own.
pub fn begin_with(
    rank: &mut Communicator,
    case: &Case,
    call: &Call,
    timeout: Duration,
) -> warpferry::Result<Pending<Dispatched>> {
    let mut op = operation(rank, case, call)?.timeout(timeout);
    if let Some(spare) = case.spare(rank.rank()) {
        let rows = call.dispatched[rank.rank() as usize].source.len();
        op = op.bound((rows + spare as usize).max(1));
    }
    rank.dispatch(op)
}

/// The dispatch of one rank.
fn operation(rank: &Communicator, case: &Case, call: &Call) -> warpferry::Result<Dispatch> {
    let topk = case.topk as usize;
    let payload = case.payload.payload();
    let input = &call.inputs[rank.rank() as usize];
    let tokens = input.topk_idx.len() / topk;
    let x = rows(rank, case, payload.given(), &input.x, [tokens, payload.columns(case.hidden) as usize])?;
    let mut choices = input.topk_idx.clone();
    for (at, wrong) in wrong_experts(case, rank.rank(), call.number, input) {
        choices[at] = wrong;
    }
    let topk_idx = given(rank, case, &choices, [tokens, topk])?;
    let mut op = Dispatch::new(&x, &topk_idx);
    if case.weighs(rank.rank()) {
        op = op.weights(&given(rank, case, &input.topk_weights, [tokens, topk])?);
    }
    if let Some(kind) = payload.scales().filter(|_| payload.takes_scales()) {
        let columns = kind.columns(case.hidden) as usize;
        op = op.scales(&rows(rank, case, kind.dtype(), &input.scales, [tokens, columns])?);
    }
    Ok(op)
}

/// Compares what a dispatch gave to one rank.
pub fn verify(rank: &Communicator, case: &Case, call: &Call, dispatched: Dispatched) -> Result<Dispatched, Stop> {
    let choices = case.choices();
    let want = &call.dispatched[rank.rank() as usize];
    if dispatched.rows != want.source.len() {
        return Err(Stop::Wrong(format!("{} rows, expected {}", dispatched.rows, want.source.len())));
    }
    if dispatched.landed && (case.landing == 0 || case.layout != Ordered::Source) {
        return Err(Stop::Wrong("rows landed without a zone".to_string()));
    }
    compare("expert_counts", &dispatched.expert_counts, &want.expert_counts, 1)?;
    // With a bound there are more, of which nothing is said.
    let rows = |tensor: &Tensor| tensor.narrow(0..dispatched.rows);
    compare("source", &sources(&rows(&dispatched.source)?.to_vec()?), &want.source, 1)?;
    compare("expert_offsets", &dispatched.expert_offsets, &want.expert_offsets, 1)?;
    let on_device = |tensor: &Tensor| tensor.to_vec::<i32>();
    let signed = |counts: &[u32]| counts.iter().map(|&count| count as i32).collect::<Vec<i32>>();
    let handle = &dispatched.handle;
    compare("counts on the device", &on_device(handle.expert_counts())?, &signed(&want.expert_counts), 1)?;
    match (handle.expert_offsets(), case.layout) {
        (None, Ordered::Source) => {}
        (Some(offsets), Ordered::Expert(_)) => {
            compare("offsets on the device", &on_device(offsets)?, &signed(&want.expert_offsets), 1)?;
        }
        (offsets, _) => return Err(Stop::Wrong(format!("offsets on the device: {}", offsets.is_some()))),
    }
    compare("topk_idx", &rows(&dispatched.topk_idx)?.to_vec::<i32>()?, &want.topk_idx, choices)?;
    // By expert zero rows come besides.
    let count = on_device(handle.row_count())?;
    compare("rows on the device", &count, &[dispatched.rows as i32], 1)?;
    if handle.rows() > dispatched.rows && case.spare(rank.rank()).is_some() {
        for tensor in [&dispatched.topk_idx, &dispatched.source] {
            let behind = tensor.narrow(dispatched.rows..handle.rows())?.to_vec::<i32>()?;
            compare("what is behind the rows", &behind, &vec![-1; behind.len()], 1)?;
        }
    }
    compare("x bytes", &rows(&dispatched.x)?.to_bytes()?, &want.x, rank.plan().shape.dispatch_row_bytes() as usize)?;
    let scales = dispatched.x_scales.as_ref().map_or(Ok(Vec::new()), |scales| rows(scales)?.to_bytes())?;
    compare("scale bytes", &scales, &want.scales, scales.len().max(1) / dispatched.rows.max(1))?;
    match (&dispatched.topk_weights, case.weighs(rank.rank())) {
        (Some(weights), true) => {
            compare("topk_weights", &words(&rows(weights)?.to_vec()?), &words(&want.topk_weights), choices)?;
        }
        (None, false) => {}
        (have, gave) => return Err(Stop::Wrong(format!("weights came back: {}, given: {gave}", have.is_some()))),
    }
    Ok(dispatched)
}

/// One combine at one rank, compared.
pub fn combine(rank: &mut Communicator, case: &Case, call: &Call, handle: &Handle) -> Result<(), Stop> {
    let combined = begin_combine(rank, case, call, handle)?.wait(PATIENCE)?;
    verify_combined(rank, call, &combined)
}

/// Begins a combine at one rank.
pub fn begin_combine(
    rank: &mut Communicator,
    case: &Case,
    call: &Call,
    handle: &Handle,
) -> warpferry::Result<Pending<Combined>> {
    let (at, hidden) = (rank.rank() as usize, case.hidden as usize);
    let (results, dtype) = (&call.results[at], case.sum.sum().dtype());
    // What nobody asked for may hold anything.
    let spare = handle.rows() - results.scales.len();
    let filled = |values: &[f32], columns: usize| [values, &vec![f32::NAN; spare * columns]].concat();
    let junk = vec![0xff; spare * hidden * dtype.bytes() as usize];
    let x = rows(rank, case, dtype, &[&results.x[..], &junk].concat(), [handle.rows(), hidden])?;
    let mut op = Combine::new(&x, handle).timeout(timeout(rank, case));
    if case.weights_back {
        op = op.weights(&given(
            rank,
            case,
            &filled(&results.topk_weights, case.choices()),
            [handle.rows(), case.choices()],
        )?);
    }
    if case.scales(rank.rank()) {
        op = op.scaled_by(&given(rank, case, &filled(&results.scales, 1), [handle.rows(), 1])?);
    }
    for bias in &results.biases {
        op = op.bias(&rows(rank, case, dtype, bias, [handle.tokens(), hidden])?);
    }
    rank.combine(op)
}

/// Compares what a combine gave to one rank.
pub fn verify_combined(rank: &Communicator, call: &Call, combined: &Combined) -> Result<(), Stop> {
    let want = &call.combined[rank.rank() as usize];
    let shape = &rank.plan().shape;
    compare("combined x bytes", &combined.x.to_bytes()?, &want.x, shape.combine_row_bytes() as usize)?;
    match (&combined.topk_weights, &want.topk_weights) {
        (Some(have), Some(want)) => {
            compare("combined topk_weights", &words(&have.to_vec()?), &words(want), shape.topk() as usize)
        }
        (None, None) => Ok(()),
        (have, want) => Err(Stop::Wrong(format!("sums of weights: {}, expected: {}", have.is_some(), want.is_some()))),
    }
}

fn words(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}

/// A tensor of `values`: one of its own, or rows of a larger one.
fn given<T: Element>(rank: &Communicator, case: &Case, values: &[T], shape: [usize; 2]) -> warpferry::Result<Tensor> {
    if !case.views {
        return rank.tensor(values, &shape);
    }
    let [rows, columns] = shape;
    // Rows around the view: a kernel that touches them breaks its contract.
    let around = vec![T::from_bytes(&[0xa5; 4][..T::DTYPE.bytes() as usize]); 2 * columns];
    let padded: Vec<T> = around[..columns].iter().chain(values).chain(&around).copied().collect();
    rank.tensor(&padded, &[rows + 3, columns])?.narrow(1..1 + rows)
}

/// The same of rows given as bytes.
fn rows(rank: &Communicator, case: &Case, dtype: DType, bytes: &[u8], shape: [usize; 2]) -> warpferry::Result<Tensor> {
    if !case.views {
        return rank.tensor_of_bytes(dtype, bytes, &shape);
    }
    let [rows, columns] = shape;
    let around = vec![0xa5; 2 * columns * dtype.bytes() as usize];
    let padded: Vec<u8> = around[..around.len() / 2].iter().chain(bytes).chain(&around).copied().collect();
    rank.tensor_of_bytes(dtype, &padded, &[rows + 3, columns])?.narrow(1..1 + rows)
}

fn sources(pairs: &[i32]) -> Vec<Row> {
    pairs.chunks_exact(2).map(|pair| Row { rank: pair[0] as u32, token: pair[1] as u32 }).collect()
}

fn compare<T: PartialEq + fmt::Debug>(name: &str, have: &[T], want: &[T], columns: usize) -> Result<(), Stop> {
    if have.len() != want.len() {
        return Err(Stop::Wrong(format!("{name} has {} elements, expected {}", have.len(), want.len())));
    }
    let Some(first) = have.iter().zip(want).position(|(have, want)| have != want) else { return Ok(()) };
    let count = have.iter().zip(want).filter(|(have, want)| have != want).count();
    Err(Stop::Wrong(format!(
        "{name}[{}, {}] = {:x?}, expected {:x?} ({count} of {} elements differ)",
        first / columns,
        first % columns,
        have[first],
        want[first],
        have.len()
    )))
}

/// Every rank sends what its calls cost, between nodes and within, and nothing else; NICs saw no breach of the rules.
fn check_traffic(case: &Case, world: &mut World, calls: &[Call]) -> Result<(), String> {
    if case.fabric == Link::Loopback {
        return Ok(());
    }
    // Dispatches and combines of a call.
    let along = u64::from(case.rounds_along());
    let rounds = [1 + along, 1 + along.min(1)];
    let bytes = |path: fn(&gate::Cost) -> [&PathCost; 2], rank: u32| -> u64 {
        let paths = calls.iter().flat_map(|call| path(&call.cost).into_iter().zip(rounds));
        paths.map(|(path, rounds)| rounds * path.sent[rank as usize] * path.message_bytes).sum()
    };
    for rank in world.communicators() {
        let payload = rank.traffic().map_err(|error| error.to_string())?.payload.write_bytes;
        let want = bytes(|cost| [&cost.dispatch.between, &cost.combine.between], rank.rank());
        if payload != want {
            return Err(format!("{payload} bytes crossed between nodes from rank {}, expected {want}", rank.rank()));
        }
    }
    // Rows that land have no header.
    let headers = world.communicators().first().map_or(0, |rank| match rank.plan() {
        plan if plan.landing().rows() > 0 => u64::from(plan.shape.dispatch_header_bytes(plan.topology)),
        _ => 0,
    });
    // The served NICs of a world on a GPU tell violations as errors of their counters.
    let Some(machine) = world.machine() else { return Ok(()) };
    for (rank, gpu) in (0..).zip(machine.with(|machine| machine.statistics().gpus.clone())) {
        let want = bytes(|cost| [&cost.dispatch.within, &cost.combine.within], rank);
        let messages: u64 = calls.iter().map(|call| call.cost.dispatch.within.sent[rank as usize]).sum();
        let spared = rounds[0] * messages * headers;
        let less = want.checked_sub(gpu.bulk_store_peer_bytes);
        if less.is_none_or(|less| less > spared || !less.is_multiple_of(headers.max(1))) {
            return Err(format!(
                "{} bytes crossed within nodes from rank {rank}, expected {want}",
                gpu.bulk_store_peer_bytes
            ));
        }
    }
    machine.with(|machine| {
        let network = machine.network_mut();
        match (network.violations(), network.failures()) {
            ([], []) => Ok(()),
            (violations, failures) => Err(format!("NIC violations {violations:?}, failures {failures:?}")),
        }
    })
}

/// What every rank gave. Panics with what is wrong, which is told before errors: those often follow from it.
pub fn all_well<T>(case: &Case, outcomes: warpferry::Result<Vec<Result<T, Stop>>>) -> Vec<T> {
    let outcomes = outcomes.unwrap_or_else(|error| panic!("{error}; case {case}"));
    let mut wrong = Vec::new();
    let mut well = Vec::new();
    for (rank, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(value) => well.push(value),
            // Errors elsewhere often follow from what is wrong here.
            Err(Stop::Wrong(what)) => wrong.insert(0, format!("rank {rank}: {what}")),
            Err(Stop::Error(error)) => wrong.push(format!("rank {rank}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}; case {case}", wrong.join("\n"));
    well
}
