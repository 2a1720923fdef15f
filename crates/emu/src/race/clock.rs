//! Vector clocks over agents, and what a released clock carries.
//!
//! A component of a clock is a *slot*: a warp (32 lanes), a queue pair, a stream, or the host. Lanes of a warp share a
//! slot and its time; what one lane alone made known is an exception beside the slot's number. Slots are used again by
//! warps that begin after the old one is known to have ended, so a slot is a chain of agents.

use super::Scope;
use std::sync::Arc;

/// Which memory a proxy fence is about.
pub(crate) const GLOBAL: usize = 0;
/// As [`GLOBAL`], for shared memory.
pub(crate) const SHARED: usize = 1;

/// A number for each lane of a warp.
pub(crate) type Lanes = [u32; 32];

/// What is known of every agent: all that its lanes did up to a time, and more of some lanes. Copies share it until one
/// of them learns more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Option<Arc<Times>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Times {
    all: Vec<u32>,
    /// Slot times 32 plus lane, and the time up to which this lane alone is known; ascending.
    some: Vec<(u32, u32)>,
}

impl PartialEq for Clock {
    fn eq(&self, other: &Clock) -> bool {
        self.is_shared(other) || (self.covers(other) && other.covers(self))
    }
}

impl Eq for Clock {}

impl Clock {
    #[inline(always)]
    pub fn all(&self, slot: u32) -> u32 {
        self.0.as_ref().and_then(|times| times.all.get(slot as usize)).copied().unwrap_or(0)
    }

    fn some(&self) -> &[(u32, u32)] {
        self.0.as_ref().map_or(&[], |times| &times.some)
    }

    /// Both are one copy.
    fn is_shared(&self, other: &Clock) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(own), Some(theirs)) => Arc::ptr_eq(own, theirs),
            _ => false,
        }
    }

    fn times(&mut self) -> &mut Times {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Every one of these lanes is known up to `time`.
    #[inline(always)]
    pub fn knows(&self, slot: u32, lanes: u32, time: u32) -> bool {
        self.all(slot) >= time || (!self.some().is_empty() && self.knows_some(slot, lanes, time))
    }

    #[cold]
    fn knows_some(&self, slot: u32, lanes: u32, time: u32) -> bool {
        let some = self.some();
        let start = some.partition_point(|&(key, _)| key < slot << 5);
        let mut left = lanes;
        for &(key, known) in some[start..].iter().take_while(|(key, _)| key >> 5 == slot) {
            if known >= time {
                left &= !(1 << (key & 31));
            }
        }
        left == 0
    }

    /// Some lane of these is known up to `time`.
    pub fn knows_any(&self, slot: u32, lanes: u32, time: u32) -> bool {
        if self.all(slot) >= time {
            return true;
        }
        let some = self.some();
        if some.is_empty() {
            return false;
        }
        let start = some.partition_point(|&(key, _)| key < slot << 5);
        let mut own = some[start..].iter().take_while(|(key, _)| key >> 5 == slot);
        own.any(|&(key, known)| lanes >> (key & 31) & 1 == 1 && known >= time)
    }

    /// All lanes of a slot are known up to `time`.
    pub fn learn(&mut self, slot: u32, time: u32) {
        if self.all(slot) >= time {
            return;
        }
        let (times, slot) = (self.times(), slot as usize);
        if times.all.len() <= slot {
            times.all.resize(slot + 1, 0);
        }
        times.all[slot] = time;
    }

    /// One lane is known up to `time`.
    pub fn learn_lane(&mut self, slot: u32, lane: u32, time: u32) {
        if self.all(slot) >= time {
            return;
        }
        let key = slot << 5 | lane;
        match self.some().binary_search_by_key(&key, |&(key, _)| key) {
            Ok(at) if self.some()[at].1 >= time => {}
            Ok(at) => self.times().some[at].1 = time,
            Err(at) => self.times().some.insert(at, (key, time)),
        }
    }

    /// Each lane is known up to its time.
    pub fn learn_lanes(&mut self, slot: u32, times: &Lanes) {
        let least = times.iter().copied().min().unwrap_or(0);
        self.learn(slot, least);
        let least = least.max(self.all(slot));
        for (lane, &time) in times.iter().enumerate().filter(|(_, time)| **time > least) {
            self.learn_lane(slot, lane as u32, time);
        }
    }

    /// Whether everything that `other` knows is known here.
    pub fn covers(&self, other: &Clock) -> bool {
        if self.is_shared(other) {
            return true;
        }
        let Some(theirs) = &other.0 else { return true };
        let own = self.0.as_ref().map_or(&[][..], |times| &times.all);
        let beyond = theirs.all.get(own.len()..).unwrap_or(&[]);
        if !own.iter().zip(&theirs.all).all(|(own, theirs)| own >= theirs) || beyond.iter().any(|time| *time != 0) {
            return false;
        }
        // Both lists ascend.
        let mut some = self.some();
        theirs.some.iter().all(|&(key, time)| {
            if self.all(key >> 5) >= time {
                return true;
            }
            while some.first().is_some_and(|&(own, _)| own < key) {
                some = &some[1..];
            }
            some.first().is_some_and(|&(own, known)| own == key && known >= time)
        })
    }

    /// What either knows.
    pub fn join(&mut self, other: &Clock) {
        if self.covers(other) {
            return;
        }
        if other.covers(self) {
            self.0.clone_from(&other.0);
            return;
        }
        let Some(theirs) = &other.0 else { return };
        let own = self.times();
        if own.all.len() < theirs.all.len() {
            own.all.resize(theirs.all.len(), 0);
        }
        for (own, theirs) in own.all.iter_mut().zip(&theirs.all) {
            *own = (*own).max(*theirs);
        }
        if own.some.is_empty() && theirs.some.is_empty() {
            return;
        }
        let Times { all, some } = own;
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(some.len() + theirs.some.len());
        let (mut a, mut b) = (&some[..], &theirs.some[..]);
        while let Some(&(key, time)) = match (a.first(), b.first()) {
            (Some(own), Some(other)) if own.0 <= other.0 => Some(own),
            (own, None) => own,
            (_, other) => other,
        } {
            let take = |list: &mut &[(u32, u32)]| match list.first() {
                Some(&(of, known)) if of == key => {
                    *list = &list[1..];
                    known
                }
                _ => 0,
            };
            let known = time.max(take(&mut a)).max(take(&mut b));
            if all.get(key as usize >> 5).copied().unwrap_or(0) < known {
                joined.push((key, known));
            }
        }
        *some = joined;
    }
}

