//! Whole modules, as a compiler would write them: calls, recursion, tables of functions, initial values.

use warpferry_emu::{Checks, Launch, Machine, MachineConfig, RunOutcome, Schedule, StreamId};

/// Runs entry `k` with one buffer of `input` words; gives them back afterwards.
pub fn run_module(text: &str, block: u32, input: &[u64]) -> Vec<u64> {
    run_grid(text, [1, 1, 1], block, input)
}

/// As [`run_module`] on a grid, round robin and with varied schedules, which must agree.
pub fn run_grid(text: &str, grid: [u32; 3], block: u32, input: &[u64]) -> Vec<u64> {
    let header = if text.contains(".version") { "" } else { ".version 8.6\n.target sm_90a\n.address_size 64\n" };
    let text = format!("{header}{text}");
    crate::must_assemble(&text);
    let mut found: Option<Vec<u64>> = None;
    for schedule in [Schedule::RoundRobin, Schedule::Random { seed: 3 }, Schedule::Random { seed: 4 }] {
        let mut config = MachineConfig { schedule, ..MachineConfig::new(1, 1) };
        config.checks = Checks { alignment: true, ..Checks::NONE };
        let words = try_module(config, &text, grid, block, input).unwrap_or_else(|said| panic!("{said}\n{text}"));
        assert!(found.as_ref().is_none_or(|before| *before == words), "schedules disagree\n{text}");
        found = Some(words);
    }
    found.expect("a schedule ran")
}

/// Runs entry `k` of a whole module once with one buffer of `input` words; what they are then, or what the machine said.
pub fn try_module(
    config: MachineConfig,
    text: &str,
    grid: [u32; 3],
    block: u32,
    input: &[u64],
) -> Result<Vec<u64>, String> {
    let mut machine = Machine::new(config).expect("a valid machine");
    let module = machine.load_module("test.ptx", text).map_err(|error| error.to_string())?;
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    let buffer = machine.alloc(0, bytes.len() as u64).expect("memory");
    machine.write(buffer, &bytes).expect("memory");
    let launch = Launch {
        gpu: 0,
        stream: StreamId::DEFAULT,
        module,
        entry: "k".into(),
        grid,
        block: [block, 1, 1],
        shared_bytes: 0,
        args: buffer.to_le_bytes().to_vec(),
        access: Vec::new(),
    };
    machine.launch(launch).map_err(|error| error.to_string())?;
    if let RunOutcome::Stalled(report) = machine.run_until_idle().map_err(|fault| fault.to_string())? {
        return Err(report.to_string());
    }
    let mut back = vec![0; bytes.len()];
    machine.read(buffer, &mut back).expect("memory");
    Ok(back.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).collect())
}

/// An entry that gives each thread `x = input[tid]`, runs `body`, and puts `y` there.
fn per_thread(module: &str, body: &str) -> String {
    format!(
        "{module}
        .visible .entry k(.param .u64 buffer) {{
            .reg .u64 p, x, y; .reg .u32 tid;
            ld.param.u64 p, [buffer]; mov.u32 tid, %tid.x; mad.wide.u32 p, tid, 8, p;
            ld.global.u64 x, [p];
            {body}
            st.global.u64 [p], y; ret;
        }}"
    )
}

#[test]
fn a_function_calls_itself_with_memory_of_its_own() {
    // fib(n), where each call keeps its argument in a local array and reads it back after both calls.
    let module = "
        .func (.param .b64 result) fib(.param .b64 n) {
            .local .align 8 .b8 own[32];
            .reg .u64 a, b, c; .reg .pred small;
            ld.param.u64 a, [n];
            setp.lt.u64 small, a, 2;
            @small bra done;
            st.local.u64 [own+8], a;
            {
                .param .b64 arg; .param .b64 got;
                sub.u64 b, a, 1;
                st.param.b64 [arg], b;
                call.uni (got), fib, (arg);
                ld.param.b64 b, [got];
            }
            {
                .param .b64 arg; .param .b64 got;
                ld.local.u64 c, [own+8];
                sub.u64 c, c, 2;
                st.param.b64 [arg], c;
                call.uni (got), fib, (arg);
                ld.param.b64 c, [got];
            }
            add.u64 a, b, c;
        done:
            st.param.b64 [result], a;
            ret;
        }";
    let body =
        ".param .b64 arg; .param .b64 got; st.param.b64 [arg], x; call (got), fib, (arg); ld.param.b64 y, [got];";
    let input: Vec<u64> = (0..40).map(|i| i % 17).collect();
    let got = run_module(&per_thread(module, body), 40, &input);
    let fib = |n: u64| (0..n).fold((0u64, 1u64), |(a, b), _| (b, a + b)).0;
    assert_eq!(got, input.iter().map(|n| fib(*n)).collect::<Vec<_>>());
}

