//! Runs a workload: inputs, one round that is checked, then repeats that are timed.
//!
//! Timed dispatches have a bound, so no host waits within an operation; what they give lies where a caller reads it. Before each
//! repeat on a GPU goes a dispatch that is not timed: ranks begin together, and the queue is never empty, so the host's part of a
//! launch is hidden as it is in a model's step. On the emulator all queues begin at the same virtual time anyway.
//!
//! Not done: no cache is flushed between repeats.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bed::Bed;
use super::calls::{combine, combine_output, dispatch, dispatch_output, on_all, WAIT};
use super::expected::Expected;
use super::figures::{Figures, Samples};
use super::marks::Marks;
use super::record::{times_of, Place, Record, SettingKey, WorkloadKey};
use super::rows::{by_expert, experts, RankInputs};
use super::workload::{Moved, Workload};
use crate::driver::EventId;
use crate::error::{Error, Result};
use crate::gate::Choices;
use crate::mem::DType;
use crate::op::TIMEOUT_DEFAULT;
use crate::plan::{Plan, Shape};
use crate::{Combine, Communicator, Dispatch, Handle, Tensor};

/// Mismatches that an error tells.
const MISMATCHES_TOLD: usize = 3;
/// Events of a repeat: before dispatch, behind dispatch, combine, and the cached dispatch.
const EVENTS: usize = 4;
/// Operations of a repeat whose outputs are alive at once.
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
    /// Compare the first results with the reference, bit for bit. Without it rows hold whatever memory held.
    pub verify: bool,
    /// Time dispatches along a handle too.
    pub cached: bool,
    /// Longest time without progress before kernels give up.
    pub timeout: Duration,
}

impl Default for Runs {
    fn default() -> Runs {
        Runs { repeats: 1, warm_ups: 0, verify: true, cached: true, timeout: TIMEOUT_DEFAULT }
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
    say("first round");
    let (ranks, landed) = first_round(bed, workload, &choices, runs)?;
    say("repeats");
    let samples = timed(bed, &ranks, runs)?;
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

fn first(bed: &mut Bed) -> Result<&Communicator> {
    bed.world().communicators().first().ok_or_else(|| Error::Bug("a world without ranks".into()))
}

/// What a rank repeats.
struct Rank {
    /// Without a bound or a handle.
    dispatch: Dispatch,
    /// Of the first round.
    handle: Handle,
    /// Room for the rows that come.
    bound: usize,
    /// `[bound, hidden]`: what experts give back.
    rows: Tensor,
    /// Weights of these rows.
    weights: Tensor,
    landed: bool,
}

impl Rank {
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
        false => on_all(bed.world(), |rank| unchecked_round(rank, &choices[rank.rank() as usize], runs))?,
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
    let ready = Rank { dispatch: op, handle: got.handle, bound, rows, weights, landed: got.landed };
    Ok((ready, mismatches))
}

/// As [`checked_rank`], with whatever memory holds: for worlds whose rows would not fit into the host's memory twice.
fn unchecked_round(rank: &mut Communicator, choices: &Choices, runs: &Runs) -> Result<Rank> {
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
    let got = rank.dispatch(op.clone())?.wait(WAIT)?;
    let bound = got.rows.max(1);
    let rows = rank.empty(shape.sum().dtype(), &[bound, shape.hidden() as usize])?;
    let weights = rank.empty(DType::F32, &[bound, choices_of_a_row(&shape)])?;
    Ok(Rank { dispatch: op, handle: got.handle, bound, rows, weights, landed: got.landed })
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

/// Times of one repeat of one rank in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Repeat {
    dispatch_ns: u64,
    combine_ns: u64,
    cached_ns: Option<u64>,
    shares: Option<Shares>,
}

/// Shares of the kernels of a dispatch in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Shares {
    layout_ns: u64,
    exchange_ns: u64,
    kernel_ns: u64,
}

/// When marks are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marking {
    None,
    Launches,
}

fn timed(bed: &mut Bed, ranks: &Ranks, runs: &Runs) -> Result<Samples> {
    let emulated = bed.world().is_emulated();
    let marks = bed.marks();
    let times = on_all(bed.world(), |rank| {
        let number = rank.rank() as usize;
        let timer = Timer { state: &lock(&ranks[number]), marks: &marks[number], runs, lead_in: !emulated };
        timer.repeats(rank, if emulated { Marking::Launches } else { Marking::None })
    })?;
    Ok(slowest(&times))
}

/// Of each repeat the slowest rank, in microseconds.
fn slowest(ranks: &[Vec<Repeat>]) -> Samples {
    let repeats = ranks.first().map_or(0, Vec::len);
    let most = |of: &dyn Fn(&Repeat) -> Option<u64>| -> Vec<f64> {
        let of_repeat = |at: usize| ranks.iter().filter_map(|rank| of(rank.get(at)?)).max();
        (0..repeats).filter_map(of_repeat).map(|time_ns| time_ns as f64 / 1e3).collect()
    };
    let timed = |of: &dyn Fn(&Repeat) -> u64| most(&|repeat| Some(of(repeat)).filter(|&time_ns| time_ns > 0));
    Samples {
        dispatch_us: timed(&|repeat| repeat.dispatch_ns),
        combine_us: timed(&|repeat| repeat.combine_ns),
        dispatch_cached_us: most(&|repeat| repeat.cached_ns),
        layout_us: most(&|repeat| Some(repeat.shares?.layout_ns)),
        exchange_us: most(&|repeat| Some(repeat.shares?.exchange_ns)),
        dispatch_kernel_us: most(&|repeat| Some(repeat.shares?.kernel_ns)),
    }
}

