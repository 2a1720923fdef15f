//! What the ranks of a demo send: expert choices and rows.

use warpferry::gate::{Cost, Gate, Load, Share};
use warpferry::plan::{Payload, Quantization, Shape, Sum};
use warpferry::reference::{self, Layout, Quantized};
use warpferry::routing::Routing;
use warpferry::{Error, Result, Topology};

use crate::options::DemoOptions;

/// Recorded routing that ships with the program: see `tests/data/README.md`.
const SAMPLE: &[u8] = include_bytes!("../../../tests/data/routing_v3_e256_k8.safetensors");
/// Random choices when only one of experts and top-k was given.
const EXPERTS_DEFAULT: u32 = 256;
const TOPK_DEFAULT: u32 = 8;

/// Inputs of all ranks.
#[derive(Debug)]
pub struct Inputs {
    /// Where the choices come from.
    pub origin: String,
    /// What is moved: the micro-batches, then what goes along the handle of each once more.
    pub turns: Vec<Turn>,
}

/// Inputs of one dispatch of all ranks.
#[derive(Debug)]
pub struct Turn {
    /// One a rank.
    pub ranks: Vec<RankInputs>,
    /// The turn whose handle is used.
    pub along: Option<usize>,
}

/// Inputs of one rank.
#[derive(Debug)]
pub struct RankInputs {
    /// Rows of `[tokens]`, as bytes.
    pub x: Vec<u8>,
    /// Their scales, as bytes, where they are given.
    pub scales: Vec<u8>,
    /// `[tokens, topk]`.
    pub topk_idx: Vec<i32>,
    /// `[tokens, topk]`.
    pub topk_weights: Vec<f32>,
    /// What combine adds, `[tokens]` rows each, as bytes.
    pub biases: Vec<Vec<u8>>,
}

impl Inputs {
    /// Draws the rows that go with `choices`.
    pub fn new(options: &DemoOptions, source: Source, choices: Choices) -> Inputs {
        let shape = source.shape;
        let elements = options.tokens as usize * shape.payload().columns(options.hidden) as usize;
        let sums = options.tokens as usize * options.hidden as usize;
        let rank = |turn: u64, rank: u64, (topk_idx, topk_weights): &(Vec<i32>, Vec<f32>)| {
            let mut random = Random::new(options.seed.unwrap_or(0) ^ (rank + 1) << 32 ^ turn << 48);
            let (x, scales) = random.rows(&shape, elements);
            let biases = (0..options.bias).map(|_| random.numbers(shape.sum(), sums)).collect();
            RankInputs { x, scales, topk_idx: topk_idx.clone(), topk_weights: topk_weights.clone(), biases }
        };
        let batches = options.in_flight as usize;
        let turns = (0..options.turns() as usize)
            .map(|turn| Turn {
                ranks: (0..).zip(&choices.0).map(|(at, choices)| rank(turn as u64, at, choices)).collect(),
                along: turn.checked_sub(batches),
            })
            .collect();
        Inputs { origin: source.origin, turns }
    }
}

/// Where expert choices come from: known before any are made, since sizes follow from it.
#[derive(Debug)]
pub struct Source {
    /// The source in words.
    pub origin: String,
    /// Sizes.
    pub shape: Shape,
    /// What was recorded; drawn by `gate` when there is none.
    recorded: Option<Routing>,
    gate: Gate,
}

/// Expert choices of all ranks: index and weight, `[tokens, topk]` each.
#[derive(Debug)]
pub struct Choices(Vec<(Vec<i32>, Vec<f32>)>);

