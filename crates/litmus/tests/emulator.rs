//! The tests of the suite as real PTX on the emulator, under many schedules: it never shows a state that the model forbids.
//!
//! GPUs are played by blocks of one GPU, which only brings the threads closer together. What the emulator does not run
//! as it stands (barriers with a quorum, other proxies, one-sided fences, tests that may not end) is left out and counted.
//! `LITMUS_SEEDS=N` runs that many schedules of each test.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use warpferry_emu::{Launch, Machine, MachineConfig, RunOutcome, Schedule, StreamId};
use warpferry_litmus::{
    parse, run, Access, Binary, Compare, Instruction, Liveness, Operand, Options, Order, Proxy, Scope, Test, Update,
    Variable,
};

/// Bytes from one location to the next, and registers of a thread that are written out.
const STRIDE: usize = 128;
const REGISTERS: usize = 16;

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Cta => "cta",
        Scope::Cluster => "cluster",
        Scope::Gpu => "gpu",
        Scope::Sys => "sys",
    }
}

fn qualifiers(access: Access) -> Option<String> {
    if access.proxy != Proxy::Generic {
        return None;
    }
    let order = match access.order {
        Order::Weak => return Some("weak".to_string()),
        Order::Relaxed => "relaxed",
        Order::Acquire => "acquire",
        Order::Release => "release",
        Order::AcquireRelease => "acq_rel",
        Order::SequentiallyConsistent => return None,
    };
    Some(format!("{order}.{}", scope(access.scope)))
}

fn compare(compare: Compare) -> &'static str {
    match compare {
        Compare::Equal => "eq",
        Compare::NotEqual => "ne",
        Compare::Less => "lt",
        Compare::LessOrEqual => "le",
        Compare::Greater => "gt",
        Compare::GreaterOrEqual => "ge",
    }
}

/// The name of a thread's register, or a number.
fn operand(thread: usize, operand: Operand) -> String {
    match operand {
        Operand::Register(register) => format!("t{thread}_{register}"),
        Operand::Constant(constant) => constant.to_string(),
    }
}

/// One instruction as PTX; none where the emulator does not have its like.
fn instruction(test: &Test, thread: usize, it: Instruction) -> Option<String> {
    let place = |location: usize| format!("[memory+{}]", test.locations[location].memory * STRIDE);
    let value = |of: Operand| operand(thread, of);
    Some(match it {
        Instruction::Load { into, location, access } => {
            format!("ld.{}.global.s64 t{thread}_{into}, {};", qualifiers(access)?, place(location))
        }
        Instruction::Store { location, value: stored, access } => {
            format!(
                "mov.s64 value, {}; st.{}.global.s64 {}, value;",
                value(stored),
                qualifiers(access)?,
                place(location)
            )
        }
        Instruction::Atomic { into, location, update, access } => {
            let into = into.map_or("old".to_string(), |into| format!("t{thread}_{into}"));
            let (operation, operands) = match update {
                Update::Apply(Binary::Add, by) => ("add.u64", value(by)),
                Update::Apply(Binary::Second, by) => ("exch.b64", value(by)),
                Update::Apply(Binary::Or, by) => ("or.b64", value(by)),
                Update::Apply(Binary::And, by) => ("and.b64", value(by)),
                Update::Apply(Binary::Xor, by) => ("xor.b64", value(by)),
                Update::CompareAndSwap { expected, replacement } => {
                    ("cas.b64", format!("{}, {}", value(expected), value(replacement)))
                }
                Update::Apply(..) => return None,
            };
            format!("atom.{}.global.{operation} {into}, {}, {operands};", qualifiers(access)?, place(location))
        }
        Instruction::Fence { order, scope: of } => match order {
            Order::SequentiallyConsistent => format!("fence.sc.{};", scope(of)),
            Order::AcquireRelease => format!("fence.acq_rel.{};", scope(of)),
            _ => return None,
        },
        Instruction::FenceProxy(_) | Instruction::Barrier { .. } => return None,
        // What is asynchronous runs in tests/detector.rs.
        Instruction::Bulk { .. }
        | Instruction::CommitGroup
        | Instruction::WaitGroup { .. }
        | Instruction::MbarrierInit { .. }
        | Instruction::Arrive { .. }
        | Instruction::Wait { .. } => return None,
        Instruction::Compute { into, operation, a, b } => {
            let (a, b) = (value(a), value(b));
            match operation {
                Binary::Second => format!("mov.s64 t{thread}_{into}, {b};"),
                Binary::Add => format!("add.s64 t{thread}_{into}, {a}, {b};"),
                Binary::And => format!("and.b64 t{thread}_{into}, {a}, {b};"),
                _ => return None,
            }
        }
        Instruction::Branch { compare: how, a, b, target } => {
            format!("setp.{}.s64 taken, {}, {}; @taken bra L{thread}_{target};", compare(how), value(a), value(b))
        }
        Instruction::Jump { target } => format!("bra L{thread}_{target};"),
    })
}

