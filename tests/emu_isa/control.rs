//! Branches, divergence, calls.

use crate::{kernel, load, run_scheduled, Draw};
use warpferry_emu::{Machine, MachineConfig, Schedule};

fn schedules() -> impl Iterator<Item = Schedule> {
    std::iter::once(Schedule::RoundRobin).chain((0..12).map(|seed| Schedule::Random { seed }))
}

fn check(body: &str, result: &str, expected: impl Fn(u64, u64, u64, usize) -> u64) {
    let mut draw = Draw(77);
    let inputs = [draw.lanes(), draw.lanes(), draw.lanes()];
    for schedule in schedules() {
        let got = run_scheduled(body, result, inputs, schedule.clone());
        for lane in 0..32 {
            let want = expected(inputs[0][lane], inputs[1][lane], inputs[2][lane], lane);
            assert_eq!(got[lane], want, "{schedule:?} lane {lane}");
        }
    }
}

/// Each lane runs its own number of rounds.
#[test]
fn loops_part_and_join() {
    let body = "
        and.b32 e32, a32, 15;
        mov.u32 d32, 0;
    again:
        setp.ge.u32 p, d32, e32;
        @p bra over;
        add.u32 d32, d32, 1;
        bra again;
    over:
        mad.lo.u32 d32, d32, 1000, lane;";
    check(body, "d32", |a, _, _, lane| (a & 15) * 1000 + lane as u64);
}

#[test]
fn nested_branches() {
    let body = "
        @pa bra one;
        @pb bra two;
        mov.u32 d32, 0; bra end;
    two: mov.u32 d32, 2; bra end;
    one:
        @pb bra three;
        mov.u32 d32, 1; bra end;
    three: mov.u32 d32, 3;
    end: add.u32 d32, d32, 10;";
    check(body, "d32", |a, b, _, _| 10 + (a & 1) + 2 * (b & 1));
}

#[test]
fn indexed_branches() {
    let body = "
        and.b32 e32, a32, 3;
        table: .branchtargets t0, t1, t2, t3;
        brx.idx e32, table;
    t0: mov.u32 d32, 40; bra end;
    t1: mov.u32 d32, 41; bra end;
    t2: mov.u32 d32, 42; bra end;
    t3: mov.u32 d32, 43;
    end:";
    check(body, "d32", |a, _, _, _| 40 + (a & 3));
}

/// A lane spins for a word that another lane of its warp stores: both make progress.
#[test]
fn lanes_may_wait_for_each_other() {
    let body = "
        { .shared .align 4 .b8 flag[4]; .reg .u32 at;
        mov.u32 at, flag;
        setp.eq.u32 p, lane, 31;
        @p st.shared.u32 [at], 0;
        bar.warp.sync -1;
        @p bra store;
    wait:
        ld.relaxed.cta.shared.u32 d32, [at];
        setp.eq.u32 q, d32, 0;
        @q bra wait;
        bra end;
    store:
        st.relaxed.cta.shared.u32 [at], 9;
        mov.u32 d32, 9;
    end: }";
    check(body, "d32", |_, _, _, _| 9);
}

/// Functions with parameters in frames and in registers, called by some lanes from two places.
#[test]
fn calls() {
    let functions = "
        .func (.param .b64 out) mix(.param .b64 x, .param .b64 y) {
            .reg .b64 more, less, rest; .reg .pred big;
            ld.param.u64 more, [x]; ld.param.u64 less, [y];
            setp.gt.u64 big, more, less;
            @big bra first;
            sub.u64 rest, less, more; st.param.u64 [out], rest; ret;
        first:
            sub.u64 rest, more, less; st.param.u64 [out], rest; ret;
        }
        .func (.reg .b32 out) twice(.reg .b32 x) { add.u32 out, x, x; ret; }
    ";
    let body = "
        { .param .b64 p0, p1, r0;
        @pa bra other;
        st.param.u64 [p0], a; st.param.u64 [p1], b;
        call (r0), mix, (p0, p1);
        ld.param.u64 d, [r0];
        bra end;
    other:
        st.param.u64 [p0], c; st.param.u64 [p1], a;
        call (r0), mix, (p0, p1);
        ld.param.u64 d, [r0];
    end:
        call (d32), twice, (lane);
        cvt.u64.u32 e, d32;
        add.u64 d, d, e; }";
    let mut draw = Draw(3);
    let inputs = [draw.lanes(), draw.lanes(), draw.lanes()];
    let text = kernel(body, "d");
    let at = text.find(".visible").unwrap();
    let text = format!("{}{functions}{}", &text[..at], &text[at..]);
    let mut machine = Machine::new(MachineConfig::new(1, 1)).unwrap();
    let module = machine.load_module("calls.ptx", &text).unwrap_or_else(|e| panic!("{e}"));
    let (input, output) = (machine.alloc(0, 768).unwrap(), machine.alloc(0, 256).unwrap());
    let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    machine.write(input, &bytes).unwrap();
    machine
        .launch(warpferry_emu::Launch {
            gpu: 0,
            stream: warpferry_emu::StreamId::DEFAULT,
            module,
            entry: "test".into(),
            grid: [1, 1, 1],
            block: [32, 1, 1],
            shared_bytes: 0,
            args: [input, output].iter().flat_map(|v| v.to_le_bytes()).collect(),
            access: Vec::new(),
        })
        .unwrap();
    machine.run_until_idle().unwrap_or_else(|f| panic!("{f}"));
    let mut back = [0; 256];
    machine.read(output, &mut back).unwrap();
    for lane in 0..32 {
        let got = u64::from_le_bytes(back[8 * lane..8 * lane + 8].try_into().unwrap());
        let [a, b, c] = inputs.map(|x| x[lane]);
        let want = if a & 1 == 1 { c.abs_diff(a) } else { a.abs_diff(b) };
        assert_eq!(got, want.wrapping_add(2 * lane as u64), "lane {lane}");
    }
}

#[test]
fn mistakes_are_found_at_load() {
    let error = load("{ .reg .b32 hidden; add.u32 d32, hidden, 1; }", "d32").unwrap_err().to_string();
    assert!(error.contains("writes register hidden"), "{error}");
    assert!(error.contains("test.ptx:"), "{error}");
}
