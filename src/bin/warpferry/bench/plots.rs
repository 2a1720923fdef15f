//! Plots of a sweep as SVG: time and bandwidth over each option that has several values.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::types::RangedCoordf64;
use plotters::coord::Shift;
use plotters::prelude::*;
use warpferry::bench::Record;
use warpferry::{Error, Result};

use super::sweep::Axis;
use super::table::value_of;

/// Width of a picture and height of its panels, in pixels.
const WIDTH: u32 = 1440;
const PANEL_HEIGHT: u32 = 440;
/// Names of a line of the legend, and its height.
const NAMES_A_LINE: usize = 6;
const LINE_HEIGHT: u32 = 24;
/// Ratio of largest to least value from which on an axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 8.0;
/// Share of the axis that is left free at either end.
const MARGIN: f64 = 0.06;
/// Room above the highest point.
const HEADROOM: f64 = 1.08;

type OfRecord<T> = fn(&Record) -> T;

/// What a panel shows: two quantities, the first with solid lines, the second with dashed ones.
struct Panel {
    title: &'static str,
    unit: &'static str,
    quantities: [Quantity; 2],
}

/// A quantity of a panel.
struct Quantity {
    of: OfRecord<f64>,
    /// Least and most over repeats.
    range: Option<OfRecord<(f64, f64)>>,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "time: dispatch solid, combine dashed",
        unit: "us",
        quantities: [
            Quantity {
                of: |record| record.figures.dispatch_us,
                range: Some(|record| (record.figures.dispatch_us_least, record.figures.dispatch_us_most)),
            },
            Quantity {
                of: |record| record.figures.combine_us,
                range: Some(|record| (record.figures.combine_us_least, record.figures.combine_us_most)),
            },
        ],
    },
    Panel {
        title: "logical bandwidth: dispatch solid, combine dashed",
        unit: "GB/s",
        quantities: [
            Quantity { of: |record| record.figures.dispatch_gbs_logical, range: None },
            Quantity { of: |record| record.figures.combine_gbs_logical, range: None },
        ],
    },
    Panel {
        title: "wire of a GPU in dispatch: IB solid, NVLink dashed",
        unit: "GB/s",
        quantities: [
            Quantity { of: |record| record.figures.dispatch_ib_gbs_wire, range: None },
            Quantity { of: |record| record.figures.dispatch_nvlink_gbs, range: None },
        ],
    },
];

/// Writes a picture for each axis with several values; gives their names.
pub fn write(records: &[Record], axes: &[Axis], folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |why: String| Error::File { path: folder.display().to_string(), message: why };
    fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    let swept: Vec<&Axis> = axes.iter().filter(|axis| axis.values.len() > 1).collect();
    let one = |axis: &&Axis| {
        let path = folder.join(format!("bench-{}.svg", axis.name));
        let others: Vec<&Axis> = swept.iter().copied().filter(|other| other.name != axis.name).collect();
        draw(&path, records, axis, &others).map_err(failed)?;
        Ok(path)
    };
    swept.iter().map(one).collect()
}

type Drawn = std::result::Result<(), String>;

fn draw(path: &Path, records: &[Record], axis: &Axis, others: &[&Axis]) -> Drawn {
    let groups = groups(records, axis, others);
    let legend_lines = if others.is_empty() { 0 } else { groups.len().div_ceil(NAMES_A_LINE) as u32 };
    let size = (WIDTH, PANEL_HEIGHT + LINE_HEIGHT * legend_lines);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE).map_err(text)?;
    let (top, bottom) = root.split_vertically(PANEL_HEIGHT);
    for (area, panel) in top.split_evenly((1, PANELS.len())).iter().zip(&PANELS) {
        draw_panel(area, panel, &groups, axis)?;
    }
    if legend_lines > 0 {
        draw_legend(&bottom, &groups)?;
    }
    root.present().map_err(text)
}

/// Records of one combination of the other axes, from left to right.
#[derive(Debug)]
struct Group<'a> {
    name: String,
    color: RGBAColor,
    records: Vec<&'a Record>,
}

fn groups<'a>(records: &'a [Record], axis: &Axis, others: &[&Axis]) -> Vec<Group<'a>> {
    let named = |record: &Record| -> String {
        let words = others.iter().map(|other| format!("{} {}", other.name, value_of(record, other.name)));
        words.collect::<Vec<_>>().join(", ")
    };
    let mut groups: Vec<Group<'a>> = Vec::new();
    for record in records {
        let name = named(record);
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.records.push(record),
            None => {
                let color = Palette99::pick(groups.len()).to_rgba();
                groups.push(Group { name, color, records: vec![record] });
            }
        }
    }
    for group in &mut groups {
        group.records.sort_by_key(|record| value_of(record, axis.name));
    }
    groups
}

/// Highest value of a panel, with room above.
fn top(panel: &Panel, groups: &[Group]) -> f64 {
    let of_quantity = |quantity: &Quantity| {
        let of_record =
            |record: &&Record| quantity.range.map_or_else(|| (quantity.of)(record), |range| range(record).1);
        groups.iter().flat_map(|group| &group.records).map(of_record).fold(0.0, f64::max)
    };
    let highest = panel.quantities.iter().map(of_quantity).fold(0.0, f64::max);
    // A quantity that is zero everywhere, as bytes between nodes on one node, still needs an axis.
    if highest > 0.0 {
        highest * HEADROOM
    } else {
        1.0
    }
}

