//! The answer to a test: its states, whether its condition holds, races and liveness.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ast::{Access, Order, Test};
use crate::choice::{for_each_choice, Failure};
use crate::condition::{Quantifier, Variable};
use crate::frame::Frame;
use crate::liveness::{self, Liveness};
use crate::model;
use crate::paths::{self, End, Path, Paths, TooMuch};
use crate::search::{search, Allowed, Effort, Stop};

/// Bounds of the enumeration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The most partial executions that are checked.
    pub budget: u64,
    /// How long it may take in all; without it, as long as the budget lasts.
    pub time: Option<Duration>,
    /// How often a loop goes round that does more than read.
    pub loop_bound: usize,
    /// Leaves out, before they are complete, executions that cannot satisfy the axioms. Only a test of the enumeration
    /// itself would not.
    pub shortcuts: bool,
    /// Leaves out executions that no machine shows which executes the instructions of a thread in order on one memory:
    /// those where program order, values read and the order of `fence.sc` go round in a circle (load buffering), and
    /// those where no one order of all writes to a place gives what racing accesses saw.
    pub in_order: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { budget: 2_000_000, time: None, loop_bound: 3, shortcuts: true, in_order: false }
    }
}

/// Whether the condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does: herd's `Ok`.
    Holds,
    /// It does not: herd's `No`.
    Fails,
    /// It could not be decided, and why.
    Undecided(String),
}

/// How the states stand to the expression: herd's observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Every state satisfies it.
    Always,
    /// Some do.
    Sometimes,
    /// None does.
    Never,
}

impl Observation {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::Sometimes => "Sometimes",
            Self::Never => "Never",
        }
    }
}

/// One final state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalState {
    /// Values of [`Report::variables`].
    pub values: Vec<i64>,
    /// Whether it satisfies the expression.
    pub matches: bool,
}

/// Two accesses in a data race.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Race {
    /// Who accesses, and the lines of both.
    pub accesses: [(String, usize); 2],
    /// Name of the location by which the second goes.
    pub location: String,
}

/// All that is known about a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether its condition holds.
    pub verdict: Verdict,
    /// How its states stand to the expression.
    pub observation: Observation,
    /// Names of the variables of a state.
    pub variables: Vec<String>,
    /// Its final states.
    pub states: Vec<FinalState>,
    /// Whether those are all: no bound was met.
    pub complete: bool,
    /// A data race in one of its executions.
    pub race: Option<Race>,
    /// Whether the bound on loops left executions out.
    pub bounded: bool,
    /// How often loops that write were followed.
    pub rounds: usize,
    /// Whether the last of these rounds showed no state that those before had not shown.
    pub settled: bool,
    /// Whether some execution waits at a barrier for ever.
    pub blocked: bool,
    /// Whether it always ends, for tests with loops or blocking barriers.
    pub liveness: Option<Liveness>,
    /// Partial executions checked.
    pub checked: u64,
}

impl Report {
    /// States that satisfy the expression, and states that do not.
    pub fn counts(&self) -> (usize, usize) {
        let positive = self.states.iter().filter(|state| state.matches).count();
        (positive, self.states.len() - positive)
    }

    /// What the author expected and did not get.
    pub fn unmet(&self, test: &Test) -> Vec<String> {
        let mut unmet = Vec::new();
        if let Some(holds) = test.expectation.holds {
            if self.verdict != if holds { Verdict::Holds } else { Verdict::Fails } {
                unmet.push(format!("the condition was expected to {}", if holds { "hold" } else { "fail" }));
            }
        }
        if let Some(terminates) = test.expectation.terminates {
            let met = match &self.liveness {
                Some(Liveness::Terminates) | None => terminates,
                Some(Liveness::Stuck(_)) => !terminates,
                Some(Liveness::Undecided(_)) => false,
            };
            if !met {
                unmet.push(format!("it was expected to {}", if terminates { "end" } else { "get stuck" }));
            }
        }
        if let Some(races) = test.expectation.races {
            if races != self.race.is_some() {
                unmet.push(format!("it was expected to have {} race", if races { "a" } else { "no" }));
            }
        }
        unmet
    }
}

/// Rounds by which loops are followed beyond the bound, to see whether states still come.
const DEEPER: usize = 6;

