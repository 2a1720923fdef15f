//! Every test of the suite comes out as its comment says it must.

use std::path::{Path, PathBuf};

use warpferry_litmus::{parse, run, Options, Verdict};

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
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
fn every_file_is_decided_as_it_expects() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/litmus");
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    assert!(files.len() >= 100, "{} files in {}", files.len(), folder.display());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.strip_prefix(&folder).unwrap_or(file).display().to_string();
        let text = std::fs::read_to_string(file).expect("a readable file");
        let test = match parse(&name, &text) {
            Ok(test) => test,
            Err(error) => {
                wrong.push(error.to_string());
                continue;
            }
        };
        let report = run(&test, &Options::default());
        if test.expectation.holds.is_none() {
            wrong.push(format!("{name}: no `expect: holds` or `expect: fails` in a comment"));
        }
        if let Verdict::Undecided(why) = &report.verdict {
            wrong.push(format!("{name}: undecided: {why}"));
        }
        wrong.extend(report.unmet(&test).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "warpferry emu litmus --states:\n{}", wrong.join("\n"));
}
