//! `warpferry`: shows dispatch and combine at work on a GPU or an emulated cluster, and what this machine offers.

mod backend;
mod bench;
mod demo;
mod device_report;
mod doctor;
mod emu;
mod inputs;
mod machine;
mod memory;
mod options;
mod output;
mod replays;
mod report;
mod transfer;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use options::DemoOptions;
use output::complain;

/// Expert-parallel dispatch and combine: hand-written PTX, run by a GPU or by the library's own emulator.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command: the demo's.
    #[command(flatten)]
    demo: DemoOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs dispatch and combine on a GPU or an emulated cluster and compares every bit with the reference (default).
    Demo(Box<DemoOptions>),
    /// Times dispatch and combine on a GPU or an emulated cluster, and compares results.
    Bench(Box<bench::BenchOptions>),
    /// Says what of GPU, driver, NIC, verbs and ptxas is here, and what follows.
    Doctor(doctor::DoctorOptions),
    /// Makes the result of what scripts/device.sh recorded.
    #[command(hide = true)]
    DeviceReport(device_report::ReportOptions),
    /// Runs any PTX program on the emulator.
    Emu(Box<emu::EmuOptions>),
    /// Searches the best settings for a machine, a world and a shape.
    Tune(Box<tune::TuneOptions>),
}

fn main() -> ExitCode {
    // It sets an environment variable, so it comes before anything that might have threads.
    #[cfg(feature = "cuda")]
    warpferry::driver::cuda::use_all_hardware_queues();
    let Cli { command, demo } = Cli::parse();
    let command = command.unwrap_or_else(|| Command::Demo(Box::new(demo)));
    let outcome = match command {
        Command::Demo(options) => demo::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Doctor(options) => Ok(doctor::run(&options)),
        Command::DeviceReport(options) => device_report::run(&options),
        Command::Emu(options) => emu::run(&options),
        Command::Tune(options) => tune::run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