impl Source {
    /// Reads the routing that `options` name, or settles that choices are drawn.
    pub fn new(options: &DemoOptions, topology: Topology) -> Result<Source> {
        let gate = options.gate.unwrap_or(Gate::Uniform);
        let (origin, recorded) = match &options.routing {
            Some(path) => (path.display().to_string(), Some(Routing::load(path)?)),
            None if options.gate.is_some() => (format!("gate {gate}"), None),
            None if options.experts.is_none() && options.topk.is_none() => {
                let sample = Routing::from_bytes("the committed sample", SAMPLE)?;
                let need = u64::from(options.tokens) * u64::from(topology.ranks());
                if need <= sample.tokens() as u64 {
                    ("committed sample".to_string(), Some(sample))
                } else {
                    (format!("random ({need} tokens, the committed sample has {})", sample.tokens()), None)
                }
            }
            None => ("random".to_string(), None),
        };
        let (experts, topk) = match &recorded {
            Some(routing) => (routing.experts(), routing.topk()),
            None => (options.experts.unwrap_or(EXPERTS_DEFAULT), options.topk.unwrap_or(TOPK_DEFAULT)),
        };
        for (name, given, have) in [("experts", options.experts, experts), ("topk", options.topk, topk)] {
            if let Some(given) = given.filter(|&given| given != have) {
                return Err(Error::argument(name, given, format!("{have}, as {origin} says")));
            }
        }
        let shape = options.shape(experts, topk)?;
        shape.check(topology)?;
        Ok(Source { origin, shape, recorded, gate })
    }

    /// Deals or draws the choices.
    pub fn choices(&self, options: &DemoOptions, topology: Topology) -> Result<Choices> {
        match &self.recorded {
            Some(routing) => recorded(routing, options.tokens, topology),
            None => {
                let seed = options.seed.unwrap_or(0);
                let drawn = self.gate.draw(topology, &self.shape, options.tokens, seed)?;
                Ok(Choices(drawn.into_iter().map(|rank| (rank.topk_idx, rank.topk_weights)).collect()))
            }
        }
    }
}

impl Source {
    /// What a node limit leaves of the traffic of the same gate without one, and that gate; none where no limit was asked for.
    pub fn saving(&self, options: &DemoOptions, topology: Topology, cost: &Cost) -> Result<Option<(Gate, Share)>> {
        let unlimited = self.gate.unlimited().filter(|_| self.recorded.is_none());
        let share = |gate| {
            let without = Cost::of(gate, topology, &self.shape, options.tokens, options.seed.unwrap_or(0))?;
            Ok((gate, cost.share_of(&without)))
        };
        unlimited.map(share).transpose()
    }
}

impl Choices {
    /// Rows that dispatch will deliver in all: one for each (token, destination rank).
    pub fn rows(&self, topology: Topology, shape: Shape) -> Result<u64> {
        self.0.iter().try_fold(0, |sum, (topk_idx, _)| {
            let layout = Layout::new(topology, shape, topk_idx)?;
            Ok(sum + (0..layout.tokens()).map(|token| layout.destinations(token).len() as u64).sum::<u64>())
        })
    }

    /// How far tokens go, and how even the load is.
    pub fn load(&self, topology: Topology, shape: &Shape) -> Result<Load> {
        Load::new(topology, shape, &self.indices())
    }

    /// Messages and bytes of each rank.
    pub fn cost(&self, topology: Topology, shape: &Shape) -> Result<Cost> {
        Cost::new(topology, shape, &self.indices())
    }

    fn indices(&self) -> Vec<&[i32]> {
        self.0.iter().map(|(topk_idx, _)| topk_idx.as_slice()).collect()
    }
}

fn recorded(routing: &Routing, tokens: u32, topology: Topology) -> Result<Choices> {
    let weight = 1.0 / routing.topk() as f32;
    let dealt = routing.deal(topology, tokens)?;
    let ranks = dealt
        .iter()
        .map(|rank| {
            // A file without weights: every choice counts the same.
            let weights = rank.topk_weights.map_or_else(|| vec![weight; rank.topk_idx.len()], <[f32]>::to_vec);
            (rank.topk_idx.to_vec(), weights)
        })
        .collect();
    Ok(Choices(ranks))
}

