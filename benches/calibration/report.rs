//! Results as a line, a summary, a page and JSON.

use serde_json::{json, Value};

use super::point::Measured;

/// Marks in the page between which the tables stand.
const BEGIN: &str = "<!-- tables: begin -->";
const END: &str = "<!-- tables: end -->";

/// One point.
pub fn line(result: &Measured) -> String {
    let point = result.point;
    let (name, error) = (format!("{}: {}", point.group, point.name), result.error_percent());
    format!("{name:<50} {:>8.2} -> {:>8.2} {:<5} {error:>+7.1} %", point.published, result.modelled, point.unit)
}

/// Median and 90th percentile of the errors' sizes, in percent; zeros without results.
pub fn spread<'r>(results: impl Iterator<Item = &'r Measured>) -> (f64, f64) {
    let mut errors: Vec<f64> = results.map(|result| result.error_percent().abs()).collect();
    errors.sort_by(f64::total_cmp);
    // The least one that so many are not above.
    let at = |share: f64| (share * errors.len() as f64).ceil().max(1.0) as usize - 1;
    let value = |share: f64| errors.get(at(share)).copied().unwrap_or(0.0);
    (value(0.5), value(0.9))
}

/// Groups in order.
fn groups(results: &[Measured]) -> Vec<&'static str> {
    let mut groups: Vec<&str> = results.iter().map(|result| result.point.group).collect();
    groups.dedup();
    groups
}

/// The spreads: name, points, median, 90th percentile.
fn spreads(results: &[Measured]) -> Vec<(&'static str, usize, f64, f64)> {
    let of = |name: &'static str, results: Vec<&Measured>| {
        let (median, most) = spread(results.iter().copied());
        (name, results.len(), median, most)
    };
    let group = |group: &&'static str| of(group, results.iter().filter(|r| r.point.group == *group).collect());
    groups(results).iter().map(group).chain([of("all", results.iter().collect())]).collect()
}

/// Median and 90th percentile by group, for people.
pub fn summary(results: &[Measured]) -> String {
    let row = |(name, points, median, most): &(&str, usize, f64, f64)| {
        format!("{name:<20} {points:>3} points, median {median:>5.1} %, 90th percentile {most:>5.1} %")
    };
    spreads(results).iter().map(row).collect::<Vec<_>>().join("\n")
}

/// All of it.
pub fn json(results: &[Measured]) -> Value {
    let point = |result: &Measured| {
        json!({
            "group": result.point.group, "name": result.point.name, "source": result.point.source,
            "machine": result.point.machine, "unit": result.point.unit, "published": result.point.published,
            "modelled": result.modelled, "kernel_alone": result.beside, "error_percent": result.error_percent(),
        })
    };
    let spread = |&(name, points, median, most): &(&str, usize, f64, f64)| json!({ "group": name, "points": points, "median_percent": median, "p90_percent": most });
    json!({
        "points": results.iter().map(point).collect::<Vec<_>>(),
        "spreads": spreads(results).iter().map(spread).collect::<Vec<_>>(),
    })
}

/// The tables of the page.
pub fn markdown(results: &[Measured], shapes: &str, commit: &str) -> String {
    let mut text = format!(
        "Command: `cargo bench --bench calibration -- --shapes --out docs/perf/calibration.md`, commit {commit}.\n\n"
    );
    text += "| group | points | median of abs(error), % | 90th percentile, % |\n| --- | ---: | ---: | ---: |\n";
    for (name, points, median, most) in spreads(results) {
        text += &format!("| {name} | {points} | {median:.1} | {most:.1} |\n");
    }
    for group in groups(results) {
        text += &format!("\n### {group}\n\n");
        text += "| point | machine | source | published | modelled | error, % | kernel alone |\n";
        text += "| --- | --- | --- | ---: | ---: | ---: | ---: |\n";
        for result in results.iter().filter(|result| result.point.group == group) {
            text += &row(result);
        }
    }
    text + "\n" + shapes
}

fn row(result: &Measured) -> String {
    let point = result.point;
    let value = |value: f64| if value < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") };
    let beside = result.beside.map_or(String::new(), |beside| format!("{} {}", value(beside), point.unit));
    format!(
        "| {} | {} | {} | {} {unit} | {} {unit} | {:+.1} | {beside} |\n",
        point.name,
        point.machine,
        point.source,
        value(point.published),
        value(result.modelled),
        result.error_percent(),
        unit = point.unit,
    )
}

/// `page` with other tables between its marks, or behind it where it has none.
pub fn renewed(page: &str, tables: &str) -> String {
    let (before, after) = match (page.split_once(BEGIN), page.split_once(END)) {
        (Some((before, _)), Some((_, after))) => (before, after),
        _ => (page, "\n"),
    };
    format!("{before}{BEGIN}\n\n{tables}\n{END}{after}")
}
