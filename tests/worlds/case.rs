//! One case: everything that a run depends on, as one line of text.

use std::fmt;

use serde::{Deserialize, Serialize};
use warpferry::kernel::image::KernelImage;
use warpferry::kernel::launch::KernelSet;
use warpferry::plan::{Fp8, Landing, OutputLayout, Quantization, Role, Roles, ScaleKind};
use warpferry::world::Sms;
use warpferry::{Fabric, Payload, Shape, Sum, Topology, Tuning, WorldConfig};
use warpferry_emu::{Hosts, MachineConfig, MemoryOrder, Schedule};
use warpferry_nic::{NetworkConfig, Ordering};

use crate::draw;
use crate::trouble::Trouble;

/// Warp instructions after which a run counts as endless.
pub const WARP_INSTRUCTIONS_MAX: u64 = 2_000_000_000;
/// Turns within which priorities of a PCT schedule change: about those of a small world.
const PCT_STEPS: u32 = 20_000;

/// A world, what it moves, how, and on what kind of machine. As text it is the JSON of what differs from the default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Case {
    /// Seed of all inputs.
    pub seed: u64,
    /// Rounds of dispatch and combine on one communicator.
    pub calls: u32,
    pub nodes: u32,
    pub gpus: u32,
    /// Elements of a row.
    pub hidden: u32,
    /// What a row holds on its way to the experts.
    pub payload: Carried,
    /// What rows hold on their way back.
    pub sum: Added,
    pub experts_per_rank: u32,
    pub topk: u32,
    /// Tokens of the ranks, dealt out by turns; each call deals from one further on.
    pub tokens: Vec<u32>,
    pub pattern: Pattern,
    pub numbers: Numbers,
    /// Whether weights travel with the rows, dealt out to the ranks by turns.
    pub weights: Vec<bool>,
    /// How output rows are ordered.
    pub layout: Ordered,
    /// Rows that outputs are made for beyond those that come, without waiting for counts; dealt out to the ranks by turns.
    pub bound: Vec<Option<u32>>,
    /// Whether rows by expert are scaled when they are combined, dealt out to the ranks by turns.
    pub scaled: Vec<bool>,
    /// Whether weights go back with the results and are summed.
    pub weights_back: bool,
    /// Biases that combine adds, dealt out to the ranks by turns.
    pub biases: Vec<u32>,
    /// Whether tensors given are parts of larger ones.
    pub views: bool,
    pub fabric: Link,
    pub channels: u32,
    /// SMs of dispatch and combine, dealt out to the ranks by turns.
    pub sms: Vec<(u32, u32)>,
    pub chunk_ib: u32,
    pub chunk_nv: u32,
    pub depth_ib: u32,
    pub depth_nv: u32,
    pub workers: u32,
    pub roles: Warps,
    pub stage_bytes: u32,
    /// How often each round goes along its handle once more, while the first outputs live. Not where there is trouble.
    pub along: u32,
    /// Rows of the landing zone; 0 stages all rows.
    pub landing: u32,
    /// Seed of the schedule; none is round robin.
    pub schedule: Option<u64>,
    /// CTAs that a GPU holds at once; none is as many as fit.
    pub resident_ctas: Option<usize>,
    /// NICs place writes out of order.
    pub unordered: bool,
    pub piece_bytes: u32,
    /// Entries of a queue pair under way at once.
    pub outstanding: u32,
    /// NICs read payload and entries again before they retire them.
    pub retransmit: bool,
    /// NICs may retire requests long after they are done.
    pub late_completions: bool,
    /// NICs look at doorbell records on their own.
    pub read_before_post: bool,
    /// Whether races are looked for.
    pub races: bool,
    /// Whether loads return any value that the memory model allows.
    pub weak: bool,
    /// Depth of a PCT schedule with the schedule's seed; none draws agents.
    pub pct: Option<u32>,
    /// Threads of layout and exchange; none is as many as they take.
    pub setup_threads: Option<u32>,
    /// What goes wrong on purpose.
    pub trouble: Option<Trouble>,
}

/// Where tokens go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Distinct experts; each choice is masked with this chance.
    Uniform { masked_percent: u32 },
    /// Few experts get most, and a token may choose one twice.
    Skewed,
    /// Every token to this expert alone, at a place that changes.
    OneExpert { expert: u32 },
    /// Choices as far apart as they can be.
    Everywhere,
    /// All choices masked.
    Nowhere,
    /// The committed sample; needs 256 experts and top-8.
    Sample,
}

/// What rows hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// Numbers of like size, so that sums round.
    Usual,
    /// Every bit pattern: NaN, infinities, subnormals, -0.
    Any,
}

/// Rows of dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carried {
    Bf16,
    Fp16,
    Fp32,
    Bytes(u32),
    /// With scales that are given.
    Fp8(Format, Scales),
    /// bf16 that is quantized on its way.
    Quantize(Format, Scales),
}

/// Order of output rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordered {
    Source,
    /// With parts aligned to so many rows.
    Expert(u32),
}

impl Ordered {
    pub fn layout(self) -> OutputLayout {
        match self {
            Ordered::Source => OutputLayout::Rows,
            Ordered::Expert(align) => OutputLayout::Experts { align },
        }
    }
}

