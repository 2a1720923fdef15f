//! The memory door: every access of a warp to memory goes through here, one call an instruction.
//!
//! Memory is sequentially consistent here, unless it is explored (`weak`); orders and scopes arrive at this door and
//! matter to the visibility of stores on the bus, to the race check and to exploration.

use crate::cluster;
use crate::error::FaultKind;
use crate::exec::{note_read, Env};
use crate::lanes::{self, Place};
use crate::memory::{
    AccessFault, Kind, Memory, Need, Storage, Window, LOCAL_WINDOW, RESERVED_SHARED_BYTES, SHARED_WINDOW,
};
use crate::observe::{AccessKind, Event};
use crate::park::Where;
use crate::program::{lanes as each, Access, AccessSpace, Args, Column, Order, Registers, Scope, FULL};
use crate::race::{self, At};
use crate::visibility::{self, Stage, Unflushed};
use crate::warp::{first, Cta, CtaState, Trouble, Warp};
use crate::weak;

type Accessed = Result<(), Trouble>;

/// Address of each lane.
#[inline(always)]
pub(crate) fn addresses(registers: &Registers, base: u16, offset: i64) -> Column {
    let base = &registers.columns[base as usize];
    std::array::from_fn(|i| base[i].wrapping_add(offset as u64))
}

/// Lanes of `mask` by what a generic address means: global, shared, local.
pub(crate) fn classes(addresses: &Column, mask: u32) -> [u32; 3] {
    let mut sets = [0; 3];
    for lane in each(mask) {
        let class = match addresses[lane] & !0xffff_ffff {
            SHARED_WINDOW => 1,
            LOCAL_WINDOW => 2,
            _ => 0,
        };
        sets[class] |= 1 << lane;
    }
    sets
}

pub(crate) fn trouble(kind: FaultKind, lane: usize, pc: u32, address: u64) -> Trouble {
    Trouble { kind, lane: lane as u32, pc, address: Some(address) }
}

pub(crate) fn refused(fault: AccessFault, lane: usize, pc: u32) -> Trouble {
    trouble(fault.kind, lane, pc, fault.address)
}

/// All lanes must be aligned to `bytes`.
#[inline(always)]
pub(crate) fn aligned(addresses: &Column, mask: u32, bytes: u64, pc: u32) -> Accessed {
    let any = match mask {
        FULL => addresses.iter().fold(0, |all, address| all | address),
        _ => each(mask).fold(0, |all, lane| all | addresses[lane]),
    };
    if any & (bytes - 1) == 0 {
        return Ok(());
    }
    let lane = each(mask).find(|&l| addresses[l] & (bytes - 1) != 0).unwrap_or(0);
    Err(trouble(FaultKind::Misaligned { align: bytes }, lane, pc, addresses[lane]))
}

/// Lanes of `mask` whose accesses lie in `low..high`.
#[inline(always)]
fn inside(addresses: &Column, mask: u32, low: u64, high: u64, bytes: u64) -> u32 {
    let room = (high - low).wrapping_sub(bytes);
    if high - low < bytes {
        return 0;
    }
    let mut set = 0u32;
    for (lane, address) in addresses.iter().enumerate() {
        set |= ((address.wrapping_sub(low) <= room) as u32) << lane;
    }
    set & mask
}

/// The first lane that is not inside a CTA's or thread's own memory.
fn outside(mask: u32, inside: u32, addresses: &Column, bytes: u64, pc: u32) -> Accessed {
    if mask == inside {
        return Ok(());
    }
    let lane = first(mask & !inside) as usize;
    Err(trouble(FaultKind::OutOfBounds { bytes }, lane, pc, addresses[lane]))
}

#[inline(always)]
fn relative(addresses: &Column, base: u64) -> Column {
    std::array::from_fn(|i| addresses[i].wrapping_sub(base))
}

