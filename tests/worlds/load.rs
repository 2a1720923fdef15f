//! Load statistics: what the exchanges count on the device is what the reference counts, and no call by half. Every case of the
//! suite compares them behind its last call (`play::check_load`); here is what happens between calls.

use warpferry::{Communicator, Dispatch, LoadStatistics, World};

use crate::case::{Case, Link, Ordered, Pattern};
use crate::play::{self, check, check_load, Call, Stop, PATIENCE};

const LINKS: [Link; 2] = [Link::Mlx5, Link::Loopback];
const LAYOUTS: [Ordered; 2] = [Ordered::Source, Ordered::Expert(4)];

fn world(case: &Case) -> (World, Vec<Call>) {
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let calls = (0..case.calls).map(|number| Call::new(case, config.topology, config.shape, number));
    let calls = calls.collect::<Result<Vec<Call>, _>>().unwrap_or_else(|error| panic!("{error}"));
    (World::emulated(config).unwrap_or_else(|error| panic!("{error}")), calls)
}

/// Runs `act` once a rank, and closes the world.
fn all<T: Send>(case: &Case, act: impl Fn(&mut Communicator, &[Call]) -> Result<T, Stop> + Sync) -> Vec<T> {
    let (mut world, calls) = world(case);
    let outcomes = world.run(|rank| act(rank, &calls)).unwrap_or_else(|error| panic!("{error}"));
    let outcomes = outcomes.into_iter().enumerate().map(|(rank, outcome)| match outcome {
        Ok(value) => value,
        Err(Stop::Wrong(what)) => panic!("rank {rank}: {what}; case {case}"),
        Err(Stop::Error(error)) => panic!("rank {rank}: {error}; case {case}"),
    });
    let outcomes = outcomes.collect();
    world.close().unwrap_or_else(|error| panic!("{error}"));
    outcomes
}

/// Method: masked choices, one expert twice, ranks without tokens, one expert that gets everything, nobody anything; with races
/// checked and in weak memory; few threads, so that every stride goes round.
#[test]
fn every_routing_is_counted() {
    let patterns = [
        Pattern::Uniform { masked_percent: 40 },
        Pattern::Skewed,
        Pattern::OneExpert { expert: 3 },
        Pattern::Everywhere,
        Pattern::Nowhere,
    ];
    for (at, pattern) in patterns.into_iter().enumerate() {
        let (fabric, layout) = (LINKS[at % 2], LAYOUTS[at / 2 % 2]);
        let case = Case { pattern, fabric, layout, calls: 3, tokens: vec![7, 0, 12], topk: 4, ..Case::default() };
        check(&Case { races: true, ..case.clone() });
        check(&Case { layout: LAYOUTS[(at + 1) % 2], weak: true, schedule: Some(at as u64), ..case });
    }
    for layout in LAYOUTS {
        let wide = Case { layout, experts_per_rank: 90, setup_threads: Some(64), calls: 2, ..Case::default() };
        check(&Case { tokens: vec![20, 3], topk: 9, races: true, ..wide.clone() });
        check(&Case { nodes: 5, gpus: 8, experts_per_rank: 2, hidden: 8, tokens: vec![2, 1], workers: 2, ..wide });
    }
}

/// What ranks sent to an expert is what its rank received: an all-reduce of the one and a gather of the other agree. The same
/// holds of rows of every two ranks.
#[test]
fn what_is_sent_is_received() {
    for (fabric, layout) in [(Link::Mlx5, Ordered::Source), (Link::Loopback, Ordered::Expert(2))] {
        let case = Case { fabric, layout, calls: 2, pattern: Pattern::Skewed, ..Case::default() };
        let ranks = all(&case, |rank, calls| {
            calls.iter().try_for_each(|call| play::round(rank, &case, call))?;
            Ok(rank.load_statistics()?)
        });
        let experts = LoadStatistics::experts(&ranks).unwrap_or_else(|error| panic!("{error}"));
        let reduced = (0..experts.len()).map(|expert| ranks.iter().map(|rank| rank.sent_pairs[expert]).sum::<u64>());
        assert_eq!(reduced.collect::<Vec<u64>>(), experts);
        assert!(experts.iter().sum::<u64>() > 0);
        for (from, to) in (0..ranks.len()).flat_map(|from| (0..ranks.len()).map(move |to| (from, to))) {
            assert_eq!(ranks[from].sent_rows[to], ranks[to].received_rows[from], "from {from} to {to}");
        }
        let few = LoadStatistics::experts(&ranks[1..]).expect_err("a rank is missing").to_string();
        assert!(few.contains("`ranks` = 3") && few.contains("all 4 ranks"), "{few}");
        let later = LoadStatistics { calls: 7, ..ranks[1].clone() };
        let odd = LoadStatistics::experts(&[&ranks[..1], &[later], &ranks[2..]].concat()).expect_err("odd").to_string();
        assert!(odd.contains("7 calls") && odd.contains("2, the calls of rank 0"), "{odd}");
    }
}

