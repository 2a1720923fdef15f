//! `emu litmus`: what the PTX memory model says of litmus tests.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use serde_json::{json, Value};
use warpferry_litmus::{parse, run as decide, Liveness, Options, Quantifier, Report, Test, Verdict};

use crate::output::{complain, say};

/// Options of `emu litmus`.
#[derive(Debug, Clone, Parser)]
pub struct LitmusOptions {
    /// Litmus tests in the herd-style PTX format
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// One JSON object per file
    #[arg(long)]
    json: bool,
    /// Lists the final states of each test
    #[arg(long)]
    states: bool,
    /// Memory model
    #[arg(long, value_enum, default_value_t = Model::Ptx)]
    model: Model,
    /// Most partial executions checked per test
    #[arg(long, default_value_t = Options::default().budget)]
    budget: u64,
    /// How often a loop that does more than read goes round
    #[arg(long, default_value_t = Options::default().loop_bound)]
    loops: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Model {
    /// The model of the PTX ISA 8.x
    Ptx,
}

/// Decides every file; false when one could not be decided or is not what it says it expects.
pub fn run(options: &LitmusOptions) -> bool {
    let Model::Ptx = options.model;
    let width = options.files.iter().map(|file| file.display().to_string().len()).max().unwrap_or(0);
    // Every file is decided, whatever came of the ones before.
    options.files.iter().filter(|file| !one(file, width, options)).count() == 0
}

fn one(file: &Path, width: usize, options: &LitmusOptions) -> bool {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"));
    let test = match text.and_then(|text| parse(&name, &text).map_err(|error| error.to_string())) {
        Ok(test) => test,
        Err(reason) => {
            complain(format_args!("error: {reason}"));
            if options.json {
                say(json!({ "file": name, "verdict": "Unsupported", "reason": reason }));
            }
            return false;
        }
    };
    let report = decide(&test, &Options { budget: options.budget, loop_bound: options.loops, ..Options::default() });
    let unmet = report.unmet(&test);
    if options.json {
        say(to_json(&name, &test, &report, &unmet));
    } else {
        print(&name, width, &test, &report, &unmet, options);
    }
    unmet.is_empty() && !matches!(report.verdict, Verdict::Undecided(_))
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

fn notes(report: &Report, options: &LitmusOptions) -> Vec<String> {
    let mut notes = Vec::new();
    if let Verdict::Undecided(why) = &report.verdict {
        notes.push(why.clone());
    }
    if let Some((word, how)) = liveness(report) {
        notes.push(if how.is_empty() { word.to_string() } else { format!("{word}: {how}") });
    }
    if let Some(race) = &report.race {
        let access = |(who, line): &(String, usize)| match line {
            0 => who.clone(),
            _ => format!("{who} line {line}"),
        };
        let [a, b] = &race.accesses;
        notes.push(format!("data race on {} ({}, {})", race.location, access(a), access(b)));
    }
    if report.bounded {
        notes.push(format!("loops that write are followed {} times", options.loops));
    }
    if report.blocked {
        notes.push("a barrier may wait for ever".to_string());
    }
    notes
}

fn print(name: &str, width: usize, test: &Test, report: &Report, unmet: &[String], options: &LitmusOptions) {
    let (word, meaning) = verdict(test, report);
    let (positive, negative) = report.counts();
    let observation = report.observation.word();
    let condition = test.condition.text(test);
    say(format_args!("{name:width$}  {word:9} {meaning:12} {observation:9} {positive}/{negative}  {condition}"));
    for note in notes(report, options) {
        say(format_args!("{:width$}  - {note}", ""));
    }
    for what in unmet {
        say(format_args!("{:width$}  - NOT AS EXPECTED: {what}", ""));
    }
    if options.states {
        for state in &report.states {
            let values = report.variables.iter().zip(&state.values);
            let values: Vec<String> = values.map(|(variable, value)| format!("{variable}={value};")).collect();
            let sign = if state.matches { '*' } else { ':' };
            say(format_args!("{:width$}  {sign}> {}", "", values.join(" ")));
        }
    }
}

fn to_json(name: &str, test: &Test, report: &Report, unmet: &[String]) -> Value {
    let (word, meaning) = verdict(test, report);
    let (positive, negative) = report.counts();
    let state = |state: &warpferry_litmus::FinalState| {
        let values = report.variables.iter().cloned().zip(state.values.iter().map(|&value| json!(value)));
        json!({ "values": values.collect::<serde_json::Map<_, _>>(), "matches": state.matches })
    };
    let race = report.race.as_ref().map(|race| {
        let access = |(thread, line): &(String, usize)| json!({ "thread": thread, "line": line });
        json!({ "location": race.location, "accesses": race.accesses.each_ref().map(access) })
    });
    let reason = match &report.verdict {
        Verdict::Undecided(why) => Some(why),
        _ => None,
    };
    json!({
        "file": name,
        "name": test.name,
        "condition": test.condition.text(test),
        "verdict": word,
        "outcome": meaning,
        "reason": reason,
        "observation": report.observation.word(),
        "positive": positive,
        "negative": negative,
        "states": report.states.iter().map(state).collect::<Vec<_>>(),
        "race": race,
        "liveness": liveness(report).map(|(word, how)| json!({ "verdict": word, "how": how })),
        "bounded": report.bounded,
        "blocked": report.blocked,
        "checked": report.checked,
        "unmet": unmet,
    })
}
