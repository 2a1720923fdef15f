//! The clock of a warp: what its lanes know, together and alone.

use super::clock::{join, Knowledge, Lanes, Released, Seat, View, GLOBAL, SHARED};
use super::Scope;
use crate::park::Where;
use crate::program::lanes as each;
use std::sync::Arc;

/// Released clocks that a lane keeps for its next acquiring fence before they are joined.
const PENDING_MAX: usize = 16;

/// A word of memory: the CTA whose shared memory it is in, the memory, and the offset.
pub(crate) type WordAt = (u32, Where, usize);

/// A clock on a value that lanes read.
#[derive(Debug, Clone)]
struct Pending {
    lanes: u32,
    /// The word, where it is one and the clock is not joined with others'.
    word: Option<WordAt>,
    released: Released,
}

/// A release fence and the lanes that executed it.
#[derive(Debug)]
struct Fence {
    lanes: u32,
    scope: Scope,
    time: u32,
    view: Arc<View>,
    /// What a lane's later stores carry, once it was asked for.
    made: Vec<(u32, Arc<Knowledge>)>,
}

/// What lanes gave by an arrival at an mbarrier.
#[derive(Debug)]
pub(crate) struct Given {
    lanes: u32,
    /// The lanes had nothing of their own.
    plain: bool,
    view: Box<View>,
}

impl Given {
    /// An earlier arrival of the same lanes is before this one.
    pub fn covers(&self, old: &Given) -> bool {
        self.view.slot == old.view.slot && self.lanes == old.lanes && self.plain && old.plain
    }

    /// As a clock that a fence may acquire later.
    pub fn released(&self, scope: Scope, seat: Seat) -> Released {
        let owner = (self.view.slot, self.lanes.trailing_zeros());
        Released { scope, seat, owner, time: self.view.now, know: Arc::new(self.view.of(self.lanes)), merged: true }
    }
}

/// The clock of a warp.
#[derive(Debug)]
pub(crate) struct WarpClock {
    pub slot: u32,
    pub seat: Seat,
    /// Time of what the lanes do next.
    pub now: u32,
    /// What all lanes know.
    pub common: Arc<Knowledge>,
    /// What was known when the launch began.
    pub base: Arc<Knowledge>,
    pub told: Lanes,
    pub proxied: [Lanes; 2],
    pub own_fenced: [Lanes; 2],
    /// What a lane alone has acquired.
    extras: [Option<Arc<Knowledge>>; 32],
    /// Lanes that have extras.
    alone: u32,
    /// Lanes with a thread that has not exited.
    pub live: u32,
    fences: Vec<Fence>,
    /// Clocks on values that lanes read, for a later fence, or a later acquire of the same word.
    pending: Vec<Pending>,
    /// Completions of copies that lanes found by waits without order, for an acquiring fence.
    pub waited: Vec<(u32, u32)>,
}

impl WarpClock {
    pub fn new(slot: u32, seat: Seat, base: Arc<Knowledge>, live: u32) -> WarpClock {
        let before = base.caused.all(slot);
        WarpClock {
            slot,
            seat,
            now: before + 1,
            common: base.clone(),
            base,
            told: [before; 32],
            proxied: [[before; 32]; 2],
            own_fenced: [[before; 32]; 2],
            extras: Default::default(),
            alone: 0,
            live,
            fences: Vec::new(),
            pending: Vec::new(),
            waited: Vec::new(),
        }
    }

    /// Whether all lanes know of these lanes' acts up to `time`.
    pub fn is_told(&self, lanes: u32, time: u32) -> bool {
        each(lanes).all(|lane| self.told[lane] >= time)
    }

    /// Whether `lane` knows what all of `lanes` of a slot did up to `time`.
    pub fn knows(&self, lane: usize, slot: u32, lanes: u32, time: u32) -> bool {
        let mut rest = lanes;
        if slot == self.slot {
            for other in each(lanes) {
                if other == lane || self.told[other] >= time {
                    rest &= !(1 << other);
                }
            }
            if rest == 0 {
                return true;
            }
        }
        if self.common.caused.knows(slot, rest, time) {
            return true;
        }
        let Some(extra) = &self.extras[lane] else { return false };
        extra.caused.knows(slot, rest, time)
            || each(rest)
                .all(|l| self.common.caused.knows(slot, 1 << l, time) || extra.caused.knows(slot, 1 << l, time))
    }

