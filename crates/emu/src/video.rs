//! Video instructions: parts of registers are taken, an exact intermediate result is clamped, and combined with a third
//! operand.
//!
//! GPUs since sm_50 have no such instructions, so the assembler puts other code in their place, which does not always
//! give what the manual says: where an unsigned sum overflows before it is clamped, where a negative one is clamped to
//! a byte, where `.min` and `.max` meet an intermediate result of more than 32 bits. The rules here give the manual's
//! result, and where that code would give another one, neither: the run ends with a fault.

use crate::error::FaultKind;
use crate::program::{lanes, Args};
use crate::warp::{Trouble, Warp};

/// A byte, a half or all of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub bits: u32,
    /// Position of its lowest bit.
    pub at: u32,
}

impl Part {
    pub const ALL: Part = Part { bits: 32, at: 0 };

    fn of(self, value: u64, signed: bool) -> i128 {
        let field = (value as u32 as u64 >> self.at) & (u64::MAX >> (64 - self.bits));
        extended(field, self.bits, signed)
    }
}

/// The primary operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Primary {
    Add,
    Subtract,
    Difference,
    Least,
    Greatest,
    Average,
    /// By at most 32, or (`true`) by the amount modulo 32.
    ShiftLeft(bool),
    ShiftRight(bool),
    Compare(Relation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What becomes of the intermediate result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secondary {
    Nothing,
    Add,
    Least,
    Greatest,
    /// Put into the third operand.
    Merge(Part),
}

/// Registers: `d`, `a`, `b`, `c` of the arguments.
#[derive(Debug, Clone)]
pub(crate) enum Video {
    Scalar(Scalar),
    Multiply(Multiply),
    Lanes(Lanes),
}

#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub primary: Primary,
    pub secondary: Secondary,
    pub saturate: bool,
    /// Destination and third operand, first operand, second one.
    pub signed: [bool; 3],
    pub parts: [Part; 2],
}

#[derive(Debug, Clone)]
pub(crate) struct Multiply {
    pub signed: [bool; 2],
    pub parts: [Part; 2],
    pub negate_product: bool,
    pub negate_third: bool,
    pub plus_one: bool,
    pub saturate: bool,
    pub shift: u32,
}

/// Two halves or four bytes.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    pub primary: Primary,
    pub count: usize,
    pub saturate: bool,
    pub accumulate: bool,
    pub signed: [bool; 3],
    /// Which elements of the result are computed.
    pub mask: [bool; 4],
    /// For each element, which one of both operands is its first one, and its second one.
    pub selected: [[u32; 4]; 2],
}

/// Runs the instruction for the active lanes.
pub(crate) fn video(warp: &mut Warp, op: &Video, args: &Args, active: u32, pc: u32) -> Result<(), Trouble> {
    for lane in lanes(active) {
        let at = |column: u16| warp.registers.columns[column as usize][lane];
        let (a, b, c) = (at(args.a), at(args.b), at(args.c));
        let result = match op {
            Video::Scalar(op) => op.result(a, b, c),
            Video::Multiply(op) => op.result(a, b, c),
            Video::Lanes(op) => Ok(op.result(a, b, c)),
        };
        let value = result.map_err(|why| {
            let reason = format!("{why}: the manual and the assembler's code give different results");
            Trouble { kind: FaultKind::Video(reason), lane: lane as u32, pc, address: None }
        })?;
        warp.registers.columns[args.d as usize][lane] = value as u64;
    }
    Ok(())
}

fn extended(value: u64, bits: u32, signed: bool) -> i128 {
    let value = value as i128 & ((1 << bits) - 1);
    if signed && value >> (bits - 1) & 1 == 1 {
        value - (1 << bits)
    } else {
        value
    }
}

/// A value cut to 32 bits that are taken for a signed number.
fn cut(value: i128) -> i128 {
    extended(value as u32 as u64, 32, true)
}

fn clamped(value: i128, bits: u32, signed: bool) -> i128 {
    if signed {
        value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        value.clamp(0, (1 << bits) - 1)
    }
}

impl Relation {
    fn holds(self, a: i128, b: i128) -> bool {
        match self {
            Relation::Equal => a == b,
            Relation::NotEqual => a != b,
            Relation::Less => a < b,
            Relation::LessEqual => a <= b,
            Relation::Greater => a > b,
            Relation::GreaterEqual => a >= b,
        }
    }
}

impl Primary {
    fn of(self, a: i128, b: i128) -> i128 {
        let amount = |wraps: bool| if wraps { b & 31 } else { b.min(32) };
        match self {
            Primary::Add => a + b,
            Primary::Subtract => a - b,
            Primary::Difference => (a - b).abs(),
            Primary::Least => a.min(b),
            Primary::Greatest => a.max(b),
            // Halves are rounded away from zero.
            Primary::Average if a + b >= 0 => (a + b + 1) >> 1,
            Primary::Average => (a + b) >> 1,
            Primary::ShiftLeft(wraps) => a << amount(wraps),
            Primary::ShiftRight(wraps) => a >> amount(wraps),
            Primary::Compare(relation) => relation.holds(a, b) as i128,
        }
    }
}

