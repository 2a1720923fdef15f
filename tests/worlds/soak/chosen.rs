//! Cases of a soak: many small worlds, some of usual size, few large ones; in a part of them something goes wrong.

use std::ops::RangeInclusive;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::case::{Case, Link};
use crate::draw::{SAMPLE_EXPERTS, SAMPLE_TOPK};
use crate::lanes::Lane;
use crate::random::{cases_that_are_valid, rows_of_16_bytes, seeds};
use crate::trouble::{Act, Requests, Trouble};

/// Worlds of the recorded sample: their ranks divide its experts.
const RECORDED: [(u32, u32); 8] = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 8), (2, 4), (4, 2), (4, 8)];
/// Worlds of every kind that takes another way through the kernels, the largest ones included.
const SHAPES: [(u32, u32); 11] =
    [(1, 1), (1, 2), (1, 8), (2, 1), (2, 2), (3, 2), (2, 3), (5, 3), (4, 8), (2, 33), (34, 1)];

/// Share of the small cases that are played in weak memory, which takes several times as long.
const WEAK: f64 = 1.0 / 6.0;
/// Share of the cases with drawn schedules that PCT draws, and its depths.
const PCT: f64 = 0.2;
const PCT_DEPTHS: RangeInclusive<u32> = 1..=5;
/// Share with the race check. In weak memory it is smaller: a missing order then shows in bits, as itself.
const RACES: f64 = 0.6;
const RACES_WEAK: f64 = 0.3;

/// Cases of a soak that takes what comes.
pub fn whatever() -> BoxedStrategy<Case> {
    let troubled = prop_oneof![50 => explored(small()), 1 => cases_that_are_valid().boxed()];
    let cases = prop_oneof![
        3 => sound(),
        2 => with_trouble(troubled, troubles().boxed()),
    ];
    scheduled(cases)
        .prop_flat_map(|case| {
            let share = if case.weak { RACES_WEAK } else { RACES };
            (Just(case), prop::bool::weighted(share)).prop_map(|(case, races)| Case { races, ..case })
        })
        .boxed()
}

/// Cases with the race check on, in which nothing goes wrong.
pub fn raced() -> BoxedStrategy<Case> {
    scheduled(sound()).prop_map(|case| Case { races: true, ..case }).boxed()
}

/// Cases in which nothing goes wrong.
fn sound() -> impl Strategy<Value = Case> {
    prop_oneof![200 => explored(small()), 30 => recorded().boxed(), 5 => cases_that_are_valid().boxed(), 1 => large().boxed()]
}

/// A part of the cases in weak memory. In turn it shows nothing weak, so these have a drawn schedule.
fn explored(cases: impl Strategy<Value = Case> + 'static) -> BoxedStrategy<Case> {
    (cases, prop::bool::weighted(WEAK))
        .prop_map(|(case, weak)| Case { weak: weak && case.schedule.is_some(), ..case })
        .boxed()
}

/// A part of the drawn schedules by PCT.
fn scheduled(cases: impl Strategy<Value = Case> + 'static) -> BoxedStrategy<Case> {
    (cases, prop::option::weighted(PCT, PCT_DEPTHS))
        .prop_map(|(case, pct)| Case { pct: case.schedule.and(pct), ..case })
        .boxed()
}

/// Cases over NICs of which one request goes wrong somewhere.
pub fn with_nic_trouble(cases: impl Strategy<Value = Case> + 'static) -> BoxedStrategy<Case> {
    with_trouble(cases, nic_troubles().boxed())
}

/// Rows and rings are small, and so is the world; everything else as it comes.
fn small() -> impl Strategy<Value = Case> {
    let worlds = prop_oneof![
        1 => Just((1u32, 1u32)),
        4 => Just((1, 2)),
        6 => Just((2, 1)),
        4 => Just((2, 2)),
        1 => Just((3, 1)),
        1 => Just((1, 3)),
    ];
    let channels = prop_oneof![3 => Just(1u32), 2 => Just(2), 1 => Just(3)];
    let scale = (1..=8u32, channels, 1..=8u32, prop::bool::weighted(0.95), seeds());
    (cases_that_are_valid(), worlds, scale).prop_map(
        |(case, (nodes, gpus), (eighths, channels, tokens, by_chance, seed))| {
            let topk = case.topk.min(case.experts_per_rank * nodes * gpus);
            Case {
                nodes,
                gpus,
                topk,
                hidden: rows_of_16_bytes(case.payload, 8 * eighths),
                channels,
                tokens: case.tokens.iter().map(|&own| own.min(tokens)).collect(),
                sms: case
                    .sms
                    .iter()
                    .map(|&(dispatch, combine)| (dispatch.min(channels), combine.min(channels)))
                    .collect(),
                calls: case.calls.min(2),
                schedule: by_chance.then_some(seed),
                ..case
            }
        },
    )
}

/// A world that the recorded sample fits.
fn recorded() -> impl Strategy<Value = Case> {
    let world = prop_oneof![60 => 0..4usize, 10 => 4..7usize, 1 => Just(7usize)];
    (small(), world).prop_map(|(case, world)| {
        let (nodes, gpus) = RECORDED[world];
        let tokens = case.tokens.iter().map(|&tokens| tokens.min(8)).collect();
        Case {
            tokens,
            pattern: crate::case::Pattern::Sample,
            experts_per_rank: SAMPLE_EXPERTS / (nodes * gpus),
            topk: SAMPLE_TOPK,
            nodes,
            gpus,
            ..case
        }
    })
}

