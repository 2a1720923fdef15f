//! Trying mutants: all of a fabric, some of one kernel, or one again.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use warpferry::kernel::launch::KernelSet;
use warpferry::kernel::{self, image::KernelImage};
use warpferry::Fabric;

use super::argument;
use super::change::{apply, Change, Kind};
use super::kernel::Kernel;
use super::origin::Sources;
use super::places::{mutants, Mutant};
use super::record::{hash, Fate, Line, Record, With};
use super::suite::{runs, Suite};
use super::table;
use crate::case::{Case, Link};
use crate::play::replay_line;
use crate::random::number;
use crate::skip::skipped;

/// The kernels of a fabric, parsed.
pub struct Set {
    pub kernels: Vec<Kernel>,
}

impl Set {
    pub fn new(link: Link) -> Set {
        let fabric = if link == Link::Mlx5 { Fabric::Mlx5 } else { Fabric::Loopback };
        let sound = KernelSet::embedded(fabric).unwrap_or_else(|error| panic!("{error}"));
        let variant =
            |stem: &str| kernel::find(&format!("{stem}_{}", fabric.name())).unwrap_or_else(|error| panic!("{error}"));
        let (quantizes, lands) = (variant("dispatch_staged_e4m3"), variant("dispatch_direct_e4m3"));
        let sources = Sources::read();
        let images = [sound.layout, sound.exchange, sound.dispatch, sound.combine, quantizes, sound.pad];
        let mut kernels: Vec<Kernel> = images.map(|image| Kernel::new(image, &sources)).into();
        kernels.push(Kernel::new(lands, &sources).beside(&kernels[QUANTIZE]));
        // The rest of it is that of dispatch.
        kernels[QUANTIZE].only = Some("quantizer.ptxh");
        Set { kernels }
    }

    /// One kernel changed.
    pub fn with(&self, kernel: usize, at: usize, change: &Change) -> Option<&'static KernelImage> {
        let of = &self.kernels[kernel];
        Some(of.image_of(&apply(&of.module, at, change)?))
    }

    /// What became of a mutant, tried with `runs`, the `first` before others; whether any of `all` comes by it is asked
    /// when it survives.
    pub fn fate(
        &self,
        suite: &Suite,
        first: Option<usize>,
        runs: &[usize],
        all: &[usize],
        (kernel, mutant): (usize, &Mutant),
    ) -> Fate {
        let image = self.with(kernel, mutant.at, &mutant.change).expect("the generator gives what can be changed");
        let exact = self.keeps_pace(kernel, mutant);
        let catch = |runs: &[usize]| suite.catch(runs, image, exact, mutant.kind.is_edge());
        if let Some(caught) = first.and_then(|run| catch(&[run])).or_else(|| catch(runs)) {
            let what = caught.what.lines().next().unwrap_or_default().chars().take(400).collect();
            let checker = caught.checker.name().to_string();
            return Fate::Caught { checker, run: caught.run, case: case_hash(&suite.tried[caught.run].case), what };
        }
        let trap = self.with(kernel, mutant.at, &Change::Trap).expect("a trap fits everywhere");
        if all.iter().any(|&run| suite.attempt(run, trap, false, false).is_some()) {
            Fate::Survives
        } else {
            Fate::Unreached
        }
    }

    /// Whether a run goes as the sound kernels' up to where the mutant makes a difference: then what ranks say can be
    /// compared word for word.
    pub fn keeps_pace(&self, kernel: usize, mutant: &Mutant) -> bool {
        let of = &self.kernels[kernel];
        let stands = !matches!(mutant.change, Change::Earlier | Change::Later);
        let changed = apply(&of.module, mutant.at, &mutant.change);
        let long = changed.map(|module| super::kernel::entry(&module).body.as_ref().map_or(0, |body| body.code.len()));
        stands && !mutant.kind.is_edge() && mutant.kind != Kind::Mask && long == Some(of.body().code.len())
    }

    /// A line about a mutant.
    pub fn line(&self, with: With, kernel: usize, mutant: &Mutant) -> Line {
        let of = &self.kernels[kernel];
        Line {
            kernel: of.image.name.to_string(),
            hash: of.hash(),
            with,
            number: mutant.number,
            place: of.place(mutant.at),
            phase: of.phase(mutant.at).to_string(),
            edge: of.origins[mutant.at].edge.clone(),
            text: of.texts[mutant.at].clone(),
            kind: mutant.kind.name().to_string(),
            change: mutant.change.to_string(),
            fate: Fate::Survives,
        }
    }
}

/// Runs of a mutant whose argument says that none can show it, of all kinds.
const ARGUED_RUNS: usize = 16;

/// What names a run, wherever it stands among the runs.
fn case_hash(case: &Case) -> u64 {
    hash(&format!("{case:?}"))
}

/// A hash of the sources that say what a run shows: the emulator, the NIC, the host's side and the worlds.
pub fn machine_hash() -> u64 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        ["crates/emu/src", "crates/nic/src", "src", "tests/worlds"].iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
            match path.is_dir() {
                // The program plays no part; of the mutants, the runs have a hash, and changes stand in each line.
                true if path.ends_with("src/bin") || path.ends_with("tests/worlds/mutation") => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap_or_default());
    hash(&texts.collect::<Vec<_>>().join("\0"))
}

