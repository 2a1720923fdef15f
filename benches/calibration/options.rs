//! The command line.

use std::path::PathBuf;

use clap::Parser;
use warpferry::model::Model;

use super::suite::Point;

/// Compares the models of machines with points that others published.
#[derive(Debug, Clone, Parser)]
#[command(name = "calibration")]
pub struct Options {
    /// Only points whose group and name, as they are printed, contain this
    #[arg(long)]
    pub only: Option<String>,
    /// Takes this file for the machine of its name; may be given again
    #[arg(long = "machine-file", value_name = "FILE")]
    pub machine_files: Vec<PathBuf>,
    /// Another value on every machine, for fitting: `nic.gbs=44`; may be given again
    #[arg(long, value_name = "SECTION.NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String, f64)>,
    /// Warp instructions of a run, about: more of them show more of each world
    #[arg(long, default_value_t = Model::EFFORT)]
    pub effort: u64,
    /// Tables of shapes too: time by world, by SMs, beside a computation
    #[arg(long)]
    pub shapes: bool,
    /// Writes the tables into this file, between its marks
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Writes all results to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Commit that was built, for the report
    #[arg(long, env = "WARPFERRY_COMMIT", default_value = "unknown")]
    pub commit: String,
    /// Cargo passes it to every bench
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    /// Whether a point is asked for.
    pub fn wants(&self, point: &Point) -> bool {
        let name = format!("{}: {}", point.group, point.name);
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }
}

fn assignment(text: &str) -> Result<(String, String, f64), String> {
    let wrong = || format!("`{text}` is no assignment: valid is SECTION.NAME=VALUE, as nic.gbs=44");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let (section, name) = name.split_once('.').ok_or_else(wrong)?;
    Ok((section.to_string(), name.to_string(), value.parse().map_err(|_| wrong())?))
}
