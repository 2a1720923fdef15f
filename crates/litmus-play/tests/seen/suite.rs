//! The files of the suite.

use warpferry_litmus_play::{Standing, Unplayed};

use crate::shared::{is_whole, skipped, suite};
use crate::{outcomes, unseen};

/// Tests with an outcome that is not shown, and why not.
const NOT_SHOWN: [&str; 4] = [
    // Two names of one place are one address here.
    "proxy-alias-unfenced.litmus",
    // A read returns a write that is issued behind it: the write of who was told that the read was over.
    "window/credit-gpu-scope.litmus",
    "window/credit-producer-unfenced.litmus",
    "window/credit-relaxed.litmus",
];

#[test]
fn the_suite_shows_no_forbidden_outcome_and_every_allowed_one_in_order() {
    let (mut tests, mut seen, mut allowed, mut out_of_order, mut forbidden) = (0, 0, 0, 0, 0);
    let mut left_out = 0;
    let mut not_shown = Vec::new();
    for (name, test) in suite() {
        let (outcomes, _) = match outcomes(&format!("tests/litmus/{name}"), &test, 400) {
            Ok(outcomes) => outcomes,
            Err(Unplayed::Unsuitable(why)) => {
                skipped(&name, why);
                left_out += 1;
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let count = |standing| outcomes.iter().filter(|outcome| outcome.standing == standing).count();
        tests += 1;
        out_of_order += count(Standing::AllowedOutOfOrder);
        allowed += count(Standing::Allowed) + count(Standing::AllowedOutOfOrder);
        forbidden += count(Standing::Forbidden);
        let is_allowed = |standing| matches!(standing, Standing::Allowed | Standing::AllowedOutOfOrder);
        seen += outcomes.iter().filter(|it| is_allowed(it.standing) && it.shown.is_some()).count();
        if !unseen(&outcomes).is_empty() {
            not_shown.push(name);
        }
    }
    println!(
        "{tests} tests showed {seen} of {allowed} allowed outcomes ({out_of_order} need instructions out of order), none \
         of {forbidden} forbidden ones; {left_out} tests left out; not all of: {}",
        not_shown.join(", ")
    );
    if is_whole() {
        assert!(tests >= 160 && forbidden >= 100, "{tests} tests, {forbidden} forbidden outcomes");
        assert_eq!(not_shown, NOT_SHOWN, "an outcome in order was not seen");
    }
}
