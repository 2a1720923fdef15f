//! Whether a test always ends when every thread gets its turn and every write is seen in the end.
//!
//! Two criteria. A loop that only reads never ends in a fair execution exactly where all reads of an iteration return
//! the last value in coherence order while all other threads are done, or spin likewise: such an execution is looked for
//! among the model's own. A loop that writes is followed through the interleavings of all threads: it never ends where
//! some cycle of states gives a turn to every thread that has not ended. Interleavings show all there is where the
//! threads share one location by morally strong operations; for the rest the answer says that it covers no more.

use std::collections::HashMap;
use std::time::Instant;

use crate::ast::{Instruction, Order, Scope, Test};
use crate::choice::{for_each_choice, Failure};
use crate::frame::Frame;
use crate::machine::{State, Unable};
use crate::paths::{End, Path, Paths};
use crate::search::{search, Effort, Stop};
use crate::verdict::Options;

/// Whether a test always ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// Every fair execution ends.
    Terminates,
    /// Some fair execution does not, and how.
    Stuck(String),
    /// It could not be decided, and why.
    Undecided(String),
}

/// Decides it.
pub(crate) fn decide(
    test: &Test,
    paths: &Paths,
    blocked: bool,
    options: &Options,
    deadline: Option<Instant>,
) -> Liveness {
    // Interleavings are executions of the model, so what gets stuck there does.
    let mut ends = Liveness::Terminates;
    if paths.cut {
        match cycles(test, usize::try_from(options.budget).unwrap_or(usize::MAX)) {
            undecided @ Liveness::Undecided(_) => ends = undecided,
            decided => return decided,
        }
    }
    match spins(test, paths, options, deadline) {
        Ok(Some(threads)) => return Liveness::Stuck(format!("{threads} would spin on the last value for ever")),
        Ok(None) if blocked => return Liveness::Stuck("a barrier would wait for more threads than come".to_string()),
        Ok(None) => {}
        Err(_) if ends != Liveness::Terminates => {}
        Err(Failure::Budget) => ends = Liveness::Undecided("budget exceeded, or the time is up".to_string()),
        Err(Failure::Events) => ends = Liveness::Undecided("too many events".to_string()),
    }
    ends
}

/// Threads that spin for ever in some execution of the model.
fn spins(test: &Test, paths: &Paths, options: &Options, deadline: Option<Instant>) -> Result<Option<String>, Failure> {
    let threads: Vec<Vec<&Path>> =
        paths.threads.iter().map(|of| of.iter().filter(|path| path.end != End::Cut).collect()).collect();
    let mut effort = Effort::new(options, deadline);
    let mut stuck = None;
    for_each_choice(test, &threads, &mut effort, &mut |chosen, effort| {
        if stuck.is_some() || chosen.iter().all(|path| path.end == End::Complete) {
            return Ok(());
        }
        let frame = Frame::new(test, chosen).ok_or(Failure::Events)?;
        let mut last_reads = 0;
        let mut names = Vec::new();
        for (thread, path) in chosen.iter().enumerate() {
            if let End::Spins(reads) = path.end {
                last_reads |= reads << frame.starts[thread];
                names.push(test.threads[thread].name());
            }
        }
        let outcome = search(&frame, test.initial.len(), last_reads, effort, &mut |_| {
            stuck = Some(names.join(", "));
            Err(Stop::Enough)
        });
        match outcome {
            Ok(()) | Err(Stop::Enough) => Ok(()),
            Err(Stop::Budget) => Err(Failure::Budget),
        }
    })?;
    Ok(stuck)
}

