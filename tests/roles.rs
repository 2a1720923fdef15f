//! Warps that change roles are as good as the best fixed split where ranks are loaded evenly, and better than it where they
//! are not.
//!
//! Method: a small world on the emulator, in rounds of a schedule with a fixed seed; no clock decides anything.
//! `benches/roles` compares more worlds, gates and schedules, docs/perf/roles.md has what it gave.
#![cfg(feature = "emu")]

#[allow(dead_code)] // the bench uses more of it
#[path = "../benches/roles/play.rs"]
mod play;
#[path = "../benches/roles/split.rs"]
mod split;

use play::{play, Choices, Setting};
use split::Split;
use warpferry::gate::Gate;
use warpferry::plan::Roles;
use warpferry::Topology;

const WORKERS: u32 = 6;
const TOKENS: u32 = 32;
const SEED: u64 = 1;
const OPS: [&str; 2] = ["dispatch", "combine"];

/// Makespans of dispatch and combine.
fn makespans(setting: &Setting, gate: Gate, roles: &Roles) -> [u64; 2] {
    let choices = Choices::drawn(gate, setting, SEED).unwrap_or_else(|error| panic!("{gate}: {error}"));
    let took = play(setting, roles, &choices, SEED).unwrap_or_else(|error| panic!("{gate}, {roles:?}: {error}"));
    took.map(|took| took.makespan)
}

#[test]
fn dynamic_roles_pay() {
    let topology = Topology::new(2, 4).expect("a small world");
    let setting = Setting::small(topology, TOKENS, WORKERS);
    let splits = Split::all(WORKERS);
    let even: Vec<[u64; 2]> = splits.iter().map(|split| makespans(&setting, Gate::Uniform, &split.roles())).collect();
    let dynamic = makespans(&setting, Gate::Uniform, &Roles::Dynamic);
    for (op, name) in OPS.iter().enumerate() {
        let best = (0..splits.len()).min_by_key(|&split| even[split][op]).expect("six workers can be split");
        let (have, most) = (dynamic[op], even[best][op] * 102 / 100);
        assert!(have <= most, "{name}, uniform: {have} ticks, {most} with the split {}", splits[best]);
        for gate in [Gate::Zipf { alpha: 1.2 }, Gate::AllToOne] {
            let have = makespans(&setting, gate, &Roles::Dynamic)[op];
            let fixed = makespans(&setting, gate, &splits[best].roles())[op];
            assert!(have < fixed, "{name}, {gate}: {have} ticks, {fixed} with the split {}", splits[best]);
        }
    }
}
