//! Sums of the experts' rows, back at their tokens.

use super::bf16::add;
use super::experts;
use super::layout::Layout;
use super::number::{round, widen};
use crate::error::{Error, Result};
use crate::plan::{OutputLayout, Shape, Sum};
use crate::topology::Topology;

/// What one rank gives to a combine.
#[derive(Debug, Clone, Copy, Default)]
pub struct CombineInput<'a> {
    /// Rows of `[rows]`, as bytes, in the order in which dispatch delivered them.
    pub rows: &'a [u8],
    /// By expert: row of each pair, as dispatch says; empty for rows by source.
    pub places: &'a [i32],
    /// By expert: factor of each row.
    pub scales: Option<&'a [f32]>,
    /// `[rows, topk]`; by expert `[rows]`.
    pub weights: Option<&'a [f32]>,
    /// Rows of `[tokens]` each, as bytes; two at most.
    pub biases: &'a [&'a [u8]],
}

/// What one rank gets.
#[derive(Debug, Clone, PartialEq)]
pub struct CombineOutput {
    /// Rows of `[tokens]`, as bytes.
    pub x: Vec<u8>,
    /// `[tokens, topk]`, when weights were given.
    pub topk_weights: Option<Vec<f32>>,
}

/// Combines the rows of every rank; element r of the result is what rank r gets. Rows are of [`Shape::sum`].
///
/// Rounding contract, for each own token and element, where rows are by expert after the rows of a rank were added in fp32
/// in ascending choice, each times its factor if there are any, and rounded to the rows' type:
/// 1. for each node with destinations of the token: the rows of its ranks are added in fp32 in ascending rank, starting
///    from the first row itself, and the sum is rounded to the rows' type (nearest even; a NaN of 16 bits becomes 0x7fff);
/// 2. these are added in fp32 in ascending node, starting from the first, then the biases in their order, and the sum is
///    rounded once.
///
/// With nothing to add it is +0. Weights are added like rows of fp32, without biases.
///
/// # Errors
/// [`Error::Argument`] when a rank's rows or weights are not as many as dispatch delivered there, or a bias has not one
/// row a token.
pub fn combine(
    topology: Topology,
    shape: Shape,
    layouts: &[Layout],
    inputs: &[CombineInput],
) -> Result<Vec<CombineOutput>> {
    let (row_bytes, topk) = (shape.combine_row_bytes() as usize, shape.topk() as usize);
    if inputs.len() != layouts.len() {
        return Err(Error::argument("inputs", inputs.len(), format!("one for each of {} ranks", layouts.len())));
    }
    if let OutputLayout::Experts { .. } = shape.layout() {
        return combine_experts(topology, shape, layouts, inputs);
    }
    for (rank, (input, layout)) in inputs.iter().zip(layouts).enumerate() {
        check(shape, rank as u32, input, super::rows(rank as u32, layouts).len(), layout.tokens() as usize)?;
    }
    // Walking sources and tokens in row order, the next row of each rank is the one that belongs to the token.
    let mut next = vec![0; inputs.len()];
    let mut outputs = Vec::with_capacity(layouts.len());
    for (layout, own) in layouts.iter().zip(inputs) {
        let (mut x, mut weights) = (Vec::new(), Vec::new());
        for token in 0..layout.tokens() {
            let places: Vec<(u32, usize)> = layout
                .destinations(token)
                .iter()
                .map(|&rank| {
                    let at = &mut next[rank as usize];
                    *at += 1;
                    (rank, *at - 1)
                })
                .collect();
            let nodes: Vec<&[(u32, usize)]> =
                places.chunk_by(|(a, _), (b, _)| topology.node(*a) == topology.node(*b)).collect();
            let row = |&(rank, at): &(u32, usize)| {
                widen(shape.sum(), &inputs[rank as usize].rows[at * row_bytes..(at + 1) * row_bytes])
            };
            let biases =
                own.biases.iter().map(|bias| &bias[token as usize * row_bytes..(token as usize + 1) * row_bytes]);
            x.extend(total(shape.sum(), shape.hidden() as usize, &nodes, row, biases));
            let given = |&(rank, at): &(u32, usize)| {
                inputs[rank as usize]
                    .weights
                    .map_or_else(|| vec![0.0; topk], |all| all[at * topk..(at + 1) * topk].to_vec())
            };
            weights.extend(widen(Sum::Fp32, &total(Sum::Fp32, topk, &nodes, given, std::iter::empty())));
        }
        outputs.push(CombineOutput { x, topk_weights: own.weights.map(|_| weights) });
    }
    Ok(outputs)
}

