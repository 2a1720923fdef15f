//! Whether two results differ by more than their noise.
//!
//! Of each pair of records the ratio of medians is taken, new over old, and an interval of it by bootstrap: repeats of both
//! sides are drawn anew with replacement, the ratio of the drawn medians is noted, and the middle 95 % of these ratios are the
//! interval. The draws are seeded, so a comparison gives the same every time. An operation is *faster* or *slower* when its
//! interval lies wholly below or above 1.
//!
//! Repeats of one process share its luck (clocks, placement), which the interval does not show: compare runs of several
//! processes before a small difference is believed. The emulator's times are the same in every run and have no noise.

use std::fmt;

use super::figures::median;
use super::key::{differing, Fields, SettingKey, WorkloadKey};
use super::record::Record;
use crate::error::{Error, Result};
use crate::random::Random;

/// Draws of the bootstrap.
const DRAWS: usize = 2000;
/// Share of the drawn ratios that is left out at either end.
const TAIL: f64 = 0.025;
/// Fewest repeats from which noise can be told.
pub const REPEATS_LEAST: usize = 5;
/// Backend whose times have no noise.
const EXACT_BACKEND: &str = "emu";
/// Seed of the draws.
const SEED: u64 = 0x7f3a_91c4;

/// What a comparison says of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Takes less time than before.
    Faster,
    /// Takes more time than before.
    Slower,
    /// No difference beyond the noise.
    Same,
    /// There are fewer than [`REPEATS_LEAST`] repeats, of times that have noise.
    TooFew,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Same => "same within noise",
            Verdict::TooFew => "too few repeats to tell",
        })
    }
}

/// New over old of one operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Median before, in microseconds.
    pub old_us: f64,
    /// Median now, in microseconds.
    pub new_us: f64,
    /// New over old.
    pub ratio: f64,
    /// The middle 95 % of the bootstrap.
    pub interval: (f64, f64),
    /// What follows.
    pub verdict: Verdict,
}

/// Two records of one workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// What both moved.
    pub workload: WorkloadKey,
    /// The setting now.
    pub setting: SettingKey,
    /// Settings and devices that differ, in words; empty where none do.
    pub differences: Vec<String>,
    /// Dispatch.
    pub dispatch: Ratio,
    /// Combine.
    pub combine: Ratio,
}

/// Compares `new` with `old`. Records belong together when workload and setting are equal; a record that is the only one of its
/// workload on both sides is compared whatever its setting is.
///
/// # Errors
/// [`Error::Argument`] naming a workload that only one side has, a setting that has no counterpart or is there twice, or a record
/// without times.
pub fn compare(old: &[Record], new: &[Record]) -> Result<Vec<Pair>> {
    check("old", old)?;
    check("new", new)?;
    // Both ways: what only one side has must not go unsaid.
    for record in old {
        counterpart(record, old, new)?;
    }
    new.iter().map(|record| Ok(pair(counterpart(record, new, old)?, record))).collect()
}

/// Refuses records that cannot be told apart, and those without times.
fn check(side: &str, records: &[Record]) -> Result<()> {
    if records.is_empty() {
        return Err(Error::argument(side, "no records", "one at least"));
    }
    for (at, record) in records.iter().enumerate() {
        let is_same = |other: &Record| (&other.workload, &other.setting) == (&record.workload, &record.setting);
        if records[..at].iter().any(is_same) {
            return Err(Error::argument(side, named(record), "each workload and setting once"));
        }
        let times = [&record.samples.dispatch_us, &record.samples.combine_us];
        if times.iter().any(|times| times.is_empty() || times.iter().any(|&time_us| time_us <= 0.0)) {
            return Err(Error::argument(side, named(record), "records with times above zero"));
        }
    }
    Ok(())
}

/// The record among `others` that belongs to one of `own`.
fn counterpart<'a>(record: &Record, own: &[Record], others: &'a [Record]) -> Result<&'a Record> {
    let is_of_workload = |other: &&Record| other.workload == record.workload;
    let candidates: Vec<&Record> = others.iter().filter(is_of_workload).collect();
    if let Some(same) = candidates.iter().find(|other| other.setting == record.setting) {
        return Ok(same);
    }
    match (candidates[..].split_first(), own.iter().filter(is_of_workload).count()) {
        (None, _) => Err(no_workload(record, others)),
        (Some((only, [])), 1) => Ok(only),
        _ => {
            let valid = "a setting that both results have, or one record of the workload in each";
            Err(Error::argument("setting", named(record), valid))
        }
    }
}

fn no_workload(record: &Record, others: &[Record]) -> Error {
    let against = others.iter().map(|other| differences(other.workload.fields(), record.workload.fields()));
    let nearest = against.min_by_key(Vec::len).unwrap_or_default();
    Error::argument(
        "workload",
        named(record),
        format!("a workload that both results have; the nearest one differs: {}", nearest.join(", ")),
    )
}

