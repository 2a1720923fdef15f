//! The mutants that CI tries: a few of each kind, kernel and macro, each in the one run that is known to catch it.
//!
//! The list is written with `docs/mutants.md`. A line names a mutant by what stands in the source, not by line numbers; one
//! that is not there any more is an error, and so is one that survives.

use super::places::{candidates, Mutant};
use super::record::{Fate, Line, With};
use super::run::{link_named, stem, Set, KERNELS};
use super::suite::{runs, Suite};

/// The list, from the root of the repository.
pub const LIST: &str = "tests/worlds/mutation/quick.txt";
/// Its text.
const TEXT: &str = include_str!("quick.txt");
/// Most of a fabric.
const MOST: usize = 70;
/// Runs that CI makes: the small ones.
const RUNS: usize = 7;

/// What a line of the list says of a mutant.
fn name(line: &Line) -> [&str; 6] {
    let kernel = stem(&line.kernel);
    let inside = line.place.split(' ').nth(1).unwrap_or("-");
    [kernel, &line.phase, inside, &line.text, &line.kind, &line.change]
}

/// One of each kind of change of each kernel, then one of each kind and macro or phase, as long as there is room.
pub fn choose(fabric: &str, lines: &[Line]) -> Vec<String> {
    let mut candidates: Vec<(usize, &Line)> = lines
        .iter()
        .filter_map(|line| match &line.fate {
            Fate::Caught { run, checker, .. } if *run < RUNS && checker != "other" => Some((*run, line)),
            _ => None,
        })
        .collect();
    candidates.sort_by_key(|(run, line)| (*run, line.kernel.clone(), line.number));
    let mut taken: Vec<(usize, &Line)> = Vec::new();
    let broad = |line: &Line| [name(line)[0], name(line)[4], name(line)[5]].join(" ");
    let fine = |line: &Line| [name(line)[1], name(line)[2], name(line)[4]].join(" ");
    for sort in [&broad as &dyn Fn(&Line) -> String, &fine] {
        for &(run, line) in &candidates {
            // Two that look alike could not be told apart.
            let is_new = taken.iter().all(|(_, other)| sort(other) != sort(line) && name(other) != name(line));
            if is_new && taken.len() < MOST {
                taken.push((run, line));
            }
        }
    }
    taken.iter().map(|(run, line)| format!("{fabric}\t{run}\t{}", name(line).join("\t"))).collect()
}

/// Method: each mutant of the list in its run. The kernels as they are must be right in those runs first.
#[test]
fn a_few_of_each_kind_are_caught() {
    let mut count = 0;
    for fabric in ["mlx5", "loopback"] {
        let link = link_named(fabric).expect("the fabric is one");
        let entries: Vec<Vec<&str>> =
            TEXT.lines().map(|line| line.split('\t').collect()).filter(|line: &Vec<&str>| line[0] == fabric).collect();
        let set = Set::new(link);
        let suite = Suite::new(runs(link).into_iter().take(RUNS).collect(), &set.kernels);
        let all: Vec<_> = (0..KERNELS.len()).map(|kernel| candidates(&set.kernels[kernel])).collect();
        for entry in &entries {
            let kernel = KERNELS.iter().position(|name| *name == entry[2]).expect("the list names a kernel");
            let is_it = |mutant: &&Mutant| name(&set.line(With::default(), kernel, mutant)) == entry[2..];
            let mutant = all[kernel].iter().find(is_it);
            let mutant =
                mutant.unwrap_or_else(|| panic!("{entry:?} is in no kernel: scripts/mutants.sh --tell writes {LIST}"));
            let changed = set.with(kernel, mutant.at, &mutant.change).expect("the generator gives what can be changed");
            let run: usize = entry[1].parse().expect("the list names a run");
            let exact = set.keeps_pace(kernel, mutant);
            let caught = suite.catch(&[run], changed, exact, mutant.kind.is_edge());
            assert!(
                caught.is_some(),
                "{entry:?} survives; again: WARPFERRY_MUTANT={fabric}:{}:{}:{run}",
                KERNELS[kernel],
                mutant.number
            );
            count += 1;
        }
    }
    assert!(count >= 50, "{count} mutants are few: scripts/mutants.sh --tell writes {LIST}");
}
