//! Replays the case that a failure printed.

use crate::case::Case;
use crate::mutation::named::Named;
use crate::play::check;
use crate::soak::play_with_mutant;

/// Runs `WARPFERRY_CASE`, or the default case when there is none; with the mutant of `WARPFERRY_MUTANT`, if one is named.
#[test]
fn replay() {
    let text = std::env::var("WARPFERRY_CASE").unwrap_or_else(|_| "{}".to_string());
    let case = Case::parse(&text).unwrap_or_else(|error| panic!("WARPFERRY_CASE: {error}"));
    let cost = match Named::from_env() {
        None => check(&case),
        Some(mutant) => play_with_mutant(&case, Some(&mutant))
            .unwrap_or_else(|what| panic!("with the mutant {}: {what}", mutant.what)),
    };
    println!("{case}: {cost:?}");
}
