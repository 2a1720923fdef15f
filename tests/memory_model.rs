//! `docs/memory-model.md` and the kernels say the same: every instruction that makes an order names its edge, every edge
//! has its section, and a section lists exactly the instructions of its edge and how often each stands there, with a number
//! made of their whole statements: one that is dropped, weakened, guarded or given other operands shows.
//!
//! Method: statements of `ptx/*.ptx` and `ptx/include/*.ptxh` are read as text, before the preprocessor, since the names
//! stand in comments. Checks and probes use the same macros and need no names of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/memory-model.md";
/// Macros that are orders.
const MACROS: [&str; 6] =
    ["BULK_LOAD", "AWAIT_LOAD", "HAND_TO_BULK_UNIT", "RING_ACQUIRED", "DRAIN_AND_FENCE", "DRAIN_OWN_AND_FENCE"];
/// What a section has, in order.
const FIELDS: [&str; 7] = ["Writes", "Reads", "Order", "Proxy", "Suffices", "Tests", "Mutants"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A statement: its code on one line, the edges it names, and where it ends.
struct Statement {
    code: String,
    edges: Vec<String>,
    place: String,
}

/// The edges that a line names.
fn edges(line: &str) -> Vec<String> {
    let Some((_, names)) = line.split_once("edge: ") else { return Vec::new() };
    let names = names.trim_end_matches('\\').trim().trim_end_matches("*/").trim();
    names.split(", ").map(str::to_string).collect()
}

/// Statements of a source: a line, or several until one ends.
fn statements(path: &Path) -> Vec<Statement> {
    let text = fs::read_to_string(path).expect("a source is readable");
    let name = path.strip_prefix(root()).expect("it is a source of ours").display().to_string();
    let (mut all, mut open) = (Vec::new(), String::new());
    let mut in_comment = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        in_comment |= trimmed.starts_with("/*") && !trimmed.contains("*/");
        if in_comment {
            in_comment = !trimmed.contains("*/");
            continue;
        }
        let code = line.split("//").next().unwrap_or_default().split("/*").next().unwrap_or_default();
        let code = code.trim().trim_end_matches('\\').trim();
        if code.starts_with('#') {
            continue;
        }
        open = format!("{open} {code}").trim().to_string();
        // A macro's use ends with its list; other statements by their sign.
        let is_macro = open.starts_with(|first: char| first.is_ascii_uppercase());
        let ends = match is_macro {
            true => open.matches('(').count() == open.matches(')').count(),
            false => code.ends_with([';', ':', '{', '}']),
        };
        if ends || code.is_empty() {
            let statement = Statement {
                code: std::mem::take(&mut open),
                edges: edges(line),
                place: format!("{name}:{}", number + 1),
            };
            all.push(statement);
        } else {
            assert!(edges(line).is_empty(), "{name}:{}: the edge stands at the statement's end", number + 1);
        }
    }
    all
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (folder, extension) in [("ptx", "ptx"), ("ptx/include", "ptxh")] {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is readable");
        let paths = entries.map(|entry| entry.expect("an entry is readable").path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|of| of == extension)));
    }
    found.sort();
    found
}

/// The instruction or macro of a statement, without guard, operands, state space and type.
fn instruction(code: &str) -> Option<String> {
    let mut words = code.split_whitespace().skip_while(|word| word.starts_with('@'));
    let word = words.next()?.split(['(', ';']).next()?;
    if MACROS.contains(&word) {
        return Some(word.to_string());
    }
    let parts: Vec<&str> = word.split('.').collect();
    let orders = match parts[0] {
        "fence" | "membar" | "bar" | "barrier" | "mbarrier" | "atom" | "red" => true,
        "cp" => true,
        "ld" | "st" => {
            parts.iter().any(|part| matches!(*part, "acquire" | "release" | "relaxed" | "volatile" | "mmio" | "nc"))
        }
        _ => false,
    };
    if !orders {
        return None;
    }
    if matches!(parts[0], "fence" | "cp" | "bar") {
        return Some(word.to_string());
    }
    let plain = |part: &&str| {
        let is_type = part.len() > 1 && "busfv".contains(&part[..1]) && part[1..].chars().all(|c| c.is_ascii_digit());
        let is_operation = ["add", "and", "or", "xor", "cas", "exch", "inc", "dec", "min", "max"].contains(part);
        !is_type && !is_operation && !["global", "shared", "shared::cta"].contains(part)
    };
    Some(parts.into_iter().filter(plain).collect::<Vec<_>>().join("."))
}

