//! What every call of the C interface goes through: injected failures, reasons on stderr, panics stopped.

use crate::result::{codes, invalid, Outcome};
use crate::settings::settings;
use crate::CUresult;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs the body of a call.
pub(crate) fn run(name: &'static str, body: impl FnOnce() -> Outcome) -> CUresult {
    let settings = settings();
    if let Some(code) = settings.injected(name) {
        if settings.log {
            eprintln!("cuda-emu: {name} gives {code}: WARPFERRY_CUDA_EMU_FAIL says so");
        }
        return code;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => codes::SUCCESS,
        Ok(Err(failure)) => {
            if settings.log && failure.code != codes::ERROR_NOT_READY {
                eprintln!("cuda-emu: {name} gives {}: {}", failure.code, failure.why);
            }
            failure.code
        }
        // The panic has said on stderr what it is.
        Err(_) => codes::ERROR_UNKNOWN,
    }
}

/// Stores a result where the caller wants it.
///
/// # Safety
/// `to` is null or may be written.
pub(crate) unsafe fn put<T>(to: *mut T, what: &str, value: T) -> Outcome {
    if to.is_null() {
        return invalid(format!("{what} is null"));
    }
    // SAFETY: it is not null, and the caller says that it may be written then.
    unsafe { to.write(value) };
    Ok(())
}

/// Stores a text with its end where the caller wants it, cut to `bytes`.
///
/// # Safety
/// `to` is null or `bytes` may be written there.
pub(crate) unsafe fn put_text(to: *mut std::ffi::c_char, bytes: usize, text: &str) -> Outcome {
    if to.is_null() || bytes == 0 {
        return invalid("no room for a text");
    }
    let used = text.len().min(bytes - 1);
    // SAFETY: `used + 1 <= bytes` bytes may be written there, as the caller says; a text and that room do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, used);
        to.add(used).write(0);
    }
    Ok(())
}

/// Exported functions: each goes through [`run`]. The C names are the API's.
macro_rules! entries {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$meta])*
            #[no_mangle]
            #[allow(non_snake_case)]
            pub unsafe extern "C" fn $name($($arg: $ty),*) -> $crate::CUresult {
                $crate::call::run(stringify!($name), || $body)
            }
        )*
    };
}
pub(crate) use entries;
