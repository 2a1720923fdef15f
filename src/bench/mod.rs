//! Benches of operations: what is moved, how long it takes, and whether that differs from another time.
//!
//! ```text
//! Workload -> choices -> Bed (a world with marks) -> run -> Samples, Moved -> Figures -> Record -> compare
//! ```
//!
//! | to do | see |
//! | --- | --- |
//! | say what is moved | [`Workload`], [`Source`] |
//! | run it and take the times | [`Bed`], [`run()`], [`Runs`] |
//! | know the bytes without a run | [`Moved`] |
//! | read the figures, and what each means | [`Figures`] |
//! | keep and compare them | [`Record`], [`mod@compare`] |
//! | make inputs and check results by the reference | [`rows`], [`calls`], [`expected`], [`traffic`] |
//!
//! ```
//! # #[cfg(feature = "emu")]
//! # fn main() -> warpferry::Result<()> {
//! use warpferry::bench::{run, Bed, Runs, Source, Workload};
//! use warpferry::gate::Gate;
//! use warpferry::{Shape, Topology, WorldConfig};
//!
//! let (topology, shape) = (Topology::new(1, 2)?, Shape::new(64, 8, 2, 16)?);
//! let workload = Workload { topology, shape, tokens: 16, source: Source::Drawn(Gate::Uniform), seed: 1 };
//! let mut bed = Bed::emulated(&WorldConfig::new(topology, shape))?;
//! let record = run(&mut bed, &workload, &Runs::default(), ("emulated cluster", None), &|_| {})?;
//! assert!(record.figures.dispatch_us > 0.0); // here of the emulator's clock, not of a device
//! bed.close()
//! # }
//! # #[cfg(not(feature = "emu"))]
//! # fn main() {}
//! ```
//!
//! Times come from events of the driver ([`Driver::elapsed_ns`](crate::driver::Driver::elapsed_ns)), so a GPU and the emulator
//! are timed by the same code. What the emulator's time is of, if of anything, each record says ([`Place::times`]).

mod bed;
pub mod calls;
pub mod compare;
pub mod expected;
mod figures;
mod key;
mod marks;
mod record;
pub mod rows;
mod run;
pub mod traffic;
mod workload;

pub use bed::Bed;
pub use figures::{median, Figures, Samples};
pub(crate) use key::differing;
pub use key::{SettingKey, WorkloadClass, WorkloadKey};
pub use marks::Marks;
pub use record::{times_of, Place, Record};
pub use run::{run, Runs};
#[cfg(feature = "emu")]
pub(crate) use run::{run_samples, verify_samples};
pub use workload::{logical_copies, payload_bytes, Moved, OpMoved, PathMoved, Source, Workload};
