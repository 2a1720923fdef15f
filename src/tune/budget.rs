//! How much a search may do, and how it ended.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Points that may be measured. What a journal holds counts as measured, so that a search that goes on ends where one
    /// that was never cut would have.
    pub points: u64,
    /// Time after which nothing more is measured, counted anew by each process.
    pub time: Duration,
}

impl Default for Budget {
    /// 400 points, an hour.
    fn default() -> Budget {
        Budget { points: 400, time: Duration::from_secs(3600) }
    }
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// From every start no step made it better.
    Settled,
    /// Every valid point was compared.
    Exhausted,
    /// The points of the budget were measured.
    OutOfPoints,
    /// The time of the budget was over.
    OutOfTime,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Settled => "no step from any start is better",
            Ended::Exhausted => "every valid point was compared",
            Ended::OutOfPoints => "cut: the budget's points were measured",
            Ended::OutOfTime => "cut: the budget's time was over",
        })
    }
}
