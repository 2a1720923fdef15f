//! What a GPU gives a plan, and whether that is enough.

use super::Plan;
use crate::error::{Error, Result};

/// Limits of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Name of the GPU, for messages.
    pub name: String,
    /// SMs.
    pub sms: u32,
    /// Most shared memory of a CTA in bytes.
    pub shared_bytes: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
}

impl Plan {
    /// Checks SMs, shared memory and device memory against those of a GPU.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the setting that asks for too much; [`Error::Unsupported`] when memory does not suffice.
    pub fn check_limits(&self, limits: &Limits) -> Result<()> {
        let gpu = &limits.name;
        for (name, sms) in [("dispatch_sms", self.dispatch.sms), ("combine_sms", self.combine.sms)] {
            if sms > limits.sms {
                return Err(Error::argument(name, sms, format!("at most {}, the SMs of {gpu}", limits.sms)));
            }
        }
        let shared = self.dispatch.shared_bytes.max(self.combine.shared_bytes);
        if shared > limits.shared_bytes {
            let have = limits.shared_bytes;
            let valid = format!("less: {gpu} gives a CTA {have} bytes of shared memory, the plan needs {shared}");
            return Err(Error::argument("stage_bytes", self.tuning.stage_bytes, valid));
        }
        let need = self.memory_bytes();
        if need.bytes() > limits.memory_bytes {
            return Err(Error::Unsupported {
                need: format!("{} bytes of device memory ({need})", need.bytes()),
                have: format!("{} of {gpu}", limits.memory_bytes),
            });
        }
        Ok(())
    }
}
