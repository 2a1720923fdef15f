//! The search: descents from several starts within a budget, or the full grid.
//!
//! It is deterministic: what it measures, in which order, and what it chooses follow from the space, the objective, the seed
//! and the measure's answers. With noise on a real device, answers differ from run to run, and so may the choice.

mod descent;
mod finals;
mod grid;
mod line;
mod starts;

use std::path::PathBuf;

use super::budget::{Budget, Ended};
use super::journal::{Header, Journal};
use super::key::Key;
use super::ledger::Ledger;
use super::measure::{Load, Measure};
use super::objective::{Judge, Longest, Objective};
use super::outcome::{Finding, Outcome};
use super::space::{Point, Space};
use crate::error::{Error, Result};
use crate::plan::Tuning;
use descent::{Candidate, Descent};

pub(super) use descent::Passed;
pub(super) use finals::Final;

/// Starts of descents unless told otherwise: the defaults, two corners, three drawn.
const STARTS: usize = 6;
/// Most starts.
const STARTS_MAX: usize = 1000;

/// How far a search is, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Points that were measured.
    pub tried: u64,
    /// Most points that will be.
    pub most: u64,
}

/// Called after each list of points that was measured.
type Watcher<'a> = Box<dyn FnMut(Progress) + 'a>;

/// A search over a space: what is wanted, within which bounds.
pub struct Search<'a> {
    space: &'a Space,
    gate: String,
    objective: Objective,
    load: Load,
    budget: Budget,
    starts: usize,
    guesses: Vec<Tuning>,
    seed: u64,
    journal: Option<PathBuf>,
    finest: Option<&'a mut dyn Measure>,
    watcher: Watcher<'a>,
}

impl<'a> Search<'a> {
    /// For least time alone, with the default budget and seed 0. `gate` is the class of the gate that the measure uses.
    pub fn new(space: &'a Space, gate: &str) -> Search<'a> {
        Search {
            space,
            gate: gate.to_string(),
            objective: Objective::Alone(super::Ops::Both),
            load: Load::Alone,
            budget: Budget::default(),
            starts: STARTS,
            guesses: Vec::new(),
            seed: 0,
            journal: None,
            finest: None,
            watcher: Box::new(|_| {}),
        }
    }

    /// What is made small.
    #[must_use]
    pub fn objective(mut self, objective: Objective) -> Search<'a> {
        self.objective = objective;
        self
    }

