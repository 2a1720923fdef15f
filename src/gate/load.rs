//! What choices cost: how many nodes and ranks a token goes to, and how uneven the load is.

use std::fmt;

use crate::error::{Error, Result};
use crate::plan::Shape;
use crate::topology::Topology;

/// Reach and balance of the choices of all ranks.
///
/// Bytes between nodes follow `nodes_per_token` (a token crosses once for each node but its own), bytes within a node
/// follow `ranks_per_token`, and the time of a balanced world is stretched by about the larger of the skews.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Tokens with at least one expert.
    pub tokens: u64,
    /// Mean number of nodes that a token goes to, its own included.
    pub nodes_per_token: f64,
    /// Most nodes of a token.
    pub nodes_most: u32,
    /// Mean number of ranks that a token goes to: rows for each token.
    pub ranks_per_token: f64,
    /// Rows of the rank that gets most, over the mean.
    pub rank_skew: f64,
    /// (token, choice) pairs of the expert that gets most, over the mean.
    pub expert_skew: f64,
    /// Messages between two nodes of the pair with most, over the mean of all pairs; 1 for one node.
    pub link_skew: f64,
}

impl Load {
    /// Counts the choices of all ranks: `[tokens, topk]` each, -1 for no choice.
    ///
    /// # Errors
    /// [`Error::Argument`] for an expert that is none.
    pub fn new(topology: Topology, shape: &Shape, ranks: &[&[i32]]) -> Result<Load> {
        let nodes = topology.nodes() as usize;
        let mut experts = vec![0_u64; shape.experts() as usize];
        let mut rows = vec![0_u64; topology.ranks() as usize];
        let mut links = vec![0_u64; nodes * nodes];
        let (mut tokens, mut reached, mut nodes_most) = (0, 0, 0);
        for (source, topk_idx) in (0..).zip(ranks) {
            let home = topology.node(source) as usize;
            for choices in topk_idx.chunks(shape.topk() as usize) {
                let to = ranks_of(topology, shape, choices)?;
                let over = nodes_of(topology, shape, choices)?;
                tokens += u64::from(!to.is_empty());
                reached += over.len() as u64;
                nodes_most = nodes_most.max(over.len() as u32);
                to.iter().for_each(|&rank| rows[rank as usize] += 1);
                over.iter().for_each(|&node| links[home * nodes + node as usize] += 1);
                choices.iter().filter(|&&expert| expert >= 0).for_each(|&expert| experts[expert as usize] += 1);
            }
        }
        let between: Vec<u64> =
            links.iter().enumerate().filter(|(at, _)| at / nodes != at % nodes).map(|(_, &count)| count).collect();
        let mean = |sum: u64| if tokens == 0 { 0.0 } else { sum as f64 / tokens as f64 };
        Ok(Load {
            tokens,
            nodes_per_token: mean(reached),
            nodes_most,
            ranks_per_token: mean(rows.iter().sum()),
            rank_skew: skew(&rows),
            expert_skew: skew(&experts),
            link_skew: skew(&between),
        })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} nodes (at most {}) and {:.2} ranks a token; busiest over mean: rank {:.2}, expert {:.2}, link {:.2}",
            self.nodes_per_token,
            self.nodes_most,
            self.ranks_per_token,
            self.rank_skew,
            self.expert_skew,
            self.link_skew
        )
    }
}

/// The largest over the mean; 1 where there is nothing.
fn skew(counts: &[u64]) -> f64 {
    let sum: u64 = counts.iter().sum();
    match counts.iter().max() {
        Some(&most) if sum > 0 => most as f64 * counts.len() as f64 / sum as f64,
        _ => 1.0,
    }
}

/// Ranks of a token's experts, ascending, each once.
pub(super) fn ranks_of(topology: Topology, shape: &Shape, choices: &[i32]) -> Result<Vec<u32>> {
    let mut ranks = Vec::with_capacity(choices.len());
    for &expert in choices.iter().filter(|&&expert| expert != -1) {
        let known = u32::try_from(expert).ok().filter(|&expert| expert < shape.experts());
        let expert = known.ok_or_else(|| {
            Error::argument("topk_idx", expert, format!("-1 or an expert, 0 to {}", shape.experts() - 1))
        })?;
        ranks.push(expert / shape.experts_per_rank(topology));
    }
    ranks.sort_unstable();
    ranks.dedup();
    Ok(ranks)
}

/// Nodes of a token's experts, ascending, each once.
pub(super) fn nodes_of(topology: Topology, shape: &Shape, choices: &[i32]) -> Result<Vec<u32>> {
    let mut nodes: Vec<u32> = ranks_of(topology, shape, choices)?.into_iter().map(|rank| topology.node(rank)).collect();
    nodes.dedup();
    Ok(nodes)
}
