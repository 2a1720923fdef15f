//! Copies between a caller's memory and the device, through host memory that the copy engine reaches by itself.
//!
//! A copy from memory of any other kind may block in the driver until the stream comes to it, without a deadline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys::CUstream;

use super::context::{Context, EventHandle};
use super::hostmem::HostMemory;
use super::wait::{self, Deadline};
use crate::driver::Wait;
use crate::error::{Error, Result};
use crate::mem::DevicePtr;

/// Largest piece of a copy.
pub(super) const PIECE_BYTES: usize = 2 << 20;
/// Pieces of one copy to the device that may be under way.
const PIECES_UNDER_WAY: usize = 4;
/// Longest that a copy waits for its stream. Kernels end by their own deadlines long before, but a caller's stream may
/// hold anything.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// An event behind what the stream holds now.
pub(super) fn mark(context: &Arc<Context>, stream: CUstream) -> Result<EventHandle> {
    let event = context.event()?;
    // SAFETY: the stream is alive: its driver holds it.
    let recorded = context.with(|api| api.check("cuEventRecord", unsafe { (api.cuEventRecord)(event.0, stream) }));
    recorded.inspect_err(|_| context.recycle(event))?;
    Ok(event)
}

/// Copies to the device in the stream's order; `bytes` may change as soon as this returns.
pub(super) fn send(context: &Arc<Context>, to: DevicePtr, bytes: &[u8], stream: CUstream) -> Result<()> {
    let mut under_way: VecDeque<(u64, EventHandle)> = VecDeque::new();
    let mut sent = Ok(());
    for (index, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
        let at = to.offset((index * PIECE_BYTES) as u64);
        sent = send_piece(context, at, piece, stream, &mut under_way);
        if sent.is_err() {
            break;
        }
    }
    for (address, event) in under_way {
        context.free_host(address, vec![event])?;
    }
    sent
}

fn send_piece(
    context: &Arc<Context>,
    to: DevicePtr,
    piece: &[u8],
    stream: CUstream,
    under_way: &mut VecDeque<(u64, EventHandle)>,
) -> Result<()> {
    if let Some(&(address, event)) = under_way.front().filter(|_| under_way.len() == PIECES_UNDER_WAY) {
        wait_for(context, "copy_to_device", event)?;
        context.free_host(address, vec![event])?;
        under_way.pop_front();
    }
    let (host, _) = context.alloc_host(piece.len() as u64)?;
    // SAFETY: the range was just handed out.
    unsafe { HostMemory::new(host, piece.len() as u64) }.write(piece);
    let copied = context.with(|api| {
        // SAFETY: the host range stays handed out until the event behind this copy; the caller owns the device range.
        let code =
            unsafe { (api.cuMemcpyHtoDAsync_v2)(to.address(), host as *const std::ffi::c_void, piece.len(), stream) };
        api.check("cuMemcpyHtoDAsync_v2", code)
    });
    // Even after a failure the range rests until the stream has come here.
    under_way.push_back((host, mark(context, stream)?));
    copied
}

/// Copies from the device in the stream's order and waits for it.
pub(super) fn fetch(context: &Arc<Context>, into: &mut [u8], from: DevicePtr, stream: CUstream) -> Result<()> {
    for (index, piece) in into.chunks_mut(PIECE_BYTES).enumerate() {
        let (host, _) = context.alloc_host(piece.len() as u64)?;
        let at = from.offset((index * PIECE_BYTES) as u64);
        let copied = context.with(|api| {
            // SAFETY: the host range is handed out until the event behind this copy; the caller owns the device range.
            let code =
                unsafe { (api.cuMemcpyDtoHAsync_v2)(host as *mut std::ffi::c_void, at.address(), piece.len(), stream) };
            api.check("cuMemcpyDtoHAsync_v2", code)
        });
        let event = mark(context, stream)?;
        let waited = copied.and_then(|()| wait_for(context, "copy_from_device", event));
        if waited.is_ok() {
            // SAFETY: the range is handed out, and the copy into it is over.
            unsafe { HostMemory::new(host, piece.len() as u64) }.read(piece);
        }
        context.free_host(host, vec![event])?;
        waited?;
    }
    Ok(())
}

fn wait_for(context: &Arc<Context>, call: &'static str, event: EventHandle) -> Result<()> {
    match wait::until(Deadline::after(TIMEOUT), || context.reached(event))? {
        Wait::Done => Ok(()),
        Wait::TimedOut => Err(Error::Driver { call, message: "the stream does not come to the copy".to_string() }),
    }
}
