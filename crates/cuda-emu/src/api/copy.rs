//! Copies and fills.

use crate::call::entries;
use crate::engine::Turn;
use crate::memory::{refused, Place};
use crate::result::Outcome;
use crate::state::{handle, here, Here};
use crate::stream::Stream;
use crate::{CUdeviceptr, CUstream};
use std::ffi::{c_uchar, c_void};

entries! {
    /// Copies to the device in the stream's order. Memory of `cuMemHostAlloc` is read when the stream comes there.
    fn cuMemcpyHtoDAsync_v2(to: CUdeviceptr, from: *const c_void, bytes: usize, stream: CUstream) {
        let (mut turn, here) = here()?;
        let stream = turn.stream_for_work(handle(stream), here)?;
        // SAFETY: the caller gives `bytes` to read.
        unsafe { to_device(&mut turn, here, &stream, to, from, bytes) }
    }

    /// Copies to the device and waits for it.
    fn cuMemcpyHtoD_v2(to: CUdeviceptr, from: *const c_void, bytes: usize) {
        let (mut turn, here) = here()?;
        let stream = turn.stream_for_work(0, here)?;
        // SAFETY: the caller gives `bytes` to read.
        unsafe { to_device(&mut turn, here, &stream, to, from, bytes)? };
        wait(&mut turn, here, &stream)
    }

    /// Copies from the device in the stream's order. Only a copy to memory of `cuMemHostAlloc` returns before its end.
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize, stream: CUstream) {
        let (mut turn, here) = here()?;
        let stream = turn.stream_for_work(handle(stream), here)?;
        // SAFETY: the caller gives room for `bytes`.
        unsafe { to_host(&mut turn, here, &stream, to, from, bytes) }
    }

    /// Copies from the device and waits for it.
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize) {
        let (mut turn, here) = here()?;
        let stream = turn.stream_for_work(0, here)?;
        // SAFETY: the caller gives room for `bytes`.
        unsafe { to_host(&mut turn, here, &stream, to, from, bytes)? };
        wait(&mut turn, here, &stream)
    }

    /// Copies between addresses on the device in the stream's order.
    fn cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream) {
        let (mut turn, here) = here()?;
        let stream = turn.stream_for_work(handle(stream), here)?;
        if bytes == 0 {
            return Ok(());
        }
        turn.copied(here, to, bytes as u64, "the target")?;
        turn.copied(here, from, bytes as u64, "the source")?;
        turn.hold(here.device, stream.id)?;
        turn.machine.stream_copy(here.device, stream.id, from, to, bytes as u64).or_else(refused)
    }

    /// Fills memory in the stream's order.
    fn cuMemsetD8Async(to: CUdeviceptr, byte: c_uchar, bytes: usize, stream: CUstream) {
        let (mut turn, here) = here()?;
        let stream = turn.stream_for_work(handle(stream), here)?;
        if bytes == 0 {
            return Ok(());
        }
        turn.reachable(here, to, bytes as u64, "the target")?;
        turn.hold(here.device, stream.id)?;
        turn.machine.stream_fill(here.device, stream.id, to, byte, bytes as u64).or_else(refused)
    }
}

/// Waits until a stream has run dry.
fn wait(turn: &mut Turn, here: Here, stream: &Stream) -> Outcome {
    turn.wait(|state| match state.check_device(here.device) {
        Err(failure) => Some(Err(failure)),
        Ok(()) => state.stream_is_idle(stream).then_some(Ok(())),
    })
}

/// Puts a copy to the device into a stream.
///
/// # Safety
/// `bytes` can be read at `from`.
unsafe fn to_device(
    turn: &mut Turn,
    here: Here,
    stream: &Stream,
    to: CUdeviceptr,
    from: *const c_void,
    bytes: usize,
) -> Outcome {
    if bytes == 0 {
        return Ok(());
    }
    turn.copied(here, to, bytes as u64, "the target")?;
    let place = turn.blocks.place(from, bytes as u64, "the source")?;
    turn.hold(here.device, stream.id)?;
    match place {
        Place::Pinned(from) => turn.machine.stream_copy(here.device, stream.id, from, to, bytes as u64),
        Place::Pageable => {
            turn.not_captured(here.device, stream, "a copy from memory that is not pinned")?;
            // SAFETY: the caller says that these bytes can be read.
            let copy = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) }.to_vec();
            turn.machine.stream_write(here.device, stream.id, to, copy)
        }
    }
    .or_else(refused)
}

/// Puts a copy to the host into a stream; waits for it unless the target is pinned.
///
/// # Safety
/// `bytes` can be written at `to`.
unsafe fn to_host(
    turn: &mut Turn,
    here: Here,
    stream: &Stream,
    to: *mut c_void,
    from: CUdeviceptr,
    bytes: usize,
) -> Outcome {
    if bytes == 0 {
        return Ok(());
    }
    turn.copied(here, from, bytes as u64, "the source")?;
    let place = turn.blocks.place(to, bytes as u64, "the target")?;
    turn.hold(here.device, stream.id)?;
    if let Place::Pinned(to) = place {
        return turn.machine.stream_copy(here.device, stream.id, from, to, bytes as u64).or_else(refused);
    }
    turn.not_captured(here.device, stream, "a copy to memory that is not pinned")?;
    let transfer = turn.machine.stream_read(here.device, stream.id, from, bytes as u64).or_else(refused)?;
    let copy = turn.wait(|state| match state.check_device(here.device) {
        Err(failure) => Some(Err(failure)),
        Ok(()) => state.machine.take_transfer(transfer).map(Ok),
    })?;
    // SAFETY: the caller says that these bytes can be written; they are not those of `copy`, which was made here.
    unsafe { std::ptr::copy_nonoverlapping(copy.as_ptr(), to.cast::<u8>(), bytes) };
    Ok(())
}
