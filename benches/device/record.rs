//! Results: one JSON file for machines, a short table for people.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{json, Map, Value};
use warpferry::driver::DriverInfo;
use warpferry::Error;

use super::backend::Backend;
use super::options::Options;

/// Version of the file's form.
const SCHEMA: u32 = 1;
/// Said of every time that the emulator gives.
const VIRTUAL_NOTE: &str = "virtual counters of the emulator: no statement about any device";

/// Why the benches ended early: `what` names the probe, `why` what it did.
#[derive(Debug)]
pub struct Failure {
    what: String,
    why: String,
}

impl Failure {
    /// A probe that gave wrong data or does not fit.
    pub fn wrong(what: &str, why: &str) -> Failure {
        Failure { what: what.to_string(), why: why.to_string() }
    }

    /// A probe that does not end.
    pub fn hangs() -> Failure {
        Failure::wrong("a launch", "did not end in time")
    }

    /// Says in which group it happened.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Failure {
        self.what = format!("{group}: {}", self.what);
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { what: "device".to_string(), why: error.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Failure {}

/// Numbers of one setting.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// All of them times `factor`.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Samples {
        self.0.iter_mut().for_each(|value| *value *= factor);
        self
    }

    /// The middle one, 0 without any.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => (sorted[even / 2 - 1] + sorted[even / 2]) / 2.0,
        }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The least, 0 without any.
    pub fn least(&self) -> f64 {
        self.0.iter().copied().reduce(f64::min).unwrap_or(0.0)
    }

    /// The most, 0 without any.
    pub fn most(&self) -> f64 {
        self.0.iter().copied().reduce(f64::max).unwrap_or(0.0)
    }
}

