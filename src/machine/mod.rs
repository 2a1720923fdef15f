//! Machines that time is modelled of: what their parts take, each number with its source.
//!
//! A machine is a file in `machines/`, or one of the caller's own in the same form:
//!
//! ```toml
//! name = "mine"
//! about = "what it is"
//! base = "h100-cx7"      # everything that is not said here
//!
//! [nic]
//! gbs = { value = 45.0, source = "our own test between two nodes" }
//! ```
//!
//! [`Machine::emulator`] makes a configuration of the emulator with it, whose events then give the modelled time.

mod contention;
mod file;
mod timing;

use std::path::Path;

use warpferry_emu as emu;

use crate::error::{Error, Result};
use crate::plan::Limits;
use crate::topology::Topology;
pub use contention::Beside;
use contention::Contention;
use file::Values;

/// Machines that come with the library: name and file.
const PRESETS: [(&str, &str); 5] = [
    ("h800-cx7", include_str!("../../machines/h800-cx7.toml")),
    ("h100-cx7", include_str!("../../machines/h100-cx7.toml")),
    ("h200-cx7", include_str!("../../machines/h200-cx7.toml")),
    ("b200-cx7", include_str!("../../machines/b200-cx7.toml")),
    ("generic", include_str!("../../machines/generic.toml")),
];

/// A machine whose parts have times.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    name: String,
    about: String,
    values: Values,
    sms: u32,
    shared_bytes: u32,
    memory_bytes: u64,
    timing: emu::Timing,
    contention: Contention,
}

impl Machine {
    /// Names of the machines that come with the library.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// A machine that comes with the library.
    ///
    /// # Errors
    /// [`Error::Argument`] for another name.
    pub fn named(name: &str) -> Result<Machine> {
        let found = PRESETS.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| {
            let names: Vec<&str> = Machine::names().collect();
            Error::argument("machine", name, format!("one of {}, or the path of a .toml file", names.join(", ")))
        })?;
        Machine::parse(name, text)
    }

    /// A machine that comes with the library, by its name, or one of a file, by a path that ends in `.toml`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not known, or for what a file lacks or has wrong.
    pub fn find(name: &str) -> Result<Machine> {
        if !name.ends_with(".toml") {
            return Machine::named(name);
        }
        let text = std::fs::read_to_string(Path::new(name))
            .map_err(|error| Error::argument("machine", name, format!("a file that can be read: {error}")))?;
        Machine::parse(name, &text)
    }

    /// A machine from the text of a file; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Argument`] for what it lacks or has wrong.
    pub fn parse(origin: &str, text: &str) -> Result<Machine> {
        let mut values = file::parse(origin, text)?;
        while let Some(base) = values.base.take() {
            let (_, text) = PRESETS.iter().find(|(known, _)| **known == base).ok_or_else(|| {
                let names: Vec<&str> = Machine::names().collect();
                Error::argument("base", &base, format!("one of {} ({origin})", names.join(", ")))
            })?;
            values = values.over(file::parse(&base, text)?);
        }
        timing::machine(origin, values)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in words.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// SMs of a GPU.
    pub fn sms(&self) -> u32 {
        self.sms
    }

    /// What its parts take.
    pub fn timing(&self) -> &emu::Timing {
        &self.timing
    }

    /// A value of its file, by section and name.
    pub fn value(&self, section: &str, name: &str) -> Option<f64> {
        self.values.get(section, name).map(|value| value.value)
    }

    /// All values: section, name, value, source.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str, f64, &str)> {
        self.values.all()
    }

    /// The same machine with another value, for fitting and for questions of the kind "what if".
    ///
    /// # Errors
    /// [`Error::Argument`] for a value that there is not, or that cannot be.
    pub fn with(&self, section: &str, name: &str, value: f64) -> Result<Machine> {
        let mut values = self.values.clone();
        values.set(section, name, value)?;
        timing::machine(&self.name, values)
    }

    /// Limits of a GPU.
    pub fn limits(&self) -> Limits {
        Limits {
            name: self.name.clone(),
            sms: self.sms,
            shared_bytes: self.shared_bytes,
            memory_bytes: self.memory_bytes,
        }
    }

    /// An emulated cluster of these machines, on which events give the modelled time. Nothing is checked but bounds and
    /// rights: run without times to look for mistakes.
    pub fn emulator(&self, topology: Topology) -> emu::MachineConfig {
        let mut config = emu::MachineConfig::new(topology.nodes() as usize, topology.gpus_per_node() as usize);
        config.gpu.sms = self.sms as usize;
        config.gpu.shared_bytes_per_sm = self.shared_bytes;
        config.gpu.memory_bytes = self.memory_bytes;
        config.checks = emu::Checks::NONE;
        // A message is placed whole: its pieces would each be an act, at the same time.
        config.nic.max_write_piece_bytes = u32::MAX;
        config.nic.max_outstanding = 128;
        config.garbage_seed = 0;
        config.timing = Some(self.timing.clone());
        config
    }

    /// What a computation bound by arithmetic leaves to operations beside it.
    pub fn beside_arithmetic(&self) -> Beside {
        self.contention.arithmetic
    }

    /// What a computation bound by device memory leaves.
    pub fn beside_memory(&self) -> Beside {
        self.contention.memory
    }

    /// Part of its speed that a matrix product keeps when so many SMs are held from it.
    pub fn arithmetic_kept(&self, held_sms: u32) -> f64 {
        self.contention.arithmetic_kept(held_sms, self.sms)
    }

    /// Part of its speed that a computation bound by device memory keeps.
    pub fn memory_kept(&self, held_sms: u32) -> f64 {
        self.contention.memory_kept(held_sms)
    }

    /// The machine beside a computation.
    #[must_use]
    pub fn beside(&self, left: Beside) -> Machine {
        let mut machine = self.clone();
        let part = |rate: &mut u64, left: f64| *rate = ((*rate as f64 * left) as u64).max(1);
        part(&mut machine.timing.gpu.l2_rate, left.l2);
        part(&mut machine.timing.gpu.hbm_rate, left.hbm);
        part(&mut machine.timing.gpu.l2_bytes, left.l2);
        let longer = |time: &mut u64| *time = (*time as f64 * left.load_longer) as u64;
        longer(&mut machine.timing.gpu.l2_load_ps);
        longer(&mut machine.timing.gpu.hbm_load_ps);
        longer(&mut machine.timing.gpu.store_ps);
        longer(&mut machine.timing.gpu.l2_atomic_ps);
        machine
    }

    /// One of `parts` equal parts of each GPU and NIC, for worlds of one part of the SMs, channels and tokens.
    #[must_use]
    pub fn part(&self, parts: u32) -> Machine {
        Machine { timing: self.timing.part(parts), ..self.clone() }
    }
}

#[cfg(test)]
mod tests;