    /// What runs beside the operations.
    #[must_use]
    pub fn load(mut self, load: Load) -> Search<'a> {
        self.load = load;
        self
    }

    /// How much may be measured.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Search<'a> {
        self.budget = budget;
        self
    }

    /// Descents that are made: from guesses if there are any, from the documented defaults, from two corners, from drawn points.
    #[must_use]
    pub fn starts(mut self, starts: usize) -> Search<'a> {
        self.starts = starts;
        self
    }

    /// Settings at which descents begin before all others, such as those of a coarser measure.
    #[must_use]
    pub fn guesses(mut self, guesses: Vec<Tuning>) -> Search<'a> {
        self.guesses = guesses;
        self
    }

    /// Seed of the drawn starts.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Search<'a> {
        self.seed = seed;
        self
    }

    /// File to which measurements go, and from which those of a search that was cut are taken.
    #[must_use]
    pub fn journal(mut self, path: impl Into<PathBuf>) -> Search<'a> {
        self.journal = Some(path.into());
        self
    }

    /// A measure that tells more exactly and takes longer: it measures the best few points again and decides between them, of
    /// objectives but [`Objective::LeastSms`]. The search's budget does not count that.
    #[must_use]
    pub fn finest(mut self, measure: &'a mut dyn Measure) -> Search<'a> {
        self.finest = Some(measure);
        self
    }

    /// Who watches.
    #[must_use]
    pub fn watched(mut self, watcher: impl FnMut(Progress) + 'a) -> Search<'a> {
        self.watcher = Box::new(watcher);
        self
    }

    /// Searches by descents.
    ///
    /// # Errors
    /// [`Error::Argument`] for settings that cannot be, or a space without valid points; [`Error::File`] for a journal of
    /// something else; [`Error::Unsupported`] when no point that was measured gives right results; what the measure says.
    pub fn run(mut self, measure: &mut dyn Measure) -> Result<Outcome> {
        self.check()?;
        let starts = starts::starts(self.space, &self.guesses, self.starts, self.seed);
        if starts.is_empty() {
            return Err(Error::argument("space", format!("{} points", self.space.points()), "axes with a valid point"));
        }
        let name = measure.name();
        let mut ledger = self.ledger(measure)?;
        let mut path = Vec::new();
        let most = self.budget.points;
        if matches!(self.objective, Objective::LeastSms { .. }) {
            ledger.allow(most.div_ceil(2));
        }
        let mut best = self.descend(&mut ledger, self.first_judge(), &starts, &mut path)?;
        let mut judge = self.first_judge();
        if let Some(second) = self.second_judge(&ledger, best)? {
            ledger.allow(most);
            let starts: Vec<Point> = best.iter().map(|best| best.point).chain(starts).collect();
            path.clear();
            best = self.descend(&mut ledger, second, &starts, &mut path)?;
            judge = second;
        }
        let ended = ledger.over().unwrap_or(Ended::Settled);
        self.outcome(&ledger, name, judge, best, path, ended)
    }

    /// Compares every valid point; of the budget only the time counts.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub fn exhaustive(mut self, measure: &mut dyn Measure) -> Result<Outcome> {
        self.check()?;
        self.budget.points = u64::MAX;
        let name = measure.name();
        let mut ledger = self.ledger(measure)?;
        let mut judge = self.first_judge();
        let mut best = self.grid(&mut ledger, &judge)?;
        if let Some(second) = self.second_judge(&ledger, best)? {
            best = self.grid(&mut ledger, &second)?;
            judge = second;
        }
        let ended = ledger.over().unwrap_or(Ended::Exhausted);
        self.outcome(&ledger, name, judge, best, Vec::new(), ended)
    }

    fn check(&self) -> Result<()> {
        self.objective.check()?;
        if self.starts == 0 || self.starts > STARTS_MAX {
            return Err(Error::argument("starts", self.starts, format!("1 to {STARTS_MAX}")));
        }
        if self.budget.points == 0 {
            return Err(Error::argument("budget", "0 points", "at least 1 point"));
        }
        match (self.objective, self.load) {
            (Objective::Beside, Load::Alone) => {
                Err(Error::argument("load", Load::Alone, "a computation, for the objective beside"))
            }
            (Objective::LeastSms { .. }, Load::Beside { .. }) => {
                Err(Error::argument("load", self.load, "none: a share of the peak is of the peak alone"))
            }
            _ => Ok(()),
        }
    }

    fn key(&self) -> Key {
        let space = self.space;
        Key::new(&space.limits().name, space.fabric(), space.topology(), space.shape(), &self.gate)
    }

    fn ledger<'m>(&self, measure: &'m mut dyn Measure) -> Result<Ledger<'m>>
    where
        'a: 'm,
    {
        let header = Header::new(measure.name(), self.key().to_string(), self.load.to_string());
        let ledger = Ledger::new(self.space, measure, self.load, self.objective.ops(), self.budget);
        match &self.journal {
            Some(path) => Ok(ledger.with_journal(Journal::open(path, &header)?)),
            None => Ok(ledger),
        }
    }

    /// How points are compared at first.
    fn first_judge(&self) -> Judge {
        match self.objective {
            Objective::Beside => Judge::Added,
            _ => Judge::Time,
        }
    }

    /// How they are compared when the best time is known, where that matters.
    fn second_judge(&self, ledger: &Ledger<'_>, best: Option<Candidate>) -> Result<Option<Judge>> {
        let (Objective::LeastSms { percent }, Some(best)) = (self.objective, best) else { return Ok(None) };
        let sample = ledger.sample(&best.point);
        let sample = sample.ok_or_else(|| Error::Bug("the best point was not measured".to_string()))?;
        Ok(Some(Judge::Sms(Longest::share_of(&sample, percent))))
    }

    fn descend(
        &mut self,
        ledger: &mut Ledger<'_>,
        judge: Judge,
        starts: &[Point],
        path: &mut Vec<Passed>,
    ) -> Result<Option<Candidate>> {
        let most = self.budget.points;
        let watcher = &mut self.watcher;
        let mut progress = |tried: usize| watcher(Progress { tried: tried as u64, most });
        let mut best: Option<Candidate> = None;
        for (start, &point) in starts.iter().enumerate() {
            let mut descent = Descent { ledger: &mut *ledger, judge, start, path: &mut *path, progress: &mut progress };
            let Some(end) = descent.run(point)? else { continue };
            if best.is_none_or(|best| end.cost.beats(&best.cost)) {
                best = Some(end);
            }
        }
        Ok(best)
    }

    fn grid(&mut self, ledger: &mut Ledger<'_>, judge: &Judge) -> Result<Option<Candidate>> {
        let most = self.space.valid_points();
        let watcher = &mut self.watcher;
        grid::best(ledger, judge, &mut |tried| watcher(Progress { tried: tried as u64, most }))
    }

    fn outcome(
        &mut self,
        ledger: &Ledger<'_>,
        measure: String,
        judge: Judge,
        best: Option<Candidate>,
        path: Vec<Passed>,
        ended: Ended,
    ) -> Result<Outcome> {
        let Some(best) = best else {
            let have = ledger.wrong.first().map_or("none was measured".to_string(), |wrong| wrong.reason.clone());
            return Err(Error::Unsupported { need: "a setting with right results".to_string(), have });
        };
        let finals = match &mut self.finest {
            Some(finest) if !matches!(self.objective, Objective::LeastSms { .. }) => {
                finals::finals(ledger, &judge, &mut **finest)?
            }
            _ => Vec::new(),
        };
        // What was found out about points holds for the measure of all of them.
        let best = match finals.first() {
            Some(first) => {
                Candidate { point: first.point, cost: ledger.cost(&first.point, &judge).unwrap_or(best.cost) }
            }
            None => best,
        };
        let found = Finding { best: best.point, cost: best.cost, judge, path: &path, ended, finals: &finals };
        found.outcome(ledger, self.key(), measure, self.objective, self.load, self.seed)
    }
}
