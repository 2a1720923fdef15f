//! Kernels damaged on purpose: every mutant must be caught by some run, else the suite could not fail.
//!
//! Method: text of an embedded kernel is replaced, and a few cases are run until one goes wrong: a fault, a stale slot, a
//! deadline, wrong bits. What a sequentially consistent emulator cannot see (orders of generic accesses, proxy fences)
//! is not in the list.

use warpferry::kernel::image::KernelImage;
use warpferry::kernel::launch::KernelSet;
use warpferry::Fabric;

use crate::case::Case;
use crate::play::{attempt_with, play};

/// Which kernel a mutant changes.
#[derive(Debug, Clone, Copy)]
enum Of {
    Exchange,
    Dispatch,
    Combine,
}

/// One mutant: the text replaced (all places), and what replaces it.
struct Mutant {
    name: &'static str,
    of: Of,
    from: &'static str,
    to: &'static str,
}

const fn mutant(name: &'static str, of: Of, from: &'static str, to: &'static str) -> Mutant {
    Mutant { name, of, from, to }
}

const DRAIN: &str = "cp.async.bulk.wait_group 0; bar.warp.sync 0xffffffff; fence.acq_rel.sys;";
/// Where the lane that stores is the one that publishes.
const DRAIN_OWN: &str = "cp.async.bulk.wait_group 0; fence.acq_rel.sys;";

const MUTANTS: &[Mutant] = &[
    mutant("stores are published before they are written", Of::Dispatch, "cp.async.bulk.wait_group 0;", ""),
    mutant(
        "stores are only read before they are published",
        Of::Dispatch,
        "cp.async.bulk.wait_group 0;",
        "cp.async.bulk.wait_group.read 0;",
    ),
    mutant("sums are published before they are written", Of::Combine, "cp.async.bulk.wait_group 0;", ""),
    mutant("a stage is loaded while its store reads it", Of::Dispatch, "cp.async.bulk.wait_group.read 1;", ""),
    mutant(
        "a result is overwritten while its store reads it",
        Of::Combine,
        "@leader cp.async.bulk.wait_group.read 1;",
        "",
    ),
    mutant("a load is not awaited", Of::Dispatch, "@!_landed bra _await;", ""),
    mutant("no doorbell", Of::Dispatch, "st.mmio.relaxed.sys.global.u64 [_bell_record], _words;", ""),
    mutant(
        "a doorbell that may be merged with others",
        Of::Dispatch,
        "st.mmio.relaxed.sys.global.u64 [_bell_record], _words;",
        "st.relaxed.sys.global.u64 [_bell_record], _words;",
    ),
    mutant(
        "room is one slot too large",
        Of::Dispatch,
        "setp.gt.u64 lacks, reach, depth;",
        "add.u64 depth, depth, 1; setp.gt.u64 lacks, reach, depth;",
    ),
    mutant(
        "room within a node is not asked for",
        Of::Dispatch,
        "setp.ge.u64 lacks, tail, limit;",
        "setp.lt.u64 lacks, tail, tail;",
    ),
    mutant(
        "partial rows are not awaited",
        Of::Combine,
        "setp.ge.u64 _lacks, _taken, _arrived;",
        "setp.lt.u64 _lacks, _taken, _taken;",
    ),
    mutant(
        "sums are not awaited",
        Of::Combine,
        "setp.ge.u64 lacks, taken_sums, arrived;",
        "setp.lt.u64 lacks, arrived, arrived;",
    ),
    mutant(
        "a tail is one too high",
        Of::Dispatch,
        "st.relaxed.sys.global.u64 [word], tail;",
        "add.u64 tail, tail, 1; st.relaxed.sys.global.u64 [word], tail;",
    ),
    mutant(
        "a signal counts one message less",
        Of::Dispatch,
        "prmt.b32 _d1, moved, 0, 0x0123;",
        "sub.u32 _d1, moved, 1; prmt.b32 _d1, _d1, 0, 0x0123;",
    ),
    mutant("credit is never given back", Of::Dispatch, "or.pred sends, sends, over;", "setp.ne.u32 sends, lane, lane;"),
    mutant(
        "credit within a node is never given back",
        Of::Dispatch,
        "@leader st.relaxed.sys.global.u64 [word], taken;",
        "",
    ),
    mutant(
        "a stream is woken although its word is not there",
        Of::Dispatch,
        "setp.ge.u64 reached, value, lacked_value;",
        "mov.pred reached, 0;",
    ),
    mutant("a sum starts from its second term", Of::Combine, "mov.pred _fresh, 0;", ""),
    mutant(
        "half of the parity is forgotten",
        Of::Dispatch,
        "shr.u32 parity, stage_use, 2;",
        "shr.u32 parity, stage_use, 3;",
    ),
    mutant(
        "the mask of the wrong node travels",
        Of::Dispatch,
        "mad.lo.u32 word, token, nodes, peer;",
        "mad.lo.u32 word, token, nodes, node;",
    ),
    mutant("experts keep their number in the world", Of::Dispatch, "sub.u32 expert, expert, first_expert;", ""),
    mutant(
        "the record is not ordered before the doorbell",
        Of::Dispatch,
        "[_bell_record], _bell_count; fence.acq_rel.sys;",
        "[_bell_record], _bell_count;",
    ),
    mutant(
        "entries are not released before the doorbell",
        Of::Dispatch,
        "st.release.sys.global.u32 [_bell_record], _bell_count; fence.acq_rel.sys;",
        "st.relaxed.sys.global.u32 [_bell_record], _bell_count;",
    ),
    mutant(
        "a node's sum is not rounded",
        Of::Combine,
        "setp.ge.u32 _in_home, _number, home_first;",
        "setp.lt.u32 _in_home, _number, _number;",
    ),
    mutant("base rows ignore lower ranks", Of::Exchange, "sub.u32 sum, below, sum;", "mov.u32 sum, 0;"),
];

