//! The race check: for every rule a small program that is clean, and the same without the edge, which is caught with
//! the right words, under round robin and drawn schedules.

mod agents;
mod clusters;
mod copies;
mod late;
mod mbarriers;
mod nics;
mod rig;
mod warps;
