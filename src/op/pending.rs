//! An operation whose kernels may still be running.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::comm::shared::{Outcome, Shared, Ticket};
use crate::driver::{EventId, StreamId, Wait};
use crate::error::{Error, Result};

/// An operation under way. What it reads and writes is kept until its kernels have ended, also when this is dropped.
#[must_use = "results are handed out by `wait`"]
pub struct Pending<T> {
    shared: Arc<Shared>,
    op: &'static str,
    ticket: Ticket,
    output: Option<T>,
    /// Why there are no results.
    failed: Option<Error>,
    /// Results of which rows were dropped.
    fits: Option<T>,
}

/// Results of an operation, which may know more when it has ended.
pub(crate) trait Finish {
    fn finish(&mut self, shared: &Shared, outcome: &Outcome);
}

#[allow(private_bounds)] // the results are ours
impl<T: Finish> Pending<T> {
    pub(crate) fn new(shared: &Arc<Shared>, op: &'static str, ticket: Ticket, output: T) -> Pending<T> {
        Pending { shared: Arc::clone(shared), op, ticket, output: Some(output), failed: None, fits: None }
    }

    /// Waits until the kernels have ended and hands the results out. After [`Error::WaitTimeout`] it can be called
    /// again: the operation goes on. An operation that failed says why every time.
    ///
    /// # Errors
    /// [`Error::WaitTimeout`]; [`Error::Ended`] when a kernel gave up; [`Error::Overflow`] when more rows came than the bound
    /// of the call; [`Error::Argument`] when the results were handed out already; what the driver says.
    pub fn wait(&mut self, timeout: Duration) -> Result<T> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.output.is_none() {
            return Err(Error::argument("pending", "results were handed out already", "one successful wait"));
        }
        if self.shared.wait(self.ticket, timeout)? == Wait::TimedOut {
            let waited_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            return Err(Error::WaitTimeout { op: self.op, rank: self.shared.rank, waited_ms });
        }
        let outcome = self.shared.collect(self.ticket);
        let mut output = self.output.take();
        if let (Ok(outcome), Some(output)) = (&outcome, &mut output) {
            output.finish(&self.shared, outcome);
        }
        let error = match outcome {
            Ok(Outcome { overflow: None, .. }) => {
                return output.ok_or_else(|| Error::Bug("a pending operation lost its results".into()));
            }
            Ok(Outcome { overflow: Some(error), .. }) => {
                self.fits = output;
                error
            }
            Err(error) => error,
        };
        self.failed = Some(error.clone());
        Err(error)
    }

    /// After [`Error::Overflow`]: the results with the rows that fitted, once. A rank that goes on needs the handle, since
    /// combines are collective.
    pub fn take_what_fits(&mut self) -> Option<T> {
        self.fits.take()
    }

    /// Where the results will be, for work in streams that wait for the end of the kernels ([`Pending::event`],
    /// [`Pending::release_to`]); what a bound leaves open is not filled in. `None` when `wait` has had the outcome.
    pub fn results(&self) -> Option<&T> {
        self.output.as_ref()
    }

    /// What is reached when the kernels have ended, for streams of the communicator's driver to wait for. It is the
    /// operation's until `wait` has its outcome or this is dropped; a stream that waits for it by then goes on doing so.
    ///
    /// # Errors
    /// [`Error::Argument`] when `wait` has had the outcome.
    pub fn event(&self) -> Result<EventId> {
        let event = self.shared.event(self.ticket);
        event.ok_or_else(|| {
            Error::argument("pending", "results were handed out already", "an operation nobody waited for")
        })
    }

    /// What `stream` of the communicator's driver does next waits for the end of the kernels; the host does not. There
    /// the results can be used before `wait`, whether the operation failed or not: its status is known to `wait` alone.
    ///
    /// # Errors
    /// What the driver says.
    pub fn release_to(&self, stream: StreamId) -> Result<()> {
        match self.shared.event(self.ticket) {
            Some(event) => self.shared.driver.stream_wait_event(stream, event),
            // It has ended.
            None => Ok(()),
        }
    }

    /// Whether the kernels have ended: whether `wait` would return at once.
    ///
    /// # Errors
    /// What the driver says.
    pub fn is_done(&self) -> Result<bool> {
        self.shared.is_done(self.ticket)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if self.output.is_some() {
            self.shared.abandon(self.ticket);
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("op", &self.op).field("rank", &self.shared.rank).finish_non_exhaustive()
    }
}
