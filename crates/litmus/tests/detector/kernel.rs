//! A litmus test as PTX: one entry for each GPU, whose lanes branch to the columns they play.
//!
//! Loops go round at most [`ROUNDS`] times, then their thread ends: a test that gets stuck is a test all the same. Lanes
//! stay until copies have landed, and lanes that play nobody keep the playing ones company at barriers of the block, which
//! count whole warps.

use std::fmt::Write;

use warpferry_litmus::{Access, Binary, Compare, Instruction, Operand, Order, Proxy, ProxyFence, Scope, Test, Update};

use crate::world::{is_shared, Pair, World, DONE, REGISTERS, STRIDE};

/// How often a thread may jump back.
const ROUNDS: u32 = 60;

/// How long a thread rests before it jumps back, and before it ends.
const REST_NS: u32 = 200;
const END_NS: u32 = 20_000;

/// The entry of one GPU; none where the emulator or this printer does not have the like of an instruction.
pub fn text(test: &Test, world: &World, gpu: usize) -> Option<String> {
    let mut text =
        ".version 8.6\n.target sm_90\n.address_size 64\n.extern .shared .align 128 .b8 smem[];\n".to_string();
    text += ".visible .entry litmus() {\n.reg .u64 at, wide; .reg .u32 thread, lane, warp, cta, rounds, base, narrow, low;\n";
    text += ".reg .pred taken, over; .reg .s64 value, old;\n";
    let here: Vec<usize> = (0..world.spots.len()).filter(|&i| world.spots[i].gpu == gpu).collect();
    for &i in &here {
        for (register, initial) in test.threads[i].initial.iter().enumerate() {
            let _ = writeln!(text, ".reg .s64 t{i}_{register}; mov.s64 t{i}_{register}, {initial};");
        }
    }
    text += "mov.u32 thread, %tid.x; mov.u32 cta, %ctaid.x; and.b32 lane, thread, 31; shr.u32 warp, thread, 5;\n";
    text += "mov.u32 rounds, 0; mov.u32 base, smem;\n";
    text += &prologue(test);
    for &i in &here {
        let spot = world.spots[i];
        let _ = writeln!(
            text,
            "setp.eq.u32 taken, cta, {}; setp.eq.and.u32 taken, warp, {}, taken; setp.eq.and.u32 taken, lane, {}, taken; @taken bra T{i};",
            spot.cta, spot.warp, spot.lane
        );
    }
    for &i in &here {
        let spot = world.spots[i];
        if spot.lane == 0 {
            let _ = writeln!(
                text,
                "setp.eq.u32 taken, cta, {}; setp.eq.and.u32 taken, warp, {}, taken; @taken bra C{i};",
                spot.cta, spot.warp
            );
        }
    }
    text += "ret;\n";
    for &i in &here {
        if world.spots[i].lane == 0 {
            let _ = writeln!(text, "C{i}:");
            for &it in &test.threads[i].instructions {
                if let Instruction::Barrier { warp: false, .. } = it {
                    text += &Printer { test, world, gpu, thread: i }.instruction(0, it)?;
                }
            }
            text += "ret;\n";
        }
    }
    for &i in &here {
        let thread = &test.threads[i];
        let printer = Printer { test, world, gpu, thread: i };
        let _ = writeln!(text, "T{i}:");
        for (at, &it) in thread.instructions.iter().enumerate() {
            let _ = writeln!(text, "L{i}_{at}: {}", printer.instruction(at, it)?);
        }
        let rest = "cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;";
        let _ = writeln!(text, "L{i}_{}: {rest} nanosleep.u32 {END_NS};", thread.instructions.len());
        let _ = writeln!(text, "mov.u64 at, {};", world.out(i));
        for register in 0..thread.registers.len().min(REGISTERS) {
            let _ = writeln!(text, "st.global.s64 [at+{}], t{i}_{register};", 8 * register);
        }
        let _ = writeln!(text, "setp.le.u32 taken, rounds, {ROUNDS}; selp.s64 value, 1, 0, taken;");
        let _ = writeln!(text, "st.global.s64 [at+{}], value; ret;", 8 * DONE);
    }
    Some(text + "}\n")
}

