//! `emu litmus`: what it prints of tests that are played on the emulator, and of those that are not.
#![cfg(feature = "cli")]

use std::process::{Command, Output};

use serde_json::Value;

fn litmus(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warpferry"))
        .args(["emu", "litmus"])
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program was built beside this test")
}

/// What it prints about files that are as they should be.
fn lines(words: &[&str]) -> String {
    let output = litmus(words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn outcomes_are_allowed_or_forbidden_and_seen_or_not() {
    let text = lines(&["tests/litmus/sb-fence-sc.litmus", "--seed", "3"]);
    assert!(
        text.starts_with("tests/litmus/sb-fence-sc.litmus  Ok        required     Always    3/0  forall ("),
        "{text}"
    );
    assert!(text.contains("- seen 3 of 3 allowed outcomes, no forbidden one (400 runs, seed 3"), "{text}");
    assert!(text.contains("!> P0:r0=0; P1:r0=0;  forbidden, not seen\n"), "{text}");
    assert!(text.contains("*> P0:r0=0; P1:r0=1;  allowed, seen "), "{text}");
    let text = lines(&["tests/litmus/lb-relaxed.litmus", "--runs", "60"]);
    assert!(text.contains("*> P0:r0=1; P1:r0=1;  allowed, not seen (the emulator executes in order)\n"), "{text}");
    assert!(text.contains("seen 3 of 4 allowed outcomes, no forbidden one (60 runs, seed 1"), "{text}");
}

#[test]
fn without_runs_only_the_model_is_asked() {
    let text = lines(&["tests/litmus/sb-relaxed.litmus", "--runs", "0"]);
    assert!(text.lines().count() == 1 && text.contains("  Ok        allowed      Sometimes 1/3  exists ("), "{text}");
    let text = lines(&["tests/litmus/sb-relaxed.litmus", "--runs", "0", "--states"]);
    assert!(text.contains("*> P0:r0=0; P1:r0=0;\n") && !text.contains("seen"), "{text}");
}

#[test]
fn what_cannot_be_played_says_why() {
    let text = lines(&["tests/litmus/proxy-surface-fenced.litmus"]);
    assert!(text.contains("- not run: an access through the surface proxy\n"), "{text}");
}

#[test]
fn one_run_is_repeated_by_its_schedule() {
    let text = lines(&["tests/litmus/sb-relaxed.litmus", "--replay", "explore:"]);
    assert!(text.contains("seen 1 of 4 allowed outcomes, no forbidden one (1 run)"), "{text}");
    let outcomes = |text: &str| text.lines().filter(|line| line.ends_with("seen 1 time")).count();
    assert_eq!((outcomes(&text), &text), (1, &lines(&["tests/litmus/sb-relaxed.litmus", "--replay", "explore:0"])));
    for words in [&["--replay", "lazy"][..], &["--replay", "plain", "--runs", "3"]] {
        assert!(!litmus(&[&["tests/litmus/sb-relaxed.litmus"], words].concat()).status.success(), "{words:?}");
    }
}

#[test]
fn json_says_the_same() {
    let text = lines(&[
        "--json",
        "--runs",
        "50",
        "tests/litmus/sb-fence-sc.litmus",
        "tests/litmus/proxy-surface-fenced.litmus",
    ]);
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let [played, refused] = &objects[..] else { panic!("{text}") };
    let times: u64 = played["states"].as_array().into_iter().flatten().filter_map(|state| state["seen"].as_u64()).sum();
    assert_eq!((&played["verdict"], times), (&"Ok".into(), 50), "{played}");
    let forbidden = &played["others"][0];
    assert_eq!((&forbidden["standing"], &forbidden["seen"]), (&"forbidden".into(), &0.into()), "{played}");
    let emulator = &played["emulator"];
    assert_eq!((&emulator["runs"], &emulator["seed"], &emulator["stuck"]), (&50.into(), &1.into(), &0.into()));
    assert_eq!((&emulator["forbidden_seen"], &emulator["not_run"]), (&false.into(), &Value::Null));
    assert!(refused["emulator"]["not_run"].as_str().is_some_and(|why| why.contains("surface")), "{refused}");
    assert!(refused["states"][0]["seen"].is_null() && refused["others"].is_null(), "{refused}");
}

/// What is allowed is not lost behind forbidden outcomes that nobody has seen.
#[test]
fn allowed_outcomes_come_first() {
    let text = lines(&["tests/litmus/iriw-fence-sc.litmus", "--runs", "20", "--states"]);
    let outcomes: Vec<&str> = text.lines().filter(|line| line.contains("> P")).collect();
    let first = outcomes.iter().position(|line| line.contains("forbidden, not seen")).expect("a forbidden outcome");
    assert!(first > 0 && outcomes[first..].iter().all(|line| line.contains("forbidden")), "{text}");
}