/// Tells the interval what the lanes read, element by element.
#[cold]
fn note_reads(
    warp: &mut Warp,
    place: Where,
    storage: &Storage,
    offsets: &Column,
    addresses: &Column,
    access: &Access,
    set: u32,
) {
    let size = access.size as usize;
    for lane in each(set) {
        for element in 0..access.count as usize {
            let offset = offsets[lane] as usize + element * size;
            let value = storage.load(offset, size);
            note_read(warp, place, offset, size, value, addresses[lane] + (element * size) as u64);
        }
    }
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn observe(
    env: &mut Env,
    cta: &CtaState,
    warp: u32,
    kind: AccessKind,
    lanes: u32,
    addresses: &Column,
    pc: u32,
    bytes: u32,
) {
    if let Some(observer) = env.observer {
        let warp = cta.warp_ref(warp).into();
        observer.event(&Event::Access { warp, pc, kind, lanes, addresses, bytes });
    }
}

/// `ld`.
pub(crate) fn load(env: &mut Env, cta: &CtaState, warp: &mut Warp, access: &Access, active: u32, pc: u32) -> Accessed {
    let addresses = addresses(&warp.registers, access.base, access.offset);
    let bytes = access.size as u64 * access.count as u64;
    let place = lanes::place(&addresses, active, bytes);
    if place != Place::Scattered && load_whole(env, cta, warp, access, place, pc) {
        return race_of(env, active, pc);
    }
    if env.checks.alignment {
        aligned(&addresses, active, bytes, pc)?;
    }
    if env.observer.is_some() {
        observe(env, cta, warp.index, AccessKind::Load, active, &addresses, pc, bytes as u32);
    }
    match access.space {
        AccessSpace::Global => load_global(env, cta, warp, access, &addresses, active, pc),
        AccessSpace::Shared => load_cluster(env, cta, warp, access, addresses, active, pc),
        AccessSpace::Local => load_local(env, warp, access, &addresses, active, pc),
        AccessSpace::Generic => {
            let [global, shared, local] = classes(&addresses, active);
            if global != 0 {
                load_global(env, cta, warp, access, &addresses, global, pc)?;
            }
            if shared != 0 {
                load_cluster(env, cta, warp, access, relative(&addresses, SHARED_WINDOW), shared, pc)?;
            }
            if local != 0 {
                load_local(env, warp, access, &relative(&addresses, LOCAL_WINDOW), local, pc)?;
            }
            Ok(())
        }
    }
}

/// The race that an access of a whole warp has found, if it has.
#[inline(always)]
fn race_of(env: &mut Env, active: u32, pc: u32) -> Accessed {
    match env.raced.take() {
        None => Ok(()),
        Some(report) => Err(race::trouble(env.memory, report, first(active), pc)),
    }
}

/// Tells the race check of an access of lanes.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn check_race(
    env: &mut Env,
    cta: &CtaState,
    warp: &Warp,
    access: &Access,
    write: bool,
    place: Where,
    offsets: &Column,
    set: u32,
    pc: u32,
) -> Accessed {
    let Some(race) = env.race.as_mut() else { return Ok(()) };
    let checked = race.scattered(At::new(cta, warp, pc), place, access, write, offsets, set);
    checked.map_err(|report| race::trouble(env.memory, report, first(set), pc))
}

/// The storage, and the offset of `bytes` at a generic or plain address, of global and shared memory. `None` when the
/// address is not as plain as that; the slow way tells why.
#[inline(always)]
fn plain(
    memory: &Memory,
    cta: &CtaState,
    space: AccessSpace,
    address: u64,
    bytes: u64,
    need: Need,
) -> Option<(Where, u64, Kind)> {
    let shared = match space {
        AccessSpace::Shared => Some(address),
        AccessSpace::Generic if address >> 32 == SHARED_WINDOW >> 32 => Some(address - SHARED_WINDOW),
        AccessSpace::Generic | AccessSpace::Global => None,
        AccessSpace::Local => return None,
    };
    if let Some(offset) = shared {
        return cta.holds(offset, bytes).then_some((Where::Shared, offset, Kind::Device));
    }
    let window = memory.window(&cta.viewer(), address, bytes, need).ok()?;
    let plain = !matches!(window.kind, Kind::Doorbell { .. } | Kind::Host { shared: true });
    plain.then_some((Where::Global(window.storage), address - window.base, window.kind))
}

