//! What rows hold, there and back.

use crate::case::{Added, Carried, Case, Link, Numbers};
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
