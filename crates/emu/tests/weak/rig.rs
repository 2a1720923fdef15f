//! Small programs, explored.

use std::collections::BTreeSet;

use warpferry_emu::{Exploration, Launch, Machine, MachineConfig, MemoryOrder, RunOutcome, Schedule, StreamId};

/// Words that a program leaves.
pub type Outcomes = BTreeSet<Vec<u32>>;

/// Most runs of an exploration.
const RUNS_MAX: u64 = 20_000;

/// An entry whose CTAs are the threads of a test: the body of CTA `i` is the `i`th part. `data` is zeroed memory whose
/// places `x` and `y` are 128 bytes apart; a part leaves what it saw in `r0` and `r1`.
pub fn program(parts: &[&str]) -> String {
    let mut text = "
        .version 8.2
        .target sm_90
        .address_size 64
        .visible .entry program(.param .u64 arg_data, .param .u64 arg_out) {
            .reg .u64 data, out, wide, state;
            .reg .u32 cta, thread, r<4>, count;
            .reg .b32 v<8>;
            .reg .pred here, done;
            .shared .align 128 .b8 smem[1024];
            ld.param.u64 data, [arg_data];
            ld.param.u64 out, [arg_out];
            mov.u32 cta, %ctaid.x;
            mov.u32 thread, %tid.x;
            mov.u32 r0, 0;
            mov.u32 r1, 0;
            setp.eq.u32 here, thread, 0;"
        .to_string();
    for part in 0..parts.len() {
        text += &format!("setp.eq.u32 done, cta, {part}; @done bra part{part};\n");
    }
    text += "ret;\n";
    for (part, body) in parts.iter().enumerate() {
        let body = body.replace("[x", "[data").replace("[y", "[data + 128");
        text += &format!(
            "part{part}: {body} left{part}: @here st.global.u32 [out + {}], r0; @here st.global.u32 [out + {}], r1; ret;\n",
            part * 8,
            part * 8 + 4
        );
    }
    text + "}"
}

/// One run; the words left, and the machine.
pub fn run(text: &str, ctas: u32, threads: u32, schedule: Schedule) -> (Vec<u32>, Machine) {
    let mut config = MachineConfig { memory: MemoryOrder::Weak, schedule, ..MachineConfig::new(1, 1) };
    config.limits.warp_instructions = 200_000;
    let mut machine = Machine::new(config).expect("a valid configuration");
    let module = machine.load_module("program.ptx", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let (data, out) = (machine.alloc(0, 4096).expect("memory"), machine.alloc(0, 4096).expect("memory"));
    machine.fill(data, 0, 4096).expect("memory");
    machine.fill(out, 0, 4096).expect("memory");
    machine
        .launch(Launch {
            gpu: 0,
            stream: StreamId::DEFAULT,
            module,
            entry: "program".to_string(),
            grid: [ctas, 1, 1],
            block: [threads, 1, 1],
            shared_bytes: 0,
            args: [data.to_le_bytes(), out.to_le_bytes()].concat(),
            access: Vec::new(),
        })
        .expect("a valid launch");
    match machine.run_until_idle() {
        Ok(RunOutcome::Idle) => {}
        other => panic!("{other:?}\n{text}"),
    }
    let mut words = vec![0; 8 * ctas as usize];
    machine.read(out, &mut words).expect("the outcome");
    // What remains in the two places.
    let mut places = [0; 132];
    machine.read(data, &mut places).expect("the places");
    words.extend_from_slice(&places[..4]);
    words.extend_from_slice(&places[128..]);
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    (words.chunks_exact(4).map(word).collect(), machine)
}

/// Every outcome of parts of one CTA each.
pub fn explore(parts: &[&str]) -> Outcomes {
    explore_of(parts, 1, 6)
}

/// As [`explore`], with CTAs of `threads`, and at most so many choices of a run that are not plain.
pub fn explore_of(parts: &[&str], threads: u32, deviations: usize) -> Outcomes {
    let text = program(parts);
    let mut exploration = Exploration::new(RUNS_MAX).deviations(deviations);
    let mut seen = Outcomes::new();
    while let Some(schedule) = exploration.schedule() {
        let (outcome, machine) = run(&text, parts.len() as u32, threads, schedule);
        exploration.ran(&machine);
        seen.insert(outcome);
    }
    assert!(exploration.is_finished(), "cut after {} runs\n{text}", exploration.runs());
    seen
}

/// Some words of each outcome.
pub fn only(outcomes: &Outcomes, words: &[usize]) -> Outcomes {
    outcomes.iter().map(|outcome| words.iter().map(|&word| outcome[word]).collect()).collect()
}

pub fn set<const N: usize>(outcomes: &[[u32; N]]) -> Outcomes {
    outcomes.iter().map(|outcome| outcome.to_vec()).collect()
}
