//! Runs a workload: inputs, one round that is checked, then repeats that are timed.
//!
//! Timed dispatches have a bound, so no host waits within an operation; what they give lies where a caller reads it. Each
//! operation ends on all ranks before the next begins on any, else a rank's time would hold what its peers were late before. On a
//! GPU a dispatch that is not timed goes right before: ranks begin about together, and the queue is never empty, so the host's
//! part of a launch is hidden as it is in a model's step. On the emulator all queues begin at the same virtual time anyway.
//!
//! Not done: no cache is flushed between repeats.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bed::Bed;
use super::calls::{combine, combine_output, dispatch, dispatch_output, on_all, WAIT};
use super::expected::Expected;
use super::figures::{Figures, Samples};
use super::key::{SettingKey, WorkloadKey};
use super::marks::Marks;
use super::record::{times_of, Place, Record};
use super::rows::{by_expert, experts, RankInputs};
use super::traffic::Counted;
use super::workload::{Moved, Workload};
use crate::driver::EventId;
use crate::error::{Error, Result};
use crate::gate::Choices;
use crate::mem::DType;
use crate::op::{Finish, Pending, TIMEOUT_DEFAULT};
use crate::plan::{Fabric, Plan, Shape};
use crate::reference::Layout;
use crate::{Combine, Communicator, Dispatch, Dispatched, Handle, Tensor};

/// Mismatches that an error tells.
const MISMATCHES_TOLD: usize = 3;
/// Operations whose outputs are alive at once: the lead-in's, those of the first round and of the last dispatch, and one more.
const OUTPUTS_ALIVE: u64 = 4;
/// Memory of a call beside its rows: routing, status.
const RESERVE_SLACK_BYTES: u64 = 4 << 20;

/// How a workload is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Repeats that are timed.
    pub repeats: u32,
    /// Repeats before, which are not.
    pub warm_ups: u32,
    /// Compare the first results with the reference, bit for bit. Without it rows hold whatever memory held, and, where they
    /// come by source, nothing runs before what is timed.
    pub verify: bool,
    /// Time dispatches along a handle too.
    pub cached: bool,
    /// Time combines.
    pub combine: bool,
    /// Longest time without progress before kernels give up.
    pub timeout: Duration,
}

impl Default for Runs {
    fn default() -> Runs {
        Runs { repeats: 1, warm_ups: 0, verify: true, cached: true, combine: true, timeout: TIMEOUT_DEFAULT }
    }
}

/// Runs `workload` on `bed` and gives the record. `device` names the device, `machine` the one whose times the emulator models;
/// `say` hears what is being done.
///
/// # Errors
/// [`Error::Argument`] for no repeats, or choices that the workload cannot have; [`Error::Bug`] when results differ from the
/// reference, or bytes from what the choices cost; what operations say.
pub fn run(
    bed: &mut Bed,
    workload: &Workload,
    runs: &Runs,
    (device, machine): (&str, Option<&str>),
    say: &dyn Fn(&str),
) -> Result<Record> {
    if runs.repeats == 0 {
        return Err(Error::argument("repeats", 0, "1 or more"));
    }
    let choices = workload.choices()?;
    let (samples, landed) = samples(bed, workload, &choices, runs, say)?;
    let communicator = first(bed)?;
    let (plan, backend) = (communicator.plan().clone(), communicator.device().backend);
    let moved = Moved::new(&plan, &choices, landed)?;
    Ok(Record {
        workload: WorkloadKey::new(workload),
        setting: SettingKey::new(&plan),
        place: Place {
            backend: backend.to_string(),
            device: device.to_string(),
            machine: machine.map(str::to_string),
            times: times_of(backend, machine),
            verified: runs.verify,
            repeats: runs.repeats,
            version: env!("CARGO_PKG_VERSION").to_string(),
        },
        figures: Figures::new(&plan, &moved, &samples),
        samples,
    })
}

/// The times of a run, and whether all rows landed by themselves.
pub(super) fn samples(
    bed: &mut Bed,
    workload: &Workload,
    choices: &[Choices],
    runs: &Runs,
    say: &dyn Fn(&str),
) -> Result<(Samples, bool)> {
    say("first round");
    let before = Counted::of(bed.world())?;
    let (ranks, landed) = first_round(bed, workload, choices, runs)?;
    if runs.verify {
        let counted = Counted::of(bed.world())?.since(before);
        let plan = first(bed)?.plan().clone();
        check_bytes(&plan, &Moved::new(&plan, choices, landed)?, &counted, landed)?;
    }
    say("repeats");
    let samples = timed(bed, &ranks, runs)?;
    on_all(bed.world(), |rank| lock(&ranks[rank.rank() as usize]).end(rank))?;
    Ok((samples, landed))
}