/// The parameter of the last call lies behind the stack, though nobody reads it.
#[test]
fn a_stack_that_is_used_up_is_told() {
    for deepest in [100, 513] {
        let text = format!(
            ".version 8.6\n.target sm_90a\n.address_size 64
            .func f(.param .align 16 .b8 n[64], .param .b32 depth) {{
                .reg .u32 d; .reg .pred last;
                ld.param.u32 d, [depth]; sub.u32 d, d, 1; setp.eq.u32 last, d, 0;
                @last ret;
                {{ .param .align 16 .b8 q[64]; .param .b32 left; st.param.b32 [q+60], d; st.param.b32 [left], d;
                   call f, (q, left); }}
                ret;
            }}
            .visible .entry k(.param .u64 buffer) {{
                .local .align 16 .b32 own[4];
                .reg .u64 p, x; .reg .u32 tid; .reg .pred first;
                ld.param.u64 p, [buffer]; mov.u32 tid, %tid.x; mad.wide.u32 p, tid, 8, p;
                st.local.b32 [own], 7;
                setp.eq.u32 first, tid, 0;
                @!first bra met;
                {{ .param .align 16 .b8 q[64]; .param .b32 left; st.param.b32 [q], 1; st.param.b32 [left], {deepest};
                   call f, (q, left); }}
            met:
                bar.warp.sync 0xffffffff;
                ld.local.b32 tid, [own]; cvt.u64.u32 x, tid; st.global.u64 [p], x; ret;
            }}"
        );
        let config = MachineConfig { checks: Checks { alignment: true, ..Checks::NONE }, ..MachineConfig::new(1, 1) };
        match (deepest, try_module(config, &text, [1, 1, 1], 32, &[0; 32])) {
            (100, Ok(words)) => assert_eq!(words, [7; 32]),
            (513, Err(said)) => assert!(said.contains("out of bounds"), "{said}"),
            (_, other) => panic!("{deepest} calls deep: {other:?}"),
        }
    }
}

#[test]
fn registers_as_parameters_survive_recursion() {
    // Ackermann's function with register parameters, two of them swapped on the way, under a guard.
    let module = "
        .func (.reg .u64 result) ack(.reg .u64 m, .reg .u64 n) {
            .reg .u64 t, u; .reg .pred p, q;
            setp.eq.u64 p, m, 0; @!p bra more;
            add.u64 result, n, 1; ret;
        more:
            setp.eq.u64 q, n, 0; sub.u64 t, m, 1;
            @q call (result), ack, (t, 1);
            @q ret;
            sub.u64 u, n, 1;
            @!q call (u), ack, (m, u);
            call (result), ack, (t, u);
            ret;
        }";
    let got = run_module(
        &per_thread(module, "and.b64 y, x, 3; shr.u64 x, x, 2; call (y), ack, (y, x);"),
        12,
        &(0..12).collect::<Vec<_>>(),
    );
    fn ack(m: u64, n: u64) -> u64 {
        match (m, n) {
            (0, n) => n + 1,
            (m, 0) => ack(m - 1, 1),
            (m, n) => ack(m - 1, ack(m, n - 1)),
        }
    }
    assert_eq!(got, (0..12).map(|x| ack(x & 3, x >> 2)).collect::<Vec<_>>());
}

