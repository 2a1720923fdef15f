//! Many runs of a test in weak memory, and what each of its final states showed.
//!
//! Half of the runs go through sequences of choices, one after another: all of them where a test has no loop, and those
//! with at most two choices that are not plain where that is too much. The others are drawn from the seed, by turns at
//! random and under PCT, and take over the runs that exploring left.

use std::collections::BTreeMap;

use warpferry_emu::{Exploration, Machine, Schedule};
use warpferry_litmus::{Instruction, Test};

use crate::player::{Mode, Outcome, Player};
use crate::unplayed::Unplayed;

/// How many runs, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// All runs.
    pub runs: u64,
    /// Where drawn schedules come from.
    pub seed: u64,
}

/// How often a final state was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// In how many runs.
    pub times: u64,
    /// The schedule of the first.
    pub first: Schedule,
}

/// What the runs of a test showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs made.
    pub runs: u64,
    /// Final states, and how often each was shown.
    pub states: BTreeMap<Vec<i64>, Shown>,
    /// Runs in which somebody waits at a barrier or in a loop.
    pub stuck: u64,
    /// Runs in which a NIC found no entry.
    pub broken: u64,
    /// Whether every sequence of choices was run: no other in-order execution shows another state.
    pub is_exhaustive: bool,
}

/// Choices of an exploration that are not plain, where there are too many sequences for all.
const DEVIATIONS: usize = 2;

/// Turns within which PCT changes priorities: about what a test has.
const PCT_STEPS: u32 = 12;

/// Plays a test as often as the plan says.
///
/// # Errors
/// [`Unplayed`], where a run does not show what the test asks for, or the emulator ends one with a fault.
pub fn tally(test: &Test, plan: Plan) -> Result<Tally, Unplayed> {
    let player = Player::new(test)?;
    player.check_observed()?;
    let mut tally = Tally::default();
    let explored = plan.runs / 2;
    if !has_loop(test) {
        tally.is_exhaustive = tally.explore(&player, explored / 2, usize::MAX)?;
    }
    if !tally.is_exhaustive {
        tally.explore(&player, explored - tally.runs, DEVIATIONS)?;
    }
    for run in 0..plan.runs - tally.runs {
        tally.play(&player, drawn(plan.seed, run))?;
    }
    Ok(tally)
}

impl Tally {
    /// Goes through sequences of choices; true when those were all.
    fn explore(&mut self, player: &Player, runs: u64, deviations: usize) -> Result<bool, Unplayed> {
        let mut exploration = Exploration::new(runs).deviations(deviations);
        while let (true, Some(schedule)) = (exploration.runs() < runs, exploration.schedule()) {
            let machine = self.play(player, schedule)?;
            exploration.ran(&machine);
        }
        Ok(exploration.is_finished())
    }

    /// Makes one run and counts what it showed.
    fn play(&mut self, player: &Player, schedule: Schedule) -> Result<Machine, Unplayed> {
        let (outcome, machine) = player.play(Mode::Weak, schedule.clone())?;
        self.runs += 1;
        match outcome {
            Outcome::State(values) => {
                self.states.entry(values).or_insert(Shown { times: 0, first: schedule }).times += 1;
            }
            Outcome::Stuck => self.stuck += 1,
            Outcome::Broken(_) => self.broken += 1,
            Outcome::Hidden | Outcome::Race(_) => {
                return Err(Unplayed::failed(format!("a run in weak memory that shows no state: {outcome:?}")));
            }
        }
        Ok(machine)
    }
}

/// One run by a schedule that was asked for.
///
/// # Errors
/// As [`tally`].
pub fn replay(test: &Test, schedule: Schedule) -> Result<Tally, Unplayed> {
    let player = Player::new(test)?;
    player.check_observed()?;
    let mut tally = Tally::default();
    tally.play(&player, schedule)?;
    Ok(tally)
}

/// The schedule of a run that is not explored.
fn drawn(seed: u64, run: u64) -> Schedule {
    let seed = seed.wrapping_add(run);
    match run % 2 {
        0 => Schedule::Random { seed },
        _ => Schedule::Pct { seed, depth: 1 + (run / 2 % 4) as u32, steps: PCT_STEPS },
    }
}

/// Whether a column may jump back.
pub fn has_loop(test: &Test) -> bool {
    let is_back = |(at, it): (usize, &Instruction)| matches!(it, Instruction::Branch { target, .. } | Instruction::Jump { target } if *target <= at);
    test.threads.iter().any(|thread| thread.instructions.iter().enumerate().any(is_back))
}
