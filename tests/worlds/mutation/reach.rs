//! Which runs come by an instruction: what no run reaches, none can catch, and what few reach, only those need to try.
//!
//! Method: the emulator tells of every memory access and fence with its instruction's number. Straight lines of code are reached whole; those without an access count as always reached.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use warpferry_emu::{Event, Observer};

use super::flow::ends_line;
use super::kernel::Kernel;

/// Instructions executed, by entry and number.
pub type Seen = HashMap<String, HashSet<usize>>;

/// Writes down which instructions are executed.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    /// Entry, and the instructions of the text behind those of the program.
    ctas: HashMap<u64, (String, Vec<u32>)>,
}

impl Watch {
    pub fn new(seen: Arc<Mutex<Seen>>) -> Watch {
        Watch { seen, ctas: HashMap::new() }
    }
}

impl Observer for Watch {
    fn event(&mut self, event: &Event) {
        match event {
            Event::CtaBegin { cta, entry, written, .. } => {
                self.ctas.insert(*cta, (entry.to_string(), written.to_vec()));
            }
            Event::Access { warp, pc, .. } | Event::Fence { warp, pc, .. } | Event::ProxyFence { warp, pc, .. } => {
                let (entry, written) = &self.ctas[&warp.cta];
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let at = written[*pc as usize] as usize;
                match seen.get_mut(entry) {
                    Some(seen) => drop(seen.insert(at)),
                    None => drop(seen.insert(entry.clone(), HashSet::from([at]))),
                }
            }
            _ => {}
        }
    }
}

/// For each instruction, whether a run may come by.
pub fn reached(kernel: &Kernel, seen: &Seen) -> Vec<bool> {
    let body = kernel.body();
    let mut reached = vec![true; body.code.len()];
    let none = HashSet::new();
    let seen = seen.get(kernel.image.name).unwrap_or(&none);
    for &at in seen {
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
        let hit = line.clone().any(|at| seen.contains(&at));
        if line.clone().any(|at| tells(&at)) && !hit {
            reached[line].fill(false);
        }
    }
    reached
}