/// The times of a run alone.
#[cfg(feature = "emu")]
pub(crate) fn run_samples(bed: &mut Bed, workload: &Workload, choices: &[Choices], runs: &Runs) -> Result<Samples> {
    samples(bed, workload, choices, runs, &|_| {}).map(|(samples, _)| samples)
}

/// One round that is compared with the reference, and nothing that is timed.
#[cfg(feature = "emu")]
pub(crate) fn verify_samples(bed: &mut Bed, workload: &Workload, choices: &[Choices], runs: &Runs) -> Result<()> {
    let (ranks, _) = first_round(bed, workload, choices, runs)?;
    on_all(bed.world(), |rank| lock(&ranks[rank.rank() as usize]).end(rank)).map(drop)
}

/// What was counted in the first round is what the figures are made of, where it is counted apart.
fn check_bytes(plan: &Plan, moved: &Moved, counted: &Counted, landed: bool) -> Result<()> {
    if plan.fabric == Fabric::Loopback {
        return Ok(()); // stores between nodes and within are alike
    }
    let [ib, nvlink] =
        [moved.dispatch.ib.bytes + moved.combine.ib.bytes, moved.dispatch.nvlink.bytes + moved.combine.nvlink.bytes];
    // Rows that land take their scales along in stores of another kind; where some outputs land and some do not, nobody knows.
    let within = counted.peer_bytes.filter(|_| plan.landing().rows() == 0 && !landed);
    let found = [("between nodes", Some(counted.payload.write_bytes), ib), ("within nodes", within, nvlink)];
    match found.into_iter().find(|(_, counted, cost)| counted.is_some_and(|counted| counted != *cost)) {
        Some((place, counted, cost)) => {
            let counted = counted.unwrap_or_default();
            Err(Error::Bug(format!("{counted} bytes were counted {place} where the choices cost {cost}")))
        }
        None => Ok(()),
    }
}

fn first(bed: &mut Bed) -> Result<&Communicator> {
    bed.world().communicators().first().ok_or_else(|| Error::Bug("a world without ranks".into()))
}

/// What a rank repeats.
struct Rank {
    /// Without a bound or a handle.
    dispatch: Dispatch,
    /// Of the first round, or of the first dispatch where there was none.
    handle: Option<Handle>,
    /// Room for the rows that come.
    bound: usize,
    /// `[bound, hidden]`: what experts give back.
    rows: Tensor,
    /// Weights of these rows.
    weights: Tensor,
    landed: bool,
    /// Of the last dispatch with a bound.
    last: Option<Handle>,
    /// At the start and the end of what is timed.
    events: [EventId; 2],
}

impl Rank {
    /// With what a dispatch gave.
    fn new(rank: &Communicator, dispatch: Dispatch, got: &Dispatched, back: [Tensor; 2]) -> Result<Rank> {
        let made = Rank::before(rank, dispatch, got.rows, back)?;
        Ok(Rank { handle: Some(got.handle.clone()), landed: got.landed, ..made })
    }

    /// Before any dispatch, of which so many rows are known to come.
    fn before(rank: &Communicator, dispatch: Dispatch, come: usize, [rows, weights]: [Tensor; 2]) -> Result<Rank> {
        let events = [rank.driver().create_event()?, rank.driver().create_event()?];
        // What lands is not known before it has; where there is a zone it holds what balanced routing brings.
        let landed = rank.plan().landing().rows() as usize >= come;
        Ok(Rank { dispatch, handle: None, bound: come.max(1), rows, weights, landed, last: None, events })
    }

    /// Gives back what is not given back by itself.
    fn end(&self, rank: &Communicator) -> Result<()> {
        self.events.iter().try_for_each(|&event| rank.driver().destroy_event(event))
    }

    fn combine(&self, shape: &Shape, handle: &Handle, timeout: Duration) -> Combine {
        let op = Combine::new(&self.rows, handle).weights(&self.weights).timeout(timeout);
        if by_expert(shape) {
            op.scaled_by(&self.weights)
        } else {
            op
        }
    }
}

