//! Options of `demo`, and what they make of a world.

mod place;
mod rows;
mod setting;

use std::path::PathBuf;

use clap::Parser;
use warpferry::gate::Gate;
use warpferry::plan::{Shape, Tuning};
use warpferry::{Result, Topology};

pub use place::{BackendOption, FabricOption, PlaceOptions};
pub use rows::{CombineOption, PayloadOption, RowsOptions};
pub use setting::{LandingOption, RolesOption, SettingOptions};

/// Options of `demo`. What is not given follows the library's defaults for the world.
#[derive(Debug, Clone, Parser)]
pub struct DemoOptions {
    /// What runs the kernels.
    #[command(flatten)]
    pub place: PlaceOptions,
    /// Nodes of the world
    #[arg(long, default_value_t = 2)]
    pub nodes: u32,
    /// GPUs of each node
    #[arg(long, default_value_t = 4)]
    pub gpus_per_node: u32,
    /// Tokens of each rank
    #[arg(long, default_value_t = 128)]
    pub tokens: u32,
    /// Channels of the model: elements of a row
    #[arg(long, default_value_t = 7168)]
    pub hidden: u32,
    /// What rows hold.
    #[command(flatten)]
    pub rows: RowsOptions,
    /// How they are moved.
    #[command(flatten)]
    pub setting: SettingOptions,
    /// Rows that each rank has room for, without waiting for their number; more are told as an overflow
    #[arg(long, value_name = "ROWS")]
    pub bound: Option<usize>,
    /// Micro-batches whose handles are alive at once: all are dispatched, then combined, the last one first
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub in_flight: u32,
    /// Dispatch and combine other rows along each handle once more, without counting, as a backward pass does
    #[arg(long)]
    pub cached: bool,
    /// Capture the first dispatch and its combine as a graph and replay it so often, with --bound
    #[arg(long, value_name = "REPLAYS", requires = "bound", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub graph: Option<u32>,
    /// Biases that combine adds to each token's sum
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2))]
    pub bias: u32,
    /// Experts of the world; without a routing file this draws random choices
    #[arg(long)]
    pub experts: Option<u32>,
    /// Experts a token chooses; without a routing file this draws random choices
    #[arg(long)]
    pub topk: Option<u32>,
    /// Recorded routing: a safetensors file with `topk_idx`, dealt out to the ranks in file order
    #[arg(long, value_name = "FILE.safetensors")]
    pub routing: Option<PathBuf>,
    /// Draw random choices: `uniform`, `node-limited:NODES`, `zipf:ALPHA` or `all-to-one`
    #[arg(long, value_name = "GATE", conflicts_with = "routing")]
    pub gate: Option<Gate>,
    /// Seed of rows, of random choices, and of the emulator's schedule (without it: round robin)
    #[arg(long)]
    pub seed: Option<u64>,
    /// Emulator: let NICs place the writes of a queue pair out of order
    #[arg(long)]
    pub unordered: bool,
    /// Emulator: seed of the schedule alone; without it that of --seed
    #[arg(long, value_name = "SEED")]
    pub schedule_seed: Option<u64>,
    /// Emulator: turn its checks off, all but bounds and rights
    #[arg(long)]
    pub no_checks: bool,
    /// Emulator: check every access for data races by the PTX memory model
    #[arg(long, conflicts_with = "no_checks")]
    pub races: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

impl DemoOptions {
    /// The world's topology.
    pub fn topology(&self) -> Result<Topology> {
        Topology::new(self.nodes, self.gpus_per_node)
    }

