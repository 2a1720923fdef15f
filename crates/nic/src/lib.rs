//! A model of an mlx5 RDMA device: queue pairs, memory keys, completions, faults.
//!
//! ```text
//! kernel: entries, doorbell record, doorbell          Network::doorbell
//!    -> fetch (record, then one entry, at that time)  Network::step
//!    -> place a piece of a write | execute an atomic  Network::step
//!    -> retire in order, completion entry             Network::step
//! ```
//!
//! | word | here |
//! | --- | --- |
//! | NIC | [`NicId`]; reaches memory through [`Bus`] only |
//! | entry, work request | [`wqe`]: the bytes in a send queue, 64-byte basic blocks |
//! | completion entry | [`cqe`]: 64 bytes, into a ring or always into entry 0 |
//! | key | [`MemoryRegion`]: a local and a remote key over registered memory |
//! | failure | what a real device reports with an error completion: [`Failure`] |
//! | violation | what a real device would not report, or not so clearly: [`Violation`] |
//!
//! A [`Network`] is deterministic: given the same calls, memory and answers of [`Choose`], it does
//! the same. It has no thread, no clock and no randomness of its own.
//!
//! ```
//! use warpferry_nic::{FlatBus, Network, NetworkConfig, Plain, QueueConfig, Rights};
//! use warpferry_nic::wqe::{self, Control, DataSegment, Remote};
//!
//! let mut bus = FlatBus::new(0x1000, 0x4000);
//! let mut network = Network::new(NetworkConfig::default())?;
//! let (here, there) = (network.add_nic()?, network.add_nic()?);
//! let source = network.register(here, 0x4000, 64, Rights::default())?;
//! let target = network.register(there, 0x4100, 64, Rights::remote())?;
//! let queue = |at: u64| QueueConfig::collapsed(at, 16, at + 0x400, at + 0x440);
//! let a = network.create_queue_pair(here, queue(0x1000))?;
//! let b = network.create_queue_pair(there, queue(0x2000))?;
//! network.connect(a.number, b.number)?;
//!
//! bus.bytes_mut(0x4000, 4).copy_from_slice(b"warp");
//! let control = Control::new(a.number, 0).signaled();
//! let entry = wqe::rdma_write(
//!     control,
//!     Remote { address: 0x4100, rkey: target.rkey },
//!     &[DataSegment { bytes: 4, lkey: source.lkey, address: 0x4000 }],
//! );
//! bus.bytes_mut(0x1000, 64).copy_from_slice(&entry);
//! bus.bytes_mut(0x1404, 4).copy_from_slice(&1u32.to_be_bytes());
//! network.doorbell(here, wqe::doorbell_value(&entry));
//! while network.ready() > 0 {
//!     network.step(&mut bus, &mut Plain);
//! }
//! assert_eq!(bus.bytes(0x4100, 4), b"warp");
//! # Ok::<(), warpferry_nic::ConfigError>(())
//! ```
//!
//! What the model does not show: time (a caller may give delays), bandwidth, congestion, lost
//! packets that a retry repairs, path migration, shared receive queues, datagrams and sends.

mod acts;
mod bus;
mod config;
mod counters;
pub mod cqe;
mod error;
mod execute;
mod fault;
mod fetch;
mod network;
mod queue;
mod region;
mod retire;
pub mod wqe;

pub use acts::{Posted, Ready};
pub use bus::{Agent, Bus, BusFault, BusFaultReason, Choose, FlatBus, Plain, Purpose};
pub use config::{NetworkConfig, NicId, Ordering, QueueConfig, QueuePair, QueuePairNumber, Rights};
pub use counters::Counters;
pub use error::{Cause, ConfigError, Failure, Violation};
pub use execute::{Act, Event, StepOutcome};
pub use fault::{Fault, FaultAction, FaultMatch, FaultPlan, FiredFault};
pub use network::Network;
pub use queue::QueueState;
pub use region::MemoryRegion;
