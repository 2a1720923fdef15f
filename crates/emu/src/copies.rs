//! Bulk copies: agents of their own, which read and write at times that the scheduler chooses.
//!
//! A copy into shared memory reads, writes and reports to its mbarrier in one action. A copy to global memory reads
//! its source in one action, which is what `wait_group.read` waits for, and writes its target in a later one.

use crate::choice::Choices;
use crate::cluster;
use crate::error::{Fault, FaultKind};
use crate::exec::{Env, Flow};
use crate::memory::{Kind, Memory, Need, Snapshot, Storage, Viewer, Window, SHARED_WINDOW};
use crate::observe::{Event, Observer};
use crate::park::Where;
use crate::program::{lanes, Args, AtomicKind, Bulk};
use crate::race::{self, At, CopyRace, Race, RaceReport};
use crate::statistics::GpuStatistics;
use crate::visibility::{self, Stage, Unflushed};
use crate::warp::{BulkGroup, Cta, CtaState, Group, GroupState, LaneBulk, LaunchShape, Trouble, Warp};
use crate::weak::{self, Place, Weak};
use crate::{barrier, memory::WarpRef};
use std::sync::Arc;

/// A bulk copy under way.
#[derive(Debug)]
pub(crate) struct Copy {
    pub number: u64,
    pub shape: Arc<LaunchShape>,
    pub warp: WarpRef,
    pub cta_index: [u32; 3],
    pub lane: u32,
    pub pc: u32,
    pub bytes: u32,
    pub way: Way,
    /// Times that the scheduler may still pass it over.
    pub patience: u8,
    /// What the race check keeps.
    pub race: Option<Box<CopyRace>>,
    /// SM of its CTA.
    pub sm: usize,
    /// When it was issued and, of one to global memory, when it writes, if the machine's parts have times.
    pub issued_ps: u64,
    pub writes_ps: u64,
}

/// What a copy has still to do.
#[derive(Debug)]
pub(crate) enum Way {
    /// From a global address, or an offset of the CTA's own shared memory, to an offset of shared memory of the CTA of
    /// `rank`, reported to an mbarrier there.
    Load { source: Source, rank: u32, offset: u32, mbarrier: u32, reduce: Reduce },
    /// Read from an offset of shared memory, as part of a group of its lane.
    StoreRead { offset: u32, target: u64, group: u64, reduce: Reduce },
    /// Write what was read, or reduce with it.
    StoreWrite { piece: Snapshot, target: u64, group: u64, reduce: Reduce },
}

/// Where a copy into shared memory comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Global(u64),
    Shared(u32),
}

/// Operation and element size of a reduction.
type Reduce = Option<(AtomicKind, u8)>;

/// All copies under way.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    slots: Vec<Option<Copy>>,
    free: Vec<u32>,
    /// Copies issued in the turn, for the queue of agents.
    pub issued: Vec<u32>,
    next: u64,
    spare: Vec<Snapshot>,
}

impl Copies {
    /// Number over the machine's life of the copy in a slot.
    pub fn number(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).and_then(Option::as_ref).map_or(u64::MAX, |copy| copy.number)
    }

    pub fn take(&mut self, slot: u32) -> Option<Copy> {
        self.slots.get_mut(slot as usize).and_then(Option::take)
    }

    /// Puts a copy that was taken back into its slot.
    pub fn put_back(&mut self, slot: u32, copy: Copy) {
        self.slots[slot as usize] = Some(copy);
    }

    /// A copy that was taken is done.
    pub fn finish(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Forgets the copies of a GPU.
    pub fn cancel(&mut self, gpu: usize) {
        for (slot, copy) in self.slots.iter_mut().enumerate() {
            if copy.as_ref().is_some_and(|c| c.shape.gpu == gpu) {
                *copy = None;
                self.free.push(slot as u32);
            }
        }
    }

    fn add(&mut self, copy: Copy) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(copy);
                slot
            }
            None => {
                self.slots.push(Some(copy));
                self.slots.len() as u32 - 1
            }
        };
        self.issued.push(slot);
    }
}

