//! Making a communicator: memory, keys and queue pairs of one rank, then its peers'.
//!
//! Two steps with an exchange between them, so that ranks may be threads of one process or processes that meet
//! elsewhere: [`Prepared`] has taken everything of its own and offers what peers need; [`Prepared::join`] takes the
//! offers of all ranks.

use std::sync::Arc;

use super::constants::{self, Addresses, Connected, Lane, Slot};
use super::queues::QueueStore;
use super::shared::{Functions, Memory, Shared};
use super::Communicator;
use crate::driver::{Driver, StreamId};
use crate::error::{Error, Result};
use crate::fabric::{Device, Nic, Queue, QueueAddress, WindowKeys};
use crate::kernel::launch::{Kernel, KernelSet};
use crate::mem::stream::Stream;
use crate::mem::{Buffer, DevicePtr, HostBuffer, WindowHandle};
use crate::plan::blocks::TotalsHead;
use crate::plan::{Fabric, Plan};

/// Most of a GPU's memory that is reserved for outputs: one part in this many.
const RESERVED_SHARE: u64 = 8;

/// What a rank tells the others.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The rank.
    pub rank: u32,
    /// Hash of what all ranks must agree on.
    pub plan_hash: u64,
    /// Lets GPUs in reach map the window.
    pub window: WindowHandle,
    /// NIC addresses, when the fabric has NICs.
    pub nic: Option<NicOffer>,
}

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

struct PreparedNic {
    nic: Arc<dyn Nic>,
    keys: WindowKeys,
    slots: Vec<Slot>,
    queues: Vec<Queue>,
    memory: QueueStore,
}

/// Mapped windows of other ranks; taken out of the map when joining fails.
struct Mappings {
    driver: Arc<dyn Driver>,
    imported: Vec<DevicePtr>,
}

impl Drop for Mappings {
    fn drop(&mut self) {
        for ptr in self.imported.drain(..) {
            if let Err(error) = self.driver.release_window(ptr) {
                tracing::warn!(%ptr, %error, "a mapped window could not be taken out of the map");
            }
        }
    }
}

/// A rank that has all of its own and waits for the offers of the others.
pub struct Prepared {
    rank: u32,
    plan: Plan,
    driver: Arc<dyn Driver>,
    stream: Arc<Stream>,
    control: Arc<Stream>,
    functions: Functions,
    window: Buffer,
    exported: WindowHandle,
    state: Buffer,
    totals: HostBuffer,
    nic: Option<PreparedNic>,
}

impl Prepared {
    /// Takes memory, loads kernels and makes queue pairs for `rank`.
    ///
    /// # Errors
    /// [`Error::Argument`] when the GPU is too small for the plan, or the fabric needs a NIC and there is none; what
    /// the driver says.
    pub fn new(device: &Device, plan: Plan, rank: u32, kernels: KernelSet) -> Result<Prepared> {
        let (driver, nic) = (Arc::clone(&device.driver), device.nic.clone());
        if rank >= plan.topology.ranks() {
            return Err(Error::argument("rank", rank, format!("below {}", plan.topology.ranks())));
        }
        check_gpu(&driver, &plan)?;
        let stream = match device.stream {
            Some(lent) => Stream::lent(&driver, lent)?,
            None => Stream::new(&driver)?,
        };
        let control = Stream::new(&driver)?;
        let functions = Functions {
            layout: Kernel::load(&driver, kernels.layout)?,
            exchange: Kernel::load(&driver, kernels.exchange)?,
            dispatch: Kernel::load(&driver, kernels.dispatch)?,
            combine: Kernel::load(&driver, kernels.combine)?,
        };
        let window = Buffer::new(&driver, plan.window.bytes)?;
        driver.fill(window.ptr(), 0, plan.window.counter_bytes, stream.id())?;
        let exported = driver.export_window(window.ptr())?;
        let state = Buffer::zeroed(&driver, plan.state.bytes, stream.id())?;
        let experts = plan.shape.experts_per_rank(plan.topology);
        let totals = HostBuffer::zeroed(&driver, TotalsHead::BYTES as u64 + 4 * u64::from(experts))?;
        let nic = match (plan.fabric, nic) {
            (Fabric::Loopback, _) => None,
            (Fabric::Mlx5, None) if plan.topology.nodes() == 1 => None,
            (Fabric::Mlx5, None) => {
                return Err(Error::argument("fabric", "mlx5 without a NIC", "a NIC for each rank, or loopback"))
            }
            (Fabric::Mlx5, Some(nic)) => Some(PreparedNic::new(nic, &driver, stream.id(), &plan, rank, &window)?),
        };
        super::shared::synchronize(&driver, stream.id(), rank)?;
        driver.reserve(plan.output_bytes().min(driver.info().memory_bytes / RESERVED_SHARE))?;
        Ok(Prepared { rank, plan, driver, stream, control, functions, window, exported, state, totals, nic })
    }

