//! The generator: every fence, proxy fence, scope, order, barrier, wait, member mask and count of a kernel, with every
//! change that makes it less. What PTX does not let one write, by the table of instructions, is no mutant.

use std::collections::{HashMap, HashSet};

use warpferry_ptx::ast::{Body, Instruction, Operand, RegisterId};

use super::change::{apply, Change, Kind};
use super::flow::{addresses, counters};
use super::kernel::Kernel;

/// One mutant of a kernel.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// Names it, among those of its kernel.
    pub number: usize,
    /// Index of the instruction.
    pub at: usize,
    pub kind: Kind,
    pub change: Change,
}

/// Orders from strong to weak, by opcode.
const ORDERS: &[(&str, &str, &[&str])] = &[
    ("ld", "acquire", &["relaxed"]),
    ("st", "release", &["relaxed"]),
    ("red", "release", &["relaxed"]),
    ("atom", "acq_rel", &["acquire", "release"]),
    ("atom", "acquire", &["relaxed"]),
    ("atom", "release", &["relaxed"]),
    ("mbarrier", "acquire", &["relaxed"]),
    ("mbarrier", "release", &["relaxed"]),
];

/// Scopes from wide to narrow.
const SCOPES: &[(&str, &str)] = &[("sys", "gpu"), ("gpu", "cta"), ("cluster", "cta")];

/// All mutants of a kernel.
pub fn mutants(kernel: &Kernel) -> Vec<Mutant> {
    let mut valid: HashMap<(&str, String), bool> = HashMap::new();
    let mut all = candidates(kernel);
    all.retain(|mutant| {
        let Some(module) = apply(&kernel.module, mutant.at, &mutant.change) else { return false };
        // A kernel as it is has nothing that the table refuses, so whatever it refuses of a mutant is the mutant's; and
        // what it says of an instruction it says of all that read the same.
        let known = valid.entry((&kernel.texts[mutant.at], mutant.change.to_string()));
        *known.or_insert_with(|| warpferry_ptx::check(&module).is_empty())
    });
    all
}

/// The same, with those that cannot be made or written.
pub fn candidates(kernel: &Kernel) -> Vec<Mutant> {
    let body = kernel.body();
    let (counted, addresses) = (counters(body), addresses(body));
    let bases = variables(body);
    let mut all = Vec::new();
    for (at, instruction) in body.code.iter().enumerate() {
        // The base of shared memory is no count.
        let adds_base = |operand: &Operand| matches!(operand, Operand::Register(id) if bases.contains(id));
        let has_base = instruction.operands.iter().any(adds_base);
        for (kind, change) in changes(instruction, &counted, &addresses) {
            if kernel.is_own(at) && (kind != Kind::Count || !has_base) {
                all.push(Mutant { number: all.len(), at, kind, change });
            }
        }
    }
    all
}

/// Registers that hold the address of a variable.
fn variables(body: &Body) -> HashSet<RegisterId> {
    let address = |instruction: &Instruction| match (instruction.opcode.as_str(), &instruction.operands[..]) {
        ("mov", [Operand::Register(id), Operand::Variable(..)]) => Some(*id),
        _ => None,
    };
    body.code.iter().filter_map(address).collect()
}

/// A memory access or an instruction that orders them: what moving past may matter. Blocks of constants are no memory
/// in this sense.
pub fn is_event(instruction: &Instruction) -> bool {
    match instruction.opcode.as_str() {
        "st" | "red" | "atom" | "fence" | "bar" | "barrier" | "mbarrier" | "cp" => true,
        "ld" => {
            let weak_address = instruction.has("global") && instruction.has("u64") && !is_strong(instruction);
            !instruction.has("param") && !weak_address
        }
        _ => false,
    }
}

/// Whether an access says its order.
fn is_strong(instruction: &Instruction) -> bool {
    ["relaxed", "acquire", "release", "acq_rel"].iter().any(|order| instruction.has(order))
}

