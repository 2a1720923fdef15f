//! How much a rank carries: means over its tokens, and how much more the busiest rank has.
//!
//! For a uniform gate by formula. A token chooses k of E experts; it misses those of one place that has e of them with
//! probability C(E - e, k) / C(E, k). For any other gate a sample of tokens is drawn; sources are alike, so how often a sampled
//! token goes to a place says how much comes there. What is drawn does not grow with ranks times tokens.

use crate::bench::{Source, Workload};
use crate::error::Result;
use crate::gate::Gate;
use crate::topology::Topology;

/// Tokens of a sample, about: the frequency of a place that one token in ten goes to is known to 2 %.
const SAMPLE_TOKENS: u32 = 16_384;

/// What a token of a rank leads to, in the mean; and the busiest places over the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Nodes of a token, its own included.
    pub nodes: f64,
    /// Nodes of a token other than its own.
    pub away: f64,
    /// Ranks of a token.
    pub ranks: f64,
    /// Tokens that come to the busiest node, over the mean.
    pub node_most: f64,
    /// Rows that leave the busiest node's relays for its ranks, over the mean.
    pub relay_most: f64,
    /// Rows that come to the busiest rank, over the mean.
    pub rank_most: f64,
}

impl Load {
    /// Of a workload's choices.
    ///
    /// # Errors
    /// As [`Workload::choices`].
    pub fn new(workload: &Workload) -> Result<Load> {
        let (topology, shape) = (workload.topology, &workload.shape);
        shape.check(topology)?;
        match workload.source {
            Source::Drawn(Gate::Uniform) => Ok(uniform(topology, shape.experts(), shape.topk())),
            _ => sampled(workload),
        }
    }

    /// Ranks of a token at a node that it goes to.
    pub fn ranks_of_node(&self) -> f64 {
        self.ranks / self.nodes.max(f64::MIN_POSITIVE)
    }

    /// Part of the tokens that go to their own node.
    pub fn home(&self) -> f64 {
        self.nodes - self.away
    }
}

fn uniform(topology: Topology, experts: u32, topk: u32) -> Load {
    let chosen = |places: u32| {
        let here = experts / places;
        // Of k draws without putting back, each misses the place.
        let missed: f64 = (0..topk)
            .map(|draw| f64::from((experts - here).saturating_sub(draw)) / f64::from(experts - draw))
            .product();
        1.0 - missed
    };
    let nodes = f64::from(topology.nodes()) * chosen(topology.nodes());
    let away = nodes * f64::from(topology.nodes() - 1) / f64::from(topology.nodes());
    let ranks = f64::from(topology.ranks()) * chosen(topology.ranks());
    Load { nodes, away, ranks, node_most: 1.0, relay_most: 1.0, rank_most: 1.0 }
}

fn sampled(workload: &Workload) -> Result<Load> {
    let (topology, shape) = (workload.topology, &workload.shape);
    let tokens = SAMPLE_TOKENS.div_ceil(topology.ranks()).min(workload.tokens.max(1));
    let sample = Workload { tokens, ..workload.clone() };
    let own = shape.experts_per_rank(topology);
    let (mut ranks, mut nodes) = (vec![0.0_f64; topology.ranks() as usize], vec![0.0_f64; topology.nodes() as usize]);
    let (mut away, mut drawn) = (0.0, 0.0);
    for (source, choices) in (0..).zip(sample.choices()?) {
        for token in choices.topk_idx.chunks(shape.topk() as usize) {
            drawn += 1.0;
            let mut to: Vec<u32> = token.iter().filter(|&&e| e >= 0).map(|&e| e as u32 / own).collect();
            to.sort_unstable();
            to.dedup();
            to.iter().for_each(|&rank| ranks[rank as usize] += 1.0);
            for there in to.chunk_by(|&a, &b| topology.node(a) == topology.node(b)) {
                let node = topology.node(there[0]);
                nodes[node as usize] += 1.0;
                away += f64::from(u8::from(node != topology.node(source)));
            }
        }
    }
    let relays: Vec<f64> = ranks.chunks(topology.gpus_per_node() as usize).map(|node| node.iter().sum()).collect();
    let even = matches!(workload.source, Source::Drawn(Gate::NodeLimited { .. }));
    let most = |counts: &[f64]| if even { 1.0 } else { most_over_mean(counts) };
    let of_token = |count: f64| count / f64::max(drawn, 1.0);
    Ok(Load {
        nodes: of_token(nodes.iter().sum()),
        away: of_token(away),
        ranks: of_token(ranks.iter().sum()),
        node_most: most(&nodes),
        relay_most: most(&relays),
        rank_most: most(&ranks),
    })
}

fn most_over_mean(counts: &[f64]) -> f64 {
    let mean = counts.iter().sum::<f64>() / counts.len().max(1) as f64;
    if mean > 0.0 {
        counts.iter().fold(0.0_f64, |most, &count| most.max(count)) / mean
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Shape;

    fn workload(gate: Gate) -> Workload {
        let topology = Topology::new(4, 4).expect("a small world");
        let shape = Shape::new(64, 64, 8, 512).expect("a small shape");
        Workload { topology, shape, tokens: 512, source: Source::Drawn(gate), seed: 7 }
    }

    /// The formula against a sample of the same gate.
    #[test]
    fn uniform_loads_are_those_of_a_sample() {
        let workload = workload(Gate::Uniform);
        let (said, drawn) = (Load::new(&workload).expect("valid"), sampled(&workload).expect("valid"));
        for (said, drawn) in [(said.nodes, drawn.nodes), (said.away, drawn.away), (said.ranks, drawn.ranks)] {
            assert!((said / drawn - 1.0).abs() < 0.01, "{said} and {drawn}");
        }
    }

    #[test]
    fn gates_show_in_the_load() {
        let limited = Load::new(&workload(Gate::NodeLimited { nodes: 2 })).expect("valid");
        assert!(limited.nodes <= 2.0 && limited.rank_most == 1.0, "{limited:?}");
        // Eight experts of two ranks of one of four nodes.
        let one = Load::new(&workload(Gate::AllToOne)).expect("valid");
        assert_eq!((one.nodes, one.away, one.ranks), (1.0, 0.75, 2.0));
        assert_eq!((one.node_most, one.relay_most, one.rank_most), (4.0, 4.0, 8.0));
    }
}
