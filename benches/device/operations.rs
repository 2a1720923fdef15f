//! Dispatch and combine on one device, by SMs, chunk, roles and stage size, against the plain copy on as many SMs.

use std::time::Duration;

use half::bf16;
use serde_json::{json, Value};
use warpferry::plan::tuning::Roles;
use warpferry::reference::Layout;
use warpferry::{Combine, Dispatch, Dispatched, Handle, Tensor, Topology, Tuning};

use super::ranks::{element, Gate, Inputs, Rank, Ranks, Work};
use super::record::{Failure, Figure, Samples};
use super::{copies, Suite};

/// Longest that an operation may take.
pub const WAIT: Duration = Duration::from_secs(60);
/// Share of the plain copy that dispatch should reach.
const GOAL_DISPATCH: f64 = 0.85;
/// Share of the plain copy that combine should reach.
const GOAL_COMBINE: f64 = 0.7;
/// Rows and tokens of a rank that are checked.
const CHECKED_ROWS: usize = 48;

/// What a world of these tokens moves, in bytes of all ranks: the least that the staged kernels can.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bytes {
    /// What bulk copies load.
    pub loaded: u64,
    /// What bulk copies store.
    pub stored: u64,
}

impl Bytes {
    /// The busier direction: a plain copy loads as much as it stores, so this compares with it.
    pub fn busier(self) -> u64 {
        self.loaded.max(self.stored)
    }
}

/// Bytes of a dispatch and of a combine.
pub fn bytes(inputs: &Inputs) -> Result<[Bytes; 2], Failure> {
    let (topology, shape) = (inputs.work.topology, inputs.work.shape()?);
    let (mut between, mut messages, mut rows) = (0_u64, 0_u64, 0_u64);
    for (source, layout) in (0..).zip(&inputs.layouts) {
        let home = topology.node(source);
        for token in 0..layout.tokens() {
            let ranks = layout.destinations(token);
            let mut nodes: Vec<u32> = ranks.iter().map(|&rank| topology.node(rank)).collect();
            nodes.dedup(); // ranks ascend
            rows += ranks.len() as u64;
            messages += nodes.len() as u64;
            between += nodes.iter().filter(|&&node| node != home).count() as u64;
        }
    }
    let row = u64::from(shape.dispatch_row_bytes());
    // send: x -> forward ring; forward: each message once -> every rank's ring; receive: ring -> output.
    let used = row + u64::from(shape.dispatch_header_bytes(topology));
    let dispatch = Bytes {
        loaded: between * row + between * used + (messages - between) * row + rows * used,
        stored: between * used + rows * used + rows * row,
    };
    // send: row -> ring; forward and receive: every row once, sums of other nodes once more; one row a token comes out.
    let used = row + u64::from(shape.combine_header_bytes());
    let tokens: u64 = inputs.layouts.iter().map(|layout| u64::from(layout.tokens())).sum();
    let combine = Bytes {
        loaded: rows * row + rows * used + between * used,
        stored: rows * used + between * used + tokens * row,
    };
    Ok([dispatch, combine])
}

/// Sizes of the worlds that are timed.
pub fn works(suite: &Suite) -> Result<Vec<Work>, Failure> {
    let work = |nodes, gpus, gate| -> Result<Work, Failure> {
        let topology = Topology::new(nodes, gpus)?;
        let (hidden, tokens) = suite.scale.pick((64, 16), (7168, 4096), (7168, 4096));
        Ok(Work { topology, hidden, tokens, experts: 256, topk: 8, gate })
    };
    Ok(match suite.scale {
        super::Scale::Tiny | super::Scale::Modelled => vec![work(1, 2, Gate::Uniform)?, work(2, 2, Gate::Recorded)?],
        super::Scale::Quick => vec![work(1, 4, Gate::Recorded)?],
        super::Scale::Full => {
            vec![work(1, 4, Gate::Uniform)?, work(1, 4, Gate::Recorded)?, work(2, 2, Gate::Recorded)?]
        }
    })
}

/// Tunings to time: all SM counts with defaults, then one setting changed at a time.
fn tunings(suite: &Suite, work: &Work) -> Vec<Tuning> {
    let most = suite.lab.driver().info().sms / work.topology.ranks();
    let with_sms = |sms: u32| {
        let mut tuning = Tuning::default_for(work.topology, 2 * work.hidden);
        (tuning.dispatch_sms, tuning.combine_sms) = (sms.min(tuning.channels), sms.min(tuning.channels));
        if suite.scale.is_small() {
            (tuning.channels, tuning.dispatch_sms, tuning.combine_sms, tuning.workers) = (4, sms, sms, 3);
        }
        tuning
    };
    let counts: &[u32] = suite.scale.pick(&[1, 2], &[4, 8, 16], &[1, 2, 4, 8, 16, 32]);
    let mut tunings: Vec<Tuning> = counts.iter().filter(|&&sms| sms <= most).map(|&sms| with_sms(sms)).collect();
    let base = with_sms(suite.scale.pick(2, 8, 8).min(most));
    if suite.scale == super::Scale::Full {
        for chunk in [1, 2] {
            tunings.push(Tuning { chunk_nv: chunk, chunk_ib: chunk, ..base.clone() });
        }
        tunings.push(Tuning { chunk_nv: 8, chunk_ib: 8, depth_nv: 16, ..base.clone() });
        tunings.push(Tuning { stage_bytes: 8 << 10, ..base.clone() });
        tunings.push(Tuning { workers: 7, ..base.clone() });
    }
    tunings.push(Tuning { roles: Roles::Fixed, ..base });
    tunings
}

