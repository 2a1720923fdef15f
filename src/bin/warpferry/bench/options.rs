//! Options of `bench`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use warpferry::bench::Source;
use warpferry::gate::Gate;
use warpferry::routing::Routing;
use warpferry::{Error, Result};

use crate::options::{LandingOption, PlaceOptions, RolesOption, RowsOptions};

/// Times dispatch and combine. Options that take LIST take several values with commas between: each combination gives a record.
#[derive(Debug, Clone, Args)]
pub struct BenchOptions {
    /// What runs the kernels.
    #[command(flatten)]
    pub place: PlaceOptions,
    /// Emulator: take times of this machine
    #[arg(long, value_name = "PRESET")]
    pub machine: Option<String>,
    /// Nodes of the world
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "2")]
    pub nodes: Vec<u32>,
    /// GPUs of each node
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "4")]
    pub gpus_per_node: Vec<u32>,
    /// Tokens of each rank
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "128")]
    pub tokens: Vec<u32>,
    /// Channels of the model: elements of a row
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "7168")]
    pub hidden: Vec<u32>,
    /// Experts of the world; without it 256, or what a trace has
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub experts: Vec<u32>,
    /// Experts a token chooses; without it 8, or what a trace has
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub topk: Vec<u32>,
    /// What rows hold.
    #[command(flatten)]
    pub rows: RowsOptions,
    /// Where choices come from: `uniform`, `node-limited` (with --node-limit), `zipf:ALPHA`, `all-to-one`, or a safetensors file
    /// with `topk_idx`, dealt out in file order and from its beginning again when it ends
    #[arg(long, value_name = "GATE")]
    pub gate: Option<GateOption>,
    /// Most nodes of a token; without --gate the gate is node-limited
    #[arg(long, value_name = "NODES")]
    pub node_limit: Option<u32>,
    /// Seed of rows and of drawn choices
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where rows go when they arrive: `staged`, `direct` or `direct:ROWS`
    #[arg(long, default_value = "staged")]
    pub landing: LandingOption,
    /// SMs (CTAs) of each launch, of dispatch and of combine
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub sms: Vec<u32>,
    /// Channels of the protocol
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub channels: Vec<u32>,
    /// Most messages a claim moves, between nodes and within
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub chunk: Vec<u32>,
    /// Most messages a claim moves between nodes
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub chunk_ib: Vec<u32>,
    /// Most messages a claim moves within a node
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub chunk_nv: Vec<u32>,
    /// Slots of a ring between nodes
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub depth_ib: Vec<u32>,
    /// Slots of a ring within a node
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub depth_nv: Vec<u32>,
    /// Worker warps of a CTA
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub workers: Vec<u32>,
    /// `dynamic`, `fixed`, or a list of s(end), f(orward), r(eceive) for each worker: `rfs,srf,f`
    #[arg(long, default_value = "dynamic")]
    pub roles: RolesOption,
    /// Repeats that are timed; without it 20 on a GPU, 1 on the emulator, whose times are the same every time
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub repeats: Option<u32>,
    /// Repeats before these, which are not timed; without it 3 on a GPU, none on the emulator
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub warm_ups: Option<u32>,
    /// Compare no results with the reference, and make no rows: for worlds that need the memory
    #[arg(long)]
    pub no_verify: bool,
    /// Time no dispatch along a handle
    #[arg(long)]
    pub no_cached: bool,
    /// What is printed
    #[arg(long, value_enum, default_value_t = FormatOption::Table)]
    pub format: FormatOption,
    /// As --format json: one object, of several records a list of them
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Write the records to a file too, whose name ends in `.json` or `.csv`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write plots of time and bandwidth over each option that was given several values, as SVG, to this folder
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Run nothing: compare the records of two files, the old ones first
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    pub compare: Option<Vec<PathBuf>>,
    /// With --compare: fail when an operation takes more time than before
    #[arg(long, requires = "compare")]
    pub fail_slower: bool,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatOption {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For spreadsheets.
    Csv,
}

/// `--gate`.
#[derive(Debug, Clone, PartialEq)]
pub enum GateOption {
    /// Drawn.
    Drawn(Gate),
    /// Node-limited; the limit is an option of its own.
    NodeLimited,
    /// Recorded in this file.
    Recorded(PathBuf),
}

impl FromStr for GateOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<GateOption, String> {
        if let Ok(gate) = text.parse() {
            return Ok(GateOption::Drawn(gate));
        }
        if text == "node-limited" {
            return Ok(GateOption::NodeLimited);
        }
        let path = Path::new(text);
        if path.extension().is_some_and(|end| end == "safetensors") || path.exists() {
            return Ok(GateOption::Recorded(path.to_path_buf()));
        }
        Err(format!(
            "`{text}` is no gate: valid are uniform, node-limited, zipf:ALPHA, all-to-one and the name of a safetensors file"
        ))
    }
}

impl BenchOptions {
    /// What is printed, `--json` counted in.
    pub fn printed(&self) -> FormatOption {
        if self.json {
            FormatOption::Json
        } else {
            self.format
        }
    }

    /// Where choices come from.
    pub fn source(&self) -> Result<Source> {
        match (&self.gate, self.node_limit) {
            (None, None) => Ok(Source::Drawn(Gate::Uniform)),
            (None | Some(GateOption::NodeLimited), Some(nodes)) => Ok(Source::Drawn(Gate::NodeLimited { nodes })),
            (Some(GateOption::NodeLimited), None) => {
                Err(Error::argument("--gate", "node-limited", "node-limited with --node-limit beside it"))
            }
            (Some(GateOption::Drawn(gate)), None) => Ok(Source::Drawn(*gate)),
            (Some(GateOption::Recorded(path)), None) => {
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                Ok(Source::Recorded { name, routing: Routing::load(path)? })
            }
            (Some(_), Some(limit)) => {
                Err(Error::argument("--node-limit", limit, "none with this gate: it goes with node-limited"))
            }
        }
    }
}
