//! A file to which each measured operation is appended, so that a search that was cut goes on where it was.
//!
//! One JSON object a line: first what the numbers depend on, then one line a measurement. The last line may be cut short, by
//! a process that was ended while it wrote; it is dropped. A journal of something else is refused, and what differs is named.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::axis::AXES;
use super::sample::Known;
use super::space::OpKey;
use crate::error::{Error, Result};
use crate::plan::Op;

/// Version of the file.
const FORMAT: u32 = 1;

/// What measurements depend on. Axes are not in it: a point's numbers mean the same in every space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub format: u32,
    pub version: String,
    pub measure: String,
    pub workload: String,
    pub load: String,
}

impl Header {
    pub fn new(measure: String, workload: String, load: String) -> Header {
        Header { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_string(), measure, workload, load }
    }

    /// The first thing in which another header differs: its name, its value there, and here.
    fn difference(&self, there: &Header) -> Option<(&'static str, String, String)> {
        let items = [
            ("format", there.format.to_string(), self.format.to_string()),
            ("version", there.version.clone(), self.version.clone()),
            ("measure", there.measure.clone(), self.measure.clone()),
            ("workload", there.workload.clone(), self.workload.clone()),
            ("load", there.load.clone(), self.load.clone()),
        ];
        items.into_iter().find(|(_, there, here)| there != here)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    op: LineOp,
    at: [u32; AXES],
    #[serde(flatten)]
    known: Known,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LineOp {
    Dispatch,
    Combine,
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens or begins a journal; gives what it holds.
    pub fn open(path: &Path, header: &Header) -> Result<(Journal, HashMap<OpKey, Known>)> {
        let failed =
            |error: std::io::Error| Error::File { path: path.display().to_string(), message: error.to_string() };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        // What comes behind the last line's end was cut.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let known = read(path, whole, header)?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(whole.len() as u64).map_err(failed)?;
        let mut journal = Journal { file, path: path.to_path_buf() };
        if whole.is_empty() {
            journal.write(header)?;
        }
        Ok((journal, known))
    }

    /// Appends a measurement.
    pub fn append(&mut self, key: &OpKey, known: &Known) -> Result<()> {
        let op = if key.combine { LineOp::Combine } else { LineOp::Dispatch };
        self.write(&Line { op, at: key.values, known: known.clone() })
    }

    fn write(&mut self, value: &impl Serialize) -> Result<()> {
        let failed = |message: String| Error::File { path: self.path.display().to_string(), message };
        let mut line = serde_json::to_string(value).map_err(|error| failed(error.to_string()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(|error| failed(error.to_string()))
    }
}

fn read(path: &Path, text: &str, header: &Header) -> Result<HashMap<OpKey, Known>> {
    let mut known = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let failed = |message: String| Error::File { path: path.display().to_string(), message };
        let broken = |error: serde_json::Error| failed(format!("line {number} is no line of a journal: {error}"));
        if number == 1 {
            let there: Header = serde_json::from_str(line).map_err(broken)?;
            if let Some((name, there, here)) = header.difference(&there) {
                return Err(failed(format!("a journal of another {name}: `{there}` there, `{here}` here")));
            }
            continue;
        }
        let line: Line = serde_json::from_str(line).map_err(broken)?;
        let op = match line.op {
            LineOp::Dispatch => Op::Dispatch,
            LineOp::Combine => Op::Combine,
        };
        known.insert(OpKey { combine: op == Op::Combine, values: line.at }, line.known);
    }
    Ok(known)
}
