//! What one thread may do by itself: its paths, for every value that each read might return.
//!
//! The values come from a fixed point: what any path may write to a place in memory, any read of it may return. Whether
//! some write really supplies a value is decided where the paths of all threads meet.
//!
//! Loops. An iteration that only reads, and whose registers the next one writes again before it looks at them, adds
//! nothing but constraints: whatever an execution with it shows, the execution without it shows too. Such loops are cut
//! at the jump back, exactly. Other loops are unrolled up to a bound, and a path that would go on is marked.

use std::collections::HashMap;

use crate::ast::{Access, Binary, Instruction, Operand, Order, Proxy, ProxyFence, Scope, Test, Thread, Update};
use crate::copies::{self, Bulk, Copies};
use crate::loops::loops_of;
use crate::relation::{Set, EVENTS};
use crate::values::{self, Values};

/// One operation of a thread with its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Read {
        location: usize,
        value: i64,
    },
    Write {
        location: usize,
        value: i64,
    },
    Fence,
    ProxyFence(ProxyFence),
    Barrier {
        warp: bool,
        waits: bool,
        id: i64,
        resource: Option<i64>,
        quorum: Option<i64>,
    },
    /// A bulk copy will report to the mbarrier at a location.
    Uses {
        location: usize,
    },
    /// A bulk copy has read its source, or is done: an implicit proxy fence, and the report to its mbarrier.
    Completion {
        mbarrier: Option<usize>,
        bytes: i64,
    },
    /// `cp.async.bulk.wait_group`
    WaitGroup,
    /// An arrival at an mbarrier, or bytes that it shall expect, or both.
    Arrive {
        location: usize,
        arrives: bool,
        expects: i64,
    },
    /// A look at an mbarrier, and whether it found the phase complete.
    Wait {
        location: usize,
        parity: i64,
        done: bool,
    },
}

impl Action {
    /// The location that it is about.
    pub(crate) fn location(&self) -> Option<usize> {
        match *self {
            Self::Read { location, .. }
            | Self::Write { location, .. }
            | Self::Uses { location }
            | Self::Arrive { location, .. }
            | Self::Wait { location, .. } => Some(location),
            Self::Completion { mbarrier, .. } => mbarrier,
            Self::Fence | Self::ProxyFence(_) | Self::Barrier { .. } | Self::WaitGroup => None,
        }
    }
}

/// An operation on a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) action: Action,
    pub(crate) access: Access,
    pub(crate) line: usize,
    /// The reads of this path that it depends on, by address, data or control.
    pub(crate) depends: Set,
    /// For a write: the reads that its value is computed from.
    pub(crate) data: Set,
    /// For the write of an atomic: its read.
    pub(crate) partner: Option<usize>,
    /// The bulk copy of this path that it is a part of, by number.
    pub(crate) copy: Option<usize>,
    /// Whether it is the read of a reduction, whose value nobody gets.
    pub(crate) reduction: bool,
    /// For `wait_group`: the completions that it waits for.
    pub(crate) completes: Set,
}

impl Step {
    /// Whether it sees what others did.
    fn is_look(&self) -> bool {
        matches!(self.action, Action::Read { .. } | Action::Wait { .. })
    }
}

/// How a path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The thread is done.
    Complete,
    /// It would repeat an iteration that only reads; these were its reads.
    Spins(Set),
    /// The bound on loops ended it.
    Cut,
}

/// A path of one thread.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) steps: Vec<Step>,
    pub(crate) registers: Vec<i64>,
    pub(crate) end: End,
}

/// The paths of all threads.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) threads: Vec<Vec<Path>>,
    /// Whether the bound on loops cut a path.
    pub(crate) cut: bool,
    /// Whether some path repeats a loop.
    pub(crate) loops: bool,
}

/// Why there are no paths to work with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TooMuch {
    Paths,
    Events,
}

/// Every path of every thread.
pub(crate) fn all(test: &Test, loop_bound: usize, limit: usize) -> Result<Paths, TooMuch> {
    // Each place has the write of its initial value.
    if test.initial.len() > EVENTS {
        return Err(TooMuch::Events);
    }
    let mut values: Vec<Values> = test.initial.iter().map(|&value| Values::from([(value, 0)])).collect();
    let mut rounds = 0;
    loop {
        let mut threads = Vec::new();
        let mut count = 0;
        for thread in &test.threads {
            let mut walker = Walker {
                test,
                thread,
                values: &values,
                loop_bound,
                found: Vec::new(),
                room: limit.saturating_sub(count),
                loops: loops_of(thread),
            };
            walker.walk(State::start(thread))?;
            count += walker.found.len();
            threads.push(walker.found);
        }
        let grown = values::grow(test, &values, &threads);
        rounds += 1;
        if grown == values || rounds > values::longest_chain(&threads) {
            let ended = |end: fn(&End) -> bool| threads.iter().flatten().any(|path| end(&path.end));
            let cut = ended(|end| *end == End::Cut);
            let loops = cut || ended(|end| matches!(end, End::Spins(_)));
            return Ok(Paths { threads, cut, loops });
        }
        values = grown;
    }
}