/// The whole test as one entry: thread `i` is lane 0 of block `i`.
fn kernel(test: &Test) -> Option<String> {
    let mut text = ".version 8.2\n.target sm_90\n.address_size 64\n".to_string();
    text += ".visible .entry litmus(.param .u64 arg_memory, .param .u64 arg_out) {\n";
    text += ".reg .u64 memory, out; .reg .u32 block; .reg .pred taken; .reg .s64 value, old;\n";
    for (i, thread) in test.threads.iter().enumerate() {
        if thread.registers.len() > REGISTERS {
            return None;
        }
        for (register, initial) in thread.initial.iter().enumerate() {
            let _ = writeln!(text, ".reg .s64 t{i}_{register}; mov.s64 t{i}_{register}, {initial};");
        }
    }
    text += "ld.param.u64 memory, [arg_memory]; ld.param.u64 out, [arg_out]; mov.u32 block, %ctaid.x;\n";
    for i in 0..test.threads.len() {
        let _ = writeln!(text, "setp.eq.u32 taken, block, {i}; @taken bra T{i};");
    }
    text += "ret;\n";
    for (i, thread) in test.threads.iter().enumerate() {
        let _ = writeln!(text, "T{i}:");
        for (at, &it) in thread.instructions.iter().enumerate() {
            let _ = writeln!(text, "L{i}_{at}: {}", instruction(test, i, it)?);
        }
        let _ = writeln!(text, "L{i}_{}:", thread.instructions.len());
        for register in 0..thread.registers.len() {
            let to = (i * REGISTERS + register) * 8;
            let _ = writeln!(text, "st.global.s64 [out+{to}], t{i}_{register};");
        }
        text += "ret;\n";
    }
    Some(text + "}\n")
}

/// The final state of one run: the test's observed variables.
fn execute(test: &Test, text: &str, seed: u64) -> Result<Vec<i64>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut config = MachineConfig::new(1, 1);
    config.schedule = Schedule::Random { seed };
    let mut machine = Machine::new(config).map_err(|error| said(&error))?;
    let module = machine.load_module("litmus.ptx", text).map_err(|error| format!("{error}\n{text}"))?;
    let (places, threads) = (test.initial.len(), test.threads.len());
    let memory = machine.alloc(0, (places * STRIDE) as u64).map_err(|error| said(&error))?;
    let out = machine.alloc(0, (threads * REGISTERS * 8) as u64).map_err(|error| said(&error))?;
    let mut bytes = vec![0; places * STRIDE];
    for (place, initial) in test.initial.iter().enumerate() {
        bytes[place * STRIDE..][..8].copy_from_slice(&initial.to_le_bytes());
    }
    machine.write(memory, &bytes).map_err(|error| said(&error))?;
    machine.write(out, &vec![0; threads * REGISTERS * 8]).map_err(|error| said(&error))?;
    machine
        .launch(Launch {
            gpu: 0,
            stream: StreamId::DEFAULT,
            module,
            entry: "litmus".to_string(),
            grid: [u32::try_from(threads).expect("a few threads"), 1, 1],
            block: [1, 1, 1],
            shared_bytes: 0,
            args: [memory.to_le_bytes(), out.to_le_bytes()].concat(),
            access: Vec::new(),
        })
        .map_err(|error| said(&error))?;
    match machine.run_until_idle() {
        Ok(RunOutcome::Idle | RunOutcome::Reached) => {}
        Ok(RunOutcome::Stalled(report)) => return Err(format!("stalled: {report:?}")),
        Err(fault) => return Err(format!("{fault:?}")),
    }
    let word = |address: u64| {
        let mut word = [0; 8];
        machine.read(address, &mut word).map(|()| i64::from_le_bytes(word)).map_err(|error| error.to_string())
    };
    let value = |variable: Variable| match variable {
        Variable::Register { thread, register } => word(out + ((thread * REGISTERS + register) * 8) as u64),
        Variable::Memory { location } => word(memory + (test.locations[location].memory * STRIDE) as u64),
    };
    test.observed().into_iter().map(value).collect()
}

#[test]
fn the_emulator_shows_only_allowed_states() {
    let seeds = std::env::var("LITMUS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40_u64);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/litmus");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the suite is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "litmus"))
        .collect();
    files.sort();
    let (mut ran, mut left_out, mut seen_states, mut allowed_states) = (0, Vec::new(), 0, 0);
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let test = parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let report = run(&test, &Options::default());
        let ends = matches!(report.liveness, None | Some(Liveness::Terminates));
        let (true, Some(text)) = (ends, kernel(&test)) else {
            left_out.push(name);
            continue;
        };
        let allowed: BTreeSet<&Vec<i64>> = report.states.iter().map(|state| &state.values).collect();
        let mut seen = BTreeSet::new();
        for seed in 1..=seeds {
            let state = execute(&test, &text, seed).unwrap_or_else(|error| panic!("{name}, seed {seed}: {error}"));
            let names = &report.variables;
            assert!(allowed.contains(&state), "{name}, seed {seed}: {names:?} = {state:?} is forbidden\n{text}");
            seen.insert(state);
        }
        ran += 1;
        seen_states += seen.len();
        allowed_states += allowed.len();
    }
    println!("{ran} tests ran {seeds} times each and showed {seen_states} of {allowed_states} allowed states");
    println!("left out: {}", left_out.join(", "));
    assert!(ran >= 30, "only {ran} tests ran; left out: {left_out:?}");
}
