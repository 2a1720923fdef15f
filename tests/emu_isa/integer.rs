//! Integer arithmetic against `i128`.

use crate::{check, run, Draw};

const M16: u64 = 0xffff;
const M32: u64 = 0xffff_ffff;

fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// Value of the low `bits`, signed or not.
fn value(v: u64, bits: u32, signed: bool) -> i128 {
    let v = v & mask(bits);
    if signed && v >> (bits - 1) & 1 == 1 {
        v as i128 - (1i128 << bits)
    } else {
        v as i128
    }
}

/// Type name, bits, signed, suffix of registers.
const TYPES: [(&str, u32, bool); 6] = [
    ("u16", 16, false),
    ("s16", 16, true),
    ("u32", 32, false),
    ("s32", 32, true),
    ("u64", 64, false),
    ("s64", 64, true),
];

fn suffix(bits: u32) -> &'static str {
    match bits {
        16 => "16",
        32 => "32",
        _ => "",
    }
}

#[test]
fn two_operands() {
    for (ty, bits, signed) in TYPES {
        let s = suffix(bits);
        let case = |op: &str, f: &dyn Fn(i128, i128) -> i128| {
            check(&format!("{op}.{ty} d{s}, a{s}, b{s};"), &format!("d{s}"), |a, b, _| {
                f(value(a, bits, signed), value(b, bits, signed)) as u64 & mask(bits)
            });
        };
        case("add", &|a, b| a + b);
        case("sub", &|a, b| a - b);
        case("mul.lo", &|a, b| (a as u128).wrapping_mul(b as u128) as i128);
        case("mul.hi", &|a, b| {
            if bits == 64 && !signed {
                ((a as u128 * b as u128) >> 64) as i128
            } else {
                (a * b) >> bits
            }
        });
        case("min", &|a, b| a.min(b));
        case("max", &|a, b| a.max(b));
        case("div", &|a, b| if b == 0 { -1 } else { a / b });
        case("rem", &|a, b| if b == 0 { -1 } else { a % b });
    }
}

#[test]
fn multiply_and_add() {
    for (ty, bits, signed) in TYPES {
        let s = suffix(bits);
        check(&format!("mad.lo.{ty} d{s}, a{s}, b{s}, c{s};"), &format!("d{s}"), |a, b, c| {
            a.wrapping_mul(b).wrapping_add(c) & mask(bits)
        });
        check(&format!("mad.hi.{ty} d{s}, a{s}, b{s}, c{s};"), &format!("d{s}"), |a, b, c| {
            let (x, y) = (value(a, bits, signed), value(b, bits, signed));
            let high = if bits == 64 && !signed { ((x as u128 * y as u128) >> 64) as i128 } else { (x * y) >> bits };
            (high as u64).wrapping_add(c) & mask(bits)
        });
        check(&format!("sad.{ty} d{s}, a{s}, b{s}, c{s};"), &format!("d{s}"), |a, b, c| {
            let (x, y) = (value(a, bits, signed), value(b, bits, signed));
            ((x - y).unsigned_abs() as u64).wrapping_add(c) & mask(bits)
        });
    }
    for (ty, bits, signed) in TYPES.into_iter().filter(|t| t.1 < 64) {
        let (s, w) = (suffix(bits), suffix(2 * bits));
        let product = |a, b| (value(a, bits, signed) * value(b, bits, signed)) as u64;
        check(&format!("mul.wide.{ty} d{w}, a{s}, b{s};"), &format!("d{w}"), |a, b, _| product(a, b) & mask(2 * bits));
        check(&format!("mad.wide.{ty} d{w}, a{s}, b{s}, c{w};"), &format!("d{w}"), |a, b, c| {
            product(a, b).wrapping_add(c) & mask(2 * bits)
        });
    }
    check("mad.hi.sat.s32 d32, a32, b32, c32;", "d32", |a, b, c| {
        let high = (value(a, 32, true) * value(b, 32, true)) >> 32;
        (high + value(c, 32, true)).clamp(i32::MIN as i128, i32::MAX as i128) as u64 & M32
    });
    check("add.sat.s32 d32, a32, b32;", "d32", |a, b, _| {
        (value(a, 32, true) + value(b, 32, true)).clamp(i32::MIN as i128, i32::MAX as i128) as u64 & M32
    });
    check("sub.sat.s32 d32, a32, b32;", "d32", |a, b, _| {
        (value(a, 32, true) - value(b, 32, true)).clamp(i32::MIN as i128, i32::MAX as i128) as u64 & M32
    });
    check("mul24.lo.s32 d32, a32, b32;", "d32", |a, b, _| (value(a, 24, true) * value(b, 24, true)) as u64 & M32);
    check("mul24.hi.u32 d32, a32, b32;", "d32", |a, b, _| {
        ((value(a, 24, false) * value(b, 24, false)) >> 16) as u64 & M32
    });
    check("mad24.lo.u32 d32, a32, b32, c32;", "d32", |a, b, c| {
        ((value(a, 24, false) * value(b, 24, false)) as u64).wrapping_add(c) & M32
    });
}

