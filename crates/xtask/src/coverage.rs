//! Puts records of coverage together: how much of each kernel ran, and what did not and is not explained.
//!
//! A kernel's instruction is *covered* when it ran, and, if it is guarded, when its guard was also false once: so of a
//! conditional branch both ways were gone. What is missing must stand in the table of `docs/coverage.md` behind
//! [`MARK`], with the reason; a row there that is no longer missing is an error too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use crate::record::{fingerprint, Record};

/// Stands above the table of what is explained.
const MARK: &str = "<!-- explained -->";

/// A kernel variant: its name and its text with line markers.
pub struct Kernel {
    pub name: String,
    pub marked_text: String,
}

/// What an instruction lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lack {
    Unreached,
    NeverRun,
    NeverPassed,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lack::Unreached => "not reached",
            Lack::NeverRun => "guard never true",
            Lack::NeverPassed => "guard never false",
        })
    }
}

/// What is missing somewhere: the same of several variants is one row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Missing {
    file: String,
    /// The source's line, which may be a macro's use.
    source: String,
    instruction: String,
    lack: String,
}

impl Missing {
    /// Whether this row of the table is about `at`: a cell that ends in `*` stands for all that begin so.
    fn fits(&self, at: &Missing) -> bool {
        let fits = |cell: &str, text: &str| match cell.strip_suffix('*') {
            Some(start) => text.starts_with(start),
            None => text == cell,
        };
        fits(&self.file, &at.file)
            && fits(&self.source, &at.source)
            && fits(&self.instruction, &at.instruction)
            && fits(&self.lack, &at.lack)
    }

    /// A row of the table, without a reason.
    fn row(&self) -> String {
        format!("| `{}` | `{}` | `{}` | {} |  |", self.file, self.source, self.instruction, self.lack)
    }
}

/// How much of one kernel is covered.
#[derive(Debug, Default)]
struct Sum {
    instructions: (usize, usize),
    branches: (usize, usize),
    guards: (usize, usize),
    missing: usize,
}

/// Prints the table of `kernels` from the records in `folder`; an error lists what is not explained.
pub fn report(root: &Path, folder: &Path, kernels: &[Kernel]) -> Result<(), String> {
    let records = records(folder)?;
    let mut sums = Vec::new();
    let mut missing: BTreeMap<Missing, BTreeSet<(u32, &str)>> = BTreeMap::new();
    let mut sources = Sources { root, lines: BTreeMap::new() };
    for kernel in kernels {
        let key = (kernel.name.clone(), fingerprint(&kernel.marked_text));
        let own = records.get(&key).ok_or_else(|| format!("{} was not run: no record of its text", kernel.name))?;
        let mut sum = Sum::default();
        for record in own.values() {
            let Some(lack) = sum.count(record) else { continue };
            let source = sources.line(&record.file, record.line)?;
            let instruction = words(&record.instruction);
            let at = Missing { file: record.file.clone(), source, instruction, lack: lack.to_string() };
            missing.entry(at).or_default().insert((record.line, &kernel.name));
        }
        sums.push((&kernel.name, sum));
    }
    println!("| kernel | instructions | branches both ways | other guards both ways | missing |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, sum) in &sums {
        let share = |(part, all): (usize, usize)| format!("{part} of {all}");
        let Sum { instructions, branches, guards, missing } = sum;
        println!("| `{name}` | {} | {} | {} | {missing} |", share(*instructions), share(*branches), share(*guards));
    }
    let explained = explained(root)?;
    let open: Vec<&Missing> = missing.keys().filter(|at| !explained.iter().any(|row| row.fits(at))).collect();
    let stale: Vec<&Missing> = explained.iter().filter(|row| !missing.keys().any(|at| row.fits(at))).collect();
    println!(
        "\n{} places are missing in one variant or more, {} of them explained",
        missing.len(),
        missing.len() - open.len()
    );
    for at in &open {
        let places: Vec<String> = missing[*at].iter().map(|(line, kernel)| format!("{kernel} {line}")).collect();
        println!("not explained ({}):\n{}", places.join(", "), at.row());
    }
    for at in &stale {
        println!("explained, and covered or gone:\n{}", at.row());
    }
    if open.is_empty() && stale.is_empty() {
        return Ok(());
    }
    Err(format!("{} places are not explained, {} explanations are of no use", open.len(), stale.len()))
}

impl Sum {
    /// Counts an instruction; what it lacks.
    fn count(&mut self, record: &Record) -> Option<Lack> {
        let &Record { executed, passed, .. } = record;
        self.instructions.1 += 1;
        self.instructions.0 += usize::from(executed);
        let guarded = record.instruction.starts_with('@');
        if guarded {
            let branch = record.instruction.split_whitespace().nth(1).is_some_and(|opcode| opcode.starts_with("bra"));
            let kind = if branch { &mut self.branches } else { &mut self.guards };
            kind.1 += 1;
            kind.0 += usize::from(executed && passed);
        }
        let lack = match (executed, passed) {
            (true, true) => return None,
            (true, false) if !guarded => return None,
            (true, false) => Lack::NeverPassed,
            (false, true) => Lack::NeverRun,
            (false, false) => Lack::Unreached,
        };
        self.missing += 1;
        Some(lack)
    }
}