fn changes(
    instruction: &Instruction,
    counted: &HashSet<RegisterId>,
    addresses: &HashSet<RegisterId>,
) -> Vec<(Kind, Change)> {
    let mut out = Vec::new();
    let moved = |out: &mut Vec<(Kind, Change)>, kind| {
        out.extend([(kind, Change::Drop), (kind, Change::Earlier), (kind, Change::Later)]);
    };
    match instruction.opcode.as_str() {
        "fence" if instruction.has("acq_rel") || instruction.has("sc") => moved(&mut out, Kind::Fence),
        "fence" => moved(&mut out, Kind::ProxyFence),
        "bar" | "barrier" => moved(&mut out, Kind::Barrier),
        "cp" if instruction.has("wait_group") => {
            moved(&mut out, Kind::CopyWait);
            out.push((Kind::CopyWait, Change::Add(1)));
            if !instruction.has("read") {
                out.push((Kind::CopyWait, Change::ReadOnly));
            }
        }
        "cp" if instruction.has("commit_group") => out.push((Kind::CopyWait, Change::Drop)),
        "cp" => out.extend([Change::Drop, Change::Add(16), Change::Add(-16)].map(|change| (Kind::Copy, change))),
        "mbarrier" if instruction.has("try_wait") => {
            out.extend([(Kind::LoadWait, Change::Drop), (Kind::LoadWait, Change::Parity)]);
        }
        "mbarrier" if instruction.has("expect_tx") => {
            moved(&mut out, Kind::Expect);
            out.extend([Change::Add(16), Change::Add(-16)].map(|change| (Kind::Expect, change)));
        }
        "mbarrier" => {
            moved(&mut out, Kind::Expect);
            out.push((Kind::Expect, Change::Add(1)));
        }
        "ld" if instruction.has("acquire") => {
            out.extend([Change::Earlier, Change::Later].map(|change| (Kind::Order, change)));
        }
        "st" if is_strong(instruction) => {
            moved(&mut out, Kind::Publish);
            out.extend([(Kind::Publish, Change::Add(1)), (Kind::Publish, Change::Add(-1))]);
        }
        "red" | "atom" => {
            moved(&mut out, Kind::Publish);
            if !instruction.has("or") && !instruction.has("and") {
                out.extend([(Kind::Publish, Change::Add(1)), (Kind::Publish, Change::Add(-1))]);
            }
        }
        "st" => {
            out.push((Kind::Store, Change::Drop));
            // Not of vectors, nor of a float.
            let is_word = ["u32", "u64"].iter().any(|ty| instruction.has(ty));
            if is_word && matches!(instruction.operands.get(1), Some(Operand::Integer(_) | Operand::Register(_))) {
                out.push((Kind::Store, Change::Add(1)));
            }
        }
        "add" | "sub" if is_count(instruction, counted, addresses) => {
            // Nothing is lost with a sum of nothing.
            if !matches!(instruction.operands.get(2), Some(Operand::Integer(0))) {
                out.push((Kind::Count, Change::Drop));
            }
            out.extend([Change::Add(1), Change::Add(-1)].map(|change| (Kind::Count, change)));
        }
        _ => {}
    }
    for (opcode, from, weaker) in ORDERS {
        if instruction.opcode == *opcode && instruction.has(from) {
            out.extend(weaker.iter().map(|to| (Kind::Order, Change::Weaken { from, to })));
        }
    }
    if matches!(instruction.opcode.as_str(), "ld" | "st") && instruction.has("relaxed") && !instruction.has("mmio") {
        out.push((Kind::Order, Change::Weak));
    }
    if instruction.has("mmio") {
        out.push((Kind::Order, Change::Weaken { from: "mmio", to: "" }));
    }
    if !instruction.has("proxy") && !instruction.has("mmio") {
        let scope = SCOPES.iter().find(|(from, _)| instruction.has(from));
        out.extend(scope.map(|(from, to)| (Kind::Scope, Change::Weaken { from, to })));
    }
    if instruction.has("sync") && instruction.opcode != "barrier" {
        out.push((Kind::Mask, Change::FewerLanes));
    }
    out
}

/// Integer arithmetic whose result is a count rather than an address.
fn is_count(instruction: &Instruction, counted: &HashSet<RegisterId>, addresses: &HashSet<RegisterId>) -> bool {
    let Some(Operand::Register(result)) = instruction.operands.first() else { return false };
    let is_integer = instruction.modifiers.first().is_some_and(|ty| ty == "u32" || ty == "u64");
    if !is_integer || !counted.contains(result) {
        return false;
    }
    !(instruction.has("u64") && addresses.contains(result))
}
