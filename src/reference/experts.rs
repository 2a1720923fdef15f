//! Rows by expert: one for each pair of a token and its choice of a local expert.

use super::bf16::add;
use super::dispatch::{DispatchOutput, Row};
use super::number::{round, widen};
use crate::plan::{OutputLayout, Shape};

/// What source rank and token of a row of zeros read as: -1.
pub const NOBODY: Row = Row { rank: u32::MAX, token: u32::MAX };

/// Turns rows by source into rows by expert: each expert's part in order of (source rank, token, choice), from a multiple
/// of the alignment on, and zeros behind it.
pub(super) fn expand(shape: Shape, rows: DispatchOutput) -> DispatchOutput {
    let OutputLayout::Experts { .. } = shape.layout() else { return rows };
    let topk = shape.topk() as usize;
    let (row_bytes, scales_bytes) = (shape.dispatch_row_bytes() as usize, super::dispatch::scales_bytes(shape));
    let offsets = shape.layout().offsets(&rows.expert_counts);
    let count = offsets[offsets.len() - 1] as usize;
    let mut next = offsets.clone();
    let mut out = DispatchOutput {
        x: vec![0; count * row_bytes],
        scales: vec![0; count * scales_bytes],
        topk_idx: vec![-1; count],
        topk_weights: vec![0.0; count],
        source: vec![NOBODY; count],
        expert_counts: rows.expert_counts,
        expert_offsets: offsets,
        places: Vec::with_capacity(rows.topk_idx.len()),
    };
    for (pair, &expert) in rows.topk_idx.iter().enumerate() {
        let Ok(local) = usize::try_from(expert) else {
            out.places.push(-1);
            continue;
        };
        let (from, to) = (pair / topk, next[local] as usize);
        next[local] += 1;
        out.places.push(to as i32);
        out.x[to * row_bytes..(to + 1) * row_bytes].copy_from_slice(&rows.x[from * row_bytes..(from + 1) * row_bytes]);
        out.scales[to * scales_bytes..(to + 1) * scales_bytes]
            .copy_from_slice(&rows.scales[from * scales_bytes..(from + 1) * scales_bytes]);
        out.topk_idx[to] = expert;
        out.topk_weights[to] = rows.topk_weights[pair];
        out.source[to] = rows.source[from];
    }
    out
}

/// The sum of each token's rows at a rank, in ascending choice, in f32 and each times its scale if there are any; rounded
/// once to [`Shape::sum`]. Starts from the first row; none give +0.
pub(super) fn sums(shape: Shape, places: &[i32], rows: &[u8], scales: Option<&[f32]>) -> Vec<u8> {
    let (row_bytes, topk) = (shape.combine_row_bytes() as usize, shape.topk() as usize);
    let term = |place: usize| -> Vec<f32> {
        let row = widen(shape.sum(), &rows[place * row_bytes..(place + 1) * row_bytes]);
        match scales {
            Some(scales) => row.into_iter().map(|number| product(number, scales[place])).collect(),
            None => row,
        }
    };
    places
        .chunks(topk)
        .flat_map(|token| {
            let mut terms = token.iter().filter_map(|&place| usize::try_from(place).ok()).map(term);
            let first = terms.next().unwrap_or_else(|| vec![0.0; shape.hidden() as usize]);
            let total = terms.fold(first, |sum, row| sum.into_iter().zip(row).map(|(a, b)| add(a, b)).collect());
            round(shape.sum(), &total)
        })
        .collect()
}

/// The weights of each token's choices, from those of its rows: 0 for a choice without a row.
pub(super) fn weights(places: &[i32], of_rows: &[f32]) -> Vec<f32> {
    places.iter().map(|&place| usize::try_from(place).map_or(0.0, |place| of_rows[place])).collect()
}

/// A product in f32 as kernels make it: NaN is the one NaN.
fn product(a: f32, b: f32) -> f32 {
    match a * b {
        nan if nan.is_nan() => f32::from_bits(0x7fff_ffff),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Sum;
    use crate::reference::{dispatch, DispatchInput};
    use crate::topology::Topology;

    #[test]
    fn pairs_come_by_expert_and_parts_are_aligned() {
        let topology = Topology::new(1, 1).expect("valid");
        let shape = Shape::new(8, 3, 2, 4).expect("valid");
        let shape = shape.with_layout(OutputLayout::Experts { align: 2 }).expect("valid");
        let x: Vec<u8> = (1..=3).flat_map(|token| [token; 16]).collect();
        // A token may choose an expert twice.
        let input = DispatchInput {
            x: &x,
            topk_idx: &[2, 0, 0, -1, 2, 2],
            topk_weights: Some(&[1.0, 2.0, 3.0, 9.0, 4.0, 5.0]),
            scales: &[],
        };
        let output = &dispatch(topology, shape, &[input]).expect("valid")[0];
        assert_eq!((&output.expert_counts[..], &output.expert_offsets[..]), (&[2, 0, 3][..], &[0, 2, 2, 6][..]));
        assert_eq!(output.places, [2, 0, 1, -1, 3, 4]);
        let first: Vec<u8> = output.x.chunks(16).map(|row| row[15]).collect();
        assert_eq!(first, [1, 2, 1, 3, 3, 0]);
        assert_eq!(output.topk_weights, [2.0, 3.0, 1.0, 4.0, 5.0, 0.0]);
        assert_eq!(output.topk_idx, [0, 0, 2, 2, 2, -1]);
        assert_eq!(output.source[5], NOBODY);
        assert_eq!(weights(&output.places, &output.topk_weights), [1.0, 2.0, 3.0, 0.0, 4.0, 5.0]);
    }

    #[test]
    fn rows_of_a_token_are_scaled_and_round_once() {
        let shape = Shape::new(8, 3, 3, 4).expect("valid");
        let rows: Vec<u8> = [1.0, 1.0 / 128.0, -0.0].iter().flat_map(|&value| round(Sum::Bf16, &[value; 8])).collect();
        let first = |places: &[i32], scales: Option<&[f32]>| {
            let bytes = sums(shape, places, &rows, scales);
            widen(Sum::Bf16, &bytes[..2])[0]
        };
        assert_eq!(first(&[0, 1, -1], None), 1.0 + 1.0 / 128.0);
        // Half a last place twice is a whole one when only the sum is rounded.
        assert_eq!(first(&[0, 1, 1], Some(&[1.0, 0.5, 0.0])), 1.0 + 1.0 / 128.0);
        assert_eq!(first(&[0, 1, -1], Some(&[1.0, 0.5, 0.0])), 1.0);
        assert!(first(&[2, -1, -1], None).is_sign_negative());
        assert!(first(&[-1, -1, -1], None).is_sign_positive());
    }
}