/// A load of all lanes from a row or a point, when nothing needs to be told lane by lane. False when it was not done.
fn load_whole(env: &mut Env, cta: &CtaState, warp: &mut Warp, access: &Access, place: Place, pc: u32) -> bool {
    let bytes = access.size as u64 * access.count as u64;
    let (first, total) = match place {
        Place::Row(first) => (first, 32 * bytes),
        Place::Point(first) => (first, bytes),
        Place::Scattered => return false,
    };
    let misaligned = env.checks.alignment && first & (bytes - 1) != 0;
    if misaligned || warp.interval.records() || env.observer.is_some() || env.weak.is_some() {
        return false;
    }
    // Strong accesses, and races, are told lane by lane.
    if env.race.is_some() && access.order != Order::Weak {
        return false;
    }
    let Some((place_of, offset, _)) = plain(env.memory, cta, access.space, first, total, Need::Read) else {
        return false;
    };
    if let Some(race) = env.race.as_mut() {
        let at = At::new(cta, warp, pc);
        let checked = match place {
            Place::Row(_) => race.row(at, place_of, access, false, offset as usize),
            _ => race.point(at, place_of, access, offset as usize),
        };
        if let Err(report) = checked {
            env.raced = Some(report);
            return true;
        }
    }
    let storage = match place_of {
        Where::Shared => &cta.shared,
        Where::Global(id) => {
            env.statistics.load_bytes += 32 * bytes;
            env.memory.storage(id)
        }
    };
    let (start, checked) = (offset as usize, env.checks.uninitialized);
    match place {
        Place::Row(_) => lanes::read_row(storage, start, &mut warp.registers, access, checked),
        _ => lanes::read_point(storage, start, &mut warp.registers, access, checked),
    }
}

/// A store of all lanes to a row, when nothing needs to be told lane by lane. False when it was not done.
fn store_whole(env: &mut Env, cta: &mut CtaState, warp: &mut Warp, access: &Access, first: u64, pc: u32) -> bool {
    let bytes = access.size as u64 * access.count as u64;
    let misaligned = env.checks.alignment && first & (bytes - 1) != 0;
    let releases = access.order == Order::Release;
    if misaligned || releases || !warp.interval.busy || env.observer.is_some() || env.weak.is_some() {
        return false;
    }
    let Some((place, offset, kind)) = plain(env.memory, cta, access.space, first, 32 * bytes, Need::Write) else {
        return false;
    };
    if let Where::Global(id) = place {
        if env.checks.bus_visibility && env.memory.storage(id).tracked {
            return false;
        }
    }
    if let Some(race) = env.race.as_mut() {
        if access.order != Order::Weak {
            return false;
        }
        if let Err(report) = race.row(At::new(cta, warp, pc), place, access, true, offset as usize) {
            env.raced = Some(report);
            return true;
        }
    }
    if let (Where::Global(id), Some(meter)) = (place, env.meter.as_deref_mut()) {
        if meter.store(kind, id, offset, offset + 32 * bytes).is_some() {
            return false;
        }
    }
    let storage = match place {
        Where::Shared => &mut cta.shared,
        Where::Global(id) => {
            match kind {
                Kind::Peer { .. } => env.statistics.store_peer_bytes += 32 * bytes,
                _ => env.statistics.store_bytes += 32 * bytes,
            }
            env.memory.storage_mut(id)
        }
    };
    lanes::write_row(storage, offset as usize, &warp.registers, access);
    if storage.is_watched() {
        let mut woken = Vec::new();
        storage.touched(offset as usize, 32 * bytes as usize, &mut woken);
        env.memory.woken.append(&mut woken);
    }
    env.memory.changes += 1;
    true
}

