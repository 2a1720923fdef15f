//! Whole worlds on the emulated cluster: dispatch and combine with the real kernels, compared with the reference.
//!
//! Method: a [`case::Case`] says everything that a run depends on; [`play::play`] runs it and compares every bit that
//! comes back. The modules choose cases: by hand (`shapes`, `calls`), as variants that must not matter
//! (`independence`), from a generator that shrinks (`random`). `faults` and `arguments` break things on purpose.
//! A failure prints one line to paste, which replays exactly that case.

mod arguments;
mod bounds;
mod calls;
mod case;
mod damage;
#[cfg(feature = "cuda")]
mod device;
mod draw;
mod events;
mod faults;
mod gate;
mod graphs;
#[cfg(feature = "cuda")]
mod held;
mod independence;
mod landing;
mod lanes;
mod launches;
mod load;
mod mutants;
mod mutation;
mod play;
mod race_mutants;
mod races;
mod random;
mod replay;
mod rest;
#[path = "../shared/replay.rs"]
mod said;
mod shapes;
#[path = "../shared/skip.rs"]
mod skip;
mod soak;
#[cfg(feature = "cuda")]
#[path = "../shared/standin.rs"]
mod standin;
mod timed;
mod traced;
mod trouble;
mod types;
mod weak;
