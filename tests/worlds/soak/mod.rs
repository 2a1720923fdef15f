//! Soak: cases of every kind, one after the other, until time is up.
//!
//! Method: case number n comes from the seed and n alone, so a run can be repeated whatever the number of jobs. Each case
//! is one world under one schedule; it is played, compared with the reference, and judged by its trouble if it has one.
//! A case that fails is made smaller and printed with its replay line; the soak goes on, and fails at its end.
//!
//! `WARPFERRY_SOAK_SECONDS` or `WARPFERRY_SOAK_SCHEDULES` say how long: the latter counts sound cases with the race check
//! on. With neither a small part of it runs. `WARPFERRY_SOAK_SEED` chooses other cases, `WARPFERRY_SOAK_JOBS` is how many
//! are played at once, `WARPFERRY_SOAK_OUT` a folder for summary and findings. `scripts/soak.sh` sets them. With
//! `WARPFERRY_MUTANT` the kernels have that mutant, and the soak ends when it is found; `sought` does so for a few.
//!
//! It cannot show what no case contains: its bounds are those of the generators, and a schedule that is drawn at random
//! seldom holds back one agent for long.

mod chosen;
mod seek;
mod smaller;
mod sought;
mod tally;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::case::{Added, Carried, Case};
use crate::mutation::named::{self, Named};
use crate::play::{attempt_within, kernels_with, Bounds, Cost};
use crate::random::number;
use crate::trouble::{suffer_within, Suffered};
pub use chosen::with_nic_trouble;
use proptest::strategy::{BoxedStrategy, Strategy};
use seek::{seek, Finding};
use smaller::Effort;
use tally::Tally;

/// Cases when nobody says how long.
const CASES: u64 = 60;
/// Findings after which a soak ends early: more of them say no more.
const FINDINGS_MAX: usize = 8;
/// How far a failing case is made smaller.
const EFFORT: Effort = Effort { tries: 200, time: Some(Duration::from_secs(60)) };
/// Stack of a job: strategies nest deeply, and debug builds use much for each.
const STACK_BYTES: usize = 64 << 20;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(20);

/// When a soak ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    Time(Duration),
    Cases(u64),
}

struct Soak {
    seed: u64,
    until: Until,
    began: Instant,
    cases: fn() -> BoxedStrategy<Case>,
    /// What the kernels have wrong, if that is what is looked for.
    mutant: Option<Named>,
    effort: Effort,
    out: Option<PathBuf>,
    next: AtomicU64,
    found: Mutex<Found>,
}

struct Found {
    tally: Tally,
    findings: Vec<Finding>,
    told: Instant,
}

#[test]
fn soak() {
    let seed = number("WARPFERRY_SOAK_SEED", 1);
    let jobs = number("WARPFERRY_SOAK_JOBS", 1).max(1);
    let (seconds, schedules) = (number("WARPFERRY_SOAK_SECONDS", 0), number("WARPFERRY_SOAK_SCHEDULES", 0));
    let (until, cases): (Until, fn() -> BoxedStrategy<Case>) = match (seconds, schedules) {
        (0, 0) => (Until::Cases(CASES), chosen::whatever),
        (0, schedules) => (Until::Cases(schedules), chosen::raced),
        (seconds, 0) => (Until::Time(Duration::from_secs(seconds)), chosen::whatever),
        _ => {
            panic!("WARPFERRY_SOAK_SECONDS={seconds} and WARPFERRY_SOAK_SCHEDULES={schedules}: only one can end a soak")
        }
    };
    let out = std::env::var_os("WARPFERRY_SOAK_OUT").map(PathBuf::from);
    if let Some(out) = &out {
        std::fs::create_dir_all(out).unwrap_or_else(|error| panic!("WARPFERRY_SOAK_OUT={}: {error}", out.display()));
    }
    println!("WARPFERRY_SOAK_SEED={seed} WARPFERRY_SOAK_JOBS={jobs} {until:?}");
    let mutant = Named::from_env();
    if let Some(mutant) = &mutant {
        println!("soak: the kernels have a mutant: {}", mutant.what);
    }
    let soak = Soak { out, mutant, ..Soak::new(seed, until, cases) };
    soak.run(jobs);
    soak.end();
}

/// Plays `case`, with a mutant if it is of its fabric; its cost, and how it suffered from its trouble.
fn play_counted(case: &Case, mutant: Option<&Named>) -> Result<(Cost, Option<Suffered>), String> {
    let config = case.config().map_err(|error| format!("the case is not valid: {error}"))?;
    let image = mutant.map(|mutant| mutant.image);
    let bounds = match mutant {
        Some(_) => Bounds { warp_instructions: named::WARP_INSTRUCTIONS_MAX, ..Bounds::default() },
        None => Bounds::default(),
    };
    let Some(trouble) = case.trouble else {
        return attempt_within(case, image, &bounds).map(|played| (played.cost, None));
    };
    let kernels = kernels_with(&config, image).map_err(|error| format!("kernels: {error}"))?;
    let suffered = suffer_within(case, trouble, kernels, &bounds)?;
    Ok((suffered.cost, Some(suffered)))
}

