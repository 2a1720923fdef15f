//! Settings that were found, by what they are for: a TOML file, and the lookup in it.
//!
//! A lookup takes the entry of the same key, or the nearest whose setting fits, or says that there is none; it never invents.

mod distance;
mod lookup;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::outcome::{Outcome, Predicted};
use crate::error::{Error, Result};
use crate::plan::Setting;

pub use distance::{distance, DISTANCE_MAX};
#[cfg(test)]
pub(super) use lookup::stored_by;
pub use lookup::{stored, Difference, Fit, Origin, Stored, Wanted, VARIABLE};

/// Version of the file.
const FORMAT: u32 = 1;

/// A setting and what it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What was made small.
    pub objective: String,
    /// What measured.
    pub measure: String,
    /// What it is for.
    pub key: Key,
    /// The setting.
    pub setting: Setting,
    /// What was measured with it.
    pub predicted: Predicted,
}

impl From<&Outcome> for Entry {
    fn from(outcome: &Outcome) -> Entry {
        Entry {
            objective: outcome.objective.clone(),
            measure: outcome.measure.clone(),
            key: outcome.workload.clone(),
            setting: outcome.setting.clone(),
            predicted: outcome.predicted,
        }
    }
}

/// Entries in order of their keys, one a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    format: u32,
    #[serde(default, rename = "entry", skip_serializing_if = "Vec::is_empty")]
    entries: Vec<Entry>,
}

impl Default for Store {
    fn default() -> Store {
        Store { format: FORMAT, entries: Vec::new() }
    }
}

impl Store {
    /// From TOML; `name` is named in errors.
    ///
    /// # Errors
    /// [`Error::File`] for what is no store, or one of another format.
    pub fn from_toml(name: &str, text: &str) -> Result<Store> {
        let failed = |message: String| Error::File { path: name.to_string(), message };
        let mut store: Store =
            toml::from_str(text).map_err(|error| failed(format!("no store of settings: {error}")))?;
        if store.format != FORMAT {
            return Err(failed(format!("a store of format {}; valid is {FORMAT}", store.format)));
        }
        store.entries.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some(pair) = store.entries.windows(2).find(|pair| pair[0].key == pair[1].key) {
            return Err(failed(format!("two entries for {}", pair[0].key)));
        }
        Ok(store)
    }

    /// As TOML.
    ///
    /// # Errors
    /// [`Error::Bug`] for what TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Bug(format!("a store is no TOML: {error}")))
    }

    /// Reads a file; one that is not there is an empty store.
    ///
    /// # Errors
    /// [`Error::File`] for one that cannot be read or is no store.
    pub fn load(path: &Path) -> Result<Store> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Store::from_toml(&name, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Store::default()),
            Err(error) => Err(Error::File { path: name, message: error.to_string() }),
        }
    }

    /// Writes the file anew, in one step: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let failed =
            |error: std::io::Error| Error::File { path: path.display().to_string(), message: error.to_string() };
        let text = self.to_toml()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut beside = path.as_os_str().to_os_string();
        beside.push(format!(".{}", std::process::id()));
        std::fs::write(&beside, text).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }

    /// Adds an entry, in place of one with the same key.
    pub fn put(&mut self, entry: Entry) {
        match self.entries.binary_search_by(|known| known.key.cmp(&entry.key)) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// All entries, in order of their keys.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of exactly this key.
    pub fn exact(&self, key: &Key) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == *key)
    }

    /// Entries within reach of a key, nearest first; of equally near ones in order of their keys.
    pub fn near(&self, key: &Key) -> Vec<(f64, &Entry)> {
        let reached = self.entries.iter().filter_map(|entry| Some((distance(key, &entry.key)?, entry)));
        let mut near: Vec<(f64, &Entry)> = reached.collect();
        near.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        near
    }
}
