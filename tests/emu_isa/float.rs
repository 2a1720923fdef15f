//! Floating point against the standard library, and the NaN and rounding rules of PTX.

use crate::{check, run};

const NAN: u64 = 0x7fff_ffff;

fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

fn bits(v: f32) -> u64 {
    if v.is_nan() {
        NAN
    } else {
        v.to_bits() as u64
    }
}

/// NaN operands stay, made quiet, the first before others; an invalid operation gives the default NaN.
fn bits64(v: f64, operands: &[u64]) -> u64 {
    match operands.iter().find(|o| f64::from_bits(**o).is_nan()) {
        _ if !v.is_nan() => v.to_bits(),
        Some(operand) => operand | 1 << 51,
        None => 0xfff8 << 48,
    }
}

#[test]
fn single_precision() {
    check("add.f32 d32, a32, b32;", "d32", |a, b, _| bits(f(a) + f(b)));
    check("sub.rn.f32 d32, a32, b32;", "d32", |a, b, _| bits(f(a) - f(b)));
    check("mul.f32 d32, a32, b32;", "d32", |a, b, _| bits(f(a) * f(b)));
    check("fma.rn.f32 d32, a32, b32, c32;", "d32", |a, b, c| bits(f(a).mul_add(f(b), f(c))));
    check("div.rn.f32 d32, a32, b32;", "d32", |a, b, _| bits(f(a) / f(b)));
    check("rcp.rn.f32 d32, a32;", "d32", |a, _, _| bits(1.0 / f(a)));
    check("sqrt.rn.f32 d32, a32;", "d32", |a, _, _| bits(f(a).sqrt()));
    check("abs.f32 d32, a32;", "d32", |a, _, _| bits(f(a & 0x7fff_ffff)));
    check("neg.f32 d32, a32;", "d32", |a, _, _| bits(f(a ^ 0x8000_0000)));
    check("copysign.f32 d32, a32, b32;", "d32", |a, b, _| (a & 0x8000_0000) | (b & 0x7fff_ffff));
    check("add.sat.f32 d32, a32, b32;", "d32", |a, b, _| {
        let s = f(a) + f(b);
        if s > 0.0 {
            s.min(1.0).to_bits() as u64
        } else {
            0
        }
    });
}

/// PTX ISA, "div": for 2^126 < |b| < 2^128 the approximate form gives 0, or NaN for an infinite dividend; the full form does
/// not.
#[test]
fn quotients_by_the_largest_numbers() {
    let edge = f32::from_bits(0x7e80_0000);
    assert_eq!(edge, 2f32.powi(126));
    let approximate = |a: f32, b: f32| if b.is_finite() && b.abs() > edge { a * 0f32.copysign(b) } else { a / b };
    let with = |b: u32| {
        check(&format!("mov.b32 b32, {b}; div.approx.f32 d32, a32, b32;"), "d32", move |a, _, _| {
            bits(approximate(f(a), f32::from_bits(b)))
        });
        check(&format!("mov.b32 b32, {b}; div.full.f32 d32, a32, b32;"), "d32", move |a, _, _| {
            bits(f(a) / f32::from_bits(b))
        });
    };
    for divisor in [0x7e7f_ffff, 0x7e80_0000, 0x7e80_0001, 0xfe80_0001, 0x7f7f_ffff, 0x7f80_0000] {
        with(divisor);
    }
    let ftz = "mov.b32 a32, 0x7f7fffff; mov.b32 b32, 0x7f000000; div.approx.ftz.f32 d32, a32, b32;";
    check(ftz, "d32", |_, _, _| 0);
}

#[test]
fn double_precision() {
    let d = f64::from_bits;
    check("add.f64 d, a, b;", "d", |a, b, _| bits64(d(a) + d(b), &[a, b]));
    check("mul.rn.f64 d, a, b;", "d", |a, b, _| bits64(d(a) * d(b), &[a, b]));
    check("fma.rn.f64 d, a, b, c;", "d", |a, b, c| bits64(d(a).mul_add(d(b), d(c)), &[a, b, c]));
    check("div.rn.f64 d, a, b;", "d", |a, b, _| bits64(d(a) / d(b), &[a, b]));
    check("sqrt.rn.f64 d, a;", "d", |a, _, _| bits64(d(a).sqrt(), &[a]));
}

/// A directed result is the nearest one or its neighbour, on the right side.
#[test]
fn directed_roundings_enclose() {
    let lanes = |k: u32| -> [u64; 32] {
        std::array::from_fn(|i| {
            (1.0f32 + (i as f32 * 0.37 + k as f32 * 0.11)).to_bits() as u64 | ((i as u64 & 1) << 31)
        })
    };
    let inputs = [lanes(1), lanes(2), lanes(3)];
    for (op, exact) in [
        ("add", (|a, b, _| a + b) as fn(f64, f64, f64) -> f64),
        ("mul", |a, b, _| a * b),
        ("div", |a, b, _| a / b),
        ("fma", |a, b, c| a * b + c),
    ] {
        let tail = if op == "fma" { ", c32" } else { "" };
        let [down, up, zero, near] = ["rm", "rp", "rz", "rn"]
            .map(|r| run(&format!("{op}.{r}.f32 d32, a32, b32{tail};"), "d32", inputs).map(|v| f(v) as f64));
        for i in 0..32 {
            let [a, b, c] = inputs.map(|x| f(x[i]) as f64);
            let want = exact(a, b, c);
            assert!(down[i] <= want && want <= up[i], "{op} lane {i}: {} {want} {}", down[i], up[i]);
            assert!(up[i] - down[i] <= 1e-6 * want.abs(), "{op} lane {i}");
            assert_eq!(zero[i], if want < 0.0 { up[i] } else { down[i] });
            assert!(near[i] == down[i] || near[i] == up[i]);
        }
    }
}

