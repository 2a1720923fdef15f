//! Rules a machine can check: every kernel source is in the index, starts with a contract where it holds an entry, uses
//! names that cannot hide an opcode or a type, and no file outside the agreed places uses `unsafe`.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository is readable") {
            let path = entry.expect("an entry is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {extensions:?} files under {under}");
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("the file is in the repository").display().to_string()
}

#[test]
fn every_kernel_source_is_in_the_index() {
    let index = fs::read_to_string(root().join("ptx/README.md")).expect("ptx/README.md is there");
    let missing: Vec<String> = files("ptx", &["ptx", "ptxh"])
        .iter()
        .map(|path| name(path).trim_start_matches("ptx/").to_string())
        .filter(|path| !index.contains(&format!("`{path}`")))
        .collect();
    assert!(missing.is_empty(), "not in ptx/README.md: {missing:?}");
}

#[test]
fn every_kernel_starts_with_a_contract() {
    for path in files("ptx", &["ptx"]) {
        let text = fs::read_to_string(&path).expect("a source is readable");
        let stem = path.file_stem().expect("a source has a name").to_string_lossy().to_string();
        let first_code = text.find("#include").expect("a kernel includes its module head");
        let contract = &text[..first_code];
        assert!(text.starts_with(&format!("// {stem}:")), "{} does not start with its name", name(&path));
        for key in ["kernel", "args", "needs", "launch", "order", "waits", "target", "budget"] {
            assert!(contract.contains(&format!("//@ {key}")), "{} lacks `//@ {key}`", name(&path));
        }
    }
}

/// Names that PTX would take and a reader would not.
const NAMES_REFUSED: &[&str] = &[
    "add", "sub", "mul", "mad", "div", "rem", "min", "max", "and", "or", "xor", "not", "shl", "shr", "mov", "ld", "st",
    "atom", "red", "bar", "bra", "ret", "exit", "vote", "shfl", "cvt", "setp", "selp", "u32", "u64", "s32", "s64",
    "b32", "b64", "f32", "pred", "tid", "ntid", "ctaid", "laneid", "warpid", "clock",
];

#[test]
fn registers_are_not_called_like_opcodes_or_types() {
    for path in files("ptx", &["ptx", "ptxh"]) {
        let text = fs::read_to_string(&path).expect("a source is readable");
        for (number, line) in text.lines().enumerate() {
            let Some(declaration) = line.trim_start().strip_prefix(".reg") else { continue };
            let names = declaration.split("//").next().unwrap_or_default();
            let words = names.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
            for word in words.skip(1) {
                assert!(!NAMES_REFUSED.contains(&word), "{}:{}: register `{word}`", name(&path), number + 1);
            }
            assert!(!names.contains('%'), "{}:{}: `%` is for special registers", name(&path), number + 1);
        }
    }
}

/// Names that a `.reg` line declares, ranges `name<N>` as their prefix.
fn declared(line: &str) -> Vec<String> {
    let Some(list) = line.trim_start().strip_prefix(".reg") else { return Vec::new() };
    let names = list.trim_start().split_once(char::is_whitespace).map_or("", |(_, names)| names);
    names.split(',').map(|name| name.split('<').next().unwrap_or_default().trim().to_string()).collect()
}

/// A macro's local that has the name of an operand hides it: nested macros would compute with garbage.
#[test]
fn no_register_hides_another() {
    for image in warpferry::kernel::KERNELS {
        let mut scopes: Vec<Vec<String>> = vec![Vec::new()];
        // Statements end at `;`; a brace that holds none is a vector operand.
        for statement in image.text.split_inclusive([';', '{', '}']) {
            let body = statement.trim_end_matches([';', '{', '}']);
            for name in declared(body.trim()) {
                let outer = scopes[..scopes.len() - 1].iter().flatten().any(|known| *known == name);
                assert!(!outer, "{}: register `{name}` hides another", image.name);
                scopes.last_mut().expect("a scope is open").push(name);
            }
            match statement.as_bytes().last() {
                Some(b'{') => scopes.push(Vec::new()),
                Some(b'}') if scopes.len() > 1 => {
                    scopes.pop();
                }
                _ => {}
            }
        }
    }
}

/// Where `unsafe` is agreed: the CUDA driver, the call that lends a caller's memory, interoperation with other CUDA
/// crates, the stand-in for the driver library, cuBLAS in the device bench.
const UNSAFE_AGREED: &[&str] = &[
    "src/driver/cuda/",
    "src/comm/mod.rs",
    "src/interop/",
    "crates/cuda-emu/",
    "benches/device/cublas.rs",
    "tests/interop/",
];

#[test]
fn unsafe_code_stays_where_it_was_agreed() {
    for folder in ["src", "crates", "benches", "tests"] {
        for path in files(folder, &["rs"]) {
            let path_name = name(&path);
            if path_name == "tests/tidy.rs" || UNSAFE_AGREED.iter().any(|place| path_name.starts_with(place)) {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source is readable");
            let block = text.lines().position(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
            });
            assert!(block.is_none(), "{path_name}:{}: unsafe outside the agreed places", block.unwrap_or(0) + 1);
        }
    }
}
