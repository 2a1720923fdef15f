//! Loads, stores, atomics of one warp.

use crate::{check, load, run, Draw};

const M32: u64 = 0xffff_ffff;

/// Runs with the shared buffer `box` of 1 KiB, `at` pointing to the lane's 32 bytes.
fn shared(body: &str) -> String {
    format!(
        "{{ .shared .align 16 .b8 box[1024]; .reg .u32 at; .reg .u64 wide;
        mov.u32 at, box; mad.lo.u32 at, lane, 32, at; {body} }}"
    )
}

#[test]
fn widths_and_signs() {
    check(&shared("st.shared.u64 [at+8], a; ld.shared.s8 d32, [at+8];"), "d32", |a, _, _| a as i8 as i32 as u32 as u64);
    check(&shared("st.shared.u64 [at+8], a; ld.shared.u8 d32, [at+9];"), "d32", |a, _, _| a >> 8 & 0xff);
    check(&shared("st.shared.u64 [at], a; ld.shared.s16 d, [at+2];"), "d", |a, _, _| (a >> 16) as i16 as i64 as u64);
    check(&shared("st.shared.u64 [at], a; ld.shared.s32 d, [at+4];"), "d", |a, _, _| (a >> 32) as i32 as i64 as u64);
    check(&shared("st.shared.u64 [at], a; st.shared.u16 [at+2], b16; ld.shared.u64 d, [at];"), "d", |a, b, _| {
        (a & !0xffff_0000) | (b & 0xffff) << 16
    });
    check(&shared("st.shared.v2.u64 [at], {a, b}; ld.shared.v2.u64 {e, d}, [at];"), "d", |_, b, _| b);
    check(
        &shared("st.shared.v4.b32 [at], {a32, b32, c32, a32}; ld.shared.v4.u32 {_, e32, d32, _}, [at];"),
        "d32",
        |_, _, c| c & M32,
    );
    check(
        &shared("st.shared.v2.u64 [at], {a, b}; { .reg .b128 w; ld.shared.b128 w, [at]; mov.b128 {e, d}, w; }"),
        "d",
        |_, b, _| b,
    );
}

#[test]
fn generic_addresses_reach_every_space() {
    check(
        &shared("st.shared.u64 [at], a; cvt.u64.u32 wide, at; cvta.shared.u64 wide, wide; ld.u64 d, [wide];"),
        "d",
        |a, _, _| a,
    );
    check(&shared("cvt.u64.u32 wide, at; cvta.shared.u64 wide, wide; isspacep.shared p, wide;"), "p", |_, _, _| 1);
    check("isspacep.global p, out;", "p", |_, _, _| 1);
    check("st.u64 [out], b; ld.global.u64 d, [out];", "d", |_, b, _| b);
    check(
        "{ .local .align 8 .b8 frame[64]; .reg .u64 at; mov.u64 at, frame; cvta.local.u64 at, at;
        st.local.u64 [frame+16], a; ld.u64 d, [at+16]; }",
        "d",
        |a, _, _| a,
    );
    check(&shared("cvt.u64.u32 wide, at; cvta.shared.u64 wide, wide; cvta.to.shared.u64 wide, wide; cvt.u32.u64 at, wide; st.shared.u64 [at], c; ld.shared.u64 d, [at];"), "d", |_, _, c| c);
}

#[test]
fn atomics() {
    let case = |op: &str, ty: &str, d: &str, s: &str, f: &dyn Fn(u64, u64) -> u64| {
        let keep = if s == "32" { M32 } else { u64::MAX };
        let body = shared(&format!(
            "st.shared.b{w} [at], a{s}; atom.shared.{op}.{ty} {d}, [at], b{s}; xor.b{w} {d}, {d}, a{s};
             ld.shared.b{w} e{s}, [at]; add.u{w} {d}, {d}, e{s};",
            w = if s == "32" { "32" } else { "64" }
        ));
        // The old value is a, so what remains is the new value.
        check(&body, d, |a, b, _| f(a & keep, b & keep) & keep);
    };
    case("add", "u32", "d32", "32", &|a, b| a + b);
    case("add", "u64", "d", "", &|a, b| a.wrapping_add(b));
    case("and", "b32", "d32", "32", &|a, b| a & b);
    case("or", "b64", "d", "", &|a, b| a | b);
    case("xor", "b32", "d32", "32", &|a, b| a ^ b);
    case("exch", "b64", "d", "", &|_, b| b);
    case("min", "s32", "d32", "32", &|a, b| (a as i32).min(b as i32) as u32 as u64);
    case("max", "u64", "d", "", &|a, b| a.max(b));
    case("max", "s64", "d", "", &|a, b| (a as i64).max(b as i64) as u64);
    case("inc", "u32", "d32", "32", &|a, b| if a >= b { 0 } else { a + 1 });
    case("dec", "u32", "d32", "32", &|a, b| if a == 0 || a > b { b } else { a - 1 });
    check(&shared("st.shared.u64 [at], a; and.b64 e, b, 1; sub.u64 e, a, e; atom.shared.cas.b64 d, [at], e, c; ld.shared.u64 d, [at];"), "d", |a, b, c| {
        if b & 1 == 0 { c } else { a }
    });
    check(
        &shared(
            "mov.f32 d32, 0f3FC00000; st.shared.f32 [at], d32; red.shared.add.f32 [at], d32; ld.shared.b32 d32, [at];",
        ),
        "d32",
        |_, _, _| 0x4040_0000,
    );
}

