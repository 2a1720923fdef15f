//! Which instructions are the first to use what a load gives: a warp goes on behind a load until one of them.

use crate::program::{lanes, Args, Inst, Op, NO_GUARD};
use std::collections::BTreeSet;

/// For each instruction, whether a load before it must be there: it reads what the load gives, or control goes elsewhere
/// before anything does.
pub(crate) fn first_uses(code: &[Inst]) -> Vec<bool> {
    let targets = targets(code);
    let mut uses = vec![false; code.len()];
    for (at, inst) in code.iter().enumerate() {
        let given = given(inst);
        if given.is_empty() {
            continue;
        }
        let ends = |&next: &usize| {
            targets.contains(&next) || leaves(&code[next].op) || given.iter().any(|&column| reads(&code[next], column))
        };
        if let Some(next) = (at + 1..code.len()).find(ends) {
            uses[next] = true;
        }
    }
    uses
}

/// Instructions to which control comes from elsewhere.
fn targets(code: &[Inst]) -> BTreeSet<usize> {
    let of = |inst: &Inst| match &inst.op {
        Op::Branch { target } | Op::Call { target } => vec![*target as usize],
        Op::BranchIndex(targets) => targets.iter().map(|&target| target as usize).collect(),
        _ => Vec::new(),
    };
    code.iter().flat_map(of).collect()
}

fn leaves(op: &Op) -> bool {
    matches!(
        op,
        Op::Branch { .. } | Op::BranchIndex(_) | Op::Call { .. } | Op::Return | Op::Exit | Op::Trap | Op::Nanosleep
    )
}

/// Columns that an instruction gives late.
fn given(inst: &Inst) -> Vec<u16> {
    match &inst.op {
        Op::Load(access) => access.columns[..access.count as usize].to_vec(),
        Op::Atomic(atomic) if atomic.returns => vec![inst.args.d],
        _ => Vec::new(),
    }
}

/// Whether an instruction may read a column. Predicates have numbers of their own, so some that do not are taken for it.
fn reads(inst: &Inst, column: u16) -> bool {
    let Args { a, b, c, e, .. } = inst.args;
    let plain = [a, b, c, e].contains(&column) || inst.guard != NO_GUARD && inst.guard == column;
    plain
        || match &inst.op {
            Op::Load(access) | Op::LoadParam(access) => access.base == column,
            Op::Store(access) => access.base == column || access.columns[..access.count as usize].contains(&column),
            Op::Atomic(atomic) => atomic.base == column,
            Op::Mbarrier(op) => op.base == column,
            Op::Bulk(bulk) => [bulk.target, bulk.source, bulk.mbarrier].contains(&column) || bulk.ctas == Some(column),
            Op::AsyncCopy(copy) => [copy.target, copy.source].contains(&column),
            Op::StoreAsync(store) => {
                store.access.base == column || store.mbarrier == column || store.access.columns.contains(&column)
            }
            // What they read beside the arguments is not told here.
            Op::Matrix(_) | Op::Video(_) | Op::Save(_) | Op::Barrier(_) => true,
            _ => false,
        }
}

/// Bytes that lanes of an access touch.
pub(crate) fn bytes_of(active: u32, size: u8, count: u8) -> u64 {
    lanes(active).count() as u64 * u64::from(size) * u64::from(count)
}

#[cfg(test)]
mod tests {
    use crate::{Machine, MachineConfig};

    /// The loads of a kernel are waited for where their values are used, and before control leaves.
    #[test]
    fn loads_are_waited_for_at_their_first_use() {
        let text = "
            .version 8.2
            .target sm_90
            .address_size 64
            .visible .entry test(.param .u64 arg) {
                .reg .u64 at; .reg .u32 x, y, z; .reg .pred p;
                ld.param.u64 at, [arg];
                ld.global.u32 x, [at];
                ld.global.u32 y, [at+4];
                mov.u32 z, 3;
                add.u32 z, z, y;
                add.u32 z, z, x;
                ld.global.u32 x, [at+8];
                st.global.u32 [at], z;
                setp.eq.u32 p, z, 3;
                @p bra done;
                st.global.u32 [at+4], z;
            done:
                ret;
            }";
        let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap_or_else(|error| panic!("{error}"));
        let module = machine.load_module("test.ptx", text).unwrap_or_else(|error| panic!("{error}"));
        let program = machine.program(module, "test").unwrap_or_else(|error| panic!("{error}"));
        let used: Vec<usize> = (0..program.code.len()).filter(|&at| program.uses_loads[at]).collect();
        // The sum with `y`, the sum with `x`, and the branch.
        assert_eq!(used, [4, 5, 9]);
    }
}
