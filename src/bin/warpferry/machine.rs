//! `--machine`: a modelled machine by its name or file.

use warpferry::machine::Machine;
use warpferry::{Error, Result};

/// The machine that was typed.
///
/// # Errors
/// As [`Machine::find`], with the option's name.
pub fn find(typed: &str) -> Result<Machine> {
    Machine::find(typed).map_err(|error| match error {
        Error::Argument { argument, value, valid } if argument == "machine" => {
            Error::argument("--machine", value, valid)
        }
        other => other,
    })
}

#[test]
fn an_unknown_machine_is_told_the_known_ones() {
    let said = find("h900").expect_err("none").to_string();
    assert!(said.contains("`--machine` = h900") && Machine::names().all(|name| said.contains(name)), "{said}");
}
