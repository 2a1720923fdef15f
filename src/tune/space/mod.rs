//! The settings that are looked at: a short list of values for each axis, and which of their combinations the library takes.
//!
//! A combination is valid when [`Plan::new`] and [`Plan::check_limits`] say so; nothing is run to find out. A space knows no
//! time.

mod count;
mod step;
mod values;

pub(super) use count::combinations;

use super::axis::{landing, roles, Axis, AXES};
use crate::error::{Error, Result};
use crate::plan::{Fabric, Limits, Op, Plan, Roles, Shape, Tuning};
use crate::topology::Topology;

/// A combination: for each axis the index of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point(pub(super) [u8; AXES]);

impl Point {
    /// The first value of every axis.
    pub(super) const FIRST: Point = Point([0; AXES]);

    /// Index of the axis's value.
    pub fn index(&self, axis: Axis) -> usize {
        usize::from(self.0[axis.place()])
    }

    /// The point with another index on one axis.
    #[must_use]
    pub fn with(mut self, axis: Axis, index: usize) -> Point {
        self.0[axis.place()] = index as u8;
        self
    }
}

/// What an operation's time depends on: values of all axes that change it, with the workers that its shared memory has room
/// for. Two points with equal keys run the same launch on the same rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct OpKey {
    pub combine: bool,
    pub values: [u32; AXES],
}

/// Values of every axis for a world, a shape and a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    topology: Topology,
    shape: Shape,
    fabric: Fabric,
    limits: Limits,
    axes: [Vec<u32>; AXES],
}

impl Space {
    /// Most values of an axis.
    pub const VALUES_MAX: usize = 64;

    /// The documented values for a world. Axes that cannot matter have one: chunks and rings between nodes where there is
    /// one node, landing where rows are ordered by expert.
    ///
    /// ```
    /// use warpferry::plan::Limits;
    /// use warpferry::tune::{Axis, Space};
    /// use warpferry::{Fabric, Shape, Topology};
    ///
    /// let limits = Limits { name: "H800".into(), sms: 132, shared_bytes: 232_448, memory_bytes: 80 << 30 };
    /// let space = Space::new(Topology::new(2, 8)?, Shape::new(7168, 256, 8, 4096)?, Fabric::Mlx5, limits)?;
    /// let space = space.with_axis(Axis::Channels, &[8, 16])?.pinned(Axis::Roles, 0)?;
    /// assert!(space.valid_points() < space.points());
    /// # Ok::<(), warpferry::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] when the shape does not fit the world.
    pub fn new(topology: Topology, shape: Shape, fabric: Fabric, limits: Limits) -> Result<Space> {
        shape.check(topology)?;
        let axes = Axis::ALL.map(|axis| values::of(axis, topology, &shape, &limits));
        Ok(Space { topology, shape, fabric, limits, axes })
    }

