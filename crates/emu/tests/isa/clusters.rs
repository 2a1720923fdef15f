//! Clusters: ranks, the barrier, shared memory of the other CTAs, copies between them.

use crate::programs::run_grid;

/// Thread 0 of each CTA of a grid of 2 clusters, each `size` CTAs, runs `body`; `y` goes to word `%ctaid.x`.
fn run(size: u32, threads: u32, body: &str) -> Vec<u64> {
    let text = format!(
        "
        .visible .entry k(.param .u64 buffer) .reqnctapercluster {size}, 1, 1 {{
            .shared .align 128 .b8 room[1024]; .shared .align 8 .b64 bar;
            .reg .u64 p, q, x, y, z; .reg .u32 tid, rank, ctas, far, s, v, w, b, cta; .reg .pred done, first;
            ld.param.u64 p, [buffer]; mov.u32 tid, %tid.x; mov.u32 rank, %cluster_ctarank; mov.u32 ctas, %cluster_nctarank;
            mov.u32 cta, %ctaid.x; mov.u32 s, room; mov.u32 b, bar; setp.eq.u32 first, tid, 0; mov.u64 y, 0;
            {body}
            barrier.cluster.arrive; barrier.cluster.wait;
            mad.wide.u32 q, cta, 8, p; @first st.global.u64 [q], y; ret;
        }}"
    );
    run_grid(&text, [2 * size, 1, 1], threads, &vec![u64::MAX; 2 * size as usize])
}

#[test]
fn special_registers_name_the_place() {
    let body = "
        mov.u32 v, %clusterid.x; mad.lo.u32 w, v, 1000, rank; mov.u32 v, %nclusterid.x; mad.lo.u32 w, v, 100000, w;
        mov.u32 v, %cluster_ctaid.x; mad.lo.u32 w, v, 1000000, w; mad.lo.u32 w, ctas, 10000000, w; cvt.u64.u32 y, w;";
    let want = (0..6u64).map(|cta| cta / 3 * 1000 + cta % 3 + 200_000 + cta % 3 * 1_000_000 + 30_000_000);
    assert_eq!(run(3, 32, body), want.collect::<Vec<_>>());
}

#[test]
fn a_neighbour_is_read_after_the_barrier() {
    let body = "
        mad.lo.u32 v, cta, 100, 7; @first st.shared.u32 [s+4], v;
        barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;
        add.u32 w, rank, 1; rem.u32 w, w, ctas;
        mapa.shared::cluster.u32 far, s, w; ld.shared::cluster.u32 v, [far+4]; cvt.u64.u32 y, v;
        cvt.u64.u32 x, s; cvta.shared.u64 x, x; mapa.u64 z, x, w; ld.u32 w, [z+4]; setp.ne.u32 done, v, w; @done trap;
        getctarank.u64 v, z; shl.b32 v, v, 20; cvt.u64.u32 x, v; add.u64 y, y, x;
        mapa.shared::cluster.u32 far, s, rank; ld.shared::cluster.u32 w, [far+4]; ld.shared.u32 v, [s+4];
        setp.ne.u32 done, v, w; @done trap;";
    let want = (0..8u64).map(|cta| {
        let next = cta / 4 * 4 + (cta % 4 + 1) % 4;
        next * 100 + 7 + ((next % 4) << 20)
    });
    assert_eq!(run(4, 64, body), want.collect::<Vec<_>>());
}

#[test]
fn atomics_meet_in_the_first_cta() {
    let body = "
        @first st.shared.u32 [s], 0; @first st.shared.u64 [s+8], 0;
        barrier.cluster.arrive; barrier.cluster.wait;
        mapa.shared::cluster.u32 far, s, 0;
        add.u32 v, rank, 1; red.shared::cluster.add.u32 [far], v;
        cvt.u64.u32 x, v; atom.relaxed.cluster.shared::cluster.max.u64 z, [far+8], x;
        barrier.cluster.arrive; barrier.cluster.wait;
        ld.shared::cluster.u32 w, [far]; ld.shared::cluster.u64 y, [far+8]; mad.wide.u32 y, w, 100, y;";
    assert_eq!(run(4, 32, body), [32 * 10 * 100 + 4; 8]);
}

