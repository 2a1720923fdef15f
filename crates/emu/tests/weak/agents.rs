//! Bulk copies and mbarriers: what they read may be late, and so is what they wrote.

use crate::rig::{explore_of, only, set, Outcomes};

/// Thread 0 makes an mbarrier of one arrival at 512.
const MAKE: &str = "
    @!here bra made;
    mbarrier.init.shared::cta.b64 [smem + 512], 1;
    fence.mbarrier_init.release.cluster;
    st.shared.v4.u32 [smem], {thread, thread, thread, thread};
made:
    bar.sync 0;";

/// Thread 0 loads 16 bytes of `x`; all wait for it.
const LOAD: &str = "
    @!here bra issued;
    mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [smem + 512], 16;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [smem], [x], 16, [smem + 512];
issued:
    mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 512], 0;
    @!done bra issued;";

/// What the last thread sees in shared memory.
const LOOK: &str = "setp.eq.u32 here, thread, 32; ld.shared.u32 r0, [smem]; @here st.global.u32 [y], r0;
    setp.eq.u32 here, thread, 64;";

fn last_thread(body: &str) -> Outcomes {
    only(&explore_of(&[body], 64, 2), &[3])
}

#[test]
fn a_copy_reads_generic_stores_behind_a_proxy_fence() {
    let body = |fence: &str| format!("@here st.global.u32 [x], 1; {MAKE} {fence} {LOAD} {LOOK}");
    assert_eq!(last_thread(&body("@here fence.proxy.async.global;")), set(&[[1]]));
    assert_eq!(last_thread(&body("")), set(&[[0], [1]]));
}

#[test]
fn who_waits_at_an_mbarrier_sees_what_the_copy_wrote() {
    let body = |order: &str| {
        let load = LOAD.replace("acquire.cta", order);
        format!("@here st.global.u32 [x], 1; {MAKE} @here fence.proxy.async.global; {load} {LOOK}")
    };
    assert_eq!(last_thread(&body("acquire.cta")), set(&[[1]]));
}

#[test]
fn who_does_not_wait_may_see_what_was_there() {
    let rest = "@here bra rest; bra look; rest: again:
        mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 512], 0; @!done bra again; look:";
    let load = LOAD.split("issued:").next().unwrap_or_default().to_string() + "issued:";
    let body = format!("@here st.global.u32 [x], 1; {MAKE} @here fence.proxy.async.global; {load} {rest} {LOOK}");
    assert_eq!(last_thread(&body), set(&[[0], [1]]));
}

/// A bulk store of `x`, then a flag in `y`; the second CTA reads both.
fn store_then_flag(wait: &str, behind: &str) -> Outcomes {
    let write = format!(
        "st.shared.v4.u32 [smem], {{1, 1, 1, 1}}; fence.proxy.async.shared::cta;
         cp.async.bulk.global.shared::cta.bulk_group [x], [smem], 16; cp.async.bulk.commit_group; {wait}
         st.release.gpu.global.u32 [y], 1; cp.async.bulk.wait_group 0;"
    );
    let read = format!("ld.acquire.gpu.global.u32 r0, [y]; {behind} ld.global.u32 r1, [x];");
    only(&explore_of(&[&write, &read], 1, 3), &[2, 3])
}

#[test]
fn a_flag_behind_a_bulk_store_that_was_waited_for() {
    let three = set(&[[0, 0], [0, 1], [1, 1]]);
    let four = set(&[[0, 0], [0, 1], [1, 0], [1, 1]]);
    assert_eq!(store_then_flag("cp.async.bulk.wait_group 0;", ""), three);
    assert_eq!(store_then_flag("cp.async.bulk.wait_group.read 0;", ""), four);
    assert_eq!(store_then_flag("", ""), four);
}

#[test]
fn a_bulk_store_reads_shared_memory_behind_a_proxy_fence() {
    let write = |fence: &str| {
        format!(
            "st.shared.v4.u32 [smem], {{0, 0, 0, 0}}; st.shared.v4.u32 [smem], {{1, 1, 1, 1}}; {fence}
             cp.async.bulk.global.shared::cta.bulk_group [x], [smem], 16; cp.async.bulk.commit_group;
             cp.async.bulk.wait_group 0;"
        )
    };
    let left = |fence: &str| only(&explore_of(&[&write(fence)], 1, 3), &[2]);
    assert_eq!(left("fence.proxy.async.shared::cta;"), set(&[[1]]));
    assert!(left("").contains(&vec![0]));
}