    /// What the other ranks need of this one.
    pub fn offer(&self) -> Offer {
        Offer {
            rank: self.rank,
            plan_hash: self.plan.agreement_hash(),
            window: self.exported,
            nic: self.nic.as_ref().map(|own| NicOffer {
                window: self.window.ptr().address(),
                remote_key: own.keys.remote,
                queues: own.queues.iter().map(|queue| own.nic.address(queue.number)).collect(),
            }),
        }
    }

    /// Connects to the ranks whose `offers` these are: one of every rank, in order.
    ///
    /// # Errors
    /// [`Error::Argument`] when offers are missing or made for another plan; what the driver says.
    pub fn join(self, offers: &[Offer]) -> Result<Communicator> {
        self.check_offers(offers)?;
        let (topology, rank) = (self.plan.topology, self.rank);
        let (node, local) = (topology.node(rank), topology.local(rank));
        let mut mappings = Mappings { driver: Arc::clone(&self.driver), imported: Vec::new() };
        let mut map = |other: u32| -> Result<DevicePtr> {
            if other == rank {
                return Ok(self.window.ptr());
            }
            let ptr = self.driver.import_window(&offers[other as usize].window)?;
            mappings.imported.push(ptr);
            Ok(ptr)
        };
        let peers =
            (0..topology.gpus_per_node()).map(|gpu| map(topology.rank(node, gpu))).collect::<Result<Vec<_>>>()?;
        let rails = match self.plan.fabric {
            Fabric::Loopback => {
                (0..topology.nodes()).map(|other| map(topology.rank(other, local))).collect::<Result<Vec<_>>>()?
            }
            Fabric::Mlx5 => Vec::new(),
        };
        let table = match &self.nic {
            Some(own) => own.connect(&self.plan, rank, offers, self.window.ptr())?,
            // One node: no entry is in use, and the kernels look at each to see that.
            None => constants::queue_table(&self.plan, DevicePtr::NULL, self.window.ptr(), 0, &[]),
        };
        let block = |contents: &[u8]| Buffer::with_contents(&self.driver, contents, self.stream.id());
        let peers = block(&constants::address_table(&peers))?;
        let rails = block(&constants::address_table(&rails))?;
        let queue_table = block(&table)?;
        let addresses = Addresses {
            window: self.window.ptr(),
            peers: peers.ptr(),
            rails: rails.ptr(),
            queues: queue_table.ptr(),
            state: self.state.ptr(),
        };
        let comm = block(&constants::comm_block(&self.plan, rank, addresses).to_bytes())?;
        let dispatch = block(&self.plan.dispatch.block.to_bytes())?;
        let combine = block(&self.plan.combine.block.to_bytes())?;
        super::shared::synchronize(&self.driver, self.stream.id(), rank)?;
        let (nic, keys, slots, queues, queue_memory) = match self.nic {
            Some(own) => (Some(own.nic), Some(own.keys), own.slots, own.queues, Some(own.memory)),
            None => (None, None, Vec::new(), Vec::new(), None),
        };
        let memory = Memory {
            window: self.window,
            state: self.state,
            comm,
            dispatch,
            combine,
            tables: [peers, rails, queue_table],
            totals: self.totals,
            queues: queue_memory,
            imported: std::mem::take(&mut mappings.imported),
            queue_pairs: slots.iter().zip(&queues).map(|(slot, queue)| (slot.lane, queue.number)).collect(),
            doorbells: queues.iter().map(|queue| queue.doorbell).collect(),
            keys,
        };
        let shared = Shared::new(rank, self.plan, self.driver, self.stream, self.control, nic, self.functions, memory);
        Ok(Communicator::new(shared))
    }

