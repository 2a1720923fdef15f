//! One path per thread: the choices in which every read finds a write with its value.

use std::collections::BTreeSet;

use crate::ast::Test;
use crate::paths::{Action, Path};
use crate::search::Effort;

/// Called with one path per thread.
pub(crate) type Visit<'v, 'a> = &'v mut dyn FnMut(&[&'a Path], &mut Effort) -> Result<(), Failure>;

/// Why not all executions were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Budget,
    Events,
}

/// Calls `visit` for every choice of one path per thread in which each read finds a write with its value.
pub(crate) fn for_each_choice<'a>(
    test: &Test,
    threads: &[Vec<&'a Path>],
    effort: &mut Effort,
    visit: Visit<'_, 'a>,
) -> Result<(), Failure> {
    // What threads from each index on might write.
    let mut later: Vec<BTreeSet<(usize, i64)>> = vec![BTreeSet::new()];
    for paths in threads.iter().rev() {
        let mut values = later.last().cloned().unwrap_or_default();
        values.extend(paths.iter().flat_map(|path| writes(test, path)));
        later.push(values);
    }
    later.reverse();
    let mut chosen = Vec::new();
    let mut written: Vec<(usize, i64)> = test.initial.iter().copied().enumerate().collect();
    choose(test, threads, &later, &mut chosen, &mut written, effort, visit)
}

fn choose<'a>(
    test: &Test,
    threads: &[Vec<&'a Path>],
    later: &[BTreeSet<(usize, i64)>],
    chosen: &mut Vec<&'a Path>,
    written: &mut Vec<(usize, i64)>,
    effort: &mut Effort,
    visit: Visit<'_, 'a>,
) -> Result<(), Failure> {
    let Some(paths) = threads.get(chosen.len()) else { return visit(chosen, effort) };
    let rest = &later[chosen.len() + 1];
    let before = written.len();
    for path in paths {
        effort.choose().map_err(|_| Failure::Budget)?;
        written.extend(writes(test, path));
        chosen.push(path);
        let found = |read: (usize, i64)| written.contains(&read) || rest.contains(&read);
        if chosen.iter().all(|path| reads(test, path).all(found)) {
            choose(test, threads, later, chosen, written, effort, visit)?;
        }
        chosen.pop();
        written.truncate(before);
    }
    Ok(())
}

fn writes<'a>(test: &'a Test, path: &'a Path) -> impl Iterator<Item = (usize, i64)> + 'a {
    path.steps.iter().filter_map(|step| match step.action {
        Action::Write { location, value } => Some((test.locations[location].memory, value)),
        _ => None,
    })
}

fn reads<'a>(test: &'a Test, path: &'a Path) -> impl Iterator<Item = (usize, i64)> + 'a {
    path.steps.iter().filter_map(|step| match step.action {
        Action::Read { location, value } => Some((test.locations[location].memory, value)),
        _ => None,
    })
}
