//! Loads and atomic operations of threads: what answers them, and when.

use super::bytes_of;
use super::meter::From;
use crate::exec::Env;
use crate::memory::{Kind, Memory, Reach, LOCAL_WINDOW, SHARED_WINDOW};
use crate::program::{Access, AccessSpace, Atomic};
use crate::warp::{first, Warp};

/// A load is about to be issued. The first lane stands for all.
#[cold]
pub(crate) fn load(env: &mut Env, warp: &Warp, access: &Access, active: u32) {
    let lane = first(active) as usize;
    let address = warp.registers.columns[access.base as usize][lane].wrapping_add(access.offset as u64);
    let (from, storage) = answers(env.memory, env.gpu, access.space, address);
    let Some(meter) = env.meter.as_deref_mut() else { return };
    if let (From::Kind(Kind::Peer { .. }), Some(storage)) = (from, storage) {
        meter.settle(storage, env.memory);
    }
    meter.load(from, bytes_of(active, access.size, access.count));
}

/// An atomic operation is about to be issued.
#[cold]
pub(crate) fn atomic(env: &mut Env, warp: &Warp, atomic: &Atomic, active: u32) {
    let lane = first(active) as usize;
    let address = warp.registers.columns[atomic.base as usize][lane].wrapping_add(atomic.offset as u64);
    let (from, storage) = answers(env.memory, env.gpu, atomic.space, address);
    let Some(meter) = env.meter.as_deref_mut() else { return };
    if let (From::Kind(Kind::Peer { .. }), Some(storage)) = (from, storage) {
        meter.settle(storage, env.memory);
    }
    meter.atomic(from);
}

/// What answers an access of a GPU to an address, and its storage beyond the SM.
fn answers(memory: &Memory, gpu: usize, space: AccessSpace, address: u64) -> (From, Option<usize>) {
    let inside = match space {
        AccessSpace::Shared | AccessSpace::Local => true,
        AccessSpace::Global => false,
        AccessSpace::Generic => matches!(address & !0xffff_ffff, SHARED_WINDOW | LOCAL_WINDOW),
    };
    // An address that leads nowhere is told where it is used.
    let Some(region) = (!inside).then(|| memory.find(address, 1).ok()).flatten() else { return (From::Shared, None) };
    let kind = match (region.kind, region.reach) {
        (Kind::Device, Reach::Gpu(owner)) if owner != gpu => Kind::Peer { owner },
        (kind, _) => kind,
    };
    (From::Kind(kind), Some(region.storage))
}
