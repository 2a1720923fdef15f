//! Sums of the experts' rows, back at their tokens.

use super::bf16;
use super::layout::Layout;
use crate::error::{Error, Result};
use crate::plan::Shape;
use crate::topology::Topology;

/// Combines `rows [rows, hidden]` of every rank, in the order in which dispatch delivered them; element r of the
/// result is the bf16 `[tokens, hidden]` of rank r.
///
/// Rounding contract, for each own token and element:
/// 1. for each node with destinations of the token: the rows of its ranks are added in fp32 in ascending rank, starting
///    from the first row itself, and the sum is rounded to bf16 (nearest even; NaN becomes 0x7fff);
/// 2. these are added in fp32 in ascending node, starting from the first, and rounded to bf16 once.
///
/// A token without destinations gives +0.
///
/// # Errors
/// [`Error::Argument`] when a rank's rows are not as many as dispatch delivered there.
pub fn combine(topology: Topology, shape: Shape, layouts: &[Layout], rows: &[&[u16]]) -> Result<Vec<Vec<u16>>> {
    let hidden = shape.hidden() as usize;
    if rows.len() != layouts.len() {
        return Err(Error::argument("rows", rows.len(), format!("one slice for each of {} ranks", layouts.len())));
    }
    for (rank, have) in rows.iter().enumerate() {
        let want = super::rows(rank as u32, layouts).len() * hidden;
        if have.len() != want {
            let valid = format!("{want}, as dispatch delivers to rank {rank}");
            return Err(Error::argument("rows", format!("{} elements", have.len()), valid));
        }
    }
    // Walking sources and tokens in row order, the next row of each rank is the one that belongs to the token.
    let mut next = vec![0; rows.len()];
    let mut outputs = Vec::with_capacity(layouts.len());
    for layout in layouts {
        let mut output = Vec::with_capacity(layout.tokens() as usize * hidden);
        for token in 0..layout.tokens() {
            let copies: Vec<(u32, &[u16])> = layout
                .destinations(token)
                .iter()
                .map(|&rank| {
                    let at = &mut next[rank as usize];
                    let row = &rows[rank as usize][*at * hidden..(*at + 1) * hidden];
                    *at += 1;
                    (topology.node(rank), row)
                })
                .collect();
            output.extend(sum(&copies, hidden));
        }
        outputs.push(output);
    }
    Ok(outputs)
}

/// One token; `copies` are (node, row) in ascending rank.
fn sum(copies: &[(u32, &[u16])], hidden: usize) -> Vec<u16> {
    let nodes = copies.chunk_by(|(a, _), (b, _)| a == b);
    let partials = nodes.map(|node| round(&add_rows(node.iter().map(|(_, row)| widen(row)), hidden)));
    round(&add_rows(partials.map(|row| widen(&row)), hidden))
}

/// Adds rows element by element, starting from the first; no rows give +0.
fn add_rows(mut rows: impl Iterator<Item = Vec<f32>>, hidden: usize) -> Vec<f32> {
    let first = rows.next().unwrap_or_else(|| vec![0.0; hidden]);
    rows.fold(first, |total, row| total.into_iter().zip(row).map(|(a, b)| bf16::add(a, b)).collect())
}

fn widen(row: &[u16]) -> Vec<f32> {
    row.iter().map(|&bits| bf16::to_f32(bits)).collect()
}

fn round(row: &[f32]) -> Vec<u16> {
    row.iter().map(|&value| bf16::from_f32(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(value: f32) -> u16 {
        bf16::from_f32(value)
    }

    fn combined(gpus_per_node: u32, nodes: u32, values: &[f32]) -> u16 {
        let ranks = nodes * gpus_per_node;
        let topology = Topology::new(nodes, gpus_per_node).expect("valid");
        let shape = Shape::new(8, ranks, ranks, 1).expect("valid");
        // Rank 0 has one token that goes everywhere, the others none.
        let all: Vec<i32> = (0..ranks as i32).collect();
        let layouts: Vec<Layout> = (0..ranks)
            .map(|rank| Layout::new(topology, shape, if rank == 0 { &all } else { &[] }).expect("valid"))
            .collect();
        let rows: Vec<Vec<u16>> = values.iter().map(|&value| vec![bits(value); 8]).collect();
        let rows: Vec<&[u16]> = rows.iter().map(Vec::as_slice).collect();
        combine(topology, shape, &layouts, &rows).expect("valid")[0][7]
    }

    #[test]
    fn rounds_once_a_node() {
        // 1 + 2^-8 is a tie that rounds to 1: on one node three terms round once, to 1 + 2^-7.
        let tiny = 1.0 / 256.0;
        assert_eq!(combined(4, 1, &[1.0, tiny, tiny, 0.0]), bits(1.0 + 2.0 * tiny));
        // On two nodes the first pair already rounds to 1, and 1 + 2^-8 does again.
        assert_eq!(combined(2, 2, &[1.0, tiny, tiny, 0.0]), bits(1.0));
    }

    #[test]
    fn adds_in_ascending_rank() {
        // In fp32 (2^24 + 1) + -2^24 = 0, while 2^24 + -2^24 + 1 = 1.
        let big = 16_777_216.0;
        assert_eq!(combined(3, 1, &[big, 1.0, -big]), bits(0.0));
        assert_eq!(combined(3, 1, &[big, -big, 1.0]), bits(1.0));
    }

    #[test]
    fn starts_from_the_first_term() {
        assert_eq!(combined(2, 2, &[-0.0; 4]), 0x8000);
        assert_eq!(combined(1, 1, &[-0.0]), 0x8000);
        assert_eq!(combined(1, 1, &[f32::NAN]), bf16::NAN);
    }

    #[test]
    fn a_token_without_destinations_is_zero() {
        let topology = Topology::new(1, 1).expect("valid");
        let shape = Shape::new(8, 1, 1, 2).expect("valid");
        let layout = Layout::new(topology, shape, &[-1, 0]).expect("valid");
        let outputs = combine(topology, shape, std::slice::from_ref(&layout), &[&[0x3f80; 8]]).expect("valid");
        assert_eq!(outputs[0][..8], [0; 8]);
        assert_eq!(outputs[0][8..], [0x3f80; 8]);
        assert!(combine(topology, shape, &[layout], &[&[0; 16]]).is_err());
    }
}