fn load_global(
    env: &mut Env,
    cta: &CtaState,
    warp: &mut Warp,
    access: &Access,
    addresses: &Column,
    active: u32,
    pc: u32,
) -> Accessed {
    let bytes = access.size as u64 * access.count as u64;
    let mut rest = active;
    while rest != 0 {
        let lane = first(rest) as usize;
        let window = env.memory.window(&cta.viewer(), addresses[lane], bytes, Need::Read);
        let window = window.map_err(|f| refused(f, lane, pc))?;
        if let Kind::Doorbell { .. } = window.kind {
            let kind = FaultKind::Doorbell("a doorbell cannot be read".into());
            return Err(trouble(kind, lane, pc, addresses[lane]));
        }
        let set = inside(addresses, rest, window.low, window.high, bytes);
        let offsets = relative(addresses, window.base);
        check_race(env, cta, warp, access, false, Where::Global(window.storage), &offsets, set, pc)?;
        env.statistics.load_bytes += bytes * set.count_ones() as u64;
        rest &= !set;
        if env.weak.is_some() {
            let place = Where::Global(window.storage);
            weak::load(env, cta, warp, access, place, &offsets, set, pc)
                .map_err(|(lane, kind)| trouble(kind, lane, pc, addresses[lane]))?;
            continue;
        }
        let storage = env.memory.storage(window.storage);
        if warp.interval.records() {
            note_reads(warp, Where::Global(window.storage), storage, &offsets, addresses, access, set);
        }
        lanes::read(storage, &offsets, &mut warp.registers, access, set, env.checks.uninitialized)
            .map_err(|lane| trouble(FaultKind::Uninitialized, lane, pc, addresses[lane]))?;
    }
    Ok(())
}

/// A load from shared memory of the CTA and of others in its cluster.
fn load_cluster(
    env: &mut Env,
    cta: &CtaState,
    warp: &mut Warp,
    access: &Access,
    mut offsets: Column,
    active: u32,
    pc: u32,
) -> Accessed {
    let remote = cluster::localize(cta, &mut offsets, active);
    if active != remote {
        load_shared(env, cta, warp, access, &offsets, active & !remote, pc)?;
    }
    let bytes = access.size as u64 * access.count as u64;
    for (lane, rank, offset) in elsewhere(&offsets, remote) {
        // Words of other CTAs are not watched.
        warp.interval.busy = true;
        let other = remote_place(env.ctas, env.remote, cta, rank, offset, bytes, lane, pc)?;
        let mut placed = [0; 32];
        placed[lane] = offset;
        if let Some(race) = env.race.as_mut() {
            let at = At::new(cta, warp, pc).toward(&other.state);
            let checked = race.scattered(at, Where::Shared, access, false, &placed, 1 << lane);
            checked.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
        }
        lanes::read(&other.state.shared, &placed, &mut warp.registers, access, 1 << lane, env.checks.uninitialized)
            .map_err(|lane| trouble(FaultKind::Uninitialized, lane, pc, offsets[lane] + SHARED_WINDOW))?;
    }
    Ok(())
}

/// Lane, rank and offset of accesses to shared memory of other CTAs.
fn elsewhere(offsets: &Column, remote: u32) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
    each(remote).filter_map(|lane| {
        let rank = cluster::rank_of(offsets[lane])?;
        Some((lane, rank, offsets[lane] & cluster::OFFSET_MASK))
    })
}

/// Another CTA of the cluster, in whose shared memory `bytes` lie at `offset`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn remote_place<'e>(
    ctas: &'e mut [Option<Box<Cta>>],
    remote: &mut Vec<u32>,
    cta: &CtaState,
    rank: u64,
    offset: u64,
    bytes: u64,
    lane: usize,
    pc: u32,
) -> Result<&'e mut Cta, Trouble> {
    let address = SHARED_WINDOW + ((rank + 1) << cluster::RANK_SHIFT) + offset;
    let other = cluster::member(ctas, remote, cta, rank).map_err(|kind| trouble(kind, lane, pc, address))?;
    if !other.state.holds(offset, bytes) {
        return Err(trouble(FaultKind::OutOfBounds { bytes }, lane, pc, address));
    }
    Ok(other)
}

