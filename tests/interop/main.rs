//! Contexts, streams and memory of other CUDA code, on a GPU or on the stand-in for the driver library.
//!
//! Method: each test does what a program with cudarc, or with plain handles, would do, and compares results with
//! `warpferry::reference`, or demands a refusal that names the argument. `WARPFERRY_BACKEND` says where: `auto` (the
//! default) takes a GPU when there is one, `cuda` fails without one, `emu` asks for none. Whatever the machine has,
//! `standin::on_the_stand_in` runs all the others in a process whose driver library is the stand-in.

#![allow(unsafe_code)]

mod graphs;
mod handles;
mod refusals;
mod rounds;
#[path = "../shared/standin.rs"]
mod shared_standin;
#[path = "../shared/skip.rs"]
mod skip;
mod slices;
mod standin;
mod support;
