//! Rows at each rank.

use super::experts::expand;
use super::layout::Layout;
use super::quantize::quantize;
use crate::error::{Error, Result};
use crate::plan::Shape;
use crate::topology::Topology;

/// What one rank gives to a dispatch.
#[derive(Debug, Clone, Copy, Default)]
pub struct DispatchInput<'a> {
    /// Rows of `[tokens]`, as bytes.
    pub x: &'a [u8],
    /// Their scales, as bytes, where the payload takes any.
    pub scales: &'a [u8],
    /// `[tokens, topk]`.
    pub topk_idx: &'a [i32],
    /// `[tokens, topk]`.
    pub topk_weights: Option<&'a [f32]>,
}

/// What one rank gets. By expert, `topk_idx` and `topk_weights` are `[rows]`, and rows of zeros lie between the parts
/// ([`OutputLayout`](crate::plan::OutputLayout)).
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchOutput {
    /// Rows of `[rows]`, as bytes.
    pub x: Vec<u8>,
    /// Their scales, as bytes.
    pub scales: Vec<u8>,
    /// `[rows, topk]`: local expert, -1 for a choice that lives elsewhere or is masked.
    pub topk_idx: Vec<i32>,
    /// `[rows, topk]`: the choice's weight, 0 where `topk_idx` is -1 or no weights were given.
    pub topk_weights: Vec<f32>,
    /// `[rows]`: where each row came from.
    pub source: Vec<Row>,
    /// (token, choice) pairs of each local expert.
    pub expert_counts: Vec<u32>,
    /// By expert: first row of each local expert's part, and the number of rows.
    pub expert_offsets: Vec<u32>,
    /// By expert, for each token that came and each choice: its row, or -1.
    pub places: Vec<i32>,
}

/// Where a row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// Source rank.
    pub rank: u32,
    /// Token of that rank.
    pub token: u32,
}

/// Rows at `rank`, in order: by source rank, then token.
pub fn rows(rank: u32, layouts: &[Layout]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (source, layout) in layouts.iter().enumerate() {
        let tokens = (0..layout.tokens()).filter(|&token| layout.destinations(token).contains(&rank));
        rows.extend(tokens.map(|token| Row { rank: source as u32, token }));
    }
    rows
}

/// Dispatches the inputs of all ranks; element r of the result is what rank r gets.
///
/// # Errors
/// [`Error::Argument`] when there is not one input a rank, or an input's parts disagree in length.
pub fn dispatch(topology: Topology, shape: Shape, inputs: &[DispatchInput]) -> Result<Vec<DispatchOutput>> {
    if inputs.len() != topology.ranks() as usize {
        return Err(Error::argument("inputs", inputs.len(), format!("one for each of {} ranks", topology.ranks())));
    }
    let layouts = inputs.iter().map(|input| checked_layout(topology, shape, input)).collect::<Result<Vec<Layout>>>()?;
    Ok((0..topology.ranks()).map(|rank| output(topology, shape, rank, inputs, &layouts)).collect())
}

fn checked_layout(topology: Topology, shape: Shape, input: &DispatchInput) -> Result<Layout> {
    let layout = Layout::new(topology, shape, input.topk_idx)?;
    let scales = if shape.payload().takes_scales() { scales_bytes(shape) } else { 0 };
    for (name, given, row) in [("x", input.x, shape.given_row_bytes() as usize), ("scales", input.scales, scales)] {
        let bytes = layout.tokens() as usize * row;
        if given.len() != bytes {
            let valid = format!("{bytes} (tokens of topk_idx x bytes of a row)");
            return Err(Error::argument(name, format!("{} bytes", given.len()), valid));
        }
    }
    if let Some(weights) = input.topk_weights.filter(|weights| weights.len() != input.topk_idx.len()) {
        let valid = format!("{}, as topk_idx", input.topk_idx.len());
        return Err(Error::argument("topk_weights", format!("{} elements", weights.len()), valid));
    }
    Ok(layout)
}

/// Bytes of a row's scales.
pub(super) fn scales_bytes(shape: Shape) -> usize {
    (shape.scale_columns() * shape.scale_bytes()) as usize
}

