//! Kernels as the host sees them: embedded images and typed arguments.

pub mod args;
#[cfg(test)]
pub(crate) mod hollow;
pub mod image;
pub mod launch;
mod table;

pub use args::Args;
pub use image::{ArgType, KernelArg, KernelImage, PointerContract, Reach};
pub use table::{find, KERNELS};