    /// Whether `lane` knows what any of `lanes` of a slot did up to `time`.
    pub fn knows_any(&self, lane: usize, slot: u32, lanes: u32, time: u32) -> bool {
        (slot == self.slot && each(lanes).any(|other| other == lane || self.told[other] >= time))
            || self.common.caused.knows_any(slot, lanes, time)
            || self.extras[lane].as_ref().is_some_and(|extra| extra.caused.knows_any(slot, lanes, time))
    }

    /// Lanes by what they share: those without extras, then each with its own.
    fn parts(&self, lanes: u32) -> impl Iterator<Item = u32> {
        let together = lanes & !self.alone;
        let alone = each(lanes & self.alone).map(|lane| 1 << lane);
        (together != 0).then_some(together).into_iter().chain(alone)
    }

    /// What these lanes, which share it, know now.
    pub fn view(&self, lanes: u32) -> View {
        let mut know = self.common.clone();
        if lanes & self.alone != 0 {
            if let Some(extra) = &self.extras[lanes.trailing_zeros() as usize] {
                join(&mut know, extra);
            }
        }
        View {
            know,
            slot: self.slot,
            now: self.now,
            told: self.told,
            proxied: self.proxied,
            own_fenced: self.own_fenced,
        }
    }

    /// Views of lanes, one for all that share theirs.
    pub fn views(&self, lanes: u32) -> Vec<(u32, Arc<View>)> {
        self.parts(lanes).map(|part| (part, Arc::new(self.view(part)))).collect()
    }

    /// What all of `lanes` release together, as at a barrier. Later acts are not in it.
    pub fn give(&mut self, lanes: u32) -> Knowledge {
        let mut given: Option<Knowledge> = None;
        for part in self.parts(lanes) {
            let know = self.view(part).of(part);
            match &mut given {
                None => given = Some(know),
                Some(given) => given.join(&know),
            }
        }
        self.now += 1;
        given.unwrap_or_default()
    }

    /// What lanes release by an arrival at an mbarrier.
    pub fn given(&mut self, lanes: u32) -> Vec<Given> {
        let together = lanes & !self.alone;
        let given = self.parts(lanes).map(|lanes| Given {
            lanes,
            plain: lanes & together != 0,
            view: Box::new(self.view(lanes)),
        });
        let given = given.collect();
        self.now += 1;
        given
    }

    /// Lanes acquire what others gave at an mbarrier.
    pub fn take(&mut self, lanes: u32, given: &Given) {
        let view = &given.view;
        if view.slot != self.slot || !given.plain {
            return self.learn(lanes, &Arc::new(view.of(given.lanes)));
        }
        // Own lanes: what all knew then, all know now.
        let mut know = Knowledge::default();
        let all = lanes & self.live == self.live;
        for lane in each(given.lanes) {
            if all {
                self.told[lane] = self.told[lane].max(view.now);
                for space in [GLOBAL, SHARED] {
                    let fenced = view.own_fenced[space][lane];
                    self.proxied[space][lane] = self.proxied[space][lane].max(fenced);
                }
            } else if self.told[lane] < view.now {
                know.caused.learn_lane(self.slot, lane as u32, view.now);
                for space in [GLOBAL, SHARED] {
                    know.fenced[space].learn_lane(self.slot, lane as u32, view.own_fenced[space][lane]);
                }
            }
        }
        if know != Knowledge::default() {
            let know = Arc::new(know);
            // A lane needs not be told of itself alone.
            each(lanes).filter(|&lane| given.lanes != 1 << lane).for_each(|lane| self.learn_alone(lane, &know));
        }
    }

    /// `lane` releases at `scope`.
    pub fn release(&mut self, lane: u32, scope: Scope) -> Released {
        let know = Arc::new(self.view(1 << lane).of(1 << lane));
        let time = self.now;
        self.now += 1;
        Released { scope, seat: self.seat, owner: (self.slot, lane), time, know, merged: false }
    }

