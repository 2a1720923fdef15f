// Kernel sources: which there are, and the variants that each one's contract lists.

use std::fs;
use std::path::{Path, PathBuf};

/// One expansion of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Symbol of the entry: `dispatch_staged_mlx5`.
    pub name: String,
    /// Preprocessor definitions, name and value.
    pub defines: Vec<(String, String)>,
}

/// A file of `ptx/`.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Path within the package, with forward slashes: what line markers and messages say.
    pub label: String,
    /// Kernel that its contract describes.
    pub kernel: String,
    /// Text as written.
    pub text: String,
    /// What its contract lists, in order.
    pub variants: Vec<Variant>,
}

/// Reads every `ptx/*.ptx` below `root`, sorted by name. No folder: no kernels.
pub fn sources(root: &Path) -> Result<Vec<Source>, String> {
    let folder = root.join("ptx");
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "ptx") {
            found.push(read(path)?);
        }
    }
    found.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(found)
}

fn read(path: PathBuf) -> Result<Source, String> {
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_string();
    let label = format!("ptx/{stem}.ptx");
    let (kernel, variants) = listed(&label, &stem, &text)?;
    Ok(Source { path, label, kernel, text, variants })
}

/// Reads the `//@ variants` lines: `NAME: DEFINE[=VALUE] ...; NAME: ...`, on one line or continued on `//@` lines
/// whose first word ends in a colon. Without any, the one variant is named like the kernel.
fn listed(label: &str, stem: &str, text: &str) -> Result<(String, Vec<Variant>), String> {
    let mut kernel = stem.to_string();
    let mut listed = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let Some(rest) = line.trim_start().strip_prefix("//@") else {
            inside = false;
            continue;
        };
        let rest = rest.trim();
        let (key, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let list = match key {
            "kernel" => {
                kernel = value.split_whitespace().next().unwrap_or(stem).to_string();
                inside = false;
                continue;
            }
            "variants" => value,
            _ if inside && key.ends_with(':') => rest,
            _ => {
                inside = false;
                continue;
            }
        };
        inside = true;
        for part in list.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            listed.push(variant(part).map_err(|why| format!("{label}:{}: {why}", index + 1))?);
        }
    }
    if listed.is_empty() {
        listed.push(Variant { name: kernel.clone(), defines: Vec::new() });
    }
    Ok((kernel, listed))
}

fn variant(part: &str) -> Result<Variant, String> {
    let (name, defines) = part.split_once(':').unwrap_or((part, ""));
    let name = name.trim();
    if !is_name(name) {
        return Err(format!("variant `{part}`: valid is NAME: DEFINE[=VALUE] DEFINE ..."));
    }
    let defines = defines
        .split_whitespace()
        .map(|define| {
            let (define, value) = define.split_once('=').unwrap_or((define, "1"));
            if is_name(define) {
                Ok((define.to_string(), value.to_string()))
            } else {
                Err(format!("definition `{define}` of variant `{name}`: valid is NAME or NAME=VALUE"))
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(Variant { name: name.to_string(), defines })
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
