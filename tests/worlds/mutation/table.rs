//! The table of results.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::argument;
use super::change::Kind;
use super::places::mutants;
use super::quick;
use super::record::{hash, read, Fate, Line, With};
use super::run::{machine_hash, results, stem, Set, KERNELS};
use super::suite::{runs, Checker};
use crate::case::Link;

/// Kind by checker, in text.
pub fn summary(lines: &[Line]) -> String {
    let columns: Vec<&str> =
        Checker::ALL.iter().map(|checker| checker.name()).chain(["survives", "not reached"]).collect();
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for line in lines {
        let column = match &line.fate {
            Fate::Caught { checker, .. } => checker.as_str(),
            Fate::Survives => "survives",
            Fate::Unreached => "not reached",
        };
        let at = columns.iter().position(|name| *name == column).unwrap_or(columns.len() - 3);
        rows.entry(line.kind.as_str()).or_insert_with(|| vec![0; columns.len()])[at] += 1;
    }
    let mut out = format!("| change of | {} |\n", columns.join(" | "));
    out.push_str(&format!("|---|{}\n", "---:|".repeat(columns.len())));
    for kind in Kind::ALL {
        if let Some(row) = rows.get(kind.name()) {
            let cells: Vec<String> = row.iter().map(|n| if *n == 0 { String::new() } else { n.to_string() }).collect();
            out.push_str(&format!("| {} | {} |\n", kind.name(), cells.join(" | ")));
        }
    }
    out
}

/// Writes `docs/mutants.md` and the list for CI from what the records hold of the kernels as they are.
pub fn write() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = String::from(HEAD);
    let mut quick_lines = Vec::new();
    let mut all = Vec::new();
    for (link, name) in [(Link::Mlx5, "mlx5"), (Link::Loopback, "loopback")] {
        let (lines, total) = known(link);
        let with = With { runs: hash(&format!("{:?}", runs(link))), machine: machine_hash() };
        let other_runs = lines.iter().filter(|line| line.with.runs != with.runs).count();
        let earlier = lines.iter().filter(|line| line.with.runs == with.runs && line.with != with).count();
        let of_which = match (other_runs, earlier) {
            (0, 0) => "all with the runs and the machine as they are".to_string(),
            _ => format!(
                "{other_runs} of them when the runs were not all that they are now, {earlier} with these runs before the last \
                 change of the emulator's or the host's sources"
            ),
        };
        let _ = writeln!(out, "\n## Fabric {name}\n\n{} of {total} mutants tried, {of_which}.", lines.len());
        let _ = writeln!(out, "\n{}", summary(&lines));
        for kernel in KERNELS {
            let own: Vec<Line> = lines.iter().filter(|line| stem(&line.kernel) == kernel).cloned().collect();
            if !own.is_empty() {
                let _ = writeln!(out, "### {kernel}, {name}\n\n{}", summary(&own));
            }
        }
        let _ = writeln!(out, "{}", exceptions(&lines));
        let _ = writeln!(out, "{}", survivors(&lines));
        quick_lines.extend(quick::choose(name, &lines));
        all.extend(lines);
    }
    let _ = writeln!(out, "\n{}", by_edge(&all));
    save(&root.join("docs/mutants.md"), &(out.trim_end().to_string() + "\n"));
    save(&root.join(quick::LIST), &(quick_lines.join("\n") + "\n"));
}

fn save(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    println!("written: {}", path.display());
}

/// Lines of a fabric's record that still count, in the order of the kernels; and how many mutants there are.
fn known(link: Link) -> (Vec<Line>, usize) {
    let set = Set::new(link);
    let record: BTreeMap<String, Line> = read(&results(link)).into_iter().map(|line| (line.key(), line)).collect();
    let mut total = 0;
    let mut lines = Vec::new();
    for kernel in 0..KERNELS.len() {
        for mutant in mutants(&set.kernels[kernel]) {
            let line = set.line(With::default(), kernel, &mutant);
            total += 1;
            lines.extend(record.get(&line.key()).filter(|known| known.hash == line.hash).map(|known| Line {
                // Comments and lines may have moved since.
                place: line.place,
                phase: line.phase,
                edge: line.edge,
                ..known.clone()
            }));
        }
    }
    (lines, total)
}

const HEAD: &str = "\
# Mutants of the kernels

