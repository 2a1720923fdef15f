//! Dynamic roles against every fixed split of the workers, on recorded and drawn gates, on the emulator.
//!
//! Deterministic: no clock decides anything. docs/perf/roles.md has what it gave and what the figures mean.

#[path = "compare.rs"]
mod compare;
#[path = "options.rs"]
mod options;
#[path = "play.rs"]
mod play;
#[path = "split.rs"]
mod split;
#[path = "table.rs"]
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match run(&options::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roles: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &options::Options) -> Result<(), Box<dyn std::error::Error>> {
    let recorded = options.recorded()?;
    let mut all = Vec::new();
    for &topology in &options.worlds {
        for &workers in &options.workers {
            let setting = options.setting(topology, workers);
            let choices = options.choices(&setting, &recorded)?;
            let compared =
                compare::compare(&setting, &options.dynamic(workers), &choices, options.seeds, options.jobs)?;
            table::print(&setting, &compared);
            all.push(table::json(&setting, &compared));
        }
    }
    if let Some(path) = &options.json {
        let file = serde_json::json!({ "command": options::command(), "seeds": options.seeds, "settings": all });
        std::fs::write(path, format!("{file:#}\n"))?;
    }
    Ok(())
}