/// Elements of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    E4m3,
    E5m2,
}

/// Scales of FP8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scales {
    F32,
    /// f32, and powers of two where they are made.
    PowerOfTwo,
    Ue8m0,
}

impl Format {
    pub const ALL: [Format; 2] = [Format::E4m3, Format::E5m2];

    fn fp8(self) -> Fp8 {
        match self {
            Format::E4m3 => Fp8::E4m3,
            Format::E5m2 => Fp8::E5m2,
        }
    }
}

impl Scales {
    pub const ALL: [Scales; 3] = [Scales::F32, Scales::PowerOfTwo, Scales::Ue8m0];

    fn kind(self) -> ScaleKind {
        match self {
            Scales::F32 | Scales::PowerOfTwo => ScaleKind::F32,
            Scales::Ue8m0 => ScaleKind::Ue8m0,
        }
    }
}

/// Rows of combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Added {
    Bf16,
    Fp16,
    Fp32,
}

impl Carried {
    pub fn payload(self) -> Payload {
        match self {
            Carried::Bf16 => Payload::Bf16,
            Carried::Fp16 => Payload::Fp16,
            Carried::Fp32 => Payload::Fp32,
            Carried::Bytes(bytes) => Payload::Bytes(bytes),
            Carried::Fp8(format, scales) => Payload::Fp8(format.fp8(), scales.kind()),
            Carried::Quantize(format, scales) => {
                let how = Quantization::new(format.fp8(), scales.kind());
                Payload::Quantize(if scales == Scales::PowerOfTwo { how.power_of_two() } else { how })
            }
        }
    }
}

impl Added {
    pub fn sum(self) -> Sum {
        match self {
            Added::Bf16 => Sum::Bf16,
            Added::Fp16 => Sum::Fp16,
            Added::Fp32 => Sum::Fp32,
        }
    }
}

/// Fabric between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    Mlx5,
    Loopback,
}

/// Roles of worker warps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warps {
    Dynamic,
    Fixed,
    /// A word a warp, of `s`, `f` and `r`: the kinds it claims, in its order. Dealt out by turns.
    Custom(Vec<String>),
}

impl Default for Case {
    /// 2 nodes of 2 GPUs, rings that wrap within a call.
    fn default() -> Case {
        Case {
            seed: 1,
            calls: 1,
            nodes: 2,
            gpus: 2,
            hidden: 64,
            payload: Carried::Bf16,
            sum: Added::Bf16,
            experts_per_rank: 2,
            topk: 3,
            tokens: vec![13, 16, 9, 14],
            pattern: Pattern::Uniform { masked_percent: 10 },
            numbers: Numbers::Any,
            weights: vec![true],
            layout: Ordered::Source,
            bound: vec![None],
            scaled: vec![false],
            weights_back: false,
            biases: vec![0],
            views: false,
            fabric: Link::Mlx5,
            channels: 2,
            sms: vec![(1, 1)],
            chunk_ib: 2,
            chunk_nv: 2,
            depth_ib: 4,
            depth_nv: 4,
            workers: 3,
            roles: Warps::Dynamic,
            stage_bytes: 2048,
            along: 0,
            landing: 0,
            schedule: None,
            resident_ctas: None,
            unordered: false,
            piece_bytes: 4096,
            outstanding: 16,
            retransmit: false,
            late_completions: false,
            read_before_post: false,
            races: false,
            weak: false,
            pct: None,
            setup_threads: None,
            trouble: None,
        }
    }
}

impl Case {
    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Case, String> {
        serde_json::from_str(text).map_err(|error| format!("`{text}` is no case: {error}"))
    }

    /// A case with recorded routing.
    pub fn recorded(nodes: u32, gpus: u32) -> Case {
        let experts_per_rank = draw::SAMPLE_EXPERTS / (nodes * gpus);
        Case { nodes, gpus, experts_per_rank, topk: draw::SAMPLE_TOPK, pattern: Pattern::Sample, ..Case::default() }
    }

    /// Tokens of `rank` in call number `call`.
    pub fn tokens_of(&self, rank: u32, call: u32) -> u32 {
        self.tokens[(rank + call) as usize % self.tokens.len()]
    }

    /// Biases that `rank` adds.
    pub fn biases_of(&self, rank: u32) -> u32 {
        self.biases[rank as usize % self.biases.len()]
    }

    /// Rows that `rank` has room for beyond those that come, if it does not wait for their number.
    pub fn spare(&self, rank: u32) -> Option<u32> {
        self.bound[rank as usize % self.bound.len()]
    }

    /// Rounds along a handle behind each that counts.
    pub fn rounds_along(&self) -> u32 {
        if self.trouble.is_none() {
            self.along
        } else {
            0
        }
    }

    /// Whether `rank` scales rows.
    pub fn scales(&self, rank: u32) -> bool {
        self.layout != Ordered::Source && self.scaled[rank as usize % self.scaled.len()]
    }

    /// Choices that an output row is described by.
    pub fn choices(&self) -> usize {
        if self.layout == Ordered::Source {
            self.topk as usize
        } else {
            1
        }
    }

