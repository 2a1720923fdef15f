//! What a soak has covered: counts by dimension, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use crate::case::{Carried, Case, Link, Numbers, Ordered, Pattern, Warps};
use crate::play::Cost;
use crate::trouble::Suffered;

/// Counts of cases that were played.
#[derive(Debug, Default)]
pub struct Tally {
    runs: u64,
    calls: u64,
    warp_instructions: u64,
    /// By dimension and value.
    counts: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Tally {
    /// Counts a case and how it suffered, if something went wrong in it on purpose and it was played to its end.
    pub fn count(&mut self, case: &Case, cost: Cost, suffered: Option<&Suffered>) {
        self.runs += 1;
        self.calls += u64::from(case.calls);
        self.warp_instructions += cost.warp_instructions;
        for (dimension, value) in dimensions(case) {
            self.add(dimension, value);
        }
        match (case.trouble, suffered) {
            (Some(trouble), Some(suffered)) => {
                let outcome = match suffered.noticed.iter().min() {
                    _ if !suffered.happened => "missed".to_string(),
                    None => "nobody needed it".to_string(),
                    Some(first) => format!("ends in {first}"),
                };
                self.add("trouble", trouble.kind().to_string());
                self.add("outcome of trouble", format!("{}: {outcome}", trouble.kind()));
            }
            (Some(trouble), None) => {
                self.add("trouble", trouble.kind().to_string());
                self.add("outcome of trouble", format!("{}: found", trouble.kind()));
            }
            (None, _) => self.add("trouble", "none".to_string()),
        }
    }

    fn add(&mut self, dimension: &'static str, value: String) {
        *self.counts.entry(dimension).or_default().entry(value).or_default() += 1;
    }

    /// Cases so far.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Cases with this value of a dimension.
    pub fn of(&self, dimension: &str, value: &str) -> u64 {
        self.counts.get(dimension).and_then(|values| values.get(value)).copied().unwrap_or(0)
    }

    /// Everything, for a program to read.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "runs": self.runs,
            "calls": self.calls,
            "warp_instructions": self.warp_instructions,
            "counts": self.counts,
        })
    }
}

/// What a case is counted by.
fn dimensions(case: &Case) -> Vec<(&'static str, String)> {
    let both = |ib: u32, nv: u32| format!("{ib}/{nv}");
    let list = |words: &[String]| words.join("-");
    vec![
        ("world", format!("{}x{}", case.nodes, case.gpus)),
        (
            "fabric",
            match case.fabric {
                Link::Mlx5 if case.nodes > 1 => "mlx5".to_string(),
                Link::Mlx5 => "mlx5, one node".to_string(),
                Link::Loopback => "loopback".to_string(),
            },
        ),
        ("calls", case.calls.to_string()),
        ("hidden", bucket(case.hidden, &[8, 16, 32, 64, 256, 1024])),
        (
            "payload",
            match case.payload {
                Carried::Bytes(_) => "bytes".to_string(),
                Carried::Fp8(..) => "fp8".to_string(),
                Carried::Quantize(..) => "quantized".to_string(),
                other => other.payload().to_string(),
            },
        ),
        ("sum", case.sum.sum().to_string()),
        ("rows", if case.layout == Ordered::Source { "by source" } else { "by expert" }.to_string()),
        ("bounds", yes(case.bound.iter().any(Option::is_some))),
        ("landing", yes(case.landing > 0)),
        ("along a handle", yes(case.rounds_along() > 0)),
        ("sums of weights", yes(case.weights_back)),
        ("biases", yes(case.biases.iter().any(|&biases| biases > 0))),
        ("top-k", bucket(case.topk, &[1, 2, 4, 8, 16, 32])),
        ("experts a rank", bucket(case.experts_per_rank, &[1, 2, 5, 32, 256])),
        ("most tokens", bucket(case.tokens.iter().copied().max().unwrap_or(0), &[0, 1, 4, 10, 40])),
        ("ranks without tokens", yes(case.tokens.contains(&0))),
        (
            "routing",
            match case.pattern {
                Pattern::Uniform { .. } => "uniform",
                Pattern::Skewed => "skewed",
                Pattern::OneExpert { .. } => "one expert",
                Pattern::Everywhere => "everywhere",
                Pattern::Nowhere => "nowhere",
                Pattern::Sample => "recorded",
            }
            .to_string(),
        ),
        (
            "numbers",
            match case.numbers {
                Numbers::Usual => "usual".to_string(),
                Numbers::Any => "any bits".to_string(),
            },
        ),
        ("weights", if case.weights.contains(&false) { "of some or none" } else { "of all" }.to_string()),
        ("channels", case.channels.to_string()),
        ("SMs", if case.sms.iter().any(|sms| *sms != case.sms[0]) { "differ by rank" } else { "same" }.to_string()),
        ("workers", bucket(case.workers, &[1, 2, 4, 8, 15])),
        (
            "roles",
            match &case.roles {
                Warps::Dynamic => "dynamic".to_string(),
                Warps::Fixed => "fixed".to_string(),
                Warps::Custom(words) => list(words),
            },
        ),
        ("depth IB/NVLink", both(case.depth_ib, case.depth_nv)),
        ("chunk IB", case.chunk_ib.to_string()),
        ("chunk NVLink", case.chunk_nv.to_string()),
        ("stage", format!("{} B", case.stage_bytes)),
        ("resident CTAs", case.resident_ctas.map_or("all that fit".to_string(), |ctas| ctas.to_string())),
        ("NIC places writes", if case.unordered { "in any order" } else { "in order" }.to_string()),
        ("NIC piece", format!("{} B", case.piece_bytes)),
        ("NIC outstanding", bucket(case.outstanding, &[1, 4, 16])),
        ("NIC retransmits", yes(case.retransmit)),
        ("NIC completes late", yes(case.late_completions)),
        ("NIC looks on its own", yes(case.read_before_post)),
        (
            "schedule",
            match (case.schedule, case.pct) {
                (None, _) => "round robin".to_string(),
                (Some(_), None) => "random".to_string(),
                (Some(_), Some(depth)) => format!("PCT of depth {depth}"),
            },
        ),
        ("PCT", yes(case.schedule.is_some() && case.pct.is_some())),
        ("weak memory", yes(case.weak)),
        ("race check", yes(case.races)),
    ]
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_string()
}

/// The first bound that `value` does not exceed.
fn bucket(value: u32, bounds: &[u32]) -> String {
    let mut low = 0;
    for &bound in bounds {
        if value <= bound {
            return if low >= bound { bound.to_string() } else { format!("{low}-{bound}") };
        }
        low = bound + 1;
    }
    format!("above {}", low - 1)
}

impl fmt::Display for Tally {
    /// A table in Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| dimension | cases |")?;
        writeln!(f, "| --- | --- |")?;
        writeln!(
            f,
            "| all | {} cases, {} calls, {} warp instructions |",
            self.runs, self.calls, self.warp_instructions
        )?;
        for (dimension, values) in &self.counts {
            let values: Vec<String> = values.iter().map(|(value, count)| format!("{value}: {count}")).collect();
            writeln!(f, "| {dimension} | {} |", values.join(", "))?;
        }
        Ok(())
    }
}
