//! What measures settings on a machine: its model.

use warpferry::bench::{Source, Workload};
use warpferry::model::{EstimateMeasure, Model, ModelMeasure};
use warpferry::plan::Limits;
use warpferry::routing::Routing;
use warpferry::tune::Space;
use warpferry::Result;

use super::options::{GateChoice, TuneOptions};
use crate::machine::find;

/// Effort of the measure that decides, of that of the search: where the search runs a part of one SM, it runs two parts.
const FINEST: u64 = 6;

/// Limits of a machine's GPUs.
///
/// # Errors
/// As [`Machine::find`].
pub fn limits(machine: &str) -> Result<Limits> {
    Ok(find(machine)?.limits())
}

/// What measures settings on the machine: a quick guess, and the emulator's clock.
pub struct Measures {
    /// Answers at once.
    pub coarse: EstimateMeasure,
    /// Runs the kernels of a small part.
    pub fine: ModelMeasure,
    /// Runs those of larger parts, for the best few.
    pub finest: ModelMeasure,
}

/// What measures settings of `space` on the machine with choices of `gate`.
///
/// # Errors
/// As [`Machine::find`]; what keeps a trace from being read.
pub fn measures_for(options: &TuneOptions, space: &Space, gate: &GateChoice) -> Result<Measures> {
    let source = match gate {
        GateChoice::Drawn(gate) => Source::Drawn(*gate),
        GateChoice::Trace(path) => Source::Recorded { name: path.display().to_string(), routing: Routing::load(path)? },
    };
    let shape = *space.shape();
    let workload = Workload { topology: space.topology(), shape, tokens: options.tokens, source, seed: options.seed };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = find(&options.machine)?;
    let model = Model::new(machine.clone()).effort(options.effort);
    let finest = Model::new(machine.clone()).effort(FINEST.saturating_mul(options.effort));
    let coarse = EstimateMeasure::new(machine, workload.clone());
    let finest = ModelMeasure::new(finest, workload.clone(), threads);
    Ok(Measures { coarse, fine: ModelMeasure::new(model, workload, threads), finest })
}
