//! What was shown beside what is allowed.
//!
//! Outcomes are the allowed states, the states that were shown, and those forbidden ones that can be named: every choice
//! of values that a variable has at first or in some allowed state or is compared with in the condition, where these are
//! few.

use std::collections::{BTreeMap, BTreeSet};

use warpferry_litmus::{run, Options, Report, Test, Variable};

use crate::tally::{Shown, Tally};

/// How a state stands to the memory model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Some execution shows it in which the instructions of each thread execute in order, as they do on the emulator.
    Allowed,
    /// Only executions show it in which instructions execute out of order, as for load buffering.
    AllowedOutOfOrder,
    /// No execution shows it.
    Forbidden,
    /// It was not found before a bound was met.
    Undecided,
}

impl Standing {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed | Self::AllowedOutOfOrder => "allowed",
            Self::Forbidden => "forbidden",
            Self::Undecided => "undecided",
        }
    }
}

/// A final state, what the model says of it, and whether it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Values of [`Test::observed`].
    pub values: Vec<i64>,
    /// Whether it satisfies the expression of the condition.
    pub matches: bool,
    /// What the model says of it.
    pub standing: Standing,
    /// How often it was shown; none where it never was.
    pub shown: Option<Shown>,
}

impl Judged {
    /// Whether the emulator showed what the model forbids.
    pub fn is_wrong(&self) -> bool {
        self.standing == Standing::Forbidden && self.shown.is_some()
    }

    /// In how many runs it was shown.
    pub fn times(&self) -> u64 {
        self.shown.as_ref().map_or(0, |shown| shown.times)
    }
}

/// The most states that are named only to say that they are forbidden.
const NAMED: usize = 64;

/// The outcomes of a test; `report` is what the model says of it under these options. Where an allowed state was not
/// shown, the model is asked again, for executions in program order ([`Options::in_order`]).
pub fn compare(test: &Test, report: &Report, options: &Options, tally: &Tally) -> Vec<Judged> {
    let of = |report: &Report| -> BTreeSet<Vec<i64>> { report.states.iter().map(|s| s.values.clone()).collect() };
    let allowed = of(report);
    let is_shown = |values: &Vec<i64>| tally.states.contains_key(values);
    let in_order = (!allowed.iter().all(is_shown)).then(|| run(test, &Options { in_order: true, ..*options }));
    // What was cut from the in-order executions may be in order all the same.
    let plain = in_order.filter(|report| report.complete).map_or_else(|| allowed.clone(), |report| of(&report));
    let mut all = allowed.clone();
    all.extend(tally.states.keys().filter(|values| test.keeps(values)).cloned());
    all.extend(named(test, &allowed).into_iter().filter(|values| report.complete && test.keeps(values)));
    let judge = |values: Vec<i64>| {
        let standing = if plain.contains(&values) {
            Standing::Allowed
        } else if allowed.contains(&values) {
            Standing::AllowedOutOfOrder
        } else if report.complete {
            Standing::Forbidden
        } else {
            Standing::Undecided
        };
        Judged { matches: test.matches(&values), standing, shown: tally.states.get(&values).cloned(), values }
    };
    all.into_iter().map(judge).collect()
}

/// Every choice of values that variables have, had at first or are compared with; nothing where those are many.
fn named(test: &Test, allowed: &BTreeSet<Vec<i64>>) -> Vec<Vec<i64>> {
    let observed = test.observed();
    let mut constants = Vec::new();
    test.condition.expression.constants(&mut constants);
    let mut domains: BTreeMap<usize, BTreeSet<i64>> = BTreeMap::new();
    for (at, variable) in observed.iter().enumerate() {
        let compared = constants.iter().filter(|(other, _)| other == variable).map(|(_, value)| *value);
        let first = match *variable {
            Variable::Register { thread, register } => test.threads[thread].initial[register],
            Variable::Memory { location } => test.initial[test.locations[location].memory],
        };
        let has = allowed.iter().filter_map(|values| values.get(at).copied());
        domains.insert(at, has.chain(compared).chain([first]).collect());
    }
    if observed.is_empty() {
        return Vec::new();
    }
    let mut states = vec![Vec::new()];
    for values in domains.values() {
        if states.len() * values.len() > NAMED {
            return Vec::new();
        }
        let longer = |state: &Vec<i64>| values.iter().map(|value| [&state[..], &[*value]].concat()).collect::<Vec<_>>();
        states = states.iter().flat_map(longer).collect();
    }
    states
}
