//! Fences, barriers, mbarriers, and what the lanes of a warp do together.

use super::lower::{Lower, Reason};
use super::Dynamic;
use crate::program::{
    Args, Barrier, BarrierKind, Mbarrier, MbarrierKind, Op, Order, ProxyFence, Redux, Scope, Shuffle, Vote, NO_GUARD,
};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

pub(super) fn fence(l: &mut Lower) -> Done {
    if l.modifiers.flag("proxy") {
        return proxy_fence(l);
    }
    if l.modifiers.flag("mbarrier_init") {
        let complete = l.modifiers.flag("release") && l.modifiers.flag("cluster");
        l.finish(0..=0)?;
        if !complete {
            return Err("fence.mbarrier_init needs .release.cluster".into());
        }
        l.emit(Op::ProxyFence(ProxyFence::MbarrierInit), Args::default());
        return Ok(());
    }
    let order = l.modifiers.order().unwrap_or(Order::AcqRel);
    let scope = l.modifiers.scope().ok_or("the scope is missing")?;
    let restricted = match order {
        Order::Acquire => l.modifiers.flag("sync_restrict::shared::cluster"),
        Order::Release => l.modifiers.flag("sync_restrict::shared::cta"),
        _ => false,
    };
    l.finish(0..=0)?;
    if restricted && scope != Scope::Cluster {
        return Err(".sync_restrict needs .cluster".into());
    }
    if order == Order::Relaxed {
        return Err("a fence cannot be relaxed".into());
    }
    l.emit(Op::Fence { order, scope }, Args::default());
    Ok(())
}

fn proxy_fence(l: &mut Lower) -> Done {
    let kind = if l.modifiers.flag("alias") {
        ProxyFence::Alias
    } else if l.modifiers.flag("async::generic") {
        let order = l.modifiers.order();
        let fits = match order {
            Some(Order::Acquire) => l.modifiers.flag("sync_restrict::shared::cluster"),
            Some(Order::Release) => l.modifiers.flag("sync_restrict::shared::cta"),
            _ => false,
        };
        if !fits || l.modifiers.scope() != Some(Scope::Cluster) {
            return Err("fence.proxy.async::generic is .acquire or .release, .sync_restrict, .cluster".into());
        }
        ProxyFence::Async { global: false, shared: true }
    } else {
        l.modifiers.require("proxy", &[("async", ())])?;
        let space = l.modifiers.choice(&[("global", true), ("shared::cta", false), ("shared::cluster", false)]);
        ProxyFence::Async { global: space != Some(false), shared: space != Some(true) }
    };
    l.finish(0..=0)?;
    l.emit(Op::ProxyFence(kind), Args::default());
    Ok(())
}

pub(super) fn membar(l: &mut Lower) -> Done {
    if l.modifiers.flag("proxy") {
        return proxy_fence(l);
    }
    let scope = l.modifiers.require("level", &[("cta", Scope::Cta), ("gl", Scope::Gpu), ("sys", Scope::Sys)])?;
    l.finish(0..=0)?;
    l.emit(Op::Fence { order: Order::Sc, scope }, Args::default());
    Ok(())
}

pub(super) fn barrier(l: &mut Lower) -> Done {
    let short = l.instruction.opcode == "bar";
    if short && l.modifiers.flag("warp") {
        l.modifiers.require("kind", &[("sync", ())])?;
        l.finish(1..=1)?;
        let c = l.source(0, Type::U32)?;
        l.emit(Op::WarpBarrier, Args { c, ..Args::default() });
        return Ok(());
    }
    if l.modifiers.has("cluster") {
        return cluster_barrier(l);
    }
    l.modifiers.flag("cta");
    let aligned = l.modifiers.flag("aligned") || short;
    if l.modifiers.flag("red") {
        return reduction(l, aligned);
    }
    let kind = l.modifiers.require("kind", &[("sync", BarrierKind::Sync), ("arrive", BarrierKind::Arrive)])?;
    l.finish(1 + (kind == BarrierKind::Arrive) as usize..=2)?;
    let id = l.source(0, Type::U32)?;
    let threads = if l.operands() > 1 { Some(l.source(1, Type::U32)?) } else { None };
    l.emit(Op::Barrier(Barrier { kind, aligned, id, threads }.into()), Args::default());
    Ok(())
}

