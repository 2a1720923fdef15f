//! An outcome on one screen.

use std::fmt;

use super::{Evidence, Outcome, Predicted, Step};

/// Runner-ups that are shown.
const RUNNER_UPS: usize = 3;

impl fmt::Display for Predicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |us: Option<f64>| us.map_or("-".to_string(), |us| format!("{us:.1}"));
        write!(
            f,
            "dispatch {} us, combine {} us, {:.3} SM ms, ",
            us(self.dispatch_us),
            us(self.combine_us),
            self.sm_ms
        )?;
        write!(f, "{:.1} MiB", self.buffer_bytes as f64 / (1 << 20) as f64)?;
        match (self.added_us, self.slowdown_us) {
            (Some(added), Some(slowdown)) => write!(f, "; adds {added:.1} us, of which slow-down {slowdown:.1} us"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:+.1} %, SM ms {:+.1} %", self.value, self.worse_percent, self.sm_ms_percent)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = |step: &Option<Step>| step.as_ref().map_or("-".to_string(), Step::to_string);
        write!(f, "{:<13} {:<12} {:<33} {}", self.axis, self.value, step(&self.down), step(&self.up))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.points_tried as f64 / self.points_total.max(1) as f64;
        writeln!(f, "for      {}", self.workload)?;
        writeln!(f, "wanted   {}, {}; measured by {}", self.objective, self.load, self.measure)?;
        writeln!(f, "setting  {}", self.setting)?;
        writeln!(f, "gives    {}", self.predicted)?;
        writeln!(f, "tried    {} of {} points ({share:.2} %); {}", self.points_tried, self.points_total, self.ended)?;
        if let Some(wrong) = self.wrong.first() {
            let count = self.wrong.len();
            writeln!(f, "wrong    {count} settings, the first in {}: {} ({})", wrong.op, wrong.reason, wrong.setting)?;
        }
        for next in self.runner_ups.iter().take(RUNNER_UPS) {
            writeln!(f, "next     {:+.2} %  {}", next.worse_percent, next.setting)?;
        }
        writeln!(f, "why      {:<13} {:<12} {:<33} a step up", "axis", "value", "a step down")?;
        for evidence in &self.why {
            writeln!(f, "         {}", evidence.to_string().trim_end())?;
        }
        Ok(())
    }
}
