//! Comparisons and selection.

use super::lower::{Lower, Reason};
use crate::program::{lanes, Args, Pure, Registers};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

/// A comparison of columns: predicate `d` (and `e` its complement) get the lanes for which it holds, combined with
/// predicate `c` as `imm` tells: bits 0 to 1 none, and, or, xor; bit 2 negates `c`; bit 3 writes `e`.
macro_rules! compare {
    ($f:expr) => {{
        fn run(r: &mut Registers, mask: u32, s: &Args) {
            let bits = r.compare(mask, s, $f);
            combine(r, mask, s, bits)
        }
        run as Pure
    }};
}

#[inline(always)]
fn combine(r: &mut Registers, mask: u32, s: &Args, bits: u32) {
    if s.imm == 0 {
        return r.write_predicate(s.d, mask, bits);
    }
    let c = r.predicates[s.c as usize] ^ if s.imm & 4 != 0 { u32::MAX } else { 0 };
    let join = |x: u32| match s.imm & 3 {
        0 => x,
        1 => x & c,
        2 => x | c,
        _ => x ^ c,
    };
    r.write_predicate(s.d, mask, join(bits));
    if s.imm & 8 != 0 {
        r.write_predicate(s.e, mask, join(!bits));
    }
}

macro_rules! by_type_compare {
    ($ty:expr, |$a:ident, $b:ident| $body:expr) => {{
        use Type::*;
        match $ty {
            U16 | B16 => compare!(|x, y| {
                let ($a, $b) = (x as u16, y as u16);
                $body
            }),
            S16 => compare!(|x, y| {
                let ($a, $b) = (x as i16, y as i16);
                $body
            }),
            U32 | B32 => compare!(|x, y| {
                let ($a, $b) = (x as u32, y as u32);
                $body
            }),
            S32 => compare!(|x, y| {
                let ($a, $b) = (x as i32, y as i32);
                $body
            }),
            U64 | B64 => compare!(|$a, $b| $body),
            S64 => compare!(|x, y| {
                let ($a, $b) = (x as i64, y as i64);
                $body
            }),
            F32 => compare!(|x, y| {
                let ($a, $b) = (f32::from_bits(x as u32), f32::from_bits(y as u32));
                $body
            }),
            F64 => compare!(|x, y| {
                let ($a, $b) = (f64::from_bits(x), f64::from_bits(y));
                $body
            }),
            F16 => compare!(|x, y| {
                let ($a, $b) = (super::half::f16_value(x as u16), super::half::f16_value(y as u16));
                $body
            }),
            BF16 => compare!(|x, y| {
                let ($a, $b) = (super::half::bf16_value(x as u16), super::half::bf16_value(y as u16));
                $body
            }),
            _ => return Err(format!("type {:?} is not supported here", $ty)),
        }
    }};
}

