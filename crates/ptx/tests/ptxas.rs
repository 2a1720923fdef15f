//! The instruction table against NVIDIA's assembler: examples drawn from the rows must assemble, and of damaged
//! examples the table must think what ptxas thinks. Needs ptxas (`PTXAS`, `CUDA_HOME`, `PATH` or
//! `tools/cuda/bin`, see scripts/fetch-ptxas.sh); says so when there is none.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use warpferry_ptx::table::{Example, EXAMPLE_DECLARATIONS, ROWS};
use warpferry_ptx::{check, parse};

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

/// The assembler, or `None` with a line that says which test is skipped.
fn ptxas(test: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("PTXAS").map(PathBuf::from);
    let toolkit = std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin/ptxas"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).map(|folder| folder.join("ptxas")).collect();
    let places = named.into_iter().chain(toolkit).chain(on_path).chain([root.join("tools/cuda/bin/ptxas")]);
    let found = places.into_iter().find(|place| place.is_file());
    if found.is_none() {
        println!("SKIPPED 1 test: {test}: no ptxas in PTXAS, CUDA_HOME, PATH or tools/cuda/bin");
    }
    found
}

/// A module of one kernel for each instruction.
fn module(version: &str, target: &str, instructions: &[String]) -> String {
    let mut text = format!(".version {version}\n.target {target}\n.address_size 64\n");
    text.push_str(".func callee(.param .b32 p) { ret; }\n");
    for (index, instruction) in instructions.iter().enumerate() {
        let declarations = EXAMPLE_DECLARATIONS.replace('\n', " ");
        text.push_str(&format!(".entry k{index}() {{ {declarations} {instruction} }}\n"));
    }
    text
}

/// Does the text assemble? With the first line of what ptxas says.
fn assembles(ptxas: &Path, target: &str, text: &str) -> Result<(), String> {
    let mut child = Command::new(ptxas)
        .args(["-O0", "-arch", target, "-", "-o", "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ptxas starts");
    child.stdin.take().expect("stdin is piped").write_all(text.as_bytes()).expect("ptxas reads its input");
    let output = child.wait_with_output().expect("ptxas ends");
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Err(said.lines().next().unwrap_or("").to_string())
}

/// The instructions that do not assemble, found by halving.
fn refused(ptxas: &Path, target: &str, instructions: &[String], found: &mut Vec<(String, String)>) {
    let Err(said) = assembles(ptxas, target, &module("9.3", target, instructions)) else {
        return;
    };
    if let [instruction] = instructions {
        let said = said.split_once("; ").map_or(said.as_str(), |(_, message)| message).to_string();
        found.push((instruction.clone(), said));
        return;
    }
    let (left, right) = instructions.split_at(instructions.len() / 2);
    refused(ptxas, target, left, found);
    refused(ptxas, target, right, found);
}

fn table_says(target: &str, instruction: &str) -> Result<(), String> {
    let text = module("9.3", target, &[instruction.to_string()]);
    let module = parse("t.ptx", &text).map_err(|error| error.to_string())?;
    match check(&module).first() {
        None => Ok(()),
        Some(diagnostic) => Err(diagnostic.to_string()),
    }
}

/// Different examples of one row, as text.
fn examples(index: usize, tries: usize, random: &mut Random) -> BTreeSet<String> {
    (0..tries).filter_map(|_| Example::new(index, &mut |n| random.next(n))).map(|e| e.text()).collect()
}

fn target_of(index: usize) -> &'static str {
    if ROWS[index].sm > 90 {
        "sm_100a"
    } else {
        "sm_90a"
    }
}

#[test]
fn the_table_accepts_its_own_examples() {
    let seed = 0x5EED_0001;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for index in 0..ROWS.len() {
        for text in examples(index, 12, &mut random) {
            if let Err(said) = table_says(target_of(index), &text) {
                panic!("row `{}`: {text}\n{said}", ROWS[index].syntax);
            }
        }
    }
}

#[test]
fn ptxas_assembles_what_the_table_describes() {
    let Some(ptxas) = ptxas("ptxas_assembles_what_the_table_describes") else {
        return;
    };
    let tries: usize = std::env::var("WARPFERRY_EXAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let seed = 0x5EED_0002;
    println!("seed {seed:#x}, {tries} examples of each row");
    let mut random = Random(seed);
    let mut count = 0;
    let mut wrong = Vec::new();
    for target in ["sm_90a", "sm_100a"] {
        let mut texts = Vec::new();
        for index in (0..ROWS.len()).filter(|index| target_of(*index) == target) {
            texts.extend(examples(index, tries, &mut random));
        }
        count += texts.len();
        for batch in texts.chunks(48) {
            refused(&ptxas, target, batch, &mut wrong);
        }
    }
    println!("{count} instructions assembled");
    let list: String = wrong.iter().map(|(text, said)| format!("{text}    {said}\n")).collect();
    assert!(wrong.is_empty(), "ptxas refuses {} of {count}:\n{list}", wrong.len());
}
