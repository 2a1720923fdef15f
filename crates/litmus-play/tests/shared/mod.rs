//! The files of the suite, and numbers from the environment.

use std::io::Write as _;
use std::path::PathBuf;

use warpferry_litmus::{parse, Test};

#[path = "../../../litmus/tests/shared/files.rs"]
mod files;

/// A number from the environment.
pub fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// The tests of the suite with their names, in the order of these; `LITMUS_FILE=PART` leaves those whose names have it.
pub fn suite() -> Vec<(String, Test)> {
    let folder = files::folder();
    let only = std::env::var("LITMUS_FILE").ok();
    let files = files::files();
    let name = |file: &PathBuf| file.strip_prefix(&folder).unwrap_or(file).display().to_string();
    let is_wanted = |name: &String| only.as_ref().is_none_or(|only| name.contains(only));
    let wanted = files.iter().map(|file| (name(file), file)).filter(|(name, _)| is_wanted(name));
    wanted
        .map(|(name, file)| {
            let text = std::fs::read_to_string(file).expect("a readable file");
            let test = parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
            (name, test)
        })
        .collect()
}

/// Whether [`suite`] has all tests.
pub fn is_whole() -> bool {
    std::env::var("LITMUS_FILE").is_err()
}

/// Says that a test is left out, past the test runner's capture, so that it is seen and counted.
pub fn skipped(name: &str, why: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "skipped: {name} on the emulator: {why}");
}
