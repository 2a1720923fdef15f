//! `emu run`: one entry of a PTX file on one emulated GPU, arguments in, buffers out.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Parser;
use serde_json::json;
use warpferry_emu::{
    Checks, EntryInfo, Launch, Machine, MachineConfig, MachineError, MemoryOrder, ModuleId, RunOutcome, Schedule,
    StreamId,
};

use super::argument::Argument;
use super::explore::explore;
use super::failure::{beside, Buffers, Failure};
use crate::output::{complain, say};

/// Options of `emu run`.
#[derive(Debug, Clone, Parser)]
pub struct RunOptions {
    /// The PTX file
    pub file: PathBuf,
    /// Entry to run; may be left out when there is one
    #[arg(long)]
    pub entry: Option<String>,
    /// CTAs in each dimension
    #[arg(long, default_value = "1", value_name = "X,Y,Z")]
    pub grid: Extent,
    /// Threads of a CTA in each dimension
    #[arg(long, default_value = "1", value_name = "X,Y,Z")]
    pub block: Extent,
    /// CTAs of a cluster in each dimension, for an entry without `.reqnctapercluster`
    #[arg(long, value_name = "X,Y,Z")]
    pub cluster: Option<Extent>,
    /// Dynamic shared memory, in bytes
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub shared: u32,
    /// The next argument of the entry: `u32:7`, `f32:1.5`, `buf:in.bin`, `zeros:256`, `hex:00ff` ..
    #[arg(long = "arg", value_name = "TYPE:VALUE", allow_hyphen_values = true)]
    pub arguments: Vec<Argument>,
    /// After the run, write the buffer that argument INDEX (from 0) points to into a file
    #[arg(long = "dump", value_name = "INDEX=FILE")]
    pub dumps: Vec<Dump>,
    /// Seed of the schedule and of what undefined registers and memory hold; without it: round robin and zeros
    #[arg(long)]
    pub seed: Option<u64>,
    /// Probabilistic concurrency testing in place of a random schedule: ordering constraints that the bug sought needs
    #[arg(long, requires = "seed", value_name = "DEPTH", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pct: Option<u32>,
    /// Check every access for data races by the PTX memory model; a race ends the run with both accesses
    #[arg(long)]
    pub races: bool,
    /// Weak memory: loads return any value that the PTX memory model allows, drawn by the seed or explored
    #[arg(long)]
    pub weak: bool,
    /// Goes through all orders and values of weak memory, one after another, in at most so many runs
    #[arg(long, requires = "weak", conflicts_with_all = ["seed", "pct"], value_name = "RUNS",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub explore: Option<u64>,
    /// Repeats one run of an exploration, by the choices that it printed
    #[arg(long, requires = "weak", conflicts_with_all = ["seed", "pct", "explore"], value_name = "LIST")]
    pub choices: Option<Choices>,
    /// Explores only runs with at most so many choices that are not the plain ones: what loops need
    #[arg(long, requires = "explore", value_name = "COUNT")]
    pub deviations: Option<usize>,
    /// Most warp instructions of the run, after which it counts as endless
    #[arg(long, default_value_t = 1 << 32, value_name = "COUNT")]
    pub limit: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Turns within which priorities change.
const PCT_TURNS: u32 = 10_000;

/// Three dimensions as `X`, `X,Y` or `X,Y,Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent([u32; 3]);

impl FromStr for Extent {
    type Err = String;

    fn from_str(text: &str) -> Result<Extent, String> {
        let mut found = [1; 3];
        let parts: Vec<&str> = text.split([',', 'x']).collect();
        if parts.len() > 3 {
            return Err(format!("`{text}` has more than three dimensions: valid is X, X,Y or X,Y,Z"));
        }
        for (dimension, part) in found.iter_mut().zip(parts) {
            let value = part.trim().parse().ok().filter(|n| *n > 0);
            *dimension = value.ok_or_else(|| format!("`{text}`: a dimension is 1 to {}", u32::MAX))?;
        }
        Ok(Extent(found))
    }
}

/// Choices of a run, as `0,2,1`; `-` for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices(pub Vec<u32>);

impl FromStr for Choices {
    type Err = String;

    fn from_str(text: &str) -> Result<Choices, String> {
        if text == "-" {
            return Ok(Choices(Vec::new()));
        }
        let choices = text.split(',').map(|choice| choice.parse().ok()).collect::<Option<_>>();
        choices.map(Choices).ok_or_else(|| format!("`{text}`: valid is a list of numbers, such as 0,2,1, or -"))
    }
}

/// A buffer to write out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Which argument, from 0.
    pub index: usize,
    /// Where to.
    pub file: PathBuf,
}

