//! Calls on handles that are not a driver's: what interoperation with other code of the process needs.

use std::ffi::c_void;

use cudarc::driver::sys::{CUcontext, CUevent, CUstream};

use super::api;
use super::context::current;
use crate::error::Result;

/// Does `act` while `context` is current on this thread, then puts back what was.
///
/// # Safety
/// `context` must be a live `CUcontext`.
#[cfg(feature = "cust")]
pub(crate) unsafe fn within<T>(context: *mut c_void, act: impl FnOnce() -> Result<T>) -> Result<T> {
    current(api::api()?, context.cast(), act)
}

/// What `later` does next waits for all that `earlier` holds now.
///
/// Between the default stream and one that synchronizes with it this order is there already, and a mark would wait for
/// every such stream, kernels that wait for another rank's included: then nothing is done.
///
/// # Safety
/// `context` must be a live `CUcontext`, and both streams live ones of it; null is its default stream.
pub(crate) unsafe fn order(context: *mut c_void, earlier: *mut c_void, later: *mut c_void) -> Result<()> {
    let api = api::api()?;
    let context: CUcontext = context.cast();
    let (earlier, later): (CUstream, CUstream) = (earlier.cast(), later.cast());
    current(api, context, || {
        if is_default(earlier) && api::blocking(later) || is_default(later) && api::blocking(earlier) {
            return Ok(());
        }
        let mut event = std::ptr::null_mut();
        // SAFETY: one handle is written.
        api.check("cuEventCreate", unsafe { (api.cuEventCreate)(&mut event, api::EVENT_DISABLE_TIMING) })?;
        // SAFETY: the event was just made; the stream is alive by the caller's promise.
        let ordered = api.check("cuEventRecord", unsafe { (api.cuEventRecord)(event, earlier) }).and_then(|()| {
            // SAFETY: as above.
            api.check("cuStreamWaitEvent", unsafe { (api.cuStreamWaitEvent)(later, event, 0) })
        });
        // SAFETY: ours; the driver keeps what is under way.
        api.check("cuEventDestroy_v2", unsafe { (api.cuEventDestroy_v2)(event) })?;
        ordered
    })
}

/// What `stream` does next waits for `event`.
///
/// # Safety
/// `context` must be a live `CUcontext`, the stream a live one of it, and the event live.
pub(crate) unsafe fn wait(context: *mut c_void, stream: *mut c_void, event: *mut c_void) -> Result<()> {
    let api = api::api()?;
    let (stream, event): (CUstream, CUevent) = (stream.cast(), event.cast());
    current(api, context.cast(), || {
        // SAFETY: both are alive by the caller's promise.
        api.check("cuStreamWaitEvent", unsafe { (api.cuStreamWaitEvent)(stream, event, 0) })
    })
}

/// The default stream, by either of its names. Source: CUDA driver API, "CU_STREAM_LEGACY".
fn is_default(stream: CUstream) -> bool {
    (stream as usize) < 2
}
