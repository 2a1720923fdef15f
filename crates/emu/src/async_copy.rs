//! `cp.async`: small copies from global into shared memory. Each is done when it is issued.

use crate::door::{self, aligned};
use crate::error::FaultKind;
use crate::exec::Env;
use crate::memory::{Kind, Need, SHARED_WINDOW};
use crate::program::{lanes, AsyncCopy, CopyCount};
use crate::race::{self, At};
use crate::warp::{CtaState, Trouble, Warp};
use crate::weak::Place;

/// `cp.async.commit_group`.
pub(crate) fn commit(env: &mut Env, cta: &CtaState, warp: &Warp, active: u32, pc: u32) {
    if let Some(race) = env.race.as_mut() {
        race.commit_small(At::new(cta, warp, pc), active);
    }
}

/// `cp.async.wait_group` and `cp.async.wait_all`.
pub(crate) fn wait(env: &mut Env, cta: &CtaState, warp: &Warp, pending: Option<u32>, active: u32, pc: u32) {
    if let Some(race) = env.race.as_mut() {
        race.wait_small(At::new(cta, warp, pc), active, pending);
    }
}

/// Copies for each lane.
pub(crate) fn copy(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    op: &AsyncCopy,
    active: u32,
    pc: u32,
) -> Result<(), Trouble> {
    let size = op.size as usize;
    let targets = door::addresses(&warp.registers, op.target, op.target_offset);
    let sources = door::addresses(&warp.registers, op.source, op.source_offset);
    aligned(&targets, active, size as u64, pc)?;
    aligned(&sources, active, size as u64, pc)?;
    for lane in lanes(active) {
        let count = match op.count {
            CopyCount::All => size,
            CopyCount::Column(column) => warp.registers.columns[column as usize][lane] as u32 as usize,
            CopyCount::Unless(predicate, negated) => {
                let ignores = (warp.registers.predicates[predicate as usize] >> lane & 1 == 1) != negated;
                if ignores {
                    0
                } else {
                    size
                }
            }
        };
        let target = targets[lane];
        if count > size {
            let kind = FaultKind::Bulk(format!("{count} source bytes of a copy of {size}"));
            return Err(door::trouble(kind, lane, pc, sources[lane]));
        }
        if !cta.holds(target, size as u64) {
            let kind = FaultKind::OutOfBounds { bytes: size as u64 };
            return Err(door::trouble(kind, lane, pc, target.wrapping_add(SHARED_WINDOW)));
        }
        let (mut bytes, mut from) = ([0u8; 16], None);
        if count > 0 {
            let window = env.memory.window(&cta.viewer(), sources[lane], count as u64, Need::Read);
            let window = window.map_err(|fault| door::refused(fault, lane, pc))?;
            if let Kind::Doorbell { .. } = window.kind {
                let kind = FaultKind::Doorbell("a doorbell cannot be read".into());
                return Err(door::trouble(kind, lane, pc, sources[lane]));
            }
            let (storage, offset) = (env.memory.storage(window.storage), (sources[lane] - window.base) as usize);
            if env.checks.uninitialized && !storage.is_initialized(offset, count) {
                return Err(door::trouble(FaultKind::Uninitialized, lane, pc, sources[lane]));
            }
            storage.read(offset, &mut bytes[..count]);
            from = Some((window.storage, offset));
            env.statistics.load_bytes += count as u64;
        }
        if let Some(race) = env.race.as_mut() {
            let from = from.map(|(storage, offset)| (storage, offset, count));
            let checked = race.small_copy(At::new(cta, warp, pc), lane as u32, from, target as usize, size);
            checked.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
        }
        cta.shared.write(target as usize, &bytes[..size]);
        if let Some(weak) = env.weak {
            weak.settle(Place::Shared(cta.race), target as usize, size);
        }
        if cta.shared.is_watched() {
            cta.shared.touched(target as usize, size, &mut env.memory.woken);
        }
    }
    warp.interval.busy = true;
    env.memory.changes += 1;
    Ok(())
}
