//! Sums of the experts' rows, back at their tokens.

use super::bf16::add;
use super::layout::Layout;
use super::number::{round, widen};
use crate::error::{Error, Result};
use crate::plan::Shape;
use crate::topology::Topology;

/// Combines `rows [rows, hidden]` of every rank, in the order in which dispatch delivered them; element r of the
/// result is the `[tokens, hidden]` of rank r. Both are bytes of elements of [`Shape::sum`].
///
/// Rounding contract, for each own token and element:
/// 1. for each node with destinations of the token: the rows of its ranks are added in fp32 in ascending rank, starting
///    from the first row itself, and the sum is rounded to the rows' type (nearest even; a NaN of 16 bits becomes 0x7fff);
/// 2. these are added in fp32 in ascending node, starting from the first, and rounded once.
///
/// A token without destinations gives +0.
///
/// # Errors
/// [`Error::Argument`] when a rank's rows are not as many as dispatch delivered there.
pub fn combine(topology: Topology, shape: Shape, layouts: &[Layout], rows: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
    let row_bytes = shape.combine_row_bytes() as usize;
    if rows.len() != layouts.len() {
        return Err(Error::argument("rows", rows.len(), format!("one slice for each of {} ranks", layouts.len())));
    }
    for (rank, have) in rows.iter().enumerate() {
        let want = super::rows(rank as u32, layouts).len() * row_bytes;
        if have.len() != want {
            let valid = format!("{want}, as dispatch delivers to rank {rank}");
            return Err(Error::argument("rows", format!("{} bytes", have.len()), valid));
        }
    }
    // Walking sources and tokens in row order, the next row of each rank is the one that belongs to the token.
    let mut next = vec![0; rows.len()];
    let mut outputs = Vec::with_capacity(layouts.len());
    for layout in layouts {
        let mut output = Vec::with_capacity(layout.tokens() as usize * row_bytes);
        for token in 0..layout.tokens() {
            let copies: Vec<(u32, &[u8])> = layout
                .destinations(token)
                .iter()
                .map(|&rank| {
                    let at = &mut next[rank as usize];
                    let row = &rows[rank as usize][*at * row_bytes..(*at + 1) * row_bytes];
                    *at += 1;
                    (topology.node(rank), row)
                })
                .collect();
            output.extend(total(shape, &copies));
        }
        outputs.push(output);
    }
    Ok(outputs)
}

/// One token; `copies` are (node, row) in ascending rank.
fn total(shape: Shape, copies: &[(u32, &[u8])]) -> Vec<u8> {
    let (sum, hidden) = (shape.sum(), shape.hidden() as usize);
    let nodes = copies.chunk_by(|(a, _), (b, _)| a == b);
    let partials = nodes.map(|node| round(sum, &add_rows(node.iter().map(|(_, row)| widen(sum, row)), hidden)));
    round(sum, &add_rows(partials.map(|row| widen(sum, &row)), hidden))
}

/// Adds rows element by element, starting from the first; no rows give +0.
fn add_rows(mut rows: impl Iterator<Item = Vec<f32>>, hidden: usize) -> Vec<f32> {
    let first = rows.next().unwrap_or_else(|| vec![0.0; hidden]);
    rows.fold(first, |total, row| total.into_iter().zip(row).map(|(a, b)| add(a, b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Sum;
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
        let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let element = shape.combine_row_bytes() as usize / 8;
        combine(topology, shape, &layouts, &rows).expect("valid")[0][7 * element..].to_vec()
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
        let outputs = combine(topology, shape, std::slice::from_ref(&layout), &[&one]).expect("valid");
        assert_eq!(outputs[0][..16], [0; 16]);
        assert_eq!(outputs[0][16..], one);
        assert!(combine(topology, shape, &[layout], &[&[0; 32]]).is_err());
    }
}
