//! What lanes do to be ordered: fences, and the barriers of warp and CTA.

use super::access::At;
use super::clock::{carry, Knowledge};
use super::Race;
use crate::program::{Order, ProxyFence, Scope};
use std::sync::Arc;

/// A phase of a barrier of the CTA.
#[derive(Debug, Default)]
pub(super) struct Gather {
    know: Knowledge,
    /// Warp, lanes and their time, of those who wait.
    waiting: Vec<(u32, u32, u32)>,
}

impl Race {
    pub(super) fn clock(&mut self, at: At) -> &mut super::WarpClock {
        let slot = self.ctas[at.cta as usize].slots[at.warp as usize];
        self.warps[slot as usize].as_deref_mut().expect("a resident warp has a clock")
    }

    /// `fence` by lanes.
    pub fn fence(&mut self, at: At, lanes: u32, order: Order, scope: Scope) {
        let both = matches!(order, Order::AcqRel | Order::Sc);
        let acquires = both || order == Order::Acquire;
        if order == Order::Sc {
            self.behind_fences(at, lanes, scope);
        }
        self.clock(at).fence(lanes, scope, both || order == Order::Release, acquires);
        if acquires {
            self.fence_waited(at, lanes);
        }
        if order == Order::Sc {
            self.before_fences(at, lanes, scope);
        }
    }

    /// `fence.sc` synchronizes with every earlier one whose scope and its own include each other (PTX ISA, "Fence-SC
    /// Order" and "Memory synchronization"). The order of this run is one that the model allows. What it releases itself
    /// has theirs in it.
    #[cold]
    fn behind_fences(&mut self, at: At, lanes: u32, scope: Scope) {
        let earlier = std::mem::take(&mut self.fences_sc);
        let clock = self.clock(at);
        for released in &earlier {
            clock.acquire(lanes, scope, released);
        }
        self.fences_sc = earlier;
    }

    /// Later `fence.sc` are behind this one.
    #[cold]
    fn before_fences(&mut self, at: At, lanes: u32, scope: Scope) {
        let released = self.clock(at).release_together(lanes, scope);
        carry(&mut self.fences_sc, released);
    }

    /// Lanes that found phases ended by waits without order have them acquired by this fence.
    fn fence_waited(&mut self, at: At, lanes: u32) {
        let clock = self.clock(at);
        if clock.waited.is_empty() {
            return;
        }
        clock.now += 1;
        let (slot, now) = (clock.slot, clock.now);
        let mut seen = Vec::new();
        clock.waited.retain_mut(|(of, number)| {
            if *of & lanes != 0 {
                seen.push((*of & lanes, *number));
            }
            *of &= !lanes;
            *of != 0
        });
        for (lanes, number) in seen {
            self.completions.observed(number, slot, lanes, now);
        }
    }

    /// `fence.proxy` and `fence.mbarrier_init` by lanes.
    pub fn fence_proxy(&mut self, at: At, lanes: u32, kind: ProxyFence, live: u32) {
        match kind {
            ProxyFence::Alias => {}
            ProxyFence::Async { global, shared } => {
                let clock = self.clock(at);
                clock.live = live;
                clock.fence_proxy(lanes, [global, shared]);
            }
            ProxyFence::MbarrierInit => {
                let clock = self.clock(at);
                let (slot, now) = (clock.slot, clock.now);
                for phases in self.ctas[at.cta as usize].mbarriers.values_mut() {
                    phases.announce(slot, lanes, now);
                }
            }
        }
    }

    /// Lanes met at a `bar.warp.sync`.
    pub fn warp_barrier(&mut self, at: At, lanes: u32, live: u32) {
        let clock = self.clock(at);
        clock.live = live;
        clock.meet(lanes);
    }

    /// Lanes arrive at a phase of a barrier.
    pub fn barrier(&mut self, at: At, lanes: u32, live: u32, id: u32, generation: u64, waits: bool) {
        let clock = self.clock(at);
        clock.live = live;
        let time = clock.now;
        let given = clock.give(lanes);
        let gather = self.ctas[at.cta as usize].barriers.entry((id, generation)).or_default();
        gather.know.join(&given);
        if waits {
            gather.waiting.push((at.warp, lanes, time));
        }
    }

    /// A phase of a barrier is complete.
    pub fn barrier_done(&mut self, cta: u32, id: u32, generation: u64) {
        let Some(gather) = self.ctas[cta as usize].barriers.remove(&(id, generation)) else { return };
        let know = Arc::new(gather.know);
        for (warp, lanes, time) in gather.waiting {
            self.clock(At { cta, warp, pc: 0, home: cta }).leave_barrier(lanes, time, &know);
        }
    }
}
