//! A case by its number; and when it goes wrong, a smaller one that does too, with the line that replays it.

use std::cell::Cell;
use std::fmt;

use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::case::Case;
use crate::play::replay_line;

/// A case that goes wrong.
#[derive(Debug)]
pub struct Finding {
    pub seed: u64,
    /// Its number among those of the seed.
    pub number: u64,
    /// As it was drawn; none when no case could be drawn.
    pub drawn: Option<Case>,
    /// Made smaller.
    pub case: Option<Case>,
    /// What goes wrong.
    pub why: String,
    /// What the smaller case is played with, when that is not the shipped kernels.
    pub mutant: Option<String>,
}

impl Finding {
    /// The line that plays it again.
    pub fn replay(&self) -> Option<String> {
        let line = replay_line(self.case.as_ref()?);
        Some(match &self.mutant {
            Some(mutant) => format!("WARPFERRY_MUTANT={mutant} {line}"),
            None => line,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FOUND by case {} of seed {}: {}", self.number, self.seed, self.why)?;
        self.replay().map_or(Ok(()), |line| write!(f, "\n  replay: {line}"))
    }
}

/// How far a case that goes wrong is made smaller.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Most attempts.
    pub tries: u32,
    /// The longest that they may take; 0 for as long as it takes.
    pub time_ms: u32,
}

fn runner(seed: u64, number: u64, effort: Effort) -> TestRunner {
    let config = Config {
        max_shrink_iters: effort.tries,
        max_shrink_time: effort.time_ms,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Case `number` of a seed.
pub fn draw(cases: &BoxedStrategy<Case>, seed: u64, number: u64) -> Case {
    let mut runner = runner(seed, number, Effort { tries: 0, time_ms: 0 });
    cases.new_tree(&mut runner).unwrap_or_else(|why| panic!("case {number} of seed {seed}: {why}")).current()
}

/// Plays case `number` of a seed, and smaller ones when it goes wrong. `play` is told whether it is the case itself.
pub fn seek(
    cases: &BoxedStrategy<Case>,
    (seed, number): (u64, u64),
    effort: Effort,
    play: impl Fn(&Case, bool) -> Result<(), String>,
) -> Result<(), Finding> {
    let nothing = |why| Finding { seed, number, drawn: None, case: None, why, mutant: None };
    let mut runner = runner(seed, number, effort);
    let tree = cases.new_tree(&mut runner).map_err(|why| nothing(format!("no case: {why}")))?;
    let drawn = tree.current();
    let first = Cell::new(true);
    let outcome = runner.run_one(tree, |case| play(&case, first.replace(false)).map_err(TestCaseError::fail));
    match outcome {
        Ok(_) => Ok(()),
        Err(TestError::Fail(why, case)) => {
            Err(Finding { drawn: Some(drawn), case: Some(case), ..nothing(why.to_string()) })
        }
        Err(TestError::Abort(why)) => Err(nothing(format!("given up: {why}"))),
    }
}
