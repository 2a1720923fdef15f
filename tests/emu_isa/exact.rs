//! Rounding against integers: every operation of narrow floats as an exact integer times a power of two, rounded here
//! by hand.

use crate::{check, Draw};

/// A binary format: bits of the mantissa with the hidden one, least and greatest exponent of a normal number.
#[derive(Clone, Copy)]
struct Format {
    precision: i32,
    least: i32,
    greatest: i32,
}

const F32: Format = Format { precision: 24, least: -126, greatest: 127 };
const F16: Format = Format { precision: 11, least: -14, greatest: 15 };
const BF16: Format = Format { precision: 8, least: -126, greatest: 127 };
const TF32: Format = Format { precision: 11, least: -126, greatest: 127 };
const E5M2: Format = Format { precision: 3, least: -14, greatest: 15 };
/// E4M3 with room above its greatest number, 0x7e: its top exponent holds numbers, and nothing rounds to an infinity.
const E4M3_WIDER: Format = Format { precision: 4, least: -6, greatest: 15 };

/// Sign, mantissa and exponent of a finite number.
type Exact = (bool, u128, i32);

impl Format {
    fn fraction_bits(self) -> i32 {
        self.precision - 1
    }

    fn width(self) -> i32 {
        self.fraction_bits() + 1 + (32 - (self.greatest as u32).leading_zeros() as i32) + 1
    }

    fn sign(self) -> u64 {
        1 << (self.width() - 1)
    }

    fn infinity(self) -> u64 {
        ((self.greatest - self.least + 2) as u64) << self.fraction_bits()
    }

    /// The number in `bits`; nothing for infinities and NaNs.
    fn exact(self, bits: u64) -> Option<Exact> {
        let magnitude = bits & (self.sign() - 1);
        if magnitude >= self.infinity() {
            return None;
        }
        let field = (magnitude >> self.fraction_bits()) as i32;
        let fraction = (magnitude & ((1 << self.fraction_bits()) - 1)) as u128;
        let hidden = if field == 0 { 0 } else { 1u128 << self.fraction_bits() };
        Some((bits & self.sign() != 0, fraction | hidden, field.max(1) - 1 + self.least - self.fraction_bits()))
    }

    /// Rounds in direction `mode` (`rn`, `rz`, `rm`, `rp`); with `ftz` subnormal results become zeros.
    fn round(self, (negative, mantissa, exponent): Exact, mode: &str, ftz: bool) -> u64 {
        let sign = if negative { self.sign() } else { 0 };
        if mantissa == 0 {
            return sign;
        }
        let top = 127 - mantissa.leading_zeros() as i32 + exponent;
        let mut unit = top - self.fraction_bits();
        if !ftz {
            unit = unit.max(self.least - self.fraction_bits());
        }
        let shift = unit - exponent;
        let (mut units, rest, half) = match shift {
            ..=0 => (mantissa << -shift, 0, 1),
            1..=127 => (mantissa >> shift, mantissa & ((1 << shift) - 1), 1u128 << (shift - 1)),
            _ => (0, 1, 2),
        };
        let up = match mode {
            "rn" => rest > half || (rest == half && units & 1 == 1),
            "rz" => false,
            "rm" => negative && rest != 0,
            _ => !negative && rest != 0,
        };
        units += up as u128;
        if units == 1 << self.precision {
            units >>= 1;
            unit += 1;
        }
        let hidden = 1u128 << self.fraction_bits();
        if units < hidden || unit + self.fraction_bits() < self.least {
            return if ftz { sign } else { sign | units as u64 };
        }
        let field = (unit + self.fraction_bits() - self.least + 1) as u64;
        let bits = (field << self.fraction_bits()) | (units - hidden) as u64;
        if bits < self.infinity() {
            return sign | bits;
        }
        let stays = mode == "rz" || (mode == "rm" && !negative) || (mode == "rp" && negative);
        sign | if stays { self.infinity() - 1 } else { self.infinity() }
    }

    fn flush(self, bits: u64) -> u64 {
        match bits & (self.sign() - 1) < 1 << self.fraction_bits() {
            true => bits & self.sign(),
            false => bits,
        }
    }
}

fn product((sa, a, ea): Exact, (sb, b, eb): Exact) -> Exact {
    (sa != sb, a * b, ea + eb)
}