/// `barrier.cluster.arrive` and `.wait`.
fn cluster_barrier(l: &mut Lower) -> Done {
    l.modifiers.flag("cluster");
    let arrives = l.modifiers.require("kind", &[("arrive", true), ("wait", false)])?;
    let order = l.modifiers.order();
    l.modifiers.flag("aligned");
    l.finish(0..=0)?;
    let fits = match order {
        None => true,
        Some(Order::Release | Order::Relaxed) => arrives,
        Some(Order::Acquire) => !arrives,
        _ => false,
    };
    if !fits {
        return Err("an arrival is .release or .relaxed, a wait .acquire".into());
    }
    l.emit(
        if arrives { Op::ClusterArrive { releases: order != Some(Order::Relaxed) } } else { Op::ClusterWait },
        Args::default(),
    );
    Ok(())
}

fn reduction(l: &mut Lower, aligned: bool) -> Done {
    let kind = l
        .modifiers
        .require("operation", &[("popc", BarrierKind::Popc), ("and", BarrierKind::And), ("or", BarrierKind::Or)])?;
    let ty = l.modifiers.ty()?;
    l.finish(3..=4)?;
    let target = l.operand(0)?;
    let d = match (kind, ty) {
        (BarrierKind::Popc, Type::U32) => l.dest_for(0, ty)?,
        (BarrierKind::And | BarrierKind::Or, Type::Pred) => l.dest_predicate(target)?,
        _ => return Err(format!("type {ty:?} is not supported here")),
    };
    let id = l.source(1, Type::U32)?;
    let last = l.operands() - 1;
    let threads = if last == 3 { Some(l.source(2, Type::U32)?) } else { None };
    let operand = l.operand(last)?;
    let (c, negated) = l.source_predicate(operand)?;
    let barrier = Barrier { kind, aligned, id, threads };
    l.emit(Op::Barrier(barrier.into()), Args { d, c, imm: negated as u32, ..Args::default() });
    Ok(())
}

pub(super) fn mbarrier(l: &mut Lower) -> Done {
    let name = l.modifiers.require(
        "operation",
        &[
            ("init", "init"),
            ("inval", "inval"),
            ("arrive", "arrive"),
            ("arrive_drop", "arrive_drop"),
            ("test_wait", "test_wait"),
            ("try_wait", "try_wait"),
            ("pending_count", "pending_count"),
            ("expect_tx", "expect_tx"),
            ("complete_tx", "complete_tx"),
        ],
    )?;
    let drop = name == "arrive_drop";
    let arrives = drop || name == "arrive";
    let expect = arrives && l.modifiers.flag("expect_tx");
    let no_complete = arrives && l.modifiers.flag("noComplete");
    let waits = matches!(name, "test_wait" | "try_wait");
    let parity = waits && l.modifiers.flag("parity");
    let order = l.modifiers.order();
    let scope = l.modifiers.scope();
    let shared = l.modifiers.choice(&[("shared", ()), ("shared::cta", ()), ("shared::cluster", ())]).is_some();
    if l.modifiers.ty()? != Type::B64 {
        return Err("an mbarrier has type .b64".into());
    }
    let mut args = Args::default();
    if name == "pending_count" {
        l.finish(2..=2)?;
        (args.d, args.a) = (l.dest_for(0, Type::U32)?, l.source(1, Type::B64)?);
        let barrier = Mbarrier {
            kind: MbarrierKind::PendingCount,
            generic: false,
            base: args.a,
            offset: 0,
            order: Order::Weak,
            scope: Scope::Cta,
            copies: false,
        };
        l.emit(Op::Mbarrier(barrier.into()), args);
        return Ok(());
    }
    let (kind, at) = match name {
        "init" => {
            l.finish(2..=2)?;
            args.a = l.source(1, Type::U32)?;
            (MbarrierKind::Init, 0)
        }
        "inval" => {
            l.finish(1..=1)?;
            (MbarrierKind::Inval, 0)
        }
        "expect_tx" | "complete_tx" => {
            l.finish(2..=2)?;
            args.a = l.source(1, Type::U32)?;
            (if name == "expect_tx" { MbarrierKind::ExpectTx } else { MbarrierKind::CompleteTx }, 0)
        }
        _ if arrives => {
            l.finish(2 + (expect || no_complete) as usize..=3)?;
            args.d = l.dest_for(0, Type::B64)?;
            let one = l.constant(1)?;
            let zero = l.constant(0)?;
            let given = if l.operands() > 2 { Some(l.source(2, Type::U32)?) } else { None };
            args.a = if expect { one } else { given.unwrap_or(one) };
            args.b = if expect { given.unwrap_or(zero) } else { zero };
            (MbarrierKind::Arrive { expect, drop, no_complete }, 1)
        }
        _ => {
            let most = if name == "try_wait" { 4 } else { 3 };
            l.finish(3..=most)?;
            let target = l.operand(0)?;
            args.d = l.dest_predicate(target)?;
            args.a = l.source(2, if parity { Type::U32 } else { Type::B64 })?;
            if l.operands() > 3 {
                l.source(3, Type::U32)?;
            }
            (MbarrierKind::Wait { parity, suspends: name == "try_wait" }, 1)
        }
    };
    let mut address = l.address(at)?;
    if !shared {
        address = l.generic(address)?;
    }
    let default = match kind {
        MbarrierKind::Wait { .. } => Order::Acquire,
        MbarrierKind::Arrive { .. } => Order::Release,
        _ => Order::Relaxed,
    };
    let barrier = Mbarrier {
        kind,
        generic: !shared,
        base: address.base,
        offset: address.offset,
        order: order.unwrap_or(default),
        scope: scope.unwrap_or(Scope::Cta),
        copies: false,
    };
    l.emit(Op::Mbarrier(barrier.into()), args);
    Ok(())
}

