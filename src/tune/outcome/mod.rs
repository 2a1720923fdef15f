//! What a search found, with the evidence: written and read as TOML and JSON.

mod build;
mod text;

use serde::{Deserialize, Serialize};

use super::axis::AXES;
use super::budget::Ended;
use super::key::Key;
use super::measure::Load;
use crate::error::{Error, Result};
use crate::plan::Setting;

pub(super) use build::Finding;

/// Version of the file.
const FORMAT: u32 = 1;

/// Result of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Version of this record.
    pub format: u32,
    /// What was made small.
    pub objective: String,
    /// What measured.
    pub measure: String,
    /// Seed of the drawn starts.
    pub seed: u64,
    /// How the search ended.
    pub ended: Ended,
    /// Points that were measured.
    pub points_tried: u64,
    /// Valid points of the space.
    pub points_total: u64,
    /// Time of dispatch and combine with the chosen setting.
    pub predicted_us: f64,
    /// What ran beside the operations.
    pub load: Load,
    /// What the setting is for.
    pub workload: Key,
    /// The chosen setting.
    pub setting: Setting,
    /// What was measured with it.
    pub predicted: Predicted,
    /// The next best settings that were measured, best first.
    pub runner_ups: Vec<Ranked>,
    /// Why this setting: a step along each axis.
    pub why: Vec<Evidence>,
    /// Settings whose results were wrong.
    pub wrong: Vec<WrongSetting>,
    /// How the descents went.
    pub path: Vec<Passage>,
    /// Points that were measured, in order; the first 4096.
    pub tried: Vec<Tried>,
}

/// Times of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Time of dispatch on the slowest rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatch_us: Option<f64>,
    /// Time of combine on the slowest rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub combine_us: Option<f64>,
    /// Slowest repeat less fastest, of both.
    pub spread_us: f64,
    /// SM time of both.
    pub sm_ms: f64,
    /// Device memory of a rank's window, state, queues and a handle.
    pub buffer_bytes: u64,
    /// What both add to the computations beside them: what of them is exposed, and the computations' slow-down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_us: Option<f64>,
    /// The part of that which is the computations' slow-down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowdown_us: Option<f64>,
}

/// A setting and what it costs beside the chosen one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// By how much its objective is above that of the chosen one, in percent.
    pub worse_percent: f64,
    /// The setting.
    pub setting: Setting,
    /// What was measured with it.
    pub predicted: Predicted,
}

/// What a step along an axis costs. Steps that were not measured are left out, as are those that the library does not take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The axis.
    pub axis: String,
    /// The chosen value.
    pub value: String,
    /// The next lower value; of roles and landing the next in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<Step>,
    /// The next higher value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<Step>,
}

/// A step along an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The value there.
    pub value: String,
    /// By how much the objective is above the chosen one, in percent; about 0 where SM time decided.
    pub worse_percent: f64,
    /// By how much SM time is above, in percent.
    pub sm_ms_percent: f64,
}

/// A setting that gave wrong results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongSetting {
    /// The operation: `dispatch` or `combine`.
    pub op: String,
    /// What was wrong.
    pub reason: String,
    /// The setting.
    pub setting: Setting,
}

/// A place that a descent came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// Number of the start.
    pub start: u64,
    /// Points measured until then.
    pub tried: u64,
    /// Axes of the step.
    pub along: String,
    /// Value of the objective.
    pub cost: f64,
    /// Values, in the order of [`super::Axis::ALL`].
    pub at: [u32; AXES],
}

/// A point that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Value of the objective.
    pub cost: f64,
    /// Time of the operations that count.
    pub us: f64,
    /// Their SM time.
    pub sm_ms: f64,
    /// Values, in the order of [`super::Axis::ALL`].
    pub at: [u32; AXES],
}

impl Outcome {
    /// As TOML.
    ///
    /// # Errors
    /// [`Error::Bug`] for what TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Bug(format!("an outcome is no TOML: {error}")))
    }

    /// As JSON.
    ///
    /// # Errors
    /// [`Error::Bug`] for what JSON cannot hold.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|error| Error::Bug(format!("an outcome is no JSON: {error}")))
    }

    /// From what [`Outcome::to_toml`] wrote; `name` is named in errors.
    ///
    /// # Errors
    /// [`Error::File`] for what is no outcome, or one of another format.
    pub fn from_toml(name: &str, text: &str) -> Result<Outcome> {
        let outcome = toml::from_str(text).map_err(|error| unread(name, &error))?;
        Outcome::checked(name, outcome)
    }

    /// From what [`Outcome::to_json`] wrote; `name` is named in errors.
    ///
    /// # Errors
    /// [`Error::File`] for what is no outcome, or one of another format.
    pub fn from_json(name: &str, text: &str) -> Result<Outcome> {
        let outcome = serde_json::from_str(text).map_err(|error| unread(name, &error))?;
        Outcome::checked(name, outcome)
    }

    fn checked(name: &str, outcome: Outcome) -> Result<Outcome> {
        if outcome.format == FORMAT {
            return Ok(outcome);
        }
        let message = format!("an outcome of format {}; valid is {FORMAT}", outcome.format);
        Err(Error::File { path: name.to_string(), message })
    }
}

fn unread(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::File { path: name.to_string(), message: format!("no outcome of a search: {error}") }
}
