//! The race check of the emulator against the axiomatic model, over the same programs.
//!
//! A program runs as real PTX under several schedules with the race check on. The check must find a race in one of them
//! exactly where the model has an execution with a data race. In weak memory it must show states that the model allows, and
//! all of them that a search of its choices can reach. `LITMUS_SEEDS=N` runs that many schedules.

mod kernel;
mod random;
mod suite;
mod weak;
mod world;

use warpferry_emu::Schedule;
use warpferry_litmus::{run, Options, Test};
use world::{Mode, Outcome};

/// What was compared.
#[derive(Debug)]
pub enum Compared {
    /// Both say the same: whether there is a race.
    Agree(bool),
    /// They do not, and how.
    Differ(String),
    /// It cannot run here, and why.
    LeftOut(&'static str),
}

fn seeds(default: u64) -> u64 {
    std::env::var("LITMUS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(default)
}

/// Runs a test under that many schedules. Where the model has a race, the first one that shows it is enough.
pub fn compare(test: &Test, most: u64) -> Compared {
    let report = run(test, &Options::default());
    let expected = report.race.is_some();
    for seed in 0..=most {
        let schedule = if seed == 0 { Schedule::RoundRobin } else { Schedule::Random { seed } };
        match world::execute(test, Mode::Races, schedule) {
            Ok(None) => return Compared::LeftOut("no PTX for one of its instructions"),
            Ok(Some((Outcome::State(_) | Outcome::Stuck, _))) => {}
            Ok(Some((Outcome::Broken(_), _))) if expected => {}
            Ok(Some((Outcome::Broken(problem), _))) => return Compared::Differ(format!("seed {seed}: {problem}")),
            Ok(Some((Outcome::Race(_), _))) if expected => return Compared::Agree(true),
            Ok(Some((Outcome::Race(race), _))) => {
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
