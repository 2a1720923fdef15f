//! The tests of the suite as real PTX on the emulator: it never shows a state that the model forbids, and in weak memory it
//! shows all others but those of load buffering.
//!
//! Method: threads are placed as the test says, on their GPUs and in their thread blocks. Every test runs in sequential
//! memory under drawn schedules, and in weak memory under drawn schedules, under PCT, and under every sequence of choices
//! up to a bound. The states that some in-order execution shows are enumerated from the axioms
//! ([`Options::in_order`]): an exploration that finishes shows exactly these.
//!
//! What has no PTX here is left out and counted. `LITMUS_SEEDS=N` runs that many drawn schedules of each test,
//! `LITMUS_RUNS=N` at most that many runs of an exploration.

#[path = "../shared/mod.rs"]
mod shared;

mod random;

use std::collections::BTreeSet;

use shared::{is_whole, number, skipped};
use warpferry_emu::{Exploration, Schedule};
use warpferry_litmus::{parse, run, Options, Test};
use warpferry_litmus_play::{has_loop, Mode, Outcome, Player, Unplayed};

type States = BTreeSet<Vec<i64>>;

/// A test, and what the model says of it.
struct Case {
    name: String,
    test: Test,
    variables: Vec<String>,
    allowed: States,
    /// Allowed states that some execution in program order shows.
    in_order: States,
}

impl Case {
    /// Why the emulator cannot run it, where it cannot.
    fn new(name: &str, test: Test) -> Result<Case, Unplayed> {
        Player::new(&test)?.check_observed()?;
        let of = |report: &warpferry_litmus::Report| report.states.iter().map(|state| state.values.clone()).collect();
        let report = run(&test, &Options::default());
        let in_order = of(&run(&test, &Options { in_order: true, ..Options::default() }));
        let (variables, allowed) = (report.variables.clone(), of(&report));
        Ok(Case { name: name.to_string(), test, variables, allowed, in_order })
    }

    fn player(&self) -> Player<'_> {
        Player::new(&self.test).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The state of one run, which is allowed; none where somebody waits for ever.
    fn show(&self, mode: Mode, schedule: &Schedule) -> Option<Vec<i64>> {
        let ran = self.player().play(mode, schedule.clone());
        let (outcome, _) = ran.unwrap_or_else(|error| panic!("{}, {mode:?}, {schedule:?}: {error}", self.name));
        self.state(outcome, &format!("{mode:?}, {schedule:?}"))
    }

    fn state(&self, outcome: Outcome, how: &str) -> Option<Vec<i64>> {
        match outcome {
            Outcome::State(state) => {
                self.must_be_allowed(&state, how);
                Some(state)
            }
            Outcome::Stuck => None,
            other => panic!("{}, {how}: {other:?}", self.name),
        }
    }

    fn must_be_allowed(&self, state: &Vec<i64>, how: &str) {
        let Case { name, variables, .. } = self;
        let known = self.allowed.contains(state);
        assert!(known, "{name}, {how}: {variables:?} = {state:?} is forbidden\n{}", self.text());
    }

    fn text(&self) -> String {
        self.player().ptx().map_or_else(|error| error.to_string(), |entries| entries.join("\n"))
    }
}

