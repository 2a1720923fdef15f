//! Worlds, rows and rings of every legal shape, smallest and largest included.

use crate::case::{Case, Link, Pattern};
use crate::play::check;

const LINKS: [Link; 2] = [Link::Mlx5, Link::Loopback];

/// A world of this size over both fabrics, in turn and by chance.
fn world(nodes: u32, gpus: u32) {
    for fabric in LINKS {
        for schedule in [None, Some(3)] {
            check(&Case { nodes, gpus, experts_per_rank: 3, fabric, schedule, ..Case::default() });
        }
    }
}

macro_rules! worlds {
    ($($name:ident: $nodes:literal x $gpus:literal;)*) => { $(
        #[test]
        fn $name() {
            world($nodes, $gpus);
        }
    )* };
}

worlds! {
    world_1x1: 1 x 1;
    world_1x2: 1 x 2;
    world_1x8: 1 x 8;
    world_2x1: 2 x 1;
    world_3x2: 3 x 2;
    world_2x3: 2 x 3;
    world_5x3: 5 x 3;
}

#[test]
fn world_4x8_with_recorded_routing() {
    for fabric in LINKS {
        check(&Case { fabric, tokens: vec![8, 6, 0, 7], ..Case::recorded(4, 8) });
    }
}

/// More than 32 GPUs a node take a second word of mask.
#[test]
fn world_2x33() {
    let case = Case { nodes: 2, gpus: 33, topk: 4, channels: 1, tokens: vec![3, 0, 2], ..Case::default() };
    for fabric in LINKS {
        check(&Case { fabric, ..case.clone() });
    }
}

/// More than 32 nodes take a second round of a warp's lanes.
#[test]
fn world_34x1() {
    let case = Case { nodes: 34, gpus: 1, topk: 4, channels: 1, tokens: vec![3, 0, 2], ..Case::default() };
    check(&case);
}

#[test]
fn rows_from_16_bytes_to_16384_elements() {
    for hidden in [8, 16, 24, 56, 64, 120, 504, 512, 520, 1016, 1024, 2056, 4096, 7168] {
        for stage_bytes in [2048, 16384] {
            check(&Case { hidden, stage_bytes, tokens: vec![3, 5], channels: 1, ..Case::default() });
        }
    }
}

#[test]
fn rows_of_16384_elements() {
    for fabric in LINKS {
        check(&Case { hidden: 16384, stage_bytes: 16384, tokens: vec![2, 3], channels: 1, fabric, ..Case::default() });
    }
}

#[test]
fn every_topk_from_1_to_32() {
    for topk in 1..=32 {
        check(&Case { topk, experts_per_rank: 8, tokens: vec![4, 3], hidden: 16, channels: 1, ..Case::default() });
    }
}

#[test]
fn tokens_that_go_everywhere() {
    check(&Case { nodes: 2, gpus: 4, topk: 8, pattern: Pattern::Everywhere, ..Case::default() });
    check(&Case { nodes: 4, gpus: 2, topk: 8, pattern: Pattern::Everywhere, ..Case::default() });
}

#[test]
fn ranks_without_tokens() {
    for tokens in [vec![0], vec![0, 0, 0, 7], vec![5, 0, 0, 0], vec![0, 9]] {
        for fabric in LINKS {
            check(&Case { tokens: tokens.clone(), fabric, calls: 2, ..Case::default() });
        }
    }
}

#[test]
fn all_tokens_to_one_expert() {
    for expert in [0, 5] {
        for fabric in LINKS {
            check(&Case { pattern: Pattern::OneExpert { expert }, tokens: vec![40], fabric, ..Case::default() });
        }
    }
}

#[test]
fn masked_choices() {
    for masked_percent in [50, 90, 99] {
        check(&Case { pattern: Pattern::Uniform { masked_percent }, ..Case::default() });
    }
    for fabric in LINKS {
        check(&Case { pattern: Pattern::Nowhere, fabric, calls: 2, ..Case::default() });
    }
}

#[test]
fn a_few_experts_get_most_and_some_twice() {
    check(&Case { pattern: Pattern::Skewed, topk: 6, tokens: vec![30, 20], ..Case::default() });
}

#[test]
fn rings_of_the_smallest_depth() {
    let smallest = Case {
        depth_ib: 2,
        depth_nv: 2,
        chunk_ib: 1,
        chunk_nv: 1,
        channels: 1,
        tokens: vec![24, 31],
        ..Case::default()
    };
    for fabric in LINKS {
        for schedule in [None, Some(11), Some(12)] {
            check(&Case { fabric, schedule, ..smallest.clone() });
        }
    }
    check(&Case { pattern: Pattern::OneExpert { expert: 3 }, ..smallest });
}

#[test]
fn deep_rings_and_the_largest_chunks() {
    let depths = Case { depth_ib: 64, depth_nv: 64, chunk_ib: 32, chunk_nv: 32, ..Case::default() };
    for fabric in LINKS {
        check(&Case { fabric, tokens: vec![150, 90], channels: 1, ..depths.clone() });
    }
}

#[test]
fn more_channels_than_tokens() {
    for fabric in LINKS {
        check(&Case { channels: 16, sms: vec![(4, 3)], tokens: vec![3, 0, 5], fabric, ..Case::default() });
    }
}

/// Method: pieces much smaller than a slot, placed in any order; entries and payload read again before they retire.
#[test]
fn nics_that_place_writes_out_of_order() {
    for seed in 0..6 {
        check(&Case {
            schedule: Some(seed),
            unordered: true,
            piece_bytes: 64,
            retransmit: true,
            read_before_post: seed % 2 == 1,
            outstanding: [1, 4, 16][seed as usize % 3],
            tokens: vec![40, 33],
            calls: 2,
            ..Case::default()
        });
    }
}

#[test]
fn dispatch_without_weights_or_with_those_of_some_ranks() {
    for fabric in LINKS {
        for weights in [vec![false], vec![true, false, false]] {
            check(&Case { weights, fabric, ..Case::default() });
        }
    }
}

#[test]
fn tensors_that_are_parts_of_larger_ones() {
    for hidden in [8, 72] {
        check(&Case { views: true, hidden, ..Case::default() });
    }
}
