//! Benches of a machine that is not here: by its model.

use warpferry::bench::{Record, Runs, Workload};
use warpferry::machine::Machine;
use warpferry::model::{Model, Wanted};
use warpferry::plan::Plan;
use warpferry::Result;

/// The record of a workload with a plan on a machine, by its model.
///
/// # Errors
/// What the model says.
pub fn record(machine: &str, workload: &Workload, plan: &Plan, runs: &Runs, say: &dyn Fn(&str)) -> Result<Record> {
    let machine = Machine::find(machine)?;
    plan.check_limits(&machine.limits())?;
    let model = Model::new(machine);
    if runs.verify {
        say("results");
        model.check(workload, plan)?;
    }
    say("times");
    model.record(workload, plan, Wanted { cached: runs.cached, ..Wanted::BOTH }, runs.verify)
}
