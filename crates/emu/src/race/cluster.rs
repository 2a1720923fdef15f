//! The barrier of a cluster.
//!
//! By the PTX ISA ("barrier.cluster"): a wait has what every thread of the cluster did before its arrival with `.release`,
//! the default. Before an arrival with `.relaxed` only a fence at cluster scope or wider hands anything over, and
//! `fence.mbarrier_init` the inits of mbarriers: those are known to the whole cluster once the barrier is complete. What a
//! thread does between its arrival and its wait has no order. Asynchronous accesses are in neither.

use super::access::At;
use super::clock::{Knowledge, Seat};
use super::Race;
use crate::program::{lanes as each, Scope};
use std::sync::Arc;

/// Knowledge at the barrier of a cluster.
#[derive(Debug, Default)]
pub(super) struct ClusterBarrier {
    /// Of those who arrived at the open phase.
    open: Knowledge,
    /// Of the phase that ended last: everyone waits for it before arriving again.
    done: Arc<Knowledge>,
    /// CTAs of the cluster that have ended.
    pub ended: u32,
}

impl Race {
    /// Lanes arrive.
    pub fn cluster_arrive(&mut self, at: At, lanes: u32, live: u32, releases: bool) {
        let clock = self.clock(at);
        clock.live = live;
        let cluster = clock.seat.cluster;
        let given = if releases {
            clock.give(lanes)
        } else {
            let mut fenced = Knowledge::default();
            let released = each(lanes).flat_map(|lane| clock.fenced(lane as u32));
            released.filter(|r| r.scope >= Scope::Cluster).for_each(|r| fenced.join(&r.know));
            fenced
        };
        self.clusters.entry(cluster).or_default().open.join(&given);
    }

    /// A phase is complete in the cluster of a CTA.
    pub fn cluster_done(&mut self, cta: u32) {
        let seat = self.home(cta);
        let barrier = self.clusters.entry(seat.cluster).or_default();
        barrier.done = Arc::new(std::mem::take(&mut barrier.open));
        for cta in 0..self.ctas.len() {
            if self.ctas[cta].slots.is_empty() || self.home(cta as u32).cluster != seat.cluster {
                continue;
            }
            let state = &mut self.ctas[cta];
            for (&offset, phases) in &mut state.mbarriers {
                if phases.published() {
                    state.shared.forget(offset, offset + 8);
                }
            }
        }
    }

    /// Lanes have waited.
    pub fn cluster_wait(&mut self, at: At, lanes: u32, live: u32) {
        let clock = self.clock(at);
        clock.live = live;
        let cluster = clock.seat.cluster;
        let know = self.clusters.entry(cluster).or_default().done.clone();
        self.clock(at).learn(lanes, &know);
    }

    /// Where a CTA is.
    pub(super) fn home(&self, cta: u32) -> Seat {
        self.seats[self.ctas[cta as usize].slots[0] as usize]
    }
}
