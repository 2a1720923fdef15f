//! warpferry moves the tokens of Mixture-of-Experts layers between GPUs: *dispatch* sends each token to the ranks of
//! its experts, *combine* brings the results back and sums them.
//!
//! ```text
//! Communicator -> op -> plan (pure) -> exec -> kernel (typed arguments) -> driver -> PTX -> fabric
//! ```
//!
//! A stage never names one to its left. Kernels are PTX; a driver runs them on a GPU, or on the emulator that comes
//! with the library, which executes the same text with the same argument bytes.
//!
//! | to do | see |
//! | --- | --- |
//! | make a world of ranks in this process | [`World`], [`WorldConfig`] |
//! | send and bring back | [`Communicator::dispatch`], [`Communicator::combine`] |
//! | say what | [`Dispatch`], [`Combine`], [`Tensor`] |
//! | wait | [`Pending`] |
//! | choose sizes and settings | [`Shape`], [`Tuning`], [`plan::Roles`] |
//! | see memory and launches beforehand | [`plan::Plan`], printable |
//! | act on failures | [`Error`], [`status::StatusReport`] |
//! | run on other devices, trace calls, make them fail | [`driver::Driver`], [`driver::trace`], [`driver::fault`] |
//! | know exactly what the results are | [`mod@reference`] |

pub mod comm;
pub mod driver;
pub mod error;
mod exec;
pub mod fabric;
pub mod kernel;
pub mod mem;
pub mod op;
pub mod plan;
pub mod reference;
pub mod routing;
pub mod status;
pub mod topology;
pub mod world;

pub use comm::Communicator;
pub use error::{Error, Result};
pub use mem::{DType, Tensor};
pub use op::{Combine, Combined, Dispatch, Dispatched, Handle, Pending};
pub use plan::{Fabric, Shape, Tuning};
pub use topology::Topology;
pub use world::{World, WorldConfig};
