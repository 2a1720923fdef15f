//! One descent: axis by axis until no step along any of them, nor along a few pairs, is better.

use super::super::axis::{Axis, Scale};
use super::super::ledger::Ledger;
use super::super::objective::{Cost, Judge};
use super::super::space::Point;
use super::line::Line;
use crate::error::Result;

/// Most rounds over all axes.
const ROUNDS_MAX: usize = 32;
/// Most lists of places that a line asks for.
const LISTS_MAX: usize = 64;

/// Axes that each change one operation alone: they are walked in lockstep, a point serving both.
const LAUNCHES: [Axis; 2] = [Axis::DispatchSms, Axis::CombineSms];
/// Axes that change both operations, in the order in which they are walked: what matters most comes first.
const SHARED: [Axis; 9] = [
    Axis::Channels,
    Axis::ChunkNv,
    Axis::ChunkIb,
    Axis::Workers,
    Axis::DepthNv,
    Axis::DepthIb,
    Axis::StageBytes,
    Axis::Roles,
    Axis::Landing,
];

/// Steps along several axes at once: where one alone is worse or impossible, since together they bound the same thing.
const TOGETHER: &[&[(Axis, i32)]] = &[
    &[(Axis::Channels, 1), (Axis::DispatchSms, 1), (Axis::CombineSms, 1)],
    &[(Axis::Channels, 1), (Axis::DispatchSms, -1), (Axis::CombineSms, -1)],
    &[(Axis::Channels, -1), (Axis::DispatchSms, -1), (Axis::CombineSms, -1)],
    &[(Axis::Workers, 1), (Axis::StageBytes, -1)],
    &[(Axis::Workers, -1), (Axis::StageBytes, 1)],
    &[(Axis::Workers, 1), (Axis::DispatchSms, -1), (Axis::CombineSms, -1)],
    &[(Axis::ChunkIb, 1), (Axis::DepthIb, 1)],
    &[(Axis::ChunkIb, -1), (Axis::DepthIb, -1)],
    &[(Axis::ChunkNv, 1), (Axis::DepthNv, 1)],
    &[(Axis::ChunkNv, -1), (Axis::DepthNv, -1)],
    &[(Axis::ChunkIb, 1), (Axis::ChunkNv, 1)],
    &[(Axis::ChunkIb, -1), (Axis::ChunkNv, -1)],
    &[(Axis::Channels, 1), (Axis::DepthIb, -1)],
    &[(Axis::Channels, -1), (Axis::DepthIb, 1)],
    &[(Axis::Channels, 1), (Axis::DepthNv, -1)],
    &[(Axis::Channels, -1), (Axis::DepthNv, 1)],
    &[(Axis::Channels, 1), (Axis::ChunkIb, -1), (Axis::ChunkNv, -1)],
    &[(Axis::Channels, -1), (Axis::ChunkIb, 1), (Axis::ChunkNv, 1)],
];

/// A point and its cost.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Candidate {
    pub point: Point,
    pub cost: Cost,
}

/// A place that a descent came to.
#[derive(Debug, Clone)]
pub(in super::super) struct Passed {
    pub start: usize,
    pub tried: usize,
    pub along: String,
    pub at: Candidate,
}

/// A descent over what a ledger measures.
pub(super) struct Descent<'l, 'a> {
    pub ledger: &'l mut Ledger<'a>,
    pub judge: Judge,
    pub start: usize,
    pub path: &'l mut Vec<Passed>,
    /// Told after each list of points that was measured.
    pub progress: &'l mut dyn FnMut(usize),
}

impl Descent<'_, '_> {
    /// Descends from `point`; None when nothing near it is a candidate.
    pub fn run(&mut self, point: Point) -> Result<Option<Candidate>> {
        let first = self.costs(&[point])?;
        let mut at = Candidate { point, cost: first[0].unwrap_or(Cost::WORST) };
        self.pass("start", &at);
        for _ in 0..ROUNDS_MAX {
            let before = at;
            at = self.round(at)?;
            if !at.cost.beats(&before.cost) {
                at = self.together(at)?;
            }
            if !at.cost.beats(&before.cost) || self.ledger.over().is_some() {
                break;
            }
        }
        Ok(at.cost.is_known().then_some(at))
    }

    /// Every axis once.
    fn round(&mut self, at: Candidate) -> Result<Candidate> {
        let mut at = self.launches(at)?;
        for axis in SHARED {
            at = match axis.scale() {
                Scale::Ordered => self.along(at, axis)?,
                Scale::Named => self.among(at, axis)?,
            };
        }
        Ok(at)
    }

