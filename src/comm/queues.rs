//! Where the memory of a rank's queue pairs lies: in device memory, or where a NIC served by the host can look.

use std::sync::Arc;

use crate::driver::{Driver, StreamId};
use crate::error::Result;
use crate::fabric::QueuePlace;
use crate::mem::{Buffer, DevicePtr, HostBuffer};

/// Send queues, doorbell records and completion entries of a rank.
#[derive(Debug)]
pub(crate) enum QueueStore {
    /// A NIC reads and writes them over the bus.
    Device(Buffer),
    /// A host thread does.
    Host(HostBuffer),
}

impl QueueStore {
    /// Memory with these contents; on the device, in the order of `stream`.
    pub fn new(driver: &Arc<dyn Driver>, place: QueuePlace, contents: &[u8], stream: StreamId) -> Result<QueueStore> {
        match place {
            QueuePlace::Device => Buffer::with_contents(driver, contents, stream).map(QueueStore::Device),
            QueuePlace::Host => {
                let buffer = HostBuffer::zeroed(driver, contents.len() as u64)?;
                driver.write_host(buffer.block(), 0, contents)?;
                Ok(QueueStore::Host(buffer))
            }
        }
    }

    /// Start, as the device sees it.
    pub fn ptr(&self) -> DevicePtr {
        match self {
            QueueStore::Device(buffer) => buffer.ptr(),
            QueueStore::Host(buffer) => buffer.device(),
        }
    }

    /// Size.
    pub fn bytes(&self) -> u64 {
        match self {
            QueueStore::Device(buffer) => buffer.bytes(),
            QueueStore::Host(buffer) => buffer.block().bytes,
        }
    }

    /// The host block, when it is one.
    pub fn host(&self) -> Option<&HostBuffer> {
        match self {
            QueueStore::Device(_) => None,
            QueueStore::Host(buffer) => Some(buffer),
        }
    }
}