/// A store to shared memory of the CTA and of others in its cluster.
fn store_cluster(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    access: &Access,
    mut offsets: Column,
    active: u32,
    pc: u32,
) -> Accessed {
    let remote = cluster::localize(cta, &mut offsets, active);
    if active != remote {
        store_shared(env, cta, warp, access, &offsets, active & !remote, pc)?;
    }
    let bytes = access.size as u64 * access.count as u64;
    for (lane, rank, offset) in elsewhere(&offsets, remote) {
        warp.interval.busy = true;
        env.memory.changes += 1;
        let other = remote_place(env.ctas, env.remote, cta, rank, offset, bytes, lane, pc)?;
        let mut placed = [0; 32];
        placed[lane] = offset;
        if let Some(race) = env.race.as_mut() {
            let at = At::new(cta, warp, pc).toward(&other.state);
            let checked = race.scattered(at, Where::Shared, access, true, &placed, 1 << lane);
            checked.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
        }
        lanes::write(&mut other.state.shared, &placed, &warp.registers, access, 1 << lane);
        if other.state.shared.is_watched() {
            other.state.shared.touched(offset as usize, bytes as usize, &mut env.memory.woken);
        }
    }
    Ok(())
}

fn load_shared(
    env: &mut Env,
    cta: &CtaState,
    warp: &mut Warp,
    access: &Access,
    offsets: &Column,
    active: u32,
    pc: u32,
) -> Accessed {
    let bytes = access.size as u64 * access.count as u64;
    let set = inside(offsets, active, RESERVED_SHARED_BYTES as u64, cta.shared.bytes.len() as u64, bytes);
    outside(active, set, offsets, bytes, pc)?;
    check_race(env, cta, warp, access, false, Where::Shared, offsets, set, pc)?;
    if env.weak.is_some() {
        return weak::load(env, cta, warp, access, Where::Shared, offsets, set, pc)
            .map_err(|(lane, kind)| trouble(kind, lane, pc, offsets[lane] + SHARED_WINDOW));
    }
    if warp.interval.records() {
        let addresses = std::array::from_fn(|i| offsets[i].wrapping_add(SHARED_WINDOW));
        note_reads(warp, Where::Shared, &cta.shared, offsets, &addresses, access, set);
    }
    lanes::read(&cta.shared, offsets, &mut warp.registers, access, set, env.checks.uninitialized)
        .map_err(|lane| trouble(FaultKind::Uninitialized, lane, pc, offsets[lane] + SHARED_WINDOW))
}

/// Offsets in the warp's local memory: frames one after another by lane.
fn frames(offsets: &Column, frame: u64) -> Column {
    std::array::from_fn(|lane| offsets[lane].wrapping_add(lane as u64 * frame))
}

fn load_local(env: &mut Env, warp: &mut Warp, access: &Access, offsets: &Column, active: u32, pc: u32) -> Accessed {
    let bytes = access.size as u64 * access.count as u64;
    let frame = warp.local.bytes.len() as u64 / 32;
    let set = inside(offsets, active, 0, frame, bytes);
    outside(active, set, offsets, bytes, pc)?;
    let placed = frames(offsets, frame);
    lanes::read(&warp.local, &placed, &mut warp.registers, access, set, env.checks.uninitialized)
        .map_err(|lane| trouble(FaultKind::Uninitialized, lane, pc, offsets[lane] + LOCAL_WINDOW))
}

