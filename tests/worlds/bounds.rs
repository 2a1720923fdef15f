//! Dispatch with a bound of rows: nothing is awaited, and what does not fit is told.

use warpferry::reference::{self, CombineInput, Layout};
use warpferry::{Combined, Communicator, Error, Tensor, World};

use crate::case::{Case, Link, Numbers, Ordered, Pattern};
use crate::play::{self, all_well, check, Call, Stop, PATIENCE};

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
            let case =
                Case { fabric, layout, calls: 2, numbers: Numbers::Usual, weights_back: true, ..Case::default() };
            let World2 { mut world, calls } = world(&case);
            let outcomes = world.run(|rank| {
                if rank.rank() != 2 {
                    let got = play::dispatch(rank, &case, &calls[0])?;
                    let mut op = play::begin_combine(rank, &case, &calls[0], &got.handle)?;
                    compare_without(rank, &case, &calls[0], &op.wait(PATIENCE)?)?;
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
    let results = &call.results[rank.rank() as usize];
    let hidden = case.hidden as usize;
    let back = &results.x[..results.x.len() / rows * room];
    let back = rank.tensor_of_bytes(case.sum.sum().dtype(), back, &[room, hidden])?;
    let op = warpferry::Combine::new(&back, &got.handle).timeout(play::TIMEOUT);
    let weights = rank.tensor(&results.topk_weights[..room * case.choices()], &[room, case.choices()])?;
    let mut op = rank.combine(if case.weights_back { op.weights(&weights) } else { op })?;
    match op.wait(PATIENCE).map(drop) {
        Err(Error::Overflow { op: "combine", need, have, .. }) => {
            assert_eq!((need, have), (rows as u64, room as u64));
        }
        other => return Err(Stop::Wrong(format!("{other:?}"))),
    }
    let sums = op.take_what_fits().ok_or_else(|| Stop::Wrong("no sums".to_string()))?;
    compare_without(rank, case, call, &sums)
}

/// Sums in which the rows that rank 2 dropped count as zeros.
fn compare_without(rank: &Communicator, case: &Case, call: &Call, sums: &Combined) -> Result<(), Stop> {
    let plan = rank.plan();
    let layouts: Vec<Layout> = call
        .inputs
        .iter()
        .map(|input| Layout::new(plan.topology, plan.shape, &input.topk_idx))
        .collect::<Result<_, _>>()?;
    let mut rows: Vec<(Vec<u8>, Vec<f32>)> =
        call.results.iter().map(|results| (results.x.clone(), results.topk_weights.clone())).collect();
    let (bytes, weights) = &mut rows[2];
    let count = call.dispatched[2].source.len();
    let (kept_bytes, kept_weights) = (bytes.len() / count * (count / 2), weights.len() / count * (count / 2));
    bytes[kept_bytes..].fill(0);
    weights[kept_weights..].fill(0.0);
    let given: Vec<CombineInput> = rows
        .iter()
        .zip(&call.dispatched)
        .zip(&call.results)
        .map(|(((bytes, weights), arrived), results)| CombineInput {
            rows: bytes,
            places: &arrived.places,
            scales: None,
            weights: case.weights_back.then_some(&weights[..]),
            biases: &results.biases.iter().map(|bias| &bias[..]).collect::<Vec<_>>().leak()[..],
        })
        .collect();
    let want = reference::combine(plan.topology, plan.shape, &layouts, &given)?;
    let want = &want[rank.rank() as usize];
    if sums.x.to_bytes()? != want.x {
        return Err(Stop::Wrong("sums are not those without the dropped rows".to_string()));
    }
    let weights = sums.topk_weights.as_ref().map(Tensor::to_vec::<f32>).transpose()?;
    match weights == want.topk_weights {
        true => Ok(()),
        false => Err(Stop::Wrong(format!("weights {weights:?}, expected {:?}", want.topk_weights))),
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
    all_well(&case, outcomes);
    world.close().unwrap_or_else(|error| panic!("{error}"));
}

/// A bound that lacks room for rows of zeros alone is told by every call along the handle.
#[test]
fn rows_of_zeros_beyond_the_bound_are_told_along_the_handle() {
    let case = Case { layout: Ordered::Expert(16), tokens: vec![9], weights: vec![false], ..Case::default() };
    let World2 { mut world, calls } = world(&case);
    let outcomes = world.run(|rank| {
        let want = &calls[0].dispatched[rank.rank() as usize];
        let mut first = play::begin_bounded(rank, &case, &calls[0], want.source.len() - 1)?;
        assert!(matches!(first.wait(PATIENCE).map(drop), Err(Error::Overflow { .. })));
        let fits = first.take_what_fits().expect("the rows fit");
        let input = &calls[0].inputs[rank.rank() as usize];
        let x = rank.tensor_of_bytes(warpferry::DType::Bf16, &input.x, &[9, 64])?;
        let idx = rank.tensor(&input.topk_idx, &[9, 3])?;
        let op = warpferry::Dispatch::new(&x, &idx).cached(&fits.handle).timeout(play::TIMEOUT);
        match rank.dispatch(op)?.wait(PATIENCE).map(drop) {
            Err(Error::Overflow { .. }) => Ok::<_, Stop>(()),
            other => Err(Stop::Wrong(format!("{other:?}"))),
        }
    });
    all_well(&case, outcomes);
    world.close().unwrap_or_else(|error| panic!("{error}"));
}
