//! The coarse model beside the emulator's clock: reads records that `warpferry bench --machine ... --out FILE.json` wrote, says
//! for each how far the coarse model is from it, and at the end the median and the 90th percentile. `scripts/analytic.sh` makes
//! the records and calls this; `docs/perf/analytic.md` is what came out.
//!
//! `cargo bench --bench analytic -- FILE...`, with `--terms` for the breakdown of each time.

use warpferry::bench::{Record, Source, Workload};
use warpferry::gate::Gate;
use warpferry::machine::Machine;
use warpferry::model::analytic::Estimate;
use warpferry::plan::{Fp8, Payload, Plan, ScaleKind};
use warpferry::{Error, Fabric, Result, Shape, Topology};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let tells_terms = arguments.iter().any(|word| word == "--terms");
    let mut errors = [Vec::new(), Vec::new()];
    println!("| machine | world | tokens | rows | SMs, channels | other | dispatch, us | coarse | ratio | combine, us | coarse | ratio |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for file in arguments.iter().filter(|word| !word.starts_with("--")) {
        let record = read(file)?;
        let estimate = estimate(&record)?;
        let times = [
            (record.figures.dispatch_kernel_us.unwrap_or_default(), estimate.dispatch.us()),
            (record.figures.combine_us, estimate.combine.us()),
        ];
        let cells = times.map(|(run, coarse)| format!("{run:.0} | {coarse:.0} | {:.2}", coarse / run));
        println!("| {} | {} | {} |", what(&record), cells[0], cells[1]);
        if tells_terms {
            println!("    {estimate}");
        }
        for (errors, (run, coarse)) in errors.iter_mut().zip(times) {
            errors.push((coarse / run - 1.0).abs());
        }
    }
    for (name, errors) in ["dispatch", "combine"].into_iter().zip(&mut errors) {
        errors.sort_by(f64::total_cmp);
        let at = |part: f64| errors.get((part * errors.len() as f64) as usize).map_or(0.0, |error| 100.0 * error);
        println!("\n{name}: median {:.0} %, 90th percentile {:.0} %, of {} worlds", at(0.5), at(0.9), errors.len());
    }
    Ok(())
}

fn read(file: &str) -> Result<Record> {
    let wrong = |message: String| Error::File { path: file.to_string(), message };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("no record: {error}")))
}

/// The columns that say what ran.
fn what(record: &Record) -> String {
    let (workload, setting) = (&record.workload.class, &record.setting.tuning);
    let rows = if workload.payload.starts_with("bf16") { "bf16" } else { "fp8" };
    format!(
        "{} | {} x {} | {} | {rows} | {}, {} | chunks {}, {}; rings {}, {}; {} workers; {} | ",
        record.place.machine.as_deref().unwrap_or("none"),
        workload.nodes,
        workload.gpus_per_node,
        workload.tokens,
        setting.dispatch_sms,
        setting.channels,
        setting.chunk_ib,
        setting.chunk_nv,
        setting.depth_ib,
        setting.depth_nv,
        setting.workers,
        setting.landing.split(':').next().unwrap_or_default(),
    )
    .trim_end_matches(" | ")
    .to_string()
}

/// The coarse model of what a record is of.
fn estimate(record: &Record) -> Result<Estimate> {
    let key = &record.workload.class;
    let topology = Topology::new(key.nodes, key.gpus_per_node)?;
    let payloads = [Payload::Bf16, Payload::Fp8(Fp8::E4m3, ScaleKind::F32)];
    let payload = payloads.into_iter().find(|payload| payload.to_string() == key.payload);
    let payload = payload.ok_or_else(|| Error::argument("payload", &key.payload, "bf16 or fp8-e4m3"))?;
    let shape = Shape::new(key.hidden, key.experts, key.topk, key.tokens)?.with_payload(payload)?;
    let gate: Gate = key.gate.parse().map_err(|why: String| Error::argument("gate", &key.gate, why))?;
    let seed = record.workload.seed;
    let workload = Workload { topology, shape, tokens: key.tokens, source: Source::Drawn(gate), seed };
    let tuning = record.setting.tuning.tuning()?;
    let plan = Plan::new(topology, shape, tuning, Fabric::Mlx5)?;
    let machine = Machine::find(record.place.machine.as_deref().unwrap_or("none"))?;
    Estimate::new(&machine, &workload, &plan)
}
