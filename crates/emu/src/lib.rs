//! A deterministic emulator of GPUs, NVLink windows and NICs that runs PTX text.
//!
//! ```text
//! Machine: nodes x GPUs -> streams -> launches -> CTAs -> warps -> lanes with a PC each
//!    memory: one address space of regions over storages, peer aliases, host memory, doorbell pages
//!    agents: warps, bulk copies, NICs; one scheduler, one choice source
//! ```
//!
//! The host allocates memory, loads modules, puts launches into streams, and calls [`Machine::run`] until what it
//! waits for has happened. Everything is deterministic: the same calls with the same schedule give the same result.

mod choice;
mod config;
mod error;
mod launch;
mod isa;
mod memory;
mod program;
mod stall;

pub use config::{Checks, ConfigError, GpuConfig, Limits, MachineConfig, Schedule, Stall};
pub use error::{Fault, FaultKind, LoadError, Location, MachineError, Thread};
pub use launch::{EntryInfo, EventId, Launch, LaunchId, ModuleId, Param, RunOutcome, StreamId, TransferId};
pub use memory::{AccessRule, LOCAL_WINDOW, SHARED_WINDOW};
pub use stall::{StallCause, StallReport, Wait, WaitReason, WatchedWord};
