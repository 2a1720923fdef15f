//! What a setting is for: device, world, shape, types, gate.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bench::WorkloadClass;
use crate::plan::{Fabric, Shape};
use crate::topology::Topology;

/// Everything that a stored setting is looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Machine or GPU, by the name that was tuned for.
    pub device: String,
    /// Inter-node fabric.
    pub fabric: String,
    /// World, shape and types; tokens are the most of a rank, the gate is a class: `uniform`, `node-limited:4`, `zipf:1`,
    /// `all-to-one`, or `trace`.
    #[serde(flatten)]
    pub workload: WorkloadClass,
    /// Version of this library.
    pub version: String,
}

impl Key {
    /// Of a world of `device`s and what is moved in it, by this version.
    pub fn new(device: &str, fabric: Fabric, topology: Topology, shape: &Shape, gate: &str) -> Key {
        Key {
            device: device.to_string(),
            fabric: fabric.name().to_string(),
            workload: WorkloadClass::new(topology, shape, shape.max_tokens(), gate),
            version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }

    /// Names and values, in order.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("device", self.device.clone()), ("fabric", self.fabric.clone())];
        fields.extend(self.workload.fields());
        fields.push(("version", self.version.clone()));
        fields
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { device, fabric, workload, version } = self;
        let WorkloadClass { nodes, gpus_per_node, tokens, hidden, experts, topk, .. } = workload;
        write!(f, "{device}, {nodes} x {gpus_per_node}, {fabric}; {tokens} tokens x {hidden}, {experts} experts, ")?;
        write!(f, "top-{topk}; {} there, {} back, by {}; ", workload.payload, workload.sum, workload.layout)?;
        write!(f, "gate {}; version {version}", workload.gate)
    }
}