/// The sum; an exact zero of unlike signs is negative only when rounding down.
fn sum(a: Exact, b: Exact, mode: &str) -> Option<Exact> {
    if a.1 == 0 && b.1 == 0 {
        return Some((if a.0 == b.0 { a.0 } else { mode == "rm" }, 0, 0));
    }
    let low = match (a.1, b.1) {
        (0, _) => b.2,
        (_, 0) => a.2,
        _ => a.2.min(b.2),
    };
    let wide = |(negative, mantissa, exponent): Exact| -> Option<i128> {
        if mantissa == 0 {
            return Some(0);
        }
        let shift = (exponent - low) as u32;
        if shift > mantissa.leading_zeros().saturating_sub(2) {
            return None;
        }
        let value = (mantissa << shift) as i128;
        Some(if negative { -value } else { value })
    };
    let total = wide(a)? + wide(b)?;
    let negative = if total == 0 { mode == "rm" } else { total < 0 };
    Some((negative, total.unsigned_abs(), low))
}

/// Draws lanes whose exponents lie in a window, so that exact results fit, with cancellations among them.
fn lanes(draw: &mut Draw, format: Format, from: u64, span: u64) -> [u64; 32] {
    std::array::from_fn(|_| {
        let bits = draw.number() ^ draw.number().rotate_left(17);
        let field = from + (bits >> 40) % span;
        let fraction = match bits % 5 {
            0 => 0,
            1 => u64::MAX,
            _ => bits >> 8,
        } & ((1 << format.fraction_bits()) - 1);
        (bits >> 63) << (format.width() - 1) | field << format.fraction_bits() | fraction
    })
}

struct Case<'c> {
    format: Format,
    ty: &'c str,
    /// Registers of the operands.
    suffix: &'c str,
    modes: &'c [&'c str],
    flags: &'c [&'c str],
}

fn run_case(case: &Case, op: &str, operands: usize, compute: impl Fn(&[Exact], &str) -> Option<Exact>) {
    let (format, s) = (case.format, case.suffix);
    let top = (format.greatest - format.least + 1) as u64;
    let middle = top / 2;
    // Windows of exponents: ordinary numbers, results around the least and around the greatest normal number.
    let windows = [(middle - middle.min(6), 12.min(top)), (0, 4), (1.max(middle / 2), 5), (top - 3, 4)];
    for mode in case.modes {
        for flags in case.flags {
            let names = ["a", "b", "c"].map(|name| format!("{name}{s}"));
            let body = format!("{op}.{mode}{flags}.{} d{s}, {};", case.ty, names[..operands].join(", "));
            let mut draw = Draw(0xf10a7 ^ body.len() as u64);
            for (from, span) in windows {
                let inputs: [[u64; 32]; 3] = std::array::from_fn(|_| lanes(&mut draw, format, from, span));
                let got = crate::run(&body, &format!("d{s}"), inputs);
                for lane in 0..32 {
                    let ftz = flags.contains("ftz");
                    let bits: Vec<u64> = inputs[..operands]
                        .iter()
                        .map(|column| if ftz { format.flush(column[lane]) } else { column[lane] })
                        .collect();
                    let exact: Option<Vec<Exact>> = bits.iter().map(|bits| format.exact(*bits)).collect();
                    let Some(result) = exact.and_then(|exact| compute(&exact, mode)) else { continue };
                    let mut want = format.round(result, mode, ftz);
                    let is_negative = want & format.sign() != 0;
                    if flags.contains("sat") {
                        let one = (-format.least + 1) as u64;
                        want = if is_negative { 0 } else { want.min(one << format.fraction_bits()) };
                    }
                    if flags.contains("relu") && is_negative {
                        want = 0;
                    }
                    assert_eq!(got[lane], want, "{body} lane {lane} {bits:x?}: got {:#x}, want {want:#x}", got[lane]);
                }
            }
        }
    }
}

fn arithmetic(case: &Case) {
    run_case(case, "add", 2, |v, mode| sum(v[0], v[1], mode));
    run_case(case, "sub", 2, |v, mode| sum(v[0], (!v[1].0, v[1].1, v[1].2), mode));
    run_case(case, "mul", 2, |v, _| Some(product(v[0], v[1])));
}

fn fused(case: &Case) {
    run_case(case, "fma", 3, |v, mode| sum(product(v[0], v[1]), v[2], mode));
}

const ALL: &[&str] = &["rn", "rz", "rm", "rp"];

#[test]
fn single_precision_rounds_in_every_direction() {
    let flags = &["", ".ftz", ".sat", ".ftz.sat"];
    let case = Case { format: F32, ty: "f32", suffix: "32", modes: ALL, flags };
    arithmetic(&case);
    fused(&case);
}

