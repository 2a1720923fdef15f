//! Types of the C interface. Handles are numbers that point to nothing.

use std::ffi::{c_int, c_void};

/// Result of a call; see [`crate::codes`].
pub type CUresult = u32;
/// Ordinal of a GPU.
pub type CUdevice = c_int;
/// Address on a GPU.
pub type CUdeviceptr = u64;
/// A context.
pub type CUcontext = *mut c_void;
/// A loaded module.
pub type CUmodule = *mut c_void;
/// A kernel of a module.
pub type CUfunction = *mut c_void;
/// A stream.
pub type CUstream = *mut c_void;
/// An event.
pub type CUevent = *mut c_void;

/// Captured work.
pub type CUgraph = *mut c_void;
/// A graph that can be launched.
pub type CUgraphExec = *mut c_void;

/// Identity of a GPU.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CUuuid {
    /// 16 bytes.
    pub bytes: [u8; 16],
}