/// A token's row as it arrives, and its scales.
fn carried(shape: Shape, input: &DispatchInput, token: usize) -> (Vec<u8>, Vec<u8>) {
    let part = |bytes: &[u8], row: usize| bytes[token * row..(token + 1) * row].to_vec();
    let given = part(input.x, shape.given_row_bytes() as usize);
    match shape.payload().quantization() {
        Some(how) => {
            let row = quantize(how, &given);
            (row.elements, row.scales)
        }
        None if shape.payload().takes_scales() => (given, part(input.scales, scales_bytes(shape))),
        None => (given, Vec::new()),
    }
}

fn output(topology: Topology, shape: Shape, rank: u32, inputs: &[DispatchInput], layouts: &[Layout]) -> DispatchOutput {
    let (row_bytes, topk) = (shape.dispatch_row_bytes() as usize, shape.topk() as usize);
    let own = shape.experts_per_rank(topology) as i32;
    let first = rank as i32 * own;
    let source = rows(rank, layouts);
    let mut output = DispatchOutput {
        x: Vec::with_capacity(source.len() * row_bytes),
        scales: Vec::with_capacity(source.len() * scales_bytes(shape)),
        topk_idx: Vec::with_capacity(source.len() * topk),
        topk_weights: Vec::with_capacity(source.len() * topk),
        source,
        expert_counts: vec![0; own as usize],
        expert_offsets: Vec::new(),
        places: Vec::new(),
    };
    for row in &output.source {
        let (input, token) = (&inputs[row.rank as usize], row.token as usize);
        let (row, scales) = carried(shape, input, token);
        output.x.extend(row);
        output.scales.extend(scales);
        for choice in token * topk..(token + 1) * topk {
            let local = input.topk_idx[choice] - first;
            let here = input.topk_idx[choice] >= 0 && (0..own).contains(&local);
            output.topk_idx.push(if here { local } else { -1 });
            let weight = input.topk_weights.filter(|_| here).map_or(0.0, |weights| weights[choice]);
            output.topk_weights.push(weight);
            if here {
                output.expert_counts[local as usize] += 1;
            }
        }
    }
    expand(shape, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivers_one_row_a_token_and_rank_in_source_order() {
        let topology = Topology::new(1, 2).expect("valid");
        let shape = Shape::new(8, 4, 3, 4).expect("valid");
        let x: [Vec<u8>; 2] = [(0..32).collect(), (100..116).collect()];
        let idx: [&[i32]; 2] = [&[3, 0, 2, -1, -1, 1], &[2, -1, 0]];
        let weights: [&[f32]; 2] = [&[0.5, 0.25, 0.125, 9.0, 9.0, 1.0], &[2.0, 9.0, 4.0]];
        let inputs = [0, 1].map(|rank| DispatchInput {
            x: &x[rank],
            topk_idx: idx[rank],
            topk_weights: Some(weights[rank]),
            ..DispatchInput::default()
        });
        let outputs = dispatch(topology, shape, &inputs).expect("valid");
        let row = |rank, token| Row { rank, token };
        assert_eq!(outputs[0].source, [row(0, 0), row(0, 1), row(1, 0)]);
        assert_eq!(outputs[0].topk_idx, [-1, 0, -1, -1, -1, 1, -1, -1, 0]);
        assert_eq!(outputs[0].topk_weights, [0.0, 0.25, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 4.0]);
        assert_eq!(outputs[0].expert_counts, [2, 1]);
        // Both choices of token 0 on rank 1 make one row.
        assert_eq!(outputs[1].source, [row(0, 0), row(1, 0)]);
        assert_eq!(outputs[1].topk_idx, [1, -1, 0, 0, -1, -1]);
        assert_eq!(outputs[1].x[16..], x[1]);
    }

    #[test]
    fn refuses_lengths_that_disagree() {
        let topology = Topology::new(1, 1).expect("valid");
        let shape = Shape::new(8, 4, 2, 4).expect("valid");
        let short = DispatchInput { x: &[0; 15], topk_idx: &[0, 1], ..DispatchInput::default() };
        assert!(dispatch(topology, shape, &[short]).is_err());
        let weights = DispatchInput { topk_weights: Some(&[1.0]), x: &[0; 16], ..short };
        assert!(dispatch(topology, shape, &[weights]).is_err());
        assert!(dispatch(topology, shape, &[]).is_err());
    }
}
