//! The CUDA driver library: opened at run time, every function looked up before the first call.
//!
//! `cudarc` opens the library and names the types. Results are plain integers here, not its enumeration: a newer driver
//! may answer a code that the enumeration lacks. A library, a function or a version that is missing is an error value.

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::sync::OnceLock;

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUmodule, CUstream,
};

use crate::error::{Error, Result};

/// Result of a driver call; 0 is success.
pub(super) type Code = c_int;

/// Codes that we act on. Source: CUDA driver API, "CUresult".
pub(super) const SUCCESS: Code = 0;
pub(super) const OUT_OF_MEMORY: Code = 2;
pub(super) const NO_DEVICE: Code = 100;
pub(super) const INVALID_IMAGE: Code = 200;
pub(super) const NO_BINARY_FOR_GPU: Code = 209;
pub(super) const UNSUPPORTED_PTX_VERSION: Code = 222;
pub(super) const NOT_READY: Code = 600;
pub(super) const PEER_ACCESS_ALREADY_ENABLED: Code = 704;

/// Attributes of devices, functions and pointers. Source: CUDA driver API, "CUdevice_attribute" and others.
pub(super) const DEVICE_MULTIPROCESSOR_COUNT: c_int = 16;
pub(super) const DEVICE_COMPUTE_MAJOR: c_int = 75;
pub(super) const DEVICE_COMPUTE_MINOR: c_int = 76;
pub(super) const DEVICE_SHARED_PER_BLOCK_OPTIN: c_int = 97;
pub(super) const FUNCTION_MAX_THREADS_PER_BLOCK: c_int = 0;
pub(super) const FUNCTION_SHARED_SIZE_BYTES: c_int = 1;
pub(super) const FUNCTION_LOCAL_SIZE_BYTES: c_int = 3;
pub(super) const FUNCTION_MAX_DYNAMIC_SHARED_BYTES: c_int = 8;
pub(super) const FUNCTION_SHARED_CARVEOUT: c_int = 9;
pub(super) const POINTER_CONTEXT: c_int = 1;
pub(super) const POINTER_DEVICE_ORDINAL: c_int = 9;
pub(super) const POINTER_RANGE_START: c_int = 11;
pub(super) const POINTER_RANGE_BYTES: c_int = 12;
/// Flags.
pub(super) const STREAM_NON_BLOCKING: c_uint = 1;
pub(super) const EVENT_DISABLE_TIMING: c_uint = 2;
pub(super) const HOST_PORTABLE: c_uint = 1;
pub(super) const HOST_DEVICE_MAP: c_uint = 2;
/// Only the thread that captures may call nothing unsafe. Source: CUDA driver API, "CUstreamCaptureMode".
pub(super) const CAPTURE_MODE_THREAD_LOCAL: c_int = 1;
/// Whether a stream captures; 2 is a capture that an error has ended.
pub(super) const CAPTURE_STATUS_NONE: c_int = 0;
/// `extra` of a launch: packed arguments.
pub(super) const LAUNCH_END: usize = 0;
pub(super) const LAUNCH_BUFFER: usize = 1;
pub(super) const LAUNCH_BUFFER_BYTES: usize = 2;
/// Options of the compiler in the driver.
pub(super) const JIT_INFO_LOG: c_int = 3;
pub(super) const JIT_INFO_LOG_BYTES: c_int = 4;
pub(super) const JIT_ERROR_LOG: c_int = 5;
pub(super) const JIT_ERROR_LOG_BYTES: c_int = 6;

/// Oldest driver we run on: our kernels are PTX 8.2, which came with CUDA 12.2 (the driver's version number: 1000 x
/// major + 10 x minor).
pub(super) const VERSION_MIN: c_int = 12020;

