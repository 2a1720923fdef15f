//! `cvt`: between integers, floats, and packed small floats.

use super::f32math::{bits64, flush, integer_odd, round32, Format, Rounding, BF16, E4M3, E5M2, F16, NAN32};
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
    Type::Pred,
];

fn code(ty: Type) -> Result<u32, Reason> {
    let index = TYPES.iter().position(|t| *t == ty && ty != Type::Pred);
    index.map(|i| i as u32).ok_or_else(|| format!("type {ty:?} is not supported here"))
}

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::BF16 | Type::F32 | Type::F64)
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
            | (self.relu as u32) << 13)
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
            return double.clamp(0.0, 1.0).to_bits();
        }
        double.to_bits()
    }

    /// From an exact or odd double to the target float.
    fn to_float(self, value: f64) -> u64 {
        let value = match () {
            _ if self.saturate && value.is_nan() => 0.0,
            _ if self.saturate => value.clamp(0.0, 1.0),
            _ if self.relu && value < 0.0 => 0.0,
            _ => value,
        };
        match self.to {
            Type::F16 => F16.encode(value, self.rounding, false) as u64,
            Type::BF16 => BF16.encode(value, self.rounding, false) as u64,
            Type::F32 => {
                let single = round32(value, self.rounding);
                let single = if self.flush { flush(single) } else { single };
                if single.is_nan() {
                    NAN32
                } else {
                    single.to_bits() as u64
                }
            }
            _ => bits64(value),
        }
    }

    /// To an integer: rounded, clamped to its range, NaN gives 0.
    fn to_integer(self, value: f64) -> u64 {
        if value.is_nan() {
            return 0;
        }
        let whole = integral(value, self.rounding);
        clamp(whole as i128, self.to) as u64 & mask_of(self.to.bytes())
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
    if c.saturate || c.flush || c.relu {
        return None;
    }
    Some(match (c.to, c.from) {
        (Type::U64 | Type::S64, Type::U32) => unary!(|a| a & 0xffff_ffff),
        (Type::U64 | Type::S64, Type::S32) => unary!(|a| a as i32 as i64 as u64),
        (Type::U32 | Type::S32, Type::U64 | Type::S64 | Type::U32 | Type::S32) => unary!(|a| a & 0xffff_ffff),
        (Type::U16 | Type::S16, Type::U32 | Type::S32 | Type::U64 | Type::S64) => unary!(|a| a & 0xffff),
        (Type::U32 | Type::S32 | Type::U64 | Type::S64, Type::U16) => unary!(|a| a & 0xffff),
        (Type::U32 | Type::S32 | Type::U64 | Type::S64, Type::U8) => unary!(|a| a & 0xff),
        (Type::F32, Type::BF16) => unary!(|a| match (a & 0xffff) << 16 {
            bits if f32::from_bits(bits as u32).is_nan() => NAN32,
            bits => bits,
        }),
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
        _ => {}
    }
    let rounding = to_integral.or(to_float).unwrap_or(Rounding::Nearest);
    let integral = to_integral.is_some();
    if relu && !matches!(to, Type::F16 | Type::BF16) {
        return Err(".relu is for small floats only".into());
    }
    let conversion = Conversion { to, from, rounding, integral, flush, saturate, relu };
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

/// Small formats as numbers in `imm`.
const FORMATS: [Format; 4] = [F16, BF16, E4M3, E5M2];

/// Two f32 into a pair: `a` is the upper half. `imm`: format, relu << 4, saturate << 5, rounding << 6.
fn pair_from_singles(r: &mut Registers, mask: u32, s: &Args) {
    let format = FORMATS[(s.imm & 3) as usize];
    let (relu, saturate) = (s.imm >> 4 & 1 == 1, s.imm >> 5 & 1 == 1);
    let rounding = if s.imm >> 6 & 1 == 1 { Rounding::Zero } else { Rounding::Nearest };
    let bits = format.exponent_bits + format.mantissa_bits + 1;
    if s.imm == 1 {
        return r.binary(mask, s, |a, b| {
            (bf16_nearest(f32::from_bits(a as u32)) as u64) << 16 | bf16_nearest(f32::from_bits(b as u32)) as u64
        });
    }
    let one = |x: u64| {
        let value = f32::from_bits(x as u32) as f64;
        let value = if relu && value < 0.0 { 0.0 } else { value };
        format.encode(value, rounding, saturate) as u64
    };
    r.binary(mask, s, |a, b| one(a) << bits | one(b))
}

/// A pair of f16 into a pair of fp8 or back. `imm`: target, source << 2, relu << 4, saturate << 5.
fn pair_from_pair(r: &mut Registers, mask: u32, s: &Args) {
    let (to, from) = (FORMATS[(s.imm & 3) as usize], FORMATS[(s.imm >> 2 & 3) as usize]);
    let (relu, saturate) = (s.imm >> 4 & 1 == 1, s.imm >> 5 & 1 == 1);
    let width = |f: Format| f.exponent_bits + f.mantissa_bits + 1;
    let (to_bits, from_bits) = (width(to), width(from));
    for i in lanes(mask) {
        let a = r.columns[s.a as usize][i];
        let one = |x: u64| {
            let value = from.decode(x as u32 & ((1 << from_bits) - 1));
            let value = if relu && value < 0.0 { 0.0 } else { value };
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
