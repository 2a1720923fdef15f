//! `emu litmus`: what the PTX memory model says of litmus tests, and what the emulator shows of them.

mod json;
mod print;
mod seen;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::json;
use warpferry_emu::Schedule;
use warpferry_litmus::{parse, run as decide, Liveness, Options, Quantifier, Report, Test, Verdict};
use warpferry_litmus_play::{parse_schedule, Plan, Unplayed};

use crate::output::{complain, say};
use seen::{Ask, Seen};

/// Most runs of a test.
const RUNS_MAX: u64 = 1_000_000;

/// Options of `emu litmus`.
#[derive(Debug, Clone, Parser)]
pub struct LitmusOptions {
    /// Litmus tests in the herd-style PTX format
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// One JSON object per file
    #[arg(long)]
    json: bool,
    /// Lists all final states of each test, however many
    #[arg(long)]
    states: bool,
    /// How often the emulator plays each test in weak memory; 0: only the model is asked
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(0..=RUNS_MAX))]
    runs: u64,
    /// Where the drawn ones of these runs come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// One run by this schedule, as a forbidden outcome prints it: `random:7`, `pct:7:2:12`, `explore:0,1,1`
    #[arg(long, value_name = "SCHEDULE", value_parser = parse_schedule, conflicts_with_all = ["runs", "seed"])]
    replay: Option<Schedule>,
    /// Memory model
    #[arg(long, value_enum, default_value_t = Model::Ptx)]
    model: Model,
    /// Most partial executions checked per test, and 16 choices of paths for each
    #[arg(long, default_value_t = Options::default().budget)]
    budget: u64,
    /// Seconds after which the model's verdict on a test is undecided
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: u64,
    /// How often a loop that does more than read goes round, at least
    #[arg(long, default_value_t = Options::default().loop_bound)]
    loops: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Model {
    /// The model of the PTX ISA 8.x
    Ptx,
}

impl LitmusOptions {
    fn model(&self) -> Options {
        let time = Some(Duration::from_secs(self.seconds));
        Options { budget: self.budget, time, loop_bound: self.loops, ..Options::default() }
    }

    fn ask(&self) -> Ask {
        match &self.replay {
            Some(schedule) => Ask::Replay(schedule.clone()),
            None if self.runs == 0 => Ask::Nothing,
            None => Ask::Runs(Plan { runs: self.runs, seed: self.seed }),
        }
    }
}

/// Decides and plays every file; false when one could not be decided, is not what it says it expects, or shows on the
/// emulator what the model forbids.
pub fn run(options: &LitmusOptions) -> bool {
    let Model::Ptx = options.model;
    let width = options.files.iter().map(|file| file.display().to_string().len()).max().unwrap_or(0);
    // Every file is decided, whatever came of the ones before.
    let all: Vec<Ended> = options.files.iter().map(|file| one(file, width, options)).collect();
    if !options.json && all.len() > 1 {
        let count = |one: Ended| all.iter().filter(|&&ended| ended == one).count();
        let [ok, no] = ["Ok", "No"].map(|word| count(Ended::Decided(word)));
        let [wrong, undecided, unread] = [Ended::Wrong, Ended::Undecided, Ended::Unread].map(count);
        let well = format!("{ok} Ok and {no} No");
        say(format_args!("{} files: {well}, {wrong} wrong, {undecided} undecided, {unread} unread", all.len()));
    }
    all.iter().all(|ended| matches!(ended, Ended::Decided(_)))
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// By this word, and nothing speaks against it.
    Decided(&'static str),
    /// Not as it says it expects, or the emulator shows what the model forbids.
    Wrong,
    Undecided,
    Unread,
}

fn one(file: &Path, width: usize, options: &LitmusOptions) -> Ended {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"));
    let test = match text.and_then(|text| parse(&name, &text).map_err(|error| error.to_string())) {
        Ok(test) => test,
        Err(reason) => {
            complain(format_args!("error: {reason}"));
            if options.json {
                say(json!({ "file": name, "verdict": "Unsupported", "reason": reason }));
            }
            return Ended::Unread;
        }
    };
    let report = decide(&test, &options.model());
    let case = Case {
        name: &name,
        unmet: report.unmet(&test),
        ask: options.ask(),
        seen: seen::play(&options.ask(), &test, &report, &options.model()),
        test: &test,
        report: &report,
    };
    if options.json {
        say(json::text(&case));
    } else {
        print::print(&case, width, options);
    }
    let is_wrong = matches!(&case.seen, Some(Ok(seen)) if seen.is_wrong());
    match report.verdict {
        _ if is_wrong || !case.unmet.is_empty() => Ended::Wrong,
        Verdict::Undecided(_) => Ended::Undecided,
        Verdict::Holds | Verdict::Fails => Ended::Decided(verdict(&test, &report).0),
    }
}

/// What is known about one file.
struct Case<'a> {
    name: &'a str,
    test: &'a Test,
    report: &'a Report,
    /// What the author expected and did not get.
    unmet: Vec<String>,
    ask: Ask,
    /// What the emulator showed, or why it was not asked.
    seen: Option<Result<Seen, Unplayed>>,
}

/// The verdict in herd's words and in the model's: what `exists` asks about is allowed or forbidden, what `forall` asks
/// about is required or not.
fn verdict(test: &Test, report: &Report) -> (&'static str, &'static str) {
    let holds = match &report.verdict {
        Verdict::Holds => true,
        Verdict::Fails => false,
        Verdict::Undecided(_) => return ("Undecided", "undecided"),
    };
    let meaning = match (test.condition.quantifier, holds) {
        (Quantifier::Exists, true) | (Quantifier::NotExists, false) => "allowed",
        (Quantifier::Exists, false) | (Quantifier::NotExists, true) => "forbidden",
        (Quantifier::Forall, true) => "required",
        (Quantifier::Forall, false) => "not required",
    };
    (if holds { "Ok" } else { "No" }, meaning)
}

fn liveness(report: &Report) -> Option<(&'static str, &str)> {
    report.liveness.as_ref().map(|liveness| match liveness {
        Liveness::Terminates => ("terminates", ""),
        Liveness::Stuck(how) => ("may not terminate", how.as_str()),
        Liveness::Undecided(why) => ("liveness undecided", why.as_str()),
    })
}
