//! `atom` and `red`.

use super::lower::{Lower, Reason};
use super::memory::{check_width, policy, space, Written, SPACES};
use super::moves::copy;
use crate::program::{AccessSpace, Args, Atomic, AtomicKind, Op, Order, Scope};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

pub(super) const OPERATIONS: &[(&str, &str)] = &[
    ("and", "and"),
    ("or", "or"),
    ("xor", "xor"),
    ("exch", "exch"),
    ("cas", "cas"),
    ("add", "add"),
    ("inc", "inc"),
    ("dec", "dec"),
    ("min", "min"),
    ("max", "max"),
];

/// What an operation of a type does; `None` where there is no such thing.
pub(super) fn kind(name: &str, ty: Type) -> Option<AtomicKind> {
    use AtomicKind::*;
    Some(match (name, ty) {
        ("and", Type::B32 | Type::B64) => And,
        ("or", Type::B32 | Type::B64) => Or,
        ("xor", Type::B32 | Type::B64) => Xor,
        ("exch", Type::B32 | Type::B64 | Type::B128) => Exchange,
        ("cas", Type::B16 | Type::B32 | Type::B64 | Type::B128) => CompareSwap,
        ("add", Type::U32 | Type::S32 | Type::U64) => Add,
        ("add", Type::F32) => AddF32,
        ("add", Type::F64) => AddF64,
        ("add", Type::F16) => AddF16,
        ("add", Type::BF16) => AddBf16,
        ("add", Type::F16x2) => AddF16x2,
        ("add", Type::BF16x2) => AddBf16x2,
        ("inc", Type::U32) => Inc,
        ("dec", Type::U32) => Dec,
        ("min", Type::U32 | Type::U64) => MinUnsigned,
        ("max", Type::U32 | Type::U64) => MaxUnsigned,
        ("min", Type::S32 | Type::S64) => MinSigned,
        ("max", Type::S32 | Type::S64) => MaxSigned,
        ("min", Type::F16) => MinF16,
        ("max", Type::F16) => MaxF16,
        ("min", Type::BF16) => MinBf16,
        ("max", Type::BF16) => MaxBf16,
        ("min", Type::F16x2) => MinF16x2,
        ("max", Type::F16x2) => MaxF16x2,
        ("min", Type::BF16x2) => MinBf16x2,
        ("max", Type::BF16x2) => MaxBf16x2,
        _ => return None,
    })
}

pub(super) fn atomic(l: &mut Lower) -> Done {
    let returns = l.instruction.opcode == "atom";
    if l.modifiers.has("async") {
        return super::memory::store_async(l);
    }
    let noftz = l.modifiers.flag("noftz");
    let order = l.modifiers.order();
    let scope = l.modifiers.scope().unwrap_or(Scope::Gpu);
    let written = l.modifiers.choice(SPACES);
    let hinted = l.modifiers.cache_hints();
    let name = l.modifiers.require("operation", OPERATIONS)?;
    let vector = l.modifiers.vector() as usize;
    let ty = l.modifiers.ty()?;
    let is_half = matches!(ty, Type::F16 | Type::F16x2 | Type::BF16 | Type::BF16x2);
    if noftz != is_half {
        return Err(".noftz belongs to half precision, and only there".into());
    }
    let unsupported = || format!("{name} of type {ty:?} is not supported");
    let kind = kind(name, ty).ok_or_else(unsupported)?;
    let swaps = matches!(kind, AtomicKind::Exchange | AtomicKind::CompareSwap);
    let fits = match (vector, ty) {
        (1, Type::F16 | Type::F16x2 | Type::BF16 | Type::BF16x2) => name == "add",
        (1, _) => returns || !swaps,
        (2 | 4, Type::F32) => name == "add",
        (2 | 4 | 8, Type::F16 | Type::BF16) | (2 | 4, Type::F16x2 | Type::BF16x2) => true,
        _ => false,
    };
    if !fits || (vector > 1 && !matches!(written, None | Some(Written::Global))) {
        return Err(unsupported());
    }
    if !returns && matches!(order, Some(Order::Acquire | Order::AcqRel)) {
        return Err("red is relaxed or release".into());
    }
    if matches!(order, Some(Order::Sc)) {
        return Err("an atomic cannot be .sc".into());
    }
    let first = returns as usize;
    let count = first + 2 + (kind == AtomicKind::CompareSwap) as usize;
    policy(l, hinted, count)?;
    let address = l.address(first)?;
    let (space, address) = space(l, written, address)?;
    check_width(&address, space)?;
    if space == AccessSpace::Local {
        return Err("atomics work in global and shared memory".into());
    }
    let size = ty.bytes() as u8;
    let mut atomic = Atomic {
        space,
        order: order.unwrap_or(Order::Relaxed),
        scope,
        kind,
        size,
        align: size * vector as u8,
        returns,
        base: address.base,
        offset: address.offset,
    };
    if vector > 1 {
        return elements(l, atomic, ty, vector, first);
    }
    let (mut d, a, b);
    if ty == Type::B128 {
        d = match l.operand(0)? {
            Operand::Sink => {
                atomic.returns = false;
                0
            }
            target => l.wide(target, true)?.0,
        };
        a = l.wide(l.operand(first + 1)?, false)?.0;
        b = if kind == AtomicKind::CompareSwap { l.wide(l.operand(first + 2)?, false)?.0 } else { a };
    } else {
        d = 0;
        if returns {
            d = l.dest_for(0, ty)?;
        }
        a = l.source(first + 1, ty)?;
        b = if kind == AtomicKind::CompareSwap { l.source(first + 2, ty)? } else { a };
    }
    l.emit(Op::Atomic(atomic.into()), Args { d, a, b, ..Args::default() });
    Ok(())
}

/// A vector: its elements are atomic one by one.
fn elements(l: &mut Lower, atomic: Atomic, ty: Type, vector: usize, first: usize) -> Done {
    let part = |l: &Lower, index: usize| match l.operand(index)? {
        Operand::Vector(parts) if parts.len() == vector => Ok(parts.clone()),
        _ => Err(format!("operand {} must be a vector of {vector}", index + 1)),
    };
    let targets = if atomic.returns { Some(part(l, 0)?) } else { None };
    // All operands are read before any register is written.
    let mut sources = Vec::new();
    for operand in part(l, first + 1)? {
        let a = l.source_of(&operand, ty)?;
        let d = l.temporary()?;
        l.emit_pure(copy(), Args { d, a, ..Args::default() });
        sources.push(d);
    }
    let base = l.temporary()?;
    l.emit_pure(copy(), Args { d: base, a: atomic.base, ..Args::default() });
    for (index, a) in sources.into_iter().enumerate() {
        let d = match &targets {
            Some(targets) => {
                let dest = l.dest_of(&targets[index])?;
                if dest.bytes < ty.bytes() {
                    return Err(format!("the destination register is too narrow for {ty:?}"));
                }
                dest.column
            }
            None => 0,
        };
        let align = if index == 0 { atomic.align } else { atomic.size };
        let offset = atomic.offset + index as i64 * atomic.size as i64;
        l.emit(
            Op::Atomic(Atomic { align, base, offset, ..atomic.clone() }.into()),
            Args { d, a, b: a, ..Args::default() },
        );
    }
    Ok(())
}
