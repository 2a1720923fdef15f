//! NICs: when they fetch, place and complete.

use super::paths::Place;
use super::server::{duration, Line, Pool};
use super::{Clock, Due};
use crate::memory::Memory;
use std::collections::{BTreeMap, HashMap, VecDeque};
use warpferry_nic::{Act, Network, Posted, QueuePairNumber, Ready};

/// Parts of one NIC.
#[derive(Debug, Default)]
pub(crate) struct NicParts {
    messages: Line,
    sends: Pool,
    gets: Pool,
    /// Its queue pairs.
    queue_pairs: u64,
}

impl NicParts {
    /// How long it has sent and received.
    pub fn work(&self) -> (u64, u64) {
        (self.sends.busy_ps, self.gets.busy_ps)
    }
}

/// Where entries and records of queue pairs lie: by storage and start, the end.
#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<(usize, u64), u64>);

impl Ranges {
    pub fn add(&mut self, storage: usize, start: u64, end: u64) {
        self.0.insert((storage, start), end);
    }

    /// Whether one of them has bytes of a range.
    pub fn meets(&self, storage: usize, start: u64, end: u64) -> bool {
        let before = self.0.range(..(storage, end)).next_back();
        before.is_some_and(|(&(at, _), &last)| at == storage && last > start)
    }
}

/// What queue pairs have under way.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    states: HashMap<u32, State>,
}

/// A queue pair's acts to come.
#[derive(Debug, Default)]
struct State {
    /// When the entry after a doorbell is there.
    rung_ps: u64,
    /// When the last entry was fetched, and the last one arrives.
    fetched_ps: u64,
    arrives_ps: u64,
    /// When the entries that are fetched arrive, and when those that have arrived complete.
    arrivals: VecDeque<u64>,
    completions: VecDeque<u64>,
    /// Acts that are on the agenda.
    fetches: bool,
    executes: bool,
    retires: bool,
}

impl Clock {
    /// A queue pair was made on a GPU's NIC.
    pub fn queue_pair_made(&mut self, gpu: usize) {
        self.gpus[gpu].nic.queue_pairs += 1;
    }

    /// A doorbell comes to a queue pair.
    pub fn rung(&mut self, at_ps: u64, queue: QueuePairNumber) {
        let state = self.nics.states.entry(queue.0).or_default();
        state.rung_ps = at_ps + self.timing.nic.fetch_ps;
    }

    /// Puts what a queue pair can do on the agenda.
    pub fn look(&mut self, network: &mut Network, queue: QueuePairNumber) {
        let now_ps = self.now_ps;
        let state = self.nics.states.entry(queue.0).or_default();
        let mut due = Vec::new();
        for ready in network.ready_acts(queue) {
            let (listed, at_ps) = match ready {
                Ready::Fetch => (&mut state.fetches, state.rung_ps.max(state.fetched_ps + self.timing.nic.entry_ps)),
                Ready::Execute => (&mut state.executes, state.arrivals.front().copied().unwrap_or(now_ps)),
                Ready::Retire => (&mut state.retires, state.completions.front().copied().unwrap_or(now_ps)),
            };
            if !std::mem::replace(listed, true) {
                due.push((at_ps.max(now_ps), ready));
            }
        }
        for (at_ps, ready) in due {
            self.add(at_ps, Due::Nic(queue, ready));
        }
    }

    /// A queue pair begins an act that was on the agenda.
    pub fn nic_acts(&mut self, queue: QueuePairNumber, ready: Ready) {
        let state = self.nics.states.entry(queue.0).or_default();
        match ready {
            Ready::Fetch => state.fetches = false,
            Ready::Execute => state.executes = false,
            Ready::Retire => state.retires = false,
        }
    }