/// `cp.async.bulk` between global and shared memory, one copy for each lane.
pub(crate) fn issue(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    bulk: &Bulk,
    args: &Args,
    active: u32,
    pc: u32,
) -> Result<(), Trouble> {
    let race_at = At::new(cta, warp, pc);
    let views = env.race.as_mut().map(|race| race.views(race_at, active)).unwrap_or_default();
    for lane in lanes(active) {
        let column = |c: u16| warp.registers.columns[c as usize][lane];
        let bytes = column(args.a) as u32;
        let target = column(bulk.target).wrapping_add(bulk.target_offset as u64);
        let source = column(bulk.source).wrapping_add(bulk.source_offset as u64);
        let fail = |kind, address| Trouble { kind, lane: lane as u32, pc, address: Some(address) };
        if bytes & 15 != 0 {
            let kind = FaultKind::Bulk(format!("size {bytes} is not a multiple of 16"));
            return Err(fail(kind, target));
        }
        let own = cta.cluster.rank as u64;
        // Offset and rank of a side in shared memory.
        let place = |address: u64| match cluster::rank_of(address) {
            Some(rank) => (address & cluster::OFFSET_MASK, rank),
            None => (address, own),
        };
        for (address, is_shared) in [(target, bulk.to_shared), (source, bulk.from_shared)] {
            let window = if is_shared { SHARED_WINDOW } else { 0 };
            if address & 15 != 0 {
                return Err(fail(FaultKind::Misaligned { align: 16 }, address.wrapping_add(window)));
            }
            let (offset, rank) = if is_shared { place(address) } else { continue };
            let holds = match rank == own {
                true => cta.holds(offset, bytes as u64),
                false => match cluster::member(env.ctas, env.remote, cta, rank) {
                    Ok(other) => other.state.holds(offset, bytes as u64),
                    Err(kind) => return Err(fail(kind, address.wrapping_add(window))),
                },
            };
            if !holds {
                return Err(fail(FaultKind::OutOfBounds { bytes: bytes as u64 }, address.wrapping_add(window)));
            }
        }
        let mut ways = Vec::new();
        if bulk.to_shared {
            if !bulk.from_shared {
                global_window(env.memory, &cta.viewer(), source, bytes, Need::Read)
                    .map_err(|(kind, address)| fail(kind, address))?;
            }
            let mbarrier = column(bulk.mbarrier).wrapping_add(bulk.mbarrier_offset as u64);
            let ((offset, rank), (mbarrier, at)) = (place(target), place(mbarrier));
            let source = match bulk.from_shared {
                true => Source::Shared(place(source).0 as u32),
                false => Source::Global(source),
            };
            if rank != at {
                let kind = FaultKind::Bulk("the target and the mbarrier are in different CTAs".into());
                return Err(fail(kind, target.wrapping_add(SHARED_WINDOW)));
            }
            let ranks: Vec<u64> = match bulk.ctas {
                Some(mask) => (0..16).filter(|rank| column(mask) >> rank & 1 == 1).collect(),
                None => vec![rank],
            };
            for rank in ranks {
                let found = match rank == own {
                    true => barrier::mbarrier_at(cta, mbarrier),
                    false => match cluster::member(env.ctas, env.remote, cta, rank) {
                        Ok(other) => barrier::mbarrier_at(&other.state, mbarrier),
                        Err(kind) => return Err(fail(kind, target.wrapping_add(SHARED_WINDOW))),
                    },
                };
                found.map_err(|reason| fail(FaultKind::Mbarrier(reason), mbarrier.wrapping_add(SHARED_WINDOW)))?;
                let (offset, mbarrier) = (offset as u32, mbarrier as u32);
                ways.push(Way::Load { source, rank: rank as u32, offset, mbarrier, reduce: bulk.reduce });
            }
        } else {
            let window = global_window(env.memory, &cta.viewer(), target, bytes, Need::Write)
                .map_err(|(kind, address)| fail(kind, address))?;
            if place(source).1 != own {
                let kind = FaultKind::Bulk("the source is not in the CTA's own shared memory".into());
                return Err(fail(kind, source.wrapping_add(SHARED_WINDOW)));
            }
            let group = open_group(warp, lane as u32);
            if env.checks.bus_visibility && bytes > 0 && env.memory.storage(window.storage).tracked {
                let start = target - window.base;
                let entry = Unflushed {
                    storage: window.storage,
                    start,
                    end: start + bytes as u64,
                    warp: warp.index,
                    lane: lane as u32,
                    pc,
                    stage: Stage::InFlight { group },
                    strong: false,
                };
                visibility::add(&mut warp.unflushed, entry);
            }
            ways.push(Way::StoreRead { offset: place(source).0 as u32, target, group, reduce: bulk.reduce });
        }
        for way in ways {
            let race = match env.race.as_mut() {
                None => None,
                Some(race) => {
                    let (at, report) = match way {
                        Way::Load { rank, mbarrier, .. } if rank as u64 == own => (race_at, Ok(mbarrier as usize)),
                        Way::Load { rank, mbarrier, .. } => {
                            let other = cluster::member(env.ctas, env.remote, cta, rank as u64);
                            let other = other.map_err(|kind| fail(kind, target.wrapping_add(SHARED_WINDOW)))?;
                            (race_at.toward(&other.state), Ok(mbarrier as usize))
                        }
                        Way::StoreRead { group, .. } | Way::StoreWrite { group, .. } => (race_at, Err(group)),
                    };
                    let issued = race.issue(at, lane as u32, &views, report);
                    Some(issued.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?)
                }
            };
            begin(env, cta, warp.index, lane as u32, pc, bytes, way, race);
        }
    }
    warp.interval.busy = true;
    env.memory.changes += 1;
    Ok(())
}

