//! A case that goes wrong made smaller: one change after the other, kept as long as it still goes wrong alike.
//!
//! Method: every change takes away or halves one thing, or gives a field its usual value, which then is not in the replay
//! line. All are tried in order until none helps any more, or the tries are used up. Seeds stay: no seed is smaller than
//! another, and each makes another run.

use std::time::{Duration, Instant};

use crate::case::{Added, Carried, Case, Numbers, Ordered, Pattern, Warps};
use crate::random::rows_of_16_bytes;

/// How far a case that goes wrong is made smaller.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Most attempts.
    pub tries: u32,
    /// The longest that they may take; none for as long as it takes.
    pub time: Option<Duration>,
}

type Change = fn(&Case) -> Option<Case>;

/// The changes, those that take away most first.
const CHANGES: &[Change] = &[
    |case| Some(Case { trouble: None, ..case.clone() }),
    |case| Some(Case { weak: false, ..case.clone() }),
    |case| world(case, 1, case.gpus),
    |case| world(case, case.nodes, 1),
    |case| world(case, case.nodes - 1, case.gpus),
    |case| world(case, case.nodes, case.gpus - 1),
    |case| no_trouble(case, Case { calls: case.calls - 1, ..case.clone() }),
    |case| Some(Case { tokens: vec![most(case)], ..case.clone() }),
    |case| Some(Case { tokens: case.tokens.iter().map(|own| own / 2).collect(), ..case.clone() }),
    |case| Some(Case { tokens: case.tokens.iter().map(|own| own.saturating_sub(1)).collect(), ..case.clone() }),
    |case| Some(Case { hidden: rows_of_16_bytes(case.payload, 8), ..case.clone() }),
    |case| Some(Case { hidden: rows_of_16_bytes(case.payload, case.hidden / 16 * 8), ..case.clone() }),
    |case| Some(Case { payload: Carried::Bf16, ..case.clone() }),
    |case| Some(Case { sum: Added::Bf16, ..case.clone() }),
    |case| drawn_routing(case, Case { topk: 1, ..case.clone() }),
    |case| drawn_routing(case, Case { topk: case.topk / 2, ..case.clone() }),
    |case| drawn_routing(case, Case { experts_per_rank: 1, ..case.clone() }),
    |case| Some(Case { pct: None, ..case.clone() }),
    |case| Some(Case { schedule: None, weak: false, pct: None, ..case.clone() }),
    |case| no_trouble(case, Case { channels: 1, sms: vec![(1, 1)], ..case.clone() }),
    |case| Some(Case { sms: vec![(1, 1)], ..case.clone() }),
    |case| Some(Case { pattern: Case::default().pattern, ..case.clone() }),
    |case| Some(Case { pattern: Pattern::Uniform { masked_percent: 0 }, ..case.clone() }),
    |case| Some(Case { numbers: Numbers::Any, ..case.clone() }),
    |case| Some(Case { weights: vec![true], ..case.clone() }),
    |case| Some(Case { layout: Ordered::Source, ..case.clone() }),
    |case| Some(Case { bound: vec![None], ..case.clone() }),
    |case| Some(Case { landing: 0, ..case.clone() }),
    |case| Some(Case { along: 0, ..case.clone() }),
    |case| Some(Case { scaled: vec![false], ..case.clone() }),
    |case| Some(Case { weights_back: false, ..case.clone() }),
    |case| Some(Case { biases: vec![0], ..case.clone() }),
    |case| Some(Case { views: false, ..case.clone() }),
    |case| Some(Case { unordered: false, ..case.clone() }),
    |case| Some(Case { retransmit: false, ..case.clone() }),
    |case| Some(Case { late_completions: false, ..case.clone() }),
    |case| Some(Case { read_before_post: false, ..case.clone() }),
    |case| Some(Case { piece_bytes: 4096, outstanding: 16, ..case.clone() }),
    |case| Some(Case { resident_ctas: None, ..case.clone() }),
    |case| Some(Case { workers: 3, roles: Warps::Dynamic, ..case.clone() }),
    |case| Some(Case { stage_bytes: 2048, ..case.clone() }),
    |case| Some(Case { chunk_ib: 2, chunk_nv: 2, depth_ib: 4, depth_nv: 4, ..case.clone() }),
    |case| Some(Case { chunk_ib: 1, chunk_nv: 1, depth_ib: 2, depth_nv: 2, ..case.clone() }),
];

