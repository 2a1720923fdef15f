//! Served NICs: the mlx5 device model, played by a thread of the host for GPUs that have no NIC to drive.
//!
//! ```text
//! kernel: entry, record, doorbell -> host-mapped memory
//!    -> serving thread: the model (crate warpferry_nic) fetches and checks the entry
//!    -> stream of the driver: copy, word, last word of the completion entry -> kernel
//! ```
//!
//! Kernels write the same work-queue entries, byte for byte, as for a device on the bus; only the place of queue memory
//! differs ([`QueuePlace::Host`]). So the whole protocol between nodes runs on the GPUs of one process, or on one GPU,
//! with any [`Driver`] whose calls may come from any thread and whose [`Driver::write_word`] reaches host-mapped memory
//! by its device address. (The emulated cluster has NICs of its own; it refuses waits of a thread that is no rank.)
//!
//! Limits:
//! - It is for correctness, not for speed. A write takes tens of microseconds: the thread notices a doorbell, then the
//!   driver starts a copy. One thread serves all NICs of a network.
//! - A fetch-and-add is atomic among the NICs of one network only. The thread keeps the value of each word that NICs
//!   advance; a store to such a word by a kernel or by the host is lost at the next add. In this protocol only NICs ever
//!   advance these words. What is known of a window's words is forgotten when it is registered or deregistered.
//! - Writes of one queue pair are placed in order, unlike on a device that spreads them over paths.
//! - A driver may carry out a copy within one GPU by a kernel of its own. While kernels of this crate wait for such a
//!   copy, an SM must be free for it: give the kernels fewer SMs than the GPU has.
//!
//! A driver call that fails becomes a memory fault of the model: the queue pair goes to error, with an error completion
//! if one can still be written. The first error of each NIC is kept, told once as a warning, and comes back from
//! [`Nic::counters`] and [`ServedNetwork::fault`]. A NIC whose doorbells cannot be read is not looked at again.

mod bus;
mod doorbells;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use warpferry_nic as nic;

use self::bus::{Home, Port, Ports};
use self::doorbells::Doorbells;
use super::{failed, Nic, NicCounters, Queue, QueueAddress, QueueMemory, QueuePlace, WindowKeys};
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::mem::DevicePtr;

/// The first failed driver call of a served NIC.
#[derive(Debug, Clone)]
pub struct ServedFault {
    /// The NIC: the position of its driver.
    pub nic: usize,
    /// What the driver said.
    pub error: Error,
}

/// NICs in one network, served by a thread. Clones are the same network; it ends with its last clone and NIC.
#[derive(Debug, Clone)]
pub struct ServedNetwork {
    server: Arc<Server>,
}

impl ServedNetwork {
    /// A network with one NIC for each driver, in order; a driver may be there more than once.
    ///
    /// # Errors
    /// [`Error::Argument`] without drivers; what a driver says of a new stream; [`Error::Driver`] when the host has no
    /// thread to give.
    pub fn new(drivers: &[Arc<dyn Driver>]) -> Result<ServedNetwork> {
        if drivers.is_empty() {
            return Err(Error::argument("drivers", "none", "one for each NIC"));
        }
        // In order, and each write whole: a piece of a write is one copy.
        let config = nic::NetworkConfig { max_write_piece_bytes: u32::MAX, ..nic::NetworkConfig::default() };
        let mut network = nic::Network::new(config).map_err(failed("network"))?;
        for _ in drivers {
            network.add_nic().map_err(failed("network"))?;
        }
        let ports = drivers.iter().map(Port::new).collect::<Result<Vec<_>>>()?;
        let state = State {
            network,
            ports: Ports::new(ports),
            doorbells: drivers.iter().map(|_| Doorbells::default()).collect(),
            windows: HashMap::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wanted: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            start: Instant::now(),
        });
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("warpferry-nic".to_string())
            .spawn(move || thread::serve(&served))
            .map_err(|error| Error::Driver { call: "spawn", message: error.to_string() })?;
        Ok(ServedNetwork { server: Arc::new(Server { shared, nics: drivers.len(), thread: Some(thread) }) })
    }

    /// The NICs, in the order of the drivers.
    pub fn nics(&self) -> Vec<Arc<dyn Nic>> {
        let nic = |nic| Arc::new(ServedNic { server: Arc::clone(&self.server), nic }) as Arc<dyn Nic>;
        (0..self.server.nics).map(nic).collect()
    }

    /// Gives the model to `act`, while the thread waits: planned faults, delays, failures, violations. A tick of the
    /// model's time is a nanosecond.
    pub fn with<T>(&self, act: impl FnOnce(&mut nic::Network) -> T) -> T {
        act(&mut self.server.shared.lock().network)
    }

    /// The first failed driver call of the first NIC that has one.
    pub fn fault(&self) -> Option<ServedFault> {
        let state = self.server.shared.lock();
        let mut ports = state.ports.ports.iter().enumerate();
        ports.find_map(|(nic, port)| port.fault.clone().map(|error| ServedFault { nic, error }))
    }
}

