//! What a demo reports: a table for people, one JSON object for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{json, Value};
use warpferry::bench::traffic::{Counted, Landed, Least, Slots};
use warpferry::gate::{Cost, Gate, Load, OpCost, PathCost, Share};
use warpferry::plan::{Op, Plan};
use warpferry::{Error, LoadStatistics, Result};

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
    /// Messages and bytes that the choices lead to, of one turn.
    pub cost: Cost,
    /// What a node limit leaves of the traffic of the gate without one.
    pub saving: Option<(Gate, Share)>,
    /// What each rank counted on its device, over all turns.
    pub measured: Vec<LoadStatistics>,
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
    /// Outputs that rows landed in by themselves.
    pub landed: Landed,
    /// The same dispatch through rings, where rows landed.
    pub staged: Option<OpReport>,
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
    pub fn new(op: Op, plan: &Plan, counted: Counted, time: Duration, landed: Landed) -> Result<OpReport> {
        let slots = Slots::new(op, plan, &counted, landed).map_err(Error::Bug)?;
        Ok(OpReport { slots, counted, seconds: time.as_secs_f64() })
    }
}

impl Report {
    /// Bytes of a row there and back.
    fn row_bytes(&self) -> [u64; 2] {
        [self.plan.shape.dispatch_row_bytes(), self.plan.shape.combine_row_bytes()].map(u64::from)
    }

    /// Share of a token that was dispatched.
    fn per_token(&self, number: Option<u64>) -> Option<f64> {
        let turns = u64::from(self.in_flight) * if self.cached { 2 } else { 1 };
        let tokens = u64::from(self.tokens) * u64::from(self.plan.topology.ranks()) * turns;
        number.map(|number| number as f64 / tokens.max(1) as f64)
    }