#[test]
fn one_operand() {
    check("abs.s32 d32, a32;", "d32", |a, _, _| (a as i32).wrapping_abs() as u32 as u64);
    check("abs.s64 d, a;", "d", |a, _, _| (a as i64).wrapping_abs() as u64);
    check("neg.s16 d16, a16;", "d16", |a, _, _| (a as u16).wrapping_neg() as u64);
    check("neg.s32 d32, a32;", "d32", |a, _, _| (a as u32).wrapping_neg() as u64);
    check("neg.s64 d, a;", "d", |a, _, _| a.wrapping_neg());
    check("popc.b32 d32, a32;", "d32", |a, _, _| (a as u32).count_ones() as u64);
    check("popc.b64 d32, a;", "d32", |a, _, _| a.count_ones() as u64);
    check("clz.b32 d32, a32;", "d32", |a, _, _| (a as u32).leading_zeros() as u64);
    check("clz.b64 d32, a;", "d32", |a, _, _| a.leading_zeros() as u64);
    check("brev.b32 d32, a32;", "d32", |a, _, _| (a as u32).reverse_bits() as u64);
    check("brev.b64 d, a;", "d", |a, _, _| a.reverse_bits());
    let highest = |v: u64| if v == 0 { M32 } else { 63 - v.leading_zeros() as u64 };
    check("bfind.u32 d32, a32;", "d32", |a, _, _| highest(a & M32));
    check("bfind.u64 d32, a;", "d32", |a, _, _| highest(a));
    check("bfind.s32 d32, a32;", "d32", |a, _, _| {
        let a = a as i32;
        highest(if a < 0 { !a } else { a } as u32 as u64)
    });
    check(
        "bfind.shiftamt.u32 d32, a32;",
        "d32",
        |a, _, _| if a & M32 == 0 { M32 } else { (a as u32).leading_zeros() as u64 },
    );
}

/// The manual's loop, bit by bit.
fn manual_bfe(a: u64, b: u64, c: u64, bits: u64, signed: bool) -> u64 {
    let (pos, len) = (b & 0xff, c & 0xff);
    let bit = |i: u64| if i < 64 { a >> i & 1 } else { 0 };
    let sbit = if !signed || len == 0 { 0 } else { bit((pos + len - 1).min(bits - 1)) };
    let mut d = 0;
    for i in 0..bits {
        let v = if i < len && pos + i < bits { bit(pos + i) } else { sbit };
        d |= v << i;
    }
    d
}

