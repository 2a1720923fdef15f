//! A rank's part of a world: what it calls dispatch and combine on.

pub mod connect;
pub(crate) mod constants;
pub(crate) mod landing;
mod nic;
pub(crate) mod queues;
pub(crate) mod shared;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use shared::Shared;

use crate::driver::{Driver, DriverInfo, EventId, StreamId};
use crate::error::Result;
use crate::exec;
use crate::fabric::{Nic, NicCounters};
use crate::graph::{self, Graph, Replayed, Step};
use crate::load::{LoadStatistics, LoadTensors};
use crate::mem::tensor::Owner;
use crate::mem::{DType, DevicePtr, Element, Tensor};
use crate::op::{Combine, Combined, Dispatch, Dispatched, Pending};
use crate::plan::Plan;
use crate::topology::Topology;

/// What a rank's queue pairs carried since the communicator was made, by purpose; all zero without NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Slots and the signals behind them.
    pub payload: NicCounters,
    /// Credit for slots that were taken.
    pub credit: NicCounters,
    /// Boxes of counts.
    pub exchange: NicCounters,
}

/// Where a rank's memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The window, which other ranks write: [`crate::plan::window::Window`].
    pub window: DevicePtr,
    /// The private state: [`crate::plan::state::State`].
    pub state: DevicePtr,
}

/// One rank of a world.
///
/// Operations are collective: every rank calls the same ones in the same order. They run one after another on the
/// communicator's own stream. A communicator whose call ended early is broken; every later call says so and why.
pub struct Communicator {
    shared: Arc<Shared>,
}

impl Communicator {
    pub(crate) fn new(shared: Arc<Shared>) -> Communicator {
        Communicator { shared }
    }

    /// Sends each token to the ranks of its experts. Returns when the number of rows is known and the transfer runs.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for tensors that do not fit, before anything was sent;
    /// [`crate::Error::Ended`] when the count exchange gave up, which breaks the communicator;
    /// [`crate::Error::Broken`] when an earlier call did.
    pub fn dispatch(&mut self, op: Dispatch) -> Result<Pending<Dispatched>> {
        exec::dispatch(&self.shared, op)
    }

    /// Brings the rows of a dispatch back to their tokens and sums them. Returns while the transfer runs.
    ///
    /// # Errors
    /// As [`Communicator::dispatch`].
    pub fn combine(&mut self, op: Combine) -> Result<Pending<Combined>> {
        exec::combine(&self.shared, op)
    }

    /// A step of operations, to be captured and launched together. It takes its memory now; capture it when it has all.
    pub fn step<'a>(&self) -> Step<'a> {
        Step::new(&self.shared)
    }

    /// Captures a step into a graph: nothing of it runs. The stream is captured meanwhile, a caller's own too. Not to be called
    /// while peers that share the GPU are in an operation: making a graph ready may wait for their kernels.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a step of another communicator, or a stream that is captured already;
    /// [`crate::Error::Broken`]; what the driver says, also of work that has no place in a graph; what that work says.
    pub fn capture(&mut self, step: Step<'_>) -> Result<Graph> {
        graph::capture(&self.shared, step)
    }

    /// Launches a graph. Collective, as its operations are, and in order with other calls; any number may be under way.
    /// Each replay has its own outcome: `wait` gives numbers of rows, or why there are none.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a graph of another communicator, one that was closed for instance;
    /// [`crate::Error::Broken`] when an earlier call or replay ended early; what the driver says.
    pub fn replay(&mut self, graph: &Graph) -> Result<Pending<Replayed>> {
        graph::replay(&self.shared, graph)
    }

    /// Puts a step into a graph that the caller captures: the communicator's stream, lent or not, is being captured, and the
    /// caller ends that, makes a graph of it and launches it. Every rank's graph has the same operations. Behind each launch
    /// comes [`Communicator::replayed`], before anything else of this communicator.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a step of another communicator, or when nobody captures the stream;
    /// [`crate::Error::Broken`] when an earlier call or replay ended early; what the driver says.
    pub fn enlist(&mut self, step: Step<'_>) -> Result<Graph> {
        graph::enlist(&self.shared, step)
    }

