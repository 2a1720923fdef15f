//! Plays litmus tests as real PTX on the emulator.
//!
//! A [`Player`] places the columns of a test on emulated GPUs, thread blocks, warps and lanes as the test says, prints one
//! entry for each GPU, and runs them. One run gives one [`Outcome`]; [`tally`] makes many runs in weak memory, under drawn
//! schedules, under PCT and under sequences of choices one after another, and counts the final states that they show.
//! What they may show is decided by the axioms of `warpferry_litmus`; [`compare`] sets one beside the other.
//!
//! What it cannot play is refused with a reason ([`Unplayed`]): texture, surface and constant proxies, barriers whose
//! number or quorum is in a register, or that a jump may skip or repeat, thread blocks that share a cluster, products and
//! quotients by atomics. Two names of one place are one address, so an alias is always coherent. A loop goes round
//! [`ROUNDS`] times at most: a thread that is still waiting then is stuck.

mod barriers;
mod compare;
mod instruction;
mod kernel;
mod layout;
mod pair;
mod player;
mod schedule;
mod stage;
mod tally;
mod unplayed;
mod words;

pub use compare::{compare, Judged, Standing};
pub use kernel::ROUNDS;
pub use player::{Mode, Outcome, Player};
pub use schedule::{parse as parse_schedule, text as schedule_text};
pub use tally::{has_loop, replay, tally, Plan, Shown, Tally};
pub use unplayed::Unplayed;
