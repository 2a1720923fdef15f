//! What results must be, by the reference, and where they are not.

use std::fmt::Debug;

use super::rows::{by_expert, experts, RankInputs};
use super::traffic::Least;
use crate::error::Result;
use crate::plan::Plan;
use crate::reference::{self, CombineInput, CombineOutput, DispatchInput, DispatchOutput, Layout};
use crate::LoadStatistics;

/// What the reference makes of the inputs.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Rows at each rank.
    pub dispatched: Vec<DispatchOutput>,
    /// Sums at each rank.
    pub combined: Vec<CombineOutput>,
    /// Where tokens of each rank go.
    pub layouts: Vec<Layout>,
    /// The least that can be moved.
    pub least: Least,
}

impl Expected {
    /// Of what all ranks send.
    ///
    /// # Errors
    /// As the functions of [`mod@reference`].
    pub fn new(plan: &Plan, inputs: &[RankInputs]) -> Result<Expected> {
        let (topology, shape) = (plan.topology, plan.shape);
        let given: Vec<DispatchInput> = inputs
            .iter()
            .map(|rank| DispatchInput {
                x: &rank.x,
                scales: &rank.scales,
                topk_idx: &rank.topk_idx,
                topk_weights: Some(&rank.topk_weights),
            })
            .collect();
        let layouts =
            given.iter().map(|rank| Layout::new(topology, shape, rank.topk_idx)).collect::<Result<Vec<Layout>>>()?;
        let dispatched = reference::dispatch(topology, shape, &given)?;
        let rows: Vec<Vec<u8>> = dispatched.iter().map(|output| experts(&shape, output)).collect();
        let biases: Vec<Vec<&[u8]>> =
            inputs.iter().map(|rank| rank.biases.iter().map(Vec::as_slice).collect()).collect();
        let given: Vec<CombineInput> = rows
            .iter()
            .zip(&dispatched)
            .zip(&biases)
            .map(|((rows, arrived), biases)| CombineInput {
                rows,
                places: &arrived.places,
                scales: by_expert(&shape).then_some(&arrived.topk_weights),
                weights: Some(&arrived.topk_weights),
                biases,
            })
            .collect();
        let combined = reference::combine(topology, shape, &layouts, &given)?;
        let least = Least::new(topology, &layouts);
        Ok(Expected { dispatched, combined, layouts, least })
    }

    /// Notes where results of `rank` differ.
    pub fn compare(&self, rank: usize, rows: &DispatchOutput, sums: &CombineOutput, mismatches: &mut Vec<String>) {
        compare_dispatch(rank, rows, &self.dispatched[rank], mismatches);
        compare_combine(rank, sums, &self.combined[rank], mismatches);
    }
}

/// Notes where what a rank counted differs.
pub fn compare_load(rank: usize, have: &LoadStatistics, want: &LoadStatistics, mismatches: &mut Vec<String>) {
    compare(&format!("rank {rank}: calls counted"), &[have.calls], &[want.calls], mismatches);
    compare(&format!("rank {rank}: sent pairs"), &have.sent_pairs, &want.sent_pairs, mismatches);
    compare(&format!("rank {rank}: received pairs"), &have.received_pairs, &want.received_pairs, mismatches);
    compare(&format!("rank {rank}: sent rows"), &have.sent_rows, &want.sent_rows, mismatches);
    compare(&format!("rank {rank}: received rows"), &have.received_rows, &want.received_rows, mismatches);
}

fn compare_dispatch(rank: usize, have: &DispatchOutput, want: &DispatchOutput, mismatches: &mut Vec<String>) {
    compare(&format!("rank {rank}: scale bytes"), &have.scales, &want.scales, mismatches);
    compare(&format!("rank {rank}: source"), &have.source, &want.source, mismatches);
    compare(&format!("rank {rank}: x bytes"), &have.x, &want.x, mismatches);
    compare(&format!("rank {rank}: topk_idx"), &have.topk_idx, &want.topk_idx, mismatches);
    compare(&format!("rank {rank}: topk_weights"), &bits(&have.topk_weights), &bits(&want.topk_weights), mismatches);
    compare(&format!("rank {rank}: expert_offsets"), &have.expert_offsets, &want.expert_offsets, mismatches);
    compare(&format!("rank {rank}: expert_counts"), &have.expert_counts, &want.expert_counts, mismatches);
}

fn compare_combine(rank: usize, have: &CombineOutput, want: &CombineOutput, mismatches: &mut Vec<String>) {
    compare(&format!("rank {rank}: combined x bytes"), &have.x, &want.x, mismatches);
    let weights = |output: &CombineOutput| bits(output.topk_weights.as_deref().unwrap_or_default());
    compare(&format!("rank {rank}: combined topk_weights"), &weights(have), &weights(want), mismatches);
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}

/// Notes the first element that differs.
fn compare<T: PartialEq + Debug>(what: &str, have: &[T], want: &[T], mismatches: &mut Vec<String>) {
    if have.len() != want.len() {
        mismatches.push(format!("{what} has {} elements, reference {}", have.len(), want.len()));
    } else if let Some(at) = have.iter().zip(want).position(|(have, want)| have != want) {
        mismatches.push(format!("{what}[{at}] = {:?}, reference {:?}", have[at], want[at]));
    }
}