/// Lanes of one atomic instruction act one after another.
#[test]
fn atomics_on_one_word_serialize() {
    let mut inputs = [[0; 32]; 3];
    inputs[0] = [1000; 32];
    let mut got =
        run("mul.wide.u32 e, lane, 8; sub.u64 in, in, e; atom.relaxed.gpu.global.add.u64 d, [in], 1;", "d", inputs)
            .to_vec();
    got.sort_unstable();
    assert_eq!(got, (1000..1032).collect::<Vec<u64>>());
}

#[test]
fn orders_and_hints_are_parsed() {
    for ok in [
        "ld.acquire.sys.global.u64 d, [in];",
        "ld.relaxed.gpu.global.L1::no_allocate.u64 d, [in];",
        "ld.global.nc.L1::no_allocate.L2::256B.u64 d, [in];",
        "ld.volatile.global.u64 d, [in];",
        "ld.weak.global.cg.u64 d, [in];",
        "ld.mmio.relaxed.sys.global.u64 d, [in];",
        "st.release.sys.global.u64 [out], a;",
        "st.global.L2::cache_hint.u64 [out], a, b;",
        "red.release.gpu.global.add.u64 [out], a;",
        "atom.acq_rel.cta.global.exch.b64 d, [out], a;",
        "prefetch.global.L2 [in];",
        "createpolicy.fractional.L2::evict_first.b64 d, 1.0;",
        "fence.acq_rel.sys; fence.sc.gpu; membar.sys; fence.proxy.async.global; fence.mbarrier_init.release.cluster;",
    ] {
        load(ok, "d").unwrap_or_else(|e| panic!("{e}"));
    }
    for wrong in [
        "ld.release.sys.global.u64 d, [in];",
        "ld.acquire.global.u64 d, [in];",
        "ld.sys.global.u64 d, [in];",
        "st.acquire.sys.global.u64 [out], a;",
        "ld.mmio.global.u64 d, [in];",
        "ld.global.bogus.u64 d, [in];",
        "st.global.L2::cache_hint.u64 [out], a;",
        "red.global.exch.b64 [out], a;",
        "add.frob.u32 d32, a32, b32;",
        "frobnicate.u32 d32, a32;",
        "ld.global.v3.u32 {a32, b32, c32}, [in];",
        "ld.shared.u64 d, [arg_in];",
        "add.u64 d, a32, b;",
        "ld.global.u64 d32, [in];",
    ] {
        assert!(load(wrong, "d").is_err(), "{wrong}");
    }
}

#[test]
fn undefined_registers_differ_from_run_to_run_of_lanes() {
    let mut draw = Draw(1);
    let got = run(
        "{ .reg .b64 unset; @p mov.b64 unset, 0; mov.b64 d, unset; }",
        "d",
        [draw.lanes(), draw.lanes(), draw.lanes()],
    );
    assert!(got.iter().any(|v| *v != got[0]), "undefined registers are no constants");
}

/// Braces around the one register of a scalar access mean nothing, as compilers of kernels write them.
#[test]
fn one_register_may_stand_in_braces() {
    let text = "st.shared.b32 [ at + 0 ], { a32 }; ld.shared.b32 { d32 }, [ at + 0 ]; mov.b32 { d32 }, d32;";
    check(&shared(text), "d32", |a, _, _| a & M32);
    let error = load(&shared("ld.shared.v2.b32 { d32 }, [at];"), "d32").unwrap_err().to_string();
    assert!(error.contains("1 elements of 4 bytes with .v2"), "{error}");
}
