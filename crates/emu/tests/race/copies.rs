//! Bulk copies: completion, groups, mbarriers, and the fences of the async proxy.

use crate::rig::{caught, clean, pair, Shape};

const WARP: Shape = Shape::of(1, 32);
const TWO_CTAS: Shape = Shape::of(2, 32);

const NO_PATH: &str = "no release/acquire path";
const NO_FENCE: &str = "no fence.proxy.async";
const OPEN: &str = "is not complete";

/// An mbarrier at 4096 of one arrival, made by thread 0 and announced.
const MAKE: &str = "
    @!here bra made;
    mbarrier.init.shared::cta.b64 [smem + 4096], 1;
    fence.mbarrier_init.release.cluster;
made:
    bar.sync 0;";

/// Thread 0 loads 128 bytes of data into shared memory; all wait for it.
const LOAD: &str = "
    @!here bra issued;
    mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [smem + 4096], 128;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [smem], [data], 128, [smem + 4096];
issued:
    mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], 0;
    @!done bra issued;";

/// The wait of [`LOAD`].
const WAIT: &str = "
    mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], 0;
    @!done bra issued;";

/// The same at the end, since no CTA may leave its copies behind.
const LAST: &str = "
last:
    mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], 0;
    @!done bra last;";

const STORE: &str = "cp.async.bulk.global.shared::cta.bulk_group [data], [smem], 128; cp.async.bulk.commit_group;";

#[test]
fn a_load_is_complete_for_who_waits_for_its_mbarrier() {
    let body =
        format!("{MAKE}{LOAD} mov.u32 count, smem; mad.lo.u32 at, lane, 4, count; ld.shared.u32 value, [at]; {LAST}");
    pair(&body, WARP, WAIT, "", "nobody has waited for it");
    // The lane that issues acquires; another one needs a barrier behind that.
    let alone = format!(
        "{MAKE} @!here bra met; {} met: bar.warp.sync 0xffffffff; ld.shared.u32 value, [smem];",
        LOAD.replace("@!here bra issued;", "")
    );
    pair(&alone, WARP, "bar.warp.sync 0xffffffff; ld", "ld", OPEN);
}

#[test]
fn an_mbarrier_must_be_announced_to_the_async_proxy() {
    let body = format!("{MAKE}{LOAD}");
    pair(&body, WARP, "fence.mbarrier_init.release.cluster;", "", "fence.mbarrier_init");
    clean(&body.replace("fence.mbarrier_init.release.cluster", "fence.proxy.async"), WARP);
    pair(&body, WARP, "made:\n    bar.sync 0;", "made:", NO_PATH);
    // Behind the meeting it announces nothing to a lane that only met.
    let other = "
    setp.eq.u32 there, lane, 1;
    @!there bra issued;
    mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [smem + 4096], 128;";
    let by_lane_1 = LOAD.replace(
        "
    @!here bra issued;
    mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [smem + 4096], 128;",
        other,
    );
    let late = "fence.mbarrier_init.release.cluster;\nmade:\n    bar.sync 0;";
    let body = format!("{MAKE}{by_lane_1}");
    pair(&body, WARP, late, "made:\n    bar.sync 0;\n    fence.mbarrier_init.release.cluster;", NO_PATH);
}

#[test]
fn lanes_hand_a_stage_to_a_load_through_a_proxy_fence() {
    // Reads count too.
    for touch in ["ld.shared.u32 value, [at];", "st.shared.u32 [at], thread;"] {
        let body = format!(
            "{MAKE} mov.u32 count, smem; mad.lo.u32 at, lane, 4, count; {touch}
             fence.proxy.async.shared::cta; bar.warp.sync 0xffffffff; {LOAD}"
        );
        pair(&body, WARP, "fence.proxy.async.shared::cta;", "", NO_FENCE);
        pair(&body, WARP, "fence.proxy.async.shared::cta;", "fence.proxy.async.global;", NO_FENCE);
        pair(&body, WARP, "bar.warp.sync 0xffffffff;", "", NO_PATH);
        clean(&body.replace("async.shared::cta", "async"), WARP);
        // Only the lane that issues fences: its own accesses and what it knows, not what others do later.
        caught(
            &body.replace(
                "fence.proxy.async.shared::cta; bar.warp.sync 0xffffffff;",
                "bar.warp.sync 0xffffffff; fence.proxy.async.shared::cta; st.shared.u32 [at], thread;",
            ),
            WARP,
            "",
        );
    }
}

