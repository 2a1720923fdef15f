//! What is wanted of a setting, and how two are compared.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::sample::{Ops, Sample};
use crate::error::{Error, Result};
use crate::plan::{Op, Plan};

/// What is made small.
///
/// Each objective is a sum over the operations that count, so each operation can be judged by itself where settings change it
/// alone. With `t` the time of an operation:
///
/// | objective | sum over operations of |
/// | --- | --- |
/// | alone | `t` |
/// | beside a computation | `step - alone`: what of the operation is exposed behind the computation, plus the computation's own slow-down |
/// | least SMs for x % of peak | its SMs if `t <= best / (x / 100)`, else `1024 t / limit`, `best` being its time at the fastest setting alone and `limit` the right side |
///
/// Two sums that fall into one step of 0.1 % count as equal; then the SM time `sum of SM ms` decides, then the sum itself.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Objective {
    /// Least time with nothing beside it.
    Alone(Ops),
    /// Least that both operations add to a computation beside each.
    Beside,
    /// Fewest SMs with at least so many percent of the best bandwidth of each operation.
    LeastSms {
        /// Above 0, up to 100.
        percent: f64,
    },
}

/// More than any number of SMs: what is too slow costs this and more.
const TOO_SLOW: f64 = 1024.0;
/// Sums within this ratio of each other count as equal.
const STEP: f64 = 1.001;

impl Objective {
    /// Operations that count.
    pub fn ops(&self) -> Ops {
        match self {
            Objective::Alone(ops) => *ops,
            _ => Ops::Both,
        }
    }

    /// Checks the numbers of it.
    ///
    /// # Errors
    /// [`Error::Argument`] for a share of the peak that is none.
    pub fn check(&self) -> Result<()> {
        match self {
            Objective::LeastSms { percent } if !(*percent > 0.0 && *percent <= 100.0) => {
                Err(Error::argument("objective", self, "least-sms:PERCENT, above 0 and up to 100"))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Objective {
    type Err = String;

    /// `alone`, `dispatch`, `combine`, `beside` or `least-sms:PERCENT`.
    fn from_str(text: &str) -> std::result::Result<Objective, String> {
        let valid = "alone, dispatch, combine, beside and least-sms:PERCENT";
        let wrong = || format!("`{text}` is no objective: valid are {valid}");
        let objective = match text.split_once(':') {
            None if text == "alone" => Objective::Alone(Ops::Both),
            None if text == "dispatch" => Objective::Alone(Ops::Dispatch),
            None if text == "combine" => Objective::Alone(Ops::Combine),
            None if text == "beside" => Objective::Beside,
            Some(("least-sms", percent)) => Objective::LeastSms { percent: percent.parse().map_err(|_| wrong())? },
            _ => return Err(wrong()),
        };
        objective.check().map_err(|error| error.to_string())?;
        Ok(objective)
    }
}

impl fmt::Display for Objective {
    /// As [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Objective::Alone(Ops::Both) => f.write_str("alone"),
            Objective::Alone(Ops::Dispatch) => f.write_str("dispatch"),
            Objective::Alone(Ops::Combine) => f.write_str("combine"),
            Objective::Beside => f.write_str("beside"),
            Objective::LeastSms { percent } => write!(f, "least-sms:{percent}"),
        }
    }
}

/// How good a point is; less is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    pub main: f64,
    pub sm_ms: f64,
}

impl Cost {
    /// Of a point that is no candidate.
    pub const WORST: Cost = Cost { main: f64::INFINITY, sm_ms: f64::INFINITY };

    pub fn is_known(&self) -> bool {
        self.main.is_finite()
    }

    /// Whether the sums count as equal.
    pub fn is_level_with(&self, other: &Cost) -> bool {
        self.step() == other.step()
    }

    /// Total order: step of the sum, SM time, sum.
    pub fn order(&self, other: &Cost) -> Ordering {
        let by_step = self.step().cmp(&other.step());
        by_step.then(self.sm_ms.total_cmp(&other.sm_ms)).then(self.main.total_cmp(&other.main))
    }

    pub fn beats(&self, other: &Cost) -> bool {
        self.order(other) == Ordering::Less
    }

    /// Number of the step that the sum is in. Nothing is below a nanosecond.
    fn step(&self) -> i64 {
        (self.main.max(1e-3).ln() / STEP.ln()).floor() as i64
    }
}

/// Longest times that count as fast enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Longest {
    pub dispatch_us: f64,
    pub combine_us: f64,
}

impl Longest {
    fn of(&self, op: Op) -> f64 {
        match op {
            Op::Dispatch => self.dispatch_us,
            Op::Combine => self.combine_us,
        }
    }

    /// For `percent` of the bandwidth that `best` has.
    pub fn share_of(best: &Sample, percent: f64) -> Longest {
        let limit = |op| best.of(op).map_or(f64::INFINITY, |timing| timing.us * 100.0 / percent);
        Longest { dispatch_us: limit(Op::Dispatch), combine_us: limit(Op::Combine) }
    }
}

/// What compares: an objective and what it has found out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Judge {
    /// Time.
    Time,
    /// What is added to a computation.
    Added,
    /// SMs within these times.
    Sms(Longest),
}

impl Judge {
    /// Cost of a sample with this plan.
    pub fn cost(&self, plan: &Plan, sample: &Sample) -> Cost {
        let main = match self {
            Judge::Time => sample.us(),
            Judge::Added => sample.added_us().unwrap_or_else(|| sample.us()),
            Judge::Sms(longest) => {
                let of = |op: Op| {
                    sample.of(op).map_or(0.0, |timing| sms_cost(plan.launch(op).sms, timing.us, longest.of(op)))
                };
                of(Op::Dispatch) + of(Op::Combine)
            }
        };
        Cost { main, sm_ms: sample.sm_ms() }
    }
}

fn sms_cost(sms: u32, us: f64, longest_us: f64) -> f64 {
    if us <= longest_us {
        f64::from(sms)
    } else {
        TOO_SLOW * us / longest_us
    }
}
