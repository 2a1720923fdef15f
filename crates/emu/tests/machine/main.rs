//! The machine as a whole: faults, asynchronous copies, barriers, parking, streams, NICs, schedules.

mod accounts;
mod barriers;
mod copies;
mod faults;
mod graphs;
mod live;
mod network;
mod parking;
mod schedules;
mod streams;
mod time;

use warpferry_emu::{Fault, Launch, Machine, MachineConfig, ModuleId, RunOutcome, Schedule, StreamId};

/// Round robin and a number of seeds.
pub fn schedules(seeds: u64) -> impl Iterator<Item = Schedule> {
    std::iter::once(Schedule::RoundRobin).chain((0..seeds).map(|seed| Schedule::Random { seed }))
}

/// A module of one kernel `test` with parameters `arg0`, `arg1`, `arg2` in the registers `x0`, `x1`, `x2`, the lane in
/// `lane`, the thread in `tid`, and `s` pointing to 4 KiB of shared memory.
pub fn kernel(body: &str) -> String {
    format!(
        ".version 8.2\n.target sm_90\n.address_size 64\n
        .visible .entry test(.param .u64 arg0, .param .u64 arg1, .param .u64 arg2) {{
            .reg .b64 x0, x1, x2, y<8>;
            .reg .b32 lane, tid, s, r<8>;
            .reg .pred p, q, leader;
            .shared .align 128 .b8 stage[4096];
            ld.param.u64 x0, [arg0]; ld.param.u64 x1, [arg1]; ld.param.u64 x2, [arg2];
            mov.u32 lane, %laneid; mov.u32 tid, %tid.x; mov.u32 s, stage;
            setp.eq.u32 leader, tid, 0;
            {body}
            ret;
        }}"
    )
}

/// A launch of `test` on a GPU.
pub fn launch(gpu: usize, module: ModuleId, ctas: u32, threads: u32, args: [u64; 3]) -> Launch {
    Launch {
        gpu,
        stream: StreamId::DEFAULT,
        module,
        entry: "test".into(),
        grid: [ctas, 1, 1],
        block: [threads, 1, 1],
        shared_bytes: 0,
        args: args.iter().flat_map(|v| v.to_le_bytes()).collect(),
        access: Vec::new(),
    }
}

/// One GPU with two zeroed buffers of 4 KiB whose addresses are the first arguments.
pub struct Bench {
    /// The machine.
    pub machine: Machine,
    /// The loaded module.
    pub module: ModuleId,
    /// First buffer.
    pub x0: u64,
    /// Second buffer.
    pub x1: u64,
}

impl Bench {
    /// With a configuration.
    pub fn new(config: MachineConfig, body: &str) -> Bench {
        let mut machine = Machine::new(config).expect("a valid machine");
        let module = machine.load_module("test.ptx", &kernel(body)).unwrap_or_else(|e| panic!("{e}"));
        let (x0, x1) = (machine.alloc(0, 4096).unwrap(), machine.alloc(0, 4096).unwrap());
        machine.fill(x0, 0, 4096).unwrap();
        machine.fill(x1, 0, 4096).unwrap();
        Bench { machine, module, x0, x1 }
    }

    /// With a schedule, all else by default.
    pub fn scheduled(schedule: Schedule, body: &str) -> Bench {
        Bench::new(MachineConfig { schedule, ..MachineConfig::new(1, 1) }, body)
    }

    /// Launches and runs to the end.
    pub fn run(&mut self, ctas: u32, threads: u32, x2: u64) -> Result<RunOutcome, Fault> {
        let launch = launch(0, self.module, ctas, threads, [self.x0, self.x1, x2]);
        self.machine.launch(launch).unwrap_or_else(|e| panic!("{e}"));
        self.machine.run_until_idle()
    }

    /// The word at an address.
    pub fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.machine.read(address, &mut bytes).unwrap_or_else(|e| panic!("{e}"));
        u64::from_le_bytes(bytes)
    }
}

/// The fault of a single-warp kernel.
pub fn fault(body: &str, x2: u64) -> Fault {
    let mut bench = Bench::scheduled(Schedule::RoundRobin, body);
    match bench.run(1, 32, x2) {
        Err(fault) => fault,
        Ok(outcome) => panic!("no fault but {outcome:?}"),
    }
}