/// All that the thread and the handles share.
struct State {
    network: nic::Network,
    ports: Ports,
    doorbells: Vec<Doorbells>,
    /// Address and size of registered windows, by local key.
    windows: HashMap<u32, (u64, u64)>,
}

struct Shared {
    state: Mutex<State>,
    /// Handles that want the state: the thread lets them go first.
    wanted: AtomicUsize,
    stop: AtomicBool,
    start: Instant,
}

impl Shared {
    /// For handles. A thread that takes the lock again and again would keep them from it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.wanted.fetch_add(1, Ordering::AcqRel);
        let state = self.lock_state();
        self.wanted.fetch_sub(1, Ordering::AcqRel);
        state
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        // A caller's `act` that panics leaves the model between two steps, as sound as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the thread.
    fn give_way(&self) {
        while self.wanted.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
    }
}

/// Ends the thread when the last handle goes; the thread itself holds none.
struct Server {
    shared: Arc<Shared>,
    nics: usize,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("nics", &self.nics).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the thread of served NICs ended with a panic");
        }
    }
}

/// One NIC of a network.
#[derive(Debug)]
struct ServedNic {
    server: Arc<Server>,
    nic: usize,
}

/// The host block of queue memory, when all of it lies there.
fn host_home(nic: usize, memory: &QueueMemory) -> Result<Home> {
    let host = memory.host.ok_or_else(|| Error::argument("memory.host", "none", "the block that holds the queue"))?;
    let home = Home { nic, host };
    let parts = [
        ("memory.send_queue", memory.send_queue, u64::from(memory.entries) * nic::wqe::BLOCK_BYTES as u64),
        ("memory.record", memory.record, 8),
        ("memory.completion", memory.completion, nic::cqe::ENTRY_BYTES as u64),
    ];
    for (name, start, bytes) in parts {
        if home.offset(start.address(), bytes).is_none() {
            return Err(Error::argument(
                name,
                format!("{bytes} bytes at {start}"),
                format!("inside the host block of {} bytes at {}", host.bytes, host.device),
            ));
        }
    }
    Ok(home)
}

impl ServedNic {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.server.shared.lock()
    }

    /// The state, unless nobody looks at this NIC's doorbells any more.
    fn lock_alive(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        let port = &state.ports.ports[self.nic];
        match &port.fault {
            Some(error) if port.dead => Err(error.clone()),
            _ => Ok(state),
        }
    }
}

impl Nic for ServedNic {
    fn queue_place(&self) -> QueuePlace {
        QueuePlace::Host
    }

