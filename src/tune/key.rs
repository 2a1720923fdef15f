//! What a setting is for: device, world, shape, types, gate.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{Fabric, OutputLayout, Shape};
use crate::topology::Topology;

/// Everything that a stored setting is looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Machine or GPU, by the name that was tuned for.
    pub device: String,
    /// Inter-node fabric.
    pub fabric: String,
    /// Nodes.
    pub nodes: u32,
    /// GPUs of each node.
    pub gpus_per_node: u32,
    /// Tokens of a rank.
    pub tokens: u32,
    /// Channels of the model.
    pub hidden: u32,
    /// Experts of the world.
    pub experts: u32,
    /// Experts of a token.
    pub topk: u32,
    /// What rows hold on their way to the experts.
    pub payload: String,
    /// What they hold on their way back.
    pub sum: String,
    /// Order of output rows.
    pub layout: String,
    /// Class of the gate: `uniform`, `node-limited:4`, `zipf:1`, `all-to-one`, or `trace`.
    pub gate: String,
    /// Version of this library.
    pub version: String,
}

impl Key {
    /// Of a world of `device`s and what is moved in it, by this version.
    pub fn new(device: &str, fabric: Fabric, topology: Topology, shape: &Shape, gate: &str) -> Key {
        Key {
            device: device.to_string(),
            fabric: fabric.name().to_string(),
            nodes: topology.nodes(),
            gpus_per_node: topology.gpus_per_node(),
            tokens: shape.max_tokens(),
            hidden: shape.hidden(),
            experts: shape.experts(),
            topk: shape.topk(),
            payload: shape.payload().to_string(),
            sum: shape.sum().to_string(),
            layout: match shape.layout() {
                OutputLayout::Rows => "source".to_string(),
                OutputLayout::Experts { align } => format!("experts:{align}"),
            },
            gate: gate.to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { device, fabric, nodes, gpus_per_node, tokens, hidden, experts, topk, .. } = self;
        write!(f, "{device}, {nodes} x {gpus_per_node}, {fabric}; {tokens} tokens x {hidden}, {experts} experts, ")?;
        write!(f, "top-{topk}; {} there, {} back, by {}; ", self.payload, self.sum, self.layout)?;
        write!(f, "gate {}; version {}", self.gate, self.version)
    }
}
