//! A test in lines for people.

use warpferry_litmus::{Liveness, Report, Verdict};
use warpferry_litmus_play::{Judged, Standing};

use super::{liveness, seen, verdict, Case, LitmusOptions};
use crate::output::say;

/// Outcomes that are listed without being asked for.
const LISTED: usize = 16;

fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if let Verdict::Undecided(why) = &report.verdict {
        notes.push(why.clone());
    }
    if let Some((word, how)) = liveness(report) {
        notes.push(if how.is_empty() { word.to_string() } else { format!("{word}: {how}") });
        if matches!(report.liveness, Some(Liveness::Terminates)) && report.race.is_some() {
            notes.push(
                "that holds where every load sees a write at last: of one that races it is not promised".to_string(),
            );
        }
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
        let settled = if report.settled { "; the last round showed no other state" } else { "" };
        notes.push(format!("loops that write are followed {} times{settled}", report.rounds));
    }
    if report.blocked {
        notes.push("a barrier may wait for ever".to_string());
    }
    notes
}

/// One line, then what else is known, then the outcomes.
pub fn print(case: &Case, width: usize, options: &LitmusOptions) {
    let Case { name, test, report, .. } = case;
    let (word, meaning) = verdict(test, report);
    let (positive, negative) = report.counts();
    let observation = report.observation.word();
    let condition = test.condition.text(test);
    say(format_args!("{name:width$}  {word:9} {meaning:12} {observation:9} {positive}/{negative}  {condition}"));
    if positive + negative == 0 && !matches!(report.verdict, Verdict::Undecided(_)) {
        say(format_args!("{:width$}  - no execution ends: the condition is asked of nothing", ""));
    }
    for note in &test.assumed {
        say(format_args!("{:width$}  - {note}", ""));
    }
    for note in notes(report) {
        say(format_args!("{:width$}  - {note}", ""));
    }
    for what in &case.unmet {
        say(format_args!("{:width$}  - NOT AS EXPECTED: {what}", ""));
    }
    match &case.seen {
        Some(Ok(seen)) => {
            for note in seen.notes(&case.ask, name) {
                say(format_args!("{:width$}  - {note}", ""));
            }
        }
        Some(Err(why)) => say(format_args!("{:width$}  - not run: {why}", "")),
        None => {}
    }
    let lines = outcomes(case, options.states);
    let listed = if options.states { lines.len() } else { LISTED };
    for line in lines.iter().take(listed) {
        say(format_args!("{:width$}  {line}", ""));
    }
    if lines.len() > listed {
        say(format_args!("{:width$}  {} more outcomes: see --states", "", lines.len() - listed));
    }
}

/// One line for each outcome: `*` satisfies the expression, `:` does not, `!` is forbidden.
fn outcomes(case: &Case, states: bool) -> Vec<String> {
    let text = |sign: char, values: &[i64]| {
        let values = case.report.variables.iter().zip(values);
        let values: Vec<String> = values.map(|(variable, value)| format!("{variable}={value};")).collect();
        format!("{sign}> {}", values.join(" "))
    };
    let sign = |matches: bool| if matches { '*' } else { ':' };
    match &case.seen {
        Some(Ok(seen)) => {
            let line = |outcome: &Judged| {
                let sign = if outcome.standing == Standing::Forbidden { '!' } else { sign(outcome.matches) };
                format!("{}  {}", text(sign, &outcome.values), seen::words(outcome))
            };
            // What is wrong first, what is as expected last.
            let rank = |outcome: &Judged| match (outcome.is_wrong(), outcome.standing) {
                (true, _) => 0,
                (false, Standing::Forbidden) => 2,
                _ => 1,
            };
            let mut sorted: Vec<&Judged> = seen.outcomes.iter().collect();
            sorted.sort_by_key(|outcome| rank(outcome));
            sorted.into_iter().map(line).collect()
        }
        _ if states => case.report.states.iter().map(|state| text(sign(state.matches), &state.values)).collect(),
        _ => Vec::new(),
    }
}
