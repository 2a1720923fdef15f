//! Bulk copies.

use super::lower::{Address, Lower, Place, Reason};
use crate::program::{Args, Bulk, Op};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

pub(super) fn cp(l: &mut Lower) -> Done {
    if !l.modifiers.flag("async") || !l.modifiers.flag("bulk") {
        return Err("only cp.async.bulk is supported".into());
    }
    if l.modifiers.flag("commit_group") {
        l.finish(0..=0)?;
        l.emit(Op::BulkCommit, Args::default());
        return Ok(());
    }
    if l.modifiers.flag("wait_group") {
        let read = l.modifiers.flag("read");
        l.finish(1..=1)?;
        let Operand::Integer(pending) = l.operand(0)? else {
            return Err("the number of groups must be a literal".into());
        };
        let pending = u32::try_from(*pending).map_err(|_| format!("{pending} groups: must be in 0..=2^32-1"))?;
        l.emit(Op::BulkWait { pending, read }, Args::default());
        return Ok(());
    }
    if l.modifiers.flag("prefetch") {
        let complete = l.modifiers.flag("L2") && l.modifiers.flag("global");
        let hinted = l.modifiers.cache_hints();
        l.finish(2 + hinted as usize..=2 + hinted as usize)?;
        if !complete {
            return Err("cp.async.bulk.prefetch needs .L2.global".into());
        }
        l.address(0)?;
        l.source(1, Type::U32)?;
        l.emit(Op::Nop, Args::default());
        return Ok(());
    }
    copy(l)
}

fn expect(l: &Lower, address: Address, shared: bool) -> Result<Address, Reason> {
    let fits = match address.place {
        None => shared || !address.narrow,
        Some(Place::Shared(_)) => shared,
        Some(Place::Global(_)) => !shared,
        Some(_) => false,
    };
    if fits {
        Ok(address)
    } else {
        Err(format!("{}: an address is in another state space", l.instruction.mnemonic()))
    }
}

fn copy(l: &mut Lower) -> Done {
    // The first space written is the target's.
    let is_space = |m: &&String| matches!(m.as_str(), "global" | "shared::cta" | "shared::cluster");
    let spaces: Vec<String> = l.instruction.modifiers.iter().filter(is_space).cloned().collect();
    let [target, source] = spaces.as_slice() else {
        return Err("a target and a source space must be written".into());
    };
    for space in [target, source] {
        l.modifiers.flag(space);
    }
    let to_shared = match (target.as_str(), source.as_str()) {
        ("shared::cta" | "shared::cluster", "global") => true,
        ("global", "shared::cta") => false,
        _ => return Err(format!("copies from {source} to {target} are not supported")),
    };
    let completion = if to_shared { "mbarrier::complete_tx::bytes" } else { "bulk_group" };
    if !l.modifiers.flag(completion) {
        return Err(format!(".{completion} is missing"));
    }
    let hinted = l.modifiers.cache_hints();
    let count = 3 + to_shared as usize;
    l.finish(count + hinted as usize..=count + hinted as usize)?;
    if hinted {
        l.source(count, Type::B64)?;
    }
    let (to, from) = (l.address(0)?, l.address(1)?);
    let (to, from) = (expect(l, to, to_shared)?, expect(l, from, !to_shared)?);
    let size = l.source(2, Type::U32)?;
    let barrier = if to_shared {
        let address = l.address(3)?;
        expect(l, address, true)?
    } else {
        from
    };
    let bulk = Bulk {
        to_shared,
        target: to.base,
        target_offset: to.offset,
        source: from.base,
        source_offset: from.offset,
        mbarrier: barrier.base,
        mbarrier_offset: barrier.offset,
    };
    l.emit(Op::Bulk(bulk.into()), Args { a: size, ..Args::default() });
    Ok(())
}
