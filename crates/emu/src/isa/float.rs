//! f32 and f64 arithmetic; half precision goes to its own file.

use super::f32math::{
    add_odd, bits32, divide_odd, flush, fma32, root_odd, round32, round32_flush, saturate, Rounding, NAN32,
};
use super::half::{self, Operation};
use super::lower::{Lower, Reason};
use super::soft::{add64, div64, fma64, mul64, settle64, sqrt64};
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
        let mut value = if self.flush { round32_flush(exact, self.rounding) } else { round32(exact, self.rounding) };
        if self.saturate {
            value = saturate(value as f64) as f32;
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

    /// f64 to nearest is the CPU's own.
    fn pick64(self, nearest: Pure, directed: Pure) -> Pure {
        if self.rounding == Rounding::Nearest {
            nearest
        } else {
            directed
        }
    }

    /// f64 arithmetic takes a rounding only.
    fn check64(self, l: &Lower) -> Done {
        if self.flush || self.saturate {
            return Err(format!("{} of f64 takes neither .ftz nor .sat", l.instruction.opcode));
        }
        Ok(())
    }
}

/// f64 with a subnormal made zero.
fn flush64(value: f64) -> f64 {
    if value.abs() < f64::MIN_POSITIVE {
        0f64.copysign(value)
    } else {
        value
    }
}

/// The upper half of a double.
fn coarse64(value: f64) -> u64 {
    if value.is_nan() {
        return 0x7fff_ffff << 32;
    }
    flush64(value).to_bits() & !0xffff_ffff
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
    fn directed(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| add64(a, b, mode.rounding))
    }
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    match ty {
        _ if is_half(ty) => half_precision(l, Operation::Add, ty, mode, 2),
        Type::F32 if mode.is_plain() => emit(l, ty, binary!(|a, b| bits32(single(a) + single(b))), 0, 2),
        Type::F32 => emit(l, ty, any, mode.encode(), 2),
        _ => {
            mode.check64(l)?;
            let nearest = binary!(|a, b| settle64(f64::from_bits(a) + f64::from_bits(b), &[a, b]));
            emit(l, ty, mode.pick64(nearest, directed), mode.encode(), 2)
        }
    }
}

pub(super) fn sub(l: &mut Lower) -> Done {
    fn any(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| mode.output(mode.sum(mode.input(a) as f64, -mode.input(b) as f64)))
    }
    fn directed(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| add64(a, b ^ 1 << 63, mode.rounding))
    }
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    match ty {
        _ if is_half(ty) => half_precision(l, Operation::Sub, ty, mode, 2),
        Type::F32 if mode.is_plain() => emit(l, ty, binary!(|a, b| bits32(single(a) - single(b))), 0, 2),
        Type::F32 => emit(l, ty, any, mode.encode(), 2),
        _ => {
            mode.check64(l)?;
            let nearest = binary!(|a, b| settle64(f64::from_bits(a) - f64::from_bits(b), &[a, b ^ 1 << 63]));
            emit(l, ty, mode.pick64(nearest, directed), mode.encode(), 2)
        }
    }
}

pub(super) fn mul(l: &mut Lower) -> Done {
    fn any(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| mode.output(mode.input(a) as f64 * mode.input(b) as f64))
    }
    fn directed(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| mul64(a, b, mode.rounding))
    }
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    match ty {
        _ if is_half(ty) => half_precision(l, Operation::Mul, ty, mode, 2),
        Type::F32 if mode.is_plain() => emit(l, ty, binary!(|a, b| bits32(single(a) * single(b))), 0, 2),
        Type::F32 => emit(l, ty, any, mode.encode(), 2),
        _ => {
            mode.check64(l)?;
            let nearest = binary!(|a, b| settle64(f64::from_bits(a) * f64::from_bits(b), &[a, b]));
            emit(l, ty, mode.pick64(nearest, directed), mode.encode(), 2)
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
    fn directed(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.ternary(mask, s, |a, b, c| fma64(a, b, c, mode.rounding))
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
            mode.check64(l)?;
            let nearest = ternary!(|a, b, c| {
                settle64(f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)), &[a, b, c])
            });
            emit(l, ty, mode.pick64(nearest, directed), mode.encode(), 3)
        }
    }
}

pub(super) fn div(l: &mut Lower) -> Done {
    fn any(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| mode.output(divide_odd(mode.input(a), mode.input(b))))
    }
    fn directed(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| div64(a, b, mode.rounding))
    }
    // PTX ISA, "div": the approximate form is a product with 1/b, which is 0 for 2^126 < |b| < 2^128.
    fn approx(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.binary(mask, s, |a, b| {
            let (a, b) = (mode.input(a), mode.input(b));
            let vanishes = b.is_finite() && b.abs() > 2f32.powi(126);
            let a_over_b = if vanishes { f64::from(a) * f64::from(0f32.copysign(b)) } else { divide_odd(a, b) };
            mode.output(a_over_b)
        })
    }
    // The approximate forms give the nearest result elsewhere, which lies within their documented error.
    let form = l.modifiers.choice(&[("approx", true), ("full", false)]);
    let approximate = form.is_some();
    let (mode, ty) = (Mode::take(l), l.modifiers.ty()?);
    if !approximate && !mode.written {
        return Err("the rounding is missing".into());
    }
    match ty {
        Type::F32 if form == Some(true) => emit(l, ty, approx, mode.encode(), 2),
        Type::F32 => emit(l, ty, any, mode.encode(), 2),
        Type::F64 if !approximate => {
            mode.check64(l)?;
            let nearest = binary!(|a, b| settle64(f64::from_bits(a) / f64::from_bits(b), &[a, b]));
            emit(l, ty, mode.pick64(nearest, directed), mode.encode(), 2)
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
        _ => NAN32,
    }
}

