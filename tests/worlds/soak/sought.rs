//! Soaks for bugs that are there: a mutant of a kernel must be found by the cases that a soak draws, within so many.
//!
//! Method: kernels with one change (a fence dropped, a release weakened, a count off by one) are soaked from a fixed
//! seed. The number of cases is the bound, never time. What is found must have become smaller, and the printed line must
//! show it again in a process of its own. `WARPFERRY_SOUGHT_CASES=N` tries each change in each [`Way`] alone, up to N
//! cases, and prints a table: `docs/soak.md` has one.
//!
//! It cannot show that a soak finds every bug: `docs/mutants.md` says for each mutant what sees it.

use std::process::Command;

use proptest::strategy::{BoxedStrategy, Strategy as _};

use super::seek::Finding;
use super::smaller::Effort;
use super::{chosen, Soak, Until};
use crate::case::Case;
use crate::mutation::named::{Named, Written};
use crate::random::number;
use crate::skip::skipped;

/// Seed of these soaks.
const SEED: u64 = 1;
/// How far a finding is made smaller here; no time, so that every machine gets the same.
const EFFORT: Effort = Effort { tries: 60, time: None };

/// How the cases of a soak are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As a soak draws it.
    Drawn,
    /// Drawn, but never with the race check.
    NoRaceCheck,
    /// In sequential memory, agents drawn, without the race check.
    Plain,
    /// The same by PCT.
    Pct,
    /// The same as `Plain` with the race check.
    RaceCheck,
    /// The same as `Plain` in weak memory.
    Weak,
    /// In weak memory by PCT.
    WeakPct,
}

/// A change that is looked for.
struct Sought {
    change: Written,
    way: Way,
    /// Most cases until it is found.
    cases: u64,
    /// Words of what goes wrong then, one of them.
    says: &'static [&'static str],
}

const fn dispatch(phase: &'static str, text: &'static str, kind: &'static str, change: &'static str) -> Written {
    Written { fabric: "mlx5", kernel: "dispatch", phase, text, kind, change }
}

const SOUGHT: &[Sought] = &[
    Sought {
        change: dispatch("moved_all", "fence.acq_rel.sys", "fence", "dropped"),
        way: Way::RaceCheck,
        cases: 60,
        says: &["data race"],
    },
    Sought {
        change: dispatch(
            "yield_ready",
            "atom.release.cta.shared.or.b32 old, [word+640], bit",
            "order",
            ".release -> .relaxed",
        ),
        way: Way::Weak,
        cases: 120,
        // Numbers of a stale record may make a worker wait for bytes that nobody loads.
        says: &["expected", "ended early", "nobody wrote", "nothing can move"],
    },
    Sought {
        change: dispatch("claim_receive", "fence.proxy.async.global", "proxy fence", "dropped"),
        way: Way::NoRaceCheck,
        cases: 120,
        says: &["expected", "ended early", "nobody wrote"],
    },
    Sought {
        change: dispatch("tails", "st.relaxed.sys.global.u64 [word], tail", "publishing access", "+1"),
        way: Way::Drawn,
        cases: 60,
        says: &["expected", "ended early", "nobody wrote"],
    },
];

/// More of them, for the table only.
const MORE: &[Written] = &[
    dispatch("moved_all", "cp.async.bulk.wait_group 0", "wait for copies", "dropped"),
    dispatch("wake_next", "bar.warp.sync 4294967295", "barrier", "dropped"),
    dispatch(
        "tails_published",
        "st.release.sys.global.u32 [_bell_record], _bell_count",
        "order",
        ".release -> .relaxed",
    ),
    dispatch("claim_send", "add.u64 depth, depth, head", "count", "+1"),
    dispatch("claim_forward", "sub.u64 _here, arrived, position", "count", "+1"),
];

/// Cases as they are played in a way.
macro_rules! way {
    ($case:ident => $changed:expr) => {
        || chosen::whatever().prop_map(|$case| $changed).boxed()
    };
}

fn cases(way: Way) -> fn() -> BoxedStrategy<Case> {
    match way {
        Way::Drawn => chosen::whatever,
        Way::NoRaceCheck => way!(case => Case { races: false, ..case }),
        Way::Plain => way!(case => Case { races: false, weak: false, pct: None, ..case }),
        Way::Pct => way!(case => Case { races: false, weak: false, pct: pct(&case), ..case }),
        Way::RaceCheck => way!(case => Case { races: true, weak: false, pct: None, ..case }),
        Way::Weak => way!(case => Case { races: false, weak: explores(&case), pct: None, ..case }),
        Way::WeakPct => way!(case => Case { races: false, weak: explores(&case), pct: pct(&case), ..case }),
    }
}