/// What is ordered before a point: by causality, and with a proxy fence for the async proxy in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Knowledge {
    pub caused: Clock,
    /// By kind of memory: acts that a proxy fence stands behind.
    pub fenced: [Clock; 2],
}

impl Knowledge {
    pub fn join(&mut self, other: &Knowledge) {
        self.caused.join(&other.caused);
        for (own, theirs) in self.fenced.iter_mut().zip(&other.fenced) {
            own.join(theirs);
        }
    }

    pub fn covers(&self, other: &Knowledge) -> bool {
        self.caused.covers(&other.caused)
            && self.fenced.iter().zip(&other.fenced).all(|(own, theirs)| own.covers(theirs))
    }

    /// All proxies see what is known, as at the boundary of a kernel.
    pub fn boundary(&mut self) {
        for space in [GLOBAL, SHARED] {
            let caused = &self.caused;
            self.fenced[space].clone_from(caused);
        }
    }

    /// An agent without lanes is known up to `time`.
    pub fn learn(&mut self, slot: u32, time: u32) {
        self.caused.learn(slot, time);
    }
}

/// Joins into shared knowledge; nothing is copied when both are one.
pub(crate) fn join(own: &mut Arc<Knowledge>, other: &Arc<Knowledge>) {
    if !Arc::ptr_eq(own, other) {
        Arc::make_mut(own).join(other);
    }
}

/// Where an agent is, for scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Number of the CTA over the machine's life; 0 outside of CTAs.
    pub cta: u64,
    /// Number of the first CTA of its cluster; 0 outside of CTAs.
    pub cluster: u64,
    /// The GPU; `usize::MAX` for NICs and hosts.
    pub gpu: usize,
}

impl Seat {
    pub const OUTSIDE: Seat = Seat { cta: 0, cluster: 0, gpu: usize::MAX };

    /// Whether a scope around this seat has the other one in it.
    pub fn includes(self, scope: Scope, other: Seat) -> bool {
        match scope {
            Scope::Cta => self.cta == other.cta && self.cta != 0,
            Scope::Cluster => self.cluster == other.cluster && self.cluster != 0,
            Scope::Gpu => self.gpu == other.gpu && self.gpu != usize::MAX,
            Scope::Sys => true,
        }
    }

    /// Both scopes include the other's seat.
    pub fn meet(self, scope: Scope, other: Seat, theirs: Scope) -> bool {
        self.includes(scope, other) && other.includes(theirs, self)
    }
}

/// A clock that a release pattern attached to a value.
#[derive(Debug, Clone)]
pub(crate) struct Released {
    pub scope: Scope,
    pub seat: Seat,
    /// Slot and lane that released, and its time.
    pub owner: (u32, u32),
    pub time: u32,
    pub know: Arc<Knowledge>,
    /// Others' releases are in it, through a chain of atomics.
    pub merged: bool,
}

impl Released {
    /// Whether both are one release.
    pub fn is(&self, other: &Released) -> bool {
        Arc::ptr_eq(&self.know, &other.know) && self.scope == other.scope && self.seat == other.seat
    }

    /// Whether this knowledge has it all.
    pub fn is_in(&self, know: &Knowledge) -> bool {
        let (slot, lane) = self.owner;
        know.caused.knows(slot, 1 << lane, self.time) && (!self.merged || know.covers(&self.know))
    }
}