/// Times one rank's repeats.
struct Timer<'a> {
    state: &'a Rank,
    marks: &'a Marks,
    runs: &'a Runs,
    /// Whether a dispatch that is not timed goes before each repeat.
    lead_in: bool,
}

impl Timer<'_> {
    /// Warm-ups, repeats, and where these have no marks as many more that have them.
    fn repeats(&self, rank: &mut Communicator, marking: Marking) -> Result<Vec<Repeat>> {
        let driver = rank.driver().clone();
        let events = (0..EVENTS).map(|_| driver.create_event()).collect::<Result<Vec<EventId>>>()?;
        for _ in 0..self.runs.warm_ups {
            self.repeat(rank, &events, Marking::None)?;
        }
        let mut repeats =
            (0..self.runs.repeats).map(|_| self.repeat(rank, &events, marking)).collect::<Result<Vec<Repeat>>>()?;
        if marking == Marking::None {
            for repeat in &mut repeats {
                repeat.shares = self.repeat(rank, &events, Marking::Launches)?.shares;
            }
        }
        events.into_iter().try_for_each(|event| driver.destroy_event(event))?;
        Ok(repeats)
    }

    fn repeat(&self, rank: &mut Communicator, events: &[EventId], marking: Marking) -> Result<Repeat> {
        let (driver, stream, shape) = (rank.driver().clone(), rank.stream(), rank.plan().shape);
        let along = || self.state.dispatch.clone().cached(&self.state.handle);
        let lead_in = self.lead_in.then(|| rank.dispatch(along())).transpose()?;
        driver.record_event(events[0], stream)?;
        let (mut fresh, marks) = self.fresh(rank, marking)?;
        driver.record_event(events[1], stream)?;
        let handle = fresh.results().map(|rows| rows.handle.clone());
        let handle = handle.ok_or_else(|| Error::Bug("a dispatch under way has no results".into()))?;
        let mut sums = rank.combine(self.state.combine(&shape, &handle, self.runs.timeout))?;
        driver.record_event(events[2], stream)?;
        let cached = self.runs.cached.then(|| rank.dispatch(along())).transpose()?;
        driver.record_event(events[3], stream)?;
        fresh.wait(WAIT)?;
        sums.wait(WAIT)?;
        for mut pending in lead_in.into_iter().chain(cached) {
            pending.wait(WAIT)?;
        }
        driver.synchronize_event(events[3], WAIT)?;
        let between = |from: usize, to: usize| driver.elapsed_ns(events[from], events[to]);
        Ok(Repeat {
            dispatch_ns: between(0, 1)?,
            combine_ns: between(1, 2)?,
            cached_ns: self.runs.cached.then(|| between(2, 3)).transpose()?,
            shares: shares(rank, events[0], &marks)?,
        })
    }

    /// A dispatch with a bound, and the marks behind its launches.
    fn fresh(
        &self,
        rank: &mut Communicator,
        marking: Marking,
    ) -> Result<(crate::Pending<crate::Dispatched>, Vec<EventId>)> {
        let op = self.state.dispatch.clone().bound(self.state.bound);
        if marking == Marking::None {
            return Ok((rank.dispatch(op)?, Vec::new()));
        }
        self.marks.arm(rank.stream())?;
        let pending = rank.dispatch(op);
        let marks = self.marks.disarm();
        Ok((pending?, marks?))
    }
}

/// Shares from the marks behind layout, exchange, rows of zeros if there are any, and dispatch.
fn shares(rank: &Communicator, start: EventId, marks: &[EventId]) -> Result<Option<Shares>> {
    let [layout, exchange, .., kernel] = marks else { return Ok(None) };
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
    fn each_repeat_is_its_slowest_rank() {
        let repeat = |dispatch_ns, combine_ns, layout_ns| Repeat {
            dispatch_ns,
            combine_ns,
            cached_ns: None,
            shares: Some(Shares { layout_ns, exchange_ns: 1000, kernel_ns: 3000 }),
        };
        let ranks = [
            vec![repeat(1000, 9000, 10), repeat(4000, 1500, 20)],
            vec![repeat(2000, 8000, 30), repeat(3000, 2500, 10)],
        ];
        let samples = slowest(&ranks);
        assert_eq!(samples.dispatch_us, [2.0, 4.0]);
        assert_eq!(samples.combine_us, [9.0, 2.5]);
        assert_eq!(samples.layout_us, [0.03, 0.02]);
        assert_eq!(samples.exchange_us, [1.0, 1.0]);
        assert!(samples.dispatch_cached_us.is_empty());
    }
}