/// Settings of a tuning, as in results.
pub fn parameters(work: &Work, tuning: &Tuning) -> Vec<(&'static str, Value)> {
    let world = format!("{}x{}", work.topology.nodes(), work.topology.gpus_per_node());
    let roles = if tuning.roles == Roles::Fixed { "fixed" } else { "dynamic" };
    vec![
        ("world", json!(world)),
        ("gate", json!(work.gate.name())),
        ("tokens", json!(work.tokens)),
        ("hidden", json!(work.hidden)),
        ("sms_per_rank", json!(tuning.dispatch_sms)),
        ("chunk_nv", json!(tuning.chunk_nv)),
        ("roles", json!(roles)),
        ("stage_bytes", json!(tuning.stage_bytes)),
        ("workers", json!(tuning.workers)),
    ]
}

/// Group `operations`.
pub fn group(suite: &mut Suite) -> Result<(), Failure> {
    for work in works(suite)? {
        let inputs = Inputs::new(work)?;
        let moved = bytes(&inputs)?;
        for tuning in tunings(suite, &work) {
            if suite.lacks_time("operations") {
                continue;
            }
            setting(suite, &inputs, moved, &tuning)?;
        }
    }
    Ok(())
}

fn setting(suite: &mut Suite, inputs: &Inputs, moved: [Bytes; 2], tuning: &Tuning) -> Result<(), Failure> {
    let work = &inputs.work;
    let ranks = work.topology.ranks();
    let limit = copies::limit(suite, tuning.dispatch_sms * ranks)?;
    let (batches, calls) = (suite.scale.pick(1, 3, 5), suite.scale.pick(1, 4, 4));
    let mut world = Ranks::new(&suite.backend, inputs, tuning, calls, None)?;
    check_bytes(&mut world, moved)?;
    let times = world.run(|rank| {
        let first = dispatch(rank)?;
        check_rows(rank, &first, work)?;
        let sums = combine(rank, &first.x, &first.handle)?;
        check_sums(rank, &sums, &inputs.layouts[rank.communicator.rank() as usize], work)?;
        let mut times = [Samples::default(), Samples::default(), Samples::default()];
        for batch in 0..=batches {
            let fresh = timed(rank, |rank| dispatch(rank).map(drop))?;
            let cached = timed(rank, |rank| dispatches(rank, &first.handle, calls))?;
            let combined = timed(rank, |rank| combines(rank, &first, calls))?;
            if batch > 0 {
                times[0].push(fresh);
                times[1].push(cached / f64::from(calls));
                times[2].push(combined / f64::from(calls));
            }
        }
        Ok(times.map(|samples| samples.median()))
    })?;
    world.close()?;
    let names = ["dispatch_with_exchange", "dispatch", "combine"];
    for (at, name) in names.into_iter().enumerate() {
        // The slowest rank decides.
        let slowest = times.iter().map(|times| times[at]).fold(0.0, f64::max);
        let of_op = if name == "combine" { moved[1] } else { moved[0] };
        let goal = if name == "combine" { GOAL_COMBINE } else { GOAL_DISPATCH };
        let gb_per_s = of_op.busier() as f64 / slowest.max(1.0);
        let mut samples = Samples::default();
        times.iter().for_each(|times| samples.push(times[at] / 1e3));
        let mut slowest_us = Samples::default();
        slowest_us.push(slowest / 1e3);
        let sms = tuning.dispatch_sms;
        let mut derived = vec![
            ("gb_per_s", gb_per_s),
            ("gb_per_s_per_sm", gb_per_s / f64::from(sms * ranks)),
            ("copy_gb_per_s", limit),
            ("sm_ms_per_token", f64::from(sms) * slowest / 1e6 / f64::from(work.tokens)),
        ];
        // Of the emulator's virtual times a share would say nothing.
        if !suite.report.is_virtual() {
            derived.extend([("share_of_copy", if limit > 0.0 { gb_per_s / limit } else { 0.0 }), ("goal", goal)]);
        }
        let range = Some((samples.least(), samples.most()));
        let figure = Figure { range, derived, ..Figure::new(name, parameters(work, tuning), "us", slowest_us) };
        suite.report.operation("operations", figure);
    }
    Ok(())
}

