//! Records: figures with all that they were made of, for files.

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Samples};
use super::workload::Workload;
use crate::driver::Backend;
use crate::plan::Plan;

/// One workload with one setting, and its figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was moved.
    #[serde(flatten)]
    pub workload: WorkloadKey,
    /// How it was moved.
    #[serde(flatten)]
    pub setting: SettingKey,
    /// What it ran on.
    #[serde(flatten)]
    pub place: Place,
    /// What came out.
    #[serde(flatten)]
    pub figures: Figures,
    /// The times that the figures are made of.
    pub samples: Samples,
}

/// A workload in words and numbers. Two runs of equal workloads move the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadKey {
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
    /// Order of the rows that arrive.
    pub layout: String,
    /// Where the choices come from.
    pub gate: String,
    /// Seed of rows and choices.
    pub seed: u64,
}

/// A setting in words and numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingKey {
    /// How nodes reach each other.
    pub fabric: String,
    /// Channels of the protocol.
    pub channels: u32,
    /// SMs of dispatch.
    pub dispatch_sms: u32,
    /// SMs of combine.
    pub combine_sms: u32,
    /// Most messages of a claim between nodes.
    pub chunk_ib: u32,
    /// Most messages of a claim within a node.
    pub chunk_nv: u32,
    /// Slots of a ring between nodes.
    pub depth_ib: u32,
    /// Slots of a ring within a node.
    pub depth_nv: u32,
    /// Worker warps of a CTA.
    pub workers: u32,
    /// Their roles.
    pub roles: String,
    /// Shared memory of a worker's stages.
    pub stage_bytes: u32,
    /// Where rows land.
    pub landing: String,
}

/// Where a run took place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `emu` or `cuda`.
    pub backend: String,
    /// The device in words.
    pub device: String,
    /// The machine that the emulator took times of; none for a GPU, and where times are of no machine.
    pub machine: Option<String>,
    /// What the times are.
    pub times: String,
    /// Whether results were compared with the reference.
    pub verified: bool,
    /// Repeats that were timed.
    pub repeats: u32,
    /// Version of the library.
    pub version: String,
}

impl WorkloadKey {
    /// Names and values, in order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
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
            ("seed", self.seed.to_string()),
        ]
    }

    /// Of a workload.
    pub fn new(workload: &Workload) -> WorkloadKey {
        let shape = &workload.shape;
        WorkloadKey {
            nodes: workload.topology.nodes(),
            gpus_per_node: workload.topology.gpus_per_node(),
            tokens: workload.tokens,
            hidden: shape.hidden(),
            experts: shape.experts(),
            topk: shape.topk(),
            payload: shape.payload().to_string(),
            sum: shape.sum().to_string(),
            layout: shape.layout().to_string(),
            gate: workload.source.to_string(),
            seed: workload.seed,
        }
    }
}

impl SettingKey {
    /// Names and values, in order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("fabric", self.fabric.clone()),
            ("channels", self.channels.to_string()),
            ("dispatch_sms", self.dispatch_sms.to_string()),
            ("combine_sms", self.combine_sms.to_string()),
            ("chunk_ib", self.chunk_ib.to_string()),
            ("chunk_nv", self.chunk_nv.to_string()),
            ("depth_ib", self.depth_ib.to_string()),
            ("depth_nv", self.depth_nv.to_string()),
            ("workers", self.workers.to_string()),
            ("roles", self.roles.clone()),
            ("stage_bytes", self.stage_bytes.to_string()),
            ("landing", self.landing.clone()),
        ]
    }

    /// Of a plan.
    pub fn new(plan: &Plan) -> SettingKey {
        let tuning = &plan.tuning;
        SettingKey {
            fabric: plan.fabric.name().to_string(),
            channels: tuning.channels,
            dispatch_sms: tuning.dispatch_sms,
            combine_sms: tuning.combine_sms,
            chunk_ib: tuning.chunk_ib,
            chunk_nv: tuning.chunk_nv,
            depth_ib: tuning.depth_ib,
            depth_nv: tuning.depth_nv,
            workers: tuning.workers,
            roles: tuning.roles.to_string(),
            stage_bytes: tuning.stage_bytes,
            landing: plan.landing().to_string(),
        }
    }
}

/// Fields that differ, as `name old -> new`.
pub(super) fn differences(old: &[(&'static str, String)], new: &[(&'static str, String)]) -> Vec<String> {
    let differ = old.iter().zip(new).filter(|(old, new)| old != new);
    differ.map(|((name, old), (_, new))| format!("{name} {old} -> {new}")).collect()
}

/// What times of a backend are, in words; `machine` is the emulator's.
pub fn times_of(backend: Backend, machine: Option<&str>) -> String {
    match (backend, machine) {
        (Backend::Emulator, Some(machine)) => format!("modelled time of {machine}"),
        (Backend::Emulator, None) => "virtual counters of the emulator, not of any device".to_string(),
        (Backend::Cuda, _) => "events on the GPU".to_string(),
        (Backend::Null, _) => "of nothing: no kernel ran".to_string(),
    }
}

/// A record for tests, of no run.
#[cfg(test)]
pub(super) fn example() -> Record {
    use super::workload::{Moved, OpMoved, Source};
    use crate::gate::Gate;
    use crate::plan::{Fabric, Shape, Tuning};
    use crate::Topology;

    let topology = Topology::new(2, 4).expect("a small world");
    let shape = Shape::new(64, 8, 2, 16).expect("a small shape");
    let plan = Plan::new(topology, shape, Tuning::default_for(topology, 128), Fabric::Mlx5).expect("valid");
    let workload = Workload { topology, shape, tokens: 16, source: Source::Drawn(Gate::Uniform), seed: 3 };
    let moved = Moved { dispatch: OpMoved::default(), combine: OpMoved::default() };
    let samples = Samples { dispatch_us: vec![12.5, 13.25], combine_us: vec![20.0, 19.5], ..Samples::default() };
    Record {
        workload: WorkloadKey::new(&workload),
        setting: SettingKey::new(&plan),
        place: Place {
            backend: "cuda".into(),
            device: "a GPU, \"quoted\"".into(),
            machine: None,
            times: times_of(Backend::Cuda, None),
            verified: true,
            repeats: 2,
            version: "0.1.0".into(),
        },
        figures: Figures::new(&plan, &moved, &samples),
        samples,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_json() {
        let record = example();
        let text = serde_json::to_string(&record).expect("a record is JSON");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("its own text"), record);
    }

    #[test]
    fn fields_are_those_of_the_file() {
        let record = example();
        let value = serde_json::to_value(&record).expect("a record is JSON");
        let fields = record.workload.fields().into_iter().chain(record.setting.fields());
        for (name, want) in fields {
            let have = value[name].as_str().map_or_else(|| value[name].to_string(), str::to_string);
            assert_eq!(have, want, "{name}");
        }
    }
}
