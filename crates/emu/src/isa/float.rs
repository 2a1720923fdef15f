//! f32 and f64 arithmetic; half precision goes to its own file.

use super::f32math::{add_odd, bits32, bits64, divide_odd, flush, fma32, root_odd, round32, Rounding};
use super::half::{self, Operation};
use super::lower::{Lower, Reason};
use crate::program::{Args, Pure, Registers};
use warpferry_ptx::ast::Type;

type Done = Result<(), Reason>;

/// How an f32 instruction rounds and what it does beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    rounding: Rounding,
    /// A rounding was written.
    written: bool,
    flush: bool,
    saturate: bool,
}

impl Mode {
    fn take(l: &mut Lower) -> Mode {
        let rounding = l.modifiers.choice(&[
            ("rn", Rounding::Nearest),
            ("rz", Rounding::Zero),
            ("rm", Rounding::Down),
            ("rp", Rounding::Up),
        ]);
        Mode {
            rounding: rounding.unwrap_or(Rounding::Nearest),
            written: rounding.is_some(),
            flush: l.modifiers.flag("ftz"),
            saturate: l.modifiers.flag("sat"),
        }
    }

    fn is_plain(self) -> bool {
        self.rounding == Rounding::Nearest && !self.flush && !self.saturate
    }

    fn encode(self) -> u32 {
        let rounding = match self.rounding {
            Rounding::Nearest => 0,
            Rounding::Zero => 1,
            Rounding::Down => 2,
            Rounding::Up => 3,
        };
        rounding | (self.flush as u32) << 2 | (self.saturate as u32) << 3
    }

    fn decode(imm: u32) -> Mode {
        let rounding = [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up][(imm & 3) as usize];
        Mode { rounding, written: true, flush: imm & 4 != 0, saturate: imm & 8 != 0 }
    }

    fn input(self, bits: u64) -> f32 {
        let value = f32::from_bits(bits as u32);
        if self.flush {
            flush(value)
        } else {
            value
        }
    }

    fn output(self, exact: f64) -> u64 {
        let mut value = round32(exact, self.rounding);
        if self.flush {
            value = flush(value);
        }
        if self.saturate {
            value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
        }
        bits32(value)
    }

    /// An exact sum of zero is negative when rounding down, unless both terms are positive zeros.
    fn sum(self, a: f64, b: f64) -> f64 {
        let sum = add_odd(a, b);
        let cancels = sum == 0.0 && (a != 0.0 || a.is_sign_negative() != b.is_sign_negative());
        if self.rounding == Rounding::Down && cancels && a == -b {
            return -0.0;
        }
        sum
    }

    /// f64 arithmetic knows only the nearest.
    fn check64(self) -> Done {
        if self.is_plain() {
            Ok(())
        } else {
            Err("f64 is supported with .rn only, without .ftz and .sat".into())
        }
    }
}

fn single(a: u64) -> f32 {
    f32::from_bits(a as u32)
}

fn is_half(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::F16x2 | Type::BF16 | Type::BF16x2)
}

fn emit(l: &mut Lower, ty: Type, run: Pure, imm: u32, sources: usize) -> Done {
    l.finish(sources + 1..=sources + 1)?;
    let (d, a) = (l.dest_for(0, ty)?, l.source(1, ty)?);
    let b = if sources > 1 { l.source(2, ty)? } else { a };
    let c = if sources > 2 { l.source(3, ty)? } else { a };
    l.emit_pure(run, Args { d, a, b, c, imm, ..Args::default() });
    Ok(())
}

fn half_precision(l: &mut Lower, operation: Operation, ty: Type, mode: Mode, sources: usize) -> Done {
    if mode.rounding != Rounding::Nearest {
        return Err("half precision rounds to nearest only".into());
    }
    half::emit(l, operation, ty, mode.saturate, mode.flush, sources)
}

pub(super) fn add(l: &mut Lower) -> Done {
    fn any(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| mode.output(mode.sum(mode.input(a) as f64, mode.input(b) as f64)))
    }
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    match ty {
        _ if is_half(ty) => half_precision(l, Operation::Add, ty, mode, 2),
        Type::F32 if mode.is_plain() => emit(l, ty, binary!(|a, b| bits32(single(a) + single(b))), 0, 2),
        Type::F32 => emit(l, ty, any, mode.encode(), 2),
        _ => {
            mode.check64()?;
            emit(l, ty, binary!(|a, b| bits64(f64::from_bits(a) + f64::from_bits(b))), 0, 2)
        }
    }
}

