//! Small programs on small machines, under several schedules.

use warpferry_emu::{Checks, FaultKind, Hosts, Launch, LaunchId, Machine, MachineConfig, ModuleId, Schedule, StreamId};

/// Registers and parameters that every program here may use: `data`, `flag` and `other` are addresses.
const HEAD: &str = "
    .version 8.2
    .target sm_90
    .address_size 64
    .extern .shared .align 128 .b8 smem[];
";

/// An entry with this body.
pub fn entry(name: &str, body: &str) -> String {
    entry_of(name, 1, body)
}

/// An entry with this body, in clusters of `size` CTAs.
pub fn entry_of(name: &str, size: u32, body: &str) -> String {
    let cluster = if size == 1 { String::new() } else { format!(".reqnctapercluster {size}, 1, 1") };
    format!(
        "
        .visible .entry {name}(.param .u64 arg_data, .param .u64 arg_flag, .param .u64 arg_other) {cluster} {{
            .reg .u64 data, flag, other, wide, state;
            .reg .u32 thread, lane, warp, cta, value, seen, count, at, far, object;
            .reg .b32 a, b, c, d;
            .reg .pred here, there, done;
            ld.param.u64 data, [arg_data];
            ld.param.u64 flag, [arg_flag];
            ld.param.u64 other, [arg_other];
            mov.u32 thread, %tid.x;
            mov.u32 cta, %ctaid.x;
            and.b32 lane, thread, 31;
            shr.u32 warp, thread, 5;
            setp.eq.u32 here, thread, 0;
            {body}
            ret;
        }}"
    )
}

pub fn module(entries: &[String]) -> String {
    format!("{HEAD}{}", entries.concat())
}

/// A machine that checks races.
pub fn machine(nodes: usize, gpus: usize, schedule: Schedule) -> Machine {
    let mut config = MachineConfig::new(nodes, gpus);
    config.checks = Checks { uninitialized: false, ..Checks::RACES };
    config.schedule = schedule;
    config.limits.warp_instructions = 1_000_000;
    Machine::new(config).unwrap()
}

/// As [`machine`], with a host for each GPU.
pub fn machine_of_hosts(gpus: usize, schedule: Schedule) -> Machine {
    let mut config = MachineConfig::new(1, gpus);
    config.checks = Checks { uninitialized: false, ..Checks::RACES };
    config.schedule = schedule;
    config.hosts = Hosts::PerGpu;
    config.limits.warp_instructions = 1_000_000;
    Machine::new(config).unwrap()
}

pub fn launch(
    machine: &mut Machine,
    module: ModuleId,
    gpu: usize,
    entry: &str,
    shape: (u32, u32),
    args: [u64; 3],
) -> LaunchId {
    launch_in(machine, module, (gpu, StreamId::DEFAULT), entry, shape, args)
}

pub fn launch_in(
    machine: &mut Machine,
    module: ModuleId,
    (gpu, stream): (usize, StreamId),
    entry: &str,
    (ctas, threads): (u32, u32),
    args: [u64; 3],
) -> LaunchId {
    let args = args.iter().flat_map(|a| a.to_le_bytes()).collect();
    let (grid, block) = ([ctas, 1, 1], [threads, 1, 1]);
    let entry = entry.to_string();
    machine
        .launch(Launch { gpu, stream, module, entry, grid, block, shared_bytes: 8192, args, access: Vec::new() })
        .unwrap()
}

/// Runs to the end: the words of the race, or of what is wrong with a bulk copy, if there is one. Other faults are errors of the test.
pub fn race_of(machine: &mut Machine) -> Option<String> {
    match machine.run_until_idle() {
        Ok(outcome) => {
            assert!(matches!(outcome, warpferry_emu::RunOutcome::Idle), "{outcome:?}");
            None
        }
        Err(fault) => match &fault.kind {
            FaultKind::Race(report) => Some(report.to_string()),
            FaultKind::Bulk(reason) => Some(reason.clone()),
            _ => panic!("another fault: {fault}"),
        },
    }
}

pub fn schedules() -> Vec<Schedule> {
    let mut all = vec![Schedule::RoundRobin];
    all.extend((1..=12).map(|seed| Schedule::Random { seed }));
    all
}

/// How the threads of a program lie.
#[derive(Clone, Copy)]
pub struct Shape {
    pub ctas: u32,
    pub threads: u32,
    /// CTAs of a cluster.
    pub cluster: u32,
}

impl Shape {
    /// CTAs that are no clusters.
    pub const fn of(ctas: u32, threads: u32) -> Shape {
        Shape { ctas, threads, cluster: 1 }
    }
}

/// A pair of CTAs of 32 threads that are a cluster.
pub const CLUSTER: Shape = Shape { ctas: 2, threads: 32, cluster: 2 };

/// Runs one entry under every schedule: the words of each race.
pub fn run(body: &str, shape: Shape) -> Vec<Option<String>> {
    let text = module(&[entry_of("kernel", shape.cluster, body)]);
    schedules()
        .into_iter()
        .map(|schedule| {
            let mut machine = machine(1, 1, schedule);
            let id = machine.load_module("program.ptx", &text).unwrap();
            let data = zeroed(&mut machine, 0, 65536);
            let flag = zeroed(&mut machine, 0, 4096);
            let other = zeroed(&mut machine, 0, 65536);
            launch(&mut machine, id, 0, "kernel", (shape.ctas, shape.threads), [data, flag, other]);
            race_of(&mut machine)
        })
        .collect()
}

/// Memory of a GPU, zeroed by the host.
pub fn zeroed(machine: &mut Machine, gpu: usize, bytes: u64) -> u64 {
    let address = machine.alloc(gpu, bytes).unwrap();
    machine.fill(address, 0, bytes).unwrap();
    address
}

/// The program has no race under any schedule.
#[track_caller]
pub fn clean(body: &str, shape: Shape) {
    for (index, race) in run(body, shape).into_iter().enumerate() {
        assert!(race.is_none(), "schedule {index}: {}\n{body}", race.unwrap());
    }
}

/// The program races under some schedule, and a report has these words: which of two accesses comes first, and so
/// what is said, is up to the schedule.
#[track_caller]
pub fn caught(body: &str, shape: Shape, words: &str) {
    check(run(body, shape), words, body);
}

#[track_caller]
pub fn check(races: Vec<Option<String>>, words: &str, body: &str) {
    let found: Vec<String> = races.into_iter().flatten().collect();
    assert!(!found.is_empty(), "no race is found\n{body}");
    let said = found.iter().any(|race| words.split('|').any(|words| race.contains(words)));
    assert!(said, "no report has `{words}`:\n{}\n{body}", found.join("\n"));
}

/// The program is clean, and with `from` replaced by `to` it is caught with these words.
#[track_caller]
pub fn pair(body: &str, shape: Shape, from: &str, to: &str, words: &str) {
    assert!(body.contains(from), "`{from}` is not in the program");
    clean(body, shape);
    caught(&body.replace(from, to), shape, words);
}
