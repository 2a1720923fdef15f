//! The shared library as a program finds it.

use std::ffi::{c_char, c_int, c_void, CString};

extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Resolve everything now.
const RTLD_NOW: c_int = 2;

/// Every function of the interface.
const FUNCTIONS: &str = "cuInit cuDriverGetVersion cuDeviceGetCount cuDeviceGet cuDeviceGetName cuDeviceGetAttribute \
    cuDeviceTotalMem_v2 cuDeviceGetUuid_v2 cuDeviceGetPCIBusId cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2 \
    cuCtxCreate_v2 cuCtxDestroy_v2 cuCtxSetCurrent cuCtxGetCurrent cuCtxPushCurrent_v2 cuCtxPopCurrent_v2 \
    cuCtxGetDevice cuCtxSynchronize cuMemAlloc_v2 cuMemFree_v2 cuMemGetInfo_v2 cuMemHostAlloc cuMemFreeHost \
    cuMemHostGetDevicePointer_v2 cuModuleLoadDataEx cuModuleLoadData cuModuleUnload cuModuleGetFunction \
    cuFuncGetAttribute cuFuncSetAttribute cuLaunchKernel cuStreamCreate cuStreamCreateWithPriority \
    cuCtxGetStreamPriorityRange cuStreamDestroy_v2 cuStreamQuery cuStreamSynchronize cuStreamWaitEvent cuStreamGetCtx \
    cuEventCreate cuEventDestroy_v2 cuEventRecord cuEventQuery cuEventSynchronize cuEventElapsedTime \
    cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoDAsync_v2 cuMemcpyHtoD_v2 cuMemcpyDtoH_v2 cuMemsetD8Async \
    cuStreamWriteValue64_v2 cuDeviceCanAccessPeer cuCtxEnablePeerAccess cuCtxDisablePeerAccess cuPointerGetAttribute \
    cuGetErrorName cuGetErrorString cuStreamBeginCapture_v2 cuStreamIsCapturing cuStreamEndCapture \
    cuGraphInstantiateWithFlags cuGraphUpload cuGraphLaunch cuGraphExecDestroy cuGraphDestroy";

/// The library exports every function, and runs on its own.
#[test]
fn functions_are_exported() {
    let program = std::env::current_exe().expect("a program knows where it is");
    let folder = program.parent().expect("a program lies in a folder");
    let candidates = [folder.join("libcuda_emu.so"), folder.join("../libcuda_emu.so")];
    let path = candidates.iter().find(|path| path.exists()).expect("the library is built with its tests");
    let path = CString::new(path.to_str().expect("a path in UTF-8")).expect("no zero byte");
    let symbol = |library, name: &str| {
        let name = CString::new(name).expect("no zero byte");
        // SAFETY: the library is open, and the name ends.
        unsafe { dlsym(library, name.as_ptr()) }
    };
    // SAFETY: the library is this crate's own.
    let library = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    assert!(!library.is_null());
    let missing: Vec<&str> = FUNCTIONS.split(' ').filter(|name| symbol(library, name).is_null()).collect();
    assert_eq!(missing, Vec::<&str>::new());
    assert!(symbol(library, "cuGetProcAddress_v2").is_null());
    // SAFETY: this is the function's type.
    let version: unsafe extern "C" fn(*mut c_int) -> u32 =
        unsafe { std::mem::transmute(symbol(library, "cuDriverGetVersion")) };
    let mut number = 0;
    // SAFETY: there is room for the number.
    assert_eq!(unsafe { version(&mut number) }, 0);
    assert!(number > 11_000);
}