/// Ranks by number. Each thread takes its own; the lock only hands it over.
type Ranks = Vec<Mutex<Rank>>;

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Dispatches and combines once, which tells each rank its number of rows; says whether all rows landed by themselves.
fn first_round(bed: &mut Bed, workload: &Workload, choices: &[Choices], runs: &Runs) -> Result<(Ranks, bool)> {
    let plan = first(bed)?.plan().clone();
    let ranks = match runs.verify {
        true => checked_round(bed, &plan, workload, choices, runs)?,
        false => {
            let come = rows_that_come(&plan, choices)?;
            on_all(bed.world(), |rank| {
                let number = rank.rank() as usize;
                unchecked_round(rank, &choices[number], come.as_ref().map(|come| come[number]), runs)
            })?
        }
    };
    let landed = plan.landing().rows() > 0 && ranks.iter().all(|rank| rank.landed);
    Ok((ranks.into_iter().map(Mutex::new).collect(), landed))
}

fn checked_round(
    bed: &mut Bed,
    plan: &Plan,
    workload: &Workload,
    choices: &[Choices],
    runs: &Runs,
) -> Result<Vec<Rank>> {
    let seed = |rank| workload.seed_of_rank(rank);
    let sent: Vec<RankInputs> =
        (0..).zip(choices).map(|(rank, choices)| RankInputs::draw(&plan.shape, choices, 0, seed(rank))).collect();
    let expected = Expected::new(plan, &sent)?;
    let found = on_all(bed.world(), |rank| checked_rank(rank, &sent[rank.rank() as usize], &expected, runs))?;
    let (ranks, mismatches): (Vec<Rank>, Vec<Vec<String>>) = found.into_iter().unzip();
    let mismatches: Vec<String> = mismatches.into_iter().flatten().collect();
    if mismatches.is_empty() {
        return Ok(ranks);
    }
    let told = mismatches.iter().take(MISMATCHES_TOLD).cloned().collect::<Vec<_>>().join("; ");
    Err(Error::Bug(format!("results differ from the reference: {told}")))
}

fn checked_rank(
    rank: &mut Communicator,
    sent: &RankInputs,
    expected: &Expected,
    runs: &Runs,
) -> Result<(Rank, Vec<String>)> {
    let shape = rank.plan().shape;
    let number = rank.rank() as usize;
    reserve(rank, expected.dispatched[number].source.len())?;
    let op = dispatch(rank, sent, Some(runs.timeout))?;
    let got = rank.dispatch(op.clone())?.wait(WAIT)?;
    let arrived = dispatch_output(&got)?;
    let mut rows = experts(&shape, &arrived);
    let back = combine(rank, &rows, &arrived, sent, &got.handle, Some(runs.timeout))?;
    let sums = combine_output(&rank.combine(back)?.wait(WAIT)?)?;
    let mut mismatches = Vec::new();
    expected.compare(number, &arrived, &sums, &mut mismatches);
    let bound = got.rows.max(1);
    let choices = choices_of_a_row(&shape);
    let mut weights = arrived.topk_weights;
    rows.resize(bound * shape.combine_row_bytes() as usize, 0);
    weights.resize(bound * choices, 0.0);
    let rows = rank.tensor_of_bytes(shape.sum().dtype(), &rows, &[bound, shape.hidden() as usize])?;
    let weights = rank.tensor(&weights, &[bound, choices])?;
    Ok((Rank::new(rank, op, &got, [rows, weights])?, mismatches))
}

/// Rows that come to each rank where they come by source: one for each token with an expert there.
fn rows_that_come(plan: &Plan, choices: &[Choices]) -> Result<Option<Vec<usize>>> {
    if by_expert(&plan.shape) {
        return Ok(None);
    }
    let mut come = vec![0; plan.topology.ranks() as usize];
    for rank in choices {
        let layout = Layout::new(plan.topology, plan.shape, &rank.topk_idx)?;
        let to = (0..layout.tokens()).flat_map(|token| layout.destinations(token));
        to.for_each(|&rank| come[rank as usize] += 1);
    }
    Ok(Some(come))
}

