//! Schedules in weak memory: plain choices show nothing weak, drawn ones replay, PCT and draws find what there is.

use std::collections::BTreeSet;

use crate::rig::{program, run};
use warpferry_emu::{MachineConfig, Schedule};

const WRITE: &str = "st.global.u32 [x], 1; st.relaxed.gpu.global.u32 [y], 1;";
const READ: &str = "ld.acquire.gpu.global.u32 r0, [y]; ld.global.u32 r1, [x];";

#[test]
fn plain_choices_show_the_last_values() {
    let (words, _) = run(&program(&[WRITE, READ]), 2, 1, Schedule::RoundRobin);
    assert_eq!(words[2..4], [1, 1]);
}

#[test]
fn drawn_schedules_and_pct_find_the_weak_outcome() {
    let text = program(&[WRITE, READ]);
    let seen = |schedule: &dyn Fn(u64) -> Schedule| -> BTreeSet<Vec<u32>> {
        (1..=60).map(|seed| run(&text, 2, 1, schedule(seed)).0[2..4].to_vec()).collect()
    };
    assert_eq!(seen(&|seed| Schedule::Random { seed }).len(), 4);
    assert_eq!(seen(&|seed| Schedule::Pct { seed, depth: 2, steps: 8 }).len(), 4);
}

#[test]
fn spinning_ends_under_every_schedule() {
    let poll = "again: ld.acquire.gpu.global.u32 r0, [y]; setp.eq.u32 done, r0, 0; @done bra again;
                ld.global.u32 r1, [x];";
    let text = program(&[&WRITE.replace("relaxed", "release"), poll]);
    for seed in 1..=20 {
        for schedule in [Schedule::Random { seed }, Schedule::Pct { seed, depth: 1, steps: 50 }] {
            assert_eq!(run(&text, 2, 1, schedule).0[2..4], [1, 1]);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let text = program(&[WRITE, READ]);
    for seed in 1..=20 {
        let pct = Schedule::Pct { seed, depth: 3, steps: 8 };
        assert_eq!(run(&text, 2, 1, pct.clone()).0, run(&text, 2, 1, pct).0);
    }
    assert!(MachineConfig::new(1, 1).memory == warpferry_emu::MemoryOrder::Sequential);
}
