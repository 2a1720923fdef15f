//! Clusters: the barrier, memory of other CTAs, and what reports to their mbarriers.

use crate::rig::{caught, clean, pair, CLUSTER};

const NO_PATH: &str = "no release/acquire path";
const OPEN: &str = "is not complete";

/// Thread 0 of each CTA has `far`, its place `[smem]` in the other CTA, and `object`, `[smem + 4096]` there.
const OTHER: &str = "
    mov.u32 at, smem;
    xor.b32 count, cta, 1;
    mapa.shared::cluster.u32 far, at, count;
    add.u32 object, far, 4096;";

/// The CTAs meet.
const MEET: &str = "barrier.cluster.arrive.release; barrier.cluster.wait.acquire;";

#[test]
fn the_barrier_of_a_cluster_orders_its_ctas() {
    let body = format!("{OTHER} @here st.shared.u32 [smem], cta; {MEET} ld.shared::cluster.u32 value, [far]; {MEET}");
    pair(&body, CLUSTER, MEET, "", NO_PATH);
    clean(&body.replace(".release;", ";").replace(".acquire;", ";"), CLUSTER);
    let relaxed = body.replacen("arrive.release", "arrive.relaxed", 1);
    caught(&relaxed, CLUSTER, NO_PATH);
    let fenced =
        relaxed.replacen("barrier.cluster.arrive.relaxed", "fence.acq_rel.cluster; barrier.cluster.arrive.relaxed", 1);
    pair(&fenced, CLUSTER, "fence.acq_rel.cluster", "fence.acq_rel.cta", NO_PATH);
    pair(&fenced, CLUSTER, "fence.acq_rel.cluster", "fence.acquire.cluster", NO_PATH);
    // Between arrival and wait nothing is ordered, neither what comes late nor what comes early.
    let late = format!("{OTHER} barrier.cluster.arrive; @here st.shared.u32 [smem], cta; barrier.cluster.wait; ld.shared::cluster.u32 value, [far]; {MEET}");
    caught(&late, CLUSTER, NO_PATH);
    let early = format!("{OTHER} @here st.shared.u32 [smem], cta; barrier.cluster.arrive; ld.shared::cluster.u32 value, [far]; barrier.cluster.wait; {MEET}");
    caught(&early, CLUSTER, NO_PATH);
    // The barrier of the CTA is not enough.
    caught(&body.replacen(MEET, "bar.sync 0;", 1), CLUSTER, NO_PATH);
}

#[test]
fn a_report_names_the_cta_whose_memory_it_is() {
    let body = format!("{OTHER} @here st.shared.u32 [smem], cta; ld.shared::cluster.u32 value, [far]; {MEET}");
    caught(&body, CLUSTER, "shared memory +0x400 of cta [");
}

#[test]
fn strong_accesses_between_ctas_need_cluster_scope() {
    let body = format!(
        "{OTHER} @here st.shared.u32 [smem], 0; @here st.shared.u32 [smem + 4], 0; {MEET} @!here bra over;
         setp.eq.u32 there, cta, 1; @there bra look;
         st.shared::cluster.u32 [far + 4], 7; st.release.cluster.shared::cluster.u32 [far], 1; bra over;
         look: ld.acquire.cluster.shared.u32 seen, [smem]; setp.eq.u32 done, seen, 1; @!done bra look;
         ld.shared.u32 value, [smem + 4]; over: {MEET}"
    );
    pair(&body, CLUSTER, "st.release.cluster", "st.relaxed.cluster", NO_PATH);
    pair(&body, CLUSTER, "ld.acquire.cluster", "ld.relaxed.cluster", NO_PATH);
    pair(
        &body,
        CLUSTER,
        "st.release.cluster",
        "st.release.cta",
        "scopes cta and cluster do not include each other|scopes cluster and cta",
    );
    pair(&body, CLUSTER, "ld.acquire.cluster", "ld.acquire.cta", "do not include each other");
    clean(&body.replace("st.release.cluster", "st.release.gpu"), CLUSTER);
}

#[test]
fn atomics_between_ctas_are_compared_by_scope() {
    let body = format!(
        "{OTHER} @here st.shared.u32 [smem], 0; {MEET}
         mapa.shared::cluster.u32 far, at, 0; @here red.relaxed.cluster.shared::cluster.add.u32 [far], 1; {MEET}"
    );
    pair(&body, CLUSTER, "red.relaxed.cluster", "red.relaxed.cta", "do not include each other");
}

/// Thread 0 of CTA 0 stores in CTA 1 and arrives at an mbarrier there; CTA 1 waits.
fn arrival(order: &str) -> String {
    format!(
        "{OTHER} @!here bra made; mbarrier.init.shared::cta.b64 [smem + 4096], 1;
         fence.mbarrier_init.release.cluster; made: barrier.cluster.arrive.relaxed; barrier.cluster.wait;
         @!here bra over; setp.eq.u32 there, cta, 1; @there bra look;
         st.shared::cluster.u32 [far], 7; mbarrier.arrive.{order}.shared::cluster.b64 _, [object]; bra over;
         look: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [smem + 4096], 0; @!done bra look;
         ld.shared.u32 value, [smem]; over: {MEET}"
    )
}

