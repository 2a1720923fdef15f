//! Direct landing: forwarders write rows where they belong, and every bit is as if they had gone through rings.

use warpferry::World;

use crate::case::{Carried, Case, Format, Link, Ordered, Pattern, Scales};
use crate::gate::Gate;
use crate::play::{self, check, Call, Stop, PATIENCE};

const LINKS: [Link; 2] = [Link::Mlx5, Link::Loopback];

/// Room for all rows of any call of the cases here.
const ROOM: u32 = 4096;

/// A case of which everything lands.
fn direct() -> Case {
    Case { landing: ROOM, calls: 2, experts_per_rank: 3, ..Case::default() }
}

#[test]
fn rows_that_land_in_several_worlds() {
    for fabric in LINKS {
        for (nodes, gpus) in [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2)] {
            for schedule in [None, Some(3), Some(4)] {
                check(&Case { nodes, gpus, fabric, schedule, races: true, weights_back: true, ..direct() });
            }
        }
    }
    check(&Case { nodes: 2, gpus: 33, experts_per_rank: 1, topk: 9, tokens: vec![9, 0, 17], ..direct() });
}

#[test]
fn rows_of_every_payload_land() {
    for fabric in LINKS {
        for (payload, hidden, stage_bytes) in [
            (Carried::Fp16, 520, 2048),
            (Carried::Fp32, 2056, 2048),
            (Carried::Bytes(16), 64, 2048),
            (Carried::Fp8(Format::E4m3, Scales::F32), 528, 2048),
            (Carried::Fp8(Format::E5m2, Scales::Ue8m0), 7168, 16384),
            (Carried::Quantize(Format::E4m3, Scales::F32), 528, 2048),
            (Carried::Quantize(Format::E4m3, Scales::PowerOfTwo), 16, 2048),
            (Carried::Quantize(Format::E5m2, Scales::Ue8m0), 1040, 3072),
            (Carried::Quantize(Format::E4m3, Scales::Ue8m0), 7168, 16384),
        ] {
            for seed in 1..=2 {
                let case = Case { payload, hidden, stage_bytes, fabric, tokens: vec![7, 12], ..direct() };
                check(&Case { weights: vec![true, false], schedule: Some(seed), races: true, views: true, ..case });
            }
        }
    }
}

/// Method: rings of two slots beside a flow of many rows; one rank that gets everything; ranks that get nothing.
#[test]
fn flows_longer_than_any_ring_land() {
    for fabric in LINKS {
        for seed in 1..=3 {
            let case = Case { channels: 1, depth_ib: 2, depth_nv: 2, chunk_ib: 1, chunk_nv: 1, fabric, ..direct() };
            let case = Case { tokens: vec![40, 33, 0], calls: 3, schedule: Some(seed), races: true, ..case };
            check(&case);
            check(&Case { pattern: Pattern::OneExpert { expert: 5 }, ..case.clone() });
            check(&Case { pattern: Pattern::Nowhere, ..case });
        }
    }
}

/// Method: a zone in which only some ranks' rows find room, so that rings and rows in their places are used beside each
/// other; and calls that land between calls that do not.
#[test]
fn rows_without_room_go_through_rings() {
    for fabric in LINKS {
        for landing in [16, 32, 48] {
            for races in [false, true] {
                let case = Case { landing, calls: 5, fabric, races, ..Case::default() };
                check(&Case { tokens: vec![2, 16, 9, 40, 0], schedule: Some(landing.into()), ..case });
            }
        }
    }
    check(&Case { layout: Ordered::Expert(4), ..direct() });
}

#[test]
fn bounds_and_landing() {
    for fabric in LINKS {
        for bound in [vec![Some(0)], vec![Some(17), None], vec![Some(5000), Some(3)]] {
            check(&Case { fabric, bound, races: true, schedule: Some(2), ..direct() });
        }
    }
}

/// Weak memory, priorities, NICs that place writes late and out of order.
#[test]
fn rows_land_whatever_the_order() {
    for seed in 0..6 {
        let case = Case { schedule: Some(seed), tokens: vec![12, 17], ..direct() };
        check(&Case { weak: true, ..case.clone() });
        check(&Case { pct: Some(3), ..case.clone() });
        check(&Case { unordered: true, piece_bytes: 64, retransmit: true, late_completions: seed % 2 == 1, ..case });
    }
}

fn in_world(case: &Case, act: impl Fn(&mut warpferry::Communicator, &[Call]) -> Result<(), Stop> + Sync) {
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let calls = (0..case.calls).map(|number| Call::new(case, config.topology, config.shape, number));
    let calls = calls.collect::<Result<Vec<Call>, _>>().unwrap_or_else(|error| panic!("{error}"));
    let mut world = World::emulated(config).unwrap_or_else(|error| panic!("{error}"));
    for outcome in world.run(|rank| act(rank, &calls)).unwrap_or_else(|error| panic!("{error}")) {
        match outcome {
            Ok(()) => {}
            Err(Stop::Wrong(what)) => panic!("{what}; case {case}"),
            Err(Stop::Error(error)) => panic!("{error}; case {case}"),
        }
    }
    world.close().unwrap_or_else(|error| panic!("{error}"));
}

/// Calls along a handle exchange nothing: only the words that open flows keep a forwarder from rows that are still read.
#[test]
fn rows_land_along_a_handle() {
    for fabric in LINKS {
        for seed in 1..=4 {
            let case = Case { fabric, along: 3, schedule: Some(seed), workers: 1 + seed as u32, ..direct() };
            check(&Case { races: true, tokens: vec![20, 9, 0], ..case.clone() });
            check(&Case { landing: 16 * seed as u32, tokens: vec![4, 12], races: seed % 2 == 0, ..case.clone() });
            check(&Case { weak: true, tokens: vec![9, 14], ..case });
        }
    }
}

