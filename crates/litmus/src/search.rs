//! Candidate executions: which write each read takes its value from, how barriers meet, how `fence.sc` are ordered, and
//! what coherence order remains; each checked against the model as soon as it says something.
//!
//! Every choice only adds pairs, and every axiom forbids pairs, so a check that fails early fails for all that follows.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::barrier;
use crate::frame::Frame;
use crate::mbarrier;
use crate::model;
use crate::relation::{members, Relation, Set};
use crate::verdict::Options;

/// One execution that the model allows.
pub(crate) struct Allowed<'a> {
    pub(crate) frame: &'a Frame,
    /// For each place in memory, the values that may remain there.
    pub(crate) finals: &'a [BTreeSet<i64>],
    pub(crate) causality_order: &'a Relation,
}

/// Stops the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The budget is used up.
    Budget,
    /// The caller has what it wants.
    Enough,
}

/// A check costs about as much as this many choices of paths.
const CHOICES_PER_CHECK: u64 = 16;

/// What the search looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    shortcuts: bool,
    in_order: bool,
    /// Choices of paths looked at, each far cheaper than a check.
    pub(crate) choices: u64,
    /// Partial executions checked.
    pub(crate) checked: u64,
    /// The most that may be.
    pub(crate) budget: u64,
    /// When it ends, if it does before.
    deadline: Option<Instant>,
    /// Whether it was the time that ended it.
    pub(crate) late: bool,
    /// Whether a barrier waited for threads that never come.
    pub(crate) blocked: bool,
}

/// Checks, and choices by as many more as they are cheaper, between two looks at the clock.
const CHECKS_PER_LOOK: u64 = 256;

impl Effort {
    pub(crate) fn new(options: &Options, deadline: Option<Instant>) -> Self {
        let Options { shortcuts, in_order, budget, .. } = *options;
        Self { shortcuts, in_order, choices: 0, checked: 0, budget, deadline, late: false, blocked: false }
    }

    /// Looks at the clock now and then.
    fn look(&mut self, count: u64, period: u64) -> Result<(), Stop> {
        let Some(deadline) = self.deadline.filter(|_| count.is_multiple_of(period)) else { return Ok(()) };
        self.late = Instant::now() >= deadline;
        if self.late {
            return Err(Stop::Budget);
        }
        Ok(())
    }

    /// Counts a choice of a path.
    pub(crate) fn choose(&mut self) -> Result<(), Stop> {
        if self.choices >= self.budget.saturating_mul(CHOICES_PER_CHECK) {
            return Err(Stop::Budget);
        }
        self.choices += 1;
        self.look(self.choices, CHECKS_PER_LOOK * CHOICES_PER_CHECK)
    }

    /// Counts a check of a partial execution.
    pub(crate) fn spend(&mut self) -> Result<(), Stop> {
        if self.checked >= self.budget {
            return Err(Stop::Budget);
        }
        self.checked += 1;
        self.look(self.checked, CHECKS_PER_LOOK)
    }
}

/// Finds every allowed execution of a frame and calls `found` for each.
pub(crate) fn search(
    frame: &Frame,
    places: usize,
    last_reads: Set,
    effort: &mut Effort,
    found: &mut dyn FnMut(&Allowed<'_>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let Some(barriers) = barrier::choices(frame) else {
        effort.blocked = true;
        return Ok(());
    };
    let phases = mbarrier::choices(frame, last_reads).ok_or(Stop::Budget)?;
    let reads: Vec<(usize, Vec<usize>)> =
        members(frame.reads).map(|read| (read, sources(frame, read, effort.shortcuts))).collect();
    let at = (0..places).map(|memory| frame.at(memory)).collect();
    let mut search = Search { frame, barriers, phases, at, last_reads, effort, found };
    let order = frame.address_order.closure();
    search.reads(&reads, &mut Vec::new(), order)
}

/// The writes that a read may take its value from.
fn sources(frame: &Frame, read: usize, shortcuts: bool) -> Vec<usize> {
    let writes = frame.same_memory.row(read) & frame.writes;
    let visible = |&write: &usize| {
        let same_value = frame.events[write].value() == frame.events[read].value();
        // A later write of its own thread, or an earlier one with another between.
        let later = frame.address_order.has(read, write);
        let hidden = members(frame.writes).any(|other| {
            let initial = frame.events[write].thread.is_none();
            frame.address_order.has(other, read) && (initial || frame.address_order.has(write, other))
        });
        same_value && !(shortcuts && (later || hidden))
    };
    members(writes).filter(visible).collect()
}

