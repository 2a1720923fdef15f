//! Work beside other CUDA code of the same process: in its context, in order with its streams, on its memory.
//!
//! | what the caller has | see |
//! | --- | --- |
//! | contexts, streams and slices of the crate cudarc | [`mod@cudarc`] |
//! | those of the crate cust (feature `cust`) | `interop::cust` |
//! | plain handles: `CUcontext`, `CUstream`, `CUdeviceptr` | this module |
//!
//! A [`Device`] made here runs a rank's kernels in the caller's stream, so the caller's earlier work in that stream comes
//! before an operation and the later work after it, without a call. Work in other streams is ordered by [`wait_for`] and
//! [`release_to`], or by events: [`wait_for_event`], [`event()`]. Memory is lent: an operation reads it where it lies, and never writes it.
//!
//! One stream a rank: a rank's kernels wait for those of other ranks, so what one rank needs must never stand behind
//! another rank's kernels in a stream.
//!
//! ```no_run
//! use std::ffi::c_void;
//! use warpferry::mem::DevicePtr;
//! use warpferry::world::connect;
//! use warpferry::{interop, DType, Dispatch, Fabric, Result, Shape, Topology, WorldConfig};
//!
//! /// Dispatches 128 rows of 4096 elements that lie at `x`, with the 8 choices of each at `topk_idx`.
//! fn run(context: *mut c_void, stream: *mut c_void, x: u64, topk_idx: u64) -> Result<()> {
//!     let config = WorldConfig::new(Topology::new(1, 1)?, Shape::new(4096, 64, 8, 128)?).fabric(Fabric::Loopback);
//!     // SAFETY: context and stream outlive the communicator.
//!     let device = unsafe { interop::device(context, stream) }?;
//!     let mut ranks = connect(&config, &[device])?;
//!     // SAFETY: both stay allocated until the dispatch is over, and `stream` orders what is done to them.
//!     let (x, topk_idx) = unsafe {
//!         let lend = |at, bytes, dtype, shape: &[usize]| {
//!             ranks[0].lend(DevicePtr::new(at), bytes, dtype, shape, Box::new(()))
//!         };
//!         (lend(x, 128 * 4096 * 2, DType::Bf16, &[128, 4096])?, lend(topk_idx, 128 * 8 * 4, DType::I32, &[128, 8])?)
//!     };
//!     let rows = ranks[0].dispatch(Dispatch::new(&x, &topk_idx))?.wait(std::time::Duration::from_secs(10))?;
//!     println!("{} rows at {}", rows.rows, rows.x.ptr());
//!     warpferry::world::close(ranks)
//! }
//! ```

pub mod cudarc;
#[cfg(feature = "cust")]
pub mod cust;

use std::ffi::c_void;
use std::sync::Arc;

use crate::comm::Communicator;
use crate::driver::cuda::{raw, CudaDriver, Gpu};
use crate::driver::{EventId, RawHandles};
use crate::error::{Error, Result};
use crate::fabric::Device;
use crate::mem::DType;

/// A rank that has the GPU of a caller's `context` for itself and runs its kernels in the caller's `stream`.
///
/// # Safety
/// Both must be alive until everything made of the result is gone.
///
/// # Errors
/// [`Error::Argument`] when the stream is of another context, or a default stream; what the driver says.
pub unsafe fn device(context: *mut c_void, stream: *mut c_void) -> Result<Device> {
    // SAFETY: the caller's promise.
    Ok(unsafe { devices(context, &[stream]) }?.remove(0))
}

/// The same for ranks that share the GPU: one for each of `streams`, in rank order.
///
/// # Safety
/// As [`device`].
///
/// # Errors
/// As [`device`]; [`Error::Argument`] when there are more streams than SMs, none, or one twice.
pub unsafe fn devices(context: *mut c_void, streams: &[*mut c_void]) -> Result<Vec<Device>> {
    // SAFETY: the caller's promise.
    let gpu = unsafe { Gpu::from_raw_context(context) }?;
    // SAFETY: the caller's promise.
    each_share(&gpu, streams, |driver, &stream| unsafe { driver.lend_stream(stream) }, |&stream| stream as usize)
}

/// What the communicator does next waits for all that a caller's `stream` holds now; null is the default stream.
///
/// # Safety
/// `stream` must be a live `CUstream` of the communicator's context.
///
/// # Errors
/// [`Error::Unsupported`] when the communicator's driver is not over CUDA; what the driver says.
pub unsafe fn wait_for(communicator: &Communicator, stream: *mut c_void) -> Result<()> {
    let own = handles(communicator)?;
    // SAFETY: the communicator holds its context and stream; the caller the other.
    unsafe { raw::order(own.context as *mut c_void, stream, own.stream as *mut c_void) }
}

