//! Times of operations on a machine whose parts have times ([`Machine`]), without that machine.
//!
//! The kernels run on the emulator with a clock. Worlds that are too large for that run in part:
//!
//! 1. *Representative part.* Channels are independent lanes that share nothing but the hardware. So a world with 1/f of the
//!    channels, the SMs and the tokens, on GPUs with 1/f of what SMs share (NVLink, NIC, L2, device memory), goes through a
//!    dispatch or combine kernel as the whole does: each channel has the same flows, each SM the same work, latencies stay.
//!    The part is one SM or a few, each with as many channels as the SM of the whole that has most: it ends last.
//! 2. *Approach.* A link that few channels share is idle when all of them wait, so a small part is too slow. Two parts run, one
//!    with twice the SMs, and what lies between them tells what more SMs would bring.
//! 3. *Steady state.* If that is still too much, a part runs with two smaller numbers of tokens, and the difference is what
//!    the rest takes.
//! 4. *Setup.* Layout and exchange depend on all channels and tokens: they run in a world of their own, with all channels, short
//!    rows and few tokens; the layout kernel's time is a straight line over tokens.
//!
//! Worlds of more than [`Model::RANKS_RUN`] ranks do not run at all: [`analytic`] estimates them in closed form.
//!
//! How faithful that is, `tests/model.rs` holds to bounds on worlds that run whole, and `docs/perf/calibration.md` tells.

pub mod analytic;
mod beside;
mod check;
mod estimate;
mod measure;
mod part;
mod setup;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::bench::{Figures, Moved, Place, Record, Samples, SettingKey, Workload, WorkloadKey};
use crate::error::Result;
use crate::machine::Machine;
use crate::plan::Plan;
use analytic::Estimate;
pub use estimate::EstimateMeasure;
pub use measure::ModelMeasure;
use part::Part;
use setup::Setup;

/// Warp instructions of a token that is dispatched and combined, of rows of 14 KiB, about.
const INSTRUCTIONS_OF_TOKEN: f64 = 30_000.0;
/// Bytes of these rows.
const ROW_BYTES: f64 = 14_336.0;

/// Which operations are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Dispatch.
    pub dispatch: bool,
    /// Dispatch along a handle.
    pub cached: bool,
    /// Combine.
    pub combine: bool,
}

impl Wanted {
    /// Dispatch and combine.
    pub const BOTH: Wanted = Wanted { dispatch: true, cached: false, combine: true };
}

/// Models operations on one machine.
#[derive(Debug)]
pub struct Model {
    machine: Machine,
    effort: u64,
    setups: Mutex<HashMap<String, Setup>>,
}

/// Times of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Modelled {
    /// Times of the whole world.
    pub samples: Samples,
    /// What ran for them.
    pub ran: Ran,
    /// Where nothing ran: the coarse model's breakdown.
    pub estimate: Option<Estimate>,
}

/// How much of a world ran.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ran {
    /// One of so many parts of each GPU.
    pub parts: f64,
    /// Tokens of a rank in this part, the most that ran.
    pub tokens: u32,
    /// Whether the time was extended from fewer tokens.
    pub extended: bool,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.parts, self.extended) {
            _ if self.tokens == 0 => f.write_str("nothing was run"),
            (parts, false) if parts <= 1.0 => f.write_str("run whole"),
            (parts, false) => write!(f, "one of {parts:.1} parts was run"),
            (parts, true) => {
                write!(f, "one of {parts:.1} parts was run with up to {} tokens and extended", self.tokens)
            }
        }
    }
}

impl Model {
    /// Warp instructions of a run where the caller says nothing: some seconds.
    pub const EFFORT: u64 = 320_000_000;

    /// Ranks up to which a part of a world is run; larger ones are estimated ([`analytic`]).
    pub const RANKS_RUN: u32 = 128;

    /// Of a machine.
    pub fn new(machine: Machine) -> Model {
        Model { machine, effort: Model::EFFORT, setups: Mutex::default() }
    }

