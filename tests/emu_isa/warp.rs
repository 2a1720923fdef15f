//! What lanes do together. Loops go over lane numbers, since expected values are made of them.
#![allow(clippy::needless_range_loop)]

use crate::programs::try_module;
use crate::{check, load, run, run_scheduled, Draw};
use warpferry_emu::{MachineConfig, Schedule};

const M32: u64 = 0xffff_ffff;

fn inputs(seed: u64) -> [[u64; 32]; 3] {
    let mut draw = Draw(seed);
    [draw.lanes(), draw.lanes(), draw.lanes()]
}

#[test]
fn shuffles() {
    let input = inputs(1);
    let a = input[0].map(|v| v & M32);
    let got = run("shfl.sync.idx.b32 d32, a32, b32, 31, -1;", "d32", input);
    for lane in 0..32 {
        assert_eq!(got[lane], a[(input[1][lane] & 31) as usize]);
    }
    let got = run("shfl.sync.up.b32 d32|p, a32, 3, 0, -1; @!p mov.b32 d32, 7;", "d32", input);
    for lane in 0..32 {
        assert_eq!(got[lane], if lane >= 3 { a[lane - 3] } else { 7 });
    }
    // Segments of 8 lanes.
    let got = run("shfl.sync.down.b32 d32|p, a32, 2, 0x181f, -1; @!p mov.b32 d32, 7;", "d32", input);
    for lane in 0..32 {
        assert_eq!(got[lane], if lane % 8 + 2 < 8 { a[lane + 2] } else { 7 });
    }
    let got = run("shfl.sync.bfly.b32 d32, a32, 5, 31, -1;", "d32", input);
    for lane in 0..32 {
        assert_eq!(got[lane], a[lane ^ 5]);
    }
}

#[test]
fn votes_and_matches() {
    let mut input = inputs(2);
    let odd: u64 = (0..32).filter(|&i| input[0][i] & 1 == 1).map(|i| 1 << i).sum();
    assert_eq!(run("vote.sync.ballot.b32 d32, pa, -1;", "d32", input), [odd; 32]);
    assert_eq!(run("vote.sync.any.pred p, pa, -1;", "p", input), [(odd != 0) as u64; 32]);
    assert_eq!(run("vote.sync.all.pred p, !pa, -1;", "p", input), [(odd == 0) as u64; 32]);
    assert_eq!(run("vote.sync.uni.pred p, pa, -1;", "p", input), [(odd == 0 || odd == M32) as u64; 32]);
    for lane in 0..32 {
        input[0][lane] = (lane % 5) as u64;
    }
    let got = run("match.any.sync.b32 d32, a32, -1;", "d32", input);
    for lane in 0..32usize {
        assert_eq!(got[lane], (0..32).filter(|i| i % 5 == lane % 5).map(|i| 1u64 << i).sum::<u64>());
    }
    let got = run("match.all.sync.b64 d32|p, a, -1; @p mov.b32 d32, 9;", "d32", input);
    assert_eq!(got, [0; 32]);
    assert_eq!(run("match.all.sync.b64 d32|p, 3, -1;", "d32", input), [M32; 32]);
}

#[test]
fn reductions_and_elections() {
    let input = inputs(3);
    let a = input[0].map(|v| v as u32);
    let sum = a.iter().fold(0u32, |s, v| s.wrapping_add(*v)) as u64;
    assert_eq!(run("redux.sync.add.u32 d32, a32, -1;", "d32", input), [sum; 32]);
    let least = a.iter().map(|v| *v as i32).min().unwrap() as u32 as u64;
    assert_eq!(run("redux.sync.min.s32 d32, a32, -1;", "d32", input), [least; 32]);
    let all = a.iter().fold(0, |s, v| s ^ v) as u64;
    assert_eq!(run("redux.sync.xor.b32 d32, a32, -1;", "d32", input), [all; 32]);
    let got = run("elect.sync d32|p, -1; @p mov.b32 d32, 100;", "d32", input);
    assert_eq!(got[0], 100);
    assert!(got[1..].iter().all(|v| *v == 0));
}

/// Lanes in two halves vote among themselves, each half on its own way.
#[test]
fn halves_meet_apart() {
    let body = "
        setp.lt.u32 p, lane, 16;
        @p bra low;
        mov.u32 e32, 0xffff0000;
        bra meet;
    low:
        mov.u32 e32, 0x0000ffff;
    meet:
        vote.sync.ballot.b32 d32, pa, e32;";
    let input = inputs(4);
    let odd: u64 = (0..32).filter(|&i| input[0][i] & 1 == 1).map(|i| 1 << i).sum();
    for seed in 0..20 {
        let got = run_scheduled(body, "d32", input, Schedule::Random { seed });
        for lane in 0..32 {
            assert_eq!(got[lane], odd & if lane < 16 { 0xffff } else { 0xffff_0000 }, "seed {seed} lane {lane}");
        }
    }
}

