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

/// What is known of every agent: all that its lanes did up to a time, and more of some lanes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    all: Vec<u32>,
    /// Slot times 32 plus lane, and the time up to which this lane alone is known; ascending.
    some: Vec<(u32, u32)>,
}

impl Clock {
    pub fn all(&self, slot: u32) -> u32 {
        self.all.get(slot as usize).copied().unwrap_or(0)
    }

    /// Every one of these lanes is known up to `time`.
    #[inline(always)]
    pub fn knows(&self, slot: u32, lanes: u32, time: u32) -> bool {
        self.all(slot) >= time || (!self.some.is_empty() && self.knows_some(slot, lanes, time))
    }

    #[cold]
    fn knows_some(&self, slot: u32, lanes: u32, time: u32) -> bool {
        let start = self.some.partition_point(|&(key, _)| key < slot << 5);
        let mut left = lanes;
        for &(key, known) in self.some[start..].iter().take_while(|(key, _)| key >> 5 == slot) {
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
        let start = self.some.partition_point(|&(key, _)| key < slot << 5);
        let mut own = self.some[start..].iter().take_while(|(key, _)| key >> 5 == slot);
        own.any(|&(key, known)| lanes >> (key & 31) & 1 == 1 && known >= time)
    }

    /// All lanes of a slot are known up to `time`.
    pub fn learn(&mut self, slot: u32, time: u32) {
        let slot = slot as usize;
        if self.all.len() <= slot {
            self.all.resize(slot + 1, 0);
        }
        self.all[slot] = self.all[slot].max(time);
    }

    /// One lane is known up to `time`.
    pub fn learn_lane(&mut self, slot: u32, lane: u32, time: u32) {
        if self.all(slot) >= time {
            return;
        }
        let key = slot << 5 | lane;
        match self.some.binary_search_by_key(&key, |&(key, _)| key) {
            Ok(at) => self.some[at].1 = self.some[at].1.max(time),
            Err(at) => self.some.insert(at, (key, time)),
        }
    }

    /// Each lane is known up to its time.
    pub fn learn_lanes(&mut self, slot: u32, times: &Lanes) {
        let least = times.iter().copied().min().unwrap_or(0);
        self.learn(slot, least);
        for (lane, &time) in times.iter().enumerate().filter(|(_, time)| **time > least) {
            self.learn_lane(slot, lane as u32, time);
        }
    }

    /// Whether everything that `other` knows is known here.
    pub fn covers(&self, other: &Clock) -> bool {
        let beyond = other.all.get(self.all.len()..).unwrap_or(&[]);
        self.all.iter().zip(&other.all).all(|(own, theirs)| own >= theirs)
            && beyond.iter().all(|time| *time == 0)
            && other.some.iter().all(|&(key, time)| self.knows(key >> 5, 1 << (key & 31), time))
    }

    /// What either knows.
    pub fn join(&mut self, other: &Clock) {
        if self.all.len() < other.all.len() {
            self.all.resize(other.all.len(), 0);
        }
        for (own, theirs) in self.all.iter_mut().zip(&other.all) {
            *own = (*own).max(*theirs);
        }
        if self.some.is_empty() && other.some.is_empty() {
            return;
        }
        for &(key, time) in &other.some {
            self.learn_lane(key >> 5, key & 31, time);
        }
        let all = &self.all;
        self.some.retain(|&(key, time)| all.get(key as usize >> 5).copied().unwrap_or(0) < time);
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
        assert!(other.knows(3, u32::MAX, 20) && other.some.is_empty());
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
