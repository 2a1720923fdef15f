//! The NIC side: what the host sets up so that kernels can drive queue pairs themselves.
//!
//! A kernel writes work-queue entries, doorbell records and doorbells; the host only registers windows, makes queue
//! pairs in device memory and connects them.

mod device;
#[cfg(feature = "emu")]
pub mod emu;
#[cfg(any(feature = "cuda", feature = "emu"))]
pub mod served;

pub use device::Device;

use std::fmt;

use crate::error::Result;
use crate::mem::{DevicePtr, HostBlock};

/// Keys of a registered window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowKeys {
    /// Names the window in own work requests.
    pub local: u32,
    /// Names the window in work requests of peers.
    pub remote: u32,
}

/// Where the memory of queue pairs must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuePlace {
    /// In device memory: the NIC reaches it over the bus.
    Device,
    /// In host-mapped memory: a host thread plays the NIC.
    Host,
}

/// Memory of a queue pair: where [`Nic::queue_place`] wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueMemory {
    /// The host block that holds it all, when it lies on the host.
    pub host: Option<HostBlock>,
    /// Send queue, aligned to 64 bytes.
    pub send_queue: DevicePtr,
    /// Its entries of 64 bytes, a power of two.
    pub entries: u32,
    /// Doorbell record of 8 bytes; its second half is the send counter.
    pub record: DevicePtr,
    /// Collapsed completion entry of 64 bytes.
    pub completion: DevicePtr,
}

/// A queue pair as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Its number, which doorbells and entries carry.
    pub number: u32,
    /// Where the GPU stores doorbells.
    pub doorbell: DevicePtr,
}

/// What a peer needs to connect to a queue pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueAddress {
    /// The NIC.
    pub nic: u64,
    /// The queue pair.
    pub number: u32,
}

/// What a NIC counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NicCounters {
    /// RDMA writes.
    pub writes: u64,
    /// Bytes that RDMA writes carried.
    pub write_bytes: u64,
    /// Writes whose payload lay in the entry.
    pub inline_writes: u64,
    /// Fetch-and-adds.
    pub atomics: u64,
    /// Doorbells.
    pub doorbells: u64,
    /// Completions, errors included.
    pub completions: u64,
    /// Completions in error.
    pub errors: u64,
}

impl NicCounters {
    /// Adds what another counted.
    pub fn add(&mut self, other: &NicCounters) {
        self.writes += other.writes;
        self.write_bytes += other.write_bytes;
        self.inline_writes += other.inline_writes;
        self.atomics += other.atomics;
        self.doorbells += other.doorbells;
        self.completions += other.completions;
        self.errors += other.errors;
    }
}

#[cfg(any(feature = "cuda", feature = "emu"))]
impl From<warpferry_nic::Counters> for NicCounters {
    fn from(counters: warpferry_nic::Counters) -> NicCounters {
        NicCounters {
            writes: counters.writes,
            write_bytes: counters.write_bytes,
            inline_writes: counters.inline_writes,
            atomics: counters.atomics,
            doorbells: counters.doorbells,
            completions: counters.completions,
            errors: counters.errors,
        }
    }
}

/// What the device model refuses, as an error of `call`.
#[cfg(any(feature = "cuda", feature = "emu"))]
fn failed(call: &'static str) -> impl Fn(warpferry_nic::ConfigError) -> crate::error::Error {
    move |error| crate::error::Error::Driver { call, message: error.to_string() }
}

/// One NIC, used by one rank.
pub trait Nic: Send + Sync + fmt::Debug {
    /// Where the memory of queue pairs must lie.
    fn queue_place(&self) -> QueuePlace {
        QueuePlace::Device
    }

    /// Lets own queue pairs read and write the window, and those of peers write and add to it.
    fn register(&self, window: DevicePtr, bytes: u64) -> Result<WindowKeys>;

    /// Takes the window out again.
    fn deregister(&self, keys: WindowKeys) -> Result<()>;

    /// A queue pair over `memory`; its completion entry was set to "none yet" by the caller.
    fn create_queue(&self, memory: &QueueMemory) -> Result<Queue>;

    /// Ends a queue pair.
    fn destroy_queue(&self, number: u32) -> Result<()>;

    /// What a peer needs to connect to queue pair `number`.
    fn address(&self, number: u32) -> QueueAddress;

    /// Connects own queue pair `number` to a peer's. Both ends call it.
    fn connect(&self, number: u32, peer: QueueAddress) -> Result<()>;

    /// What was counted since the NIC was there.
    fn counters(&self) -> Result<NicCounters>;

    /// What one queue pair counted.
    fn queue_counters(&self, number: u32) -> Result<NicCounters>;
}
