//! `scripts/device.sh` with programs that do not work: whatever does not run, hangs or says less than it should must not
//! end as passed, the script must end in time, and nobody else's files may go.
//!
//! Method: packs of small shell scripts; only the report is the real program's. A pack where all is well passes, and each
//! test spoils one thing.
#![cfg(all(feature = "cli", unix))]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Stands in for the command line; `report` is the real one's.
const WARPFERRY: &str = r#"case $1 in
    doctor) echo '{"gpus":[{"ordinal":0,"name":"fake","fits":true}],"driver_version":12040}' ;;
    demo) echo '{"verified":true,"nodes":1,"gpus_per_node":1,"backend":"emu","fabric":"loopback"}' ;;
    device-report) shift; exec "$REAL_WARPFERRY" device-report "$@" ;;
    *) echo 'warpferry fake' ;;
esac"#;
/// Stands in for a test program.
const TESTS: &str = r#"case $1 in
    --list) echo 'bulk::one: test' ;;
    *) echo 'test result: ok. 1 passed; 0 failed; 0 ignored' ;;
esac"#;
/// Stands in for the bench.
const BENCH: &str = r#"while [ "$1" != --json ]; do shift; done
echo '{"times":"fake","operations":[{"group":"operations","name":"dispatch"}]}' >"$2""#;
/// A program that only the signal that cannot be caught ends.
const HANGS: &str = "trap '' TERM; while :; do sleep 1; done";

/// A pack, a folder for results and one for what PATH finds first.
struct Pack(PathBuf);

/// How the script ended.
struct Run {
    code: Option<i32>,
    json: serde_json::Value,
    text: String,
    said: String,
    took: Duration,
}

impl Pack {
    /// One where all is well; none, with a line that says so, where the script's own needs are not met.
    fn new(name: &str) -> Option<Pack> {
        for tool in ["bash", "timeout"] {
            let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                // Past the test runner's capture, so that a skip is seen and can be counted.
                let _ = writeln!(std::io::stderr(), "skipped: device_script: {name}: there is no {tool}");
                return None;
            }
        }
        let folder = std::env::temp_dir().join(format!("warpferry-device-script-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let pack = Pack(folder);
        pack.program("pack/warpferry", WARPFERRY).program("pack/checkptx", TESTS).program("pack/worlds", TESTS);
        pack.program("pack/device", BENCH).program("path/nvidia-smi", "echo fake");
        fs::create_dir_all(pack.out()).expect("can be made");
        Some(pack)
    }

    fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    fn program(&self, name: &str, body: &str) -> &Pack {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("programs lie in a folder")).expect("can be made");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("can be made executable");
        self
    }

