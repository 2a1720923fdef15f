//! All other tests in a process whose driver library is the stand-in: cudarc opens the library once a process.

use std::process::Command;

use crate::shared_standin;

/// The tests that need a driver, and must all have run.
const TESTS: [&str; 10] = [
    "slices::a_world_in_the_streams_of_a_program",
    "slices::contexts_and_streams_live_as_long_as_they_are_used",
    "slices::slices_written_on_other_streams_come_whole",
    "slices::a_borrowed_tensor_outlives_its_tensor",
    "handles::a_world_in_a_context_of_the_callers",
    "handles::keepers_go_after_the_last_use",
    "graphs::work_of_a_caller_becomes_part_of_a_graph",
    "graphs::events_of_a_caller_come_before_and_behind",
    "refusals::streams",
    "refusals::memory",
];

#[test]
fn on_the_stand_in() {
    if std::env::var_os(super::support::CHILD).is_some() {
        return;
    }
    let Some(folder) = shared_standin::folder() else { return };
    let own = std::env::current_exe().expect("a test has a program");
    let output = Command::new(own)
        .args(["--nocapture", "--test-threads=1"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env("WARPFERRY_BACKEND", "cuda")
        .env(super::support::CHILD, "1")
        .output();
    let output = output.expect("the test's own program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    for name in TESTS {
        assert!(said.contains(&format!("done: {name}\n")), "{name} did not run to its end\n{said}");
    }
}
