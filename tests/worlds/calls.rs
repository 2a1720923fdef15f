//! Many calls on one communicator, many handles alive, many worlds in one process.

use warpferry::driver::emu::EmuMachine;
use warpferry::{world, World};

use crate::case::{Case, Link, Ordered, Pattern, Warps};
use crate::play::{self, check, Call, Stop, PATIENCE};

/// Rings of two slots wrap hundreds of times; nothing is reset between calls.
#[test]
fn a_hundred_calls_on_one_communicator() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        check(&Case {
            calls: 100,
            tokens: vec![7, 0, 12, 5, 1],
            hidden: 16,
            depth_ib: 2,
            depth_nv: 2,
            chunk_ib: 1,
            chunk_nv: 1,
            fabric,
            ..Case::default()
        });
    }
}

#[test]
fn calls_by_chance_with_writes_out_of_order() {
    check(&Case {
        calls: 12,
        schedule: Some(8),
        unordered: true,
        piece_bytes: 64,
        retransmit: true,
        sms: vec![(2, 1), (1, 2)],
        roles: Warps::Fixed,
        ..Case::default()
    });
}

fn expected(case: &Case, calls: u32) -> (World, Vec<Call>) {
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let calls = (0..calls)
        .map(|number| Call::new(case, config.topology, config.shape, number))
        .collect::<Result<Vec<Call>, _>>()
        .unwrap_or_else(|error| panic!("{error}"));
    (World::emulated(config).unwrap_or_else(|error| panic!("{error}")), calls)
}

fn all_went_well(case: &Case, outcomes: Vec<Result<(), Stop>>) {
    for (rank, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(()) => {}
            Err(Stop::Wrong(what)) => panic!("rank {rank}: {what}; case {case}"),
            Err(Stop::Error(error)) => panic!("rank {rank}: {error}; case {case}"),
        }
    }
}

