//! What a rank runs on.

use std::sync::Arc;

use super::Nic;
use crate::driver::{Driver, StreamId, StreamPriority};

/// GPU and NIC of a rank.
#[derive(Debug, Clone)]
pub struct Device {
    /// The GPU.
    pub driver: Arc<dyn Driver>,
    /// The NIC; needed by fabric mlx5 when there is more than one node.
    pub nic: Option<Arc<dyn Nic>>,
    /// Stream of the driver in which the communicator's kernels run; `None`: one of its own.
    pub stream: Option<StreamId>,
    /// Priority of streams of its own.
    pub priority: StreamPriority,
}

impl Device {
    /// A GPU without a NIC. Streams of the communicator's own come before all others.
    pub fn new(driver: Arc<dyn Driver>) -> Device {
        Device { driver, nic: None, stream: None, priority: StreamPriority::HIGHEST }
    }

    /// With a NIC.
    #[must_use]
    pub fn nic(mut self, nic: Arc<dyn Nic>) -> Device {
        self.nic = Some(nic);
        self
    }

    /// With a stream of the caller's: the communicator's kernels run in it, and it must live as long.
    #[must_use]
    pub fn stream(mut self, stream: StreamId) -> Device {
        self.stream = Some(stream);
        self
    }

    /// With another priority of the streams that the communicator makes for itself. A stream of the caller's keeps its own.
    #[must_use]
    pub fn priority(mut self, priority: StreamPriority) -> Device {
        self.priority = priority;
        self
    }
}
