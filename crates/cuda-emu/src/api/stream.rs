//! Streams.

use crate::call::{entries, put};
use crate::engine::engine;
use crate::memory::refused;
use crate::result::{fail, invalid};
use crate::state::{context_pointer, current_here, handle, here, pointer};
use crate::{codes, CUcontext, CUdeviceptr, CUevent, CUstream};
use std::ffi::{c_int, c_uint};

/// Greatest and least priority: of CTAs that wait for an SM, those of the lower number come first.
pub(super) const GREATEST_PRIORITY: c_int = -5;
pub(super) const LEAST_PRIORITY: c_int = 0;
/// The stream and the default stream do not wait for each other.
const NON_BLOCKING: c_uint = 1;
/// The value is written without waiting for earlier work to be visible: here it always is.
const NO_MEMORY_BARRIER: c_uint = 1;

entries! {
    /// A new stream.
    fn cuStreamCreate(stream: *mut CUstream, flags: c_uint) {
        // SAFETY: the caller gives room for a handle, or null.
        unsafe { create(stream, flags, LEAST_PRIORITY) }
    }

    /// A new stream with a priority, which is moved into the range as the driver does.
    fn cuStreamCreateWithPriority(stream: *mut CUstream, flags: c_uint, priority: c_int) {
        // SAFETY: the caller gives room for a handle, or null.
        unsafe { create(stream, flags, priority) }
    }

    /// Ends a stream; its work goes on.
    fn cuStreamDestroy_v2(stream: CUstream) {
        let (mut turn, here) = here()?;
        turn.drop_stream(handle(stream), here)
    }

    /// Whether a stream has run dry.
    fn cuStreamQuery(stream: CUstream) {
        let (mut turn, here) = here()?;
        let stream = turn.stream(handle(stream), here)?;
        turn.not_captured(here.device, &stream, "cuStreamQuery")?;
        turn.look_at_holds(true);
        if !turn.stream_is_idle(&stream) {
            return fail(codes::ERROR_NOT_READY, "the stream has work");
        }
        Ok(())
    }

    /// Waits until a stream has run dry.
    fn cuStreamSynchronize(stream: CUstream) {
        let (mut turn, here) = here()?;
        let stream = turn.stream(handle(stream), here)?;
        turn.not_captured(here.device, &stream, "cuStreamSynchronize")?;
        turn.look_at_holds(true);
        turn.wait(|state| match state.check_device(here.device) {
            Err(failure) => Some(Err(failure)),
            Ok(()) => state.stream_is_idle(&stream).then_some(Ok(())),
        })
    }

    /// Makes later work of a stream wait for an event.
    fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint) {
        let (mut turn, here) = here()?;
        if flags > 1 {
            return invalid(format!("flags {flags:#x}"));
        }
        let event = *turn.event(handle(event))?;
        let stream = turn.stream_for_work(handle(stream), here)?;
        if !event.recorded {
            return Ok(());
        }
        turn.machine.wait_event(here.device, stream.id, event.id).or_else(refused)
    }

    /// Context of a stream.
    fn cuStreamGetCtx(stream: CUstream, context: *mut CUcontext) {
        let mut turn = engine()?.turn();
        let here = current_here(&turn)?;
        let owner = turn.stream(handle(stream), here)?.owner;
        // SAFETY: the caller gives room for a handle, or null.
        unsafe { put(context, "the context", context_pointer(owner.context)) }
    }

    /// Stores a word in the stream's order.
    fn cuStreamWriteValue64_v2(stream: CUstream, address: CUdeviceptr, value: u64, flags: c_uint) {
        let (mut turn, here) = here()?;
        if flags & !NO_MEMORY_BARRIER != 0 || !address.is_multiple_of(8) {
            return invalid(format!("address {address:#x}, flags {flags:#x}"));
        }
        turn.reachable(here, address, 8, "the address")?;
        let stream = turn.stream_for_work(handle(stream), here)?;
        turn.hold(here.device, stream.id)?;
        let bytes = value.to_le_bytes().to_vec();
        turn.machine.stream_write(here.device, stream.id, address, bytes).or_else(refused)
    }
}

/// A new stream.
///
/// # Safety
/// `stream` is null or may be written.
unsafe fn create(stream: *mut CUstream, flags: c_uint, priority: c_int) -> crate::result::Outcome {
    let (mut turn, here) = here()?;
    if stream.is_null() || flags & !NON_BLOCKING != 0 {
        return invalid(format!("flags {flags:#x}"));
    }
    let made = turn.make_stream(here, flags & NON_BLOCKING == 0)?;
    let id = turn.stream(made, here)?.id;
    turn.machine.set_priority(here.device, id, priority.clamp(GREATEST_PRIORITY, LEAST_PRIORITY)).or_else(refused)?;
    // SAFETY: it is not null, and the caller says that it may be written then.
    unsafe { put(stream, "the stream", pointer(made)) }
}
