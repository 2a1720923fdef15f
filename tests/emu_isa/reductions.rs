//! `cp.reduce.async.bulk`: each operation and type on drawn elements, against plain Rust.

use half::{bf16, f16};

use crate::programs::run_module;
use crate::Draw;

/// Words of the target, and of the source behind it.
const WORDS: usize = 16;

/// Reduces the second half of a buffer into the first, by way of shared memory.
fn module(operation: &str) -> String {
    let bytes = WORDS * 8;
    format!(
        ".visible .entry k(.param .u64 buffer) {{
            .shared .align 16 .b8 s[{bytes}];
            .reg .u64 p, q, x; .reg .u32 tid, at; .reg .pred first;
            ld.param.u64 p, [buffer]; mov.u32 tid, %tid.x;
            mad.wide.u32 q, tid, 8, p; mov.u32 at, s; mad.lo.u32 at, tid, 8, at;
            ld.global.u64 x, [q+{bytes}]; st.shared.u64 [at], x;
            fence.proxy.async.shared::cta; bar.sync 0;
            setp.eq.u32 first, tid, 0;
            @!first ret;
            cp.reduce.async.bulk.global.shared::cta.bulk_group.{operation} [p], [at], {bytes};
            cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; ret;
        }}"
    )
}

/// Method: elements of `size` bytes of drawn words, each joined by `join` from what is there and what comes.
fn check(operation: &str, size: usize, join: impl Fn(u64, u64) -> u64) {
    let mut draw = Draw(operation.len() as u64);
    for _ in 0..8 {
        let words: Vec<u64> = (0..2 * WORDS).map(|_| draw.number()).collect();
        let keep = u64::MAX >> (64 - 8 * size);
        let joined = |(old, new): (&u64, &u64)| {
            let element = |at: usize| (join(old >> at & keep, new >> at & keep) & keep) << at;
            (0..64).step_by(8 * size).map(element).fold(0, |word, part| word | part)
        };
        let expected: Vec<u64> = words[..WORDS].iter().zip(&words[WORDS..]).map(joined).collect();
        let found = run_module(&module(operation), WORDS as u32, &words);
        assert_eq!(found[WORDS..], words[WORDS..], "{operation}: the source stays");
        for at in 0..WORDS {
            let (found, expected) = (found[at], expected[at]);
            let (old, new) = (words[at], words[WORDS + at]);
            assert_eq!(found, expected, "{operation} of {old:#x} and {new:#x}: {found:#x}, expected {expected:#x}");
        }
    }
}

#[test]
fn integers_and_bits() {
    for (name, size) in [("b32", 4), ("b64", 8)] {
        check(&format!("and.{name}"), size, |old, new| old & new);
        check(&format!("or.{name}"), size, |old, new| old | new);
        check(&format!("xor.{name}"), size, |old, new| old ^ new);
    }
    for (name, size) in [("u32", 4), ("s32", 4), ("u64", 8)] {
        check(&format!("add.{name}"), size, u64::wrapping_add);
    }
    for (name, size) in [("u32", 4), ("u64", 8)] {
        check(&format!("min.{name}"), size, u64::min);
        check(&format!("max.{name}"), size, u64::max);
    }
    check("min.s32", 4, |old, new| (old as i32).min(new as i32) as u32 as u64);
    check("max.s32", 4, |old, new| (old as i32).max(new as i32) as u32 as u64);
    check("min.s64", 8, |old, new| (old as i64).min(new as i64) as u64);
    check("max.s64", 8, |old, new| (old as i64).max(new as i64) as u64);
    check("inc.u32", 4, |old, new| if old >= new { 0 } else { old + 1 });
    check("dec.u32", 4, |old, new| if old == 0 || old > new { new } else { old - 1 });
}

/// PTX ISA, "cp.reduce.async.bulk": sums of f32 flush subnormal inputs and results to a zero of their sign.
#[test]
fn sums_of_f32_flush() {
    let flushed = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    check("add.f32", 4, |old, new| {
        let [x, y] = [old, new].map(|bits| flushed(f32::from_bits(bits as u32)));
        let sum = flushed(x + y);
        u64::from(if sum.is_nan() { 0x7fff_ffff } else { sum.to_bits() })
    });
    // Two subnormals, and two normal numbers whose sum is one.
    let mut words = vec![0; 2 * WORDS];
    (words[0], words[WORDS]) = (0x0000_0001_8080_0001, 0x8000_0001_0080_0000);
    let found = run_module(&module("add.f32"), WORDS as u32, &words);
    assert_eq!(found[0], 0x0000_0000_8000_0000);
}

#[test]
fn sums_and_extremes_of_other_floats() {
    check("add.f64", 8, |old, new| {
        let [x, y] = [old, new].map(f64::from_bits);
        match (x + y).is_nan() {
            // The first that is one, made quiet; of infinities the standard one.
            true if x.is_nan() => old | 1 << 51,
            true if y.is_nan() => new | 1 << 51,
            true => 0xfff8_0000_0000_0000,
            false => (x + y).to_bits(),
        }
    });
    let nan16 = |bits: u16, is_nan: bool| u64::from(if is_nan { 0x7fff } else { bits });
    check("add.noftz.f16", 2, |old, new| {
        let sum = f16::from_f64(f16::from_bits(old as u16).to_f64() + f16::from_bits(new as u16).to_f64());
        nan16(sum.to_bits(), sum.is_nan())
    });
    check("add.noftz.bf16", 2, |old, new| {
        let sum = bf16::from_f64(bf16::from_bits(old as u16).to_f64() + bf16::from_bits(new as u16).to_f64());
        nan16(sum.to_bits(), sum.is_nan())
    });
    for (name, is_max) in [("min.f16", false), ("max.f16", true), ("min.bf16", false), ("max.bf16", true)] {
        check(name, 2, |old, new| {
            let value = |bits: u64| match name.ends_with("bf16") {
                true => bf16::from_bits(bits as u16).to_f64(),
                false => f16::from_bits(bits as u16).to_f64(),
            };
            let (x, y) = (value(old), value(new));
            // A number beats a NaN, and +0 is more than -0.
            let later = |x: f64, y: f64| if is_max { x.total_cmp(&y).is_gt() } else { x.total_cmp(&y).is_lt() };
            match (x.is_nan(), y.is_nan()) {
                (true, true) => 0x7fff,
                (true, false) => new,
                (false, true) => old,
                (false, false) if later(y, x) => new,
                (false, false) => old,
            }
        });
    }
}