/// Unordered comparisons, for floats only.
macro_rules! float_compare {
    ($ty:expr, |$a:ident, $b:ident| $body:expr) => {{
        use Type::*;
        match $ty {
            F32 => compare!(|x, y| {
                let ($a, $b) = (f32::from_bits(x as u32), f32::from_bits(y as u32));
                $body
            }),
            F64 => compare!(|x, y| {
                let ($a, $b) = (f64::from_bits(x), f64::from_bits(y));
                $body
            }),
            F16 => compare!(|x, y| {
                let ($a, $b) = (super::half::f16_value(x as u16), super::half::f16_value(y as u16));
                $body
            }),
            BF16 => compare!(|x, y| {
                let ($a, $b) = (super::half::bf16_value(x as u16), super::half::bf16_value(y as u16));
                $body
            }),
            _ => return Err("the comparison is for floats only".into()),
        }
    }};
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Lo,
    Ls,
    Hi,
    Hs,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

const COMPARISONS: &[(&str, Comparison)] = &[
    ("eq", Comparison::Eq),
    ("ne", Comparison::Ne),
    ("lt", Comparison::Lt),
    ("le", Comparison::Le),
    ("gt", Comparison::Gt),
    ("ge", Comparison::Ge),
    ("lo", Comparison::Lo),
    ("ls", Comparison::Ls),
    ("hi", Comparison::Hi),
    ("hs", Comparison::Hs),
    ("equ", Comparison::Equ),
    ("neu", Comparison::Neu),
    ("ltu", Comparison::Ltu),
    ("leu", Comparison::Leu),
    ("gtu", Comparison::Gtu),
    ("geu", Comparison::Geu),
    ("num", Comparison::Num),
    ("nan", Comparison::Nan),
];

// Comparisons with a NaN are false, so a negated one is the unordered form.
#[allow(clippy::neg_cmp_op_on_partial_ord, clippy::double_comparisons)]
fn comparison(comparison: Comparison, ty: Type) -> Result<Pure, Reason> {
    use Comparison::*;
    let unsigned = matches!(ty, Type::U16 | Type::U32 | Type::U64);
    if matches!(comparison, Lo | Ls | Hi | Hs) && !unsigned {
        return Err("the comparison is for unsigned types only".into());
    }
    if matches!(ty, Type::B16 | Type::B32 | Type::B64) && !matches!(comparison, Eq | Ne) {
        return Err("untyped bits compare by eq and ne only".into());
    }
    Ok(match comparison {
        Eq => by_type_compare!(ty, |a, b| a == b),
        // Of floats the ordered form: false when one is NaN.
        Ne => by_type_compare!(ty, |a, b| a < b || a > b),
        Lt | Lo => by_type_compare!(ty, |a, b| a < b),
        Le | Ls => by_type_compare!(ty, |a, b| a <= b),
        Gt | Hi => by_type_compare!(ty, |a, b| a > b),
        Ge | Hs => by_type_compare!(ty, |a, b| a >= b),
        Equ => float_compare!(ty, |a, b| !(a < b || a > b)),
        Neu => float_compare!(ty, |a, b| a != b),
        Ltu => float_compare!(ty, |a, b| !(a >= b)),
        Leu => float_compare!(ty, |a, b| !(a > b)),
        Gtu => float_compare!(ty, |a, b| !(a <= b)),
        Geu => float_compare!(ty, |a, b| !(a < b)),
        Num => float_compare!(ty, |a, b| !a.is_nan() && !b.is_nan()),
        Nan => float_compare!(ty, |a, b| a.is_nan() || b.is_nan()),
    })
}

/// Boolean operator of `setp` and `set`, as bits 0 to 1 of `imm`.
const JOINS: &[(&str, u32)] = &[("and", 1), ("or", 2), ("xor", 3)];

/// Flushes a subnormal column into a temporary when `.ftz` asks for it.
fn flushed(l: &mut Lower, ty: Type, ftz: bool, column: u16) -> Result<u16, Reason> {
    if !ftz {
        return Ok(column);
    }
    let d = l.temporary()?;
    let run = match ty {
        Type::F16 => unary!(|a| if a & 0x7c00 == 0 { a & 0x8000 } else { a & 0xffff }),
        _ => unary!(|a| super::f32math::flush(f32::from_bits(a as u32)).to_bits() as u64),
    };
    l.emit_pure(run, Args { d, a: column, ..Args::default() });
    Ok(d)
}

struct Comparing {
    run: Pure,
    args: Args,
}

/// Operands `first`, `first + 1` and the joined predicate after them.
fn comparing(
    l: &mut Lower,
    ty: Type,
    what: Comparison,
    join: u32,
    ftz: bool,
    first: usize,
) -> Result<Comparing, Reason> {
    let (a, b) = (l.source(first, ty)?, l.source(first + 1, ty)?);
    compared(l, ty, what, join, ftz, first, (a, b))
}

/// As [`comparing`], of two columns.
fn compared(
    l: &mut Lower,
    ty: Type,
    what: Comparison,
    join: u32,
    ftz: bool,
    first: usize,
    (a, b): (u16, u16),
) -> Result<Comparing, Reason> {
    if ftz && !matches!(ty, Type::F32 | Type::F16) {
        return Err(".ftz is for f32 and f16 only".into());
    }
    let run = comparison(what, ty)?;
    let (a, b) = (flushed(l, ty, ftz, a)?, flushed(l, ty, ftz, b)?);
    let mut args = Args { a, b, imm: join, ..Args::default() };
    if join != 0 {
        let operand = l.operand(first + 2)?;
        let (c, negated) = l.source_predicate(operand)?;
        args.c = c;
        args.imm |= (negated as u32) << 2;
    }
    Ok(Comparing { run, args })
}

pub(super) fn setp(l: &mut Lower) -> Done {
    let what = l.modifiers.require("comparison", COMPARISONS)?;
    let join = l.modifiers.choice(JOINS).unwrap_or(0);
    let ftz = l.modifiers.flag("ftz");
    let ty = l.modifiers.ty()?;
    let count = if join == 0 { 3 } else { 4 };
    l.finish(count..=count)?;
    if let Some(half) = half_of(ty) {
        return setp_halves(l, ty, half, what, join, ftz);
    }
    let mut compare = comparing(l, ty, what, join, ftz, 1)?;
    match l.operand(0)? {
        Operand::Pair(p, q) => {
            compare.args.d = l.dest_predicate(p)?;
            compare.args.e = l.dest_predicate(q)?;
            compare.args.imm |= 8;
        }
        p => compare.args.d = l.dest_predicate(p)?,
    }
    l.emit_pure(compare.run, compare.args);
    Ok(())
}

/// Type of the halves of a packed type.
fn half_of(ty: Type) -> Option<Type> {
    match ty {
        Type::F16x2 => Some(Type::F16),
        Type::BF16x2 => Some(Type::BF16),
        _ => None,
    }
}

/// The halves of operands 1 and 2, the lower ones first.
fn halves(l: &mut Lower, ty: Type) -> Result<[(u16, u16); 2], Reason> {
    let (a, b) = (l.source(1, ty)?, l.source(2, ty)?);
    let mut cut = |column: u16, run: Pure| -> Result<u16, Reason> {
        let d = l.temporary()?;
        l.emit_pure(run, Args { d, a: column, ..Args::default() });
        Ok(d)
    };
    let (low, high): (Pure, Pure) = (unary!(|a| a & 0xffff), unary!(|a| a >> 16 & 0xffff));
    Ok([(cut(a, low)?, cut(b, low)?), (cut(a, high)?, cut(b, high)?)])
}

/// `setp` of a packed type: the first predicate is of the lower halves, the second of the upper ones.
fn setp_halves(l: &mut Lower, ty: Type, half: Type, what: Comparison, join: u32, ftz: bool) -> Done {
    let targets = match l.operand(0)? {
        Operand::Pair(p, q) => [Some(&**p), Some(&**q)],
        p => [Some(p), None],
    };
    let columns = halves(l, ty)?;
    let mut found = Vec::new();
    for (target, columns) in targets.into_iter().zip(columns) {
        if let Some(target) = target {
            let bits = l.linker.predicate()?;
            let mut compare = compared(l, half, what, join, ftz, 1, columns)?;
            compare.args.d = bits;
            l.emit_pure(compare.run, compare.args);
            found.push((target, bits));
        }
    }
    // The predicate that is joined may be one of the targets, and so may the guard, which is written last.
    let mut moves = Vec::new();
    for (target, a) in found {
        moves.push((l.dest_predicate(target)?, a));
    }
    moves.sort_by_key(|(d, _)| *d == l.guard);
    for (d, a) in moves {
        l.emit_pure(super::logic::set_predicate, Args { d, a, ..Args::default() });
    }
    Ok(())
}

/// Predicate `a` as a value: `imm` where it holds, else 0.
fn spread(r: &mut Registers, mask: u32, s: &Args) {
    let bits = r.predicates[s.a as usize];
    for i in lanes(mask) {
        r.columns[s.d as usize][i] = if bits >> i & 1 == 1 { s.imm as u64 } else { 0 };
    }
}

pub(super) fn set(l: &mut Lower) -> Done {
    let what = l.modifiers.require("comparison", COMPARISONS)?;
    let join = l.modifiers.choice(JOINS).unwrap_or(0);
    let ftz = l.modifiers.flag("ftz");
    let (out, ty) = (l.modifiers.ty()?, l.modifiers.ty()?);
    let count = if join == 0 { 3 } else { 4 };
    l.finish(count..=count)?;
    if let Some(half) = half_of(ty) {
        let truth = match out {
            Type::U32 | Type::S32 => 0xffff,
            Type::F16x2 if ty == out => 0x3c00,
            Type::BF16x2 if ty == out => 0x3f80,
            _ => return Err(format!("a result of type {out:?} from {ty:?} is not supported")),
        };
        return set_halves(l, ty, half, truth, what, join, ftz);
    }
    let is_half = matches!(ty, Type::F16 | Type::BF16);
    let truth = match out {
        Type::U32 | Type::S32 => u32::MAX,
        Type::U16 | Type::S16 if is_half => 0xffff,
        Type::F16 if ty != Type::BF16 => 0x3c00,
        Type::BF16 if ty != Type::F16 => 0x3f80,
        Type::F32 if !is_half => 1f32.to_bits(),
        _ => return Err(format!("a result of type {out:?} from {ty:?} is not supported")),
    };
    let mut compare = comparing(l, ty, what, join, ftz, 1)?;
    let bits = l.linker.predicate()?;
    compare.args.d = bits;
    l.emit_pure(compare.run, compare.args);
    let d = l.dest_for(0, out)?;
    l.emit_pure(spread, Args { d, a: bits, imm: truth, ..Args::default() });
    Ok(())
}

/// `set` of a packed type: `truth` in each half for which the comparison holds.
fn set_halves(l: &mut Lower, ty: Type, half: Type, truth: u32, what: Comparison, join: u32, ftz: bool) -> Done {
    let columns = halves(l, ty)?;
    let mut parts = Vec::new();
    for (columns, shift) in columns.into_iter().zip([0, 16]) {
        let (bits, part) = (l.linker.predicate()?, l.temporary()?);
        let mut compare = compared(l, half, what, join, ftz, 1, columns)?;
        compare.args.d = bits;
        l.emit_pure(compare.run, compare.args);
        l.emit_pure(spread, Args { d: part, a: bits, imm: truth << shift, ..Args::default() });
        parts.push(part);
    }
    let d = l.dest_for(0, ty)?;
    l.emit_pure(binary!(|a, b| a | b), Args { d, a: parts[0], b: parts[1], ..Args::default() });
    Ok(())
}

fn select(r: &mut Registers, mask: u32, s: &Args) {
    let bits = r.predicates[s.c as usize] ^ if s.imm & 1 != 0 { u32::MAX } else { 0 };
    let (a, b) = (&r.columns[s.a as usize], &r.columns[s.b as usize]);
    let out = std::array::from_fn(|i| if bits >> i & 1 == 1 { a[i] } else { b[i] });
    r.write(s.d, mask, &out);
}

pub(super) fn selp(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    if matches!(ty, Type::Pred | Type::B128) {
        return Err(format!("type {ty:?} is not supported here"));
    }
    l.finish(4..=4)?;
    let (d, a, b) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, ty)?);
    let operand = l.operand(3)?;
    let (c, negated) = l.source_predicate(operand)?;
    l.emit_pure(select, Args { d, a, b, c, imm: negated as u32, ..Args::default() });
    Ok(())
}

