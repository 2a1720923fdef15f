//! Kernels with one edge less: the race check finds what a sequentially consistent run does not show.
//!
//! Method: every place of an expanded kernel that makes an order (a fence, a proxy fence, a barrier, a wait for copies, an
//! order or a scope) is dropped or weakened, one at a time, and cases run with the race check until one goes wrong. A
//! mutant that survives stands in [`EQUIVALENT`] with the reason, or the test is red: the argument for most is still to be
//! made, so the run of all places is asked for by name, and CI has the kinds of edges of dispatch, each dropped everywhere. Places that no case reaches (a trap
//! there survives as well: how a kernel gives up) are counted and told, and are no survivors.

use std::collections::BTreeMap;

use warpferry::kernel::image::KernelImage;
use warpferry::kernel::launch::KernelSet;
use warpferry::Fabric;

use crate::case::{Case, Link};
use crate::play::attempt_with;
use crate::skip::skipped;

/// What is looked for, and what it becomes.
const CHANGES: &[(&str, &str)] = &[
    ("fence.proxy.async.shared::cta;", ""),
    ("fence.proxy.async.global;", ""),
    ("fence.mbarrier_init.release.cluster;", ""),
    ("fence.acq_rel.sys;", ""),
    ("fence.acq_rel.sys;", "fence.acq_rel.gpu;"),
    ("bar.warp.sync 0xffffffff;", ""),
    ("bar.sync 0;", ""),
    ("cp.async.bulk.wait_group 0;", ""),
    ("cp.async.bulk.wait_group 0;", "cp.async.bulk.wait_group.read 0;"),
    ("cp.async.bulk.wait_group.read 1;", ""),
    ("ld.acquire.", "ld.relaxed."),
    ("st.release.", "st.relaxed."),
    ("atom.acquire.", "atom.relaxed."),
    ("atom.release.", "atom.relaxed."),
    ("atom.acq_rel.", "atom.acquire."),
    ("atom.acq_rel.", "atom.release."),
    ("red.release.", "red.relaxed."),
    ("st.relaxed.sys.", "st."),
    ("st.relaxed.sys.", "st.relaxed.gpu."),
    ("st.release.sys.", "st.release.gpu."),
    ("ld.acquire.sys.", "ld.acquire.gpu."),
    ("ld.relaxed.sys.", "ld.relaxed.gpu."),
    ("ld.relaxed.sys.", "ld."),
    ("ld.relaxed.cta.", "ld."),
    ("st.release.cta.", "st."),
    ("try_wait.parity.acquire.", "try_wait.parity.relaxed."),
];

/// A kernel of a set.
const KERNELS: [&str; 4] = ["layout", "exchange", "dispatch", "combine"];

/// One change at one place.
#[derive(Debug, Clone, Copy)]
struct Mutant {
    kernel: usize,
    line: usize,
    /// Which of the line's places, for lines that macros made.
    nth: usize,
    change: usize,
}

/// Survivors: kernel, words of the line, the change's pattern; and why no run can show a difference.
const EQUIVALENT: &[(&str, &str, &str)] = &[];

fn single(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn image(kernels: &KernelSet, kernel: usize) -> &'static KernelImage {
    [kernels.layout, kernels.exchange, kernels.dispatch, kernels.combine][kernel]
}

/// All mutants of a fabric's kernels.
fn mutants(kernels: &KernelSet) -> Vec<Mutant> {
    let mut all = Vec::new();
    for kernel in 0..KERNELS.len() {
        for (line, text) in single(image(kernels, kernel).marked_text).iter().enumerate() {
            for (change, (from, _)) in CHANGES.iter().enumerate() {
                all.extend((0..text.matches(from).count()).map(|nth| Mutant { kernel, line, nth, change }));
            }
        }
    }
    all
}

