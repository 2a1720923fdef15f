//! What registers of a kernel are for: which carry counts, which are mere addresses. Flow-insensitive: a register counts
//! as a counter when anything that is computed from it is stored, compared or added to memory.

use std::collections::HashSet;

use warpferry_ptx::ast::{AddressBase, Body, Instruction, Operand, RegisterId};

/// Registers whose value ends in a store, a comparison, a branch of copies, or a read-modify-write.
pub fn counters(body: &Body) -> HashSet<RegisterId> {
    let mut found: HashSet<RegisterId> = HashSet::new();
    for instruction in &body.code {
        let values: &[Operand] = match instruction.opcode.as_str() {
            "st" | "red" | "atom" | "setp" | "cp" | "mbarrier" => &instruction.operands,
            _ => &[],
        };
        values.iter().for_each(|operand| plain_registers(operand, &mut found));
    }
    // A store's value, not where it goes: address operands have been left out above.
    loop {
        let before = found.len();
        for instruction in body.code.iter().filter(|instruction| computes(instruction)) {
            let (writes, reads) = registers(instruction);
            if writes.iter().any(|register| found.contains(register)) {
                found.extend(reads);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// 64-bit registers that are addresses or parts of one: they are nothing that the protocol counts.
pub fn addresses(body: &Body) -> HashSet<RegisterId> {
    let bases = body.code.iter().flat_map(|instruction| &instruction.operands).filter_map(|operand| match operand {
        Operand::Address(AddressBase::Register(base), _) => Some(*base),
        _ => None,
    });
    let mut found: HashSet<RegisterId> = bases.collect();
    loop {
        let before = found.len();
        for instruction in body.code.iter().filter(|one| matches!(one.opcode.as_str(), "add" | "sub") && one.has("u64"))
        {
            let (writes, reads) = registers(instruction);
            if writes.iter().any(|register| found.contains(register)) {
                found.extend(reads);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Whether an instruction computes from registers alone.
fn computes(instruction: &Instruction) -> bool {
    matches!(
        instruction.opcode.as_str(),
        "add"
            | "sub"
            | "mov"
            | "min"
            | "max"
            | "cvt"
            | "selp"
            | "and"
            | "or"
            | "shl"
            | "shr"
            | "mul"
            | "shfl"
            | "mad"
            | "prmt"
            | "popc"
    )
}

/// Registers of an operand that are no address.
fn plain_registers(operand: &Operand, into: &mut HashSet<RegisterId>) {
    match operand {
        Operand::Register(id) | Operand::NotRegister(id) => {
            into.insert(*id);
        }
        Operand::Vector(all) | Operand::List(all) => all.iter().for_each(|one| plain_registers(one, into)),
        Operand::Pair(one, other) => {
            plain_registers(one, into);
            plain_registers(other, into);
        }
        _ => {}
    }
}

fn all_registers(operand: &Operand, into: &mut HashSet<RegisterId>) {
    plain_registers(operand, into);
    if let Operand::Address(AddressBase::Register(id), _) = operand {
        into.insert(*id);
    }
}

/// Whether the first operand is written.
fn has_result(instruction: &Instruction) -> bool {
    match instruction.opcode.as_str() {
        "st" | "red" | "bra" | "fence" | "cp" | "nanosleep" | "ret" | "exit" | "trap" => false,
        "bar" | "barrier" => instruction.has("red"),
        "mbarrier" => !instruction.has("init"),
        _ => true,
    }
}

/// Registers that an instruction writes, and those that it reads.
pub fn registers(instruction: &Instruction) -> (HashSet<RegisterId>, HashSet<RegisterId>) {
    let (mut writes, mut reads) = (HashSet::new(), HashSet::new());
    for (number, operand) in instruction.operands.iter().enumerate() {
        if number == 0 && has_result(instruction) {
            plain_registers(operand, &mut writes);
        } else {
            all_registers(operand, &mut reads);
        }
    }
    reads.extend(instruction.guard.map(|guard| guard.register));
    (writes, reads)
}

/// Whether two neighbours may change places without a register noticing.
pub fn may_swap(first: &Instruction, second: &Instruction) -> bool {
    let ((writes, reads), (later_writes, later_reads)) = (registers(first), registers(second));
    writes.is_disjoint(&later_reads) && writes.is_disjoint(&later_writes) && reads.is_disjoint(&later_writes)
}

/// Whether control may leave or enter the straight line here.
pub fn ends_line(instruction: &Instruction) -> bool {
    matches!(instruction.opcode.as_str(), "bra" | "ret" | "exit" | "trap" | "call")
}
