//! What a demo reports: a table for people, one JSON object for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{json, Value};
use warpferry::gate::Load;
use warpferry::plan::{Op, Plan};
use warpferry::{Error, Result};

use crate::traffic::{Counted, Least, Slots};

/// Results of a demo.
#[derive(Debug, Clone)]
pub struct Report {
    /// Every bit of both operations equals the reference.
    pub verified: bool,
    /// What ran the kernels: `emu` or `cuda`.
    pub backend: &'static str,
    /// The device in words.
    pub device: String,
    /// Why this one.
    pub why: String,
    /// The driver compiled the kernels.
    pub jit: bool,
    /// The plan of rank 0.
    pub plan: Plan,
    /// Where the expert choices come from.
    pub routing: String,
    /// How far tokens go, and how even the load is.
    pub load: Load,
    /// Tokens of a rank.
    pub tokens: u32,
    /// Roles as typed.
    pub roles: String,
    /// NICs may place writes out of order; the emulator's.
    pub unordered: Option<bool>,
    /// The emulator's checks are on.
    pub checks: Option<bool>,
    /// The emulator checked every access for data races.
    pub races_checked: Option<bool>,
    /// Seed given.
    pub seed: Option<u64>,
    /// Seed of the emulator's schedule; none is round robin.
    pub schedule_seed: Option<u64>,
    /// Device memory of all ranks: windows, state, queues and handles.
    pub memory_bytes: u64,
    /// Memory of the whole demo at its peak, as estimated before it was taken.
    pub memory_total_bytes: u64,
    /// Biases that combine added.
    pub biases: u32,
    /// Rows that each rank had room for, where it did not wait for their number.
    pub bound: Option<usize>,
    /// Micro-batches whose handles were alive at once.
    pub in_flight: u32,
    /// Whether each handle was used once more.
    pub cached: bool,
    /// Replays of a graph of the first turn, each equal to it.
    pub graph_replays: Option<u32>,
    /// Least possible traffic of either operation.
    pub least: Least,
    /// Rows that dispatch delivered.
    pub rows: u64,
    /// Dispatch.
    pub dispatch: OpReport,
    /// Combine.
    pub combine: OpReport,
}

/// One operation of all ranks.
#[derive(Debug, Clone, Copy)]
pub struct OpReport {
    /// Slots moved.
    pub slots: Slots,
    /// Counters.
    pub counted: Counted,
    /// Wall time, with copies of inputs and outputs.
    pub seconds: f64,
}

impl OpReport {
    /// Takes apart what was counted.
    ///
    /// # Errors
    /// [`Error::Bug`] when the bytes are no whole number of slots.
    pub fn new(op: Op, plan: &Plan, counted: Counted, time: Duration) -> Result<OpReport> {
        let slots = Slots::new(op, plan, &counted).map_err(Error::Bug)?;
        Ok(OpReport { slots, counted, seconds: time.as_secs_f64() })
    }
}

impl Report {
    /// Bytes of a row there and back.
    fn row_bytes(&self) -> [u64; 2] {
        [self.plan.shape.dispatch_row_bytes(), self.plan.shape.combine_row_bytes()].map(u64::from)
    }

    fn seconds(&self) -> f64 {
        self.dispatch.seconds + self.combine.seconds
    }

    fn warp_instructions(&self) -> Option<u64> {
        let both = self.dispatch.counted.warp_instructions.zip(self.combine.counted.warp_instructions);
        both.map(|(dispatch, combine)| dispatch + combine)
    }

