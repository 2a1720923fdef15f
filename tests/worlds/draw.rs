//! Inputs of a case, from its seed.

use warpferry::routing::Routing;
use warpferry::topology::Topology;
use warpferry::DType;

use crate::case::{Case, Numbers, Pattern};

/// Recorded routing: 256 experts, top-8.
const SAMPLE: &[u8] = include_bytes!("../data/routing_v3_e256_k8.safetensors");
/// Experts of [`SAMPLE`].
pub const SAMPLE_EXPERTS: u32 = 256;
/// Choices a token of [`SAMPLE`].
pub const SAMPLE_TOPK: u32 = 8;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and any seed is a good one.
pub struct Draw {
    state: u64,
}

impl Draw {
    /// A generator of its own for each `purpose`.
    pub fn new(seed: u64, purpose: &[u64]) -> Draw {
        let state = purpose.iter().fold(seed, |state, &word| Draw { state: state ^ word.rotate_left(32) }.next());
        Draw { state }
    }

    /// 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u32
    }
}

/// What one rank gives to one dispatch.
pub struct Inputs {
    /// Rows as bytes.
    pub x: Vec<u8>,
    /// Their scales as bytes, where they are given.
    pub scales: Vec<u8>,
    pub topk_idx: Vec<i32>,
    pub topk_weights: Vec<f32>,
}

/// What one rank gives to one combine.
pub struct Results {
    /// Rows as bytes.
    pub x: Vec<u8>,
    /// `[rows, topk]`, by expert `[rows]`.
    pub topk_weights: Vec<f32>,
    /// `[rows]`, by expert.
    pub scales: Vec<f32>,
    /// `[tokens]` rows each, as bytes.
    pub biases: Vec<Vec<u8>>,
}

/// Purposes of generators.
const ROUTING: u64 = 1;
const ROWS: u64 = 2;
const WEIGHTS: u64 = 3;
const RESULTS: u64 = 4;
const SCALES: u64 = 5;
const WEIGHTS_BACK: u64 = 6;
const BIASES: u64 = 7;
const FACTORS: u64 = 8;

/// Inputs of every rank for call number `call`.
pub fn inputs(case: &Case, topology: Topology, call: u32) -> Vec<Inputs> {
    let sample = (case.pattern == Pattern::Sample).then(|| {
        Routing::from_bytes("sample", SAMPLE).unwrap_or_else(|error| panic!("the sample is committed: {error}"))
    });
    (0..topology.ranks())
        .map(|rank| {
            let tokens = case.tokens_of(rank, call);
            let topk_idx = match &sample {
                Some(sample) => recorded(sample, topology, rank, tokens, call),
                None => routing(case, topology, rank, tokens, call),
            };
            let weights = &mut Draw::new(case.seed, &[WEIGHTS, call.into(), rank.into()]);
            let topk_weights = topk_idx.iter().map(|_| weight(case, weights)).collect();
            let rows = &mut Draw::new(case.seed, &[ROWS, call.into(), rank.into()]);
            let payload = case.payload.payload();
            let elements = tokens as usize * payload.columns(case.hidden) as usize;
            let x = numbers(case, rows, payload.given(), elements);
            let draw = &mut Draw::new(case.seed, &[SCALES, call.into(), rank.into()]);
            let scales = payload.scales().filter(|_| payload.takes_scales()).map_or(Vec::new(), |kind| {
                (0..tokens * kind.columns(case.hidden) * kind.bytes()).map(|_| draw.next() as u8).collect()
            });
            Inputs { x, scales, topk_idx, topk_weights }
        })
        .collect()
}

/// What the experts of `rank` made of its rows, and what it adds to its tokens.
pub fn results(case: &Case, rank: u32, rows: usize, call: u32) -> Results {
    let dtype = case.sum.sum().dtype();
    let of = |purpose: u64| Draw::new(case.seed, &[purpose, call.into(), rank.into()]);
    let x = numbers(case, &mut of(RESULTS), dtype, rows * case.hidden as usize);
    let draw = &mut of(WEIGHTS_BACK);
    let topk_weights = (0..rows * case.choices()).map(|_| weight(case, draw)).collect();
    let draw = &mut of(FACTORS);
    let scales = (0..rows).map(|_| weight(case, draw)).collect();
    let elements = case.tokens_of(rank, call) as usize * case.hidden as usize;
    let draw = &mut of(BIASES);
    let biases = (0..case.biases_of(rank)).map(|_| numbers(case, draw, dtype, elements)).collect();
    Results { x, topk_weights, scales, biases }
}