#[test]
fn functions_are_called_through_a_table() {
    let module = "
        .func (.reg .u64 r) twice(.reg .u64 a) { add.u64 r, a, a; ret; }
        .func (.reg .u64 r) square(.reg .u64 a) { mul.lo.u64 r, a, a; ret; }
        .func (.reg .u64 r) minus(.reg .u64 a) { neg.s64 r, a; ret; }
        .global .u64 table[3] = {twice, square, minus};";
    let body = "
        .reg .u64 f, at; .reg .u64 index;
        rem.u64 index, x, 3; mov.u64 at, table; mad.lo.u64 at, index, 8, at; ld.global.u64 f, [at];
        proto: .callprototype (.reg .u64 _) _ (.reg .u64 _);
        call (y), f, (x), proto;";
    let input: Vec<u64> = (5..70).collect();
    let got = run_module(&per_thread(module, body), 65, &input);
    let want = |x: u64| match x % 3 {
        0 => 2 * x,
        1 => x * x,
        _ => x.wrapping_neg(),
    };
    assert_eq!(got, input.iter().map(|x| want(*x)).collect::<Vec<_>>());
}

#[test]
fn structures_are_passed_by_bytes() {
    let module = "
        .func (.param .align 8 .b8 out[16]) swap(.param .align 8 .b8 pair[16], .param .b32 add) {
            .reg .u64 a, b; .reg .u32 c; .reg .u64 d;
            ld.param.u64 a, [pair]; ld.param.u64 b, [pair+8]; ld.param.u32 c, [add]; cvt.u64.u32 d, c;
            add.u64 a, a, d;
            st.param.u64 [out], b; st.param.u64 [out+8], a; ret;
        }";
    let body = "
        .reg .u64 a, b;
        { .param .align 8 .b8 arg[16]; .param .b32 more; .param .align 8 .b8 got[16];
          st.param.u64 [arg], x; st.param.u64 [arg+8], 1000; st.param.b32 [more], 7;
          call.uni (got), swap, (arg, more);
          ld.param.u64 a, [got]; ld.param.u64 b, [got+8]; }
        mad.lo.u64 y, b, 10000, a;";
    let got = run_module(&per_thread(module, body), 4, &[1, 2, 3, 4]);
    assert_eq!(got, [8, 9, 10, 11].map(|b: u64| b * 10000 + 1000));
}

#[test]
fn initial_values_of_every_kind() {
    let module = "
        .global .u32 words[4] = {10, 20, 30};
        .const .align 8 .b8 bytes[2][4] = {{1, 2}, {-3, 0x1ff, 5}};
        .global .u64 third = words+8;
        .global .u64 same[2] = {generic(words), generic(words)+4};
        .global .align 8 .u8 split[8] = {0xff(words+12), 0xff00(words+12), 0xff0000(words+12), 0xff000000(words+12),
            0xff00000000(words+12), 0xff0000000000(words+12), 0xff000000000000(words+12), 0xff00000000000000(words+12)};
        .global .f32 singles[2] = {0f3f800000, 2.5};
        .const .f64 double = 0d4008000000000000;
        .global .v2 .u16 pair = {7, 8};";
    let entry = format!(
        "{module}
        .visible .entry k(.param .u64 buffer) {{
            .global .u32 inner = 77;
            .reg .u64 p, a; .reg .u32 v, w; .reg .u16 h, g; .reg .f32 f; .reg .f64 d;
            ld.param.u64 p, [buffer];
            ld.global.u64 a, [third]; ld.global.u32 v, [a]; st.global.u64 [p], v;
            ld.global.u64 a, [same+8]; ld.u32 v, [a]; st.global.u64 [p+8], v;
            ld.global.u64 a, [split]; ld.global.u32 v, [a+-12]; st.global.u64 [p+16], v;
            ld.const.u32 v, [bytes+4]; st.global.u64 [p+24], v;
            ld.global.f32 f, [singles+4]; cvt.f64.f32 d, f; st.global.f64 [p+32], d;
            ld.const.f64 d, [double]; st.global.f64 [p+40], d;
            ld.global.v2.u16 {{h, g}}, [pair]; mul.wide.u16 v, h, g; st.global.u64 [p+48], v;
            ld.global.u32 v, [inner]; st.global.u64 [p+56], v;
            ld.global.u32 v, [words+12]; st.global.u64 [p+64], v;
            ret;
        }}"
    )
    .replace("], v;", "], v64;")
    .replace(".reg .u64 p, a;", ".reg .u64 p, a, v64;")
    .replace("st.global.u64 [p", "cvt.u64.u32 v64, v; st.global.u64 [p");
    let got = run_module(&entry, 1, &[9; 9]);
    assert_eq!(got[..4], [30, 20, 10, 0x0005_fffd & 0xffff_ffff]);
    assert_eq!(got[4..], [2.5f64.to_bits(), 3f64.to_bits(), 56, 77, 0]);
}

