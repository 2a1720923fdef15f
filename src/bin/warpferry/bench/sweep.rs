//! Sweeps: every combination of the values that options were given.

use warpferry::{Error, Result};

use super::options::BenchOptions;

/// Most points of a sweep.
const POINTS_MAX: usize = 4096;

/// An option and its values; none where it was not given and has no default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Name of the field in records.
    pub name: &'static str,
    /// In the order given.
    pub values: Vec<u32>,
}

/// One value of each axis that has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point(Vec<(&'static str, u32)>);

impl Point {
    /// The value of an axis.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(axis, _)| *axis == name).map(|&(_, value)| value)
    }

    /// The value of an axis that has a default.
    pub fn value(&self, name: &str) -> Result<u32> {
        self.get(name).ok_or_else(|| Error::argument(format!("--{}", name.replace('_', "-")), "nothing", "a number"))
    }
}

/// Axes of `options`.
pub fn axes(options: &BenchOptions) -> Vec<Axis> {
    let axis = |name, values: &[u32]| Axis { name, values: values.to_vec() };
    vec![
        axis("nodes", &options.nodes),
        axis("gpus_per_node", &options.gpus_per_node),
        axis("tokens", &options.tokens),
        axis("hidden", &options.hidden),
        axis("experts", &options.experts),
        axis("topk", &options.topk),
        axis("sms", &options.sms),
        axis("channels", &options.channels),
        axis("chunk", &options.chunk),
        axis("chunk_ib", &options.chunk_ib),
        axis("chunk_nv", &options.chunk_nv),
        axis("depth_ib", &options.depth_ib),
        axis("depth_nv", &options.depth_nv),
        axis("workers", &options.workers),
    ]
}

/// Every combination, the last axis fastest.
///
/// # Errors
/// [`Error::Argument`] for a value that was given twice, and for too many points.
pub fn points(axes: &[Axis]) -> Result<Vec<Point>> {
    let mut points = vec![Point(Vec::new())];
    for axis in axes.iter().filter(|axis| !axis.values.is_empty()) {
        if let Some(twice) = (1..axis.values.len()).find(|&at| axis.values[..at].contains(&axis.values[at])) {
            let option = format!("--{}", axis.name.replace('_', "-"));
            return Err(Error::argument(option, format!("{} twice", axis.values[twice]), "each value once"));
        }
        let count = points.len() * axis.values.len();
        if count > POINTS_MAX {
            return Err(Error::argument("sweep", format!("{count} or more points"), format!("at most {POINTS_MAX}")));
        }
        let with = |point: &Point, value| Point([&point.0[..], &[(axis.name, value)]].concat());
        points = points.iter().flat_map(|point| axis.values.iter().map(move |&value| with(point, value))).collect();
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_once() {
        let axis = |name, values: &[u32]| Axis { name, values: values.to_vec() };
        let axes = [axis("tokens", &[1, 2]), axis("experts", &[]), axis("sms", &[4, 8, 16])];
        let points = points(&axes).expect("six");
        let seen: Vec<_> = points.iter().map(|point| (point.get("tokens"), point.get("sms"))).collect();
        assert_eq!(seen, [1, 2].map(|t| [4, 8, 16].map(|s| (Some(t), Some(s)))).concat());
        assert!(points.iter().all(|point| point.get("experts").is_none()));
        assert!(points[0].value("experts").is_err());
    }

    #[test]
    fn values_twice_and_too_many_points_are_refused() {
        let axis = |values: &[u32]| Axis { name: "depth_nv", values: values.to_vec() };
        let said = points(&[axis(&[4, 8, 4])]).expect_err("twice").to_string();
        assert!(said.contains("--depth-nv") && said.contains("4 twice"), "{said}");
        let many: Vec<u32> = (0..100).collect();
        assert!(points(&[axis(&many), axis(&many)]).expect_err("10,000").to_string().contains("at most 4096"));
    }
}
