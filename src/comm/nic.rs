//! A rank's NIC: its window's keys and its queue pairs, from their making to their end.

use std::sync::Arc;

use super::constants::{self, Connected, Lane, Slot};
use super::queues::QueueStore;
use crate::driver::{AccessRule, Driver, StreamId};
use crate::error::{Error, Result};
use crate::fabric::{Nic, Queue, QueueAddress, QueueMemory, WindowKeys};
use crate::mem::{Buffer, DevicePtr};
use crate::plan::Plan;

use super::connect::Offer;

/// Bytes of a doorbell.
const DOORBELL_BYTES: u64 = 8;

/// What a rank's NIC tells the others.
#[derive(Debug, Clone)]
pub struct NicOffer {
    /// The window as the NIC knows it.
    pub window: u64,
    /// Key of the window.
    pub remote_key: u32,
    /// Queue pairs in table order: for each channel and other node payload and credit, then exchange.
    pub queues: Vec<QueueAddress>,
}

/// Keys and queue pairs of a rank; they are given back when this goes.
#[derive(Debug)]
pub(crate) struct RankNic {
    nic: Arc<dyn Nic>,
    window: DevicePtr,
    keys: Option<WindowKeys>,
    slots: Vec<Slot>,
    /// One for each slot, in their order; fewer while they are made or ended.
    queues: Vec<Queue>,
    memory: QueueStore,
}

impl RankNic {
    /// Registers the window and makes queue pairs; their memory is written in the order of `stream`.
    pub fn new(
        nic: Arc<dyn Nic>,
        driver: &Arc<dyn Driver>,
        stream: StreamId,
        plan: &Plan,
        rank: u32,
        window: &Buffer,
    ) -> Result<RankNic> {
        let slots = constants::queue_slots(plan, plan.topology.node(rank));
        let memory = QueueStore::new(driver, nic.queue_place(), &constants::queue_memory(plan, &slots), stream)?;
        // The NIC may look at once: what it looks at must be there.
        super::shared::synchronize(driver, stream, rank)?;
        // From here on what was made is given back when a later step fails.
        let mut own = RankNic { nic, window: window.ptr(), keys: None, slots, queues: Vec::new(), memory };
        own.keys = Some(own.nic.register(window.ptr(), plan.window.bytes)?);
        for slot in &own.slots {
            let queue = own.nic.create_queue(&QueueMemory {
                host: own.memory.host().map(|buffer| *buffer.block()),
                send_queue: own.memory.ptr().offset(slot.send_queue),
                entries: slot.entries,
                record: own.memory.ptr().offset(slot.record),
                completion: own.memory.ptr().offset(slot.completion),
            })?;
            own.queues.push(queue);
        }
        Ok(own)
    }

    /// What the other ranks need.
    pub fn offer(&self) -> NicOffer {
        NicOffer {
            window: self.window.address(),
            remote_key: self.keys.map_or(0, |keys| keys.remote),
            queues: self.queues.iter().map(|queue| self.nic.address(queue.number)).collect(),
        }
    }

    /// Connects every queue pair to its peer and writes the kernels' table.
    pub fn connect(&self, plan: &Plan, rank: u32, offers: &[Offer]) -> Result<Vec<u8>> {
        let (topology, node) = (plan.topology, plan.topology.node(rank));
        let mut connected = Vec::with_capacity(self.slots.len());
        for (slot, queue) in self.slots.iter().zip(&self.queues) {
            let peer = topology.rank(slot.node, topology.local(rank));
            let offer = offers[peer as usize].nic.as_ref().ok_or_else(|| {
                Error::argument("offers", format!("rank {peer} without a NIC"), "a NIC on every rank with fabric mlx5")
            })?;
            let address = offer.queues.get(place(plan, slot.lane, slot.node, node)).ok_or_else(|| {
                Error::argument(
                    "offers",
                    format!("{} queue pairs of rank {peer}", offer.queues.len()),
                    "one for each flow",
                )
            })?;
            self.nic.connect(queue.number, *address)?;
            connected.push(Connected {
                slot: *slot,
                queue: *queue,
                remote_window: offer.window,
                remote_key: offer.remote_key,
            });
        }
        let local_key = self.keys.map_or(0, |keys| keys.local);
        Ok(constants::queue_table(plan, self.memory.ptr(), self.window, local_key, &connected))
    }

    /// The NIC.
    pub fn nic(&self) -> &Arc<dyn Nic> {
        &self.nic
    }

    /// Queue pairs and what they carry.
    pub fn queue_pairs(&self) -> Vec<(Lane, u32)> {
        self.slots.iter().zip(&self.queues).map(|(slot, queue)| (slot.lane, queue.number)).collect()
    }

    /// What kernels may touch: queue memory and doorbells.
    pub fn reach(&self) -> Vec<AccessRule> {
        let rule = |address, bytes, read| AccessRule { address, bytes, read, write: true };
        let doorbells = || self.queues.iter().map(|queue| queue.doorbell);
        let mut rules = vec![rule(self.memory.ptr(), self.memory.bytes(), true)];
        if let (Some(first), Some(last)) = (doorbells().min(), doorbells().max()) {
            rules.push(rule(first, last.address() - first.address() + DOORBELL_BYTES, false));
        }
        rules
    }

    /// Ends the queue pairs and takes the window out: all of them, whatever fails; the first error.
    pub fn release(&mut self) -> Result<()> {
        let mut first = Ok(());
        for queue in self.queues.drain(..) {
            first = first.and(self.nic.destroy_queue(queue.number));
        }
        match self.keys.take() {
            Some(keys) => first.and(self.nic.deregister(keys)),
            None => first,
        }
    }
}

impl Drop for RankNic {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            tracing::warn!(%error, "queue pairs or keys of a NIC could not be given back");
        }
    }
}

/// Position, in the list of `node`'s queue pairs, of the one in `lane` to `other`.
fn place(plan: &Plan, lane: Lane, node: u32, other: u32) -> usize {
    let others = plan.topology.nodes() - 1;
    let peer = crate::topology::Topology::peer_index(node, other);
    let index = match lane {
        Lane::Payload { channel } => (channel * others + peer) * 2,
        Lane::Credit { channel } => (channel * others + peer) * 2 + 1,
        Lane::Exchange => plan.tuning.channels * others * 2 + peer,
    };
    index as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fabric, Shape, Tuning};
    use crate::topology::Topology;

    /// Method: both ends of every queue pair look each other up; the lists must point at each other.
    #[test]
    fn both_ends_find_each_other() {
        let topology = Topology::new(4, 1).expect("a small world");
        let shape = Shape::new(8, 4, 1, 4).expect("a small shape");
        let tuning = Tuning { channels: 3, dispatch_sms: 1, combine_sms: 1, ..Tuning::default_for(topology, 16) };
        let plan = Plan::new(topology, shape, tuning, Fabric::Mlx5).expect("a small plan");
        for node in 0..4 {
            for slot in constants::queue_slots(&plan, node) {
                let there = constants::queue_slots(&plan, slot.node)[place(&plan, slot.lane, slot.node, node)];
                assert_eq!((there.lane, there.node), (slot.lane, node));
            }
        }
    }
}
