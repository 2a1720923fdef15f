//! Coverage of kernels by whatever this process runs on the emulator.
//!
//! With `WARPFERRY_COVERAGE` naming a folder, every emulated cluster marks which instructions of its kernels run; at its
//! end what no cluster of this process has done before goes into the process's file there, a record a line. `cargo run -p
//! xtask -- coverage` puts the files together. Nothing here may end a test: what cannot be written is said as a warning,
//! and shows up as code that was not covered.

#[allow(dead_code)] // the workspace's chores read what this writes
pub mod record;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use warpferry_emu::Covered;

use record::{fingerprint, Record};

/// What is known of each instruction of a kernel: executed, passed over.
type Known = BTreeMap<(String, u64), Vec<(bool, bool)>>;

static KNOWN: Mutex<Known> = Mutex::new(Known::new());

/// The folder, when coverage is wanted.
fn folder() -> Option<&'static PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER
        .get_or_init(|| std::env::var_os("WARPFERRY_COVERAGE").filter(|name| !name.is_empty()).map(PathBuf::from))
        .as_ref()
}

/// Whether clusters are to mark what runs.
pub fn is_wanted() -> bool {
    folder().is_some()
}

/// Writes down what a cluster's runs of a kernel add to what is known.
pub fn keep(kernel: &str, text: &str, covered: &[Covered]) {
    let Some(folder) = folder() else { return };
    let text = fingerprint(text);
    let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_new = !all.contains_key(&(kernel.to_string(), text));
    let known = all.entry((kernel.to_string(), text)).or_insert_with(|| vec![(false, false); covered.len()]);
    let mut lines = String::new();
    for (index, (instruction, known)) in covered.iter().zip(known).enumerate() {
        let now = (known.0 || instruction.executed, known.1 || instruction.passed);
        if now == *known && !is_new {
            continue;
        }
        *known = now;
        let record = Record {
            kernel: kernel.to_string(),
            text,
            index,
            executed: now.0,
            passed: now.1,
            file: instruction.location.file.clone(),
            line: instruction.location.line,
            instruction: instruction.location.instruction.clone(),
        };
        lines.push_str(&format!("{record}\n"));
    }
    if lines.is_empty() {
        return;
    }
    let path = folder.join(format!("{}.coverage", std::process::id()));
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::OpenOptions::new().create(true).append(true).open(&path))
        .and_then(|mut file| file.write_all(lines.as_bytes()));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "coverage was not written");
    }
}
