//! A case by its number; and when it goes wrong, a smaller one that does too, with the line that replays it.

use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};

use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::smaller::{smaller, Effort};
use crate::case::Case;
use crate::play::replay_line;

/// A case that goes wrong.
#[derive(Debug)]
pub struct Finding {
    pub seed: u64,
    /// Its number among those of the seed.
    pub number: u64,
    /// As it was drawn.
    pub drawn: Case,
    /// Made smaller.
    pub case: Case,
    /// What goes wrong in the smaller one.
    pub why: String,
    /// What it is played with, when that is not the shipped kernels.
    pub mutant: Option<String>,
}

impl Finding {
    /// The line that plays it again.
    pub fn replay(&self) -> String {
        let line = replay_line(&self.case);
        match &self.mutant {
            Some(mutant) => format!("WARPFERRY_MUTANT={mutant} {line}"),
            None => line,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { seed, number, why, .. } = self;
        write!(f, "FOUND by case {number} of seed {seed}: {why}\n  replay: {}", self.replay())
    }
}

/// Case `number` of a seed.
pub fn draw(cases: &BoxedStrategy<Case>, seed: u64, number: u64) -> Case {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tree = cases.new_tree(&mut runner).unwrap_or_else(|why| panic!("case {number} of seed {seed}: {why}"));
    tree.current()
}

/// Plays case `number` of a seed, and smaller ones when it goes wrong. `play` is told whether it is the case itself.
pub fn seek(
    cases: &BoxedStrategy<Case>,
    (seed, number): (u64, u64),
    effort: Effort,
    play: impl Fn(&Case, bool) -> Result<(), String>,
) -> Result<(), Box<Finding>> {
    let play = |case: &Case, is_first| match catch_unwind(AssertUnwindSafe(|| play(case, is_first))) {
        Ok(outcome) => outcome,
        Err(panic) => Err(format!("panic: {}", words(&*panic))),
    };
    let drawn = draw(cases, seed, number);
    let Err(why) = play(&drawn, true) else { return Ok(()) };
    let (case, mut why) = smaller(&drawn, &why, effort, |case| play(case, false));
    // Weak memory shows what comes of a missing order; the race check names the accesses.
    let raced = case.weak.then(|| play(&Case { weak: false, races: true, ..case.clone() }, false));
    if let Some(Err(race)) = raced {
        why = format!("{why}\n  the same with the race check: {race}");
    }
    Err(Box::new(Finding { seed, number, drawn, case, why, mutant: None }))
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
