//! Checks: cases, how one is run, and the driver of all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use warpferry::kernel::KernelImage;

use crate::backend::{amount, backends, Backend};
use crate::cases::{Case, Mismatch};
use crate::rig::Rig;
use crate::said;
use crate::skip::skipped as say_skipped;

/// Random schedules of the emulator for each case.
const SCHEDULES: u64 = 2;

/// A kernel or a phrase of kernels, and its reference.
pub struct Check {
    pub name: &'static str,
    /// Cases, more with a larger factor.
    pub cases: fn(u64) -> Vec<Case>,
    pub run: Runs,
}

/// How one case is run and compared.
pub enum Runs {
    /// Launches of its own on one GPU.
    Kernels(fn(&Case, &Rig) -> Result<(), Mismatch>),
    /// A world of ranks.
    World(fn(&Case, Backend, Option<&'static KernelImage>) -> Result<(), Mismatch>),
}

impl Check {
    /// Runs one case on one backend, with `mutant` in the place of the kernel of its name.
    pub fn run(&self, case: &Case, on: Backend, mutant: Option<&'static KernelImage>) -> Result<(), Mismatch> {
        // Kernels that wait for each other must all find SMs: a GPU has one case at a time.
        static TURN: Mutex<()> = Mutex::new(());
        let is_gpu = matches!(on, Backend::Cuda { .. });
        let _turn = is_gpu.then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
        match self.run {
            Runs::World(run) => run(case, on, mutant),
            Runs::Kernels(run) => {
                let rig = Rig::new(on.driver(case.number("seed")?)?, mutant)?;
                run(case, &rig)?;
                rig.untouched()
            }
        }
    }
}

/// Runs every case of a check on every backend.
#[track_caller]
pub fn run_all(check: &Check) {
    let (more, step) = amount();
    let chosen = backends(SCHEDULES * more);
    let cases: Vec<Case> = (check.cases)(more).into_iter().step_by(step).collect();
    let mut runs = 0;
    for case in &cases {
        for &on in &chosen.all {
            if let Err(mismatch) = check.run(case, on, None) {
                panic!("{}", failure(case, on, &mismatch));
            }
            runs += 1;
        }
    }
    report(check.name, cases.len(), runs, chosen.skipped.as_deref());
}

/// What a test that went well says, and whether a GPU was missing.
pub fn report(name: &str, cases: usize, runs: usize, skipped: Option<&str>) {
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    if let Some(reason) = skipped {
        say_skipped(&format!("checkptx {name} on cuda"), reason);
    }
    let passed = PASSED.fetch_add(runs, Ordering::Relaxed) + runs;
    let left_out = if skipped.is_some() { cases } else { 0 };
    let left_out = SKIPPED.fetch_add(left_out, Ordering::Relaxed) + left_out;
    println!("{name}: {cases} cases, {runs} runs; so far {passed} runs passed, {left_out} skipped");
}

/// A mismatch with the line that replays it.
pub fn failure(case: &Case, on: Backend, mismatch: &Mismatch) -> String {
    let case = format_args!("{case} {on}");
    format!("{mismatch}\n  {}", said::line("WARPFERRY_CHECK", case, "checkptx", "replay::replay"))
}

/// Seeds 1, 2, ..: `count` times the factor.
pub fn seeds(count: u64, more: u64) -> std::ops::RangeInclusive<u64> {
    1..=count * more
}