    /// What the seconds are.
    fn times(&self) -> &'static str {
        match self.backend {
            "emu" => "wall time of the emulator, copies of inputs and outputs included",
            _ => {
                "wall time on the host of one call of all ranks, copies of inputs and outputs included: not the time of \
                 a kernel (`device` bench)"
            }
        }
    }

    fn op_json(&self, op: &OpReport, row_bytes: u64) -> Value {
        json!({
            "ib_bytes": op.slots.between.map(|slots| slots * row_bytes),
            "ib_bytes_min": self.least.between * row_bytes,
            "ib_slots": op.slots.between,
            "ib_slot_bytes": op.counted.payload.write_bytes,
            "ib_writes": op.counted.payload.writes,
            "ib_signals": op.counted.payload.atomics,
            "ib_doorbells": op.counted.payload.doorbells,
            "ib_control_bytes": op.counted.control.write_bytes,
            "ib_control_atomics": op.counted.control.atomics,
            "nvlink_bytes": op.slots.within.map(|slots| slots * row_bytes),
            "nvlink_bytes_min": self.least.within * row_bytes,
            "nvlink_slots": op.slots.within,
            "nvlink_slot_bytes": op.slots.within.and(op.counted.peer_bytes),
            "peer_bytes": op.counted.peer_bytes,
            "warp_instructions": op.counted.warp_instructions,
            "seconds": op.seconds,
        })
    }

    fn load_json(&self) -> Value {
        json!({
            "nodes_per_token": self.load.nodes_per_token,
            "nodes_per_token_most": self.load.nodes_most,
            "ranks_per_token": self.load.ranks_per_token,
            "rank_skew": self.load.rank_skew,
            "expert_skew": self.load.expert_skew,
            "link_skew": self.load.link_skew,
        })
    }

    /// One object. `ib_*` and `nvlink_*` at its top are those of dispatch; each operation has its own below. What nobody
    /// counted is null: only the emulator counts within a node, and no one tells near from far with fabric loopback.
    pub fn to_json(&self) -> Value {
        let (topology, shape, tuning) = (self.plan.topology, &self.plan.shape, &self.plan.tuning);
        let [there, back] = self.row_bytes();
        let dispatch = self.op_json(&self.dispatch, there);
        let mut value = json!({
            "verified": self.verified,
            "backend": self.backend,
            "device": self.device,
            "backend_why": self.why,
            "jit": self.jit,
            "fabric": self.plan.fabric.name(),
            "times": self.times(),
            "nodes": topology.nodes(),
            "gpus_per_node": topology.gpus_per_node(),
            "ranks": topology.ranks(),
            "tokens": self.tokens,
            "hidden": shape.hidden(),
            "experts": shape.experts(),
            "topk": shape.topk(),
            "routing": self.routing,
            "load": self.load_json(),
            "seed": self.seed,
            "schedule_seed": self.schedule_seed,
            "channels": tuning.channels,
            "sms": self.plan.dispatch.sms,
            "chunk_ib": tuning.chunk_ib,
            "chunk_nv": tuning.chunk_nv,
            "depth_ib": tuning.depth_ib,
            "depth_nv": tuning.depth_nv,
            "workers": tuning.workers,
            "roles": self.roles,
            "unordered": self.unordered,
            "checks": self.checks,
            "races_checked": self.races_checked,
            "memory_bytes": self.memory_bytes,
            "memory_total_bytes": self.memory_total_bytes,
            "rows_dispatched": self.rows,
            "ib_bytes": dispatch["ib_bytes"],
            "ib_bytes_min": dispatch["ib_bytes_min"],
            "nvlink_bytes": dispatch["nvlink_bytes"],
            "nvlink_bytes_min": dispatch["nvlink_bytes_min"],
            "warp_instructions": self.warp_instructions(),
            "seconds": self.seconds(),
            "dispatch": dispatch,
            "combine": self.op_json(&self.combine, back),
        });
        // What is moved. `json!` takes no longer list.
        value["payload"] = shape.payload().to_string().into();
        value["sum"] = shape.sum().to_string().into();
        value["layout"] = shape.layout().to_string().into();
        value["align"] = shape.layout().expert_align().into();
        value["biases"] = self.biases.into();
        value["bound"] = self.bound.into();
        value["in_flight"] = self.in_flight.into();
        value["cached"] = self.cached.into();
        value["graph_replays"] = self.graph_replays.into();
        value
    }
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A cell of what was counted.
fn counted(number: Option<u64>, text: impl Fn(u64) -> String) -> String {
    number.map_or_else(|| "not counted".to_string(), text)
}