#[test]
fn arrivals_at_other_ctas_synchronize_at_cluster_scope() {
    let body = arrival("release.cluster");
    pair(&body, CLUSTER, "arrive.release.cluster", "arrive.relaxed.cluster", NO_PATH);
    pair(&body, CLUSTER, "arrive.release.cluster", "arrive.release.cta", NO_PATH);
    pair(&body, CLUSTER, "acquire.cluster.shared::cta", "acquire.cta.shared::cta", NO_PATH);
    pair(&body, CLUSTER, "acquire.cluster.shared::cta", "relaxed.cluster.shared::cta", NO_PATH);
    // Fences stand in, when their scope is wide enough.
    let fenced = arrival("relaxed.cluster").replace("mbarrier.arrive", "fence.acq_rel.cluster; mbarrier.arrive");
    pair(&fenced, CLUSTER, "fence.acq_rel.cluster; mbarrier.arrive", "fence.acq_rel.cta; mbarrier.arrive", NO_PATH);
    let behind = body
        .replace("acquire.cluster.shared::cta", "relaxed.cluster.shared::cta")
        .replace("@!done bra look;", "@!done bra look; fence.acq_rel.cluster;");
    pair(&behind, CLUSTER, "look; fence.acq_rel.cluster", "look; fence.acq_rel.cta", NO_PATH);
}

#[test]
fn an_mbarrier_is_used_by_others_behind_its_init() {
    let body = arrival("release.cluster");
    pair(&body, CLUSTER, "fence.mbarrier_init.release.cluster;", "", NO_PATH);
    // A full barrier needs no fence.
    let full = body.replace("fence.mbarrier_init.release.cluster;", "").replace("arrive.relaxed", "arrive.release");
    clean(&full, CLUSTER);
}

/// Thread 0 of CTA 0 sends something to CTA 1 with 16 bytes for the mbarrier there; CTA 1 waits and looks.
fn sent(send: &str) -> String {
    format!(
        "{OTHER} @here st.shared.v4.u32 [smem], {{cta, cta, cta, cta}}; fence.proxy.async;
         @!here bra made; mbarrier.init.shared::cta.b64 [smem + 4096], 1; fence.mbarrier_init.release.cluster; made:
         {MEET} fence.proxy.async;
         @!here bra over; setp.eq.u32 there, cta, 1; @there bra expect;
         {send} bra over;
         expect: mbarrier.arrive.expect_tx.shared::cta.b64 state, [smem + 4096], 16;
         look: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], 0; @!done bra look;
         ld.shared.u32 value, [smem + 128];
         last: mbarrier.try_wait.parity.shared::cta.b64 done, [smem + 4096], 0; @!done bra last;
         over: {MEET}"
    )
}

#[test]
fn what_is_sent_to_another_cta_is_complete_for_who_waits_there() {
    let store =
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [far + 128], {cta, cta, cta, cta}, [object];";
    let reduce =
        "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [far + 128], 1, [object];";
    let copy = "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [far], [smem], 16, [object];";
    let copy = &format!("add.u32 far, far, 128; {copy}");
    let (done, waits) = ("@!done bra look;", "try_wait.parity.acquire.cta");
    for (send, bytes) in [(store, 16), (reduce, 4), (copy, 16)] {
        let body = sent(send).replace("4096], 16;", &format!("4096], {bytes};"));
        let relaxed = "the wait for the copy is relaxed";
        pair(&body, CLUSTER, waits, "try_wait.parity.relaxed.cta", relaxed);
        pair(&body, CLUSTER, done, "", &format!("{OPEN}|{NO_PATH}"));
    }
    // The issuer does not know when it is done, nor may it change the source.
    let again = format!("{copy} st.shared.u32 [smem], 1;");
    caught(&sent(&again), CLUSTER, OPEN);
    caught(&sent(&format!("{store} st.shared::cluster.u32 [far + 128], 1;")), CLUSTER, OPEN);
    // A store orders nothing but itself.
    let data = format!("st.shared::cluster.u32 [far + 256], 1; {store}");
    let body = sent(&data).replace("value, [smem + 128];", "value, [smem + 128]; ld.shared.u32 value, [smem + 256];");
    caught(&body, CLUSTER, NO_PATH);
}

#[test]
fn a_copy_within_a_cluster_needs_proxy_fences_at_both_ends() {
    let copy = "add.u32 far, far, 128; cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [far], [smem], 16, [object];";
    let body = sent(copy);
    caught(&body.replace("fence.proxy.async;", ""), CLUSTER, "no fence.proxy.async (.shared::cta)");
    clean(&body.replacen("fence.proxy.async;", "", 1), CLUSTER);
    // The target was used by the other CTA's threads.
    let used = body.replacen("fence.proxy.async;", "@here ld.shared.u32 value, [smem + 128]; fence.proxy.async;", 1);
    clean(&used, CLUSTER);
    caught(&used.replace("fence.proxy.async;", ""), CLUSTER, "no fence.proxy.async (.shared::cta)");
}

#[test]
fn a_multicast_is_complete_in_each_cta_for_who_waits_there() {
    let body = format!(
        "{OTHER} .reg .b16 mask; mov.b16 mask, 3;
         @!here bra made; mbarrier.init.shared::cta.b64 [smem + 4096], 1; fence.mbarrier_init.release.cluster; made: {MEET}
         @!here bra over;
         mbarrier.arrive.expect_tx.shared::cta.b64 state, [smem + 4096], 32;
         setp.ne.u32 there, cta, 0; @there bra look;
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [smem], [data], 32, [smem + 4096], mask;
         look: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [smem + 4096], 0; @!done bra look;
         ld.shared.u32 value, [smem];
         last: mbarrier.try_wait.parity.shared::cta.b64 done, [smem + 4096], 0; @!done bra last;
         over: {MEET}"
    );
    pair(&body, CLUSTER, "@!done bra look;", "", &format!("{OPEN}|{NO_PATH}"));
    pair(&body, CLUSTER, "try_wait.parity.acquire", "try_wait.parity.relaxed", "the wait for the copy is relaxed");
}