/// The numbers in a row that arrived. Opaque bytes count as numbers about 0.
pub fn numbers(shape: &Shape, row: &[u8], scales: &[u8]) -> Vec<f32> {
    let quantized = |format, kind| {
        let row = Quantized { elements: row.to_vec(), scales: scales.to_vec() };
        reference::dequantize(Quantization::new(format, kind), &row)
    };
    match shape.payload() {
        Payload::Bf16 => reference::widen(Sum::Bf16, row),
        Payload::Fp16 => reference::widen(Sum::Fp16, row),
        Payload::Fp32 => reference::widen(Sum::Fp32, row),
        Payload::Fp8(format, kind) => quantized(format, kind),
        Payload::Quantize(how) => quantized(how.format(), how.scales()),
        _ => (0..shape.hidden() as usize).map(|at| (f32::from(row[at % row.len()]) - 128.0) / 64.0).collect(),
    }
}

/// SplitMix64: small, seeded, good enough for test data.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// Activations as a layer has them: most within -2 to 2, with all mantissas.
    fn numbers(&mut self, sum: Sum, elements: usize) -> Vec<u8> {
        let mut number = || (self.unit() + self.unit() + self.unit() - 1.5) * 2.0;
        reference::round(sum, &(0..elements).map(|_| number()).collect::<Vec<f32>>())
    }

    /// Rows that are given, and their scales. Opaque bytes are any.
    fn rows(&mut self, shape: &Shape, elements: usize) -> (Vec<u8>, Vec<u8>) {
        match shape.payload() {
            Payload::Bf16 | Payload::Quantize(_) => (self.numbers(Sum::Bf16, elements), Vec::new()),
            Payload::Fp16 => (self.numbers(Sum::Fp16, elements), Vec::new()),
            Payload::Fp32 => (self.numbers(Sum::Fp32, elements), Vec::new()),
            Payload::Fp8(format, kind) => {
                let numbers = self.numbers(Sum::Bf16, elements);
                let rows = numbers.chunks(2 * shape.hidden() as usize);
                let rows = rows.map(|row| reference::quantize(Quantization::new(format, kind), row));
                rows.fold((Vec::new(), Vec::new()), |(mut x, mut scales), row| {
                    x.extend(row.elements);
                    scales.extend(row.scales);
                    (x, scales)
                })
            }
            _ => ((0..elements).map(|_| self.next() as u8).collect(), Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn inputs(words: &[&str]) -> Result<(Shape, Inputs)> {
        let options = DemoOptions::parse_from(["demo", "--hidden", "8"].iter().chain(words));
        let topology = options.topology()?;
        let source = Source::new(&options, topology)?;
        let choices = source.choices(&options, topology)?;
        Ok((source.shape, Inputs::new(&options, source, choices)))
    }

    #[test]
    fn the_default_world_uses_the_sample() {
        let (shape, inputs) = inputs(&[]).expect("valid");
        assert_eq!(inputs.origin, "committed sample");
        assert_eq!((shape.experts(), shape.topk(), inputs.turns[0].ranks.len()), (256, 8, 8));
        assert_ne!(inputs.turns[0].ranks[0].x, inputs.turns[0].ranks[1].x);
    }

    #[test]
    fn other_sizes_draw_distinct_experts() {
        for words in [&["--experts", "16", "--topk", "16"][..], &["--tokens", "200"]] {
            let (shape, inputs) = inputs(words).expect("valid");
            assert!(inputs.origin.starts_with("random"), "{}", inputs.origin);
            let topk = shape.topk() as usize;
            for rank in &inputs.turns[0].ranks {
                for token in rank.topk_idx.chunks(topk) {
                    let mut sorted = token.to_vec();
                    sorted.sort_unstable();
                    sorted.dedup();
                    assert_eq!(sorted.len(), topk);
                }
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        for words in [&["--experts", "12"][..], &["--experts", "16", "--topk", "17"], &["--routing", "/no/such/file"]] {
            assert!(inputs(words).is_err(), "{words:?}");
        }
    }
}
