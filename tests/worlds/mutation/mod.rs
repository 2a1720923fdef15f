//! Mutants of our kernels, generated from their sources: everything that makes an order or counts something is dropped,
//! weakened, moved or off by one, one place at a time, and runs are made until one goes wrong.
//!
//! Method: [`places`] goes over a parsed kernel and gives every change of every place; [`suite`] has the runs, smallest
//! first, with the race check, and runs that must fail, which lead to where kernels give up. A mutant that no run
//! catches is equivalent, with its argument in [`argument`], or open. `scripts/mutants.sh` tries all and writes
//! `docs/mutants.md`; CI tries a few of each kind.
//!
//! What it cannot show: that two changes at once are seen; changes of data paths (addresses, masks, arithmetic of
//! rows), which `mutants.rs` and `checkptx` have by hand.

mod argument;
mod change;
mod flow;
mod kernel;
pub mod named;
mod origin;
mod places;
mod quick;
mod reach;
mod record;
mod run;
mod suite;
mod table;

pub use suite::slots_again;
