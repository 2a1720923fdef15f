//! Coverage: which instructions of an entry have run, and which guarded ones have been passed over.
//!
//! Method: with [`crate::MachineConfig::coverage`] every program carries a byte an instruction, and turns of its warps run
//! through a copy of the interpreter's loop that marks it. Without it there is no byte and the loop is the one that knows
//! nothing of this. It says that a way was taken, not how often, nor together with which others. On a machine whose parts have
//! times it is also kept how long warps were at each instruction.

use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};

use crate::error::Location;
use crate::isa::END_OF;
use crate::program::Program;

/// Some lane executed it.
const EXECUTED: u8 = 1;
/// Some lane came to it, and its guard was false there.
const PASSED: u8 = 2;

/// Marks of a program's code.
#[derive(Debug)]
pub(crate) struct Marks {
    seen: Vec<AtomicU8>,
    /// Warps that came to it, and how long they were there.
    times: Vec<AtomicU64>,
    spent_ps: Vec<AtomicU64>,
}

impl Marks {
    pub fn new(instructions: usize) -> Marks {
        let zeros = || (0..instructions).map(|_| AtomicU64::new(0)).collect();
        Marks { seen: (0..instructions).map(|_| AtomicU8::new(0)).collect(), times: zeros(), spent_ps: zeros() }
    }

    /// A group of lanes `mask` is at `pc`; `active` of them execute it.
    pub fn note(&self, pc: u32, mask: u32, active: u32) {
        let seen = if active != 0 { EXECUTED } else { 0 } | if active != mask { PASSED } else { 0 };
        let mark = &self.seen[pc as usize];
        if mark.load(Ordering::Relaxed) & seen != seen {
            mark.fetch_or(seen, Ordering::Relaxed);
        }
    }
}

impl Marks {
    /// A warp was at `pc` for a time.
    pub fn spend(&self, pc: u32, ps: u64) {
        if let (Some(times), Some(spent)) = (self.times.get(pc as usize), self.spent_ps.get(pc as usize)) {
            times.fetch_add(1, Ordering::Relaxed);
            spent.fetch_add(ps, Ordering::Relaxed);
        }
    }
}

/// What has become of one instruction of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// Where it stands, and its text with the guard.
    pub location: Location,
    /// Some lane executed it: of a conditional branch, took it.
    pub executed: bool,
    /// Some lane's guard was false: of a conditional branch, it went on.
    pub passed: bool,
    /// How often a warp came to it, on a machine whose parts have times.
    pub times: u64,
    /// How long warps were there, waiting included; the same.
    pub spent_ps: u64,
}

/// All instructions of a program's source, in its order; `None` when nothing was marked.
pub(crate) fn covered(program: &Program) -> Option<Vec<Covered>> {
    let marks = program.marks.as_ref()?;
    let fresh = |location: &Location| Covered {
        location: location.clone(),
        executed: false,
        passed: false,
        times: 0,
        spent_ps: 0,
    };
    let mut all: Vec<Covered> = program.locations.iter().map(fresh).collect();
    for (at, &source) in program.source.iter().enumerate() {
        let mark = marks.seen[at].load(Ordering::Relaxed);
        if let Some(covered) = all.get_mut(source as usize) {
            covered.executed |= mark & EXECUTED != 0;
            covered.passed |= mark & PASSED != 0;
            covered.times += marks.times[at].load(Ordering::Relaxed);
            covered.spent_ps += marks.spent_ps[at].load(Ordering::Relaxed);
        }
    }
    // The end that every function has is in no source.
    all.retain(|covered| !covered.location.instruction.starts_with(END_OF));
    Some(all)
}
