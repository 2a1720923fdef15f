//! The tuner: which settings are best for a machine, a world and a shape, and where they are kept.
//!
//! | step | see |
//! | --- | --- |
//! | which settings there are | [`Space`], of [`Axis`] values; valid by the library's own checks |
//! | how one is measured | [`Measure`]: right first, then timed, alone or beside a [`Load`] |
//! | what is wanted | [`Objective`] |
//! | how the best is found | [`Search`]: descents within a [`Budget`], or every point |
//! | what was found, and why | [`Outcome`] |
//! | where it is kept and looked up | [`Store`], by [`Key`] |
//!
//! The tuner knows no backend: what measures is a trait. It sets nothing by itself: a setting is taken by
//! [`WorldConfig::stored`](crate::WorldConfig::stored) or given by the caller.

mod axis;
mod budget;
mod journal;
mod key;
mod ledger;
mod measure;
mod objective;
pub mod outcome;
mod sample;
mod search;
mod space;
pub mod store;
#[cfg(test)]
mod tests;

pub use axis::{Axis, Scale, AXES};
pub use budget::{Budget, Ended};
pub use key::Key;
pub use measure::{Beside, Bound, Job, Load, Measure, Timing, Verdict};
pub use objective::Objective;
pub use outcome::Outcome;
pub use sample::{Ops, Sample};
pub use search::{Progress, Search};
pub use space::{Point, Space};
pub use store::{stored, Store};

pub use crate::plan::Setting;
