//! Benches of a machine that is not here: by its model.

use warpferry::bench::{Record, Runs, Workload};
use warpferry::model::{Model, Wanted};
use warpferry::plan::{Plan, RANKS_MAX};
use warpferry::{Result, WorldConfig};

use crate::machine::find;

/// The record of a workload with a plan on a machine, by its model.
///
/// # Errors
/// What the model says.
pub fn record(machine: &str, workload: &Workload, plan: &Plan, runs: &Runs, say: &dyn Fn(&str)) -> Result<Record> {
    let machine = find(machine)?;
    plan.check_limits(&machine.limits())?;
    let model = Model::new(machine);
    // What is too large to run is too large to compare.
    let verifies = runs.verify && !Model::estimates(workload);
    if verifies {
        say("results");
        model.check(workload, plan)?;
    }
    say("times");
    model.record(workload, plan, Wanted { cached: runs.cached, ..Wanted::BOTH }, verifies)
}

/// The plan of a world, which kernels need not be able to run.
///
/// # Errors
/// As [`Plan::new`].
pub fn plan(config: &WorldConfig) -> Result<Plan> {
    if config.topology.ranks() <= RANKS_MAX {
        return config.plan(0);
    }
    Plan::sketch(config.topology, config.shape, config.tuning.clone(), config.fabric)
}
