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
//!
//! | word | here |
//! | --- | --- |
//! | machine | [`Machine`], made from a [`MachineConfig`]; one address space, one clock, one choice source |
//! | schedule | [`Schedule`]: round robin, drawn from a seed, or recorded choices replayed |
//! | fault | [`Fault`]: what a thread did wrong, with file, line and place; it stays for its GPU |
//! | stall | [`StallReport`]: what every warp waits for when nothing can move |
//! | contract | [`AccessRule`]s of a [`Launch`]: what a kernel may touch |
//!
//! ```
//! use warpferry_emu::{Launch, Machine, MachineConfig, StreamId};
//!
//! let text = "
//!     .version 8.2
//!     .target sm_90
//!     .address_size 64
//!     .visible .entry square(.param .u64 arg_out) {
//!         .reg .u64 out; .reg .u32 thread, product;
//!         ld.param.u64 out, [arg_out];
//!         mov.u32 thread, %tid.x;
//!         mul.lo.u32 product, thread, thread;
//!         mad.wide.u32 out, thread, 4, out;
//!         st.global.u32 [out], product;
//!         ret;
//!     }";
//! let mut machine = Machine::new(MachineConfig::new(1, 1))?;
//! let module = machine.load_module("square.ptx", text)?;
//! let out = machine.alloc(0, 64 * 4)?;
//! machine.launch(Launch {
//!     gpu: 0,
//!     stream: StreamId::DEFAULT,
//!     module,
//!     entry: "square".to_string(),
//!     grid: [1, 1, 1],
//!     block: [64, 1, 1],
//!     shared_bytes: 0,
//!     args: out.to_le_bytes().to_vec(),
//!     access: Vec::new(),
//! })?;
//! machine.run_until_idle()?;
//! let mut word = [0; 4];
//! machine.read(out + 7 * 4, &mut word)?;
//! assert_eq!(u32::from_le_bytes(word), 49);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it does not show: memory is sequentially consistent, so a fence or order that is missing between GPUs changes
//! nothing here, unless races are checked (see [`Checks`]) or memory is explored (see [`MemoryOrder`]); approximate
//! functions give the nearest result; time is not that of any device, unless its parts have times ([`Timing`]).

mod account;
mod async_copy;
mod atomic;
mod barrier;
mod bus;
mod capture;
mod choice;
mod cluster;
mod collective;
mod config;
mod copies;
mod coverage;
mod door;
mod error;
mod exec;
mod explore;
mod isa;
mod lanes;
mod launch;
mod live;
mod machine;
mod matrix;
mod mbarrier;
mod memory;
mod multiply;
mod observe;
mod park;
mod pct;
mod program;
mod race;
mod report;
mod run;
mod run_in_time;
mod stall;
mod statistics;
mod stream;
mod target;
mod time;
mod video;
mod visibility;
mod warp;
mod weak;

pub use account::{LaunchAccount, WarpAccount};
pub use capture::CaptureError;
pub use config::{Checks, ConfigError, GpuConfig, Hosts, Limits, MachineConfig, MemoryOrder, NicTurn, Schedule, Stall};
pub use coverage::Covered;
pub use error::{Fault, FaultKind, HiddenStore, LoadError, Location, MachineError, Thread};
pub use explore::Exploration;
pub use launch::{EntryInfo, EventId, GraphId, Launch, LaunchId, ModuleId, Param, RunOutcome, StreamId, TransferId};
pub use live::Slice;
pub use machine::{Machine, DOORBELL_PAGE_BYTES};
pub use memory::{AccessRule, SharedBytes, LOCAL_WINDOW, SHARED_WINDOW};
pub use observe::{AccessKind, Event, Observer, WarpId};
pub use race::{RaceAccess, RacePlace, RaceReport};
pub use stall::{StallCause, StallReport, Wait, WaitReason, WatchedWord};
pub use statistics::{GpuStatistics, Statistics};
pub use time::{GpuTiming, LinkTiming, NicTiming, Timing, Work};
