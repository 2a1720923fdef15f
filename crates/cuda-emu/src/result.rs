//! Result codes, their names and texts, and failures with a reason.

use crate::CUresult;
use std::ffi::CStr;

macro_rules! table {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// Result codes of the CUDA driver API that are given here.
        #[allow(missing_docs)] // the names say it
        pub mod codes {
            $(pub const $name: crate::CUresult = $code;)*
        }

        /// Name and text of a code.
        pub(crate) fn describe(code: CUresult) -> Option<(&'static CStr, &'static CStr)> {
            let pair: (&[u8], &[u8]) = match code {
                $($code => (
                    concat!("CUDA_", stringify!($name), "\0").as_bytes(),
                    concat!($text, "\0").as_bytes(),
                ),)*
                _ => return None,
            };
            Some((CStr::from_bytes_with_nul(pair.0).ok()?, CStr::from_bytes_with_nul(pair.1).ok()?))
        }
    };
}

table! {
    SUCCESS = 0, "no error";
    ERROR_INVALID_VALUE = 1, "an argument is not valid";
    ERROR_OUT_OF_MEMORY = 2, "out of memory";
    ERROR_NOT_INITIALIZED = 3, "cuInit was not called";
    ERROR_STUB_LIBRARY = 34, "the library is a stub";
    ERROR_NO_DEVICE = 100, "no CUDA device";
    ERROR_INVALID_DEVICE = 101, "no such device";
    ERROR_INVALID_IMAGE = 200, "the image is not valid";
    ERROR_INVALID_CONTEXT = 201, "no valid context";
    ERROR_NO_BINARY_FOR_GPU = 209, "no code for this device";
    ERROR_PEER_ACCESS_UNSUPPORTED = 217, "the devices cannot access each other";
    ERROR_INVALID_PTX = 218, "PTX that does not compile";
    ERROR_UNSUPPORTED_PTX_VERSION = 222, "PTX of a newer version than the driver knows";
    ERROR_INVALID_HANDLE = 400, "no such handle";
    ERROR_NOT_FOUND = 500, "not found";
    ERROR_NOT_READY = 600, "not ready";
    ERROR_ILLEGAL_ADDRESS = 700, "an illegal address was accessed";
    ERROR_LAUNCH_OUT_OF_RESOURCES = 701, "too many resources for a launch";
    ERROR_LAUNCH_TIMEOUT = 702, "a launch timed out";
    ERROR_PEER_ACCESS_ALREADY_ENABLED = 704, "peer access is enabled already";
    ERROR_PEER_ACCESS_NOT_ENABLED = 705, "peer access is not enabled";
    ERROR_CONTEXT_IS_DESTROYED = 709, "the context was destroyed";
    ERROR_MISALIGNED_ADDRESS = 716, "an address is not aligned";
    ERROR_LAUNCH_FAILED = 719, "a launch failed";
    ERROR_NOT_PERMITTED = 800, "not permitted";
    ERROR_NOT_SUPPORTED = 801, "not supported";
    ERROR_SYSTEM_NOT_READY = 802, "the system is not ready";
    ERROR_SYSTEM_DRIVER_MISMATCH = 803, "the driver does not match the system";
    ERROR_STREAM_CAPTURE_UNSUPPORTED = 900, "not permitted while a stream is captured";
    ERROR_STREAM_CAPTURE_INVALIDATED = 901, "the capture was made worthless by an earlier error";
    ERROR_STREAM_CAPTURE_MERGE = 902, "two captures would be merged";
    ERROR_STREAM_CAPTURE_UNMATCHED = 903, "the stream did not begin the capture";
    ERROR_STREAM_CAPTURE_UNJOINED = 904, "a stream that joined the capture was not waited for";
    ERROR_STREAM_CAPTURE_ISOLATION = 905, "the capture would depend on work outside it";
    ERROR_STREAM_CAPTURE_IMPLICIT = 906, "the default stream would depend on a capture";
    ERROR_CAPTURED_EVENT = 907, "the event was recorded in a capture";
    ERROR_STREAM_CAPTURE_WRONG_THREAD = 908, "another thread began the capture";
    ERROR_UNKNOWN = 999, "unknown error";
}

/// A call that failed, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub code: CUresult,
    pub why: String,
}

/// What a call gives.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// A failure.
pub(crate) fn fail<T>(code: CUresult, why: impl Into<String>) -> Outcome<T> {
    Err(failure(code, why))
}

/// A failure, bare.
pub(crate) fn failure(code: CUresult, why: impl Into<String>) -> Failure {
    Failure { code, why: why.into() }
}

/// An argument that is not valid.
pub(crate) fn invalid<T>(why: impl Into<String>) -> Outcome<T> {
    fail(codes::ERROR_INVALID_VALUE, why)
}