#[test]
fn an_mbarrier_of_another_cta_is_told() {
    // Everyone stores into the next CTA and arrives there, with the bytes of a word.
    let body = "
        @first mbarrier.init.shared.b64 [b], 1;
        barrier.cluster.arrive; barrier.cluster.wait;
        @!first bra skip;
        add.u32 w, rank, 1; rem.u32 w, w, ctas;
        mapa.shared::cluster.u32 far, s, w; mad.lo.u32 v, cta, 3, 5; st.shared::cluster.u32 [far+16], v;
        mapa.shared::cluster.u32 far, b, w; mbarrier.arrive.release.cluster.shared::cluster.b64 _, [far];
    again:
        mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [b], 0; @!done bra again;
        ld.shared.u32 v, [s+16]; cvt.u64.u32 y, v;
    skip:";
    let want = (0..4u64).map(|cta| (cta / 2 * 2 + (cta + 1) % 2) * 3 + 5);
    assert_eq!(run(2, 32, body), want.collect::<Vec<_>>());
}

#[test]
fn bulk_copies_reach_other_ctas() {
    let body = "
        @first mbarrier.init.shared.b64 [b], 1;
        mad.lo.u32 v, cta, 1000, tid; mad.lo.u32 w, tid, 4, s; st.shared.u32 [w], v;
        fence.proxy.async;
        barrier.cluster.arrive; barrier.cluster.wait;
        @!first bra skip;
        mbarrier.arrive.expect_tx.shared.b64 x, [b], 64;
        add.u32 w, rank, 1; rem.u32 w, w, ctas; add.u32 v, s, 256;
        mapa.shared::cluster.u32 far, v, w; mapa.shared::cluster.u32 v, b, w;
        cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [far], [s], 64, [v];
    again:
        mbarrier.try_wait.parity.shared.b64 done, [b], 0; @!done bra again;
        ld.shared.u32 v, [s+256+60]; cvt.u64.u32 y, v;
    skip:";
    let want = (0..6u64).map(|cta| (cta / 3 * 3 + (cta + 2) % 3) * 1000 + 15);
    assert_eq!(run(3, 32, body), want.collect::<Vec<_>>());
}

#[test]
fn a_multicast_reaches_all_that_it_names() {
    // The first CTA of a cluster sends the buffer's first words to CTAs 0 and 2.
    let body = "
        @first mbarrier.init.shared.b64 [b], 1; st.shared.u64 [s], 5;
        barrier.cluster.arrive; barrier.cluster.wait;
        @!first bra skip;
        setp.eq.u32 done, rank, 1; mov.u64 y, 77; @done bra skip;
        mbarrier.arrive.expect_tx.shared.b64 x, [b], 32;
        setp.ne.u32 done, rank, 0; @done bra again;
        .reg .b16 mask; mov.b16 mask, 5;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [s], [p], 32, [b], mask;
    again:
        mbarrier.try_wait.parity.shared.b64 done, [b], 0; @!done bra again;
        ld.shared.u64 y, [s];
    skip:";
    assert_eq!(run(3, 32, body), [u64::MAX, 77, u64::MAX, u64::MAX, 77, u64::MAX]);
}

#[test]
fn stores_and_reductions_report_their_bytes() {
    // Every thread of CTA 1 of a cluster adds to a word of CTA 0; one thread stores two words there.
    let body = "
        @first mbarrier.init.shared.b64 [b], 1; @first st.shared.u32 [s], 1000;
        barrier.cluster.arrive; barrier.cluster.wait;
        mapa.shared::cluster.u32 far, s, 0; mapa.shared::cluster.u32 w, b, 0;
        setp.ne.u32 done, rank, 0; @!done bra receive;
        red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [far], tid, [w];
        @first st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b64 [far+16], {4, 70000}, [w];
        bra skip;
    receive:
        @!first bra skip;
        mbarrier.arrive.expect_tx.shared.b64 x, [b], 144;
    again:
        mbarrier.try_wait.parity.shared.b64 done, [b], 0; @!done bra again;
        ld.shared.u32 v, [s]; cvt.u64.u32 y, v; ld.shared.v2.u64 {x, z}, [s+16]; add.u64 y, y, x; add.u64 y, y, z;
    skip:";
    let sum = 1000 + (0..32).sum::<u64>() + 70004;
    assert_eq!(run(2, 32, body), [sum, 0, sum, 0]);
}
