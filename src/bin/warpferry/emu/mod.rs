//! `emu`: the emulator for any PTX program.

mod argument;
mod run;

use clap::{Parser, Subcommand};
use warpferry::Result;

/// Options of `emu`.
#[derive(Debug, Clone, Parser)]
pub struct EmuOptions {
    #[command(subcommand)]
    command: EmuCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum EmuCommand {
    /// Runs an entry of a PTX file on one emulated GPU
    Run(run::RunOptions),
}

/// Does what the options say; false when the program could not be run to its end.
///
/// # Errors
/// None of its own: what goes wrong is reported where it happens.
pub fn run(options: &EmuOptions) -> Result<bool> {
    match &options.command {
        EmuCommand::Run(options) => Ok(run::run(options)),
    }
}
