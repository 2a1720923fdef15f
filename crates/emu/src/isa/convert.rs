//! `cvt`: between integers, floats, and packed small floats.

use super::f32math::{
    flush, integer_odd, round32, round32_flush, saturate, Format, Rounding, BF16, E4M3, E5M2, F16, NAN32, TF32,
};
use super::half::{bf16_nearest, bf16_value};
use super::lower::{mask_of, Lower, Reason};
use crate::program::{lanes, Args, Pure, Registers};
use warpferry_ptx::ast::Type;

type Done = Result<(), Reason>;

/// Types as numbers in `imm`.
const TYPES: [Type; 13] = [
    Type::U8,
    Type::S8,
    Type::U16,
    Type::S16,
    Type::U32,
    Type::S32,
    Type::U64,
    Type::S64,
    Type::F16,
    Type::BF16,
    Type::F32,
    Type::F64,
    Type::TF32,
];

fn code(ty: Type) -> Result<u32, Reason> {
    let index = TYPES.iter().position(|t| *t == ty);
    index.map(|i| i as u32).ok_or_else(|| format!("type {ty:?} is not supported here"))
}

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::BF16 | Type::F32 | Type::F64 | Type::TF32)
}

fn is_signed(ty: Type) -> bool {
    matches!(ty, Type::S8 | Type::S16 | Type::S32 | Type::S64)
}

/// A conversion as packed into `imm`.
#[derive(Debug, Clone, Copy)]
struct Conversion {
    to: Type,
    from: Type,
    rounding: Rounding,
    /// Round to an integral value.
    integral: bool,
    flush: bool,
    saturate: bool,
    relu: bool,
    /// The greatest finite number in place of an overflow.
    finite: bool,
}

impl Conversion {
    fn encode(self) -> Result<u32, Reason> {
        let rounding = match self.rounding {
            Rounding::Nearest => 0,
            Rounding::Zero => 1,
            Rounding::Down => 2,
            Rounding::Up => 3,
        };
        Ok(code(self.to)?
            | code(self.from)? << 4
            | rounding << 8
            | (self.integral as u32) << 10
            | (self.flush as u32) << 11
            | (self.saturate as u32) << 12
            | (self.relu as u32) << 13
            | (self.finite as u32) << 14)
    }

    fn decode(imm: u32) -> Conversion {
        Conversion {
            to: TYPES[(imm & 15) as usize],
            from: TYPES[(imm >> 4 & 15) as usize],
            rounding: [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up][(imm >> 8 & 3) as usize],
            integral: imm >> 10 & 1 == 1,
            flush: imm >> 11 & 1 == 1,
            saturate: imm >> 12 & 1 == 1,
            relu: imm >> 13 & 1 == 1,
            finite: imm >> 14 & 1 == 1,
        }
    }

    /// Bits of the converted value, as wide as the target type.
    fn apply(self, bits: u64) -> u64 {
        if is_float(self.from) {
            let value = match self.from {
                Type::F16 => F16.decode(bits as u32 & 0xffff),
                Type::BF16 => bf16_value(bits as u16) as f64,
                Type::F32 if self.flush => flush(f32::from_bits(bits as u32)) as f64,
                Type::F32 => f32::from_bits(bits as u32) as f64,
                _ => f64::from_bits(bits),
            };
            if value.is_nan() {
                return if is_float(self.to) { self.nan_float(bits) } else { self.nan_integer() };
            }
            if is_float(self.to) {
                self.to_float(if self.integral { integral(value, self.rounding) } else { value })
            } else {
                self.to_integer(value)
            }
        } else {
            let width = self.from.bytes() * 8;
            let value = if is_signed(self.from) {
                ((bits << (64 - width)) as i64 >> (64 - width)) as i128
            } else {
                (bits & mask_of(self.from.bytes())) as i128
            };
            match self.to {
                Type::F64 => self.integer_to_double(value),
                to if is_float(to) => self.to_float(integer_odd(value)),
                to => {
                    let value = if self.saturate { clamp(value, to) } else { value };
                    value as u64 & mask_of(to.bytes())
                }
            }
        }
    }