/// Four dispatches, then their combines in another order, one handle twice.
#[test]
fn handles_that_are_combined_in_another_order() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        let case = Case { fabric, schedule: Some(2), ..Case::default() };
        let (mut world, calls) = expected(&case, 4);
        let outcomes = world.run(|rank| {
            let handles = calls
                .iter()
                .map(|call| play::dispatch(rank, &case, call).map(|dispatched| dispatched.handle))
                .collect::<Result<Vec<_>, Stop>>()?;
            for number in [2, 0, 3, 0, 1] {
                play::combine(rank, &case, &calls[number], &handles[number])?;
            }
            Ok(())
        });
        all_went_well(&case, outcomes.unwrap_or_else(|error| panic!("{error}")));
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Micro-batches in a pipeline: all are dispatched before the first is awaited, and each handle goes while its combine runs.
#[test]
fn handles_that_go_while_their_combine_runs() {
    for (fabric, layout) in [(Link::Mlx5, Ordered::Source), (Link::Loopback, Ordered::Expert(4))] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let case = Case { fabric, layout, scaled: vec![true], weights_back: true, ..Case::default() };
            let (mut world, calls) = expected(&case, 3);
            let outcomes = world.run(|rank| {
                let mut begun = Vec::new();
                for call in &calls {
                    begun.push(play::begin(rank, &case, call)?);
                }
                let mut handles = Vec::new();
                for (call, mut pending) in calls.iter().zip(begun) {
                    handles.push(Some(play::verify(rank, &case, call, pending.wait(PATIENCE)?)?.handle));
                }
                let mut combines = Vec::new();
                for number in order {
                    let handle = handles[number].take().expect("each is taken once");
                    combines.push((number, play::begin_combine(rank, &case, &calls[number], &handle)?));
                }
                combines.into_iter().rev().try_for_each(|(number, mut pending)| {
                    play::verify_combined(rank, &calls[number], &pending.wait(PATIENCE)?)
                })
            });
            all_went_well(&case, outcomes.unwrap_or_else(|error| panic!("{error}")));
            world.close().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Two dispatches under way before the first is waited for; the results are taken in the other order.
#[test]
fn operations_that_overlap_on_the_host() {
    let case = Case::default();
    let (mut world, calls) = expected(&case, 2);
    let outcomes = world.run(|rank| {
        let mut first = play::begin(rank, &case, &calls[0])?;
        let mut second = play::begin(rank, &case, &calls[1])?;
        let second = play::verify(rank, &case, &calls[1], second.wait(PATIENCE)?)?;
        let first = play::verify(rank, &case, &calls[0], first.wait(PATIENCE)?)?;
        play::combine(rank, &case, &calls[0], &first.handle)?;
        play::combine(rank, &case, &calls[1], &second.handle)
    });
    all_went_well(&case, outcomes.unwrap_or_else(|error| panic!("{error}")));
}

/// Two worlds of different shape take turns; neither notices the other.
#[test]
fn two_worlds_that_alternate() {
    let cases = [
        Case { schedule: Some(4), ..Case::default() },
        Case { nodes: 1, gpus: 3, hidden: 24, seed: 9, fabric: Link::Loopback, ..Case::default() },
    ];
    let mut worlds: Vec<_> = cases.iter().map(|case| expected(case, 6)).collect();
    for number in 0..6 {
        for (case, (world, calls)) in cases.iter().zip(&mut worlds) {
            let outcomes = world.run(|rank| play::round(rank, case, &calls[number]));
            all_went_well(case, outcomes.unwrap_or_else(|error| panic!("{error}")));
        }
    }
}

/// Operations that nobody waits for run all the same, and their memory outlives them.
#[test]
fn operations_that_are_dropped() {
    let case = Case { schedule: Some(6), ..Case::default() };
    let (mut world, calls) = expected(&case, 3);
    let outcomes = world.run(|rank| {
        drop(play::begin(rank, &case, &calls[0])?);
        let dispatched = play::dispatch(rank, &case, &calls[1])?;
        drop(play::begin_combine(rank, &case, &calls[1], &dispatched.handle)?);
        drop(dispatched);
        play::round(rank, &case, &calls[2])
    });
    all_went_well(&case, outcomes.unwrap_or_else(|error| panic!("{error}")));
    world.close().unwrap_or_else(|error| panic!("{error}"));
}

/// Two communicators of each rank on the same GPUs and NICs: their kernels run side by side.
#[test]
fn two_communicators_on_the_same_gpus() {
    let first = Case { schedule: Some(3), ..Case::default() };
    let second = Case { seed: 2, hidden: 24, tokens: vec![20, 3], depth_ib: 2, chunk_ib: 1, ..first.clone() };
    let configs = [&first, &second].map(|case| case.config().unwrap_or_else(|error| panic!("{error}")));
    let machine = EmuMachine::new(configs[0].machine.clone()).unwrap_or_else(|error| panic!("{error}"));
    let mut ranks = configs
        .each_ref()
        .map(|config| world::connect(config, &machine.devices()).unwrap_or_else(|error| panic!("{error}")));
    let calls = [&first, &second].map(|case| expected(case, 2).1);
    let [some, others] = &mut ranks;
    let outcomes = machine.run(some.iter_mut().zip(others).collect(), |(one, other)| {
        for (ours, theirs) in calls[0].iter().zip(&calls[1]) {
            let mut mine = play::begin(one, &first, ours)?;
            let mut its = play::begin(other, &second, theirs)?;
            let its = play::verify(other, &second, theirs, its.wait(PATIENCE)?)?;
            let mut its = play::begin_combine(other, &second, theirs, &its.handle)?;
            let mine = play::verify(one, &first, ours, mine.wait(PATIENCE)?)?;
            play::combine(one, &first, ours, &mine.handle)?;
            play::verify_combined(other, theirs, &its.wait(PATIENCE)?)?;
        }
        Ok(())
    });
    all_went_well(&first, outcomes.unwrap_or_else(|error| panic!("{error}")));
    for ranks in ranks {
        world::close(ranks).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Two worlds at once, each on threads of its own.
#[test]
fn two_worlds_at_once() {
    let cases =
        [Case { calls: 5, schedule: Some(4), ..Case::default() }, Case { calls: 5, seed: 3, ..Case::default() }];
    std::thread::scope(|scope| {
        for case in &cases {
            scope.spawn(move || check(case));
        }
    });
}

/// Completions carry 16 bits of a queue's request count; 17,000 claims of two requests each, there and back, are more.
#[test]
fn requests_outnumber_their_16_bit_counter() {
    let case = Case {
        gpus: 1,
        hidden: 8,
        experts_per_rank: 1,
        topk: 2,
        tokens: vec![17_000],
        pattern: Pattern::Everywhere,
        channels: 1,
        chunk_ib: 1,
        depth_ib: 2,
        ..Case::default()
    };
    check(&case);
}
