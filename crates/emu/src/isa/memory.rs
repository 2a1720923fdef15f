//! Loads, stores, address conversion, cache hints.

use super::lower::{mask_of, Address, Lower, Place, Reason};
use super::moves::copy;
use crate::cluster::RANK_SHIFT;
use crate::memory::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::program::{Access, AccessSpace, Args, ColumnStart, Op, Order, Registers, Scope, StoreAsync};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

/// A state space as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Global,
    Shared,
    Local,
    Param,
    Const,
}

pub(super) const SPACES: &[(&str, Written)] = &[
    ("global", Written::Global),
    ("shared", Written::Shared),
    ("shared::cta", Written::Shared),
    ("shared::cluster", Written::Shared),
    ("local", Written::Local),
    ("param", Written::Param),
    ("param::entry", Written::Param),
    ("param::func", Written::Param),
    ("const", Written::Const),
];

/// Order, scope and `.mmio` of an access, with the rules that tie them.
fn ordering(l: &mut Lower, default: Order) -> Result<(Order, Scope, bool), Reason> {
    let mmio = l.modifiers.flag("mmio");
    let weak = l.modifiers.flag("weak");
    let volatile = l.modifiers.flag("volatile");
    let order = l.modifiers.order();
    let scope = l.modifiers.scope();
    match (order, scope) {
        _ if weak as u32 + volatile as u32 + order.is_some() as u32 > 1 => Err("more than one order".into()),
        (None, Some(_)) => Err("a scope without an order".into()),
        (Some(_), None) => Err("the scope is missing".into()),
        (Some(order), Some(scope)) if mmio && (order != Order::Relaxed || scope != Scope::Sys) => {
            Err(".mmio needs .relaxed.sys".into())
        }
        (None, _) if mmio => Err(".mmio needs .relaxed.sys".into()),
        (Some(order), Some(scope)) => Ok((order, scope, mmio)),
        (None, None) if volatile => Ok((Order::Volatile, Scope::Sys, false)),
        (None, None) if weak => Ok((Order::Weak, Scope::Cta, false)),
        (None, None) => Ok((default, Scope::Cta, false)),
    }
}

/// The space of an access, given what is written and what the address names.
pub(super) fn space(l: &Lower, written: Option<Written>, address: Address) -> Result<(AccessSpace, Address), Reason> {
    let mismatch = || "the variable is in another state space".to_string();
    Ok(match written {
        None => (AccessSpace::Generic, l.generic(address)?),
        Some(Written::Global | Written::Const) => match address.place {
            None | Some(Place::Global(_)) => (AccessSpace::Global, address),
            _ => return Err(mismatch()),
        },
        Some(Written::Shared) => match address.place {
            None | Some(Place::Shared(_)) => (AccessSpace::Shared, address),
            _ => return Err(mismatch()),
        },
        Some(Written::Local | Written::Param) => match address.place {
            None | Some(Place::Frame(_) | Place::Stack(_)) => (AccessSpace::Local, address),
            _ => return Err(mismatch()),
        },
    })
}

pub(super) fn check_width(address: &Address, space: AccessSpace) -> Done {
    if address.narrow && matches!(space, AccessSpace::Global | AccessSpace::Generic) {
        return Err("a 32-bit register cannot hold this address".into());
    }
    Ok(())
}

/// Elements of a load or store: bytes of each, and their operands.
fn elements(ty: Type, vector: u8, operand: &Operand) -> Result<(u8, Vec<&Operand>), Reason> {
    if matches!(ty, Type::Pred | Type::F16x2 | Type::BF16x2 | Type::E4M3x2 | Type::E5M2x2 | Type::TF32) {
        return Err(format!("type {ty:?} is not supported here"));
    }
    let size = ty.bytes() as u8;
    if vector == 1 {
        return Ok((size, vec![operand]));
    }
    let Operand::Vector(parts) = operand else {
        return Err("a vector access needs {a, b, ..}".into());
    };
    let total = size as u32 * vector as u32;
    if parts.len() != vector as usize || total > 32 || (vector == 8 && size != 4) {
        return Err(format!("{} elements of {size} bytes with .v{vector}", parts.len()));
    }
    Ok((size, parts.iter().collect()))
}