pub(super) fn slct(l: &mut Lower) -> Done {
    let ftz = l.modifiers.flag("ftz");
    let (ty, by) = (l.modifiers.ty()?, l.modifiers.ty()?);
    l.finish(4..=4)?;
    let run = match by {
        Type::S32 if !ftz => ternary!(|a, b, c| if c as i32 >= 0 { a } else { b }),
        Type::F32 if ftz => {
            ternary!(|a, b, c| if super::f32math::flush(f32::from_bits(c as u32)) >= 0.0 { a } else { b })
        }
        Type::F32 => ternary!(|a, b, c| if f32::from_bits(c as u32) >= 0.0 { a } else { b }),
        _ => return Err(format!("selection by {by:?} is not supported")),
    };
    let (d, a, b, c) = (l.dest_for(0, ty)?, l.source(1, ty)?, l.source(2, ty)?, l.source(3, by)?);
    l.emit_pure(run, Args { d, a, b, c, ..Args::default() });
    Ok(())
}

pub(super) fn testp(l: &mut Lower) -> Done {
    use std::num::FpCategory::{Normal, Zero};
    let property = l.modifiers.require(
        "property",
        &[("finite", 0), ("infinite", 1), ("number", 2), ("notanumber", 3), ("normal", 4), ("subnormal", 5)],
    )?;
    let ty = l.modifiers.ty()?;
    l.finish(2..=2)?;
    let run = match (ty, property) {
        (Type::F32, 0) => compare!(|a, _| f32::from_bits(a as u32).is_finite()),
        (Type::F32, 1) => compare!(|a, _| f32::from_bits(a as u32).is_infinite()),
        (Type::F32, 2) => compare!(|a, _| !f32::from_bits(a as u32).is_nan()),
        (Type::F32, 3) => compare!(|a, _| f32::from_bits(a as u32).is_nan()),
        // Zeros count as normal.
        (Type::F32, 4) => compare!(|a, _| matches!(f32::from_bits(a as u32).classify(), Normal | Zero)),
        (Type::F32, _) => compare!(|a, _| f32::from_bits(a as u32).is_subnormal()),
        (Type::F64, 0) => compare!(|a, _| f64::from_bits(a).is_finite()),
        (Type::F64, 1) => compare!(|a, _| f64::from_bits(a).is_infinite()),
        (Type::F64, 2) => compare!(|a, _| !f64::from_bits(a).is_nan()),
        (Type::F64, 3) => compare!(|a, _| f64::from_bits(a).is_nan()),
        (Type::F64, 4) => compare!(|a, _| matches!(f64::from_bits(a).classify(), Normal | Zero)),
        (Type::F64, _) => compare!(|a, _| f64::from_bits(a).is_subnormal()),
        _ => return Err(format!("type {ty:?} is not supported here")),
    };
    let target = l.operand(0)?;
    let (d, a) = (l.dest_predicate(target)?, l.source(1, ty)?);
    l.emit_pure(run, Args { d, a, b: a, ..Args::default() });
    Ok(())
}