/// Outputs share the zone while they live: the third of three that fill it goes through rings, and lands again when the first
/// has gone. Contents stay as they were all the while.
#[test]
fn outputs_that_live_beside_each_other() {
    for fabric in LINKS {
        // Every token to every rank, and the zone has room for two calls.
        let case = Case {
            fabric,
            tokens: vec![8],
            topk: 8,
            pattern: Pattern::Everywhere,
            calls: 4,
            landing: 64,
            ..Case::default()
        };
        in_world(&Case { races: true, ..case }, |rank, calls| {
            let case = Case {
                landing: 64,
                races: true,
                fabric,
                tokens: vec![8],
                topk: 8,
                pattern: Pattern::Everywhere,
                calls: 4,
                ..Case::default()
            };
            let begun = calls[..3].iter().map(|call| play::begin(rank, &case, call)).collect::<Result<Vec<_>, _>>()?;
            let mut alive = Vec::new();
            for (call, mut pending) in calls.iter().zip(begun) {
                alive.push(play::verify(rank, &case, call, pending.wait(PATIENCE)?)?);
            }
            assert_eq!(alive.iter().map(|got| got.landed).collect::<Vec<_>>(), [true, true, false]);
            let first = alive.remove(0).handle;
            let fourth = play::dispatch(rank, &case, &calls[3])?;
            assert!(fourth.landed, "rows that went are free again");
            alive.insert(0, fourth);
            for (number, got) in [(3, 0), (1, 1), (2, 2)] {
                let want = &calls[number].dispatched[rank.rank() as usize];
                assert_eq!(alive[got].x.to_bytes()?, want.x, "outputs of call {number} were written over");
            }
            play::combine(rank, &case, &calls[0], &first)
        });
    }
}

/// A rank whose bound is too small is told, and what it took is right; the others' rows land.
#[test]
fn an_overflow_beside_rows_that_land() {
    let case = direct();
    in_world(&case, |rank, calls| {
        if rank.rank() != 1 {
            let got = play::dispatch(rank, &case, &calls[0])?;
            assert!(got.landed);
            return play::round(rank, &case, &calls[1]);
        }
        let want = &calls[0].dispatched[1];
        let room = want.source.len() / 2;
        let mut pending = play::begin_bounded(rank, &case, &calls[0], room)?;
        assert!(matches!(pending.wait(PATIENCE), Err(warpferry::Error::Overflow { .. })));
        let got = pending.take_what_fits().expect("what fits is there");
        assert!(!got.landed, "rows that are too many come through rings");
        assert_eq!(got.x.to_bytes()?, want.x[..want.x.len() / want.source.len() * room]);
        play::round(rank, &case, &calls[1])
    });
}

/// What overflows is nowhere in the zone: outputs that lie right behind the room stay as they are.
#[test]
fn an_overflow_leaves_its_neighbours_in_the_zone_alone() {
    let case = Case { tokens: vec![20], topk: 8, pattern: Pattern::Everywhere, calls: 3, ..direct() };
    in_world(&case, |rank, calls| {
        // The lowest rows of the zone; they go when it has ended, and are taken again.
        let mut small = play::begin_bounded(rank, &case, &calls[0], 16)?;
        let mut beside = play::begin(rank, &case, &calls[1])?;
        assert!(small.wait(PATIENCE).is_err());
        drop(small.take_what_fits());
        let beside = beside.wait(PATIENCE)?;
        assert!(beside.landed);
        let told = play::begin_bounded(rank, &case, &calls[2], 16)?.wait(PATIENCE).map(drop);
        assert!(matches!(told, Err(warpferry::Error::Overflow { .. })), "{told:?}");
        play::verify(rank, &case, &calls[1], beside).map(drop)
    });
}

/// Outputs go while work in another stream is still to read them, as the memory of other tensors may: their rows are not
/// given to anybody before that work is over.
#[test]
fn rows_that_another_stream_still_reads_are_not_given_again() {
    for landing in [0, 64] {
        let case = Case { landing, tokens: vec![8], topk: 8, pattern: Pattern::Everywhere, calls: 3, ..direct() };
        in_world(&case, |rank, calls| {
            let driver = std::sync::Arc::clone(rank.driver());
            let got = play::dispatch(rank, &case, &calls[0])?;
            let want = &calls[0].dispatched[rank.rank() as usize].x;
            let saved = rank.empty(got.x.dtype(), got.x.shape())?;
            let gate = Gate::shut(&*driver)?;
            let stream = gate.stream;
            rank.release_to(stream)?;
            driver.copy_within(saved.ptr(), got.x.ptr(), got.x.bytes(), stream)?;
            drop(got);
            // There is room for one more beside it, and for no third.
            let second = play::dispatch(rank, &case, &calls[1])?;
            assert_eq!(second.landed, landing > 0);
            let third = play::dispatch(rank, &case, &calls[2])?;
            assert!(!third.landed);
            gate.open(&*driver)?;
            driver.synchronize(stream, PATIENCE)?;
            rank.wait_for(stream)?;
            if saved.to_bytes()? != *want {
                return Err(Stop::Wrong("rows were written over while they were read".to_string()));
            }
            drop(third);
            let fourth = play::dispatch(rank, &case, &calls[2])?;
            assert_eq!(fourth.landed, landing > 0, "rows that were read are free again");
            Ok(driver.destroy_stream(stream)?)
        });
    }
}
