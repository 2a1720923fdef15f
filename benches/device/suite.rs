//! The device benches without their program, so that a test can run them too.

mod backend;
mod beside;
mod copies;
mod costs;
#[cfg(feature = "cuda")]
mod cublas;
mod gemm;
mod lab;
mod latency;
mod operations;
mod options;
mod pattern;
mod ranks;
mod record;

pub use options::{Group, Options};
pub use record::{Failure, Report};

use std::time::Instant;

use warpferry::machine::Machine;

use backend::Backend;
use lab::Lab;

/// What groups share: the lab on the device, the report, and how much to do.
pub struct Suite {
    backend: Backend,
    lab: Lab,
    report: Report,
    scale: Scale,
    began: Instant,
    seconds: u64,
    limits: copies::Limits,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Everything in small: on the emulator without a machine's clock always.
    Tiny,
    /// The emulator with a machine's clock: settings that others published figures of, else as in small.
    Modelled,
    /// A GPU, few settings.
    Quick,
    /// A GPU, all settings.
    Full,
}

impl Scale {
    /// Whether the emulator runs it, which shows that everything runs.
    pub fn is_small(self) -> bool {
        matches!(self, Scale::Tiny | Scale::Modelled)
    }

    /// One of two: with a machine's clock, or anywhere else.
    pub fn modelled<T>(self, modelled: T, other: T) -> T {
        match self {
            Scale::Modelled => modelled,
            _ => other,
        }
    }

    /// One of three by scale.
    pub fn pick<T>(self, tiny: T, quick: T, full: T) -> T {
        match self {
            Scale::Tiny | Scale::Modelled => tiny,
            Scale::Quick => quick,
            Scale::Full => full,
        }
    }
}

fn open(options: &Options) -> Result<(Backend, Lab), Failure> {
    let backend = match &options.machine {
        None => Backend::open(options.backend)?,
        Some(name) => Backend::Emulator(Some(Box::new(Machine::find(name)?))),
    };
    let lab = backend.lab()?;
    Ok((backend, lab))
}

/// Runs the groups that `options` ask for. The file of `--json` is written whatever happens; it says why under `failure`.
///
/// # Errors
/// [`Failure`] when a device call fails or a probe gave wrong data.
pub fn run(options: &Options) -> Result<Report, Failure> {
    let (backend, lab) = match open(options) {
        Ok(opened) => opened,
        Err(failure) => {
            Report::without_device(options, options.backend.name(), &failure).save(options.json.as_deref())?;
            return Err(failure);
        }
    };
    run_on(options, backend, lab)
}

/// Runs groups on the emulator with the clock of `machine`, whatever the options say of backends.
///
/// # Errors
/// As [`run`].
#[allow(dead_code)] // for the calibration, which includes this module
pub fn run_machine(options: &Options, machine: Machine) -> Result<Report, Failure> {
    let backend = Backend::Emulator(Some(Box::new(machine)));
    let lab = backend.lab()?;
    run_on(options, backend, lab)
}

fn run_on(options: &Options, backend: Backend, lab: Lab) -> Result<Report, Failure> {
    let scale = match (backend.machine().is_some(), options.tiny || backend.is_emulator(), options.quick) {
        (true, ..) => Scale::Modelled,
        (false, true, _) => Scale::Tiny,
        (false, false, true) => Scale::Quick,
        (false, false, false) => Scale::Full,
    };
    let report = Report::new(options, &backend, lab.driver().info());
    let limits = copies::Limits::default();
    let mut suite = Suite { backend, lab, report, scale, began: Instant::now(), seconds: options.seconds, limits };
    for group in Group::ALL {
        if options.only.is_some_and(|only| only != group) {
            continue;
        }
        if suite.lacks_time(group.name()) {
            continue;
        }
        let before = suite.began.elapsed();
        let outcome = suite.group(group).map_err(|failure| failure.in_group(group.name()));
        suite.report.took(group.name(), suite.began.elapsed() - before);
        if let Err(failure) = &outcome {
            suite.report.fail(failure);
        }
        // After each group, so that a run that is ended from outside leaves what it has.
        suite.report.save(options.json.as_deref())?;
        outcome?;
    }
    Ok(suite.report)
}

impl Suite {
    fn group(&mut self, group: Group) -> Result<(), Failure> {
        match group {
            Group::Launch => costs::launch(self),
            Group::Read => copies::read(self),
            Group::Write => copies::write(self),
            Group::Copy => copies::copy(self),
            Group::Fence => costs::fence(self),
            Group::Load => costs::load(self),
            Group::Sleep => costs::sleep(self),
            Group::Post => costs::post(self),
            Group::Gemm => gemm::group(self),
            Group::Operations => operations::group(self),
            Group::Latency => latency::group(self),
            Group::Beside => beside::group(self),
        }
    }

    /// Whether no time is left for another setting of `what`; notes that it was left out.
    fn lacks_time(&mut self, what: &str) -> bool {
        let spent = self.spent();
        if spent {
            self.report.skip(what, &format!("the budget of {} seconds is spent", self.seconds));
        }
        spent
    }

    /// Whether no time is left.
    fn spent(&self) -> bool {
        // The emulator's runs are small; its time depends on this computer alone.
        !self.backend.is_emulator() && self.began.elapsed().as_secs() >= self.seconds
    }
}
