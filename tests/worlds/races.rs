//! Worlds with the race check on: the kernels as they are shipped have no race.
//!
//! Method: cases over both fabrics, several shapes and schedules; every case is also compared with the reference. Each
//! rank's host is on its own: what one rank's host knows, another one's kernel does not.

use crate::case::{Added, Carried, Case, Format, Link, Ordered, Pattern, Scales};
use crate::damage::Word;
use crate::play::check;
use crate::trouble::Trouble;

const LINKS: [Link; 2] = [Link::Mlx5, Link::Loopback];

/// A case with the check on.
fn clean(case: Case) {
    check(&Case { races: true, ..case });
}

#[test]
fn worlds_of_several_shapes() {
    for (nodes, gpus) in [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2)] {
        for fabric in LINKS {
            for schedule in [None, Some(3), Some(4)] {
                clean(Case { nodes, gpus, experts_per_rank: 3, fabric, schedule, calls: 2, ..Case::default() });
            }
        }
    }
}

#[test]
fn rings_of_the_smallest_depth() {
    for fabric in LINKS {
        for seed in 1..=6 {
            clean(Case {
                depth_ib: 2,
                depth_nv: 2,
                chunk_ib: 1,
                chunk_nv: 1,
                channels: 1,
                calls: 3,
                tokens: vec![24, 31],
                fabric,
                schedule: Some(seed),
                workers: 1 + seed as u32 % 4,
                ..Case::default()
            });
        }
    }
}

#[test]
fn nics_that_place_writes_out_of_order() {
    for seed in 0..6 {
        clean(Case {
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
fn rows_of_several_pieces() {
    for fabric in LINKS {
        for hidden in [8, 520, 2056] {
            clean(Case { hidden, tokens: vec![5, 9], calls: 2, schedule: Some(7), fabric, ..Case::default() });
        }
    }
}

/// Method: rows through the stages as they are and quantized there, sums of weights, biases.
#[test]
fn everything_that_rows_may_carry() {
    for fabric in LINKS {
        for seed in 1..=3 {
            let back =
                Case { weights_back: true, biases: vec![2, 0, 1], schedule: Some(seed), calls: 2, ..Case::default() };
            for (payload, sum) in [
                (Carried::Quantize(Format::E4m3, Scales::Ue8m0), Added::Bf16),
                (Carried::Quantize(Format::E5m2, Scales::F32), Added::Fp32),
                (Carried::Fp8(Format::E4m3, Scales::F32), Added::Fp16),
            ] {
                let rows = Case { payload, sum, fabric, hidden: 528, tokens: vec![9, 13], ..back.clone() };
                clean(rows.clone());
                clean(Case { layout: Ordered::Expert(4), scaled: vec![seed != 2], ..rows });
            }
        }
    }
}

/// Method: header buffers that are used again within a claim; a token that chooses an expert twice; many rows of zeros.
#[test]
fn what_only_many_messages_or_rows_show() {
    for fabric in LINKS {
        let wide = Case {
            chunk_nv: 8,
            depth_nv: 16,
            chunk_ib: 4,
            depth_ib: 8,
            channels: 1,
            tokens: vec![30],
            ..Case::default()
        };
        let payload = Carried::Quantize(Format::E4m3, Scales::F32);
        clean(Case { payload, gpus: 3, topk: 4, fabric, ..wide });
        clean(Case { layout: Ordered::Expert(2), pattern: Pattern::Skewed, topk: 6, fabric, ..Case::default() });
        clean(Case { layout: Ordered::Expert(128), fabric, ..Case::default() });
    }
}

#[test]
fn several_ctas_and_channels() {
    for fabric in LINKS {
        for seed in 1..=3 {
            clean(Case {
                channels: 4,
                sms: vec![(2, 3), (3, 1)],
                calls: 2,
                schedule: Some(seed),
                fabric,
                pattern: Pattern::Skewed,
                topk: 6,
                ..Case::default()
            });
        }
    }
}

/// The host stores the word that ends calls while kernels look at it.
#[test]
fn cancelled_calls() {
    for fabric in LINKS {
        for (call, schedule) in [(0, None), (1, Some(3)), (1, Some(4))] {
            let trouble = Some(Trouble::Cancels { rank: 3, call });
            clean(Case { trouble, schedule, fabric, calls: 2, ..Case::default() });
        }
    }
}

/// Some queue pairs retire long after others: credit queues fill and slots wait for their requests.
#[test]
fn queue_pairs_that_fall_behind() {
    let late = Case { races: true, gpus: 1, hidden: 8, channels: 1, calls: 2, outstanding: 16, ..Case::default() };
    let late = Case { late_completions: true, depth_ib: 2, chunk_ib: 1, tokens: vec![60, 50], ..late };
    for (seed, pct, workers) in [(489, None, 1), (167, Some(4), 1), (241, Some(2), 2), (472, Some(4), 1)] {
        check(&Case { schedule: Some(seed), pct, workers, ..late.clone() });
    }
    for (seed, channels, workers) in [(146, 4, 2), (484, 1, 4), (462, 2, 2)] {
        let schedule = Some(seed);
        check(&Case { schedule, channels, workers, read_before_post: true, retransmit: true, ..late.clone() });
    }
}

/// An exchange that finds its rank given up leaves at once, by a way without barriers: what it reads there nobody may write.
#[test]
fn an_exchange_behind_a_kernel_that_gave_up() {
    for fabric in LINKS {
        for schedule in [None, Some(5)] {
            let trouble = Some(Trouble::Damaged { rank: 3, call: 1, word: Word::AbortedExchange });
            clean(Case { fabric, schedule, calls: 2, experts_per_rank: 4, trouble, ..Case::default() });
        }
    }
}
