//! The coarse model: times of dispatch and combine in closed form, for worlds of thousands of ranks.
//!
//! Nothing runs. Each part of the machine and of the protocol has a time that it would need for all that an operation moves
//! ([`Part`]); the times are joined so that the slowest decides and those close to it add a little, and what the first message
//! needs through all stages comes before ([`Terms::us`]). Instructions, loads and fences of a claim and of a row are counted
//! from the kernels' sources; what they take, and all rates, are the machine's.
//!
//! | file | what |
//! | --- | --- |
//! | `load` | what tokens lead to, by formula or by a sample |
//! | `settings` | the numbers of a plan; wires and memories |
//! | `acts`, `claims` | what acts of a warp take; rows, sums, claims |
//! | `dispatch`, `combine`, `setup` | the kernels |
//! | `terms` | the breakdown, and how it becomes a time |
//!
//! What it leaves out: how messages meet on links, waits of one stream for another beyond the rings' rounds, the spread of
//! ranks around the mean. How far it is from the emulator's clock, `docs/perf/analytic.md` tells.

mod acts;
mod claims;
mod combine;
mod dispatch;
mod load;
mod settings;
mod setup;
mod terms;

use std::fmt;

use crate::bench::{payload_bytes, Moved as Bytes, OpMoved, PathMoved, Samples, Workload};
use crate::error::Result;
use crate::machine::Machine;
use crate::plan::{Op, Plan};
use crate::topology::Topology;

use super::Wanted;
use acts::Acts;
pub use load::Load;
use settings::{Moved, Settings};
pub use terms::{Part, Terms};

/// Times of an operation by the coarse model, and what they are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Layout, in microseconds.
    pub layout_us: f64,
    /// Exchange, in microseconds.
    pub exchange_us: f64,
    /// The dispatch kernel.
    pub dispatch: Terms,
    /// The combine kernel.
    pub combine: Terms,
    /// Bytes that are moved, expected.
    pub moved: Bytes,
}

impl Estimate {
    /// Of `workload` with `plan` on `machine`.
    ///
    /// # Errors
    /// As [`Load::new`].
    pub fn new(machine: &Machine, workload: &Workload, plan: &Plan) -> Result<Estimate> {
        let load = Load::new(workload)?;
        let acts = Acts::new(machine);
        let [there, back] = [Op::Dispatch, Op::Combine].map(|op| Settings::new(machine, workload, plan, load, op));
        let slots = [plan.shape.dispatch_slot_bytes(plan.topology), plan.shape.combine_slot_bytes()].map(f64::from);
        let (moved_there, moved_back) = (Moved::dispatch(&there, slots[0]), Moved::combine(&back, slots[1]));
        Ok(Estimate {
            layout_us: setup::layout_us(&acts, &there),
            exchange_us: setup::exchange_us(&acts, &there),
            dispatch: dispatch::terms(&acts, &there, &moved_there),
            combine: combine::terms(&acts, &back, &moved_back),
            moved: bytes(workload, &load, [&moved_there, &moved_back], slots),
        })
    }

    /// Its times as a run would give them: of what is wanted. Dispatch is with layout and exchange, along a handle without.
    pub fn samples(&self, wanted: Wanted) -> Samples {
        let dispatch_us = self.dispatch.us();
        let one = |wanted: bool, us: f64| if wanted { vec![us] } else { Vec::new() };
        Samples {
            dispatch_us: one(wanted.dispatch, self.layout_us + self.exchange_us + dispatch_us),
            combine_us: one(wanted.combine, self.combine.us()),
            dispatch_cached_us: one(wanted.cached, dispatch_us),
            layout_us: one(wanted.dispatch, self.layout_us),
            exchange_us: one(wanted.dispatch, self.exchange_us),
            dispatch_kernel_us: one(wanted.dispatch, dispatch_us),
        }
    }
}

impl fmt::Display for Estimate {
    /// What bounds each operation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dispatch: {}; combine: {}", self.dispatch, self.combine)
    }
}

/// Expected bytes of all ranks, as [`Bytes::new`] counts those of choices.
fn bytes(workload: &Workload, load: &Load, moved: [&Moved; 2], slots: [f64; 2]) -> Bytes {
    let topology = workload.topology;
    let payload = payload_bytes(&workload.shape);
    let copies = if topology.nodes() == 1 { load.ranks } else { load.nodes };
    let op = |at: usize, row_bytes: u64| OpMoved {
        logical_bytes: f64::from(workload.tokens) * copies * row_bytes as f64,
        ib: between(workload, load, moved[at], slots[at], row_bytes),
        nvlink: within(topology, workload, load, moved[at], row_bytes),
    };
    Bytes { dispatch: op(0, payload.0), combine: op(1, payload.1) }
}

fn between(workload: &Workload, load: &Load, moved: &Moved, slot_bytes: f64, row_bytes: u64) -> PathMoved {
    let messages = f64::from(workload.topology.ranks()) * f64::from(workload.tokens) * load.away;
    PathMoved {
        bytes: (messages * slot_bytes).round() as u64,
        bytes_min: (messages * row_bytes as f64).round() as u64,
        busiest_bytes: moved.nic_out_bytes.max(moved.nic_in_bytes).round() as u64,
    }
}

fn within(topology: Topology, workload: &Workload, load: &Load, moved: &Moved, row_bytes: u64) -> PathMoved {
    let peers = f64::from(topology.gpus_per_node() - 1) / f64::from(topology.gpus_per_node());
    let rows = f64::from(topology.ranks()) * f64::from(workload.tokens) * load.ranks * peers;
    let busiest = moved.nvlink_out_bytes.max(moved.nvlink_in_bytes);
    // The busiest of even ranks has the mean.
    let of_row =
        busiest / (f64::from(workload.tokens) * load.ranks * peers * load.rank_most.max(load.relay_most)).max(1.0);
    PathMoved {
        bytes: (rows * of_row).round() as u64,
        bytes_min: (rows * row_bytes as f64).round() as u64,
        busiest_bytes: busiest.round() as u64,
    }
}