/// `ld.param` of a kernel: the same bytes for all.
pub(crate) fn load_param(cta: &CtaState, warp: &mut Warp, access: &Access, active: u32, pc: u32) -> Accessed {
    let addresses = addresses(&warp.registers, access.base, access.offset);
    let (size, args) = (access.size as usize, &cta.shape.args);
    let bytes = size as u64 * access.count as u64;
    aligned(&addresses, active, bytes, pc)?;
    let set = inside(&addresses, active, 0, args.len() as u64, bytes);
    outside(active, set, &addresses, bytes, pc)?;
    for (element, &column) in access.columns[..access.count as usize].iter().enumerate() {
        for lane in each(set) {
            let at = addresses[lane] as usize + element * size;
            let mut word = [0u8; 8];
            word[..size].copy_from_slice(&args[at..at + size]);
            let mut value = u64::from_le_bytes(word);
            if access.extend != 0 {
                let shift = 64 - 8 * size as u32;
                value = ((value << shift) as i64 >> shift) as u64 & access.extend;
            }
            warp.registers.columns[column as usize][lane] = value;
        }
    }
    Ok(())
}

/// Copies a parameter between the frames of caller and callee, which may lie behind the end of the stack.
pub(crate) fn copy_frame(warp: &mut Warp, args: &Args, active: u32, pc: u32) -> Accessed {
    let frame = warp.local.bytes.len() / 32;
    let mut piece = crate::memory::Snapshot::default();
    for lane in each(active) {
        let [from, to] = [args.a, args.b].map(|column| warp.registers.columns[column as usize][lane]);
        if from.max(to).saturating_add(args.imm.into()) > frame as u64 {
            return Err(trouble(FaultKind::OutOfBounds { bytes: args.imm.into() }, lane, pc, from.max(to)));
        }
        warp.local.take(lane * frame + from as usize, args.imm as usize, &mut piece);
        warp.local.put(lane * frame + to as usize, &piece);
    }
    Ok(())
}

/// `st`.
pub(crate) fn store(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    access: &Access,
    active: u32,
    pc: u32,
) -> Accessed {
    let addresses = addresses(&warp.registers, access.base, access.offset);
    let bytes = access.size as u64 * access.count as u64;
    if let Place::Row(first) = lanes::place(&addresses, active, bytes) {
        if store_whole(env, cta, warp, access, first, pc) {
            return race_of(env, active, pc);
        }
    }
    if env.checks.alignment {
        aligned(&addresses, active, bytes, pc)?;
    }
    if env.observer.is_some() {
        observe(env, cta, warp.index, AccessKind::Store, active, &addresses, pc, bytes as u32);
    }
    if access.order == Order::Release && access.scope == Scope::Sys {
        visibility::fence(&mut warp.unflushed, &mut cta.unflushed, active);
    }
    match access.space {
        AccessSpace::Global => store_global(env, cta, warp, access, &addresses, active, pc),
        AccessSpace::Shared => store_cluster(env, cta, warp, access, addresses, active, pc),
        AccessSpace::Local => store_local(warp, access, &addresses, active, pc),
        AccessSpace::Generic => {
            let [global, shared, local] = classes(&addresses, active);
            if global != 0 {
                store_global(env, cta, warp, access, &addresses, global, pc)?;
            }
            if shared != 0 {
                store_cluster(env, cta, warp, access, relative(&addresses, SHARED_WINDOW), shared, pc)?;
            }
            if local != 0 {
                store_local(warp, access, &relative(&addresses, LOCAL_WINDOW), local, pc)?;
            }
            Ok(())
        }
    }
}