/// The tests of generic accesses that the emulator runs, and the names of the others.
fn suite() -> (Vec<Case>, Vec<String>) {
    let (mut cases, mut left_out) = (Vec::new(), Vec::new());
    for (name, test) in shared::suite().into_iter().filter(|(name, _)| !name.contains('/')) {
        match Case::new(&name, test) {
            Ok(case) => cases.push(case),
            Err(Unplayed::Unsuitable(why)) => {
                skipped(&name, why);
                left_out.push(name);
            }
            Err(error) => panic!("{name}: {error}"),
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
        let show = |mode, schedule: &dyn Fn(u64) -> Schedule| -> States {
            (1..=seeds).filter_map(|seed| case.show(mode, &schedule(seed))).collect()
        };
        seen_states[0] += show(Mode::Sequential, &drawn).len();
        seen_states[1] += show(Mode::Weak, &drawn).len();
        seen_states[2] += show(Mode::Weak, &pct).len();
        allowed_states += case.allowed.len();
    }
    let [sequential, weak, pct] = seen_states;
    println!(
        "{} tests ran {seeds} times each and showed {sequential} of {allowed_states} allowed states in sequential memory, \
         {weak} in weak memory, {pct} under PCT",
        cases.len()
    );
    println!("left out: {}", left_out.join(", "));
    assert!(!is_whole() || cases.len() >= 50, "only {} tests ran; left out: {left_out:?}", cases.len());
}

/// Explores a test and holds what it shows against the axioms; whether it finished, and how many runs it took.
fn explore_case(case: &Case, runs_max: u64) -> (bool, u64) {
    let (player, loops) = (case.player(), has_loop(&case.test));
    let mut exploration = Exploration::new(runs_max).deviations(if loops { 4 } else { usize::MAX });
    let mut seen = States::new();
    while let Some(schedule) = exploration.schedule() {
        let ran = player.play(Mode::Weak, schedule.clone());
        let (outcome, machine) = ran.unwrap_or_else(|error| panic!("{}, {schedule:?}: {error}", case.name));
        exploration.ran(&machine);
        seen.extend(case.state(outcome, &format!("{schedule:?}")));
    }
    let Case { name, variables, .. } = case;
    let beyond: Vec<_> = seen.difference(&case.in_order).collect();
    assert!(beyond.is_empty(), "{name}: {variables:?} = {beyond:?} needs instructions out of order\n{}", case.text());
    let unseen: Vec<_> = case.in_order.difference(&seen).collect();
    if exploration.is_finished() && !loops {
        let aliases = ALIASES.contains(&name.as_str());
        assert!(aliases != unseen.is_empty(), "{name}: {variables:?} = {unseen:?} is never shown\n{}", case.text());
    }
    (exploration.is_finished(), exploration.runs())
}

/// Tests by two addresses of one place, which the emulator keeps coherent.
const ALIASES: [&str; 1] = ["proxy-alias-unfenced.litmus"];

/// Tests of two threads that may undo each other's work for ever: their choices have no end.
const LIVELOCKS: [&str; 1] = ["spin-exchange-livelock.litmus"];

#[test]
fn exploration_shows_every_state_that_is_not_load_buffering() {
    let runs_max = number("LITMUS_RUNS", 1500);
    let (cases, _) = suite();
    let (mut runs, mut states) = (0, 0);
    let (mut cut, mut buffering) = (Vec::new(), Vec::new());
    for case in &cases {
        let (is_finished, ran) = explore_case(case, runs_max);
        if !is_finished {
            cut.push(case.name.as_str());
        }
        runs += ran;
        states += case.in_order.len();
        if case.in_order.len() < case.allowed.len() {
            buffering.push(case.name.as_str());
        }
    }
    println!("{} explorations took {runs} runs and showed {states} states; cut: {}", cases.len(), cut.join(", "));
    println!("states of load buffering are not shown: {}", buffering.join(", "));
    assert!(!is_whole() || cut == LIVELOCKS, "explorations were cut: {cut:?}");
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
        let name = format!("LITMUS_SEED={seed} cargo test -p warpferry-litmus-play --test emulator random\n{text}\n");
        let case = Case::new(&name, parse(&name, &text).expect("a valid test"))
            .expect("straight programs of generic accesses run");
        let (is_finished, ran) = explore_case(&case, runs_max);
        for schedule in 1..=4 {
            case.show(Mode::Weak, &Schedule::Random { seed: schedule });
            case.show(Mode::Weak, &Schedule::Pct { seed: schedule, depth: 3, steps: 12 });
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