Written by `scripts/mutants.sh` (module `tests/worlds/mutation`); not to be edited. Every fence, proxy fence, barrier, wait,
order, scope, member mask, publishing access, weak store, bulk copy and count of every kernel is dropped, weakened, moved
past its neighbour or off by one, one place at a time, in the expanded kernel as the emulator runs it. Runs are made, with
the race check, in weak memory and without either, until one goes wrong; the columns say who saw it first: the **race** check; the **bus** (a NIC reads what is not
visible to it); **misuse** of a barrier, mbarrier, mask, bulk copy or doorbell; memory that is **uninitialized** or out of
**bounds**; the **nic** model; **bits** that differ from the reference; a wrong **status** or a deadline; a **hang**; a
**report** that differs from what the sound kernels say in the same schedule.

| change of | should be seen by |
|---|---|
| fence, barrier, order, scope | race, bus |
| proxy fence, wait for copies, wait for a load | race, bus, misuse |
| member mask | misuse, hang |
| publishing access, weak store, bulk copy, count | anything but the race check: a run without it goes wrong |
| mbarrier count | hang, misuse, race, bounds |

Where only weak memory shows a missing order, it is bits, a status or bytes that nobody wrote that go wrong.

A mutant that survives is equivalent, with its argument, or OPEN: a hole of a checker, or a run that is missing. Of a place
that no run reaches, all mutants survive. A mutant with an argument is tried with sixteen of the runs that come by, others
with all. In a record that is not complete, what was not tried counts as nothing. `--afresh` tries again what was tried
with other runs or before a change of the emulator, the NIC or the host's side.
";

/// Mutants of the instructions of each edge, on both fabrics.
fn by_edge(lines: &[Line]) -> String {
    let mut edges: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        for edge in line.edge.iter().flat_map(|names| names.split(", ")) {
            edges.entry(edge).or_default().push(line);
        }
    }
    let mut out = String::from(
        "## By edge\n\nMutants of the instructions that carry an edge of [memory-model.md](memory-model.md), on both \
         fabrics; `tests/memory_model.rs` demands a line for each edge there.\n\n\
         | edge | mutants | caught by | equivalent |\n|---|---:|---|---:|\n",
    );
    for (edge, of) in edges {
        let mut caught: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &of {
            if let Fate::Caught { checker, .. } = &line.fate {
                *caught.entry(checker).or_default() += 1;
            }
        }
        let equivalent = of.len() - caught.values().sum::<usize>();
        let caught: Vec<String> = caught.iter().map(|(checker, count)| format!("{checker} {count}")).collect();
        let _ = writeln!(out, "| `{edge}` | {} | {} | {equivalent} |", of.len(), caught.join(", "));
    }
    out
}

/// What others saw than should have.
fn exceptions(lines: &[Line]) -> String {
    let mut found: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for line in lines {
        let Fate::Caught { checker, .. } = &line.fate else { continue };
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == line.kind);
        let expected = kind.is_some_and(|kind| kind.expected().iter().any(|one| one.name() == checker));
        if !expected {
            *found.entry((line.kind.clone(), line.change.clone(), checker.clone())).or_default() += 1;
        }
    }
    if found.is_empty() {
        return String::new();
    }
    let rows =
        found.iter().map(|((kind, change, checker), count)| format!("| {kind} | {change} | {checker} | {count} |\n"));
    format!("Seen first by another checker than expected:\n\n| change of | change | seen by | mutants |\n|---|---|---|---:|\n{}", rows.collect::<String>())
}

/// Survivors, by place.
fn survivors(lines: &[Line]) -> String {
    let mut out = String::new();
    for (fate, title) in [(Fate::Survives, "Survivors"), (Fate::Unreached, "Reached by no run")] {
        let mut places: BTreeMap<(String, String), Vec<&Line>> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.fate == fate) {
            places.entry((line.kernel.clone(), format!("{} `{}`", line.place, line.text))).or_default().push(line);
        }
        if places.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{title}:\n\n| kernel | place | edge | changes | argument |\n|---|---|---|---|---|");
        for ((kernel, place), all) in places {
            let mut arguments: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for line in &all {
                let why = argument::of(line).map_or("OPEN", |argument| argument.why);
                arguments.entry(why).or_default().push(format!("{} {}", line.kind, line.change));
            }
            for (why, changes) in arguments {
                let edge = all[0].edge.as_deref().unwrap_or("");
                let place = place.replace('|', "\\|");
                let _ = writeln!(out, "| {kernel} | {place} | {edge} | {} | {why} |", changes.join(", "));
            }
        }
        out.push('\n');
    }
    out
}
