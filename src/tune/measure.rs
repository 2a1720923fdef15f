//! What measures: a backend that runs an operation with a tuning and says whether it was right and how long it took.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::plan::{Op, Plan};

/// What runs beside the operations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Load {
    /// Nothing.
    Alone,
    /// Beside each operation a computation that is started with it.
    Beside {
        /// What the computation is bound by.
        bound: Bound,
        /// Time that it takes alone, on all SMs.
        alone_us: f64,
    },
}

/// What a computation is bound by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// SMs: matrix products.
    Arithmetic,
    /// Device memory: sums and copies of large arrays.
    Memory,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Alone => f.write_str("alone"),
            Load::Beside { bound: Bound::Arithmetic, alone_us } => write!(f, "beside arithmetic of {alone_us} us"),
            Load::Beside { bound: Bound::Memory, alone_us } => write!(f, "beside memory traffic of {alone_us} us"),
        }
    }
}

/// One operation of one plan. A combine needs the handle of a dispatch: the measure runs one before it, untimed.
#[derive(Debug, Clone)]
pub struct Job {
    /// Plan of every rank.
    pub plan: Plan,
    /// The operation.
    pub op: Op,
}

/// Whether results were those of the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every bit.
    Correct,
    /// What was not.
    Wrong(String),
}

/// Times of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Time of the slowest rank from the launch to the last byte; the median of the repeats.
    pub us: f64,
    /// Slowest repeat less fastest.
    pub spread_us: f64,
    /// Sum over the SMs of a rank of the time that each was held, in milliseconds.
    pub sm_ms: f64,
    /// What became of the computation beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

/// An operation and a computation that began together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// Time until both were done.
    pub step_us: f64,
    /// By how much longer the computation took than alone.
    pub slowdown_us: f64,
    /// Time that the computation takes alone.
    pub alone_us: f64,
}

impl Beside {
    /// What the operation adds to the computation: the part of it that is not hidden, and the computation's slow-down.
    pub fn added_us(&self) -> f64 {
        self.step_us - self.alone_us
    }

    /// The part of the operation that goes on behind the computation.
    pub fn exposed_us(&self) -> f64 {
        self.added_us() - self.slowdown_us
    }
}

/// A backend that measures: virtual time, a GPU with events, or a model.
///
/// The search asks [`Measure::check`] first and times only what was correct. Jobs of a list are independent: a measure may run
/// them side by side, as long as answers do not depend on it.
pub trait Measure {
    /// What this is, with whatever its numbers depend on beside plan, load and workload: a journal of another is refused.
    fn name(&self) -> String;

    /// Whether results of each job are right; one answer a job, in order.
    ///
    /// # Errors
    /// What keeps the backend from saying. A wrong result is no error.
    fn check(&mut self, jobs: &[Job]) -> Result<Vec<Verdict>>;

    /// Times of each job beside `load`; one answer a job, in order.
    ///
    /// # Errors
    /// What keeps the backend from measuring.
    fn time(&mut self, jobs: &[Job], load: &Load) -> Result<Vec<Timing>>;
}