    /// A queue pair has acted: what follows from it takes its time from now on.
    pub fn nic_acted(&mut self, network: &Network, memory: &Memory, queue: QueuePairNumber, ready: Ready, act: Act) {
        let now_ps = self.now_ps;
        match ready {
            Ready::Fetch => {
                let arrives = match (act, network.newest(queue)) {
                    (Act::Fetched { .. }, Some(posted)) => Some(self.message(network, memory, queue, &posted)),
                    _ => None,
                };
                let state = self.nics.states.entry(queue.0).or_default();
                state.fetched_ps = now_ps;
                state.arrivals.extend(arrives);
                state.arrives_ps = arrives.unwrap_or(state.arrives_ps);
            }
            Ready::Execute if !matches!(act, Act::Placed { last: false, .. } | Act::Read { last: false, .. }) => {
                let back = self.flight(network, queue);
                let state = self.nics.states.entry(queue.0).or_default();
                state.arrivals.pop_front();
                state.completions.push_back(now_ps + back + self.timing.nic.complete_ps);
            }
            Ready::Retire if !matches!(act, Act::Late | Act::ReadAgain) => {
                self.nics.states.entry(queue.0).or_default().completions.pop_front();
            }
            Ready::Execute | Ready::Retire => {}
        }
    }

    /// A message whose entry was just fetched; when it is in the memory there.
    fn message(&mut self, network: &Network, memory: &Memory, queue: QueuePairNumber, posted: &Posted) -> u64 {
        let (now_ps, flight) = (self.now_ps, self.flight(network, queue));
        let timing = self.timing.nic.clone();
        let (from, to) = (posted.nic.0 as usize, posted.peer.map(|nic| nic.0 as usize));
        let nic = &mut self.gpus[from].nic;
        let beyond = nic.queue_pairs.saturating_sub(u64::from(timing.queue_pairs));
        // Of messages in no order, this part is of queue pairs whose state has to be fetched.
        let missed = if beyond == 0 { 0 } else { timing.miss_ps * beyond / nic.queue_pairs };
        let (_, built) = nic.messages.serve(now_ps, timing.message_ps + missed);
        let read = if posted.inline || posted.bytes == 0 { built } else { built + timing.payload_ps };
        let work = duration(posted.bytes, timing.rate);
        let sent = nic.sends.serve(now_ps, read, work);
        let extra = timing.place_ps + if posted.atomic { timing.atomic_ps } else { 0 };
        let came = match to {
            None => sent,
            Some(to) => {
                let began = sent - work.min(sent) + flight;
                self.gpus[to].nic.gets.serve(now_ps, began, work).max(sent + flight)
            }
        };
        let mut arrives = came + extra;
        let target = posted.target.and_then(|address| Place::of(memory, address, posted.bytes));
        if let Some((to, place)) = to.zip(target) {
            arrives = arrives.max(self.written(to, place, posted.bytes, came));
        }
        let state = self.nics.states.entry(queue.0).or_default();
        arrives.max(state.arrives_ps)
    }

    /// One way between a queue pair's NIC and its peer's.
    fn flight(&self, network: &Network, queue: QueuePairNumber) -> u64 {
        let timing = &self.timing.nic;
        let Some((here, there)) = network.ends(queue) else { return timing.leaf_ps };
        let leaf = |nic: warpferry_nic::NicId| nic.0 as usize / self.gpus_per_node / timing.leaf_nodes.max(1) as usize;
        if leaf(here) == leaf(there) {
            timing.leaf_ps
        } else {
            timing.leaf_ps + timing.spine_ps
        }
    }
}

#[test]
fn ranges_meet_what_they_overlap() {
    let mut ranges = Ranges::default();
    ranges.add(3, 64, 128);
    ranges.add(3, 256, 264);
    assert!(ranges.meets(3, 120, 130) && ranges.meets(3, 0, 65) && ranges.meets(3, 260, 261));
    assert!(!ranges.meets(3, 128, 256) && !ranges.meets(3, 0, 64) && !ranges.meets(2, 64, 65));
}