/// Puts a copy on its way.
#[allow(clippy::too_many_arguments)]
fn begin(
    env: &mut Env,
    cta: &mut CtaState,
    warp: u32,
    lane: u32,
    pc: u32,
    bytes: u32,
    way: Way,
    race: Option<Box<CopyRace>>,
) {
    cta.copies += 1;
    let number = env.copies.next;
    env.copies.next += 1;
    let me = cta.warp_ref(warp);
    if let Some(observer) = env.observer {
        observer.event(&Event::CopyIssued { copy: number, warp: me.into(), lane, bytes });
    }
    // A varied schedule lets some copies linger.
    let patience = if env.choices.varies() { [0, 0, 2, 12][env.choices.choose(4)] } else { 0 };
    let (shape, cta_index) = (cta.shape.clone(), cta.index);
    let (sm, issued_ps) = (cta.sm, env.meter.as_ref().map_or(0, |meter| meter.now_ps()));
    env.copies.add(Copy {
        number,
        shape,
        warp: me,
        cta_index,
        lane,
        pc,
        bytes,
        way,
        patience,
        race,
        sm,
        issued_ps,
        writes_ps: 0,
    });
}

/// The window of the global side; bulk copies do not reach doorbells.
fn global_window(
    memory: &Memory,
    viewer: &Viewer,
    address: u64,
    bytes: u32,
    need: Need,
) -> Result<Window, (FaultKind, u64)> {
    let window = memory.window(viewer, address, bytes as u64, need).map_err(|f| (f.kind, f.address))?;
    match window.kind {
        Kind::Doorbell { .. } => Err((FaultKind::Doorbell("bulk copies do not reach a doorbell".into()), address)),
        _ => Ok(window),
    }
}

/// Counts one more copy in a lane's open group; its number.
fn open_group(warp: &mut Warp, lane: u32) -> u64 {
    let bulk = warp.lane_bulk(lane);
    let open = bulk.open;
    match bulk.groups.back_mut() {
        Some(group) if group.number == open => {
            group.unread += 1;
            group.unwritten += 1;
            group.has_copies = true;
        }
        _ => {
            let group = BulkGroup { number: open, unread: 1, unwritten: 1, committed: false, has_copies: true };
            bulk.groups.push_back(group);
        }
    }
    open
}

/// `cp.async.bulk.commit_group`: closes the open group of each lane, empty or not.
pub(crate) fn commit(warp: &mut Warp, active: u32) {
    for lane in lanes(active) {
        let bulk = warp.lane_bulk(lane as u32);
        let open = bulk.open;
        match bulk.groups.back_mut() {
            Some(group) if group.number == open => group.committed = true,
            _ => {
                let group = BulkGroup { number: open, unread: 0, unwritten: 0, committed: true, has_copies: false };
                bulk.groups.push_back(group);
            }
        }
        bulk.open += 1;
    }
}

