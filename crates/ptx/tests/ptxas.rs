//! The instruction table against NVIDIA's assembler: examples drawn from the rows must assemble, and of damaged
//! examples the table must think what ptxas thinks. Needs ptxas (`PTXAS`, `CUDA_HOME`, `PATH` or
//! `tools/cuda/bin`, see scripts/fetch-ptxas.sh); says so when there is none, which is a failure with
//! `WARPFERRY_REQUIRE_PTXAS=1`. `PTXAS=none` is none.

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
    let refused = named.as_deref() == Some(Path::new("none"));
    let places = named.into_iter().chain(toolkit).chain(on_path).chain([root.join("tools/cuda/bin/ptxas")]);
    let found = places.into_iter().find(|place| !refused && place.is_file());
    if found.is_none() {
        let why = format!("{test}: no ptxas in PTXAS, CUDA_HOME, PATH or tools/cuda/bin");
        assert!(std::env::var_os("WARPFERRY_REQUIRE_PTXAS").is_none(), "not to be skipped here: {why}");
        // Past the runner's capture, so that a skip is seen and can be counted.
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }
    found
}

/// A module of one kernel for each instruction.
fn module(version: &str, target: &str, instructions: &[String]) -> String {
    let mut text = format!(".version {version}\n.target {target}\n.address_size 64\n");
    text.push_str(".func callee(.param .b32 p) { ret; }\n");
    for (index, instruction) in instructions.iter().enumerate() {
        let mut declarations = EXAMPLE_DECLARATIONS.replace('\n', " ");
        if !instruction.contains("r_b128") {
            // Such a register asks for a version by itself.
            declarations = declarations.replace(".reg .b128 r_b128;", "");
        }
        text.push_str(&format!(".entry k{index}() {{ {declarations} {instruction} }}\n"));
    }
    text
}

/// Line of the first instruction of [`module`].
const FIRST_LINE: usize = 5;

/// Does the text assemble? With what ptxas says.
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
    Err(said)
}

/// For each instruction, what ptxas says against it. Instructions that it names are taken out until the rest
/// assembles, so that one run serves many; where it names no line, halves are tried.
fn verdicts(ptxas: &Path, target: &str, instructions: &[String]) -> Vec<Result<(), String>> {
    let mut found: Vec<Result<(), String>> = vec![Ok(()); instructions.len()];
    let mut pending = vec![(0..instructions.len()).collect::<Vec<usize>>()];
    while let Some(mut indices) = pending.pop() {
        let texts: Vec<String> = indices.iter().map(|index| instructions[*index].clone()).collect();
        let Err(said) = assembles(ptxas, target, &module("9.3", target, &texts)) else {
            continue;
        };
        let mut named = BTreeSet::new();
        for line in said.lines() {
            let number = line.split_once(", line ").and_then(|(_, rest)| rest.split_once(';'));
            let Some((number, message)) = number else {
                continue;
            };
            let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(FIRST_LINE));
            if let Some(index) = place.and_then(|place| indices.get(place)) {
                named.insert(*index);
                found[*index] = Err(message.trim().to_string());
            }
        }
        if let ([index], true) = (indices.as_slice(), named.is_empty()) {
            found[*index] = Err(said);
            continue;
        }
        if named.is_empty() {
            let right = indices.split_off(indices.len() / 2);
            pending.push(right);
        }
        indices.retain(|index| !named.contains(index));
        if !indices.is_empty() {
            pending.push(indices);
        }
    }
    found
}

fn table_says(target: &str, instruction: &str) -> Result<(), String> {
    let text = module("9.3", target, &[instruction.to_string()]);
    let module = parse("t.ptx", &text).map_err(|error| error.to_string())?;
    match check(&module).first() {
        None => Ok(()),
        Some(diagnostic) => Err(diagnostic.to_string()),
    }
}

/// Parameters of a call make no sense without the call.
fn needs_a_call(text: &str) -> bool {
    text.contains(".param::func") || (text.starts_with("st.") && text.contains(".param"))
}