/// Sections of the page: edge, and its fields by name.
fn sections() -> BTreeMap<String, BTreeMap<String, String>> {
    let page = read(PAGE);
    let mut all = BTreeMap::new();
    for section in page.split("\n### `").skip(1) {
        let section = section.split("\n## ").next().unwrap_or_default();
        let (name, body) = section.split_once('`').expect("a heading ends its name");
        let mut fields = BTreeMap::new();
        for field in body.split("\n- ").skip(1) {
            let (key, value) = field.split_once(": ").unwrap_or_else(|| panic!("{name}: `{field}` has no `:`"));
            fields.insert(key.to_string(), value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        let keys: Vec<&str> = FIELDS.to_vec();
        for key in &keys {
            assert!(fields.get(*key).is_some_and(|value| !value.is_empty()), "{PAGE}: {name}: {key} is missing");
        }
        assert_eq!(fields.len(), keys.len(), "{PAGE}: {name}: other fields than {keys:?}");
        assert!(all.insert(name.to_string(), fields).is_none(), "{PAGE}: {name} stands twice");
    }
    all
}

/// Words in backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

#[test]
fn every_order_names_its_edge() {
    let mut count = 0;
    for statement in sources().iter().flat_map(|path| statements(path)) {
        let orders = instruction(&statement.code).is_some();
        assert_eq!(
            orders,
            !statement.edges.is_empty(),
            "{}: `{}`: an instruction that makes an order names its edge (`edge: NAME`), and no other does",
            statement.place,
            statement.code
        );
        count += usize::from(orders);
    }
    assert!(count > 130, "{count} orders were found: the sources have more");
}

/// What the sources have of an edge.
#[derive(Default)]
struct Used {
    /// How often each instruction stands there.
    instructions: BTreeMap<String, usize>,
    /// The statements, with guards, operations and operands.
    statements: Vec<String>,
}

#[test]
fn every_edge_lists_its_instructions() {
    let mut used: BTreeMap<String, Used> = BTreeMap::new();
    for statement in sources().iter().flat_map(|path| statements(path)) {
        for edge in &statement.edges {
            let used = used.entry(edge.clone()).or_default();
            *used.instructions.entry(instruction(&statement.code).unwrap_or_default()).or_default() += 1;
            used.statements.push(statement.code.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    used.values_mut().for_each(|used| used.statements.sort());
    if std::env::var("WARPFERRY_MEMORY_MODEL").is_ok_and(|word| word == "write") {
        return write_orders(&used);
    }
    let sections = sections();
    let (have, want): (BTreeSet<_>, BTreeSet<_>) = (sections.keys().collect(), used.keys().collect());
    assert_eq!(have, want, "edges of {PAGE} and of the sources");
    for (edge, fields) in &sections {
        let want = written(&used[edge]);
        assert_eq!(fields["Order"], want, "{PAGE}: {edge}: instructions listed, and in the sources; {AGAIN}");
    }
}

/// What writes the page's lists again.
const AGAIN: &str =
    "WARPFERRY_MEMORY_MODEL=write cargo test --test memory_model writes them, once the arguments hold again";

/// Instructions of an edge as the page lists them: how often each stands in the sources, and a number that changes with
/// any guard, operation or operand of theirs.
fn written(used: &Used) -> String {
    let times = |(name, count): (&String, &usize)| match count {
        1 => format!("`{name}`"),
        _ => format!("`{name}` ({count} times)"),
    };
    let listed = used.instructions.iter().map(times).collect::<Vec<_>>().join(", ");
    // FNV-1a, folded to 32 bits.
    let hash = used
        .statements
        .join("\n")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{listed}; as of {:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

/// Writes the list of every edge again.
fn write_orders(used: &BTreeMap<String, Used>) {
    let mut page = Vec::new();
    let (mut edge, mut inside) = (String::new(), false);
    for line in read(PAGE).lines() {
        if let Some(rest) = line.strip_prefix("### `") {
            edge = rest.split('`').next().unwrap_or_default().to_string();
        }
        inside &= line.starts_with("  ");
        if line.starts_with("- Order: ") {
            inside = true;
            let list = used.get(&edge).unwrap_or_else(|| panic!("{PAGE}: the sources have no edge {edge}"));
            page.push(format!("- Order: {}", written(list)));
        } else if !inside {
            page.push(line.to_string());
        }
    }
    fs::write(root().join(PAGE), page.join("\n") + "\n").unwrap_or_else(|error| panic!("{PAGE}: {error}"));
}

#[test]
fn every_guard_exists() {
    for (edge, fields) in sections() {
        let guards = quoted(&fields["Tests"]);
        assert!(!guards.is_empty(), "{PAGE}: {edge} names no test");
        for guard in guards {
            if guard.ends_with(".litmus") {
                assert!(read(&guard).contains("expect: holds."), "{PAGE}: {edge}: `{guard}` expects nothing to hold");
                continue;
            }
            let (file, test) = guard.split_once("::").unwrap_or_else(|| panic!("{edge}: `{guard}` is no FILE::TEST"));
            assert!(read(file).contains(&format!("fn {test}()")), "{PAGE}: {edge}: {file} has no test `{test}`");
        }
    }
}

/// Method: the table "By edge" of the page of mutants, whose third column says who caught how many.
#[test]
fn every_edge_has_a_caught_mutant() {
    let page = read("docs/mutants.md");
    let (_, table) = page.split_once("\n## By edge\n").expect("the page of mutants has a table by edge");
    let rows: BTreeMap<&str, &str> = table
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
            Some((cells[0].trim_end_matches('`'), *cells.get(2)?))
        })
        .collect();
    let sections = sections();
    let (have, want): (BTreeSet<_>, BTreeSet<_>) =
        (rows.keys().copied().collect(), sections.keys().map(String::as_str).collect());
    assert_eq!(have, want, "edges of docs/mutants.md and of {PAGE}; scripts/mutants.sh writes the former");
    for (edge, caught) in rows {
        assert!(caught.chars().any(|c| c.is_ascii_digit()), "{edge}: no mutant of its instructions was caught");
    }
}

#[test]
fn instructions_are_named_without_operands() {
    for (code, name) in [
        ("ld.acquire.sys.global.u64   _value, [_word];", Some("ld.acquire.sys")),
        ("@leader st.relaxed.sys.global.u64 [word], taken;", Some("st.relaxed.sys")),
        ("atom.acquire.gpu.global.cas.b32 busy, [state], 0, 1;", Some("atom.acquire.gpu")),
        ("mbarrier.init.shared::cta.b64 [at], 1;", Some("mbarrier.init")),
        ("fence.proxy.async.shared::cta;", Some("fence.proxy.async.shared::cta")),
        ("AWAIT_LOAD(barrier, parity)", Some("AWAIT_LOAD")),
        ("ld.global.u32 rank, [comm];", None),
        ("st.shared.u32 [at], 0;", None),
        ("barriers, [launch];", None),
    ] {
        assert_eq!(instruction(code).as_deref(), name, "{code}");
    }
}