/// A world of any shape, with little to move.
fn large() -> impl Strategy<Value = Case> {
    (small(), 0..SHAPES.len()).prop_map(|(case, shape)| {
        let (nodes, gpus) = SHAPES[shape];
        let tokens = case.tokens.iter().map(|&tokens| tokens.min(3)).collect();
        let topk = case.topk.min(4).min(case.experts_per_rank * nodes * gpus);
        Case { nodes, gpus, topk, tokens, calls: 1, channels: 1, sms: vec![(1, 1)], ..case }
    })
}

/// What a trouble is drawn from; which rank, node, channel and call it means depends on the case.
#[derive(Debug, Clone)]
struct Luck {
    kind: Kind,
    rank: Index,
    node: Index,
    lane: u32,
    channel: Index,
    call: Index,
    requests: Requests,
    after: u64,
    span: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nic(Act),
    Slow,
    Absent,
    Quits,
    Cancels,
    Hurry,
    NoExpert,
}

fn nic_kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Act::Fails), Just(Act::Stalls), Just(Act::KeyRefused), Just(Act::SignalLost)].prop_map(Kind::Nic)
}

fn luck(kinds: impl Strategy<Value = Kind>) -> impl Strategy<Value = Luck> {
    let places = (any::<Index>(), any::<Index>(), any::<Index>(), any::<Index>());
    let requests = prop_oneof![Just(Requests::Any), Just(Requests::Writes), Just(Requests::Atomics)];
    (kinds, places, 0..3u32, requests, 0..20u64, 0..10u32).prop_map(
        |(kind, (rank, node, channel, call), lane, requests, after, doublings)| Luck {
            kind,
            rank,
            node,
            lane,
            channel,
            call,
            requests,
            after,
            span: 1 << doublings,
        },
    )
}

fn nic_troubles() -> impl Strategy<Value = Luck> {
    luck(nic_kinds())
}

fn troubles() -> impl Strategy<Value = Luck> {
    luck(prop_oneof![
        5 => nic_kinds(),
        2 => Just(Kind::Slow),
        1 => Just(Kind::Absent),
        1 => Just(Kind::Quits),
        1 => Just(Kind::Cancels),
        2 => Just(Kind::Hurry),
        1 => Just(Kind::NoExpert),
    ])
}

fn with_trouble(cases: impl Strategy<Value = Case> + 'static, luck: BoxedStrategy<Luck>) -> BoxedStrategy<Case> {
    (cases, luck).prop_map(|(case, luck)| befall(case, &luck)).boxed()
}

/// `case`, made to fit the trouble, with it.
fn befall(case: Case, luck: &Luck) -> Case {
    let mut case = Case { calls: case.calls.clamp(2, 3), gpus: case.gpus.min(3), nodes: case.nodes.min(3), ..case };
    if matches!(luck.kind, Kind::Nic(_) | Kind::Slow) {
        (case.nodes, case.fabric) = (case.nodes.max(2), Link::Mlx5);
    } else if case.nodes * case.gpus == 1 {
        case.gpus = 2;
    }
    case.topk = case.topk.min(case.experts_per_rank * case.nodes * case.gpus);
    let rank = luck.rank.index((case.nodes * case.gpus) as usize) as u32;
    let call = luck.call.index(case.calls as usize) as u32;
    let channel = luck.channel.index(case.channels as usize) as u32;
    let lane = match luck.lane {
        0 => Lane::Payload { channel },
        1 => Lane::Credit { channel },
        _ => Lane::Exchange,
    };
    let node = || {
        let other = luck.node.index(case.nodes as usize - 1) as u32;
        other + u32::from(other >= rank / case.gpus)
    };
    let trouble = match luck.kind {
        Kind::Nic(act) => Trouble::Nic { rank, node: node(), lane, requests: luck.requests, after: luck.after, act },
        Kind::Slow => Trouble::Slow { rank, node: node(), lane, ticks: 16 * luck.span },
        Kind::Absent => Trouble::Absent { rank },
        Kind::Quits => Trouble::Quits { rank, call },
        Kind::Cancels => Trouble::Cancels { rank, call },
        Kind::Hurry => Trouble::Hurry { timeout_us: luck.span },
        Kind::NoExpert => Trouble::NoExpert { rank, call },
    };
    Case { trouble: Some(trouble), ..case }
}

/// Method: cases as a soak draws them, of both kinds. Each stands in its line, and weak memory is kept to small worlds.
#[test]
fn weak_memory_and_pct_are_drawn() {
    const CASES: usize = 400;
    for (name, cases) in [("whatever", whatever()), ("raced", raced())] {
        let (mut weak, mut pct, mut both, mut troubled) = (0, 0, 0, 0);
        for number in 0..CASES {
            let case = super::seek::draw(&cases, 1, number as u64);
            assert_eq!(Case::parse(&case.to_string()), Ok(case.clone()));
            weak += usize::from(case.weak);
            pct += usize::from(case.pct.is_some());
            both += usize::from(case.weak && case.pct.is_some());
            troubled += usize::from(case.weak && case.trouble.is_some());
            assert!(
                !case.weak && case.pct.is_none() || case.schedule.is_some(),
                "in turn there is nothing to draw: {case}"
            );
            assert!(!case.weak || case.nodes * case.gpus <= 6, "weak memory takes long in a large world: {case}");
        }
        println!("{name}: {weak} weak, {pct} PCT, {both} both, {troubled} weak with trouble of {CASES}");
        for (what, count, share) in [("weak memory", weak, WEAK), ("PCT", pct, PCT)] {
            // Half of the share: not every case fits.
            assert!(2 * count >= (share * CASES as f64) as usize, "{name}: {what} in {count} of {CASES} cases");
        }
        assert!(both > 0, "{name}: no case of {CASES} has both");
        assert!(troubled > 0 || name == "raced", "{name}: nothing goes wrong in weak memory in {CASES} cases");
    }
}