fn draw_panel<B: DrawingBackend>(area: &DrawingArea<B, Shift>, panel: &Panel, groups: &[Group], axis: &Axis) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(Places::new(axis), 0.0..top(panel, groups))
        .map_err(text)?;
    chart
        .configure_mesh()
        .x_desc(axis.name)
        .y_desc(panel.unit)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(WHITE)
        .draw()
        .map_err(text)?;
    for group in groups {
        for (quantity, is_dashed) in panel.quantities.iter().zip([false, true]) {
            draw_line(&mut chart, quantity, is_dashed, group, axis)?;
        }
    }
    Ok(())
}

type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<Places, RangedCoordf64>>;

fn draw_line<B: DrawingBackend>(
    chart: &mut Chart<'_, B>,
    quantity: &Quantity,
    is_dashed: bool,
    group: &Group,
    axis: &Axis,
) -> Drawn {
    let color = group.color;
    let line: Vec<(f64, f64)> =
        group.records.iter().map(|record| (place(record, axis), (quantity.of)(record))).collect();
    if is_dashed {
        let dashes = DashedLineSeries::new(line.clone(), 6, 4, color.stroke_width(2));
        chart.draw_series(dashes).map_err(text)?;
    } else {
        chart.draw_series(LineSeries::new(line.clone(), color.stroke_width(2))).map_err(text)?;
    }
    chart.draw_series(line.iter().map(|&at| Circle::new(at, 3, color.filled()))).map_err(text)?;
    if let Some(range) = quantity.range {
        let bar = |record: &&Record| {
            let ((low, high), x) = (range(record), place(record, axis));
            PathElement::new([(x, low), (x, high)], color.stroke_width(1))
        };
        chart.draw_series(group.records.iter().map(bar)).map_err(text)?;
    }
    Ok(())
}

/// What each color is.
fn draw_legend<B: DrawingBackend>(area: &DrawingArea<B, Shift>, groups: &[Group]) -> Drawn {
    let column_width = WIDTH as i32 / NAMES_A_LINE as i32;
    for (number, group) in groups.iter().enumerate() {
        let x = (number % NAMES_A_LINE) as i32 * column_width + 24;
        let y = (number / NAMES_A_LINE) as i32 * LINE_HEIGHT as i32 + 10;
        area.draw(&PathElement::new([(x, y), (x + 24, y)], group.color.stroke_width(3))).map_err(text)?;
        area.draw(&Text::new(group.name.clone(), (x + 30, y - 6), ("sans-serif", 13))).map_err(text)?;
    }
    Ok(())
}

fn place(record: &Record, axis: &Axis) -> f64 {
    f64::from(value_of(record, axis.name))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An axis whose ticks are the values that were tried; logarithmic where they lie far apart.
#[derive(Debug, Clone, PartialEq)]
struct Places {
    ticks: Vec<f64>,
    logarithmic: bool,
}

impl Places {
    fn new(axis: &Axis) -> Places {
        let mut ticks: Vec<f64> = axis.values.iter().map(|&value| f64::from(value)).collect();
        ticks.sort_by(f64::total_cmp);
        let (first, last) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(0.0));
        Places { logarithmic: first > 0.0 && last / first >= LOGARITHMIC_FROM, ticks }
    }

    fn scaled(&self, value: f64) -> f64 {
        if self.logarithmic {
            value.log2()
        } else {
            value
        }
    }

    /// From 0 to 1 along the axis.
    fn share(&self, value: f64) -> f64 {
        let range = self.range();
        let (from, to) = (self.scaled(range.start), self.scaled(range.end));
        MARGIN + (1.0 - 2.0 * MARGIN) * (self.scaled(value) - from) / (to - from)
    }
}

impl Ranged for Places {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * self.share(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.ticks.first().copied().unwrap_or(0.0)..self.ticks.last().copied().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::records;
    use super::*;

    fn axis(values: &[u32]) -> Axis {
        Axis { name: "sms", values: values.to_vec() }
    }

    #[test]
    fn axes_far_apart_are_logarithmic() {
        let near = Places::new(&axis(&[8, 4, 12]));
        assert_eq!((near.logarithmic, near.map(&8.0, (0, 100))), (false, 50));
        let far = Places::new(&axis(&[1, 4, 16]));
        assert_eq!((far.logarithmic, far.map(&4.0, (0, 100))), (true, 50));
    }

    #[test]
    fn a_color_for_each_combination_of_the_others() {
        let records = records();
        let sms: Vec<u32> = records.iter().map(|record| record.figures.sms).collect();
        let tokens =
            Axis { name: "tokens", values: records.iter().map(|record| record.workload.class.tokens).collect() };
        let groups = groups(&records, &axis(&sms), &[&tokens]);
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["tokens 8", "tokens 16"]);
        assert!(groups.iter().all(|group| group.records.len() == 1));
    }
}
