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
//! Times come from events of the driver ([`Driver::elapsed_ns`](crate::driver::Driver::elapsed_ns)), so a GPU and the emulator
//! are timed by the same code. What the emulator's time is of, if of anything, each record says ([`Place::times`]).

mod bed;
pub mod calls;
pub mod compare;
pub mod expected;
mod figures;
mod marks;
mod record;
pub mod rows;
mod run;
pub mod traffic;
mod workload;

pub use bed::Bed;
pub use figures::{median, Figures, Samples};
pub use marks::Marks;
pub use record::{times_of, Place, Record, SettingKey, WorkloadKey};
pub use run::{run, Runs};
pub use workload::{logical_copies, payload_bytes, Moved, OpMoved, PathMoved, Source, Workload};