/// Thread 0 of each block fills its shared memory, announces it to the bulk unit, and the block meets.
fn prologue(test: &Test) -> String {
    let mut text = "setp.ne.u32 taken, thread, 0; @taken bra FILLED;\n".to_string();
    for (location, of) in test.locations.iter().enumerate() {
        let at = of.memory as u64 * STRIDE;
        match test.mbarriers[of.memory] {
            Some(count) if !initializes(test, location) => {
                let _ = writeln!(text, "mbarrier.init.shared::cta.b64 [smem+{at}], {count};");
            }
            None if is_shared(test, location) => {
                let initial = test.initial[of.memory];
                let _ = writeln!(text, "mov.s64 value, {initial}; st.shared.v2.s64 [smem+{at}], {{value, value}};");
            }
            _ => {}
        }
    }
    text + "fence.mbarrier_init.release.cluster; fence.proxy.async;\nFILLED: bar.sync 0;\n"
}

fn initializes(test: &Test, location: usize) -> bool {
    let is = |it: &Instruction| matches!(*it, Instruction::MbarrierInit { mbarrier, .. } if mbarrier == location);
    test.threads.iter().any(|thread| thread.instructions.iter().any(is))
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Cta => "cta",
        Scope::Cluster => "cluster",
        Scope::Gpu => "gpu",
        Scope::Sys => "sys",
    }
}

fn order(order: Order) -> Option<&'static str> {
    Some(match order {
        Order::Relaxed => "relaxed",
        Order::Acquire => "acquire",
        Order::Release => "release",
        Order::AcquireRelease => "acq_rel",
        Order::Weak | Order::SequentiallyConsistent => return None,
    })
}

fn qualifiers(access: Access) -> Option<String> {
    match (access.proxy, access.order) {
        (Proxy::Generic, Order::Weak) => Some("weak".to_string()),
        (Proxy::Generic, of) => Some(format!("{}.{}", order(of)?, scope(access.scope))),
        _ => None,
    }
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

/// What a location is to a queue pair.
enum Word {
    Record,
    Doorbell,
    Completion,
    Entry(usize),
}

struct Printer<'a> {
    test: &'a Test,
    world: &'a World,
    gpu: usize,
    thread: usize,
}