    /// Whether `rank` gives weights.
    pub fn weighs(&self, rank: u32) -> bool {
        self.weights[rank as usize % self.weights.len()]
    }

    /// The kernels with as many threads of layout and exchange as the case says.
    pub fn kernels(&self, mut kernels: KernelSet) -> KernelSet {
        if let Some(threads) = self.setup_threads {
            for image in [&mut kernels.layout, &mut kernels.exchange] {
                let max_threads = threads.min(image.max_threads);
                *image = Box::leak(Box::new(KernelImage { max_threads, ..**image }));
            }
        }
        kernels
    }

    /// The world's configuration.
    pub fn config(&self) -> warpferry::Result<WorldConfig> {
        let topology = Topology::new(self.nodes, self.gpus)?;
        let max_tokens = self.tokens.iter().copied().max().unwrap_or(0).max(1);
        let shape = Shape::new(self.hidden, self.experts_per_rank * topology.ranks(), self.topk, max_tokens)?
            .with_payload(self.payload.payload())?
            .with_sum(self.sum.sum())?
            .with_layout(self.layout.layout())?;
        let sms = |rank: u32| self.sms[rank as usize % self.sms.len()];
        let mut config = WorldConfig::new(topology, shape).tuning(self.tuning()).fabric(match self.fabric {
            Link::Mlx5 => Fabric::Mlx5,
            Link::Loopback => Fabric::Loopback,
        });
        for rank in 0..topology.ranks() {
            let (dispatch, combine) = sms(rank);
            config = config.sms(rank, Sms { dispatch, combine });
        }
        self.set_machine(&mut config.machine);
        Ok(config)
    }

    fn tuning(&self) -> Tuning {
        let (dispatch_sms, combine_sms) = self.sms[0];
        Tuning {
            channels: self.channels,
            dispatch_sms,
            combine_sms,
            chunk_ib: self.chunk_ib,
            chunk_nv: self.chunk_nv,
            depth_ib: self.depth_ib,
            depth_nv: self.depth_nv,
            workers: self.workers,
            roles: match &self.roles {
                Warps::Dynamic => Roles::Dynamic,
                Warps::Fixed => Roles::Fixed,
                Warps::Custom(words) => {
                    Roles::Custom((0..self.workers as usize).map(|w| kinds(&words[w % words.len()])).collect())
                }
            },
            stage_bytes: self.stage_bytes,
            landing: match self.landing {
                0 => Landing::Staged,
                rows => Landing::Direct { rows },
            },
        }
    }

    fn set_machine(&self, machine: &mut MachineConfig) {
        machine.schedule = match (self.schedule, self.pct) {
            (None, _) => Schedule::RoundRobin,
            (Some(seed), None) => Schedule::Random { seed },
            (Some(seed), Some(depth)) => Schedule::Pct { seed, depth, steps: PCT_STEPS },
        };
        machine.memory = if self.weak { MemoryOrder::Weak } else { MemoryOrder::Sequential };
        machine.checks.races = self.races;
        machine.hosts = Hosts::PerGpu;
        machine.gpu.resident_ctas = self.resident_ctas;
        machine.limits.warp_instructions = WARP_INSTRUCTIONS_MAX;
        machine.nic = NetworkConfig {
            ordering: if self.unordered { Ordering::WritesUnordered } else { Ordering::InOrder },
            max_write_piece_bytes: self.piece_bytes,
            max_outstanding: self.outstanding,
            read_before_post: self.read_before_post,
            retransmit: self.retransmit,
            late_completions: self.late_completions,
        };
    }
}

fn kinds(word: &str) -> Vec<Role> {
    word.chars()
        .filter_map(|letter| match letter {
            's' => Some(Role::Send),
            'f' => Some(Role::Forward),
            'r' => Some(Role::Receive),
            _ => None,
        })
        .collect()
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |case: &Case| match serde_json::to_value(case) {
            Ok(serde_json::Value::Object(fields)) => fields,
            other => unreachable!("a struct becomes an object, not {other:?}"),
        };
        let (mut own, usual) = (fields(self), fields(&Case::default()));
        own.retain(|name, value| usual.get(name) != Some(value));
        write!(f, "{}", serde_json::Value::Object(own))
    }
}

#[test]
fn text_gives_the_case_back() {
    let case = Case {
        seed: 7,
        tokens: vec![0, 3],
        pattern: Pattern::OneExpert { expert: 2 },
        roles: Warps::Custom(vec!["sf".to_string(), "r".to_string()]),
        schedule: Some(9),
        sms: vec![(1, 2), (2, 1)],
        trouble: Some(Trouble::Quits { rank: 1, call: 2 }),
        ..Case::default()
    };
    let text = case.to_string();
    assert!(!text.contains("hidden") && !text.contains('\n'), "{text}");
    assert_eq!(Case::parse(&text), Ok(case));
    assert_eq!(Case::parse("{}"), Ok(Case::default()));
    assert!(Case::parse(r#"{"tokens_per_rank":3}"#).is_err_and(|error| error.contains("tokens_per_rank")));
}
