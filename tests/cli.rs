//! The program: small worlds through `demo`, bad arguments, `doctor`.
#![cfg(feature = "cli")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn warpferry(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warpferry")).args(words).output().expect("the program was built beside this test")
}

/// `demo --json` of an emulated world; panics when it fails.
fn demo(words: &[&str]) -> Value {
    let output = warpferry(&[&["demo", "--json", "--backend", "emu"], words].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn error(words: &[&str]) -> String {
    let output = warpferry(words);
    assert!(!output.status.success(), "{words:?} was taken");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn small_worlds_are_verified_and_move_the_least() {
    for words in [
        &["--nodes", "2", "--gpus-per-node", "2", "--hidden", "64", "--tokens", "32"][..],
        &["--nodes", "1", "--gpus-per-node", "1", "--hidden", "8", "--tokens", "5", "--experts", "3", "--topk", "3"],
        &["--nodes", "3", "--gpus-per-node", "1", "--hidden", "264", "--tokens", "9", "--experts", "6", "--topk", "2"],
        &["--hidden", "16", "--tokens", "16", "--roles", "fixed", "--seed", "7", "--unordered", "--chunk", "1"],
        &["--hidden", "16", "--tokens", "16", "--roles", "rfs,s,f", "--channels", "3", "--sms", "2"],
    ] {
        let report = demo(words);
        assert_eq!(report["verified"], true, "{words:?}");
        for op in ["dispatch", "combine"] {
            for fabric in ["ib_bytes", "nvlink_bytes"] {
                let least = format!("{fabric}_min");
                assert_eq!(report[op][fabric], report[op][&least], "{words:?}: {op} {fabric}");
            }
            // What was counted is what the choices cost.
            let cost = &report["cost"][op];
            assert_eq!(report[op]["ib_slot_bytes"], cost["between"]["bytes"], "{words:?}: {op}");
            assert_eq!(report[op]["peer_bytes"], cost["within"]["bytes"], "{words:?}: {op}");
        }
        for key in ["ranks", "rows_dispatched", "ib_bytes", "ib_bytes_min", "nvlink_bytes", "nvlink_bytes_min"] {
            assert!(report[key].is_u64(), "{words:?}: {key} in {report}");
        }
        assert!(report["warp_instructions"].as_u64() > Some(0) && report["seconds"].as_f64() > Some(0.0));
    }
}

/// Nobody can tell rows between nodes from rows within where all are stores to memory: those counts are null.
#[test]
fn loopback_worlds_are_verified_and_count_what_can_be_told() {
    for words in [
        &["--hidden", "64", "--tokens", "16"][..],
        &["--nodes", "3", "--gpus-per-node", "1", "--experts", "6", "--topk", "2", "--tokens", "7", "--hidden", "264"],
    ] {
        let report = demo(&[&["--fabric", "loopback"], words].concat());
        assert_eq!((&report["verified"], &report["fabric"]), (&true.into(), &"loopback".into()), "{words:?}");
        assert!(report["ib_bytes"].is_null() && report["nvlink_bytes"].is_null(), "{report}");
        assert!(report["dispatch"]["peer_bytes"].as_u64() > Some(0), "{report}");
    }
}

/// Method: what may travel, by the words of `--help`; every result says itself what was verified.
#[test]
fn the_demo_moves_whatever_it_is_told_to() {
    for (words, key, value) in [
        ("--payload fp16 --combine fp16", "payload", "fp16"),
        ("--payload fp32 --combine fp32", "sum", "fp32"),
        ("--payload bytes:48", "payload", "bytes:48"),
        ("--payload fp8-e4m3", "payload", "fp8 e4m3 with f32 scales"),
        ("--payload fp8-e5m2 --scales ue8m0", "payload", "fp8 e5m2 with ue8m0 scales"),
        (
            "--payload fp8-quantize --scales power-of-two",
            "payload",
            "bf16 as fp8 e4m3 with f32 scales that are powers of two",
        ),
        ("--layout experts --align 4 --bias 2", "layout", "by expert, aligned to 4"),
    ] {
        let report = demo(&[&["--hidden", "144", "--tokens", "4"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
        assert_eq!((&report["verified"], &report[key]), (&true.into(), &value.into()), "{words}: {report}");
    }
    let report = demo(&["--hidden", "16", "--tokens", "4", "--bound", "200", "--layout", "experts", "--align", "8"]);
    assert_eq!((&report["verified"], &report["bound"]), (&true.into(), &200.into()), "{report}");
    assert!(report["graph_replays"].is_null(), "{report}");
    let report = demo(&["--hidden", "16", "--tokens", "4", "--bound", "200", "--graph", "3"]);
    assert_eq!((&report["verified"], &report["graph_replays"]), (&true.into(), &3.into()), "{report}");
    let report = demo(&["--hidden", "16", "--tokens", "4", "--in-flight", "3", "--cached", "--layout", "experts"]);
    assert_eq!((&report["verified"], &report["in_flight"], &report["cached"]), (&true.into(), &3.into(), &true.into()));
    for (words, says) in [
        ("--payload fp4", "valid are bf16, fp16, fp32, fp8-e4m3, fp8-e5m2, fp8-quantize and bytes:N"),
        ("--payload bytes:20", "a multiple of 16 bytes"),
        ("--scales ue8m0", "none: rows are bf16"),
        ("--payload fp8-e4m3 --scales power-of-two", "f32 or ue8m0"),
        ("--align 2", "--layout experts"),
        ("--layout experts --align 5000", "1 to 4096"),
        ("--bias 3", "0..=2"),
        ("--bound 0", "1 to 2147483647 rows"),
        ("--tokens 4 --hidden 16 --bound 3", "a bound of 3; rows beyond it were dropped"),
        ("--in-flight 0", "1..=64"),
    ] {
        let output = warpferry(&[&["demo", "--backend", "emu"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(says), "{words}: {said}");
    }
}

/// Rows that land cost fewer instructions and about half of the bytes written; with no room, or by expert, rows go through
/// rings all the same.
#[test]
fn the_demo_tells_what_landing_saves() {
    let words = |more: &'static [&'static str]| {
        [&["--hidden", "1024", "--tokens", "64", "--experts", "32", "--topk", "4"], more].concat()
    };
    let per_token = |op: &Value, what: &str| op[what].as_f64().unwrap_or_else(|| panic!("{what} in {op}"));
    let staged = demo(&words(&["--landing", "staged"]));
    for fabric in ["mlx5", "loopback"] {
        let report = demo(&[&words(&["--landing", "direct", "--fabric"])[..], &[fabric]].concat());
        let (landing, op) = (&report["landing"], &report["dispatch"]);
        assert_eq!((&report["verified"], &landing["mode"]), (&true.into(), &"direct".into()));
        assert_eq!((&landing["outputs"], &landing["outputs_landed"]), (&8.into(), &8.into()));
        for (what, least, most) in [("written_bytes_per_token", 0.4, 0.75), ("warp_instructions_per_token", 0.3, 1.0)] {
            let share = per_token(op, what) / per_token(landing, &format!("staged_{what}"));
            assert!(least < share && share < most, "{fabric}: {what} is {share} of that of staged");
            if fabric == "mlx5" && what.starts_with("written") {
                let own = per_token(&staged["dispatch"], what) / per_token(landing, &format!("staged_{what}"));
                assert!((0.99..1.01).contains(&own), "a staged demo says {own} of it");
            }
        }
    }
    for (more, outputs) in
        [(&["--landing", "direct:16"][..], 0), (&["--landing", "direct", "--in-flight", "2", "--cached"], 32)]
    {
        let report = demo(&[&["--hidden", "64", "--tokens", "32"][..], more].concat());
        assert_eq!(
            (&report["verified"], &report["landing"]["outputs_landed"]),
            (&true.into(), &outputs.into()),
            "{more:?}"
        );
    }
    let report = demo(&["--hidden", "64", "--tokens", "8", "--landing", "direct", "--layout", "experts"]);
    assert_eq!((&report["verified"], &report["landing"]["mode"]), (&true.into(), &"staged".into()));
    for (value, valid) in [("direct:9", "multiple of 16"), ("direct:", "direct:ROWS"), ("near", "direct:ROWS")] {
        let said = error(&["demo", "--landing", value]);
        assert!(said.contains(value) && said.contains(valid), "{said}");
    }
}

#[test]
fn the_demo_says_what_ran_it() {
    let report = demo(&["--hidden", "8", "--tokens", "4"]);
    assert_eq!((&report["backend"], &report["device"]), (&"emu".into(), &"emulated cluster".into()));
    assert_eq!((&report["fabric"], &report["jit"]), (&"mlx5".into(), &false.into()));
    assert!(report["times"].as_str().is_some_and(|times| times.contains("emulator")), "{report}");
    let output = warpferry(&["--backend", "emu", "--hidden", "8", "--tokens", "4"]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("backend  emulated cluster (--backend emu was given)"), "{table}");
}

#[test]
fn the_demo_needs_no_command_and_says_how_to_repeat_it() {
    let words =
        "--json --hidden 8 --tokens 4 --roles rfs,s,f --depth-ib 8 --depth-nv 4 --chunk 2 --unordered --no-checks";
    let output = warpferry(&words.split(' ').collect::<Vec<&str>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    for (key, value) in [("chunk_ib", 2), ("chunk_nv", 2), ("depth_ib", 8), ("depth_nv", 4), ("workers", 3)] {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!((&report["roles"], &report["unordered"]), (&"rfs,s,f".into(), &true.into()));
    assert_eq!((&report["checks"], &report["verified"]), (&false.into(), &true.into()));
}

#[test]
fn the_table_says_verified() {
    let words = ["demo", "--backend", "emu", "--hidden", "8", "--tokens", "4", "--nodes", "1", "--gpus-per-node", "2"];
    let output = warpferry(&words);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.lines().any(|line| line.starts_with("verified")), "{table}");
    // What it needs is said before what it did.
    assert!(table.find("\nmemory") < table.find("\nrows "), "{table}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    for words in [&["demo", "--hidden", "8", "--tokens", "4"][..], &["demo", "--hidden", "8", "--json"], &["doctor"]] {
        let (reader, writer) = std::io::pipe().expect("the system has pipes");
        drop(reader);
        let program = Command::new(env!("CARGO_BIN_EXE_warpferry"))
            .args(words)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built beside this test");
        let output = program.wait_with_output().expect("the program ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
        assert!(!output.status.success(), "{words:?} printed to nobody");
    }
}

#[test]
fn bad_arguments_are_named() {
    for (words, part) in [
        (&["demo", "--nodes", "3", "--gpus-per-node", "2"][..], "experts"),
        (&["demo", "--hidden", "7"], "hidden"),
        (&["demo", "--topk", "33"], "topk"),
        (&["demo", "--depth-nv", "3"], "`--depth-nv`"),
        (&["demo", "--chunk", "0"], "`--chunk` = 0"),
        (&["demo", "--sms", "0"], "`--sms` = 0"),
        (&["demo", "--routing", concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")], "not a safetensors file"),
        (&["demo", "--roles", "sf,x"], "`x`"),
        (&["demo", "--routing", "no-such-file"], "no-such-file"),
        (&["demo", "--nodes", "0"], "nodes"),
        (&["demo", "--backend", "cuda", "--unordered"], "`--unordered`"),
        (&["demo", "--backend", "cuda", "--no-checks"], "`--no-checks`"),
        (&["demo", "--backend", "emu", "--gpu", "0"], "`--gpu`"),
        (&["demo", "--backend", "emu", "--jit"], "`--jit`"),
        (&["demo", "--backend", "gpu"], "gpu"),
        (&["demo", "--fabric", "ib"], "ib"),
        (&["demo", "--timeout-s", "0"], "--timeout-s"),
    ] {
        let said = error(words);
        assert!(said.contains(part) && !said.contains("panicked"), "{words:?}: {said}");
    }
}

#[test]
fn sizes_beyond_memory_are_refused() {
    // Terabytes of rows; where the system does not say what is available there is nothing to refuse by.
    if !std::path::Path::new("/proc/meminfo").exists() {
        return;
    }
    let output = warpferry(&[
        "demo",
        "--backend",
        "emu",
        "--tokens",
        "1048576",
        "--hidden",
        "524288",
        "--experts",
        "8",
        "--topk",
        "1",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error:") && !said.contains("panicked"), "{said}");
    for part in ["tokens", "hidden", "GiB are needed", "GiB are available"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn recorded_routing_is_dealt_or_refused() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/routing_v3_e256_k8.safetensors");
    let report = demo(&["--routing", sample, "--hidden", "8", "--tokens", "64", "--nodes", "4"]);
    assert_eq!((&report["verified"], &report["experts"], &report["topk"]), (&true.into(), &256.into(), &8.into()));
    let few = error(&["demo", "--routing", sample, "--hidden", "8", "--tokens", "129"]);
    assert!(few.contains("`tokens` = 129") && few.contains("128"), "{few}");
    let odd = error(&["demo", "--routing", sample, "--hidden", "8", "--nodes", "3", "--gpus-per-node", "1"]);
    assert!(odd.contains("`experts` = 256"), "{odd}");
}

/// Method: choices of a gate are all valid, so their number is known; what went along a handle is not counted.
#[test]
fn the_load_is_measured_on_the_device() {
    for extra in [&[][..], &["--bound", "600"], &["--in-flight", "2", "--cached"], &["--layout", "experts"]] {
        let world = ["--hidden", "16", "--tokens", "16", "--gate", "zipf:1", "--experts", "16", "--topk", "4"];
        let report = demo(&[&world[..], extra].concat());
        let calls = if extra.contains(&"--cached") { 2 } else { 1 };
        let load = &report["load_measured"];
        assert_eq!((&report["verified"], &load["calls"]), (&true.into(), &calls.into()), "{extra:?}: {load}");
        let sum = |counts: &serde_json::Value| -> u64 {
            counts.as_array().map_or(0, |counts| counts.iter().filter_map(serde_json::Value::as_u64).sum())
        };
        assert_eq!(load["expert_pairs"].as_array().map(Vec::len), Some(16), "{load}");
        assert_eq!(sum(&load["expert_pairs"]), calls * 8 * 16 * 4, "{load}");
        let sent: u64 = load["rows_sent"].as_array().map_or(0, |ranks| ranks.iter().map(sum).sum());
        assert_eq!(sum(&load["rank_rows"]), sent, "{load}");
    }
    let output = warpferry(&["demo", "--backend", "emu", "--hidden", "8", "--tokens", "4", "--gate", "node-limited:1"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for begin in ["cost     dispatch between nodes", "limit    against gate uniform: ", "load on the device: expert "] {
        assert!(table.lines().any(|line| line.starts_with(begin)), "{begin}: {table}");
    }
}

#[test]
fn gates_are_drawn_or_refused() {
    let world = ["--hidden", "8", "--tokens", "16", "--nodes", "4", "--gpus-per-node", "2"];
    let run = |gate: &str| demo(&[&world[..], &["--experts", "64", "--topk", "8", "--gate", gate]].concat());
    let limited = run("node-limited:2");
    assert_eq!(
        (&limited["verified"], &limited["load"]["nodes_per_token_most"]),
        (&true.into(), &2.into()),
        "{limited}"
    );
    let share = &limited["cost"]["share_of_unlimited"];
    assert_eq!(share["gate"], "uniform", "{limited}");
    assert!(share["between"].as_f64() < Some(0.7) && share["between_most"].as_f64() < Some(0.8), "{share}");
    let one = run("all-to-one");
    assert!(one["cost"]["share_of_unlimited"].is_null(), "{one}");
    assert_eq!((&one["verified"], &one["load"]["rank_skew"]), (&true.into(), &8.0.into()), "{one}");
    let few = error(&["demo", "--nodes", "2", "--gate", "node-limited:3"]);
    assert!(few.contains("`node limit` = 3") && few.contains("1 to 2"), "{few}");
    let both = error(&["demo", "--gate", "uniform", "--routing", "FILE"]);
    assert!(both.contains("--gate") && both.contains("--routing"), "{both}");
}

#[test]
fn doctor_reports_every_part() {
    let output = warpferry(&["doctor", "--json"]);
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let parts: Vec<&str> =
        report["findings"].as_array().into_iter().flatten().filter_map(|f| f["what"].as_str()).collect();
    for part in ["kernels", "emulator", "gpu", "driver", "queues", "nic", "verbs", "ptxas"] {
        assert!(parts.contains(&part), "{part} in {parts:?}");
    }
    assert!(report["gpus"].is_array() && report["conclusion"].is_string(), "{report}");
}

#[test]
fn the_demo_checks_races_and_says_so() {
    let small = ["--nodes", "2", "--gpus-per-node", "1", "--hidden", "8", "--tokens", "6", "--channels", "2"];
    let with = |more: &[&str]| demo(&[&small[..], more].concat());
    let report = with(&["--races", "--seed", "3", "--schedule-seed", "9"]);
    assert_eq!((&report["races_checked"], &report["verified"]), (&true.into(), &true.into()));
    assert_eq!((&report["seed"], &report["schedule_seed"]), (&3.into(), &9.into()));
    let plain = with(&["--seed", "3"]);
    assert_eq!((&plain["races_checked"], &plain["schedule_seed"]), (&false.into(), &3.into()));
    // The same rows under another schedule.
    assert_eq!(report["rows_dispatched"], plain["rows_dispatched"]);
    assert!(error(&["demo", "--backend", "cuda", "--races"]).contains("`--races`"));
    assert!(error(&["demo", "--races", "--no-checks"]).contains("--no-checks"));
}

#[test]
fn a_race_of_any_program_is_reported_with_the_line_that_repeats_it() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("two lanes.ptx");
    let text = "
        .version 8.2
        .target sm_90
        .address_size 64
        .visible .entry k(.param .u64 arg) {
            .reg .u64 p; .reg .u32 t;
            ld.param.u64 p, [arg];
            mov.u32 t, %tid.x;
            BARRIER
            st.global.u32 [p], t;
            ret;
        }";
    std::fs::write(&file, text.replace("BARRIER", "")).expect("the folder is there");
    let path = file.to_str().expect("a plain name");
    let words = ["emu", "run", path, "--block", "2", "--arg", "zeros:4", "--seed", "5"];
    assert!(warpferry(&words).status.success(), "without the check it runs");
    let said = error(&[&words[..], &["--races"]].concat());
    for part in [
        "data race: no release/acquire path from the first access to the second",
        "(1) earlier: gpu 0 k cta [0, 0, 0] thread [0, 0, 0] (warp 0 lane 0) writes (weak, generic proxy) at",
        "(2) now:     gpu 0 k cta [0, 0, 0] thread [1, 0, 0] (warp 0 lane 1) writes (weak, generic proxy) at",
        "two lanes.ptx:10: st.global.u32 [p], t",
        "schedule: random, seed 5",
        &format!("replay: warpferry emu run '{path}' --block 2 --arg zeros:4 --seed 5 --races"),
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    let output = warpferry(&[&words[..], &["--races", "--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&report["status"], &report["race"]["second"]["line"]), (&"race".into(), &10.into()));
    assert_eq!(report["race"]["first"]["proxy"], "generic");
    std::fs::write(
        &file,
        text.replace("BARRIER", "setp.ne.u32 q, t, 0; @q ret;").replace("u32 t;", "u32 t; .reg .pred q;"),
    )
    .expect("the folder is there");
    let clean = warpferry(&[&words[..], &["--races", "--json"]].concat());
    let report: Value = serde_json::from_slice(&clean.stdout).expect("one JSON object");
    assert_eq!((&report["status"], &report["races_checked"]), (&"ok".into(), &true.into()));
}

/// A fault names the argument whose buffer is too small, and the line that repeats the run.
#[test]
fn a_fault_of_any_program_names_the_argument_and_the_line_that_repeats_it() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("past the end.ptx");
    let text = "
        .version 8.2
        .target sm_90
        .address_size 64
        .visible .entry k(.param .u64 into, .param .u64 from) {
            .reg .u64 p; .reg .u32 t;
            ld.param.u64 p, [from];
            mov.u32 t, %tid.x;
            mad.wide.u32 p, t, 4, p;
            ld.global.u32 t, [p];
            ret;
        }";
    std::fs::write(&file, text).expect("the folder is there");
    let path = file.to_str().expect("a plain name");
    let words = ["emu", "run", path, "--block", "32", "--arg", "zeros:128", "--arg"];
    assert!(warpferry(&[&words[..], &["zeros:128"]].concat()).status.success());
    let said = error(&[&words[..], &["zeros:120"]].concat());
    for part in [
        "out of bounds",
        "thread [30, 0, 0]",
        "0 bytes behind the end of the buffer of argument 1, which has 120 bytes",
        &format!("replay: warpferry emu run '{path}' --block 32 --arg zeros:128 --arg zeros:120"),
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn what_emu_run_cannot_take_is_named() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("nothing.ptx");
    let path = file.to_str().expect("a plain name");
    let text = ".version 8.2\n.target sm_90\n.address_size 64\n.entry k(.param .u32 n) { ret; }";
    std::fs::write(&file, text).expect("the folder is there");
    assert!(warpferry(&["emu", "run", path, "--arg", "u32:7"]).status.success());
    for (words, part) in [
        (&["--arg", "u32:abc"][..], "valid is 0 to 4294967295"),
        (&["--arg", "s8:300"], "300 does not fit in 8 bits: valid is -128 to 255"),
        (&["--arg", "u64:1"], "argument 0 has 8 bytes, parameter n of the entry has 4"),
        (&[], "0 arguments given, the entry takes 1: n (4 bytes)"),
        (&["--arg", "u32:1", "--grid", "5000000000"], "a dimension is 1 to 4294967295"),
        (&["--arg", "u32:1", "--grid", "1,1,1,1"], "more than three dimensions"),
        (&["--arg", "u32:1", "--dump", "0="], "valid is INDEX=FILE"),
        (&["--arg", "u32:1", "--dump", "0=x"], "argument 0 is no buffer"),
        (&["--arg", "u32:1", "--dump", "3=x"], "1 arguments are given, counted from 0"),
    ] {
        let said = error(&[&["emu", "run", path], words].concat());
        assert!(said.contains(part), "{words:?}: `{part}` is not in:\n{said}");
    }
    std::fs::write(&file, text.replace("sm_90", "sm_999")).expect("the folder is there");
    let said = error(&["emu", "run", path, "--arg", "u32:7"]);
    assert!(said.contains(".target sm_999: no such target"), "{said}");
    std::fs::write(&file, [0xff, 0xfe, 0]).expect("the folder is there");
    let said = error(&["emu", "run", path, "--arg", "u32:7"]);
    assert!(said.contains("is no PTX text"), "{said}");
}

/// Store buffering by two CTAs: both may read 0, unless each has a `fence.sc` between its store and its load.
#[test]
fn all_results_of_a_small_program_are_explored() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let text = "
        .version 8.2
        .target sm_90
        .address_size 64
        .visible .entry k(.param .u64 arg) {
            .reg .u64 p, mine, other; .reg .u32 index, seen;
            ld.param.u64 p, [arg];
            mov.u32 index, %ctaid.x;
            mad.wide.u32 mine, index, 4, p;
            xor.b32 index, index, 1;
            mad.wide.u32 other, index, 4, p;
            st.relaxed.gpu.global.u32 [mine], 1;
            FENCE
            ld.relaxed.gpu.global.u32 seen, [other];
            st.global.u32 [mine+8], seen;
            ret;
        }";
    let file = folder.join("store buffering.ptx");
    let path = file.to_str().expect("a plain name");
    let dump = format!("0={}", folder.join("store buffering.out").display());
    let words = ["emu", "run", path, "--grid", "2", "--arg", "zeros:16", "--dump", &dump, "--weak", "--json"];
    for (fence, expected) in [("", &["00", "01", "10", "11"][..]), ("fence.sc.gpu;", &["01", "10", "11"])] {
        std::fs::write(&file, text.replace("FENCE", fence)).expect("the folder is there");
        let output = warpferry(&[&words[..], &["--explore", "10000"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(report["all"], true, "{report}");
        let results = report["results"].as_array().expect("a list");
        let mut seen: Vec<String> = (0..results.len())
            .map(|number| {
                let bytes =
                    std::fs::read(folder.join(format!("store buffering.out.{number}"))).expect("it was written");
                format!("{}{}", bytes[8], bytes[12])
            })
            .collect();
        for (number, result) in results.iter().enumerate() {
            let choices = result["choices"].as_str().expect("words");
            assert!(warpferry(&[&words[..], &["--choices", choices]].concat()).status.success(), "{choices}");
            let again = std::fs::read(folder.join("store buffering.out")).expect("it was written");
            assert_eq!(format!("{}{}", again[8], again[12]), seen[number], "{choices}");
        }
        seen.sort();
        assert_eq!(seen, expected, "`{fence}`");
        // What an exploration with more results left is gone.
        let more = folder.join(format!("store buffering.out.{}", results.len()));
        assert!(!more.exists(), "{}", more.display());
    }
    // A run that fails is named by its choices, and they repeat it.
    std::fs::write(
        &file,
        text.replace("FENCE", "")
            .replace("st.global.u32 [mine+8], seen;", "setp.eq.u32 both, seen, 0; @both trap;")
            .replace("seen;", "seen; .reg .pred both;"),
    )
    .expect("the folder is there");
    let run = ["emu", "run", path, "--grid", "2", "--arg", "zeros:16", "--weak"];
    let said = error(&[&run[..], &["--explore", "100"]].concat());
    let choices = said.split("--choices ").nth(1).and_then(|rest| rest.lines().next()).expect("choices are named");
    assert!(error(&[&run[..], &["--choices", choices]].concat()).contains("trap"), "{choices}");
    for (more, part) in [
        (&[][..], "--seed N"),
        (&["--explore", "0"], "0"),
        (&["--explore", "5", "--seed", "1"], "--seed"),
        (&["--deviations", "5", "--seed", "1"], "--explore"),
        (&["--choices", "0,x"], "valid is a list of numbers"),
    ] {
        let said = error(&[&["emu", "run", path, "--grid", "2", "--arg", "zeros:16", "--weak"], more].concat());
        assert!(said.contains(part), "{more:?}: {said}");
    }
}

#[test]
fn tune_names_what_is_wrong_or_missing() {
    for (words, parts) in [
        (&["--machine", "a100"][..], ["`--machine` = a100", "h800-cx7"]),
        (&["--machine", "b200-cx7", "--gate", "node-limited"], ["`--gate` = node-limited", "--node-limit"]),
        (&["--machine", "b200-cx7", "--axis", "depth=1"], ["`depth` is no axis", "depth_ib"]),
        (&["--machine", "b200-cx7", "--axis", "channels=8,4"], ["`channels` = [8, 4]", "ascend"]),
        (&["--machine", "b200-cx7", "--objective", "best"], ["`best` is no objective", "least-sms:PERCENT"]),
        (&["--machine", "b200-cx7", "--experts", "255"], ["`experts` = 255", "16 ranks"]),
    ] {
        let said = error(&[&["tune"], words].concat());
        assert!(parts.iter().all(|part| said.contains(part)), "{words:?}: {said}");
    }
}

/// A search over a small space of a small world: the setting, its time, and how much was tried.
#[test]
fn tune_finds_a_setting() {
    let world =
        ["--nodes", "2", "--gpus-per-node", "1", "--tokens", "24", "--hidden", "64", "--experts", "8", "--topk", "2"];
    let axes =
        ["--axis", "channels=4,8", "--axis", "dispatch_sms=2,4", "--axis", "combine_sms=2,4", "--axis", "workers=7"];
    let few = ["--axis", "roles=0", "--axis", "landing=0", "--axis", "stage_bytes=8192", "--budget", "8", "--json"];
    let found = warpferry(&[&["tune", "--machine", "generic"][..], &world, &axes, &few].concat());
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("one JSON object");
    assert!(found["predicted_us"].as_f64().expect("a time") > 0.0, "{found}");
    let tried = found["points_tried"].as_u64().expect("a number");
    assert!((1..=8).contains(&tried) && found["points_total"].as_u64() > Some(tried), "{found}");
    assert!([4, 8].contains(&found["setting"]["channels"].as_u64().expect("channels")), "{found}");
}
