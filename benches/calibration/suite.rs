//! The calibration without its program, so that a test can run it too.

#[path = "acts.rs"]
mod acts;
#[path = "../device/suite.rs"]
#[allow(dead_code)] // only its probes run here
mod device;
#[path = "models.rs"]
mod models;
#[path = "operations.rs"]
pub mod operations;
#[path = "point.rs"]
mod point;
#[path = "points_acts.rs"]
mod points_acts;
#[path = "points_operations.rs"]
mod points_operations;
#[path = "report.rs"]
pub mod report;
#[path = "shapes.rs"]
pub mod shapes;

pub use device::Failure;
pub use models::Models;
pub use point::{Measured, Point};

use point::How;

/// All points, in the order of the report.
pub const POINTS: [&[Point]; 3] = [points_operations::THROUGHPUT, points_operations::LATENCY, points_acts::ACTS];

/// What the model of the point's machine says.
///
/// # Errors
/// [`Failure`] when an operation or a probe fails.
pub fn measure(point: &'static Point, models: &mut Models) -> Result<Measured, Failure> {
    let (modelled, beside) = match &point.how {
        How::Operation(operation) => operations::measure(operation, point.machine, models)?,
        How::Act(act) => (acts::measure(act, point.machine, models)?, None),
    };
    Ok(Measured { point, modelled, beside })
}
