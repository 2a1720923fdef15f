//! What measures settings on a machine: its model.

use warpferry::bench::{Source, Workload};
use warpferry::machine::Machine;
use warpferry::model::{Model, ModelMeasure};
use warpferry::plan::Limits;
use warpferry::routing::Routing;
use warpferry::tune::{Measure, Space};
use warpferry::Result;

use super::options::{GateChoice, TuneOptions};

/// Limits of a machine's GPUs.
///
/// # Errors
/// As [`Machine::find`].
pub fn limits(machine: &str) -> Result<Limits> {
    Ok(Machine::find(machine)?.limits())
}

/// What measures settings of `space` on the machine with choices of `gate`.
///
/// # Errors
/// As [`Machine::find`]; what keeps a trace from being read.
pub fn measure_for(options: &TuneOptions, space: &Space, gate: &GateChoice) -> Result<Box<dyn Measure>> {
    let source = match gate {
        GateChoice::Drawn(gate) => Source::Drawn(*gate),
        GateChoice::Trace(path) => Source::Recorded { name: path.display().to_string(), routing: Routing::load(path)? },
    };
    let shape = *space.shape();
    let workload = Workload { topology: space.topology(), shape, tokens: options.tokens, source, seed: options.seed };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let model = Model::new(Machine::find(&options.machine)?).effort(options.effort);
    Ok(Box::new(ModelMeasure::new(model, workload, threads)))
}
