//! Schedules as words, so that a run can be asked for again: `random:7`, `pct:7:2:12`, `explore:0,1,0`, `plain`.

use warpferry_emu::Schedule;

/// What [`parse`] takes.
const VALID: &str = "plain, random:SEED, pct:SEED:DEPTH:STEPS, explore:CHOICE,CHOICE,..., replay:CHOICE,CHOICE,...";

/// A schedule as one word.
pub fn text(schedule: &Schedule) -> String {
    let list = |choices: &[u32]| choices.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    match schedule {
        Schedule::RoundRobin => "plain".to_string(),
        Schedule::Random { seed } => format!("random:{seed}"),
        Schedule::Pct { seed, depth, steps } => format!("pct:{seed}:{depth}:{steps}"),
        Schedule::Explore { choices } => format!("explore:{}", list(choices)),
        Schedule::Replay(choices) => format!("replay:{}", list(choices)),
    }
}

/// The schedule of a word.
///
/// # Errors
/// Says what is valid.
pub fn parse(word: &str) -> Result<Schedule, String> {
    let wrong = || format!("`{word}` is no schedule; valid are {VALID}");
    let (kind, rest) = word.split_once(':').unwrap_or((word, ""));
    let list = || -> Option<Vec<u32>> {
        rest.split(',').filter(|choice| !choice.is_empty()).map(|choice| choice.parse().ok()).collect()
    };
    let schedule = match kind {
        "plain" if rest.is_empty() => Some(Schedule::RoundRobin),
        "random" => rest.parse().ok().map(|seed| Schedule::Random { seed }),
        "pct" => pct(rest),
        "explore" => list().map(|choices| Schedule::Explore { choices }),
        "replay" => list().map(Schedule::Replay),
        _ => None,
    };
    schedule.ok_or_else(wrong)
}

fn pct(rest: &str) -> Option<Schedule> {
    let mut numbers = rest.split(':');
    let seed = numbers.next()?.parse().ok()?;
    let depth = numbers.next()?.parse().ok().filter(|&depth| depth >= 1)?;
    let steps = numbers.next()?.parse().ok()?;
    numbers.next().is_none().then_some(Schedule::Pct { seed, depth, steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_they_are_written() {
        let schedules = [
            Schedule::RoundRobin,
            Schedule::Random { seed: u64::MAX },
            Schedule::Pct { seed: 7, depth: 2, steps: 12 },
            Schedule::Explore { choices: vec![0, 1, 4] },
            Schedule::Explore { choices: Vec::new() },
            Schedule::Replay(vec![3]),
        ];
        for schedule in schedules {
            assert_eq!(parse(&text(&schedule)), Ok(schedule));
        }
    }

    #[test]
    fn other_words_are_refused() {
        for word in ["", "plain:1", "random", "random:x", "pct:1:0:3", "pct:1:2", "pct:1:2:3:4", "explore:1,x", "lazy"]
        {
            assert!(parse(word).is_err_and(|error| error.contains("valid are")), "{word}");
        }
    }
}
