//! A litmus test as PTX: one entry that every GPU launches; the threads of a thread block are the first lanes of its warps.

use std::collections::BTreeSet;
use std::fmt::Write;

use warpferry_litmus::{Access, Binary, Compare, Instruction, Operand, Order, Proxy, Scope, Test, Update};

/// Bytes from one location to the next, and registers of a thread that are written out.
pub const STRIDE: usize = 128;
pub const REGISTERS: usize = 16;

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
            // There is no `red` of an exchange.
            let reduces = into.is_none() && matches!(update, Update::Apply(how, _) if how != Binary::Second);
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
            let (how, at) = (qualifiers(access)?, place(location));
            if reduces {
                return Some(format!("red.{how}.global.{operation} {at}, {operands};"));
            }
            format!("atom.{how}.global.{operation} {into}, {at}, {operands};")
        }
        Instruction::Fence { order, scope: of } => match order {
            Order::SequentiallyConsistent => format!("fence.sc.{};", scope(of)),
            Order::AcquireRelease => format!("fence.acq_rel.{};", scope(of)),
            _ => return None,
        },
        Instruction::Barrier { warp: false, waits: true, id: Operand::Constant(id), resource: None, quorum: None } => {
            format!("barrier.cta.sync {};", id.rem_euclid(16))
        }
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

/// A test that the emulator can run.
pub struct Program {
    pub text: String,
    pub gpus: usize,
    /// Thread blocks of each GPU.
    pub ctas: u32,
    /// Warps of a thread block.
    pub warps: u32,
}

/// Where each thread is: GPU, thread block and warp, each counted from 0.
fn places(test: &Test) -> Vec<(usize, usize, usize)> {
    let gpus: Vec<u32> = test.threads.iter().map(|t| t.place.gpu).collect::<BTreeSet<_>>().into_iter().collect();
    let mut warps = std::collections::BTreeMap::new();
    let place = |thread: &warpferry_litmus::Thread| {
        let gpu = gpus.iter().position(|gpu| *gpu == thread.place.gpu).unwrap_or(0);
        let ctas: BTreeSet<u32> =
            test.threads.iter().filter(|t| t.place.gpu == thread.place.gpu).map(|t| t.place.cta).collect();
        let cta = ctas.iter().position(|cta| *cta == thread.place.cta).unwrap_or(0);
        let next: &mut usize = warps.entry((gpu, cta)).or_default();
        *next += 1;
        (gpu, cta, *next - 1)
    };
    test.threads.iter().map(place).collect()
}

/// Threads of different blocks that share a cluster, which the race detector does not follow.
fn has_clusters(test: &Test) -> bool {
    let place = |thread: &warpferry_litmus::Thread| thread.place;
    let places: Vec<_> = test.threads.iter().map(place).collect();
    places.iter().any(|a| {
        places.iter().any(|b| a.cluster.is_some() && (a.gpu, a.cluster) == (b.gpu, b.cluster) && a.cta != b.cta)
    })
}

/// The whole test as one entry; none where the emulator does not have its like.
pub fn program(test: &Test) -> Option<Program> {
    if has_clusters(test) || test.threads.iter().any(|thread| thread.registers.len() > REGISTERS) {
        return None;
    }
    let places = places(test);
    let most = |of: &dyn Fn(&(usize, usize, usize)) -> usize| places.iter().map(of).max().unwrap_or(0) + 1;
    let (gpus, ctas, warps) = (most(&|p| p.0), most(&|p| p.1), most(&|p| p.2));
    let mut text = ".version 8.2\n.target sm_90\n.address_size 64\n".to_string();
    text += ".visible .entry litmus(.param .u64 arg_memory, .param .u64 arg_out, .param .u32 arg_gpu) {\n";
    text += ".reg .u64 memory, out; .reg .u32 number, part, gpu; .reg .pred taken; .reg .s64 value;\n";
    for (i, thread) in test.threads.iter().enumerate() {
        for (register, initial) in thread.initial.iter().enumerate() {
            let _ = writeln!(text, ".reg .s64 t{i}_{register}; mov.s64 t{i}_{register}, {initial};");
        }
    }
    text += "ld.param.u64 memory, [arg_memory]; ld.param.u64 out, [arg_out]; ld.param.u32 gpu, [arg_gpu];\n";
    text += "mov.u32 part, %tid.x; and.b32 number, part, 31; setp.ne.u32 taken, number, 0; @taken bra none;\n";
    text += "shr.u32 part, part, 5; mov.u32 number, %ctaid.x;\n";
    let _ =
        writeln!(text, "mad.lo.u32 number, number, {warps}, part; mad.lo.u32 number, gpu, {}, number;", ctas * warps);
    for (i, (gpu, cta, warp)) in places.iter().enumerate() {
        let number = (gpu * ctas + cta) * warps + warp;
        let _ = writeln!(text, "setp.eq.u32 taken, number, {number}; @taken bra T{i};");
    }
    text += "none: ret;\n";
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
    Some(Program { text: text + "}\n", gpus, ctas: ctas as u32, warps: warps as u32 })
}
