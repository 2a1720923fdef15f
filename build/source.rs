// Kernel sources and the contracts that stand above them.

use std::fs;
use std::path::{Path, PathBuf};

use warpferry_ptx::contract::{contracts, Contract};

/// A source: one kernel.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Path within the package, with forward slashes: what line markers and messages say.
    pub label: String,
    /// What it promises; it lists the variants.
    pub contract: Contract,
}

/// Folders of kernels and the tables that are made of them: the product's own, those that tests try macros with, and
/// those that measure a machine.
pub const FOLDERS: [(&str, &str); 3] = [("ptx", "kernels"), ("ptx/checks", "checks"), ("ptx/probes", "probes")];

/// Reads every `*.ptx` of `folder` below `root`, sorted by name. No folder: no kernels.
pub fn sources(root: &Path, folder: &str) -> Result<Vec<Source>, String> {
    let place = folder;
    let folder = root.join(folder);
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "ptx") {
            found.push(read(path, place)?);
        }
    }
    found.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(found)
}

fn read(path: PathBuf, place: &str) -> Result<Source, String> {
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let label = format!("{place}/{stem}.ptx");
    let mut all = contracts(&text).map_err(|error| format!("{label}, {error}"))?;
    let (Some(contract), true) = (all.pop(), all.is_empty()) else {
        return Err(format!(
            "{label}: a source has one kernel and one contract (`//@ kernel NAME`), not {}",
            all.len()
        ));
    };
    Ok(Source { path, label, contract })
}
