//! Single acts: probe kernels of the device benches, on the emulator with a machine's clock.

use clap::{Parser, ValueEnum};
use serde_json::Value;

use super::device::{run_machine, Failure, Group, Options};
use super::models::Models;
use super::point::Act;

/// The figure of an act.
///
/// # Errors
/// What the probes say; a point whose figure they do not have.
pub fn measure(act: &Act, machine: &str, models: &mut Models) -> Result<f64, Failure> {
    let key = format!("{machine} {}", act.group);
    if !models.probes.contains_key(&key) {
        let probes = probes(act.group, machine, models)?;
        models.probes.insert(key.clone(), probes);
    }
    let fits = |probe: &&Value| {
        let has = |&(name, value): &(&str, &str)| probe["parameters"][name].to_string().trim_matches('"') == value;
        probe["name"] == act.figure && act.parameters.iter().all(has)
    };
    let values = models.probes[&key].iter().filter(fits).filter_map(|probe| probe["value"].as_f64());
    let best = values.reduce(|a, b| if (a > b) == act.more { a } else { b });
    let lacks = || Failure::wrong(act.figure, &format!("no figure with {:?}", act.parameters));
    Ok(best.ok_or_else(lacks)? * act.scale)
}

/// All figures of a group.
fn probes(group: &str, machine: &str, models: &Models) -> Result<Vec<Value>, Failure> {
    let wrong = |why: String| Failure::wrong(group, &why);
    let only = Group::from_str(group, false).map_err(wrong)?;
    let options = Options::try_parse_from(["device"]).map_err(|error| wrong(error.to_string()))?;
    let options = Options { only: Some(only), ..options };
    let report = run_machine(&options, models.machine(machine)?)?.to_json();
    Ok(report["probes"].as_array().cloned().unwrap_or_default())
}