#[test]
fn lanes_hand_a_stage_to_a_store_through_a_proxy_fence() {
    let body = format!(
        "mov.u32 count, smem; mad.lo.u32 at, lane, 4, count; st.shared.u32 [at], lane;
         fence.proxy.async.shared::cta; bar.warp.sync 0xffffffff;
         @!here bra over; {STORE} cp.async.bulk.wait_group 0; over:"
    );
    pair(&body, WARP, "fence.proxy.async.shared::cta;", "", NO_FENCE);
    pair(&body, WARP, "bar.warp.sync 0xffffffff;", "", NO_PATH);
}

#[test]
fn a_stage_is_free_when_the_store_has_read_it() {
    let body = format!(
        "@!here bra over; {STORE} cp.async.bulk.wait_group.read 0; st.shared.u32 [smem], 1; cp.async.bulk.wait_group 0; over: bar.sync 0;"
    );
    pair(&body, WARP, "cp.async.bulk.wait_group.read 0;", "", OPEN);
    // A load into it needs no proxy fence, only completion.
    let load = format!("{MAKE} @here {} {LOAD} cp.async.bulk.wait_group 0;", STORE.replace(" cp", " @here cp"));
    let load = load
        .replace("[smem], [data]", "[smem], [other]")
        .replace("commit_group;", "commit_group; @here cp.async.bulk.wait_group.read 0;");
    pair(&load, WARP, "@here cp.async.bulk.wait_group.read 0;", "", OPEN);
}

#[test]
fn a_store_is_complete_when_its_group_was_waited_for_and_not_only_read() {
    let body = format!("@!here bra over; {STORE} cp.async.bulk.wait_group 0; ld.global.u32 value, [data]; cp.async.bulk.wait_group.read 0; over:");
    pair(&body, WARP, "wait_group 0", "wait_group.read 0", "wait_group.read waits for its read only");
    pair(&body, WARP, "cp.async.bulk.wait_group 0;", "", OPEN);
    pair(&body, WARP, "wait_group 0", "wait_group 1", OPEN);
    // Another lane's groups are not waited for.
    let others = format!("@here {} cp.async.bulk.wait_group 0; bar.warp.sync 0xffffffff; ld.global.u32 value, [data]; cp.async.bulk.wait_group.read 0;", STORE.replace(" cp", " @here cp"));
    pair(&others, WARP, " cp.async.bulk.wait_group 0;", " @!here cp.async.bulk.wait_group 0;", OPEN);
}

/// CTA 0 stores a stage with a bulk copy and raises a flag; CTA 1 sees it and takes the data with `take`.
fn handed_over(take: &str) -> String {
    format!(
        "{MAKE}
        @!here bra over;
        setp.eq.u32 there, cta, 1;
        @there bra reader;
        {STORE}
        cp.async.bulk.wait_group 0;
        fence.acq_rel.gpu;
        st.relaxed.gpu.global.u32 [flag], 1;
        bra over;
    reader:
        ld.acquire.gpu.global.u32 seen, [flag];
        setp.eq.u32 done, seen, 1;
        @!done bra reader;
        {take}
    over:"
    )
}

#[test]
fn a_store_is_read_by_another_cta_behind_wait_fence_and_flag() {
    let body = handed_over("ld.global.u32 value, [data];");
    pair(&body, TWO_CTAS, "wait_group 0", "wait_group.read 0", "wait_group.read waits for its read only");
    pair(&body, TWO_CTAS, "fence.acq_rel.gpu;", "", NO_PATH);
    pair(&body, TWO_CTAS, "fence.acq_rel.gpu;", "fence.proxy.async;", NO_PATH);
}

#[test]
fn a_bulk_load_of_what_another_cta_stored_needs_a_proxy_fence() {
    let load = LOAD.replace("@!here bra issued;", "fence.proxy.async.global;");
    let body = handed_over(&load);
    pair(&body, TWO_CTAS, "fence.proxy.async.global;", "", "no fence.proxy.async (.global)");
    pair(&body, TWO_CTAS, "fence.proxy.async.global;", "fence.proxy.async.shared::cta;", NO_FENCE);
    // So does one of what another CTA wrote through the generic proxy.
    let generic = body.replace(STORE, "st.global.u32 [data], 1;").replace("cp.async.bulk.wait_group 0;", "");
    pair(&generic, TWO_CTAS, "fence.proxy.async.global;", "", NO_FENCE);
}

