//! What a device does: probes of what the design rests on, then dispatch and combine against them.
//!
//! On a GPU times are those of its events and clocks. On the emulator everything runs in small to prove that it runs
//! and gives the right data; times are the machine's virtual counters and say nothing about a device. docs/perf/README.md
//! says what each figure means.

#[path = "suite.rs"]
mod suite;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    #[cfg(feature = "cuda")]
    warpferry::driver::cuda::use_all_hardware_queues();
    let options = suite::Options::parse();
    match suite::run(&options) {
        Ok(report) => match report.write(options.json.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error.to_string()),
        },
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("device bench: {why}");
    ExitCode::FAILURE
}
