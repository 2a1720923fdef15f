//! The finals: the best points of a search, measured again by a measure that tells more exactly.

use super::super::ledger::Ledger;
use super::super::measure::{Job, Measure};
use super::super::objective::{Cost, Judge};
use super::super::sample::Sample;
use super::super::space::Point;
use crate::error::{Error, Result};
use crate::plan::Op;

/// Points that are measured again.
const FINALISTS: usize = 4;

/// A point and what the finer measure says of it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Final {
    pub point: Point,
    pub sample: Sample,
    pub cost: Cost,
}

/// The best points, best first by `finest`. Their results were found right already.
pub(super) fn finals(ledger: &Ledger<'_>, judge: &Judge, finest: &mut dyn Measure) -> Result<Vec<Final>> {
    let points = ledger.best(judge, FINALISTS);
    let mut jobs = Vec::new();
    for point in &points {
        let plan = ledger.space.plan(point)?;
        jobs.extend(ledger.ops().each().iter().map(|&op| Job { plan: plan.clone(), op }));
    }
    let timings = finest.time(&jobs, &ledger.load())?;
    if timings.len() != jobs.len() {
        return Err(Error::Bug(format!("a measure gave {} answers to {} jobs", timings.len(), jobs.len())));
    }
    let each = ledger.ops().each().len();
    let mut finals: Vec<Final> = points
        .iter()
        .zip(jobs.chunks(each).zip(timings.chunks(each)))
        .map(|(&point, (jobs, timings))| {
            let of = |op: Op| jobs.iter().position(|job| job.op == op).map(|at| timings[at]);
            let sample = Sample { dispatch: of(Op::Dispatch), combine: of(Op::Combine) };
            Final { point, sample, cost: judge.cost(&jobs[0].plan, &sample) }
        })
        .collect();
    finals.sort_by(|a, b| a.cost.order(&b.cost));
    Ok(finals)
}
