//! Threads: the classic shapes, scopes, barriers, vectors.

use crate::rig::{explore, explore_of, only, set};

const FOUR: [[u32; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// Payload `x`, flag `y`: what the reader saw of flag and payload.
fn message(write: &str, read: &str) -> Vec<Vec<u32>> {
    let write = format!("st.global.u32 [x], 1; {write}");
    let read = format!("{read} ld.global.u32 r1, [x];");
    only(&explore(&[&write, &read]), &[2, 3]).into_iter().collect()
}

#[test]
fn a_message_arrives_by_release_and_acquire() {
    let three: Vec<Vec<u32>> = [[0, 0], [0, 1], [1, 1]].map(Vec::from).to_vec();
    let four: Vec<Vec<u32>> = FOUR.map(Vec::from).to_vec();
    let (release, acquire) = ("st.release.gpu.global.u32 [y], 1;", "ld.acquire.gpu.global.u32 r0, [y];");
    let (relaxed, look) = ("st.relaxed.gpu.global.u32 [y], 1;", "ld.relaxed.gpu.global.u32 r0, [y];");
    assert_eq!(message(release, acquire), three);
    assert_eq!(message(relaxed, acquire), four);
    assert_eq!(message(release, look), four);
    assert_eq!(message(&release.replace("gpu", "cta"), acquire), four, "another CTA is outside the scope");
    assert_eq!(message(release, &acquire.replace("gpu", "cta")), four);
    let (before, behind) = (format!("fence.acq_rel.gpu; {relaxed}"), format!("{look} fence.acq_rel.gpu;"));
    assert_eq!(message(&before, &behind), three);
    assert_eq!(message(&before, acquire), three);
    assert_eq!(message(&before.replace("rel.gpu", "rel.cta"), &behind), four);
    assert_eq!(message("red.release.gpu.global.add.u32 [y], 1;", acquire), three);
}

#[test]
fn stores_may_pass_loads_unless_fences_are_sc() {
    let buffer = |fence: &str| {
        let part = |to: &str, from: &str| {
            format!("st.relaxed.gpu.global.u32 [{to}], 1; {fence} ld.relaxed.gpu.global.u32 r0, [{from}];")
        };
        only(&explore(&[&part("x", "y"), &part("y", "x")]), &[0, 2])
    };
    assert_eq!(buffer(""), set(&FOUR));
    assert_eq!(buffer("fence.acq_rel.gpu;"), set(&FOUR));
    assert_eq!(buffer("fence.sc.cta;"), set(&FOUR));
    assert_eq!(buffer("fence.sc.gpu;"), set(&[[0, 1], [1, 0], [1, 1]]));
}

#[test]
fn readers_need_not_agree_on_independent_writes() {
    let readers = |order: &str, fence: &str| {
        let reader = |first: &str, second: &str| {
            format!("ld.{order}.gpu.global.u32 r0, [{first}]; {fence} ld.{order}.gpu.global.u32 r1, [{second}];")
        };
        let (a, b) = (reader("x", "y"), reader("y", "x"));
        let parts = ["st.relaxed.gpu.global.u32 [x], 1;", "st.relaxed.gpu.global.u32 [y], 1;", &a, &b];
        only(&explore(&parts), &[4, 5, 6, 7])
    };
    let apart = vec![1, 0, 1, 0];
    assert!(readers("acquire", "").contains(&apart));
    let agreed = readers("relaxed", "fence.sc.gpu;");
    assert!(!agreed.contains(&apart), "{agreed:?}");
    assert_eq!(agreed.len(), 15);
}

#[test]
fn writes_may_be_ordered_against_program_order() {
    let writes = |fence: &str| {
        let part = |a: &str, b: &str| {
            format!("st.relaxed.gpu.global.u32 [{a}], 1; {fence} st.relaxed.gpu.global.u32 [{b}], 2;")
        };
        only(&explore(&[&part("x", "y"), &part("y", "x")]), &[4, 5])
    };
    assert_eq!(writes(""), set(&[[1, 1], [1, 2], [2, 1], [2, 2]]));
    assert_eq!(writes("fence.sc.gpu;"), set(&[[1, 2], [2, 1], [2, 2]]));
}

#[test]
fn strong_reads_of_one_place_do_not_go_back() {
    let reads = |order: &str| {
        let read = format!("ld.{order}global.u32 r0, [x]; ld.{order}global.u32 r1, [x];");
        only(&explore(&["st.relaxed.gpu.global.u32 [x], 1;", &read]), &[2, 3])
    };
    assert_eq!(reads("relaxed.gpu."), set(&[[0, 0], [0, 1], [1, 1]]));
    assert_eq!(reads("relaxed.cta."), set(&FOUR), "the scopes do not include each other");
    assert_eq!(reads(""), set(&FOUR), "weak reads may");
}

#[test]
fn what_was_read_is_known_further_on() {
    // The second thread reads x and tells the third one, which must not see less.
    let third = "ld.acquire.gpu.global.u32 r0, [y]; ld.relaxed.gpu.global.u32 r1, [x];";
    let second = |order: &str| format!("ld.relaxed.gpu.global.u32 r0, [x]; st.{order}.gpu.global.u32 [y], r0;");
    let shown = |order: &str| {
        let parts = ["st.relaxed.gpu.global.u32 [x], 1;", &second(order), third];
        only(&explore(&parts), &[2, 4, 5])
    };
    assert!(!shown("release").contains(&vec![1, 1, 0]));
    assert!(shown("relaxed").contains(&vec![1, 1, 0]));
}

#[test]
fn atomics_count_and_follow_what_they_read() {
    let add = "atom.relaxed.gpu.global.add.u32 r0, [x], 1;";
    let counts = only(&explore(&[add, add]), &[0, 2, 4]);
    assert_eq!(counts, set(&[[0, 1, 2], [1, 0, 2]]));
    // A store never comes between an atomic's read and its write.
    let beside = only(&explore(&[add, "st.relaxed.gpu.global.u32 [x], 5;"]), &[0, 4]);
    assert_eq!(beside, set(&[[0, 5], [5, 6]]));
    let narrow = only(&explore(&[&add.replace("gpu", "cta"), "st.relaxed.gpu.global.u32 [x], 5;"]), &[0, 4]);
    assert!(narrow.contains(&vec![0, 1]), "a scope that does not include the store: {narrow:?}");
    // A compare-and-swap that fails writes nothing and releases nothing.
    let fails = "st.global.u32 [y], 1; atom.release.gpu.global.cas.b32 r0, [x], 7, 8;";
    let reader = "ld.acquire.gpu.global.u32 r0, [x]; ld.global.u32 r1, [y];";
    assert!(only(&explore(&[fails, reader]), &[2, 3]).contains(&vec![0, 0]));
}

#[test]
fn vectors_tear_and_words_do_not() {
    let wide = "mov.u64 wide, 0x0000000100000001; st.relaxed.gpu.global.u64 [x], wide;";
    let word = "ld.relaxed.gpu.global.u64 wide, [x]; mov.b64 {r0, r1}, wide;";
    assert_eq!(only(&explore(&[wide, word]), &[2, 3]), set(&[[0, 0], [1, 1]]));
    let vector = "ld.relaxed.gpu.global.v2.u32 {r0, r1}, [x];";
    assert_eq!(only(&explore(&[wide, vector]), &[2, 3]), set(&FOUR));
}

#[test]
fn a_barrier_makes_shared_memory_known() {
    let body = |meet: &str| {
        format!(
            "setp.eq.u32 done, thread, 32; @here st.shared.u32 [smem], 1; {meet}
             @done ld.shared.u32 r0, [smem]; @done st.global.u32 [y], r0; "
        )
    };
    let clear = "@here st.shared.u32 [smem], 0; bar.sync 0; ";
    let run = |meet: &str| only(&explore_of(&[&format!("{clear}{}", body(meet))], 64, 3), &[3]);
    assert_eq!(run("bar.sync 0;"), set(&[[1]]));
    assert_eq!(run(""), set(&[[0], [1]]));
}

#[test]
fn constant_loads_need_not_see_what_the_kernel_wrote() {
    let write = "st.global.u32 [x], 1; fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [y], 1;";
    let read = |nc: &str| format!("ld.acquire.gpu.global.u32 r0, [y]; ld.global.{nc}u32 r1, [x];");
    assert!(!only(&explore(&[write, &read("")]), &[2, 3]).contains(&vec![1, 0]));
    assert!(only(&explore(&[write, &read("nc.")]), &[2, 3]).contains(&vec![1, 0]));
}