fn most(case: &Case) -> u32 {
    case.tokens.iter().copied().max().unwrap_or(0)
}

/// With another number of ranks. What goes wrong on purpose names ranks, and the sample fits few worlds.
fn world(case: &Case, nodes: u32, gpus: u32) -> Option<Case> {
    let topk = case.topk.min(case.experts_per_rank * nodes * gpus);
    drawn_routing(case, no_trouble(case, Case { nodes, gpus, topk, ..case.clone() })?)
}

fn no_trouble(case: &Case, smaller: Case) -> Option<Case> {
    case.trouble.is_none().then_some(smaller)
}

/// The sample has its number of experts and choices.
fn drawn_routing(case: &Case, smaller: Case) -> Option<Case> {
    let topk = smaller.topk.min(smaller.experts_per_rank * smaller.nodes * smaller.gpus);
    (case.pattern != Pattern::Sample).then_some(Case { topk, ..smaller })
}

/// Whether the library takes it.
fn is_valid(case: &Case) -> bool {
    let is_some = case.nodes > 0 && case.gpus > 0 && case.calls > 0 && case.hidden > 0 && case.topk > 0;
    let fits = case.pattern != Pattern::Sample || case.topk == crate::draw::SAMPLE_TOPK;
    is_some
        && fits
        && case.config().is_ok_and(|config| (0..config.topology.ranks()).all(|rank| config.plan(rank).is_ok()))
}

/// The smallest case found that goes wrong like `case`, of which `why` says how, and what it says.
pub fn smaller(case: &Case, why: &str, effort: Effort, play: impl Fn(&Case) -> Result<(), String>) -> (Case, String) {
    let (mut best, mut why) = (case.clone(), why.to_string());
    let is_race = |what: &str| what.contains("data race");
    let began = Instant::now();
    let mut tries = 0;
    loop {
        let before = best.clone();
        for change in CHANGES {
            while let Some(next) = change(&best).filter(|next| *next != best && is_valid(next)) {
                let late = effort.time.is_some_and(|time| began.elapsed() >= time);
                if late || tries == effort.tries {
                    return (best, why);
                }
                tries += 1;
                match play(&next) {
                    Err(what) if is_race(&what) == is_race(&why) => (best, why) = (next, what),
                    _ => break,
                }
            }
        }
        if best == before {
            return (best, why);
        }
    }
}

/// Method: a fault that needs two ranks on two nodes, three tokens and wide rows, far away in a case with everything.
#[test]
fn what_does_not_matter_goes() {
    let drawn = Case {
        nodes: 3,
        gpus: 2,
        calls: 3,
        tokens: vec![7, 0, 31],
        hidden: 264,
        topk: 5,
        experts_per_rank: 4,
        roles: Warps::Custom(vec!["sfr".to_string()]),
        workers: 5,
        schedule: Some(77),
        weak: true,
        pct: Some(4),
        races: true,
        retransmit: true,
        ..Case::default()
    };
    let effort = Effort { tries: 500, time: None };
    let is_wrong = |case: &Case| case.nodes >= 2 && most(case) >= 3 && case.hidden >= 16 && case.weak;
    let play = |case: &Case| if is_wrong(case) { Err("wrong".to_string()) } else { Ok(()) };
    let (least, why) = smaller(&drawn, "wrong", effort, play);
    assert_eq!(why, "wrong");
    let have = (least.nodes, least.gpus, least.calls, &least.tokens[..], least.hidden, least.topk);
    assert_eq!(have, (2, 1, 1, &[3][..], 16, 1), "{least}");
    assert!(least.weak && least.pct.is_none() && least.schedule == Some(77) && !least.retransmit, "{least}");
    // A race stays a race.
    let play = |case: &Case| Err(if case.nodes == 3 { "data race".to_string() } else { "wrong".to_string() });
    assert_eq!(smaller(&drawn, "data race", effort, play).0.nodes, 3);
    let none = Effort { tries: 0, time: None };
    assert_eq!(smaller(&drawn, "wrong", none, |_| Err("wrong".to_string())).0, drawn);
}
