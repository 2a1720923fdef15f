//! Replays the case that a failure printed.

use crate::case::Case;
use crate::play::check;

/// Runs `WARPFERRY_CASE`, or the default case when there is none.
#[test]
fn replay() {
    let text = std::env::var("WARPFERRY_CASE").unwrap_or_else(|_| "{}".to_string());
    let case = Case::parse(&text).unwrap_or_else(|error| panic!("WARPFERRY_CASE: {error}"));
    let cost = check(&case);
    println!("{case}: {cost:?}");
}
