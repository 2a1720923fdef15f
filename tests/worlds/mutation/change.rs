//! What a mutant changes, and how that is done to the parsed kernel.

use std::fmt;

use warpferry_ptx::ast::{Guard, Module, Operand, Type};

use super::flow::{ends_line, may_swap};
use super::kernel::{body_mut, fresh, insert, instruction, remove};
use super::places::is_event;
use super::suite::Checker;

/// What is changed, by the checker that should see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `fence.acq_rel`.
    Fence,
    /// Fences between proxies.
    ProxyFence,
    /// `bar.sync`, `bar.warp.sync`.
    Barrier,
    /// `cp.async.bulk.wait_group`.
    CopyWait,
    /// `mbarrier.try_wait`.
    LoadWait,
    /// Order of an access.
    Order,
    /// Scope of an access or fence.
    Scope,
    /// Member mask of a vote, a shuffle or a barrier of a warp.
    Mask,
    /// A store, atomic or reduction that says its order: a flag, a counter, a field that others poll.
    Publish,
    /// A weak store.
    Store,
    /// Arithmetic of a count.
    Count,
    /// A bulk copy and its bytes.
    Copy,
    /// Bytes and arrivals that an mbarrier expects.
    Expect,
}

/// One change of one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Gone; where its result is needed, the result says that there is nothing to wait for.
    Drop,
    /// One modifier becomes another, or goes.
    Weaken { from: &'static str, to: &'static str },
    /// `relaxed` and its scope go: a weak access.
    Weak,
    /// `.read` is enough.
    ReadOnly,
    /// Before what stands before it.
    Earlier,
    /// Behind what stands behind it.
    Later,
    /// This much is added to its value, result or immediate.
    Add(i64),
    /// The other parity.
    Parity,
    /// Without the last lane.
    FewerLanes,
    /// Sites that no case reaches: a trap before it.
    Trap,
}

impl Kind {
    pub const ALL: [Kind; 13] = [
        Kind::Fence,
        Kind::ProxyFence,
        Kind::Barrier,
        Kind::CopyWait,
        Kind::LoadWait,
        Kind::Order,
        Kind::Scope,
        Kind::Mask,
        Kind::Publish,
        Kind::Store,
        Kind::Count,
        Kind::Copy,
        Kind::Expect,
    ];

    /// What edges are made of: bits need not change without them.
    pub fn is_edge(self) -> bool {
        !matches!(self, Kind::Mask | Kind::Publish | Kind::Store | Kind::Count | Kind::Copy | Kind::Expect)
    }

    /// Checkers that should see it. Edges are for the race check, and for the bus where a NIC reads; what counts shows in
    /// results, or somebody waits for ever.
    pub fn expected(self) -> &'static [Checker] {
        use Checker::*;
        match self {
            Kind::Fence | Kind::Barrier | Kind::Order | Kind::Scope => &[Race, Bus],
            Kind::ProxyFence | Kind::CopyWait | Kind::LoadWait => &[Race, Bus, Misuse],
            Kind::Mask => &[Misuse, Hang],
            Kind::Expect => &[Hang, Misuse, Race, Bounds],
            Kind::Publish | Kind::Store | Kind::Count | Kind::Copy => {
                &[Bits, Status, Hang, Report, Bounds, Uninitialized, Misuse, Nic]
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Fence => "fence",
            Kind::ProxyFence => "proxy fence",
            Kind::Barrier => "barrier",
            Kind::CopyWait => "wait for copies",
            Kind::LoadWait => "wait for a load",
            Kind::Order => "order",
            Kind::Scope => "scope",
            Kind::Mask => "member mask",
            Kind::Publish => "publishing access",
            Kind::Store => "weak store",
            Kind::Count => "count",
            Kind::Copy => "bulk copy",
            Kind::Expect => "mbarrier count",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Drop => write!(f, "dropped"),
            Change::Weaken { from, to: "" } => write!(f, "without .{from}"),
            Change::Weaken { from, to } => write!(f, ".{from} -> .{to}"),
            Change::Weak => write!(f, "weak"),
            Change::ReadOnly => write!(f, "only .read"),
            Change::Earlier => write!(f, "moved earlier"),
            Change::Later => write!(f, "moved later"),
            Change::Add(number) => write!(f, "{number:+}"),
            Change::Parity => write!(f, "other parity"),
            Change::FewerLanes => write!(f, "one lane less"),
            Change::Trap => write!(f, "trap"),
        }
    }
}

