//! The values that a read may return: whatever some path writes to its place in memory.
//!
//! A value computed from values that were read, and so on, needs as many writes as there are steps. So each value keeps
//! the fewest steps it takes, and one that takes more than the threads have writes for is left out.

use std::collections::BTreeMap;

use crate::ast::Test;
use crate::paths::{Action, Path};
use crate::relation::{members, Relation};

/// Values of one place in memory, each with the fewest writes that lead to it from initial values and constants.
pub(crate) type Values = BTreeMap<i64, usize>;

/// The values after one more round: those that these paths write, from reads of the values so far.
pub(crate) fn grow(test: &Test, values: &[Values], threads: &[Vec<Path>]) -> Vec<Values> {
    let places = values.len();
    let mut most = vec![0; places];
    let mut sources = Relation::empty(places);
    for paths in threads {
        let mut of_thread = vec![0; places];
        for path in paths {
            let mut of_path = vec![0; places];
            for step in &path.steps {
                let Action::Write { location, .. } = step.action else { continue };
                let memory = test.locations[location].memory;
                of_path[memory] += 1;
                for (from, _) in reads(test, path, step.data) {
                    sources.add(memory, from);
                }
            }
            for (most, count) in of_thread.iter_mut().zip(of_path) {
                *most = count.max(*most);
            }
        }
        for (sum, count) in most.iter_mut().zip(of_thread) {
            *sum += count;
        }
    }
    let limits = limits(&most, &sources);
    let mut grown = values.to_vec();
    for path in threads.iter().flatten() {
        for step in &path.steps {
            let Action::Write { location, value } = step.action else { continue };
            let memory = test.locations[location].memory;
            let before = reads(test, path, step.data).map(|(from, read)| values[from].get(&read).copied().unwrap_or(0));
            let steps = 1 + before.max().unwrap_or(0);
            if steps <= limits[memory] {
                let least = grown[memory].entry(value).or_insert(steps);
                *least = steps.min(*least);
            }
        }
    }
    grown
}

/// Place and value of each of these reads of a path.
fn reads<'a>(test: &'a Test, path: &'a Path, set: u128) -> impl Iterator<Item = (usize, i64)> + 'a {
    members(set).filter_map(|read| match path.steps[read].action {
        Action::Read { location, value } => Some((test.locations[location].memory, value)),
        _ => None,
    })
}

/// For each place, the writes there are to all places that its values may come from.
fn limits(most: &[usize], sources: &Relation) -> Vec<usize> {
    let sources = sources.closure().or_same();
    (0..most.len()).map(|place| members(sources.row(place)).map(|from| most[from]).sum()).collect()
}

/// The most writes that an execution has: no chain of dependent ones is longer.
pub(crate) fn longest_chain(threads: &[Vec<Path>]) -> usize {
    let writes = |path: &Path| path.steps.iter().filter(|step| matches!(step.action, Action::Write { .. })).count();
    threads.iter().map(|paths| paths.iter().map(writes).max().unwrap_or(0)).sum()
}