/// Lanes that come late are waited for, however long the others' way was.
#[test]
fn late_lanes_are_waited_for() {
    let body = "
        mov.u32 e32, 0;
        mul.lo.u32 c32, lane, 40;
    again:
        setp.ge.u32 p, e32, c32;
        @p bra meet;
        add.u32 e32, e32, 1;
        bra again;
    meet:
        vote.sync.ballot.b32 d32, pa, -1;
        shfl.sync.idx.b32 e32, e32, 31, 31, -1;
        setp.ne.u32 q, e32, 1240;
        @q mov.b32 d32, 0;";
    let input = inputs(8);
    let odd: u64 = (0..32).filter(|&i| input[0][i] & 1 == 1).map(|i| 1 << i).sum();
    for seed in 0..20 {
        assert_eq!(run_scheduled(body, "d32", input, Schedule::Random { seed }), [odd; 32], "seed {seed}");
    }
    assert_eq!(run(body, "d32", input), [odd; 32]);
}

/// Lanes that arrive by different ways meet at a warp barrier, and see what the others stored.
#[test]
fn warp_barriers_join_different_places() {
    let body = "
        { .shared .align 4 .b8 box[128];
        .reg .u32 at, other;
        mov.u32 at, box; mad.lo.u32 at, lane, 4, at;
        @pa bra first;
        st.shared.u32 [at], lane;
        bar.warp.sync -1;
        bra read;
    first:
        add.u32 e32, lane, 100;
        st.shared.u32 [at], e32;
        bar.warp.sync -1;
    read:
        xor.b32 other, lane, 1;
        mov.u32 at, box; mad.lo.u32 at, other, 4, at;
        ld.shared.u32 d32, [at];
        bar.warp.sync -1;
        }";
    let input = inputs(5);
    for seed in 0..20 {
        let got = run_scheduled(body, "d32", input, Schedule::Random { seed });
        for lane in 0..32usize {
            let other = lane ^ 1;
            let want = other as u64 + if input[0][other] & 1 == 1 { 100 } else { 0 };
            assert_eq!(got[lane], want, "seed {seed} lane {lane}");
        }
    }
}

/// Lanes that have exited are not waited for.
#[test]
fn exited_lanes_are_not_waited_for() {
    let body = "
        setp.ge.u32 p, lane, 8;
        mov.u32 d32, 5; cvt.u64.u32 d, d32; st.global.u64 [out], d;
        @p exit;
        vote.sync.ballot.b32 d32, p, -1;
        activemask.b32 d32;";
    let got = run(body, "d32", inputs(6));
    assert_eq!(got[3], 0xff);
    assert_eq!(got[20], 5);
}

#[test]
fn special_registers() {
    check("mov.u32 d32, %lanemask_lt; popc.b32 d32, d32; sub.u32 d32, d32, lane;", "d32", |_, _, _| 0);
    check("mov.u32 d32, %lanemask_ge; popc.b32 d32, d32; add.u32 d32, d32, lane;", "d32", |_, _, _| 32);
    check("mov.u32 d32, %lanemask_le; mov.u32 e32, %lanemask_gt; xor.b32 d32, d32, e32;", "d32", |_, _, _| M32);
    check("mov.u32 d32, %ntid.x; mov.u32 e32, %nctaid.y; mad.lo.u32 d32, d32, 100, e32;", "d32", |_, _, _| 3201);
    check("mov.u32 d32, WARP_SZ;", "d32", |_, _, _| 32);
}

#[test]
fn a_lane_outside_its_mask_is_a_fault() {
    let run = std::panic::catch_unwind(|| run("vote.sync.ballot.b32 d32, pa, 1;", "d32", inputs(7)));
    let message = *run.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("member mask 0x00000001"), "{message}");
    assert!(load("vote.ballot.b32 d32, pa;", "d32").is_err());
}

/// Modules for targets before `sm_70` exchange among the lanes that are there, without a member mask. Later ones must
/// give one.
#[test]
fn old_targets_exchange_without_masks() {
    let text = |target: &str| {
        format!(
            ".version 5.0\n.target {target}\n.address_size 64\n
            .visible .entry k(.param .u64 buffer) {{
                .reg .u64 p; .reg .u32 tid, odd, r, v; .reg .pred there, low, all;
                ld.param.u64 p, [buffer]; mov.u32 tid, %tid.x; mad.wide.u32 p, tid, 8, p;
                and.b32 odd, tid, 1; setp.ne.u32 low, odd, 0; @!low bra DONE;
                shfl.bfly.b32 r|there, tid, 2, 31; @!there trap;
                setp.lt.u32 low, tid, 16; vote.ballot.b32 v, low; xor.b32 r, r, v;
                vote.all.pred all, low; @all trap; vote.any.pred all, low; @!all trap;
                st.global.u32 [p], {{r}};
            DONE: ret;
            }}"
        )
    };
    let run = |target: &str| try_module(MachineConfig::new(1, 1), &text(target), [1, 1, 1], 32, &[0; 32]);
    let want = (0..32u64).map(|tid| if tid & 1 == 1 { (tid ^ 2) ^ 0xaaaa } else { 0 });
    assert_eq!(run("sm_35"), Ok(want.collect::<Vec<_>>()));
    let error = run("sm_70").expect_err("the mask is missing");
    assert!(error.contains("from sm_70 on"), "{error}");
}
