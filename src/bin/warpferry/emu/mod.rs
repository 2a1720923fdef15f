//! `emu`: the emulator for any PTX program, and the memory model for litmus tests.

mod argument;
mod explore;
mod failure;
mod litmus;
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
    /// Runs an entry of a PTX file on one emulated GPU: plainly, with a race check, or in weak memory
    Run(run::RunOptions),
    /// Decides litmus tests by the PTX memory model, and says which outcomes the emulator shows
    Litmus(litmus::LitmusOptions),
}

/// Does what the options say; false when the program could not be run to its end.
///
/// # Errors
/// None of its own: what goes wrong is reported where it happens.
pub fn run(options: &EmuOptions) -> Result<bool> {
    match &options.command {
        EmuCommand::Run(options) => Ok(run::run(options)),
        EmuCommand::Litmus(options) => Ok(litmus::run(options)),
    }
}
