//! Search path: how far each descent was from the best when so many points were measured.

use std::path::Path;

use plotters::prelude::*;
use warpferry::tune::outcome::Passage;
use warpferry::tune::Outcome;

use super::paper::{Drawn, LINES, SIZE, TEXT, TITLE};

/// Percent that the axis ends with.
const LEAST: f64 = 0.01;

/// Draws the plot.
pub fn draw(outcome: &Outcome, file: &Path) -> Drawn {
    let best = outcome.path.iter().map(|passage| passage.cost).fold(f64::INFINITY, f64::min);
    let above = |passage: &Passage| (100.0 * (passage.cost / best - 1.0)).max(LEAST);
    let most = outcome.path.iter().map(above).fold(1.0, f64::max);
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Descents: percent above the best, by points measured", ("sans-serif", TITLE))
        .margin(20)
        .x_label_area_size(50)
        .y_label_area_size(70)
        .build_cartesian_2d(0..outcome.points_tried + 1, (LEAST..2.0 * most).log_scale())?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc("points measured").y_desc("percent above the best (0.01 and less at the bottom)");
    mesh.light_line_style(TRANSPARENT).label_style(("sans-serif", TEXT)).draw()?;
    for descent in outcome.path.chunk_by(|a, b| a.start == b.start) {
        let start = descent[0].start;
        let colour = LINES[start as usize % LINES.len()];
        let points: Vec<(u64, f64)> = descent.iter().map(|passage| (passage.tried, above(passage))).collect();
        let line = chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
        let name = if start == 0 { "from the first start".to_string() } else { format!("from start {}", start + 1) };
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    let labels = &mut chart.configure_series_labels();
    labels
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .label_font(("sans-serif", TEXT))
        .draw()?;
    area.present()?;
    Ok(())
}
