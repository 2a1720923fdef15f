//! Dynamic roles and every fixed split on the same choices; the best split of each gate, and of all gates together.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use warpferry::plan::Roles;
use warpferry::{Error, Result};

use crate::play::{play, Choices, Setting, Took};
use crate::split::Split;

/// Best splits of an operation by the first schedule, which are played with the others too.
const FINALISTS: usize = 3;

/// One operation on one gate.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    pub dynamic: Took,
    /// Of all splits, for this gate.
    pub best: (Split, Took),
    /// The split that is best over all gates, on this one.
    pub single: (Split, Took),
}

/// One gate: dispatch and combine.
#[derive(Debug)]
pub struct Row {
    pub gate: String,
    /// Rows of the rank that gets most, over the mean.
    pub rank_skew: f64,
    pub ops: [Compared; 2],
}

/// Plays everything; each figure is of the schedule with the median makespan.
///
/// # Errors
/// What a run says.
pub fn compare(setting: &Setting, dynamic: &Roles, choices: &[Choices], seeds: u64, jobs: u32) -> Result<Vec<Row>> {
    let splits = Split::all(setting.workers);
    let gates = 0..choices.len();
    let scan: Vec<Run> =
        gates.clone().flat_map(|gate| splits.iter().map(move |&split| (gate, Some(split), 1))).collect();
    let scanned = play_all(setting, dynamic, choices, &scan, jobs)?;
    let of = |gate: usize, split: usize| scanned[gate * splits.len() + split];
    let single: Vec<Split> = (0..2)
        .map(|op| {
            let log_sum =
                |split: usize| gates.clone().map(|gate| (of(gate, split)[op].makespan as f64).ln()).sum::<f64>();
            let best = (0..splits.len()).min_by(|&a, &b| log_sum(a).total_cmp(&log_sum(b)));
            splits[best.expect("three workers can be split")]
        })
        .collect();

    choices
        .iter()
        .enumerate()
        .map(|(gate, its)| {
            let mut finalists: BTreeSet<Split> = single.iter().copied().collect();
            for op in 0..2 {
                let mut order: Vec<usize> = (0..splits.len()).collect();
                order.sort_by_key(|&split| of(gate, split)[op].makespan);
                finalists.extend(order[..FINALISTS.min(order.len())].iter().map(|&split| splits[split]));
            }
            let players: Vec<Option<Split>> = std::iter::once(None).chain(finalists.into_iter().map(Some)).collect();
            let runs: Vec<Run> =
                players.iter().flat_map(|&player| (1..=seeds).map(move |seed| (gate, player, seed))).collect();
            let took = play_all(setting, dynamic, choices, &runs, jobs)?;
            let by_player: Vec<(Option<Split>, &[[Took; 2]])> =
                players.into_iter().zip(took.chunks(seeds as usize)).collect();
            let compared = |op: usize| -> Result<Compared> {
                let fixed = || by_player.iter().filter_map(|&(split, took)| Some((split?, median(took, op))));
                let missing = || Error::Bug("a finalist was not played".into());
                Ok(Compared {
                    dynamic: median(by_player[0].1, op),
                    best: fixed().min_by_key(|(_, took)| took.makespan).ok_or_else(missing)?,
                    single: fixed().find(|&(split, _)| split == single[op]).ok_or_else(missing)?,
                })
            };
            Ok(Row { gate: its.name.clone(), rank_skew: its.rank_skew(setting)?, ops: [compared(0)?, compared(1)?] })
        })
        .collect()
}

/// The run with the median makespan of an operation.
pub fn median(took: &[[Took; 2]], op: usize) -> Took {
    let mut ordered: Vec<Took> = took.iter().map(|both| both[op]).collect();
    ordered.sort_by_key(|took| took.makespan);
    ordered[ordered.len() / 2]
}

/// Number of the choices, split or else dynamic roles, seed of the schedule.
type Run = (usize, Option<Split>, u64);

/// What each run took, in order, so many at a time.
fn play_all(
    setting: &Setting,
    dynamic: &Roles,
    choices: &[Choices],
    runs: &[Run],
    jobs: u32,
) -> Result<Vec<[Took; 2]>> {
    let next = AtomicUsize::new(0);
    let took = Mutex::new(vec![None; runs.len()]);
    let work = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(gate, split, seed)) = runs.get(at) else { return Ok(()) };
            let roles = split.map_or_else(|| dynamic.clone(), Split::roles);
            let both = play(setting, &roles, &choices[gate], seed)?;
            took.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(both);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| Error::Bug("a run panicked".into()))?);
        joined.collect::<Result<Vec<()>>>()
    })?;
    let took = took.into_inner().unwrap_or_else(PoisonError::into_inner);
    took.into_iter().map(|both| both.ok_or_else(|| Error::Bug("a run was left out".into()))).collect()
}
