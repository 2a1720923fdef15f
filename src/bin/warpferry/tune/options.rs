//! Options of `tune`, and the space that they make.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use warpferry::gate::Gate;
use warpferry::plan::Limits;
use warpferry::tune::{Axis, Bound, Load, Objective, Space};
use warpferry::{Error, Result, Shape, Topology};

use crate::options::{CombineOption, FabricOption, PayloadOption};

/// Options of `tune`.
#[derive(Debug, Clone, Parser)]
pub struct TuneOptions {
    /// Machine: `h800-cx7`, `h100-cx7`, `h200-cx7`, `b200` or `generic`
    #[arg(long, value_name = "NAME")]
    pub machine: String,
    /// Nodes of the world
    #[arg(long, default_value_t = 2)]
    pub nodes: u32,
    /// GPUs of each node
    #[arg(long, default_value_t = 8)]
    pub gpus_per_node: u32,
    /// How nodes reach each other
    #[arg(long, value_enum, default_value_t = FabricOption::Mlx5)]
    pub fabric: FabricOption,
    /// Tokens of each rank
    #[arg(long, default_value_t = 4096)]
    pub tokens: u32,
    /// Channels of the model: elements of a row
    #[arg(long, default_value_t = 7168)]
    pub hidden: u32,
    /// Experts of the world
    #[arg(long, default_value_t = 256)]
    pub experts: u32,
    /// Experts that a token chooses
    #[arg(long, default_value_t = 8)]
    pub topk: u32,
    /// Most nodes of a token: gate `node-limited`
    #[arg(long, value_name = "NODES")]
    pub node_limit: Option<u32>,
    /// What rows hold on their way to the experts, as `demo` has it
    #[arg(long, default_value = "bf16")]
    pub payload: PayloadOption,
    /// What rows hold on their way back
    #[arg(long, value_enum, default_value_t = CombineOption::Bf16)]
    pub combine: CombineOption,
    /// Choices of experts: `uniform`, `node-limited`, `zipf:ALPHA`, `all-to-one`, or a safetensors file with `topk_idx`
    #[arg(long, value_name = "GATE")]
    pub gate: Option<String>,
    /// What is made small: `alone` (dispatch and combine), `dispatch`, `combine`, `beside` (what they add to a computation), or
    /// `least-sms:PERCENT` (SMs for so much of the best bandwidth)
    #[arg(long, default_value = "alone")]
    pub objective: Objective,
    /// A computation beside each operation, and its time alone: `arithmetic:US` or `memory:US`
    #[arg(long, value_name = "KIND:US")]
    pub beside: Option<BesideOption>,
    /// Points that may be measured
    #[arg(long, value_name = "POINTS", default_value_t = 400)]
    pub budget: u64,
    /// Seconds after which nothing more is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub budget_s: u64,
    /// Warp instructions of the emulator for one measurement, about: more is more exact and slower
    #[arg(long, value_name = "INSTRUCTIONS", default_value_t = 40_000_000)]
    pub effort: u64,
    /// Descents: from the best of the coarse model, from the defaults, from two corners, then from drawn points
    #[arg(long, default_value_t = 2)]
    pub starts: usize,
    /// Journal of measurements: a search that was cut goes on from it
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Compare every valid point; of the budget only the time counts
    #[arg(long)]
    pub exhaustive: bool,
    /// Look only at these values of an axis, ascending: `channels=8,16`, `roles=0` (dynamic), `landing=0` (staged)
    #[arg(long, value_name = "AXIS=VALUES")]
    pub axis: Vec<AxisOption>,
    /// Seed of the drawn starts and choices
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object instead of the summary
    #[arg(long)]
    pub json: bool,
    /// Write the outcome with its evidence: JSON if the file is called .json, else TOML
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Draw heat map, SMs against time and search path as SVG into this folder
    #[arg(long, value_name = "FOLDER")]
    pub plots: Option<PathBuf>,
    /// Put the setting into this store
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
}

/// `--beside`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BesideOption {
    bound: Bound,
    alone_us: f64,
}

impl FromStr for BesideOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<BesideOption, String> {
        let wrong =
            || format!("`{text}` is no computation: valid are arithmetic:US and memory:US, with microseconds above 0");
        let (kind, us) = text.split_once(':').ok_or_else(wrong)?;
        let bound = match kind {
            "arithmetic" => Bound::Arithmetic,
            "memory" => Bound::Memory,
            _ => return Err(wrong()),
        };
        let alone_us = us.parse().ok().filter(|us: &f64| us.is_finite() && *us > 0.0).ok_or_else(wrong)?;
        Ok(BesideOption { bound, alone_us })
    }
}