/// The kernels of a set, in the order of [`Set::kernels`]; `quantize` is what dispatch does more where it quantizes, `land`
/// what it does more where rows land by themselves.
pub const KERNELS: [&str; 7] = ["layout", "exchange", "dispatch", "combine", "quantize", "pad", "land"];
const QUANTIZE: usize = 4;
const LAND: usize = 6;

/// Which of them an image's name says.
pub fn stem(image: &str) -> &str {
    match image {
        _ if image.contains("_direct_") => KERNELS[LAND],
        _ if image.contains("_e4m3_") => KERNELS[QUANTIZE],
        _ => image.split('_').next().unwrap_or_default(),
    }
}

/// Where results are: beside what cargo builds, unless `WARPFERRY_MUTANTS_RESULTS` names a folder.
pub fn results(link: Link) -> PathBuf {
    let folder =
        std::env::var_os("WARPFERRY_MUTANTS_RESULTS").map_or_else(|| PathBuf::from("target/mutants"), PathBuf::from);
    folder.join(if link == Link::Mlx5 { "mlx5.jsonl" } else { "loopback.jsonl" })
}

pub fn link_named(word: &str) -> Option<Link> {
    match word {
        "mlx5" => Some(Link::Mlx5),
        "loopback" => Some(Link::Loopback),
        _ => None,
    }
}

/// Method: all mutants of a fabric, which takes hours: `scripts/mutants.sh` asks for it by `WARPFERRY_MUTANTS`. What is in
/// the record already is not tried again. Red when a survivor has no argument.
#[test]
fn every_mutant_of_the_sources() {
    let Ok(word) = std::env::var("WARPFERRY_MUTANTS") else {
        return skipped("every mutant of the sources", "WARPFERRY_MUTANTS is not set");
    };
    if word == "tell" {
        return table::write();
    }
    let link = link_named(&word).unwrap_or_else(|| panic!("WARPFERRY_MUTANTS={word}: valid is mlx5, loopback or tell"));
    let only = std::env::var("WARPFERRY_MUTANTS_KERNEL").ok().filter(|kernel| !kernel.is_empty());
    if let Some(kernel) = &only {
        assert!(KERNELS.contains(&kernel.as_str()), "WARPFERRY_MUTANTS_KERNEL={kernel}: valid is one of {KERNELS:?}");
    }
    let deadline = Instant::now() + Duration::from_secs(number("WARPFERRY_MUTANTS_SECONDS", u64::from(u32::MAX)));
    let from = number("WARPFERRY_MUTANTS_FROM", 0) as usize;
    let threads = number("WARPFERRY_MUTANTS_THREADS", 1).clamp(1, 64);
    let only_edges = number("WARPFERRY_MUTANTS_EDGES", 0) != 0;
    let strictly = number("WARPFERRY_MUTANTS_AFRESH", 0) != 0;

    let set = Set::new(link);
    let runs = runs(link);
    let with = With { runs: hash(&format!("{runs:?}")), machine: machine_hash() };
    let cases: Vec<u64> = runs.iter().map(case_hash).collect();
    let record = Record::open(&results(link));
    let todo: Vec<(usize, Mutant)> = (0..KERNELS.len())
        .filter(|&kernel| only.as_ref().is_none_or(|only| only == KERNELS[kernel]))
        .flat_map(|kernel| mutants(&set.kernels[kernel]).into_iter().map(move |mutant| (kernel, mutant)))
        .filter(|(_, mutant)| !only_edges || mutant.kind.is_edge())
        .skip(from)
        .collect();
    let is_known =
        |(kernel, mutant): &(usize, Mutant)| record.known(&set.line(with, *kernel, mutant), &cases, strictly).is_some();
    let left: Vec<&(usize, Mutant)> = todo.iter().filter(|one| !is_known(one)).collect();
    println!("{word}: {} mutants, {} not tried yet", todo.len(), left.len());
    let suite = Suite::new(runs, &set.kernels);
    // Runs that have caught most come first: few mutants need many.
    let caught: Vec<AtomicUsize> = suite.tried.iter().map(|_| AtomicUsize::new(0)).collect();
    in_threads(threads, deadline, &left, |(kernel, mutant)| {
        let mut line = set.line(with, *kernel, mutant);
        // What caught it before comes first of all.
        let first = record.before(&line).and_then(|line| match &line.fate {
            Fate::Caught { run, case, .. } => cases.iter().position(|hash| hash == case).or(Some(*run)),
            Fate::Survives | Fate::Unreached => None,
        });
        let first = first.filter(|&run| run < suite.tried.len());
        let all = suite.by(*kernel, mutant.at);
        let mut by = all.clone();
        if argument::of(&line).is_some() {
            // Every so many of the runs, from another one on for each mutant.
            let step = by.len().div_ceil(ARGUED_RUNS).max(1);
            by = by.iter().copied().skip(mutant.number % step).step_by(step).collect();
        }
        by.sort_by_cached_key(|&run| Reverse(caught[run].load(Ordering::Relaxed)));
        line.fate = set.fate(&suite, first, &by, &all, (*kernel, mutant));
        if let Fate::Caught { run, .. } = &line.fate {
            caught[*run].fetch_add(1, Ordering::Relaxed);
        }
        record.add(&line);
        tell(&word, &line);
    });
    drop(record);
    let tried = Record::open(&results(link));
    let lines = todo.iter().map(|(kernel, mutant)| set.line(with, *kernel, mutant));
    let known: Vec<Line> = lines.filter_map(|line| tried.known(&line, &cases, strictly).cloned()).collect();
    println!("{}", table::summary(&known));
    let open: Vec<String> = known
        .iter()
        .filter(|line| !matches!(line.fate, Fate::Caught { .. }) && argument::of(line).is_none())
        .map(|line| format!("{} {} `{}` {} {}", line.kernel, line.place, line.text, line.kind, line.change))
        .collect();
    assert!(open.is_empty(), "{} of {} survive without an argument:\n  {}", open.len(), known.len(), open.join("\n  "));
    let missing = todo.len() - known.len();
    assert!(missing == 0, "{missing} of {} mutants were not tried: the time is up", todo.len());
}