/// The module with the change made; `None` where it cannot be made, such as no neighbour to move behind.
pub fn apply(module: &Module, at: usize, change: &Change) -> Option<Module> {
    let mut module = module.clone();
    let body = body_mut(&mut module);
    let own = body.code[at].clone();
    match change {
        Change::Drop => {
            // As many instructions as before, so that a run goes the same way up to here.
            let nothing = match (own.opcode.as_str(), own.operands.first()) {
                ("mbarrier", Some(Operand::Register(landed))) if own.has("try_wait") => instruction(
                    &own,
                    "setp.eq.u32",
                    vec![Operand::Register(*landed), Operand::Integer(0), Operand::Integer(0)],
                ),
                // A barrier that asks: each thread hears itself only.
                ("barrier", Some(result @ Operand::Register(_))) => {
                    instruction(&own, "mov.pred", vec![result.clone(), own.operands.last()?.clone()])
                }
                ("add" | "sub" | "mad", Some(result)) => {
                    let ty = type_word(&own.modifiers)?;
                    instruction(&own, &format!("mov.{ty}"), vec![result.clone(), own.operands.get(1)?.clone()])
                }
                ("atom", Some(Operand::Register(result))) => {
                    let ty = type_word(&own.modifiers)?;
                    let bits = if ty.ends_with("64") { "b64" } else { "b32" };
                    instruction(&own, &format!("mov.{bits}"), vec![Operand::Register(*result), Operand::Integer(0)])
                }
                _ => {
                    let sink = fresh(body, Type::B32);
                    instruction(&own, "mov.b32", vec![Operand::Register(sink), Operand::Integer(0)])
                }
            };
            body.code[at] = nothing;
        }
        Change::Weaken { from, to } => {
            let modifiers = &mut body.code[at].modifiers;
            let found = modifiers.iter().position(|word| word == from)?;
            if to.is_empty() {
                modifiers.remove(found);
            } else {
                modifiers[found] = (*to).to_string();
            }
        }
        Change::Weak => {
            let modifiers = &mut body.code[at].modifiers;
            let found = modifiers.iter().position(|word| word == "relaxed")?;
            modifiers.drain(found..found + 2);
        }
        Change::ReadOnly => body.code[at].modifiers.push("read".to_string()),
        Change::Earlier => {
            let mut to = at;
            loop {
                let before = to.checked_sub(1)?;
                if body.labels.iter().any(|label| label.at == to) || ends_line(&body.code[before]) {
                    return None;
                }
                if !may_swap(&body.code[before], &own) {
                    return None;
                }
                to = before;
                if is_event(&body.code[before]) {
                    break;
                }
            }
            let moved = remove(body, at);
            insert(body, to, moved);
        }
        Change::Later => {
            let mut to = at;
            loop {
                let next = to + 1;
                if body.labels.iter().any(|label| label.at == next) || ends_line(body.code.get(next)?) {
                    return None;
                }
                if !may_swap(&own, &body.code[next]) {
                    return None;
                }
                to = next;
                if is_event(&body.code[next]) {
                    break;
                }
            }
            let moved = remove(body, at);
            body.code.insert(to, moved);
            body.labels.iter_mut().filter(|label| label.at > at && label.at >= to).for_each(|label| label.at += 1);
        }
        Change::Add(number) => add(body, at, *number)?,
        Change::Parity => {
            let parity = own.operands.get(2)?.clone();
            let flipped = fresh(body, Type::B32);
            let flip = instruction(&own, "xor.b32", vec![Operand::Register(flipped), parity, Operand::Integer(1)]);
            body.code[at].operands[2] = Operand::Register(flipped);
            insert(body, at, flip);
        }
        Change::FewerLanes => {
            let mask = body.code[at].operands.iter_mut().rev().find_map(|operand| match operand {
                Operand::Integer(mask) if *mask as u32 == u32::MAX => Some(mask),
                _ => None,
            })?;
            *mask = 0x7fff_ffff;
        }
        Change::Trap => {
            let trap = instruction(&own, "trap", Vec::new());
            insert(body, at, trap);
        }
    }
    Some(module)
}

fn type_word(modifiers: &[String]) -> Option<&str> {
    modifiers.iter().rev().map(String::as_str).find(|word| {
        word.len() == 3 && word.starts_with(['u', 's', 'b']) && word[1..].chars().all(|digit| digit.is_ascii_digit())
    })
}

/// Adds `number` to what the instruction adds, stores, expects or awaits.
fn add(body: &mut warpferry_ptx::ast::Body, at: usize, number: i64) -> Option<()> {
    let own = body.code[at].clone();
    let ty = type_word(&own.modifiers).unwrap_or("b32").to_string();
    let wide = ty.ends_with("64");
    let number = i128::from(number);
    // An immediate: in place.
    let index = match own.opcode.as_str() {
        "add" | "sub" => 2,
        "mad" => 3,
        "cp" if own.has("wait_group") => 0,
        "cp" => 2,
        _ => own.operands.len() - 1,
    };
    // What is subtracted grows when the result shrinks.
    let sign = if own.opcode == "sub" { -1 } else { 1 };
    if let Operand::Integer(value) = &mut body.code[at].operands[index] {
        *value = wrapped(*value + sign * number, wide);
        return (own.opcode != "cp" || *value >= 0).then_some(());
    }
    match (own.opcode.as_str(), own.operands.first()) {
        ("add" | "sub" | "mad" | "atom", Some(Operand::Register(result))) if own.opcode != "atom" => {
            let what = if wide { "add.u64" } else { "add.u32" };
            let result = Operand::Register(*result);
            let more = instruction(&own, what, vec![result.clone(), result, Operand::Integer(wrapped(number, wide))]);
            body.code.insert(at + 1, more);
            body.labels.iter_mut().filter(|label| label.at > at).for_each(|label| label.at += 1);
        }
        _ => {
            let Operand::Register(value) = own.operands[index] else { return None };
            let wide = matches!(body.registers[value.0 as usize].ty, Type::U64 | Type::B64 | Type::S64);
            let (ty, what) = if wide { (Type::U64, "add.u64") } else { (Type::U32, "add.u32") };
            let other = fresh(body, ty);
            let operands =
                vec![Operand::Register(other), Operand::Register(value), Operand::Integer(wrapped(number, wide))];
            let mut more = instruction(&own, what, operands);
            more.guard = None::<Guard>;
            body.code[at].operands[index] = Operand::Register(other);
            insert(body, at, more);
        }
    }
    Some(())
}

/// As the literal of a 32-bit or 64-bit operand.
fn wrapped(value: i128, wide: bool) -> i128 {
    if wide {
        i128::from(value as u64)
    } else {
        i128::from(value as u32)
    }
}