#[test]
fn subnormals_flush_when_told() {
    let tiny = 0x0000_0400u64;
    let one = 0x3f80_0000u64;
    let got = run("add.ftz.f32 d32, a32, b32;", "d32", [[tiny; 32], [tiny; 32], [0; 32]]);
    assert_eq!(got[0], 0);
    let got = run("mul.f32 d32, a32, b32;", "d32", [[tiny; 32], [one; 32], [0; 32]]);
    assert_eq!(got[0], tiny);
    let got = run("mul.ftz.f32 d32, a32, b32;", "d32", [[tiny | 0x8000_0000; 32], [one; 32], [0; 32]]);
    assert_eq!(got[0], 0x8000_0000);
}

#[test]
fn least_and_greatest_know_nan_and_zeros() {
    let cases = [
        ("min", 0x7fc0_0000u64, 0x3f80_0000u64, 0x3f80_0000u64),
        ("max", 0x3f80_0000, 0xffc0_0000, 0x3f80_0000),
        ("min", 0x7fc0_0000, 0x7fc0_0001, NAN),
        ("min", 0x8000_0000, 0, 0x8000_0000),
        ("max", 0x8000_0000, 0, 0),
        ("max", 0, 0x8000_0000, 0),
        ("min.NaN", 0x7fc0_0000, 0x3f80_0000, NAN),
        ("max.NaN", 0x4000_0000, 0x3f80_0000, 0x4000_0000),
    ];
    for (op, a, b, want) in cases {
        let got = run(&format!("{op}.f32 d32, a32, b32;"), "d32", [[a; 32], [b; 32], [0; 32]]);
        assert_eq!(got[7], want, "{op} {a:#x} {b:#x}");
    }
}

#[test]
fn unordered_comparisons() {
    for (op, less, equal, greater, unordered) in [
        ("lt", true, false, false, false),
        ("ltu", true, false, false, true),
        ("ne", true, false, true, false),
        ("neu", true, false, true, true),
        ("equ", false, true, false, true),
        ("geu", false, true, true, true),
        ("num", true, true, true, false),
        ("nan", false, false, false, true),
    ] {
        let one = 0x3f80_0000u64;
        let two = 0x4000_0000u64;
        for (a, b, want) in [(one, two, less), (one, one, equal), (two, one, greater), (one, 0x7fc0_0000, unordered)] {
            let got = run(&format!("setp.{op}.f32 p, a32, b32;"), "p", [[a; 32], [b; 32], [0; 32]]);
            assert_eq!(got[3], want as u64, "{op} {a:#x} {b:#x}");
        }
    }
}

/// Value of a bf16 as f64.
fn brain(v: u64) -> f64 {
    f32::from_bits((v as u32 & 0xffff) << 16) as f64
}

/// Nearest bf16 by trying all neighbours.
fn to_brain(v: f64) -> u64 {
    if v.is_nan() {
        return 0x7fff;
    }
    let floor = (v as f32).to_bits() >> 16;
    let candidates = [floor.wrapping_sub(1), floor, floor + 1];
    let distance = |c: &u32| (brain(*c as u64) - v).abs();
    let best = candidates
        .iter()
        .copied()
        .filter(|c| !brain(*c as u64).is_nan())
        .min_by(|x, y| distance(x).total_cmp(&distance(y)).then((x & 1).cmp(&(y & 1))));
    best.unwrap_or(floor) as u64
}

/// Operands of moderate size, so that the tests stay clear of overflow.
fn moderate(k: u64) -> [u64; 32] {
    std::array::from_fn(|i| {
        let x = (i as u64 + 3).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(k | 1);
        (0x3c00 + (x >> 40 & 0x7ff)) | (x >> 63) << 15
    })
}

#[test]
fn half_precision() {
    let [a, b, c] = [moderate(1), moderate(5), moderate(9)];
    let got = run("add.rn.bf16 d16, a16, b16;", "d16", [a, b, c]);
    let product = run("mul.rn.bf16 d16, a16, b16;", "d16", [a, b, c]);
    let fused = run("fma.rn.bf16 d16, a16, b16, c16;", "d16", [a, b, c]);
    for i in 0..32 {
        assert_eq!(got[i], to_brain(brain(a[i]) + brain(b[i])), "lane {i}");
        assert_eq!(product[i], to_brain(brain(a[i]) * brain(b[i])), "lane {i}");
        assert_eq!(fused[i], to_brain(brain(a[i]) * brain(b[i]) + brain(c[i])), "lane {i}");
    }
    // 1.0 + 2^-11 is a tie in f16 and goes to even; packed halves do not mix.
    let pack = |low: u64, high: u64| [low | high << 16; 32];
    let got = run("add.rn.f16x2 d32, a32, b32;", "d32", [pack(0x3c00, 0x3c01), pack(0x1000, 0x1000), [0; 32]]);
    assert_eq!(got[0], 0x3c00 | 0x3c02 << 16);
    let got = run("max.NaN.bf16x2 d32, a32, b32;", "d32", [pack(0x7fc0, 0x3f80), pack(0x3f80, 0x4000), [0; 32]]);
    assert_eq!(got[0], 0x7fff | 0x4000 << 16);
}
