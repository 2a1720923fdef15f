//! `bench`: times of dispatch and combine on any backend, records of them, and the comparison of two.

mod csv;
mod files;
mod machine;
mod options;
mod plots;
mod sweep;
mod table;
mod verdicts;

use indicatif::{ProgressBar, ProgressStyle};
use warpferry::bench::compare::{compare, Verdict};
use warpferry::bench::traffic::Least;
use warpferry::bench::{run as run_workload, Record, Runs, Source, Workload};
use warpferry::op::TIMEOUT_DEFAULT;
use warpferry::reference::Layout;
use warpferry::{Error, Result, Shape, Topology, WorldConfig};
use warpferry_emu::Checks;

use crate::backend::{Backend, Choice};
use crate::memory::Need;
use crate::options::SettingOptions;
use crate::output::{complain, say};
use files::Written;
pub use options::BenchOptions;
use options::FormatOption;
use sweep::Point;

/// Sizes where neither options nor a trace say them.
const EXPERTS_DEFAULT: u32 = 256;
const TOPK_DEFAULT: u32 = 8;
/// Repeats on a GPU, and those before.
const REPEATS_GPU: u32 = 20;
const WARM_UPS_GPU: u32 = 3;
/// Outputs of a rank's dispatches that are alive at once: on a GPU one runs before the one that is timed.
fn outputs_alive(backend: &Backend) -> u32 {
    if backend.is_emulator() {
        1
    } else {
        2
    }
}

/// Runs the benches, or compares; false when something is slower and that was to fail.
pub fn run(options: &BenchOptions) -> Result<bool> {
    if let Some(files) = &options.compare {
        return compare_files(options, files);
    }
    // What cannot be written is known before anything runs.
    let out = options.out.as_deref().map(Written::new).transpose()?;
    let axes = sweep::axes(options);
    let records = records(options, &sweep::points(&axes)?)?;
    match options.printed() {
        FormatOption::Table => say(table::of(&records, &axes)),
        FormatOption::Json => say(files::json(&records)?),
        FormatOption::Csv => say(csv::write(&records)?.trim_end()),
    }
    if let Some(out) = out {
        out.write(&records)?;
    }
    if let Some(folder) = &options.plots {
        let written = plots::write(&records, &axes, folder)?;
        if written.is_empty() {
            complain("no plots: no option was given several values");
        }
    }
    Ok(true)
}

fn compare_files(options: &BenchOptions, files: &[std::path::PathBuf]) -> Result<bool> {
    let [old, new] = files else {
        return Err(Error::argument("--compare", format!("{} files", files.len()), "two"));
    };
    let pairs = compare(&files::read(old)?, &files::read(new)?)?;
    match options.printed() {
        FormatOption::Table => say(verdicts::table(&pairs)),
        FormatOption::Json => say(verdicts::json(&pairs)),
        FormatOption::Csv => return Err(Error::argument("--format", "csv", "table or json with --compare")),
    }
    let is_slower =
        pairs.iter().any(|pair| [pair.dispatch, pair.combine].iter().any(|op| op.verdict == Verdict::Slower));
    Ok(!(options.fail_slower && is_slower))
}

/// A record of each point.
fn records(options: &BenchOptions, points: &[Point]) -> Result<Vec<Record>> {
    let source = options.source()?;
    let cases = points.iter().map(|point| Case::new(options, &source, point)).collect::<Result<Vec<Case>>>()?;
    let largest = cases.iter().map(|case| case.workload.topology).max_by_key(|topology| topology.ranks());
    let largest = largest.ok_or_else(|| Error::Bug("a sweep without points".into()))?;
    let of_emulator = options.machine.as_ref().map(|_| "--machine");
    let Choice { backend, why } = Choice::new(&options.place, of_emulator, largest)?;
    if let Some(machine) = &options.machine {
        crate::machine::find(machine)?;
    }
    if options.printed() == FormatOption::Table {
        say(format_args!("backend  {} ({why})", backend.device()));
    }
    let progress = progress(cases.len() as u64);
    let records = cases.iter().map(|case| {
        let record = case.record(options, &backend, &|what| progress.set_message(what.to_string()));
        progress.inc(1);
        record
    });
    let records = records.collect();
    progress.finish_and_clear();
    records
}

/// A bar on a terminal, nothing elsewhere.
fn progress(points: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg:20} {bar:30} {pos}/{len}  {elapsed}");
    let bar = ProgressBar::new(points).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// One point of a sweep, made ready.
struct Case {
    workload: Workload,
    setting: SettingOptions,
}

