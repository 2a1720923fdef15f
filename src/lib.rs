//! warpferry moves the tokens of Mixture-of-Experts layers between GPUs.

pub mod error;
pub mod kernel;
pub mod plan;
pub mod reference;
pub mod routing;
pub mod status;
pub mod topology;

pub use error::{Error, Result};
pub use topology::Topology;