/// Weak memory shows something under a drawn schedule, and takes long in a large world.
fn explores(case: &Case) -> bool {
    case.schedule.is_some() && case.nodes * case.gpus <= 4
}

fn pct(case: &Case) -> Option<u32> {
    case.schedule.map(|seed| 1 + (seed % 5) as u32)
}

/// The mutant that reads so.
fn mutant(change: &Written) -> Named {
    Named::written(change).unwrap_or_else(|| panic!("{change:?} is in no kernel any more"))
}

/// Soaks kernels with `mutant` for at most `cases` cases.
fn soak(mutant: Named, way: Way, most: u64) -> Option<Finding> {
    let soak = Soak { mutant: Some(mutant), effort: EFFORT, ..Soak::new(SEED, Until::Cases(most), cases(way)) };
    soak.run(1);
    let found = soak.lock().findings.pop();
    found
}

/// What a case moves, about.
fn size(case: &Case) -> u64 {
    let tokens: u32 = case.tokens.iter().sum();
    u64::from(case.nodes * case.gpus * case.calls) * u64::from(tokens.max(1) * case.hidden)
}

#[test]
fn mutants_are_found_made_smaller_and_replayed() {
    for Sought { change, way, cases, says } in SOUGHT {
        let mutant = mutant(change);
        println!("seed {SEED}, at most {cases} cases: {}", mutant.what);
        let name = mutant.name.clone();
        let found = soak(mutant, *way, *cases).unwrap_or_else(|| panic!("{change:?} is not found by {cases} cases"));
        let Finding { drawn, case, .. } = &found;
        assert!(says.iter().any(|word| found.why.contains(word)), "{change:?} is found as something else: {found}");
        let is_edge = !matches!(change.kind, "publishing access" | "count");
        assert_eq!(
            case.weak,
            is_edge && !case.races,
            "an order that is missing shows in weak memory or as a race: {found}"
        );
        assert!(size(case) < size(drawn), "{case} is no smaller than {drawn}");
        // The line, as a shell takes it apart.
        let line = found.replay();
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        assert_eq!(words[0], format!("WARPFERRY_MUTANT={name}"));
        let text = words[1].strip_prefix("WARPFERRY_CASE='").and_then(|text| text.strip_suffix('\''));
        let text = text.unwrap_or_else(|| panic!("`{line}` has no case"));
        assert_eq!(Case::parse(text).as_ref(), Ok(case), "{line}");
        let again = replay(text, Some(&name));
        let first = found.why.lines().next().unwrap_or_default();
        assert!(again.contains(first), "`{line}` does not show `{first}` but\n{again}");
        let sound = replay(text, None);
        assert!(sound.contains("1 passed"), "the sound kernels fail the case that was found: {sound}");
    }
}

/// What a process of its own says that replays a case.
fn replay(case: &str, mutant: Option<&str>) -> String {
    let own = std::env::current_exe().unwrap_or_else(|error| panic!("the path of this test: {error}"));
    let mut command = Command::new(own);
    command.args(["replay::replay", "--exact", "--nocapture"]).env("WARPFERRY_CASE", case);
    match mutant {
        Some(mutant) => command.env("WARPFERRY_MUTANT", mutant),
        None => command.env_remove("WARPFERRY_MUTANT"),
    };
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Method: each change in each way alone. The table says after how many cases it was found, the first being 1.
#[test]
fn how_soon_in_each_way() {
    let most = number("WARPFERRY_SOUGHT_CASES", 0);
    if most == 0 {
        return skipped("how soon each way of a soak finds mutants", "WARPFERRY_SOUGHT_CASES is not set");
    }
    let ways = [Way::Plain, Way::Pct, Way::RaceCheck, Way::Weak, Way::WeakPct, Way::Drawn];
    let mut table = format!("| change | {} |\n", ways.map(|way| format!("{way:?}")).join(" | "));
    for change in SOUGHT.iter().map(|sought| &sought.change).chain(MORE) {
        let row = ways.map(|way| match soak(mutant(change), way, most) {
            Some(found) => (found.number + 1).to_string(),
            None => format!("none of {most}"),
        });
        let Written { kernel, phase, text, change, .. } = change;
        table.push_str(&format!("| {kernel}, {phase}: `{text}` {change} | {} |\n", row.join(" | ")));
    }
    println!("{table}");
}
