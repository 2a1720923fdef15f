//! Points that others published, and what the models of machines say of the same: every error, and by group the median and
//! the 90th percentile.
//!
//! Nothing here runs on a GPU: the kernels run on the emulator with a clock, see `docs/perf/calibration.md`.

#[path = "options.rs"]
mod options;
#[path = "suite.rs"]
#[allow(dead_code)] // what only the test needs
mod suite;

use std::process::ExitCode;

use clap::Parser;

use options::Options;
use suite::operations::prepare;
use suite::{measure, report, Failure, Models, Point, POINTS};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("calibration: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let mut models = Models::new(options.machine_files.clone(), options.set.clone()).effort(options.effort);
    let mut results = Vec::new();
    let points: Vec<&Point> = POINTS.iter().copied().flatten().filter(|point| options.wants(point)).collect();
    prepare(&points, &mut models)?;
    for point in points {
        let result = measure(point, &mut models)?;
        println!("{}", report::line(&result));
        results.push(result);
    }
    println!("{}", report::summary(&results));
    let shapes = if options.shapes { suite::shapes::tables(&mut models)? } else { String::new() };
    if let Some(path) = &options.json {
        write(path, &format!("{:#}\n", report::json(&results)))?;
    }
    if let Some(path) = &options.out {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        write(path, &report::renewed(&text, &report::markdown(&results, &shapes, &options.commit)))?;
    }
    Ok(())
}

fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::wrong(&path.display().to_string(), &error.to_string()))
}
