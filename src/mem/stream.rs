//! A stream that is ended when its owner goes.

use std::sync::Arc;

use crate::driver::{Driver, StreamId};
use crate::error::Result;

/// A stream with an owner. Tensors share their communicator's: a copy may be asked for after the close.
#[derive(Debug)]
pub(crate) struct Stream {
    driver: Arc<dyn Driver>,
    id: StreamId,
}

impl Stream {
    pub fn new(driver: &Arc<dyn Driver>) -> Result<Arc<Stream>> {
        let id = driver.create_stream()?;
        Ok(Arc::new(Stream { driver: Arc::clone(driver), id }))
    }

    pub fn id(&self) -> StreamId {
        self.id
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Err(error) = self.driver.destroy_stream(self.id) {
            tracing::warn!(stream = self.id.0, %error, "a stream could not be ended");
        }
    }
}