/// The kernel with `from` replaced; `None` when it is not there.
fn damaged(image: &'static KernelImage, mutant: &Mutant) -> Option<&'static KernelImage> {
    // Expanded text has runs of blanks: compare and replace by single ones, line by line, so that lines keep numbers.
    let single = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: Vec<String> = image.marked_text.lines().map(single).collect();
    if !text.iter().any(|line| line.contains(mutant.from)) {
        return None;
    }
    let text = text.iter().map(|line| line.replace(mutant.from, mutant.to)).collect::<Vec<_>>().join("\n");
    let text: &'static str = Box::leak(text.into_boxed_str());
    Some(Box::leak(Box::new(KernelImage { text, marked_text: text, cubins: &[], ..*image })))
}

fn with(mutant: &Mutant) -> Option<&'static KernelImage> {
    let kernels = KernelSet::embedded(Fabric::Mlx5).expect("the build has all kernels");
    let of = match mutant.of {
        Of::Exchange => kernels.exchange,
        Of::Dispatch => kernels.dispatch,
        Of::Combine => kernels.combine,
    };
    damaged(of, mutant)
}

/// Cases in the order in which they are tried.
fn cases() -> Vec<Case> {
    let mut cases = vec![Case { calls: 2, ..Case::default() }];
    for seed in 1..=8 {
        cases.push(Case {
            calls: 3,
            seed,
            schedule: Some(seed),
            unordered: seed % 2 == 0,
            retransmit: seed % 2 == 1,
            read_before_post: seed % 4 == 0,
            depth_ib: 2,
            depth_nv: 2,
            chunk_ib: 1,
            chunk_nv: 1,
            hidden: if seed % 3 == 0 { 2048 } else { 264 },
            workers: 5,
            ..Case::default()
        });
    }
    cases
}

#[test]
fn every_mutant_is_caught() {
    let cases = cases();
    for case in &cases {
        play(case).unwrap_or_else(|what| panic!("the sound kernels fail: {what}\n  case {case}"));
    }
    let mut survivors = Vec::new();
    for mutant in MUTANTS {
        let Some(image) = with(mutant) else {
            survivors.push(format!("{}: `{}` is not in the {:?} kernel any more", mutant.name, mutant.from, mutant.of));
            continue;
        };
        match cases.iter().enumerate().find_map(|(at, case)| Some((at, attempt_with(case, image).err()?))) {
            Some((at, what)) => {
                let first = what.lines().next().unwrap_or_default();
                println!("caught by case {at}: {}: {}", mutant.name, &first[..first.len().min(160)]);
            }
            None => survivors.push(mutant.name.to_string()),
        }
    }
    assert!(
        survivors.is_empty(),
        "{} of {} mutants survive:\n  {}",
        survivors.len(),
        MUTANTS.len(),
        survivors.join("\n  ")
    );
}

#[test]
fn drain_is_one_phrase() {
    let kernels = KernelSet::embedded(Fabric::Mlx5).expect("the build has all kernels");
    for (image, drain) in [(kernels.dispatch, DRAIN), (kernels.combine, DRAIN_OWN)] {
        let text = image.text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(drain), "{}: a claim publishes behind another phrase than `{drain}`", image.name);
    }
}
