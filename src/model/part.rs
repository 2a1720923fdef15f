//! A part of a world that stands for the whole.

use crate::bench::{run_samples, Bed, Runs, Samples, Workload};
use crate::error::Result;
use crate::machine::Machine;
use crate::plan::{Landing, Plan, Shape, Tuning};
use crate::world::WorldConfig;

use super::{instructions, Ran, Wanted};

/// Tokens of a channel below which a kernel is beginning and ending and little else.
const CHANNEL_TOKENS_MIN: u32 = 32;

/// How the time of a part approaches the whole's: what it has beyond falls with this power of its SMs. Where few channels share
/// a link it is idle whenever all of them wait; with more it is not. Fit: EP8 to EP32 of 1 to 16 SMs, see `docs/model.md`.
const APPROACH: f64 = 1.25;

/// A part: one of `parts`, with so many tokens a rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub parts: f64,
    pub tokens: u32,
    /// Tokens of a rank in one part of the whole.
    pub share: f64,
    channels: u32,
    /// SMs of the operation that is timed, and of the whole's.
    sms: u32,
    whole_sms: u32,
    effort: f64,
    instructions: f64,
    pub extended: bool,
}

impl Part {
    /// Parts that stand for the whole, or the whole if that is no more than `effort`: two, the second with twice the SMs, or
    /// one where not even an SM is affordable. The two together are about as much as `effort`, and three SMs at least.
    pub fn all(workload: &Workload, plan: &Plan, wanted: Wanted, effort: u64) -> Vec<Part> {
        let whole_sms = if wanted.dispatch { plan.dispatch.sms } else { plan.combine.sms };
        let whole = instructions(workload, workload.tokens, wanted);
        let effort = effort as f64;
        let part = |sms| Part::of(workload, plan, (sms, whole_sms), (whole, effort));
        if whole <= effort {
            return vec![part(whole_sms)];
        }
        let affordable = (effort / whole * f64::from(whole_sms)) as u32;
        let few = (affordable / 3).max(1);
        if affordable == 0 {
            return vec![part(1)];
        }
        if 2 * few >= whole_sms {
            return vec![part(affordable.min(whole_sms))];
        }
        vec![part(few), Part { effort: 2.0 * effort, ..part(2 * few) }]
    }

    /// The one with so many of the SMs, each with the channels of the SM that has most.
    fn of(workload: &Workload, plan: &Plan, (sms, whole_sms): (u32, u32), (whole, effort): (f64, f64)) -> Part {
        let all = plan.tuning.channels;
        let channels = if sms == whole_sms { all } else { (sms * all.div_ceil(whole_sms)).min(all) };
        let parts = f64::from(all) / f64::from(channels);
        let share = f64::from(workload.tokens) / parts;
        let (tokens, instructions) = (share.ceil() as u32, whole / parts);
        Part { parts, tokens, share, channels, sms, whole_sms, effort, instructions, extended: false }
    }

    /// Whether it is the whole world.
    pub fn is_whole(&self) -> bool {
        self.parts <= 1.0 && self.instructions <= self.effort
    }

    /// Times of kernels at its share of the tokens; whether few of them were extended.
    pub fn times(
        mut self,
        machine: &Machine,
        workload: &Workload,
        plan: &Plan,
        wanted: Wanted,
    ) -> Result<(Samples, Ran)> {
        let Some([few, more]) = self.shorter() else {
            return Ok((self.run(machine, workload, plan, wanted)?, self.ran()));
        };
        let [first, second] = [few, more].map(|part| part.run(machine, workload, plan, wanted));
        let extended = extend((few.tokens, &first?), (more.tokens, &second?), self.share);
        (self.tokens, self.extended) = (more.tokens, true);
        Ok((extended, self.ran()))
    }

    /// Two runs with fewer tokens, where one with all would be too much, and channels have enough tokens in both.
    fn shorter(&self) -> Option<[Part; 2]> {
        let over = self.instructions / self.effort;
        let least = CHANNEL_TOKENS_MIN * self.channels;
        // The two together are as much as the effort, the second twice the first.
        let few = ((f64::from(self.tokens) / over / 3.0) as u32).max(least);
        let worth = over > 1.5 && 3 * few < self.tokens;
        worth.then(|| [few, 2 * few].map(|tokens| Part { tokens, ..*self }))
    }

