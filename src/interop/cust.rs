//! Contexts, streams and buffers of the crate cust (feature `cust`, cust 0.3).
//!
//! cust links libcuda when a program is linked; a program that does not use cust should not turn the feature on.
//!
//! cust's buffers and streams do not hold their context and know no event tracking. So buffers and streams must be gone
//! before their context is, as cust asks anyway, and what a caller launches on a buffer in a stream of its own is ordered
//! by [`wait_for`].
//!
//! Streams that cust 0.3 makes synchronize with the default stream, also when asked not to. A rank's kernels wait for
//! those of other ranks, so where ranks share a GPU nothing may go into the default stream while an operation runs: cust's
//! plain copies do, and freeing a buffer waits for the whole GPU. Keep a clone of each buffer's [`Arc`] and drop it when no
//! operation runs.

use std::any::Any;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use ::cust::context::Context;
use ::cust::memory::{DeviceBuffer, DeviceCopy};
use ::cust::stream::Stream;

use super::Bits;
use crate::comm::Communicator;
use crate::driver::cuda::{raw, CudaDriver, Gpu};
use crate::error::{Error, Result};
use crate::fabric::Device;
use crate::mem::{DevicePtr, Tensor};

/// The GPU of `context`, by this context. It is kept alive: cust's contexts are primary ones, of which we take a
/// reference of our own.
///
/// # Errors
/// [`Error::Unsupported`] for a GPU or driver that is too old; what the driver says.
pub fn gpu(context: &Context) -> Result<Gpu> {
    let own = context.as_raw().cast::<c_void>();
    // SAFETY: alive while borrowed; what holds it longer comes next, or nothing is made of it.
    let seen = unsafe { Gpu::from_raw_context(own) }?;
    let gpu = Gpu::open(seen.facts().ordinal as usize)?;
    if gpu.raw_context() != own {
        return Err(Error::argument("context", format!("{own:?}"), "a primary context, as `Context::new` makes"));
    }
    Ok(gpu)
}

/// A rank that has the GPU for itself and runs its kernels in `stream`, which is held.
///
/// # Safety
/// `stream` must not be left of a context that is gone.
///
/// # Errors
/// [`Error::Argument`] when the stream is of another context; what the driver says.
pub unsafe fn device(context: &Context, stream: &Arc<Stream>) -> Result<Device> {
    // SAFETY: the caller's promise.
    Ok(unsafe { devices(context, std::slice::from_ref(stream)) }?.remove(0))
}

/// Ranks that share a GPU: one for each of `streams`, in rank order.
///
/// # Safety
/// As [`device`].
///
/// # Errors
/// As [`device`]; [`Error::Argument`] when there are more streams than SMs, none, or one twice.
pub unsafe fn devices(context: &Context, streams: &[Arc<Stream>]) -> Result<Vec<Device>> {
    let lend = |driver: &CudaDriver, stream: &Arc<Stream>| {
        // SAFETY: alive by the caller's promise, and the keeper holds the stream.
        unsafe { driver.lend_kept_stream(stream.as_inner().cast(), Box::new(Arc::clone(stream))) }
    };
    super::each_share(&gpu(context)?, streams, lend, |stream| stream.as_inner() as usize)
}

/// What the communicator does next waits for all that `stream` holds now.
///
/// # Safety
/// `stream` must be of the communicator's context, and that context alive.
///
/// # Errors
/// What the driver says.
pub unsafe fn wait_for(communicator: &Communicator, stream: &Stream) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { super::wait_for(communicator, stream.as_inner().cast()) }
}

/// What `stream` does next waits for all that the communicator has started.
///
/// # Safety
/// As [`wait_for`].
///
/// # Errors
/// What the driver says.
pub unsafe fn release_to(communicator: &Communicator, stream: &Stream) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { super::release_to(communicator, stream.as_inner().cast()) }
}

/// A tensor over the first elements of `buffer`: a [`DeviceBuffer`], or an [`Arc`] of one that the caller keeps a clone of
/// to get the buffer back with [`Arc::into_inner`]: then no operation reads it any more. cust's plain copies before this
/// call come before the communicator's next operation.
///
/// # Errors
/// [`Error::Argument`] when the buffer is not the communicator's GPU's, has too few elements, or is not aligned to 16
/// bytes; [`Error::Unsupported`] when the communicator's driver is not over CUDA.
pub fn tensor<T: Bits + DeviceCopy>(
    communicator: &Communicator,
    buffer: impl Into<Arc<DeviceBuffer<T>>>,
    shape: &[usize],
) -> Result<Tensor> {
    let buffer: Arc<DeviceBuffer<T>> = buffer.into();
    let own = super::handles(communicator)?;
    if super::elements("buffer", buffer.len(), shape)? == 0 {
        return communicator.empty(T::DTYPE, shape);
    }
    // A plain copy may return before its last piece has arrived; it goes through the default stream.
    // SAFETY: the communicator holds its context and stream.
    unsafe { raw::order(own.context as *mut c_void, std::ptr::null_mut(), own.stream as *mut c_void) }?;
    let address = DevicePtr::new(buffer.as_device_ptr().as_raw());
    let bytes = (buffer.len() * size_of::<T>()) as u64;
    let keeper: Box<dyn Any + Send + Sync> =
        Box::new(Kept { context: own.context, buffer: ManuallyDrop::new(Arc::clone(&buffer)) });
    // SAFETY: the keeper holds the buffer, which safe code does not write while it is shared.
    unsafe { communicator.lend(address, bytes, T::DTYPE, shape, keeper) }
}

/// A buffer that is freed in its context, whatever thread lets it go.
struct Kept<T: DeviceCopy> {
    context: usize,
    buffer: ManuallyDrop<Arc<DeviceBuffer<T>>>,
}

impl<T: DeviceCopy> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: not used after this.
        let buffer = unsafe { ManuallyDrop::take(&mut self.buffer) };
        // SAFETY: the tensor lets its keeper go before its driver, which holds the context.
        let freed = unsafe {
            raw::within(self.context as *mut c_void, || {
                drop(buffer);
                Ok(())
            })
        };
        if let Err(error) = freed {
            tracing::warn!(%error, "a buffer of cust's may not have been freed");
        }
    }
}
