//! The shape of a world: nodes, GPUs per node, and how ranks are numbered.

use crate::error::{Error, Result};

/// Most GPUs of one node that the kernels serve (a node's destination mask is a list of 32-bit words).
pub const MAX_GPUS_PER_NODE: u32 = 128;
/// Most nodes of a world.
pub const MAX_NODES: u32 = 256;

/// `nodes x gpus_per_node` ranks, numbered `rank = node * gpus_per_node + local`.
///
/// Ranks with one local index form a *rail*: a token crosses the inter-node fabric only between ranks of one rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topology {
    nodes: u32,
    gpus_per_node: u32,
}

impl Topology {
    /// A world of `nodes` nodes with `gpus_per_node` GPUs each.
    ///
    /// # Errors
    /// [`Error::Argument`] when either is zero or above [`MAX_NODES`] or [`MAX_GPUS_PER_NODE`].
    pub fn new(nodes: u32, gpus_per_node: u32) -> Result<Topology> {
        if nodes == 0 || nodes > MAX_NODES {
            return Err(Error::argument("nodes", nodes, format!("1 to {MAX_NODES}")));
        }
        if gpus_per_node == 0 || gpus_per_node > MAX_GPUS_PER_NODE {
            return Err(Error::argument("gpus_per_node", gpus_per_node, format!("1 to {MAX_GPUS_PER_NODE}")));
        }
        Ok(Topology { nodes, gpus_per_node })
    }

    /// Number of nodes.
    pub fn nodes(self) -> u32 {
        self.nodes
    }

    /// GPUs of each node.
    pub fn gpus_per_node(self) -> u32 {
        self.gpus_per_node
    }

    /// Number of ranks.
    pub fn ranks(self) -> u32 {
        self.nodes * self.gpus_per_node
    }

    /// Node of `rank`.
    pub fn node(self, rank: u32) -> u32 {
        rank / self.gpus_per_node
    }

    /// Index of `rank` within its node, which is also its rail.
    pub fn local(self, rank: u32) -> u32 {
        rank % self.gpus_per_node
    }

    /// Rank at `local` of `node`.
    pub fn rank(self, node: u32, local: u32) -> u32 {
        node * self.gpus_per_node + local
    }

    /// 32-bit words of a node's destination mask.
    pub fn mask_words(self) -> u32 {
        self.gpus_per_node.div_ceil(32)
    }

    /// Position of `other` in a list of all nodes but `node` (compact index of send, forward and sum rings).
    pub fn peer_index(node: u32, other: u32) -> u32 {
        other - u32::from(other > node)
    }
}
