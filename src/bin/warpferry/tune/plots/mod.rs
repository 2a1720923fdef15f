//! Plots of a search, as SVG: what was measured, not what might be.

mod heat;
mod paper;
mod pareto;
mod path;

use std::path::{Path, PathBuf};

use warpferry::tune::{Axis, Outcome};
use warpferry::{Error, Result};

/// Draws an outcome into a file.
type Plot = fn(&Outcome, &Path) -> paper::Drawn;

/// Draws all plots into `folder`; gives their files.
///
/// # Errors
/// [`Error::File`] for what cannot be written.
pub fn draw(outcome: &Outcome, folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| Error::File { path: folder.display().to_string(), message: error.to_string() };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let plots: [(&str, Plot); 3] =
        [("chunk-sms.svg", heat::draw), ("sms-time.svg", pareto::draw), ("path.svg", path::draw)];
    let mut files = Vec::new();
    for (name, plot) in plots {
        let file = folder.join(name);
        let failed = |error: Box<dyn std::error::Error>| Error::File {
            path: file.display().to_string(),
            message: format!("not drawn: {error}"),
        };
        plot(outcome, &file).map_err(failed)?;
        files.push(file);
    }
    Ok(files)
}

/// Value of an axis among the numbers of a point.
fn value(at: &[u32], axis: Axis) -> u32 {
    at.get(axis.place()).copied().unwrap_or(0)
}

/// Values of an axis among the points that were measured, ascending.
fn values(outcome: &Outcome, axis: Axis) -> Vec<u32> {
    let mut values: Vec<u32> = outcome.tried.iter().map(|tried| value(&tried.at, axis)).collect();
    values.sort_unstable();
    values.dedup();
    values
}
