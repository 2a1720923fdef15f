//! Moves of a point: one axis is set, and those that it constrains follow.

use super::super::axis::Axis;
use super::{Point, Space};

impl Space {
    /// The point with `axis` at `index`, and with the least change of other axes that keeps their relations: SMs stay within
    /// channels, chunks within half a ring, fixed roles have three workers. None when there is no such value, or when the
    /// library does not take the result.
    pub fn moved(&self, point: &Point, axis: Axis, index: usize) -> Option<Point> {
        if index >= self.values(axis).len() {
            return None;
        }
        let point = self.followed(point.with(axis, index), axis)?;
        self.is_valid(&point).then_some(point)
    }

    /// A valid point at or near `point`: every axis in turn settles the others; then stages, workers and channels shrink until
    /// shared memory suffices. None when nothing fits.
    pub(crate) fn settled(&self, point: Point) -> Option<Point> {
        let mut point = point;
        for axis in [Axis::DepthIb, Axis::DepthNv, Axis::Channels] {
            point = self.followed(point, axis).unwrap_or(point);
        }
        let shrink =
            [Axis::StageBytes, Axis::Workers, Axis::Roles, Axis::Landing, Axis::DepthNv, Axis::DepthIb, Axis::Channels];
        let mut shrink = shrink.into_iter().cycle();
        let steps = Axis::ALL.len() * Space::VALUES_MAX;
        for _ in 0..steps {
            if self.is_valid(&point) {
                return Some(point);
            }
            let axis = shrink.next()?;
            if let Some(lower) = point.index(axis).checked_sub(1) {
                point = self.followed(point.with(axis, lower), axis).unwrap_or(point);
            }
        }
        None
    }

    /// The point with what `axis` constrains moved along; valid or not.
    fn followed(&self, point: Point, axis: Axis) -> Option<Point> {
        let value = self.value(&point, axis);
        match axis {
            Axis::DispatchSms | Axis::CombineSms => self.raised(point, Axis::Channels, value),
            Axis::Channels => {
                let point = self.lowered(point, Axis::DispatchSms, value)?;
                self.lowered(point, Axis::CombineSms, value)
            }
            Axis::ChunkIb => self.raised(point, Axis::DepthIb, 2 * value),
            Axis::ChunkNv => self.raised(point, Axis::DepthNv, 2 * value),
            Axis::DepthIb => self.lowered(point, Axis::ChunkIb, value / 2),
            Axis::DepthNv => self.lowered(point, Axis::ChunkNv, value / 2),
            Axis::Roles if value == 1 => self.raised(point, Axis::Workers, 3),
            Axis::Workers if value < 3 => self.lowered(point, Axis::Roles, 0),
            _ => Some(point),
        }
    }

    /// With the value of `axis` at most `most`.
    fn lowered(&self, point: Point, axis: Axis, most: u32) -> Option<Point> {
        let values = &self.values(axis)[..=point.index(axis)];
        let index = values.iter().rposition(|&value| value <= most)?;
        Some(point.with(axis, index))
    }

    /// With the value of `axis` at least `least`.
    fn raised(&self, point: Point, axis: Axis, least: u32) -> Option<Point> {
        let from = point.index(axis);
        let step = self.values(axis)[from..].iter().position(|&value| value >= least)?;
        Some(point.with(axis, from + step))
    }
}
