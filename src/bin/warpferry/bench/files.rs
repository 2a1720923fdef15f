//! Records in files: JSON or CSV, by the end of the name.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use warpferry::bench::Record;
use warpferry::{Error, Result};

use super::csv;

/// A file that records will be written to.
#[derive(Debug, Clone)]
pub struct Written {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Csv,
}

impl Written {
    /// By the end of the name.
    pub fn new(path: &Path) -> Result<Written> {
        Ok(Written { path: path.to_path_buf(), kind: kind(path)? })
    }

    /// Writes it.
    pub fn write(&self, records: &[Record]) -> Result<()> {
        let text = match self.kind {
            Kind::Json => json(records)? + "\n",
            Kind::Csv => csv::write(records)?,
        };
        fs::write(&self.path, text).map_err(|error| file(&self.path, error.to_string()))
    }
}

/// Records of a file.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let kind = kind(path)?;
    let text = fs::read_to_string(path).map_err(|error| file(path, error.to_string()))?;
    match kind {
        Kind::Json => from_json(&text).map_err(|error| file(path, format!("no records: {error}"))),
        Kind::Csv => csv::read(&text).map_err(|why| file(path, format!("no records: {why}"))),
    }
}

/// One object, of several records a list of them.
pub fn json(records: &[Record]) -> Result<String> {
    let text = match records {
        [one] => serde_json::to_string_pretty(one),
        several => serde_json::to_string_pretty(several),
    };
    text.map_err(|error| Error::Bug(format!("a record that is no JSON: {error}")))
}

fn from_json(text: &str) -> serde_json::Result<Vec<Record>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<serde_json::Value>),
        One(serde_json::Value),
    }
    match serde_json::from_str(text)? {
        OneOrMany::One(one) => Ok(vec![serde_json::from_value(one)?]),
        OneOrMany::Many(many) => many.into_iter().map(serde_json::from_value).collect(),
    }
}

fn kind(path: &Path) -> Result<Kind> {
    match path.extension().and_then(|end| end.to_str()) {
        Some("json") => Ok(Kind::Json),
        Some("csv") => Ok(Kind::Csv),
        _ => Err(Error::argument("file", path.display(), "a name that ends in .json or .csv")),
    }
}

fn file(path: &Path, message: String) -> Error {
    Error::File { path: path.display().to_string(), message }
}
