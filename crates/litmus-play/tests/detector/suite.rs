//! The files of the suite.

use crate::shared::{is_whole, number, skipped, suite};
use crate::{compare, Compared};

#[test]
fn the_race_check_agrees_with_the_model_on_the_suite() {
    let (mut racy, mut clean, mut left_out, mut differ) = (0, 0, 0, Vec::new());
    for (name, test) in suite() {
        match compare(&test, number("LITMUS_SEEDS", 30)) {
            Compared::Agree(true) => racy += 1,
            Compared::Agree(false) => clean += 1,
            Compared::Differ(how) => differ.push(format!("{name}: {how}")),
            Compared::LeftOut(why) => {
                skipped(&name, why);
                left_out += 1;
            }
        }
    }
    println!("{racy} racy and {clean} race-free tests agree, {left_out} left out");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(!is_whole() || racy + clean >= 160, "{racy} racy, {clean} clean, {left_out} left out");
}
