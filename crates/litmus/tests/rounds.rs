//! Loops that write: how far they are followed before a verdict rests on what was not seen.

use std::time::Duration;

use warpferry_litmus::{parse, run, Options, Report, Verdict};

/// The verdict of a test of one thread that counts up to `last`, and of another.
fn counted(last: i64, other: &str, leaves: &str, condition: &str) -> Report {
    let text = format!(
        "PTX counted
         {{ x=0; y=0; }}
          P0@cta 0,gpu 0              | P1@cta 1,gpu 0 ;
          L:                          | {other} ;
          {leaves}                    | ;
          atom.relaxed.gpu.add r0, x, 1 | ;
          bne r0, {last}, L           | ;
          E:                          | ;
         {condition}"
    );
    let test = parse("counted.litmus", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    run(&test, &Options { budget: 100_000, ..Options::default() })
}

#[test]
fn a_loop_is_followed_until_an_execution_ends() {
    // Rounds see 0 to 4, so it always ends with 5: in its fifth round.
    for (condition, verdict) in [
        ("exists (x == 5)", Verdict::Holds),
        ("~exists (x == 5)", Verdict::Fails),
        ("forall (x == 5)", Verdict::Holds),
        ("forall (x == 77)", Verdict::Fails),
        ("exists (x == 4)", Verdict::Fails),
    ] {
        let report = counted(4, "", "", condition);
        assert_eq!(report.verdict, verdict, "{condition}: {report:?}");
    }
}

/// What leaves the loop when the other thread has written.
const LEAVES: &str = "ld.relaxed.gpu r1, y | ; beq r1, 1, E";
const WRITES: &str = "st.relaxed.gpu y, 1";

#[test]
fn a_loop_that_may_be_left_early_is_followed_to_its_last_round() {
    for (condition, verdict) in [
        ("exists (x == 4)", Verdict::Holds),
        ("~exists (x == 4)", Verdict::Fails),
        ("exists (x == 5)", Verdict::Fails),
        ("forall (x != 5)", Verdict::Holds),
    ] {
        let report = counted(3, WRITES, LEAVES, condition);
        assert_eq!(report.verdict, verdict, "{condition}: {report:?}");
    }
}

#[test]
fn states_that_come_for_ever_leave_the_verdict_open() {
    for (other, leaves) in [("", ""), (WRITES, LEAVES)] {
        let report = counted(1000, other, leaves, "~exists (x == 77)");
        assert!(matches!(&report.verdict, Verdict::Undecided(why) if why.contains("followed")), "{report:?}");
    }
}

#[test]
fn the_time_is_up_at_last() {
    let place = |thread: usize| format!("P{thread}@cta {thread},gpu 0");
    let columns: Vec<String> = (0..6).map(place).collect();
    let row = |text: &dyn Fn(usize) -> String| (0..6).map(text).collect::<Vec<_>>().join(" | ");
    let text = format!(
        "PTX many\n{{ x=0; }}\n{} ;\n{} ;\n{} ;\n{} ;\n~exists (P0:r0 == 9)",
        columns.join(" | "),
        row(&|thread| format!("st.weak x, {}", thread + 1)),
        row(&|_| "ld.weak r0, x".to_string()),
        row(&|_| "ld.weak r1, x".to_string()),
    );
    let test = parse("many.litmus", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let options = Options { budget: u64::MAX, time: Some(Duration::from_millis(50)), ..Options::default() };
    let report = run(&test, &options);
    assert!(matches!(&report.verdict, Verdict::Undecided(why) if why.contains("the time is up")), "{report:?}");
}

#[test]
fn a_lock_that_is_tried_again_and_again_shows_nothing_new() {
    let text = "PTX lock
        { lock=0; x=0; P0:r1=0; P1:r1=0; }
         P0@cta 0,gpu 0                   | P1@cta 1,gpu 0 ;
         L:                               | L: ;
         atom.acquire.gpu.exch r0, lock, 1 | atom.acquire.gpu.exch r0, lock, 1 ;
         bne r0, 0, L                     | bne r0, 0, L ;
         ld.weak r1, x                    | ld.weak r1, x ;
         st.weak x, 1                     | st.weak x, 1 ;
         st.release.gpu lock, 0           | st.release.gpu lock, 0 ;
        ~exists (P0:r1 == 0 /\\ P1:r1 == 0)";
    let test = parse("lock.litmus", text).unwrap_or_else(|error| panic!("{error}"));
    let report = run(&test, &Options::default());
    assert_eq!(report.verdict, Verdict::Holds, "{report:?}");
}