    fn check_offers(&self, offers: &[Offer]) -> Result<()> {
        let ranks = self.plan.topology.ranks();
        if offers.len() as u64 != u64::from(ranks) {
            return Err(Error::argument("offers", offers.len(), format!("one for each of {ranks} ranks")));
        }
        for (rank, offer) in (0..).zip(offers) {
            if offer.rank != rank {
                return Err(Error::argument(
                    "offers",
                    format!("rank {} at place {rank}", offer.rank),
                    "offers in rank order",
                ));
            }
            let own = self.plan.agreement_hash();
            if offer.plan_hash != own {
                return Err(Error::argument(
                    "offers",
                    format!("rank {rank} with plan {:#018x}", offer.plan_hash),
                    format!("the same topology, shape, channels, depths and fabric on every rank (here {own:#018x})"),
                ));
            }
        }
        Ok(())
    }
}

fn check_gpu(driver: &Arc<dyn Driver>, plan: &Plan) -> Result<()> {
    let info = driver.info();
    for (name, sms) in [("dispatch_sms", plan.dispatch.sms), ("combine_sms", plan.combine.sms)] {
        if sms > info.sms {
            return Err(Error::argument(name, sms, format!("at most {}, the SMs of {}", info.sms, info.name)));
        }
    }
    let shared = plan.dispatch.shared_bytes.max(plan.combine.shared_bytes);
    if shared > info.shared_bytes {
        return Err(Error::argument(
            "stage_bytes",
            plan.tuning.stage_bytes,
            format!(
                "less: {} gives a CTA {} bytes of shared memory, the plan needs {shared}",
                info.name, info.shared_bytes
            ),
        ));
    }
    let need = plan.memory_bytes();
    let bytes = need.window_bytes + need.state_bytes + need.queue_bytes + need.handle_bytes;
    if bytes > info.memory_bytes {
        return Err(Error::Unsupported {
            need: format!("{bytes} bytes of device memory ({need})"),
            have: format!("{} of {}", info.memory_bytes, info.name),
        });
    }
    Ok(())
}

impl PreparedNic {
    fn new(
        nic: Arc<dyn Nic>,
        driver: &Arc<dyn Driver>,
        stream: StreamId,
        plan: &Plan,
        rank: u32,
        window: &Buffer,
    ) -> Result<PreparedNic> {
        let slots = constants::queue_slots(plan, plan.topology.node(rank));
        let memory = QueueStore::new(driver, nic.queue_place(), &constants::queue_memory(plan, &slots), stream)?;
        // The NIC may look at once: what it looks at must be there.
        super::shared::synchronize(driver, stream, rank)?;
        let keys = nic.register(window.ptr(), plan.window.bytes)?;
        let queues = slots
            .iter()
            .map(|slot| {
                nic.create_queue(&crate::fabric::QueueMemory {
                    host: memory.host().map(|buffer| *buffer.block()),
                    send_queue: memory.ptr().offset(slot.send_queue),
                    entries: slot.entries,
                    record: memory.ptr().offset(slot.record),
                    completion: memory.ptr().offset(slot.completion),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(PreparedNic { nic, keys, slots, queues, memory })
    }

    /// Connects every queue pair to its peer and writes the kernels' table.
    fn connect(&self, plan: &Plan, rank: u32, offers: &[Offer], window: DevicePtr) -> Result<Vec<u8>> {
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
        Ok(constants::queue_table(plan, self.memory.ptr(), window, self.keys.local, &connected))
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
    use crate::plan::{Shape, Tuning};
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