fn store_global(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    access: &Access,
    addresses: &Column,
    active: u32,
    pc: u32,
) -> Accessed {
    let bytes = access.size as u64 * access.count as u64;
    let mut rest = active;
    while rest != 0 {
        let lane = first(rest) as usize;
        let window = env.memory.window(&cta.viewer(), addresses[lane], bytes, Need::Write);
        let window = window.map_err(|f| refused(f, lane, pc))?;
        let set = inside(addresses, rest, window.low, window.high, bytes);
        rest &= !set;
        if let Kind::Doorbell { nic } = window.kind {
            doorbell(env, cta, warp, access, addresses, set, nic, pc)?;
            continue;
        }
        let offsets = relative(addresses, window.base);
        check_race(env, cta, warp, access, true, Where::Global(window.storage), &offsets, set, pc)?;
        let late_ps = store_late(env, warp, access, &window, &offsets, set);
        let storage = env.memory.storage_mut(window.storage);
        let was_idle = !warp.interval.busy;
        if was_idle {
            warp.interval.busy = lanes::changes(storage, &offsets, &warp.registers, access, set);
        }
        let watched = storage.is_watched();
        let strong = access.order != Order::Weak && access.scope == Scope::Sys;
        let tracked = storage.tracked && env.checks.bus_visibility;
        match env.weak {
            None if late_ps.is_some() => {}
            None => lanes::write(storage, &offsets, &warp.registers, access, set),
            Some(_) => weak::store(env, cta, warp, access, Where::Global(window.storage), &offsets, set, pc),
        }
        if warp.interval.busy {
            env.memory.changes += 1;
        }
        if watched && late_ps.is_none() {
            for lane in each(set) {
                touch(env, window.storage, offsets[lane] as usize, bytes as usize);
            }
        }
        if tracked {
            for lane in each(set) {
                let entry = Unflushed {
                    storage: window.storage,
                    start: offsets[lane],
                    end: offsets[lane] + bytes,
                    warp: warp.index,
                    lane: lane as u32,
                    pc,
                    stage: Stage::Lanes(1 << lane),
                    strong,
                };
                visibility::add(&mut warp.unflushed, entry);
            }
        }
        let counted = bytes * set.count_ones() as u64;
        match window.kind {
            Kind::Peer { .. } => env.statistics.store_peer_bytes += counted,
            _ => env.statistics.store_bytes += counted,
        }
    }
    Ok(())
}

/// A store that takes its time: when it arrives, if it is not there at once. Its bytes are on their way then.
fn store_late(env: &mut Env, warp: &Warp, access: &Access, window: &Window, offsets: &Column, set: u32) -> Option<u64> {
    let meter = env.meter.as_deref_mut()?;
    let bytes = access.size as u64 * access.count as u64;
    let mut arrives_ps = None;
    for lane in each(set) {
        let start = offsets[lane];
        arrives_ps = meter.store(window.kind, window.storage, start, start + bytes);
        if let Some(at_ps) = arrives_ps {
            meter.send(at_ps, window.storage, start as usize, lanes::bytes(&warp.registers, access, lane));
        }
    }
    arrives_ps
}

/// Wakes whoever watches bytes of a storage.
pub(crate) fn touch(env: &mut Env, storage: usize, offset: usize, bytes: usize) {
    let mut woken = std::mem::take(&mut env.memory.woken);
    env.memory.storage(storage).touched(offset, bytes, &mut woken);
    env.memory.woken = woken;
}

#[allow(clippy::too_many_arguments)]
fn doorbell(
    env: &mut Env,
    cta: &CtaState,
    warp: &mut Warp,
    access: &Access,
    addresses: &Column,
    set: u32,
    nic: warpferry_nic::NicId,
    pc: u32,
) -> Accessed {
    let lane = first(set) as usize;
    let wrong = |what: &str| Err(trouble(FaultKind::Doorbell(what.into()), lane, pc, addresses[lane]));
    if access.size != 8 || access.count != 1 {
        return wrong("a doorbell takes one store of 8 bytes");
    }
    // Others may be split, merged or done twice.
    if !access.mmio {
        return wrong("a doorbell takes st.mmio.relaxed.sys");
    }
    for lane in each(set) {
        let value = warp.registers.columns[access.columns[0] as usize][lane];
        if let Some(record) = env.network.doorbell_record(value) {
            if let Some(pc) = unordered_record(env, cta, warp, record) {
                return wrong(&format!(
                    "the doorbell record was stored at {}, with no system-scope fence or release since",
                    cta.location(pc)
                ));
            }
            let (rung, recorded) = (warpferry_nic::Network::doorbell_counter(value), recorded(env, record));
            if recorded.is_some_and(|recorded| recorded != rung) {
                let recorded = recorded.unwrap_or_default();
                return wrong(&format!(
                    "it names entries up to {rung}, its record {recorded}: a device that sleeps looks at what is rung"
                ));
            }
        }
        if let Some(race) = env.race.as_mut() {
            race.doorbell(At::new(cta, warp, pc), lane as u32, value, nic.to_string());
        }
        env.network.doorbell(nic, value);
        if let Some(meter) = env.meter.as_deref_mut() {
            meter.doorbell(value);
        }
        env.statistics.doorbells += 1;
        if let Some(observer) = env.observer {
            observer.event(&Event::Doorbell { warp: cta.warp_ref(warp.index).into(), value });
        }
    }
    warp.interval.busy = true;
    env.memory.changes += 1;
    Ok(())
}