/// Where the emulator counts bytes, they are those that the figures are made of.
fn check_bytes(world: &mut Ranks, moved: [Bytes; 2]) -> Result<(), Failure> {
    let Some(start) = world.counted() else { return Ok(()) };
    let mut first = world.run(dispatch)?.into_iter().map(Some).collect::<Vec<_>>();
    let dispatched = world.counted().unwrap_or(start);
    let first = std::sync::Mutex::new(&mut first);
    world.run(|rank| {
        let at = rank.communicator.rank() as usize;
        let first = first.lock().ok().and_then(|mut first| first[at].take());
        let first = first.ok_or_else(|| Failure::wrong("combine", "a rank has no rows"))?;
        combine(rank, &first.x, &first.handle).map(drop)
    })?;
    let combined = world.counted().unwrap_or(dispatched);
    let since = |end: [u64; 2], start: [u64; 2]| Bytes { loaded: end[0] - start[0], stored: end[1] - start[1] };
    let found = [since(dispatched, start), since(combined, dispatched)];
    if found != moved {
        return Err(Failure::wrong("bytes of the operations", &format!("counted {found:?}, expected {moved:?}")));
    }
    Ok(())
}

/// Nanoseconds of what `act` puts into the rank's stream.
pub fn timed(rank: &mut Rank, act: impl FnOnce(&mut Rank) -> Result<(), Failure>) -> Result<f64, Failure> {
    rank.timer.begin()?;
    act(rank)?;
    rank.timer.end()?;
    Ok(rank.timer.time_ns()? as f64)
}

/// One dispatch, waited for.
pub fn dispatch(rank: &mut Rank) -> Result<Dispatched, Failure> {
    Ok(rank.communicator.dispatch(Dispatch::new(&rank.x, &rank.topk_idx))?.wait(WAIT)?)
}

/// One combine, waited for.
pub fn combine(rank: &mut Rank, rows: &Tensor, handle: &Handle) -> Result<Tensor, Failure> {
    Ok(rank.communicator.combine(Combine::new(rows, handle))?.wait(WAIT)?.x)
}

/// Some dispatches with known routing, one behind the other.
pub fn dispatches(rank: &mut Rank, handle: &Handle, calls: u32) -> Result<(), Failure> {
    let mut pending = Vec::new();
    for _ in 0..calls {
        let op = Dispatch::new(&rank.x, &rank.topk_idx).cached(handle);
        pending.push(rank.communicator.dispatch(op)?);
    }
    for mut pending in pending {
        pending.wait(WAIT)?;
    }
    Ok(())
}

/// Some combines, one behind the other.
pub fn combines(rank: &mut Rank, dispatched: &Dispatched, calls: u32) -> Result<(), Failure> {
    let mut pending = Vec::new();
    for _ in 0..calls {
        pending.push(rank.communicator.combine(Combine::new(&dispatched.x, &dispatched.handle))?);
    }
    for mut pending in pending {
        pending.wait(WAIT)?;
    }
    Ok(())
}

/// Places to look at among `count`.
fn sample(count: usize) -> Vec<usize> {
    let mut places: Vec<usize> =
        (0..CHECKED_ROWS).map(|part| part * count.saturating_sub(1) / (CHECKED_ROWS - 1)).collect();
    places.dedup();
    places.retain(|&place| place < count);
    places
}

/// Rows that arrived are those of their sources.
pub fn check_rows(rank: &Rank, dispatched: &Dispatched, work: &Work) -> Result<(), Failure> {
    let sources: Vec<i32> = dispatched.source.to_vec()?;
    for row in sample(dispatched.rows) {
        let (source, token) = (sources[2 * row] as u32, sources[2 * row + 1] as u32);
        let found: Vec<bf16> = dispatched.x.narrow(row..row + 1)?.to_vec()?;
        let wrong = (0..work.hidden).zip(&found).find(|&(column, value)| *value != element(source, token, column));
        if let Some((column, value)) = wrong {
            let why = format!(
                "rank {}, row {row} (token {token} of rank {source}), column {column} is {value}; {work:?}",
                rank.communicator.rank()
            );
            return Err(Failure::wrong("dispatch", &why));
        }
    }
    Ok(())
}

/// A token's sum is its row times the ranks that it went to.
fn check_sums(rank: &Rank, sums: &Tensor, layout: &Layout, work: &Work) -> Result<(), Failure> {
    let own = rank.communicator.rank();
    for token in sample(work.tokens as usize) {
        let times = layout.destinations(token as u32).len() as f32;
        let found: Vec<bf16> = sums.narrow(token..token + 1)?.to_vec()?;
        for (column, value) in (0..work.hidden).zip(found) {
            let expected = element(own, token as u32, column).to_f32() * times;
            if value.to_f32() != expected {
                let why =
                    format!("rank {own}, token {token}, column {column} is {value}, expected {expected}; {work:?}");
                return Err(Failure::wrong("combine", &why));
            }
        }
    }
    Ok(())
}
