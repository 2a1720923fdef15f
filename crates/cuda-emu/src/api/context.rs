//! Contexts.

use crate::call::{entries, put};
use crate::engine::engine;
use crate::result::{fail, invalid};
use crate::state::{self, context_pointer, current, current_here, handle, here, Here};
use crate::{codes, CUcontext, CUdevice};
use std::ffi::c_uint;

/// Flags of a context that are known.
const CONTEXT_FLAGS: c_uint = 0x1f;

entries! {
    /// The GPU's own context; each call needs a release of its own.
    fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice) {
        let mut turn = engine()?.turn();
        let device = turn.device(device)?;
        let (primary, count) = match turn.devices[device].primary {
            Some(found) => found,
            None => (turn.make_context(device, true)?, 0),
        };
        // SAFETY: the caller gives room for a handle, or null.
        unsafe { put(context, "the context", context_pointer(primary))? };
        turn.devices[device].primary = Some((primary, count + 1));
        Ok(())
    }

    /// Ends a use of the GPU's own context; the last one frees what is in it.
    fn cuDevicePrimaryCtxRelease_v2(device: CUdevice) {
        let mut turn = engine()?.turn();
        let device = turn.device(device)?;
        match turn.devices[device].primary {
            None => fail(codes::ERROR_INVALID_CONTEXT, "the primary context is not retained"),
            Some((primary, 1)) => {
                let here = Here { context: primary, device };
                turn.devices[device].primary = None;
                turn.wait_for_context(here);
                turn.drop_context(here);
                Ok(())
            }
            Some((primary, count)) => {
                turn.devices[device].primary = Some((primary, count - 1));
                Ok(())
            }
        }
    }

    /// A context beside the GPU's own; becomes current.
    fn cuCtxCreate_v2(context: *mut CUcontext, flags: c_uint, device: CUdevice) {
        let mut turn = engine()?.turn();
        let device = turn.device(device)?;
        if flags & !CONTEXT_FLAGS != 0 {
            return invalid(format!("flags {flags:#x}"));
        }
        if context.is_null() {
            return invalid("the context is null");
        }
        let made = turn.make_context(device, false)?;
        state::push_current(made);
        // SAFETY: the caller gives room for a handle.
        unsafe { put(context, "the context", context_pointer(made)) }
    }

    /// Ends a context and frees what is in it.
    fn cuCtxDestroy_v2(context: CUcontext) {
        let mut turn = engine()?.turn();
        let context = handle(context);
        let found = turn.context(context)?;
        let here = Here { context, device: found.device };
        if found.is_primary {
            return fail(codes::ERROR_INVALID_CONTEXT, "a primary context is released, not destroyed");
        }
        turn.wait_for_context(here);
        turn.drop_context(here);
        if current() == context {
            state::pop_current();
        }
        Ok(())
    }

    /// Makes a context current in this thread; null removes the current one.
    fn cuCtxSetCurrent(context: CUcontext) {
        let turn = engine()?.turn();
        let context = handle(context);
        if context != 0 {
            turn.context(context)?;
        }
        state::set_current(context);
        Ok(())
    }

    /// The context that is current in this thread, or null.
    fn cuCtxGetCurrent(context: *mut CUcontext) {
        engine()?;
        // SAFETY: the caller gives room for a handle, or null.
        unsafe { put(context, "the context", context_pointer(current())) }
    }

    /// Makes a context current until it is popped.
    fn cuCtxPushCurrent_v2(context: CUcontext) {
        let turn = engine()?.turn();
        turn.context(handle(context))?;
        state::push_current(handle(context));
        Ok(())
    }

    /// Ends what a push began.
    fn cuCtxPopCurrent_v2(context: *mut CUcontext) {
        engine()?;
        let Some(popped) = state::pop_current() else {
            return fail(codes::ERROR_INVALID_CONTEXT, "no context is current in this thread");
        };
        if context.is_null() {
            return Ok(());
        }
        // SAFETY: the caller gives room for a handle.
        unsafe { put(context, "the context", context_pointer(popped)) }
    }

    /// GPU of the current context.
    fn cuCtxGetDevice(device: *mut CUdevice) {
        let turn = engine()?.turn();
        let here = current_here(&turn)?;
        // SAFETY: the caller gives room for a handle, or null.
        unsafe { put(device, "the device", here.device as CUdevice) }
    }

    /// Waits until all streams of the current context have run dry.
    fn cuCtxSynchronize() {
        let (mut turn, here) = here()?;
        turn.wait(|state| match state.check_device(here.device) {
            Err(failure) => Some(Err(failure)),
            Ok(()) => state.context_is_idle(here.context).then_some(Ok(())),
        })
    }

    /// Least and greatest priority of a stream.
    fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) {
        let _ = here()?;
        // SAFETY: the caller gives room for numbers, or null.
        unsafe {
            if !least.is_null() {
                put(least, "the least", super::LEAST_PRIORITY)?;
            }
            if !greatest.is_null() {
                put(greatest, "the greatest", super::GREATEST_PRIORITY)?;
            }
        }
        Ok(())
    }
}
