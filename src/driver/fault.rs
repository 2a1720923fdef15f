//! Makes chosen driver calls fail, to see what the library does about it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::wrap::{Hook, Outcome, Wrapped};
use super::Driver;
use crate::error::{Error, Result};

/// Which call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRule {
    /// Name of the call, as in [`super::trace::Call`].
    pub call: &'static str,
    /// Which one of that name, from 1; counted since the wrapper was made.
    pub nth: u64,
    /// What the driver is to say.
    pub message: String,
}

/// The rules of one driver, and how often each call was made.
#[derive(Debug)]
pub struct Faults {
    rules: Vec<FaultRule>,
    counts: Mutex<HashMap<&'static str, u64>>,
}

impl Faults {
    /// `driver`, in which the calls that `rules` name fail.
    pub fn wrap(driver: Arc<dyn Driver>, rules: Vec<FaultRule>) -> Arc<dyn Driver> {
        Arc::new(Wrapped::new(driver, Faults { rules, counts: Mutex::default() }))
    }
}

impl Hook for Faults {
    fn before(&self, call: &'static str, _arguments: fmt::Arguments<'_>) -> Result<()> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(call).or_insert(0);
        *count += 1;
        match self.rules.iter().find(|rule| rule.call == call && rule.nth == *count) {
            Some(rule) => Err(Error::Driver { call, message: rule.message.clone() }),
            None => Ok(()),
        }
    }

    fn after(&self, _call: &'static str, _outcome: Outcome<'_>) {}
}
