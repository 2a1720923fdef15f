//! Conversions.

use crate::{check, load, run};

const M32: u64 = 0xffff_ffff;

fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

#[test]
fn integers() {
    check("cvt.u64.u32 d, a32;", "d", |a, _, _| a & M32);
    check("cvt.s64.s32 d, a32;", "d", |a, _, _| a as i32 as i64 as u64);
    check("cvt.u64.s32 d, a32;", "d", |a, _, _| a as i32 as i64 as u64);
    check("cvt.u32.u64 d32, a;", "d32", |a, _, _| a & M32);
    check("cvt.s32.s8 d32, a32;", "d32", |a, _, _| a as i8 as i32 as u32 as u64);
    check("cvt.u32.u8 d32, a32;", "d32", |a, _, _| a & 0xff);
    check("cvt.s64.s16 d, a16;", "d", |a, _, _| a as i16 as i64 as u64);
    check("cvt.s8.s32 d32, a32;", "d32", |a, _, _| a as i8 as i32 as u32 as u64);
    check("cvt.sat.u8.s32 d32, a32;", "d32", |a, _, _| (a as i32).clamp(0, 255) as u64);
    check("cvt.sat.s16.s64 d16, a;", "d16", |a, _, _| (a as i64).clamp(-32768, 32767) as u16 as u64);
}

#[test]
fn float_and_integer() {
    check("cvt.rzi.s32.f32 d32, a32;", "d32", |a, _, _| f(a) as i32 as u32 as u64);
    check("cvt.rzi.u64.f32 d, a32;", "d", |a, _, _| if f(a).is_nan() { 1 << 63 } else { f(a) as u64 });
    check("cvt.rni.s32.f32 d32, a32;", "d32", |a, _, _| f(a).round_ties_even() as i32 as u32 as u64);
    check("cvt.rmi.s64.f64 d, a;", "d", |a, _, _| {
        let v = f64::from_bits(a);
        if v.is_nan() {
            1 << 63
        } else {
            v.floor() as i64 as u64
        }
    });
    check("cvt.rpi.u32.f64 d32, a;", "d32", |a, _, _| {
        let v = f64::from_bits(a);
        if v.is_nan() {
            1 << 31
        } else {
            v.ceil() as u32 as u64
        }
    });
    check("cvt.rn.f32.s32 d32, a32;", "d32", |a, _, _| (a as i32 as f32).to_bits() as u64);
    check("cvt.rn.f32.u64 d32, a;", "d32", |a, _, _| (a as f32).to_bits() as u64);
    check("cvt.rn.f64.s64 d, a;", "d", |a, _, _| (a as i64 as f64).to_bits());
    check("cvt.rz.f64.u64 d, a;", "d", |a, _, _| {
        let mut near = a as f64;
        if near as u128 > a as u128 {
            near = f64::from_bits(near.to_bits() - 1);
        }
        near.to_bits()
    });
    check("cvt.rz.f32.u32 d32, a32;", "d32", |a, _, _| {
        let a = a as u32;
        let mut near = a as f32;
        if near as u64 > a as u64 {
            near = f32::from_bits(near.to_bits() - 1);
        }
        near.to_bits() as u64
    });
}

#[test]
fn floats() {
    let nan = |v: f32| if v.is_nan() { 0x7fff_ffff } else { v.to_bits() as u64 };
    // Between f32 and f64 a NaN keeps its sign and the upper bits of its payload.
    check("cvt.rn.f32.f64 d32, a;", "d32", |a, _, _| match f64::from_bits(a) {
        v if v.is_nan() => (a >> 63 << 31) | 0x7fc0_0000 | (a << 12 >> 41),
        v => (v as f32).to_bits() as u64,
    });
    check("cvt.f64.f32 d, a32;", "d", |a, _, _| match f(a) {
        v if v.is_nan() => (a << 32 >> 63 << 63) | 0x7ff8 << 48 | (a & 0x7f_ffff) << 29,
        v => (v as f64).to_bits(),
    });
    check("cvt.f32.bf16 d32, a16;", "d32", |a, _, _| (a & 0xffff) << 16);
    check("cvt.rni.f32.f32 d32, a32;", "d32", |a, _, _| nan(f(a).round_ties_even()));
    let cases = [
        (1.0f32, 0x3c00u64),
        (65504.0, 0x7bff),
        (65520.0, 0x7c00),
        (5.960_464_5e-8, 1),
        (2.980_232_2e-8, 0),
        (-2.0, 0xc000),
        (0.1, 0x2e66),
    ];
    for (value, want) in cases {
        let got = run("cvt.rn.f16.f32 d16, a32;", "d16", [[value.to_bits() as u64; 32], [0; 32], [0; 32]]);
        assert_eq!(got[0], want, "{value}");
    }
}

#[test]
fn pairs() {
    let one =
        |a: f32, b: f32, body: &str| run(body, "d32", [[a.to_bits() as u64; 32], [b.to_bits() as u64; 32], [0; 32]])[5];
    assert_eq!(one(1.0, -2.5, "cvt.rn.bf16x2.f32 d32, a32, b32;"), 0x3f80_c020);
    assert_eq!(one(1.0, -2.5, "cvt.rn.f16x2.f32 d32, a32, b32;"), 0x3c00_c100);
    assert_eq!(one(1.0, -2.5, "cvt.rn.relu.bf16x2.f32 d32, a32, b32;"), 0x3f80_0000);
    // A tie goes to even: 1 + 2^-8.
    assert_eq!(one(1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, "cvt.rn.bf16x2.f32 d32, a32, b32;"), 0x3f80_3f82);
    assert_eq!(one(1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, "cvt.rz.bf16x2.f32 d32, a32, b32;"), 0x3f80_3f81);
    assert_eq!(one(448.0, -1e9, "cvt.rn.satfinite.e4m3x2.f32 d16, a32, b32; cvt.u32.u16 d32, d16;"), 0x7efe);
    assert_eq!(one(1.0, 57344.0, "cvt.rn.satfinite.e5m2x2.f32 d16, a32, b32; cvt.u32.u16 d32, d16;"), 0x3c7b);
    assert_eq!(run("cvt.rn.f16x2.e4m3x2 d32, a16;", "d32", [[0x38c0; 32], [0; 32], [0; 32]])[0], 0x3c00_c000);
}

#[test]
fn roundings_must_be_told() {
    assert!(load("cvt.s32.f32 d32, a32;", "d32").is_err());
    assert!(load("cvt.f32.s32 d32, a32;", "d32").is_err());
    assert!(load("cvt.f32.f64 d32, a;", "d32").is_err());
    assert!(load("cvt.rn.u32.u64 d32, a;", "d32").is_err());
}
