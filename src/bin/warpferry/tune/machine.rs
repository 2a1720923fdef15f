//! Machines by name: what their GPUs give, and what measures on them.

use warpferry::plan::launch::SHARED_BYTES_MAX;
use warpferry::plan::Limits;
use warpferry::tune::{Measure, Space};
use warpferry::{Error, Result};

use super::options::{GateChoice, TuneOptions};

/// Name, SMs and GiB of device memory of each preset (data sheets of the SXM modules).
const PRESETS: [(&str, u32, u64); 5] =
    [("h800-cx7", 132, 80), ("h100-cx7", 132, 80), ("h200-cx7", 132, 141), ("b200", 148, 180), ("generic", 132, 80)];

/// Limits of a machine's GPUs.
///
/// # Errors
/// [`Error::Argument`] for a name that is none.
pub fn limits(machine: &str) -> Result<Limits> {
    let known = PRESETS.iter().find(|(name, ..)| *name == machine);
    let &(name, sms, memory_gib) = known.ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
        Error::argument("--machine", machine, names.join(", "))
    })?;
    Ok(Limits { name: name.to_string(), sms, shared_bytes: SHARED_BYTES_MAX, memory_bytes: memory_gib << 30 })
}

/// What measures settings of `space` on the machine with choices of `gate`.
///
/// # Errors
/// [`Error::Unsupported`] where nothing measures on that machine.
pub fn measure_for(options: &TuneOptions, space: &Space, gate: &GateChoice) -> Result<Box<dyn Measure>> {
    let topology = space.topology();
    let world = format!("{} x {}", topology.nodes(), topology.gpus_per_node());
    Err(Error::Unsupported {
        need: format!("a clock of {} for a world of {world} and gate {}", options.machine, gate.class()),
        have: "an emulator without virtual time".to_string(),
    })
}
