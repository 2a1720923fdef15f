//! Loops of a thread, and which of them repeat nothing but their reads.

use std::collections::{BTreeSet, HashMap};

use crate::ast::{Instruction, Operand, Thread, Update};

/// A jump back, and whether an iteration without writes repeats nothing but its reads.
pub(crate) fn loops_of(thread: &Thread) -> HashMap<usize, bool> {
    let mut loops = HashMap::new();
    for (at, instruction) in thread.instructions.iter().enumerate() {
        if let Instruction::Branch { target, .. } | Instruction::Jump { target } = *instruction {
            if target <= at {
                loops.insert(at, forgets(thread, target, at));
            }
        }
    }
    loops
}

/// Whether each iteration of the loop `head..=back` writes its registers before it, or anybody, looks at them.
fn forgets(thread: &Thread, head: usize, back: usize) -> bool {
    let region = head..=back;
    let enters = |(at, instruction): (usize, &Instruction)| match instruction {
        Instruction::Branch { target, .. } | Instruction::Jump { target } => {
            !region.contains(&at) && *target > head && *target <= back
        }
        _ => false,
    };
    if thread.instructions.iter().enumerate().any(enters) {
        return false;
    }
    let body = &thread.instructions[head..=back];
    let written: BTreeSet<usize> = body.iter().filter_map(register_written).collect();
    let mut fresh = BTreeSet::new();
    let mut straight = true;
    for instruction in body {
        if registers_read(instruction).any(|register| written.contains(&register) && !fresh.contains(&register)) {
            return false;
        }
        if matches!(instruction, Instruction::Branch { .. } | Instruction::Jump { .. }) {
            straight = false;
        }
        if let Some(register) = register_written(instruction) {
            if !straight {
                return false;
            }
            fresh.insert(register);
        }
    }
    true
}

fn register_written(instruction: &Instruction) -> Option<usize> {
    match *instruction {
        Instruction::Load { into, .. } | Instruction::Compute { into, .. } | Instruction::Wait { into, .. } => {
            Some(into)
        }
        Instruction::Atomic { into, .. } => into,
        _ => None,
    }
}

fn registers_read(instruction: &Instruction) -> impl Iterator<Item = usize> {
    let operands: [Option<Operand>; 3] = match *instruction {
        Instruction::Load { .. }
        | Instruction::Fence { .. }
        | Instruction::FenceProxy(_)
        | Instruction::Bulk { .. }
        | Instruction::CommitGroup
        | Instruction::WaitGroup { .. }
        | Instruction::MbarrierInit { .. }
        | Instruction::Arrive { .. }
        | Instruction::Wait { .. }
        | Instruction::Jump { .. } => [None; 3],
        Instruction::Store { value, .. } => [Some(value), None, None],
        Instruction::Atomic { update: Update::Apply(_, operand), .. } => [Some(operand), None, None],
        Instruction::Atomic { update: Update::CompareAndSwap { expected, replacement }, .. } => {
            [Some(expected), Some(replacement), None]
        }
        Instruction::Barrier { id, resource, quorum, .. } => [Some(id), resource, quorum],
        Instruction::Compute { a, b, .. } | Instruction::Branch { a, b, .. } => [Some(a), Some(b), None],
    };
    operands.into_iter().flatten().filter_map(|operand| match operand {
        Operand::Register(register) => Some(register),
        Operand::Constant(_) => None,
    })
}
