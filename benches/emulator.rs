//! Warp instructions a second of the emulator on one core: a plain loop of arithmetic and 16-byte copies, with checks
//! off (goal: 30 million) and on, and a whole small cluster running the real kernels.
//!
//! Elements are warp instructions: criterion's `elem/s` is the rate.
#![allow(missing_docs)] // criterion makes public functions

use std::time::Duration;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use half::bf16;
use warpferry::{Combine, Dispatch, Shape, Topology, Tuning, World, WorldConfig};
use warpferry_emu::{Checks, Launch, Machine, MachineConfig, RunOutcome, StreamId};

/// Each thread copies 16 bytes a turn and mixes what it copied.
const LOOP: &str = "
.version 8.2
.target sm_90
.address_size 64
.visible .entry mix(.param .u64 arg_from, .param .u64 arg_to, .param .u32 arg_turns) .maxntid 256
{
    .reg .u64   from, to;
    .reg .u32   thread, index, turn, turns, sum;
    .reg .b32   word<4>;
    .reg .pred  more;
    ld.param.u64            from, [arg_from];
    ld.param.u64            to, [arg_to];
    ld.param.u32            turns, [arg_turns];
    mov.u32                 thread, %tid.x;
    mov.u32                 index, %ctaid.x;
    mad.lo.u32              index, index, 256, thread;
    mad.wide.u32            from, index, 16, from;
    mad.wide.u32            to, index, 16, to;
    mov.u32                 sum, thread;
    mov.u32                 turn, 0;
again:
    ld.global.v4.b32        {word0, word1, word2, word3}, [from];
    add.u32                 sum, sum, word0;
    xor.b32                 sum, sum, word1;
    shf.l.wrap.b32          sum, sum, sum, 7;
    mad.lo.u32              sum, sum, 5, word2;
    add.u32                 word3, word3, sum;
    st.global.v4.b32        [to], {word0, word1, word2, word3};
    add.u32                 turn, turn, 1;
    setp.lt.u32             more, turn, turns;
    @more bra               again;
    ret;
}
";

const CTAS: u32 = 4;
const TURNS: u32 = 200;
const TOKENS: usize = 32;
const HIDDEN: usize = 1024;
const TOPK: usize = 4;
const WAIT: Duration = Duration::from_secs(600);

/// A machine of one GPU and what launches the loop on it.
fn machine(checks: Checks) -> (Machine, Launch) {
    let mut config = MachineConfig::new(1, 1);
    config.checks = checks;
    let mut machine = Machine::new(config).expect("the defaults are valid");
    let bytes = 16 * 256 * u64::from(CTAS);
    let from = machine.alloc(0, bytes).expect("little memory");
    let to = machine.alloc(0, bytes).expect("little memory");
    machine.fill(from, 0x5a, bytes).expect("own memory");
    let module = machine.load_module("mix", LOOP).unwrap_or_else(|error| panic!("{error}"));
    let mut args = Vec::new();
    args.extend_from_slice(&from.to_le_bytes());
    args.extend_from_slice(&to.to_le_bytes());
    args.extend_from_slice(&TURNS.to_le_bytes());
    let launch = Launch {
        gpu: 0,
        stream: StreamId::DEFAULT,
        module,
        entry: "mix".to_string(),
        grid: [CTAS, 1, 1],
        block: [256, 1, 1],
        shared_bytes: 0,
        args,
        access: Vec::new(),
    };
    (machine, launch)
}

fn run(machine: &mut Machine, launch: &Launch) {
    machine.launch(launch.clone()).expect("the launch is valid");
    match machine.run_until_idle() {
        Ok(RunOutcome::Idle) => {}
        other => panic!("the loop ended as {other:?}"),
    }
}

fn instructions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("warp instructions");
    for (name, checks) in [("checks off", Checks::NONE), ("checks on", Checks::ALL)] {
        let (mut machine, launch) = machine(checks);
        run(&mut machine, &launch);
        group.throughput(Throughput::Elements(machine.statistics().warp_instructions()));
        group.bench_function(name, |bencher| bencher.iter(|| run(&mut machine, &launch)));
    }
    group.finish();
}

/// Two nodes of two GPUs with the real kernels.
fn cluster(checks: Checks) -> World {
    let topology = Topology::new(2, 2).expect("a small world");
    let shape = Shape::new(HIDDEN as u32, 16, TOPK as u32, TOKENS as u32).expect("a small shape");
    let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
    (tuning.channels, tuning.dispatch_sms, tuning.combine_sms) = (8, 4, 4);
    let mut config = WorldConfig::new(topology, shape).tuning(tuning);
    config.machine.checks = checks;
    World::emulated(config).expect("the world is valid")
}

fn round_trip(world: &mut World) {
    let done = world.run(|rank| -> warpferry::Result<()> {
        let x = rank.tensor(&vec![bf16::ONE; TOKENS * HIDDEN], &[TOKENS, HIDDEN])?;
        let choices: Vec<i32> = (0..TOKENS * TOPK).map(|at| (at * 5 % 16) as i32).collect();
        let topk_idx = rank.tensor(&choices, &[TOKENS, TOPK])?;
        let got = rank.dispatch(Dispatch::new(&x, &topk_idx))?.wait(WAIT)?;
        rank.combine(Combine::new(&got.x, &got.handle))?.wait(WAIT)?;
        Ok(())
    });
    let done = done.and_then(|ranks| ranks.into_iter().collect::<warpferry::Result<Vec<()>>>());
    done.unwrap_or_else(|error| panic!("{error}"));
}

fn counted(world: &World) -> u64 {
    world.machine().map_or(0, |machine| machine.with(|machine| machine.statistics().warp_instructions()))
}

fn clusters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch and combine on 2 x 2");
    group.sample_size(10);
    for (name, checks) in [("checks off", Checks::NONE), ("checks on", Checks::ALL)] {
        let mut world = cluster(checks);
        round_trip(&mut world);
        group.throughput(Throughput::Elements(counted(&world)));
        group.bench_function(name, |bencher| bencher.iter(|| round_trip(&mut world)));
    }
    group.finish();
}

criterion_group!(benches, instructions, clusters);
criterion_main!(benches);