/// The operand behind `.L2::cache_hint` must be a 64-bit register.
pub(super) fn policy(l: &mut Lower, hinted: bool, operands: usize) -> Done {
    l.finish(operands + hinted as usize..=operands + hinted as usize)?;
    if hinted {
        l.source(operands, Type::B64)?;
    }
    Ok(())
}

pub(super) fn load(l: &mut Lower) -> Done {
    let (order, scope, mmio) = ordering(l, Order::Weak)?;
    let written = l.modifiers.choice(SPACES);
    l.modifiers.choice(&[("ca", ()), ("cg", ()), ("cs", ()), ("lu", ()), ("cv", ())]);
    l.modifiers.flag("nc");
    let hinted = l.modifiers.cache_hints();
    let (vector, ty) = (l.modifiers.vector(), l.modifiers.ty()?);
    policy(l, hinted, 2)?;
    if matches!(order, Order::Release | Order::AcqRel | Order::Sc) {
        return Err("a load cannot have this order".into());
    }
    let (size, parts) = elements(ty, vector, l.operand(0)?)?;
    let address = l.address(1)?;
    let param = written == Some(Written::Param)
        && (l.scope.is_entry && !matches!(address.place, Some(Place::Frame(_) | Place::Stack(_))));
    let mut columns = [0u16; 8];
    let mut register = 0;
    let (mut size, mut count) = (size, parts.len() as u8);
    if ty == Type::B128 {
        if vector != 1 {
            return Err("a vector of .b128 is not supported".into());
        }
        let (low, high) = l.wide(parts[0], true)?;
        (columns[0], columns[1], size, count) = (low, high, 8, 2);
    } else {
        for (column, part) in columns.iter_mut().zip(&parts) {
            let dest = l.dest_of(part)?;
            if dest.bytes < ty.bytes() {
                return Err(format!("the destination register is too narrow for {ty:?}"));
            }
            *column = dest.column;
            if !matches!(part, Operand::Sink) {
                if register != 0 && register != dest.bytes {
                    return Err("destination registers of different widths".into());
                }
                register = dest.bytes;
            }
        }
    }
    let signed = matches!(ty, Type::S8 | Type::S16 | Type::S32);
    let extend = if signed && register > ty.bytes() { mask_of(register) } else { 0 };
    let (space, address) = if param {
        match address.place {
            None | Some(Place::Param(_)) => (AccessSpace::Global, address),
            _ => return Err("the variable is not a parameter".into()),
        }
    } else {
        let (space, address) = space(l, written, address)?;
        check_width(&address, space)?;
        (space, address)
    };
    if mmio && !matches!(space, AccessSpace::Global | AccessSpace::Generic) {
        return Err(".mmio is for global memory".into());
    }
    let access =
        Access { space, order, scope, mmio, size, count, columns, extend, base: address.base, offset: address.offset };
    l.emit(if param { Op::LoadParam(access.into()) } else { Op::Load(access.into()) }, Args::default());
    Ok(())
}