/// As [`checked_rank`], with whatever memory holds: for worlds whose rows would not fit into the host's memory twice. Nothing
/// runs when it is known how many rows come.
fn unchecked_round(rank: &mut Communicator, choices: &Choices, come: Option<usize>, runs: &Runs) -> Result<Rank> {
    let shape = rank.plan().shape;
    let topk = shape.topk() as usize;
    let tokens = choices.topk_idx.len() / topk;
    reserve(rank, tokens * topk)?;
    let payload = shape.payload();
    let x = rank.empty(payload.given(), &[tokens, payload.columns(shape.hidden()) as usize])?;
    let topk_idx = rank.tensor(&choices.topk_idx, &[tokens, topk])?;
    let weights = rank.tensor(&choices.topk_weights, &[tokens, topk])?;
    let mut op = Dispatch::new(&x, &topk_idx).weights(&weights).timeout(runs.timeout);
    if let Some(kind) = payload.scales().filter(|_| payload.takes_scales()) {
        op = op.scales(&rank.empty(kind.dtype(), &[tokens, shape.scale_columns() as usize])?);
    }
    let got = match come {
        Some(_) => None,
        None => Some(rank.dispatch(op.clone())?.wait(WAIT)?),
    };
    let come = come.or(got.as_ref().map(|got| got.rows)).unwrap_or_default();
    let rows = rank.empty(shape.sum().dtype(), &[come.max(1), shape.hidden() as usize])?;
    let weights = rank.empty(DType::F32, &[come.max(1), choices_of_a_row(&shape)])?;
    match got {
        Some(got) => Rank::new(rank, op, &got, [rows, weights]),
        None => Rank::before(rank, op, come, [rows, weights]),
    }
}

/// Choices that a row carries.
fn choices_of_a_row(shape: &Shape) -> usize {
    match by_expert(shape) {
        true => 1,
        false => shape.topk() as usize,
    }
}

/// Takes memory for outputs before any kernel waits for a peer: taking it later may wait for kernels.
fn reserve(rank: &Communicator, rows: usize) -> Result<()> {
    let plan = rank.plan();
    let shape = &plan.shape;
    let row_bytes = shape.dispatch_row_bytes() + shape.scale_columns() * shape.scale_bytes() + 8 * shape.topk() + 8;
    let rows_bytes = rows as u64 * u64::from(row_bytes + shape.combine_row_bytes());
    let call_bytes = plan.output_bytes().max(rows_bytes) + RESERVE_SLACK_BYTES;
    rank.driver().reserve(OUTPUTS_ALIVE * call_bytes)
}

/// Time of an operation of one rank, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    whole_ns: u64,
    shares: Option<Shares>,
}

/// Shares of the kernels of a dispatch in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Shares {
    layout_ns: u64,
    exchange_ns: u64,
    kernel_ns: u64,
}

/// An operation that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timed {
    Dispatch,
    /// With a mark behind each launch.
    DispatchMarked,
    Combine,
    DispatchCached,
}

/// Warm-ups, then repeats.
fn timed(bed: &mut Bed, ranks: &Ranks, runs: &Runs) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..runs.warm_ups {
        repeat(bed, ranks, runs, &mut Samples::default())?;
    }
    for _ in 0..runs.repeats {
        repeat(bed, ranks, runs, &mut samples)?;
    }
    Ok(samples)
}

/// Each operation once. Marks take no time of the emulator's, so there they are in the dispatch that is timed.
fn repeat(bed: &mut Bed, ranks: &Ranks, runs: &Runs, samples: &mut Samples) -> Result<()> {
    let emulated = bed.world().is_emulated();
    let fresh = if emulated { Timed::DispatchMarked } else { Timed::Dispatch };
    let dispatches = operation(bed, ranks, runs, fresh)?;
    samples.dispatch_us.extend(slowest_us(&dispatches, |taken| Some(taken.whole_ns)));
    if runs.combine {
        let combines = operation(bed, ranks, runs, Timed::Combine)?;
        samples.combine_us.extend(slowest_us(&combines, |taken| Some(taken.whole_ns)));
    }
    if runs.cached {
        let cached = operation(bed, ranks, runs, Timed::DispatchCached)?;
        samples.dispatch_cached_us.extend(slowest_us(&cached, |taken| Some(taken.whole_ns)));
    }
    let marked = if emulated { dispatches } else { operation(bed, ranks, runs, Timed::DispatchMarked)? };
    samples.layout_us.extend(slowest_us(&marked, |taken| Some(taken.shares?.layout_ns)));
    samples.exchange_us.extend(slowest_us(&marked, |taken| Some(taken.shares?.exchange_ns)));
    samples.dispatch_kernel_us.extend(slowest_us(&marked, |taken| Some(taken.shares?.kernel_ns)));
    Ok(())
}

/// Of the ranks the slowest, in microseconds.
fn slowest_us(ranks: &[Taken], of: impl Fn(&Taken) -> Option<u64>) -> Option<f64> {
    ranks.iter().filter_map(of).max().map(|time_ns| time_ns as f64 / 1e3)
}

