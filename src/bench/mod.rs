//! Benches of operations: what is moved, how long it takes, and whether that differs from another time.

pub mod calls;
pub mod expected;
pub mod rows;
pub mod traffic;
