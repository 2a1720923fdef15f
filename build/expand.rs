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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::source::sources;

    const CONTRACT: &str = "//@ kernel  put\n//@ variants put_a: WIDE; put_b: STEP=4\n//@ needs nothing\n\
                            //@ launch threads 32\n//@ order none\n//@ target PTX 8.1, sm_90\n";

    /// A package of one kernel and one include.
    fn package(name: &str, body: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("warpferry-expand-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("ptx/include")).expect("the folder of temporary files can be written");
        fs::write(root.join("ptx/include/step.ptxh"), "#define ADD(TO) add.u32 TO, TO, STEP;\n")
            .expect("can be written");
        fs::write(root.join("ptx/put.ptx"), format!("{CONTRACT}{body}")).expect("can be written");
        root
    }

    fn expanded(root: &Path, variant: usize) -> Result<Expansion, String> {
        let source = sources(root, "ptx")?.remove(0);
        expand(&mut Command::new("cc"), root, &source, &source.contract.variants[variant])
    }

    #[test]
    fn variants_differ_by_their_definitions() {
        let body = "#include \"step.ptxh\"\n.entry KERNEL_SYMBOL()\n#ifdef WIDE\nwide;\n#else\nADD(x)\n#endif\n";
        let root = package("variants", body);
        let (a, b) = (expanded(&root, 0).expect("expands"), expanded(&root, 1).expect("expands"));
        let head = ".version 8.1\n.target sm_90\n.address_size 64\n";
        assert_eq!(a.text, format!("{head}.entry put_a()\nwide;\n"));
        assert_eq!(b.text, format!("{head}.entry put_b()\nadd.u32 x, x, 4;\n"));
        assert!(b.marked_text.contains("\"ptx/put.ptx\"") && b.marked_text.contains("\"ptx/include/step.ptxh\""));
        assert!(!b.marked_text.contains(&*root.to_string_lossy()), "{}", b.marked_text);
        let _ = fs::remove_dir_all(root);
    }

    #[test]
    fn a_missing_include_names_the_source() {
        let root = package("include", "#include \"none.ptxh\"\n");
        let error = expanded(&root, 0).expect_err("there is no such file");
        assert!(error.contains("ptx/put.ptx") && error.contains("put_a") && error.contains("none.ptxh"), "{error}");
        let _ = fs::remove_dir_all(root);
    }

    #[test]
    fn a_source_that_writes_its_own_header_keeps_it() {
        let root = package("header", ".version 8.0\n.target sm_90a\n");
        assert_eq!(expanded(&root, 0).expect("expands").text, ".version 8.0\n.target sm_90a\n");
        let _ = fs::remove_dir_all(root);
    }

    #[test]
    fn no_folder_no_kernels() {
        assert!(sources(Path::new("/no/such/folder"), "ptx").expect("nothing to read").is_empty());
    }
}
