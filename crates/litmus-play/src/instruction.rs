//! One instruction of a column as PTX.

use std::fmt::Write;

use warpferry_litmus::{Access, Binary, Instruction, Operand, ProxyFence, Update};

use crate::barriers;
use crate::kernel::ROUNDS;
use crate::layout::{is_shared, offset};
use crate::pair::{word, Pair, Word};
use crate::stage::Stage;
use crate::unplayed::Unplayed;
use crate::words::{arithmetic, compare, fence, order, qualifiers, scope, update};

/// How long a thread rests before it jumps back.
const REST_NS: u32 = 200;

/// Prints the instructions of one column on one GPU.
pub struct Printer<'a> {
    pub stage: &'a Stage<'a>,
    pub gpu: usize,
    pub thread: usize,
}

impl Printer<'_> {
    /// The instruction at this index of the column.
    pub fn instruction(&self, at: usize, it: Instruction) -> Result<String, Unplayed> {
        let i = self.thread;
        Ok(match it {
            Instruction::Load { into, location, access } => self.load(into, location, access)?,
            Instruction::Store { location, value, access } => self.store(location, value, access)?,
            Instruction::Atomic { into, location, update, access } => self.atomic(into, location, update, access)?,
            Instruction::Fence { order, scope: of } => format!("fence.{}.{};", fence(order)?, scope(of)),
            Instruction::FenceProxy(which) => proxy_fence(which)?.to_string(),
            Instruction::Barrier { warp: true, id: Operand::Constant(mask), .. } => format!("bar.warp.sync {mask};"),
            Instruction::Barrier { warp: true, .. } => return Err(Unplayed::unsuitable("a mask in a register")),
            Instruction::Barrier { .. } => barriers::text(self.stage, i, it)?,
            Instruction::Bulk { target, source, bytes, mbarrier } => self.bulk(target, source, bytes, mbarrier),
            Instruction::CommitGroup => "cp.async.bulk.commit_group;".to_string(),
            Instruction::WaitGroup { pending, read } => {
                format!("cp.async.bulk.wait_group{} {pending};", if read { ".read" } else { "" })
            }
            Instruction::MbarrierInit { mbarrier, count } => {
                format!("mbarrier.init.shared::cta.b64 {}, {count};", self.shared(mbarrier))
            }
            Instruction::Arrive { mbarrier, arrives, expects, access } => {
                let how = format!("{}.{}.shared::cta.b64", order(access.order)?, scope(access.scope));
                let place = self.shared(mbarrier);
                match (arrives, expects) {
                    (true, 0) => format!("mbarrier.arrive.{how} _, {place};"),
                    (true, _) => format!("mbarrier.arrive.expect_tx.{how} _, {place}, {expects};"),
                    (false, _) => format!("mbarrier.expect_tx.{how} {place}, {expects};"),
                }
            }
            Instruction::Wait { into, mbarrier, parity, access } => {
                let how = format!("{}.{}.shared::cta.b64", order(access.order)?, scope(access.scope));
                let place = self.shared(mbarrier);
                format!("mbarrier.test_wait.parity.{how} taken, {place}, {parity}; selp.s64 t{i}_{into}, 1, 0, taken;")
            }
            Instruction::Compute { into, operation, a, b } => self.compute(into, operation, a, b)?,
            Instruction::Branch { compare: how, a, b, target } => {
                let test = format!("setp.{}.s64 taken, {}, {};", compare(how), self.value(a), self.value(b));
                format!("{test} {}", self.jump(at, target, "@taken"))
            }
            Instruction::Jump { target } => self.jump(at, target, ""),
        })
    }

    fn value(&self, operand: Operand) -> String {
        match operand {
            Operand::Register(register) => format!("t{}_{register}", self.thread),
            Operand::Constant(constant) => constant.to_string(),
        }
    }

    fn shared(&self, location: usize) -> String {
        format!("[base+{}]", offset(self.stage.test, location))
    }

    /// State space and operand of a location, and what must stand before.
    fn place(&self, location: usize) -> (String, &'static str, String) {
        if is_shared(self.stage.test, location) {
            return (String::new(), "shared", self.shared(location));
        }
        let address = self.stage.address(self.gpu, location);
        (format!("mov.u64 at, {address};"), "global", "[at]".to_string())
    }

    /// The queue pair that a location is a word of.
    fn word(&self, location: usize) -> Option<(&Pair, Word)> {
        let queues = self.stage.test.queues.iter().zip(&self.stage.pairs);
        queues.into_iter().find_map(|(queue, pair)| word(queue, location).map(|word| (pair, word)))
    }

    fn load(&self, into: usize, location: usize, access: Access) -> Result<String, Unplayed> {
        let (i, how) = (self.thread, qualifiers(access)?);
        match self.word(location) {
            // How many entries are complete: one more than the counter of the completion entry, once it has been written.
            Some((pair, Word::Completion)) => Ok(format!(
                "mov.u64 at, {}; ld.{how}.global.u64 wide, [at+56]; mov.b64 {{low, narrow}}, wide; \
                 prmt.b32 low, narrow, 0, 0x4401; add.u32 low, low, 1; shr.u64 wide, wide, 60; \
                 setp.eq.u64 taken, wide, 15; selp.u32 low, 0, low, taken; cvt.u64.u32 wide, low; \
                 mov.b64 t{i}_{into}, wide;",
                pair.completion
            )),
            Some(_) => Err(Unplayed::unsuitable("a load of a word that only the NIC reads")),
            None => {
                let (before, space, place) = self.place(location);
                Ok(format!("{before} ld.{how}.{space}.s64 t{i}_{into}, {place};"))
            }
        }
    }

    fn store(&self, location: usize, value: Operand, access: Access) -> Result<String, Unplayed> {
        match (self.word(location), value) {
            (Some((pair, word)), Operand::Constant(count)) => ring(pair, word, count, access),
            (Some(_), _) => Err(Unplayed::unsuitable("a count of entries from a register")),
            (None, value) => {
                let (before, space, place) = self.place(location);
                let (value, how) = (self.value(value), qualifiers(access)?);
                Ok(format!("{before} mov.s64 value, {value}; st.{how}.{space}.s64 {place}, value;"))
            }
        }
    }

    fn atomic(&self, into: Option<usize>, location: usize, by: Update, access: Access) -> Result<String, Unplayed> {
        if self.word(location).is_some() {
            return Err(Unplayed::unsuitable("an atomic on a word of a queue pair"));
        }
        let (mut before, space, place) = self.place(location);
        let (operation, operands) = match by {
            Update::CompareAndSwap { expected, replacement } => {
                ("cas.b64", format!("{}, {}", self.value(expected), self.value(replacement)))
            }
            Update::Apply(Binary::Sub, Operand::Constant(by)) => ("add.u64", by.wrapping_neg().to_string()),
            Update::Apply(Binary::Sub, by) => {
                let _ = write!(before, " neg.s64 value, {};", self.value(by));
                ("add.u64", "value".to_string())
            }
            Update::Apply(how, by) => {
                let name = update(how).ok_or_else(|| Unplayed::unsuitable(format!("no atomic applies {how:?}")))?;
                (name, self.value(by))
            }
        };
        let how = format!("{}.{}", order(access.order)?, scope(access.scope));
        qualifiers(access)?;
        // There is no `red` of an exchange, and none that acquires.
        let adds = matches!(by, Update::Apply(how, _) if how != Binary::Second);
        if into.is_none() && adds && !access.order.acquires() {
            return Ok(format!("{before} red.{how}.{space}.{operation} {place}, {operands};"));
        }
        let into = into.map_or("old".to_string(), |into| format!("t{}_{into}", self.thread));
        Ok(format!("{before} atom.{how}.{space}.{operation} {into}, {place}, {operands};"))
    }

    fn compute(&self, into: usize, operation: Binary, a: Operand, b: Operand) -> Result<String, Unplayed> {
        let into = format!("t{}_{into}", self.thread);
        let (a, b, divisor) = (self.value(a), self.value(b), b);
        Ok(match (operation, arithmetic(operation)) {
            (_, Some(name)) => format!("{name} {into}, {a}, {b};"),
            (Binary::Div, _) if matches!(divisor, Operand::Constant(1..)) => format!("div.s64 {into}, {a}, {b};"),
            (Binary::Div, _) => return Err(Unplayed::unsuitable("a quotient whose divisor may be 0 or negative")),
            _ => format!("mov.s64 {into}, {b};"),
        })
    }

    fn bulk(&self, target: usize, source: usize, bytes: i64, mbarrier: Option<usize>) -> String {
        let at = |location: usize| offset(self.stage.test, location);
        let address = |location: usize| self.stage.address(self.gpu, location);
        match mbarrier {
            Some(mbarrier) => format!(
                "mov.u64 at, {}; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [smem+{}], [at], \
                 {bytes}, [smem+{}];",
                address(source),
                at(target),
                at(mbarrier)
            ),
            None => format!(
                "mov.u64 at, {}; cp.async.bulk.global.shared::cta.bulk_group [at], [smem+{}], {bytes};",
                address(target),
                at(source)
            ),
        }
    }

    /// A jump, bounded where it goes back.
    fn jump(&self, at: usize, target: usize, when: &str) -> String {
        let i = self.thread;
        if target > at {
            return format!("{when} bra L{i}_{target};");
        }
        let end = self.stage.test.threads[i].instructions.len();
        let skip = if when.is_empty() { String::new() } else { format!("@!taken bra L{i}_{};", at + 1) };
        format!(
            "{skip} add.u32 rounds, rounds, 1; setp.gt.u32 over, rounds, {ROUNDS}; @over bra L{i}_{end}; \
             nanosleep.u32 {REST_NS}; bra L{i}_{target};"
        )
    }
}

