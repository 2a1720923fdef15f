//! Dispatch with a bound of rows: nothing is awaited, and what does not fit is told.

use warpferry::{Communicator, Error, World};

use crate::case::{Case, Link, Ordered, Pattern};
use crate::play::{self, check, Call, Stop, PATIENCE};

const LINKS: [Link; 2] = [Link::Mlx5, Link::Loopback];

/// Method: all ranks, some, and with just as much room as rows come; both orders of rows; ranks without rows.
#[test]
fn bounds_that_suffice() {
    for fabric in LINKS {
        for layout in [Ordered::Source, Ordered::Expert(4)] {
            for bound in [vec![Some(0)], vec![Some(17)], vec![Some(3), None]] {
                let case = Case { fabric, layout, bound, weights_back: true, scaled: vec![true], ..Case::default() };
                check(&Case { calls: 3, races: true, ..case.clone() });
                check(&Case { pattern: Pattern::OneExpert { expert: 5 }, schedule: Some(3), ..case });
            }
        }
    }
}

struct World2 {
    world: World,
    calls: Vec<Call>,
}

fn world(case: &Case) -> World2 {
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let calls = (0..case.calls).map(|number| Call::new(case, config.topology, config.shape, number));
    let calls = calls.collect::<Result<Vec<Call>, _>>().unwrap_or_else(|error| panic!("{error}"));
    World2 { world: World::emulated(config).unwrap_or_else(|error| panic!("{error}")), calls }
}

/// One rank has room for half of its rows. It is told so, its rows that fit are right, nothing else is touched, and all ranks
/// go on: the combine, of which its part is told too, and later calls.
#[test]
fn rows_beyond_the_bound_are_dropped_and_told() {
    for fabric in LINKS {
        for layout in [Ordered::Source, Ordered::Expert(4)] {
            let case = Case { fabric, layout, calls: 2, ..Case::default() };
            let World2 { mut world, calls } = world(&case);
            let outcomes = world.run(|rank| {
                if rank.rank() != 2 {
                    let got = play::dispatch(rank, &case, &calls[0])?;
                    let mut op = play::begin_combine(rank, &case, &calls[0], &got.handle)?;
                    // Sums of tokens with dropped rows are of no use, and nobody here knows which.
                    op.wait(PATIENCE)?;
                } else {
                    drops(rank, &case, &calls[0])?;
                }
                play::round(rank, &case, &calls[1])
            });
            for (rank, outcome) in outcomes.unwrap_or_else(|error| panic!("{error}")).into_iter().enumerate() {
                match outcome {
                    Ok(()) => {}
                    Err(Stop::Wrong(what)) => panic!("rank {rank}: {what}; case {case}"),
                    Err(Stop::Error(error)) => panic!("rank {rank}: {error}; case {case}"),
                }
            }
            world.close().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// A dispatch with half the room, and its combine.
fn drops(rank: &mut Communicator, case: &Case, call: &Call) -> Result<(), Stop> {
    let want = &call.dispatched[rank.rank() as usize];
    let (rows, room) = (want.source.len(), want.source.len() / 2);
    let mut op = play::begin_bounded(rank, case, call, room)?;
    let told = op.wait(PATIENCE).map(drop);
    match &told {
        Err(Error::Overflow { op: "dispatch", rank: 2, need, have }) => {
            assert_eq!((*need, *have), (rows as u64, room as u64));
        }
        other => return Err(Stop::Wrong(format!("{other:?}"))),
    }
    let again = op.wait(PATIENCE).map(drop);
    assert_eq!(format!("{again:?}"), format!("{told:?}"));
    let got = op.take_what_fits().ok_or_else(|| Stop::Wrong("nothing fits".to_string()))?;
    assert!(op.take_what_fits().is_none());
    assert_eq!((got.rows, got.handle.rows()), (room, room));
    let bytes = want.x.len() / rows * room;
    assert_eq!(got.x.to_bytes()?, want.x[..bytes]);
    assert_eq!(got.expert_counts, want.expert_counts);
    let x = got.x.clone();
    let outcome = rank.combine(warpferry::Combine::new(&x, &got.handle).timeout(play::TIMEOUT))?.wait(PATIENCE);
    match outcome.map(drop) {
        Err(Error::Overflow { op: "combine", need, have, .. }) => {
            assert_eq!((need, have), (rows as u64, room as u64));
            Ok(())
        }
        other => Err(Stop::Wrong(format!("{other:?}"))),
    }
}

/// Several bounded calls under way at once.
#[test]
fn bounded_calls_one_behind_the_other() {
    let case = Case { calls: 4, bound: vec![Some(2)], ..Case::default() };
    let World2 { mut world, calls } = world(&case);
    let outcomes = world.run(|rank| {
        let begun = calls.iter().map(|call| play::begin(rank, &case, call)).collect::<Result<Vec<_>, _>>()?;
        let mut handles = Vec::new();
        for (call, mut op) in calls.iter().zip(begun) {
            handles.push(play::verify(rank, &case, call, op.wait(PATIENCE)?)?.handle);
        }
        for (call, handle) in calls.iter().zip(&handles) {
            play::combine(rank, &case, call, handle)?;
        }
        Ok::<_, Stop>(())
    });
    for outcome in outcomes.unwrap_or_else(|error| panic!("{error}")) {
        match outcome {
            Ok(()) => {}
            Err(Stop::Wrong(what)) => panic!("{what}"),
            Err(Stop::Error(error)) => panic!("{error}"),
        }
    }
    world.close().unwrap_or_else(|error| panic!("{error}"));
}
