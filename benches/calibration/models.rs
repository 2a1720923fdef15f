//! The models of machines, and what they were asked already.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;
use warpferry::bench::Record;
use warpferry::machine::Machine;
use warpferry::model::Model;
use warpferry::Result;

/// Models, and answers that several points share.
#[derive(Debug)]
pub struct Models {
    effort: u64,
    files: Vec<PathBuf>,
    set: Vec<(String, String, f64)>,
    /// By machine.
    pub(super) models: HashMap<String, Model>,
    /// Records by machine and world.
    pub(super) records: HashMap<String, Record>,
    /// Figures of the device benches by machine and group.
    pub(super) probes: HashMap<String, Vec<Value>>,
}

impl Models {
    /// Of the presets, with these files in the place of presets of the same name, and these values on all of them.
    pub fn new(files: Vec<PathBuf>, set: Vec<(String, String, f64)>) -> Models {
        Models { files, set, ..Models::default() }
    }

    /// With about so many warp instructions a run.
    #[must_use]
    pub fn effort(mut self, warp_instructions: u64) -> Models {
        self.effort = warp_instructions;
        self
    }

    /// Warp instructions of a run, about.
    pub fn warp_instructions(&self) -> u64 {
        self.effort
    }

    /// A machine.
    ///
    /// # Errors
    /// As [`Machine::find`] and [`Machine::with`].
    pub fn machine(&self, name: &str) -> Result<Machine> {
        let mut machine = Machine::named(name)?;
        for file in &self.files {
            let other = Machine::find(&file.to_string_lossy())?;
            if other.name() == name {
                machine = other;
            }
        }
        self.set.iter().try_fold(machine, |machine, (section, name, value)| machine.with(section, name, *value))
    }

    /// Makes the model of a machine, if it was not yet.
    ///
    /// # Errors
    /// As [`Models::machine`].
    pub fn model(&mut self, name: &str) -> Result<()> {
        if !self.models.contains_key(name) {
            self.models.insert(name.to_string(), Model::new(self.machine(name)?).effort(self.effort));
        }
        Ok(())
    }
}

impl Default for Models {
    fn default() -> Models {
        Models {
            effort: Model::EFFORT,
            files: Vec::new(),
            set: Vec::new(),
            models: HashMap::new(),
            records: HashMap::new(),
            probes: HashMap::new(),
        }
    }
}
