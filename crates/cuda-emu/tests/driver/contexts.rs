//! Devices, contexts, and calls that have none.

use crate::bench::{init, ok, stream, synchronize, zeroed, Context};
use cuda_emu::*;
use std::ffi::CStr;
use std::ptr::null_mut;

#[test]
fn devices_say_what_they_are() {
    init();
    let (mut count, mut device, mut value, mut bytes) = (0, 9, 0, 0usize);
    let mut name = [1i8; 64];
    let mut uuids = [CUuuid { bytes: [0; 16] }; 2];
    // SAFETY: there is room for every result.
    unsafe {
        ok(cuDeviceGetCount(&mut count));
        assert_eq!(count, 4);
        ok(cuDeviceGet(&mut device, 3));
        assert_eq!(device, 3);
        assert_eq!(cuDeviceGet(&mut device, 4), codes::ERROR_INVALID_DEVICE);
        ok(cuDeviceGetName(name.as_mut_ptr().cast(), 64, 3));
        assert_eq!(CStr::from_ptr(name.as_ptr().cast()).to_str(), Ok("warpferry emulated GPU 3"));
        ok(cuDeviceGetName(name.as_mut_ptr().cast(), 5, 3));
        assert_eq!(CStr::from_ptr(name.as_ptr().cast()).to_str(), Ok("warp"));
        for (attribute, want) in [(16, 8), (75, 9), (76, 0), (97, 232_448), (41, 1), (93, 1), (8, 49_152), (10, 32)] {
            ok(cuDeviceGetAttribute(&mut value, attribute, 0));
            assert_eq!(value, want, "attribute {attribute}");
        }
        assert_eq!(cuDeviceGetAttribute(&mut value, 0, 0), codes::ERROR_INVALID_VALUE);
        ok(cuDeviceTotalMem_v2(&mut bytes, 0));
        assert_eq!(bytes, 80 << 30);
        ok(cuDeviceGetUuid_v2(&mut uuids[0], 0));
        ok(cuDeviceGetUuid_v2(&mut uuids[1], 1));
        assert_ne!(uuids[0], uuids[1]);
        ok(cuDeviceGetPCIBusId(name.as_mut_ptr().cast(), 64, 1));
        assert_eq!(CStr::from_ptr(name.as_ptr().cast()).to_str(), Ok("0000:19:00.0"));
        assert_eq!(cuDeviceGetCount(null_mut()), codes::ERROR_INVALID_VALUE);
    }
}

#[test]
fn codes_have_names() {
    // The first call reads the environment.
    init();
    let mut text = std::ptr::null();
    // SAFETY: there is room for the pointer, and what it points to lives for ever.
    unsafe {
        ok(cuGetErrorName(719, &mut text));
        assert_eq!(CStr::from_ptr(text).to_str(), Ok("CUDA_ERROR_LAUNCH_FAILED"));
        ok(cuGetErrorString(719, &mut text));
        assert_eq!(CStr::from_ptr(text).to_str(), Ok("a launch failed"));
        assert_eq!(cuGetErrorName(12345, &mut text), codes::ERROR_INVALID_VALUE);
        assert!(text.is_null());
    }
}

/// The primary context is one and the same until its last release, and dead afterwards.
#[test]
fn primary_contexts_are_counted() {
    init();
    let (mut first, mut second, mut address) = (null_mut(), null_mut(), 0);
    // SAFETY: there is room for every result.
    unsafe {
        ok(cuDevicePrimaryCtxRetain(&mut first, 2));
        ok(cuDevicePrimaryCtxRetain(&mut second, 2));
        assert_eq!(first, second);
        assert_eq!(cuCtxDestroy_v2(first), codes::ERROR_INVALID_CONTEXT);
        ok(cuCtxSetCurrent(first));
        ok(cuMemAlloc_v2(&mut address, 64));
        ok(cuDevicePrimaryCtxRelease_v2(2));
        let (mut free, mut total) = (0, 0);
        ok(cuMemGetInfo_v2(&mut free, &mut total));
        assert!(free < total);
        ok(cuDevicePrimaryCtxRelease_v2(2));
        assert_eq!(cuMemAlloc_v2(&mut address, 64), codes::ERROR_CONTEXT_IS_DESTROYED);
        assert_eq!(cuDevicePrimaryCtxRelease_v2(2), codes::ERROR_INVALID_CONTEXT);
        ok(cuCtxSetCurrent(null_mut()));
        assert_eq!(cuCtxPopCurrent_v2(&mut first), codes::ERROR_INVALID_CONTEXT);
    }
}

