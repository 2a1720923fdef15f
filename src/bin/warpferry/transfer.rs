//! A demo's work: dispatch, experts and combine of all ranks, each a thread of this process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use warpferry::bench::calls::{combine, combine_output, dispatch, dispatch_output, on_all, WAIT};
use warpferry::bench::rows::experts;
use warpferry::bench::traffic::{Counted, Landed};
use warpferry::reference::{CombineOutput, DispatchOutput};
use warpferry::{Combined, Communicator, Dispatched, Handle, LoadStatistics, Pending, Result, WorldConfig};

use crate::backend::Backend;
use crate::inputs::Inputs;
use crate::replays::{replay, Turn};

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
    let start = Counted::of(&mut world)?;

    progress.say("dispatch");
    let began = Instant::now();
    let outputs = on_all(&mut world, |communicator| {
        let done = dispatch_all(communicator, inputs, bound, timeout)?;
        progress.step();
        Ok(done)
    })?;
    let dispatch_time = began.elapsed();
    let middle = Counted::of(&mut world)?;

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
    let combined = on_all(&mut world, |communicator| {
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
    let end = Counted::of(&mut world)?;
    let load = on_all(&mut world, |communicator| communicator.load_statistics())?;
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
