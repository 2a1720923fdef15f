//! What ranks send in a demo or a bench: rows drawn from a seed, and what stands for their experts.

use crate::gate::Choices;
use crate::plan::{OutputLayout, Payload, Quantization, Shape, Sum};
use crate::random::Random;
use crate::reference::{self, DispatchOutput, Quantized};

/// Inputs of one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct RankInputs {
    /// Rows of `[tokens]`, as bytes.
    pub x: Vec<u8>,
    /// Their scales, as bytes, where they are given.
    pub scales: Vec<u8>,
    /// `[tokens, topk]`.
    pub topk_idx: Vec<i32>,
    /// `[tokens, topk]`.
    pub topk_weights: Vec<f32>,
    /// What combine adds, `[tokens]` rows each, as bytes.
    pub biases: Vec<Vec<u8>>,
}

impl RankInputs {
    /// Draws the rows that go with `choices`, and `biases` biases; the same `seed` gives the same everywhere.
    pub fn draw(shape: &Shape, choices: &Choices, biases: u32, seed: u64) -> RankInputs {
        let mut random = Random::new(seed);
        let tokens = choices.topk_idx.len() / shape.topk() as usize;
        let (x, scales) = drawn_rows(&mut random, shape, tokens * shape.payload().columns(shape.hidden()) as usize);
        let sums = tokens * shape.hidden() as usize;
        let biases = (0..biases).map(|_| drawn_numbers(&mut random, shape.sum(), sums)).collect();
        let Choices { topk_idx, topk_weights } = choices.clone();
        RankInputs { x, scales, topk_idx, topk_weights, biases }
    }
}

/// Whether rows are ordered by expert.
pub fn by_expert(shape: &Shape) -> bool {
    matches!(shape.layout(), OutputLayout::Experts { .. })
}

/// Stands for a rank's experts: each row times the sum of its local weights; by expert the row itself, which combine scales.
/// So combine gives about x times the sum of all weights of the token, and every rank's share differs.
pub fn experts(shape: &Shape, rows: &DispatchOutput) -> Vec<u8> {
    let (row_bytes, scales) =
        (shape.dispatch_row_bytes() as usize, (shape.scale_columns() * shape.scale_bytes()) as usize);
    let mut out = Vec::with_capacity(rows.source.len() * shape.combine_row_bytes() as usize);
    let weights = rows.topk_weights.chunks(if by_expert(shape) { 1 } else { shape.topk() as usize });
    for (at, (row, weights)) in rows.x.chunks(row_bytes).zip(weights).enumerate() {
        let weight: f32 = if by_expert(shape) { 1.0 } else { weights.iter().sum() };
        let numbers = numbers(shape, row, &rows.scales[at * scales..(at + 1) * scales]);
        let weighted: Vec<f32> = numbers.iter().map(|number| number * weight).collect();
        out.extend(reference::round(shape.sum(), &weighted));
    }
    out
}

/// The numbers in a row that arrived. Opaque bytes count as numbers about 0.
pub fn numbers(shape: &Shape, row: &[u8], scales: &[u8]) -> Vec<f32> {
    let quantized = |format, kind| {
        let row = Quantized { elements: row.to_vec(), scales: scales.to_vec() };
        reference::dequantize(Quantization::new(format, kind), &row)
    };
    match shape.payload() {
        Payload::Bf16 => reference::widen(Sum::Bf16, row),
        Payload::Fp16 => reference::widen(Sum::Fp16, row),
        Payload::Fp32 => reference::widen(Sum::Fp32, row),
        Payload::Fp8(format, kind) => quantized(format, kind),
        Payload::Quantize(how) => quantized(how.format(), how.scales()),
        _ => (0..shape.hidden() as usize).map(|at| (f32::from(row[at % row.len()]) - 128.0) / 64.0).collect(),
    }
}

/// From 0 to 1.
fn unit(random: &mut Random) -> f32 {
    (random.next() >> 40) as f32 / (1 << 24) as f32
}

/// Activations as a layer has them: most within -2 to 2, with all mantissas.
fn drawn_numbers(random: &mut Random, sum: Sum, elements: usize) -> Vec<u8> {
    let mut number = || (unit(random) + unit(random) + unit(random) - 1.5) * 2.0;
    reference::round(sum, &(0..elements).map(|_| number()).collect::<Vec<f32>>())
}

/// Rows that are given, and their scales. Opaque bytes are any.
fn drawn_rows(random: &mut Random, shape: &Shape, elements: usize) -> (Vec<u8>, Vec<u8>) {
    match shape.payload() {
        Payload::Bf16 | Payload::Quantize(_) => (drawn_numbers(random, Sum::Bf16, elements), Vec::new()),
        Payload::Fp16 => (drawn_numbers(random, Sum::Fp16, elements), Vec::new()),
        Payload::Fp32 => (drawn_numbers(random, Sum::Fp32, elements), Vec::new()),
        Payload::Fp8(format, kind) => {
            let numbers = drawn_numbers(random, Sum::Bf16, elements);
            let rows = numbers.chunks(2 * shape.hidden() as usize);
            let rows = rows.map(|row| reference::quantize(Quantization::new(format, kind), row));
            rows.fold((Vec::new(), Vec::new()), |(mut x, mut scales), row| {
                x.extend(row.elements);
                scales.extend(row.scales);
                (x, scales)
            })
        }
        _ => ((0..elements).map(|_| random.next() as u8).collect(), Vec::new()),
    }
}
