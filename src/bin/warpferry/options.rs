//! Options of `demo`, and what they make of a world.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use warpferry::gate::Gate;
use warpferry::plan::tuning::MAX_CHUNK;
use warpferry::plan::{
    Fabric, Fp8, Landing, OutputLayout, Payload, Quantization, Roles, ScaleKind, Shape, Sum, Tuning,
};
use warpferry::{Error, Result, Topology};

/// SMs of a launch unless told otherwise.
const SMS_DEFAULT: u32 = 8;

/// Options of `demo`. What is not given follows the library's defaults for the world.
#[derive(Debug, Clone, Parser)]
pub struct DemoOptions {
    /// What runs the kernels: `auto` takes a GPU of compute capability 9.0 or later where there is one
    #[arg(long, value_enum, default_value_t = BackendOption::Auto)]
    pub backend: BackendOption,
    /// How nodes reach each other: `mlx5` through NICs (on a GPU, NICs that a thread plays), `loopback` through memory
    #[arg(long, value_enum, default_value_t = FabricOption::Mlx5)]
    pub fabric: FabricOption,
    /// Number of the GPU; without it the first that fits
    #[arg(long, value_name = "NUMBER")]
    pub gpu: Option<u32>,
    /// Let the CUDA driver compile the kernels from their text, even where the build has assembled them
    #[arg(long)]
    pub jit: bool,
    /// Seconds without progress after which kernels give up; on the emulator of the cluster's own time
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout_s: Option<u64>,
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
    /// What rows hold on their way to the experts: `bf16`, `fp16`, `fp32`, `bytes:N`, `fp8-e4m3` or `fp8-e5m2` (with
    /// scales that are given), or `fp8-quantize` (bf16 that the sending warps turn into e4m3)
    #[arg(long, default_value = "bf16")]
    pub payload: PayloadOption,
    /// Scales of fp8 rows, one for each 128 channels; power-of-two with fp8-quantize alone
    #[arg(long, value_enum)]
    pub scales: Option<ScalesOption>,
    /// What rows hold on their way back, and are summed in fp32 to: `bf16`, `fp16` or `fp32`
    #[arg(long, value_enum, default_value_t = CombineOption::Bf16)]
    pub combine: CombineOption,
    /// Order of the rows that arrive: one for each token by source, or one for each (token, choice) pair by expert
    #[arg(long, value_enum, default_value_t = LayoutOption::Rows)]
    pub layout: LayoutOption,
    /// Rows that each expert's part is rounded up to, with `--layout experts`
    #[arg(long)]
    pub align: Option<u32>,
    /// Where rows go when they arrive: `staged` through a ring, `direct` straight to their places, in a zone of half as many
    /// rows again as come when choices are balanced, or `direct:ROWS`
    #[arg(long, default_value = "staged")]
    pub landing: LandingOption,
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
    /// Channels of the protocol
    #[arg(long)]
    pub channels: Option<u32>,
    /// SMs (CTAs) of each launch
    #[arg(long)]
    pub sms: Option<u32>,
    /// Most messages a claim moves, between nodes and within
    #[arg(long)]
    pub chunk: Option<u32>,
    /// Slots of a ring between nodes
    #[arg(long)]
    pub depth_ib: Option<u32>,
    /// Slots of a ring within a node
    #[arg(long)]
    pub depth_nv: Option<u32>,
    /// Worker warps of a CTA
    #[arg(long)]
    pub workers: Option<u32>,
    /// `dynamic`, `fixed`, or a list of s(end), f(orward), r(eceive) for each worker: `rfs,srf,f`
    #[arg(long, default_value = "dynamic")]
    pub roles: RolesOption,
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

/// `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendOption {
    /// A GPU where there is one, else the emulator.
    Auto,
    /// The emulator.
    Emu,
    /// A GPU.
    Cuda,
}

/// `--fabric`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FabricOption {
    /// NICs.
    Mlx5,
    /// Memory that all ranks have mapped.
    Loopback,
}

impl FabricOption {
    /// As the library has it.
    pub fn fabric(self) -> Fabric {
        match self {
            FabricOption::Mlx5 => Fabric::Mlx5,
            FabricOption::Loopback => Fabric::Loopback,
        }
    }
}

/// `--landing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LandingOption {
    /// Through rings.
    Staged,
    /// Straight to their places, with room for so many rows.
    Direct(Option<u32>),
}

