//! What the emulator shows of litmus tests in weak memory, beside what the model allows: never a forbidden outcome, and
//! every allowed one of executions in program order.
//!
//! Method: each test is played as `warpferry emu litmus` plays it, with fewer runs. `LITMUS_RUNS=N` and `LITMUS_SEED=N` say
//! how many and from where, `LITMUS_FILE=PART` which files.

#[path = "../shared/mod.rs"]
mod shared;

mod shapes;
mod suite;
mod wrong;

use warpferry_litmus::{run, Options, Test};
use warpferry_litmus_play::{compare, schedule_text, tally, Judged, Plan, Standing, Tally, Unplayed};

/// Plays a test; panics where the emulator shows what the model forbids.
fn outcomes(name: &str, test: &Test, runs: u64) -> Result<(Vec<Judged>, Tally), Unplayed> {
    let report = run(test, &Options::default());
    let plan = Plan { runs: shared::number("LITMUS_RUNS", runs), seed: shared::number("LITMUS_SEED", 1) };
    let tally = tally(test, plan)?;
    assert_eq!(tally.runs, plan.runs, "{name}");
    let outcomes = compare(test, &report, &Options::default(), &tally);
    if let Some(outcome) = outcomes.iter().find(|outcome| outcome.is_wrong()) {
        let schedule = outcome.shown.as_ref().map_or(String::new(), |shown| schedule_text(&shown.first));
        let replay = format!("warpferry emu litmus --replay {schedule} {name}");
        panic!("{:?} = {:?} is forbidden and was seen: {replay}", report.variables, outcome.values);
    }
    Ok((outcomes, tally))
}

/// Outcomes of executions in program order that were not seen.
fn unseen(outcomes: &[Judged]) -> Vec<&Vec<i64>> {
    let is_unseen = |it: &&Judged| it.standing == Standing::Allowed && it.shown.is_none();
    outcomes.iter().filter(is_unseen).map(|outcome| &outcome.values).collect()
}
