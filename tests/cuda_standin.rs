//! The program on machines with and without a CUDA driver: GPUs of the stand-in library, and drivers that are missing,
//! too old, incomplete or failing.
//!
//! Method: each test puts a library in a folder under the driver's name and runs the program with that folder in
//! `LD_LIBRARY_PATH`, since a process opens the library once. The stand-in (`crates/cuda-emu`) runs the kernels on the
//! emulator behind the driver's own functions; `WARPFERRY_CUDA_STANDIN` names it, else it is looked for beside this test.
//! Where it is not, tests that need it say so and count themselves; `WARPFERRY_REQUIRE_STANDIN=1` makes that a failure.
#![cfg(all(feature = "cli", feature = "cuda", target_os = "linux"))]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "shared/skip.rs"]
mod skip;
#[path = "shared/standin.rs"]
mod standin;

use skip::skipped;
use standin::Folder;

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(240);
/// What a small world needs beside its topology.
const SMALL: [&str; 10] =
    ["demo", "--json", "--backend", "cuda", "--hidden", "256", "--tokens", "16", "--timeout-s", "30"];

/// A folder for `LD_LIBRARY_PATH`, with or without a library.
struct Libraries(Folder);

impl Libraries {
    /// Without a library.
    fn empty() -> Libraries {
        Libraries(Folder::empty())
    }

    /// With the stand-in; `None`, printed and counted, where there is none.
    fn standin() -> Option<Libraries> {
        standin::folder().map(Libraries)
    }

