//! The coarse model as what the tuner asks: answers at once, for guesses at which a search with the emulator's clock begins.

use crate::bench::Workload;
use crate::error::Result;
use crate::machine::Machine;
use crate::plan::Op;
use crate::tune::{Job, Load, Measure, Timing, Verdict};

use super::analytic::Estimate;
use super::beside;

/// Asks the coarse model about settings of one workload. Nothing runs, so no result is wrong.
#[derive(Debug)]
pub struct EstimateMeasure {
    machine: Machine,
    workload: Workload,
}

impl EstimateMeasure {
    /// Of a workload on a machine.
    pub fn new(machine: Machine, workload: Workload) -> EstimateMeasure {
        EstimateMeasure { machine, workload }
    }
}

impl Measure for EstimateMeasure {
    fn name(&self) -> String {
        format!("estimate of {}", self.machine.name())
    }

    fn check(&mut self, jobs: &[Job]) -> Result<Vec<Verdict>> {
        Ok(vec![Verdict::Correct; jobs.len()])
    }

    fn time(&mut self, jobs: &[Job], load: &Load) -> Result<Vec<Timing>> {
        let beside_it = beside::machine_beside(&self.machine, load);
        let machine = beside_it.as_ref().unwrap_or(&self.machine);
        let timing = |job: &Job| {
            let estimate = Estimate::new(machine, &self.workload, &job.plan)?;
            let (us, sms) = match job.op {
                Op::Dispatch => {
                    (estimate.layout_us + estimate.exchange_us + estimate.dispatch.us(), job.plan.dispatch.sms)
                }
                Op::Combine => (estimate.combine.us(), job.plan.combine.sms),
            };
            let beside = beside::step(&self.machine, load, us, sms);
            Ok(Timing { us, spread_us: 0.0, sm_ms: f64::from(sms) * us / 1e3, beside })
        };
        jobs.iter().map(timing).collect()
    }
}
