//! Every test of the suite comes out as its comment says it must.

#[path = "shared/files.rs"]
mod files;

use files::{files, folder};
use warpferry_litmus::{parse, run, Options, Verdict};

#[test]
fn every_file_is_decided_as_it_expects() {
    let folder = folder();
    let files = files();
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