#[test]
fn branches_through_a_list() {
    let body = "
        .reg .u32 index; cvt.u32.u64 index, x;
        list: .branchtargets one, two, three;
        brx.idx index, list;
        one: mov.u64 y, 111; bra end;
        two: mov.u64 y, 222; bra end;
        three: mov.u64 y, 333;
        end:";
    assert_eq!(run_module(&per_thread("", body), 5, &[2, 0, 1, 0, 2]), [333, 111, 222, 111, 333]);
}

#[test]
fn small_copies_fill_with_zeros() {
    let body = "
        .shared .align 16 .b8 room[512];
        .reg .u64 s, q; .reg .u32 s32, n; .reg .pred odd; .reg .u32 low;
        mov.u32 s32, room; mad.lo.u32 s32, tid, 16, s32;
        cvt.u32.u64 n, x; and.b32 n, n, 7;
        ld.param.u64 q, [buffer];
        cp.async.ca.shared.global [s32], [q], 8, n;
        cp.async.commit_group; cp.async.wait_group 0;
        setp.gt.u64 odd, x, 4;
        cp.async.ca.shared.global [s32+8], [q], 4, odd;
        cp.async.wait_all;
        bar.sync 0;
        ld.shared.u64 y, [s32]; ld.shared.u32 low, [s32+8]; cvt.u64.u32 q, low; shl.b64 q, q, 56; xor.b64 y, y, q;";
    let input = [0x0807_0605_0403_0201, 2, 3, 4, 5, 6];
    let got = run_module(&per_thread("", body), 6, &input);
    for (lane, x) in input.iter().enumerate() {
        let n = x & 7;
        let head = if n == 0 { 0 } else { input[0] & (u64::MAX >> (64 - 8 * n)) };
        let tail = if *x > 4 { 0 } else { input[0] << 56 };
        assert_eq!(got[lane], head ^ tail, "lane {lane}");
    }
}

#[test]
fn matrices_load_store_and_turn() {
    // 8 x 8 elements 0..64 in rows of 16 bytes: loaded transposed, turned back, stored.
    let body = "
        .shared .align 16 .b8 room[512];
        .reg .b32 r, t, s32, at; .reg .u16 h; .reg .u64 z;
        mov.u32 s32, room;
        mul.lo.u32 at, tid, 4; add.u32 at, at, s32;
        mul.lo.u32 r, tid, 2; add.u32 t, r, 1; shl.b32 t, t, 16; or.b32 r, r, t; st.shared.b32 [at], r;
        bar.sync 0;
        and.b32 at, tid, 7; mad.lo.u32 at, at, 16, s32;
        ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {r}, [at];
        cvt.u64.u32 y, r;
        movmatrix.sync.aligned.m8n8.trans.b16 t, r;
        cvt.u64.u32 z, t; shl.b64 z, z, 32; or.b64 y, y, z;";
    let got = run_module(&per_thread("", body), 32, &[0; 32]);
    for (lane, value) in got.iter().enumerate() {
        let (row, at) = (lane as u64 / 4, 2 * (lane as u64 % 4));
        let element = |row: u64, at: u64| 8 * row + at;
        let turned = element(at, row) | element(at + 1, row) << 16;
        let straight = element(row, at) | element(row, at + 1) << 16;
        assert_eq!(*value, turned | straight << 32, "lane {lane}");
    }
}