fn named(record: &Record) -> String {
    let words = |fields: Fields| {
        fields.into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    format!("{}; {}", words(record.workload.fields()), words(record.setting.fields()))
}

fn pair(old: &Record, new: &Record) -> Pair {
    let settings = differences(old.setting.fields(), new.setting.fields());
    let is_exact = [old, new].iter().all(|record| record.place.backend == EXACT_BACKEND);
    Pair {
        workload: new.workload.clone(),
        setting: new.setting.clone(),
        differences: [settings, differences(places(old), places(new))].concat(),
        dispatch: ratio(&old.samples.dispatch_us, &new.samples.dispatch_us, is_exact),
        combine: ratio(&old.samples.combine_us, &new.samples.combine_us, is_exact),
    }
}

fn places(record: &Record) -> Fields {
    let place = &record.place;
    vec![
        ("backend", place.backend.clone()),
        ("device", place.device.clone()),
        ("times", place.times.clone()),
        ("version", place.version.clone()),
    ]
}

/// Fields that differ, as `name old -> new`.
fn differences(old: Fields, new: Fields) -> Vec<String> {
    differing(old, new).map(|(name, old, new)| format!("{name} {old} -> {new}")).collect()
}

/// Ratio of medians; `is_exact`: the times have no noise.
pub fn ratio(old: &[f64], new: &[f64], is_exact: bool) -> Ratio {
    let (old_us, new_us) = (median(old), median(new));
    let ratio = new_us / old_us;
    let interval = if is_exact { (ratio, ratio) } else { interval(old, new) };
    let verdict = match interval {
        _ if !is_exact && old.len().min(new.len()) < REPEATS_LEAST => Verdict::TooFew,
        (_, high) if high < 1.0 => Verdict::Faster,
        (low, _) if low > 1.0 => Verdict::Slower,
        _ => Verdict::Same,
    };
    Ratio { old_us, new_us, ratio, interval, verdict }
}

/// The middle of the ratios that drawing repeats anew gives.
fn interval(old: &[f64], new: &[f64]) -> (f64, f64) {
    let mut random = Random::new(SEED);
    let mut drawn = |samples: &[f64]| {
        let again: Vec<f64> = samples.iter().map(|_| samples[random.below(samples.len() as u64) as usize]).collect();
        median(&again)
    };
    let mut ratios: Vec<f64> = (0..DRAWS).map(|_| drawn(new) / drawn(old)).collect();
    ratios.sort_by(f64::total_cmp);
    let left_out = (DRAWS as f64 * TAIL) as usize;
    (ratios[left_out], ratios[DRAWS - 1 - left_out])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(middle: f64, spread: f64) -> Vec<f64> {
        (0..21).map(|at| middle + spread * (f64::from(at * 8 % 21) / 10.0 - 1.0)).collect()
    }

    #[test]
    fn verdicts_on_made_up_times() {
        for (old, new, verdict) in [
            (around(100.0, 1.0), around(120.0, 1.0), Verdict::Slower),
            (around(100.0, 1.0), around(80.0, 1.0), Verdict::Faster),
            (around(100.0, 10.0), around(101.0, 10.0), Verdict::Same),
            (around(100.0, 1.0), around(100.0, 1.0), Verdict::Same),
            (vec![100.0; 3], vec![200.0; 30], Verdict::TooFew),
        ] {
            let found = ratio(&old, &new, false);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.interval.0 <= found.ratio && found.ratio <= found.interval.1, "{found:?}");
        }
    }

    #[test]
    fn times_without_noise_need_one_repeat() {
        for (new, verdict) in [(100.0, Verdict::Same), (100.1, Verdict::Slower), (99.9, Verdict::Faster)] {
            assert_eq!(ratio(&[100.0], &[new], true).verdict, verdict, "{new}");
        }
    }

    #[test]
    fn a_comparison_gives_the_same_every_time() {
        let (old, new) = (around(100.0, 9.0), around(103.0, 9.0));
        assert_eq!(ratio(&old, &new, false), ratio(&old, &new, false));
    }

    fn record(tokens: u32, sms: u32, backend: &str, time_us: f64) -> Record {
        let mut record = super::super::record::example();
        (record.workload.class.tokens, record.setting.tuning.dispatch_sms) = (tokens, sms);
        record.place.backend = backend.to_string();
        record.samples.dispatch_us = vec![time_us; REPEATS_LEAST];
        record.samples.combine_us = vec![10.0; REPEATS_LEAST];
        record
    }

    #[test]
    fn records_are_found_by_workload_and_setting() {
        let old = [record(1, 4, "cuda", 10.0), record(1, 8, "cuda", 20.0), record(2, 8, "cuda", 30.0)];
        let new = [record(2, 16, "cuda", 15.0), record(1, 8, "cuda", 20.0), record(1, 4, "cuda", 11.0)];
        let pairs = compare(&old, &new).expect("all have a counterpart");
        let verdicts: Vec<Verdict> = pairs.iter().map(|pair| pair.dispatch.verdict).collect();
        assert_eq!(verdicts, [Verdict::Faster, Verdict::Same, Verdict::Slower]);
        assert_eq!(pairs[0].differences, ["dispatch_sms 8 -> 16"]);
        assert!(pairs[1].differences.is_empty());
    }

    #[test]
    fn what_only_one_side_has_is_named() {
        let one = [record(1, 4, "cuda", 10.0)];
        for (old, new, says) in [
            (&one[..], &[record(2, 4, "cuda", 10.0)][..], "tokens 2 -> 1"),
            (&one, &[record(1, 4, "cuda", 10.0), record(3, 4, "cuda", 10.0)], "tokens 1 -> 3"),
            (&one, &[], "no records"),
            (&one, &[record(1, 5, "cuda", 10.0), record(1, 6, "cuda", 10.0)], "a setting that both results have"),
            (&[one[0].clone(), one[0].clone()], &one, "each workload and setting once"),
            (&one, &[record(1, 4, "cuda", 0.0)], "times above zero"),
        ] {
            let said = compare(old, new).expect_err("refused").to_string();
            assert!(said.contains(says), "{said}");
        }
    }
}
