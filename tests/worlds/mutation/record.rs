//! What became of mutants, one line of JSON each in a file, so that a long run can be stopped and taken up again.
//!
//! A line counts as long as its kernel is the same; a survivor's only as long as the runs are the same too.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Caught by a checker, in a run.
    Caught { checker: String, run: usize, what: String },
    /// No run goes wrong.
    Survives,
    /// No run comes by: a trap in its place survives too.
    Unreached,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub kernel: String,
    /// Of the kernel's text.
    pub hash: u64,
    /// Of the runs.
    pub suite: u64,
    pub number: usize,
    pub place: String,
    pub phase: String,
    pub edge: Option<String>,
    pub text: String,
    pub kind: String,
    pub change: String,
    pub fate: Fate,
}

impl Line {
    /// What names a mutant of a kernel, as long as the kernel is the same.
    pub fn key(&self) -> String {
        format!("{} {} {} {} {}", self.kernel, self.place, self.text, self.kind, self.change)
    }
}

/// The file.
#[derive(Debug)]
pub struct Record {
    file: Mutex<File>,
    /// Lines that were there, by key.
    known: HashMap<String, Line>,
}

impl Record {
    /// Opens or makes it.
    pub fn open(path: &Path) -> Record {
        let told = |error: std::io::Error| -> ! { panic!("{}: {error}", path.display()) };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).unwrap_or_else(|error| told(error));
        }
        let known = read(path).into_iter().map(|line| (line.key(), line)).collect();
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap_or_else(|error| told(error));
        Record { file: Mutex::new(file), known }
    }

    /// What is known of a mutant, if it still counts.
    pub fn known(&self, like: &Line) -> Option<&Line> {
        let line = self.known.get(&like.key()).filter(|line| line.hash == like.hash)?;
        (matches!(line.fate, Fate::Caught { .. }) || line.suite == like.suite).then_some(line)
    }

    /// Writes a line.
    pub fn add(&self, line: &Line) {
        let text = serde_json::to_string(line).expect("a line is JSON");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{text}").unwrap_or_else(|error| panic!("the record of mutants: {error}"));
    }
}

/// Lines of a file; the last of a key counts. None when there is no file.
pub fn read(path: &Path) -> Vec<Line> {
    let Ok(text) = fs::read_to_string(path) else { return Vec::new() };
    // A run that was stopped may have left half a line.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A hash that does not change with the compiler (FNV-1a).
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