impl FromStr for LandingOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<LandingOption, String> {
        let wrong = || format!("`{text}` is no way to land: valid are staged, direct and direct:ROWS");
        match text {
            "staged" => Ok(LandingOption::Staged),
            "direct" => Ok(LandingOption::Direct(None)),
            _ => match text.strip_prefix("direct:").map(str::parse) {
                Some(Ok(rows)) => Ok(LandingOption::Direct(Some(rows))),
                _ => Err(wrong()),
            },
        }
    }
}

/// `--payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadOption(pub Payload);

impl FromStr for PayloadOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<PayloadOption, String> {
        let valid = "bf16, fp16, fp32, fp8-e4m3, fp8-e5m2, fp8-quantize and bytes:N";
        let wrong = || format!("`{text}` is no payload: valid are {valid}");
        Ok(PayloadOption(match text {
            "bf16" => Payload::Bf16,
            "fp16" => Payload::Fp16,
            "fp32" => Payload::Fp32,
            "fp8-e4m3" => Payload::Fp8(Fp8::E4m3, ScaleKind::F32),
            "fp8-e5m2" => Payload::Fp8(Fp8::E5m2, ScaleKind::F32),
            "fp8-quantize" => Payload::Quantize(Quantization::new(Fp8::E4m3, ScaleKind::F32)),
            _ => Payload::Bytes(text.strip_prefix("bytes:").and_then(|bytes| bytes.parse().ok()).ok_or_else(wrong)?),
        }))
    }
}

/// `--scales`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScalesOption {
    /// f32; the default.
    F32,
    /// f32 powers of two.
    PowerOfTwo,
    /// One byte each: powers of two.
    Ue8m0,
}

impl ScalesOption {
    /// The payload with these scales.
    fn of(self, payload: Payload) -> Result<Payload> {
        let kind = if self == ScalesOption::Ue8m0 { ScaleKind::Ue8m0 } else { ScaleKind::F32 };
        Ok(match payload {
            Payload::Fp8(format, _) if self != ScalesOption::PowerOfTwo => Payload::Fp8(format, kind),
            Payload::Fp8(..) => {
                let valid = "f32 or ue8m0 where scales are given; power-of-two is a way to make them (fp8-quantize)";
                return Err(Error::argument("--scales", "power-of-two", valid));
            }
            Payload::Quantize(how) => {
                let how = Quantization::new(how.format(), kind);
                Payload::Quantize(if self == ScalesOption::PowerOfTwo { how.power_of_two() } else { how })
            }
            other => {
                let given = self.to_possible_value().map_or(String::new(), |value| value.get_name().to_string());
                return Err(Error::argument("--scales", given, format!("none: rows are {other}")));
            }
        })
    }
}

/// `--layout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayoutOption {
    /// By source rank and token.
    Rows,
    /// By expert.
    Experts,
}

/// `--combine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CombineOption {
    /// bf16.
    Bf16,
    /// IEEE half.
    Fp16,
    /// f32: not rounded behind the additions.
    Fp32,
}

impl CombineOption {
    /// As the library has it.
    pub fn sum(self) -> Sum {
        match self {
            CombineOption::Bf16 => Sum::Bf16,
            CombineOption::Fp16 => Sum::Fp16,
            CombineOption::Fp32 => Sum::Fp32,
        }
    }
}

/// `--roles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolesOption(pub Roles);

impl FromStr for RolesOption {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<RolesOption, String> {
        text.parse().map(RolesOption)
    }
}

impl fmt::Display for RolesOption {
    /// As typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl DemoOptions {
    /// The world's topology.
    pub fn topology(&self) -> Result<Topology> {
        Topology::new(self.nodes, self.gpus_per_node)
    }

    /// Dispatches of each rank.
    pub fn turns(&self) -> u32 {
        self.in_flight * (1 + u32::from(self.cached))
    }