/// Decides a test. A condition that rests on states which loops cut at the bound might still show is asked again one round
/// deeper, until a round shows none that is new. A test of which no execution ends and one never does has no states.
pub fn run(test: &Test, options: &Options) -> Report {
    let deadline = options.time.map(|time| Instant::now() + time);
    let mut report = run_to(test, options, true, deadline);
    if report.states.is_empty() && matches!(report.liveness, Some(Liveness::Stuck(_))) {
        return report;
    }
    let mut before: Option<Vec<FinalState>> = None;
    while report.bounded && !report.settled && rests_on_absence(test, &report) {
        let deeper = Options { loop_bound: report.rounds + 1, ..*options };
        let next = run_to(test, &deeper, false, deadline);
        let exceeds = matches!(next.verdict, Verdict::Undecided(_));
        if exceeds || report.rounds == options.loop_bound + DEEPER {
            // The round before this one tells too whether states still come.
            let shallower = || {
                let options = Options { loop_bound: report.rounds.saturating_sub(1), ..*options };
                run_to(test, &options, false, deadline).states
            };
            report.settled = !report.states.is_empty() && before.unwrap_or_else(shallower) == report.states;
            if !report.settled {
                report.verdict = still_open(&report, exceeds);
            }
            return report;
        }
        let settled = !next.states.is_empty() && next.states == report.states;
        before = Some(std::mem::take(&mut report.states));
        report = Report { settled, liveness: report.liveness, checked: report.checked + next.checked, ..next };
    }
    report
}

fn still_open(report: &Report, exceeds: bool) -> Verdict {
    let what = if report.states.is_empty() { "no execution has ended" } else { "new states still come" };
    let why = if exceeds { ", and one more exceeds the budget" } else { "" };
    Verdict::Undecided(format!("loops that write were followed {} times: {what}{why}", report.rounds))
}

/// Whether another state could turn the verdict.
fn rests_on_absence(test: &Test, report: &Report) -> bool {
    let (positive, negative) = report.counts();
    match (&report.verdict, test.condition.quantifier) {
        (Verdict::Undecided(_), _) => false,
        (_, Quantifier::Exists | Quantifier::NotExists) => positive == 0,
        (_, Quantifier::Forall) => negative == 0,
    }
}

/// Decides a test with loops followed up to the bound.
fn run_to(test: &Test, options: &Options, with_liveness: bool, deadline: Option<Instant>) -> Report {
    let observed = test.observed();
    let mut report = Report {
        verdict: Verdict::Holds,
        observation: Observation::Never,
        variables: observed.iter().map(|&variable| test.variable_name(variable)).collect(),
        states: Vec::new(),
        complete: false,
        race: None,
        bounded: false,
        rounds: options.loop_bound,
        settled: false,
        blocked: false,
        liveness: None,
        checked: 0,
    };
    let too_much = |what: TooMuch| {
        Verdict::Undecided(match what {
            TooMuch::Paths => "budget exceeded: too many paths of single threads".to_string(),
            TooMuch::Events => format!("more than {} events", crate::relation::EVENTS),
        })
    };
    let limit = usize::try_from(options.budget).unwrap_or(usize::MAX).min(1_000_000);
    let paths = match paths::all(test, options.loop_bound, limit) {
        Ok(paths) => paths,
        Err(what) => return Report { verdict: too_much(what), ..report },
    };
    let mut effort = Effort::new(options, deadline);
    let mut collector = Collector { test, observed: &observed, states: BTreeMap::new(), race: None };
    let outcome = collector.collect(&paths, &mut effort);
    report.states = collector.states.into_iter().map(|(values, matches)| FinalState { values, matches }).collect();
    report.race = collector.race;
    report.complete = outcome.is_ok() && !paths.cut;
    report.bounded = paths.cut;
    report.blocked = effort.blocked;
    report.checked = effort.checked;
    let (positive, negative) = report.counts();
    report.observation = match (positive, negative) {
        (0, _) => Observation::Never,
        (_, 0) => Observation::Always,
        _ => Observation::Sometimes,
    };
    let (decided, holds) = match test.condition.quantifier {
        Quantifier::Exists => (positive > 0, positive > 0),
        Quantifier::NotExists => (positive > 0, positive == 0),
        Quantifier::Forall => (negative > 0, negative == 0),
    };
    report.verdict = match outcome {
        // One state that decides is enough, whatever the others are.
        Err(what) if !decided => too_much_or_budget(what, &effort),
        _ if holds => Verdict::Holds,
        _ => Verdict::Fails,
    };
    if with_liveness && (paths.loops || effort.blocked) {
        report.liveness = Some(liveness::decide(test, &paths, effort.blocked, options, deadline));
    }
    report
}

fn too_much_or_budget(what: Failure, effort: &Effort) -> Verdict {
    Verdict::Undecided(match what {
        Failure::Budget if effort.late => {
            format!("the time is up after {} partial executions and {} choices", effort.checked, effort.choices)
        }
        Failure::Budget => {
            format!("budget exceeded after {} partial executions and {} choices", effort.checked, effort.choices)
        }
        Failure::Events => format!("more than {} events", crate::relation::EVENTS),
    })
}