/// `--axis`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AxisOption {
    axis: Axis,
    values: Vec<u32>,
}

impl FromStr for AxisOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<AxisOption, String> {
        let (name, list) = text.split_once('=').ok_or_else(|| format!("`{text}`: valid is AXIS=VALUE,VALUE"))?;
        let axis = Axis::ALL.into_iter().find(|axis| axis.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Axis::ALL.iter().map(|axis| axis.name()).collect();
            format!("`{name}` is no axis: valid are {}", names.join(", "))
        })?;
        let values = list.split(',').map(str::parse).collect::<std::result::Result<_, _>>();
        let values = values.map_err(|_| format!("`{list}`: valid are whole numbers, apart by commas"))?;
        Ok(AxisOption { axis, values })
    }
}

/// Where choices of experts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum GateChoice {
    /// Drawn.
    Drawn(Gate),
    /// Recorded.
    Trace(PathBuf),
}

impl GateChoice {
    /// Class of the gate, by which settings are kept.
    pub fn class(&self) -> String {
        match self {
            GateChoice::Drawn(gate) => gate.to_string(),
            GateChoice::Trace(_) => "trace".to_string(),
        }
    }
}

impl TuneOptions {
    /// The space of the world on GPUs with these limits.
    pub fn space(&self, limits: Limits) -> Result<Space> {
        let topology = Topology::new(self.nodes, self.gpus_per_node)?;
        let shape = Shape::new(self.hidden, self.experts, self.topk, self.tokens)?;
        let shape = shape.with_payload(self.payload.0)?.with_sum(self.combine.sum())?;
        let space = Space::new(topology, shape, self.fabric.fabric(), limits)?;
        self.axis.iter().try_fold(space, |space, given| space.with_axis(given.axis, &given.values))
    }

    /// Where choices come from.
    pub fn gate(&self) -> Result<GateChoice> {
        let limited = |nodes| GateChoice::Drawn(Gate::NodeLimited { nodes });
        match (self.gate.as_deref(), self.node_limit) {
            (None | Some("node-limited"), Some(nodes)) => Ok(limited(nodes)),
            (Some("node-limited"), None) => {
                Err(Error::argument("--gate", "node-limited", "--node-limit NODES beside it"))
            }
            (Some(other), Some(nodes)) => {
                Err(Error::argument("--node-limit", nodes, format!("none beside --gate {other}")))
            }
            (None, None) => Ok(GateChoice::Drawn(Gate::Uniform)),
            (Some(text), None) => match text.parse() {
                Ok(gate) => Ok(GateChoice::Drawn(gate)),
                Err(_) if std::path::Path::new(text).is_file() => Ok(GateChoice::Trace(PathBuf::from(text))),
                Err(valid) => Err(Error::argument("--gate", text, format!("{valid}, or a file that is there"))),
            },
        }
    }

    /// What runs beside the operations.
    pub fn load(&self) -> Load {
        match self.beside {
            None => Load::Alone,
            Some(BesideOption { bound, alone_us }) => Load::Beside { bound, alone_us },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> TuneOptions {
        TuneOptions::parse_from(["tune", "--machine", "generic"].iter().chain(words))
    }

    #[test]
    fn gates_are_read_in_every_way() {
        for (words, class) in [
            (&[][..], "uniform"),
            (&["--node-limit", "4"], "node-limited:4"),
            (&["--gate", "node-limited", "--node-limit", "2"], "node-limited:2"),
            (&["--gate", "zipf:1.5"], "zipf:1.5"),
            (&["--gate", file!()], "trace"),
        ] {
            assert_eq!(parsed(words).gate().map(|gate| gate.class()).expect("a gate"), class);
        }
        for words in
            [&["--gate", "node-limited"][..], &["--gate", "nowhere"], &["--gate", "uniform", "--node-limit", "2"]]
        {
            assert!(parsed(words).gate().is_err(), "{words:?}");
        }
    }

    #[test]
    fn words_that_are_none_are_refused_with_what_is_valid() {
        for (said, word) in [
            ("depth=1".parse::<AxisOption>().expect_err("refused"), "chunk_ib"),
            ("channels=a".parse::<AxisOption>().expect_err("refused"), "whole numbers"),
            ("channels".parse::<AxisOption>().expect_err("refused"), "AXIS=VALUE"),
        ] {
            assert!(said.contains(word), "{said}");
        }
        for text in ["arithmetic", "arithmetic:0", "memory:x", "gemm:7"] {
            let said = text.parse::<BesideOption>().expect_err("refused");
            assert!(said.contains("arithmetic:US"), "{said}");
        }
    }
}
