//! Decides PTX litmus tests by the PTX memory consistency model.
//!
//! A test is a few short threads, placed in thread blocks and GPUs, and a question about the final states. It is written
//! in the herd-style format that public suites of PTX tests use; [`parse`] reads it and [`run`] answers it.
//!
//! The answer comes from the axiomatic model of the PTX ISA, chapter "Memory Consistency Model": every execution is
//! enumerated (paths of the threads, the write that each read returns, coherence order, the order of `fence.sc`, the way
//! barriers meet) and kept where it satisfies the axioms. `model` has one function per relation and axiom.
//!
//! Covered: weak, relaxed, acquire, release and volatile accesses, atomics and fences at every scope; barriers of thread
//! blocks and warps; the generic, texture, surface, constant and async proxies with their fences and aliases; bulk copies
//! between global and shared memory, bulk groups, mbarriers by parity; queue pairs of NICs; data races; loops; liveness
//! under fair scheduling. Not covered, and refused by the parser: barriers of clusters, reductions by bulk copies,
//! mbarriers by state, vectors, accesses of different sizes, addresses in registers.

mod ast;
mod asynchronous;
mod barrier;
mod choice;
mod condition;
mod copies;
mod error;
mod frame;
mod instruction;
mod lexer;
mod liveness;
mod loops;
mod machine;
mod mbarrier;
mod model;
mod parse;
mod paths;
mod question;
mod queue;
mod relation;
mod search;
mod values;
mod verdict;

pub use ast::{
    Access, Binary, Compare, Expectation, Instruction, Location, Operand, Order, Place, Proxy, ProxyFence, Queue,
    Request, Scope, Space, Test, Thread, Update,
};
pub use condition::{Condition, Expression, Quantifier, Term, Variable};
pub use error::Error;
pub use liveness::Liveness;
pub use machine::{interleavings, Unable};
pub use parse::parse;
pub use verdict::{run, FinalState, Observation, Options, Race, Report, Verdict};
