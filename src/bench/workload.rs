//! What a bench moves: sizes, where the choices of experts come from, and the bytes that follow from them.

use std::fmt;

use crate::error::Result;
use crate::gate::{Choices, Cost, Gate, PathCost};
use crate::plan::{Plan, Shape};
use crate::reference::Layout;
use crate::routing::Routing;
use crate::topology::Topology;

use super::traffic::Least;

/// What all ranks send.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Nodes and GPUs.
    pub topology: Topology,
    /// Rows there and back, experts, choices of a token.
    pub shape: Shape,
    /// Tokens of each rank.
    pub tokens: u32,
    /// Where the choices come from.
    pub source: Source,
    /// Seed of rows and of drawn choices.
    pub seed: u64,
}

/// Where choices of experts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Drawn.
    Drawn(Gate),
    /// Recorded, dealt out in file order and from the file's beginning again when it ends.
    Recorded {
        /// Name of the file, for records.
        name: String,
        /// What it holds.
        routing: Routing,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Drawn(gate) => gate.fmt(f),
            Source::Recorded { name, .. } => write!(f, "trace {name}"),
        }
    }
}

impl Workload {
    /// Choices of every rank.
    ///
    /// # Errors
    /// As [`Gate::draw`] and [`Routing::deal_around`].
    pub fn choices(&self) -> Result<Vec<Choices>> {
        match &self.source {
            Source::Drawn(gate) => gate.draw(self.topology, &self.shape, self.tokens, self.seed),
            Source::Recorded { name, routing } => routing.deal_around(name, self.topology, self.tokens),
        }
    }

    /// Seed of the rows of a rank.
    pub fn seed_of_rank(&self, rank: u32) -> u64 {
        self.seed ^ (u64::from(rank) + 1) << 32
    }
}

/// Bytes of both operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moved {
    /// Rows to the experts.
    pub dispatch: OpMoved,
    /// Sums back.
    pub combine: OpMoved,
}

/// Bytes of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OpMoved {
    /// Logical bytes, the mean over ranks: one payload copy for each of [`logical_copies`].
    pub logical_bytes: f64,
    /// Between nodes.
    pub ib: PathMoved,
    /// Within nodes, between two GPUs.
    pub nvlink: PathMoved,
}

/// Bytes of one operation on one kind of path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathMoved {
    /// Of all ranks, headers and padding included.
    pub bytes: u64,
    /// The least possible: payload of each row that must cross, once.
    pub bytes_min: u64,
    /// Of the rank that sends or gets most, headers and padding included.
    pub busiest_bytes: u64,
}

impl Moved {
    /// Counts what `choices` lead to. `landed`: rows leave their headers behind within nodes.
    ///
    /// # Errors
    /// As [`Cost::new`].
    pub fn new(plan: &Plan, choices: &[Choices], landed: bool) -> Result<Moved> {
        let (topology, shape) = (plan.topology, &plan.shape);
        let indices: Vec<&[i32]> = choices.iter().map(|rank| &rank.topk_idx[..]).collect();
        let layouts: Vec<Layout> =
            indices.iter().map(|idx| Layout::new(topology, *shape, idx)).collect::<Result<_>>()?;
        let mut cost = Cost::new(topology, shape, &indices)?;
        if landed {
            cost.dispatch.within.message_bytes = payload_bytes(shape).0;
        }
        let least = Least::new(topology, &layouts);
        let copies = logical_copies(topology, &layouts) as f64 / f64::from(topology.ranks());
        let (there, back) = payload_bytes(shape);
        let op = |row_bytes: u64, between: &PathCost, within: &PathCost| OpMoved {
            logical_bytes: copies * row_bytes as f64,
            ib: PathMoved::new(between, least.between * row_bytes),
            nvlink: PathMoved::new(within, least.within * row_bytes),
        };
        Ok(Moved {
            dispatch: op(there, &cost.dispatch.between, &cost.dispatch.within),
            combine: op(back, &cost.combine.between, &cost.combine.within),
        })
    }
}

impl PathMoved {
    fn new(cost: &PathCost, bytes_min: u64) -> PathMoved {
        PathMoved { bytes: cost.bytes(), bytes_min, busiest_bytes: cost.most().1 }
    }
}

/// Bytes of a payload copy there and back: a row, there with its scales.
pub fn payload_bytes(shape: &Shape) -> (u64, u64) {
    let there = shape.dispatch_row_bytes() + shape.scale_columns() * shape.scale_bytes();
    (there.into(), shape.combine_row_bytes().into())
}

