//! Memory that is freed when its owner goes.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::{DevicePtr, HostBlock};
use crate::driver::Driver;
use crate::error::{Error, Result};

/// Least size of an allocation, so that an empty tensor still has an address of its own.
const BYTES_MIN: u64 = 16;

/// Device memory with an owner.
#[derive(Debug)]
pub struct Buffer {
    driver: Arc<dyn Driver>,
    ptr: DevicePtr,
    bytes: u64,
    /// Owner of memory that is not freed here; `None` for the driver's own, which is.
    keeper: Option<Keeper>,
    /// Whether that owner is the caller.
    lent: bool,
}

/// Whatever keeps lent memory alive.
struct Keeper(#[allow(dead_code)] Box<dyn Any + Send + Sync>); // held, not looked at

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

impl Buffer {
    /// Allocates `bytes` of device memory; contents are not defined.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(driver: &Arc<dyn Driver>, bytes: u64) -> Result<Buffer> {
        let ptr = driver.alloc(bytes.max(BYTES_MIN))?;
        Ok(Buffer { driver: Arc::clone(driver), ptr, bytes, keeper: None, lent: false })
    }

    /// Memory that a caller lends: not freed, but `keeper` dropped with this.
    pub(crate) fn lent(
        driver: &Arc<dyn Driver>,
        ptr: DevicePtr,
        bytes: u64,
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Buffer {
        Buffer { driver: Arc::clone(driver), ptr, bytes, keeper: Some(Keeper(keeper)), lent: true }
    }

    /// `bytes` from `offset` of this one on, which are `keeper`'s: it keeps this one and is dropped with the part.
    pub(crate) fn part(&self, offset: u64, bytes: u64, keeper: Box<dyn Any + Send + Sync>) -> Buffer {
        let ptr = self.ptr.offset(offset);
        Buffer { driver: Arc::clone(&self.driver), ptr, bytes, keeper: Some(Keeper(keeper)), lent: false }
    }

    /// Allocates and fills with zeros, in the order of `stream`.
    ///
    /// # Errors
    /// What the driver says.
    pub fn zeroed(driver: &Arc<dyn Driver>, bytes: u64, stream: crate::driver::StreamId) -> Result<Buffer> {
        let buffer = Buffer::new(driver, bytes)?;
        driver.fill(buffer.ptr, 0, bytes.max(BYTES_MIN), stream)?;
        Ok(buffer)
    }

    /// Allocates and copies `contents` there, in the order of `stream`.
    ///
    /// # Errors
    /// What the driver says.
    pub fn with_contents(driver: &Arc<dyn Driver>, contents: &[u8], stream: crate::driver::StreamId) -> Result<Buffer> {
        let buffer = Buffer::new(driver, contents.len() as u64)?;
        if !contents.is_empty() {
            driver.copy_to_device(buffer.ptr, contents, stream)?;
        }
        Ok(buffer)
    }

    /// Start.
    pub fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    /// Size asked for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a caller lends the memory.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Driver whose memory this is.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            // Here, while the driver is held: the keeper may need its context.
            drop(keeper);
            return;
        }
        if let Err(error) = self.driver.free(self.ptr) {
            tracing::warn!(ptr = %self.ptr, %error, "device memory could not be freed");
        }
    }
}

/// Host-mapped memory with an owner.
#[derive(Debug)]
pub struct HostBuffer {
    driver: Arc<dyn Driver>,
    block: HostBlock,
}

impl HostBuffer {
    /// Allocates `bytes` of zeroed host memory that the device has mapped.
    ///
    /// # Errors
    /// What the driver says.
    pub fn zeroed(driver: &Arc<dyn Driver>, bytes: u64) -> Result<HostBuffer> {
        let block = driver.alloc_host(bytes.max(BYTES_MIN))?;
        let buffer = HostBuffer { driver: Arc::clone(driver), block };
        buffer.clear()?;
        Ok(buffer)
    }

    /// Fills with zeros. No kernel may be using it.
    ///
    /// # Errors
    /// What the driver says.
    pub fn clear(&self) -> Result<()> {
        self.driver.write_host(&self.block, 0, &vec![0; self.block.bytes as usize])
    }

    /// Copies `bytes` from `offset` out.
    ///
    /// # Errors
    /// [`Error::Bug`] when the range lies outside; what the driver says.
    pub fn read(&self, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.block.bytes) {
            return Err(Error::Bug(format!(
                "read of {bytes} bytes at {offset} of a host block of {}",
                self.block.bytes
            )));
        }
        let mut into = vec![0; bytes as usize];
        self.driver.read_host(&self.block, offset, &mut into)?;
        Ok(into)
    }

    /// The block.
    pub fn block(&self) -> &HostBlock {
        &self.block
    }

    /// Where the device sees it.
    pub fn device(&self) -> DevicePtr {
        self.block.device
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        if let Err(error) = self.driver.free_host(&self.block) {
            tracing::warn!(block = ?self.block, %error, "host-mapped memory could not be freed");
        }
    }
}
