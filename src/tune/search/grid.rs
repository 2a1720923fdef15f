//! The full grid: every valid combination is compared. Each operation is measured once for what its time depends on.

use super::super::axis::Axis;
use super::super::ledger::Ledger;
use super::super::objective::Judge;
use super::super::space::{combinations, Point};
use super::descent::Candidate;
use crate::error::Result;
use crate::plan::Op;

/// The best of all valid points; of equal ones the first. Stops where the budget ends.
pub(super) fn best(
    ledger: &mut Ledger<'_>,
    judge: &Judge,
    progress: &mut dyn FnMut(usize),
) -> Result<Option<Candidate>> {
    let space = ledger.space;
    let (shared, own): (Vec<Axis>, Vec<Axis>) =
        Axis::ALL.into_iter().partition(|axis| axis.changes(Op::Dispatch) && axis.changes(Op::Combine));
    let mut best: Option<Candidate> = None;
    for at in combinations(space, Point::FIRST, &shared) {
        let points = combinations(space, at, &own);
        ledger.measure(&points)?;
        progress(ledger.tried().len());
        for point in points {
            let Some(cost) = ledger.cost(&point, judge) else { continue };
            if best.is_none_or(|best| cost.beats(&best.cost)) {
                best = Some(Candidate { point, cost });
            }
        }
        if ledger.over().is_some() {
            break;
        }
    }
    Ok(best)
}