/// The kernels with a mutant's place changed to `to`.
fn damaged(kernels: KernelSet, mutant: Mutant, to: &str) -> KernelSet {
    let of = image(&kernels, mutant.kernel);
    let mut lines = single(of.marked_text);
    let (from, _) = CHANGES[mutant.change];
    let line = &mut lines[mutant.line];
    let at = line.match_indices(from).nth(mutant.nth).expect("it was found there").0;
    line.replace_range(at..at + from.len(), to);
    // A guard or a label alone is no statement.
    let text: &'static str = Box::leak(tidied(&lines.join("\n")).into_boxed_str());
    let image: &'static KernelImage = Box::leak(Box::new(KernelImage { text, marked_text: text, cubins: &[], ..*of }));
    let mut kernels = kernels;
    *[&mut kernels.layout, &mut kernels.exchange, &mut kernels.dispatch, &mut kernels.combine][mutant.kernel] = image;
    kernels
}

/// Takes away guards that guard nothing any more.
fn tidied(text: &str) -> String {
    text.lines()
        .map(|line| match line.trim() {
            guard if guard.starts_with('@') && !guard.contains(' ') => "",
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Where the line stands in our sources, by the markers before it.
fn place(kernels: &KernelSet, mutant: Mutant) -> String {
    let lines = single(image(kernels, mutant.kernel).marked_text);
    let mut at = (0usize, String::new());
    for (index, line) in lines[..mutant.line].iter().enumerate() {
        let mut words = line.strip_prefix("# ").unwrap_or_default().split(' ');
        if let (Some(Ok(number)), Some(file)) = (words.next().map(str::parse::<usize>), words.next()) {
            at = (index + 1 + 1_000_000 - number, file.trim_matches('"').to_string());
        }
    }
    format!("{}:{}", at.1, (mutant.line + 1_000_000).saturating_sub(at.0))
}

fn cases(fabric: Link) -> Vec<Case> {
    let base = Case { fabric, races: true, calls: 2, ..Case::default() };
    let mut cases = vec![Case { tokens: vec![5, 3], ..base.clone() }, base.clone()];
    for seed in 1..=5 {
        cases.push(Case {
            calls: 3,
            seed,
            schedule: Some(seed),
            unordered: seed % 2 == 0 && fabric == Link::Mlx5,
            retransmit: seed % 2 == 1,
            read_before_post: seed % 2 == 0,
            depth_ib: 2,
            depth_nv: 2,
            chunk_ib: 1,
            chunk_nv: 1,
            hidden: if seed % 3 == 0 { 2048 } else { 264 },
            workers: 5,
            channels: 3,
            sms: vec![(1 + seed as u32 % 2, 2)],
            ..base.clone()
        });
    }
    cases
}

/// Runs the mutants that `pick` takes; those that no case catches.
fn survivors(link: Link) -> Vec<String> {
    let fabric = if link == Link::Mlx5 { Fabric::Mlx5 } else { Fabric::Loopback };
    let sound = KernelSet::embedded(fabric).expect("the build has all kernels");
    let cases = cases(link);
    for case in &cases {
        attempt_with(case, sound).unwrap_or_else(|what| panic!("the sound kernels fail: {what}\n  case {case}"));
    }
    let mut table: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut left = Vec::new();
    for (number, mutant) in mutants(&sound).into_iter().enumerate() {
        let (from, to) = CHANGES[mutant.change];
        let kernels = damaged(sound, mutant, to);
        let fails = |kernels| cases.iter().find_map(|case| attempt_with(case, kernels).err());
        let error = fails(kernels);
        let row = table.entry(format!("{from} -> {to}")).or_default();
        let name = format!("{} {}#{} `{from}` -> `{to}`", KERNELS[mutant.kernel], place(&sound, mutant), mutant.nth);
        match error {
            Some(what) if what.contains("data race") => {
                row[0] += 1;
                let word = what.split("data race: ").nth(1).unwrap_or_default();
                println!("{number} race: {name}: {}", word.split(" in ").next().unwrap_or_default());
            }
            Some(what) => {
                row[1] += 1;
                println!("{number} other: {name}: {}", what.lines().next().unwrap_or_default());
            }
            None if fails(damaged(sound, mutant, &format!("trap; {from}"))).is_none() => {
                row[3] += 1;
                println!("{number} not reached: {name}");
            }
            None => {
                row[2] += 1;
                println!("{number} SURVIVES: {name}");
                let line = &single(image(&sound, mutant.kernel).marked_text)[mutant.line];
                let known = |(kernel, words, change): &(&str, &str, &str)| {
                    KERNELS[mutant.kernel] == *kernel && line.contains(words) && from == *change
                };
                if !EQUIVALENT.iter().any(known) {
                    left.push(name);
                }
            }
        }
    }
    println!("{link:?}: caught as race, caught otherwise, survives, not reached: change");
    for (change, [race, other, left, unreached]) in &table {
        println!("  {race:4} {other:4} {left:4} {unreached:4}  {change}");
    }
    left
}

/// A kind of edge of dispatch that is dropped or weakened at all its places.
const EDGES: &[(&str, &str)] = &[
    ("fence.proxy.async.shared::cta;", ""),
    ("fence.proxy.async.global;", ""),
    ("fence.acq_rel.sys;", "fence.acq_rel.gpu;"),
    ("bar.warp.sync 0xffffffff;", ""),
    ("cp.async.bulk.wait_group 0;", "cp.async.bulk.wait_group.read 0;"),
    ("ld.acquire.sys.", "ld.relaxed.sys."),
    ("ld.acquire.sys.", "ld.acquire.gpu."),
    ("atom.acquire.", "atom.relaxed."),
    ("atom.release.", "atom.relaxed."),
    ("st.relaxed.sys.", "st.relaxed.gpu."),
    ("try_wait.parity.acquire.", "try_wait.parity.relaxed."),
];

/// Method: as above, all places at once, so that few runs show that every kind of edge is checked.
#[test]
fn every_kind_of_edge_is_missed() {
    let mut survivors = Vec::new();
    for (link, fabric) in [(Link::Mlx5, Fabric::Mlx5), (Link::Loopback, Fabric::Loopback)] {
        let sound = KernelSet::embedded(fabric).expect("the build has all kernels");
        for (from, to) in EDGES {
            let text = single(sound.dispatch.marked_text).join("\n");
            assert!(text.contains(from), "`{from}` is not in the {link:?} kernel");
            let text: &'static str = Box::leak(text.replace(from, to).into_boxed_str());
            let dispatch = KernelImage { text, marked_text: text, cubins: &[], ..*sound.dispatch };
            let kernels = KernelSet { dispatch: Box::leak(Box::new(dispatch)), ..sound };
            let found = cases(link).iter().find_map(|case| attempt_with(case, kernels).err());
            match found {
                Some(what) => println!("{link:?} `{from}` -> `{to}`: {}", what.lines().next().unwrap_or_default()),
                None => survivors.push(format!("{link:?} `{from}` -> `{to}`")),
            }
        }
    }
    assert_eq!(survivors, Vec::<String>::new(), "survivors");
}

/// Method: every place by itself, which takes hours: `WARPFERRY_MUTANTS=mlx5` or `loopback` asks for it. It is red as long
/// as a survivor is neither caught nor argued in [`EQUIVALENT`], and so it is today.
#[test]
fn every_place_is_missed() {
    let link = match std::env::var("WARPFERRY_MUTANTS").as_deref() {
        Ok("mlx5") => Link::Mlx5,
        Ok("loopback") => Link::Loopback,
        Ok(other) => panic!("WARPFERRY_MUTANTS={other}: valid is mlx5 or loopback"),
        Err(_) => return skipped("every place of a race mutant", "WARPFERRY_MUTANTS is not set"),
    };
    let left = survivors(link);
    assert!(left.is_empty(), "{} survive:\n  {}", left.len(), left.join("\n  "));
}