/// Different examples of one row, as text.
fn examples(index: usize, tries: usize, random: &mut Random) -> BTreeSet<String> {
    let texts = (0..tries).filter_map(|_| Example::new(index, &mut |n| random.next(n))).map(|example| example.text());
    texts.filter(|text| !needs_a_call(text)).collect()
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
    for (index, row) in ROWS.iter().enumerate() {
        for text in examples(index, 12, &mut random) {
            if let Err(said) = table_says(target_of(index), &text) {
                panic!("row `{}`: {text}\n{said}", row.syntax);
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
        for batch in texts.chunks(64) {
            let verdicts = verdicts(&ptxas, target, batch);
            let said = batch.iter().zip(verdicts).filter_map(|(text, verdict)| Some((text.clone(), verdict.err()?)));
            wrong.extend(said);
        }
    }
    println!("{count} instructions assembled");
    let list: String = wrong.iter().map(|(text, said)| format!("{text}    {said}\n")).collect();
    assert!(wrong.is_empty(), "ptxas refuses {} of {count}:\n{list}", wrong.len());
}

/// Words that a damaged instruction gets instead of one of its modifiers.
const WORDS: [&str; 39] = [
    "b8",
    "b16",
    "b32",
    "b64",
    "b128",
    "u8",
    "u16",
    "u32",
    "u64",
    "s16",
    "s32",
    "s64",
    "f16",
    "f16x2",
    "bf16",
    "bf16x2",
    "f32",
    "f64",
    "v2",
    "v4",
    "global",
    "shared",
    "shared::cta",
    "local",
    "relaxed",
    "acquire",
    "release",
    "gpu",
    "sys",
    "weak",
    "volatile",
    "rn",
    "sat",
    "ftz",
    "sync",
    "lo",
    "wide",
    "add",
    "L2::cache_hint",
];

/// Operands that a damaged instruction gets.
const OPERANDS: [&str; 20] = [
    "r_b8",
    "r_b16",
    "r_u16",
    "r_f16",
    "r_b32",
    "r_u32",
    "r_s32",
    "r_f32",
    "r_b64",
    "r_u64",
    "r_f64",
    "r_b128",
    "r_p",
    "1",
    "0f3F800000",
    "1.5",
    "[r_u64]",
    "{r_b32, r_b32}",
    "_",
    "r_p|r_q",
];

fn damaged(example: &Example, random: &mut Random) -> Example {
    let mut example = example.clone();
    let modifiers = example.modifiers.len();
    let operands = example.operands.len();
    match random.next(6) {
        0 if modifiers > 0 => drop(example.modifiers.remove(random.next(modifiers))),
        1 | 2 if modifiers > 0 => example.modifiers[random.next(modifiers)] = WORDS[random.next(WORDS.len())],
        3 if operands > 0 => drop(example.operands.remove(random.next(operands))),
        4 => example.operands.insert(random.next(operands + 1), OPERANDS[random.next(OPERANDS.len())].to_string()),
        _ if operands > 0 => {
            example.operands[random.next(operands)] = OPERANDS[random.next(OPERANDS.len())].to_string()
        }
        _ => {}
    }
    example
}

/// Where ptxas takes what the manual does not describe. The table follows the manual.
fn is_known_difference(instruction: &str) -> bool {
    let mnemonic = instruction.split([' ', ';']).next().unwrap_or("");
    let words: Vec<&str> = mnemonic.split('.').collect();
    let opcode = words[0];
    // Semantics and scope in any order, and after the operation or the space.
    let is_reordered = matches!(opcode, "atom" | "red" | "ld" | "st" | "multimem") && is_sorted_otherwise(&words);
    // A modifier twice, or one without meaning for the instruction.
    let is_repeated = (1..words.len()).any(|at| words[..at].contains(&words[at]));
    let is_scoped_tensor = mnemonic.contains("tensor") && words.iter().any(|w| ["gpu", "sys", "cta"].contains(w));
    // Shared-only instructions take a register of any kind where an address without a space stands, a copy even a
    // plain operand.
    let is_shared_only = [
        "stmatrix.",
        "ldmatrix.",
        "cp.reduce.async.bulk",
        "st.async",
        "red.async",
        "cp.async.mbarrier",
        "cp.async.bulk",
        "mbarrier.",
    ];
    // Operands that are never looked at, decimal floats as bits.
    let is_unread = matches!(opcode, "getctarank" | "mapa" | "testp" | "movmatrix" | "bar" | "barrier")
        // A fourth operand of an operation that has three.
        || opcode == "atom"
        || (opcode == "red" && instruction.contains(" _,"))
        || instruction.contains("1.5");
    let is_flushed = mnemonic.starts_with("cvt.rn.ftz.bf16");
    is_reordered
        || is_repeated
        || is_scoped_tensor
        || is_unread
        || is_flushed
        || is_shared_only.iter().any(|start| mnemonic.starts_with(start))
}

/// True when semantics or scope stand elsewhere than right behind the opcode.
fn is_sorted_otherwise(words: &[&str]) -> bool {
    let semantics =
        words.iter().position(|w| ["relaxed", "acquire", "release", "acq_rel", "weak", "volatile"].contains(w));
    let scope = words.iter().position(|w| ["cta", "cluster", "gpu", "sys"].contains(w));
    match (semantics, scope) {
        (Some(semantics), Some(scope)) => semantics != 1 || scope != 2,
        (Some(at), None) | (None, Some(at)) => at != 1,
        (None, None) => false,
    }
}

#[test]
fn the_table_judges_damaged_instructions_like_ptxas() {
    let Some(ptxas) = ptxas("the_table_judges_damaged_instructions_like_ptxas") else {
        return;
    };
    let tries: usize = std::env::var("WARPFERRY_EXAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let seed = 0x5EED_0003;
    println!("seed {seed:#x}, {tries} damaged examples of each row");
    let mut random = Random(seed);
    let mut texts = BTreeSet::new();
    for index in (0..ROWS.len()).filter(|index| target_of(*index) == "sm_90a") {
        for _ in 0..tries {
            let example = Example::new(index, &mut |n| random.next(n)).expect("the index is in range");
            let text = damaged(&example, &mut random).text();
            if !needs_a_call(&text) {
                texts.insert(text);
            }
        }
    }
    let texts: Vec<String> = texts.into_iter().collect();
    let mut differences = Vec::new();
    let (mut accepted, mut known) = (0, 0);
    for batch in texts.chunks(64) {
        for (text, verdict) in batch.iter().zip(verdicts(&ptxas, "sm_90a", batch)) {
            let ours = table_says("sm_90a", text);
            // Some instructions are made of others inside ptxas, whose errors name lines of its own: ask once more,
            // alone.
            let verdict = if ours.is_ok() != verdict.is_ok() {
                assembles(&ptxas, "sm_90a", &module("9.3", "sm_90a", std::slice::from_ref(text)))
            } else {
                verdict
            };
            accepted += usize::from(verdict.is_ok());
            match (ours, verdict) {
                (Ok(()), Err(said)) => {
                    differences.push(format!("only ptxas refuses: {text}    {said}"));
                }
                (Err(_), Ok(())) if is_known_difference(text) => known += 1,
                (Err(said), Ok(())) => {
                    differences.push(format!("only the table refuses: {text}    {said}"));
                }
                _ => {}
            }
        }
    }
    println!("{} damaged instructions, {accepted} of them assemble, {known} known differences", texts.len());
    assert!(known * 100 <= texts.len(), "{known} known differences of {} are too many", texts.len());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Versions that ptxas knows, in order.
const VERSIONS: [(u32, u32); 21] = [
    (7, 0),
    (7, 1),
    (7, 2),
    (7, 3),
    (7, 4),
    (7, 5),
    (7, 6),
    (7, 7),
    (7, 8),
    (8, 0),
    (8, 1),
    (8, 2),
    (8, 3),
    (8, 4),
    (8, 5),
    (8, 6),
    (8, 7),
    (8, 8),
    (9, 0),
    (9, 1),
    (9, 3),
];

/// Targets with the version that introduced them.
const TARGETS: [(u32, (u32, u32)); 5] = [(75, (6, 3)), (80, (7, 0)), (86, (7, 1)), (89, (7, 8)), (90, (7, 8))];

/// Each example at the lowest version and target that the table gives must assemble, and below them not.
#[test]
fn ptxas_agrees_on_the_lowest_version_and_target() {
    let Some(ptxas) = ptxas("ptxas_agrees_on_the_lowest_version_and_target") else {
        return;
    };
    let seed = 0x5EED_0004;
    let tries: usize = std::env::var("WARPFERRY_EXAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut wrong = Vec::new();
    let mut count = 0;
    for index in (0..ROWS.len()).filter(|index| !ROWS[*index].needs_suffix && ROWS[*index].sm <= 90) {
        let cases = examples(index, tries, &mut random);
        for (text, (sm, introduced)) in cases.iter().flat_map(|text| TARGETS.map(|target| (text, target))) {
            let target = format!("sm_{sm}");
            let versions: Vec<(u32, u32)> = VERSIONS.into_iter().filter(|version| *version >= introduced).collect();
            let accepts = |version: (u32, u32)| {
                let text = module(&format!("{}.{}", version.0, version.1), &target, std::slice::from_ref(text));
                let module = parse("t.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
                check(&module).is_empty()
            };
            let lowest = versions.iter().position(|version| accepts(*version));
            // Only the step is tried: the lowest version that the table takes and the one before it.
            let tried = match lowest {
                Some(0) => vec![0],
                Some(at) => vec![at - 1, at],
                None => vec![versions.len() - 1],
            };
            for at in tried {
                let version = format!("{}.{}", versions[at].0, versions[at].1);
                let said = assembles(&ptxas, &target, &module(&version, &target, std::slice::from_ref(text)));
                count += 1;
                // The manual has `.shared::cta` since 7.8; here ptxas takes it before.
                let is_early = text.starts_with("cp.async.c") && text.contains("shared::cta") && said.is_ok();
                if said.is_ok() != accepts(versions[at]) && !is_early {
                    let said = said.err().unwrap_or_else(|| "assembles".to_string());
                    wrong.push(format!("{version} {target}: {text}  ptxas: {}", said.lines().next().unwrap_or("")));
                }
            }
        }
    }
    println!("{count} runs");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}
