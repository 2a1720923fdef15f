//! Memory of other GPUs.

use crate::bench::{launch, load, ok, synchronize, word, zeroed, Context};
use cuda_emu::*;
use std::ptr::null_mut;

#[test]
fn peers_use_the_owners_addresses() {
    let owner = Context::new(1);
    let memory = zeroed(8);
    let user = Context::new(0);
    let (mut can, mut mapped) = (0, 0u64);
    let room = (&raw mut mapped).cast();
    // SAFETY: there is room for every result.
    unsafe {
        ok(cuDeviceCanAccessPeer(&mut can, 0, 1));
        assert_eq!(can, 1);
        ok(cuDeviceCanAccessPeer(&mut can, 0, 0));
        assert_eq!(can, 0);
        assert_eq!(cuPointerGetAttribute(room, 3, memory), codes::ERROR_INVALID_VALUE);
        ok(cuCtxEnablePeerAccess(owner.handle, 0));
        assert_eq!(cuCtxEnablePeerAccess(owner.handle, 0), codes::ERROR_PEER_ACCESS_ALREADY_ENABLED);
        assert_eq!(cuCtxEnablePeerAccess(user.handle, 0), codes::ERROR_INVALID_DEVICE);
        ok(cuPointerGetAttribute(room, 3, memory));
        assert_eq!(mapped, memory);
    }
    let own = zeroed(8);
    // SAFETY: all ranges have 8 bytes.
    unsafe {
        ok(cuStreamWriteValue64_v2(null_mut(), memory, 3, 0));
        ok(cuMemsetD8Async(memory, 1, 8, null_mut()));
        ok(cuCtxDisablePeerAccess(owner.handle));
        assert_eq!(cuStreamWriteValue64_v2(null_mut(), memory, 3, 0), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemsetD8Async(memory, 2, 8, null_mut()), codes::ERROR_INVALID_VALUE);
        // Copies go through the host.
        ok(cuMemcpyDtoDAsync_v2(own, memory, 8, null_mut()));
        ok(cuMemcpyHtoDAsync_v2(memory, c"7777777".as_ptr().cast(), 8, null_mut()));
        ok(synchronize(null_mut()));
        assert_eq!(word(own), 0x0101_0101_0101_0101);
        ok(cuCtxEnablePeerAccess(owner.handle, 0));
    }
    let function = load("st.global.u64 [x0], x2;");
    ok(launch(function, null_mut(), [memory, 0, 41]));
    ok(synchronize(null_mut()));
    assert_eq!(word(memory), 41);
    // SAFETY: no pointers are given, only handles.
    unsafe {
        ok(cuCtxDisablePeerAccess(owner.handle));
        assert_eq!(cuCtxDisablePeerAccess(owner.handle), codes::ERROR_PEER_ACCESS_NOT_ENABLED);
    }
    drop(user);
    drop(owner);
}