pub(super) fn sub(l: &mut Lower) -> Done {
    fn any(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| mode.output(mode.sum(mode.input(a) as f64, -mode.input(b) as f64)))
    }
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    match ty {
        _ if is_half(ty) => half_precision(l, Operation::Sub, ty, mode, 2),
        Type::F32 if mode.is_plain() => emit(l, ty, binary!(|a, b| bits32(single(a) - single(b))), 0, 2),
        Type::F32 => emit(l, ty, any, mode.encode(), 2),
        _ => {
            mode.check64()?;
            emit(l, ty, binary!(|a, b| bits64(f64::from_bits(a) - f64::from_bits(b))), 0, 2)
        }
    }
}

pub(super) fn mul(l: &mut Lower) -> Done {
    fn any(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| mode.output(mode.input(a) as f64 * mode.input(b) as f64))
    }
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    match ty {
        _ if is_half(ty) => half_precision(l, Operation::Mul, ty, mode, 2),
        Type::F32 if mode.is_plain() => emit(l, ty, binary!(|a, b| bits32(single(a) * single(b))), 0, 2),
        Type::F32 => emit(l, ty, any, mode.encode(), 2),
        _ => {
            mode.check64()?;
            emit(l, ty, binary!(|a, b| bits64(f64::from_bits(a) * f64::from_bits(b))), 0, 2)
        }
    }
}

/// `mad` of floats is `fma`.
pub(super) fn mad(l: &mut Lower) -> Done {
    fma(l)
}

pub(super) fn fma(l: &mut Lower) -> Done {
    fn any(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.ternary(mask, s, |a, b, c| {
            let product = mode.input(a) as f64 * mode.input(b) as f64;
            mode.output(mode.sum(product, mode.input(c) as f64))
        })
    }
    let (mode, relu) = (Mode::take(l), l.modifiers.flag("relu"));
    let ty = l.modifiers.ty()?;
    if !mode.written {
        return Err("the rounding is missing".into());
    }
    match ty {
        _ if is_half(ty) => half_precision(l, if relu { Operation::FmaRelu } else { Operation::Fma }, ty, mode, 3),
        _ if relu => Err(".relu is for half precision only".into()),
        Type::F32 if mode.is_plain() => {
            emit(l, ty, ternary!(|a, b, c| bits32(fma32(single(a), single(b), single(c)))), 0, 3)
        }
        Type::F32 => emit(l, ty, any, mode.encode(), 3),
        _ => {
            mode.check64()?;
            let run = ternary!(|a, b, c| bits64(f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c))));
            emit(l, ty, run, 0, 3)
        }
    }
}

pub(super) fn div(l: &mut Lower) -> Done {
    fn any(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| mode.output(divide_odd(mode.input(a), mode.input(b))))
    }
    // The approximate forms give the nearest result, which lies within their documented error.
    let approximate = l.modifiers.choice(&[("approx", ()), ("full", ())]).is_some();
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    if !approximate && !mode.written {
        return Err("the rounding is missing".into());
    }
    match ty {
        Type::F32 => emit(l, ty, any, mode.encode(), 2),
        Type::F64 if !approximate => {
            mode.check64()?;
            emit(l, ty, binary!(|a, b| bits64(f64::from_bits(a) / f64::from_bits(b))), 0, 2)
        }
        _ => Err(format!("type {ty:?} is not supported here")),
    }
}

/// Least or greatest with the NaN rules of PTX: a NaN loses, with `nan` it wins.
#[inline(always)]
fn extreme32(a: f32, b: f32, greatest: bool, nan: bool) -> u64 {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let less = a < b || (a == b && a.is_sign_negative());
            (if less != greatest { a } else { b }).to_bits() as u64
        }
        (true, false) if !nan => b.to_bits() as u64,
        (false, true) if !nan => a.to_bits() as u64,
        _ => super::f32math::NAN32,
    }
}

fn extreme64(a: f64, b: f64, greatest: bool) -> u64 {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let less = a < b || (a == b && a.is_sign_negative());
            (if less != greatest { a } else { b }).to_bits()
        }
        (true, false) => b.to_bits(),
        (false, true) => a.to_bits(),
        _ => super::f32math::NAN64,
    }
}

