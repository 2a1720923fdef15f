//! How far two keys are from each other.

use super::super::key::Key;

/// Farther entries are not taken: about a world of four times the ranks and four times the tokens.
pub const DISTANCE_MAX: f64 = 8.0;

/// Distance of the entry `there` from what is `wanted`; None where it is out of reach.
///
/// The fabric must be the same. Sizes count by the ratio of the two, `weight * |log2(a / b)|`; words count if they differ:
///
/// | item | weight |
/// | --- | --- |
/// | device | 0.25 where the GPU's name has the model of the entry in it; 3 for an entry of the machine `generic`; others are out of reach |
/// | nodes | 2, and 4 more between one node and several |
/// | gpus_per_node | 2 |
/// | tokens, hidden | 1 |
/// | topk | 0.5 |
/// | experts | 0.25 |
/// | payload | 0.5 |
/// | sum | 0.25 |
/// | layout | 1 between source and experts, 0.25 between alignments |
/// | gate | 1 between classes, 0.25 between parameters of a class |
/// | version | 0.1 |
pub fn distance(wanted: &Key, there: &Key) -> Option<f64> {
    if wanted.fabric != there.fabric {
        return None;
    }
    let (a, b) = (&wanted.workload, &there.workload);
    let sizes = [
        (2.0, a.nodes, b.nodes),
        (2.0, a.gpus_per_node, b.gpus_per_node),
        (1.0, a.tokens, b.tokens),
        (1.0, a.hidden, b.hidden),
        (0.5, a.topk, b.topk),
        (0.25, a.experts, b.experts),
    ];
    let by_size: f64 = sizes.iter().map(|&(weight, a, b)| weight * ratio(a, b)).sum();
    let apart = if (a.nodes == 1) == (b.nodes == 1) { 0.0 } else { 4.0 };
    let by_words = word(0.5, &a.payload, &b.payload)
        + word(0.25, &a.sum, &b.sum)
        + class(&a.layout, &b.layout)
        + class(&a.gate, &b.gate)
        + word(0.1, &wanted.version, &there.version);
    let distance = device(&wanted.device, &there.device)? + by_size + apart + by_words;
    (distance <= DISTANCE_MAX).then_some(distance)
}

fn ratio(a: u32, b: u32) -> f64 {
    (f64::from(a.max(1)) / f64::from(b.max(1))).log2().abs()
}

fn word(weight: f64, a: &str, b: &str) -> f64 {
    if a == b {
        0.0
    } else {
        weight
    }
}

/// Words with a parameter behind a colon.
fn class(a: &str, b: &str) -> f64 {
    let name = |words: &str| words.split(':').next().unwrap_or_default().to_string();
    if a == b {
        0.0
    } else if name(a) == name(b) {
        0.25
    } else {
        1.0
    }
}

fn device(wanted: &str, there: &str) -> Option<f64> {
    if wanted == there {
        return Some(0.0);
    }
    let model = there.split('-').next().unwrap_or_default().to_ascii_lowercase();
    if model == "generic" {
        return Some(3.0);
    }
    let words = wanted.to_ascii_lowercase();
    let named = words.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == model);
    named.then_some(0.25)
}