/// Copies of tokens that logical bandwidth counts, of all ranks: one for each (token, destination node), the own node included;
/// on one node one for each (token, destination rank).
pub fn logical_copies(topology: Topology, layouts: &[Layout]) -> u64 {
    let of_token = |ranks: &[u32]| match topology.nodes() {
        1 => ranks.len(),
        // Ranks ascend, so those of a node are neighbours.
        _ => ranks.chunk_by(|&a, &b| topology.node(a) == topology.node(b)).count(),
    };
    let of_rank =
        |layout: &Layout| -> usize { (0..layout.tokens()).map(|token| of_token(layout.destinations(token))).sum() };
    layouts.iter().map(|layout| of_rank(layout) as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fabric, Fp8, Payload, ScaleKind, Tuning};

    fn workload(nodes: u32, gpus: u32, gate: Gate) -> Workload {
        let topology = Topology::new(nodes, gpus).expect("a small world");
        let shape = Shape::new(256, 24, 4, 64).expect("a small shape");
        Workload { topology, shape, tokens: 64, source: Source::Drawn(gate), seed: 5 }
    }

    fn moved(workload: &Workload) -> Moved {
        let tuning = Tuning::default_for(workload.topology, workload.shape.dispatch_row_bytes());
        let plan = Plan::new(workload.topology, workload.shape, tuning, Fabric::Mlx5).expect("valid");
        Moved::new(&plan, &workload.choices().expect("valid"), false).expect("valid")
    }

    /// Method: every (token, node) or (token, rank) pair is looked for one by one, straight from the experts' numbers.
    #[test]
    fn logical_bytes_are_those_of_a_count_by_hand() {
        for (nodes, gpus) in [(1, 1), (1, 4), (2, 1), (2, 4), (3, 2), (4, 2)] {
            for gate in [Gate::Uniform, Gate::AllToOne, Gate::Zipf { alpha: 1.0 }] {
                let workload = workload(nodes, gpus, gate);
                let experts_of_place = if nodes == 1 { 24 / gpus } else { 24 / nodes };
                let mut copies = 0;
                for rank in workload.choices().expect("valid") {
                    for token in rank.topk_idx.chunks(4) {
                        let places = 0..24 / experts_of_place;
                        let goes = |place: &u32| token.iter().any(|&e| e as u32 / experts_of_place == *place);
                        copies += places.filter(goes).count();
                    }
                }
                let mean = copies as f64 / f64::from(nodes * gpus);
                let moved = moved(&workload);
                assert_eq!(moved.dispatch.logical_bytes, mean * 512.0, "{nodes} x {gpus}, {gate}");
                assert_eq!(moved.combine.logical_bytes, mean * 512.0, "{nodes} x {gpus}, {gate}");
            }
        }
    }

    #[test]
    fn a_payload_copy_has_its_scales() {
        let shape = Shape::new(7168, 256, 8, 8).and_then(|s| s.with_payload(Payload::Fp8(Fp8::E4m3, ScaleKind::F32)));
        assert_eq!(payload_bytes(&shape.expect("valid")), (7168 + 56 * 4, 2 * 7168));
    }

    #[test]
    fn one_node_has_nothing_between_and_wires_carry_at_least_the_least() {
        let moved_within = moved(&workload(1, 4, Gate::Uniform));
        assert_eq!(moved_within.dispatch.ib, PathMoved::default());
        let both = moved(&workload(2, 4, Gate::Uniform));
        for path in [both.dispatch.ib, both.dispatch.nvlink, both.combine.ib, both.combine.nvlink] {
            assert!(path.bytes > path.bytes_min && path.bytes_min > 0, "{path:?}");
            assert!(path.busiest_bytes * 8 >= path.bytes, "{path:?}");
        }
    }

    #[test]
    fn a_trace_that_is_too_short_begins_anew() {
        let bytes = include_bytes!("../../tests/data/routing_v3_e256_k8.safetensors");
        let routing = Routing::from_bytes("sample", bytes).expect("valid");
        let short = routing.tokens();
        let topology = Topology::new(1, 2).expect("valid");
        let shape = Shape::new(64, 256, 8, short as u32).expect("valid");
        let source = Source::Recorded { name: "sample".into(), routing };
        let workload = Workload { topology, shape, tokens: short as u32, source, seed: 0 };
        let choices = workload.choices().expect("dealt around");
        assert_eq!(choices[0], choices[1]);
        assert_eq!(choices[0].topk_idx.len(), short * 8);
    }
}
