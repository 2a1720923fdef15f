//! Which runs come by an instruction: what no run reaches, none can catch, and what few reach, only those need to try.
//!
//! Method: the emulator tells of every memory access and fence with its instruction's number. Kernels follow each other
//! on a GPU in a fixed order, so the number of a launch says which kernel it is; that an access is one in the parsed
//! kernel too is asserted. Straight lines of code are reached whole; those without an access count as always reached.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use warpferry_emu::{Event, LaunchId, Observer};
use warpferry_ptx::ast::{Instruction, Operand};

use super::flow::ends_line;
use super::kernel::Kernel;

/// Instructions seen, by kernel and number.
pub type Seen = [Vec<bool>; 4];

/// Writes down which instructions are executed.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    /// Launches so far, by GPU.
    launches: HashMap<usize, usize>,
    kernel_of_launch: HashMap<LaunchId, usize>,
    kernel_of_cta: HashMap<u64, usize>,
}

impl Watch {
    pub fn new(seen: Arc<Mutex<Seen>>) -> Watch {
        Watch { seen, launches: HashMap::new(), kernel_of_launch: HashMap::new(), kernel_of_cta: HashMap::new() }
    }

    fn at(&self, cta: u64, pc: u32) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut seen[self.kernel_of_cta[&cta]];
        let pc = pc as usize;
        if seen.len() <= pc {
            seen.resize(pc + 1, false);
        }
        seen[pc] = true;
    }
}

impl Observer for Watch {
    fn event(&mut self, event: &Event) {
        match event {
            Event::LaunchBegin { launch, gpu } => {
                let count = self.launches.entry(*gpu).or_default();
                self.kernel_of_launch.insert(*launch, *count % 4);
                *count += 1;
            }
            Event::CtaBegin { cta, launch, .. } => {
                self.kernel_of_cta.insert(*cta, self.kernel_of_launch[launch]);
            }
            Event::Access { warp, pc, .. } | Event::Fence { warp, pc, .. } | Event::ProxyFence { warp, pc, .. } => {
                self.at(warp.cta, *pc);
            }
            _ => {}
        }
    }
}

/// Numbers of the parsed instructions that the emulator's are made from: it takes vectors apart and puts them together
/// piece by piece.
fn numbers(code: &[Instruction]) -> Vec<usize> {
    let is_named = |part: &&Operand| !matches!(part, Operand::Sink);
    let steps = |instruction: &Instruction| match (instruction.opcode.as_str(), &instruction.operands[..]) {
        ("mov", [Operand::Vector(parts), _]) => 1 + parts.iter().filter(is_named).count(),
        ("mov", [_, Operand::Vector(parts)]) => 2 * parts.len(),
        _ => 1,
    };
    (0..).zip(code).flat_map(|(at, instruction)| vec![at; steps(instruction)]).collect()
}

/// For each instruction, whether a run may come by.
pub fn reached(kernel: &Kernel, executed: &[bool]) -> Vec<bool> {
    let body = kernel.body();
    let mut reached = vec![true; body.code.len()];
    let mut seen = vec![false; body.code.len()];
    let numbers = numbers(&body.code);
    for (number, _) in executed.iter().enumerate().filter(|(_, executed)| **executed) {
        let at = numbers[number];
        seen[at] = true;
        let opcode = &body.code[at].opcode;
        let is_access = matches!(opcode.as_str(), "ld" | "st" | "atom" | "red" | "fence" | "mbarrier" | "cp");
        assert!(is_access, "{}: instruction {at} is {opcode}, and accesses memory", kernel.image.name);
    }
    let mut first = 0;
    for end in 1..=body.code.len() {
        let is_end =
            end == body.code.len() || ends_line(&body.code[end - 1]) || body.labels.iter().any(|label| label.at == end);
        if !is_end {
            continue;
        }
        let line = first..end;
        first = end;
        let tells = |at: &usize| {
            matches!(body.code[*at].opcode.as_str(), "ld" | "st" | "atom" | "red")
                && !body.code[*at].has("param")
                && body.code[*at].guard.is_none()
        };
        let hit = line.clone().any(|at| seen[at]);
        if line.clone().any(|at| tells(&at)) && !hit {
            reached[line].fill(false);
        }
    }
    reached
}