#[test]
fn half_precision_rounds_once() {
    arithmetic(&Case {
        format: F16,
        ty: "f16",
        suffix: "16",
        modes: &["rn"],
        flags: &["", ".ftz", ".sat", ".ftz.sat"],
    });
    fused(&Case {
        format: F16,
        ty: "f16",
        suffix: "16",
        modes: &["rn"],
        flags: &["", ".ftz", ".sat", ".relu", ".ftz.relu"],
    });
    arithmetic(&Case { format: BF16, ty: "bf16", suffix: "16", modes: &["rn"], flags: &[""] });
    fused(&Case { format: BF16, ty: "bf16", suffix: "16", modes: &["rn"], flags: &["", ".relu"] });
}

/// A quotient is right when the quotient times the divisor leaves a rest on the right side: here as a long division.
#[test]
fn division_roots_and_reciprocals() {
    let case = Case { format: F32, ty: "f32", suffix: "32", modes: ALL, flags: &["", ".ftz"] };
    let divide = |(sa, a, ea): Exact, (sb, b, eb): Exact| {
        if a == 0 || b == 0 {
            return None;
        }
        let (quotient, rest) = ((a << 80) / b, (a << 80) % b);
        // A rest is a bit below all others.
        Some((sa != sb, quotient << 1 | (rest != 0) as u128, ea - eb - 81))
    };
    run_case(&case, "div", 2, |v, _| divide(v[0], v[1]));
    run_case(&case, "rcp", 1, |v, _| divide((false, 1, 0), v[0]));
    run_case(&case, "sqrt", 1, |v, _| {
        let (negative, mantissa, exponent) = v[0];
        if negative || mantissa == 0 {
            return None;
        }
        let (mantissa, exponent) =
            if exponent & 1 == 0 { (mantissa << 80, exponent - 80) } else { (mantissa << 81, exponent - 81) };
        let root = mantissa.isqrt();
        Some((false, root << 1 | (root * root != mantissa) as u128, exponent / 2 - 1))
    });
}

#[test]
fn conversions_to_narrow_floats() {
    let targets = [("f16", F16, ALL), ("bf16", BF16, &["rn", "rz"]), ("tf32", TF32, &["rn", "rz"])];
    for (ty, format, modes) in targets {
        for mode in modes {
            let (result, shift) = if ty == "tf32" { ("d32", 13) } else { ("d16", 0) };
            check(&format!("cvt.{mode}.{ty}.f32 {result}, a32;"), result, |a, _, _| match F32.exact(a & 0xffff_ffff) {
                Some(exact) => format.round(exact, mode, false) << shift,
                None if a & 0x7f_ffff == 0 => (((a >> 31 & 1) * format.sign()) | format.infinity()) << shift,
                None if ty == "tf32" => 0x7fff_ffff,
                None => 0x7fff,
            });
        }
    }
    // Two to a register, the first above the second, with the greatest number in place of more.
    check("cvt.rn.satfinite.e5m2x2.f32 d16, a32, b32;", "d16", |a, b, _| {
        let one = |v: u64| match F32.exact(v & 0xffff_ffff) {
            Some(exact) => {
                let bits = E5M2.round(exact, "rn", false);
                bits & 0x80 | (bits & 0x7f).min(0x7b)
            }
            None if v & 0x7f_ffff == 0 => (v >> 31 & 1) << 7 | 0x7b,
            None => 0x7f,
        };
        one(a) << 8 | one(b)
    });
    check("cvt.rn.satfinite.e4m3x2.f32 d16, a32, b32;", "d16", |a, b, _| {
        let one = |v: u64| match F32.exact(v & 0xffff_ffff) {
            Some(exact) => {
                let bits = E4M3_WIDER.round(exact, "rn", false);
                (bits & 0x100) >> 1 | (bits & 0xff).min(0x7e)
            }
            None if v & 0x7f_ffff == 0 => (v >> 31 & 1) << 7 | 0x7e,
            None => 0x7f,
        };
        one(a) << 8 | one(b)
    });
    check("cvt.rna.tf32.f32 d32, a32;", "d32", |a, _, _| match a & 0x7fff_ffff > 0x7f80_0000 {
        true => a & 0xffff_e000,
        false => ((a & 0xffff_ffff) + 0x1000) & 0xffff_e000,
    });
}

