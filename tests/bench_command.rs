//! `warpferry bench`: the fields that its JSON promises, files and plots of a sweep, the comparison, and errors that name what was
//! typed. Method: small worlds on the emulator, through the program.
#![cfg(feature = "cli")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SMALL: [&str; 11] =
    ["bench", "--backend", "emu", "--gpus-per-node", "2", "--hidden", "64", "--experts", "8", "--topk", "2"];

fn warpferry(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warpferry")).args(words).output().expect("the program was built beside this test")
}

fn small(more: &[&str]) -> Output {
    warpferry(&[&SMALL[..], more].concat())
}

/// What a run that succeeds prints.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(more: &[&str]) -> Value {
    let text = said(&small(&[&["--json"], more].concat()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{more:?}: {error}: {text}"))
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("warpferry-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        Folder(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the system's folder for such things is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_json_has_the_named_fields() {
    let record = json(&["--tokens", "16", "--sms", "4"]);
    for field in [
        "dispatch_us",
        "combine_us",
        "dispatch_gbs_logical",
        "combine_gbs_logical",
        "ib_gbs_wire",
        "nvlink_gbs",
        "sms",
        "sm_ms",
        "buffer_bytes",
        "layout_us",
        "exchange_us",
        "dispatch_kernel_us",
        "dispatch_cached_us",
    ] {
        assert!(record[field].as_f64() > Some(0.0), "{field} in {record}");
    }
    assert_eq!((&record["sms"], &record["dispatch_sms"], &record["combine_sms"]), (&4.into(), &4.into(), &4.into()));
    assert_eq!((&record["verified"], &record["backend"]), (&true.into(), &"emu".into()));
    let [us, sm_ms] = ["dispatch_us", "dispatch_sm_ms"].map(|field| record[field].as_f64().expect("a number"));
    assert!((sm_ms - 4.0 * us / 1000.0).abs() < 1e-9, "{record}");
}

#[test]
fn every_gate_runs_and_is_named() {
    for (words, gate) in [
        (&["--node-limit", "1"][..], "node-limited:1"),
        (&["--gate", "node-limited", "--node-limit", "2"], "node-limited:2"),
        (&["--gate", "zipf:1.5"], "zipf:1.5"),
        (&["--gate", "all-to-one"], "all-to-one"),
        (&[], "uniform"),
    ] {
        let record = json(&[&["--tokens", "8"], words].concat());
        assert_eq!((&record["gate"], &record["verified"]), (&gate.into(), &true.into()), "{words:?}");
    }
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/routing_v3_e256_k8.safetensors");
    let trace = trace.display().to_string();
    let words = ["bench", "--json", "--backend", "emu", "--hidden", "16", "--tokens", "8", "--gate", &trace];
    let record: Value = serde_json::from_str(&said(&warpferry(&words))).expect("JSON");
    assert_eq!((&record["experts"], &record["topk"]), (&256.into(), &8.into()));
    assert_eq!(record["gate"], "trace routing_v3_e256_k8.safetensors");
}

#[test]
fn a_sweep_gives_a_record_each_and_its_files() {
    let folder = Folder::new("sweep");
    let (out, plots) = (folder.file("a.csv"), folder.file("plots"));
    let records = json(&["--tokens", "8,16", "--sms", "1,2", "--out", &out, "--plots", &plots]);
    let found: Vec<_> = records
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| (record["tokens"].as_u64(), record["sms"].as_u64()))
        .collect();
    let want = [(8, 1), (8, 2), (16, 1), (16, 2)].map(|(tokens, sms)| (Some(tokens), Some(sms)));
    assert_eq!(found, want);
    let lines = std::fs::read_to_string(&out).expect("written").lines().count();
    assert_eq!(lines, 1 + want.len());
    for name in ["bench-tokens.svg", "bench-sms.svg"] {
        let picture = std::fs::read_to_string(Path::new(&plots).join(name)).expect("written");
        assert!(picture.starts_with("<svg") && picture.contains("logical bandwidth"), "{name}");
    }
    let table = said(&small(&["--tokens", "8,16"]));
    assert!(table.contains("dispatch us") && table.lines().count() == 5, "{table}");
}

#[test]
fn results_are_compared_by_workload() {
    let folder = Folder::new("compare");
    let (old, new, other) = (folder.file("old.json"), folder.file("new.csv"), folder.file("other.json"));
    for (file, tokens, sms) in [(&old, "16", "1"), (&new, "16", "4"), (&other, "8", "1")] {
        said(&small(&["--tokens", tokens, "--sms", sms, "--out", file]));
    }
    let table = said(&warpferry(&["bench", "--compare", &old, &new]));
    assert!(table.contains("dispatch_sms 1 -> 4"), "{table}");
    let same = said(&warpferry(&["bench", "--compare", &old, &old, "--fail-slower"]));
    assert!(same.contains("same within noise") && !same.contains("faster"), "{same}");
    let pairs: Value =
        serde_json::from_str(&said(&warpferry(&["bench", "--json", "--compare", &new, &old]))).expect("JSON");
    let slower = ["dispatch", "combine"].iter().any(|op| pairs[0][op]["verdict"] == "slower");
    let failed = !warpferry(&["bench", "--compare", &new, &old, "--fail-slower"]).status.success();
    assert_eq!(slower, failed, "{pairs}");
    let refused = warpferry(&["bench", "--compare", &old, &other]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("tokens 8 -> 16"), "{why}");
}

#[test]
fn errors_name_what_was_typed() {
    for (words, says) in [
        (&["--gate", "zip"][..], "valid are uniform, node-limited, zipf:ALPHA, all-to-one"),
        (&["--gate", "uniform", "--node-limit", "2"], "`--node-limit` = 2"),
        (&["--machine", "h900"], "h800-cx7, h100-cx7, h200-cx7, b200-cx7, generic"),
        (&["--machine", "generic", "--gpu", "0"], "`--machine`"),
        (&["--sms", "0"], "`--sms` = 0"),
        (&["--sms", "4,x"], "invalid digit"),
        (&["--tokens", "8,8"], "8 twice"),
        (&["--out", "a.txt"], "ends in .json or .csv"),
        (&["--repeats", "0"], "1..=100000"),
        (&["--fail-slower"], "--compare"),
        (&["--compare", "a.json"], "2 values"),
        (&["--tokens", "8192", "--hidden", "524288"], "GiB are needed"),
    ] {
        let output = warpferry(&[&["bench"], words].concat());
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && why.contains(says) && !why.contains("panicked"), "{words:?}: {why}");
    }
}
