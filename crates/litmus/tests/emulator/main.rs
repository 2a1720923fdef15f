//! The tests of the suite as real PTX on the emulator: it never shows a state that the model forbids, and in weak memory it
//! shows all others but those of load buffering.
//!
//! Method: threads are placed as the test says, on their GPUs and in their thread blocks. Every test runs in sequential
//! memory under drawn schedules, and in weak memory under drawn schedules, under PCT, and under every sequence of choices
//! up to a bound. The states that some in-order execution shows are enumerated from the axioms
//! ([`Options::in_order`]): an exploration that finishes shows exactly these.
//!
//! What the emulator does not run as it stands (barriers with a quorum, other proxies, one-sided fences, clusters, tests
//! that may not end) is left out and counted. `LITMUS_SEEDS=N` runs that many drawn schedules of each test,
//! `LITMUS_RUNS=N` at most that many runs of an exploration.

mod play;
mod ptx;
mod random;

use std::collections::BTreeSet;
use std::path::PathBuf;

use play::{explore, run as execute};
use ptx::{program, Program};
use warpferry_emu::{MemoryOrder, Schedule};
use warpferry_litmus::{parse, run, Instruction, Liveness, Options, Test};

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

type States = BTreeSet<Vec<i64>>;

/// A test, and what the model says of it.
struct Case {
    name: String,
    test: Test,
    program: Program,
    variables: Vec<String>,
    allowed: States,
    /// Allowed states that some execution in program order shows.
    in_order: States,
}

impl Case {
    /// None where the emulator cannot run it.
    fn new(name: &str, text: &str) -> Option<Case> {
        let test = parse(name, text).unwrap_or_else(|error| panic!("{error}"));
        let report = run(&test, &Options::default());
        if report.blocked || !matches!(report.liveness, None | Some(Liveness::Terminates)) {
            return None;
        }
        let program = program(&test)?;
        // Barriers that wait for ever show no state.
        if execute(&test, &program, MemoryOrder::Sequential, Schedule::RoundRobin)
            .is_err_and(|e| e.starts_with("stalled"))
        {
            return None;
        }
        let of = |report: &warpferry_litmus::Report| report.states.iter().map(|state| state.values.clone()).collect();
        let in_order = of(&run(&test, &Options { in_order: true, ..Options::default() }));
        let (variables, allowed) = (report.variables.clone(), of(&report));
        Some(Case { name: name.to_string(), test, program, variables, allowed, in_order })
    }

    /// The state of one run, which is allowed.
    fn show(&self, memory: MemoryOrder, schedule: &Schedule) -> Vec<i64> {
        let (state, _) = execute(&self.test, &self.program, memory, schedule.clone())
            .unwrap_or_else(|error| panic!("{}, {memory:?}, {schedule:?}: {error}", self.name));
        self.must_be_allowed(&state, &format!("{memory:?}, {schedule:?}"));
        state
    }

    fn must_be_allowed(&self, state: &Vec<i64>, how: &str) {
        let Case { name, variables, program, .. } = self;
        let (known, text) = (self.allowed.contains(state), &program.text);
        assert!(known, "{name}, {how}: {variables:?} = {state:?} is forbidden\n{text}");
    }
}

/// The tests of the suite that the emulator runs, and the names of the others.
fn suite() -> (Vec<Case>, Vec<String>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/litmus");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the suite is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "litmus"))
        .collect();
    files.sort();
    let (mut cases, mut left_out) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("a readable file");
        match Case::new(&name, &text) {
            Some(case) => cases.push(case),
            None => left_out.push(name),
        }
    }
    (cases, left_out)
}

#[test]
fn the_emulator_shows_only_allowed_states() {
    let seeds = number("LITMUS_SEEDS", 40);
    let (cases, left_out) = suite();
    let (mut seen_states, mut allowed_states) = ([0, 0, 0], 0);
    for case in &cases {
        let drawn = |seed: u64| Schedule::Random { seed };
        let pct = |seed: u64| Schedule::Pct { seed, depth: 1 + (seed % 4) as u32, steps: 12 };
        let show = |memory, schedule: &dyn Fn(u64) -> Schedule| -> States {
            (1..=seeds).map(|seed| case.show(memory, &schedule(seed))).collect()
        };
        seen_states[0] += show(MemoryOrder::Sequential, &drawn).len();
        seen_states[1] += show(MemoryOrder::Weak, &drawn).len();
        seen_states[2] += show(MemoryOrder::Weak, &pct).len();
        allowed_states += case.allowed.len();
    }
    let [sequential, weak, pct] = seen_states;
    println!(
        "{} tests ran {seeds} times each and showed {sequential} of {allowed_states} allowed states in sequential memory, \
         {weak} in weak memory, {pct} under PCT",
        cases.len()
    );
    println!("left out: {}", left_out.join(", "));
    assert!(cases.len() >= 30, "only {} tests ran; left out: {left_out:?}", cases.len());
}

