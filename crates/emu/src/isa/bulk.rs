//! Asynchronous copies: `cp.async` and `cp.async.bulk`.

use super::lower::{Address, Lower, Place, Reason};
use crate::program::{Args, AsyncCopy, AtomicKind, Bulk, CopyCount, Mbarrier, MbarrierKind, Op, Order, Scope};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

pub(super) fn cp(l: &mut Lower) -> Done {
    let reduces = l.modifiers.flag("reduce");
    if !l.modifiers.flag("async") {
        return Err("only cp.async and cp.reduce.async are known".into());
    }
    if !l.modifiers.flag("bulk") {
        return if reduces { Err("cp.reduce.async is for bulk copies".into()) } else { small_copy(l) };
    }
    if l.modifiers.has("tensor") {
        return Err("tensor copies are not supported".into());
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
    copy(l, reduces)
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

/// `cp.async` without `.bulk`: copies of 4 to 16 bytes. They are done when they are issued, so that waiting for them is
/// nothing to do.
fn small_copy(l: &mut Lower) -> Done {
    if l.modifiers.flag("commit_group") {
        l.finish(0..=0)?;
        l.emit(Op::CopyCommit, Args::default());
        return Ok(());
    }
    if l.modifiers.flag("wait_all") {
        l.finish(0..=0)?;
        l.emit(Op::CopyWait(None), Args::default());
        return Ok(());
    }
    if l.modifiers.flag("wait_group") {
        l.finish(1..=1)?;
        let Operand::Integer(pending @ 0..=0xffff_ffff) = l.operand(0)? else {
            return Err("the number of groups must be a literal".into());
        };
        l.emit(Op::CopyWait(Some(*pending as u32)), Args::default());
        return Ok(());
    }
    if l.modifiers.flag("mbarrier") {
        return copies_arrive(l);
    }
    let cached = l.modifiers.require("cache operator", &[("ca", true), ("cg", false)])?;
    let spaces = (l.modifiers.choice(&[("shared", ()), ("shared::cta", ())]), l.modifiers.flag("global"));
    if spaces != (Some(()), true) {
        return Err("cp.async copies from .global to .shared".into());
    }
    let hinted = l.modifiers.cache_hints();
    let least = 3 + hinted as usize;
    l.finish(least..=least + 1)?;
    let size = match l.operand(2)? {
        Operand::Integer(size @ (4 | 8 | 16)) if cached || *size == 16 => *size as u8,
        _ => return Err("the size is a literal: 4, 8 or 16, with .cg 16".into()),
    };
    let (target, source) = (l.address(0)?, l.address(1)?);
    let (target, source) = (expect(l, target, true)?, expect(l, source, false)?);
    let count = if l.operands() == least {
        CopyCount::All
    } else if l.is_predicate(3) {
        let (ignore, negated) = l.source_predicate(l.operand(3)?)?;
        CopyCount::Unless(ignore, negated)
    } else {
        if let Operand::Integer(count) = l.operand(3)? {
            if *count < 0 || *count > size as i128 {
                return Err(format!("{count} source bytes: must be in 0..={size}"));
            }
        }
        CopyCount::Column(l.source(3, Type::U32)?)
    };
    if hinted {
        l.source(l.operands() - 1, Type::B64)?;
    }
    let copy = AsyncCopy {
        size,
        target: target.base,
        target_offset: target.offset,
        source: source.base,
        source_offset: source.offset,
        count,
    };
    l.emit(Op::AsyncCopy(copy.into()), Args::default());
    Ok(())
}

/// `cp.async.mbarrier.arrive`: all earlier copies are done. Without `.noinc` the arrival is expected first, so that
/// nothing changes.
fn copies_arrive(l: &mut Lower) -> Done {
    l.modifiers.require("kind", &[("arrive", ())])?;
    let expected = l.modifiers.flag("noinc");
    let shared = l.modifiers.choice(&[("shared", ()), ("shared::cta", ())]).is_some();
    l.modifiers.require("type", &[("b64", ())])?;
    l.finish(1..=1)?;
    let mut address = l.address(0)?;
    if !shared {
        address = l.generic(address)?;
    }
    let (zero, one, d) = (l.constant(0)?, l.constant(1)?, l.temporary()?);
    let kind = match expected {
        true => MbarrierKind::Arrive { expect: false, drop: false, no_complete: false },
        // An operation that needs a valid object and leaves it as it is.
        false => MbarrierKind::ExpectTx,
    };
    let barrier = Mbarrier {
        kind,
        generic: !shared,
        base: address.base,
        offset: address.offset,
        order: Order::Relaxed,
        scope: Scope::Cta,
        copies: true,
    };
    l.emit(Op::Mbarrier(barrier.into()), Args { d, a: if expected { one } else { zero }, b: zero, ..Args::default() });
    Ok(())
}

/// Operation and type of a reduction, as far as the two spaces take them.
fn reduction(l: &mut Lower, to_shared: bool) -> Result<(AtomicKind, u8), Reason> {
    const NAMES: &[(&str, &str)] = &[
        ("and", "and"),
        ("or", "or"),
        ("xor", "xor"),
        ("add", "add"),
        ("inc", "inc"),
        ("dec", "dec"),
        ("min", "min"),
        ("max", "max"),
    ];
    let noftz = l.modifiers.flag("noftz");
    let name = l.modifiers.require("operation", NAMES)?;
    let ty = l.modifiers.ty()?;
    let unsupported = || format!("a reduction {name} of type {ty:?} is not supported");
    let is_half = matches!(ty, Type::F16 | Type::BF16);
    let fits = match (to_shared, name, ty) {
        (_, "and" | "or" | "xor", Type::B32) => true,
        (false, "and" | "or" | "xor", Type::B64) => true,
        (_, "add" | "inc" | "dec" | "min" | "max", Type::U32) => true,
        (_, "add" | "min" | "max", Type::S32) => true,
        (_, "add", Type::U64) => true,
        (false, "min" | "max", Type::U64 | Type::S64 | Type::F16 | Type::BF16) => true,
        (false, "add", Type::F32 | Type::F64 | Type::S64) => true,
        (false, "add", Type::F16 | Type::BF16) => noftz,
        _ => false,
    };
    if !fits || (noftz && !(is_half && name == "add")) {
        return Err(unsupported());
    }
    let counted = if ty == Type::S64 && name == "add" { Type::U64 } else { ty };
    let kind = super::atomics::kind(name, counted).ok_or_else(unsupported)?;
    Ok((kind, ty.bytes() as u8))
}

fn copy(l: &mut Lower, reduces: bool) -> Done {
    // The first space written is the target's.
    let is_space = |m: &&String| matches!(m.as_str(), "global" | "shared::cta" | "shared::cluster");
    let spaces: Vec<String> = l.instruction.modifiers.iter().filter(is_space).cloned().collect();
    let [target, source] = spaces.as_slice() else {
        return Err("a target and a source space must be written".into());
    };
    for space in [target, source] {
        l.modifiers.flag(space);
    }
    let (to_shared, from_shared) = match (target.as_str(), source.as_str()) {
        ("shared::cta" | "shared::cluster", "global") if !reduces => (true, false),
        ("shared::cluster", "shared::cta") => (true, true),
        ("global", "shared::cta") => (false, true),
        _ => return Err(format!("copies from {source} to {target} are not supported")),
    };
    let completion = if to_shared { "mbarrier::complete_tx::bytes" } else { "bulk_group" };
    if !l.modifiers.flag(completion) {
        return Err(format!(".{completion} is missing"));
    }
    let multicast = l.modifiers.flag("multicast::cluster");
    if multicast && (from_shared || target != "shared::cluster") {
        return Err("a multicast goes from global memory to shared::cluster".into());
    }
    let hinted = l.modifiers.cache_hints();
    let reduce = if reduces { Some(reduction(l, to_shared)?) } else { None };
    let count = 3 + to_shared as usize + multicast as usize;
    l.finish(count + hinted as usize..=count + hinted as usize)?;
    if hinted {
        l.source(count, Type::B64)?;
    }
    let (to, from) = (l.address(0)?, l.address(1)?);
    let (to, from) = (expect(l, to, to_shared)?, expect(l, from, from_shared)?);
    let size = l.source(2, Type::U32)?;
    let barrier = if to_shared {
        let address = l.address(3)?;
        expect(l, address, true)?
    } else {
        from
    };
    let ctas = if multicast { Some(l.source(4, Type::B16)?) } else { None };
    let bulk = Bulk {
        to_shared,
        from_shared,
        ctas,
        reduce,
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