    /// What a launch of the caller's graph, just before this in the communicator's stream, did for an enlisted step: its
    /// numbers of rows, or why there are none.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a graph of another communicator or of [`Communicator::capture`];
    /// [`crate::Error::Broken`] when an earlier call or replay ended early; what the driver says.
    pub fn replayed(&mut self, graph: &Graph) -> Result<Pending<Replayed>> {
        graph::replayed(&self.shared, graph)
    }

    /// A tensor of this communicator with `values` in it.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] when the number of values is not that of `shape`; what the driver says.
    pub fn tensor<T: Element>(&self, values: &[T], shape: &[usize]) -> Result<Tensor> {
        Tensor::from_slice(&self.owner(), values, shape)
    }

    /// A tensor of this communicator with `bytes` in it, as they lie in memory: little-endian elements, row by row.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] when the number of bytes is not that of `shape`; what the driver says.
    pub fn tensor_of_bytes(&self, dtype: DType, bytes: &[u8], shape: &[usize]) -> Result<Tensor> {
        Tensor::from_bytes(&self.owner(), dtype, bytes, shape)
    }

    /// A tensor of this communicator whose contents are not defined.
    ///
    /// # Errors
    /// What the driver says.
    pub fn empty(&self, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        Tensor::empty(&self.owner(), dtype, shape)
    }

    /// A tensor over memory that the caller lends: `keeper` is held until the last clone of the tensor and the last
    /// operation that uses it are gone. Operations read it and never write it. The communicator's stream orders what operations do to it:
    /// [`Communicator::wait_for`] before, [`Communicator::release_to`] after work in other streams.
    ///
    /// # Safety
    /// The memory must stay valid device memory, reachable by this GPU, for as long as `keeper` lives, and nobody may
    /// write it meanwhile but in the order of those streams.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] when the memory is not aligned to 16 bytes, is smaller than the shape, or is not this
    /// GPU's as far as the driver can tell.
    #[allow(unsafe_code)]
    pub unsafe fn lend(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        dtype: DType,
        shape: &[usize],
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Result<Tensor> {
        self.driver().check_range(ptr, bytes)?;
        Tensor::lent(&self.owner(), ptr, bytes, dtype, shape, keeper)
    }

    /// The same for memory that is known to be this GPU's.
    ///
    /// # Safety
    /// As [`Communicator::lend`].
    #[cfg(feature = "cuda")]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn lend_known(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        dtype: DType,
        shape: &[usize],
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Result<Tensor> {
        Tensor::lent(&self.owner(), ptr, bytes, dtype, shape, keeper)
    }

    /// Checks that a tensor is this communicator's.
    #[cfg(feature = "cuda")]
    pub(crate) fn check_tensor(&self, name: &str, tensor: &Tensor) -> Result<()> {
        crate::op::check_owner(name, tensor, &self.shared)
    }

    /// What this communicator does next waits for all that `stream` of its driver holds now.
    ///
    /// # Errors
    /// What the driver says.
    pub fn wait_for(&self, stream: StreamId) -> Result<()> {
        self.shared.order(stream, self.stream())
    }

    /// What this communicator does next waits for an event of its driver, as it was last recorded.
    ///
    /// # Errors
    /// What the driver says.
    pub fn wait_for_event(&self, event: EventId) -> Result<()> {
        self.shared.wait_for_events(&[event])
    }

    /// What `stream` of this communicator's driver does next waits for all that the communicator has started.
    ///
    /// # Errors
    /// What the driver says.
    pub fn release_to(&self, stream: StreamId) -> Result<()> {
        self.shared.order(self.stream(), stream)
    }

    /// The stream in which this communicator's kernels run.
    pub fn stream(&self) -> StreamId {
        self.shared.stream.id()
    }

    /// What stops this rank's kernels from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller { shared: Arc::clone(&self.shared) }
    }

    /// This rank.
    pub fn rank(&self) -> u32 {
        self.shared.rank
    }

    /// The world.
    pub fn topology(&self) -> Topology {
        self.shared.plan.topology
    }

    /// Layout, launches and tuning.
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// The GPU.
    pub fn device(&self) -> &DriverInfo {
        self.shared.driver.info()
    }