impl Case {
    fn new(options: &BenchOptions, source: &Source, point: &Point) -> Result<Case> {
        let topology = Topology::new(point.value("nodes")?, point.value("gpus_per_node")?)?;
        let (experts, topk) = sizes(source, point)?;
        let tokens = point.value("tokens")?;
        let shape = options.rows.shape(Shape::new(point.value("hidden")?, experts, topk, tokens.max(1))?)?;
        shape.check(topology)?;
        let workload = Workload { topology, shape, tokens, source: source.clone(), seed: options.seed };
        let setting = SettingOptions {
            landing: options.landing,
            channels: point.get("channels"),
            sms: point.get("sms"),
            chunk: point.get("chunk"),
            chunk_ib: point.get("chunk_ib"),
            chunk_nv: point.get("chunk_nv"),
            depth_ib: point.get("depth_ib"),
            depth_nv: point.get("depth_nv"),
            workers: point.get("workers"),
            roles: options.roles.clone(),
        };
        Ok(Case { workload, setting })
    }

    fn record(&self, options: &BenchOptions, backend: &Backend, say: &dyn Fn(&str)) -> Result<Record> {
        let config = self.config(options, backend)?;
        let emulated = backend.is_emulator();
        let runs = Runs {
            repeats: options.repeats.unwrap_or(if emulated { 1 } else { REPEATS_GPU }),
            warm_ups: options.warm_ups.unwrap_or(if emulated { 0 } else { WARM_UPS_GPU }),
            verify: !options.no_verify,
            cached: !options.no_cached,
            combine: true,
            timeout: options.place.timeout().unwrap_or(TIMEOUT_DEFAULT),
        };
        if let Some(machine) = &options.machine {
            return machine::record(machine, &self.workload, &machine::plan(&config)?, &runs, say);
        }
        self.check_memory(options, backend, &config)?;
        say("making the world");
        let mut bed = backend.bed(&config)?;
        let device = backend.device();
        let record = run_workload(&mut bed, &self.workload, &runs, (&device, options.machine.as_deref()), say)?;
        bed.close()?;
        Ok(record)
    }

    fn config(&self, options: &BenchOptions, backend: &Backend) -> Result<WorldConfig> {
        let (topology, shape) = (self.workload.topology, self.workload.shape);
        let mut config = WorldConfig::new(topology, shape).fabric(options.place.fabric.fabric());
        config.tuning =
            self.setting.tuning(topology, &shape, backend.sms_of_rank(topology)?, outputs_alive(backend))?;
        // Results are compared; `demo` runs the same kernels with all checks.
        config.machine.checks = Checks::NONE;
        Ok(config)
    }

    /// Refuses a world that would not fit into the memory that is there.
    fn check_memory(&self, options: &BenchOptions, backend: &Backend, config: &WorldConfig) -> Result<()> {
        let plan = config.plan(0)?;
        let layouts = self.workload.choices()?;
        let layouts = layouts
            .iter()
            .map(|rank| Layout::new(plan.topology, plan.shape, &rank.topk_idx))
            .collect::<Result<Vec<Layout>>>()?;
        let rows = Least::new(plan.topology, &layouts).rows;
        let tokens = self.workload.tokens;
        let mut need = Need::new(&plan, config.memory_bytes()?, u64::from(tokens), rows, false);
        need.tensor_bytes *= u64::from(outputs_alive(backend));
        if options.no_verify {
            need.host_bytes = 0;
        }
        need.check(&plan, tokens, backend.room())
    }
}