impl Scalar {
    fn result(&self, a: u64, b: u64, c: u64) -> Result<u32, &'static str> {
        let [signed, a_signed, b_signed] = self.signed;
        let exact = self.primary.of(self.parts[0].of(a, a_signed), self.parts[1].of(b, b_signed));
        let mut value = exact;
        if self.saturate {
            self.can_clamp(exact)?;
            value = clamped(exact, self.width(), signed);
        }
        let third = Part::ALL.of(c, signed);
        match self.secondary {
            Secondary::Nothing => Ok(value as u32),
            Secondary::Add => Ok((value + third) as u32),
            Secondary::Least => self.extreme(value, third, true),
            Secondary::Greatest => self.extreme(value, third, false),
            Secondary::Merge(part) => {
                let mask = ((1u64 << part.bits) - 1) << part.at;
                Ok((((value as u64) << part.at & mask) | (c & !mask)) as u32)
            }
        }
    }

    /// Bits of what is clamped.
    fn width(&self) -> u32 {
        match self.secondary {
            Secondary::Merge(part) => part.bits,
            _ => 32,
        }
    }

    /// Is clamping this value as in the assembler's code?
    fn can_clamp(&self, exact: i128) -> Result<(), &'static str> {
        let (signed, width) = (self.signed[0], self.width());
        if width < 32 && exact < 0 {
            return Err("a negative result is clamped to a part of a register");
        }
        if width == 32 && !signed && exact > u32::MAX as i128 {
            return Err("a result beyond 32 bits is clamped to an unsigned one");
        }
        let is_shift = matches!(self.primary, Primary::ShiftLeft(_) | Primary::ShiftRight(_));
        let least = if width == 32 && signed { i32::MIN as i128 } else { 0 };
        if is_shift && !(least..1 << (width - 1)).contains(&exact) {
            return Err("a shifted value that does not fit is clamped");
        }
        Ok(())
    }

    /// The less or greater one. The assembler's code compares numbers of 64 bits, of which the intermediate result has
    /// all or the low 32, and as signed as the destination is.
    fn extreme(&self, value: i128, third: i128, least: bool) -> Result<u32, &'static str> {
        let pick = |a: i128, b: i128, a_first: bool| if a_first == least { a } else { b };
        let result = pick(value, third, value <= third) as u32;
        let signed = self.signed[0];
        let is_compare = matches!(self.primary, Primary::Compare(_));
        if is_compare && self.signed[1] && cut(third) < 0 {
            return Err("the third operand of .min or .max has its top bit set");
        }
        let is_extreme = matches!(self.primary, Primary::Least | Primary::Greatest);
        let is_shift = matches!(self.primary, Primary::ShiftLeft(_) | Primary::ShiftRight(_));
        let all = is_extreme || is_compare || is_shift;
        let low = !(is_extreme || is_compare) || (is_extreme && self.saturate);
        for seen in [all.then_some(value), low.then(|| cut(value))].into_iter().flatten() {
            let is_first = if signed { seen as i64 <= third as i64 } else { seen as u64 <= third as u64 };
            if pick(seen, third, is_first) as u32 != result {
                return Err("the result meets .min or .max with more than 32 bits, or with another sign");
            }
        }
        Ok(result)
    }
}

impl Multiply {
    fn result(&self, a: u64, b: u64, c: u64) -> Result<u32, &'static str> {
        let (a, b) = (self.parts[0].of(a, self.signed[0]), self.parts[1].of(b, self.signed[1]));
        let signed = self.signed[0] || self.signed[1] || self.negate_product || self.negate_third;
        let third = Part::ALL.of(c, signed);
        let result = self.sum(a, b, third, signed);
        // The assembler's code multiplies and adds what it takes for signed numbers of 32 bits.
        if result != self.sum(cut(a), cut(b), cut(third), signed) {
            return Err("an unsigned operand of 32 bits has its top bit set");
        }
        Ok(result)
    }

    fn sum(&self, a: i128, b: i128, third: i128, signed: bool) -> u32 {
        let product = if self.negate_product { -(a * b) } else { a * b };
        let third = if self.negate_third { -third } else { third };
        let sum = (product + third + self.plus_one as i128) >> self.shift;
        (if self.saturate { clamped(sum, 32, signed) } else { sum }) as u32
    }
}

impl Lanes {
    fn result(&self, a: u64, b: u64, c: u64) -> u32 {
        let bits = 32 / self.count as u32;
        let both = a as u32 as u64 | (b as u32 as u64) << 32;
        let element = |index: u32, signed: bool| extended(both >> (bits * index), bits, signed);
        let third = c as u32;
        let mut sum = third as i128;
        let mut merged = 0;
        for i in 0..self.count {
            let [first, second] = [self.selected[0][i], self.selected[1][i]];
            let mut value = self.primary.of(element(first, self.signed[1]), element(second, self.signed[2]));
            if self.saturate {
                value = clamped(value, bits, self.signed[0]);
            }
            let (at, ones) = (bits * i as u32, (1 << bits) - 1);
            if self.mask[i] {
                sum += value;
                merged |= (value as u32 & ones) << at;
            } else {
                merged |= third & ones << at;
            }
        }
        if self.accumulate {
            sum as u32
        } else {
            merged
        }
    }
}
