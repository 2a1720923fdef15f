//! The table of kernels that the build embeds.

use super::image::KernelImage;
use crate::error::{Error, Result};

/// Every variant of every kernel.
pub static KERNELS: &[KernelImage] = include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The variant called `name`.
///
/// # Errors
/// [`Error::Unsupported`] naming the kernel and those that this build has.
pub fn find(name: &str) -> Result<&'static KernelImage> {
    KERNELS.iter().find(|image| image.name == name).ok_or_else(|| Error::Unsupported {
        need: format!("kernel {name}"),
        have: match KERNELS {
            [] => "a build without kernels".to_string(),
            all => all.iter().map(|image| image.name).collect::<Vec<_>>().join(", "),
        },
    })
}
