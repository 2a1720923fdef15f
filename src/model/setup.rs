//! What a dispatch takes before rows move: layout and exchange, with all channels and short rows.

use crate::bench::{median, run_samples, Bed, Runs, Workload};
use crate::error::Result;
use crate::machine::Machine;
use crate::plan::{Landing, Payload, Plan, Shape, Sum, Tuning};
use crate::world::WorldConfig;

/// Elements of the short rows.
const HIDDEN: u32 = 64;
/// Tokens of a rank in the two runs.
const TOKENS: [u32; 2] = [16, 48];
/// Rows of 64 elements need no large rings.
const DEPTH: u32 = 8;

/// Times of layout and exchange.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Setup {
    /// Layout without a token, and for each.
    layout_us: (f64, f64),
    pub exchange_us: f64,
}

impl Setup {
    /// What its times depend on.
    pub fn key(workload: &Workload, plan: &Plan) -> String {
        let (topology, shape) = (plan.topology, &plan.shape);
        let world = (topology.nodes(), topology.gpus_per_node(), plan.fabric, plan.tuning.channels);
        format!("{world:?} {} {} {} {}", shape.experts(), shape.topk(), shape.layout(), workload.source)
    }

    /// Layout of so many tokens a rank.
    pub fn layout_us(&self, tokens: u32) -> f64 {
        self.layout_us.0 + self.layout_us.1 * f64::from(tokens)
    }

    /// Runs both.
    pub fn run(machine: &Machine, workload: &Workload, plan: &Plan) -> Result<Setup> {
        let topology = plan.topology;
        let shape = Shape::new(HIDDEN, plan.shape.experts(), plan.shape.topk(), TOKENS[1])?
            .with_payload(Payload::Bf16)?
            .with_sum(Sum::Bf16)?
            .with_layout(plan.shape.layout())?;
        let channels = plan.tuning.channels;
        let sms = channels.min(8);
        let tuning = Tuning {
            dispatch_sms: sms,
            combine_sms: sms,
            depth_ib: DEPTH,
            depth_nv: DEPTH,
            chunk_ib: 1,
            chunk_nv: 1,
            landing: Landing::Staged,
            ..plan.tuning.clone()
        };
        let mut config = WorldConfig::new(topology, shape).tuning(tuning).fabric(plan.fabric);
        config.machine = machine.emulator(topology);
        let mut bed = Bed::emulated(&config)?;
        let mut times = Vec::new();
        for tokens in TOKENS {
            let workload = Workload { shape, tokens, ..workload.clone() };
            let runs = Runs { verify: false, cached: false, combine: false, ..Runs::default() };
            let samples = run_samples(&mut bed, &workload, &workload.choices()?, &runs)?;
            times.push((median(&samples.layout_us), median(&samples.exchange_us)));
        }
        bed.close()?;
        let [(few_us, _), (more_us, exchange_us)] = [times[0], times[1]];
        let slope = ((more_us - few_us) / f64::from(TOKENS[1] - TOKENS[0])).max(0.0);
        Ok(Setup { layout_us: (few_us - slope * f64::from(TOKENS[0]), slope), exchange_us })
    }
}