    /// SMs of both launches in lockstep.
    fn launches(&mut self, at: Candidate) -> Result<Candidate> {
        let known = at.cost.is_known().then_some(at.cost);
        let len = |axis| self.ledger.space.values(axis).len();
        let mut lines = LAUNCHES.map(|axis| Line::new(len(axis), at.point.index(axis), known));
        for _ in 0..LISTS_MAX {
            let wanted = [lines[0].wanted(), lines[1].wanted()];
            let most = wanted[0].len().max(wanted[1].len());
            if most == 0 {
                break;
            }
            let place = |line: usize, nth: usize| wanted[line].get(nth).copied().unwrap_or(lines[line].best());
            let pairs: Vec<Point> = (0..most)
                .map(|nth| at.point.with(LAUNCHES[0], place(0, nth)).with(LAUNCHES[1], place(1, nth)))
                .collect();
            self.costs(&pairs)?;
            for (which, line) in lines.iter_mut().enumerate() {
                let places = &wanted[which];
                let points: Vec<Point> = places.iter().map(|&place| at.point.with(LAUNCHES[which], place)).collect();
                let costs = self.costs(&points)?;
                line.told(&places.iter().copied().zip(costs).collect::<Vec<_>>());
            }
        }
        let point = at.point.with(LAUNCHES[0], lines[0].best()).with(LAUNCHES[1], lines[1].best());
        self.better_of(at, &[point], "dispatch_sms, combine_sms")
    }

    /// One ordered axis.
    fn along(&mut self, at: Candidate, axis: Axis) -> Result<Candidate> {
        let space = self.ledger.space;
        let known = at.cost.is_known().then_some(at.cost);
        let mut line = Line::new(space.values(axis).len(), at.point.index(axis), known);
        let mut best = at;
        for _ in 0..LISTS_MAX {
            let places = line.wanted();
            if places.is_empty() {
                break;
            }
            let moved: Vec<(usize, Option<Point>)> =
                places.iter().map(|&place| (place, space.moved(&at.point, axis, place))).collect();
            let points: Vec<Point> = moved.iter().filter_map(|(_, point)| *point).collect();
            self.costs(&points)?;
            let answers: Vec<_> =
                moved.iter().map(|(place, point)| (*place, point.and_then(|point| self.cost(&point)))).collect();
            line.told(&answers);
            best = self.better_of(best, &points, axis.name())?;
        }
        Ok(best)
    }

    /// All values of an axis.
    fn among(&mut self, at: Candidate, axis: Axis) -> Result<Candidate> {
        let space = self.ledger.space;
        let others = (0..space.values(axis).len()).filter(|&place| place != at.point.index(axis));
        let points: Vec<Point> = others.filter_map(|place| space.moved(&at.point, axis, place)).collect();
        self.better_of(at, &points, axis.name())
    }

    /// Steps along several axes.
    fn together(&mut self, at: Candidate) -> Result<Candidate> {
        let points: Vec<Point> = TOGETHER.iter().filter_map(|steps| self.stepped(at.point, steps)).collect();
        self.better_of(at, &points, "several")
    }

    /// A point some steps away. Steps beyond the end of an axis are left out; None where that leaves fewer than two.
    fn stepped(&self, point: Point, steps: &[(Axis, i32)]) -> Option<Point> {
        let (mut point, mut taken) = (point, 0);
        for &(axis, step) in steps {
            let index = point.index(axis).checked_add_signed(step as isize);
            let Some(index) = index.filter(|&index| index < self.ledger.space.values(axis).len()) else { continue };
            point = point.with(axis, index);
            taken += 1;
        }
        (taken > 1 && self.ledger.space.is_valid(&point)).then_some(point)
    }

    /// The best of `at` and `points`.
    fn better_of(&mut self, at: Candidate, points: &[Point], along: &str) -> Result<Candidate> {
        let mut best = at;
        for (&point, cost) in points.iter().zip(self.costs(points)?) {
            if let Some(cost) = cost.filter(|cost| cost.beats(&best.cost)) {
                best = Candidate { point, cost };
            }
        }
        if best.cost.beats(&at.cost) {
            self.pass(along, &best);
        }
        Ok(best)
    }

    fn pass(&mut self, along: &str, at: &Candidate) {
        if at.cost.is_known() {
            let tried = self.ledger.tried().len();
            self.path.push(Passed { start: self.start, tried, along: along.to_string(), at: *at });
        }
    }

    /// Costs of points, measured as far as the budget goes.
    fn costs(&mut self, points: &[Point]) -> Result<Vec<Option<Cost>>> {
        self.ledger.measure(points)?;
        (self.progress)(self.ledger.tried().len());
        Ok(points.iter().map(|point| self.cost(point)).collect())
    }

    /// Cost of a point, if it is known.
    fn cost(&self, point: &Point) -> Option<Cost> {
        self.ledger.cost(point, &self.judge)
    }
}
