//! Clusters: the barrier of all threads, and shared memory of the other CTAs.
//!
//! An address of shared memory has the rank of its CTA, plus one, from bit 24 on; zero there is the CTA that executes.

use crate::barrier;
use crate::door;
use crate::error::FaultKind;
use crate::exec::{Env, Flow};
use crate::memory::SHARED_WINDOW;
use crate::program::{lanes, Column, StoreAsync};
use crate::race::{self, At, Race};
use crate::warp::{first, Cta, CtaState, Group, GroupState, Happening, Trouble, Warp};
use std::sync::{Arc, Mutex, MutexGuard};

/// Where the rank begins in an address of shared memory.
pub(crate) const RANK_SHIFT: u32 = 24;
/// The offset in an address of shared memory.
pub(crate) const OFFSET_MASK: u64 = (1 << RANK_SHIFT) - 1;

/// The cluster of a CTA.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub rank: u32,
    pub state: Arc<Mutex<State>>,
}

/// What the CTAs of a cluster share.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Slot and number of each CTA, by rank.
    pub members: Vec<(u32, u64)>,
    /// Lanes that have arrived, by rank and warp.
    arrived: Vec<Vec<u32>>,
    /// Lanes that have exited or are no threads.
    exited: Vec<Vec<u32>>,
    /// Phases of the barrier that are complete.
    generation: u64,
}

impl State {
    /// A CTA joins, with the lanes of its warps that are no threads.
    pub fn join(&mut self, slot: u32, serial: u64, exited: &[u32]) {
        self.members.push((slot, serial));
        self.arrived.push(vec![0; exited.len()]);
        self.exited.push(exited.to_vec());
    }

    fn completes(&mut self) -> bool {
        let done =
            |(arrived, exited): (&Vec<u32>, &Vec<u32>)| arrived.iter().zip(exited).all(|(a, e)| a | e == u32::MAX);
        let any = self.arrived.iter().flatten().any(|lanes| *lanes != 0);
        if !any || !self.arrived.iter().zip(&self.exited).all(done) {
            return false;
        }
        self.arrived.iter_mut().flatten().for_each(|lanes| *lanes = 0);
        self.generation += 1;
        true
    }
}

fn lock(cluster: &Cluster) -> MutexGuard<'_, State> {
    // Nobody panics while holding it; the state is whole either way.
    cluster.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The other CTA of a cluster that holds `rank`.
pub(crate) fn member<'e>(
    ctas: &'e mut [Option<Box<Cta>>],
    remote: &mut Vec<u32>,
    cta: &CtaState,
    rank: u64,
) -> Result<&'e mut Cta, FaultKind> {
    let (slot, serial) = {
        let state = lock(&cta.cluster);
        let count = state.members.len();
        let found = usize::try_from(rank).ok().and_then(|rank| state.members.get(rank));
        *found.ok_or_else(|| FaultKind::Cluster(format!("no CTA of rank {rank}: the cluster has {count}")))?
    };
    let found = ctas.get_mut(slot as usize).and_then(Option::as_deref_mut);
    let found = found.filter(|found| found.state.serial == serial);
    let found = found.ok_or_else(|| FaultKind::Cluster(format!("the CTA of rank {rank} has ended")))?;
    if !remote.contains(&slot) {
        remote.push(slot);
    }
    Ok(found)
}

/// Takes the CTA's own rank off its addresses. Gives the lanes that go to other CTAs.
#[inline(always)]
pub(crate) fn localize(cta: &CtaState, offsets: &mut Column, active: u32) -> u32 {
    let all = lanes(active).fold(0, |all, lane| all | offsets[lane]);
    if all <= OFFSET_MASK {
        return 0;
    }
    remote_lanes(cta, offsets, active)
}

#[cold]
fn remote_lanes(cta: &CtaState, offsets: &mut Column, active: u32) -> u32 {
    let mut remote = 0;
    for lane in lanes(active) {
        match rank_of(offsets[lane]) {
            Some(rank) if rank == cta.cluster.rank as u64 => offsets[lane] &= OFFSET_MASK,
            Some(_) => remote |= 1 << lane,
            None => {}
        }
    }
    remote
}

/// Rank in an address of shared memory, when it has one.
pub(crate) fn rank_of(offset: u64) -> Option<u64> {
    (offset >> 32 == 0).then_some(offset >> RANK_SHIFT).and_then(|tag| tag.checked_sub(1))
}

/// `barrier.cluster.arrive`.
pub(crate) fn arrive(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    releases: bool,
    active: u32,
    pc: u32,
) -> Result<(), Trouble> {
    let cluster = cta.cluster.clone();
    let (rank, index) = (cluster.rank as usize, warp.index as usize);
    {
        let mut state = lock(&cluster);
        let twice = state.arrived[rank][index] & active;
        if twice != 0 {
            let kind = FaultKind::Barrier("a thread arrives twice at the cluster's barrier".into());
            return Err(Trouble { kind, lane: first(twice), pc, address: None });
        }
        state.arrived[rank][index] |= active;
        for lane in lanes(active) {
            warp.cluster_phases[lane] = state.generation + 1;
        }
    }
    warp.interval.busy = true;
    env.memory.changes += 1;
    if let Some(race) = env.race.as_mut() {
        race.cluster_arrive(At::new(cta, warp, pc), active, !warp.exited, releases);
    }
    complete(env, cta);
    Ok(())
}