/// Send counter of the record at this address, when what is there is what its owner stored last.
fn recorded(env: &Env, record: u64) -> Option<u16> {
    if !env.checks.bus_visibility || env.weak.is_some() {
        return None;
    }
    let region = env.memory.find(record, 8).ok()?;
    let mut counter = [0; 4];
    let at = (record - region.base + warpferry_nic::wqe::RECORD_SEND_COUNTER_OFFSET) as usize;
    env.memory.storage(region.storage).read(at, &mut counter);
    Some(u32::from_be_bytes(counter) as u16)
}

/// Instruction of a store to the record at this address that nothing orders before a doorbell rung now.
fn unordered_record(env: &Env, cta: &CtaState, warp: &Warp, record: u64) -> Option<u32> {
    if !env.checks.bus_visibility {
        return None;
    }
    let region = env.memory.find(record, 8).ok()?;
    let start = record - region.base;
    let lists = [warp.unflushed.as_slice(), cta.unflushed.as_slice()];
    lists.iter().find_map(|list| visibility::overlap(list, region.storage, (start, start + 8), true)).map(|e| e.pc)
}

fn store_shared(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    access: &Access,
    offsets: &Column,
    active: u32,
    pc: u32,
) -> Accessed {
    let bytes = access.size as u64 * access.count as u64;
    let set = inside(offsets, active, RESERVED_SHARED_BYTES as u64, cta.shared.bytes.len() as u64, bytes);
    outside(active, set, offsets, bytes, pc)?;
    check_race(env, cta, warp, access, true, Where::Shared, offsets, set, pc)?;
    if !warp.interval.busy {
        warp.interval.busy = lanes::changes(&cta.shared, offsets, &warp.registers, access, set);
    }
    if warp.interval.busy {
        env.memory.changes += 1;
    }
    match env.weak {
        None => lanes::write(&mut cta.shared, offsets, &warp.registers, access, set),
        Some(_) => weak::store(env, cta, warp, access, Where::Shared, offsets, set, pc),
    }
    if cta.shared.is_watched() {
        for lane in each(set) {
            cta.shared.touched(offsets[lane] as usize, bytes as usize, &mut env.memory.woken);
        }
    }
    Ok(())
}

fn store_local(warp: &mut Warp, access: &Access, offsets: &Column, active: u32, pc: u32) -> Accessed {
    let bytes = access.size as u64 * access.count as u64;
    let frame = warp.local.bytes.len() as u64 / 32;
    let set = inside(offsets, active, 0, frame, bytes);
    outside(active, set, offsets, bytes, pc)?;
    lanes::write(&mut warp.local, &frames(offsets, frame), &warp.registers, access, set);
    Ok(())
}

/// `fence` and `membar`.
pub(crate) fn fence(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    order: Order,
    scope: Scope,
    active: u32,
    pc: u32,
) {
    if scope == Scope::Sys && matches!(order, Order::AcqRel | Order::Sc | Order::Release) {
        visibility::fence(&mut warp.unflushed, &mut cta.unflushed, active);
    }
    if let Some(race) = env.race.as_mut() {
        race.fence(At::new(cta, warp, pc), active, order, scope);
    }
    if let Some(observer) = env.observer {
        observer.event(&Event::Fence { warp: cta.warp_ref(warp.index).into(), pc, lanes: active });
    }
}
