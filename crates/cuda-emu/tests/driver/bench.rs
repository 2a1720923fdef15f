//! What the tests share.

use cuda_emu::*;
use std::ffi::{c_void, CString};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::Once;

/// Name of the variable that tells a child which it is.
const CHILD: &str = "WARPFERRY_CUDA_EMU_TEST_CHILD";

/// Starts the library with four GPUs, once; a child has its own settings.
pub fn init() {
    static START: Once = Once::new();
    START.call_once(|| {
        if std::env::var(CHILD).is_err() {
            std::env::set_var("WARPFERRY_CUDA_EMU_DEVICES", "4");
            std::env::set_var("WARPFERRY_CUDA_EMU_SMS", "8");
            std::env::set_var("CUDA_DEVICE_MAX_CONNECTIONS", "32");
        }
        // SAFETY: no pointers are given.
        ok(unsafe { cuInit(0) });
    });
}

/// A call must have succeeded.
#[track_caller]
pub fn ok(result: CUresult) {
    assert_eq!(result, codes::SUCCESS, "the call failed; WARPFERRY_CUDA_EMU_LOG=1 tells why");
}

/// A context of its own, current in this thread until it is dropped.
pub struct Context {
    pub handle: CUcontext,
}

impl Context {
    pub fn new(device: i32) -> Context {
        init();
        let mut handle = null_mut();
        // SAFETY: there is room for the handle.
        ok(unsafe { cuCtxCreate_v2(&mut handle, 0, device) });
        Context { handle }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: no pointers are given, only a handle.
        let result = unsafe { cuCtxDestroy_v2(self.handle) };
        if !std::thread::panicking() {
            ok(result);
        }
    }
}

/// Device memory that is filled with zeros.
pub fn zeroed(bytes: usize) -> u64 {
    let mut address = 0;
    // SAFETY: there is room for the address.
    unsafe {
        ok(cuMemAlloc_v2(&mut address, bytes));
        ok(cuMemsetD8Async(address, 0, bytes, null_mut()));
        ok(cuStreamSynchronize(null_mut()));
    }
    address
}

/// Host memory that every GPU has mapped, and its address there.
pub fn mapped(bytes: usize) -> (*mut u8, u64) {
    let (mut pointer, mut address) = (null_mut(), 0);
    // SAFETY: there is room for pointer and address.
    unsafe {
        ok(cuMemHostAlloc(&mut pointer, bytes, 3));
        ok(cuMemHostGetDevicePointer_v2(&mut address, pointer, 0));
    }
    (pointer.cast(), address)
}

/// A stream that does not wait for the default stream.
pub fn stream() -> CUstream {
    let mut stream = null_mut();
    // SAFETY: there is room for the handle.
    ok(unsafe { cuStreamCreate(&mut stream, 1) });
    stream
}

/// The word at an address of the device, through the default stream.
pub fn word(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: there is room for 8 bytes.
    ok(unsafe { cuMemcpyDtoH_v2((&raw mut value).cast(), address, 8) });
    value
}

/// PTX of a kernel `test` with parameters `arg0`, `arg1` and `arg2` in `x0`, `x1` and `x2`; one thread runs `body`.
pub fn kernel(body: &str) -> CString {
    let text = format!(
        ".version 8.2\n.target sm_90\n.address_size 64\n
        .visible .entry test(.param .u64 arg0, .param .u64 arg1, .param .u64 arg2) .maxntid 256 {{
            .reg .b64 x0, x1, x2, y<8>;
            .reg .b32 tid, r<8>;
            .reg .pred p, leader;
            ld.param.u64 x0, [arg0]; ld.param.u64 x1, [arg1]; ld.param.u64 x2, [arg2];
            mov.u32 tid, %tid.x;
            setp.eq.u32 leader, tid, 0;
            @!leader bra end;
            {body}
        end:
            ret;
        }}"
    );
    CString::new(text).expect("no zero byte in a kernel")
}

/// Loads `test`.
pub fn load(body: &str) -> CUfunction {
    let (mut module, mut function) = (null_mut(), null_mut());
    let text = kernel(body);
    // SAFETY: the texts end with a zero byte; there is room for the handles.
    unsafe {
        ok(cuModuleLoadData(&mut module, text.as_ptr().cast()));
        ok(cuModuleGetFunction(&mut function, module, c"test".as_ptr()));
    }
    function
}

/// Launches `test` with one warp and a pointer to each argument.
pub fn launch(function: CUfunction, stream: CUstream, args: [u64; 3]) -> CUresult {
    let mut pointers = args.each_ref().map(|arg| std::ptr::from_ref(arg).cast_mut().cast::<c_void>());
    // SAFETY: there is a pointer to each of the three arguments.
    unsafe { cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, pointers.as_mut_ptr(), null_mut()) }
}

/// Waits for a stream.
pub fn synchronize(stream: CUstream) -> CUresult {
    // SAFETY: no pointers are given, only a handle.
    unsafe { cuStreamSynchronize(stream) }
}

/// Waits until the word at `x0` is not zero.
pub const WAIT: &str = "
    poll:
        ld.acquire.sys.global.u64 y0, [x0];
        setp.ne.u64 p, y0, 0;
        @p bra end;
        nanosleep.u32 200;
        bra poll;";

/// Runs `act` in a child of its own with these settings: true there, and nothing else is to be done then.
pub fn in_child(test: &str, settings: &[(&str, &str)], act: impl FnOnce()) -> Option<std::process::Output> {
    if std::env::var(CHILD).as_deref() == Ok(test) {
        act();
        return None;
    }
    let program = std::env::current_exe().expect("a program knows where it is");
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, test);
    command.envs(settings.iter().copied());
    Some(command.output().expect("this program runs"))
}

/// The child has succeeded.
#[track_caller]
pub fn passed(output: Option<std::process::Output>) {
    if let Some(output) = output {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
    }
}