/// `st.async` and `red.async`.
pub(super) fn store_async(l: &mut Lower) -> Done {
    let reduces = l.instruction.opcode == "red";
    l.modifiers.flag("async");
    if reduces {
        if l.modifiers.order() != Some(Order::Relaxed) || l.modifiers.scope() != Some(Scope::Cluster) {
            return Err("red.async is .relaxed.cluster".into());
        }
    } else {
        l.modifiers.flag("weak");
    }
    l.modifiers.flag("shared::cluster");
    if !l.modifiers.flag("mbarrier::complete_tx::bytes") {
        return Err(".mbarrier::complete_tx::bytes is missing".into());
    }
    let name = l.modifiers.choice(super::atomics::OPERATIONS);
    let (vector, ty) = (l.modifiers.vector(), l.modifiers.ty()?);
    l.finish(3..=3)?;
    let unsupported = || format!("type {ty:?} is not supported here");
    let reduce = match (reduces, name) {
        (true, Some(name)) => Some(super::atomics::kind(name, ty).ok_or_else(unsupported)?),
        (false, None) => None,
        _ => return Err("the operation is missing, or one too many".into()),
    };
    let fits = match (reduces, ty) {
        (true, Type::U32 | Type::S32 | Type::B32) => vector == 1,
        (true, Type::U64) => vector == 1 && name == Some("add"),
        (false, Type::B32 | Type::U32 | Type::S32 | Type::F32) => vector <= 4,
        (false, Type::B64 | Type::U64 | Type::S64 | Type::F64) => vector <= 2,
        _ => false,
    };
    if !fits {
        return Err(unsupported());
    }
    let (size, parts) = elements(ty, vector, l.operand(1)?)?;
    let mut columns = [0u16; 8];
    for (column, part) in columns.iter_mut().zip(&parts) {
        *column = l.source_of(part, ty)?;
    }
    let (address, mbarrier) = (l.address(0)?, l.address(2)?);
    let access = Access {
        space: AccessSpace::Shared,
        order: Order::Relaxed,
        scope: Scope::Cluster,
        mmio: false,
        size,
        count: parts.len() as u8,
        columns,
        extend: 0,
        base: address.base,
        offset: address.offset,
    };
    let store = StoreAsync { access, reduce, mbarrier: mbarrier.base, mbarrier_offset: mbarrier.offset };
    l.emit(Op::StoreAsync(store.into()), Args::default());
    Ok(())
}

pub(super) fn store(l: &mut Lower) -> Done {
    if l.modifiers.has("async") {
        return store_async(l);
    }
    let (order, scope, mmio) = ordering(l, Order::Weak)?;
    let written = l.modifiers.choice(SPACES);
    l.modifiers.choice(&[("wb", ()), ("cg", ()), ("cs", ()), ("wt", ())]);
    let hinted = l.modifiers.cache_hints();
    let (vector, ty) = (l.modifiers.vector(), l.modifiers.ty()?);
    policy(l, hinted, 2)?;
    if matches!(order, Order::Acquire | Order::AcqRel | Order::Sc) {
        return Err("a store cannot have this order".into());
    }
    if written == Some(Written::Const) {
        return Err("constant memory cannot be written".into());
    }
    let (size, parts) = elements(ty, vector, l.operand(1)?)?;
    let mut columns = [0u16; 8];
    let (mut size, mut count) = (size, parts.len() as u8);
    if ty == Type::B128 {
        if vector != 1 {
            return Err("a vector of .b128 is not supported".into());
        }
        let (low, high) = l.wide(parts[0], false)?;
        (columns[0], columns[1], size, count) = (low, high, 8, 2);
    } else {
        for (column, part) in columns.iter_mut().zip(&parts) {
            *column = l.source_of(part, ty)?;
        }
    }
    let address = l.address(0)?;
    if matches!(address.place, Some(Place::Param(_))) {
        return Err("a kernel parameter cannot be written".into());
    }
    let (space, address) = space(l, written, address)?;
    check_width(&address, space)?;
    let access = Access {
        space,
        order,
        scope,
        mmio,
        size,
        count,
        columns,
        extend: 0,
        base: address.base,
        offset: address.offset,
    };
    l.emit(Op::Store(access.into()), Args::default());
    Ok(())
}

fn to_shared(r: &mut Registers, mask: u32, s: &Args) {
    r.unary(mask, s, |a| a.wrapping_sub(SHARED_WINDOW))
}

