//! Kernels as the host sees them: embedded images and typed arguments.

pub mod image;
mod table;

pub use image::{ArgType, KernelArg, KernelImage, PointerContract, Reach};
pub use table::{image, KERNELS};
