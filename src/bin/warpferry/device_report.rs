//! `device-report`: makes one JSON file and one short table of what `scripts/device.sh` recorded.
//!
//! The script may run where there is neither Python nor jq, so the program that it tests also writes its report. The
//! folder holds `facts/NAME`, texts; `doctor.json` and `bench.json`, where they were made; and a folder `steps/NN-NAME`
//! for each step in order, of files: `command`, `limit` and `seconds`, `exit`, `stdout`, `stderr`; `skipped` or `unreached`
//! instead, with the reason, where the step did not run. What is missing counts as a failure, never as success:
//! exit code 0 of tests that did not run, of a bench without results, of data that is not verified.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::{json, Map, Value};
use warpferry::{Error, Result};

use crate::output::say;

/// Version of the result file's form.
const SCHEMA: u64 = 1;
/// Last lines that a step's output is kept with.
const LINES_KEPT: usize = 25;
/// Lines of a failed step in the table.
const LINES_SHOWN: usize = 8;
/// Most lines of a step that say something was skipped.
const SKIPS_KEPT: usize = 50;
/// Steps without which a run shows nothing.
const STEPS_NEEDED: [&str; 4] = ["doctor", "checkptx", "worlds", "bench"];
/// Exit codes of `timeout`: ended by its signal, and by the one that cannot be caught.
const TIMED_OUT: [i64; 2] = [124, 137];

/// Options of `device-report`.
#[derive(Debug, Clone, Parser)]
pub struct ReportOptions {
    /// Folder with facts and steps
    pub folder: PathBuf,
    /// Result file
    #[arg(long)]
    pub json: PathBuf,
    /// Table
    #[arg(long)]
    pub text: PathBuf,
}

/// Writes both files and prints the table; false unless every step that could run passed.
///
/// # Errors
/// [`Error::File`] for a folder without steps, and for files that cannot be written.
pub fn run(options: &ReportOptions) -> Result<bool> {
    let report = Report::read(&options.folder)?;
    write(&options.json, &format!("{:#}\n", report.to_json()))?;
    let table = report.table();
    write(&options.text, &table)?;
    say(table.trim_end());
    Ok(report.passed())
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    TimedOut,
    /// This machine cannot run it: the reason.
    Skipped(String),
    /// Time was up before it: the reason.
    Unreached(String),
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::TimedOut => "timed out",
            Outcome::Skipped(_) => "skipped",
            Outcome::Unreached(_) => "not reached",
        }
    }
}

/// What was recorded of one step.
#[derive(Debug)]
struct Step {
    name: String,
    command: String,
    limit_s: Option<f64>,
    seconds: Option<f64>,
    exit: Option<i64>,
    outcome: Outcome,
    /// Why it failed although the command ended with 0.
    fault: Option<String>,
    /// Standard output, when it is one JSON value.
    result: Option<Value>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    /// Lines that say something was left out, `skipped: WHAT: WHY`: the first ones, and how many there are.
    skips: Vec<String>,
    skip_count: usize,
}

