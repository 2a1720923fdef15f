//! What has been measured in a search: nothing is measured twice, and a point is known when its operations are.
//!
//! Operations are kept apart, by what their time depends on ([`OpKey`]): a point whose dispatch was measured at one point and
//! whose combine at another is known without being measured.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::budget::{Budget, Ended};
use super::journal::Journal;
use super::measure::{Job, Load, Measure, Timing, Verdict};
use super::objective::{Cost, Judge};
use super::sample::{Known, Ops, Sample};
use super::space::{OpKey, Point, Space};
use crate::error::{Error, Result};
use crate::plan::{Op, Plan};

/// A point with an operation that was wrong.
#[derive(Debug, Clone)]
pub(super) struct WrongPoint {
    pub point: Point,
    pub op: Op,
    pub reason: String,
}

/// Measurements of one search.
pub(super) struct Ledger<'a> {
    pub space: &'a Space,
    pub wrong: Vec<WrongPoint>,
    backend: &'a mut dyn Measure,
    load: Load,
    ops: Ops,
    known: HashMap<OpKey, Known>,
    recorded: HashMap<OpKey, Known>,
    journal: Option<Journal>,
    budget: Budget,
    started: Instant,
    tried: Vec<Point>,
}

impl<'a> Ledger<'a> {
    pub fn new(space: &'a Space, backend: &'a mut dyn Measure, load: Load, ops: Ops, budget: Budget) -> Ledger<'a> {
        Ledger {
            space,
            wrong: Vec::new(),
            backend,
            load,
            ops,
            known: HashMap::new(),
            recorded: HashMap::new(),
            journal: None,
            budget,
            started: Instant::now(),
            tried: Vec::new(),
        }
    }

    /// With what a journal holds, to which new measurements go.
    pub fn with_journal(mut self, (journal, recorded): (Journal, HashMap<OpKey, Known>)) -> Ledger<'a> {
        self.journal = Some(journal);
        self.recorded = recorded;
        self
    }

    /// Points for which something was measured, in order.
    pub fn tried(&self) -> &[Point] {
        &self.tried
    }

    /// Why nothing more may be measured; None while it may.
    pub fn over(&self) -> Option<Ended> {
        if self.tried.len() as u64 >= self.budget.points {
            return Some(Ended::OutOfPoints);
        }
        (self.started.elapsed() >= self.budget.time).then_some(Ended::OutOfTime)
    }

    /// Lets so many points be measured in all.
    pub fn allow(&mut self, points: u64) {
        self.budget.points = points;
    }

    /// Cost of a point; None for one that is invalid, wrong or not measured.
    pub fn cost(&self, point: &Point, judge: &Judge) -> Option<Cost> {
        let plan = self.space.plan(point).ok()?;
        Some(judge.cost(&plan, &self.sample_of(point, &plan)?))
    }

    /// The sample of a point, where all of it is known and right.
    pub fn sample(&self, point: &Point) -> Option<Sample> {
        let plan = self.space.plan(point).ok()?;
        self.sample_of(point, &plan)
    }

    fn sample_of(&self, point: &Point, plan: &Plan) -> Option<Sample> {
        let timing = |op: Op| self.known.get(&self.space.key(point, plan, op)).and_then(|known| known.timing);
        let mut sample = Sample { dispatch: None, combine: None };
        for &op in self.ops.each() {
            let timing = timing(op)?;
            match op {
                Op::Dispatch => sample.dispatch = Some(timing),
                Op::Combine => sample.combine = Some(timing),
            }
        }
        Some(sample)
    }

    /// The best of the points that were measured, best first, each once.
    pub fn best(&self, judge: &Judge, most: usize) -> Vec<Point> {
        let cost = |point: &Point| Some((self.cost(point, judge)?, *point));
        let mut ranked: Vec<(Cost, Point)> = self.tried.iter().filter_map(cost).collect();
        ranked.sort_by(|(a, at), (b, bt)| a.order(b).then(at.cmp(bt)));
        let mut seen = HashSet::new();
        ranked.into_iter().map(|(_, point)| point).filter(|point| seen.insert(*point)).take(most).collect()
    }

    /// Operations that count.
    pub fn ops(&self) -> Ops {
        self.ops
    }

    /// What runs beside them.
    pub fn load(&self) -> Load {
        self.load
    }

    /// Measures, in one list, what points lack, as far as the budget goes.
    pub fn measure(&mut self, points: &[Point]) -> Result<()> {
        let mut asked: HashSet<OpKey> = HashSet::new();
        let (mut keys, mut owners, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        for point in points {
            let Ok(plan) = self.space.plan(point) else { continue };
            let lacks = self.lacking(point, &plan, &asked);
            if lacks.is_empty() {
                continue;
            }
            if self.over().is_some() {
                break;
            }
            self.tried.push(*point);
            for (op, key) in lacks {
                asked.insert(key);
                if let Some(known) = self.recorded.get(&key).cloned() {
                    self.keep(key, point, known);
                    continue;
                }
                keys.push(key);
                owners.push(*point);
                jobs.push(Job { plan: plan.clone(), op });
            }
        }
        let answers = self.ask(&jobs)?;
        for ((key, point), known) in keys.into_iter().zip(owners).zip(answers) {
            if let Some(journal) = &mut self.journal {
                journal.append(&key, &known)?;
            }
            self.keep(key, &point, known);
        }
        Ok(())
    }

    /// Operations of a point that nobody knows and nobody asked for.
    fn lacking(&self, point: &Point, plan: &Plan, asked: &HashSet<OpKey>) -> Vec<(Op, OpKey)> {
        let keys = self.ops.each().iter().map(|&op| (op, self.space.key(point, plan, op)));
        keys.filter(|(_, key)| !self.known.contains_key(key) && !asked.contains(key)).collect()
    }

    fn keep(&mut self, key: OpKey, point: &Point, known: Known) {
        if let Verdict::Wrong(reason) = &known.verdict {
            let op = if key.combine { Op::Combine } else { Op::Dispatch };
            self.wrong.push(WrongPoint { point: *point, op, reason: reason.clone() });
        }
        self.known.insert(key, known);
    }

    /// Checks jobs, then times those that are right.
    fn ask(&mut self, jobs: &[Job]) -> Result<Vec<Known>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let verdicts = self.backend.check(jobs)?;
        counted("check", verdicts.len(), jobs.len())?;
        let right: Vec<Job> = jobs
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::Correct)
            .map(|(job, _)| job.clone())
            .collect();
        let timings = self.backend.time(&right, &self.load)?;
        counted("time", timings.len(), right.len())?;
        let mut timings = timings.into_iter();
        let known = verdicts.into_iter().map(|verdict| match verdict {
            Verdict::Correct => judged(timings.next()),
            wrong => Known { verdict: wrong, timing: None },
        });
        Ok(known.collect())
    }
}

/// A right operation and its time; a time that is no number counts as wrong, since nothing can be compared with it.
fn judged(timing: Option<Timing>) -> Known {
    let added = |timing: &Timing| timing.beside.map_or(0.0, |beside| beside.added_us());
    let is_number = |timing: &Timing| {
        timing.us >= 0.0 && [timing.us, timing.sm_ms, added(timing)].iter().all(|number| number.is_finite())
    };
    match timing.filter(is_number) {
        Some(timing) => Known { verdict: Verdict::Correct, timing: Some(timing) },
        None => Known { verdict: Verdict::Wrong("its time is no number".to_string()), timing: None },
    }
}

fn counted(what: &str, answers: usize, jobs: usize) -> Result<()> {
    if answers == jobs {
        return Ok(());
    }
    Err(Error::Bug(format!("a measure gave {answers} answers to `{what}` of {jobs} jobs")))
}
