//! Captures that a driver's callers have begun, and what they may not call within one.
//!
//! A graph runs again and again with the same arguments, so nothing that the host does between its launches is part of
//! it. The thread that captures may therefore not take memory, load code, copy from or to the host, or ask how far a
//! stream or event is, before it has ended the capture: the call fails, and so does the end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use super::StreamId;
use crate::error::{Error, Result};

/// A capture under way.
#[derive(Debug)]
struct Capture {
    stream: StreamId,
    thread: ThreadId,
    /// The first call that has no place in it.
    spoiled: Option<&'static str>,
}

/// The captures of a driver.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    under_way: Mutex<Vec<Capture>>,
}

impl Captures {
    fn lock(&self) -> MutexGuard<'_, Vec<Capture>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This thread captures `stream` from now on.
    pub fn begin(&self, stream: StreamId) {
        let thread = std::thread::current().id();
        self.lock().push(Capture { stream, thread, spoiled: None });
    }

    /// It does no longer; fails when it called what has no place in a capture.
    pub fn end(&self, stream: StreamId) -> Result<()> {
        let mut under_way = self.lock();
        let found = under_way.iter().position(|capture| capture.stream == stream);
        match found.map(|index| under_way.remove(index)).and_then(|capture| capture.spoiled) {
            None => Ok(()),
            Some(by) => {
                let message = format!("the capture of stream {} is not valid: {by} was called within it", stream.0);
                Err(Error::Driver { call: "end_capture", message })
            }
        }
    }

    /// Refuses a call that this thread makes within a capture, which is then worth nothing.
    pub fn refuse(&self, call: &'static str) -> Result<()> {
        let own = std::thread::current().id();
        match self.lock().iter_mut().find(|capture| capture.thread == own) {
            None => Ok(()),
            Some(Capture { stream, spoiled, .. }) => {
                spoiled.get_or_insert(call);
                let message = format!("no part of a graph, and stream {} is being captured", stream.0);
                Err(Error::Driver { call, message })
            }
        }
    }

    /// Whether any thread captures.
    pub fn any(&self) -> bool {
        !self.lock().is_empty()
    }
}
