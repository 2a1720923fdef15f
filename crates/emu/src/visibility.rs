//! Which stores the bus cannot see yet.
//!
//! A store to memory that a NIC reads stays in the stores of its thread until that thread, or one that is ordered
//! after it by `bar.warp.sync` or a CTA barrier, executes a system-scope fence or release. A bulk store must first be
//! waited for by `cp.async.bulk.wait_group` of the lane that issued it. A strong store of system scope is visible by
//! itself, but one to a doorbell record must be ordered before the doorbell in the same way. Order given by other means
//! (an acquired flag inside the GPU) does not count. What this does not show: that strong stores reach the bus in another
//! order than they were made; and the end of a CTA makes all of its stores visible.

/// Most entries of a warp before neighbours are joined.
const MAX_ENTRIES: usize = 4096;

/// Bytes that a thread stored and the bus may not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unflushed {
    pub storage: usize,
    pub start: u64,
    pub end: u64,
    pub warp: u32,
    pub lane: u32,
    pub pc: u32,
    pub stage: Stage,
    /// A strong store of system scope: visible by itself, but not ordered before a doorbell.
    pub strong: bool,
}

/// How far a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A bulk store of this group of its lane that was not waited for.
    InFlight { group: u64 },
    /// Ordered before what these lanes of its warp do.
    Lanes(u32),
}

impl Stage {
    /// What is missing, in words.
    pub fn lacks(self) -> &'static str {
        match self {
            Stage::InFlight { .. } => "no cp.async.bulk.wait_group after the bulk store",
            Stage::Lanes(_) => "no system-scope fence or release after the store",
        }
    }
}

/// Adds an entry; a long list is joined where ranges touch.
pub(crate) fn add(list: &mut Vec<Unflushed>, entry: Unflushed) {
    if let Some(last) = list.last_mut() {
        let same = Unflushed { start: last.start, end: last.end, pc: last.pc, ..entry };
        if *last == same && last.end == entry.start {
            last.end = entry.end;
            return;
        }
    }
    if list.len() >= MAX_ENTRIES && list.len().is_power_of_two() {
        list.sort_by_key(|e| (e.storage, e.lane, e.start));
        let mut joined: Vec<Unflushed> = Vec::with_capacity(list.len());
        for entry in list.drain(..) {
            match joined.last_mut() {
                Some(last)
                    if last.storage == entry.storage
                        && last.lane == entry.lane
                        && last.stage == entry.stage
                        && last.strong == entry.strong
                        && entry.start <= last.end =>
                {
                    last.end = last.end.max(entry.end);
                }
                _ => joined.push(entry),
            }
        }
        *list = joined;
    }
    list.push(entry);
}

/// A system-scope fence or release by these lanes.
pub(crate) fn fence(own: &mut Vec<Unflushed>, cta: &mut Vec<Unflushed>, lanes: u32) {
    own.retain(|e| !matches!(e.stage, Stage::Lanes(before) if before & lanes != 0));
    cta.clear();
}

/// `bar.warp.sync` among these lanes.
pub(crate) fn warp_barrier(own: &mut [Unflushed], lanes: u32) {
    for entry in own {
        if let Stage::Lanes(before) = &mut entry.stage {
            if *before & lanes != 0 {
                *before |= lanes;
            }
        }
    }
}

/// A barrier of the CTA that lanes of this warp took part in.
pub(crate) fn cta_barrier(own: &mut Vec<Unflushed>, cta: &mut Vec<Unflushed>, lanes: u32) {
    own.retain(|entry| match entry.stage {
        Stage::Lanes(before) if before & lanes != 0 => {
            cta.push(*entry);
            false
        }
        _ => true,
    });
}

/// A lane waited for its groups up to `group`.
pub(crate) fn waited(own: &mut [Unflushed], lane: u32, group: u64) {
    for entry in own.iter_mut().filter(|e| e.lane == lane) {
        if matches!(entry.stage, Stage::InFlight { group: of } if of <= group) {
            entry.stage = Stage::Lanes(1 << lane);
        }
    }
}

/// The first entry that overlaps a range; `strong` says whether strong stores count.
pub(crate) fn overlap(list: &[Unflushed], storage: usize, range: (u64, u64), strong: bool) -> Option<Unflushed> {
    let (start, end) = range;
    list.iter().find(|e| e.storage == storage && e.start < end && start < e.end && (strong || !e.strong)).copied()
}
