//! Contexts, streams and slices of the crate cudarc.
//!
//! Everything here is safe: contexts, streams and slices are held for as long as they are used, a slice is only read while
//! it is lent, and the order of work follows from the calls, whether or not cudarc tracks events:
//!
//! - [`tensor`]: operations on the communicator come after everything that the slice's stream holds at the call, and after
//!   the slice's last write on any stream as far as cudarc tracks it. A slice comes back (its last [`Arc`] is the caller's
//!   again) when no operation reads it any more, so nothing has to wait for it then.
//! - [`Borrowed`]: a tensor's contents as a slice for the caller's kernels. Its stream waits for what the communicator has
//!   started; the tensor's memory is not used again before the reads of the slice are over.
//! - [`wait_for`], [`release_to`]: the same for whole streams.
//!
//! cudarc implements its memory traits for `half::bf16` only with its feature `f16`. Without it a `CudaSlice<u16>` holds
//! the bits.

use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

/// The module `driver` of the crate, in the version that this library was built with: a program that takes it from here
/// needs no cudarc of its own and cannot have another version.
pub use ::cudarc::driver;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr as _, DevicePtrMut as _, DriverError};

use super::Bits;
use crate::comm::Communicator;
use crate::driver::cuda::Gpu;
use crate::driver::RawHandles;
use crate::error::{Error, Result};
use crate::fabric::Device;
use crate::mem::{DevicePtr, Tensor};

/// The per-thread default stream: another stream in every thread, so nobody else can wait for it.
const PER_THREAD_STREAM: usize = 2;

/// The GPU of `context`, by this context.
///
/// # Errors
/// [`Error::Unsupported`] for a GPU or driver that is too old; what the driver says.
pub fn gpu(context: &Arc<CudaContext>) -> Result<Gpu> {
    let keeper: Box<dyn Any + Send + Sync> = Box::new(Arc::clone(context));
    // SAFETY: the keeper holds the context.
    unsafe { Gpu::from_kept_context(context.cu_ctx().cast(), keeper) }
}

/// A rank that has the GPU for itself and runs its kernels in `stream`.
///
/// # Errors
/// [`Error::Argument`] for a default stream; what the driver says.
pub fn device(stream: &Arc<CudaStream>) -> Result<Device> {
    Ok(devices(std::slice::from_ref(stream))?.remove(0))
}

/// Ranks that share a GPU: one for each of `streams`, in rank order.
///
/// # Errors
/// As [`device`]; [`Error::Argument`] when the streams are of several contexts, more than SMs, none, or one is there twice.
pub fn devices(streams: &[Arc<CudaStream>]) -> Result<Vec<Device>> {
    let Some(first) = streams.first() else {
        return Err(Error::argument("streams", "none", "one a rank"));
    };
    let lend = |driver: &crate::driver::cuda::CudaDriver, stream: &Arc<CudaStream>| {
        // SAFETY: the keeper holds the stream.
        unsafe { driver.lend_kept_stream(stream.cu_stream().cast(), Box::new(Arc::clone(stream))) }
    };
    super::each_share(&gpu(first.context())?, streams, lend, |stream| stream.cu_stream() as usize)
}

/// What the communicator does next waits for all that `stream` holds now.
///
/// # Errors
/// [`Error::Argument`] for a stream of another context, or the per-thread default stream; what the driver says.
pub fn wait_for(communicator: &Communicator, stream: &CudaStream) -> Result<()> {
    let own = super::handles(communicator)?;
    check_stream("stream", own, stream)?;
    order(own.context, stream.cu_stream() as usize, own.stream)
}

/// What `stream` does next waits for all that the communicator has started.
///
/// # Errors
/// As [`wait_for`].
pub fn release_to(communicator: &Communicator, stream: &CudaStream) -> Result<()> {
    let own = super::handles(communicator)?;
    check_stream("stream", own, stream)?;
    order(own.context, own.stream, stream.cu_stream() as usize)
}

/// A tensor over the first elements of `slice`: a [`CudaSlice`], or an [`Arc`] of one that the caller keeps a clone of to
/// get the slice back with [`Arc::into_inner`].
///
/// Where the GPU has no memory pools cudarc frees a slice by waiting for the whole GPU, kernels that wait for another rank
/// included: keep a clone there and drop it when none runs.
///
/// # Errors
/// [`Error::Argument`] when the slice is of another context, has too few elements, is not aligned to 16 bytes or was made
/// on the per-thread default stream; [`Error::Unsupported`] when the communicator's driver is not over CUDA.
pub fn tensor<T: Bits>(
    communicator: &Communicator,
    slice: impl Into<Arc<CudaSlice<T>>>,
    shape: &[usize],
) -> Result<Tensor> {
    let slice: Arc<CudaSlice<T>> = slice.into();
    let own = super::handles(communicator)?;
    check_stream("slice", own, slice.stream())?;
    if super::elements("slice", slice.len(), shape)? == 0 {
        return communicator.empty(T::DTYPE, shape);
    }
    order(own.context, slice.stream().cu_stream() as usize, own.stream)?;
    let kernels = wrap(own, slice.context());
    let (address, read) = slice.device_ptr(&kernels);
    // No later write has to wait for this stream: while operations read, the slice is shared and nobody writes it.
    std::mem::forget(read);
    slice.context().check_err().map_err(failed)?;
    let bytes = slice.num_bytes() as u64;
    let keeper = Box::new(Arc::clone(&slice));
    // SAFETY: the keeper holds the slice, whose memory nobody writes while it is shared, and what was written before
    // comes before the communicator's next operation.
    unsafe { communicator.lend_known(DevicePtr::new(address), bytes, T::DTYPE, shape, keeper) }
}