/// The stack of contexts belongs to a thread.
#[test]
fn contexts_are_current_in_a_thread() {
    let context = Context::new(1);
    let other = Context::new(2);
    let (mut current, mut device) = (null_mut(), 0);
    // SAFETY: there is room for every result.
    unsafe {
        ok(cuCtxGetCurrent(&mut current));
        assert_eq!(current, other.handle);
        ok(cuCtxGetDevice(&mut device));
        assert_eq!(device, 2);
        ok(cuCtxPopCurrent_v2(&mut current));
        ok(cuCtxGetDevice(&mut device));
        assert_eq!(device, 1);
        ok(cuCtxPushCurrent_v2(other.handle));
        ok(cuCtxSynchronize());
        let (mut least, mut greatest) = (9, 9);
        ok(cuCtxGetStreamPriorityRange(&mut least, &mut greatest));
        assert!(greatest < least);
    }
    std::thread::spawn(|| {
        let (mut current, mut address) = (null_mut(), 0);
        // SAFETY: there is room for every result.
        unsafe {
            ok(cuCtxGetCurrent(&mut current));
            assert!(current.is_null());
            assert_eq!(cuMemAlloc_v2(&mut address, 64), codes::ERROR_INVALID_CONTEXT);
            assert_eq!(cuCtxSetCurrent(0x1234 as *mut _), codes::ERROR_INVALID_CONTEXT);
        }
    })
    .join()
    .expect("the thread passes");
    drop(other);
    drop(context);
}

/// Handles of another context, of nothing, and of another kind are refused.
#[test]
fn foreign_handles_are_refused() {
    let first = Context::new(0);
    let foreign = stream();
    let mut event = null_mut();
    // SAFETY: there is room for every result; handles are numbers.
    unsafe {
        ok(cuEventCreate(&mut event, 0));
        let second = Context::new(0);
        assert_eq!(cuStreamQuery(foreign), codes::ERROR_INVALID_HANDLE);
        assert_eq!(synchronize(foreign), codes::ERROR_INVALID_HANDLE);
        assert_eq!(cuEventRecord(event, null_mut()), codes::ERROR_INVALID_HANDLE);
        assert_eq!(cuStreamQuery(event), codes::ERROR_INVALID_HANDLE);
        assert_eq!(cuEventQuery(foreign), codes::ERROR_INVALID_HANDLE);
        assert_eq!(cuModuleUnload(foreign), codes::ERROR_INVALID_HANDLE);
        drop(second);
        let (mut owner, mut made) = (null_mut(), null_mut());
        ok(cuStreamGetCtx(foreign, &mut owner));
        assert_eq!(owner, first.handle);
        ok(cuStreamDestroy_v2(foreign));
        assert_eq!(cuStreamQuery(foreign), codes::ERROR_INVALID_HANDLE);
        assert_eq!(cuStreamCreate(&mut made, 2), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuStreamDestroy_v2(null_mut()), codes::ERROR_INVALID_HANDLE);
        ok(cuEventDestroy_v2(event));
        assert_eq!(cuEventQuery(event), codes::ERROR_INVALID_HANDLE);
    }
}

/// Memory is freed once, by its start, and copies stay within it.
#[test]
fn misused_memory_is_refused() {
    let _context = Context::new(0);
    let address = zeroed(64);
    let (mut bytes, mut freed) = ([0u8; 128], 0);
    let buffer = bytes.as_mut_ptr().cast();
    // SAFETY: there is room for 128 bytes.
    unsafe {
        assert_eq!(cuMemcpyDtoH_v2(buffer, address, 65), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemcpyHtoD_v2(address + 60, buffer, 5), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemcpyHtoD_v2(address, null_mut(), 5), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemcpyHtoD_v2(address, address as *const _, 5), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemsetD8Async(address, 1, 65, null_mut()), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemFree_v2(address + 8), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemAlloc_v2(&mut freed, 0), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemAlloc_v2(&mut freed, 81 << 30), codes::ERROR_OUT_OF_MEMORY);
        ok(cuMemFree_v2(address));
        assert_eq!(cuMemFree_v2(address), codes::ERROR_INVALID_VALUE);
        assert_eq!(cuMemcpyDtoH_v2(buffer, address, 8), codes::ERROR_INVALID_VALUE);
    }
}
