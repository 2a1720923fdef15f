//! Where the tests run, and memory and streams by plain handles.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use cudarc::driver::{sys, CudaContext};

use crate::skip::skipped;

/// Set in a process that the tests started.
pub const CHILD: &str = "WARPFERRY_INTEROP_CHILD";

/// The first GPU's primary context, or `None` and why, printed.
pub fn context() -> Option<Arc<CudaContext>> {
    let backend = std::env::var("WARPFERRY_BACKEND").unwrap_or_else(|_| "auto".to_string());
    if backend == "emu" {
        skipped("interop on cuda", "WARPFERRY_BACKEND=emu");
        return None;
    }
    warpferry::driver::cuda::use_all_hardware_queues();
    // cudarc panics where there is no driver: ask first.
    match warpferry::driver::cuda::Gpu::open(0) {
        Ok(_) => Some(CudaContext::new(0).expect("the GPU has a primary context")),
        Err(error) if backend == "cuda" => panic!("WARPFERRY_BACKEND=cuda: {error}"),
        Err(error) => {
            skipped("interop on cuda", error);
            None
        }
    }
}

/// Says that a test came to its end: the parent counts these.
pub fn done(name: &str) {
    println!("done: {name}");
}

/// Counts what was dropped.
#[derive(Clone, Default)]
pub struct Drops(Arc<AtomicUsize>);

/// Adds one when it goes.
pub struct Counted(Drops);

impl Drops {
    pub fn keeper(&self) -> Box<Counted> {
        Box::new(Counted(self.clone()))
    }

    pub fn seen(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0 .0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A function of the driver library. All versions of cudarc's bindings lack some that every driver has.
fn function<F: Copy>(name: &str) -> F {
    // SAFETY: callers name the documented type.
    *unsafe { sys::culib().get::<F>(name.as_bytes()) }.expect("every driver has it")
}

fn check(code: i32) {
    assert_eq!(code, 0, "a driver call failed");
}

/// A context made by cuCtxCreate, with a stream and memory in it.
pub struct Raw {
    pub context: *mut c_void,
}

impl Raw {
    pub fn new() -> Raw {
        let create: unsafe extern "C" fn(*mut *mut c_void, u32, i32) -> i32 = function("cuCtxCreate_v2\0");
        let mut context = std::ptr::null_mut();
        // SAFETY: one handle is written.
        check(unsafe { create(&mut context, 0, 0) });
        let raw = Raw { context };
        raw.pop();
        raw
    }

    fn push(&self) {
        let push: unsafe extern "C" fn(*mut c_void) -> i32 = function("cuCtxPushCurrent_v2\0");
        // SAFETY: the context is alive.
        check(unsafe { push(self.context) });
    }

    fn pop(&self) {
        let pop: unsafe extern "C" fn(*mut *mut c_void) -> i32 = function("cuCtxPopCurrent_v2\0");
        let mut popped = std::ptr::null_mut();
        // SAFETY: one handle is written.
        check(unsafe { pop(&mut popped) });
        assert_eq!(popped, self.context, "somebody left another context current");
    }

    pub fn stream(&self) -> *mut c_void {
        let create: unsafe extern "C" fn(*mut *mut c_void, u32) -> i32 = function("cuStreamCreate\0");
        let mut stream = std::ptr::null_mut();
        self.push();
        // SAFETY: one handle is written.
        check(unsafe { create(&mut stream, 1) });
        self.pop();
        stream
    }

    pub fn memory(&self, bytes: &[u8]) -> u64 {
        let alloc: unsafe extern "C" fn(*mut u64, usize) -> i32 = function("cuMemAlloc_v2\0");
        let copy: unsafe extern "C" fn(u64, *const c_void, usize) -> i32 = function("cuMemcpyHtoD_v2\0");
        let wait: unsafe extern "C" fn() -> i32 = function("cuCtxSynchronize\0");
        let mut address = 0;
        self.push();
        // SAFETY: one address is written; the copy is as long as both sides.
        check(unsafe { alloc(&mut address, bytes.len()) });
        check(unsafe { copy(address, bytes.as_ptr().cast(), bytes.len()) });
        check(unsafe { wait() });
        self.pop();
        address
    }

    /// The same contents as a caller's own code puts them into a stream: a copy within the device.
    pub fn copy(&self, to: u64, from: u64, bytes: usize, stream: *mut c_void) {
        let copy: unsafe extern "C" fn(u64, u64, usize, *mut c_void) -> i32 = function("cuMemcpyDtoDAsync_v2\0");
        self.push();
        // SAFETY: the tests give ranges that are allocated.
        check(unsafe { copy(to, from, bytes, stream) });
        self.pop();
    }

    /// What is at an address when the stream comes there; waits for that.
    pub fn read(&self, address: u64, bytes: usize, stream: *mut c_void) -> Vec<u8> {
        let copy: unsafe extern "C" fn(*mut c_void, u64, usize, *mut c_void) -> i32 =
            function("cuMemcpyDtoHAsync_v2\0");
        let wait: unsafe extern "C" fn(*mut c_void) -> i32 = function("cuStreamSynchronize\0");
        let mut back = vec![0; bytes];
        self.push();
        // SAFETY: there is room for the bytes, and they stay until the stream has come here.
        check(unsafe { copy(back.as_mut_ptr().cast(), address, bytes, stream) });
        // SAFETY: the stream is alive.
        check(unsafe { wait(stream) });
        self.pop();
        back
    }

    /// An event behind what the stream holds.
    pub fn record(&self, stream: *mut c_void) -> *mut c_void {
        let create: unsafe extern "C" fn(*mut *mut c_void, u32) -> i32 = function("cuEventCreate\0");
        let record: unsafe extern "C" fn(*mut c_void, *mut c_void) -> i32 = function("cuEventRecord\0");
        let mut event = std::ptr::null_mut();
        self.push();
        // SAFETY: one handle is written; the stream is alive.
        check(unsafe { create(&mut event, 2) });
        check(unsafe { record(event, stream) });
        self.pop();
        event
    }

    /// The stream waits for the event.
    pub fn wait(&self, stream: *mut c_void, event: *mut c_void) {
        let wait: unsafe extern "C" fn(*mut c_void, *mut c_void, u32) -> i32 = function("cuStreamWaitEvent\0");
        self.push();
        // SAFETY: both are alive.
        check(unsafe { wait(stream, event, 0) });
        self.pop();
    }

    /// Frees memory. Nothing may use it any more.
    pub fn free(&self, address: u64) {
        let free: unsafe extern "C" fn(u64) -> i32 = function("cuMemFree_v2\0");
        self.push();
        // SAFETY: allocated here.
        check(unsafe { free(address) });
        self.pop();
    }

    /// Ends the context. Nothing may use it any more.
    pub fn destroy(self) {
        let destroy: unsafe extern "C" fn(*mut c_void) -> i32 = function("cuCtxDestroy_v2\0");
        // SAFETY: made by `new`.
        check(unsafe { destroy(self.context) });
    }
}
