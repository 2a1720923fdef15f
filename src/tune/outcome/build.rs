//! An outcome from what a search has measured. Nothing is measured for it.

use super::super::axis::{Axis, Scale};
use super::super::budget::Ended;
use super::super::key::Key;
use super::super::ledger::Ledger;
use super::super::measure::Load;
use super::super::objective::{Cost, Judge, Objective};
use super::super::sample::Sample;
use super::super::search::{Final, Passed};
use super::super::space::Point;
use super::{Evidence, Outcome, Passage, Predicted, Ranked, Step, Tried, WrongSetting, FORMAT};
use crate::error::{Error, Result};
use crate::plan::{Op, Plan, Setting};

/// Runner-ups that are told.
const RUNNER_UPS: usize = 5;
/// Points that are told.
const TRIED_MAX: usize = 4096;
/// Settings with wrong results that are told.
const WRONG_MAX: usize = 64;

/// What a search ended with.
pub(in super::super) struct Finding<'p> {
    pub best: Point,
    pub cost: Cost,
    pub judge: Judge,
    pub path: &'p [Passed],
    pub ended: Ended,
    /// The best points by a finer measure, best first; none where there is no such measure.
    pub finals: &'p [Final],
}

impl Finding<'_> {
    pub fn outcome(
        &self,
        ledger: &Ledger<'_>,
        workload: Key,
        measure: String,
        objective: Objective,
        load: Load,
        seed: u64,
    ) -> Result<Outcome> {
        let space = ledger.space;
        let sample = self.finals.first().map(|best| best.sample).or_else(|| ledger.sample(&self.best));
        let sample = sample.ok_or_else(|| Error::Bug("the chosen point was not measured".to_string()))?;
        let plan = space.plan(&self.best)?;
        Ok(Outcome {
            format: FORMAT,
            objective: objective.to_string(),
            measure,
            seed,
            ended: self.ended,
            points_tried: ledger.tried().len() as u64,
            points_total: space.valid_points(),
            predicted_us: sample.us(),
            load,
            workload,
            setting: Setting::from(&plan.tuning),
            predicted: predicted(&plan, &sample),
            runner_ups: self.runner_ups(ledger),
            why: Axis::ALL.into_iter().map(|axis| self.evidence(ledger, axis)).collect(),
            wrong: wrong(ledger),
            path: self.path.iter().map(|passed| passage(ledger, passed)).collect(),
            tried: self.tried(ledger),
        })
    }

    /// The best other points: those of the finals, or, without any, of all that were measured.
    fn runner_ups(&self, ledger: &Ledger<'_>) -> Vec<Ranked> {
        if let Some((best, others)) = self.finals.split_first() {
            let ranked = |other: &Final| ranked(ledger, other, best.cost);
            return others.iter().filter_map(ranked).collect();
        }
        let others = ledger.best(&self.judge, RUNNER_UPS + 1).into_iter().filter(|point| *point != self.best);
        let measured = |point: Point| {
            let (sample, cost) = (ledger.sample(&point)?, ledger.cost(&point, &self.judge)?);
            ranked(ledger, &Final { point, sample, cost }, self.cost)
        };
        others.take(RUNNER_UPS).filter_map(measured).collect()
    }

    fn evidence(&self, ledger: &Ledger<'_>, axis: Axis) -> Evidence {
        let index = self.best.index(axis);
        let (down, up) = match axis.scale() {
            Scale::Ordered => (index.checked_sub(1), index.checked_add(1)),
            Scale::Named => (None, Some((index + 1) % ledger.space.values(axis).len())),
        };
        let step = |place: Option<usize>| {
            place.filter(|&place| place != index).and_then(|place| self.step(ledger, axis, place))
        };
        let value = axis.words(ledger.space.value(&self.best, axis));
        Evidence { axis: axis.name().to_string(), value, down: step(down), up: step(up) }
    }

    fn step(&self, ledger: &Ledger<'_>, axis: Axis, place: usize) -> Option<Step> {
        let space = ledger.space;
        let cost = ledger.cost(&space.moved(&self.best, axis, place)?, &self.judge)?;
        let value = axis.words(*space.values(axis).get(place)?);
        let worse_percent = percent(cost.main, self.cost.main);
        Some(Step { value, worse_percent, sm_ms_percent: percent(cost.sm_ms, self.cost.sm_ms) })
    }

    fn tried(&self, ledger: &Ledger<'_>) -> Vec<Tried> {
        let told = |point: &Point| {
            let (cost, sample) = (ledger.cost(point, &self.judge)?, ledger.sample(point)?);
            let at = ledger.space.numbers(point);
            Some(Tried { cost: cost.main, us: sample.us(), sm_ms: sample.sm_ms(), at })
        };
        ledger.tried().iter().take(TRIED_MAX).filter_map(told).collect()
    }
}

fn ranked(ledger: &Ledger<'_>, other: &Final, best: Cost) -> Option<Ranked> {
    let plan = ledger.space.plan(&other.point).ok()?;
    let (setting, predicted) = (Setting::from(&plan.tuning), predicted(&plan, &other.sample));
    Some(Ranked { worse_percent: percent(other.cost.main, best.main), setting, predicted })
}

fn predicted(plan: &Plan, sample: &Sample) -> Predicted {
    let slowdown = || sample.timings().map(|timing| timing.beside.map(|beside| beside.slowdown_us)).sum();
    Predicted {
        dispatch_us: sample.dispatch.map(|timing| timing.us),
        combine_us: sample.combine.map(|timing| timing.us),
        spread_us: sample.timings().map(|timing| timing.spread_us).sum(),
        sm_ms: sample.sm_ms(),
        buffer_bytes: plan.memory_bytes().bytes(),
        added_us: sample.added_us(),
        slowdown_us: slowdown(),
    }
}

fn wrong(ledger: &Ledger<'_>) -> Vec<WrongSetting> {
    let told = ledger.wrong.iter().filter_map(|wrong| {
        let setting = Setting::from(&ledger.space.tuning(&wrong.point).ok()?);
        let op = if wrong.op == Op::Dispatch { "dispatch" } else { "combine" };
        Some(WrongSetting { op: op.to_string(), reason: wrong.reason.clone(), setting })
    });
    told.take(WRONG_MAX).collect()
}

fn passage(ledger: &Ledger<'_>, passed: &Passed) -> Passage {
    Passage {
        start: passed.start as u64,
        tried: passed.tried as u64,
        along: passed.along.clone(),
        cost: passed.at.cost.main,
        at: ledger.space.numbers(&passed.at.point),
    }
}

/// By how much `value` is above `base`, in percent.
fn percent(value: f64, base: f64) -> f64 {
    if base > 0.0 {
        (value / base - 1.0) * 100.0
    } else {
        0.0
    }
}
