//! Windows of ranks of one process: plain device memory, reached by peer access between GPUs.
//!
//! A handle names the process, the context and the address. Windows of other processes are not mapped yet.

use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::api;
use super::context::{peer_of, Context};
use crate::error::{Error, Result};
use crate::mem::{DevicePtr, WindowHandle};

/// What a handle starts with.
const MAGIC: [u8; 8] = *b"wf-cuda1";

/// A number that no other process has at this time.
fn process() -> u64 {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    *PROCESS.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (now.as_nanos() as u64) ^ u64::from(std::process::id()).rotate_left(40)
    })
}

/// What lets other contexts of this process reach the allocation at `ptr`.
pub(super) fn export(context: &Arc<Context>, ptr: DevicePtr) -> Result<WindowHandle> {
    if context.size(ptr.address()).is_none() {
        return Err(Error::Driver { call: "export_window", message: format!("{ptr} is no allocation") });
    }
    let words = [u64::from_le_bytes(MAGIC), process(), context.raw() as u64, ptr.address()];
    let mut bytes = [0; 64];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Ok(WindowHandle(bytes))
}

/// The window as this context reaches it.
pub(super) fn import(context: &Arc<Context>, handle: &WindowHandle) -> Result<DevicePtr> {
    let words: Vec<u64> =
        handle.0.chunks_exact(8).map(|word| u64::from_le_bytes(*word.first_chunk().expect("chunks of 8"))).collect();
    if words[0] != u64::from_le_bytes(MAGIC) {
        return Err(Error::argument("window", format!("{handle:?}"), "a window of a CUDA driver"));
    }
    if words[1] != process() {
        return Err(Error::Unsupported {
            need: "a window of another process".into(),
            have: "windows within one process only".into(),
        });
    }
    let address = DevicePtr::new(words[3]);
    if words[2] == context.raw() as u64 {
        return Ok(address);
    }
    let peer = peer_of(words[2]).ok_or_else(|| {
        Error::argument("window", format!("{handle:?}"), "a window of a communicator that is still there")
    })?;
    reach(context, &peer)?;
    Ok(address)
}

/// Lets `context` reach all memory of `peer`.
pub(super) fn reach(context: &Arc<Context>, peer: &Arc<Context>) -> Result<()> {
    let mut can = 0;
    context.with(|api| {
        // SAFETY: one integer is written.
        let code = unsafe { (api.cuDeviceCanAccessPeer)(&mut can, context.device(), peer.device()) };
        api.check("cuDeviceCanAccessPeer", code)
    })?;
    let (own, other) = (&context.facts, &peer.facts);
    if can == 0 && context.device() != peer.device() {
        return Err(Error::Unsupported {
            need: format!(
                "peer access from GPU {} ({}) to GPU {} ({})",
                own.ordinal, own.name, other.ordinal, other.name
            ),
            have: "none: no NVLink, and no peer-to-peer over PCIe".into(),
        });
    }
    context.with(|api| {
        // SAFETY: both contexts are alive.
        match unsafe { (api.cuCtxEnablePeerAccess)(peer.raw(), 0) } {
            api::PEER_ACCESS_ALREADY_ENABLED => Ok(()),
            code => api.check("cuCtxEnablePeerAccess", code),
        }
    })
}