/// The same from rows by expert.
fn combine_experts(
    topology: Topology,
    shape: Shape,
    layouts: &[Layout],
    inputs: &[CombineInput],
) -> Result<Vec<CombineOutput>> {
    let (row_bytes, topk) = (shape.combine_row_bytes() as usize, shape.topk() as usize);
    let mut summed = Vec::new();
    for (rank, input) in (0..).zip(inputs) {
        let (tokens, rows) = (super::rows(rank, layouts).len(), input.rows.len() / row_bytes);
        let most = input.places.iter().map(|&place| place + 1).max().unwrap_or(0) as usize;
        if input.places.len() != tokens * topk || most > rows {
            let have = format!("{} with rows up to {most}", input.places.len());
            return Err(Error::argument("places", have, format!("{} of {rows} rows at rank {rank}", tokens * topk)));
        }
        for (name, values) in [("scales", input.scales), ("weights", input.weights)] {
            if let Some(values) = values.filter(|values| values.len() != rows) {
                return Err(Error::argument(name, format!("{} elements", values.len()), format!("{rows}, a row each")));
            }
        }
        let weights = input.weights.map(|weights| experts::weights(input.places, weights));
        summed.push((experts::sums(shape, input.places, input.rows, input.scales), weights));
    }
    let by_source: Vec<CombineInput> = summed
        .iter()
        .zip(inputs)
        .map(|((rows, weights), input)| CombineInput {
            rows,
            weights: weights.as_deref(),
            biases: input.biases,
            ..CombineInput::default()
        })
        .collect();
    combine(topology, shape.with_layout(OutputLayout::Rows)?, layouts, &by_source)
}

fn check(shape: Shape, rank: u32, input: &CombineInput, rows: usize, tokens: usize) -> Result<()> {
    let (row_bytes, topk) = (shape.combine_row_bytes() as usize, shape.topk() as usize);
    let parts =
        [("rows", Some(input.rows.len()), rows * row_bytes), ("weights", input.weights.map(<[f32]>::len), rows * topk)];
    let biases = input.biases.iter().map(|bias| ("biases", Some(bias.len()), tokens * row_bytes));
    for (name, have, want) in parts.into_iter().chain(biases) {
        if let Some(have) = have.filter(|&have| have != want) {
            let valid = format!("{want}, as rank {rank} has {rows} rows and {tokens} tokens");
            return Err(Error::argument(name, format!("{have} bytes or elements"), valid));
        }
    }
    Ok(())
}

/// One token: rows of each of its nodes, in ascending rank, then the biases.
fn total<'a>(
    sum: Sum,
    columns: usize,
    nodes: &[&[(u32, usize)]],
    row: impl Fn(&(u32, usize)) -> Vec<f32>,
    biases: impl Iterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let partials = nodes.iter().map(|node| round(sum, &add_rows(node.iter().map(&row), columns)));
    let terms = partials.map(|partial| widen(sum, &partial)).chain(biases.map(|bias| widen(sum, bias)));
    round(sum, &add_rows(terms, columns))
}