/// Experts and choices of a token: as given, or as the trace has them.
fn sizes(source: &Source, point: &Point) -> Result<(u32, u32)> {
    let (experts, topk) = (point.get("experts"), point.get("topk"));
    let Source::Recorded { name, routing } = source else {
        return Ok((experts.unwrap_or(EXPERTS_DEFAULT), topk.unwrap_or(TOPK_DEFAULT)));
    };
    for (option, given, have) in [("--experts", experts, routing.experts()), ("--topk", topk, routing.topk())] {
        if let Some(given) = given.filter(|&given| given != have) {
            return Err(Error::argument(option, given, format!("{have}, as {name} says")));
        }
    }
    Ok((routing.experts(), routing.topk()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[command(flatten)]
        options: BenchOptions,
    }

    /// A small world, where `words` say nothing else.
    fn options(words: &[&str]) -> BenchOptions {
        let small =
            [("--backend", "emu"), ("--gpus-per-node", "2"), ("--hidden", "64"), ("--experts", "8"), ("--topk", "2")];
        let small = small.into_iter().filter(|(name, _)| !words.contains(name)).flat_map(|(name, value)| [name, value]);
        Words::parse_from(std::iter::once("bench").chain(small).chain(words.iter().copied())).options
    }

    fn run_all(words: &[&str]) -> Result<Vec<Record>> {
        let options = options(words);
        super::records(&options, &sweep::points(&sweep::axes(&options))?)
    }

    /// Two records of the emulator.
    pub fn records() -> Vec<Record> {
        run_all(&["--tokens", "8,16", "--format", "json"]).expect("small worlds run")
    }

    #[test]
    fn records_say_what_ran() {
        let records = records();
        assert_eq!(records.iter().map(|record| record.workload.class.tokens).collect::<Vec<_>>(), [8, 16]);
        for record in &records {
            let figures = &record.figures;
            assert!(record.place.verified && record.place.backend == "emu", "{record:?}");
            assert!(figures.dispatch_us > 0.0 && figures.combine_us > 0.0, "{figures:?}");
            assert!(figures.dispatch_cached_us > Some(0.0), "{figures:?}");
            let shares = [figures.layout_us, figures.exchange_us, figures.dispatch_kernel_us];
            let sum: f64 = shares.iter().flatten().sum();
            assert!(shares.iter().all(Option::is_some) && sum >= figures.dispatch_us, "{figures:?}");
            assert!(figures.dispatch_ib_bytes > figures.dispatch_ib_bytes_min, "{figures:?}");
        }
        assert_eq!(records[0].setting.tuning.landing, "staged");
        assert!(records[1].figures.dispatch_ib_bytes > records[0].figures.dispatch_ib_bytes);
    }

    #[test]
    fn records_come_back_from_json() {
        let records = records();
        for records in [&records[..], &records[..1]] {
            let text = files::json(records).expect("records are JSON");
            let folder = std::env::temp_dir().join(format!("warpferry-bench-{}-{}", std::process::id(), records.len()));
            std::fs::create_dir_all(&folder).expect("a folder for the test");
            for name in ["a.json", "a.csv"] {
                let path = folder.join(name);
                Written::new(&path).and_then(|file| file.write(records)).expect("written");
                assert_eq!(files::read(&path).expect("read"), records, "{name}: {text}");
            }
            std::fs::remove_dir_all(&folder).expect("the test's own folder");
        }
    }

    /// By rows, by expert, that land, in FP8 and with other gates: the first results equal the reference, or there is an error.
    #[test]
    fn whatever_is_moved_is_checked() {
        for words in [
            &["--layout", "experts", "--align", "4"][..],
            &["--landing", "direct"],
            &["--payload", "fp8-e4m3", "--hidden", "256"],
            &["--gate", "all-to-one", "--fabric", "loopback"],
            &["--gate", "zipf:1.2", "--repeats", "2", "--warm-ups", "1", "--no-cached"],
            &["--node-limit", "1", "--nodes", "1,2"],
            &["--no-verify", "--payload", "fp8-quantize", "--hidden", "256"],
        ] {
            let words = [&["--tokens", "9", "--format", "json"], words].concat();
            run_all(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }

    /// Of a row that lands nothing but the row crosses NVLink; staged it has a header.
    #[test]
    fn rows_that_land_are_counted_without_headers() {
        let figures = |landing| {
            let records = run_all(&["--tokens", "9", "--format", "json", "--landing", landing]).expect("a small world");
            records[0].figures.clone()
        };
        let (staged, direct) = (figures("staged"), figures("direct"));
        assert!(staged.dispatch_nvlink_bytes > staged.dispatch_nvlink_bytes_min && staged.landing_bytes == 0);
        assert_eq!(direct.dispatch_nvlink_bytes, direct.dispatch_nvlink_bytes_min);
        assert!(direct.landing_bytes > 0 && direct.buffer_bytes == staged.buffer_bytes);
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (words, says) in [
            (&["--node-limit", "2", "--gate", "uniform"][..], "--node-limit"),
            (&["--gate", "node-limited"], "--node-limit beside it"),
            (&["--machine", "h900"], "h800-cx7, h100-cx7, h200-cx7, b200-cx7, generic"),
            (&["--node-limit", "3"], "1 to 2"),
            (&["--sms", "999"], "`--sms` = 999"),
            (&["--sms", "4,4"], "`--sms` = 4 twice"),
            (&["--nodes", "0"], "`nodes` = 0"),
            (&["--gpus-per-node", "3"], "experts"),
        ] {
            let said = run_all(words).expect_err("refused").to_string();
            assert!(said.contains(says), "{words:?}: {said}");
        }
    }
}
