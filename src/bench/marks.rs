//! Marks behind single launches of a driver, from which the shares of an operation's kernels follow.
//!
//! A mark is one more entry in a GPU's queue, so it costs a little of the time that it shows: times end to end are taken
//! without marks.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::driver::wrap::{Hook, Outcome, Wrapped};
use crate::driver::{Driver, EventId, StreamId};
use crate::error::{Error, Result};

/// Most launches that are marked: those of a dispatch by expert.
pub const MARKS_MAX: usize = 4;

/// Marks of one driver. Clones share them.
#[derive(Debug, Clone)]
pub struct Marks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    driver: Arc<dyn Driver>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Made at the first use, used again then.
    events: Vec<EventId>,
    /// Stream whose launches are marked.
    armed: Option<StreamId>,
    launches: usize,
    failed: Option<Error>,
}

impl Marks {
    /// Marks for launches of `driver`, and that driver with them around it.
    pub fn around(driver: Arc<dyn Driver>) -> (Marks, Arc<dyn Driver>) {
        let marks = Marks(Arc::new(Inner { driver: Arc::clone(&driver), state: Mutex::default() }));
        (marks.clone(), Arc::new(Wrapped::new(driver, marks)))
    }

    /// From now on each launch is followed by a mark in `stream`, which is the one they run in.
    ///
    /// # Errors
    /// What the driver says.
    pub fn arm(&self, stream: StreamId) -> Result<()> {
        let mut state = self.lock();
        while state.events.len() < MARKS_MAX {
            state.events.push(self.0.driver.create_event()?);
        }
        (state.armed, state.launches, state.failed) = (Some(stream), 0, None);
        Ok(())
    }

    /// Ends the marking; gives the mark behind each launch.
    ///
    /// # Errors
    /// [`Error::Bug`] for more launches than can be marked; what the driver said of a mark.
    pub fn disarm(&self) -> Result<Vec<EventId>> {
        let mut state = self.lock();
        state.armed = None;
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let marks = state.events.get(..state.launches).map(<[EventId]>::to_vec);
        marks.ok_or_else(|| Error::Bug(format!("{} launches where {MARKS_MAX} can be marked", state.launches)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hook for Marks {
    fn before(&self, _: &'static str, _: fmt::Arguments<'_>) -> Result<()> {
        Ok(())
    }

    fn after(&self, call: &'static str, outcome: Outcome<'_>) {
        if call != "launch" || matches!(outcome, Outcome::Failed(_)) {
            return;
        }
        let mut state = self.lock();
        let Some(stream) = state.armed else { return };
        if let Some(&event) = state.events.get(state.launches) {
            state.failed = self.0.driver.record_event(event, stream).err().or(state.failed.take());
        }
        state.launches += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::null::NullDriver;
    use crate::driver::{FunctionId, Launch, StreamPriority};

    fn launch(driver: &Arc<dyn Driver>, function: FunctionId, stream: StreamId) {
        let launch = Launch { function, grid: 1, block: 32, shared_bytes: 0, stream, args: &[], access: &[] };
        driver.launch(&launch).expect("the null driver takes it");
    }

    #[test]
    fn each_launch_between_arm_and_disarm_has_a_mark() {
        let (marks, driver) = Marks::around(Arc::new(NullDriver::new()));
        let stream = driver.create_stream(StreamPriority::NORMAL).expect("a stream");
        let function = driver.load(&crate::kernel::KERNELS[0]).expect("a kernel");
        launch(&driver, function, stream);
        for count in [0, 1, MARKS_MAX] {
            marks.arm(stream).expect("events");
            (0..count).for_each(|_| launch(&driver, function, stream));
            let events = marks.disarm().expect("all fit");
            launch(&driver, function, stream);
            assert_eq!(events.len(), count);
        }
        marks.arm(stream).expect("events");
        (0..=MARKS_MAX).for_each(|_| launch(&driver, function, stream));
        assert!(matches!(marks.disarm(), Err(Error::Bug(_))));
    }
}