impl Step {
    fn read(folder: &Path) -> Step {
        let text =
            |name: &str| fs::read(folder.join(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let word = |name: &str| text(name).map(|text| text.trim().to_string());
        let exit = word("exit").and_then(|exit| exit.parse().ok());
        let outcome = match (word("skipped"), word("unreached"), exit) {
            (Some(why), _, _) => Outcome::Skipped(why),
            (None, Some(why), _) => Outcome::Unreached(why),
            (None, None, Some(0)) => Outcome::Passed,
            (None, None, Some(code)) if TIMED_OUT.contains(&code) => Outcome::TimedOut,
            (None, None, _) => Outcome::Failed,
        };
        let (stdout, stderr) = (text("stdout").unwrap_or_default(), text("stderr").unwrap_or_default());
        let skips: Vec<&str> = stdout.lines().chain(stderr.lines()).filter(|line| line.contains("skipped: ")).collect();
        let (skip_count, skips) = (skips.len(), skips.into_iter().take(SKIPS_KEPT).map(str::to_string).collect());
        let result: Option<Value> = serde_json::from_str(&stdout).ok().filter(Value::is_object);
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut step = Step {
            name: name.split_once('-').map_or(name.clone(), |(_, name)| name.to_string()),
            command: word("command").unwrap_or_default(),
            limit_s: word("limit").and_then(|limit| limit.parse().ok()),
            seconds: word("seconds").and_then(|seconds| seconds.parse().ok()),
            exit,
            outcome,
            fault: None,
            stdout: if result.is_some() { Vec::new() } else { last_lines(&stdout) },
            stderr: last_lines(&stderr),
            result,
            skips,
            skip_count,
        };
        step.judge(step.lack(&stdout, &stderr));
        step
    }

    /// Makes a failure of a success that lacks something.
    fn judge(&mut self, lack: Option<String>) {
        if self.outcome == Outcome::Passed && lack.is_some() {
            (self.outcome, self.fault) = (Outcome::Failed, lack);
        }
    }

    /// What its output lacks: exit code 0 alone does not show that anything ran.
    fn lack(&self, stdout: &str, stderr: &str) -> Option<String> {
        let verified = self.result.as_ref().map(|result| &result["verified"]);
        let lines = || stdout.lines().chain(stderr.lines());
        let (fine, lack) = match self.name.as_str() {
            _ if verified == Some(&Value::Bool(false)) => (false, "the data is not verified"),
            "doctor" => (self.result.is_some(), "it printed no JSON object"),
            "checkptx" | "worlds" => (lines().any(some_test_passed), "no line says that a test passed"),
            "memcheck" | "racecheck" => {
                (lines().any(|line| line.contains("SUMMARY:")), "the sanitizer summed nothing up")
            }
            name if name == "jit" || name.starts_with("world-") => {
                (verified == Some(&Value::Bool(true)), "no result says that the data is verified")
            }
            _ => (true, ""),
        };
        (!fine).then(|| lack.to_string())
    }

    fn to_json(&self) -> Value {
        let why = match &self.outcome {
            Outcome::Skipped(why) | Outcome::Unreached(why) => Some(why),
            Outcome::Passed | Outcome::Failed | Outcome::TimedOut => self.fault.as_ref(),
        };
        json!({
            "name": self.name,
            "command": self.command,
            "limit_seconds": self.limit_s,
            "seconds": self.seconds,
            "exit_code": self.exit,
            "outcome": self.outcome.name(),
            "why": why,
            "result": self.result,
            "stdout_last_lines": self.stdout,
            "stderr_last_lines": self.stderr,
            "skips": self.skips,
            "skip_count": self.skip_count,
        })
    }

    /// What a line of the table says of it.
    fn detail(&self) -> String {
        if let Outcome::Skipped(why) | Outcome::Unreached(why) = &self.outcome {
            return why.clone();
        }
        if let Some(fault) = &self.fault {
            return fault.clone();
        }
        if let Some(result) = self.result.as_ref().filter(|result| result["verified"].is_boolean()) {
            let (nodes, gpus) = (&result["nodes"], &result["gpus_per_node"]);
            let (backend, fabric) = (result["backend"].as_str(), result["fabric"].as_str());
            let verdict = if result["verified"] == true { "verified" } else { "NOT verified" };
            return format!("{nodes}x{gpus} {} on {}: {verdict}", fabric.unwrap_or("?"), backend.unwrap_or("?"));
        }
        let lines = || self.stdout.iter().chain(&self.stderr);
        // The last line that sums a test binary, a sanitizer or the bench up.
        let sum = |line: &&String| {
            ["test result:", "ERROR SUMMARY:", "RACECHECK SUMMARY:", "done "].iter().any(|part| line.contains(part))
        };
        let sum = lines().rfind(sum).map(|line| line.trim_matches(['=', ' ']).to_string());
        let sum =
            sum.unwrap_or_else(|| self.exit.map_or("no exit code".to_string(), |code| format!("exit code {code}")));
        match self.skip_count {
            0 => sum,
            count => format!("{sum} ({count} skipped within)"),
        }
    }
}

/// Whether a test program's summary counts a test that passed.
fn some_test_passed(line: &str) -> bool {
    let passed = line.split_once("test result: ok. ").and_then(|(_, rest)| rest.split_once(" passed"));
    passed.and_then(|(count, _)| count.parse().ok()).is_some_and(|count: u64| count > 0)
}

/// What the bench's file lacks.
fn lack_of_bench(bench: Option<&Value>) -> Option<String> {
    let Some(bench) = bench else { return Some("it wrote no bench.json that is a JSON object".to_string()) };
    let filled = |list: &str| bench[list].as_array().is_some_and(|entries| !entries.is_empty());
    match &bench["failure"] {
        Value::Null if filled("operations") || filled("probes") => None,
        Value::Null => Some("bench.json holds no results".to_string()),
        failure => Some(format!("bench.json says: {}", failure.as_str().unwrap_or("failure"))),
    }
}

fn last_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_KEPT)..].iter().map(|line| (*line).to_string()).collect()
}

