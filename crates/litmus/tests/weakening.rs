//! Leaving out or weakening an ordering in a file of the suite loses no final state.

use std::collections::BTreeSet;

#[path = "shared/files.rs"]
mod files;

use files::files;
use warpferry_litmus::{parse, run, Options};

/// What may be replaced by what follows it.
const WEAKER: [(&str, &str); 11] = [
    ("fence.proxy.async.shared::cta", ""),
    ("fence.proxy.async.global", ""),
    ("fence.proxy.async", "fence.proxy.async.global"),
    ("fence.acq_rel.sys", ""),
    ("fence.acq_rel.sys", "fence.acq_rel.gpu"),
    ("cp.async.bulk.wait_group 0", "cp.async.bulk.wait_group.read 0"),
    ("cp.async.bulk.wait_group.read 0", ""),
    (".acquire.", ".relaxed."),
    ("st.release.", "st.relaxed."),
    ("mbarrier.arrive.expect_tx.release.", "mbarrier.arrive.expect_tx.relaxed."),
    ("cp.async.bulk.wait_group 0", "cp.async.bulk.wait_group 1"),
];

fn states(text: &str) -> Option<BTreeSet<Vec<i64>>> {
    let test = parse("weakened", text).ok()?;
    let report = run(&test, &Options::default());
    (!report.blocked).then(|| report.states.into_iter().map(|state| state.values).collect())
}

#[test]
fn a_weaker_ordering_loses_no_state() {
    let files = files();
    let (mut weakened, mut changed) = (0, 0);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let Some(strong) = states(&text) else { continue };
        // Comments and declarations stay as they are.
        let start = text.find('}').unwrap_or(0);
        for (from, to) in WEAKER {
            for (at, _) in text[start..].match_indices(from) {
                let at = start + at;
                // A longer spelling is another instruction.
                if from.starts_with("fence.proxy") && text[at + from.len()..].starts_with('.') {
                    continue;
                }
                let weaker = format!("{}{to}{}", &text[..at], &text[at + from.len()..]);
                let Some(weak) = states(&weaker) else { continue };
                weakened += 1;
                changed += usize::from(weak != strong);
                let lost = strong.difference(&weak).next();
                assert!(lost.is_none(), "{}: {lost:?} lost by `{from}` -> `{to}`\n{weaker}", file.display());
            }
        }
    }
    println!("{weakened} weakenings, {changed} of them with more states");
    assert!(weakened >= 250 && changed >= 60, "{weakened} weakenings, {changed} with more states");
}