/// What a caller's `stream` does next waits for all that the communicator has started; null is the default stream.
///
/// # Safety
/// As [`wait_for`].
///
/// # Errors
/// As [`wait_for`].
pub unsafe fn release_to(communicator: &Communicator, stream: *mut c_void) -> Result<()> {
    let own = handles(communicator)?;
    // SAFETY: the communicator holds its context and stream; the caller the other.
    unsafe { raw::order(own.context as *mut c_void, own.stream as *mut c_void, stream) }
}

/// What the communicator does next waits for a caller's `event`, as it was last recorded.
///
/// # Safety
/// `event` must be a live `CUevent`.
///
/// # Errors
/// As [`wait_for`].
pub unsafe fn wait_for_event(communicator: &Communicator, event: *mut c_void) -> Result<()> {
    let own = handles(communicator)?;
    // SAFETY: the communicator holds its context and stream; the caller the event.
    unsafe { raw::wait(own.context as *mut c_void, own.stream as *mut c_void, event) }
}

/// The `CUevent` of an event of the communicator's driver, of [`Pending::event`](crate::Pending::event) for instance: for
/// streams of the caller's to wait for. It is as long alive as the event.
///
/// # Errors
/// [`Error::Unsupported`] when the communicator's driver is not over CUDA; [`Error::Driver`] when it has no such event.
pub fn event(communicator: &Communicator, event: EventId) -> Result<*mut c_void> {
    communicator.driver().raw_event(event).map(|event| event as *mut c_void)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for f32 {}
    impl Sealed for i32 {}
    impl Sealed for u32 {}
    impl Sealed for i64 {}
    impl Sealed for u64 {}
}

/// A Rust type of which a caller's memory can be lent as a tensor. `u16` stands for the bits of bf16 and `u32` for those of
/// i32, for crates whose memory knows no such type.
pub trait Bits: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Type of the tensor's elements.
    const DTYPE: DType;
}

impl Bits for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}

impl Bits for half::f16 {
    const DTYPE: DType = DType::F16;
}

impl Bits for u8 {
    const DTYPE: DType = DType::U8;
}

impl Bits for u16 {
    const DTYPE: DType = DType::Bf16;
}

impl Bits for f32 {
    const DTYPE: DType = DType::F32;
}

impl Bits for i32 {
    const DTYPE: DType = DType::I32;
}

impl Bits for u32 {
    const DTYPE: DType = DType::I32;
}

impl Bits for i64 {
    const DTYPE: DType = DType::I64;
}

impl Bits for u64 {
    const DTYPE: DType = DType::I64;
}

/// Context and stream of the communicator's kernels.
fn handles(communicator: &Communicator) -> Result<RawHandles> {
    communicator.driver().raw_handles(communicator.stream())
}

/// Checks that a caller's memory is enough for `shape`, which may be smaller; gives the number of elements.
fn elements(argument: &str, have: usize, shape: &[usize]) -> Result<usize> {
    let need = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length));
    match need {
        Some(need) if need <= have => Ok(need),
        _ => Err(Error::argument(argument, format!("{have} elements"), format!("enough for shape {shape:?}"))),
    }
}

/// A device for each stream, on GPU `gpu`: whole for one, in shares for several.
fn each_share<S>(
    gpu: &Gpu,
    streams: &[S],
    lend: impl Fn(&CudaDriver, &S) -> Result<crate::driver::StreamId>,
    handle: impl Fn(&S) -> usize,
) -> Result<Vec<Device>> {
    for (index, stream) in streams.iter().enumerate() {
        // Kernels of two ranks in one stream would wait for each other for ever.
        if streams[..index].iter().any(|other| handle(other) == handle(stream)) {
            return Err(Error::argument(
                format!("streams[{index}]"),
                "a stream of an earlier rank",
                "one stream a rank",
            ));
        }
    }
    let drivers = match streams {
        [_] => vec![gpu.driver()?],
        _ => gpu.shares(streams.len())?,
    };
    let made = drivers.into_iter().zip(streams).map(|(driver, stream)| {
        let stream = lend(&driver, stream)?;
        Ok(Device::new(driver as Arc<dyn crate::driver::Driver>).stream(stream))
    });
    made.collect()
}