#[test]
fn parameters_have_generic_addresses() {
    let text = "
        .func (.reg .u64 r) get(.param .b64 value) {
            .reg .u64 a; mov.b64 a, value; cvta.param.u64 a, a; ld.u64 r, [a]; ret;
        }
        .visible .entry k(.param .u64 buffer) {
            .reg .u64 p, q, a; .param .b64 arg;
            cvta.param.u64 a, buffer; ld.u64 p, [a];
            mov.b64 q, buffer; cvta.param.u64 q, q; cvta.to.param.u64 q, q; ld.param.u64 q, [q];
            st.global.u64 [p], 5; st.global.u64 [q+8], 6;
            st.param.b64 [arg], 7; call (a), get, (arg); st.global.u64 [p+16], a; ret;
        }";
    assert_eq!(run_module(text, 1, &[0; 3]), [5, 6, 7]);
}

#[test]
fn vectors_of_atomics_and_wide_words() {
    let body = "
        .reg .f32 f, g; .reg .f16 h; .reg .b16 i; .reg .b32 w, v; .reg .b128 one, two, old; .reg .u64 low, high, q; .reg .pred first;
        mov.f32 f, 0f3f800000; mov.f32 g, 0f40000000; ld.param.u64 q, [buffer]; setp.eq.u32 first, tid, 0;
        red.global.add.v2.f32 [q+64], {f, g};
        mov.b16 i, 0x3c00;
        red.global.add.noftz.v4.f16 [q+72], {i, i, i, i};
        mov.b32 w, 0x40004000; mov.b32 v, 0x3f800000; atom.global.max.noftz.v2.bf16x2 {w, _}, [q+80], {w, v};
        mov.b128 two, {7, 8}; mov.b128 one, {1, 2};
        @first atom.cas.b128 old, [q+96], one, two;
        @first mov.b128 {low, high}, old; @first st.global.u64 [q+112], low; @first st.global.u64 [q+120], high;
        mov.u64 y, x;";
    let mut input = [0u64; 16];
    (input[10], input[12], input[13]) = (0x3f80_4080_0000_0000, 1, 2);
    let got = run_module(&per_thread("", body).replace("atom.cas", "atom.global.relaxed.gpu.cas"), 8, &input);
    assert_eq!(got[8], 8f32.to_bits() as u64 | (16f32.to_bits() as u64) << 32);
    assert_eq!(got[9], 0x4800_4800_4800_4800);
    assert_eq!(got[10], 0x3f80_4080_4000_4000);
    assert_eq!(got[12..], [7, 8, 1, 2]);
}

