//! `cp.async`, reductions by bulk copies, matrices: accesses that are not the lane's own loads and stores.

use crate::rig::{caught, clean, pair, Shape};

const WARP: Shape = Shape::of(1, 32);
const TWO_WARPS: Shape = Shape::of(1, 64);
const TWO_CTAS: Shape = Shape::of(2, 32);

const NO_PATH: &str = "no release/acquire path";
const OPEN: &str = "is not complete";

/// Every lane copies 16 bytes to `[at]`.
const COPY: &str = "
    mov.u32 count, smem; mad.lo.u32 at, thread, 16, count;
    mul.wide.u32 wide, thread, 16; add.u64 data, data, wide;
    cp.async.cg.shared.global [at], [data], 16;";

#[test]
fn a_small_copy_is_complete_for_the_lane_that_waits() {
    let group = format!("{COPY} cp.async.commit_group; cp.async.wait_group 0; ld.shared.u32 value, [at];");
    pair(&group, WARP, "wait_group 0;", "wait_group 1;", OPEN);
    pair(&group, WARP, "cp.async.wait_group 0;", "", OPEN);
    // Not committed, not waited for.
    pair(&group, WARP, "cp.async.commit_group;", "", OPEN);
    clean(&group.replace("cp.async.commit_group; cp.async.wait_group 0;", "cp.async.wait_all;"), WARP);
    // Other lanes need a barrier behind the wait, and a barrier alone is no wait.
    let others = format!("{COPY} cp.async.wait_all; bar.warp.sync 0xffffffff; ld.shared.u32 value, [smem + 32];");
    pair(&others, WARP, "bar.warp.sync 0xffffffff;", "", "from the wait for the bulk copy");
    pair(&others, WARP, "cp.async.wait_all;", "", OPEN);
    // Overwriting counts too, and so does the source.
    let write = group.replace("ld.shared.u32 value, [at]", "st.shared.u32 [at], value");
    pair(&write, WARP, "cp.async.wait_group 0;", "", OPEN);
    let source = group.replace("ld.shared.u32 value, [at]", "st.global.u32 [data], value");
    pair(&source, WARP, "cp.async.wait_group 0;", "", OPEN);
    // Two copies have no order, but by a wait.
    let again = format!("{COPY} cp.async.wait_all; cp.async.cg.shared.global [at], [data], 16; cp.async.wait_all;");
    pair(&again, WARP, "16; cp.async.wait_all; cp", "16; cp", OPEN);
}

#[test]
fn a_small_copy_needs_no_proxy_fence() {
    clean(
        &format!("{} cp.async.wait_all;", COPY.replace("cp.async.cg", "st.shared.u32 [at], lane; cp.async.cg")),
        WARP,
    );
    let before = COPY.replace("cp.async.cg", "st.shared.u32 [smem + 512], lane; cp.async.cg");
    caught(&format!("{before} cp.async.wait_all;"), WARP, NO_PATH);
}

#[test]
fn small_copies_arrive_at_an_mbarrier() {
    for (arrive, count) in [
        ("cp.async.mbarrier.arrive.noinc.shared.b64 [smem + 4096];", 32),
        ("cp.async.mbarrier.arrive.shared.b64 [smem + 4096]; mbarrier.arrive.shared.b64 state, [smem + 4096];", 32),
    ] {
        let body = format!(
            "@here mbarrier.init.shared::cta.b64 [smem + 4096], {count}; bar.sync 0;
             setp.eq.u32 there, warp, 1; @there bra look;
             {COPY} {arrive} bra over;
             look: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], 0; @!done bra look;
             ld.shared.u32 value, [smem + 32]; over:"
        );
        pair(&body, TWO_WARPS, "@!done bra look;", "", &format!("{OPEN}|{NO_PATH}"));
        pair(&body, TWO_WARPS, "parity.acquire", "parity.relaxed", "the wait for the copy is relaxed");
        // A copy behind the arrival is not in it.
        caught(
            &body.replace(arrive, &format!("{arrive} cp.async.cg.shared.global [at], [data + 16], 16;")),
            TWO_WARPS,
            OPEN,
        );
    }
    // The arrival of copies brings nothing else of the thread.
    let body = format!(
        "@here mbarrier.init.shared::cta.b64 [smem + 4096], 32; bar.sync 0;
         setp.eq.u32 there, warp, 1; @there bra look;
         {COPY} st.shared.u32 [at + 2048], lane; mbarrier.arrive.shared.b64 state, [smem + 4096]; cp.async.wait_all; bra over;
         look: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], 0; @!done bra look;
         ld.shared.u32 value, [smem + 2080]; over:"
    );
    let arrive = "mbarrier.arrive.shared.b64 state, [smem + 4096];";
    pair(&body, TWO_WARPS, arrive, "cp.async.mbarrier.arrive.noinc.shared.b64 [smem + 4096];", NO_PATH);
}

#[test]
fn reductions_by_bulk_copies_meet_but_stores_beside_them_race() {
    let wait = "cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;";
    let reduce = "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [data], [smem], 128;";
    let body = format!("@!here bra over; {reduce} {wait} over:");
    clean(&body, TWO_CTAS);
    caught(
        &body.replace(
            "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32",
            "cp.async.bulk.global.shared::cta.bulk_group",
        ),
        TWO_CTAS,
        OPEN,
    );
    // Of different sizes they are no such pair.
    let other = body.replace("@!here bra over;", "@!here bra over; setp.eq.u32 there, cta, 1; @there bra second;");
    let other = other.replace("over:", &format!("bra over; second: {} {wait} over:", reduce.replace("u32", "u64")));
    caught(&other, TWO_CTAS, "overlap in part");
    // An atomic of a thread is of another proxy.
    let atomic = other.replace(&reduce.replace("u32", "u64"), "red.relaxed.gpu.global.add.u32 [data], 1;");
    caught(&atomic, TWO_CTAS, "proxy|is not complete|no release/acquire path");
}

#[test]
fn matrices_are_accesses_of_the_lanes_that_hold_them() {
    let body = "
        mov.u32 count, smem; mad.lo.u32 at, lane, 16, count;
        stmatrix.sync.aligned.m8n8.x1.shared.b16 [at], {a};
        bar.warp.sync 0xffffffff;
        ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {b}, [at];";
    pair(body, WARP, "bar.warp.sync 0xffffffff;", "", NO_PATH);
    // Untransposed, every lane reads what it wrote.
    clean(&body.replace("bar.warp.sync 0xffffffff;", "").replace(".trans", ""), WARP);
}
