//! The calls as a program makes them, through the Rust side of the library. All tests share one process and machine of
//! four GPUs, as the parts of a program do; what needs other settings runs this program again as a child.

mod bench;
mod contexts;
mod copies;
mod events;
mod faults;
mod graphs;
mod held;
mod host;
mod kernels;
mod left;
mod library;
mod peers;
mod settings;
mod stress;
