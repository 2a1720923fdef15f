//! Atomic operations: the part of the memory door that reads and writes in one act.

use crate::cluster;
use crate::door;
use crate::error::FaultKind;
use crate::exec::{note_read, Env};
use crate::memory::{Kind, Need, Storage, Window, SHARED_WINDOW};
use crate::observe::AccessKind;
use crate::park::Where;
use crate::program::{lanes as each, AccessSpace, Args, Atomic, AtomicKind, Order, Registers, Scope};
use crate::race::{self, At};
use crate::visibility::{self, Stage, Unflushed};
use crate::warp::{first, CtaState, Trouble, Warp};
use crate::weak;

/// The new value of an atomic operation. In global memory `flushes` says that f32 sums flush subnormals.
pub(crate) fn combine(kind: AtomicKind, size: u8, old: u64, a: u64, b: u64, flushes: bool) -> u64 {
    use crate::isa::{add_bf16, add_f16, bits32, extreme_bf16, extreme_f16, flush, settle64};
    let keep = u64::MAX >> (64 - 8 * size as u32);
    let signed = |v: u64| if size == 4 { v as i32 as i64 } else { v as i64 };
    let packed = |join: &dyn Fn(u16, u16) -> u16| {
        join(old as u16, a as u16) as u64 | (join((old >> 16) as u16, (a >> 16) as u16) as u64) << 16
    };
    let value = match kind {
        AtomicKind::And => old & a,
        AtomicKind::Or => old | a,
        AtomicKind::Xor => old ^ a,
        AtomicKind::Exchange => a,
        AtomicKind::CompareSwap if old == a & keep => b,
        AtomicKind::CompareSwap => old,
        AtomicKind::Add => old.wrapping_add(a),
        AtomicKind::Inc if old >= a => 0,
        AtomicKind::Inc => old + 1,
        AtomicKind::Dec if old == 0 || old > a => a,
        AtomicKind::Dec => old - 1,
        AtomicKind::MinSigned => {
            if signed(a) < signed(old) {
                a
            } else {
                old
            }
        }
        AtomicKind::MaxSigned => {
            if signed(a) > signed(old) {
                a
            } else {
                old
            }
        }
        AtomicKind::MinUnsigned => old.min(a & keep),
        AtomicKind::MaxUnsigned => old.max(a & keep),
        AtomicKind::AddF32 => {
            let (x, y) = (f32::from_bits(old as u32), f32::from_bits(a as u32));
            if flushes {
                // A sum of two normal numbers that is subnormal is exact.
                bits32(flush(flush(x) + flush(y)))
            } else {
                bits32(x + y)
            }
        }
        AtomicKind::AddF64 => settle64(f64::from_bits(old) + f64::from_bits(a), &[old, a]),
        AtomicKind::AddF16 => add_f16(old as u16, a as u16) as u64,
        AtomicKind::AddBf16 => add_bf16(old as u16, a as u16) as u64,
        AtomicKind::AddF16x2 => packed(&add_f16),
        AtomicKind::AddBf16x2 => packed(&add_bf16),
        AtomicKind::MinF16 => extreme_f16(old as u16, a as u16, false) as u64,
        AtomicKind::MaxF16 => extreme_f16(old as u16, a as u16, true) as u64,
        AtomicKind::MinBf16 => extreme_bf16(old as u16, a as u16, false) as u64,
        AtomicKind::MaxBf16 => extreme_bf16(old as u16, a as u16, true) as u64,
        AtomicKind::MinF16x2 => packed(&|x, y| extreme_f16(x, y, false)),
        AtomicKind::MaxF16x2 => packed(&|x, y| extreme_f16(x, y, true)),
        AtomicKind::MinBf16x2 => packed(&|x, y| extreme_bf16(x, y, false)),
        AtomicKind::MaxBf16x2 => packed(&|x, y| extreme_bf16(x, y, true)),
    };
    value & keep
}