/// Adds a released clock to those that a value carries: those it covers go, those of the same kind join it.
pub(crate) fn carry(list: &mut Vec<Released>, mut new: Released) {
    list.retain(|old| {
        let same = match new.scope {
            Scope::Sys => old.scope == Scope::Sys,
            Scope::Gpu => old.scope == Scope::Gpu && old.seat.gpu == new.seat.gpu,
            scope => old.scope == scope && old.seat.cta == new.seat.cta,
        };
        if same && !Arc::ptr_eq(&old.know, &new.know) && !old.is_in(&new.know) {
            Arc::make_mut(&mut new.know).join(&old.know);
            new.merged = true;
        }
        !same
    });
    list.push(new);
}

/// What a lane knows at a point, cheap to take: shared knowledge and its own warp's times.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub know: Arc<Knowledge>,
    pub slot: u32,
    pub now: u32,
    /// Time up to which each lane's acts are known to all lanes.
    pub told: Lanes,
    /// As `told`, with a proxy fence behind them.
    pub proxied: [Lanes; 2],
    /// Time up to which each lane itself fenced its acts.
    pub own_fenced: [Lanes; 2],
}

impl View {
    /// What this lane releases.
    pub fn of(&self, lanes: u32) -> Knowledge {
        let mut know = (*self.know).clone();
        let mut told = self.told;
        let mut proxied = self.proxied;
        for lane in crate::program::lanes(lanes) {
            told[lane] = self.now;
            for space in [GLOBAL, SHARED] {
                proxied[space][lane] = proxied[space][lane].max(self.own_fenced[space][lane]);
            }
        }
        know.caused.learn_lanes(self.slot, &told);
        for space in [GLOBAL, SHARED] {
            know.fenced[space].learn_lanes(self.slot, &proxied[space]);
        }
        know
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_knows_lanes_apart() {
        let mut clock = Clock::default();
        clock.learn(3, 5);
        clock.learn_lane(3, 7, 9);
        assert!(clock.knows(3, u32::MAX, 5));
        assert!(clock.knows(3, 1 << 7, 9));
        assert!(!clock.knows(3, 1 << 8, 6));
        assert!(!clock.knows(3, 1 << 7 | 1 << 8, 6));
        assert!(clock.knows_any(3, 1 << 7 | 1 << 8, 6));
        let mut other = Clock::default();
        other.learn(3, 20);
        other.join(&clock);
        assert!(other.knows(3, u32::MAX, 20) && other.some().is_empty());
    }

    #[test]
    fn copies_are_shared_until_one_learns_more() {
        let mut clock = Clock::default();
        clock.learn(3, 5);
        let mut copy = clock.clone();
        copy.learn(3, 4);
        copy.learn_lane(3, 1, 5);
        copy.join(&Clock::default());
        assert!(copy.is_shared(&clock));
        copy.learn_lane(3, 1, 6);
        assert!(!copy.is_shared(&clock) && copy.covers(&clock) && !clock.covers(&copy) && copy != clock);
        clock.join(&copy);
        assert!(copy.is_shared(&clock) && clock.knows(3, 2, 6) && !clock.knows(3, 4, 6));
        let mut other = Clock::default();
        other.learn(9, 2);
        clock.join(&other);
        assert!(clock.knows(9, 1, 2) && clock.knows(3, 2, 6) && !copy.knows(9, 1, 2));
    }

    #[test]
    fn joined_clocks_know_what_either_knew_and_no_more() {
        let draw = |seed: u32| {
            let mut clock = Clock::default();
            for step in 0..12u32 {
                let noise = (seed * 31 + step).wrapping_mul(2_654_435_761) >> 8;
                match noise % 3 {
                    0 => clock.learn(noise / 3 % 4, noise / 12 % 6),
                    _ => clock.learn_lane(noise / 3 % 4, noise / 12 % 3, noise / 36 % 9),
                }
            }
            clock
        };
        for seed in 0..200 {
            let (a, b) = (draw(seed), draw(seed + 1000));
            let mut both = a.clone();
            both.join(&b);
            assert!(both.covers(&a) && both.covers(&b));
            assert_eq!(a.covers(&b), both == a);
            for (slot, lane, time) in (0..4).flat_map(|s| (0..4).flat_map(move |l| (1..10).map(move |t| (s, l, t)))) {
                let knows = |clock: &Clock| clock.knows(slot, 1 << lane, time);
                assert_eq!(knows(&both), knows(&a) || knows(&b), "seed {seed}: {slot} {lane} {time}");
            }
            assert!(both.some().windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }

    #[test]
    fn scopes_are_about_seats() {
        let (a, b) = (Seat { cta: 1, cluster: 1, gpu: 0 }, Seat { cta: 2, cluster: 1, gpu: 0 });
        let far = Seat { cta: 3, cluster: 3, gpu: 1 };
        assert!(a.meet(Scope::Cluster, b, Scope::Gpu) && !b.meet(Scope::Cluster, far, Scope::Sys));
        assert!(a.meet(Scope::Gpu, b, Scope::Sys) && !a.meet(Scope::Cta, b, Scope::Sys));
        assert!(a.meet(Scope::Sys, far, Scope::Sys) && !a.meet(Scope::Sys, far, Scope::Gpu));
        assert!(a.meet(Scope::Cta, a, Scope::Cta));
        assert!(!Seat::OUTSIDE.meet(Scope::Gpu, Seat::OUTSIDE, Scope::Gpu));
    }
}