/// What goes wrong with `case` and its mutant, if anything.
pub fn play_with_mutant(case: &Case, mutant: Option<&Named>) -> Result<Cost, String> {
    play_counted(case, mutant).map(|(cost, _)| cost)
}

impl Soak {
    /// With the shipped kernels.
    fn new(seed: u64, until: Until, cases: fn() -> BoxedStrategy<Case>) -> Soak {
        let began = Instant::now();
        let found = Found { tally: Tally::default(), findings: Vec::new(), told: began };
        let (next, found) = (AtomicU64::new(0), Mutex::new(found));
        Soak { seed, until, began, cases, mutant: None, effort: EFFORT, out: None, next, found }
    }

    /// Plays cases, so many at once, until the soak is over.
    fn run(&self, jobs: u64) {
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let job = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || self.work());
                job.unwrap_or_else(|error| panic!("a thread for a job: {error}"));
            }
        });
    }

    /// Plays cases until the soak is over.
    fn work(&self) {
        let cases = match self.mutant {
            None => (self.cases)(),
            // Mutants are of the kernels for bf16.
            Some(_) => {
                (self.cases)().prop_map(|case| Case { payload: Carried::Bf16, sum: Added::Bf16, ..case }).boxed()
            }
        };
        while !self.over() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if matches!(self.until, Until::Cases(cases) if number >= cases) {
                return;
            }
            if let Err(finding) = self.one(&cases, number) {
                self.keep(finding);
            }
            self.tell();
        }
    }

    fn over(&self) -> bool {
        let late = matches!(self.until, Until::Time(time) if self.began.elapsed() >= time);
        // What a mutant does is found once.
        let enough = if self.mutant.is_some() { 1 } else { FINDINGS_MAX };
        late || self.lock().findings.len() >= enough
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays case `number`, and smaller ones when it fails.
    fn one(&self, cases: &BoxedStrategy<Case>, number: u64) -> Result<(), Box<Finding>> {
        let mutant = self.mutant.as_ref();
        let outcome = seek(cases, (self.seed, number), self.effort, |case, is_first| {
            let outcome = play_counted(case, mutant);
            if is_first {
                // What goes wrong counts as played, though nothing is known of its cost.
                let (cost, suffered) =
                    outcome.as_ref().map_or((Cost::default(), None), |(cost, s)| (*cost, s.as_ref()));
                self.lock().tally.count(case, cost, suffered);
            }
            outcome.map(|_| ())
        });
        outcome.map_err(|mut finding| {
            finding.mutant = mutant.map(|mutant| mutant.name.clone());
            finding
        })
    }

    /// Writes down what was found.
    fn keep(&self, finding: Box<Finding>) {
        println!("{finding}");
        self.append("findings.txt", &finding.to_string());
        self.lock().findings.push(*finding);
    }

    fn tell(&self) {
        let mut found = self.lock();
        if found.told.elapsed() >= PROGRESS {
            found.told = Instant::now();
            println!("{}", self.progress(&found));
        }
    }

    fn progress(&self, found: &Found) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        format!(
            "soak: {seconds:.0} s, {} cases, {} calls, {} with the race check, {} in weak memory, {} by PCT, \
             {} with trouble, {} found",
            found.tally.runs(),
            found.tally.calls(),
            found.tally.of("race check", "yes"),
            found.tally.of("weak memory", "yes"),
            found.tally.of("PCT", "yes"),
            found.tally.runs() - found.tally.of("trouble", "none"),
            found.findings.len()
        )
    }

    /// Summary, and failure when anything was found.
    fn end(self) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = self.began.elapsed().as_secs_f64();
        println!("{}\n\n{}", self.progress(&found), found.tally);
        let mut summary = found.tally.json();
        summary["seed"] = self.seed.into();
        summary["seconds"] = seconds.into();
        let findings: Vec<String> = found.findings.iter().map(Finding::to_string).collect();
        summary["mutant"] = self.mutant.as_ref().map(|mutant| mutant.name.clone()).into();
        summary["findings"] = findings.clone().into();
        self.write("summary.json", &format!("{summary:#}\n"));
        self.write("summary.md", &found.tally.to_string());
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
        assert!(found.tally.runs() > 0, "no case was played in {seconds} s");
    }

    fn write(&self, name: &str, text: &str) {
        if let Some(out) = &self.out {
            let path = out.join(name);
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    fn append(&self, name: &str, line: &str) {
        let Some(out) = &self.out else { return };
        let path = out.join(name);
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let written = opened.and_then(|mut file| writeln!(file, "{line}"));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