struct Search<'a> {
    frame: &'a Frame,
    barriers: Vec<Relation>,
    /// Ways in which the phases of mbarriers can end.
    phases: Vec<Relation>,
    /// Reads and writes of each place in memory.
    at: Vec<Set>,
    /// Reads that must take the last value: those of a loop that never ends.
    last_reads: Set,
    effort: &'a mut Effort,
    found: &'a mut dyn FnMut(&Allowed<'_>) -> Result<(), Stop>,
}

/// What is fixed once every read has its write.
struct Flow {
    reads_from: Relation,
    observation: Relation,
    /// What the choices imply for the order of morally strong writes.
    strong_order: Relation,
}

impl Search<'_> {
    /// Gives the next read each of its writes. `order` is what program order by one address and the morally strong
    /// choices so far say: part of what must have no cycle for sequential consistency per location.
    fn reads(&mut self, reads: &[(usize, Vec<usize>)], chosen: &mut Vec<usize>, order: Relation) -> Result<(), Stop> {
        if let Some((read, writes)) = reads.get(chosen.len()) {
            for &write in writes {
                if self.effort.shortcuts && self.torn(reads, chosen, *read, write) {
                    continue;
                }
                self.effort.spend()?;
                let mut order = order.clone();
                if self.frame.morally_strong.has(write, *read) {
                    order.add_closed(write, *read);
                }
                chosen.push(write);
                if !self.effort.shortcuts || self.tighten(&mut order, reads, chosen) {
                    self.reads(reads, chosen, order)?;
                }
                chosen.pop();
            }
            return Ok(());
        }
        self.effort.spend()?;
        let mut reads_from = Relation::empty(self.frame.count());
        for ((read, _), &write) in reads.iter().zip(chosen.iter()) {
            reads_from.add(write, *read);
        }
        if !model::no_thin_air(self.frame, &reads_from) {
            return Ok(());
        }
        let observation = model::observation_order(self.frame, &reads_from);
        let strong_order = order.and(&self.frame.morally_strong).and(&self.frame.same_memory);
        for phases in self.phases.clone() {
            let observation = observation.or(&model::observed_phases(self.frame, &phases));
            let synchronizes = model::synchronizes(self.frame, &observation);
            let (reads_from, strong_order) = (reads_from.clone(), strong_order.clone());
            let flow = Flow { reads_from, observation, strong_order };
            for barriers in self.barriers.clone() {
                let base = model::base_causality_order(self.frame, &synchronizes, &barriers);
                self.fences(&flow, base, Relation::empty(self.frame.count()), 0)?;
            }
        }
        Ok(())
    }

    /// Adds to `order` what the choices so far imply for writes that are morally strong with a read and with the write it
    /// took: one that comes after that write comes after the read, and one that comes before the read comes before that
    /// write. False where this makes a cycle.
    fn tighten(&self, order: &mut Relation, reads: &[(usize, Vec<usize>)], chosen: &[usize]) -> bool {
        let strong = &self.frame.morally_strong;
        loop {
            let mut more = false;
            for ((read, _), &write) in reads.iter().zip(chosen) {
                let initial = self.frame.events[write].thread.is_none();
                let near = strong.row(*read) & self.frame.writes & self.frame.same_memory.row(*read);
                let others = if initial { near } else { near & strong.row(write) };
                for other in members(others & !(1 << write)) {
                    if (initial || order.has(write, other)) && !order.has(*read, other) {
                        order.add_closed(*read, other);
                        more = true;
                    }
                    if !initial && order.has(other, *read) && !order.has(other, write) {
                        order.add_closed(other, write);
                        more = true;
                    }
                }
            }
            if !order.is_irreflexive() {
                return false;
            }
            if !more {
                return true;
            }
        }
    }

    /// Whether another atomic, morally strong with this one, has already taken the same write: the write of one of them
    /// would come between the read and the write of the other.
    fn torn(&self, reads: &[(usize, Vec<usize>)], chosen: &[usize], read: usize, write: usize) -> bool {
        let frame = self.frame;
        let own = frame.atomic.row(read);
        let first = |read: usize| frame.events[write].thread.is_none() || frame.morally_strong.has(write, read);
        own != 0
            && first(read)
            && reads.iter().zip(chosen).any(|((other, _), taken)| {
                let others = frame.atomic.row(*other);
                *taken == write && others & frame.morally_strong.row(read) != 0 && {
                    members(others).any(|theirs| frame.morally_strong.row(theirs) & own != 0) && first(*other)
                }
            })
    }

    /// Orders the pairs of `fence.sc` from `next` on, both ways where base causality leaves it open.
    fn fences(&mut self, flow: &Flow, base: Relation, order: Relation, next: usize) -> Result<(), Stop> {
        if !model::fence_sc(self.frame, &base, &order) {
            return Ok(());
        }
        let causality = model::causality_order(self.frame, &flow.observation, &base);
        if !model::causality(&flow.reads_from, &causality) {
            return Ok(());
        }
        let Some(&(a, b)) = self.frame.sc_pairs.get(next) else {
            let Frame { program_order, issue, completion, .. } = self.frame;
            let happened = program_order.or(issue).or(completion).or(&flow.reads_from).or(&order);
            if self.effort.in_order && !happened.is_acyclic() {
                return Ok(());
            }
            return self.finish(flow, &causality);
        };
        self.effort.spend()?;
        for (first, second) in [(a, b), (b, a)] {
            if base.has(second, first) {
                continue;
            }
            let (mut base, mut order) = (base.clone(), order.clone());
            base.add_closed(first, second);
            order.add(first, second);
            self.fences(flow, base, order, next + 1)?;
        }
        Ok(())
    }

    fn finish(&mut self, flow: &Flow, causality: &Relation) -> Result<(), Stop> {
        let mut finals = Vec::with_capacity(self.at.len());
        for memory in 0..self.at.len() {
            let writes = self.at[memory] & self.frame.writes;
            // The write of the initial value is the place's own event, before all others.
            let mut coherence = causality.and(&self.frame.same_memory).or(&flow.strong_order).between(writes, writes);
            for write in members(writes & !(1 << memory)) {
                coherence.add(memory, write);
            }
            let related = if self.effort.in_order { &self.frame.same_memory } else { &self.frame.morally_strong };
            let open: Vec<(usize, usize)> = related.between(writes, writes).pairs().filter(|(a, b)| a < b).collect();
            let mut values = BTreeSet::new();
            self.coherence(flow, causality, memory, coherence.closure(), &open, &mut values)?;
            if values.is_empty() {
                return Ok(());
            }
            finals.push(values);
        }
        (self.found)(&Allowed { frame: self.frame, finals: &finals, causality_order: causality })
    }

    /// Orders the open pairs of writes to one place both ways, and collects the values that remain there.
    fn coherence(
        &mut self,
        flow: &Flow,
        causality: &Relation,
        memory: usize,
        coherence: Relation,
        open: &[(usize, usize)],
        values: &mut BTreeSet<i64>,
    ) -> Result<(), Stop> {
        if !model::coherence(&coherence) {
            return Ok(());
        }
        self.effort.spend()?;
        let here = self.at[memory];
        let reads_from = flow.reads_from.between(here, here);
        let from_reads = model::from_reads(&reads_from, &coherence);
        let communication = reads_from.or(&coherence).or(&from_reads);
        let keeps = model::causality(&from_reads, causality)
            && model::atomicity(self.frame, &from_reads, &coherence)
            && model::sc_per_location(self.frame, &communication)
            && members(self.last_reads & here).all(|read| from_reads.row(read) == 0);
        if !keeps {
            return Ok(());
        }
        if let Some((&(a, b), rest)) = open.split_first() {
            if coherence.has(a, b) || coherence.has(b, a) {
                return self.coherence(flow, causality, memory, coherence, rest, values);
            }
            for (first, second) in [(a, b), (b, a)] {
                let mut next = coherence.clone();
                next.add_closed(first, second);
                self.coherence(flow, causality, memory, next, rest, values)?;
            }
            return Ok(());
        }
        let last = |&write: &usize| coherence.row(write) & here == 0;
        let writes = members(here & self.frame.writes).filter(last);
        values.extend(writes.map(|write| self.frame.events[write].value()));
        Ok(())
    }
}
