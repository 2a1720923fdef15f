//! The suite in weak memory: nothing forbidden is shown, and what a broken variant allows is.
//!
//! Not shown are states in which a read returns a write that is issued behind it, in its own thread or through another
//! (`async/read-then-load-unfenced` and four more with `LITMUS_SEEDS=150 LITMUS_RUNS=1500`): weak memory executes in order.

use std::collections::BTreeSet;
use std::path::PathBuf;

use warpferry_emu::{Exploration, Schedule};
use warpferry_litmus::{parse, run, Options};

use crate::suite::collect;
use crate::world::{execute, Mode, Outcome};

/// Folders of the suite whose tests have bulk copies, mbarriers, warps or NICs.
const FOLDERS: [&str; 6] = ["async", "bulk", "claim", "mbarrier", "nic", "window"];

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

#[test]
fn weak_memory_shows_what_the_model_allows() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/litmus");
    let only = std::env::var("LITMUS_FILE").ok();
    let (seeds, runs) = (number("LITMUS_SEEDS", 12), number("LITMUS_RUNS", 60));
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|of| collect(&folder.join(of), &mut files));
    files.sort();
    let (mut tests, mut shown, mut allowed, mut unseen) = (0, 0, 0, Vec::new());
    for file in &files {
        let name = file.strip_prefix(&folder).unwrap_or(file).display().to_string();
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let text = std::fs::read_to_string(file).expect("a readable file");
        let test = parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let report = run(&test, &Options::default());
        let states: BTreeSet<Vec<i64>> = report.states.iter().map(|state| state.values.clone()).collect();
        let mut seen = BTreeSet::new();
        let mut check = |schedule: Schedule| {
            let ran = execute(&test, Mode::Weak, schedule.clone());
            let ran = ran.unwrap_or_else(|error| panic!("{name}, {schedule:?}: {error}"));
            let (outcome, machine) = ran.unwrap_or_else(|| panic!("{name}: no PTX for one of its instructions"));
            match outcome {
                Outcome::State(state) => _ = seen.insert(state),
                Outcome::Stuck => {}
                // Only where entries race with the NIC.
                Outcome::Broken(problem) => assert!(report.race.is_some(), "{name}, {schedule:?}: {problem}"),
                Outcome::Race(race) => panic!("{name}: the race check is off: {race}"),
            }
            let wrong = seen.difference(&states).next();
            let replay = "cargo test -p warpferry-litmus --test detector weak";
            assert!(wrong.is_none(), "LITMUS_FILE={name} {replay}\n{schedule:?}: {wrong:?} is forbidden\n{text}");
            (machine, seen == states)
        };
        let mut all = false;
        for seed in 1..=seeds {
            all |= check(Schedule::Random { seed }).1;
        }
        let mut exploration = Exploration::new(runs).deviations(2);
        while let (false, Some(schedule)) = (all, exploration.schedule()) {
            let (machine, every) = check(schedule);
            exploration.ran(&machine);
            all = every;
        }
        tests += 1;
        shown += seen.len();
        allowed += states.len();
        if !all {
            unseen.push(name);
        }
    }
    println!("{tests} tests showed {shown} of {allowed} allowed states; not all of: {}", unseen.join(", "));
    assert!(only.is_some() || shown * 10 >= allowed * 9, "{shown} of {allowed}: {}", unseen.join(", "));
}