#[test]
fn packs_of_integers() {
    let clamp = |v: u64, least: i64, greatest: i64| (v as i32 as i64).clamp(least, greatest) as u64;
    check("cvt.pack.sat.u16.s32 d32, a32, b32;", "d32", |a, b, _| clamp(a, 0, 65535) << 16 | clamp(b, 0, 65535));
    check("cvt.pack.sat.s16.s32 d32, a32, b32;", "d32", |a, b, _| {
        (clamp(a, -32768, 32767) & 0xffff) << 16 | clamp(b, -32768, 32767) & 0xffff
    });
    check("cvt.pack.sat.u8.s32.b32 d32, a32, b32, c32;", "d32", |a, b, c| {
        (c << 16 | clamp(a, 0, 255) << 8 | clamp(b, 0, 255)) & 0xffff_ffff
    });
}

#[test]
fn packed_integers_and_reductions_to_zero() {
    let halves = |f: &dyn Fn(i64, i64) -> i64, a: u64, b: u64, signed: bool| {
        let value = |v: u64| if signed { v as i16 as i64 } else { v as u16 as i64 };
        (f(value(a), value(b)) as u64 & 0xffff) | (f(value(a >> 16), value(b >> 16)) as u64 & 0xffff) << 16
    };
    check("add.u16x2 d32, a32, b32;", "d32", |a, b, _| halves(&|a, b| a + b, a, b, false));
    check("min.u16x2 d32, a32, b32;", "d32", |a, b, _| halves(&|a, b| a.min(b), a, b, false));
    check("max.s16x2 d32, a32, b32;", "d32", |a, b, _| halves(&|a, b| a.max(b), a, b, true));
    check("max.relu.s16x2 d32, a32, b32;", "d32", |a, b, _| halves(&|a, b| a.max(b).max(0), a, b, true));
    check("min.relu.s32 d32, a32, b32;", "d32", |a, b, _| (a as i32).min(b as i32).max(0) as u64);
    check("lop3.or.b32 d32|p, a32, b32, c32, 0x80, pa; selp.b32 d32, d32, 1, p;", "d32", |a, b, c| {
        let d = a & b & c & 0xffff_ffff;
        if d != 0 || a & 1 == 1 {
            d
        } else {
            1
        }
    });
    check("min.xorsign.abs.f32 d32, a32, b32;", "d32", |a, b, _| {
        let (x, y) = (f32::from_bits(a as u32).abs(), f32::from_bits(b as u32).abs());
        let sign = (a ^ b) & 0x8000_0000;
        match (x.is_nan(), y.is_nan()) {
            (true, true) => 0x7fff_ffff,
            (true, false) => y.to_bits() as u64 | sign,
            _ if y.is_nan() || x < y => x.to_bits() as u64 | sign,
            _ => y.to_bits() as u64 | sign,
        }
    });
    check("testp.normal.f32 p, a32;", "p", |a, _, _| {
        let v = f32::from_bits(a as u32);
        (v.is_normal() || v == 0.0) as u64
    });
    // Of bf16 the larger magnitude, NaN left out, with the product's sign; where both are NaN, 0x7fff.
    let largest = |x: u64, y: u64| {
        let sign = (x ^ y) & 0x8000;
        match (x & 0x7fff, y & 0x7fff) {
            (x, y) if x > 0x7f80 && y > 0x7f80 => 0x7fff,
            (x, y) if x > 0x7f80 => y | sign,
            (x, y) if y > 0x7f80 => x | sign,
            (x, y) => x.max(y) | sign,
        }
    };
    check("max.xorsign.abs.bf16x2 d32, a32, b32;", "d32", |a, b, _| {
        largest(a >> 16 & 0xffff, b >> 16 & 0xffff) << 16 | largest(a & 0xffff, b & 0xffff)
    });
    check("set.gt.and.bf16x2.bf16x2 d32, a32, b32, pa;", "d32", |a, b, _| {
        let half = |a: u64, b: u64| {
            let value = |v: u64| f32::from_bits((v as u32 & 0xffff) << 16);
            if value(a) > value(b) {
                0x3f80
            } else {
                0
            }
        };
        if a & 1 == 1 {
            half(a, b) | half(a >> 16, b >> 16) << 16
        } else {
            0
        }
    });
    check("setp.lt.f16x2 p|q, a32, b32; xor.pred p, p, q;", "p", |a, b, _| {
        let less = |a: u64, b: u64| {
            let value = |v: u64| {
                let (negative, mantissa, exponent) =
                    F16.exact(v & 0xffff).unwrap_or((v & 0x8000 != 0, 1, if v & 0x3ff == 0 { 100 } else { 0 }));
                let value = mantissa as f64 * 2f64.powi(exponent);
                if v & 0x7fff > 0x7c00 {
                    f64::NAN
                } else if negative {
                    -value
                } else {
                    value
                }
            };
            value(a) < value(b)
        };
        (less(a, b) != less(a >> 16, b >> 16)) as u64
    });
}
