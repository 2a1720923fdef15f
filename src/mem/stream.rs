//! A stream that is ended when its owner goes.

use std::sync::Arc;

use crate::driver::{Driver, StreamId, StreamPriority};
use crate::error::Result;

/// A stream with an owner. Tensors share their communicator's: a copy may be asked for after the close.
#[derive(Debug)]
pub(crate) struct Stream {
    driver: Arc<dyn Driver>,
    id: StreamId,
    /// A caller's stream is not ended here.
    owned: bool,
}

impl Stream {
    pub fn new(driver: &Arc<dyn Driver>, priority: StreamPriority) -> Result<Arc<Stream>> {
        let id = driver.create_stream(priority)?;
        Ok(Arc::new(Stream { driver: Arc::clone(driver), id, owned: true }))
    }

    /// A stream that a caller made and will end; it must be one of `driver`.
    pub fn lent(driver: &Arc<dyn Driver>, id: StreamId) -> Result<Arc<Stream>> {
        driver.is_idle(id)?;
        Ok(Arc::new(Stream { driver: Arc::clone(driver), id, owned: false }))
    }

    pub fn id(&self) -> StreamId {
        self.id
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        if let Err(error) = self.driver.destroy_stream(self.id) {
            tracing::warn!(stream = self.id.0, %error, "a stream could not be ended");
        }
    }
}