    /// The driver of the GPU.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.shared.driver
    }

    /// The NIC, when the fabric uses one.
    pub fn nic(&self) -> Option<&Arc<dyn Nic>> {
        self.shared.nic.as_ref()
    }

    /// Where this rank's window and private state lie: for debuggers and tests, which read there where every flow stands.
    pub fn places(&self) -> Places {
        Places { window: self.shared.addresses.window, state: self.shared.addresses.state }
    }

    /// What this rank's queue pairs carried.
    ///
    /// # Errors
    /// What the NIC says.
    pub fn traffic(&self) -> Result<Traffic> {
        self.shared.traffic()
    }

    /// What the dispatches of this rank have counted, copied to the host behind everything that the stream holds. A broken
    /// communicator tells what it counted before.
    ///
    /// ```
    /// # #[cfg(feature = "emu")]
    /// # fn main() -> warpferry::Result<()> {
    /// use std::time::Duration;
    /// use half::bf16;
    /// use warpferry::{Dispatch, LoadStatistics, Result, Shape, Topology, World, WorldConfig};
    ///
    /// let config = WorldConfig::new(Topology::new(1, 2)?, Shape::new(64, 4, 2, 1)?);
    /// let mut world = World::emulated(config)?;
    /// let load = world.run(|rank| -> Result<LoadStatistics> {
    ///     let x = rank.tensor(&[bf16::ONE; 64], &[1, 64])?;
    ///     let topk_idx = rank.tensor(&[0, 3], &[1, 2])?;
    ///     rank.dispatch(Dispatch::new(&x, &topk_idx))?.wait(Duration::from_secs(60))?;
    ///     rank.load_statistics()
    /// })?;
    /// let load: Vec<LoadStatistics> = load.into_iter().collect::<Result<_>>()?;
    /// assert_eq!(load[0].sent_pairs, [1, 0, 0, 1]); // for each expert of the world
    /// assert_eq!(load[0].received_pairs, [2, 0]); // for experts 0 and 1, from both ranks
    /// assert_eq!(LoadStatistics::experts(&load)?, [2, 0, 0, 2]);
    /// # world.close()
    /// # }
    /// # #[cfg(not(feature = "emu"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// What the driver says.
    pub fn load_statistics(&self) -> Result<LoadStatistics> {
        self.shared.load_statistics()
    }

    /// The same counters on the device, for a balancer that stays there.
    ///
    /// # Errors
    /// [`crate::Error::Bug`] behind a close.
    pub fn load_tensors(&self) -> Result<LoadTensors> {
        Ok(LoadTensors::new(&self.owner(), &self.shared.state()?, &self.shared.plan))
    }

    /// Sets the counters to zero, in the order of the stream: behind the dispatches so far, before those that follow. Nothing is
    /// awaited. Ranks that reset them behind the same call go on counting the same calls.
    ///
    /// # Errors
    /// What the driver says.
    pub fn reset_load_statistics(&mut self) -> Result<()> {
        self.shared.reset_load_statistics()
    }

    /// Fails with the cause when the communicator is broken.
    ///
    /// # Errors
    /// [`crate::Error::Broken`].
    pub fn check_usable(&self) -> Result<()> {
        self.shared.check_usable()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn owner(&self) -> Owner {
        owner(&self.shared)
    }
}

pub(crate) fn owner(shared: &Shared) -> Owner {
    Owner { communicator: shared.id, driver: Arc::clone(&shared.driver), stream: Arc::clone(&shared.stream) }
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Communicator")
            .field("rank", &self.shared.rank)
            .field("topology", &self.shared.plan.topology)
            .field("device", &self.shared.driver.info().name)
            .finish_non_exhaustive()
    }
}

/// Stops a rank's kernels: used when a rank of the world was lost. The communicator is broken afterwards.
#[derive(Debug, Clone)]
pub struct Canceller {
    shared: Arc<Shared>,
}

impl Canceller {
    /// Tells running and later kernels to leave; they write a status that says so.
    ///
    /// # Errors
    /// What the driver says.
    pub fn cancel(&self) -> Result<()> {
        self.shared.cancel()
    }
}
