//! Builds the kernels: expands `ptx/*.ptx` with the C preprocessor, one expansion a variant, assembles each with ptxas
//! when one is at hand, and writes the table that `src/kernel/image.rs` includes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{exit, Command};

#[path = "build/assemble.rs"]
mod assemble;
#[path = "build/expand.rs"]
mod expand;
#[path = "build/source.rs"]
mod source;
#[path = "build/table.rs"]
mod table;

use assemble::{Assembler, Cubins};
use expand::Expansion;
use source::Source;
use table::Entry;

fn main() {
    if let Err(message) = run() {
        eprintln!("\nerror: kernels do not build\n{message}\n");
        exit(1);
    }
}

fn run() -> Result<(), String> {
    for name in ["PTXAS", "CUDA_HOME", "PATH", "CC"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    for path in ["build.rs", "build", "ptx"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let root = folder("CARGO_MANIFEST_DIR")?;
    let out = folder("OUT_DIR")?;
    let assembler = assemble::find(&root)?;
    if let Some(assembler) = &assembler {
        println!("cargo:rerun-if-changed={}", assembler.path.display());
    }
    for (folder, table) in source::FOLDERS {
        table::write(&out, table, &entries(&root, &out, folder, assembler.as_ref())?)?;
    }
    Ok(())
}

/// Expands, checks and assembles every kernel of `folder`.
fn entries(
    root: &Path,
    out: &Path,
    folder: &str,
    assembler: Option<&Assembler>,
) -> Result<Vec<(Entry, Cubins)>, String> {
    let mut entries = Vec::new();
    for source in source::sources(root, folder)? {
        for variant in &source.contract.variants {
            let expansion = expansion(root, &source, variant)?;
            let entry = Entry::new(&source, variant, expansion)?;
            let cubins = match assembler {
                Some(assembler) => {
                    let budget = &source.contract.budget;
                    assembler.assemble(&entry.name, &entry.expansion.marked_text, budget, out)?
                }
                None => Vec::new(),
            };
            entries.push((entry, cubins));
        }
    }
    Ok(entries)
}

/// Expands with the C compiler, or takes what the published package ships when there is none.
fn expansion(
    root: &Path,
    source: &Source,
    variant: &warpferry_ptx::contract::ContractVariant,
) -> Result<Expansion, String> {
    match preprocessor() {
        Ok(mut compiler) => expand::expand(&mut compiler, root, source, variant),
        Err(why) => {
            let shipped = root.join("ptx/expanded").join(format!("{}.ptx", variant.name));
            let marked_text = fs::read_to_string(&shipped).map_err(|error| {
                format!(
                    "no C compiler ({why}), and no expanded text at {} ({error}): install gcc or clang, or set CC",
                    shipped.display()
                )
            })?;
            Ok(Expansion::new(marked_text))
        }
    }
}

/// The C compiler as `cc` finds it for the building machine: `CC`, or the platform's usual one.
fn preprocessor() -> Result<Command, String> {
    let host = env::var("HOST").map_err(|error| format!("HOST: {error}"))?;
    let compiler =
        cc::Build::new().cargo_metadata(false).target(&host).try_get_compiler().map_err(|error| error.to_string())?;
    if compiler.is_like_msvc() {
        return Err(format!("{} is no gcc or clang", compiler.path().display()));
    }
    let probe = Command::new(compiler.path()).arg("--version").output();
    probe.map_err(|error| format!("{}: {error}", compiler.path().display()))?;
    // The bare program: flags of a build (optimisation, sections) mean nothing to the preprocessor.
    Ok(Command::new(compiler.path()))
}

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} is not set: run by cargo"))
}
