//! A machine that shows too much is found out: the runs of a weaker program, held against the model of a stronger one.

use warpferry_litmus::{parse, run, Options};
use warpferry_litmus_play::{compare, parse_schedule, replay, schedule_text, tally, Plan, Standing};

/// Message passing with this store and this load of the flag.
fn message(store: &str, load: &str) -> String {
    format!(
        "PTX message\n{{ data=0; flag=0; }}\n P0@cta 0,gpu 0 | P1@cta 0,gpu 1 ;\n st.weak data, 7 | ld.{load} r0, flag ;\n \
         st.{store} flag, 1 | ld.weak r1, data ;\nexists (P1:r0 == 1 /\\ P1:r1 == 0)\n"
    )
}

/// The forbidden outcome that runs of the second program show, where the first one's model is asked.
fn wrong(model: &str, played: &str) -> Option<String> {
    let test = parse("model", model).expect("a valid test");
    let report = run(&test, &Options::default());
    let weaker = parse("played", played).expect("a valid test");
    let tally = tally(&weaker, Plan { runs: 200, seed: 1 }).expect("it is played");
    let outcomes = compare(&test, &report, &Options::default(), &tally);
    let outcome = outcomes.iter().find(|outcome| outcome.is_wrong())?;
    assert!(outcome.matches && outcome.values == [1, 0], "{outcome:?}");
    // The schedule that is printed shows it again.
    let word = schedule_text(&outcome.shown.as_ref().expect("it was shown").first);
    let again = replay(&weaker, parse_schedule(&word).expect("what was printed")).expect("it is played");
    assert!(again.runs == 1 && again.states.contains_key(&outcome.values), "{word}");
    Some(word)
}

#[test]
fn a_missing_acquire_or_release_or_a_narrow_scope_is_seen() {
    let right = message("release.sys", "acquire.sys");
    for (store, load) in [
        ("release.sys", "relaxed.sys"),
        ("relaxed.sys", "acquire.sys"),
        ("release.gpu", "acquire.sys"),
        ("release.sys", "acquire.cta"),
        ("weak", "acquire.sys"),
    ] {
        assert!(wrong(&right, &message(store, load)).is_some(), "st.{store}, ld.{load}");
    }
    assert_eq!(wrong(&right, &right), None);
}

#[test]
fn forbidden_outcomes_are_named_though_nobody_shows_them() {
    let test = parse("message", &message("release.sys", "acquire.sys")).expect("a valid test");
    let report = run(&test, &Options::default());
    let tally = tally(&test, Plan { runs: 40, seed: 1 }).expect("it is played");
    let outcomes = compare(&test, &report, &Options::default(), &tally);
    let of = |standing| outcomes.iter().filter(move |outcome| outcome.standing == standing);
    let forbidden: Vec<_> = of(Standing::Forbidden).map(|outcome| outcome.values.clone()).collect();
    assert_eq!((forbidden, of(Standing::Allowed).count()), (vec![vec![1, 0]], 3));
    // Where the model was cut short, nothing is called forbidden.
    let cut = warpferry_litmus::Report { complete: false, ..report };
    assert!(compare(&test, &cut, &Options::default(), &tally)
        .iter()
        .all(|outcome| outcome.standing != Standing::Forbidden));
}

/// The hardware counts arrivals; the model pairs the n-th ones.
#[test]
fn barriers_that_the_hardware_counts_otherwise_are_refused() {
    let of = |first: &str, second: &str| {
        let head = "PTX barrier\n{ x=0; }\n P0@cta 0,gpu 0 | P1@cta 0,gpu 0 | P2@cta 0,gpu 0 ;\n";
        let rows = format!(" {first} | {second} | st.weak x, 1 ;\n {second} | {first} | {second} ;\n");
        let test = parse("barrier", &format!("{head}{rows}exists (x == 0)\n")).expect("a valid test");
        tally(&test, Plan { runs: 8, seed: 1 }).map(|tally| tally.stuck)
    };
    let refused = |first: &str, second: &str, part: &str| {
        let why = of(first, second).expect_err("it is refused").to_string();
        assert!(why.contains(part), "{first}, {second}: {why}");
    };
    refused("bar.cta.arrive 1", "bar.cta.sync 1", "comes there again");
    refused("ld.weak r0, x", "bar.cta.sync 1, 1, 2", "more threads at a barrier");
    refused("bar.cta.sync 2", "bar.cta.sync 2", "differently often");
    refused("ld.weak r0, x", "bar.cta.sync r0", "in a register");
    assert_eq!(of("ld.weak r0, x", "bar.cta.sync 1"), Ok(0));
    assert_eq!(of("ld.weak r0, x", "bar.cta.sync 1, 1, 4"), Ok(8));
}

/// In the model the NIC is a thread that waits for the doorbell; so is an execution that nobody rang for not over.
#[test]
fn an_entry_that_nobody_rings_for_leaves_the_run_without_an_end() {
    let of = |rings: &str| {
        let head = "PTX post\n{ data=0 @ gpu 0; remote=0 @ gpu 1; q @ queue; }\n P0@cta 0,gpu 0 | P1@cta 0,gpu 1 ;\n";
        let post = " st.weak data, 1 | ld.weak r1, remote ;\n nic.write q, remote, data | ;\n st.release.sys q.record, 1 | ;\n";
        let text = format!("{head}{post} fence.acq_rel.sys | ;\n {rings} | ;\nexists (P1:r1 == 1)\n");
        let test = parse("post", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let tally = tally(&test, Plan { runs: 40, seed: 1 }).expect("it is played");
        let states = run(&test, &Options::default()).states.len();
        (states, tally.states.len(), tally.stuck)
    };
    assert_eq!(of("st.mmio.relaxed.sys q.doorbell, 1"), (2, 2, 0));
    assert_eq!(of("st.weak data, 1"), (0, 0, 40));
}
