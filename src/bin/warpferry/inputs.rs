//! What the ranks of a demo send: expert choices and rows.

use warpferry::bench::rows::RankInputs;
use warpferry::gate::{self, Cost, Gate, Load, Share};
use warpferry::plan::Shape;
use warpferry::reference::Layout;
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

impl Inputs {
    /// Draws the rows that go with `choices`.
    pub fn new(options: &DemoOptions, source: Source, choices: Choices) -> Inputs {
        let rank = |turn: u64, rank: u64, choices: &gate::Choices| {
            let seed = options.seed.unwrap_or(0) ^ (rank + 1) << 32 ^ turn << 48;
            RankInputs::draw(&source.shape, choices, options.bias, seed)
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

/// Expert choices of all ranks.
#[derive(Debug)]
pub struct Choices(Vec<gate::Choices>);

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
            Some(routing) => {
                let dealt = routing.deal(topology, options.tokens)?;
                Ok(Choices(dealt.iter().map(|rank| rank.to_choices(routing.topk())).collect()))
            }
            None => self.gate.draw(topology, &self.shape, options.tokens, options.seed.unwrap_or(0)).map(Choices),
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
        self.0.iter().try_fold(0, |sum, rank| {
            let layout = Layout::new(topology, shape, &rank.topk_idx)?;
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
        self.0.iter().map(|rank| rank.topk_idx.as_slice()).collect()
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
