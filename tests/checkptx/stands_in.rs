//! The checks through the CUDA driver's code, on a machine without a GPU: a stand-in for the driver library.

use std::process::Command;

use crate::standin;

/// SMs of the stand-in: few, since poisoned shared memory is that of all of them.
const SMS: &str = "32";

/// Every tenth case in a process whose driver library is the stand-in: the library is opened once a process. Worlds are
/// left out: `tests/worlds` runs its own there.
#[test]
fn on_the_stand_in() {
    let Some(folder) = standin::folder() else { return };
    let own = std::env::current_exe().expect("a test has a program");
    let output = Command::new(own)
        .args(["--skip", "mutants::", "--skip", "stands_in::", "--skip", "kernels::worlds", "--nocapture"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env("WARPFERRY_BACKEND", "cuda")
        .env("WARPFERRY_CASES", "0")
        .env("WARPFERRY_CUDA_EMU_SMS", SMS)
        .env_remove("WARPFERRY_CHECK")
        .output()
        .expect("the test's own program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("layout: ") && !said.contains("skipped: "), "{said}");
    println!("through the stand-in: {}", said.lines().rfind(|line| line.contains("so far")).unwrap_or_default());
}