    /// With other values of an axis, ascending.
    ///
    /// # Errors
    /// [`Error::Argument`] for no values, too many, or values that do not ascend.
    pub fn with_axis(mut self, axis: Axis, values: &[u32]) -> Result<Space> {
        let said = || format!("{values:?}");
        if values.is_empty() || values.len() > Space::VALUES_MAX {
            return Err(Error::argument(axis.name(), said(), format!("1 to {} values", Space::VALUES_MAX)));
        }
        if values.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::argument(axis.name(), said(), "values that ascend"));
        }
        if axis == Axis::Roles && values.iter().any(|&value| value > 1) {
            return Err(Error::argument(axis.name(), said(), "0 (dynamic) and 1 (fixed)"));
        }
        self.axes[axis.place()] = values.to_vec();
        Ok(self)
    }

    /// With one value of an axis.
    ///
    /// # Errors
    /// As [`Space::with_axis`].
    pub fn pinned(self, axis: Axis, value: u32) -> Result<Space> {
        self.with_axis(axis, &[value])
    }

    /// The world.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// What is moved.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Inter-node fabric.
    pub fn fabric(&self) -> Fabric {
        self.fabric
    }

    /// Limits of the GPU.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Values of an axis, ascending.
    pub fn values(&self, axis: Axis) -> &[u32] {
        &self.axes[axis.place()]
    }

    /// Value of an axis at a point.
    pub fn value(&self, point: &Point, axis: Axis) -> u32 {
        self.values(axis)[point.index(axis)]
    }

    /// Combinations, valid or not.
    pub fn points(&self) -> u64 {
        self.axes.iter().map(|values| values.len() as u64).product()
    }

    /// Combinations that the library takes.
    pub fn valid_points(&self) -> u64 {
        count::valid(self)
    }

    /// The plan of a point.
    ///
    /// # Errors
    /// Why the library does not take it: [`Error::Argument`] or [`Error::Unsupported`].
    pub fn plan(&self, point: &Point) -> Result<Plan> {
        let plan = Plan::new(self.topology, self.shape, self.settings(point), self.fabric)?;
        plan.check_limits(&self.limits)?;
        Ok(plan)
    }

    /// The settings of a point.
    ///
    /// # Errors
    /// As [`Space::plan`].
    pub fn tuning(&self, point: &Point) -> Result<Tuning> {
        Ok(self.plan(point)?.tuning)
    }

    /// Whether the library takes a point.
    pub fn is_valid(&self, point: &Point) -> bool {
        self.plan(point).is_ok()
    }

    /// The point whose values are nearest to these settings, by the ratio of values; whether it is valid is not said.
    pub fn nearest(&self, tuning: &Tuning) -> Point {
        let mut point = Point([0; AXES]);
        for axis in Axis::ALL {
            let wanted = setting(tuning, axis);
            let distance = |value: u32| (f64::from(value + 1) / f64::from(wanted + 1)).ln().abs();
            let values = self.values(axis);
            let nearest = (0..values.len()).min_by(|&a, &b| distance(values[a]).total_cmp(&distance(values[b])));
            point = point.with(axis, nearest.unwrap_or(0));
        }
        point
    }

    /// The values of a point, in the order of [`Axis::ALL`].
    pub fn numbers(&self, point: &Point) -> [u32; AXES] {
        Axis::ALL.map(|axis| self.value(point, axis))
    }

    /// The point with these values, if the space has it.
    pub fn point(&self, numbers: &[u32; AXES]) -> Option<Point> {
        let mut point = Point([0; AXES]);
        for (axis, number) in Axis::ALL.into_iter().zip(numbers) {
            point = point.with(axis, self.values(axis).iter().position(|value| value == number)?);
        }
        Some(point)
    }

    /// What the time of `op` depends on.
    pub(super) fn key(&self, point: &Point, plan: &Plan, op: Op) -> OpKey {
        let launch = plan.launch(op);
        let values = Axis::ALL.map(|axis| match axis {
            _ if !axis.changes(op) => 0,
            Axis::Workers => launch.block.workers,
            _ => self.value(point, axis),
        });
        OpKey { combine: op == Op::Combine, values }
    }

    /// Settings of a point, unchecked.
    fn settings(&self, point: &Point) -> Tuning {
        let value = |axis| self.value(point, axis);
        Tuning {
            channels: value(Axis::Channels),
            dispatch_sms: value(Axis::DispatchSms),
            combine_sms: value(Axis::CombineSms),
            chunk_ib: value(Axis::ChunkIb),
            chunk_nv: value(Axis::ChunkNv),
            depth_ib: value(Axis::DepthIb),
            depth_nv: value(Axis::DepthNv),
            workers: value(Axis::Workers),
            roles: roles(value(Axis::Roles)),
            stage_bytes: value(Axis::StageBytes),
            landing: landing(value(Axis::Landing)),
        }
    }
}

/// Value of an axis in a tuning. Roles that are listed by worker count as dynamic.
pub(super) fn setting(tuning: &Tuning, axis: Axis) -> u32 {
    match axis {
        Axis::DispatchSms => tuning.dispatch_sms,
        Axis::CombineSms => tuning.combine_sms,
        Axis::Channels => tuning.channels,
        Axis::ChunkIb => tuning.chunk_ib,
        Axis::ChunkNv => tuning.chunk_nv,
        Axis::DepthIb => tuning.depth_ib,
        Axis::DepthNv => tuning.depth_nv,
        Axis::Workers => tuning.workers,
        Axis::Roles => u32::from(tuning.roles == Roles::Fixed),
        Axis::StageBytes => tuning.stage_bytes,
        Axis::Landing => tuning.landing.rows(),
    }
}
