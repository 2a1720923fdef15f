//! Machines whose times the emulator models, by name.

use warpferry::{Error, Result, Topology};
use warpferry_emu::MachineConfig;

/// Names of the machines.
const PRESETS: [&str; 5] = ["h800-cx7", "h100-cx7", "h200-cx7", "b200-cx7", "generic"];

/// The emulated cluster of `topology` with the times of a machine.
///
/// # Errors
/// [`Error::Argument`] for a name that is none; [`Error::Unsupported`] in a build without models of machines.
pub fn preset(name: &str, _topology: Topology) -> Result<MachineConfig> {
    if !PRESETS.contains(&name) {
        return Err(Error::argument("--machine", name, PRESETS.join(", ")));
    }
    Err(Error::Unsupported {
        need: format!("a model of machine {name}"),
        have: "a build without models of machines: leave --machine out".to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_machine_is_told_the_known_ones() {
        let topology = Topology::new(1, 1).expect("valid");
        let said = preset("h900", topology).expect_err("none").to_string();
        assert!(said.contains("h900") && PRESETS.iter().all(|name| said.contains(name)), "{said}");
    }
}