    /// What lanes release together at `scope`.
    pub fn release_together(&mut self, lanes: u32, scope: Scope) -> Released {
        let (owner, time) = ((self.slot, lanes.trailing_zeros()), self.now);
        let know = Arc::new(self.give(lanes));
        Released { scope, seat: self.seat, owner, time, know, merged: true }
    }

    /// Clocks that a strong store of `lane` carries because of fences before it.
    pub fn fenced(&mut self, lane: u32) -> Vec<Released> {
        let (seat, slot) = (self.seat, self.slot);
        let own = self.fences.iter_mut().filter(|fence| fence.lanes >> lane & 1 == 1);
        own.map(|fence| {
            let know = match fence.made.iter().find(|(of, _)| *of == lane) {
                Some((_, know)) => know.clone(),
                None => {
                    let know = Arc::new(fence.view.of(1 << lane));
                    fence.made.push((lane, know.clone()));
                    know
                }
            };
            Released { scope: fence.scope, seat, owner: (slot, lane), time: fence.time, know, merged: false }
        })
        .collect()
    }

    /// A fence by lanes: releases for their later stores, acquires for their earlier loads.
    pub fn fence(&mut self, lanes: u32, scope: Scope, releases: bool, acquires: bool) {
        if acquires {
            for Pending { lanes: of, word, released } in std::mem::take(&mut self.pending) {
                let now = of & lanes;
                if now != 0 {
                    self.acquire(now, scope, &released);
                }
                if of & !lanes != 0 {
                    self.pending.push(Pending { lanes: of & !lanes, word, released });
                }
            }
        }
        if releases {
            for fence in self.fences.iter_mut().filter(|fence| fence.scope <= scope) {
                fence.lanes &= !lanes;
            }
            self.fences.retain(|fence| fence.lanes != 0);
            let time = self.now;
            for (lanes, view) in self.views(lanes) {
                self.fences.push(Fence { lanes, scope, time, view, made: Vec::new() });
            }
            self.now += 1;
        }
    }

    /// A proxy fence by lanes for these kinds of memory.
    pub fn fence_proxy(&mut self, lanes: u32, spaces: [bool; 2]) {
        for space in [GLOBAL, SHARED].into_iter().filter(|&space| spaces[space]) {
            for lane in each(lanes) {
                self.own_fenced[space][lane] = self.now;
            }
            if lanes & self.live == self.live && self.alone & self.live == 0 {
                if self.common.fenced[space] != self.common.caused {
                    let common = Arc::make_mut(&mut self.common);
                    let (caused, fenced) = (&common.caused, &mut common.fenced[space]);
                    fenced.clone_from(caused);
                }
                for lane in 0..32 {
                    self.proxied[space][lane] = self.proxied[space][lane].max(self.told[lane]);
                }
                continue;
            }
            for part in self.parts(lanes).collect::<Vec<_>>() {
                let view = self.view(part);
                let mut know = Knowledge::default();
                know.fenced[space].join(&view.know.caused);
                know.fenced[space].learn_lanes(self.slot, &self.told);
                let know = Arc::new(know);
                each(part).for_each(|lane| self.learn_alone(lane, &know));
            }
        }
        self.now += 1;
    }

    fn learn_alone(&mut self, lane: usize, know: &Arc<Knowledge>) {
        match &mut self.extras[lane] {
            Some(extra) => join(extra, know),
            None => self.extras[lane] = Some(know.clone()),
        }
        self.alone |= 1 << lane;
    }

    /// Lanes learn what others made known.
    pub fn learn(&mut self, lanes: u32, know: &Arc<Knowledge>) {
        if lanes & self.live == self.live {
            if !self.common.covers(know) {
                join(&mut self.common, know);
            }
            return;
        }
        each(lanes).for_each(|lane| self.learn_alone(lane, know));
    }

