//! Logic, shifts, permutation, comparison, selection, packing.

use crate::check;

const M32: u64 = 0xffff_ffff;

#[test]
fn logic() {
    check("and.b32 d32, a32, b32;", "d32", |a, b, _| a & b & M32);
    check("or.b64 d, a, b;", "d", |a, b, _| a | b);
    check("xor.b16 d16, a16, b16;", "d16", |a, b, _| (a ^ b) & 0xffff);
    check("not.b32 d32, a32;", "d32", |a, _, _| !a & M32);
    check("cnot.b32 d32, a32;", "d32", |a, _, _| (a & M32 == 0) as u64);
    for lut in [0u32, 0x80, 0xe8, 0x96, 0xca, 0xfe, 0x1b, 0xff] {
        check(&format!("lop3.b32 d32, a32, b32, c32, {lut};"), "d32", |a, b, c| {
            (0..32).map(|i| ((lut >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1))) as u64 & 1) << i).sum()
        });
    }
}

#[test]
fn predicates_combine() {
    let bit = |v: u64| v & 1 == 1;
    check("and.pred p, pa, pb;", "p", |a, b, _| (bit(a) && bit(b)) as u64);
    check("or.pred p, pa, pb;", "p", |a, b, _| (bit(a) || bit(b)) as u64);
    check("xor.pred p, pa, pb;", "p", |a, b, _| (bit(a) != bit(b)) as u64);
    check("not.pred p, pa;", "p", |a, _, _| !bit(a) as u64);
    check("mov.pred p, pa;", "p", |a, _, _| bit(a) as u64);
    check("setp.lt.and.u32 p|q, a32, b32, pb; @q mov.pred p, pb;", "p", |a, b, _| {
        let less = (a & M32) < (b & M32);
        // q = !less && pb; where it holds, p becomes pb, which is true.
        ((less && bit(b)) || (!less && bit(b))) as u64
    });
    check("setp.gt.or.s32 p, a32, b32, !pb;", "p", |a, b, _| ((a as i32) > b as i32 || !bit(b)) as u64);
    check("setp.eq.xor.s64 p, a, b, pa;", "p", |a, b, _| ((a == b) != bit(a)) as u64);
}

#[test]
fn comparisons() {
    check("setp.hi.u32 p, a32, b32;", "p", |a, b, _| ((a & M32) > (b & M32)) as u64);
    check("setp.ls.u64 p, a, b;", "p", |a, b, _| (a <= b) as u64);
    check("setp.ge.s16 p, a16, b16;", "p", |a, b, _| (a as i16 >= b as i16) as u64);
    check("setp.ne.b64 p, a, b;", "p", |a, b, _| (a != b) as u64);
    check("set.le.u32.s32 d32, a32, b32;", "d32", |a, b, _| if a as i32 <= b as i32 { M32 } else { 0 });
    check("set.eq.f32.u32 d32, a32, b32;", "d32", |a, b, _| if a as u32 == b as u32 { 0x3f80_0000 } else { 0 });
    check("selp.b64 d, a, b, pa;", "d", |a, b, _| if a & 1 == 1 { a } else { b });
    check("selp.b32 d32, a32, b32, !pa;", "d32", |a, b, _| if a & 1 == 1 { b & M32 } else { a & M32 });
    check("slct.u64.s32 d, a, b, c32;", "d", |a, b, c| if c as i32 >= 0 { a } else { b });
}

#[test]
fn shifts() {
    check("shl.b32 d32, a32, b32;", "d32", |a, b, _| if b as u32 > 31 { 0 } else { a << (b as u32) & M32 });
    check("shr.u32 d32, a32, b32;", "d32", |a, b, _| if b as u32 > 31 { 0 } else { (a & M32) >> (b as u32) });
    check("shr.s32 d32, a32, b32;", "d32", |a, b, _| ((a as i32) >> (b as u32).min(31)) as u32 as u64);
    check("shl.b64 d, a, b32;", "d", |a, b, _| if b as u32 > 63 { 0 } else { a << (b as u32) });
    check("shr.s64 d, a, b32;", "d", |a, b, _| ((a as i64) >> (b as u32).min(63)) as u64);
    check("and.b32 b32, b32, 31; shr.s16 d16, a16, b32;", "d16", |a, b, _| {
        ((a as i16) >> (b as u32 & 31).min(15)) as u16 as u64
    });
    let wide = |a: u64, b: u64| (b & M32) << 32 | (a & M32);
    check("shf.l.wrap.b32 d32, a32, b32, c32;", "d32", |a, b, c| (wide(a, b) << (c & 31)) >> 32);
    check("shf.r.wrap.b32 d32, a32, b32, c32;", "d32", |a, b, c| (wide(a, b) >> (c & 31)) & M32);
    check("shf.l.clamp.b32 d32, a32, b32, c32;", "d32", |a, b, c| (wide(a, b) << (c & M32).min(32)) >> 32);
    check("shf.r.clamp.b32 d32, a32, b32, c32;", "d32", |a, b, c| (wide(a, b) >> (c & M32).min(32)) & M32);
}