#[test]
fn matrices_are_multiplied_where_it_is_exact() {
    // Element (i, k) of `a` is 2i - k, of `b` (k, j) 3k - 5j, of `c` (i, j) i - j; lanes hold them as the manual lays out.
    let setup = "
        .reg .b32 g, t, r<40>; .reg .f32 f<8>; .reg .b16 h<4>; .reg .s32 i, j, k; .reg .u64 z;
        shr.u32 g, tid, 2; and.b32 t, tid, 3;";
    let mut body = setup.to_string();
    let pair = |body: &mut String, target: &str, one: String, two: String| {
        body.push_str(&format!(
            "{one} cvt.rn.f32.s32 f0, i; cvt.rn.f16.f32 h0, f0; {two} cvt.rn.f32.s32 f0, i; cvt.rn.f16.f32 h1, f0;
             mov.b32 {target}, {{h0, h1}};"
        ));
    };
    for (register, (low, high)) in [(0, 0), (8, 0), (0, 8), (8, 8)].iter().enumerate() {
        let a = |part: i32| {
            format!(
                "shl.b32 k, t, 1; add.s32 k, k, {}; add.s32 i, g, {low}; shl.b32 i, i, 1; sub.s32 i, i, k;",
                high + part
            )
        };
        pair(&mut body, &format!("r{register}"), a(0), a(1));
    }
    for (register, high) in [0, 8].iter().enumerate() {
        let b = |part: i32| {
            format!(
                "shl.b32 k, t, 1; add.s32 k, k, {}; mul.lo.s32 i, k, 3; mul.lo.s32 j, g, 5; sub.s32 i, i, j;",
                high + part
            )
        };
        pair(&mut body, &format!("r{}", 4 + register), b(0), b(1));
    }
    for (register, (low, part)) in [(0, 0), (0, 1), (8, 0), (8, 1)].iter().enumerate() {
        body.push_str(&format!(
            "add.s32 i, g, {low}; shl.b32 j, t, 1; add.s32 j, j, {part}; sub.s32 i, i, j; cvt.rn.f32.s32 f{}, i;",
            4 + register
        ));
    }
    body.push_str(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {f4, f5, f6, f7}, {r0, r1, r2, r3}, {r4, r5}, {f4, f5, f6, f7};
         cvt.rni.s32.f32 i, f4; cvt.rni.s32.f32 j, f7; cvt.s64.s32 y, i; shl.b64 y, y, 32; cvt.u64.u32 z, j; or.b64 y, y, z;",
    );
    let got = run_module(&per_thread("", &body), 32, &[0; 32]);
    let product = |i: i64, j: i64| (0..16).map(|k| (2 * i - k) * (3 * k - 5 * j)).sum::<i64>() + i - j;
    for (lane, value) in got.iter().enumerate() {
        let (g, t) = (lane as i64 / 4, lane as i64 % 4);
        let want = (product(g, 2 * t) as u64) << 32 | product(g + 8, 2 * t + 1) as u32 as u64;
        assert_eq!(*value, want, "lane {lane}");
    }
    // Bytes: every element of `a` is its row, of `b` its column minus 3, 32 products each.
    let body = "
        .reg .b32 g, t, a0, a1, b0, c, d<4>; .reg .u64 z;
        shr.u32 g, tid, 2; and.b32 t, tid, 3; mov.u32 c, 7;
        mul.lo.u32 a0, g, 0x01010101; add.u32 a1, a0, 0x08080808;
        sub.s32 b0, g, 3; and.b32 b0, b0, 255; mul.lo.u32 b0, b0, 0x01010101;
        mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {d0, d1, d2, d3}, {a0, a1, a0, a1}, {b0, b0}, {c, c, c, c};
        cvt.u64.u32 y, d1; shl.b64 y, y, 32; cvt.u64.u32 z, d2; or.b64 y, y, z;";
    let got = run_module(&per_thread("", body), 32, &[0; 32]);
    for (lane, value) in got.iter().enumerate() {
        let (g, t) = (lane as i64 / 4, lane as i64 % 4);
        let element = |i: i64, j: i64| (32 * i * (j - 3) + 7) as u32 as u64;
        assert_eq!(*value, element(g, 2 * t + 1) << 32 | element(g + 8, 2 * t), "lane {lane}");
    }
}

/// Functions of the driver may be declared and called where nothing comes by; reached, the fault names them. Any other
/// function without a body is refused when it is loaded.
#[test]
fn functions_of_the_driver_are_faults_where_they_are_reached() {
    let text = |name: &str, value: u32| {
        format!(
            ".version 8.6\n.target sm_90\n.address_size 64\n
            .extern .func (.param .b32 result) {name}(.param .b64 text, .param .b64 values);
            .visible .entry k(.param .u64 buffer) {{
                .reg .u64 p; .reg .u32 x; .reg .pred wrong;
                ld.param.u64 p, [buffer]; ld.global.u32 x, [p];
                setp.eq.u32 wrong, x, {value};
                @!wrong bra FINE;
                {{ .param .b64 a; .param .b64 b; .param .b32 r;
                  st.param.b64 [a], p; st.param.b64 [b], p; call.uni (r), {name}, (a, b); ld.param.b32 x, [r]; }}
            FINE: add.u32 x, x, 1; st.global.u32 [p], x; ret;
            }}"
        )
    };
    assert_eq!(run_module(&text("vprintf", 8), 1, &[7]), [8]);
    assert_eq!(run_module(&text("__assertfail", 8), 1, &[7]), [8]);
    let fault = |name: &str| {
        let run = try_module(MachineConfig::new(1, 1), &text(name, 0), [1, 1, 1], 1, &[0]);
        run.expect_err("the call is reached")
    };
    assert!(fault("vprintf").contains("vprintf is a function of the driver"), "{}", fault("vprintf"));
    assert!(fault("__assertfail").contains("trap"), "{}", fault("__assertfail"));
    let mut machine = Machine::new(MachineConfig::new(1, 1)).expect("a valid machine");
    let error = machine.load_module("test.ptx", &text("other", 0)).expect_err("cannot be linked").to_string();
    assert!(error.contains("other"), "{error}");
}