/// `atom` and `red`: lanes one after another, in ascending order.
pub(crate) fn atomic(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    op: &Atomic,
    args: &Args,
    active: u32,
    pc: u32,
) -> Result<(), Trouble> {
    let mut addresses = door::addresses(&warp.registers, op.base, op.offset);
    let size = op.size as usize;
    door::aligned(&addresses, active, op.align as u64, pc)?;
    if env.observer.is_some() {
        door::observe(env, cta, warp.index, AccessKind::Atomic, active, &addresses, pc, size as u32);
    }
    if op.scope == Scope::Sys && matches!(op.order, Order::Release | Order::AcqRel) {
        visibility::fence(&mut warp.unflushed, &mut cta.unflushed, active);
    }
    let shared = match op.space {
        AccessSpace::Shared => active,
        AccessSpace::Generic => {
            let [_, shared, local] = door::classes(&addresses, active);
            if local != 0 {
                let lane = first(local) as usize;
                let kind = FaultKind::Rights { act: "write", reason: "atomics do not work in local memory" };
                return Err(door::trouble(kind, lane, pc, addresses[lane]));
            }
            each(shared).for_each(|lane| addresses[lane] -= SHARED_WINDOW);
            shared
        }
        _ => 0,
    };
    let mut remote = 0;
    if shared != 0 {
        remote = cluster::localize(cta, &mut addresses, shared);
    }
    let mut window: Option<Window> = None;
    for lane in each(active) {
        if remote >> lane & 1 == 1 {
            elsewhere(env, cta, warp, op, args, addresses[lane], lane, pc)?;
            continue;
        }
        let address = addresses[lane];
        let is_shared = shared >> lane & 1 == 1;
        let (offset, place) = if is_shared {
            if !cta.holds(address, size as u64) {
                return Err(door::trouble(
                    FaultKind::OutOfBounds { bytes: size as u64 },
                    lane,
                    pc,
                    address + SHARED_WINDOW,
                ));
            }
            (address as usize, Where::Shared)
        } else {
            let known = window.filter(|w| w.low <= address && address + size as u64 <= w.high);
            let found = match known {
                Some(window) => window,
                None => env
                    .memory
                    .window(&cta.viewer(), address, size as u64, Need::Both)
                    .map_err(|f| door::refused(f, lane, pc))?,
            };
            if let Kind::Doorbell { .. } = found.kind {
                let kind = FaultKind::Doorbell("atomics do not work on a doorbell".into());
                return Err(door::trouble(kind, lane, pc, address));
            }
            window = Some(found);
            env.statistics.atomics += 1;
            ((address - found.base) as usize, Where::Global(found.storage))
        };
        if let Some(race) = env.race.as_mut() {
            let checked = race.atomic(At::new(cta, warp, pc), place, op, lane as u32, offset);
            checked.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
        }
        let storage = match place {
            Where::Shared => &mut cta.shared,
            Where::Global(id) => env.memory.storage_mut(id),
        };
        if env.checks.uninitialized && !storage.is_initialized(offset, size) {
            let at = if is_shared { address + SHARED_WINDOW } else { address };
            return Err(door::trouble(FaultKind::Uninitialized, lane, pc, at));
        }
        let registers = &mut warp.registers;
        if size == 16 {
            let changed = update_wide(storage, offset, op, args, registers, lane);
            let watched = storage.is_watched();
            if env.weak.is_some() {
                weak::update_wide(env, cta, warp, op, place, lane, offset, pc);
            }
            if changed {
                warp.interval.busy = true;
                env.memory.changes += 1;
                if watched {
                    match place {
                        Where::Shared => cta.shared.touched(offset, size, &mut env.memory.woken),
                        Where::Global(id) => door::touch(env, id, offset, size),
                    }
                }
            }
            continue;
        }
        let (a, b) = (registers.columns[args.a as usize][lane], registers.columns[args.b as usize][lane]);
        let combined = |old| combine(op.kind, op.size, old, a, b, !is_shared);
        let (old, new) = match env.weak {
            None => storage.update(offset, size, combined),
            Some(_) => {
                let fails = |old| op.kind == AtomicKind::CompareSwap && old != a & (u64::MAX >> (64 - 8 * size));
                let next = |old| (!fails(old)).then(|| combined(old));
                weak::update(env, cta, warp, op, place, lane, offset, pc, next)
            }
        };
        let storage = match place {
            Where::Shared => &cta.shared,
            Where::Global(id) => env.memory.storage(id),
        };
        if op.returns {
            warp.registers.columns[args.d as usize][lane] = old;
        }
        if new == old {
            if warp.interval.records() {
                note_read(warp, place, offset, size, old, address);
            }
            continue;
        }
        let watched = storage.is_watched();
        let tracked = storage.tracked && env.checks.bus_visibility && op.scope != Scope::Sys;
        warp.interval.busy = true;
        env.memory.changes += 1;
        if watched {
            match place {
                Where::Shared => cta.shared.touched(offset, size, &mut env.memory.woken),
                Where::Global(id) => door::touch(env, id, offset, size),
            }
        }
        if let (true, Where::Global(storage)) = (tracked, place) {
            let (start, end) = (offset as u64, (offset + size) as u64);
            let stage = Stage::Lanes(1 << lane);
            let entry =
                Unflushed { storage, start, end, warp: warp.index, lane: lane as u32, pc, stage, strong: false };
            visibility::add(&mut warp.unflushed, entry);
        }
    }
    Ok(())
}

