//! Access to the memory of other GPUs.

use crate::call::{entries, put};
use crate::engine::engine;
use crate::memory::refused;
use crate::result::{fail, invalid};
use crate::settings::settings;
use crate::state::{handle, here};
use crate::{codes, CUcontext, CUdevice};
use std::ffi::{c_int, c_uint};

entries! {
    /// Whether a GPU can use another one's memory.
    fn cuDeviceCanAccessPeer(can: *mut c_int, device: CUdevice, peer: CUdevice) {
        let turn = engine()?.turn();
        let (device, peer) = (turn.device(device)?, turn.device(peer)?);
        // SAFETY: the caller gives room for a number, or null.
        unsafe { put(can, "the answer", (settings().peers && device != peer) as c_int) }
    }

    /// Lets the current context use the memory of another one's GPU, at the owner's addresses.
    fn cuCtxEnablePeerAccess(peer: CUcontext, flags: c_uint) {
        let (mut turn, here) = here()?;
        if flags != 0 {
            return invalid(format!("flags {flags:#x}"));
        }
        let peer = handle(peer);
        let owner = turn.context(peer)?.device;
        if owner == here.device {
            return fail(codes::ERROR_INVALID_DEVICE, "both contexts are of one device");
        }
        if !settings().peers {
            return fail(codes::ERROR_PEER_ACCESS_UNSUPPORTED, "WARPFERRY_CUDA_EMU_PEERS is 0");
        }
        turn.check_device(owner)?;
        let own = turn.contexts.get_mut(&here.context);
        if !own.is_some_and(|own| own.peers.insert(peer)) {
            return fail(codes::ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is enabled already");
        }
        turn.machine.enable_peer(here.device, owner).or_else(refused)
    }

    /// Ends access to another context's memory.
    fn cuCtxDisablePeerAccess(peer: CUcontext) {
        let (mut turn, here) = here()?;
        let peer = handle(peer);
        turn.context(peer)?;
        let own = turn.contexts.get_mut(&here.context);
        if !own.is_some_and(|own| own.peers.remove(&peer)) {
            return fail(codes::ERROR_PEER_ACCESS_NOT_ENABLED, "peer access is not enabled");
        }
        turn.forget_peer(here.device, peer);
        Ok(())
    }
}