    /// An option that means something on the emulator only.
    pub fn of_emulator(&self) -> Option<&'static str> {
        let given = [
            ("--unordered", self.unordered),
            ("--no-checks", self.no_checks),
            ("--races", self.races),
            ("--schedule-seed", self.schedule_seed.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }

    /// Dispatches of each rank.
    pub fn turns(&self) -> u32 {
        self.in_flight * (1 + u32::from(self.cached))
    }

    /// Shape for the routing in use.
    pub fn shape(&self, experts: u32, topk: u32) -> Result<Shape> {
        self.rows.shape(Shape::new(self.hidden, experts, topk, self.tokens.max(1))?)
    }

    /// Tuning for all outputs that are alive at once; `sms_of_rank` as [`SettingOptions::tuning`] has it.
    pub fn tuning(&self, topology: Topology, shape: &Shape, sms_of_rank: Option<u32>) -> Result<Tuning> {
        let outputs = self.turns() + u32::from(self.graph.is_some());
        self.setting.tuning(topology, shape, sms_of_rank, outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> DemoOptions {
        DemoOptions::parse_from(std::iter::once("demo").chain(words.iter().copied()))
    }

    fn tuning(words: &[&str]) -> Result<Tuning> {
        let options = parsed(words);
        options.tuning(options.topology()?, &options.shape(256, 8)?, None)
    }

    #[test]
    fn errors_name_what_was_typed() {
        for (words, parts) in [
            (&["--sms", "0"][..], ["`--sms` = 0", "1 to 32"]),
            (&["--chunk", "99"], ["`--chunk` = 99", "1 to 4"]),
            (&["--chunk-nv", "3", "--depth-nv", "4"], ["`--chunk-nv` = 3", "1 to 2"]),
            (&["--chunk", "3", "--depth-nv", "4"], ["`--chunk` = 3", "1 to 2"]),
            (&["--depth-nv", "3"], ["`--depth-nv` = 3", "power of two"]),
            (&["--landing", "direct:9"], ["`--landing` = direct:9", "multiple of 16"]),
            (&["--roles", "s,rs"], ["`--roles` = s,rs with 2 workers", "Forward"]),
            (&["--roles", "s,f,r", "--workers", "4"], ["`--roles` = s,f,r with 4 workers", "one list"]),
            (&["--roles", "fixed", "--workers", "2"], ["`--roles` = fixed with 2 workers", "Send"]),
        ] {
            let said = tuning(words).expect_err("refused").to_string();
            assert!(parts.iter().all(|part| said.contains(part)), "{words:?}: {said}");
        }
    }

    #[test]
    fn defaults_fit_each_other() {
        for words in [
            &[][..],
            &["--channels", "1"],
            &["--depth-nv", "2", "--depth-ib", "2"],
            &["--roles", "s,f,r"],
            &["--nodes", "1", "--gpus-per-node", "1"],
            &["--nodes", "40", "--gpus-per-node", "8", "--channels", "8"],
        ] {
            tuning(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }

    #[test]
    fn ranks_that_share_few_sms_take_fewer_by_default() {
        for (words, share, sms) in [
            (&[][..], Some(3), 3),
            (&[], Some(0), 1),
            (&[], Some(16), 8),
            (&["--channels", "2"], Some(3), 2),
            (&["--sms", "5"], Some(3), 5), // taken as it is: the device refuses it
        ] {
            let options = parsed(words);
            let topology = options.topology().expect("valid");
            let tuning = options.tuning(topology, &options.shape(256, 8).expect("valid"), share).expect("valid");
            assert_eq!((tuning.dispatch_sms, tuning.combine_sms), (sms, sms), "{words:?} of {share:?}");
        }
    }

    #[test]
    fn what_was_given_is_taken_or_refused() {
        let given = tuning(&["--channels", "4", "--sms", "2", "--chunk", "3", "--depth-ib", "8"]).expect("valid");
        assert_eq!((given.channels, given.dispatch_sms, given.combine_sms), (4, 2, 2));
        assert_eq!((given.chunk_ib, given.chunk_nv, given.depth_ib), (3, 3, 8));
        let given = tuning(&["--chunk-ib", "4", "--chunk-nv", "1", "--depth-nv", "2"]).expect("valid");
        assert_eq!((given.chunk_ib, given.chunk_nv), (4, 1));
        for words in
            [&["--chunk", "9"][..], &["--chunk-nv", "5"], &["--sms", "999"], &["--roles", "s,r"], &["--depth-nv", "3"]]
        {
            assert!(tuning(words).is_err(), "{words:?}");
        }
    }
}