impl FromStr for Dump {
    type Err = String;

    fn from_str(text: &str) -> Result<Dump, String> {
        let parts = text.split_once('=').and_then(|(index, file)| Some((index.trim().parse().ok()?, file)));
        let parts = parts.filter(|(_, file)| !file.is_empty());
        let (index, file) = parts.ok_or_else(|| format!("`{text}`: valid is INDEX=FILE, such as 0=out.bin"))?;
        Ok(Dump { index, file: PathBuf::from(file) })
    }
}

/// A run that went to its end.
pub(super) struct Done {
    entry: String,
    pub machine: Machine,
    /// What each argument's buffer holds; nothing where it is none.
    pub buffers: Vec<Option<Vec<u8>>>,
}

/// Runs and reports; false when the program did not run to its end.
pub fn run(options: &RunOptions) -> bool {
    let outcome = match options.explore {
        Some(runs) => explore(options, runs),
        None => once(options),
    };
    if let Err(failure) = &outcome {
        match options.json {
            true => say(failure.json()),
            false => complain(format_args!("error: {}", failure.text())),
        }
    }
    outcome.is_ok()
}

/// One run by the schedule of the options.
fn once(options: &RunOptions) -> Result<(), Failure> {
    if options.weak && options.seed.is_none() && options.choices.is_none() {
        let what = "--weak needs --seed N, which draws values and orders, --explore RUNS, which goes through them, or \
                    --choices LIST, which repeats one of those runs";
        return Err(Failure::Usage(what.to_string()));
    }
    if let Some(deviations) = options.deviations {
        return Err(Failure::Usage(format!("--deviations {deviations}: bounds what --explore RUNS goes through")));
    }
    let config = match &options.choices {
        Some(Choices(choices)) => {
            let schedule = Schedule::Explore { choices: choices.clone() };
            MachineConfig { schedule, ..config(options) }
        }
        None => config(options),
    };
    let done = execute(options, config)?;
    for dump in &options.dumps {
        save(&dump.file, done.buffers[dump.index].as_deref().unwrap_or_default())?;
    }
    if options.json {
        say(json!({
            "status": "ok",
            "entry": done.entry,
            "warp_instructions": done.machine.statistics().warp_instructions(),
            "time_ns": done.machine.time_ns(),
            "races_checked": options.races,
        }));
    }
    Ok(())
}

/// Writes what a buffer holds.
pub(super) fn save(file: &Path, contents: &[u8]) -> Result<(), Failure> {
    fs::write(file, contents).map_err(|error| Failure::Usage(format!("--dump {}: {error}", file.display())))
}

/// Runs the entry once on a machine of this kind.
pub(super) fn execute(options: &RunOptions, config: MachineConfig) -> Result<Done, Failure> {
    let name = options.file.display().to_string();
    let bytes = fs::read(&options.file).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| Failure::Usage(format!("{name} is no PTX text: {error}")))?;
    let mut machine = Machine::new(config).map_err(|error| Failure::Usage(error.to_string()))?;
    // Texts handed from program to program often end with a zero byte.
    let module = machine.load_module(&name, text.trim_end_matches('\0')).map_err(Failure::Load)?;
    let entry = entry(&machine, module, options)?;
    let info = machine.entry_info(module, &entry).map_err(|error| match error {
        MachineError::Unloadable(error) => Failure::Load(*error),
        error => Failure::Usage(error.to_string()),
    })?;
    let (args, buffers) = pack(&mut machine, &info, &options.arguments)?;
    for dump in &options.dumps {
        if !matches!(buffers.get(dump.index), Some(Some(_))) {
            let count = options.arguments.len();
            let what = match dump.index < count {
                true => format!(
                    "--dump {}: argument {} is no buffer: valid is one given as buf or zeros",
                    dump.index, dump.index
                ),
                false => format!("--dump {}: {count} arguments are given, counted from 0", dump.index),
            };
            return Err(Failure::Usage(what));
        }
    }
    let launch = Launch {
        gpu: 0,
        stream: StreamId::DEFAULT,
        module,
        entry: entry.clone(),
        grid: options.grid.0,
        block: options.block.0,
        shared_bytes: options.shared,
        args,
        access: Vec::new(),
    };
    machine
        .launch_clusters(launch, options.cluster.map(|cluster| cluster.0))
        .map_err(|error| Failure::Usage(format!("{error} (from {})", shape(options))))?;
    match machine.run_until_idle() {
        Ok(RunOutcome::Stalled(report)) => return Err(Failure::Stall(report.to_string())),
        Ok(_) => {}
        Err(fault) => {
            let beside = fault.address.and_then(|address| beside(address, &buffers));
            return Err(Failure::Fault { fault: Box::new(fault), beside });
        }
    }
    let mut contents = Vec::with_capacity(buffers.len());
    for buffer in &buffers {
        let mut bytes = buffer.map(|(_, bytes)| vec![0; bytes]);
        if let (Some((address, 1..)), Some(bytes)) = (buffer, &mut bytes) {
            machine.read_raw(*address, bytes).map_err(|error| Failure::Usage(error.to_string()))?;
        }
        contents.push(bytes);
    }
    Ok(Done { entry, machine, buffers: contents })
}

