//! Gates: which experts tokens choose, drawn from a seed for tests, demos and benches, and what a choice costs.
//!
//! Every gate gives distinct experts to a token and positive weights that sum to one, as routers of Mixture-of-Experts
//! layers do. The same seed gives the same choices on every machine.
//!
//! - [`Gate`]: uniform, node-limited, Zipf, all to one.
//! - [`check_node_limit`]: that recorded or computed choices keep a node limit.
//! - [`Load`]: how far tokens go and how even experts and ranks are loaded, from which times follow.
//! - [`Cost`]: messages and bytes of each rank, between nodes and within, there and back; what a node limit leaves of them.

mod cost;
mod draw;
mod load;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::plan::Shape;
use crate::topology::Topology;

pub use cost::{Cost, Link, OpCost, PathCost, Share};
pub use load::Load;

/// How tokens choose experts.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Gate {
    /// Every expert as likely as any other.
    Uniform,
    /// Scores are uniform; a token first takes the `nodes` nodes whose best `ceil(topk / nodes)` experts have the highest
    /// sum of scores, then its best experts there (DeepSeek-V3 technical report, section 2.1.2, node-limited routing).
    NodeLimited {
        /// Most nodes of a token.
        nodes: u32,
    },
    /// Popular experts: the r-th most popular one is chosen with weight `1 / r^alpha`; popularity has nothing to do with
    /// place.
    Zipf {
        /// Exponent; 0 is uniform.
        alpha: f64,
    },
    /// Every token takes the first `topk` experts, which live on as few ranks as can be.
    AllToOne,
}

/// Choices of one rank's tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Choices {
    /// `[tokens, topk]`, best first; all valid experts.
    pub topk_idx: Vec<i32>,
    /// `[tokens, topk]`: positive, of a token they sum to one.
    pub topk_weights: Vec<f32>,
}

impl Gate {
    /// Draws the choices of every rank; `tokens` tokens each.
    ///
    /// # Errors
    /// [`Error::Argument`] when experts do not divide over the ranks, or the gate cannot give so many experts: a node
    /// limit of none or of more nodes than there are, or whose nodes have fewer than `topk` experts; an exponent that is
    /// negative or no number.
    pub fn draw(&self, topology: Topology, shape: &Shape, tokens: u32, seed: u64) -> Result<Vec<Choices>> {
        self.check(topology, shape)?;
        let popularity = match self {
            Gate::Zipf { alpha } => draw::popularity(shape.experts(), *alpha, seed),
            _ => Vec::new(),
        };
        let ranks = (0..topology.ranks()).map(|rank| {
            let mut random = draw::sequence(seed, u64::from(rank));
            let mut choices = Choices { topk_idx: Vec::new(), topk_weights: Vec::new() };
            for _ in 0..tokens {
                let experts = match self {
                    Gate::Uniform => draw::best(&draw::scores(&mut random, shape.experts()), shape.topk()),
                    Gate::NodeLimited { nodes } => draw::node_limited(&mut random, topology, shape, *nodes),
                    Gate::Zipf { .. } => draw::popular(&mut random, &popularity, shape.topk()),
                    Gate::AllToOne => (0..shape.topk()).collect(),
                };
                choices.topk_idx.extend(experts.iter().map(|&expert| expert as i32));
                choices.topk_weights.extend(draw::weights(&mut random, shape.topk()));
            }
            choices
        });
        Ok(ranks.collect())
    }

    /// The gate without its node limit: the same seed gives the same scores to both. None where there is no limit.
    pub fn unlimited(&self) -> Option<Gate> {
        matches!(self, Gate::NodeLimited { .. }).then_some(Gate::Uniform)
    }

    fn check(&self, topology: Topology, shape: &Shape) -> Result<()> {
        shape.check(topology)?;
        match *self {
            Gate::NodeLimited { nodes } => {
                let per_node = shape.experts() / topology.nodes();
                let least = shape.topk().div_ceil(per_node);
                if nodes < least || nodes > topology.nodes() {
                    let why = format!("a node has {per_node} experts and a token wants {}", shape.topk());
                    return Err(Error::argument(
                        "node limit",
                        nodes,
                        format!("{least} to {}: {why}", topology.nodes()),
                    ));
                }
                Ok(())
            }
            Gate::Zipf { alpha } if !(alpha.is_finite() && (0.0..=16.0).contains(&alpha)) => {
                Err(Error::argument("zipf exponent", alpha, "0 to 16"))
            }
            _ => Ok(()),
        }
    }
}

/// Checks that no token goes to more than `limit` nodes; `topk_idx` is `[tokens, topk]`, -1 for no choice.
///
/// # Errors
/// [`Error::Argument`] naming the first token that does, or an expert that is none.
pub fn check_node_limit(topology: Topology, shape: &Shape, topk_idx: &[i32], limit: u32) -> Result<()> {
    for (token, choices) in topk_idx.chunks(shape.topk() as usize).enumerate() {
        let nodes = load::nodes_of(topology, shape, choices)?;
        if nodes.len() > limit as usize {
            let valid = format!("experts of at most {limit} nodes for each token");
            return Err(Error::argument("topk_idx", format!("token {token} with experts of nodes {nodes:?}"), valid));
        }
    }
    Ok(())
}

impl FromStr for Gate {
    type Err = String;

    /// `uniform`, `node-limited:NODES`, `zipf:ALPHA` or `all-to-one`.
    fn from_str(text: &str) -> std::result::Result<Gate, String> {
        let none = || format!("`{text}` is no gate: valid are uniform, node-limited:NODES, zipf:ALPHA and all-to-one");
        match text.split_once(':') {
            None if text == "uniform" => Ok(Gate::Uniform),
            None if text == "all-to-one" => Ok(Gate::AllToOne),
            Some(("node-limited", nodes)) => Ok(Gate::NodeLimited { nodes: nodes.parse().map_err(|_| none())? }),
            Some(("zipf", alpha)) => Ok(Gate::Zipf { alpha: alpha.parse().map_err(|_| none())? }),
            _ => Err(none()),
        }
    }
}

impl fmt::Display for Gate {
    /// As [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gate::Uniform => f.write_str("uniform"),
            Gate::NodeLimited { nodes } => write!(f, "node-limited:{nodes}"),
            Gate::Zipf { alpha } => write!(f, "zipf:{alpha}"),
            Gate::AllToOne => f.write_str("all-to-one"),
        }
    }
}

#[cfg(test)]
mod tests;