macro_rules! functions {
    ($($(#[$doc:meta])* $symbol:ident($($ty:ty),* $(,)?);)*) => {
        /// Functions of the library, by their exported names.
        #[allow(non_snake_case)]
        pub(super) struct Api {
            $($(#[$doc])* pub $symbol: unsafe extern "C" fn($($ty),*) -> Code,)*
        }

        impl Api {
            fn load(version: c_int) -> Result<Api> {
                Ok(Api { $($symbol: symbol(concat!(stringify!($symbol), "\0"), version)?,)* })
            }
        }
    };
}

functions! {
    cuInit(c_uint);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, CUdevice);
    cuDeviceGetAttribute(*mut c_int, c_int, CUdevice);
    cuDeviceTotalMem_v2(*mut usize, CUdevice);
    cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
    cuDevicePrimaryCtxRelease_v2(CUdevice);
    cuCtxPushCurrent_v2(CUcontext);
    cuCtxPopCurrent_v2(*mut CUcontext);
    cuCtxGetDevice(*mut CUdevice);
    cuMemAlloc_v2(*mut CUdeviceptr, usize);
    cuMemFree_v2(CUdeviceptr);
    cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    cuMemFreeHost(*mut c_void);
    cuMemHostGetDevicePointer_v2(*mut CUdeviceptr, *mut c_void, c_uint);
    cuModuleLoadDataEx(*mut CUmodule, *const c_void, c_uint, *mut c_int, *mut *mut c_void);
    cuModuleUnload(CUmodule);
    cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    cuFuncGetAttribute(*mut c_int, c_int, CUfunction);
    cuFuncSetAttribute(CUfunction, c_int, c_int);
    cuLaunchKernel(
        CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void,
        *mut *mut c_void,
    );
    cuCtxGetStreamPriorityRange(*mut c_int, *mut c_int);
    cuStreamCreateWithPriority(*mut CUstream, c_uint, c_int);
    cuStreamDestroy_v2(CUstream);
    cuStreamQuery(CUstream);
    cuStreamGetCtx(CUstream, *mut CUcontext);
    cuStreamWaitEvent(CUstream, CUevent, c_uint);
    cuStreamWriteValue64_v2(CUstream, CUdeviceptr, u64, c_uint);
    cuStreamBeginCapture_v2(CUstream, c_int);
    cuStreamIsCapturing(CUstream, *mut c_int);
    cuStreamEndCapture(CUstream, *mut CUgraph);
    cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, u64);
    cuGraphUpload(CUgraphExec, CUstream);
    cuGraphLaunch(CUgraphExec, CUstream);
    cuGraphExecDestroy(CUgraphExec);
    cuGraphDestroy(CUgraph);
    cuEventCreate(*mut CUevent, c_uint);
    cuEventDestroy_v2(CUevent);
    cuEventRecord(CUevent, CUstream);
    cuEventQuery(CUevent);
    cuEventElapsedTime(*mut f32, CUevent, CUevent);
    cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
    cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
    cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
    cuMemsetD8Async(CUdeviceptr, u8, usize, CUstream);
    cuDeviceCanAccessPeer(*mut c_int, CUdevice, CUdevice);
    cuCtxEnablePeerAccess(CUcontext, c_uint);
    cuPointerGetAttribute(*mut c_void, c_int, CUdeviceptr);
    cuGetErrorName(Code, *mut *const c_char);
    cuGetErrorString(Code, *mut *const c_char);
}

/// The functions of this process's library, initialized.
///
/// # Errors
/// [`Error::Unsupported`] when there is no library, no function of some name, a driver that is too old, or no GPU.
pub(super) fn api() -> Result<&'static Api> {
    static API: OnceLock<Result<Api>> = OnceLock::new();
    API.get_or_init(open).as_ref().map_err(Clone::clone)
}

/// The driver's version number, when there is a library.
///
/// # Errors
/// [`Error::Unsupported`] when there is none.
pub(super) fn version() -> Result<c_int> {
    // SAFETY: opening the library runs its initializers, as any CUDA program does.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::Unsupported {
            need: "the CUDA driver library (libcuda.so.1, part of the NVIDIA driver)".into(),
            have: match unsafe { libloading::Library::new("libcuda.so.1") } {
                // cudarc asks the same and keeps the reason to itself.
                Err(why) => format!("none that the loader takes ({})", reason(&why)),
                Ok(_) => "one that cudarc does not find".to_string(),
            },
        });
    }
    let ask: unsafe extern "C" fn(*mut c_int) -> Code = symbol("cuDriverGetVersion\0", 0)?;
    let mut version = 0;
    // SAFETY: the signature is the documented one; this call needs no initialization.
    match unsafe { ask(&mut version) } {
        SUCCESS => Ok(version),
        code => Err(Error::Driver { call: "cuDriverGetVersion", message: format!("code {code}") }),
    }
}

