//! What a part of a world says of the whole, on worlds small enough to run whole; that times follow from what they should.
//!
//! Method: the same workload and plan, once with effort enough for all of it, once with so little that one SM stands for all, and
//! once with so little that fewer tokens do. Ratios are printed; bounds are twice what was seen.

use warpferry::bench::{median, Source, Workload};
use warpferry::gate::Gate;
use warpferry::machine::Machine;
use warpferry::model::{Model, Modelled, Wanted};
use warpferry::plan::{Fabric, Fp8, Payload, Plan, ScaleKind, Shape};
use warpferry::{Result, Topology, Tuning};

const ALL: u64 = u64::MAX;

/// A world of a few GPUs, and how it moves rows.
#[derive(Debug, Clone, Copy)]
struct Case {
    nodes: u32,
    gpus: u32,
    tokens: u32,
    hidden: u32,
    channels: u32,
    sms: u32,
    fp8: bool,
}

const PLAIN: Case = Case { nodes: 2, gpus: 2, tokens: 384, hidden: 2048, channels: 8, sms: 8, fp8: false };

fn machine(name: &str) -> Machine {
    Machine::named(name).unwrap_or_else(|error| panic!("{error}"))
}

fn prepared(case: Case) -> Result<(Workload, Plan)> {
    let topology = Topology::new(case.nodes, case.gpus)?;
    let mut shape = Shape::new(case.hidden, 64, 4, case.tokens)?;
    if case.fp8 {
        shape = shape.with_payload(Payload::Fp8(Fp8::E4m3, ScaleKind::F32))?;
    }
    let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
    (tuning.channels, tuning.dispatch_sms, tuning.combine_sms) = (case.channels, case.sms, case.sms);
    let plan = Plan::new(topology, shape, tuning, Fabric::Mlx5)?;
    let source = Source::Drawn(Gate::Uniform);
    Ok((Workload { topology, shape, tokens: case.tokens, source, seed: 3 }, plan))
}

fn times(machine: &Machine, case: Case, effort: u64) -> Modelled {
    let (workload, plan) = prepared(case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    let model = Model::new(machine.clone()).effort(effort);
    model.times(&workload, &plan, Wanted::BOTH).unwrap_or_else(|error| panic!("{case:?}: {error}"))
}

/// Dispatch and combine in microseconds.
fn both(modelled: &Modelled) -> [f64; 2] {
    [median(&modelled.samples.dispatch_us), median(&modelled.samples.combine_us)]
}

#[test]
fn a_part_stands_for_the_whole() {
    let machine = machine("h800-cx7");
    let mut worst: f64 = 0.0;
    for case in [
        PLAIN,
        Case { nodes: 1, gpus: 4, ..PLAIN },
        Case { nodes: 4, gpus: 1, fp8: true, ..PLAIN },
        Case { sms: 4, ..PLAIN },
        Case { sms: 3, channels: 6, ..PLAIN },
    ] {
        let whole = times(&machine, case, ALL);
        assert!(whole.ran.parts <= 1.0 && !whole.ran.extended, "{case:?}");
        // As little as one SM with all of its tokens.
        let part = times(&machine, case, 1_500_000);
        assert!(part.ran.parts > 1.0, "{case:?}: {:?}", part.ran);
        for (name, (part, whole)) in ["dispatch", "combine"].into_iter().zip(both(&part).into_iter().zip(both(&whole)))
        {
            let ratio = part / whole;
            println!("{case:?} {name}: {whole:.1} us whole, ratio {ratio:.3}");
            worst = worst.max((ratio - 1.0).abs());
        }
    }
    assert!(worst < 0.12, "{worst}");
}

/// Two parts stand for the whole too. Worlds where one of one SM is much too slow are too large to run whole here:
/// `docs/model.md` has some.
#[test]
fn two_parts_stand_for_the_whole() {
    let machine = machine("h800-cx7");
    let case = Case { nodes: 2, gpus: 4, tokens: 512, channels: 16, sms: 8, ..PLAIN };
    let [whole, two, one] = [ALL, 6_000_000, 3_000_000].map(|effort| times(&machine, case, effort));
    assert!(one.ran.parts == 8.0 && two.ran.parts == 4.0, "{:?}, {:?}", one.ran, two.ran);
    for (name, (whole, (two, one))) in
        ["dispatch", "combine"].into_iter().zip(both(&whole).into_iter().zip(both(&two).into_iter().zip(both(&one))))
    {
        println!("{name}: {whole:.1} us whole, ratio {:.3} of two parts, {:.3} of one", two / whole, one / whole);
        assert!((two / whole - 1.0).abs() < 0.12, "{name}: {two} us of two parts, {one} us of one, {whole} us whole");
    }
}

#[test]
fn a_few_tokens_stand_for_many() {
    let machine = machine("h800-cx7");
    let case = Case { tokens: 1536, channels: 2, sms: 2, ..PLAIN };
    let (whole, few) = (times(&machine, case, ALL), times(&machine, case, 1_000_000));
    assert!(few.ran.extended && few.ran.tokens < 384, "{:?}", few.ran);
    for (name, (few, whole)) in ["dispatch", "combine"].into_iter().zip(both(&few).into_iter().zip(both(&whole))) {
        println!("{name}: {whole:.1} us whole, ratio {:.3}", few / whole);
        assert!((few / whole - 1.0).abs() < 0.2, "{name}: {few} us of few tokens, {whole} us of all");
    }
}

/// More of what bounds an operation makes it faster, and twice the tokens take about twice the time.
#[test]
fn times_follow_from_what_bounds_them() {
    let usual = machine("generic");
    let slow = usual.with("nic", "gbs", 8.0).unwrap_or_else(|error| panic!("{error}"));
    let case = Case { nodes: 2, gpus: 1, tokens: 256, hidden: 4096, channels: 16, ..PLAIN };
    let [bound_by_nic, _] = both(&times(&slow, case, ALL));
    let [with_faster_nic, _] = both(&times(&usual, case, ALL));
    assert!(with_faster_nic < 0.8 * bound_by_nic, "{bound_by_nic} us, {with_faster_nic} us with three times the NIC");
    let [twice, _] = both(&times(&slow, Case { tokens: 512, ..case }, ALL));
    assert!((1.6..2.1).contains(&(twice / bound_by_nic)), "{bound_by_nic} us, {twice} us for twice the tokens");
    let within = Case { nodes: 1, gpus: 4, tokens: 128, hidden: 7168, sms: 1, channels: 16, ..PLAIN };
    let [one_sm, _] = both(&times(&usual, within, ALL));
    let [four_sms, _] = both(&times(&usual, Case { sms: 4, ..within }, ALL));
    assert!(four_sms < 0.6 * one_sm, "{one_sm} us with one SM, {four_sms} us with four");
}

/// The same question has the same answer, and a plan is checked against the reference.
#[test]
fn answers_are_the_same_again() {
    let machine = machine("h100-cx7");
    let case = Case { tokens: 64, ..PLAIN };
    assert_eq!(times(&machine, case, ALL), times(&machine, case, ALL));
    assert_eq!(times(&machine, case, 1_000_000), times(&machine, case, 1_000_000));
    let (workload, plan) = prepared(case).unwrap_or_else(|error| panic!("{error}"));
    Model::new(machine).check(&workload, &plan).unwrap_or_else(|error| panic!("{error}"));
}
