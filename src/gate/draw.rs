//! Draws of one token. Integers decide, so that every machine draws the same.

use crate::plan::Shape;
use crate::random::Random;
use crate::topology::Topology;

/// A sequence of its own for each `of`.
pub(super) fn sequence(seed: u64, of: u64) -> Random {
    Random::new(Random::new(seed).next() ^ Random::new(of).next())
}

/// A score for each expert, of 32 bits.
pub(super) fn scores(random: &mut Random, experts: u32) -> Vec<u64> {
    (0..experts).map(|_| random.next() >> 32).collect()
}

/// The `count` experts with the highest scores, best first; of equal ones the lower number.
pub(super) fn best(scores: &[u64], count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    let key = |&expert: &u32| (std::cmp::Reverse(scores[expert as usize]), expert);
    let count = count as usize;
    if count < order.len() {
        order.select_nth_unstable_by_key(count, key);
        order.truncate(count);
    }
    order.sort_by_key(key);
    order
}

/// The best experts of the best `nodes` nodes.
pub(super) fn node_limited(random: &mut Random, topology: Topology, shape: &Shape, nodes: u32) -> Vec<u32> {
    let mut scores = scores(random, shape.experts());
    let per_node = (shape.experts() / topology.nodes()) as usize;
    let counted = shape.topk().div_ceil(nodes);
    let sums: Vec<u64> = scores
        .chunks(per_node)
        .map(|node| best(node, counted).iter().map(|&expert| node[expert as usize]).sum())
        .collect();
    let taken = best(&sums, nodes);
    // Scores are below 2^32, so one more keeps the order, and 0 is behind all.
    for (expert, score) in scores.iter_mut().enumerate() {
        *score = if taken.contains(&((expert / per_node) as u32)) { *score + 1 } else { 0 };
    }
    best(&scores, shape.topk())
}

/// Weights of experts: the r-th of a random order has `2^40 / r^alpha`, at least 1.
pub(super) fn popularity(experts: u32, alpha: f64, seed: u64) -> Vec<u64> {
    let order = best(&scores(&mut sequence(seed, u64::MAX), experts), experts);
    let mut weights = vec![0; experts as usize];
    for (place, &expert) in (1_u32..).zip(&order) {
        weights[expert as usize] = ((2_f64.powi(40) / f64::from(place).powf(alpha)) as u64).max(1);
    }
    weights
}

/// `count` distinct experts, drawn one after another by weight.
pub(super) fn popular(random: &mut Random, popularity: &[u64], count: u32) -> Vec<u32> {
    let mut left = popularity.to_vec();
    let mut total: u64 = left.iter().sum();
    (0..count)
        .map(|_| {
            let mut at = random.below(total);
            let taken = left.iter().position(|&weight| {
                let here = at < weight;
                at = at.wrapping_sub(if here { 0 } else { weight });
                here
            });
            let expert = taken.expect("the draw is below the sum of the weights");
            total -= std::mem::take(&mut left[expert]);
            expert as u32
        })
        .collect()
}

/// Positive weights, largest first, that sum to one.
pub(super) fn weights(random: &mut Random, count: u32) -> Vec<f32> {
    let mut drawn: Vec<u64> = (0..count).map(|_| (random.next() >> 44) + (1 << 16)).collect();
    drawn.sort_unstable_by(|a, b| b.cmp(a));
    let sum: u64 = drawn.iter().sum();
    drawn.iter().map(|&weight| (weight as f64 / sum as f64) as f32).collect()
}
