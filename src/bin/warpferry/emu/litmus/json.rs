//! A test as one JSON object.

use serde_json::{json, Value};
use warpferry_litmus::Verdict;
use warpferry_litmus_play::{schedule_text, Judged, Standing};

use super::seen::Ask;
use super::{liveness, verdict, Case};

/// One object.
pub fn text(case: &Case) -> Value {
    let Case { name, test, report, unmet, .. } = case;
    let (word, meaning) = verdict(test, report);
    let (positive, negative) = report.counts();
    let values = |values: &[i64]| -> Value {
        let values = report.variables.iter().cloned().zip(values.iter().map(|&value| json!(value)));
        values.collect::<serde_json::Map<_, _>>().into()
    };
    let seen = case.seen.as_ref().and_then(|seen| seen.as_ref().ok());
    let times = |of: &[i64]| {
        let outcome = seen.map(|seen| seen.outcomes.iter().find(|outcome| outcome.values == of));
        outcome.map(|outcome| outcome.map_or(0, Judged::times))
    };
    let state = |state: &warpferry_litmus::FinalState| json!({ "values": values(&state.values), "matches": state.matches, "seen": times(&state.values) });
    let beyond = |outcome: &Judged| {
        json!({
            "values": values(&outcome.values),
            "matches": outcome.matches,
            "standing": outcome.standing.word(),
            "seen": outcome.times(),
            "replay": outcome.shown.as_ref().map(|shown| schedule_text(&shown.first)),
        })
    };
    let others = seen.map(|seen| {
        let is_other = |it: &&Judged| !matches!(it.standing, Standing::Allowed | Standing::AllowedOutOfOrder);
        seen.outcomes.iter().filter(is_other).map(beyond).collect::<Vec<_>>()
    });
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
        "others": others,
        "emulator": emulator(case),
        "race": race,
        "liveness": liveness(report).map(|(word, how)| json!({ "verdict": word, "how": how })),
        "bounded": report.bounded,
        "rounds": report.rounds,
        "settled": report.settled,
        "blocked": report.blocked,
        "checked": report.checked,
        "unmet": unmet,
    })
}

/// How the emulator was asked, and what no outcome says; null where it was not.
fn emulator(case: &Case) -> Value {
    let seed = match &case.ask {
        Ask::Runs(plan) => Some(plan.seed),
        _ => None,
    };
    match &case.seen {
        None => Value::Null,
        Some(Err(why)) => json!({ "runs": 0, "not_run": why.to_string() }),
        Some(Ok(seen)) => json!({
            "runs": seen.tally.runs,
            "seed": seed,
            "not_run": null,
            "stuck": seen.tally.stuck,
            "broken": seen.tally.broken,
            "exhaustive": seen.tally.is_exhaustive,
            "forbidden_seen": seen.is_wrong(),
        }),
    }
}
