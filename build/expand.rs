// Expansion of a kernel source by the C preprocessor.

use std::path::Path;
use std::process::Command;

use warpferry_ptx::contract::ContractVariant;

use crate::source::Source;

/// PTX version and target of a kernel whose contract names none: drivers from CUDA 12.2 on take it, and it assembles
/// for sm_90 and everything after.
const DEFAULT_VERSION: &str = "8.2";
const DEFAULT_TARGET: &str = "sm_90";

/// A variant after expansion.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// Without line markers: what a driver gets.
    pub text: String,
    /// With markers that name files within the package: what assembler, parser and emulator get, so that their
    /// errors point at our lines.
    pub marked_text: String,
}

impl Expansion {
    /// From a text with markers.
    pub fn new(marked_text: String) -> Expansion {
        Expansion { text: plain(&marked_text), marked_text }
    }
}

/// Runs `compiler` (a C compiler, ready to take flags) over one variant.
pub fn expand(
    compiler: &mut Command,
    root: &Path,
    source: &Source,
    variant: &ContractVariant,
) -> Result<Expansion, String> {
    // -undef and -nostdinc: no predefined macro and no system header may leak into a kernel.
    compiler.args(["-E", "-xassembler-with-cpp", "-undef", "-nostdinc"]);
    compiler.arg("-I").arg(root.join("ptx/include"));
    compiler.arg(format!("-DKERNEL_SYMBOL={}", variant.name));
    for (name, value) in &variant.defines {
        compiler.arg(format!("-D{name}={value}"));
    }
    compiler.arg(&source.path);
    let output = compiler.output().map_err(|error| format!("{}: cannot run {compiler:?}: {error}", source.label))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} (variant {}): the C preprocessor says\n{said}", source.label, variant.name));
    }
    let raw = String::from_utf8(output.stdout)
        .map_err(|_| format!("{} (variant {}): not UTF-8 after expansion", source.label, variant.name))?;
    let marked = relative_markers(&raw, root);
    let head = preamble(&source.contract.target, &marked);
    Ok(Expansion::new(head + &marked))
}

/// Keeps markers of files below `root`, by their path within it, and drops all others (`<built-in>`, the folder the
/// compiler ran in): no path of the building machine goes into a text.
fn relative_markers(raw: &str, root: &Path) -> String {
    let root = root.to_string_lossy();
    let mut out = String::with_capacity(raw.len());
    for line in raw.lines() {
        if !line.starts_with("# ") {
            out.push_str(line.trim_end());
            out.push('\n');
            continue;
        }
        let mut parts = line.splitn(3, '"');
        let (Some(number), Some(file)) = (parts.next(), parts.next()) else { continue };
        let inside = file.strip_prefix(root.as_ref()).map(|rest| rest.trim_start_matches('/'));
        if let Some(inside) = inside.filter(|inside| !inside.is_empty() && !file.ends_with("//")) {
            out.push_str(&format!("{number}\"{inside}\"\n"));
        }
    }
    out
}

/// The text without markers and blank lines.
fn plain(marked: &str) -> String {
    let mut out = String::with_capacity(marked.len());
    for line in marked.lines().filter(|line| !line.starts_with("# ") && !line.trim().is_empty()) {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// `.version`, `.target` and `.address_size` by the contract's `//@ target  PTX 8.2, sm_90`, unless the source
/// writes them itself.
fn preamble(target_line: &str, expanded: &str) -> String {
    if expanded.lines().any(|line| line.trim_start().starts_with(".version")) {
        return String::new();
    }
    let (mut version, mut target) = (DEFAULT_VERSION, DEFAULT_TARGET);
    for word in target_line.split(|c: char| c.is_whitespace() || c == ',') {
        if word.starts_with("sm_") {
            target = word;
        } else if word.starts_with(|c: char| c.is_ascii_digit()) {
            version = word;
        }
    }
    format!(".version {version}\n.target {target}\n.address_size 64\n")
}