/// One operation of all ranks. It ends on every rank before the next begins on any.
fn operation(bed: &mut Bed, ranks: &Ranks, runs: &Runs, what: Timed) -> Result<Vec<Taken>> {
    let marks = bed.marks();
    let lead_in = !bed.world().is_emulated();
    on_all(bed.world(), |rank| {
        let number = rank.rank() as usize;
        let mut state = lock(&ranks[number]);
        let lead_in = lead_in.then(|| rank.dispatch(state.along_handle()?)).transpose()?;
        let taken = state.time(rank, &marks[number], runs, what)?;
        if let Some(mut pending) = lead_in {
            pending.wait(WAIT)?;
        }
        Ok(taken)
    })
}

impl Rank {
    fn along_handle(&self) -> Result<Dispatch> {
        let handle = self.handle.as_ref().or(self.last.as_ref());
        let handle = handle.ok_or_else(|| Error::Bug("a dispatch along a handle before any".into()))?;
        Ok(self.dispatch.clone().cached(handle))
    }

    fn time(&mut self, rank: &mut Communicator, marks: &Marks, runs: &Runs, what: Timed) -> Result<Taken> {
        let (driver, stream, [start, end]) = (rank.driver().clone(), rank.stream(), self.events);
        driver.record_event(start, stream)?;
        let launches = match what {
            Timed::Dispatch => self.dispatch_fresh(rank, end)?,
            Timed::DispatchMarked => self.dispatch_marked(rank, marks, end)?,
            Timed::Combine => self.combine_last(rank, runs, end)?,
            Timed::DispatchCached => ended(rank.dispatch(self.along_handle()?)?, rank, end).map(|_| Vec::new())?,
        };
        Ok(Taken { whole_ns: driver.elapsed_ns(start, end)?, shares: shares(rank, start, &launches)? })
    }

    /// A dispatch with a bound, whose handle the next combine takes.
    fn dispatch_fresh(&mut self, rank: &mut Communicator, end: EventId) -> Result<Vec<EventId>> {
        let pending = rank.dispatch(self.dispatch.clone().bound(self.bound))?;
        self.last = Some(ended(pending, rank, end)?.handle);
        Ok(Vec::new())
    }

    /// The same; gives the marks behind its launches.
    fn dispatch_marked(&mut self, rank: &mut Communicator, marks: &Marks, end: EventId) -> Result<Vec<EventId>> {
        marks.arm(rank.stream())?;
        let pending = rank.dispatch(self.dispatch.clone().bound(self.bound));
        let launches = marks.disarm();
        self.last = Some(ended(pending?, rank, end)?.handle);
        launches
    }

    fn combine_last(&mut self, rank: &mut Communicator, runs: &Runs, end: EventId) -> Result<Vec<EventId>> {
        let handle = self.last.as_ref().ok_or_else(|| Error::Bug("a combine before any dispatch".into()))?;
        let op = self.combine(&rank.plan().shape, handle, runs.timeout);
        ended(rank.combine(op)?, rank, end).map(|_| Vec::new())
    }
}

/// Marks the end of an operation and waits for it.
#[allow(private_bounds)] // the results are the library's
fn ended<T: Finish>(mut pending: Pending<T>, rank: &Communicator, end: EventId) -> Result<T> {
    rank.driver().record_event(end, rank.stream())?;
    let result = pending.wait(WAIT)?;
    rank.driver().synchronize_event(end, WAIT)?;
    Ok(result)
}

/// Shares from the marks behind layout, exchange, rows of zeros if there are any, and dispatch.
fn shares(rank: &Communicator, start: EventId, launches: &[EventId]) -> Result<Option<Shares>> {
    let [layout, exchange, .., kernel] = launches else { return Ok(None) };
    let between = |from: EventId, to: EventId| rank.driver().elapsed_ns(from, to);
    Ok(Some(Shares {
        layout_ns: between(start, *layout)?,
        exchange_ns: between(*layout, *exchange)?,
        kernel_ns: between(*exchange, *kernel)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_its_slowest_rank() {
        let taken = |whole_ns, layout_ns| Taken { whole_ns, shares: Some(Shares { layout_ns, ..Shares::default() }) };
        let ranks = [taken(1000, 30), taken(4000, 10), taken(2500, 20)];
        assert_eq!(slowest_us(&ranks, |taken| Some(taken.whole_ns)), Some(4.0));
        assert_eq!(slowest_us(&ranks, |taken| Some(taken.shares?.layout_ns)), Some(0.03));
        assert_eq!(slowest_us(&[Taken::default()], |taken| Some(taken.shares?.layout_ns)), None);
    }
}
