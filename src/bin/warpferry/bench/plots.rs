//! Plots of a sweep as SVG: time and bandwidth over each option that has several values.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::Shift;
use plotters::prelude::*;
use warpferry::bench::Record;
use warpferry::{Error, Result};

use super::sweep::Axis;
use super::table::value_of;

/// Size of a picture in pixels.
const SIZE: (u32, u32) = (1280, 560);
/// Ratio of largest to least value from which on an axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 8.0;
/// Share of the axis that is left free at either end.
const MARGIN: f64 = 0.06;
/// Room above the highest point.
const HEADROOM: f64 = 1.12;

type OfRecord<T> = fn(&Record) -> T;

/// A quantity of a plot.
struct Quantity {
    name: &'static str,
    of: OfRecord<f64>,
    /// Least and most over repeats.
    range: Option<OfRecord<(f64, f64)>>,
}

const TIMES: [Quantity; 2] = [
    Quantity {
        name: "dispatch",
        of: |record| record.figures.dispatch_us,
        range: Some(|record| (record.figures.dispatch_us_least, record.figures.dispatch_us_most)),
    },
    Quantity {
        name: "combine",
        of: |record| record.figures.combine_us,
        range: Some(|record| (record.figures.combine_us_least, record.figures.combine_us_most)),
    },
];

const BANDWIDTHS: [Quantity; 4] = [
    Quantity { name: "dispatch, logical", of: |record| record.figures.dispatch_gbs_logical, range: None },
    Quantity { name: "combine, logical", of: |record| record.figures.combine_gbs_logical, range: None },
    Quantity { name: "dispatch, IB wire", of: |record| record.figures.dispatch_ib_gbs_wire, range: None },
    Quantity { name: "dispatch, NVLink wire", of: |record| record.figures.dispatch_nvlink_gbs, range: None },
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
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(text)?;
    let (left, right) = root.split_horizontally(SIZE.0 / 2);
    panel(&left, "time, us", &TIMES, records, axis, others)?;
    panel(&right, "bandwidth, GB/s", &BANDWIDTHS, records, axis, others)?;
    root.present().map_err(text)
}

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    quantities: &[Quantity],
    records: &[Record],
    axis: &Axis,
    others: &[&Axis],
) -> Drawn {
    let places = Places::new(axis);
    let highest = |quantity: &Quantity| {
        let top = |record| quantity.range.map_or_else(|| (quantity.of)(record), |range| range(record).1);
        records.iter().map(top).fold(0.0, f64::max)
    };
    let top = quantities.iter().map(highest).fold(0.0, f64::max).max(f64::MIN_POSITIVE) * HEADROOM;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{title} over {}", axis.name), ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(places.clone(), 0.0..top)
        .map_err(text)?;
    chart
        .configure_mesh()
        .x_desc(axis.name)
        .y_desc(title)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(WHITE)
        .draw()
        .map_err(text)?;
    for (number, (name, quantity, points)) in series(quantities, records, axis, others).into_iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let line: Vec<(f64, f64)> = points.iter().map(|record| (place(record, axis), (quantity.of)(record))).collect();
        chart
            .draw_series(LineSeries::new(line.clone(), color.stroke_width(2)))
            .map_err(text)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(line.iter().map(|&at| Circle::new(at, 3, color.filled()))).map_err(text)?;
        if let Some(range) = quantity.range {
            let bar = |record: &&Record| {
                let ((low, high), x) = (range(record), place(record, axis));
                PathElement::new([(x, low), (x, high)], color.stroke_width(1))
            };
            chart.draw_series(points.iter().map(bar)).map_err(text)?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(text)
}

/// Lines of a panel: for each quantity one for each combination of the other axes, its records from left to right.
fn series<'a, 'q>(
    quantities: &'q [Quantity],
    records: &'a [Record],
    axis: &Axis,
    others: &[&Axis],
) -> Vec<(String, &'q Quantity, Vec<&'a Record>)> {
    let named = |record: &Record| -> String {
        others.iter().map(|other| format!(", {} {}", other.name, value_of(record, other.name))).collect()
    };
    let mut names: Vec<String> = records.iter().map(named).collect();
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let line = |quantity: &'q Quantity, name: &String| {
        let mut points: Vec<&Record> = records.iter().filter(|record| named(record) == *name).collect();
        points.sort_by_key(|record| value_of(record, axis.name));
        (format!("{}{name}", quantity.name), quantity, points)
    };
    quantities.iter().flat_map(|quantity| names.iter().map(move |name| line(quantity, name))).collect()
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
    fn a_line_for_each_combination_of_the_others() {
        let records = records();
        let sms: Vec<u32> = records.iter().map(|record| record.figures.sms).collect();
        let tokens = Axis { name: "tokens", values: records.iter().map(|record| record.workload.tokens).collect() };
        let lines = series(&TIMES, &records, &axis(&sms), &[&tokens]);
        let names: Vec<&str> = lines.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["dispatch, tokens 8", "dispatch, tokens 16", "combine, tokens 8", "combine, tokens 16"]);
        assert!(lines.iter().all(|(.., points)| points.len() == 1));
    }
}
