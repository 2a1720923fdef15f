//! Results: a table for people, JSON for machines.

use serde_json::{json, Value};

use crate::compare::{Compared, Row};
use crate::play::{Setting, Took};

const OPS: [&str; 2] = ["dispatch", "combine"];

/// Dynamic over fixed.
fn ratio(dynamic: u64, fixed: u64) -> f64 {
    dynamic as f64 / fixed as f64
}

/// Part of the workers' time that was idle.
fn idle(took: &Took) -> f64 {
    took.idle as f64 / took.resident as f64
}

/// A table an operation.
pub fn print(setting: &Setting, rows: &[Row]) {
    let (topology, workers) = (setting.topology, setting.workers);
    for (op, name) in OPS.iter().enumerate() {
        println!();
        let world = format!("{} x {}", topology.nodes(), topology.gpus_per_node());
        println!("{name}, {world}, {} tokens a rank, {workers} workers", setting.tokens);
        println!();
        println!("| gate | busiest rank | dynamic, rounds | best fixed | over it | one split for all | over it | idle, dynamic | idle, best | instructions over best |");
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for row in rows {
            let Compared { dynamic, best, single } = row.ops[op];
            println!(
                "| {} | {:.2} | {} | {} | {:.2} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
                row.gate,
                row.rank_skew,
                dynamic.makespan / 1_000_000,
                best.0,
                ratio(dynamic.makespan, best.1.makespan),
                single.0,
                ratio(dynamic.makespan, single.1.makespan),
                idle(&dynamic),
                idle(&best.1),
                ratio(dynamic.warp_instructions, best.1.warp_instructions),
            );
        }
    }
}

/// All figures of a setting.
pub fn json(setting: &Setting, rows: &[Row]) -> Value {
    let took = |took: &Took| {
        json!({
            "makespan_ticks": took.makespan,
            "worker_ticks": took.resident,
            "idle_ticks": took.idle,
            "warp_instructions": took.warp_instructions,
        })
    };
    let op = |compared: &Compared| {
        json!({
            "dynamic": took(&compared.dynamic),
            "best": { "split": compared.best.0.to_string(), "took": took(&compared.best.1) },
            "single": { "split": compared.single.0.to_string(), "took": took(&compared.single.1) },
        })
    };
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| json!({ "gate": row.gate, "rank_skew": row.rank_skew, "dispatch": op(&row.ops[0]), "combine": op(&row.ops[1]) }))
        .collect();
    json!({
        "nodes": setting.topology.nodes(),
        "gpus_per_node": setting.topology.gpus_per_node(),
        "tokens": setting.tokens,
        "workers": setting.workers,
        "gates": rows,
    })
}
