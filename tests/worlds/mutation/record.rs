//! What became of mutants, one line of JSON each in a file, so that a long run can be stopped and taken up again.
//!
//! A line counts as long as its kernel is the same and, for what was caught, the run that did it is still one of the runs;
//! a survivor's only as long as all runs are the same. Asked for strictly, a line counts only with the same runs and the
//! same machine: what stands behind the page in docs.

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
    /// Caught by a checker, in a run: its number among the runs as they were, and the hash of its case.
    Caught {
        checker: String,
        run: usize,
        #[serde(default)]
        case: u64,
        what: String,
    },
    /// No run goes wrong.
    Survives,
    /// No run comes by: a trap in its place survives too.
    Unreached,
}

/// What a mutant was tried with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct With {
    /// Hash of the runs.
    #[serde(rename = "suite")]
    pub runs: u64,
    /// Hash of the sources of the emulator, the NIC and the worlds.
    #[serde(default)]
    pub machine: u64,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub kernel: String,
    /// Of the kernel's text.
    pub hash: u64,
    #[serde(flatten)]
    pub with: With,
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

    /// What is known of a mutant, if it still counts. `cases`: the hashes of the runs.
    pub fn known(&self, like: &Line, cases: &[u64], strictly: bool) -> Option<&Line> {
        let line = self.before(like)?;
        let counts = match &line.fate {
            _ if strictly => line.with == like.with,
            Fate::Caught { case, .. } => cases.contains(case),
            Fate::Survives | Fate::Unreached => line.with.runs == like.with.runs,
        };
        counts.then_some(line)
    }

    /// What was found of a mutant of this kernel, whether or not it still counts.
    pub fn before(&self, like: &Line) -> Option<&Line> {
        self.known.get(&like.key()).filter(|line| line.hash == like.hash)
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