/// Adds rows element by element, starting from the first; no rows give +0.
fn add_rows(mut rows: impl Iterator<Item = Vec<f32>>, columns: usize) -> Vec<f32> {
    let first = rows.next().unwrap_or_else(|| vec![0.0; columns]);
    rows.fold(first, |total, row| total.into_iter().zip(row).map(|(a, b)| add(a, b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::bf16;

    fn bits(sum: Sum, value: f32) -> Vec<u8> {
        round(sum, &[value])
    }

    fn combined(sum: Sum, gpus_per_node: u32, nodes: u32, values: &[f32]) -> Vec<u8> {
        let ranks = nodes * gpus_per_node;
        let topology = Topology::new(nodes, gpus_per_node).expect("valid");
        let shape = Shape::new(8, ranks, ranks, 1).and_then(|shape| shape.with_sum(sum)).expect("valid");
        // Rank 0 has one token that goes everywhere, the others none.
        let all: Vec<i32> = (0..ranks as i32).collect();
        let layouts: Vec<Layout> = (0..ranks)
            .map(|rank| Layout::new(topology, shape, if rank == 0 { &all } else { &[] }).expect("valid"))
            .collect();
        let rows: Vec<Vec<u8>> = values.iter().map(|&value| round(sum, &[value; 8])).collect();
        let inputs: Vec<CombineInput> =
            rows.iter().map(|rows| CombineInput { rows, ..CombineInput::default() }).collect();
        let element = shape.combine_row_bytes() as usize / 8;
        combine(topology, shape, &layouts, &inputs).expect("valid")[0].x[7 * element..].to_vec()
    }

    #[test]
    fn rounds_once_a_node() {
        // 1 + half a last place is a tie that rounds to 1: on one node three terms round once, to the next number.
        for (sum, tiny) in [(Sum::Bf16, 1.0 / 256.0), (Sum::Fp16, 1.0 / 2048.0), (Sum::Fp32, 2f32.powi(-24))] {
            let next = bits(sum, 1.0 + 2.0 * tiny);
            let one_node = combined(sum, 4, 1, &[1.0, tiny, tiny, 0.0]);
            // In fp32 nothing but additions rounds, and each of these two is a tie.
            assert_eq!(one_node, if sum == Sum::Fp32 { bits(sum, 1.0) } else { next }, "{sum}");
            // On two nodes the first pair already rounds to 1, and 1 + half a last place does again.
            assert_eq!(combined(sum, 2, 2, &[1.0, tiny, tiny, 0.0]), bits(sum, 1.0), "{sum}");
        }
    }

    #[test]
    fn adds_in_ascending_rank() {
        // In fp32 (2^24 + 1) + -2^24 = 0, while 2^24 + -2^24 + 1 = 1.
        let big = 16_777_216.0;
        for sum in [Sum::Bf16, Sum::Fp32] {
            assert_eq!(combined(sum, 3, 1, &[big, 1.0, -big]), bits(sum, 0.0));
            assert_eq!(combined(sum, 3, 1, &[big, -big, 1.0]), bits(sum, 1.0));
        }
    }

    #[test]
    fn starts_from_the_first_term() {
        for sum in Sum::ALL {
            assert_eq!(combined(sum, 2, 2, &[-0.0; 4]), bits(sum, -0.0), "{sum}");
            assert_eq!(combined(sum, 1, 1, &[-0.0]), bits(sum, -0.0), "{sum}");
        }
        assert_eq!(combined(Sum::Bf16, 1, 1, &[f32::NAN]), bf16::NAN.to_le_bytes());
    }

    #[test]
    fn a_token_without_destinations_is_zero() {
        let topology = Topology::new(1, 1).expect("valid");
        let shape = Shape::new(8, 1, 1, 2).expect("valid");
        let layout = Layout::new(topology, shape, &[-1, 0]).expect("valid");
        let one = round(Sum::Bf16, &[1.0; 8]);
        let input = CombineInput { rows: &one, ..CombineInput::default() };
        let outputs = combine(topology, shape, std::slice::from_ref(&layout), &[input]).expect("valid");
        assert_eq!(outputs[0].x[..16], [0; 16]);
        assert_eq!(outputs[0].x[16..], one);
        assert!(combine(topology, shape, &[layout], &[CombineInput { rows: &[0; 32], ..input }]).is_err());
    }

    #[test]
    fn biases_come_last_and_round_with_the_rest() {
        let topology = Topology::new(1, 1).expect("valid");
        let shape = Shape::new(8, 1, 1, 2).expect("valid");
        let layout = Layout::new(topology, shape, &[-1, 0]).expect("valid");
        let row = |value: f32| round(Sum::Bf16, &[value; 8]);
        let two = |value: f32| [row(value), row(value)].concat();
        // 1 + half a last place is a tie that rounds to 1; with another half it is the next number.
        let (half, minus_zero) = (two(1.0 / 256.0), two(-0.0));
        let one = row(1.0);
        let with = |biases: &[&[u8]]| {
            combine(
                topology,
                shape,
                std::slice::from_ref(&layout),
                &[CombineInput { rows: &one, biases, ..CombineInput::default() }],
            )
            .map(|outputs| outputs[0].x.clone())
        };
        assert_eq!(with(&[&half]).expect("valid"), [row(1.0 / 256.0), row(1.0)].concat());
        assert_eq!(with(&[&half, &half]).expect("valid"), [row(1.0 / 128.0), row(1.0 + 1.0 / 128.0)].concat());
        // A sum begins with its first term, a bias where there is no other.
        assert_eq!(with(&[&minus_zero]).expect("valid"), [row(-0.0), row(1.0)].concat());
        assert!(with(&[&half[..16]]).is_err());
    }

    #[test]
    fn weights_are_summed_over_ranks() {
        let topology = Topology::new(1, 2).expect("valid");
        let shape = Shape::new(8, 2, 2, 1).expect("valid");
        let layouts = [[0, 1].as_slice(), &[]].map(|idx| Layout::new(topology, shape, idx).expect("valid"));
        let rows = [0; 16];
        let input = |weights| CombineInput { rows: &rows, weights: Some(weights), ..CombineInput::default() };
        let outputs = combine(topology, shape, &layouts, &[input(&[0.5, 0.0]), input(&[0.25, 2.0])]).expect("valid");
        assert_eq!(outputs[0].topk_weights, Some(vec![0.75, 2.0]));
        assert_eq!(outputs[1].topk_weights, Some(vec![]));
        assert!(combine(topology, shape, &layouts, &[input(&[0.5]), input(&[0.25, 2.0])]).is_err());
    }
}
