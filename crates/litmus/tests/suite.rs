//! Every test of the suite comes out as its comment says it must.

use std::path::PathBuf;

use warpferry_litmus::{parse, run, Options, Verdict};

#[test]
fn every_file_is_decided_as_it_expects() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/litmus");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the suite is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "litmus"))
        .collect();
    files.sort();
    assert!(files.len() >= 30, "{} files in {}", files.len(), folder.display());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
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
