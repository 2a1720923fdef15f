//! The table of results.

use std::collections::BTreeMap;

use super::change::Kind;
use super::record::{Fate, Line};
use super::suite::Checker;

/// Kind by checker, in text.
pub fn summary(lines: &[Line]) -> String {
    let columns: Vec<&str> =
        Checker::ALL.iter().map(|checker| checker.name()).chain(["survives", "not reached"]).collect();
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for line in lines {
        let column = match &line.fate {
            Fate::Caught { checker, .. } => checker.as_str(),
            Fate::Survives => "survives",
            Fate::Unreached => "not reached",
        };
        let at = columns.iter().position(|name| *name == column).unwrap_or(columns.len() - 3);
        rows.entry(line.kind.as_str()).or_insert_with(|| vec![0; columns.len()])[at] += 1;
    }
    let mut out = format!("| change of | {} |\n", columns.join(" | "));
    out.push_str(&format!("|---|{}\n", "---:|".repeat(columns.len())));
    for kind in Kind::ALL {
        if let Some(row) = rows.get(kind.name()) {
            let cells: Vec<String> = row.iter().map(|n| if *n == 0 { String::new() } else { n.to_string() }).collect();
            out.push_str(&format!("| {} | {} |\n", kind.name(), cells.join(" | ")));
        }
    }
    out
}