/// A tensor's contents as a slice, to be read by the caller's kernels and copies: [`Borrowed::new`].
///
/// In streams other than the given one cudarc's event tracking orders reads, as for any slice.
pub struct Borrowed<T> {
    slice: ManuallyDrop<CudaSlice<T>>,
    kernels: ManuallyDrop<Arc<CudaStream>>,
    own: RawHandles,
    tensor: ManuallyDrop<Tensor>,
}

impl<T: Bits> Borrowed<T> {
    /// Lends the contents of a tensor of `communicator` to `stream`, which waits for all that the communicator has started.
    ///
    /// # Errors
    /// [`Error::Argument`] when the tensor is lent, holds another type or is another communicator's, or the stream is of another
    /// context or the per-thread default stream; [`Error::Unsupported`] when the communicator's driver is not over CUDA.
    pub fn new(communicator: &Communicator, tensor: &Tensor, stream: &Arc<CudaStream>) -> Result<Borrowed<T>> {
        let own = super::handles(communicator)?;
        check_stream("stream", own, stream)?;
        communicator.check_tensor("tensor", tensor)?;
        if tensor.is_lent() {
            return Err(Error::argument("tensor", "memory that a caller lends", "a tensor of the communicator's own"));
        }
        if tensor.dtype() != T::DTYPE {
            return Err(Error::argument("tensor", tensor.dtype(), T::DTYPE.to_string()));
        }
        // What cudarc does below fails by a panic where these fail.
        stream.context().bind_to_thread().map_err(failed)?;
        order(own.context, own.stream, stream.cu_stream() as usize)?;
        let kernels = wrap(own, stream.context());
        let length = (tensor.bytes() / T::DTYPE.bytes()) as usize;
        // SAFETY: the range is the tensor's, which is held; any bits are values of these types.
        let slice = unsafe { stream.upgrade_device_ptr::<T>(tensor.ptr().address(), length) };
        let mut borrowed = Borrowed {
            slice: ManuallyDrop::new(slice),
            kernels: ManuallyDrop::new(kernels),
            own,
            tensor: ManuallyDrop::new(tensor.clone()),
        };
        // Records the communicator's stream as the last writer, for reads in other streams.
        let Borrowed { slice, kernels, .. } = &mut borrowed;
        drop(slice.device_ptr_mut(kernels));
        stream.context().check_err().map_err(failed)?;
        Ok(borrowed)
    }
}

impl<T> Deref for Borrowed<T> {
    type Target = CudaSlice<T>;

    fn deref(&self) -> &CudaSlice<T> {
        &self.slice
    }
}

impl<T> Drop for Borrowed<T> {
    fn drop(&mut self) {
        let reader = self.slice.stream().cu_stream() as usize;
        let context = Arc::clone(self.slice.context());
        // The tensor's memory is used again in the order of the communicator's stream.
        let mut ordered = order(self.own.context, reader, self.own.stream);
        let (_, write) = self.slice.device_ptr_mut(&self.kernels);
        // Nothing was written: no later read has to wait for it.
        std::mem::forget(write);
        ordered = ordered.and(context.check_err().map_err(failed));
        // SAFETY: nothing of these is used after this; leaking frees no memory, which is the tensor's.
        unsafe {
            let _address = ManuallyDrop::take(&mut self.slice).leak();
            ManuallyDrop::drop(&mut self.kernels);
        }
        match ordered {
            // SAFETY: not used after this.
            Ok(()) => unsafe { ManuallyDrop::drop(&mut self.tensor) },
            Err(error) => tracing::warn!(%error, "a borrowed tensor's memory stays allocated: reads may be under way"),
        }
    }
}

impl<T> fmt::Debug for Borrowed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrowed").field("tensor", &*self.tensor).finish_non_exhaustive()
    }
}

/// The communicator's stream as cudarc sees it.
fn wrap(own: RawHandles, context: &Arc<CudaContext>) -> Arc<CudaStream> {
    // SAFETY: a stream of this context by the caller's check; the wrapper is gone before the communicator or the tensor
    // that holds the stream.
    unsafe { context.wrap_borrowed_stream((own.stream as *mut c_void).cast()) }
}

fn order(context: usize, earlier: usize, later: usize) -> Result<()> {
    if earlier == later {
        return Ok(());
    }
    // SAFETY: the communicator or its tensor holds context and stream, and cudarc the other stream.
    unsafe { crate::driver::cuda::raw::order(context as *mut c_void, earlier as *mut c_void, later as *mut c_void) }
}

fn check_stream(argument: &str, own: RawHandles, stream: &CudaStream) -> Result<()> {
    if stream.context().cu_ctx() as usize != own.context {
        return Err(Error::argument(argument, "of another context", "of the communicator's context"));
    }
    if stream.cu_stream() as usize == PER_THREAD_STREAM {
        return Err(Error::argument(argument, "of the per-thread default stream", "of any other stream"));
    }
    Ok(())
}

fn failed(error: DriverError) -> Error {
    Error::Driver { call: "cudarc", message: error.to_string() }
}