/// Payload against the least possible.
fn against(have: u64, least: u64) -> String {
    let mib = have as f64 / f64::from(1 << 20);
    match least {
        _ if have == least => format!("{mib:.2} MiB, the least"),
        0 => format!("{mib:.2} MiB, least 0"),
        _ => format!("{mib:.2} MiB, {:.2} x least", have as f64 / least as f64),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops = [&self.dispatch, &self.combine];
        let mut line = |name: &str, cell: &dyn Fn(&OpReport) -> String| {
            writeln!(f, "{name:<30}{:>26}{:>26}", cell(ops[0]), cell(ops[1]))
        };
        let [there, back] = self.row_bytes();
        let bytes = |op: &OpReport| if std::ptr::eq(op, ops[0]) { there } else { back };
        line("", &|op| if std::ptr::eq(op, ops[0]) { "dispatch" } else { "combine" }.to_string())?;
        line("rows", &|_| grouped(self.rows))?;
        if ops[0].slots.between.is_some() {
            line("IB payload", &|op| {
                counted(op.slots.between, |n| against(n * bytes(op), self.least.between * bytes(op)))
            })?;
            line("  slots", &|op| counted(op.slots.between, grouped))?;
            line("  bytes with headers", &|op| grouped(op.counted.payload.write_bytes))?;
            line("  writes", &|op| grouped(op.counted.payload.writes))?;
            line("  signals", &|op| grouped(op.counted.payload.atomics))?;
            line("  doorbells", &|op| grouped(op.counted.payload.doorbells))?;
            line("  credits, stamps", &|op| grouped(op.counted.control.atomics))?;
            line("  bytes of counts", &|op| grouped(op.counted.control.write_bytes))?;
        }
        if ops[0].slots.within.is_some() {
            line("NVLink payload", &|op| {
                counted(op.slots.within, |n| against(n * bytes(op), self.least.within * bytes(op)))
            })?;
            line("  slots", &|op| counted(op.slots.within, grouped))?;
            line("  bytes with headers", &|op| counted(op.counted.peer_bytes, grouped))?;
        } else if ops[0].counted.peer_bytes.is_some() {
            line("bytes to other GPUs", &|op| counted(op.counted.peer_bytes, grouped))?;
        }
        if ops[0].counted.warp_instructions.is_some() {
            line("warp instructions", &|op| counted(op.counted.warp_instructions, grouped))?;
        }
        line("seconds", &|op| format!("{:.*}", if self.warp_instructions().is_some() { 2 } else { 4 }, op.seconds))?;
        writeln!(f)?;
        match self.warp_instructions() {
            Some(instructions) => {
                let speed = instructions as f64 / self.seconds().max(1e-9) / 1e6;
                writeln!(f, "emulator {speed:.1} million warp instructions a second")?;
            }
            None => writeln!(f, "seconds: {}", self.times())?,
        }
        if self.verified {
            let races = if self.races_checked == Some(true) { "; every access was checked for data races" } else { "" };
            let replays =
                self.graph_replays.map(|count| format!("; {count} replays of a graph too")).unwrap_or_default();
            write!(f, "verified: dispatch and combine equal the reference, bit for bit{replays}{races}")
        } else {
            write!(f, "NOT verified: results differ from the reference")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_digits() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1000, 1_234_567].map(grouped)[..]);
    }

    #[test]
    fn says_when_it_is_the_least() {
        assert_eq!(against(1 << 20, 1 << 20), "1.00 MiB, the least");
        assert_eq!(against(3 << 20, 2 << 20), "3.00 MiB, 1.50 x least");
        assert_eq!(against(0, 0), "0.00 MiB, the least");
    }
}
