//! The race check of the emulator against the axiomatic model, over the same programs.
//!
//! A program runs as real PTX under several schedules with the race check on. The check must find a race in one of them
//! exactly where the model has an execution with a data race. `LITMUS_SEEDS=N` runs that many schedules.

#[path = "../shared/mod.rs"]
mod shared;

mod random;
mod suite;

use warpferry_emu::Schedule;
use warpferry_litmus::{run, Liveness, Options, Report, Test};
use warpferry_litmus_play::{Mode, Outcome, Player, Unplayed};

/// What was compared.
#[derive(Debug)]
pub enum Compared {
    /// Both say the same: whether there is a race.
    Agree(bool),
    /// They do not, and how.
    Differ(String),
    /// It cannot run here, and why.
    LeftOut(String),
}

/// Whether a NIC may find a word that was not written yet: entries race with it, or its doorbell comes too early.
fn may_break(report: &Report) -> bool {
    report.race.is_some() || matches!(report.liveness, Some(Liveness::Stuck(_)))
}

/// Runs a test under that many schedules. Where the model has a race, the first one that shows it is enough.
pub fn compare(test: &Test, most: u64) -> Compared {
    let report = run(test, &Options::default());
    let expected = report.race.is_some();
    let player = match Player::new(test) {
        Ok(player) => player,
        Err(Unplayed::Unsuitable(why)) => return Compared::LeftOut(why),
        Err(Unplayed::Failed(problem)) => return Compared::Differ(problem),
    };
    for seed in 0..=most {
        let schedule = if seed == 0 { Schedule::RoundRobin } else { Schedule::Random { seed } };
        match player.play(Mode::Races, schedule) {
            Ok((Outcome::State(_) | Outcome::Hidden | Outcome::Stuck, _)) => {}
            Ok((Outcome::Broken(_), _)) if may_break(&report) => {}
            Ok((Outcome::Broken(problem), _)) => return Compared::Differ(format!("seed {seed}: {problem}")),
            Ok((Outcome::Race(_), _)) if expected => return Compared::Agree(true),
            Ok((Outcome::Race(race), _)) => {
                return Compared::Differ(format!("seed {seed}: the model has no such race: {race}"));
            }
            Err(problem) => return Compared::Differ(format!("seed {seed}: {problem}")),
        }
    }
    match report.race {
        None => Compared::Agree(false),
        Some(race) => Compared::Differ(format!("{most} schedules do not show the race that the model has: {race:?}")),
    }
}