/// `cp.async.bulk.wait_group`: until all but the latest `pending` groups of every lane are done.
pub(crate) fn wait(
    race: &mut Option<Box<Race>>,
    cta: &CtaState,
    warp: &mut Warp,
    index: usize,
    active: u32,
    pending: u32,
    read: bool,
) -> Flow {
    let mut blocked = false;
    for bulk in warp.bulk.iter().filter(|b| active >> b.lane & 1 == 1) {
        // Groups numbered below this must be done.
        let bound = bulk.open.saturating_sub(pending as u64);
        let left = |g: &BulkGroup| if read { g.unread } else { g.unwritten };
        blocked |= bulk.groups.iter().any(|g| g.committed && g.number < bound && left(g) > 0);
    }
    let mask = warp.groups[index].mask;
    if blocked {
        if mask & !active != 0 {
            warp.groups[index].mask = active;
            let next = warp.groups[index].pc + 1;
            warp.groups.push(Group::ready(next, mask & !active));
        }
        warp.groups[index].state = GroupState::Bulk;
        return Flow::Switch;
    }
    if let Some(race) = race {
        let waiting = warp.bulk.iter().filter(|b| active >> b.lane & 1 == 1);
        let bounds: Vec<_> = waiting.map(|b| (b.lane, b.open.saturating_sub(pending as u64))).collect();
        race.waited(At::new(cta, warp, 0), &bounds, read);
    }
    let Warp { bulk, unflushed, .. } = warp;
    for bulk in bulk.iter_mut().filter(|b| active >> b.lane & 1 == 1) {
        let bound = bulk.open.saturating_sub(pending as u64);
        bulk.waited = bulk.waited.max(bound);
        if !read && bound > 0 {
            visibility::waited(unflushed, bulk.lane, bound - 1);
        }
        while bulk.groups.front().is_some_and(|g| g.committed && g.number < bound && g.unwritten == 0) {
            bulk.groups.pop_front();
        }
    }
    Flow::Next
}

/// The first of some lanes that has copies in bulk groups which it has not waited for.
pub(crate) fn unawaited(warp: &Warp, active: u32) -> Option<u32> {
    let has = |bulk: &&LaneBulk| bulk.groups.iter().any(|group| group.has_copies && group.number >= bulk.waited);
    warp.bulk.iter().filter(|bulk| active >> bulk.lane & 1 == 1).find(has).map(|bulk| bulk.lane)
}

/// What an action of a copy needs beside its CTA.
pub(crate) struct CopyEnv<'a> {
    pub memory: &'a mut Memory,
    pub statistics: &'a mut GpuStatistics,
    pub observer: &'a mut Option<Box<dyn Observer + Send>>,
    pub race: &'a mut Option<Box<Race>>,
    pub weak: &'a mut Option<Box<Weak>>,
    pub choices: &'a mut Choices,
    pub spare: &'a mut Vec<Snapshot>,
    /// All CTAs but the copy's own.
    pub ctas: &'a mut [Option<Box<Cta>>],
    /// Slots of CTAs to which something happened.
    pub remote: &'a mut Vec<u32>,
    /// Most bytes of a copy whose contents are moved.
    pub content_bytes: usize,
}

impl CopyEnv<'_> {
    /// Number of the completion of a load, when the clocks follow it.
    fn load_number(&mut self, own: Option<&CopyRace>, mbarrier: usize) -> u32 {
        let Some(race) = self.race.as_deref_mut().filter(|_| self.weak.is_some()) else { return 0 };
        own.map_or(0, |own| race.load_number(own, mbarrier))
    }

    /// Older values that a copy may see, into what it has read.
    fn read_late(&mut self, place: Place, own: Option<&CopyRace>, number: u32, start: usize, piece: &mut Snapshot) {
        if let (Some(weak), Some(race), Some(own)) = (self.weak.as_deref_mut(), self.race.as_deref(), own) {
            weak::copy_reads(weak, race, self.choices, place, (own, number), start, &mut piece.bytes);
        }
    }

    /// A store is about to write its target.
    fn write_late(&mut self, storage: usize, own: Option<&CopyRace>, start: usize, bytes: &[u8]) {
        let (Some(weak), Some(race)) = (self.weak.as_deref_mut(), self.race.as_deref()) else { return };
        let place = Place::Global(storage);
        match own {
            Some(own) => {
                let by = (own, own.write_number());
                weak::copy_writes(weak, race, self.memory.storage(storage), place, by, start, bytes);
            }
            None => weak.settle(place, start, bytes.len()),
        }
    }
}

impl Copies {
    /// Buffers of finished copies, for the next ones.
    pub fn take_spare(&mut self) -> Vec<Snapshot> {
        std::mem::take(&mut self.spare)
    }

    pub fn return_spare(&mut self, mut spare: Vec<Snapshot>) {
        spare.truncate(64);
        self.spare = spare;
    }
}