    /// Longest time without progress before kernels give up, when one was given.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_s.map(Duration::from_secs)
    }

    /// Shape for the routing in use.
    pub fn shape(&self, experts: u32, topk: u32) -> Result<Shape> {
        let shape = Shape::new(self.hidden, experts, topk, self.tokens.max(1))?;
        let payload = self.scales.map_or(Ok(self.payload.0), |scales| scales.of(self.payload.0))?;
        let layout = match (self.layout, self.align) {
            (LayoutOption::Experts, align) => OutputLayout::Experts { align: align.unwrap_or(1) },
            (LayoutOption::Rows, None) => OutputLayout::Rows,
            (LayoutOption::Rows, Some(align)) => {
                return Err(Error::argument("--align", align, "none, or --layout experts beside it"));
            }
        };
        shape.with_payload(payload)?.with_sum(self.combine.sum())?.with_layout(layout)
    }

    /// Tuning: the library's defaults with what was given in their place. A rank has `sms_of_rank` SMs, where they are
    /// scarce: defaults bend to them.
    pub fn tuning(&self, topology: Topology, shape: &Shape, sms_of_rank: Option<u32>) -> Result<Tuning> {
        let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
        let set = |field: &mut u32, given: Option<u32>| *field = given.unwrap_or(*field);
        set(&mut tuning.channels, self.channels);
        set(&mut tuning.depth_ib, self.depth_ib);
        set(&mut tuning.depth_nv, self.depth_nv);
        set(&mut tuning.workers, self.workers);
        let sms_most = sms_of_rank.unwrap_or(u32::MAX).min(tuning.channels).max(1);
        let sms = self.sms.unwrap_or(SMS_DEFAULT.min(sms_most));
        (tuning.dispatch_sms, tuning.combine_sms) = (sms, sms);
        // Defaults bend to the rings asked for; a chunk that was asked for is taken or refused as it is.
        let fit = |chunk: u32, depth: u32| self.chunk.unwrap_or(chunk.min(depth / 2).max(1));
        tuning.chunk_ib = fit(tuning.chunk_ib, tuning.depth_ib);
        tuning.chunk_nv = fit(tuning.chunk_nv, tuning.depth_nv);
        tuning.roles = self.roles.0.clone();
        if let (Roles::Custom(list), None) = (&tuning.roles, self.workers) {
            tuning.workers =
                u32::try_from(list.len()).map_err(|_| Error::argument("roles", list.len(), "one list a worker"))?;
        }
        tuning.landing = match self.landing {
            LandingOption::Staged => Landing::Staged,
            LandingOption::Direct(Some(rows)) => Landing::Direct { rows },
            LandingOption::Direct(None) => {
                Landing::direct_for(topology, shape).times(self.turns() + u32::from(self.graph.is_some()))
            }
        };
        tuning.check(topology).map_err(|error| self.as_typed(error, &tuning))?;
        Ok(tuning)
    }

    /// Names the option that was typed where the library names the setting made of it.
    fn as_typed(&self, error: Error, tuning: &Tuning) -> Error {
        let Error::Argument { argument, value, valid } = error else { return error };
        match argument.as_str() {
            "dispatch_sms" | "combine_sms" => Error::argument("--sms", value, valid),
            "chunk_ib" | "chunk_nv" => {
                let most = MAX_CHUNK.min(tuning.depth_ib / 2).min(tuning.depth_nv / 2);
                Error::argument("--chunk", value, format!("1 to {most}"))
            }
            "roles" => Error::argument("--roles", format!("{} with {} workers", self.roles, tuning.workers), valid),
            "landing" => Error::argument("--landing", format!("direct:{value}"), valid),
            "channels" | "workers" | "depth_ib" | "depth_nv" => {
                Error::argument(format!("--{}", argument.replace('_', "-")), value, valid)
            }
            _ => Error::Argument { argument, value, valid },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpferry::plan::Role;

    fn parsed(words: &[&str]) -> DemoOptions {
        DemoOptions::parse_from(std::iter::once("demo").chain(words.iter().copied()))
    }

    fn tuning(words: &[&str]) -> Result<Tuning> {
        let options = parsed(words);
        options.tuning(options.topology()?, &options.shape(256, 8)?, None)
    }

    #[test]
    fn reads_roles() {
        use Role::{Forward, Receive, Send};
        assert_eq!("fixed".parse(), Ok(RolesOption(Roles::Fixed)));
        let list = vec![vec![Receive, Forward, Send], vec![Send]];
        assert_eq!("rfs,s".parse(), Ok(RolesOption(Roles::Custom(list))));
        for text in ["dynamic", "fixed", "rfs,s"] {
            assert_eq!(text.parse::<RolesOption>().map(|roles| roles.to_string()), Ok(text.to_string()));
        }
        assert!("rfx".parse::<RolesOption>().expect_err("no role").contains("`x`"));
    }

    #[test]
    fn errors_name_what_was_typed() {
        for (words, parts) in [
            (&["--sms", "0"][..], ["`--sms` = 0", "1 to 32"]),
            (&["--chunk", "99"], ["`--chunk` = 99", "1 to 4"]),
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
        for words in [&["--chunk", "9"][..], &["--sms", "64"], &["--roles", "s,r"], &["--depth-nv", "3"]] {
            assert!(tuning(words).is_err(), "{words:?}");
        }
    }
}