fn proxy_fence(which: ProxyFence) -> Result<&'static str, Unplayed> {
    Ok(match which {
        ProxyFence::Async { global: true, shared: true } => "fence.proxy.async;",
        ProxyFence::Async { global: true, shared: false } => "fence.proxy.async.global;",
        ProxyFence::Async { .. } => "fence.proxy.async.shared::cta;",
        ProxyFence::MbarrierInit => "fence.mbarrier_init.release.cluster;",
        ProxyFence::Alias => "fence.proxy.alias;",
        ProxyFence::Proxy(_) => return Err(Unplayed::unsuitable("a fence of another proxy than alias and async")),
    })
}

/// A store to a word of a queue pair.
fn ring(pair: &Pair, word: Word, count: i64, access: Access) -> Result<String, Unplayed> {
    let wrong = || Unplayed::unsuitable(format!("{count} entries of {} are announced", pair.entries.len()));
    let count = usize::try_from(count).map_err(|_| wrong())?;
    let eighth = |entry: &[u8], i: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&entry[8 * i..8 * i + 8]);
        format!("{:#x}", u64::from_le_bytes(word))
    };
    Ok(match word {
        Word::Entry(number) => {
            let mut text = format!("mov.u64 at, {};", pair.queue + 64 * number as u64);
            for i in 0..8 {
                let word = eighth(&pair.entries[number], i);
                let _ = write!(text, " mov.u64 wide, {word}; st.weak.global.u64 [at+{}], wide;", 8 * i);
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
            let last = count.checked_sub(1).and_then(|last| pair.entries.get(last)).ok_or_else(wrong)?;
            let word = eighth(last, 0);
            format!("mov.u64 at, {}; mov.u64 wide, {word}; st.mmio.relaxed.sys.global.u64 [at], wide;", pair.bell)
        }
        Word::Completion => return Err(Unplayed::unsuitable("a store to a completion entry")),
    })
}
