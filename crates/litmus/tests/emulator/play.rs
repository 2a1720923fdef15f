//! Runs of a test on the emulator.

use std::collections::BTreeSet;

use warpferry_emu::{Exploration, Launch, Machine, MachineConfig, MemoryOrder, RunOutcome, Schedule, StreamId};
use warpferry_litmus::{Test, Variable};

use crate::ptx::{Program, REGISTERS, STRIDE};

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The final state of one run: the test's observed variables; and the machine.
pub fn run(
    test: &Test,
    program: &Program,
    memory_order: MemoryOrder,
    schedule: Schedule,
) -> Result<(Vec<i64>, Machine), String> {
    let mut config = MachineConfig::new(1, program.gpus);
    config.schedule = schedule;
    config.memory = memory_order;
    config.gpu.sms = 8;
    let mut machine = Machine::new(config).map_err(said)?;
    let module = machine.load_module("litmus.ptx", &program.text).map_err(|e| format!("{e}\n{}", program.text))?;
    let (places, threads) = (test.initial.len(), test.threads.len());
    let memory = machine.alloc(0, (places * STRIDE) as u64).map_err(said)?;
    let out = machine.alloc(0, (threads * REGISTERS * 8) as u64).map_err(said)?;
    let mut bytes = vec![0; places * STRIDE];
    for (place, initial) in test.initial.iter().enumerate() {
        bytes[place * STRIDE..][..8].copy_from_slice(&initial.to_le_bytes());
    }
    machine.write(memory, &bytes).map_err(said)?;
    machine.write(out, &vec![0; threads * REGISTERS * 8]).map_err(said)?;
    for gpu in 0..program.gpus {
        if gpu > 0 {
            machine.enable_peer(gpu, 0).map_err(said)?;
        }
        let mut args = [memory.to_le_bytes(), out.to_le_bytes()].concat();
        args.extend((gpu as u32).to_le_bytes());
        machine
            .launch(Launch {
                gpu,
                stream: StreamId::DEFAULT,
                module,
                entry: "litmus".to_string(),
                grid: [program.ctas, 1, 1],
                block: [32 * program.warps, 1, 1],
                shared_bytes: 0,
                args,
                access: Vec::new(),
            })
            .map_err(said)?;
    }
    match machine.run_until_idle() {
        Ok(RunOutcome::Idle | RunOutcome::Reached) => {}
        Ok(RunOutcome::Stalled(report)) => return Err(format!("stalled: {report:?}")),
        Err(fault) => return Err(format!("{fault:?}")),
    }
    let word = |address: u64| {
        let mut word = [0; 8];
        machine.read(address, &mut word).map(|()| i64::from_le_bytes(word)).map_err(said)
    };
    let value = |variable: Variable| match variable {
        Variable::Register { thread, register } => word(out + ((thread * REGISTERS + register) * 8) as u64),
        Variable::Memory { location } => word(memory + (test.locations[location].memory * STRIDE) as u64),
    };
    let state = test.observed().into_iter().map(value).collect::<Result<_, _>>()?;
    Ok((state, machine))
}

/// The states that every sequence of choices shows, at most so many runs, and whether those were all.
pub fn explore(
    test: &Test,
    program: &Program,
    runs: u64,
    deviations: usize,
) -> Result<(BTreeSet<Vec<i64>>, bool, u64), String> {
    let mut exploration = Exploration::new(runs).deviations(deviations);
    let mut seen = BTreeSet::new();
    while let Some(schedule) = exploration.schedule() {
        let (state, machine) = run(test, program, MemoryOrder::Weak, schedule.clone())
            .map_err(|error| format!("{schedule:?}: {error}"))?;
        exploration.ran(&machine);
        seen.insert(state);
    }
    Ok((seen, exploration.is_finished(), exploration.runs()))
}