    /// With a library made of C text.
    fn compiled(text: &str) -> Libraries {
        let libraries = Libraries::empty();
        let (source, library) = (libraries.0.path().join("stub.c"), libraries.0.path().join("libcuda.so.1"));
        fs::write(&source, text).expect("the folder can be written");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_string());
        let made = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .output()
            .expect("the build of this crate needs a C compiler already");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        libraries
    }

    /// Runs the program with these libraries; panics when it does not end.
    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warpferry"));
        command.args(words).env("LD_LIBRARY_PATH", self.0.path()).env_remove("CUDA_DEVICE_MAX_CONNECTIONS");
        command.envs(variables.iter().copied());
        let (out, err) = (self.0.path().join("stdout"), self.0.path().join("stderr"));
        command
            .stdout(fs::File::create(&out).expect("can be made"))
            .stderr(fs::File::create(&err).expect("can be made"));
        let mut program = command.spawn().expect("the program was built beside this test");
        let began = Instant::now();
        let status = loop {
            if let Some(status) = program.try_wait().expect("a child can be waited for") {
                break status;
            }
            if began.elapsed() > LIMIT {
                // It may have ended just now.
                let _ = program.kill();
                let said = fs::read_to_string(&err).unwrap_or_default();
                panic!("{words:?} {variables:?} did not end in {} s: {said}", LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Output { status, stdout: fs::read(out).expect("written"), stderr: fs::read(err).expect("written") }
    }

    /// The JSON that a run prints; panics when it fails.
    fn json(&self, words: &[&str], variables: &[(&str, &str)]) -> Value {
        let output = self.run(words, variables);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?} {variables:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// What a run says that ends with an error, as one line and with exit code 1.
    fn refused(&self, words: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.run(words, variables);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?} {variables:?}: {said}");
        assert!(said.contains("error: ") && !said.contains("panicked"), "{words:?} {variables:?}: {said}");
        said
    }
}

fn small(more: &[&'static str]) -> Vec<&'static str> {
    [&SMALL[..], more].concat()
}

#[test]
fn worlds_on_a_gpu_are_verified_over_both_fabrics() {
    let Some(libraries) = Libraries::standin() else { return };
    for world in [["--nodes", "2", "--gpus-per-node", "2"], ["--nodes", "1", "--gpus-per-node", "1"]] {
        for fabric in ["loopback", "mlx5"] {
            let report = libraries.json(&small(&[&world[..], &["--fabric", fabric]].concat()), &[]);
            assert_eq!((&report["verified"], &report["backend"]), (&true.into(), &"cuda".into()), "{report}");
            assert_eq!(report["fabric"], fabric, "{report}");
            // What only the emulator counts is not made up.
            for key in ["warp_instructions", "checks", "unordered", "nvlink_bytes"] {
                assert!(report[key].is_null(), "{key} in {report}");
            }
            assert!(
                report["times"].as_str().is_some_and(|times| times.contains("not the time of a kernel")),
                "{report}"
            );
            // Served NICs count.
            let least = if fabric == "mlx5" { &report["ib_bytes_min"] } else { &Value::Null };
            assert_eq!(&report["ib_bytes"], least, "{report}");
        }
    }
}

/// Method: the same command as on the emulator. The stand-in's times are of no GPU, so only their number is looked at.
#[test]
fn benches_run_on_a_gpu() {
    let Some(libraries) = Libraries::standin() else { return };
    for fabric in ["loopback", "mlx5"] {
        let words = "bench --json --backend cuda --gpus-per-node 2 --hidden 256 --tokens 16 --timeout-s 30";
        let repeats = ["--fabric", fabric, "--repeats", "2", "--warm-ups", "1"];
        let record = libraries.json(&[&words.split(' ').collect::<Vec<_>>()[..], &repeats].concat(), &[]);
        assert_eq!((&record["verified"], &record["backend"]), (&true.into(), &"cuda".into()), "{record}");
        for times in ["dispatch_us", "combine_us", "dispatch_cached_us", "exchange_us", "dispatch_kernel_us"] {
            let count = record["samples"][times].as_array().map(Vec::len);
            assert_eq!(count, Some(2), "{times} in {record}");
        }
    }
    let said = libraries.refused(&["bench", "--backend", "cuda", "--machine", "generic"], &[]);
    assert!(said.contains("`--machine`"), "{said}");
}

#[test]
fn the_driver_can_compile_the_kernels() {
    let Some(libraries) = Libraries::standin() else { return };
    let report = libraries.json(&small(&["--nodes", "1", "--gpus-per-node", "2", "--jit"]), &[]);
    assert_eq!((&report["verified"], &report["jit"]), (&true.into(), &true.into()), "{report}");
}

/// Defaults bend to what a rank has; what was asked for does not.
#[test]
fn ranks_that_share_few_sms_take_fewer() {
    let Some(libraries) = Libraries::standin() else { return };
    let four = small(&["--nodes", "2", "--gpus-per-node", "2"]);
    let report = libraries.json(&four, &[("WARPFERRY_CUDA_EMU_SMS", "14")]);
    let sms = report["sms"].as_u64().expect("a number");
    assert!(report["verified"] == true && (1..=3).contains(&sms), "{report}");
    let said = libraries.refused(&[&four[..], &["--sms", "4"]].concat(), &[("WARPFERRY_CUDA_EMU_SMS", "14")]);
    assert!(said.contains(&format!("= 4: valid is at most {sms}")), "{said}");
    let said = libraries.refused(&four, &[("WARPFERRY_CUDA_EMU_SMS", "3")]);
    assert!(said.contains("`ranks` = 4") && said.contains("1 to "), "{said}");
}

/// Without `--backend` a GPU is taken where there is one, and an option of the emulator leaves it alone.
#[test]
fn auto_takes_the_gpu() {
    let Some(libraries) = Libraries::standin() else { return };
    let words = ["demo", "--json", "--hidden", "64", "--tokens", "8", "--nodes", "1", "--gpus-per-node", "2"];
    let report = libraries.json(&words, &[]);
    assert_eq!((&report["verified"], &report["backend"]), (&true.into(), &"cuda".into()), "{report}");
    assert!(report["backend_why"].as_str().is_some_and(|why| why.contains("the driver finds")), "{report}");
    let report = libraries.json(&[&words[..], &["--no-checks"]].concat(), &[]);
    assert_eq!((&report["backend"], &report["checks"]), (&"emu".into(), &false.into()), "{report}");
    // One that is too old is no reason to fail.
    let report = libraries.json(&words, &[("WARPFERRY_CUDA_EMU_COMPUTE", "80")]);
    assert_eq!(report["backend"], "emu", "{report}");
    assert!(report["backend_why"].as_str().is_some_and(|why| why.contains("8.0")), "{report}");
    let report = libraries.json(&words, &[("WARPFERRY_CUDA_EMU_VERSION", "11080")]);
    assert_eq!((&report["verified"], &report["backend"]), (&true.into(), &"emu".into()), "{report}");
}

#[test]
fn doctor_sees_gpus() {
    let Some(libraries) = Libraries::standin() else { return };
    let report = libraries.json(&["doctor", "--json"], &[("WARPFERRY_CUDA_EMU_DEVICES", "2")]);
    assert_eq!(report["gpus"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!((&report["gpus"][1]["fits"], &report["gpus"][1]["compute"]), (&true.into(), &"9.0".into()), "{report}");
    assert_eq!(report["driver_version"], 12080, "{report}");
    assert!(report["conclusion"].as_str().is_some_and(|text| text.contains("on a GPU here")), "{report}");
    let report = libraries.json(&["doctor", "--json"], &[("WARPFERRY_CUDA_EMU_DEVICES", "0")]);
    assert_eq!(report["gpus"].as_array().map(Vec::len), Some(0), "{report}");
}

#[test]
fn a_gpu_that_does_not_fit_is_refused() {
    let Some(libraries) = Libraries::standin() else { return };
    let two = small(&["--nodes", "1", "--gpus-per-node", "2"]);
    for (variable, value, parts) in [
        ("WARPFERRY_CUDA_EMU_COMPUTE", "80", ["unsupported", "9.0", "8.0"]),
        ("WARPFERRY_CUDA_EMU_VERSION", "11080", ["unsupported", "12.2", "11.8"]),
        ("WARPFERRY_CUDA_EMU_DEVICES", "0", ["unsupported", "an NVIDIA GPU", "12.8"]),
    ] {
        let said = libraries.refused(&two, &[(variable, value)]);
        assert!(parts.iter().all(|part| said.contains(part)), "{variable}={value}: {said}");
    }
    let said = libraries.refused(&[&two[..], &["--gpu", "1"]].concat(), &[]);
    assert!(said.contains("`--gpu` = 1") && said.contains("below 1"), "{said}");
}

#[test]
fn ranks_that_share_a_gpu_need_hardware_queues() {
    let Some(libraries) = Libraries::standin() else { return };
    let four = small(&["--nodes", "1", "--gpus-per-node", "4"]);
    let said = libraries.refused(&four, &[("CUDA_DEVICE_MAX_CONNECTIONS", "1")]);
    assert!(said.contains("`CUDA_DEVICE_MAX_CONNECTIONS`") && said.contains("32"), "{said}");
}

/// The other ranks are stopped, not waited for.
/// Method: each call of the driver library that graphs need fails, or none.
#[test]
fn graphs_are_replayed_and_their_failing_calls_told() {
    let Some(libraries) = Libraries::standin() else { return };
    let words = small(&["--nodes", "1", "--gpus-per-node", "2", "--bound", "100", "--graph", "3"]);
    let report = libraries.json(&words, &[]);
    assert_eq!((&report["verified"], &report["graph_replays"]), (&true.into(), &3.into()), "{report}");
    for call in [
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphUpload",
        "cuGraphLaunch",
    ] {
        let said = libraries.refused(&words, &[("WARPFERRY_CUDA_EMU_FAIL", &format!("{call}:719"))]);
        assert!(said.contains(call) && said.contains("CUDA_ERROR_LAUNCH_FAILED"), "{call}: {said}");
    }
}

#[test]
fn a_failed_launch_is_told_at_once() {
    let Some(libraries) = Libraries::standin() else { return };
    let mut words = small(&["--nodes", "1", "--gpus-per-node", "2"]);
    let began = Instant::now();
    for (call, name) in
        [("cuLaunchKernel:719", "CUDA_ERROR_LAUNCH_FAILED"), ("cuLaunchKernel:719:4", "CUDA_ERROR_LAUNCH_FAILED")]
    {
        let said = libraries.refused(&words, &[("WARPFERRY_CUDA_EMU_FAIL", call)]);
        assert!(said.contains("cuLaunchKernel") && said.contains(name), "{call}: {said}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "kernels waited for a rank that had failed: {:?}",
        began.elapsed()
    );
    words.extend(["--jit"]);
    for (call, name) in [
        ("cuMemAlloc_v2:2", "CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuStreamCreateWithPriority:2", "CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuModuleLoadDataEx:218", "CUDA_ERROR_INVALID_PTX"),
        ("cuDevicePrimaryCtxRetain:2", "CUDA_ERROR_OUT_OF_MEMORY"),
    ] {
        // Memory is asked for once more in a smaller block.
        let calls = if call.starts_with("cuMemAlloc") { format!("{call}:1,{call}:2") } else { call.to_string() };
        let said = libraries.refused(&words, &[("WARPFERRY_CUDA_EMU_FAIL", &calls)]);
        let function = call.split(':').next().expect("a name comes first");
        assert!(said.contains(function) && said.contains(name), "{call}: {said}");
    }
}

/// Where a real driver is installed the loader would find it behind an empty folder.
fn a_driver_is_installed() -> bool {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/cuda/compat"]
        .iter()
        .any(|folder| Path::new(folder).join("libcuda.so.1").exists())
}

#[test]
fn without_a_driver_library_it_says_so() {
    if a_driver_is_installed() {
        return skipped("no driver library", "a CUDA driver is installed here, so none cannot be tried");
    }
    let libraries = Libraries::empty();
    let said = libraries.refused(&small(&[]), &[]);
    assert!(said.contains("unsupported") && said.contains("libcuda.so.1"), "{said}");
    let report = libraries.json(&["doctor", "--json"], &[]);
    assert!(report["driver_version"].is_null(), "{report}");
    let report = libraries.json(&["demo", "--json", "--hidden", "8", "--tokens", "4"], &[]);
    assert_eq!((&report["verified"], &report["backend"]), (&true.into(), &"emu".into()), "{report}");
}

/// Libraries that a loader takes and that are of no use: each is named, none ends in a panic.
#[test]
fn a_driver_library_that_lacks_functions_is_told_by_name() {
    let version = "int cuDriverGetVersion(int *v) { *v = 12080; return 0; }";
    for (test, text, part) in [
        ("bare", "int nothing_of_use(void) { return 0; }", "cuDriverGetVersion"),
        ("version-only", version, "cuInit"),
        ("half", &format!("{version} int cuInit(unsigned f) {{ return f; }}"), "cuDeviceGetCount"),
        ("failing", "int cuDriverGetVersion(int *v) { *v = 0; return 999; }", "cuDriverGetVersion"),
    ] {
        let libraries = Libraries::compiled(text);
        let said = libraries.refused(&small(&[]), &[]);
        assert!(said.contains(part), "{test}: {said}");
        let report = libraries.json(&["doctor", "--json"], &[]);
        assert!(report.to_string().contains(part), "{test}: {report}");
        let report = libraries.json(&["demo", "--json", "--hidden", "8", "--tokens", "4"], &[]);
        assert_eq!(report["backend"], "emu", "{test}: {report}");
    }
}

#[test]
fn a_file_that_is_no_library_is_no_driver() {
    if a_driver_is_installed() {
        return skipped("a file that is no library", "a CUDA driver is installed here and would be found instead");
    }
    let libraries = Libraries::empty();
    fs::write(libraries.0.path().join("libcuda.so.1"), "not a library").expect("the folder can be written");
    let said = libraries.refused(&small(&[]), &[]);
    assert!(said.contains("unsupported") && said.contains("libcuda.so.1"), "{said}");
    let report = libraries.json(&["doctor", "--json"], &[]);
    let driver = report["findings"].as_array().into_iter().flatten().find(|finding| finding["what"] == "driver");
    assert_eq!(driver.map(|driver| &driver["found"]), Some(&false.into()), "{report}");
}
