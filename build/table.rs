// The table of kernels that the library includes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::expand::Expansion;
use crate::source::{Source, Variant};

/// A kernel as the table lists it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Symbol.
    pub name: String,
    /// Kernel that the contract describes.
    pub kernel: String,
    /// What the preprocessor made.
    pub expansion: Expansion,
}

impl Entry {
    /// Reads one expanded variant.
    pub fn new(source: &Source, variant: &Variant, expansion: Expansion) -> Result<Entry, String> {
        Ok(Entry { name: variant.name.clone(), kernel: source.kernel.clone(), expansion })
    }
}

/// Writes texts and `kernels.rs` into `out`.
pub fn write(out: &Path, entries: &[(Entry, Vec<(u32, PathBuf)>)]) -> Result<(), String> {
    let mut table = String::from("&[\n");
    for (entry, cubins) in entries {
        let text = out.join(format!("{}.ptx", entry.name));
        let marked = out.join(format!("{}.marked.ptx", entry.name));
        save(&text, &entry.expansion.text)?;
        save(&marked, &entry.expansion.marked_text)?;
        let _ = writeln!(table, "crate::kernel::KernelImage {{ name: {:?}, kernel: {:?},", entry.name, entry.kernel);
        let _ = writeln!(table, "text: include_str!({text:?}), marked_text: include_str!({marked:?}),");
        table.push_str("args: &[], static_shared: 0, max_threads: 1024,\n");
        table.push_str("cubins: &[");
        for (sm, cubin) in cubins {
            let _ = write!(table, "({sm}, include_bytes!({cubin:?})), ");
        }
        table.push_str("] },\n");
    }
    table.push_str("]\n");
    save(&out.join("kernels.rs"), &table)
}

fn save(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
