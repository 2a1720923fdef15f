//! Inputs of a small world and what the reference makes of them.

use warpferry::reference::{self, CombineInput, DispatchInput, DispatchOutput, Layout};
use warpferry::{Fabric, Shape, Topology, WorldConfig};

pub const HIDDEN: usize = 64;
pub const TOPK: usize = 2;
pub const TOKENS: usize = 24;
const EXPERTS: u32 = 8;

/// What one rank puts in.
pub struct Input {
    pub x: Vec<u16>,
    pub topk_idx: Vec<i32>,
    pub topk_weights: Vec<f32>,
}

/// One dispatch and combine of all ranks.
pub struct Round {
    pub inputs: Vec<Input>,
    pub dispatched: Vec<DispatchOutput>,
    /// Rows that the experts of each rank give back.
    pub results: Vec<Vec<u16>>,
    pub combined: Vec<Vec<u16>>,
}

fn shape() -> Shape {
    Shape::new(HIDDEN as u32, EXPERTS, TOPK as u32, TOKENS as u32).expect("the shape is valid")
}

/// A world of one node, windows mapped directly.
pub fn config(gpus: u32) -> WorldConfig {
    WorldConfig::new(Topology::new(1, gpus).expect("the topology is valid"), shape()).fabric(Fabric::Loopback)
}

/// A bf16 number between 1 and 2, by place and seed.
fn bits(place: usize, seed: u32) -> u16 {
    let mixed = (place as u32).wrapping_mul(0x9e37_79b9).wrapping_add(seed.wrapping_mul(0x85eb_ca6b));
    0x3f80 | (mixed >> 25) as u16
}

impl Round {
    pub fn new(gpus: u32, seed: u32) -> Round {
        let topology = Topology::new(1, gpus).expect("the topology is valid");
        let inputs: Vec<Input> = (0..gpus)
            .map(|rank| {
                let seed = seed * 100 + rank;
                let tokens = TOKENS - rank as usize * 5;
                let x = (0..tokens * HIDDEN).map(|place| bits(place, seed)).collect();
                // Two different experts for each token.
                let first = |token: usize| (token as u32 * 5 + seed) % EXPERTS;
                let choice = |token: usize, k: usize| ((first(token) + 3 * k as u32) % EXPERTS) as i32;
                let topk_idx = (0..tokens).flat_map(|token| (0..TOPK).map(move |k| (token, k)));
                let topk_idx: Vec<i32> = topk_idx.map(|(token, k)| choice(token, k)).collect();
                let topk_weights = (0..tokens * TOPK).map(|place| (place as f32 + seed as f32) / 64.0).collect();
                Input { x, topk_idx, topk_weights }
            })
            .collect();
        let xs: Vec<Vec<u8>> = inputs.iter().map(|input| bytes_of(&input.x)).collect();
        let given: Vec<DispatchInput> = inputs
            .iter()
            .zip(&xs)
            .map(|(input, x)| DispatchInput {
                x,
                topk_idx: &input.topk_idx,
                topk_weights: Some(&input.topk_weights),
                ..DispatchInput::default()
            })
            .collect();
        let dispatched = reference::dispatch(topology, shape(), &given).expect("the inputs are valid");
        let results: Vec<Vec<u16>> = (0..)
            .zip(&dispatched)
            .map(|(rank, rows)| (0..rows.source.len() * HIDDEN).map(|place| bits(place, seed + 77 + rank)).collect())
            .collect();
        let layouts: Vec<Layout> = inputs
            .iter()
            .map(|input| Layout::new(topology, shape(), &input.topk_idx).expect("the inputs are valid"))
            .collect();
        let rows: Vec<Vec<u8>> = results.iter().map(|rows| bytes_of(rows)).collect();
        let rows: Vec<CombineInput> =
            rows.iter().map(|rows| CombineInput { rows, ..CombineInput::default() }).collect();
        let combined = reference::combine(topology, shape(), &layouts, &rows).expect("the results fit");
        let combined = combined.iter().map(|output| words_of(&output.x)).collect();
        Round { inputs, dispatched, results, combined }
    }
}

/// Numbers as tensors hold them.
pub fn bytes_of(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The numbers in a tensor's bytes.
pub fn words_of(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}