    /// Lanes acquire a clock, when the scopes include each other.
    pub fn acquire(&mut self, lanes: u32, scope: Scope, released: &Released) {
        if !self.seat.meet(scope, released.seat, released.scope) {
            return;
        }
        if !released.merged && released.is_in(&self.common) {
            return;
        }
        let (slot, lane) = released.owner;
        if !released.merged && slot == self.slot && self.is_told(1 << lane, released.time) {
            return;
        }
        self.learn(lanes, &released.know);
    }

    /// Lanes read a value with these clocks: with an acquire, or for what may follow, a fence or an acquire of `word`.
    pub fn read(&mut self, lanes: u32, scope: Scope, acquires: bool, list: &[Released], word: Option<WordAt>) {
        for released in list {
            if acquires {
                self.acquire(lanes, scope, released);
            }
            // Only what a later fence could still add.
            if released.is_in(&self.common) {
                continue;
            }
            let same = |p: &&mut Pending| p.word == word && Arc::ptr_eq(&p.released.know, &released.know);
            match self.pending.iter_mut().find(same) {
                Some(pending) => pending.lanes |= lanes,
                None => self.pending.push(Pending { lanes, word, released: released.clone() }),
            }
        }
        if self.pending.len() > PENDING_MAX {
            self.join_pending();
        }
    }

    /// Lanes acquire at a word what their earlier reads of it saw (PTX ISA, "Release and Acquire Patterns", the second kind
    /// of acquire pattern).
    pub fn acquire_again(&mut self, lanes: u32, scope: Scope, word: WordAt) {
        let of_word = |p: &Pending| p.word == Some(word) && p.lanes & lanes != 0;
        if !self.pending.iter().any(of_word) {
            return;
        }
        let seen: Vec<Pending> = self.pending.iter().filter(|p| of_word(p)).cloned().collect();
        for pending in seen {
            self.acquire(pending.lanes & lanes, scope, &pending.released);
        }
    }

    /// Makes few of many pending clocks, by lanes and by where they are from.
    fn join_pending(&mut self) {
        let mut joined: Vec<(u32, Vec<Released>)> = Vec::new();
        let known = self.common.clone();
        for Pending { lanes, released, .. } in std::mem::take(&mut self.pending) {
            if released.is_in(&known) {
                continue;
            }
            match joined.iter_mut().find(|(of, _)| *of == lanes) {
                Some((_, list)) => super::clock::carry(list, released),
                None => joined.push((lanes, vec![released])),
            }
        }
        let pending = |(lanes, list): (u32, Vec<Released>)| {
            list.into_iter().map(move |released| Pending { lanes, word: None, released })
        };
        self.pending = joined.into_iter().flat_map(pending).collect();
    }

    /// `bar.warp.sync`: these lanes know what each of them knows and did.
    pub fn meet(&mut self, lanes: u32) {
        if lanes & self.live == self.live {
            for lane in each(self.alone & lanes) {
                if let Some(extra) = self.extras[lane].take() {
                    join(&mut self.common, &extra);
                }
            }
            self.alone &= !lanes;
            for lane in each(lanes) {
                self.told[lane] = self.now;
                for space in [GLOBAL, SHARED] {
                    self.proxied[space][lane] = self.proxied[space][lane].max(self.own_fenced[space][lane]);
                }
            }
            self.now += 1;
            return;
        }
        let know = Arc::new(self.give(lanes));
        each(lanes).for_each(|lane| self.learn_alone(lane, &know));
    }

    /// Lanes of this warp were at a barrier of the CTA, and get what all brought there.
    pub fn leave_barrier(&mut self, lanes: u32, time: u32, know: &Arc<Knowledge>) {
        self.learn(lanes, know);
        if lanes & self.live == self.live {
            for lane in each(lanes) {
                self.told[lane] = self.told[lane].max(time);
                for space in [GLOBAL, SHARED] {
                    self.proxied[space][lane] = self.proxied[space][lane].max(self.own_fenced[space][lane]);
                }
            }
        }
    }

    /// All that the warp knew and did, at its end.
    pub fn end(&self) -> Knowledge {
        let mut know = (*self.common).clone();
        for extra in self.extras.iter().flatten() {
            know.join(extra);
        }
        know.caused.learn(self.slot, self.now);
        know
    }
}
