//! warpferry moves the tokens of Mixture-of-Experts layers between GPUs.

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
