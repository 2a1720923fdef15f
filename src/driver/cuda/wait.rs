//! Bounded waits: ask again and again, fast at first.

use std::time::{Duration, Instant};

use crate::driver::{Wait, WordWait};
use crate::error::Result;

/// Time spent asking without a pause: kernels of a decode step end within it.
const SPIN: Duration = Duration::from_micros(200);
/// Pause between two questions after that.
const PAUSE: Duration = Duration::from_micros(20);
/// Looks at a word for each question about the stream: a look costs nanoseconds, a question about a microsecond.
const LOOKS_PER_QUESTION: u32 = 64;

/// When to give up; none is later than the clock can say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// `timeout` from now.
    pub fn after(timeout: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(timeout))
    }

    fn passed(self) -> bool {
        self.0.is_some_and(|at| Instant::now() >= at)
    }
}

/// Rests between questions: not at first, then shortly.
struct Rest {
    since: Instant,
}

impl Rest {
    fn new() -> Rest {
        Rest { since: Instant::now() }
    }

    fn rest(&self) {
        if self.since.elapsed() < SPIN {
            std::hint::spin_loop();
        } else {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Waits until `done`.
pub(super) fn until(deadline: Deadline, done: impl Fn() -> Result<bool>) -> Result<Wait> {
    let rest = Rest::new();
    loop {
        if done()? {
            return Ok(Wait::Done);
        }
        if deadline.passed() {
            return Ok(Wait::TimedOut);
        }
        rest.rest();
    }
}

/// Waits until `reached`, or the stream is `idle` and the word still is not there.
pub(super) fn word(
    deadline: Deadline,
    reached: impl Fn() -> bool,
    idle: impl Fn() -> Result<bool>,
) -> Result<WordWait> {
    let rest = Rest::new();
    loop {
        for _ in 0..LOOKS_PER_QUESTION {
            if reached() {
                return Ok(WordWait::Reached);
            }
            std::hint::spin_loop();
        }
        if idle()? {
            // The word may have been written between the last look and the question.
            return Ok(if reached() { WordWait::Reached } else { WordWait::StreamIdle });
        }
        if deadline.passed() {
            return Ok(WordWait::TimedOut);
        }
        rest.rest();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Method: a question that says yes the third time; one that never does; a word that comes as the stream runs dry.
    #[test]
    fn waits_end_by_what_comes_first() {
        let asked = Cell::new(0);
        let third = || {
            asked.set(asked.get() + 1);
            Ok(asked.get() == 3)
        };
        assert_eq!(until(Deadline::after(Duration::from_secs(60)), third).expect("asked"), Wait::Done);
        let never = until(Deadline::after(Duration::from_millis(2)), || Ok(false));
        assert_eq!(never.expect("asked"), Wait::TimedOut);
        assert_eq!(until(Deadline::after(Duration::MAX), || Ok(true)).expect("asked"), Wait::Done);

        let there = Cell::new(false);
        let idle = || {
            there.set(true);
            Ok(true)
        };
        let late = word(Deadline::after(Duration::from_secs(60)), || there.get(), idle);
        assert_eq!(late.expect("asked"), WordWait::Reached);
        let dry = word(Deadline::after(Duration::from_secs(60)), || false, || Ok(true));
        assert_eq!(dry.expect("asked"), WordWait::StreamIdle);
        let slow = word(Deadline::after(Duration::from_millis(2)), || false, || Ok(false));
        assert_eq!(slow.expect("asked"), WordWait::TimedOut);
    }
}