fn from_shared(r: &mut Registers, mask: u32, s: &Args) {
    r.unary(mask, s, |a| a.wrapping_add(SHARED_WINDOW))
}

fn to_local(r: &mut Registers, mask: u32, s: &Args) {
    r.unary(mask, s, |a| a.wrapping_sub(LOCAL_WINDOW))
}

fn from_local(r: &mut Registers, mask: u32, s: &Args) {
    r.unary(mask, s, |a| a.wrapping_add(LOCAL_WINDOW))
}

pub(super) fn cvta(l: &mut Lower) -> Done {
    let to = l.modifiers.flag("to");
    let written = l.modifiers.require("state space", SPACES)?;
    let ty = l.modifiers.ty()?;
    l.finish(2..=2)?;
    if ty != Type::U64 {
        return Err("addresses have 64 bits".into());
    }
    let run = match (written, to) {
        (Written::Shared, true) => to_shared,
        (Written::Shared, false) => from_shared,
        (Written::Local, true) => to_local,
        (Written::Local, false) => from_local,
        (Written::Param, _) => return param_address(l, to),
        _ => copy(),
    };
    let d = l.dest_for(0, ty)?;
    let operand = l.operand(1)?;
    // A shared address may come from a 32-bit register.
    let narrow = matches!(operand, Operand::Register(_)) && written == Written::Shared && !to;
    let a = l.source(1, if narrow { Type::U32 } else { ty })?;
    l.emit_pure(run, Args { d, a, ..Args::default() });
    Ok(())
}

/// `cvta.param`: of a kernel's parameters, or of a function's, which are local memory.
fn param_address(l: &mut Lower, to: bool) -> Done {
    let d = l.dest_for(0, Type::U64)?;
    let a = l.source(1, Type::U64)?;
    let place = match l.operand(1)? {
        Operand::Variable(variable, _) => Some(l.place(*variable)?),
        _ => None,
    };
    let is_local = !l.scope.is_entry || matches!(place, Some(Place::Frame(_) | Place::Stack(_)));
    if is_local {
        l.emit_pure(if to { to_local } else { from_local }, Args { d, a, ..Args::default() });
        return Ok(());
    }
    let b = l.linker.start(ColumnStart::Parameters)?;
    let run = if to { binary!(|a, b| a.wrapping_sub(b)) } else { binary!(|a, b| a.wrapping_add(b)) };
    l.emit_pure(run, Args { d, a, b, ..Args::default() });
    Ok(())
}

/// Lanes whose address is in shared memory, with `imm` 1 of their own CTA, whose rank is column `b`.
fn in_shared(r: &mut Registers, mask: u32, s: &Args) {
    let bits = r.compare(mask, s, |address, rank| {
        let tag = (address & 0xffff_ffff) >> RANK_SHIFT;
        address >> 32 == SHARED_WINDOW >> 32 && (s.imm == 0 || tag == 0 || tag == rank + 1)
    });
    r.write_predicate(s.d, mask, bits);
}

/// Lanes whose address has `imm` as its window; 0 asks for global memory.
fn in_window(r: &mut Registers, mask: u32, s: &Args) {
    let (column, want) = (&r.columns[s.a as usize], s.imm as u64);
    let mut bits = 0;
    for (lane, address) in column.iter().enumerate() {
        let window = address >> 32;
        let holds = if want == 0 { window > LOCAL_WINDOW >> 32 } else { window == want };
        bits |= (holds as u32) << lane;
    }
    r.write_predicate(s.d, mask, bits);
}

