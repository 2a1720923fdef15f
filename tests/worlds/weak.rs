//! Worlds in weak memory: loads return any value that the memory model allows, and bits are those of the reference.
//!
//! Method: cases over both fabrics, several shapes, the smallest rings, NICs that place writes out of order, drawn
//! schedules and PCT. That it bites is shown by kernels with one kind of edge dropped everywhere: without the race check
//! they must give wrong bits, a status or a fault within a few cases, where sequential memory lets them pass.

use warpferry::kernel::image::KernelImage;
use warpferry::kernel::launch::KernelSet;
use warpferry::Fabric;

use crate::case::{Case, Link, Pattern};
use crate::play::{attempt_with, check};

const LINKS: [Link; 2] = [Link::Mlx5, Link::Loopback];

/// A case in weak memory.
fn holds(case: Case) {
    check(&Case { weak: true, ..case });
}

#[test]
fn worlds_of_several_shapes() {
    for (index, (nodes, gpus)) in [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2)].into_iter().enumerate() {
        for fabric in LINKS {
            let schedule = Some(index as u64 + 3);
            for pct in [None, Some(3)] {
                let tokens = vec![7, 10, 4];
                holds(Case { nodes, gpus, tokens, experts_per_rank: 3, fabric, schedule, pct, ..Case::default() });
            }
        }
    }
}

/// Rings of the smallest depth: slots are used again and again.
fn small(seed: u64, fabric: Link) -> Case {
    Case {
        depth_ib: 2,
        depth_nv: 2,
        chunk_ib: 1,
        chunk_nv: 1,
        channels: 1,
        calls: 2,
        tokens: vec![14, 19],
        fabric,
        schedule: Some(seed),
        workers: 1 + seed as u32 % 4,
        ..Case::default()
    }
}

#[test]
fn rings_of_the_smallest_depth() {
    for fabric in LINKS {
        for seed in 1..=3 {
            holds(small(seed, fabric));
        }
    }
}

#[test]
fn nics_that_place_writes_out_of_order() {
    for seed in 0..4 {
        holds(Case {
            schedule: Some(seed),
            pct: [None, Some(2)][seed as usize / 2],
            unordered: true,
            piece_bytes: 64,
            retransmit: true,
            read_before_post: seed % 2 == 1,
            outstanding: [1, 4, 16][seed as usize % 3],
            tokens: vec![20, 13],
            ..Case::default()
        });
    }
}

#[test]
fn several_ctas_and_channels() {
    for fabric in LINKS {
        holds(Case {
            channels: 4,
            sms: vec![(2, 3), (3, 1)],
            tokens: vec![12, 9],
            schedule: Some(5),
            fabric,
            pattern: Pattern::Skewed,
            topk: 6,
            ..Case::default()
        });
    }
}

/// Edges of dispatch: what is dropped, and what it becomes. Every place at once.
const EDGES: &[(&str, &str)] = &[
    ("fence.acq_rel.sys;", ""),
    ("fence.proxy.async.global;", ""),
    ("fence.proxy.async.shared::cta;", ""),
    ("ld.acquire.", "ld.relaxed."),
    ("cp.async.bulk.wait_group 0;", ""),
    ("bar.warp.sync 0xffffffff;", ""),
];

/// Dispatch with an edge dropped.
fn without(fabric: Fabric, (from, to): (&str, &str)) -> &'static KernelImage {
    let kernels = KernelSet::embedded(fabric).expect("embedded kernels");
    let one_line =
        |text: &str| text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect();
    let text: String = one_line(kernels.dispatch.text);
    assert!(text.contains(from), "dispatch has no `{from}`");
    let text: String = text
        .replace(from, to)
        .lines()
        // A guard alone is no statement.
        .map(|line| if line.starts_with('@') && !line.contains(' ') { "\n".to_string() } else { format!("{line}\n") })
        .collect();
    let text: &'static str = Box::leak(text.into_boxed_str());
    let image = KernelImage { text, marked_text: text, cubins: &[], ..*kernels.dispatch };
    Box::leak(Box::new(image))
}

#[test]
fn dropped_edges_show_in_bits() {
    let mut missed = Vec::new();
    for &edge in EDGES {
        let seen = (1..=4).find_map(|seed| {
            let case = Case { weak: true, ..small(seed, Link::Mlx5) };
            attempt_with(&case, without(Fabric::Mlx5, edge)).err().map(|what| (seed, what))
        });
        match seen {
            Some((seed, what)) => {
                assert!(!what.contains("race"), "{edge:?}: {what}");
                println!("{} dropped: seed {seed}: {}", edge.0, what.lines().next().unwrap_or_default());
            }
            None => missed.push(edge.0),
        }
    }
    assert!(missed.is_empty(), "weak memory shows nothing of these dropped edges: {missed:?}");
}
