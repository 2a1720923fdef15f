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
//! ```
//! use std::time::Duration;
//! use half::bf16;
//! use warpferry::{Combine, Dispatch, Result, Shape, Topology, World, WorldConfig};
//!
//! # #[cfg(feature = "emu")]
//! # fn main() -> Result<()> {
//! // Two nodes of two GPUs; rows of 64 elements, 8 experts, two for each token, at most 4 tokens a rank.
//! let config = WorldConfig::new(Topology::new(2, 2)?, Shape::new(64, 8, 2, 4)?);
//! let mut world = World::emulated(config)?;
//! let sums = world.run(|rank| -> Result<Vec<bf16>> {
//!     let x = rank.tensor(&[bf16::ONE; 64], &[1, 64])?;
//!     let topk_idx = rank.tensor(&[0, 6], &[1, 2])?; // experts of ranks 0 and 3
//!     let rows = rank.dispatch(Dispatch::new(&x, &topk_idx))?.wait(Duration::from_secs(60))?;
//!     // The experts would compute on rows.x here.
//!     let out = rank.combine(Combine::new(&rows.x, &rows.handle))?.wait(Duration::from_secs(60))?;
//!     out.x.to_vec()
//! })?;
//! for sum in sums {
//!     assert_eq!(sum?, vec![bf16::from_f32(2.0); 64]);
//! }
//! world.close()
//! # }
//! # #[cfg(not(feature = "emu"))]
//! # fn main() {}
//! ```
//!
//! | to do | see |
//! | --- | --- |
//! | make a world of ranks in this process | [`World`], [`WorldConfig`] |
//! | send and bring back | [`Communicator::dispatch`], [`Communicator::combine`] |
//! | say what | [`Dispatch`], [`Combine`], [`Tensor`] |
//! | wait | [`Pending`] |
//! | run a step as one launch, again and again | [`Step`], [`Communicator::capture`], [`Communicator::replay`] |
//! | choose sizes and settings | [`Shape`], [`Tuning`], [`plan::Roles`] |
//! | have settings chosen, and look up what was | [`tune`], [`WorldConfig::stored`] |
//! | see memory and launches beforehand | [`plan::Plan`], printable |
//! | act on failures | [`Error`], [`status::StatusReport`] |
//! | know how experts and ranks are loaded | [`Communicator::load_statistics`], [`load`]; [`gate`] before a run |
//! | measure operations and compare measurements | [`mod@bench`] |
//! | run on other devices, trace calls, make them fail | [`driver::Driver`], [`driver::trace`], [`driver::fault`] |
//! | bring a context, streams and memory of your own (feature `cuda`) | `warpferry::interop` |
//! | choose types and order of rows | [`Payload`], [`Sum`], [`plan::Quantization`], [`plan::OutputLayout`] |
//! | know exactly what the results are | [`mod@reference`] |

// The build writes tables of kernels that name this crate, for this crate and for tests.
extern crate self as warpferry;

pub mod bench;
pub mod comm;
pub mod driver;
pub mod error;
mod exec;
pub mod fabric;
pub mod gate;
pub mod graph;
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
pub mod interop;
pub mod kernel;
pub mod load;
#[cfg(feature = "emu")]
pub mod machine;
pub mod mem;
#[cfg(feature = "emu")]
pub mod model;
pub mod op;
pub mod plan;
mod random;
pub mod reference;
pub mod routing;
pub mod status;
pub mod topology;
pub mod tune;
pub mod world;

pub use comm::Communicator;
pub use error::{Error, Result};
pub use graph::{Graph, Replayed, Step};
pub use load::{LoadStatistics, LoadTensors};
pub use mem::{DType, Tensor};
pub use op::{Combine, Combined, Dispatch, Dispatched, Handle, Pending};
pub use plan::{Fabric, Payload, Shape, Sum, Tuning};
pub use topology::Topology;
pub use world::{World, WorldConfig};

/// README's example is a test.
#[cfg(all(doctest, feature = "emu"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// So are those of the features.
#[cfg(doctest)]
#[doc = include_str!("../docs/features.md")]
struct Features;
