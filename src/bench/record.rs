//! Records: figures with all that they were made of, for files.

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Samples};
use super::key::{SettingKey, WorkloadKey};
use crate::driver::Backend;

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
    use super::workload::{Moved, OpMoved, Source, Workload};
    use crate::gate::Gate;
    use crate::plan::{Fabric, Plan, Shape, Tuning};
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
