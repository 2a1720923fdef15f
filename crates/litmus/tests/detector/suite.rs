//! The files of the suite.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use warpferry_litmus::parse;

use crate::{compare, seeds, Compared};

/// The litmus files under a folder.
pub fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the suite is in the repository") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "litmus") {
            into.push(path);
        }
    }
}

#[test]
fn the_race_check_agrees_with_the_model_on_the_suite() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/litmus");
    let only = std::env::var("LITMUS_FILE").ok();
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    let (mut racy, mut clean, mut left_out, mut differ) = (0, 0, 0, Vec::new());
    for file in &files {
        let name = file.strip_prefix(&folder).unwrap_or(file).display().to_string();
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let text = std::fs::read_to_string(file).expect("a readable file");
        let test = parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        match compare(&test, seeds(30)) {
            Compared::Agree(true) => racy += 1,
            Compared::Agree(false) => clean += 1,
            Compared::Differ(how) => differ.push(format!("{name}: {how}")),
            Compared::LeftOut(why) => {
                // Past the test runner's capture, so that it is seen and counted.
                let _ = writeln!(std::io::stderr(), "skipped: {name} on the emulator: {why}");
                left_out += 1;
            }
        }
    }
    println!("{racy} racy and {clean} race-free tests agree, {left_out} left out");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(only.is_some() || racy + clean >= 120, "{racy} racy, {clean} clean, {left_out} left out");
}