/// The copy does its next action. `Ok(true)` when it is done.
pub(crate) fn act(env: &mut CopyEnv, copy: &mut Copy, mut cta: Option<&mut Cta>) -> Result<bool, Box<Fault>> {
    let shape = copy.shape.clone();
    let viewer = Viewer { gpu: shape.gpu, node: shape.node, rules: &shape.rules };
    let fault = |copy: &Copy, memory: &Memory, kind: FaultKind, address: u64| {
        let linear = copy.warp.warp * 32 + copy.lane;
        let [x, y, _] = shape.block;
        Box::new(Fault {
            kind,
            gpu: shape.gpu,
            thread: Some(Box::new(crate::error::Thread {
                entry: shape.program.name.clone(),
                cta: copy.cta_index,
                warp: copy.warp.warp,
                lane: copy.lane,
                thread: [linear % x, linear / x % y, linear / (x * y)],
            })),
            location: Some(Box::new(shape.program.location(copy.pc))),
            address: Some(address),
            region: Some(memory.describe(address)),
        })
    };
    env.memory.changes += 1;
    let bytes = copy.bytes as usize;
    let moved = bytes.min(env.content_bytes);
    match &mut copy.way {
        Way::Load { source, rank, offset, mbarrier, reduce } => {
            let (source, rank, offset, mbarrier) = (*source, *rank as u64, *offset as usize, *mbarrier as u64);
            let reduce = *reduce;
            let cta = cta.expect("a CTA lives until its loads have landed");
            if let (Some(race), Some(own)) = (env.race.as_mut(), &copy.race) {
                // The other CTA must still be there before anything is noted of its memory.
                if rank != cta.state.cluster.rank as u64 {
                    cluster::member(env.ctas, env.remote, &cta.state, rank)
                        .map_err(|kind| fault(copy, env.memory, kind, SHARED_WINDOW))?;
                }
                let from = match source {
                    Source::Global(source) => {
                        let window = global_window(env.memory, &viewer, source, copy.bytes, Need::Read)
                            .map_err(|(kind, address)| fault(copy, env.memory, kind, address))?;
                        (Where::Global(window.storage), (source - window.base) as usize)
                    }
                    Source::Shared(from) => (Where::Shared, from as usize),
                };
                let word = reduce.map(|(_, size)| size as usize);
                let checked = race.load_lands(own, mbarrier as usize, from, offset, bytes, word);
                checked.map_err(|report| raced(&fault, copy, env.memory, report))?;
            }
            let number = env.load_number(copy.race.as_deref(), mbarrier as usize);
            let mut piece = env.spare.pop().unwrap_or_default();
            match source {
                Source::Global(source) => {
                    let window = global_window(env.memory, &viewer, source, copy.bytes, Need::Read)
                        .map_err(|(kind, address)| fault(copy, env.memory, kind, address))?;
                    let from = (source - window.base) as usize;
                    env.memory.storage(window.storage).take(from, moved, &mut piece);
                    env.read_late(Place::Global(window.storage), copy.race.as_deref(), number, from, &mut piece);
                    match window.kind {
                        Kind::Peer { .. } => env.statistics.bulk_load_peer_bytes += bytes as u64,
                        _ => env.statistics.bulk_load_bytes += bytes as u64,
                    }
                }
                Source::Shared(from) => cta.state.shared.take(from as usize, moved, &mut piece),
            }
            cta.state.copies -= 1;
            let target = if rank == cta.state.cluster.rank as u64 {
                &mut cta.state
            } else {
                match cluster::member(env.ctas, env.remote, &cta.state, rank) {
                    Ok(other) => &mut other.state,
                    Err(kind) => return Err(fault(copy, env.memory, kind, SHARED_WINDOW)),
                }
            };
            if let (Some(weak), Some(race)) = (env.weak.as_deref_mut(), env.race.as_deref()) {
                let place = Place::Shared(target.race);
                match (&copy.race, reduce) {
                    (Some(own), None) => {
                        let by = (&**own, number);
                        weak::copy_writes(weak, race, &target.shared, place, by, offset, &piece.bytes);
                    }
                    _ => weak.settle(place, offset, bytes),
                }
            }
            match reduce {
                None => target.shared.put(offset, &piece),
                Some((kind, size)) => reduce_elements(&mut target.shared, offset, &piece.bytes, kind, size),
            }
            if target.shared.is_watched() {
                target.shared.touched(offset, bytes, &mut env.memory.woken);
            }
            env.spare.push(piece);
            let done = barrier::complete_tx(target, mbarrier, copy.bytes, &mut env.memory.woken);
            let ended =
                done.map_err(|reason| fault(copy, env.memory, FaultKind::Mbarrier(reason), mbarrier + SHARED_WINDOW))?;
            if let (Some(race), Some(own), true) = (env.race.as_mut(), &copy.race, ended) {
                let checked = race.load_reported(own, mbarrier as usize);
                checked.map_err(|report| raced(&fault, copy, env.memory, report))?;
            }
        }
        Way::StoreRead { offset, target, group, reduce } => {
            let cta = cta.expect("a CTA lives until its stores have read");
            if let (Some(race), Some(own)) = (env.race.as_mut(), &copy.race) {
                if let Err(report) = race.store_reads(own, *offset as usize, bytes) {
                    return Err(raced(&fault, copy, env.memory, report));
                }
            }
            let mut piece = env.spare.pop().unwrap_or_default();
            cta.state.shared.take(*offset as usize, moved, &mut piece);
            let number = copy.race.as_deref().map_or(0, CopyRace::read_number);
            let place = Place::Shared(cta.state.race);
            env.read_late(place, copy.race.as_deref(), number, *offset as usize, &mut piece);
            let (target, group, reduce) = (*target, *group, *reduce);
            progress(cta, copy.warp.warp, copy.lane, group, true);
            cta.state.copies -= 1;
            copy.way = Way::StoreWrite { piece, target, group, reduce };
            return Ok(false);
        }
        Way::StoreWrite { piece, target, group, reduce } => {
            let (piece, target, group, reduce) = (std::mem::take(piece), *target, *group, *reduce);
            let window = global_window(env.memory, &viewer, target, copy.bytes, Need::Write)
                .map_err(|(kind, address)| fault(copy, env.memory, kind, address))?;
            if let (Some(race), Some(own)) = (env.race.as_mut(), &copy.race) {
                let to = (window.storage, (target - window.base) as usize);
                let checked = race.store_writes(own, to, bytes, reduce.map(|(_, size)| size as usize));
                checked.map_err(|report| raced(&fault, copy, env.memory, report))?;
            }
            let offset = (target - window.base) as usize;
            env.write_late(window.storage, copy.race.as_deref().filter(|_| reduce.is_none()), offset, &piece.bytes);
            match reduce {
                None => env.memory.put(window.storage, offset, &piece),
                Some((kind, size)) => reduce_into(env.memory, window.storage, offset, &piece.bytes, kind, size),
            }
            env.spare.push(piece);
            match window.kind {
                Kind::Peer { .. } => env.statistics.bulk_store_peer_bytes += bytes as u64,
                _ => env.statistics.bulk_store_bytes += bytes as u64,
            }
            if let Some(cta) = &mut cta {
                progress(cta, copy.warp.warp, copy.lane, group, false);
            }
        }
    }
    if let Some(observer) = env.observer {
        observer.event(&Event::CopyLanded { copy: copy.number });
    }
    Ok(true)
}

