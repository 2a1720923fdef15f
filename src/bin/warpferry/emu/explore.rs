//! `emu run --explore`: every order and value that weak memory allows, one run each, and what the buffers hold then.

use serde_json::{json, Value};
use warpferry_emu::{Exploration, MachineConfig};

use super::run::{config, execute, save, Failure, RunOptions};
use crate::output::say;

/// Bytes of a buffer that are printed.
const PRINTED: usize = 32;

/// What the buffers to be dumped hold after some of the runs.
struct Shown {
    buffers: Vec<Vec<u8>>,
    runs: u64,
}

/// Runs until every sequence of choices was made, or so many times; stops at the first run that fails.
pub fn explore(options: &RunOptions, runs_max: u64) -> Result<(), Failure> {
    let mut exploration = Exploration::new(runs_max).deviations(options.deviations.unwrap_or(usize::MAX));
    let mut results: Vec<Shown> = Vec::new();
    while let Some(schedule) = exploration.schedule() {
        let done = execute(options, MachineConfig { schedule, ..config(options) })?;
        exploration.ran(&done.machine);
        match results.iter_mut().find(|result| result.buffers == done.dumped) {
            Some(result) => result.runs += 1,
            None => results.push(Shown { buffers: done.dumped, runs: 1 }),
        }
    }
    for (number, result) in results.iter().enumerate() {
        for (dump, contents) in options.dumps.iter().zip(&result.buffers) {
            let mut file = dump.file.clone().into_os_string();
            file.push(format!(".{number}"));
            save(file.as_ref(), contents)?;
        }
    }
    let all = exploration.is_finished() && options.deviations.is_none();
    match options.json {
        true => say(json(options, &exploration, &results, all)),
        false => print(options, &exploration, &results, all),
    }
    Ok(())
}

fn print(options: &RunOptions, exploration: &Exploration, results: &[Shown], all: bool) {
    let left = match (all, exploration.is_finished()) {
        (true, _) => "these are all".to_string(),
        (false, true) => format!("all with at most {} choices that are not plain", options.deviations.unwrap_or(0)),
        (false, false) => "more are left".to_string(),
    };
    say(format_args!("{} runs, {left}; different results: {}", exploration.runs(), results.len()));
    for (number, result) in results.iter().enumerate() {
        say(format_args!("result {number}: {} runs", result.runs));
        for (dump, contents) in options.dumps.iter().zip(&result.buffers) {
            say(format_args!("  argument {}: {}", dump.index, hex(contents)));
        }
    }
}

fn json(options: &RunOptions, exploration: &Exploration, results: &[Shown], all: bool) -> Value {
    let result = |result: &Shown| {
        let buffers = options.dumps.iter().zip(&result.buffers);
        let buffers: Vec<Value> =
            buffers.map(|(dump, contents)| json!({ "argument": dump.index, "bytes": hex(contents) })).collect();
        json!({ "runs": result.runs, "buffers": buffers })
    };
    json!({
        "status": "ok",
        "runs": exploration.runs(),
        "all": all,
        "finished": exploration.is_finished(),
        "results": results.iter().map(result).collect::<Vec<_>>(),
    })
}

/// Bytes in words of four, as they lie in memory; the first ones of many.
fn hex(contents: &[u8]) -> String {
    let shown = &contents[..contents.len().min(PRINTED)];
    let words = shown.chunks(4).map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let mut text = words.collect::<Vec<_>>().join(" ");
    if contents.len() > PRINTED {
        text.push_str(&format!(" .. ({} bytes)", contents.len()));
    }
    text
}
