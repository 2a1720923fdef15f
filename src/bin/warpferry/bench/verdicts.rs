//! A comparison for people and for programs.

use serde_json::{json, Value};
use warpferry::bench::compare::{Pair, Ratio};

use super::table::aligned;

/// A line for each operation of each pair.
pub fn table(pairs: &[Pair]) -> String {
    let head = ["workload", "op", "old us", "new us", "new/old", "95 % interval", "verdict"];
    let mut rows = vec![head.map(str::to_string).to_vec()];
    for pair in pairs {
        for (op, ratio) in [("dispatch", &pair.dispatch), ("combine", &pair.combine)] {
            rows.push(vec![
                named(pair),
                op.to_string(),
                format!("{:.1}", ratio.old_us),
                format!("{:.1}", ratio.new_us),
                format!("{:.3}", ratio.ratio),
                format!("{:.3} to {:.3}", ratio.interval.0, ratio.interval.1),
                ratio.verdict.to_string(),
            ]);
        }
    }
    let differing = pairs.iter().filter(|pair| !pair.differences.is_empty());
    let notes = differing.map(|pair| format!("\n{}: {}", named(pair), pair.differences.join(", ")));
    aligned(&rows) + &notes.collect::<String>()
}

fn named(pair: &Pair) -> String {
    let (workload, setting) = (&pair.workload.class, &pair.setting.tuning);
    format!(
        "{} x {}, {} tokens, {}, {} SMs",
        workload.nodes, workload.gpus_per_node, workload.tokens, workload.gate, setting.dispatch_sms
    )
}

/// A list of pairs.
pub fn json(pairs: &[Pair]) -> Value {
    let ratio = |ratio: &Ratio| {
        json!({
            "old_us": ratio.old_us,
            "new_us": ratio.new_us,
            "ratio": ratio.ratio,
            "interval": [ratio.interval.0, ratio.interval.1],
            "verdict": ratio.verdict.to_string(),
        })
    };
    let pair = |pair: &Pair| {
        json!({
            "workload": pair.workload,
            "setting": pair.setting,
            "differences": pair.differences,
            "dispatch": ratio(&pair.dispatch),
            "combine": ratio(&pair.combine),
        })
    };
    pairs.iter().map(pair).collect()
}