    fn register(&self, window: DevicePtr, bytes: u64) -> Result<WindowKeys> {
        let rights =
            nic::Rights { local_write: true, remote_write: true, remote_atomic: true, ..nic::Rights::default() };
        let mut state = self.lock_alive()?;
        let id = nic::NicId(self.nic as u32);
        let region = state.network.register(id, window.address(), bytes, rights).map_err(failed("register"))?;
        state.ports.forget(window.address(), bytes);
        state.windows.insert(region.lkey, (window.address(), bytes));
        Ok(WindowKeys { local: region.lkey, remote: region.rkey })
    }

    fn deregister(&self, keys: WindowKeys) -> Result<()> {
        let settles: Vec<_> = {
            let mut state = self.lock();
            let region = nic::MemoryRegion { lkey: keys.local, rkey: keys.remote };
            state.network.deregister(region).map_err(failed("deregister"))?;
            if let Some((address, bytes)) = state.windows.remove(&keys.local) {
                state.ports.forget(address, bytes);
            }
            state.ports.ports.iter().map(Port::settle).collect()
        };
        // Peers write to the window in streams of their own; afterwards its memory may be freed.
        settles.iter().try_for_each(|settle| settle.wait("deregister"))
    }

    fn create_queue(&self, memory: &QueueMemory) -> Result<Queue> {
        let home = host_home(self.nic, memory)?;
        let config = nic::QueueConfig::collapsed(
            memory.send_queue.address(),
            memory.entries,
            memory.record.address(),
            memory.completion.address(),
        );
        let mut state = self.lock_alive()?;
        let state = &mut *state;
        let doorbells = &mut state.doorbells[self.nic];
        doorbells.reserve(&state.ports.ports[self.nic].driver)?;
        let id = nic::NicId(self.nic as u32);
        let pair = state.network.create_queue_pair(id, config).map_err(failed("create_queue"))?;
        let number = pair.number.0;
        let doorbell = doorbells
            .assign(number)
            .ok_or_else(|| Error::Bug("no doorbell line after one was reserved".to_string()))?;
        state.ports.homes.insert(number, home);
        Ok(Queue { number, doorbell })
    }

    fn destroy_queue(&self, number: u32) -> Result<()> {
        let settle = {
            let mut state = self.lock();
            let state = &mut *state;
            state.network.destroy_queue_pair(nic::QueuePairNumber(number)).map_err(failed("destroy_queue"))?;
            state.ports.homes.remove(&number);
            let port = &state.ports.ports[self.nic];
            state.doorbells[self.nic].release(&port.driver, number)?;
            port.settle()
        };
        // Completion entries come in the stream; afterwards their memory may be freed.
        settle.wait("destroy_queue")
    }

    fn address(&self, number: u32) -> QueueAddress {
        QueueAddress { nic: self.nic as u64, number }
    }

    fn connect(&self, number: u32, peer: QueueAddress) -> Result<()> {
        let mut state = self.lock();
        let found = state.ports.homes.get(&peer.number).map(|home| home.nic as u64);
        if found != Some(peer.nic) {
            return Err(Error::argument(
                "peer",
                format!("queue pair {:#x} of NIC {}", peer.number, peer.nic),
                "a queue pair of this network, at its NIC",
            ));
        }
        // The model connects both ends at once: the first end that asks does it.
        let (own, peer) = (nic::QueuePairNumber(number), nic::QueuePairNumber(peer.number));
        match state.network.state(own).map_err(failed("connect"))? {
            nic::QueueState::Reset => state.network.connect(own, peer).map_err(failed("connect")),
            _ => Ok(()),
        }
    }

    fn counters(&self) -> Result<NicCounters> {
        let state = self.lock();
        if let Some(error) = &state.ports.ports[self.nic].fault {
            return Err(error.clone());
        }
        let counters = state.network.nic_counters(nic::NicId(self.nic as u32)).map_err(failed("counters"))?;
        Ok(counters.into())
    }

    fn queue_counters(&self, number: u32) -> Result<NicCounters> {
        let counters = self.lock().network.counters(nic::QueuePairNumber(number)).map_err(failed("queue_counters"))?;
        Ok(counters.into())
    }
}