#[test]
fn bit_fields() {
    check("and.b32 b32, b32, 63; and.b32 c32, c32, 63; bfe.u32 d32, a32, b32, c32;", "d32", |a, b, c| {
        manual_bfe(a & M32, b & 63, c & 63, 32, false)
    });
    check("and.b32 b32, b32, 63; and.b32 c32, c32, 63; bfe.s32 d32, a32, b32, c32;", "d32", |a, b, c| {
        manual_bfe(a & M32, b & 63, c & 63, 32, true)
    });
    check("and.b32 b32, b32, 127; and.b32 c32, c32, 127; bfe.u64 d, a, b32, c32;", "d", |a, b, c| {
        manual_bfe(a, b & 127, c & 127, 64, false)
    });
    check("and.b32 b32, b32, 127; and.b32 c32, c32, 127; bfe.s64 d, a, b32, c32;", "d", |a, b, c| {
        manual_bfe(a, b & 127, c & 127, 64, true)
    });
    check("bfi.b32 d32, a32, b32, c32, 7;", "d32", |a, b, c| {
        let pos = c & 0xff;
        let mut f = b & M32;
        for i in 0..7 {
            if pos + i < 32 {
                f = (f & !(1 << (pos + i))) | (a >> i & 1) << (pos + i);
            }
        }
        f
    });
    check("bfi.b64 d, a, b, 5, 64;", "d", |a, b, _| (a << 5) | (b & 31));
    check("bmsk.clamp.b32 d32, 3, b32;", "d32", |_, b, _| {
        let n = (b & M32).min(32);
        (0..n).filter(|i| i + 3 < 32).map(|i| 1u64 << (i + 3)).sum()
    });
    check("fns.b32 d32, a32, 0, 2;", "d32", |a, _, _| (0..32).filter(|i| a >> i & 1 == 1).nth(1).unwrap_or(M32));
}

#[test]
fn carries_chain() {
    check("add.cc.u32 d32, a32, b32; addc.u32 d32, c32, 0;", "d32", |a, b, c| {
        ((c & M32) + (((a & M32) + (b & M32)) >> 32)) & M32
    });
    check("sub.cc.u32 d32, a32, b32; subc.u32 d32, c32, 0;", "d32", |a, b, c| {
        c.wrapping_sub(((a & M32) < (b & M32)) as u64) & M32
    });
    // The condition code of a subtraction is the carry of adding the complement: set when nothing is borrowed.
    check("sub.cc.u32 e32, a32, b32; addc.u32 d32, c32, 0;", "d32", |a, b, c| {
        c.wrapping_add(((a & M32) >= (b & M32)) as u64) & M32
    });
    check("add.cc.u32 e32, a32, b32; subc.u32 d32, c32, 5;", "d32", |a, b, c| {
        c.wrapping_sub(6).wrapping_add(((a & M32) + (b & M32)) >> 32) & M32
    });
    check("sub.cc.u64 e, a, b; madc.lo.u64 d, a, b, c;", "d", |a, b, c| {
        a.wrapping_mul(b).wrapping_add(c).wrapping_add((a >= b) as u64)
    });
    check("sub.cc.u64 e, a, b; subc.cc.u64 e, b, a; subc.u64 d, c, 0;", "d", |a, b, c| {
        let borrow = (a < b) as u128;
        c.wrapping_sub(((b as u128) < a as u128 + borrow) as u64)
    });
    check("add.cc.u64 d, a, b; addc.u64 d, c, c;", "d", |a, b, c| {
        c.wrapping_add(c).wrapping_add(a.checked_add(b).is_none() as u64)
    });
    check("mad.lo.cc.u32 d32, a32, b32, c32; madc.hi.u32 d32, a32, b32, 0;", "d32", |a, b, c| {
        (((a & M32) * (b & M32)) as u128 + (c & M32) as u128) as u64 >> 32 & M32
    });
}

#[test]
fn dot_products() {
    check("dp4a.u32.s32 d32, a32, b32, c32;", "d32", |a, b, c| {
        let sum: i64 = (0..4).map(|i| (a >> (8 * i)) as u8 as i64 * ((b >> (8 * i)) as u8 as i8) as i64).sum();
        (c as i64).wrapping_add(sum) as u64 & M32
    });
    check("dp2a.hi.s32.u32 d32, a32, b32, c32;", "d32", |a, b, c| {
        let sum: i64 = (0..2).map(|i| ((a >> (16 * i)) as u16 as i16) as i64 * (b >> (16 + 8 * i)) as u8 as i64).sum();
        (c as i64).wrapping_add(sum) as u64 & M32
    });
}

/// Narrow registers keep their width: garbage above it never shows.
#[test]
fn narrow_results_are_clean() {
    let mut draw = Draw(5);
    let got = run(
        "add.u16 d16, a16, b16; cvt.u32.u16 d32, d16; add.u32 d32, d32, 0;",
        "d32",
        [draw.lanes(), draw.lanes(), draw.lanes()],
    );
    assert!(got.iter().all(|v| *v <= M16));
}
