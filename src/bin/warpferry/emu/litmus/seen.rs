//! What the emulator showed of a test, beside what the model allows.

use warpferry_emu::Schedule;
use warpferry_litmus::{Options, Report, Test};
use warpferry_litmus_play::{compare, replay, schedule_text, tally, Judged, Plan, Shown, Standing, Tally, Unplayed};

use crate::output::quoted;

/// How the emulator is asked.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Not at all.
    Nothing,
    /// By many runs.
    Runs(Plan),
    /// By one run.
    Replay(Schedule),
}

/// What it showed.
pub struct Seen {
    /// Outcomes, in the order of their values.
    pub outcomes: Vec<Judged>,
    pub tally: Tally,
}

/// Plays a test; none where the emulator is not asked.
pub fn play(ask: &Ask, test: &Test, report: &Report, options: &Options) -> Option<Result<Seen, Unplayed>> {
    let tally = match ask {
        Ask::Nothing => return None,
        Ask::Runs(plan) => tally(test, *plan),
        Ask::Replay(schedule) => replay(test, schedule.clone()),
    };
    Some(tally.map(|tally| {
        let outcomes = compare(test, report, options, &tally);
        Seen { outcomes, tally }
    }))
}

impl Seen {
    /// Whether the emulator showed what the model forbids.
    pub fn is_wrong(&self) -> bool {
        self.outcomes.iter().any(Judged::is_wrong)
    }

    /// What was run and what it showed, in one sentence; then what is wrong, each with how to repeat it.
    pub fn notes(&self, ask: &Ask, file: &str) -> Vec<String> {
        let with = |standings: &[Standing]| {
            let of: Vec<&Judged> = self.outcomes.iter().filter(|it| standings.contains(&it.standing)).collect();
            (of.iter().filter(|it| it.shown.is_some()).count(), of.len())
        };
        let (seen, allowed) = with(&[Standing::Allowed, Standing::AllowedOutOfOrder]);
        let (wrong, _) = with(&[Standing::Forbidden]);
        let forbidden = if wrong == 0 { "no forbidden one".to_string() } else { format!("{wrong} FORBIDDEN") };
        let mut line = format!("seen {seen} of {allowed} allowed outcomes, {forbidden} ({})", self.ran(ask));
        for (count, what) in [(self.tally.stuck, "did not end"), (self.tally.broken, "broke a queue pair")] {
            if count > 0 {
                line += &format!("; {count} {what}");
            }
        }
        let mut notes = vec![line];
        for outcome in self.outcomes.iter().filter(|outcome| outcome.is_wrong()) {
            if let Some(shown) = &outcome.shown {
                let schedule = schedule_text(&shown.first);
                notes.push(format!("replay: warpferry emu litmus {} --replay {schedule}", quoted(file)));
            }
        }
        notes
    }

    fn ran(&self, ask: &Ask) -> String {
        let all = if self.tally.is_exhaustive { ", every choice in order among them" } else { "" };
        match ask {
            Ask::Runs(plan) => format!("{} runs, seed {}{all}", self.tally.runs, plan.seed),
            _ => "1 run".to_string(),
        }
    }
}

/// How often an outcome was seen, in words.
pub fn words(outcome: &Judged) -> String {
    let seen = match (&outcome.shown, outcome.standing) {
        (Some(Shown { times: 1, .. }), _) => "seen 1 time".to_string(),
        (Some(shown), _) => format!("seen {} times", shown.times),
        (None, Standing::AllowedOutOfOrder) => "not seen (the emulator executes in order)".to_string(),
        (None, _) => "not seen".to_string(),
    };
    format!("{}, {seen}", outcome.standing.word())
}