    fn integer_to_double(self, value: i128) -> u64 {
        let near = value as f64;
        let back = near as i128;
        let toward_zero = (back > value) == (value > 0);
        let step = match self.rounding {
            Rounding::Nearest => 0,
            Rounding::Zero if back != value && toward_zero => -1,
            Rounding::Down if back > value => {
                if value > 0 {
                    -1
                } else {
                    1
                }
            }
            Rounding::Up if back < value => {
                if value > 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0i64,
        };
        let double = f64::from_bits((near.to_bits() as i64 + step) as u64);
        if self.saturate {
            return saturate(double).to_bits();
        }
        double.to_bits()
    }

    /// From an exact or odd double to the target float.
    fn to_float(self, value: f64) -> u64 {
        let value = match () {
            _ if self.saturate => saturate(value),
            _ if self.relu => relu(value),
            _ => value,
        };
        match self.to {
            Type::F16 => F16.encode(value, self.rounding, self.finite) as u64,
            Type::BF16 => BF16.encode(value, self.rounding, self.finite) as u64,
            Type::TF32 => (TF32.encode(value, self.rounding, self.finite) as u64) << 13,
            Type::F32 if self.flush => round32_flush(value, self.rounding).to_bits() as u64,
            Type::F32 => round32(value, self.rounding).to_bits() as u64,
            _ => value.to_bits(),
        }
    }

    /// To an integer: rounded and clamped to its range.
    fn to_integer(self, value: f64) -> u64 {
        let whole = integral(value, self.rounding);
        clamp(whole as i128, self.to) as u64 & mask_of(self.to.bytes())
    }

    /// A NaN as an integer: 0, or the top bit alone when one of the two has 64 bits.
    fn nan_integer(self) -> u64 {
        if self.from == Type::F64 || self.to.bytes() == 8 {
            1 << (8 * self.to.bytes() - 1)
        } else {
            0
        }
    }

    /// A NaN as a float: canonical, except where the hardware moves or widens the bits as they are.
    fn nan_float(self, bits: u64) -> u64 {
        let plain = !self.flush && !self.integral;
        match (self.to, self.from) {
            _ if self.saturate => 0,
            (Type::F32, Type::BF16) => (bits & 0xffff) << 16,
            (Type::F32, Type::F32) if plain => bits & 0xffff_ffff,
            (Type::F64, Type::F64) if plain => bits,
            (Type::F64, Type::F64) => bits | 1 << 51,
            (Type::F64, Type::F32) => widen_nan(bits & 0xffff_ffff, 32, 23),
            (Type::F64, Type::F16) => widen_nan(bits & 0xffff, 16, 10),
            (Type::F64, Type::BF16) => widen_nan((bits & 0xffff) << 16, 32, 23),
            (Type::F32, Type::F64) => bits >> 32 & 0x8000_0000 | 0x7fc0_0000 | bits >> 29 & 0x3f_ffff,
            (Type::F16 | Type::BF16, _) => 0x7fff,
            _ => NAN32,
        }
    }
}

/// A NaN of `bits` with `fraction` bits below its exponent, as a quiet f64.
fn widen_nan(value: u64, bits: u32, fraction: u32) -> u64 {
    let sign = value >> (bits - 1) << 63;
    let payload = value & ((1 << fraction) - 1);
    sign | 0x7ff8 << 48 | payload << (52 - fraction)
}

/// Negative numbers become +0, also -0.
fn relu(value: f64) -> f64 {
    if value.is_sign_negative() && !value.is_nan() {
        0.0
    } else {
        value
    }
}

/// The integral value in a direction; nearest breaks ties to even.
fn integral(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

fn clamp(value: i128, to: Type) -> i128 {
    let bits = to.bytes() * 8;
    let (least, greatest) =
        if is_signed(to) { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    value.clamp(least, greatest)
}

/// Any conversion.
fn any(r: &mut Registers, mask: u32, s: &Args) {
    let conversion = Conversion::decode(s.imm);
    r.unary(mask, s, |a| conversion.apply(a))
}

/// Sign extension from the target type's width to the register's; widths in `imm`.
fn extend(r: &mut Registers, mask: u32, s: &Args) {
    let (from, to) = (s.imm & 0xff, s.imm >> 8);
    r.unary(mask, s, |a| ((a << (64 - from)) as i64 >> (64 - from)) as u64 & (u64::MAX >> (64 - to)))
}

/// Conversions that hot code uses.
fn quick(c: &Conversion) -> Option<Pure> {
    if c.saturate || c.flush || c.relu || c.finite {
        return None;
    }
    Some(match (c.to, c.from) {
        (Type::U64 | Type::S64, Type::U32) => unary!(|a| a & 0xffff_ffff),
        (Type::U64 | Type::S64, Type::S32) => unary!(|a| a as i32 as i64 as u64),
        (Type::U32 | Type::S32, Type::U64 | Type::S64 | Type::U32 | Type::S32) => unary!(|a| a & 0xffff_ffff),
        (Type::U16 | Type::S16, Type::U32 | Type::S32 | Type::U64 | Type::S64) => unary!(|a| a & 0xffff),
        (Type::U32 | Type::S32 | Type::U64 | Type::S64, Type::U16) => unary!(|a| a & 0xffff),
        (Type::U32 | Type::S32 | Type::U64 | Type::S64, Type::U8) => unary!(|a| a & 0xff),
        (Type::F32, Type::BF16) if !c.integral => unary!(|a| (a & 0xffff) << 16),
        (Type::BF16, Type::F32) if c.rounding == Rounding::Nearest && !c.integral => {
            unary!(|a| bf16_nearest(f32::from_bits(a as u32)) as u64)
        }
        (Type::F32, Type::U32) if c.rounding == Rounding::Nearest => {
            unary!(|a| (a as u32 as f32).to_bits() as u64)
        }
        (Type::F32, Type::S32) if c.rounding == Rounding::Nearest => {
            unary!(|a| (a as i32 as f32).to_bits() as u64)
        }
        _ => return None,
    })
}

pub(super) fn cvt(l: &mut Lower) -> Done {
    if ["f16x2", "bf16x2", "e4m3x2", "e5m2x2"].iter().any(|packed| l.modifiers.has(packed)) {
        return packed(l);
    }
    if l.modifiers.flag("pack") {
        return pack(l);
    }
    if l.modifiers.flag("rna") {
        return to_tf32_away(l);
    }
    let to_integral = l.modifiers.choice(&[
        ("rni", Rounding::Nearest),
        ("rzi", Rounding::Zero),
        ("rmi", Rounding::Down),
        ("rpi", Rounding::Up),
    ]);
    let to_float = l.modifiers.choice(&[
        ("rn", Rounding::Nearest),
        ("rz", Rounding::Zero),
        ("rm", Rounding::Down),
        ("rp", Rounding::Up),
    ]);
    let (flush, saturate, relu) = (l.modifiers.flag("ftz"), l.modifiers.flag("sat"), l.modifiers.flag("relu"));
    let finite = l.modifiers.flag("satfinite");
    let (to, from) = (l.modifiers.ty()?, l.modifiers.ty()?);
    l.finish(2..=2)?;
    match (is_float(to), is_float(from)) {
        (false, true) if to_integral.is_none() => {
            return Err("a conversion from float to integer needs .rni, .rzi, .rmi or .rpi".into())
        }
        (true, false) if to_float.is_none() => {
            return Err("a conversion from integer to float needs .rn, .rz, .rm or .rp".into())
        }
        (true, true) if to.bytes() < from.bytes() && to_float.is_none() => {
            return Err("a conversion to a narrower float needs .rn, .rz, .rm or .rp".into())
        }
        (false, false) if to_float.is_some() || to_integral.is_some() => {
            return Err("a conversion between integers takes no rounding".into())
        }
        (true, true) if to.bytes() > from.bytes() && (to_float.is_some() || to_integral.is_some()) => {
            return Err("a conversion to a wider float takes no rounding".into())
        }
        (true, true) if to != from && to_integral.is_some() => {
            return Err("only a float of the same type is rounded to an integral value".into())
        }
        (true, true) if to == from && to_float.is_some() => {
            return Err("a float of the same type takes .rni, .rzi, .rmi or .rpi".into())
        }
        _ => {}
    }
    if from == Type::TF32 || (to == Type::TF32 && (from != Type::F32 || to_float.is_none())) {
        return Err("tf32 comes from f32 with .rn, .rz or .rna".into());
    }
    if flush && from != Type::F32 && to != Type::F32 {
        return Err(".ftz needs f32 on one side".into());
    }
    if (finite || relu) && !matches!((to, from), (Type::F16 | Type::BF16 | Type::TF32, Type::F32)) {
        return Err(".satfinite and .relu are for small floats from f32".into());
    }
    if saturate && (finite || relu || matches!(to, Type::BF16 | Type::TF32)) {
        return Err(".sat is not supported here".into());
    }
    let rounding = to_integral.or(to_float).unwrap_or(Rounding::Nearest);
    let integral = to_integral.is_some();
    let conversion = Conversion { to, from, rounding, integral, flush, saturate, relu, finite };
    let dest = l.dest(0)?;
    if dest.bytes < to.bytes() {
        return Err(format!("the destination register is too narrow for {to:?}"));
    }
    let a = l.source(1, from)?;
    let imm = conversion.encode()?;
    l.emit_pure(quick(&conversion).unwrap_or(any), Args { d: dest.column, a, imm, ..Args::default() });
    if is_signed(to) && dest.bytes > to.bytes() {
        let imm = (to.bytes() * 8) | ((dest.bytes * 8) << 8);
        l.emit_pure(extend, Args { d: dest.column, a: dest.column, imm, ..Args::default() });
    }
    Ok(())
}

/// `cvt.rna.tf32.f32`: to nearest, ties away from zero; of a NaN the low bits go, which may leave an infinity: so
/// ptxas folds it, and so does its code for `sm_90`.
fn to_tf32_away(l: &mut Lower) -> Done {
    let finite = l.modifiers.flag("satfinite");
    let (to, from) = (l.modifiers.ty()?, l.modifiers.ty()?);
    l.finish(2..=2)?;
    if to != Type::TF32 || from != Type::F32 {
        return Err(".rna is for tf32 from f32".into());
    }
    fn nearest(a: u64) -> u64 {
        let is_nan = a & 0x7fff_ffff > 0x7f80_0000;
        (if is_nan { a } else { a + 0x1000 }) & 0xffff_e000
    }
    let run = match finite {
        false => unary!(|a| nearest(a & 0xffff_ffff)),
        true => unary!(|a| match nearest(a & 0xffff_ffff) {
            bits if bits & 0x7fff_ffff == 0x7f80_0000 => bits & 0x8000_0000 | 0x7f7f_e000,
            bits => bits,
        }),
    };
    let (d, a) = (l.dest_for(0, to)?, l.source(1, from)?);
    l.emit_pure(run, Args { d, a, ..Args::default() });
    Ok(())
}

/// `cvt.pack.sat`: two integers side by side, above them what `c` holds.
fn pack(l: &mut Lower) -> Done {
    // `imm`: bits of an element, whether it is signed << 8.
    fn run(r: &mut Registers, mask: u32, s: &Args) {
        let (bits, signed) = (s.imm & 0xff, s.imm >> 8 == 1);
        let (least, most) = if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        let part = |v: u64| (v as i32 as i64).clamp(least, most) as u64 & ((1 << bits) - 1);
        r.ternary(mask, s, |a, b, c| (c << (2 * bits) | part(a) << bits | part(b)) & 0xffff_ffff)
    }
    if !l.modifiers.flag("sat") {
        return Err("cvt.pack needs .sat".into());
    }
    let kinds = [("u16", 16), ("s16", 272), ("u8", 8), ("s8", 264), ("u4", 4), ("s4", 260), ("u2", 2), ("s2", 258)];
    let imm: u32 = l.modifiers.require("type of the elements", &kinds)?;
    if l.modifiers.ty()? != Type::S32 {
        return Err("cvt.pack takes .s32".into());
    }
    // Below 16 bits the rest of the result comes from a third source.
    let merges = imm & 0xff < 16;
    if merges && !l.modifiers.flag("b32") {
        return Err(".b32, the type of the third source, is missing".into());
    }
    let operands = 3 + merges as usize;
    l.finish(operands..=operands)?;
    let (d, a, b) = (l.dest_for(0, Type::U32)?, l.source(1, Type::S32)?, l.source(2, Type::S32)?);
    let c = if merges { l.source(3, Type::B32)? } else { l.constant(0)? };
    l.emit_pure(run, Args { d, a, b, c, imm, ..Args::default() });
    Ok(())
}

/// Small formats as numbers in `imm`.
const FORMATS: [Format; 4] = [F16, BF16, E4M3, E5M2];

/// Two f32 into a pair: `a` is the upper half. `imm`: format, relu << 4, saturate << 5, rounding << 6.
fn pair_from_singles(r: &mut Registers, mask: u32, s: &Args) {
    let format = FORMATS[(s.imm & 3) as usize];
    let (clamps, saturate) = (s.imm >> 4 & 1 == 1, s.imm >> 5 & 1 == 1);
    let rounding = if s.imm >> 6 & 1 == 1 { Rounding::Zero } else { Rounding::Nearest };
    let bits = format.exponent_bits + format.mantissa_bits + 1;
    if s.imm == 1 {
        return r.binary(mask, s, |a, b| {
            (bf16_nearest(f32::from_bits(a as u32)) as u64) << 16 | bf16_nearest(f32::from_bits(b as u32)) as u64
        });
    }
    let one = |x: u64| {
        let value = f32::from_bits(x as u32) as f64;
        let value = if clamps { relu(value) } else { value };
        format.encode(value, rounding, saturate) as u64
    };
    r.binary(mask, s, |a, b| one(a) << bits | one(b))
}

/// A pair of f16 into a pair of fp8 or back. `imm`: target, source << 2, relu << 4, saturate << 5.
fn pair_from_pair(r: &mut Registers, mask: u32, s: &Args) {
    let (to, from) = (FORMATS[(s.imm & 3) as usize], FORMATS[(s.imm >> 2 & 3) as usize]);
    let (clamps, saturate) = (s.imm >> 4 & 1 == 1, s.imm >> 5 & 1 == 1);
    let width = |f: Format| f.exponent_bits + f.mantissa_bits + 1;
    let (to_bits, from_bits) = (width(to), width(from));
    for i in lanes(mask) {
        let a = r.columns[s.a as usize][i];
        let one = |x: u64| {
            let value = from.decode(x as u32 & ((1 << from_bits) - 1));
            let value = if clamps { relu(value) } else { value };
            to.encode(value, Rounding::Nearest, saturate) as u64
        };
        r.columns[s.d as usize][i] = one(a >> from_bits) << to_bits | one(a);
    }
}

fn format_code(ty: Type) -> Option<u32> {
    Some(match ty {
        Type::F16x2 => 0,
        Type::BF16x2 => 1,
        Type::E4M3x2 => 2,
        Type::E5M2x2 => 3,
        _ => return None,
    })
}

fn packed(l: &mut Lower) -> Done {
    let rounding = l.modifiers.require("rounding", &[("rn", 0), ("rz", 1)])?;
    let saturate = l.modifiers.flag("satfinite");
    let relu = l.modifiers.flag("relu");
    let (to, from) = (l.modifiers.ty()?, l.modifiers.ty()?);
    let unsupported = || format!("a conversion from {from:?} to {to:?} is not supported");
    let target = format_code(to).ok_or_else(unsupported)?;
    let flags = (relu as u32) << 4 | (saturate as u32) << 5 | rounding << 6;
    if target > 1 && !saturate {
        return Err("a conversion to fp8 needs .satfinite".into());
    }
    if from == Type::F32 {
        l.finish(3..=3)?;
        let (d, a, b) = (l.dest_for(0, to)?, l.source(1, from)?, l.source(2, from)?);
        l.emit_pure(pair_from_singles, Args { d, a, b, imm: target | flags, ..Args::default() });
        return Ok(());
    }
    l.finish(2..=2)?;
    let source = format_code(from).ok_or_else(unsupported)?;
    let known = (target > 1 && source == 0) || (target == 0 && source > 1);
    if !known || rounding != 0 {
        return Err(unsupported());
    }
    let (d, a) = (l.dest_for(0, to)?, l.source(1, from)?);
    l.emit_pure(pair_from_pair, Args { d, a, imm: target | source << 2 | flags, ..Args::default() });
    Ok(())
}