/// Whether any two conflicting accesses of different threads are morally strong, whatever the execution.
fn all_morally_strong(test: &Test) -> bool {
    if test.is_asynchronous() {
        return false;
    }
    let accesses = test.accesses();
    let strong = |a: &(usize, usize, bool, Access), b: &(usize, usize, bool, Access)| {
        let (here, there) = (test.threads[a.0].place, test.threads[b.0].place);
        a.3.order != Order::Weak
            && b.3.order != Order::Weak
            && a.3.proxy == b.3.proxy
            && test.locations[a.1].address == test.locations[b.1].address
            && here.includes(a.3.scope, &there)
            && there.includes(b.3.scope, &here)
    };
    let conflict = |a: &(usize, usize, bool, Access), b: &(usize, usize, bool, Access)| {
        a.0 != b.0 && (a.2 || b.2) && test.locations[a.1].memory == test.locations[b.1].memory
    };
    accesses.iter().all(|a| accesses.iter().all(|b| !conflict(a, b) || strong(a, b)))
}

struct Collector<'a> {
    test: &'a Test,
    observed: &'a [Variable],
    states: BTreeMap<Vec<i64>, bool>,
    race: Option<Race>,
}

impl Collector<'_> {
    fn collect(&mut self, paths: &Paths, effort: &mut Effort) -> Result<(), Failure> {
        let complete = |paths: &'_ Vec<Path>| -> Vec<usize> {
            (0..paths.len()).filter(|&i| paths[i].end == End::Complete).collect()
        };
        let mut threads: Vec<Vec<&Path>> =
            paths.threads.iter().map(|of| complete(of).into_iter().map(|i| &of[i]).collect()).collect();
        // Short paths first: they show most states at the least effort.
        threads.iter_mut().for_each(|paths| paths.sort_by_key(|path| path.steps.len()));
        let registers_only = self.observed.iter().all(|variable| matches!(variable, Variable::Register { .. }));
        let may_race = !all_morally_strong(self.test);
        for_each_choice(self.test, &threads, effort, &mut |chosen, effort| {
            let settled = registers_only && (self.race.is_some() || !may_race);
            if settled && self.states.contains_key(&self.values(chosen, &[])) {
                return Ok(());
            }
            let frame = Frame::new(self.test, chosen).ok_or(Failure::Events)?;
            let places = self.test.initial.len();
            search(&frame, places, 0, effort, &mut |allowed| {
                self.add(chosen, allowed);
                let settled = registers_only && (self.race.is_some() || !may_race);
                if settled {
                    Err(Stop::Enough)
                } else {
                    Ok(())
                }
            })
            .or_else(|stop| if stop == Stop::Enough { Ok(()) } else { Err(Failure::Budget) })
        })
    }

    /// The observed values, with these final values of memory.
    fn values(&self, chosen: &[&Path], memory: &[i64]) -> Vec<i64> {
        let value = |variable: &Variable| match *variable {
            Variable::Register { thread, register } => chosen[thread].registers[register],
            Variable::Memory { location } => memory[self.test.locations[location].memory],
        };
        self.observed.iter().map(value).collect()
    }

    fn add(&mut self, chosen: &[&Path], allowed: &Allowed<'_>) {
        if self.race.is_none() {
            self.race =
                model::data_race(allowed.frame, allowed.causality_order).map(|(a, b)| self.race(allowed.frame, a, b));
        }
        let mut memories = vec![Vec::new()];
        for (place, values) in allowed.finals.iter().enumerate() {
            let shown = self.observed.iter().any(|variable| {
                matches!(*variable, Variable::Memory { location } if self.test.locations[location].memory == place)
            });
            let values: Vec<i64> = if shown { values.iter().copied().collect() } else { vec![0] };
            let extend = |memory: Vec<i64>| {
                values.iter().map(move |&value| [memory.as_slice(), &[value]].concat()).collect::<Vec<_>>()
            };
            memories = memories.into_iter().flat_map(extend).collect();
        }
        for memory in memories {
            let values = self.values(chosen, &memory);
            let at = |variable: Variable| {
                let index = self.observed.iter().position(|other| *other == variable);
                index.map_or(0, |index| values[index])
            };
            if self.test.filter.as_ref().is_some_and(|filter| !filter.holds(&at)) {
                continue;
            }
            let matches = self.test.condition.expression.holds(&at);
            self.states.insert(values, matches);
        }
    }

    fn race(&self, frame: &Frame, a: usize, b: usize) -> Race {
        let access = |event: usize| {
            let event = &frame.events[event];
            let name = event.thread.map_or(String::new(), |thread| self.test.threads[thread].name());
            (if event.copy.is_some() { format!("a bulk copy of {name}") } else { name }, event.line)
        };
        let location = frame.events[b].action.location();
        let location = location.map_or(String::new(), |location| self.test.locations[location].name.clone());
        Race { accesses: [access(a), access(b)], location }
    }
}
