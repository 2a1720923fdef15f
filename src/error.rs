//! One error type, split by who can act on it.

use std::fmt;

use crate::status::StatusReport;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. Fields, not only text, so that a caller can act on them.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller passed something that cannot work: fix the call.
    #[error("argument `{argument}` = {value}: valid is {valid}")]
    Argument {
        /// Name of the argument.
        argument: String,
        /// The value given.
        value: String,
        /// What would be valid.
        valid: String,
    },
    /// The machine or the build lacks something.
    #[error("unsupported: needs {need}, here is {have}")]
    Unsupported {
        /// What is needed.
        need: String,
        /// What is here.
        have: String,
    },
    /// A driver call failed.
    #[error("driver call {call} failed: {message}")]
    Driver {
        /// The call.
        call: &'static str,
        /// The driver's words.
        message: String,
    },
    /// A kernel gave up: a peer was late, a NIC failed, a slot was stale, or the ranks disagree.
    #[error("{op} on rank {rank} ended early: {report}{}", beneath.as_ref().map(|why| format!("; its NIC: {why}")).unwrap_or_default())]
    Ended {
        /// Operation.
        op: &'static str,
        /// This rank.
        rank: u32,
        /// What the kernel's status says.
        report: StatusReport,
        /// Why the rank's NIC failed, when it knows.
        beneath: Option<Box<Error>>,
    },
    /// More rows came than the bound of the call: those beyond were dropped. The communicator goes on. What fitted is had from
    /// [`Pending::take_what_fits`](crate::Pending::take_what_fits), so that this rank can do its part of the combine, in which
    /// dropped rows count as zeros.
    #[error("{op} on rank {rank}: {need} rows, and a bound of {have}; rows beyond it were dropped, and what fits can be taken")]
    Overflow {
        /// Operation.
        op: &'static str,
        /// This rank.
        rank: u32,
        /// Rows that there were.
        need: u64,
        /// Rows that there was room for.
        have: u64,
    },
    /// An earlier call broke the communicator; its cause is kept. Only a new communicator goes on.
    #[error("communicator of rank {rank} is broken since an earlier call: {cause}")]
    Broken {
        /// This rank.
        rank: u32,
        /// The first error.
        cause: Box<Error>,
    },
    /// The host gave up waiting; the operation may still be running.
    #[error("{op} on rank {rank} not done after {waited_ms} ms")]
    WaitTimeout {
        /// Operation.
        op: &'static str,
        /// This rank.
        rank: u32,
        /// How long the host waited.
        waited_ms: u64,
    },
    /// A file could not be read or does not hold what is needed.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// A bug of this library: please report it.
    #[error("bug in warpferry: {0}")]
    Bug(String),
}

impl Error {
    /// An [`Error::Driver`] that also says what it was about; other errors as they are.
    #[cfg(feature = "cuda")]
    pub(crate) fn of_driver(self, what: &str) -> Error {
        match self {
            Error::Driver { call, message } => Error::Driver { call, message: format!("{message} ({what})") },
            other => other,
        }
    }

    /// [`Error::Argument`] from anything printable.
    pub fn argument(argument: impl Into<String>, value: impl fmt::Display, valid: impl Into<String>) -> Error {
        Error::Argument { argument: argument.into(), value: value.to_string(), valid: valid.into() }
    }
}
