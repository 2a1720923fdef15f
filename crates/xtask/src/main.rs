//! Chores of the workspace: `cargo run -p xtask -- headers`, `expand`, `ship`, `coverage`.
//!
//! It includes the sources it needs by path instead of linking the library, because the library does not build while
//! a kernel is broken, which is when one wants to look at an expansion.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[path = "../../../src/plan/blocks.rs"]
#[allow(dead_code, clippy::wrong_self_convention)] // public API there, private here
mod blocks;
mod coverage;
#[path = "../../../build/expand.rs"]
mod expand;
#[path = "../../../src/driver/coverage/record.rs"]
#[allow(missing_docs)] // public there, private here
mod record;
#[path = "../../../build/source.rs"]
mod source;

const USAGE: &str = "usage: cargo run -p xtask -- COMMAND
  headers            write ptx/include/blocks.ptxh from src/plan/blocks.rs
  expand             list the variants of every kernel
  expand VARIANT     print one variant as a driver gets it
  expand VARIANT marked
                     with line markers, as ptxas, the parser and the emulator get it
  coverage FOLDER    print what the records in FOLDER cover of each kernel: see scripts/coverage.sh
  ship               write every variant to ptx/expanded, for a package that builds without a C compiler";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["headers"] => headers(),
        ["expand"] => list(),
        ["expand", variant] => expand(variant).map(|expansion| print!("{}", expansion.text)),
        ["expand", variant, "marked"] => expand(variant).map(|expansion| print!("{}", expansion.marked_text)),
        ["coverage", folder] => coverage(Path::new(folder)),
        ["ship"] => ship(),
        _ => Err(USAGE.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn headers() -> Result<(), String> {
    save(&root().join("ptx/include/blocks.ptxh"), &blocks::header())
}

/// Sources of every folder.
fn all() -> Result<Vec<source::Source>, String> {
    let mut found = Vec::new();
    for (folder, _) in source::FOLDERS {
        found.extend(source::sources(&root(), folder)?);
    }
    Ok(found)
}

fn list() -> Result<(), String> {
    for source in all()? {
        for variant in &source.contract.variants {
            println!("{:40} {} of {}", variant.name, source.contract.kernel, source.label);
        }
    }
    Ok(())
}

fn expand(name: &str) -> Result<expand::Expansion, String> {
    for source in all()? {
        if let Some(variant) = source.contract.variants.iter().find(|variant| variant.name == name) {
            return expand::expand(&mut compiler(), &root(), &source, variant);
        }
    }
    Err(format!("no variant is called {name}; `expand` alone lists them"))
}

fn coverage(folder: &Path) -> Result<(), String> {
    let mut kernels = Vec::new();
    let (place, _) = source::FOLDERS[0];
    for source in source::sources(&root(), place)? {
        for variant in &source.contract.variants {
            let expansion = expand::expand(&mut compiler(), &root(), &source, variant)?;
            kernels.push(coverage::Kernel { name: variant.name.clone(), marked_text: expansion.marked_text });
        }
    }
    coverage::report(&root(), folder, &kernels)
}

fn ship() -> Result<(), String> {
    let folder = root().join("ptx/expanded");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for source in all()? {
        for variant in &source.contract.variants {
            let expansion = expand::expand(&mut compiler(), &root(), &source, variant)?;
            save(&folder.join(format!("{}.ptx", variant.name)), &expansion.marked_text)?;
        }
    }
    Ok(())
}

fn save(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// The C compiler: `CC`, or `cc`.
fn compiler() -> Command {
    Command::new(std::env::var_os("CC").filter(|name| !name.is_empty()).unwrap_or_else(|| "cc".into()))
}

/// Top of the repository.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("this crate lies in crates/xtask").to_path_buf()
}