impl Printer<'_> {
    fn value(&self, operand: Operand) -> String {
        match operand {
            Operand::Register(register) => format!("t{}_{register}", self.thread),
            Operand::Constant(constant) => constant.to_string(),
        }
    }

    /// State space and operand of a location, and what must stand before.
    fn place(&self, location: usize) -> (String, &'static str, String) {
        if is_shared(self.test, location) {
            let at = self.test.locations[location].memory as u64 * STRIDE;
            return (String::new(), "shared", format!("[base+{at}]"));
        }
        let address = self.world.address(self.test, self.gpu, location);
        (format!("mov.u64 at, {address};"), "global", "[at]".to_string())
    }

    fn word(&self, location: usize) -> Option<(&Pair, Word)> {
        self.test.queues.iter().zip(&self.world.pairs).find_map(|(queue, pair)| {
            let entry = queue.entries.iter().position(|(at, _)| *at == location).map(Word::Entry);
            let [record, doorbell, completed] = queue.words;
            let word = match location {
                at if at == record => Some(Word::Record),
                at if at == doorbell => Some(Word::Doorbell),
                at if at == completed => Some(Word::Completion),
                _ => None,
            };
            entry.or(word).map(|word| (pair, word))
        })
    }

    /// A jump, bounded where it goes back.
    fn jump(&self, at: usize, target: usize, when: &str) -> String {
        let i = self.thread;
        if target > at {
            return format!("{when} bra L{i}_{target};");
        }
        let end = self.test.threads[i].instructions.len();
        let skip = if when.is_empty() { String::new() } else { format!("@!taken bra L{i}_{};", at + 1) };
        format!("{skip} add.u32 rounds, rounds, 1; setp.gt.u32 over, rounds, {ROUNDS}; @over bra L{i}_{end}; nanosleep.u32 {REST_NS}; bra L{i}_{target};")
    }

    fn instruction(&self, at: usize, it: Instruction) -> Option<String> {
        let i = self.thread;
        Some(match it {
            Instruction::Load { into, location, access } => match self.word(location) {
                Some((pair, Word::Completion)) => format!(
                    "mov.u64 at, {}; ld.{}.global.u64 wide, [at+56]; mov.b64 {{low, narrow}}, wide; prmt.b32 low, narrow, 0, 0x4401; \
                     add.u32 low, low, 1; shr.u64 wide, wide, 60; setp.eq.u64 taken, wide, 15; selp.u32 low, 0, low, taken; \
                     cvt.u64.u32 wide, low; mov.b64 t{i}_{into}, wide;",
                    pair.completion,
                    qualifiers(access)?
                ),
                Some(_) => return None,
                None => {
                    let (before, space, place) = self.place(location);
                    format!("{before} ld.{}.{space}.s64 t{i}_{into}, {place};", qualifiers(access)?)
                }
            },
            Instruction::Store { location, value, access } => match (self.word(location), value) {
                (Some((pair, word)), Operand::Constant(count)) => self.ring(pair, &word, count, access)?,
                (Some(_), _) => return None,
                (None, value) => {
                    let (before, space, place) = self.place(location);
                    let value = self.value(value);
                    format!("{before} mov.s64 value, {value}; st.{}.{space}.s64 {place}, value;", qualifiers(access)?)
                }
            },
            Instruction::Atomic { into, location, update, access } => {
                // There is no `red` of an exchange.
                let reduces = into.is_none() && matches!(update, Update::Apply(how, _) if how != Binary::Second);
                let into = into.map_or("old".to_string(), |into| format!("t{i}_{into}"));
                let (operation, operands) = match update {
                    Update::Apply(Binary::Add, by) => ("add.u64", self.value(by)),
                    Update::Apply(Binary::Second, by) => ("exch.b64", self.value(by)),
                    Update::Apply(Binary::Or, by) => ("or.b64", self.value(by)),
                    Update::Apply(Binary::And, by) => ("and.b64", self.value(by)),
                    Update::Apply(Binary::Xor, by) => ("xor.b64", self.value(by)),
                    Update::CompareAndSwap { expected, replacement } => {
                        ("cas.b64", format!("{}, {}", self.value(expected), self.value(replacement)))
                    }
                    Update::Apply(..) => return None,
                };
                let (before, space, place) = self.place(location);
                let how = qualifiers(access)?;
                if reduces {
                    return Some(format!("{before} red.{how}.{space}.{operation} {place}, {operands};"));
                }
                format!("{before} atom.{how}.{space}.{operation} {into}, {place}, {operands};")
            }
            Instruction::Fence { order, scope: of } => match order {
                Order::SequentiallyConsistent => format!("fence.sc.{};", scope(of)),
                Order::AcquireRelease => format!("fence.acq_rel.{};", scope(of)),
                _ => return None,
            },
            Instruction::FenceProxy(which) => match which {
                ProxyFence::Async { global: true, shared: true } => "fence.proxy.async;",
                ProxyFence::Async { global: true, shared: false } => "fence.proxy.async.global;",
                ProxyFence::Async { .. } => "fence.proxy.async.shared::cta;",
                ProxyFence::MbarrierInit => "fence.mbarrier_init.release.cluster;",
                ProxyFence::Alias | ProxyFence::Proxy(_) => return None,
            }
            .to_string(),
            Instruction::Barrier { warp: true, id: Operand::Constant(mask), .. } => format!("bar.warp.sync {mask};"),
            Instruction::Barrier { id: Operand::Constant(id), resource: None, quorum: None, waits, .. } => {
                let spot = self.world.spots[i];
                let comes = |j: &usize| {
                    let other = self.world.spots[*j];
                    let is = |it: &Instruction| {
                        matches!(*it, Instruction::Barrier { warp: false, id: Operand::Constant(of), .. } if of == id)
                    };
                    (other.gpu, other.cta) == (spot.gpu, spot.cta) && self.test.threads[*j].instructions.iter().any(is)
                };
                let threads = 32 * (0..self.world.spots.len()).filter(comes).count();
                format!("barrier.{} {}, {threads};", if waits { "sync" } else { "arrive" }, id + 1)
            }
            Instruction::Barrier { .. } => return None,
            Instruction::Bulk { target, source, bytes, mbarrier } => {
                let at = |location: usize| self.test.locations[location].memory as u64 * STRIDE;
                let address = |location: usize| self.world.address(self.test, self.gpu, location);
                match mbarrier {
                    Some(mbarrier) => format!(
                        "mov.u64 at, {}; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [smem+{}], [at], {bytes}, [smem+{}];",
                        address(source), at(target), at(mbarrier)
                    ),
                    None => format!(
                        "mov.u64 at, {}; cp.async.bulk.global.shared::cta.bulk_group [at], [smem+{}], {bytes};",
                        address(target), at(source)
                    ),
                }
            }
            Instruction::CommitGroup => "cp.async.bulk.commit_group;".to_string(),
            Instruction::WaitGroup { pending, read } => {
                format!("cp.async.bulk.wait_group{} {pending};", if read { ".read" } else { "" })
            }
            Instruction::MbarrierInit { mbarrier, count } => {
                let (_, _, place) = self.place(mbarrier);
                format!("mbarrier.init.shared::cta.b64 {place}, {count};")
            }
            Instruction::Arrive { mbarrier, arrives, expects, access } => {
                let (_, _, place) = self.place(mbarrier);
                let how = format!("{}.{}.shared::cta.b64", order(access.order)?, scope(access.scope));
                match (arrives, expects) {
                    (true, 0) => format!("mbarrier.arrive.{how} _, {place};"),
                    (true, _) => format!("mbarrier.arrive.expect_tx.{how} _, {place}, {expects};"),
                    (false, _) => format!("mbarrier.expect_tx.{how} {place}, {expects};"),
                }
            }
            Instruction::Wait { into, mbarrier, parity, access } => {
                let (_, _, place) = self.place(mbarrier);
                let how = format!("{}.{}.shared::cta.b64", order(access.order)?, scope(access.scope));
                format!("mbarrier.test_wait.parity.{how} taken, {place}, {parity}; selp.s64 t{i}_{into}, 1, 0, taken;")
            }
            Instruction::Compute { into, operation, a, b } => {
                let (a, b) = (self.value(a), self.value(b));
                match operation {
                    Binary::Second => format!("mov.s64 t{i}_{into}, {b};"),
                    Binary::Add => format!("add.s64 t{i}_{into}, {a}, {b};"),
                    Binary::And => format!("and.b64 t{i}_{into}, {a}, {b};"),
                    _ => return None,
                }
            }
            Instruction::Branch { compare: how, a, b, target } => {
                let test = format!("setp.{}.s64 taken, {}, {};", compare(how), self.value(a), self.value(b));
                format!("{test} {}", self.jump(at, target, "@taken"))
            }
            Instruction::Jump { target } => self.jump(at, target, ""),
        })
    }

    /// A store to a word of a queue pair.
    fn ring(&self, pair: &Pair, word: &Word, count: i64, access: Access) -> Option<String> {
        let count = usize::try_from(count).ok()?;
        let quarter = |bytes: &[u8], i: usize| -> Option<String> {
            let word = bytes.get(8 * i..8 * i + 8)?;
            Some(format!("{:#x}", u64::from_le_bytes(word.try_into().ok()?)))
        };
        Some(match word {
            Word::Entry(number) => {
                let bytes = &pair.entries[*number];
                let mut text = format!("mov.u64 at, {};", pair.queue + 64 * *number as u64);
                for i in 0..8 {
                    let _ =
                        write!(text, " mov.u64 wide, {}; st.weak.global.u64 [at+{}], wide;", quarter(bytes, i)?, 8 * i);
                }
                text
            }
            Word::Record => format!(
                "mov.u64 at, {}; mov.u32 low, {:#x}; st.{}.global.u32 [at+4], low;",
                pair.record,
                (count as u32).swap_bytes(),
                qualifiers(access)?
            ),
            Word::Doorbell => {
                let last = pair.entries.get(count.checked_sub(1)?)?;
                format!(
                    "mov.u64 at, {}; mov.u64 wide, {}; st.mmio.relaxed.sys.global.u64 [at], wide;",
                    pair.bell,
                    quarter(last, 0)?
                )
            }
            Word::Completion => return None,
        })
    }
}
