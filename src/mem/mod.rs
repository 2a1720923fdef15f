//! Memory as the host names it: addresses that only a device may follow, blocks that both see, typed tensors.

mod buffer;
pub(crate) mod stream;
pub(crate) mod tensor;

pub use buffer::{Buffer, HostBuffer};
pub use tensor::{DType, Element, Tensor};

use std::fmt;

/// An address in a device's address space. The host cannot follow it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DevicePtr(u64);

impl DevicePtr {
    /// No memory: what a kernel receives for an argument that is left out.
    pub const NULL: DevicePtr = DevicePtr(0);

    /// Wraps an address that a driver gave.
    pub const fn new(address: u64) -> DevicePtr {
        DevicePtr(address)
    }

    /// The number, as kernels and NICs see it.
    pub const fn address(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on.
    #[must_use]
    pub const fn offset(self, bytes: u64) -> DevicePtr {
        DevicePtr(self.0 + bytes)
    }
}

impl fmt::Debug for DevicePtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for DevicePtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Host memory that a device has mapped. Devices write it at any time: it is read by copies, never by reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostBlock {
    /// The driver's own name for it: its address on the host, or a number.
    pub id: u64,
    /// Where the device sees it.
    pub device: DevicePtr,
    /// Size.
    pub bytes: u64,
}

/// What lets another rank map a window: opaque outside the driver that made it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowHandle(pub [u8; 64]);

impl fmt::Debug for WindowHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowHandle(")?;
        for byte in &self.0[..16] {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "..)")
    }
}