fn require_sync(l: &mut Lower) -> Done {
    if l.modifiers.flag("sync") {
        Ok(())
    } else {
        Err("only the .sync form is supported".into())
    }
}

/// Whether `.sync` stands there; `sm_70` and later have no other form.
fn is_sync(l: &mut Lower) -> Result<bool, Reason> {
    let number =
        |name: &String| name.strip_prefix("sm_").and_then(|n| n.trim_end_matches(['a', 'f']).parse::<u32>().ok());
    let is_old = l.linker.module.targets.iter().find_map(number).is_some_and(|sm| sm < 70);
    match l.modifiers.flag("sync") {
        false if !is_old => Err("only the .sync form is supported from sm_70 on".into()),
        sync => Ok(sync),
    }
}

/// Member mask of `.sync` forms: operand `index`. Forms without, which only targets before `sm_70` have, take the lanes
/// that execute the instruction.
fn members(l: &mut Lower, index: usize, sync: bool) -> Result<u16, Reason> {
    if sync {
        return l.source(index, Type::U32);
    }
    let d = l.temporary()?;
    l.emit(Op::Dynamic(super::Dynamic::ActiveMask), Args { d, ..Args::default() });
    Ok(d)
}

pub(super) fn vote(l: &mut Lower) -> Done {
    let sync = is_sync(l)?;
    let kind = l
        .modifiers
        .require("mode", &[("all", Vote::All), ("any", Vote::Any), ("uni", Vote::Uniform), ("ballot", Vote::Ballot)])?;
    let ty = l.modifiers.ty()?;
    l.finish(2 + sync as usize..=2 + sync as usize)?;
    let (target, source) = (l.operand(0)?, l.operand(1)?);
    let d = match (kind, ty) {
        (Vote::Ballot, Type::B32) => l.dest_for(0, ty)?,
        (Vote::All | Vote::Any | Vote::Uniform, Type::Pred) => l.dest_predicate(target)?,
        _ => return Err(format!("type {ty:?} is not supported here")),
    };
    let (a, negated) = l.source_predicate(source)?;
    let c = members(l, 2, sync)?;
    l.emit(Op::Vote(kind), Args { d, a, c, imm: negated as u32, ..Args::default() });
    Ok(())
}