/// All that was recorded.
#[derive(Debug)]
struct Report {
    facts: Map<String, Value>,
    doctor: Option<Value>,
    bench: Option<Value>,
    steps: Vec<Step>,
}

impl Report {
    fn read(folder: &Path) -> Result<Report> {
        let object = |name: &str| {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            serde_json::from_str::<Value>(&text).ok().filter(Value::is_object)
        };
        let mut steps: Vec<Step> = entries(&folder.join("steps")).iter().map(|path| Step::read(path)).collect();
        if steps.is_empty() {
            let message = "holds no steps: scripts/device.sh makes it".to_string();
            return Err(Error::File { path: folder.display().to_string(), message });
        }
        let bench = object("bench.json");
        steps.iter_mut().filter(|step| step.name == "bench").for_each(|step| step.judge(lack_of_bench(bench.as_ref())));
        let facts = entries(&folder.join("facts"))
            .iter()
            .filter_map(|path| {
                let text = String::from_utf8_lossy(&fs::read(path).ok()?).trim_end().to_string();
                Some((path.file_name()?.to_string_lossy().into_owned(), Value::from(text)))
            })
            .collect();
        Ok(Report { facts, doctor: object("doctor.json"), bench, steps })
    }

    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).and_then(Value::as_str).unwrap_or("unknown")
    }

    fn count(&self, name: &str) -> usize {
        self.steps.iter().filter(|step| step.outcome.name() == name).count()
    }

    /// What steps that ran said they left out.
    fn skipped_within(&self) -> usize {
        self.steps.iter().map(|step| step.skip_count).sum()
    }

    /// Needed steps that did not run.
    fn missing(&self) -> Vec<&'static str> {
        let ran = |step: &Step| !matches!(step.outcome, Outcome::Skipped(_) | Outcome::Unreached(_));
        let has_run = |name: &str| self.steps.iter().any(|step| step.name == name && ran(step));
        STEPS_NEEDED.into_iter().filter(|name| !has_run(name)).collect()
    }

    /// Every step that could run passed, and so did those without which a run shows nothing.
    fn passed(&self) -> bool {
        let fine = |step: &Step| matches!(step.outcome, Outcome::Passed | Outcome::Skipped(_));
        self.missing().is_empty() && self.steps.iter().all(fine)
    }

    /// The GPU that ran it; the emulator where that did.
    fn device(&self) -> String {
        if self.fact("backend") == "emu" {
            return "emulated cluster".to_string();
        }
        let gpus = self.doctor.as_ref().and_then(|doctor| doctor["gpus"].as_array());
        let fitting = gpus.into_iter().flatten().find(|gpu| gpu["fits"] == true);
        fitting.and_then(|gpu| gpu["name"].as_str()).unwrap_or("unknown").to_string()
    }

    fn to_json(&self) -> Value {
        let doctor = |key: &str| self.doctor.as_ref().map_or(Value::Null, |doctor| doctor[key].clone());
        let mut counts: Map<String, Value> = ["passed", "failed", "timed out", "skipped", "not reached"]
            .map(|name| (name.replace(' ', "_"), json!(self.count(name))))
            .into_iter()
            .collect();
        counts.insert("skipped_within_steps".into(), json!(self.skipped_within()));
        json!({
            "schema": SCHEMA,
            "passed": self.passed(),
            "backend": self.fact("backend"),
            "device": self.device(),
            "commit": self.fact("commit"),
            "date": self.fact("date"),
            "driver_version": doctor("driver_version"),
            "kernel_driver": doctor("kernel_driver"),
            "counts": counts,
            "missing": self.missing(),
            "facts": self.facts,
            "steps": self.steps.iter().map(Step::to_json).collect::<Vec<_>>(),
            "doctor": self.doctor,
            "bench": self.bench,
        })
    }

    fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{text}");
        };
        let driver = self.doctor.as_ref().and_then(|doctor| doctor["driver_version"].as_u64());
        let driver =
            driver.map_or("none".to_string(), |version| format!("CUDA {}.{}", version / 1000, version % 1000 / 10));
        line(format!("device   {} (backend {}, driver {driver})", self.device(), self.fact("backend")));
        line(format!("commit   {}   date {}", self.fact("commit"), self.fact("date")));
        line(String::new());
        for step in &self.steps {
            let seconds = step.seconds.map_or("-".to_string(), |seconds| format!("{seconds:.1}"));
            let text = format!("{:<28} {:<12} {seconds:>7} s  {}", step.name, step.outcome.name(), step.detail());
            line(text.trim_end().to_string());
        }
        for step in self.steps.iter().filter(|step| matches!(step.outcome, Outcome::Failed | Outcome::TimedOut)) {
            line(format!("\n{}: {}", step.name, step.command));
            let both: Vec<&String> = step.stdout.iter().chain(&step.stderr).collect();
            for said in &both[both.len().saturating_sub(LINES_SHOWN)..] {
                line(format!("    {said}"));
            }
        }
        self.figures(&mut line);
        let counts = ["passed", "failed", "timed out", "skipped", "not reached"];
        let counts = counts.map(|name| format!("{} {name}", self.count(name))).join(", ");
        if !self.missing().is_empty() {
            line(format!("\nneeded, but did not run: {}", self.missing().join(", ")));
        }
        let verdict = if self.passed() { "PASSED" } else { "NOT PASSED" };
        line(format!("\n{verdict}: {counts}; within steps {} skipped", self.skipped_within()));
        if let Some(why) = self.facts.get("stopped").and_then(Value::as_str) {
            line(format!("stopped early: {why}"));
        }
        out
    }

    /// The operations that the bench measured.
    fn figures(&self, line: &mut dyn FnMut(String)) {
        let Some(bench) = &self.bench else { return };
        let operations = bench["operations"].as_array().map_or(&[][..], Vec::as_slice);
        let measured = operations.iter().filter(|entry| entry["group"] == "operations");
        line(format!("\nbench    {}", bench["times"].as_str().unwrap_or("times of unknown kind")));
        for entry in measured {
            let parameter = |name: &str| entry["parameters"][name].to_string().replace('"', "");
            let number = |key: &str| entry[key].as_f64().map_or("-".to_string(), |value| format!("{value:.2}"));
            // Only a device's own times are compared with a limit.
            let share = entry["share_of_copy"].as_f64();
            let share = share.map_or(String::new(), |share| format!("  {share:>6.2} of the plain copy"));
            line(format!(
                "  {:<24} {:>12} {:<12} world {} sms {} chunk {} roles {:<8} {:>9} GB/s{share}",
                entry["name"].as_str().unwrap_or("?"),
                number("value"),
                entry["unit"].as_str().unwrap_or("?"),
                parameter("world"),
                parameter("sms_per_rank"),
                parameter("chunk_nv"),
                parameter("roles"),
                number("gb_per_s"),
            ));
        }
    }
}