/// The options of a launch's shape.
fn shape(options: &RunOptions) -> String {
    let words = |Extent([x, y, z]): Extent| format!("{x},{y},{z}");
    let cluster = options.cluster.map_or(String::new(), |cluster| format!(" --cluster {}", words(cluster)));
    format!("--grid {} --block {}{cluster} --shared {}", words(options.grid), words(options.block), options.shared)
}

/// One GPU that finds what is wrong in any program: bounds, rights, alignment. What a legal program may read without
/// having written it has a value.
pub(super) fn config(options: &RunOptions) -> MachineConfig {
    let mut config = MachineConfig::new(1, 1);
    config.checks = Checks { alignment: true, unawaited_copies: options.races, races: options.races, ..Checks::NONE };
    config.limits.warp_instructions = options.limit;
    config.garbage_seed = 0;
    if options.weak {
        config.memory = MemoryOrder::Weak;
    }
    if let Some(seed) = options.seed {
        config.schedule = match options.pct {
            Some(depth) => Schedule::Pct { seed, depth, steps: PCT_TURNS },
            None => Schedule::Random { seed },
        };
        // 0 would be no noise.
        config.garbage_seed = seed.wrapping_mul(2) | 1;
    }
    config
}

fn entry(machine: &Machine, module: ModuleId, options: &RunOptions) -> Result<String, Failure> {
    let names = machine.entries(module).map_err(|error| Failure::Usage(error.to_string()))?;
    match (&options.entry, names.as_slice()) {
        (Some(name), _) if names.contains(name) => Ok(name.clone()),
        (None, [only]) => Ok(only.clone()),
        (Some(name), _) => Err(Failure::Usage(format!("no entry {name}; there are: {}", names.join(" ")))),
        (None, []) => Err(Failure::Usage("the module has no entry".to_string())),
        (None, _) => Err(Failure::Usage(format!("--entry is one of: {}", names.join(" ")))),
    }
}

/// Packs the arguments as the entry wants them; makes and fills the buffers.
fn pack(machine: &mut Machine, info: &EntryInfo, given: &[Argument]) -> Result<(Vec<u8>, Buffers), Failure> {
    if given.len() != info.params.len() {
        let names: Vec<String> = info.params.iter().map(|p| format!("{} ({} bytes)", p.name, p.bytes)).collect();
        let what = format!("{} arguments given, the entry takes {}: {}", given.len(), names.len(), names.join(", "));
        return Err(Failure::Usage(what));
    }
    let mut args = vec![0; info.param_bytes];
    let mut buffers = Vec::new();
    for (index, (argument, param)) in given.iter().zip(&info.params).enumerate() {
        let contents = argument.contents().map_err(|what| Failure::Usage(format!("argument {index}: {what}")))?;
        let bytes = match (argument, &contents) {
            (_, Some(contents)) => {
                let address = buffer(machine, contents)?;
                buffers.push(Some((address, contents.len())));
                address.to_le_bytes().to_vec()
            }
            (Argument::Bytes(bytes), None) => {
                buffers.push(None);
                bytes.clone()
            }
            (_, None) => Vec::new(),
        };
        if bytes.len() != param.bytes {
            let what = format!(
                "argument {index} has {} bytes, parameter {} of the entry has {}",
                bytes.len(),
                param.name,
                param.bytes
            );
            return Err(Failure::Usage(what));
        }
        args[param.offset..param.offset + bytes.len()].copy_from_slice(&bytes);
    }
    Ok((args, buffers))
}

/// A buffer in device memory; an empty one is the null pointer.
fn buffer(machine: &mut Machine, contents: &[u8]) -> Result<u64, Failure> {
    if contents.is_empty() {
        return Ok(0);
    }
    let usage = |error: MachineError| Failure::Usage(error.to_string());
    let address = machine.alloc(0, contents.len() as u64).map_err(usage)?;
    machine.write(address, contents).map_err(usage)?;
    Ok(address)
}