pub(super) fn shfl(l: &mut Lower) -> Done {
    let sync = is_sync(l)?;
    let kind = l.modifiers.require(
        "mode",
        &[("up", Shuffle::Up), ("down", Shuffle::Down), ("bfly", Shuffle::Butterfly), ("idx", Shuffle::Index)],
    )?;
    let ty = l.modifiers.ty()?;
    l.finish(4 + sync as usize..=4 + sync as usize)?;
    if ty != Type::B32 {
        return Err(format!("type {ty:?} is not supported here"));
    }
    let (d, predicate) = target_pair(l, 0, ty)?;
    let (a, b) = (l.source(1, ty)?, l.source(2, Type::U32)?);
    let (e, c) = (l.source(3, Type::U32)?, members(l, 4, sync)?);
    l.emit(Op::Shuffle(kind), Args { d, a, b, c, e, imm: predicate as u32 });
    Ok(())
}

/// `d` or `d|p`: column, and predicate or [`NO_GUARD`].
fn target_pair(l: &mut Lower, index: usize, ty: Type) -> Result<(u16, u16), Reason> {
    match l.operand(index)? {
        Operand::Pair(d, p) => {
            let dest = l.dest_of(d)?;
            if dest.bytes < ty.bytes() {
                return Err(format!("the destination register is too narrow for {ty:?}"));
            }
            Ok((dest.column, l.dest_predicate(p)?))
        }
        _ => Ok((l.dest_for(index, ty)?, NO_GUARD)),
    }
}

pub(super) fn match_lanes(l: &mut Lower) -> Done {
    require_sync(l)?;
    let all = l.modifiers.require("mode", &[("any", false), ("all", true)])?;
    let ty = l.modifiers.ty()?;
    l.finish(3..=3)?;
    if !matches!(ty, Type::B32 | Type::B64) {
        return Err(format!("type {ty:?} is not supported here"));
    }
    let (d, e) = target_pair(l, 0, Type::B32)?;
    let (a, c) = (l.source(1, ty)?, l.source(2, Type::U32)?);
    l.emit(Op::Match { bytes: ty.bytes() as u8, all }, Args { d, a, c, e, ..Args::default() });
    Ok(())
}

pub(super) fn redux(l: &mut Lower) -> Done {
    require_sync(l)?;
    let name = l.modifiers.require(
        "operation",
        &[("add", "add"), ("min", "min"), ("max", "max"), ("and", "and"), ("or", "or"), ("xor", "xor")],
    )?;
    let ty = l.modifiers.ty()?;
    l.finish(3..=3)?;
    let kind = match (name, ty) {
        ("add", Type::U32 | Type::S32) => Redux::Add,
        ("min", Type::U32) => Redux::MinUnsigned,
        ("max", Type::U32) => Redux::MaxUnsigned,
        ("min", Type::S32) => Redux::MinSigned,
        ("max", Type::S32) => Redux::MaxSigned,
        ("and", Type::B32) => Redux::And,
        ("or", Type::B32) => Redux::Or,
        ("xor", Type::B32) => Redux::Xor,
        _ => return Err(format!("{name} of type {ty:?} is not supported")),
    };
    let (d, a, c) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, Type::U32)?);
    l.emit(Op::Redux(kind), Args { d, a, c, ..Args::default() });
    Ok(())
}

pub(super) fn activemask(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    l.finish(1..=1)?;
    if ty != Type::B32 {
        return Err(format!("type {ty:?} is not supported here"));
    }
    let d = l.dest_for(0, ty)?;
    l.emit(Op::Dynamic(Dynamic::ActiveMask), Args { d, ..Args::default() });
    Ok(())
}

pub(super) fn elect(l: &mut Lower) -> Done {
    require_sync(l)?;
    l.finish(2..=2)?;
    let (d, e) = target_pair(l, 0, Type::B32)?;
    let c = l.source(1, Type::U32)?;
    if e == NO_GUARD {
        return Err("elect.sync needs d|p".into());
    }
    l.emit(Op::Elect, Args { d, c, e, ..Args::default() });
    Ok(())
}

pub(super) fn nanosleep(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    l.finish(1..=1)?;
    if ty != Type::U32 {
        return Err(format!("type {ty:?} is not supported here"));
    }
    let a = l.source(0, ty)?;
    l.emit(Op::Nanosleep, Args { a, ..Args::default() });
    Ok(())
}

/// Launches of a stream run one after another, so a dependency is always met.
pub(super) fn griddepcontrol(l: &mut Lower) -> Done {
    l.modifiers.require("kind", &[("launch_dependents", ()), ("wait", ())])?;
    l.finish(0..=0)?;
    l.emit(Op::Nop, Args::default());
    Ok(())
}
