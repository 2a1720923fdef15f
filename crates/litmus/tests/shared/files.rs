//! The files of the suite.

use std::path::{Path, PathBuf};

/// The folder of the suite.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/litmus")
}

/// All its files, in the order of their names.
pub fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&folder(), &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the suite is in the repository") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "litmus") {
            into.push(path);
        }
    }
}