/// Entries of a folder by name; none when it is not there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::File {
        path: path.display().to_string(),
        message: format!("cannot be written: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: folders as the script leaves them, with a step of every outcome; both files are read back.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("warpferry-report-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }

        fn file(&self, name: &str, text: &str) -> &Folder {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("files lie in the folder")).expect("can be made");
            fs::write(path, text).expect("can be written");
            self
        }

        fn step(&self, step: &str, files: &[(&str, &str)]) -> &Folder {
            for (name, text) in files {
                self.file(&format!("steps/{step}/{name}"), text);
            }
            self
        }

        fn report(&self) -> (Value, String) {
            let report = Report::read(&self.0).expect("the folder holds steps");
            (report.to_json(), report.table())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn everything_recorded_is_in_the_files() {
        let folder = Folder::new("all");
        folder
            .file("facts/commit", "abc123\n")
            .file("facts/backend", "cuda\n")
            .file("doctor.json", r#"{"gpus":[{"name":"old","fits":false},{"name":"new","fits":true}],"driver_version":12040}"#)
            .file("bench.json", r#"{"times":"measured","operations":[{"group":"operations","name":"dispatch","value":3.5,"unit":"us","share_of_copy":0.9,"parameters":{"world":"1x8"}}]}"#)
            .step("01-doctor", &[("command", "warpferry doctor"), ("exit", "0"), ("stdout", "{}"), ("seconds", "0.5"), ("limit", "20")])
            .step("02-world", &[("exit", "0"), ("stdout", r#"{"verified":true,"nodes":2,"gpus_per_node":4,"backend":"cuda","fabric":"mlx5"}"#)])
            .step("03-tests", &[("exit", "0"), ("stdout", "skipped: x on cuda: none\ntest result: ok. 3 passed")])
            .step("04-memcheck", &[("skipped", "no compute-sanitizer")])
            .step("05-checkptx", &[("exit", "0"), ("stdout", "test result: ok. 7 passed; 0 failed")])
            .step("06-worlds", &[("exit", "0"), ("stdout", "test result: ok. 1 passed; 0 failed")])
            .step("07-bench", &[("exit", "0")]);
        let (json, table) = folder.report();
        assert_eq!(
            (&json["passed"], &json["device"], &json["commit"]),
            (&true.into(), &"new".into(), &"abc123".into())
        );
        assert_eq!((&json["driver_version"], &json["counts"]["passed"]), (&12040.into(), &6.into()));
        assert_eq!(json["steps"][1]["result"]["nodes"], 2);
        assert_eq!(json["steps"][2]["skips"][0], "skipped: x on cuda: none");
        assert_eq!(json["counts"]["skipped_within_steps"], 1);
        assert_eq!(
            (&json["steps"][3]["outcome"], &json["steps"][3]["why"]),
            (&"skipped".into(), &"no compute-sanitizer".into())
        );
        for part in
            ["2x4 mlx5 on cuda: verified", "(1 skipped within)", "CUDA 12.4", "\nPASSED: 6 passed", "0.90 of the plain"]
        {
            assert!(table.contains(part), "{part} in {table}");
        }
    }

    #[test]
    fn whatever_did_not_pass_is_no_success() {
        for (name, files, outcome) in [
            ("failed", &[("exit", "1"), ("stderr", "error: it broke")][..], "failed"),
            ("late", &[("exit", "124")], "timed out"),
            ("killed", &[("exit", "137")], "timed out"),
            ("crashed", &[("exit", "139")], "failed"),
            ("cut", &[("command", "warpferry demo")], "failed"),
            ("garbled", &[("exit", "zero")], "failed"),
            ("unreached", &[("unreached", "the time is up")], "not reached"),
        ] {
            let folder = Folder::new(name);
            folder.step("01-fine", &[("exit", "0")]).step("02-bad", files);
            let (json, table) = folder.report();
            assert_eq!((&json["passed"], &json["steps"][1]["outcome"]), (&false.into(), &outcome.into()), "{name}");
            assert!(table.contains("NOT PASSED") && table.contains(outcome), "{table}");
        }
        let folder = Folder::new("nothing");
        folder.step("01-skipped", &[("skipped", "nothing here")]);
        assert_eq!(folder.report().0["passed"], false, "a run of skips alone shows nothing");
        let empty = Folder::new("empty");
        assert!(matches!(Report::read(&empty.0), Err(Error::File { .. })));
    }

    #[test]
    fn success_needs_more_than_exit_code_0() {
        let tests = ("stdout", "test result: ok. 2 passed; 0 failed");
        let whole = |name: &str| {
            let folder = Folder::new(name);
            folder.file("bench.json", r#"{"operations":[{"group":"x"}]}"#);
            folder.step("01-doctor", &[("exit", "0"), ("stdout", "{}")]);
            folder.step("02-checkptx", &[("exit", "0"), tests]).step("03-worlds", &[("exit", "0"), tests]);
            folder.step("04-bench", &[("exit", "0")]);
            folder
        };
        assert_eq!(whole("whole").report().0["passed"], true);
        for (number, (path, text)) in [
            ("steps/01-doctor/stdout", "hello"),
            ("steps/01-doctor/skipped", "no"),
            ("steps/02-checkptx/stdout", ""),
            ("steps/02-checkptx/skipped", "no"),
            ("steps/03-worlds/stdout", "test result: ok. 0 passed; 0 failed"),
            ("steps/03-worlds/unreached", "late"),
            ("steps/04-bench/skipped", "no"),
            ("bench.json", "{"),
            ("bench.json", r#"{"operations":[],"probes":[]}"#),
            ("bench.json", r#"{"operations":[{"group":"x"}],"failure":"it broke"}"#),
        ]
        .into_iter()
        .enumerate()
        {
            let folder = whole(&format!("lacks-{number}"));
            let (json, table) = folder.file(path, text).report();
            assert_eq!(json["passed"], false, "{path} {text}");
            assert!(table.contains("NOT PASSED"), "{table}");
        }
        for (name, stdout) in [
            ("05-world-1x1", "{}"),
            ("05-jit", r#"{"verified":false}"#),
            ("05-other", r#"{"verified":false}"#),
            ("05-memcheck", ""),
        ] {
            let folder = whole(name);
            let (json, table) = folder.step(name, &[("exit", "0"), ("stdout", stdout)]).report();
            assert_eq!((&json["passed"], &json["steps"][4]["outcome"]), (&false.into(), &"failed".into()), "{table}");
        }
    }

    #[test]
    fn long_outputs_are_cut_and_bytes_survive() {
        let folder = Folder::new("long");
        let long: String = (0..1000).map(|line| format!("line {line}\n")).collect();
        folder.step("01-long", &[("exit", "1"), ("stdout", &long)]);
        fs::write(folder.0.join("steps/01-long/stderr"), b"\xff\xfe broken").expect("can be written");
        let (json, _) = folder.report();
        let lines = json["steps"][0]["stdout_last_lines"].as_array().expect("a list");
        assert_eq!((lines.len(), &lines[LINES_KEPT - 1]), (LINES_KEPT, &"line 999".into()));
        assert!(json["steps"][0]["stderr_last_lines"][0].as_str().is_some_and(|line| line.contains("broken")));
    }
}