fn extreme64(a: u64, b: u64, greatest: bool) -> u64 {
    let (x, y) = (f64::from_bits(a), f64::from_bits(b));
    match (x.is_nan(), y.is_nan()) {
        (false, false) => {
            let less = x < y || (x == y && x.is_sign_negative());
            if less != greatest {
                a
            } else {
                b
            }
        }
        (true, false) => b,
        (false, true) => a,
        (true, true) => settle64(y, &[b]),
    }
}

/// `.ftz` and `.NaN`, `.xorsign.abs` as bits 0 to 3 of `imm`; bit 3 is the greatest.
fn extreme32_any(r: &mut Registers, mask: u32, s: &Args) {
    let bit = |n: u32| s.imm >> n & 1 == 1;
    let (ftz, nan, by_sign, greatest) = (bit(0), bit(1), bit(2), bit(3));
    let input = |v: u64| {
        let value = if ftz { flush(single(v)) } else { single(v) };
        if by_sign {
            value.abs()
        } else {
            value
        }
    };
    r.binary(mask, s, |a, b| {
        let found = extreme32(input(a), input(b), greatest, nan);
        match by_sign && !single(found).is_nan() {
            true => found & 0x7fff_ffff | (a ^ b) & 0x8000_0000,
            false => found,
        }
    })
}

pub(super) fn minmax(l: &mut Lower, greatest: bool) -> Done {
    let (ftz, nan) = (l.modifiers.flag("ftz"), l.modifiers.flag("NaN"));
    let by_sign = l.modifiers.flag("xorsign");
    if by_sign && !l.modifiers.flag("abs") {
        return Err(".xorsign needs .abs".into());
    }
    let ty = l.modifiers.ty()?;
    let run = match (ty, greatest) {
        (Type::F32, false) if !nan && !ftz && !by_sign => {
            binary!(|a, b| extreme32(single(a), single(b), false, false))
        }
        (Type::F32, true) if !nan && !ftz && !by_sign => binary!(|a, b| extreme32(single(a), single(b), true, false)),
        (Type::F32, _) => {
            let imm = ftz as u32 | (nan as u32) << 1 | (by_sign as u32) << 2 | (greatest as u32) << 3;
            return emit(l, ty, extreme32_any, imm, 2);
        }
        (Type::F64, false) if !nan && !ftz && !by_sign => binary!(|a, b| extreme64(a, b, false)),
        (Type::F64, true) if !nan && !ftz && !by_sign => binary!(|a, b| extreme64(a, b, true)),
        _ if is_half(ty) => {
            let operation = match (greatest, nan) {
                (false, false) => Operation::Min,
                (true, false) => Operation::Max,
                (false, true) => Operation::MinNan,
                (true, true) => Operation::MaxNan,
            };
            return half::emit_extreme(l, operation, ty, by_sign, ftz);
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
        // Hardware adds a zero: a NaN becomes the canonical one, a quiet one in f64.
        (Type::F32, true, false) => unary!(|a| bits32(single(a).abs())),
        (Type::F32, false, false) => unary!(|a| bits32(-single(a))),
        (Type::F32, true, true) => unary!(|a| bits32(flush(single(a)).abs())),
        (Type::F32, false, true) => unary!(|a| bits32(-flush(single(a)))),
        (Type::F64, true, false) => unary!(|a| settle64(f64::from_bits(a).abs(), &[a & !(1 << 63)])),
        (Type::F64, false, false) => unary!(|a| settle64(-f64::from_bits(a), &[a ^ 1 << 63])),
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
    fn root64(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.unary(mask, s, |a| sqrt64(a, mode.rounding))
    }
    fn reciprocal64(r: &mut Registers, mask: u32, s: &Args) {
        let mode = Mode::decode(s.imm);
        r.unary(mask, s, |a| match f64::from_bits(a).is_nan() {
            true => settle64(f64::NAN, &[a]),
            false => div64(1f64.to_bits(), a, mode.rounding),
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
            mode.check64(l)?;
            root64
        }
        ("rcp", Type::F64) if !approx => {
            mode.check64(l)?;
            reciprocal64
        }
        // The upper half of the nearest result; the lower one is zero on hardware too.
        ("rcp", Type::F64) if mode.flush && !mode.written => {
            unary!(|a| coarse64(1.0 / flush64(f64::from_bits(a))))
        }
        ("rsqrt", Type::F64) if approx && mode.flush => unary!(|a| coarse64(1.0 / flush64(f64::from_bits(a)).sqrt())),
        ("rsqrt", Type::F64) if approx => unary!(|a| settle64(1.0 / f64::from_bits(a).sqrt(), &[a])),
        ("ex2" | "tanh", Type::F16 | Type::F16x2 | Type::BF16 | Type::BF16x2) if approx => {
            let operation = if opcode == "ex2" { Operation::Exp2 } else { Operation::Tanh };
            return half::emit(l, operation, ty, false, mode.flush, 1);
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
