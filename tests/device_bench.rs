//! The device benches in small: every group runs, every probe gives right data, and the result file has what its readers
//! rely on, on the emulator, on a GPU where one is asked for, and on the stand-in for the CUDA driver library. How long
//! anything takes is no matter here.
#![cfg(feature = "cli")]

#[cfg(feature = "cuda")]
#[path = "shared/skip.rs"]
mod skip;
#[cfg(feature = "cuda")]
#[path = "shared/standin.rs"]
mod standin;
#[path = "../benches/device/suite.rs"]
mod suite;

use std::collections::BTreeSet;

use clap::{Parser, ValueEnum};
use serde_json::Value;
use suite::{Group, Options};

fn options(words: &[&str]) -> Options {
    Options::try_parse_from([&["device", "--tiny"], words].concat()).unwrap_or_else(|error| panic!("{error}"))
}

fn strings(entries: &Value, key: &str) -> BTreeSet<String> {
    let entries = entries.as_array().expect("a list of results");
    entries.iter().map(|entry| entry[key].as_str().expect("a word").to_string()).collect()
}

/// Every group has results.
fn check_groups(file: &Value) {
    let groups: BTreeSet<String> =
        strings(&file["probes"], "group").union(&strings(&file["operations"], "group")).cloned().collect();
    let expected: BTreeSet<String> = Group::ALL.iter().map(|group| group.name().to_string()).collect();
    assert_eq!(groups, expected);
}

/// Method: the whole suite as CI can run it; the file is read back.
#[test]
fn every_group_runs_and_is_in_the_file() {
    let path = std::env::temp_dir().join(format!("warpferry-device-bench-{}.json", std::process::id()));
    let words = ["--backend", "emu", "--commit", "abc123", "--json", path.to_str().expect("a plain path")];
    let options = options(&words);
    let report = suite::run(&options).unwrap_or_else(|failure| panic!("{failure}"));
    report.write(options.json.as_deref()).unwrap_or_else(|failure| panic!("{failure}"));
    let text = std::fs::read_to_string(&path).expect("the file was written");
    std::fs::remove_file(&path).expect("the file was written");
    let file: Value = serde_json::from_str(&text).expect("the file is JSON");

    assert_eq!((&file["schema"], &file["commit"], &file["backend"]), (&1.into(), &"abc123".into(), &"emu".into()));
    for key in ["device", "date", "command", "times"] {
        assert!(file[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {}", file[key]);
    }
    assert!(file["times"].as_str().is_some_and(|said| said.contains("virtual")), "{}", file["times"]);
    check_groups(&file);
    for list in ["probes", "operations"] {
        for entry in file[list].as_array().expect("a list of results") {
            for key in ["value", "min", "max"] {
                assert!(entry[key].is_number(), "{key} in {entry}");
            }
            assert!(entry["parameters"].is_object() && entry["median_of"].as_u64() > Some(0), "{entry}");
            assert!(entry["unit"].as_str().is_some_and(|unit| unit.starts_with("virtual ")), "{entry}");
        }
    }
    // Only what needs a GPU is left out, and it is named.
    let skipped = strings(&file["skips"], "what");
    assert_eq!(skipped, BTreeSet::from(["gemm: cublas".to_string()]));
}

#[test]
fn operations_are_compared_with_the_plain_copy() {
    let report = suite::run(&options(&["--backend", "emu", "--only", "operations"]))
        .unwrap_or_else(|failure| panic!("{failure}"));
    let file = report.to_json();
    let operations = file["operations"].as_array().expect("a list of results");
    assert_eq!(strings(&file["operations"], "name").len(), 3);
    for entry in operations {
        let number = |key: &str| entry[key].as_f64().unwrap_or_else(|| panic!("{key} in {entry}"));
        assert!(number("gb_per_s") > 0.0 && number("copy_gb_per_s") > 0.0, "{entry}");
        // Times are virtual: they have no share of a limit and no goal.
        assert!(entry.get("share_of_copy").is_none() && entry.get("goal").is_none(), "{entry}");
    }
    // The copies that they were compared with are in the file too.
    assert_eq!(strings(&file["probes"], "group"), BTreeSet::from(["copy".to_string()]));
}

/// Where there is a GPU this has nothing to see.
#[cfg(feature = "cuda")]
#[test]
fn a_backend_that_is_absent_is_told_in_the_file() {
    if warpferry::driver::cuda::summary().is_ok() {
        return skip::skipped("a backend that is absent", "there is a GPU");
    }
    let path = std::env::temp_dir().join(format!("warpferry-device-absent-{}.json", std::process::id()));
    let failure = suite::run(&options(&["--backend", "cuda", "--json", path.to_str().expect("a plain path")]));
    let failure = failure.expect_err("there is no GPU").to_string();
    let text = std::fs::read_to_string(&path).expect("the file was written");
    std::fs::remove_file(&path).expect("the file was written");
    let file: Value = serde_json::from_str(&text).expect("the file is JSON");
    assert_eq!((&file["backend"], &file["failure"]), (&"cuda".into(), &failure.into()));
    assert_eq!(file["operations"], Value::Array(Vec::new()));
}

#[test]
fn groups_have_one_name_on_the_command_line_and_in_results() {
    for group in Group::ALL {
        let value = group.to_possible_value().expect("every group can be asked for");
        assert_eq!(value.get_name(), group.name());
    }
    assert!(Options::try_parse_from(["device", "--only", "everything"]).is_err());
}

/// `WARPFERRY_BACKEND` says where: `auto` (the default) takes a GPU when there is one, `cuda` fails without one, `emu` asks
/// for none.
#[cfg(feature = "cuda")]
#[test]
fn on_a_gpu() {
    let backend = std::env::var("WARPFERRY_BACKEND").unwrap_or_else(|_| "auto".to_string());
    if backend == "emu" {
        return skip::skipped("device bench on cuda", "WARPFERRY_BACKEND=emu");
    }
    warpferry::driver::cuda::use_all_hardware_queues();
    if let Err(error) = warpferry::driver::cuda::Gpu::open(0) {
        assert!(backend != "cuda", "WARPFERRY_BACKEND=cuda: {error}");
        return skip::skipped("device bench on cuda", error);
    }
    let report = suite::run(&options(&["--backend", "cuda"])).unwrap_or_else(|failure| panic!("{failure}"));
    let file = report.to_json();
    assert_eq!(file["backend"], "cuda");
    check_groups(&file);
    report.write(None).unwrap_or_else(|failure| panic!("{failure}"));
    println!("device benches ran on {}", file["device"]);
}

/// Method: taking memory and loading wait for running kernels, as a GPU's driver may: nothing of the sort may happen
/// beside a kernel that waits for a peer.
#[cfg(feature = "cuda")]
#[test]
fn on_the_stand_in() {
    let Some(folder) = standin::folder() else { return };
    let own = std::env::current_exe().expect("a test has a program");
    let output = std::process::Command::new(own)
        .args(["on_a_gpu", "--exact", "--nocapture"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env("WARPFERRY_BACKEND", "cuda")
        .env("WARPFERRY_CUDA_EMU_STRICT_SYNC", "1")
        .output()
        .expect("the test's own program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("device benches ran on"), "{said}");
    // What the stand-in gives is never taken for a measurement.
    assert!(said.contains("virtual counters") && said.contains("virtual GB/s"), "{said}");
}