/// A thread in the middle of a path.
#[derive(Clone)]
pub(crate) struct State {
    at: usize,
    registers: Vec<i64>,
    /// The reads that each register depends on.
    taint: Vec<Set>,
    /// The reads that what runs at all depends on.
    control: Set,
    pub(crate) steps: Vec<Step>,
    /// Bulk copies that it issued.
    pub(crate) copies: Copies,
    /// How often each jump back was taken.
    jumps: HashMap<usize, usize>,
    /// How many steps there were when an instruction last ran.
    seen: HashMap<usize, usize>,
}

impl State {
    fn start(thread: &Thread) -> Self {
        Self {
            at: 0,
            registers: thread.initial.clone(),
            taint: vec![0; thread.initial.len()],
            control: 0,
            steps: Vec::new(),
            copies: Copies::default(),
            jumps: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    fn value(&self, operand: Operand) -> i64 {
        match operand {
            Operand::Register(register) => self.registers[register],
            Operand::Constant(constant) => constant,
        }
    }

    fn taint(&self, operand: Operand) -> Set {
        match operand {
            Operand::Register(register) => self.taint[register],
            Operand::Constant(_) => 0,
        }
    }

    fn set(&mut self, register: usize, value: i64, taint: Set) {
        self.registers[register] = value;
        self.taint[register] = taint;
    }
}

struct Walker<'a> {
    test: &'a Test,
    thread: &'a Thread,
    values: &'a [Values],
    loop_bound: usize,
    found: Vec<Path>,
    room: usize,
    loops: HashMap<usize, bool>,
}

/// How often a loop that reads nothing from memory may go round.
const COUNTED_BOUND: usize = 1000;

pub(crate) const WEAK: Access = Access { order: Order::Weak, scope: Scope::Cta, proxy: Proxy::Generic };

const EMPTY: Step = Step {
    action: Action::Fence,
    access: WEAK,
    line: 0,
    depends: 0,
    data: 0,
    partner: None,
    copy: None,
    reduction: false,
    completes: 0,
};

impl Walker<'_> {
    fn walk(&mut self, mut state: State) -> Result<(), TooMuch> {
        while state.at < self.thread.instructions.len() {
            if state.steps.len() + copies::STEPS > EVENTS {
                return Err(TooMuch::Events);
            }
            let at = state.at;
            state.seen.insert(at, state.steps.len());
            let line = self.thread.lines[at];
            let mut step = Step { line, depends: state.control, ..EMPTY };
            state.at += 1;
            match self.thread.instructions[at] {
                Instruction::Load { into, location, access } => {
                    return self.read(state, Step { access, ..step }, location, |state, value, read| {
                        state.set(into, value, read);
                    });
                }
                Instruction::Atomic { into, location, update, access } => {
                    let read = Step { access, reduction: into.is_none(), ..step };
                    return self.read(state, read, location, |state, value, read| {
                        finish_atomic(state, update, location, value, step, access);
                        if let Some(into) = into {
                            state.set(into, value, read);
                        }
                    });
                }
                Instruction::Store { location, value, access } => {
                    step.data = state.taint(value);
                    step.depends |= step.data;
                    step.access = access;
                    step.action = Action::Write { location, value: state.value(value) };
                    state.steps.push(step);
                }
                Instruction::Fence { order, scope } => {
                    step.access = Access { order, scope, proxy: Proxy::Generic };
                    state.steps.push(step);
                }
                Instruction::FenceProxy(which) => {
                    step.action = Action::ProxyFence(which);
                    state.steps.push(step);
                }
                Instruction::Barrier { warp, waits, id, resource, quorum } => {
                    step.action = Action::Barrier {
                        warp,
                        waits,
                        id: state.value(id),
                        resource: resource.map(|operand| state.value(operand)),
                        quorum: quorum.map(|operand| state.value(operand)),
                    };
                    state.steps.push(step);
                }
                Instruction::Bulk { target, source, bytes, mbarrier } => {
                    let copy = Bulk { target, source, bytes, mbarrier };
                    for &value in self.values[self.test.locations[source].memory].keys() {
                        let mut next = state.clone();
                        copies::issue(&mut next, copy, value, step);
                        self.walk(next)?;
                    }
                    return Ok(());
                }
                Instruction::CommitGroup => state.copies.commit(),
                Instruction::WaitGroup { pending, read } => {
                    step.action = Action::WaitGroup;
                    step.completes = state.copies.wait(pending, read);
                    state.steps.push(step);
                }
                Instruction::MbarrierInit { mbarrier, count } => {
                    step.action = Action::Write { location: mbarrier, value: count };
                    state.steps.push(step);
                }
                Instruction::Arrive { mbarrier, arrives, expects, access } => {
                    step.access = access;
                    step.action = Action::Arrive { location: mbarrier, arrives, expects };
                    state.steps.push(step);
                }
                Instruction::Wait { into, mbarrier, parity, access } => {
                    step.access = access;
                    for done in [false, true] {
                        let mut next = state.clone();
                        let read = 1 << next.steps.len();
                        next.steps.push(Step { action: Action::Wait { location: mbarrier, parity, done }, ..step });
                        next.set(into, i64::from(done), read);
                        self.walk(next)?;
                    }
                    return Ok(());
                }
                Instruction::Compute { into, operation, a, b } => {
                    let value = operation.apply(state.value(a), state.value(b));
                    let taint = state.taint(a) | state.taint(b);
                    state.set(into, value, taint);
                }
                Instruction::Branch { compare, a, b, target } => {
                    state.control |= state.taint(a) | state.taint(b);
                    if compare.holds(state.value(a), state.value(b)) && self.jump(&mut state, at, target)? {
                        return Ok(());
                    }
                }
                Instruction::Jump { target } => {
                    if self.jump(&mut state, at, target)? {
                        return Ok(());
                    }
                }
            }
        }
        self.end(state, End::Complete)
    }