    fn run(&self, words: &[&str]) -> Run {
        let began = Instant::now();
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/device.sh"))
            .args([self.0.join("pack").as_os_str(), "--out".as_ref(), self.out().as_os_str()])
            .args(words)
            .env("PATH", format!("{}:{path}", self.0.join("path").display()))
            .env("REAL_WARPFERRY", env!("CARGO_BIN_EXE_warpferry"))
            .env("WARPFERRY_DEVICE_ANSWER_S", "2")
            .output()
            .expect("bash starts");
        let text = |name: &str| fs::read_to_string(self.out().join(name)).unwrap_or_default();
        let said = [output.stdout, output.stderr].concat();
        Run {
            code: output.status.code(),
            json: serde_json::from_str(&text("device-result.json")).unwrap_or_default(),
            text: text("device-result.txt"),
            said: String::from_utf8_lossy(&said).into_owned(),
            took: began.elapsed(),
        }
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Run {
    fn check(&self, passed: bool, part: &str) {
        assert_eq!(self.code, Some(i32::from(!passed)), "{}", self.said);
        assert_eq!(self.json["passed"], passed, "{}", self.said);
        let verdict = if passed { "\nPASSED" } else { "NOT PASSED" };
        assert!(self.text.contains(verdict) && self.text.contains(part), "{verdict}, {part}: {}", self.text);
    }

    fn outcome(&self, step: &str) -> &str {
        let steps = self.json["steps"].as_array().map_or(&[][..], Vec::as_slice);
        let step = steps.iter().find(|entry| entry["name"] == step);
        step.and_then(|step| step["outcome"].as_str()).unwrap_or("absent")
    }
}

#[test]
fn a_pack_that_works_passes() {
    let Some(pack) = Pack::new("works") else { return };
    pack.run(&["--backend", "emu"]).check(true, "checkptx");
    // Again, over its own results.
    pack.run(&["--backend", "emu"]).check(true, "worlds");
}

#[test]
fn programs_that_do_nothing_do_not_pass() {
    let data = WARPFERRY.replace("\"verified\":true", "\"verified\":false");
    for (case, name, body, part) in [
        ("mute", "checkptx", "exit 0", "no test of"),
        ("crash", "worlds", "echo 'GLIBC_9.99 not found' >&2; exit 127", "GLIBC_9.99"),
        ("unlisted", "checkptx", HANGS, "timed out"),
        ("unrun", "worlds", "[ \"$1\" != --list ] || echo 'one: test'", "no line says that a test passed"),
        ("no-bench", "device", "exit 0", "no bench.json"),
        ("unverified", "warpferry", data.as_str(), "not verified"),
    ] {
        let Some(pack) = Pack::new(case) else { return };
        pack.program(&format!("pack/{name}"), body).run(&["--backend", "emu"]).check(false, part);
    }
}

#[test]
fn a_program_that_hangs_does_not_stop_the_end() {
    let Some(pack) = Pack::new("hangs") else { return };
    let hangs = WARPFERRY.replace("shift; exec \"$REAL_WARPFERRY\" device-report \"$@\"", HANGS);
    let hangs = hangs.replace("echo 'warpferry fake'", HANGS);
    assert_eq!(hangs.matches(HANGS).count(), 2, "report and version hang");
    let run = pack.program("pack/warpferry", &hangs).run(&["--backend", "emu"]);
    run.check(false, "warpferry does not run: exit code 137");
    assert!(run.took < Duration::from_secs(18), "{:?}", run.took);
}

#[test]
fn a_sanitizer_that_refuses_the_device_is_skipped() {
    let Some(pack) = Pack::new("sanitizer") else { return };
    for (body, outcome) in [
        ("echo '========= Error: Device not supported. Please refer to the manual'; exit 1", "skipped"),
        ("echo '========= Invalid __global__ read of size 4'; echo '========= Unable to unwind'; exit 9", "failed"),
        ("echo 'error: this is not supported'; echo '========= ERROR SUMMARY: 1 error'; exit 9", "failed"),
        ("echo '========= ERROR SUMMARY: 0 errors'", "passed"),
        ("exit 0", "failed"),
    ] {
        let run = pack.program("path/compute-sanitizer", body).run(&["--backend", "cuda", "--tiny"]);
        run.check(outcome != "failed", "memcheck");
        assert_eq!((run.outcome("memcheck"), run.outcome("racecheck")), (outcome, outcome), "{}", run.text);
    }
}

#[test]
fn folders_of_others_survive() {
    let Some(pack) = Pack::new("folders") else { return };
    for folder in ["record", ".device-record"] {
        fs::create_dir_all(pack.out().join(folder)).expect("can be made");
        fs::write(pack.out().join(folder).join("music"), "a song").expect("can be written");
    }
    let music = |folder: &str| fs::read_to_string(pack.out().join(folder).join("music")).unwrap_or_default();
    let refused = pack.run(&["--backend", "emu"]);
    assert_eq!(refused.code, Some(2), "{}", refused.said);
    assert!(refused.said.contains("not of this script's making"), "{}", refused.said);
    assert_eq!((music("record"), music(".device-record")), ("a song".to_string(), "a song".to_string()));
    fs::remove_dir_all(pack.out().join(".device-record")).expect("can be removed");
    pack.run(&["--backend", "emu"]).check(true, "bench");
    assert_eq!(music("record"), "a song");
}

#[test]
fn one_folder_too_many_is_refused() {
    let Some(pack) = Pack::new("arguments") else { return };
    let run = pack.run(&["--backend", "emu", "another"]);
    assert_eq!(run.code, Some(2), "{}", run.said);
    assert!(run.said.contains("another is one folder too many"), "{}", run.said);
}