    /// What ran.
    fn ran(&self) -> Ran {
        Ran { parts: self.parts, tokens: self.tokens, extended: self.extended }
    }

    /// Runs it; times of kernels are those of the whole's share of tokens.
    fn run(&self, machine: &Machine, workload: &Workload, plan: &Plan, wanted: Wanted) -> Result<Samples> {
        let (topology, shape) = (plan.topology, shape_of(&plan.shape, self.tokens)?);
        let tuning = self.tuning(plan, wanted, &shape);
        let mut config = WorldConfig::new(topology, shape).tuning(tuning).fabric(plan.fabric);
        let sms = config.tuning.dispatch_sms.max(config.tuning.combine_sms);
        config.machine = machine.part(self.parts).emulator(topology);
        config.machine.gpu.sms = ((f64::from(machine.sms()) / self.parts) as u32).max(sms) as usize;
        if let Some(timing) = &mut config.machine.timing {
            let headers = shape.dispatch_header_bytes(topology).max(shape.combine_header_bytes());
            timing.content_bytes = Some(headers.next_multiple_of(16));
        }
        let workload = Workload { shape, tokens: self.tokens, ..workload.clone() };
        let runs = Runs { verify: false, cached: wanted.cached, combine: wanted.combine, ..Runs::default() };
        let mut bed = Bed::emulated(&config)?;
        let mut samples = run_samples(&mut bed, &workload, &workload.choices()?, &runs)?;
        bed.close()?;
        if !self.is_whole() {
            samples.scale(self.share.min(f64::from(self.tokens)) / f64::from(self.tokens));
        }
        Ok(samples)
    }

    fn tuning(&self, plan: &Plan, wanted: Wanted, shape: &Shape) -> Tuning {
        let mut tuning = plan.tuning.clone();
        tuning.channels = self.channels;
        if self.parts > 1.0 {
            let beside = |sms: u32| ((f64::from(sms) / self.parts) as u32).clamp(1, self.channels);
            tuning.dispatch_sms = if wanted.dispatch { self.sms } else { beside(tuning.dispatch_sms) };
            tuning.combine_sms = if wanted.combine { self.sms } else { beside(tuning.combine_sms) };
        }
        if tuning.landing.rows() > 0 {
            tuning.landing = Landing::direct_for(plan.topology, shape);
        }
        tuning
    }
}

/// A shape with room for so many tokens.
pub(super) fn shape_of(shape: &Shape, tokens: u32) -> Result<Shape> {
    Shape::new(shape.hidden(), shape.experts(), shape.topk(), tokens.max(1))?
        .with_payload(shape.payload())?
        .with_sum(shape.sum())?
        .with_layout(shape.layout())
}

/// Times at `share` tokens, on the straight line through two runs.
fn extend((few, first): (u32, &Samples), (more, second): (u32, &Samples), share: f64) -> Samples {
    let weight = (share - f64::from(more)) / f64::from(more - few);
    beyond(first, second, weight)
}

/// Times of the whole, from those of a part and of one with twice its SMs.
pub(super) fn approach((few, first): (&Part, &Samples), (more, second): (&Part, &Samples)) -> Samples {
    let left = |sms: u32| f64::from(sms).powf(-APPROACH);
    let (few, more, whole) = (left(few.sms), left(more.sms), left(more.whole_sms));
    beyond(first, second, (more - whole) / (few - more))
}

/// What comes behind two times: the second, and of what lies between them `weight` times more.
fn beyond(first: &Samples, second: &Samples, weight: f64) -> Samples {
    let line = |first: &[f64], second: &[f64]| -> Vec<f64> {
        first.iter().zip(second).map(|(first, second)| second + (second - first) * weight).collect()
    };
    Samples {
        dispatch_us: Vec::new(),
        layout_us: Vec::new(),
        exchange_us: Vec::new(),
        combine_us: line(&first.combine_us, &second.combine_us),
        dispatch_cached_us: line(&first.dispatch_cached_us, &second.dispatch_cached_us),
        dispatch_kernel_us: line(&first.dispatch_kernel_us, &second.dispatch_kernel_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_through_both_runs() {
        let run = |us: f64| Samples { combine_us: vec![us], ..Samples::default() };
        assert_eq!(extend((10, &run(100.0)), (20, &run(150.0)), 20.0).combine_us, [150.0]);
        assert_eq!(extend((10, &run(100.0)), (20, &run(150.0)), 100.0).combine_us, [550.0]);
    }
}
