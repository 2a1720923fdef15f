//! The cheap points of the calibration, so that a change of the model or of a machine's values is noticed, and shapes that
//! must come out whatever the values are. Nothing here runs on a GPU; `docs/perf/calibration.md` has every point.
#![cfg(feature = "cli")]

#[path = "../benches/calibration/suite.rs"]
#[allow(dead_code)] // what only the program needs
mod suite;

use suite::shapes::{small, stretched, Times};
use suite::{measure, report, Measured, Models, POINTS};

fn measured(wanted: impl Fn(&suite::Point) -> bool) -> Vec<Measured> {
    let mut models = Models::default();
    let points = POINTS.iter().copied().flatten().filter(|point| wanted(point));
    points.map(|point| measure(point, &mut models).unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

/// Every point of a group within `most_percent`, and half of them within `median_percent`.
fn holds(results: &[Measured], median_percent: f64, most_percent: f64) {
    let lines: Vec<String> = results.iter().map(report::line).collect();
    assert!(!results.is_empty());
    let worst = results.iter().map(|result| result.error_percent().abs()).fold(0.0, f64::max);
    let (median, _) = report::spread(results.iter());
    assert!(median <= median_percent && worst <= most_percent, "{}", lines.join("\n"));
}

#[test]
fn copies_take_what_was_measured() {
    holds(&measured(|point| point.group == "copies"), 10.0, 15.0);
}

#[test]
fn single_acts_take_what_was_measured() {
    holds(&measured(|point| point.group == "acts"), 15.0, 80.0);
}

#[test]
fn operations_within_two_nodes_take_what_was_measured() {
    holds(&measured(|point| point.group == "DeepEP normal" && point.name.contains("EP16")), 25.0, 30.0);
}

fn kernels(nodes: u32, sms: u32) -> Times {
    small(nodes, sms, &mut Models::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// More SMs never take longer, and the last ones bring less than the first: 2 % are left to the order of events.
#[test]
fn time_falls_with_sms_and_flattens() {
    let [few, more, most] = [2, 4, 16].map(|sms| kernels(2, sms));
    for time in [|times: &Times| times.dispatch_us, |times: &Times| times.combine_us] {
        let [few, more, most] = [&few, &more, &most].map(time);
        assert!(more < few && most < more * 1.02, "{few} us with 2 SMs, {more} with 4, {most} with 16");
        assert!(few / more > (more / most).sqrt(), "each doubling from 4 to 16 SMs brings less than from 2 to 4");
    }
}

/// With every node a token goes to more of them, so an operation takes longer.
#[test]
fn time_grows_with_nodes() {
    let [one, two, four] = [1, 2, 4].map(|nodes| kernels(nodes, 8));
    assert!(one.dispatch_us < two.dispatch_us && two.dispatch_us < four.dispatch_us, "{one:?} {two:?} {four:?}");
    assert!(one.combine_us < two.combine_us && two.combine_us < four.combine_us, "{one:?} {two:?} {four:?}");
}

/// Both are stretched beside a matrix product, and neither by more than dispatch was in the production trace.
#[test]
fn a_computation_beside_them_stretches_operations() {
    let (dispatch, combine) = stretched(&mut Models::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!((1.0..=1.8).contains(&dispatch) && (1.0..=1.8).contains(&combine), "{dispatch} and {combine}");
}
