//! SMs against time: every point that was measured, and those than which none is both faster and smaller.

use std::path::Path;

use plotters::prelude::*;
use warpferry::tune::{Axis, Outcome};

use super::paper::{Drawn, CHOSEN, DOT, FRONT, SIZE, TEXT, TITLE};
use super::value;

/// Times beyond this many times the least are left out: they would press all others together.
const SLOWEST: f64 = 4.0;

/// Draws the plot.
pub fn draw(outcome: &Outcome, file: &Path) -> Drawn {
    let mut points: Vec<(u32, f64)> = outcome
        .tried
        .iter()
        .map(|tried| (value(&tried.at, Axis::DispatchSms) + value(&tried.at, Axis::CombineSms), tried.us))
        .collect();
    points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let least = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    points.retain(|point| point.1 <= SLOWEST * least);
    let most_sms = points.iter().map(|point| point.0).max().unwrap_or(1);
    let most_us = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("SMs against time of dispatch and combine", ("sans-serif", TITLE))
        .margin(20)
        .x_label_area_size(50)
        .y_label_area_size(80)
        .build_cartesian_2d(0..most_sms + 2, 0.0..1.05 * most_us.max(1.0))?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc("SMs of dispatch and of combine, added").y_desc("us on the slowest rank");
    mesh.light_line_style(TRANSPARENT).label_style(("sans-serif", TEXT)).draw()?;
    chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, DOT.mix(0.7).filled())))?;
    let front = front(&points);
    chart.draw_series(LineSeries::new(front.iter().copied(), FRONT.stroke_width(2)))?;
    chart.draw_series(front.iter().map(|&point| Circle::new(point, 4, FRONT.filled())))?;
    let setting = &outcome.setting;
    let chosen = (setting.dispatch_sms + setting.combine_sms, outcome.predicted_us);
    chart.draw_series([Circle::new(chosen, 8, CHOSEN.stroke_width(3))])?;
    area.present()?;
    Ok(())
}

/// Of points in order of SMs, then time: those that are faster than all with as few SMs.
fn front(points: &[(u32, f64)]) -> Vec<(u32, f64)> {
    let mut front: Vec<(u32, f64)> = Vec::new();
    for &point in points {
        if front.last().is_none_or(|last| point.1 < last.1) {
            front.push(point);
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_has_what_nothing_beats() {
        let points = [(2, 9.0), (2, 9.5), (4, 9.0), (4, 9.2), (6, 3.0), (8, 4.0), (9, 2.0)];
        assert_eq!(front(&points), [(2, 9.0), (6, 3.0), (9, 2.0)]);
        assert_eq!(front(&[]), []);
    }
}
