//! How many combinations are valid, without looking at each.
//!
//! For a number of channels, whether a launch fits depends on its SMs, workers, roles and stages, whether the rings fit on
//! depths, chunks and landing, and neither on the other. So each part is counted alone. The tests compare with
//! [`Space::is_valid`].

use super::super::axis::Axis;
use super::{Point, Space};
use crate::plan::{Landing, LaunchPlan, MemoryNeed, Op, Roles, Tuning};

const LAUNCH: [Axis; 3] = [Axis::Workers, Axis::Roles, Axis::StageBytes];
const RINGS: [Axis; 5] = [Axis::ChunkIb, Axis::ChunkNv, Axis::DepthIb, Axis::DepthNv, Axis::Landing];

/// Valid combinations of a space.
pub(super) fn valid(space: &Space) -> u64 {
    let channels = combinations(space, Point::FIRST, &[Axis::Channels]);
    channels.iter().map(|at| launches(space, at) * rings(space, at)).sum()
}

fn launches(space: &Space, at: &Point) -> u64 {
    combinations(space, *at, &LAUNCH)
        .iter()
        .map(|at| fitting(space, at, Op::Dispatch) * fitting(space, at, Op::Combine))
        .sum()
}

/// Numbers of SMs with which a launch of `op` fits.
fn fitting(space: &Space, at: &Point, op: Op) -> u64 {
    let axis = if op == Op::Dispatch { Axis::DispatchSms } else { Axis::CombineSms };
    combinations(space, *at, &[axis]).iter().filter(|at| launch_fits(space, at, op, axis)).count() as u64
}

fn launch_fits(space: &Space, at: &Point, op: Op, axis: Axis) -> bool {
    let sms = space.value(at, axis);
    let tuning = Tuning { dispatch_sms: sms, combine_sms: sms, ..without_rings(space.settings(at)) };
    let launch = LaunchPlan::new(op, space.topology, &space.shape, &tuning);
    let fits = |plan: LaunchPlan| plan.sms <= space.limits.sms && plan.shared_bytes <= space.limits.shared_bytes;
    tuning.check(space.topology).is_ok() && launch.is_ok_and(fits)
}

fn rings(space: &Space, at: &Point) -> u64 {
    combinations(space, *at, &RINGS).iter().filter(|at| rings_fit(space, at)).count() as u64
}

fn rings_fit(space: &Space, at: &Point) -> bool {
    let tuning = without_launch(space.settings(at));
    let need = MemoryNeed::of(space.topology, &space.shape, &tuning, space.fabric);
    tuning.check(space.topology).is_ok() && need.bytes() <= space.limits.memory_bytes
}

/// With rings that fit everywhere.
fn without_rings(tuning: Tuning) -> Tuning {
    Tuning { chunk_ib: 1, chunk_nv: 1, depth_ib: 2, depth_nv: 2, landing: Landing::Staged, ..tuning }
}

/// With a launch that the checks of rings take.
fn without_launch(tuning: Tuning) -> Tuning {
    Tuning { dispatch_sms: 1, combine_sms: 1, workers: 3, roles: Roles::Dynamic, stage_bytes: 4096, ..tuning }
}

/// All combinations of these axes, the others as at `point`.
pub(in super::super) fn combinations(space: &Space, point: Point, axes: &[Axis]) -> Vec<Point> {
    axes.iter().fold(vec![point], |points, &axis| {
        let along = |point: Point| (0..space.values(axis).len()).map(move |index| point.with(axis, index));
        points.into_iter().flat_map(along).collect()
    })
}
