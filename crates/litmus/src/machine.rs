//! The test as a machine that runs one instruction of one thread at a time: sequential consistency.
//!
//! It serves two ends: to compare the model with (strong fences everywhere must give its states and no others), and to
//! find fair executions that never end in loops that write.

use std::collections::{BTreeSet, HashSet};

use crate::ast::{Instruction, Operand, Test, Update};
use crate::condition::Variable;

/// Where everything stands between two steps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    at: Vec<usize>,
    registers: Vec<Vec<i64>>,
    memory: Vec<i64>,
}

/// Why the machine cannot run a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unable {
    /// It has barriers, or something asynchronous.
    Barriers,
    /// It has more states than asked for.
    States,
}

/// The final states of all interleavings: values of [`Test::observed`].
pub fn interleavings(test: &Test, most: usize) -> Result<BTreeSet<Vec<i64>>, Unable> {
    let start = State::start(test)?;
    let mut seen = HashSet::from([start.clone()]);
    let mut open = vec![start];
    let mut finals = BTreeSet::new();
    while let Some(state) = open.pop() {
        if (0..test.threads.len()).all(|thread| state.ended(test, thread)) {
            finals.insert(state.observed(test));
        }
        for thread in 0..test.threads.len() {
            if let Some(next) = state.step(test, thread) {
                if seen.insert(next.clone()) {
                    if seen.len() > most {
                        return Err(Unable::States);
                    }
                    open.push(next);
                }
            }
        }
    }
    Ok(finals)
}

/// How many instructions without memory are run in one step.
const LOCAL_STEPS: usize = 64;

impl State {
    pub(crate) fn start(test: &Test) -> Result<Self, Unable> {
        let has_barrier = |instruction: &Instruction| matches!(instruction, Instruction::Barrier { .. });
        if test.is_asynchronous() || test.threads.iter().any(|thread| thread.instructions.iter().any(has_barrier)) {
            return Err(Unable::Barriers);
        }
        let registers = test.threads.iter().map(|thread| thread.initial.clone()).collect();
        let mut start = Self { at: vec![0; test.threads.len()], registers, memory: test.initial.clone() };
        for thread in 0..test.threads.len() {
            start.run_locals(test, thread);
        }
        Ok(start)
    }

    pub(crate) fn ended(&self, test: &Test, thread: usize) -> bool {
        self.at[thread] >= test.threads[thread].instructions.len()
    }

    fn observed(&self, test: &Test) -> Vec<i64> {
        let value = |variable: &Variable| match *variable {
            Variable::Register { thread, register } => self.registers[thread][register],
            Variable::Memory { location } => self.memory[test.locations[location].memory],
        };
        test.observed().iter().map(value).collect()
    }

    fn value(&self, thread: usize, operand: Operand) -> i64 {
        match operand {
            Operand::Register(register) => self.registers[thread][register],
            Operand::Constant(constant) => constant,
        }
    }

    /// The state after the thread's next instruction and those after it that touch no memory; none where it has ended.
    pub(crate) fn step(&self, test: &Test, thread: usize) -> Option<Self> {
        if self.ended(test, thread) {
            return None;
        }
        let mut next = self.clone();
        next.run_one(test, thread);
        next.run_locals(test, thread);
        Some(next)
    }

    fn run_locals(&mut self, test: &Test, thread: usize) {
        for _ in 0..LOCAL_STEPS {
            let local = |instruction: &Instruction| {
                !matches!(
                    instruction,
                    Instruction::Load { .. } | Instruction::Store { .. } | Instruction::Atomic { .. }
                )
            };
            if !test.threads[thread].instructions.get(self.at[thread]).is_some_and(local) {
                return;
            }
            self.run_one(test, thread);
        }
    }

    fn run_one(&mut self, test: &Test, thread: usize) {
        let instruction = test.threads[thread].instructions[self.at[thread]];
        self.at[thread] += 1;
        match instruction {
            Instruction::Load { into, location, .. } => {
                self.registers[thread][into] = self.memory[test.locations[location].memory];
            }
            Instruction::Store { location, value, .. } => {
                self.memory[test.locations[location].memory] = self.value(thread, value);
            }
            Instruction::Atomic { into, location, update, .. } => {
                let place = test.locations[location].memory;
                let old = self.memory[place];
                match update {
                    Update::Apply(operation, operand) => {
                        self.memory[place] = operation.apply(old, self.value(thread, operand));
                    }
                    Update::CompareAndSwap { expected, replacement } => {
                        if old == self.value(thread, expected) {
                            self.memory[place] = self.value(thread, replacement);
                        }
                    }
                }
                if let Some(into) = into {
                    self.registers[thread][into] = old;
                }
            }
            Instruction::Compute { into, operation, a, b } => {
                self.registers[thread][into] = operation.apply(self.value(thread, a), self.value(thread, b));
            }
            Instruction::Branch { compare, a, b, target } => {
                if compare.holds(self.value(thread, a), self.value(thread, b)) {
                    self.at[thread] = target;
                }
            }
            Instruction::Jump { target } => self.at[thread] = target,
            Instruction::Fence { .. }
            | Instruction::FenceProxy(_)
            | Instruction::Barrier { .. }
            | Instruction::Bulk { .. }
            | Instruction::CommitGroup
            | Instruction::WaitGroup { .. }
            | Instruction::MbarrierInit { .. }
            | Instruction::Arrive { .. }
            | Instruction::Wait { .. } => {}
        }
    }
}