    /// What dispatch cost a token with rows that landed, and with rings.
    fn landing_text(&self, staged: &OpReport) -> String {
        let cost = |op: &OpReport| (op.counted.warp_instructions, op.counted.written_bytes);
        let ((instructions, bytes), (instructions_staged, bytes_staged)) = (cost(&self.dispatch), cost(staged));
        let line = |name: &str, direct: Option<u64>, staged: Option<u64>| match (
            self.per_token(direct),
            self.per_token(staged),
        ) {
            (Some(direct), Some(staged)) => {
                format!("\n  {name:<28}{direct:>14.1}{staged:>14.1}{:>10.2} x", direct / staged)
            }
            _ => format!("\n  {name:<28}{:>14}", "not counted"),
        };
        let head = format!("a token's dispatch{:>26}{:>14}", "direct", "staged");
        let written = line("bytes written by SMs", bytes, bytes_staged);
        head + &line("SM (warp) instructions", instructions, instructions_staged) + &written
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
            "warp_instructions_per_token": self.per_token(op.counted.warp_instructions),
            "written_bytes": op.counted.written_bytes,
            "written_bytes_per_token": self.per_token(op.counted.written_bytes),
            "seconds": op.seconds,
        })
    }

    /// How rows landed; beside it what dispatch costs a token through rings.
    fn landing_json(&self) -> Value {
        let staged = self.staged.as_ref();
        json!({
            "mode": if self.plan.landing().rows() > 0 { "direct" } else { "staged" },
            "zone_rows": self.plan.landing().rows(),
            "outputs": self.landed.of,
            "outputs_landed": self.landed.outputs,
            "staged_warp_instructions_per_token": staged.and_then(|op| self.per_token(op.counted.warp_instructions)),
            "staged_written_bytes_per_token": staged.and_then(|op| self.per_token(op.counted.written_bytes)),
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

    /// Experts and ranks as the devices counted them.
    fn measured_json(&self) -> Value {
        let own = |rank: &LoadStatistics| rank.received_rows.iter().sum::<u64>();
        json!({
            "calls": self.measured.first().map(|rank| rank.calls),
            "expert_pairs": self.measured.iter().flat_map(|rank| &rank.received_pairs).collect::<Vec<_>>(),
            "rank_rows": self.measured.iter().map(own).collect::<Vec<u64>>(),
            "rows_sent": self.measured.iter().map(|rank| &rank.sent_rows).collect::<Vec<_>>(),
        })
    }

    fn cost_json(&self) -> Value {
        let path = |path: &PathCost| {
            let (rank, most_bytes) = path.most();
            json!({
                "message_bytes": path.message_bytes,
                "messages": path.messages(),
                "bytes": path.bytes(),
                "most_rank": rank,
                "most_bytes": most_bytes,
                "link": path.busiest.map(|link| [link.from, link.to]),
                "link_bytes": path.link_bytes(),
                "sent": path.sent,
                "received": path.received,
            })
        };
        let op = |op: &OpCost| json!({ "between": path(&op.between), "within": path(&op.within) });
        let saving = self.saving.map(|(gate, share)| {
            json!({
                "gate": gate.to_string(),
                "between": share.between,
                "between_most": share.between_most,
                "link_most": share.link_most,
                "within": share.within,
                "within_most": share.within_most,
            })
        });
        json!({ "dispatch": op(&self.cost.dispatch), "combine": op(&self.cost.combine), "share_of_unlimited": saving })
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
        value["landing"] = self.landing_json();
        value["cost"] = self.cost_json();
        value["load_measured"] = self.measured_json();
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

/// Load of experts and ranks as the devices counted it.
fn measured(ranks: &[LoadStatistics]) -> String {
    let experts: Vec<u64> = ranks.iter().flat_map(|rank| rank.received_pairs.iter().copied()).collect();
    let rows: Vec<u64> = ranks.iter().map(|rank| rank.received_rows.iter().sum()).collect();
    let busiest = |counts: &[u64], unit: &str| {
        let at = (0..counts.len()).min_by_key(|&at| (std::cmp::Reverse(counts[at]), at)).unwrap_or_default();
        let mean = counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
        format!("{at} got {} {unit}, the mean is {mean:.1}", counts.get(at).copied().map_or_else(String::new, grouped))
    };
    let calls = ranks.first().map_or(0, |rank| rank.calls);
    format!(
        "expert {}; rank {}; of {calls} dispatch{}",
        busiest(&experts, "pairs"),
        busiest(&rows, "rows"),
        if calls == 1 { "" } else { "es" }
    )
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
            let a_token = |number| self.per_token(number).map_or_else(String::new, |number| format!("{number:.1}"));
            line("warp instructions", &|op| counted(op.counted.warp_instructions, grouped))?;
            line("  a token", &|op| a_token(op.counted.warp_instructions))?;
            line("bytes written by SMs", &|op| counted(op.counted.written_bytes, grouped))?;
            line("  a token", &|op| a_token(op.counted.written_bytes))?;
        }
        line("seconds", &|op| format!("{:.*}", if self.warp_instructions().is_some() { 2 } else { 4 }, op.seconds))?;
        writeln!(f)?;
        writeln!(f, "load on the device: {}", measured(&self.measured))?;
        if self.plan.landing().rows() > 0 {
            let Landed { outputs, of } = self.landed;
            let rest = if outputs < of { "; the others had no room in the zone" } else { "" };
            writeln!(f, "rows landed by themselves in {outputs} of {of} outputs{rest}")?;
        }
        if let Some(staged) = &self.staged {
            writeln!(f, "{}", self.landing_text(staged))?;
        }
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
    fn names_the_busiest() {
        let rank = |received_pairs, received_rows| LoadStatistics {
            calls: 2,
            received_pairs,
            received_rows,
            ..LoadStatistics::default()
        };
        let said = measured(&[rank(vec![1, 5], vec![1, 2]), rank(vec![5, 1], vec![2000, 0])]);
        let want = "expert 1 got 5 pairs, the mean is 3.0; rank 1 got 2,000 rows, the mean is 1001.5; of 2 dispatches";
        assert_eq!(said, want);
    }

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
