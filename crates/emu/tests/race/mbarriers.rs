//! Mbarriers: orders and scopes of arrivals and waits, and fences that stand in for them.

use crate::rig::{clean, pair, Shape};

const WARP: Shape = Shape::of(1, 32);
const TWO_WARPS: Shape = Shape::of(1, 64);

const NO_PATH: &str = "no release/acquire path";
const RELAXED: &str = "the wait for the copy is relaxed, and no acquiring fence is behind it";

/// Thread 0 loads 128 bytes into shared memory, all wait for it, and look at it behind `and_then`.
fn load(wait: &str, and_then: &str) -> String {
    format!(
        "
        @!here bra made;
        mbarrier.init.shared::cta.b64 [smem + 4096], 1;
        fence.mbarrier_init.release.cluster;
    made:
        bar.sync 0;
        @!here bra issued;
        mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [smem + 4096], 128;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [smem], [data], 128, [smem + 4096];
    issued:
        mbarrier.{wait}.shared::cta.b64 done, [smem + 4096], 0;
        @!done bra issued;
        {and_then}
        ld.shared.u32 value, [smem];"
    )
}

#[test]
fn a_relaxed_wait_does_not_make_a_copy_visible() {
    for (acquire, relaxed) in [
        ("try_wait.parity.acquire.cta", "try_wait.parity.relaxed.cta"),
        ("try_wait.parity.acquire.cluster", "try_wait.parity.relaxed.cluster"),
        ("test_wait.parity.acquire.cta", "test_wait.parity.relaxed.cta"),
        ("try_wait.parity", "try_wait.parity.relaxed.cta"),
    ] {
        pair(&load(acquire, ""), WARP, acquire, relaxed, RELAXED);
    }
}

#[test]
fn a_fence_behind_a_relaxed_wait_makes_a_copy_visible() {
    for fence in ["fence.acq_rel.cta;", "fence.acq_rel.cluster;", "fence.sc.cta;", "membar.cta;", "fence.acquire.cta;"]
    {
        pair(&load("try_wait.parity.relaxed.cta", fence), WARP, fence, "", RELAXED);
    }
    pair(&load("try_wait.parity.relaxed.cta", "fence.acq_rel.cta;"), WARP, "fence.acq_rel", "fence.release", RELAXED);
    // The fence of one lane is no fence of the others.
    let fence = "@here fence.acq_rel.cta;";
    let body = load("try_wait.parity.relaxed.cta", fence);
    pair(
        &body.replace(fence, &format!("{fence} bar.warp.sync 0xffffffff;")),
        WARP,
        "bar.warp.sync 0xffffffff;",
        "",
        "from the wait for the bulk copy",
    );
}

/// Warp 0 stores, every lane a word, and arrives; warp 1 waits and looks.
fn hand_over(arrive: &str, wait: &str) -> String {
    format!(
        "
        @!here bra made;
        mbarrier.init.shared::cta.b64 [smem + 4096], 32;
    made:
        bar.sync 0;
        setp.lt.u32 here, thread, 32;
        @!here bra look;
        mov.u32 count, smem;
        mad.lo.u32 at, lane, 4, count;
        st.shared.u32 [at], lane;
        {arrive} state, [smem + 4096];
        bra over;
    look:
        mbarrier.try_wait.parity.{wait}
        ld.shared.u32 value, [smem + 40];
    over:"
    )
}

#[test]
fn arrivals_and_waits_synchronize_by_their_orders() {
    let wait = "acquire.cta.shared::cta.b64 done, [smem + 4096], 0; @!done bra look;";
    let plain = hand_over("mbarrier.arrive.shared::cta.b64", wait);
    pair(&plain, TWO_WARPS, "arrive.shared", "arrive.relaxed.cta.shared", NO_PATH);
    clean(&plain.replace("acquire.cta.", ""), TWO_WARPS);
    clean(&plain.replace("arrive.shared", "arrive.release.cluster.shared"), TWO_WARPS);
    clean(&plain.replace("acquire.cta", "acquire.cluster"), TWO_WARPS);
    pair(&plain, TWO_WARPS, "acquire.cta", "relaxed.cta", NO_PATH);
    // A phase that is open orders nothing, though the word was read.
    pair(&plain, TWO_WARPS, "@!done bra look;", "", NO_PATH);
    let drop = plain.replace("arrive.shared", "arrive_drop.release.cta.shared");
    pair(&drop, TWO_WARPS, "arrive_drop.release", "arrive_drop.relaxed", NO_PATH);
}

