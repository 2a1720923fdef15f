//! Making a communicator: memory, keys and queue pairs of one rank, then its peers'.
//!
//! Two steps with an exchange between them, so that ranks may be threads of one process or processes that meet
//! elsewhere: [`Prepared`] has taken everything of its own and offers what peers need; [`Prepared::join`] takes the
//! offers of all ranks.

use std::sync::Arc;

use super::constants::{self, Addresses};
use super::landing::Zone;
pub use super::nic::NicOffer;
use super::nic::RankNic;
use super::shared::{Functions, Memory, Shared};
use super::Communicator;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::fabric::Device;
use crate::kernel::launch::{Kernel, KernelSet};
use crate::mem::stream::Stream;
use crate::mem::{Buffer, DevicePtr, WindowHandle};
use crate::plan::{Agreement, Fabric, Landing, Limits, OutputLayout, Plan};

/// Most of a GPU's memory that is reserved for outputs: one part in this many.
const RESERVED_SHARE: u64 = 8;

/// What a rank tells the others.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The rank.
    pub rank: u32,
    /// Hash of what all ranks must agree on.
    pub plan_hash: u64,
    /// The same, item by item: names what differs where hashes do.
    pub agreement: Agreement,
    /// Lets GPUs in reach map the window.
    pub window: WindowHandle,
    /// NIC addresses, when the fabric has NICs.
    pub nic: Option<NicOffer>,
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
#[derive(Debug)]
pub struct Prepared {
    rank: u32,
    plan: Plan,
    driver: Arc<dyn Driver>,
    stream: Arc<Stream>,
    control: Arc<Stream>,
    functions: Functions,
    /// Before the window: it goes first, since NICs reach into the window.
    nic: Option<RankNic>,
    window: Arc<Buffer>,
    exported: WindowHandle,
    state: Buffer,
}

/// A rank that could not be joined, with all that it holds: others may have its window mapped.
#[derive(Debug)]
pub struct Unjoined {
    /// Why.
    pub error: Error,
    /// To be dropped when nobody has its window mapped any more.
    pub rank: Box<Prepared>,
}

impl From<Unjoined> for Error {
    fn from(unjoined: Unjoined) -> Error {
        unjoined.error
    }
}

/// What joining adds to a rank.
struct Joined {
    comm: Buffer,
    dispatch: Buffer,
    combine: Buffer,
    tables: [Buffer; 3],
    mappings: Mappings,
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
            None => Stream::new(&driver, device.priority)?,
        };
        let control = Stream::new(&driver, device.priority)?;
        let functions = Functions {
            layout: Kernel::load(&driver, kernels.layout)?,
            exchange: Kernel::load(&driver, kernels.exchange)?,
            pad: match plan.shape.layout() {
                OutputLayout::Rows => None,
                OutputLayout::Experts { .. } => Some(Kernel::load(&driver, kernels.pad)?),
            },
            dispatch: Kernel::load(&driver, kernels.dispatch)?,
            combine: Kernel::load(&driver, kernels.combine)?,
        };
        let window = Arc::new(Buffer::new(&driver, plan.window.bytes)?);
        driver.fill(window.ptr(), 0, plan.window.counter_bytes, stream.id())?;
        let exported = driver.export_window(window.ptr())?;
        let state = Buffer::zeroed(&driver, plan.state.bytes, stream.id())?;
        let nic = match (plan.fabric, nic) {
            (Fabric::Loopback, _) => None,
            (Fabric::Mlx5, None) if plan.topology.nodes() == 1 => None,
            (Fabric::Mlx5, None) => {
                return Err(Error::argument("fabric", "mlx5 without a NIC", "a NIC for each rank, or loopback"))
            }
            (Fabric::Mlx5, Some(nic)) => Some(RankNic::new(nic, &driver, stream.id(), &plan, rank, &window)?),
        };
        super::shared::synchronize(&driver, stream.id(), rank)?;
        driver.reserve(plan.output_bytes().min(driver.info().memory_bytes / RESERVED_SHARE))?;
        Ok(Prepared { rank, plan, driver, stream, control, functions, window, exported, state, nic })
    }

    /// What the other ranks need of this one.
    pub fn offer(&self) -> Offer {
        Offer {
            rank: self.rank,
            plan_hash: self.plan.agreement_hash(),
            agreement: self.plan.agreement(),
            window: self.exported,
            nic: self.nic.as_ref().map(RankNic::offer),
        }
    }

    /// Connects to the ranks whose `offers` these are: one of every rank, in order.
    ///
    /// # Errors
    /// [`Error::Argument`] when offers are missing or made for another plan; what the driver says.
    pub fn join(self, offers: &[Offer]) -> std::result::Result<Communicator, Unjoined> {
        let mut joined = match self.connect(offers) {
            Ok(joined) => joined,
            Err(error) => return Err(Unjoined { error, rank: Box::new(self) }),
        };
        let nic = self.nic.as_ref().map(|own| Arc::clone(own.nic()));
        let memory = Memory {
            nic: self.nic,
            landing: match self.plan.landing() {
                Landing::Direct { rows } => Some(Zone::new(&self.window, self.stream.id(), rows)),
                Landing::Staged => None,
            },
            window: self.window,
            state: Arc::new(self.state),
            comm: joined.comm,
            dispatch: joined.dispatch,
            combine: joined.combine,
            tables: joined.tables,
            imported: std::mem::take(&mut joined.mappings.imported),
        };
        let shared =
            Shared::new(self.rank, self.plan, self.driver, self.stream, self.control, nic, self.functions, memory);
        Ok(Communicator::new(shared))
    }

    /// Maps the others' windows, connects queue pairs and writes the blocks that kernels read.
    fn connect(&self, offers: &[Offer]) -> Result<Joined> {
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
            Some(own) => own.connect(&self.plan, rank, offers)?,
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
        Ok(Joined { comm, dispatch, combine, tables: [peers, rails, queue_table], mappings })
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
                let value = format!("rank {rank} with plan {:#018x}{}", offer.plan_hash, self.differences(offer));
                let valid = format!(
                    "the same topology, shape, channels, depths, landing and fabric on every rank (rank {} has {own:#018x})",
                    self.rank
                );
                return Err(Error::argument("offers", value, valid));
            }
        }
        Ok(())
    }

    /// In what an offer differs, as a part of a sentence.
    fn differences(&self, offer: &Offer) -> String {
        let items = self.plan.agreement().differences(&offer.agreement);
        match items.is_empty() {
            true => String::new(),
            false => format!(" ({})", items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// What the GPU gives a rank.
fn check_gpu(driver: &Arc<dyn Driver>, plan: &Plan) -> Result<()> {
    let info = driver.info();
    plan.check_limits(&Limits {
        name: info.name.clone(),
        sms: info.sms,
        shared_bytes: info.shared_bytes,
        memory_bytes: info.memory_bytes,
    })
}
