//! Heat map: chunk by SMs. A cell is the best that was measured with the two values, whatever the others were; a cell without
//! colour was not measured.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::prelude::*;
use warpferry::tune::{Axis, Outcome};

use super::paper::{shade, Drawn, CHOSEN, SIZE, TEXT, TITLE};
use super::{value, values};

/// Slow-down in percent from which cells are equally dark.
const DARKEST: f64 = 100.0;

/// Draws the map.
pub fn draw(outcome: &Outcome, file: &Path) -> Drawn {
    // On one node only the chunk within it is tuned.
    let chunk = if values(outcome, Axis::ChunkIb).len() > 1 { Axis::ChunkIb } else { Axis::ChunkNv };
    let (chunks, sms) = (values(outcome, chunk), values(outcome, Axis::DispatchSms));
    let best = outcome.tried.iter().map(|tried| tried.cost).fold(f64::INFINITY, f64::min);
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("{chunk} x dispatch SMs: percent above the best that was measured");
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", TITLE))
        .margin(20)
        .x_label_area_size(50)
        .y_label_area_size(60)
        .build_cartesian_2d(0..sms.len().max(1) as i32, 0..chunks.len().max(1) as i32)?;
    chart.configure_mesh().disable_mesh().disable_axes().draw()?;
    let setting = &outcome.setting;
    let chosen_chunk = if chunk == Axis::ChunkIb { setting.chunk_ib } else { setting.chunk_nv };
    for ((column, row), cost) in cells(outcome, chunk, &sms, &chunks) {
        let percent = 100.0 * (cost / best - 1.0);
        let square = [(column, row), (column + 1, row + 1)];
        chart.draw_series([Rectangle::new(square, shade(percent / DARKEST).filled())])?;
        let here = (setting.dispatch_sms, chosen_chunk) == (sms[column as usize], chunks[row as usize]);
        let colour = if percent > 0.5 * DARKEST { WHITE } else { BLACK };
        let style = ("sans-serif", TEXT).into_font().color(&colour);
        let (x, y) = chart.backend_coord(&(column, row + 1));
        area.draw(&Text::new(format!("{percent:.1}"), (x + 8, y + 8), style))?;
        if here {
            chart.draw_series([Rectangle::new(square, CHOSEN.stroke_width(4))])?;
        }
    }
    let plain = ("sans-serif", TEXT).into_font();
    for (place, value) in sms.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(place as i32, 0));
        area.draw(&Text::new(value.to_string(), (x + 8, y + 6), plain.clone()))?;
    }
    for (place, value) in chunks.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(0, place as i32 + 1));
        area.draw(&Text::new(value.to_string(), (x - 30, y + 8), plain.clone()))?;
    }
    let (width, height) = (SIZE.0 as i32, SIZE.1 as i32);
    area.draw(&Text::new("dispatch SMs", (width / 2 - 40, height - 28), plain.clone()))?;
    area.draw(&Text::new(chunk.name(), (8, 40), plain))?;
    area.present()?;
    Ok(())
}

/// Least cost of each cell that was measured.
fn cells(outcome: &Outcome, chunk: Axis, sms: &[u32], chunks: &[u32]) -> BTreeMap<(i32, i32), f64> {
    let mut cells = BTreeMap::new();
    for tried in &outcome.tried {
        let column = sms.iter().position(|&value_here| value_here == value(&tried.at, Axis::DispatchSms));
        let row = chunks.iter().position(|&value_here| value_here == value(&tried.at, chunk));
        let (Some(column), Some(row)) = (column, row) else { continue };
        let least: &mut f64 = cells.entry((column as i32, row as i32)).or_insert(tried.cost);
        *least = least.min(tried.cost);
    }
    cells
}