/// Explores a test and holds what it shows against the axioms; whether it finished, and how many runs it took.
fn explore_case(case: &Case, runs_max: u64) -> (bool, u64) {
    let loops = case.test.threads.iter().any(|thread| thread.instructions.iter().enumerate().any(goes_back));
    let (seen, is_finished, runs) = explore(&case.test, &case.program, runs_max, if loops { 4 } else { usize::MAX })
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    seen.iter().for_each(|state| case.must_be_allowed(state, "explored"));
    let Case { name, variables, program, .. } = case;
    let beyond: Vec<_> = seen.difference(&case.in_order).collect();
    assert!(beyond.is_empty(), "{name}: {variables:?} = {beyond:?} needs instructions out of order\n{}", program.text);
    let unseen: Vec<_> = case.in_order.difference(&seen).collect();
    if is_finished && !loops {
        let aliases = ALIASES.contains(&name.as_str());
        let text = &program.text;
        assert!(aliases != unseen.is_empty(), "{name}: {variables:?} = {unseen:?} is never shown\n{text}");
    }
    (is_finished, runs)
}

/// Tests by two addresses of one place, which the emulator keeps coherent.
const ALIASES: [&str; 1] = ["proxy-alias-unfenced.litmus"];

fn goes_back((at, instruction): (usize, &Instruction)) -> bool {
    matches!(instruction, Instruction::Branch { target, .. } | Instruction::Jump { target } if *target <= at)
}

#[test]
fn exploration_shows_every_state_that_is_not_load_buffering() {
    let runs_max = number("LITMUS_RUNS", 1500);
    let (cases, _) = suite();
    let (mut finished, mut runs, mut states) = (0, 0, 0);
    let mut buffering = Vec::new();
    for case in &cases {
        let (is_finished, ran) = explore_case(case, runs_max);
        finished += usize::from(is_finished);
        runs += ran;
        states += case.in_order.len();
        if case.in_order.len() < case.allowed.len() {
            buffering.push(case.name.as_str());
        }
    }
    println!("{finished} of {} explorations finished in {runs} runs and showed {states} states", cases.len());
    println!("states of load buffering are not shown: {}", buffering.join(", "));
    assert_eq!(finished, cases.len(), "explorations were cut");
    assert!(buffering.iter().all(|name| name.starts_with("lb-")), "{buffering:?}");
}

#[test]
fn random_programs_show_what_the_axioms_say() {
    let runs_max = number("LITMUS_RUNS", 1200);
    let seeds = match std::env::var("LITMUS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 1..number("LITMUS_PROGRAMS", 40) + 1,
    };
    let (mut finished, mut runs, mut programs, mut states, mut buffering) = (0, 0, 0, 0, 0);
    for seed in seeds {
        let text = random::program(seed);
        let name = format!("LITMUS_SEED={seed} cargo test -p warpferry-litmus --test emulator random\n{text}\n");
        let case = Case::new(&name, &text).expect("straight programs of generic accesses run");
        let (is_finished, ran) = explore_case(&case, runs_max);
        for schedule in 1..=4 {
            case.show(MemoryOrder::Weak, &Schedule::Random { seed: schedule });
            case.show(MemoryOrder::Weak, &Schedule::Pct { seed: schedule, depth: 3, steps: 12 });
        }
        finished += usize::from(is_finished);
        programs += 1;
        runs += ran;
        states += case.in_order.len();
        buffering += case.allowed.len() - case.in_order.len();
    }
    println!(
        "{finished} of {programs} explorations finished in {runs} runs and showed {states} states; \
         {buffering} of load buffering were not"
    );
    assert!(2 * finished >= programs, "only {finished} of {programs} explorations finished");
}