/// Lets everyone go when all threads of the cluster have arrived or exited.
fn complete(env: &mut Env, cta: &mut CtaState) {
    let cluster = cta.cluster.clone();
    let members = {
        let mut state = lock(&cluster);
        if !state.completes() {
            return;
        }
        state.members.clone()
    };
    if let Some(race) = env.race.as_mut() {
        race.cluster_done(cta.race);
    }
    cta.happened.push(Happening::Cluster);
    for (slot, serial) in members {
        let other = env.ctas.get_mut(slot as usize).and_then(Option::as_deref_mut);
        if let Some(other) = other.filter(|other| other.state.serial == serial) {
            other.state.happened.push(Happening::Cluster);
            env.remote.push(slot);
        }
    }
}

/// Lanes have exited: they count as arrived from now on.
pub(crate) fn exited(env: &mut Env, cta: &mut CtaState, warp: &Warp) {
    {
        let mut state = lock(&cta.cluster);
        let rank = cta.cluster.rank as usize;
        state.exited[rank][warp.index as usize] = warp.exited;
    }
    complete(env, cta);
}

/// `barrier.cluster.wait`.
pub(crate) fn wait(
    race: &mut Option<Box<Race>>,
    cta: &CtaState,
    warp: &mut Warp,
    index: usize,
    active: u32,
    pc: u32,
) -> Result<Flow, Trouble> {
    let generation = lock(&cta.cluster).generation;
    if let Some(lane) = lanes(active).find(|&lane| warp.cluster_phases[lane] == 0) {
        let kind = FaultKind::Barrier("a thread waits at the cluster's barrier and has not arrived".into());
        return Err(Trouble { kind, lane: lane as u32, pc, address: None });
    }
    if lanes(active).all(|lane| warp.cluster_phases[lane] <= generation) {
        for lane in lanes(active) {
            warp.cluster_phases[lane] = 0;
        }
        if let Some(race) = race {
            race.cluster_wait(At::new(cta, warp, pc), active, !warp.exited);
        }
        return Ok(Flow::Next);
    }
    let mask = warp.groups[index].mask;
    if mask & !active != 0 {
        warp.groups[index].mask = active;
        warp.groups.push(Group::ready(pc + 1, mask & !active));
    }
    warp.groups[index].state = GroupState::Cluster;
    Ok(Flow::Switch)
}

/// `st.async` and `red.async`. They are done when they are issued.
pub(crate) fn store_async(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    op: &StoreAsync,
    active: u32,
    pc: u32,
) -> Result<(), Trouble> {
    let access = &op.access;
    let targets = door::addresses(&warp.registers, access.base, access.offset);
    let barriers = door::addresses(&warp.registers, op.mbarrier, op.mbarrier_offset);
    let size = access.size as usize;
    let bytes = access.size as u64 * access.count as u64;
    door::aligned(&targets, active, bytes, pc)?;
    for lane in lanes(active) {
        let own = cta.cluster.rank as u64;
        let fail = |kind, address| door::trouble(kind, lane, pc, address);
        let [target, mbarrier] = [targets[lane], barriers[lane]].map(|address| {
            // A generic address lies in the window of shared memory.
            if address >> 32 == SHARED_WINDOW >> 32 {
                address - SHARED_WINDOW
            } else {
                address
            }
        });
        let rank = rank_of(target).unwrap_or(own);
        if rank != rank_of(mbarrier).unwrap_or(own) {
            let kind = FaultKind::Mbarrier("the target and the mbarrier are in different CTAs".into());
            return Err(fail(kind, target.wrapping_add(SHARED_WINDOW)));
        }
        let at = At::new(cta, warp, pc);
        let state = if rank == own {
            &mut *cta
        } else {
            let found = member(env.ctas, env.remote, cta, rank);
            &mut found.map_err(|kind| fail(kind, target.wrapping_add(SHARED_WINDOW)))?.state
        };
        let inside = |address: u64| if rank_of(address).is_some() { address & OFFSET_MASK } else { address };
        let offset = inside(target);
        if !state.holds(offset, bytes) {
            return Err(fail(FaultKind::OutOfBounds { bytes }, target.wrapping_add(SHARED_WINDOW)));
        }
        let at = at.toward(state);
        if let Some(race) = env.race.as_mut() {
            let word = op.reduce.map(|_| size);
            let checked =
                race.store_async(at, lane as u32, inside(mbarrier) as usize, offset as usize, bytes as usize, word);
            checked.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
        }
        for (element, &column) in access.columns[..access.count as usize].iter().enumerate() {
            let value = warp.registers.columns[column as usize][lane];
            let at = offset as usize + element * size;
            match op.reduce {
                None => state.shared.store(at, size, value),
                Some(kind) => {
                    state
                        .shared
                        .update(at, size, |old| crate::atomic::combine(kind, access.size, old, value, value, false));
                }
            }
        }
        if state.shared.is_watched() {
            state.shared.touched(offset as usize, bytes as usize, &mut env.memory.woken);
        }
        let ended = barrier::complete_tx(state, inside(mbarrier), bytes as u32, &mut env.memory.woken)
            .map_err(|reason| fail(FaultKind::Mbarrier(reason), mbarrier.wrapping_add(SHARED_WINDOW)))?;
        if let (Some(race), true) = (env.race.as_mut(), ended) {
            let told = race.phase_ended(at, inside(mbarrier) as usize);
            told.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
        }
    }
    warp.interval.busy = true;
    env.memory.changes += 1;
    Ok(())
}