#[test]
fn permutation() {
    let byte = |a: u64, b: u64, n: u64| {
        let all = (b & M32) << 32 | (a & M32);
        let v = all >> (8 * (n & 7)) & 0xff;
        if n & 8 != 0 {
            if v >> 7 == 1 {
                0xff
            } else {
                0
            }
        } else {
            v
        }
    };
    check("prmt.b32 d32, a32, b32, c32;", "d32", |a, b, c| (0..4).map(|i| byte(a, b, c >> (4 * i)) << (8 * i)).sum());
    check("prmt.b32 d32, a32, b32, 0x5410;", "d32", |a, b, _| (a & 0xffff) | (b & 0xffff) << 16);
    check("prmt.b32.f4e d32, a32, b32, c32;", "d32", |a, b, c| {
        (0..4).map(|i| byte(a, b, (c & 3) + i) << (8 * i)).sum()
    });
    check("prmt.b32.rc16 d32, a32, b32, c32;", "d32", |a, _, c| {
        let half = if c & 1 == 0 { a & 0xffff } else { a >> 16 & 0xffff };
        half << 16 | half
    });
}

#[test]
fn packing() {
    check("mov.b64 d, {a32, b32};", "d", |a, b, _| (a & M32) | b << 32);
    check("mov.b64 {d32, e32}, a; xor.b32 d32, d32, e32;", "d32", |a, _, _| (a ^ a >> 32) & M32);
    check("mov.b64 {_, d32}, a;", "d32", |a, _, _| a >> 32);
    check("mov.b32 d32, {a16, b16};", "d32", |a, b, _| (a & 0xffff) | (b & 0xffff) << 16);
    check("mov.b64 d, {a16, b16, c16, a16};", "d", |a, b, c| {
        (a & 0xffff) | (b & 0xffff) << 16 | (c & 0xffff) << 32 | a << 48
    });
    check("{ .reg .b128 w; mov.b128 w, {a, b}; mov.b128 {e, d}, w; }", "d", |_, b, _| b);
    check("mov.u32 d32, a32;", "d32", |a, _, _| a & M32);
    check("mov.b64 {a32, b32}, a; mov.b64 a, {b32, a32}; mov.b64 d, a;", "d", |a, _, _| a.rotate_left(32));
}

/// `set` of packed halves fills each half for which the comparison holds, unordered forms with NaN among them; a result
/// in half precision is 1.0 whatever is compared.
#[test]
fn set_of_halves() {
    let less = |x: u64, y: u64| {
        let (x, y) = (half(x), half(y));
        x < y || x.is_nan() || y.is_nan()
    };
    let each = |a: u64, b: u64, truth: u64| {
        (0..2).map(|i| if less(a >> (16 * i), b >> (16 * i)) { truth << (16 * i) } else { 0 }).sum()
    };
    check("set.ltu.u32.f16x2 d32, a32, b32;", "d32", |a, b, _| each(a, b, 0xffff));
    check("set.ltu.s32.f16x2 d32, a32, b32;", "d32", |a, b, _| each(a, b, 0xffff));
    check("set.ltu.f16x2.f16x2 d32, a32, b32;", "d32", |a, b, _| each(a, b, 0x3c00));
    check("set.lt.f16.s32 d16, a32, b32;", "d16", |a, b, _| if (a as i32) < b as i32 { 0x3c00 } else { 0 });
    check("set.ne.bf16.b64 d16, a, b;", "d16", |a, b, _| if a != b { 0x3f80 } else { 0 });
}

/// Value of a half.
fn half(v: u64) -> f64 {
    let (exponent, fraction) = ((v >> 10 & 31) as i32, (v & 0x3ff) as f64);
    let size = match exponent {
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        0 => fraction * 2f64.powi(-24),
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if v >> 15 & 1 == 1 {
        -size
    } else {
        size
    }
}

/// All elements of a vector are read before one is written.
#[test]
fn vectors_move_at_once() {
    check("mov.v2.u32 {a32, b32}, {b32, a32}; mov.b64 d, {a32, b32};", "d", |a, b, _| b & M32 | a << 32);
    check("mov.v4.u16 {a16, b16, c16, d16}, {b16, c16, d16, a16}; mov.b64 d, {a16, b16, c16, d16};", "d", |a, b, c| {
        b & 0xffff | (c & 0xffff) << 16 | (a & 0xffff) << 48
    });
    check(".reg .v2 .b64 v; mov.v2.b64 v, {a, b}; mov.v2.b64 {b, a}, v; xor.b64 d, a, c;", "d", |_, b, c| b ^ c);
}

/// Special registers stand where a value is converted or packed.
#[test]
fn special_registers_as_operands() {
    check("cvt.u64.u32 d, %laneid; mov.b64 d, {%warpid, %ntid.x};", "d", |_, _, _| 32 << 32);
    check("mov.pred p, %is_explicit_cluster;", "p", |_, _, _| 0);
    check("mov.u32 d32, %pm3;", "d32", |_, _, _| 0);
}