/// What the loader says, without the names of its own functions around it.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// `12020` as `12.2`.
pub(super) fn version_name(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn open() -> Result<Api> {
    let version = version()?;
    if version < VERSION_MIN {
        return Err(Error::Unsupported {
            need: format!("an NVIDIA driver for CUDA {} or newer", version_name(VERSION_MIN)),
            have: format!("a driver for CUDA {}", version_name(version)),
        });
    }
    let api = Api::load(version)?;
    super::hardware_queues();
    // SAFETY: the documented signature; 0 is the only flag.
    match unsafe { (api.cuInit)(0) } {
        SUCCESS => Ok(api),
        NO_DEVICE => Err(Error::Unsupported {
            need: "an NVIDIA GPU".into(),
            have: format!("a driver for CUDA {} that sees none", version_name(version)),
        }),
        code => Err(api.error("cuInit", code)),
    }
}

/// Looks a function up. `F` is a function pointer of the documented signature; `name` ends with NUL.
fn symbol<F: Copy>(name: &str, version: c_int) -> Result<F> {
    // SAFETY: every use names the type from the driver's documentation; the library stays open for ever.
    let found = unsafe { sys::culib().get::<F>(name.as_bytes()) };
    found.map(|symbol| *symbol).map_err(|_| Error::Unsupported {
        need: format!("function {} of the CUDA driver library", name.trim_end_matches('\0')),
        have: match version {
            0 => "a library without it".to_string(),
            version => format!("a driver for CUDA {} without it", version_name(version)),
        },
    })
}

/// Whether a stream, which must be alive and of the current context, synchronizes with the default stream.
pub(super) fn blocking(stream: CUstream) -> bool {
    type Ask = unsafe extern "C" fn(CUstream, *mut c_uint) -> Code;
    // Not among the functions that everything needs: without it, streams are as ours are.
    let Ok(ask) = symbol::<Ask>("cuStreamGetFlags\0", 0) else { return false };
    let mut flags = STREAM_NON_BLOCKING;
    // SAFETY: the documented signature; one number is written.
    unsafe { ask(stream, &mut flags) == SUCCESS && flags & STREAM_NON_BLOCKING == 0 }
}

impl Api {
    /// `Ok` for success.
    pub fn check(&self, call: &'static str, code: Code) -> Result<()> {
        match code {
            SUCCESS => Ok(()),
            code => Err(self.error(call, code)),
        }
    }

    /// Whether what was asked for is done.
    pub fn ready(&self, call: &'static str, code: Code) -> Result<bool> {
        match code {
            NOT_READY => Ok(false),
            code => self.check(call, code).map(|()| true),
        }
    }

    /// The driver's words for `code`.
    pub fn error(&self, call: &'static str, code: Code) -> Error {
        let words = |ask: unsafe extern "C" fn(Code, *mut *const c_char) -> Code| {
            let mut text = std::ptr::null();
            // SAFETY: on success the driver gives a static string that ends with NUL.
            unsafe {
                (ask(code, &mut text) == SUCCESS && !text.is_null())
                    .then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        let name = words(self.cuGetErrorName).unwrap_or_else(|| "an unknown code".to_string());
        let meaning = words(self.cuGetErrorString).map(|text| format!(": {text}")).unwrap_or_default();
        Error::Driver { call, message: format!("{name} ({code}){meaning}") }
    }
}