pub(super) fn isspacep(l: &mut Lower) -> Done {
    let whole_cluster = l.modifiers.has("shared::cluster");
    let written = l.modifiers.require("state space", SPACES)?;
    l.finish(2..=2)?;
    if written == Written::Shared {
        let target = l.operand(0)?;
        let (d, a, b) = (l.dest_predicate(target)?, l.source(1, Type::U64)?, l.own_rank()?);
        l.emit_pure(in_shared, Args { d, a, b, imm: !whole_cluster as u32, ..Args::default() });
        return Ok(());
    }
    let imm = match written {
        Written::Global => 0,
        Written::Local => (LOCAL_WINDOW >> 32) as u32,
        _ => return Err("only global, shared and local are supported".into()),
    };
    let target = l.operand(0)?;
    let (d, a) = (l.dest_predicate(target)?, l.source(1, Type::U64)?);
    l.emit_pure(in_window, Args { d, a, imm, ..Args::default() });
    Ok(())
}

/// `prefetch`, `prefetchu`, `applypriority`: nothing happens here.
pub(super) fn hint(l: &mut Lower) -> Done {
    l.modifiers.choice(SPACES);
    l.modifiers.require("cache level", &[("L1", ()), ("L2", ()), ("L2::evict_last", ()), ("L2::evict_normal", ())])?;
    l.finish(1..=2)?;
    l.address(0)?;
    l.emit(Op::Nop, Args::default());
    Ok(())
}

/// `discard.L2` gives the hardware leave to drop the bytes; here they stay.
pub(super) fn discard(l: &mut Lower) -> Done {
    l.modifiers.choice(SPACES);
    l.modifiers.require("cache level", &[("L2", ())])?;
    l.finish(2..=2)?;
    l.address(0)?;
    l.emit(Op::Nop, Args::default());
    Ok(())
}

/// A cache policy is a number without meaning here.
pub(super) fn createpolicy(l: &mut Lower) -> Done {
    l.modifiers.require("kind", &[("fractional", ()), ("range", ()), ("cvt", ())])?;
    let known = |m: &&str| m.starts_with("L2::") || matches!(*m, "b64" | "global" | "L2");
    if let Some(unknown) = l.modifiers.take_rest().into_iter().find(|m| !known(m)) {
        return Err(format!("modifier .{unknown} is unknown or not supported here"));
    }
    let (d, a) = (l.dest_for(0, Type::B64)?, l.constant(0)?);
    l.emit_pure(copy(), Args { d, a, ..Args::default() });
    Ok(())
}

/// The address of the same place in the CTA whose rank is `b`.
fn map_rank(r: &mut Registers, mask: u32, s: &Args) {
    let offset = (1u64 << RANK_SHIFT) - 1;
    r.binary(mask, s, |a, rank| a & (offset | !0xffff_ffff) | ((rank + 1) & 0xff) << RANK_SHIFT)
}

pub(super) fn mapa(l: &mut Lower) -> Done {
    let shared = l.modifiers.flag("shared::cluster");
    let ty = l.modifiers.ty()?;
    l.finish(3..=3)?;
    if !matches!(ty, Type::U32 | Type::U64) || (ty == Type::U32 && !shared) {
        return Err(format!("type {ty:?} is not supported here"));
    }
    let (d, a, b) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, Type::U32)?);
    l.emit_pure(map_rank, Args { d, a, b, ..Args::default() });
    Ok(())
}

/// The rank in an address, or one's own, column `b`.
fn rank_in(r: &mut Registers, mask: u32, s: &Args) {
    r.binary(mask, s, |a, own| match (a & 0xffff_ffff) >> RANK_SHIFT {
        0 => own,
        tag => tag - 1,
    })
}

pub(super) fn getctarank(l: &mut Lower) -> Done {
    let shared = l.modifiers.flag("shared::cluster");
    let ty = l.modifiers.ty()?;
    l.finish(2..=2)?;
    if !matches!(ty, Type::U32 | Type::U64) || (ty == Type::U32 && !shared) {
        return Err(format!("type {ty:?} is not supported here"));
    }
    let (d, a, b) = (l.dest_for(0, Type::U32)?, l.source(1, ty)?, l.own_rank()?);
    l.emit_pure(rank_in, Args { d, a, b, ..Args::default() });
    Ok(())
}