/// An atomic operation of one lane in shared memory of another CTA of the cluster.
#[allow(clippy::too_many_arguments)]
fn elsewhere(
    env: &mut Env,
    cta: &CtaState,
    warp: &mut Warp,
    op: &Atomic,
    args: &Args,
    address: u64,
    lane: usize,
    pc: u32,
) -> Result<(), Trouble> {
    let (rank, offset) = (cluster::rank_of(address).unwrap_or(u64::MAX >> 8), address & cluster::OFFSET_MASK);
    let size = op.size as usize;
    let other = door::remote_place(env.ctas, env.remote, cta, rank, offset, size as u64, lane, pc)?;
    if let Some(race) = env.race.as_mut() {
        let at = At::new(cta, warp, pc).toward(&other.state);
        let checked = race.atomic(at, Where::Shared, op, lane as u32, offset as usize);
        checked.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
    }
    let (storage, at) = (&mut other.state.shared, offset as usize);
    if size == 16 {
        update_wide(storage, at, op, args, &mut warp.registers, lane);
    } else {
        let column = |c: u16| warp.registers.columns[c as usize][lane];
        let (a, b) = (column(args.a), column(args.b));
        let (old, _) = storage.update(at, size, |old| combine(op.kind, op.size, old, a, b, false));
        if op.returns {
            warp.registers.columns[args.d as usize][lane] = old;
        }
    }
    if storage.is_watched() {
        storage.touched(at, size, &mut env.memory.woken);
    }
    warp.interval.busy = true;
    env.memory.changes += 1;
    Ok(())
}

/// Exchange or compare-and-swap of 16 bytes; true when they changed.
fn update_wide(
    storage: &mut Storage,
    offset: usize,
    op: &Atomic,
    args: &Args,
    registers: &mut Registers,
    lane: usize,
) -> bool {
    let wide = |registers: &Registers, low: u16| [low, low + 1].map(|column| registers.columns[column as usize][lane]);
    let old = [storage.load(offset, 8), storage.load(offset + 8, 8)];
    let (a, b) = (wide(registers, args.a), wide(registers, args.b));
    let new = match op.kind {
        AtomicKind::CompareSwap if old == a => b,
        AtomicKind::CompareSwap => old,
        _ => a,
    };
    if op.returns {
        for (column, half) in [args.d, args.d + 1].into_iter().zip(old) {
            registers.columns[column as usize][lane] = half;
        }
    }
    if new == old {
        return false;
    }
    storage.store(offset, 8, new[0]);
    storage.store(offset + 8, 8, new[1]);
    true
}
