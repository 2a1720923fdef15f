//! Where descents begin: the caller's guesses, the documented defaults, two corners, and points drawn from a seed.

use super::super::axis::{Axis, AXES};
use super::super::space::{Point, Space};
use crate::plan::Tuning;
use crate::random::Random;

/// Most draws for one start: a drawn point may be invalid or there already.
const DRAWS_MAX: usize = 64;

/// `count` starts at most, all valid and different, best guesses first: those of the caller before all others.
pub(super) fn starts(space: &Space, guesses: &[Tuning], count: usize, seed: u64) -> Vec<Point> {
    let defaults = Tuning::default_for(space.topology(), space.shape().dispatch_row_bytes());
    let mut found: Vec<Point> = Vec::new();
    let guesses = guesses.iter().chain([&defaults]).map(|tuning| space.nearest(tuning));
    for point in guesses.chain([corner(space, false), corner(space, true)]) {
        keep(&mut found, space.settled(point), count);
    }
    let mut random = Random::new(seed);
    for _ in 0..count.saturating_mul(DRAWS_MAX) {
        if found.len() >= count {
            break;
        }
        let drawn = drawn(space, &mut random);
        keep(&mut found, space.settled(drawn), count);
    }
    found
}

fn keep(found: &mut Vec<Point>, point: Option<Point>, count: usize) {
    if let Some(point) = point.filter(|point| found.len() < count && !found.contains(point)) {
        found.push(point);
    }
}

/// Least or most of everything.
fn corner(space: &Space, most: bool) -> Point {
    let index = |axis: Axis| if most { space.values(axis).len() - 1 } else { 0 };
    // Roles and landing have no order.
    let places = Axis::ALL.map(|axis| if matches!(axis, Axis::Roles | Axis::Landing) { 0 } else { index(axis) });
    of(places)
}

fn drawn(space: &Space, random: &mut Random) -> Point {
    of(Axis::ALL.map(|axis| (random.next() % space.values(axis).len() as u64) as usize))
}

fn of(places: [usize; AXES]) -> Point {
    Point(places.map(|place| place as u8))
}
