//! Whether a plan's results are right: a few tokens, without a clock, every bit against the reference.

use crate::bench::{verify_samples, Bed, Runs, Workload};
use crate::error::Result;
use crate::plan::{Landing, Plan};
use crate::world::WorldConfig;

use super::part::shape_of;
use super::{instructions, Wanted};

/// Warp instructions of a check, about: a second.
const EFFORT: f64 = 15e6;
/// Least and most tokens of a rank.
const TOKENS: (u32, u32) = (2, 64);

/// Compares results of `plan` with the reference.
pub(super) fn check(workload: &Workload, plan: &Plan) -> Result<()> {
    let of_token = instructions(workload, 1, Wanted::BOTH);
    let tokens = ((EFFORT / of_token) as u32).clamp(TOKENS.0, TOKENS.1).min(workload.tokens.max(1));
    let shape = shape_of(&plan.shape, tokens)?;
    let mut tuning = plan.tuning.clone();
    if tuning.landing.rows() > 0 {
        tuning.landing = Landing::direct_for(plan.topology, &shape);
    }
    let mut config = WorldConfig::new(plan.topology, shape).tuning(tuning).fabric(plan.fabric);
    // A plan may ask for more SMs than the emulator has by default.
    config.machine.gpu.sms = config.machine.gpu.sms.max(plan.tuning.dispatch_sms.max(plan.tuning.combine_sms) as usize);
    let workload = Workload { shape, tokens, ..workload.clone() };
    let mut bed = Bed::emulated(&config)?;
    verify_samples(&mut bed, &workload, &workload.choices()?, &Runs::default())?;
    bed.close()
}
