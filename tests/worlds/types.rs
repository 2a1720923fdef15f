//! What rows hold, there and back.

use crate::case::{Added, Carried, Case, Format, Link, Numbers, Ordered, Pattern, Scales};
use crate::play::check;

const ADDED: [Added; 3] = [Added::Bf16, Added::Fp16, Added::Fp32];

/// Method: every pair of types over both fabrics, all bit patterns and numbers that round.
#[test]
fn every_payload_with_every_sum() {
    for payload in [Carried::Bf16, Carried::Fp16, Carried::Fp32, Carried::Bytes(16), Carried::Bytes(2064)] {
        for sum in ADDED {
            for (fabric, numbers) in [(Link::Mlx5, Numbers::Any), (Link::Loopback, Numbers::Usual)] {
                check(&Case { payload, sum, fabric, numbers, ..Case::default() });
            }
        }
    }
}

/// Method: several nodes and ranks a token, so that sums of sums round.
#[test]
fn sums_of_many_terms() {
    for sum in ADDED {
        for numbers in [Numbers::Any, Numbers::Usual] {
            let case = Case { nodes: 3, gpus: 3, topk: 9, experts_per_rank: 1, sum, numbers, ..Case::default() };
            check(&Case { tokens: vec![7, 5, 9], ..case });
        }
    }
}

const FORMATS: [Format; 2] = Format::ALL;
const SCALES: [Scales; 3] = Scales::ALL;

/// Method: rows of less than a group, of whole groups and of a part of one more, through small and large pieces.
#[test]
fn fp8_with_given_scales() {
    for (hidden, stage_bytes) in [(16, 2048), (128, 2048), (400, 3072), (7168, 16384)] {
        for (payload, fabric) in [
            (Carried::Fp8(Format::E4m3, Scales::F32), Link::Mlx5),
            (Carried::Fp8(Format::E5m2, Scales::Ue8m0), Link::Loopback),
        ] {
            check(&Case { payload, hidden, stage_bytes, fabric, tokens: vec![5, 8], ..Case::default() });
        }
    }
}

#[test]
fn bf16_that_the_sending_warps_quantize() {
    for (hidden, stage_bytes) in [(16, 2048), (128, 2048), (272, 2048), (1040, 3072), (7168, 16384)] {
        for format in FORMATS {
            for scales in SCALES {
                for (fabric, numbers) in [(Link::Mlx5, Numbers::Any), (Link::Loopback, Numbers::Usual)] {
                    let payload = Carried::Quantize(format, scales);
                    let case = Case { payload, hidden, stage_bytes, fabric, numbers, ..Case::default() };
                    check(&Case { tokens: vec![5, 8], schedule: Some(hidden.into()), ..case });
                }
            }
        }
    }
}

/// Method: more topk than a column of weights, ranks without rows or tokens, one rank's terms alone and many.
#[test]
fn weights_are_summed_on_the_way_back() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        for (topk, sum) in [(1, Added::Bf16), (3, Added::Fp32), (8, Added::Fp16), (29, Added::Bf16), (32, Added::Bf16)]
        {
            let case = Case { topk, sum, fabric, weights_back: true, experts_per_rank: 11, ..Case::default() };
            check(&Case { tokens: vec![6, 0, 9], ..case.clone() });
            check(&Case { nodes: 3, gpus: 1, calls: 2, ..case.clone() });
            check(&Case { pattern: Pattern::OneExpert { expert: 4 }, ..case });
        }
    }
}

/// Method: ranks with and without biases beside each other; tokens that go nowhere get the biases alone.
#[test]
fn biases_are_added_before_the_last_rounding() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        for (biases, sum) in [(vec![1], Added::Bf16), (vec![2], Added::Fp32), (vec![0, 1, 2], Added::Fp16)] {
            for (hidden, stage_bytes) in [(8, 2048), (1032, 2048), (7168, 16384)] {
                let pattern = Pattern::Uniform { masked_percent: 60 };
                let case =
                    Case { biases: biases.clone(), sum, fabric, hidden, stage_bytes, pattern, ..Case::default() };
                check(&Case { tokens: vec![4, 6], views: true, weights_back: hidden == 8, ..case });
            }
        }
    }
    // As many terms as lanes, and biases beside them.
    let case = Case { nodes: 4, gpus: 8, topk: 32, experts_per_rank: 1, channels: 1, ..Case::default() };
    check(&Case { biases: vec![2], pattern: Pattern::Everywhere, tokens: vec![2, 1], weights_back: true, ..case });
}

/// Method: alignments that divide nothing and more than there are rows; experts without rows; tokens that choose one twice.
#[test]
fn rows_by_expert() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        for (align, pattern) in [
            (1, Pattern::Uniform { masked_percent: 10 }),
            (3, Pattern::Skewed),
            (16, Pattern::OneExpert { expert: 3 }),
            (128, Pattern::Uniform { masked_percent: 80 }),
            (4, Pattern::Nowhere),
        ] {
            for scaled in [vec![false], vec![true, false]] {
                let layout = Ordered::Expert(align);
                let case = Case { layout, pattern, fabric, scaled, weights_back: true, calls: 2, ..Case::default() };
                check(&Case { schedule: Some(align.into()), views: align == 3, ..case });
            }
        }
    }
}

/// Method: all that a row may carry, with more experts a rank than a warp has lanes, and as many choices.
#[test]
fn rows_by_expert_of_every_type() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        for (payload, sum, hidden) in [
            (Carried::Quantize(Format::E4m3, Scales::F32), Added::Bf16, 272),
            (Carried::Fp8(Format::E5m2, Scales::Ue8m0), Added::Fp16, 400),
            (Carried::Fp32, Added::Fp32, 1032),
        ] {
            let layout = Ordered::Expert(8);
            let case = Case { payload, sum, hidden, layout, fabric, scaled: vec![true], ..Case::default() };
            check(&Case { experts_per_rank: 40, topk: 32, weights_back: true, biases: vec![1, 2], ..case });
        }
    }
}

#[test]
fn rows_by_expert_in_other_worlds() {
    for (nodes, gpus, experts_per_rank) in [(1, 1, 300), (1, 3, 2), (3, 2, 5), (5, 1, 2), (2, 33, 1)] {
        let case =
            Case { nodes, gpus, experts_per_rank, topk: 4, channels: 3, sms: vec![(2, 1), (1, 3)], ..Case::default() };
        let case = Case { tokens: vec![9, 0, 17], layout: Ordered::Expert(2), scaled: vec![true], ..case };
        check(&Case { races: gpus < 4, ..case });
    }
    for fabric in [Link::Mlx5, Link::Loopback] {
        check(&Case { fabric, layout: Ordered::Expert(16), tokens: vec![8, 6, 0, 7], ..Case::recorded(2, 4) });
    }
}