    /// Goes on once for each value that the read may return.
    fn read(
        &mut self,
        state: State,
        step: Step,
        location: usize,
        after: impl Fn(&mut State, i64, Set),
    ) -> Result<(), TooMuch> {
        for &value in self.values[self.test.locations[location].memory].keys() {
            let mut next = state.clone();
            let read = 1 << next.steps.len();
            next.steps.push(Step { action: Action::Read { location, value }, ..step });
            after(&mut next, value, read);
            self.walk(next)?;
        }
        Ok(())
    }

    /// Takes a jump; whether the path ended with it.
    fn jump(&mut self, state: &mut State, at: usize, target: usize) -> Result<bool, TooMuch> {
        state.at = target;
        let Some(&forgets) = self.loops.get(&at) else { return Ok(false) };
        let first = state.seen.get(&target).copied().unwrap_or(0);
        let iteration = &state.steps[first..];
        let repeats = |step: &Step| {
            matches!(
                step.action,
                Action::Read { .. } | Action::Wait { .. } | Action::Fence | Action::ProxyFence(_) | Action::WaitGroup
            )
        };
        let quiet = iteration.iter().all(|step| repeats(step) && step.copy.is_none());
        if forgets && quiet {
            let is_read = |(_, step): &(usize, &Step)| step.is_look();
            let reads = iteration.iter().enumerate().filter(is_read).fold(0, |set, (i, _)| set | 1 << (first + i));
            self.end(state.clone(), End::Spins(reads))?;
            return Ok(true);
        }
        let taken = state.jumps.entry(at).or_insert(0);
        *taken += 1;
        // Without a read, an iteration has only one way to go.
        let reads = iteration.iter().any(Step::is_look);
        let bound = if reads { self.loop_bound } else { COUNTED_BOUND };
        if *taken > bound {
            self.end(state.clone(), End::Cut)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn end(&mut self, state: State, end: End) -> Result<(), TooMuch> {
        if self.found.len() >= self.room {
            return Err(TooMuch::Paths);
        }
        self.found.push(Path { steps: state.steps, registers: state.registers, end });
        Ok(())
    }
}

/// The write of an atomic whose read is the last step.
fn finish_atomic(state: &mut State, update: Update, location: usize, value: i64, step: Step, access: Access) {
    let partner = state.steps.len() - 1;
    let read: Set = 1 << partner;
    let (written, data) = match update {
        Update::Apply(operation, operand) => {
            // An exchange writes what it is given, whatever it read.
            let from_read = if operation == Binary::Second { 0 } else { read };
            (operation.apply(value, state.value(operand)), from_read | state.taint(operand))
        }
        Update::CompareAndSwap { expected, replacement } => {
            if value != state.value(expected) {
                return;
            }
            (state.value(replacement), read | state.taint(expected) | state.taint(replacement))
        }
    };
    let action = Action::Write { location, value: written };
    let depends = step.depends | data;
    state.steps.push(Step { action, access, depends, data, partner: Some(partner), ..step });
}
