//! Soak: cases of every kind, one after the other, until time is up.
//!
//! Method: case number n comes from the seed and n alone, so a run can be repeated whatever the number of jobs. Each case
//! is one world under one schedule; it is played, compared with the reference, and judged by its trouble if it has one.
//! A case that fails is made smaller and printed with its replay line; the soak goes on, and fails at its end.
//!
//! `WARPFERRY_SOAK_SECONDS` or `WARPFERRY_SOAK_SCHEDULES` say how long: the latter counts sound cases with the race check
//! on. With neither a small part of it runs. `WARPFERRY_SOAK_SEED` chooses other cases, `WARPFERRY_SOAK_JOBS` is how many
//! are played at once, `WARPFERRY_SOAK_OUT` a folder for summary and findings. `scripts/soak.sh` sets them.
//!
//! It cannot show what no case contains: its bounds are those of the generators, and a schedule that is drawn at random
//! seldom holds back one agent for long.

mod chosen;
mod tally;

use std::cell::Cell;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proptest::strategy::{BoxedStrategy, Strategy as _};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use warpferry::kernel::launch::KernelSet;

use crate::case::Case;
use crate::play::{attempt_with, Cost, Failure};
use crate::random::number;
use crate::trouble::{suffer, Suffered};
pub use chosen::with_nic_trouble;
use tally::Tally;

/// Cases when nobody says how long.
const CASES: u64 = 60;
/// Findings after which a soak ends early: more of them say no more.
const FINDINGS_MAX: usize = 8;
/// Most attempts to make a failing case smaller, and the longest that they may take.
const SHRINKS_MAX: u32 = 200;
const SHRINK_TIME_MS_MAX: u32 = 60_000;
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
    out: Option<PathBuf>,
    next: AtomicU64,
    found: Mutex<Found>,
}

struct Found {
    tally: Tally,
    findings: Vec<String>,
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
    let began = Instant::now();
    let found = Found { tally: Tally::default(), findings: Vec::new(), told: began };
    let soak = Soak { seed, until, began, cases, out, next: AtomicU64::new(0), found: Mutex::new(found) };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let job = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || soak.work());
            job.unwrap_or_else(|error| panic!("a thread for a job: {error}"));
        }
    });
    soak.end();
}

/// Plays `case`; its cost, and how it suffered from its trouble.
fn play_counted(case: &Case) -> Result<(Cost, Option<Suffered>), String> {
    let config = case.config().map_err(|error| format!("the case is not valid: {error}"))?;
    let kernels = KernelSet::embedded(config.fabric).map_err(|error| format!("kernels: {error}"))?;
    let Some(trouble) = case.trouble else { return attempt_with(case, kernels).map(|cost| (cost, None)) };
    let suffered = suffer(case, trouble, kernels)?;
    Ok((suffered.cost, Some(suffered)))
}

impl Soak {
    /// Plays cases until the soak is over.
    fn work(&self) {
        let cases = (self.cases)();
        while !self.over() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if matches!(self.until, Until::Cases(cases) if number >= cases) {
                return;
            }
            if let Err(finding) = self.one(&cases, number) {
                self.keep(number, &finding);
            }
            self.tell();
        }
    }

    fn over(&self) -> bool {
        let late = matches!(self.until, Until::Time(time) if self.began.elapsed() >= time);
        late || self.lock().findings.len() >= FINDINGS_MAX
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays case `number`, and smaller ones when it fails.
    fn one(&self, cases: &BoxedStrategy<Case>, number: u64) -> Result<(), String> {
        let config = Config {
            max_shrink_iters: SHRINKS_MAX,
            max_shrink_time: SHRINK_TIME_MS_MAX,
            failure_persistence: None,
            ..Config::default()
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let case = cases.new_tree(&mut runner).map_err(|why| format!("no case: {why}"))?;
        let first = Cell::new(true);
        let outcome = runner.run_one(case, |case| {
            let is_first = first.replace(false);
            let (cost, suffered) = play_counted(&case).map_err(TestCaseError::fail)?;
            if is_first {
                self.lock().tally.count(&case, cost, suffered.as_ref());
            }
            Ok(())
        });
        match outcome {
            Ok(_) => Ok(()),
            Err(TestError::Fail(why, case)) => Err(Failure::new(&case, &why.to_string()).to_string()),
            Err(TestError::Abort(why)) => Err(format!("given up: {why}")),
        }
    }

    /// Writes down what was found.
    fn keep(&self, number: u64, finding: &str) {
        let finding = format!("FOUND by case {number} of seed {}: {finding}", self.seed);
        println!("{finding}");
        self.append("findings.txt", &finding);
        self.lock().findings.push(finding);
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
            "soak: {seconds:.0} s, {} cases, {} calls, {} with the race check, {} with trouble, {} found",
            found.tally.runs(),
            found.tally.calls(),
            found.tally.of("race check", "yes"),
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
        summary["findings"] = found.findings.clone().into();
        self.write("summary.json", &format!("{summary:#}\n"));
        self.write("summary.md", &found.tally.to_string());
        assert!(found.findings.is_empty(), "{} findings:\n{}", found.findings.len(), found.findings.join("\n"));
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