/// Looks for a fair cycle among the interleavings.
fn cycles(test: &Test, most: usize) -> Liveness {
    let start = match State::start(test) {
        Ok(start) => start,
        Err(Unable::Barriers | Unable::States) => {
            return Liveness::Undecided(
                "loops that write together with barriers or bulk copies are not supported".to_string(),
            );
        }
    };
    let mut index = HashMap::from([(start.clone(), 0)]);
    let mut states = vec![start];
    let mut edges: Vec<Vec<(usize, usize)>> = Vec::new();
    while edges.len() < states.len() {
        let state = states[edges.len()].clone();
        let mut out = Vec::new();
        for thread in 0..test.threads.len() {
            let Some(next) = state.step(test, thread) else { continue };
            let fresh = states.len();
            let to = *index.entry(next.clone()).or_insert(fresh);
            if to == fresh {
                states.push(next);
            }
            out.push((thread, to));
        }
        edges.push(out);
        if states.len() > most.min(2_000_000) {
            return Liveness::Undecided("budget exceeded: too many states of the loops that write".to_string());
        }
    }
    for component in components(&edges) {
        let within = |&(_, to): &(usize, usize)| component.binary_search(&to).is_ok();
        let takes_turn = |thread: usize| {
            component.iter().any(|&from| edges[from].iter().filter(|edge| within(edge)).any(|edge| edge.0 == thread))
        };
        let ended = |thread: usize| states[component[0]].ended(test, thread);
        let running: Vec<usize> = (0..test.threads.len()).filter(|&thread| !ended(thread)).collect();
        if !running.is_empty() && running.iter().all(|&thread| takes_turn(thread)) {
            let names: Vec<String> = running.iter().map(|&thread| test.threads[thread].name()).collect();
            return Liveness::Stuck(format!("{} may loop for ever, each with its turns", names.join(", ")));
        }
    }
    if interleavings_suffice(test) {
        return Liveness::Terminates;
    }
    Liveness::Undecided(
        "every fair interleaving ends, but its loops write and share more than one location or weak accesses"
            .to_string(),
    )
}

/// Whether all accesses are morally strong and to one location.
fn interleavings_suffice(test: &Test) -> bool {
    let mut accesses = Vec::new();
    for thread in &test.threads {
        for instruction in &thread.instructions {
            if let Instruction::Load { location, access, .. }
            | Instruction::Store { location, access, .. }
            | Instruction::Atomic { location, access, .. } = *instruction
            {
                accesses.push((thread.place, location, access));
            }
        }
    }
    let strong = |of: &(_, usize, crate::ast::Access)| of.2.order != Order::Weak;
    let place = |scope: Scope, here: &crate::ast::Place, there: &crate::ast::Place| here.includes(scope, there);
    accesses.iter().all(|a| {
        strong(a) && accesses.iter().all(|b| a.1 == b.1 && a.2.proxy == b.2.proxy && place(a.2.scope, &a.0, &b.0))
    })
}

/// Strongly connected components, each sorted, by Kosaraju's two passes.
fn components(edges: &[Vec<(usize, usize)>]) -> Vec<Vec<usize>> {
    let mut order = Vec::with_capacity(edges.len());
    let mut seen = vec![false; edges.len()];
    for root in 0..edges.len() {
        let mut stack = vec![(root, 0)];
        while let Some((node, next)) = stack.pop() {
            if next == 0 {
                if seen[node] {
                    continue;
                }
                seen[node] = true;
            }
            match edges[node].get(next) {
                Some(&(_, to)) => {
                    stack.push((node, next + 1));
                    if !seen[to] {
                        stack.push((to, 0));
                    }
                }
                None => order.push(node),
            }
        }
    }
    let mut reverse = vec![Vec::new(); edges.len()];
    for (from, out) in edges.iter().enumerate() {
        for &(_, to) in out {
            reverse[to].push(from);
        }
    }
    let mut taken = vec![false; edges.len()];
    let mut all = Vec::new();
    for &root in order.iter().rev() {
        let mut component = Vec::new();
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut taken[node], true) {
                component.push(node);
                stack.extend(&reverse[node]);
            }
        }
        if !component.is_empty() {
            component.sort_unstable();
            all.push(component);
        }
    }
    all
}
