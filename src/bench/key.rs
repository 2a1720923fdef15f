//! Workloads and settings in words and numbers, as files hold them.

use serde::{Deserialize, Serialize};

use super::workload::Workload;
use crate::plan::{OutputLayout, Plan, Setting, Shape, Tuning};
use crate::topology::Topology;

/// Names and values, in order.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// A workload without what is drawn: world, rows there and back, and where choices come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkloadClass {
    /// Nodes.
    pub nodes: u32,
    /// GPUs of a node.
    pub gpus_per_node: u32,
    /// Tokens of each rank.
    pub tokens: u32,
    /// Channels of the model.
    pub hidden: u32,
    /// Experts of the world.
    pub experts: u32,
    /// Choices of a token.
    pub topk: u32,
    /// What rows hold there.
    pub payload: String,
    /// What rows hold back.
    pub sum: String,
    /// Order of the rows that arrive: `source` or `experts:ALIGN`.
    pub layout: String,
    /// Where the choices come from.
    pub gate: String,
}

/// A workload. Two runs of equal workloads move the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadKey {
    /// All but the seed; a gate that is a trace has the trace's name.
    #[serde(flatten)]
    pub class: WorkloadClass,
    /// Seed of rows and choices.
    pub seed: u64,
}

/// A plan's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingKey {
    /// How nodes reach each other.
    pub fabric: String,
    /// The tuning, with rows landing where the plan lets them.
    #[serde(flatten)]
    pub tuning: Setting,
}

impl WorkloadClass {
    /// Of so many tokens a rank. `gate` is a gate in words, or what stands for one.
    pub fn new(topology: Topology, shape: &Shape, tokens: u32, gate: &str) -> WorkloadClass {
        WorkloadClass {
            nodes: topology.nodes(),
            gpus_per_node: topology.gpus_per_node(),
            tokens,
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
        }
    }

    pub(crate) fn fields(&self) -> Fields {
        vec![
            ("nodes", self.nodes.to_string()),
            ("gpus_per_node", self.gpus_per_node.to_string()),
            ("tokens", self.tokens.to_string()),
            ("hidden", self.hidden.to_string()),
            ("experts", self.experts.to_string()),
            ("topk", self.topk.to_string()),
            ("payload", self.payload.clone()),
            ("sum", self.sum.clone()),
            ("layout", self.layout.clone()),
            ("gate", self.gate.clone()),
        ]
    }
}

impl WorkloadKey {
    /// Of a workload.
    pub fn new(workload: &Workload) -> WorkloadKey {
        let Workload { topology, shape, tokens, source, seed } = workload;
        WorkloadKey { class: WorkloadClass::new(*topology, shape, *tokens, &source.to_string()), seed: *seed }
    }

    /// Names and values, in order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = self.class.fields();
        fields.push(("seed", self.seed.to_string()));
        fields
    }
}

impl SettingKey {
    /// Of a plan.
    pub fn new(plan: &Plan) -> SettingKey {
        let tuning = Tuning { landing: plan.landing(), ..plan.tuning.clone() };
        SettingKey { fabric: plan.fabric.name().to_string(), tuning: Setting::from(&tuning) }
    }

    /// Names and values, in order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("fabric", self.fabric.clone())];
        fields.extend(self.tuning.fields());
        fields
    }
}

/// Fields that differ: name, value of the old, value of the new.
pub(crate) fn differing(old: Fields, new: Fields) -> impl Iterator<Item = (&'static str, String, String)> {
    let both = old.into_iter().zip(new).map(|((name, old), (_, new))| (name, old, new));
    both.filter(|(_, old, new)| old != new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fabric, Landing};

    /// By expert rows come through rings, whatever the tuning says; the setting is that of the plan, and can be read again.
    #[test]
    fn a_setting_lands_rows_as_its_plan_does() {
        let topology = Topology::new(1, 2).expect("a small world");
        let shape = Shape::new(64, 8, 2, 16).expect("a small shape");
        let by_expert = shape.with_layout(OutputLayout::Experts { align: 4 }).expect("a layout");
        let landing = Landing::direct_for(topology, &shape);
        let tuning = Tuning { landing, ..Tuning::default_for(topology, 128) };
        for (shape, words, landing) in [(shape, "direct:48", landing), (by_expert, "staged", Landing::Staged)] {
            let plan = Plan::new(topology, shape, tuning.clone(), Fabric::Loopback).expect("valid");
            let setting = SettingKey::new(&plan).tuning;
            assert_eq!(setting.landing, words);
            assert_eq!(setting.tuning().expect("its own words"), Tuning { landing, ..tuning.clone() });
        }
    }
}