pub(super) fn minmax(l: &mut Lower, greatest: bool) -> Done {
    let (ftz, nan) = (l.modifiers.flag("ftz"), l.modifiers.flag("NaN"));
    let ty = l.modifiers.ty()?;
    let run = match (ty, greatest, nan, ftz) {
        (Type::F32, false, false, false) => binary!(|a, b| extreme32(single(a), single(b), false, false)),
        (Type::F32, true, false, false) => binary!(|a, b| extreme32(single(a), single(b), true, false)),
        (Type::F32, false, true, false) => binary!(|a, b| extreme32(single(a), single(b), false, true)),
        (Type::F32, true, true, false) => binary!(|a, b| extreme32(single(a), single(b), true, true)),
        (Type::F32, false, false, true) => {
            binary!(|a, b| extreme32(flush(single(a)), flush(single(b)), false, false))
        }
        (Type::F32, true, false, true) => binary!(|a, b| extreme32(flush(single(a)), flush(single(b)), true, false)),
        (Type::F32, false, true, true) => binary!(|a, b| extreme32(flush(single(a)), flush(single(b)), false, true)),
        (Type::F32, true, true, true) => binary!(|a, b| extreme32(flush(single(a)), flush(single(b)), true, true)),
        (Type::F64, false, false, false) => {
            binary!(|a, b| extreme64(f64::from_bits(a), f64::from_bits(b), false))
        }
        (Type::F64, true, false, false) => binary!(|a, b| extreme64(f64::from_bits(a), f64::from_bits(b), true)),
        _ if is_half(ty) => {
            let operation = match (greatest, nan) {
                (false, false) => Operation::Min,
                (true, false) => Operation::Max,
                (false, true) => Operation::MinNan,
                (true, true) => Operation::MaxNan,
            };
            return half::emit(l, operation, ty, false, ftz, 2);
        }
        _ => return Err(format!("type {ty:?} with these modifiers is not supported here")),
    };
    emit(l, ty, run, 0, 2)
}

/// `abs` or `neg`.
pub(super) fn sign(l: &mut Lower, absolute: bool) -> Done {
    let ftz = l.modifiers.flag("ftz");
    let ty = l.modifiers.ty()?;
    let run = match (ty, absolute, ftz) {
        (Type::F32, true, false) => unary!(|a| a & 0x7fff_ffff),
        (Type::F32, false, false) => unary!(|a| (a ^ 0x8000_0000) & 0xffff_ffff),
        (Type::F32, true, true) => unary!(|a| flush(single(a)).abs().to_bits() as u64),
        (Type::F32, false, true) => unary!(|a| (-flush(single(a))).to_bits() as u64),
        (Type::F64, true, false) => unary!(|a| a & !(1 << 63)),
        (Type::F64, false, false) => unary!(|a| a ^ 1 << 63),
        _ if is_half(ty) => {
            let operation = if absolute { Operation::Abs } else { Operation::Neg };
            return half::emit(l, operation, ty, false, ftz, 1);
        }
        _ => return Err(format!("type {ty:?} is not supported here")),
    };
    emit(l, ty, run, 0, 1)
}

pub(super) fn copysign(l: &mut Lower) -> Done {
    let ty = l.modifiers.ty()?;
    let run = match ty {
        Type::F32 => binary!(|a, b| (a & 0x8000_0000) | (b & 0x7fff_ffff)),
        Type::F64 => binary!(|a, b| (a & 1 << 63) | (b & !(1 << 63))),
        _ => return Err(format!("type {ty:?} is not supported here")),
    };
    emit(l, ty, run, 0, 2)
}

/// Functions of one operand. The approximate ones give the nearest f32 of the double-precision result.
pub(super) fn function(l: &mut Lower) -> Done {
    fn root(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.unary(mask, s, |a| mode.output(root_odd(mode.input(a))))
    }
    fn reciprocal(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.unary(mask, s, |a| mode.output(divide_odd(1.0, mode.input(a))))
    }
    fn approximate(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        let what = s.imm >> 8;
        r.unary(mask, s, |a| {
            let x = mode.input(a) as f64;
            mode.output(match what {
                0 => 1.0 / x.sqrt(),
                1 => x.sin(),
                2 => x.cos(),
                3 => x.log2(),
                4 => x.exp2(),
                _ => x.tanh(),
            })
        })
    }
    let opcode = l.instruction.opcode.as_str();
    let approx = l.modifiers.flag("approx");
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    if mode.saturate {
        return Err(".sat is not supported here".into());
    }
    if !approx && !mode.written {
        return Err("the rounding or .approx is missing".into());
    }
    let run: Pure = match (opcode, ty) {
        ("sqrt", Type::F32) => root,
        ("rcp", Type::F32) => reciprocal,
        ("sqrt", Type::F64) if !approx => {
            mode.check64()?;
            return emit(l, ty, unary!(|a| bits64(f64::from_bits(a).sqrt())), 0, 1);
        }
        ("rcp", Type::F64) if !approx => {
            mode.check64()?;
            return emit(l, ty, unary!(|a| bits64(1.0 / f64::from_bits(a))), 0, 1);
        }
        ("rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh", Type::F32) if approx => approximate,
        _ => return Err("this function of this type is not supported".into()),
    };
    let what = match opcode {
        "rsqrt" => 0,
        "sin" => 1,
        "cos" => 2,
        "lg2" => 3,
        "ex2" => 4,
        _ => 5,
    };
    emit(l, ty, run, mode.encode() | what << 8, 1)
}
