//! The line to paste that a failing case prints.

use std::fmt::Display;

/// Runs `test` of the test program `program` again with `variable` naming the case: through cargo when cargo started this
/// process, else by this program's own path, since it may have been carried to a machine without cargo.
pub fn line(variable: &str, case: impl Display, program: &str, test: &str) -> String {
    let by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").is_some();
    match std::env::current_exe() {
        Ok(own) if !by_cargo => format!("{variable}='{case}' {} {test} --nocapture", own.display()),
        _ => format!("{variable}='{case}' cargo test {}--test {program} {test} -- --nocapture", profile()),
    }
}

/// What has cargo play it as it was played here.
fn profile() -> &'static str {
    if cfg!(debug_assertions) {
        ""
    } else {
        "--release "
    }
}
