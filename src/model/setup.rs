//! What a dispatch takes before rows move: layout and exchange, with all channels and short rows.

use crate::bench::{median, run_samples, Bed, Runs, Source, Workload};
use crate::error::Result;
use crate::gate::Gate;
use crate::machine::Machine;
use crate::plan::{Landing, Payload, Plan, Shape, Sum, Tuning};
use crate::topology::Topology;
use crate::world::WorldConfig;

/// Elements of the short rows.
const HIDDEN: u32 = 64;
/// Tokens of a rank in the run that times the exchange, and the layout of few tokens.
const FEW: u32 = 16;
/// Tokens of a rank in the two runs that tell what layout takes for more: enough that each of its threads has some.
const MORE: [u32; 2] = [1024, 3072];
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

    /// Runs all of them.
    pub fn run(machine: &Machine, workload: &Workload, plan: &Plan) -> Result<Setup> {
        let (few_us, exchange_us) = times(machine, workload, plan, plan.topology, FEW)?;
        // Layout looks at the rank's own tokens alone, so one rank shows what each takes.
        let alone = Topology::new(1, 1)?;
        let workload = Workload { topology: alone, source: Source::Drawn(Gate::Uniform), ..workload.clone() };
        let [first, second] = MORE.map(|tokens| times(machine, &workload, plan, alone, tokens));
        let slope = (second?.0 - first?.0) / f64::from(MORE[1] - MORE[0]);
        Ok(Setup { layout_us: (few_us, slope.max(0.0)), exchange_us })
    }
}

/// Times of layout and exchange with short rows and so many tokens a rank.
fn times(machine: &Machine, workload: &Workload, plan: &Plan, topology: Topology, tokens: u32) -> Result<(f64, f64)> {
    let shape = Shape::new(HIDDEN, plan.shape.experts(), plan.shape.topk(), tokens)?
        .with_payload(Payload::Bf16)?
        .with_sum(Sum::Bf16)?
        .with_layout(plan.shape.layout())?;
    let sms = plan.tuning.channels.min(8);
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
    let workload = Workload { shape, tokens, ..workload.clone() };
    let runs = Runs { verify: false, cached: false, combine: false, ..Runs::default() };
    let samples = run_samples(&mut bed, &workload, &workload.choices()?, &runs)?;
    bed.close()?;
    Ok((median(&samples.layout_us), median(&samples.exchange_us)))
}
