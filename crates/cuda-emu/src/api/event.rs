//! Events.

use crate::call::{entries, put};
use crate::memory::refused;
use crate::result::{fail, invalid, Outcome};
use crate::state::{handle, here, pointer};
use crate::{codes, CUevent, CUstream};
use std::ffi::c_uint;

/// The event takes no time.
const DISABLE_TIMING: c_uint = 2;
/// Flags that are known: waiting without spinning, no time, other processes (with no time only).
const EVENT_FLAGS: c_uint = 7;
const INTERPROCESS: c_uint = 4;

entries! {
    /// A new event, reached from the start.
    fn cuEventCreate(event: *mut CUevent, flags: c_uint) {
        let (mut turn, here) = here()?;
        if event.is_null() || flags & !EVENT_FLAGS != 0 {
            return invalid(format!("flags {flags:#x}"));
        }
        if flags & INTERPROCESS != 0 {
            return fail(codes::ERROR_NOT_SUPPORTED, "events of several processes");
        }
        let made = turn.make_event(here, flags & DISABLE_TIMING == 0);
        // SAFETY: the caller gives room for a handle.
        unsafe { put(event, "the event", pointer(made)) }
    }

    /// Ends an event.
    fn cuEventDestroy_v2(event: CUevent) {
        let (mut turn, _) = here()?;
        turn.drop_event(handle(event))
    }

    /// Marks the present end of a stream of the event's context.
    fn cuEventRecord(event: CUevent, stream: CUstream) {
        let (mut turn, here) = here()?;
        let found = *turn.event(handle(event))?;
        if found.owner.context != here.context {
            return fail(codes::ERROR_INVALID_HANDLE, "the event belongs to another context");
        }
        let stream = turn.stream_for_work(handle(stream), here)?;
        turn.machine.record_event(here.device, stream.id, found.id).or_else(refused)?;
        turn.event(handle(event))?.recorded = true;
        Ok(())
    }

    /// Whether an event was reached.
    fn cuEventQuery(event: CUevent) {
        let (mut turn, _) = here()?;
        turn.no_capture("cuEventQuery")?;
        turn.look_at_holds(true);
        if !turn.event_is_reached(handle(event))? {
            return fail(codes::ERROR_NOT_READY, "the event was not reached");
        }
        Ok(())
    }

    /// Waits for an event.
    fn cuEventSynchronize(event: CUevent) {
        let (mut turn, _) = here()?;
        turn.no_capture("cuEventSynchronize")?;
        turn.wait(|state| match state.event_is_reached(handle(event)) {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(failure) => Some(Err(failure)),
        })
    }

    /// Milliseconds of the machine's clock between two events that were reached.
    fn cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent) {
        let (mut turn, _) = here()?;
        let mut time = |event: CUevent| -> Outcome<u64> {
            let found = *turn.event(handle(event))?;
            if !found.timed || !found.recorded {
                return fail(codes::ERROR_INVALID_HANDLE, "the event takes no time or was not recorded");
            }
            turn.check_device(found.owner.device)?;
            match turn.machine.event_time_ns(found.id).or_else(refused)? {
                Some(ns) => Ok(ns),
                None => fail(codes::ERROR_NOT_READY, "the event was not reached"),
            }
        };
        let (start, end) = (time(start)?, time(end)?);
        let passed = (end as f64 - start as f64) / 1e6;
        // SAFETY: the caller gives room for a number, or null.
        unsafe { put(milliseconds, "the time", passed as f32) }
    }
}