/// Ranks reset behind calls of their own choice; what follows is counted from there, and the device says what the host copies.
#[test]
fn resets_are_in_the_order_of_the_stream() {
    for layout in LAYOUTS {
        let case = Case { layout, calls: 4, races: true, bound: vec![Some(3), None], ..Case::default() };
        all(&case, |rank, calls| {
            check_load(rank, [])?;
            let reset_behind = 1 + rank.rank() as usize % 2;
            let tensors = rank.load_tensors()?;
            let mut begun = Vec::new();
            for (at, call) in calls.iter().enumerate() {
                begun.push(play::begin(rank, &case, call)?);
                if at == reset_behind {
                    rank.reset_load_statistics()?; // nothing is awaited between
                }
            }
            for (call, mut pending) in calls.iter().zip(begun) {
                play::verify(rank, &case, call, pending.wait(PATIENCE)?)?;
            }
            check_load(rank, &calls[reset_behind + 1..])?;
            let load = rank.load_statistics()?;
            let on_device = [&tensors.calls, &tensors.sent_pairs, &tensors.received_pairs];
            let on_device = [&on_device[..], &[&tensors.sent_rows, &tensors.received_rows]].concat();
            let copied =
                [&[load.calls], &load.sent_pairs[..], &load.received_pairs, &load.sent_rows, &load.received_rows];
            for (tensor, copied) in on_device.into_iter().zip(copied) {
                let signed: Vec<i64> = copied.iter().map(|&count| count as i64).collect();
                assert_eq!((tensor.shape(), tensor.to_vec::<i64>()?), (&[copied.len()][..], signed));
            }
            // They are the communicator's: nobody else writes them.
            let mut calls_counted = tensors.calls.clone();
            assert!(calls_counted.write(&[0_i64]).is_err());
            Ok(())
        });
    }
}

/// A dispatch along a handle exchanges nothing, so it is not counted; its handle's first dispatch was. Rows without room are.
#[test]
fn cached_dispatches_are_not_counted() {
    for fabric in LINKS {
        let case = Case { fabric, calls: 2, ..Case::default() };
        all(&case, |rank, calls| {
            let got = play::dispatch(rank, &case, &calls[0])?;
            let topk = case.topk as usize;
            let input = &calls[0].inputs[rank.rank() as usize];
            let tokens = input.topk_idx.len() / topk;
            let x = rank.tensor_of_bytes(warpferry::DType::Bf16, &input.x, &[tokens, case.hidden as usize])?;
            let topk_idx = rank.tensor(&input.topk_idx, &[tokens, topk])?;
            rank.dispatch(Dispatch::new(&x, &topk_idx).cached(&got.handle))?.wait(PATIENCE)?;
            check_load(rank, &calls[..1])?;
            let overflows = play::begin_bounded(rank, &case, &calls[1], 1)?.wait(PATIENCE).map(drop);
            assert!(matches!(overflows, Err(warpferry::Error::Overflow { .. })), "{overflows:?}");
            check_load(rank, calls)
        });
    }
}

/// The last rank stays away from the third call: the exchanges of the others give up, and what they have counted are the two
/// calls before, whole.
#[test]
fn an_exchange_that_gives_up_counts_nothing() {
    for (fabric, layout) in [(Link::Mlx5, Ordered::Expert(1)), (Link::Loopback, Ordered::Source)] {
        let case = Case { fabric, layout, calls: 3, races: true, ..Case::default() };
        all(&case, |rank, calls| {
            calls[..2].iter().try_for_each(|call| play::round(rank, &case, call))?;
            if rank.rank() == 3 {
                return check_load(rank, &calls[..2]);
            }
            match play::dispatch(rank, &case, &calls[2]) {
                Err(Stop::Error(warpferry::Error::Ended { .. })) => check_load(rank, &calls[..2]),
                Err(stop) => Err(stop),
                Ok(_) => Err(Stop::Wrong("a dispatch without a rank went well".to_string())),
            }
        });
    }
}

/// Tensors over the counters outlive their communicator.
#[test]
fn counters_outlive_their_communicator() {
    let case = Case::default();
    let tensors = all(&case, |rank, calls| {
        play::round(rank, &case, &calls[0])?;
        Ok((rank.load_tensors()?, rank.load_statistics()?))
    });
    for (tensors, load) in tensors {
        let calls = tensors.calls.to_vec::<i64>().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((calls, load.calls), (vec![1], 1));
    }
}
