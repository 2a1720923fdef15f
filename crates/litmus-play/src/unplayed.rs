//! Why there was no run.

use std::fmt;

/// Why a test has not been played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unplayed {
    /// It has something that is not printed as PTX, or whose end cannot be read.
    Unsuitable(String),
    /// The emulator did not take the program, or ended it with a fault.
    Failed(String),
}

impl Unplayed {
    pub(crate) fn unsuitable(what: impl fmt::Display) -> Self {
        Self::Unsuitable(what.to_string())
    }

    pub(crate) fn failed(what: impl fmt::Display) -> Self {
        Self::Failed(what.to_string())
    }
}

impl fmt::Display for Unplayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsuitable(what) => f.write_str(what),
            Self::Failed(what) => write!(f, "the emulator stopped: {what}"),
        }
    }
}

impl std::error::Error for Unplayed {}