    /// With about as many warp instructions a run at most, if a part and the steady state allow it.
    #[must_use]
    pub fn effort(mut self, warp_instructions: u64) -> Model {
        self.effort = warp_instructions.max(1);
        self
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Times of `workload` with `plan`.
    ///
    /// # Errors
    /// As [`Workload::choices`]; what the emulated operations say.
    pub fn times(&self, workload: &Workload, plan: &Plan, wanted: Wanted) -> Result<Modelled> {
        if Model::estimates(workload) {
            return self.estimated(workload, plan, wanted);
        }
        let parts = Part::all(workload, plan, wanted, self.effort);
        // SMs of one kernel are no share of the other's.
        let whole = parts.iter().any(Part::is_whole);
        if !whole && wanted.dispatch && wanted.combine && plan.dispatch.sms != plan.combine.sms {
            let there = self.times(workload, plan, Wanted { combine: false, ..wanted })?;
            let back = self.times(workload, plan, Wanted { combine: true, dispatch: false, cached: false })?;
            let samples = Samples { combine_us: back.samples.combine_us, ..there.samples };
            return Ok(Modelled { samples, ran: there.ran, estimate: None });
        }
        let times = all_at_once(&parts, |part| part.times(&self.machine, workload, plan, wanted));
        let times = times.into_iter().collect::<Result<Vec<_>>>()?;
        let (mut samples, ran) = match (&parts[..], &times[..]) {
            ([few, more], [(first, _), (second, ran)]) => (part::approach((few, first), (more, second)), *ran),
            _ => times[0].clone(),
        };
        if whole {
            return Ok(Modelled { samples, ran, estimate: None });
        }
        if wanted.dispatch {
            let setup = self.setup(workload, plan)?;
            samples.layout_us = vec![setup.layout_us(workload.tokens)];
            samples.exchange_us = vec![setup.exchange_us];
            let both = setup.layout_us(workload.tokens) + setup.exchange_us;
            samples.dispatch_us = samples.dispatch_kernel_us.iter().map(|kernel| kernel + both).collect();
        }
        Ok(Modelled { samples, ran, estimate: None })
    }

    /// Whether times of a workload are estimated, since its world is too large to run even in part.
    pub fn estimates(workload: &Workload) -> bool {
        workload.topology.ranks() > Model::RANKS_RUN
    }

    fn estimated(&self, workload: &Workload, plan: &Plan, wanted: Wanted) -> Result<Modelled> {
        let estimate = Estimate::new(&self.machine, workload, plan)?;
        let samples = estimate.samples(wanted);
        Ok(Modelled { samples, ran: Ran { parts: 0.0, tokens: 0, extended: false }, estimate: Some(estimate) })
    }

    /// The record of `workload` with `plan`, as a run on the machine would give it. `verified` says whether results of this plan
    /// were compared ([`Model::check`]).
    ///
    /// # Errors
    /// As [`Model::times`].
    pub fn record(&self, workload: &Workload, plan: &Plan, wanted: Wanted, verified: bool) -> Result<Record> {
        let Modelled { samples, ran, estimate } = self.times(workload, plan, wanted)?;
        let name = self.machine.name();
        let (moved, times) = match estimate {
            Some(estimate) => (estimate.moved, format!("analytic model of {name}; {estimate}")),
            None => {
                let lands = plan.landing().rows() > 0;
                (Moved::new(plan, &workload.choices()?, lands)?, format!("modelled of {name}; {ran}"))
            }
        };
        Ok(Record {
            workload: WorkloadKey::new(workload),
            setting: SettingKey::new(plan),
            place: Place {
                backend: "emu".to_string(),
                device: format!("model of {}", self.machine.about()),
                machine: Some(name.to_string()),
                times,
                verified,
                repeats: 1,
                version: env!("CARGO_PKG_VERSION").to_string(),
            },
            figures: Figures::new(plan, &moved, &samples),
            samples,
        })
    }

    /// Compares results of `plan` with the reference, bit for bit, on a few tokens of `workload`.
    ///
    /// # Errors
    /// [`Error::Bug`](crate::Error::Bug) when they differ; what operations say.
    pub fn check(&self, workload: &Workload, plan: &Plan) -> Result<()> {
        check::check(workload, plan)
    }

    fn setup(&self, workload: &Workload, plan: &Plan) -> Result<Setup> {
        let key = Setup::key(workload, plan);
        let known = self.setups.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(setup) = known {
            return Ok(setup);
        }
        let setup = Setup::run(&self.machine, workload, plan)?;
        self.setups.lock().unwrap_or_else(PoisonError::into_inner).insert(key, setup);
        Ok(setup)
    }
}

/// Does the same with each item, on threads of their own.
fn all_at_once<I: Sync, T: Send>(items: &[I], act: impl Fn(&I) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(|| act(item))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Warp instructions of `tokens` tokens a rank.
fn instructions(workload: &Workload, tokens: u32, wanted: Wanted) -> f64 {
    let shape = &workload.shape;
    let rows = f64::from(shape.dispatch_row_bytes() + shape.combine_row_bytes()) / (2.0 * ROW_BYTES);
    let ops = if wanted.combine { 1.0 } else { 0.4 };
    f64::from(workload.topology.ranks()) * f64::from(tokens) * INSTRUCTIONS_OF_TOKEN * rows.max(0.1) * ops
}