/// A fault for a race of a copy.
#[cold]
fn raced(
    fault: &impl Fn(&Copy, &Memory, FaultKind, u64) -> Box<Fault>,
    copy: &Copy,
    memory: &Memory,
    mut report: Box<RaceReport>,
) -> Box<Fault> {
    let address = race::locate(memory, &mut report).unwrap_or(0);
    fault(copy, memory, FaultKind::Race(report), address)
}

/// Reduces elements into a checked range, each in one act.
fn reduce_into(memory: &mut Memory, storage: usize, offset: usize, bytes: &[u8], kind: AtomicKind, size: u8) {
    reduce_elements(memory.storage_mut(storage), offset, bytes, kind, size);
    memory.wake(storage, offset, bytes.len());
}

fn reduce_elements(target: &mut Storage, offset: usize, bytes: &[u8], kind: AtomicKind, size: u8) {
    for (index, element) in bytes.chunks_exact(size as usize).enumerate() {
        let mut word = [0; 8];
        word[..element.len()].copy_from_slice(element);
        let value = u64::from_le_bytes(word);
        target.update(offset + index * size as usize, size as usize, |old| {
            crate::atomic::combine(kind, size, old, value, value, true)
        });
    }
}

/// A copy of a lane's group has read its source, or written its target.
fn progress(cta: &mut Cta, warp: u32, lane: u32, group: u64, read: bool) {
    let warp = &mut cta.warps[warp as usize];
    if let Some(group) = warp.lane_bulk(lane).groups.iter_mut().find(|g| g.number == group) {
        if read {
            group.unread -= 1;
        } else {
            group.unwritten -= 1;
        }
    }
    warp.release_bulk_waits();
}
