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

mod barrier;
mod bus;
mod choice;
mod collective;
mod config;
mod copies;
mod door;
mod error;
mod exec;
mod isa;
mod lanes;
mod launch;
mod machine;
mod mbarrier;
mod memory;
mod observe;
mod park;
mod program;
mod report;
mod run;
mod stall;
mod statistics;
mod stream;
mod visibility;
mod warp;

pub use config::{Checks, ConfigError, GpuConfig, Limits, MachineConfig, Schedule, Stall};
pub use error::{Fault, FaultKind, HiddenStore, LoadError, Location, MachineError, Thread};
pub use launch::{EntryInfo, EventId, Launch, LaunchId, ModuleId, Param, RunOutcome, StreamId, TransferId};
pub use machine::{Machine, DOORBELL_PAGE_BYTES};
pub use memory::{AccessRule, LOCAL_WINDOW, SHARED_WINDOW};
pub use observe::{AccessKind, Event, Observer, WarpId};
pub use stall::{StallCause, StallReport, Wait, WaitReason, WatchedWord};
pub use statistics::{GpuStatistics, Statistics};
