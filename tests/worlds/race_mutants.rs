//! Kernels with one edge less: the race check finds what a sequentially consistent run does not show.
//!
//! Method: a kind of edge of dispatch (a fence, a proxy fence, a barrier, a wait for copies, an order or a scope) is dropped
//! or weakened at all its places at once, and cases run with the race check until one goes wrong. Module `mutation` has
//! every place of every kernel by itself.

use warpferry::kernel::image::KernelImage;
use warpferry::kernel::launch::KernelSet;
use warpferry::Fabric;

use crate::case::{Case, Link};
use crate::play::attempt_with;

fn single(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
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

/// Method: all places at once, so that few runs show that every kind of edge is checked.
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
            let dispatch: &'static KernelImage = Box::leak(Box::new(dispatch));
            let found = cases(link).iter().find_map(|case| attempt_with(case, dispatch).err());
            match found {
                Some(what) => println!("{link:?} `{from}` -> `{to}`: {}", what.lines().next().unwrap_or_default()),
                None => survivors.push(format!("{link:?} `{from}` -> `{to}`")),
            }
        }
    }
    assert_eq!(survivors, Vec::<String>::new(), "survivors");
}
