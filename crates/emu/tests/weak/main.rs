//! Weak-memory exploration: small programs show every outcome that the model allows and none that it forbids.
//!
//! Method: every sequence of choices is run; the outcomes are compared with a set written by hand. Each forbidden outcome
//! comes with a program one edge weaker that shows it.

mod agents;
mod rig;
mod schedules;
mod warps;