#[test]
fn a_ring_slot_is_given_back_behind_the_loads_that_read_it() {
    // CTA 0 loads, then raises the flag; CTA 1 overwrites the source.
    let body = format!(
        "{MAKE}
        @!here bra over;
        setp.eq.u32 there, cta, 1;
        @there bra writer;
        {}
        fence.acq_rel.gpu;
        st.relaxed.gpu.global.u32 [flag], 1;
        {LAST}
        bra over;
    writer:
        ld.acquire.gpu.global.u32 seen, [flag];
        setp.eq.u32 done, seen, 1;
        @!done bra writer;
        fence.proxy.async.global;
        {STORE}
        cp.async.bulk.wait_group 0;
    over:",
        LOAD.replace("@!here bra issued;", "")
    );
    pair(&body, TWO_CTAS, WAIT, "", "is not complete|from the wait for the bulk copy");
    pair(&body, TWO_CTAS, "fence.proxy.async.global;", "", NO_FENCE);
    pair(&body, TWO_CTAS, "fence.acq_rel.gpu;", "", NO_PATH);
}

#[test]
fn arrivals_at_an_mbarrier_release_and_waits_acquire() {
    let body = "
        @!here bra made;
        mbarrier.init.shared::cta.b64 [smem + 4096], 32;
    made:
        bar.sync 0;
        setp.lt.u32 here, thread, 32;
        @!here bra look;
        mov.u32 count, smem;
        mad.lo.u32 at, lane, 4, count;
        st.shared.u32 [at], lane;
        mbarrier.arrive.release.cta.shared::cta.b64 state, [smem + 4096];
        bra over;
    look:
        mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], 0;
        @!done bra look;
        ld.shared.u32 value, [smem + 40];
    over:";
    let shape = Shape::of(1, 64);
    pair(body, shape, "arrive.release", "arrive.relaxed", NO_PATH);
    pair(body, shape, "parity.acquire", "parity.relaxed", NO_PATH);
    pair(body, shape, "@!done bra look;", "", NO_PATH);
}

/// Nobody else can wait for a thread's bulk groups, and the memory that they read goes with the CTA.
#[test]
fn a_thread_waits_for_its_stores_before_it_ends() {
    let body = format!("@!here bra over; st.shared.u32 [smem], lane; fence.proxy.async; {STORE} WAIT over:");
    for wait in ["cp.async.bulk.wait_group 0;", "cp.async.bulk.wait_group.read 0;"] {
        clean(&body.replace("WAIT", wait), WARP);
    }
    for wait in ["", "cp.async.bulk.wait_group 1;", "cp.async.bulk.wait_group.read 1;"] {
        caught(&body.replace("WAIT", wait), WARP, "a thread ends without having waited");
    }
}

/// A load that nobody saw end may still write shared memory that goes with the CTA, whether it has landed in this run or not.
#[test]
fn a_cta_sees_its_loads_end() {
    clean(&format!("{MAKE}{LOAD}"), WARP);
    let unseen = LOAD.replace(WAIT, "");
    caught(&format!("{MAKE}{unseen}"), WARP, "the CTA ended");
    // A wait for another phase sees nothing of it: a fresh mbarrier passes for parity 1.
    let arrive = "mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [smem + 4096], 128;";
    let before = WAIT.replace("4096], 0;", "4096], 1;").replace("issued", "waits");
    let early = unseen.replace(arrive, "");
    assert!(early != unseen && before.contains("], 1;"));
    let sleeps = "nanosleep.u32 1000000; nanosleep.u32 1000000;";
    caught(&format!("{MAKE}{early} {sleeps} waits: {before}"), WARP, "no thread has seen");
    // Landed for certain: the thread sleeps until then.
    caught(&format!("{MAKE}{unseen} nanosleep.u32 1000000; nanosleep.u32 1000000;"), WARP, "no thread has seen");
}