#[test]
fn fences_stand_in_for_the_orders_of_arrivals_and_waits() {
    let wait = "relaxed.cta.shared::cta.b64 done, [smem + 4096], 0; @!done bra look; fence.acq_rel.cta;";
    let body = hand_over("fence.acq_rel.cta; mbarrier.arrive.relaxed.cta.shared::cta.b64", wait);
    pair(&body, TWO_WARPS, "fence.acq_rel.cta; mbarrier", "mbarrier", NO_PATH);
    pair(&body, TWO_WARPS, "bra look; fence.acq_rel.cta;", "bra look;", NO_PATH);
    pair(&body, TWO_WARPS, "fence.acq_rel.cta; mbarrier", "fence.acquire.cta; mbarrier", NO_PATH);
    pair(&body, TWO_WARPS, "bra look; fence.acq_rel.cta;", "bra look; fence.release.cta;", NO_PATH);
    clean(&body.replace("fence.acq_rel.cta; mbarrier", "fence.release.cta; mbarrier"), TWO_WARPS);
    // An order on one side, a fence on the other.
    clean(&body.replace("fence.acq_rel.cta; mbarrier.arrive.relaxed", "mbarrier.arrive.release"), TWO_WARPS);
    clean(&body.replace("relaxed.cta.shared::cta.b64 done", "acquire.cta.shared::cta.b64 done"), TWO_WARPS);
    // What is done behind the fence is not in the pattern.
    let late = body
        .replace("st.shared.u32 [at], lane;", "")
        .replace("mbarrier.arrive", "st.shared.u32 [at], lane; mbarrier.arrive");
    clean(&late.replace("arrive.relaxed", "arrive.release"), TWO_WARPS);
    pair(&late.replace("arrive.relaxed", "arrive.release"), TWO_WARPS, "arrive.release", "arrive.relaxed", NO_PATH);
}

/// A wait knows its phase by the parity only. So thread 0 must not arm the phase behind the next before all have seen this
/// one: here the lanes meet in between.
#[test]
fn waits_are_over_before_the_next_phase_ends() {
    let phase = |parity: u32| {
        format!(
            "
        @!here bra armed{parity};
        mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [smem + 4096], 128;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [smem], [data], 128, [smem + 4096];
    armed{parity}:
        mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], {parity};
        @!done bra armed{parity};"
        )
    };
    let body = format!(
        "
        @!here bra made;
        mbarrier.init.shared::cta.b64 [smem + 4096], 1;
        fence.mbarrier_init.release.cluster;
    made:
        bar.warp.sync 0xffffffff;
        {}
        bar.warp.sync 0xffffffff; // between
        {}",
        phase(0),
        phase(1)
    );
    pair(&body, Shape::of(1, 32), "bar.warp.sync 0xffffffff; // between", "", "the next phase of the mbarrier");
    // With every thread arriving, nobody can be left behind.
    let all = "
        @!here bra made;
        mbarrier.init.shared::cta.b64 [smem + 4096], 64;
    made:
        bar.sync 0;
        mbarrier.arrive.shared::cta.b64 state, [smem + 4096];
    one:
        mbarrier.try_wait.parity.shared::cta.b64 done, [smem + 4096], 0;
        @!done bra one;
        mbarrier.arrive.shared::cta.b64 state, [smem + 4096];
    two:
        mbarrier.try_wait.parity.shared::cta.b64 done, [smem + 4096], 1;
        @!done bra two;";
    clean(all, TWO_WARPS);
}
