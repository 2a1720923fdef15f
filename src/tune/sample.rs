//! What is known of a point: the times of its operations.

use serde::{Deserialize, Serialize};

use super::measure::{Timing, Verdict};
use crate::plan::Op;

/// Which operations count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ops {
    /// Dispatch and combine.
    Both,
    /// Dispatch.
    Dispatch,
    /// Combine.
    Combine,
}

impl Ops {
    /// They one by one.
    pub fn each(self) -> &'static [Op] {
        match self {
            Ops::Both => &[Op::Dispatch, Op::Combine],
            Ops::Dispatch => &[Op::Dispatch],
            Ops::Combine => &[Op::Combine],
        }
    }
}

/// Times of a point's operations; None for one that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Of dispatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatch: Option<Timing>,
    /// Of combine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub combine: Option<Timing>,
}

impl Sample {
    /// Of an operation.
    pub fn of(&self, op: Op) -> Option<&Timing> {
        match op {
            Op::Dispatch => self.dispatch.as_ref(),
            Op::Combine => self.combine.as_ref(),
        }
    }

    /// Time of all operations.
    pub fn us(&self) -> f64 {
        self.timings().map(|timing| timing.us).sum()
    }

    /// SM time of all operations.
    pub fn sm_ms(&self) -> f64 {
        self.timings().map(|timing| timing.sm_ms).sum()
    }

    /// What all operations add to the computations beside them; None where they ran alone.
    pub fn added_us(&self) -> Option<f64> {
        self.timings().map(|timing| timing.beside.map(|beside| beside.added_us())).sum()
    }

    pub(super) fn timings(&self) -> impl Iterator<Item = &Timing> {
        self.dispatch.iter().chain(&self.combine)
    }
}

/// What a measure said of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub verdict: Verdict,
    /// None where it was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
}
