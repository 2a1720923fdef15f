//! How a test says that it left something out.

use std::io::Write as _;

/// Says so past the test runner's capture, in a line that can be seen and counted: `skipped: WHAT: WHY`.
pub fn skipped(what: &str, why: impl std::fmt::Display) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "skipped: {what}: {why}");
}