type Records = BTreeMap<(String, u64), BTreeMap<usize, Record>>;

/// All records, by kernel and place; the same instruction's ways are put together.
fn records(folder: &Path) -> Result<Records, String> {
    let mut all = Records::new();
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        if path.extension().is_none_or(|extension| extension != "coverage") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for line in text.lines() {
            let record = Record::parse(line).ok_or_else(|| format!("{}: `{line}` is no record", path.display()))?;
            let own = all.entry((record.kernel.clone(), record.text)).or_default();
            let (executed, passed) = (record.executed, record.passed);
            let known = own.entry(record.index).or_insert(record);
            known.executed |= executed;
            known.passed |= passed;
        }
    }
    Ok(all)
}

/// Lines of source files.
struct Sources<'a> {
    root: &'a Path,
    lines: BTreeMap<String, Vec<String>>,
}

impl Sources<'_> {
    /// A line without its comment, in single spaces.
    fn line(&mut self, file: &str, line: u32) -> Result<String, String> {
        if !self.lines.contains_key(file) {
            let path = self.root.join(file);
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            self.lines.insert(file.to_string(), text.lines().map(code).collect());
        }
        let found = (line as usize).checked_sub(1).and_then(|at| self.lines[file].get(at));
        found.cloned().ok_or_else(|| format!("{file} has no line {line}"))
    }
}

/// The code of a line.
fn code(line: &str) -> String {
    let end = line.find("//").into_iter().chain(line.find("/*")).min().unwrap_or(line.len());
    words(line[..end].trim_end_matches([' ', '\\']))
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(';').replace('|', "\\|")
}

/// The rows of the table; each has a reason.
fn explained(root: &Path) -> Result<Vec<Missing>, String> {
    let path = root.join("docs/coverage.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (_, table) = text.split_once(MARK).ok_or_else(|| format!("{} has no line `{MARK}`", path.display()))?;
    let mut rows = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [file, source, instruction, lack, why] = cells[..] else {
            return Err(format!("{}: `{line}` has {} cells, not 5", path.display(), cells.len()));
        };
        if why.is_empty() {
            return Err(format!("{}: `{line}` gives no reason", path.display()));
        }
        let bare = |cell: &str| cell.trim_matches('`').to_string();
        let at =
            Missing { file: bare(file), source: bare(source), instruction: bare(instruction), lack: lack.to_string() };
        rows.push(at);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::{code, Lack, Missing, Sum};
    use crate::record::{fingerprint, Record};

    fn record(instruction: &str, executed: bool, passed: bool) -> Record {
        let (kernel, file) = ("layout".to_string(), "ptx/layout.ptx".to_string());
        let instruction = instruction.to_string();
        Record { kernel, text: fingerprint("text"), index: 3, executed, passed, file, line: 7, instruction }
    }

    #[test]
    fn records_come_back() {
        let own = record("@!ok bra \tdone", true, false);
        assert_eq!(Record::parse(&own.to_string()), Some(own));
        assert_eq!(Record::parse("layout\t0\t1"), None);
    }

    #[test]
    fn guarded_instructions_are_covered_both_ways() {
        let mut sum = Sum::default();
        assert_eq!(sum.count(&record("ret", true, false)), None);
        assert_eq!(sum.count(&record("ret", false, false)), Some(Lack::Unreached));
        assert_eq!(sum.count(&record("@ok bra done", true, true)), None);
        assert_eq!(sum.count(&record("@ok bra done", true, false)), Some(Lack::NeverPassed));
        assert_eq!(sum.count(&record("@ok st.u32 [a], b", false, true)), Some(Lack::NeverRun));
        assert_eq!((sum.instructions, sum.branches, sum.guards), ((3, 5), (1, 2), (0, 1)));
    }

    #[test]
    fn rows_stand_for_what_begins_like_them() {
        let missing = |instruction: &str| Missing {
            file: "ptx/layout.ptx".to_string(),
            source: "GIVE_UP(1)".to_string(),
            instruction: instruction.to_string(),
            lack: Lack::Unreached.to_string(),
        };
        assert!(missing("@_first *").fits(&missing("@_first st.u32 [a], b")));
        assert!(!missing("@_first *").fits(&missing("setp.eq.u32 _first, a, b")));
        assert!(!missing("ret").fits(&missing("ret.uni")));
    }

    #[test]
    fn code_is_without_comments() {
        assert_eq!(code("    ld.u32  a, [b]; /* edge: c */ \\"), "ld.u32 a, [b]");
        assert_eq!(code("    @over bra   done;     // why"), "@over bra done");
    }
}
