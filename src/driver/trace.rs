//! Writes every driver call down.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::wrap::{Hook, Outcome, Wrapped};
use super::Driver;
use crate::error::Result;

/// Most calls that a trace keeps; later ones are counted only.
pub const CALLS_MAX: usize = 1 << 20;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, as text.
    pub arguments: String,
    /// What it gave, or its error.
    pub outcome: std::result::Result<String, String>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(value) => write!(f, "{}({}) = {value}", self.name, self.arguments),
            Err(error) => write!(f, "{}({}) failed: {error}", self.name, self.arguments),
        }
    }
}

/// Calls in the order in which they began.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Trace {
    /// An empty trace.
    pub fn new() -> Trace {
        Trace::default()
    }

    /// `driver`, with its calls written here.
    pub fn wrap(&self, driver: Arc<dyn Driver>) -> Arc<dyn Driver> {
        Arc::new(Wrapped::new(driver, self.clone()))
    }

    /// What was called so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Names of what was called so far.
    pub fn names(&self) -> Vec<&'static str> {
        self.calls().iter().map(|call| call.name).collect()
    }

    /// Forgets what was called so far.
    pub fn clear(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Hook for Trace {
    fn before(&self, call: &'static str, arguments: fmt::Arguments<'_>) -> Result<()> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() < CALLS_MAX {
            let outcome = Err("has not returned".to_string());
            calls.push(Call { name: call, arguments: arguments.to_string(), outcome });
        }
        Ok(())
    }

    fn after(&self, call: &'static str, outcome: Outcome<'_>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        // Threads may interleave: the call that ended is the last one of its name that has not returned.
        let open = calls.iter_mut().rev().find(|open| open.name == call && open.outcome.is_err());
        if let Some(open) = open {
            open.outcome = match outcome {
                Outcome::Gave(value) => Ok(format!("{value:?}")),
                Outcome::Failed(error) => Err(error.to_string()),
            };
        }
    }
}