/// One result.
#[derive(Debug)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// Settings, in order.
    pub parameters: Vec<(&'static str, Value)>,
    /// Unit of the samples.
    pub unit: &'static str,
    /// The samples.
    pub samples: Samples,
    /// Least and most, where they are not those of the samples.
    pub range: Option<(f64, f64)>,
    /// Further numbers that follow from the samples.
    pub derived: Vec<(&'static str, f64)>,
}

impl Figure {
    /// A result without further numbers.
    pub fn new(name: &str, parameters: Vec<(&'static str, Value)>, unit: &'static str, samples: Samples) -> Figure {
        Figure { name: name.to_string(), parameters, unit, samples, range: None, derived: Vec::new() }
    }
}

/// Everything that was measured, and what was not.
#[derive(Debug)]
pub struct Report {
    head: Map<String, Value>,
    is_virtual: bool,
    skips: Vec<Value>,
    probes: Vec<Value>,
    operations: Vec<Value>,
    took: Map<String, Value>,
    verbose: bool,
    rows: Vec<Row>,
}

/// A line of the table.
#[derive(Debug)]
struct Row {
    /// Of the lines of one subject one is shown.
    subject: String,
    value: f64,
    /// Whether less of it is shown rather than more.
    shows_least: bool,
    text: String,
}

/// Settings that make a line of the table of its own; of the others the best is taken, of costs in nanoseconds the worst.
const SUBJECTS: [&str; 15] = [
    "world",
    "gate",
    "tokens",
    "sms",
    "sms_per_rank",
    "fence",
    "drained",
    "order",
    "memory",
    "sleep_ns",
    "act",
    "fence_behind",
    "planned_sms",
    "beside",
    "clock",
];

impl Row {
    fn new(group: &str, figure: &Figure, unit: &str) -> Row {
        let settings = |chosen: &dyn Fn(&str) -> bool| -> String {
            let chosen = figure.parameters.iter().filter(|(name, _)| chosen(name));
            chosen.map(|(name, value)| format!(" {name}={value}")).collect()
        };
        let derived: String = figure.derived.iter().map(|(name, value)| format!(" {name}={}", short(*value))).collect();
        let value = figure.samples.median();
        Row {
            subject: format!("{group} {}{}", figure.name, settings(&|name| SUBJECTS.contains(&name))),
            value,
            shows_least: figure.unit == "us",
            text: format!(
                "{group:10} {:24} {:>10} {unit:16}{derived} {}",
                figure.name,
                short(value),
                settings(&|_| true)
            ),
        }
    }

    fn goes_before(&self, other: &Row) -> bool {
        if self.shows_least {
            self.value < other.value
        } else {
            self.value > other.value
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Report {
    /// An empty report.
    pub fn new(options: &Options, backend: &Backend, info: &DriverInfo) -> Report {
        // Also behind the CUDA driver API, where a stand-in for its library gives emulated GPUs.
        let is_virtual = backend.is_emulator() || info.name.contains("emulated");
        let mut head = Map::new();
        head.insert("schema".into(), SCHEMA.into());
        head.insert("commit".into(), options.commit.clone().into());
        head.insert("device".into(), info.name.clone().into());
        head.insert("sms".into(), info.sms.into());
        head.insert("driver_version".into(), backend.driver_version());
        head.insert("backend".into(), backend.name().into());
        head.insert("date".into(), date().into());
        head.insert("command".into(), std::env::args().collect::<Vec<_>>().join(" ").into());
        let times = match (backend.machine(), is_virtual) {
            (Some(machine), _) => format!("modelled of {}: no device measured them", machine.name()),
            (None, true) => VIRTUAL_NOTE.to_string(),
            (None, false) => "measured on the device".to_string(),
        };
        head.insert("times".into(), times.clone().into());
        println!("device   {} ({}), {} SMs", info.name, backend.name(), info.sms);
        if is_virtual {
            println!("times    {times}");
        }
        let empty = || (Vec::new(), Map::new());
        let ((skips, took), probes, operations) = (empty(), Vec::new(), Vec::new());
        let (verbose, rows) = (options.verbose, Vec::new());
        Report { head, is_virtual, skips, probes, operations, took, verbose, rows }
    }

    /// A report of a run that ended before it had a device, for the file alone.
    pub fn without_device(options: &Options, backend: &str, failure: &Failure) -> Report {
        let mut head = Map::new();
        head.insert("schema".into(), SCHEMA.into());
        head.insert("commit".into(), options.commit.clone().into());
        head.insert("backend".into(), backend.into());
        head.insert("date".into(), date().into());
        head.insert("command".into(), std::env::args().collect::<Vec<_>>().join(" ").into());
        let empty = || (Vec::new(), Map::new());
        let ((skips, took), probes, operations) = (empty(), Vec::new(), Vec::new());
        let mut report =
            Report { head, is_virtual: false, skips, probes, operations, took, verbose: false, rows: Vec::new() };
        report.fail(failure);
        report
    }

    /// Whether times are virtual: then nothing is compared with a goal.
    pub fn is_virtual(&self) -> bool {
        self.is_virtual
    }

    /// Notes what was not measured, and why.
    pub fn skip(&mut self, what: &str, why: &str) {
        let known = self.skips.iter_mut().find(|skip| skip["what"] == what && skip["why"] == why);
        if let Some(skip) = known {
            skip["settings"] = json!(skip["settings"].as_u64().unwrap_or(0) + 1);
            return;
        }
        println!("skipped: {what}: {why}");
        self.skips.push(json!({ "what": what, "why": why, "settings": 1 }));
    }

    /// Notes why the run ended early.
    pub fn fail(&mut self, failure: &Failure) {
        self.head.insert("failure".into(), failure.to_string().into());
    }

    /// Notes the wall time of a group.
    pub fn took(&mut self, group: &str, time: Duration) {
        println!("group    {group}, {:.1} s", time.as_secs_f64());
        self.took.insert(group.into(), json!(round(time.as_secs_f64())));
    }

    /// Adds a probe's result.
    pub fn probe(&mut self, group: &str, figure: Figure) {
        let entry = self.entry(group, figure);
        self.probes.push(entry);
    }

    /// Adds an operation's result.
    pub fn operation(&mut self, group: &str, figure: Figure) {
        let entry = self.entry(group, figure);
        self.operations.push(entry);
    }

    fn entry(&mut self, group: &str, figure: Figure) -> Value {
        let samples = &figure.samples;
        let (least, most) = figure.range.unwrap_or((samples.least(), samples.most()));
        let unit = if self.is_virtual { format!("virtual {}", figure.unit) } else { figure.unit.to_string() };
        let row = Row::new(group, &figure, &unit);
        if self.verbose {
            println!("{row}");
        }
        self.rows.push(row);
        let parameters: Map<String, Value> =
            figure.parameters.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        let mut entry = json!({
            "group": group,
            "name": figure.name,
            "parameters": parameters,
            "unit": unit,
            "value": round(samples.median()),
            "median_of": samples.count(),
            "min": round(least),
            "max": round(most),
        });
        let fields = entry.as_object_mut().expect("an entry is an object");
        for (name, value) in figure.derived {
            fields.insert(name.to_string(), json!(round(value)));
        }
        entry
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        let mut all = self.head.clone();
        all.insert("skips".into(), self.skips.clone().into());
        all.insert("seconds".into(), self.took.clone().into());
        all.insert("probes".into(), self.probes.clone().into());
        all.insert("operations".into(), self.operations.clone().into());
        Value::Object(all)
    }

    /// A line of each subject, in the order in which subjects came up.
    fn print_table(&self) {
        let mut best: Vec<&Row> = Vec::new();
        for row in &self.rows {
            match best.iter_mut().find(|shown| shown.subject == row.subject) {
                Some(shown) if row.goes_before(shown) => *shown = row,
                Some(_) => {}
                None => best.push(row),
            }
        }
        best.iter().for_each(|row| println!("{row}"));
    }

    /// Prints the table and writes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: Option<&Path>) -> Result<(), Failure> {
        self.print_table();
        let counts = (self.probes.len(), self.operations.len(), self.skips.len());
        println!("done     {} probes, {} operations, {} skipped", counts.0, counts.1, counts.2);
        self.save(path)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: Option<&Path>) -> Result<(), Failure> {
        let Some(path) = path else { return Ok(()) };
        let text = format!("{:#}\n", self.to_json());
        std::fs::write(path, text).map_err(|error| Failure::wrong(&path.display().to_string(), &error.to_string()))
    }
}

/// Six digits are more than a measurement has.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let unit = 10_f64.powi(5 - value.abs().log10().floor() as i32);
    (value * unit).round() / unit
}

fn short(value: f64) -> String {
    let value = round(value);
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// Now in UTC, as 2026-01-31T12:00:00Z.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}T{:02}:{:02}:{:02}Z", month + 1, days + 1, rest / 3600, rest / 60 % 60, rest % 60)
}
