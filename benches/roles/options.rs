//! What is compared, from the command line.

use std::path::{Path, PathBuf};

use clap::Parser;
use warpferry::gate::Gate;
use warpferry::plan::{Role, Roles};
use warpferry::routing::Routing;
use warpferry::{Result, Topology};

use crate::play::{Choices, Setting};

/// Recorded routing when no file is given: see `tests/data/README.md`.
const SAMPLE: &[u8] = include_bytes!("../../tests/data/routing_v3_e256_k8.safetensors");
/// Tokens of a rank, and of the world, unless it is told: the sample has so many.
const RANK_TOKENS: u32 = 64;
const WORLD_TOKENS: u32 = 1024;

/// Dynamic roles against every fixed split of the workers, on the emulator.
#[derive(Debug, Parser)]
pub struct Options {
    /// Recorded routing: safetensors files, or folders of them; without it the committed sample
    pub routing: Vec<PathBuf>,
    /// Worlds
    #[arg(long, value_name = "NODESxGPUS", default_value = "2x4", value_delimiter = ',', value_parser = world)]
    pub worlds: Vec<Topology>,
    /// Worker warps of a CTA
    #[arg(long, default_value = "6", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(3..=15))]
    pub workers: Vec<u32>,
    /// Gates beside the recorded ones; without it a node limit of half the nodes, uniform, zipf:1.2 and all-to-one
    #[arg(long, value_delimiter = ',')]
    pub gates: Option<Vec<Gate>>,
    /// Orders of kinds in place of the dynamic ones: a word a worker of the letters s, f and r, dealt out by turns
    #[arg(long, value_delimiter = ',', value_parser = order)]
    pub orders: Option<Vec<Order>>,
    /// Tokens of a rank
    #[arg(long)]
    pub tokens: Option<u32>,
    /// Schedules of which the median counts; each split is tried with the first, the best ones with all
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Runs at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: u32,
    /// All figures, for machines
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Cargo passes it to every bench.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    /// Recorded routing with its name.
    pub fn recorded(&self) -> std::result::Result<Vec<(String, Routing)>, Box<dyn std::error::Error>> {
        if self.routing.is_empty() {
            println!("no recorded routing was given: the committed sample takes its place");
            return Ok(vec![("sample".to_string(), Routing::from_bytes("the committed sample", SAMPLE)?)]);
        }
        let mut files = Vec::new();
        for path in &self.routing {
            match path.is_dir() {
                true => files
                    .extend(std::fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?.iter().map(|it| it.path())),
                false => files.push(path.clone()),
            }
        }
        files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        files.sort();
        let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(files.iter().map(|path| Ok((name(path), Routing::load(path)?))).collect::<Result<_>>()?)
    }

    /// What is compared with fixed splits.
    pub fn dynamic(&self, workers: u32) -> Roles {
        let dealt =
            |orders: &Vec<Order>| orders.iter().map(|order| order.0.clone()).cycle().take(workers as usize).collect();
        self.orders.as_ref().map_or(Roles::Dynamic, |orders| Roles::Custom(dealt(orders)))
    }

    /// A world and its workers.
    pub fn setting(&self, topology: Topology, workers: u32) -> Setting {
        let tokens = self.tokens.unwrap_or(RANK_TOKENS.min(WORLD_TOKENS / topology.ranks()).max(1));
        Setting::small(topology, tokens, workers)
    }

    /// Everything that tokens do in this world; says what it leaves out.
    pub fn choices(&self, setting: &Setting, recorded: &[(String, Routing)]) -> Result<Vec<Choices>> {
        let mut all = Vec::new();
        for (name, routing) in recorded {
            match Choices::recorded(name, routing, setting) {
                Ok(choices) => all.push(choices),
                Err(why) => println!("{name} is left out: {why}"),
            }
        }
        let nodes = setting.topology.nodes().div_ceil(2);
        let usual = || vec![Gate::NodeLimited { nodes }, Gate::Uniform, Gate::Zipf { alpha: 1.2 }, Gate::AllToOne];
        for gate in self.gates.clone().unwrap_or_else(usual) {
            all.push(Choices::drawn(gate, setting, 1)?);
        }
        Ok(all)
    }
}

/// The arguments as given; files by their names.
pub fn command() -> String {
    let words = std::env::args().skip(1).map(|word| word.rsplit('/').next().unwrap_or_default().to_string());
    words.collect::<Vec<String>>().join(" ")
}

/// Kinds that a worker may claim, in its order.
#[derive(Debug, Clone)]
pub struct Order(Vec<Role>);

fn order(text: &str) -> std::result::Result<Order, String> {
    let kind = |letter| match letter {
        's' => Ok(Role::Send),
        'f' => Ok(Role::Forward),
        'r' => Ok(Role::Receive),
        _ => Err(format!("`{text}` is no order: valid are the letters s, f and r, such as srf")),
    };
    text.chars().map(kind).collect::<std::result::Result<_, _>>().map(Order)
}

fn world(text: &str) -> std::result::Result<Topology, String> {
    let none = || format!("`{text}` is no world: valid is NODESxGPUS, such as 4x8");
    let (nodes, gpus) = text.split_once('x').ok_or_else(none)?;
    let number = |text: &str| text.parse().map_err(|_| none());
    Topology::new(number(nodes)?, number(gpus)?).map_err(|error| error.to_string())
}
