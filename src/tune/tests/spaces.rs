//! Spaces: what is valid is what the library takes, counted and walked.

use super::super::space::combinations;
use super::*;

/// Method: every point of spaces of small and large worlds is asked for; large stages and many channels make many invalid.
#[test]
fn counts_are_those_of_the_librarys_own_check() {
    for (nodes, gpus, tokens) in [(1, 8, 128), (2, 8, 4096), (8, 8, 4096), (32, 8, 128)] {
        let space = whole(&H800, nodes, gpus, tokens);
        let narrow: &[(Axis, &[u32])] = &[
            (Axis::DispatchSms, &[2, 8, 32]),
            (Axis::CombineSms, &[1, 4, 64]),
            (Axis::Channels, &[4, 16, 64]),
            (Axis::ChunkIb, &[1, 4, 16]),
            (Axis::ChunkNv, &[2, 8]),
            (Axis::DepthIb, &[4, 32]),
            (Axis::DepthNv, &[4, 64]),
            (Axis::Workers, &[2, 11, 15]),
            (Axis::StageBytes, &[1024, 16384]),
        ];
        let space = narrow.iter().fold(space, |space, (axis, values)| space.with_axis(*axis, values).expect("an axis"));
        let all = combinations(&space, Point::FIRST, &Axis::ALL);
        assert_eq!(all.len() as u64, space.points());
        let valid = all.iter().filter(|point| space.is_valid(point)).count() as u64;
        assert!(0 < valid && valid < space.points());
        assert_eq!(space.valid_points(), valid, "{nodes} x {gpus}");
    }
}

#[test]
fn a_move_gives_a_valid_point_with_the_wanted_value() {
    let space = whole(&H800, 4, 8, 4096);
    let defaults = crate::Tuning::default_for(space.topology(), space.shape().dispatch_row_bytes());
    let start = space.settled(space.nearest(&defaults)).expect("defaults fit");
    let mut moves = 0;
    for axis in Axis::ALL {
        for place in 0..space.values(axis).len() {
            let Some(moved) = space.moved(&start, axis, place) else { continue };
            assert!(space.is_valid(&moved), "{axis} {place}");
            assert_eq!(moved.index(axis), place);
            moves += 1;
        }
        assert_eq!(space.moved(&start, axis, space.values(axis).len()), None);
    }
    assert!(moves > 30, "{moves}");
    // The largest chunk takes its ring along, the fewest channels their SMs.
    let chunk = space.moved(&start, Axis::ChunkIb, space.values(Axis::ChunkIb).len() - 1).expect("a move");
    assert_eq!(space.value(&chunk, Axis::DepthIb), 2 * space.value(&chunk, Axis::ChunkIb));
    let few = space.moved(&start, Axis::Channels, 0).expect("a move");
    assert!(space.value(&few, Axis::DispatchSms) <= space.value(&few, Axis::Channels));
}

#[test]
fn axes_that_cannot_matter_have_one_value() {
    let alone = whole(&H800, 1, 8, 128);
    assert_eq!((alone.values(Axis::ChunkIb).len(), alone.values(Axis::DepthIb).len()), (1, 1));
    let by_expert = shape(128).with_layout(crate::plan::OutputLayout::Experts { align: 16 }).expect("a layout");
    let topology = Topology::new(2, 8).expect("a world");
    let space = Space::new(topology, by_expert, Fabric::Mlx5, limits(&H800)).expect("a space");
    assert_eq!(space.values(Axis::Landing), [0]);
}

#[test]
fn wrong_axes_are_refused_by_name() {
    let space = whole(&H800, 2, 8, 128);
    for (axis, values, word) in [
        (Axis::Channels, &[][..], "1 to 64 values"),
        (Axis::ChunkNv, &[4, 2][..], "ascend"),
        (Axis::DepthNv, &[4, 4][..], "ascend"),
        (Axis::Roles, &[0, 2][..], "dynamic"),
    ] {
        let said = space.clone().with_axis(axis, values).expect_err("refused").to_string();
        assert!(said.contains(axis.name()) && said.contains(word), "{said}");
    }
}

#[test]
fn numbers_and_points_are_the_same() {
    let space = whole(&B200, 2, 8, 4096);
    let point =
        space.settled(space.nearest(&crate::Tuning::default_for(space.topology(), 7168))).expect("defaults fit");
    assert_eq!(space.point(&space.numbers(&point)), Some(point));
    let mut numbers = space.numbers(&point);
    numbers[Axis::Channels.place()] = 5;
    assert_eq!(space.point(&numbers), None);
}