/// Does all of `work`, until the time is up.
fn in_threads<T: Sync>(threads: u64, deadline: Instant, work: &[&T], act: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if Instant::now() >= deadline {
                        return;
                    }
                    act(one);
                }
            });
        }
    });
}

/// One line for people.
fn tell(fabric: &str, line: &Line) {
    let name = format!("{} `{}` {} {}", line.place, line.text, line.kind, line.change);
    let kernel = stem(&line.kernel);
    match &line.fate {
        Fate::Caught { checker, run, .. } => {
            println!("{checker}: {name}; again: WARPFERRY_MUTANT={fabric}:{kernel}:{}:{run}", line.number);
        }
        Fate::Survives => println!("SURVIVES: {name}; WARPFERRY_MUTANT={fabric}:{kernel}:{}", line.number),
        Fate::Unreached => println!("not reached: {name}; WARPFERRY_MUTANT={fabric}:{kernel}:{}", line.number),
    }
}

/// One mutant again: `WARPFERRY_MUTANT=FABRIC:KERNEL:NUMBER[:RUN]`, as a run of all prints it; `FABRIC:KERNEL:list` names
/// all of a kernel.
#[test]
fn again() {
    let Ok(text) = std::env::var("WARPFERRY_MUTANT") else {
        return skipped("one mutant again", "WARPFERRY_MUTANT is not set");
    };
    let words: Vec<&str> = text.split(':').collect();
    let wrong = || -> ! {
        panic!("WARPFERRY_MUTANT={text}: valid is FABRIC:KERNEL:NUMBER[:RUN], of mlx5 or loopback and {KERNELS:?}")
    };
    let [fabric, kernel, number, run @ ..] = &words[..] else { wrong() };
    let link = link_named(fabric).unwrap_or_else(|| wrong());
    let kernel = KERNELS.iter().position(|name| name == kernel).unwrap_or_else(|| wrong());
    let set = Set::new(link);
    let all = mutants(&set.kernels[kernel]);
    if *number == "list" {
        for mutant in &all {
            let line = set.line(With::default(), kernel, mutant);
            println!("{} {} `{}` {} {}", line.number, line.place, line.text, line.kind, line.change);
        }
        return;
    }
    let number: usize = number.parse().unwrap_or_else(|_| wrong());
    let mutant = all.iter().find(|mutant| mutant.number == number).unwrap_or_else(|| {
        let most = all.iter().map(|mutant| mutant.number).max().unwrap_or_default();
        panic!("WARPFERRY_MUTANT={text}: there is no mutant {number}: valid is what `list` names, up to {most}")
    });
    let line = set.line(With::default(), kernel, mutant);
    println!("{} {} `{}` {} {}", line.kernel, line.place, line.text, line.kind, line.change);
    let runs = runs(link);
    let picked: Vec<usize> = match run {
        [] => (0..runs.len()).collect(),
        [run] => {
            let found = run.parse().ok().filter(|run| *run < runs.len());
            let most = runs.len() - 1;
            vec![found.unwrap_or_else(|| panic!("WARPFERRY_MUTANT={text}: there is no run {run}: valid is 0 to {most}"))]
        }
        _ => wrong(),
    };
    let picked = picked.into_iter().map(|run| runs.get(run).cloned().unwrap_or_else(|| wrong())).collect();
    let suite = Suite::new(picked, &set.kernels);
    let changed = set.with(kernel, mutant.at, &mutant.change).expect("the generator gives what can be changed");
    match suite.catch(&suite.by(kernel, mutant.at), changed, set.keeps_pace(kernel, mutant), mutant.kind.is_edge()) {
        Some(caught) => {
            println!("{}: {}", caught.checker.name(), caught.what);
            let line = replay_line(&suite.tried[caught.run].case);
            println!("  that run alone: WARPFERRY_MUTANT={fabric}:{}:{number} {line}", KERNELS[kernel]);
        }
        None => println!("SURVIVES"),
    }
}