/// `tokens` tokens of the sample; ranks and calls begin at different ones.
fn recorded(sample: &Routing, topology: Topology, rank: u32, tokens: u32, call: u32) -> Vec<i32> {
    let whole = sample.deal(Topology::new(1, 1).expect("one rank"), sample.tokens() as u32);
    let all = whole.expect("one rank takes all")[0].topk_idx;
    let first = (sample.tokens() as u32 / topology.ranks()) * rank + 7 * call;
    let one = |token: u32| {
        let at = (token as usize % sample.tokens()) * SAMPLE_TOPK as usize;
        all[at..at + SAMPLE_TOPK as usize].iter().copied()
    };
    (first..first + tokens).flat_map(one).collect()
}

fn routing(case: &Case, topology: Topology, rank: u32, tokens: u32, call: u32) -> Vec<i32> {
    let experts = case.experts_per_rank * topology.ranks();
    let draw = &mut Draw::new(case.seed, &[ROUTING, call.into(), rank.into()]);
    (0..tokens).flat_map(|token| choices(case, experts, token, draw)).collect()
}

fn choices(case: &Case, experts: u32, token: u32, draw: &mut Draw) -> Vec<i32> {
    let topk = case.topk;
    match case.pattern {
        Pattern::Uniform { masked_percent } => {
            let mut deck: Vec<i32> = (0..experts as i32).collect();
            (0..topk)
                .map(|choice| {
                    let other = choice + draw.below(experts - choice);
                    deck.swap(choice as usize, other as usize);
                    if draw.below(100) < masked_percent {
                        -1
                    } else {
                        deck[choice as usize]
                    }
                })
                .collect()
        }
        Pattern::Skewed => (0..topk)
            .map(|_| {
                let spread = f64::from(draw.below(1 << 20)) / f64::from(1 << 20);
                (f64::from(experts) * spread.powi(4)) as i32
            })
            .collect(),
        Pattern::OneExpert { expert } => {
            (0..topk).map(|choice| if choice == token % topk { (expert % experts) as i32 } else { -1 }).collect()
        }
        Pattern::Everywhere => {
            (0..topk).map(|choice| ((choice * experts.div_ceil(topk) + token) % experts) as i32).collect()
        }
        Pattern::Nowhere => vec![-1; topk as usize],
        Pattern::Sample => unreachable!("recorded routing is dealt out elsewhere"),
    }
}

/// 16-bit numbers at the edges, of bf16 and of fp16: zeros, subnormals, largest and smallest, infinities, quiet and
/// signalling NaN. As the upper half of f32 they are edges as well.
const EDGES: [u16; 24] = [
    0x0000, 0x8000, 0x0001, 0x8001, 0x007f, 0x807f, 0x0080, 0x8080, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0xffc1,
    0x7f81, 0xffff, 0x03ff, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7c01,
];

/// `count` elements as bytes.
fn numbers(case: &Case, draw: &mut Draw, dtype: DType, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count * dtype.bytes() as usize);
    for _ in 0..count {
        let bits = draw.next();
        let edge = EDGES[(bits >> 40) as usize % EDGES.len()];
        // Of like size: exponents within 16 of each other for bf16 and f32, within 8 for fp16.
        let usual = match dtype {
            DType::F32 => (bits as u32 & 0x807f_ffff) | ((119 + (bits >> 48) as u32 % 16) << 23),
            DType::F16 => u32::from((bits as u16 & 0x83ff) | ((10 + (bits >> 16) as u16 % 8) << 10)),
            _ => u32::from((bits as u16 & 0x807f) | ((119 + (bits >> 16) as u16 % 16) << 7)),
        };
        let number = match (case.numbers, (bits >> 32) % 4) {
            (Numbers::Usual, _) | (Numbers::Any, 0 | 1) => usual,
            (Numbers::Any, 2) if dtype == DType::F32 => u32::from(edge) << 16 | (bits >> 16) as u32 & 1,
            (Numbers::Any, 2) => u32::from(edge),
            (Numbers::Any, _) => (bits >> 16) as u32,
        };
        bytes.extend_from_slice(&number.to_le_bytes()[..dtype.bytes() as usize]);
    }
    bytes
}

fn weight(case: &Case, draw: &mut Draw) -> f32 {
    let bits = draw.next();
    match case.numbers {
        Numbers::Usual => (bits >> 40) as f32 / (1 << 24) as f32,
        Numbers::Any => f32::from_bits(bits as u32),
    }
}
