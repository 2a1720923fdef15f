//! Clusters: ranks, the barrier, shared memory of the other CTAs, copies between them.

use crate::programs::run_grid;
use warpferry_emu::{Launch, Machine, MachineConfig, StreamId};

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

/// An entry that fixes no cluster takes that of the launch; one that does takes no other; one that asks for a cluster
/// is not launched without.
#[test]
fn the_launch_may_give_the_cluster() {
    let text = |says: &str| {
        format!(
            ".version 8.6\n.target sm_90\n.address_size 64\n
            .visible .entry k(.param .u64 buffer) {says} {{
                .reg .u64 p; .reg .u32 cta, rank, ctas; .reg .pred given;
                ld.param.u64 p, [buffer]; mov.u32 cta, %ctaid.x; mad.wide.u32 p, cta, 4, p;
                mov.u32 rank, %cluster_ctarank; mov.u32 ctas, %cluster_nctarank; mad.lo.u32 rank, ctas, 10, rank;
                mov.pred given, %is_explicit_cluster; @given add.u32 rank, rank, 100;
                barrier.cluster.arrive; barrier.cluster.wait;
                st.global.u32 [p], rank; ret;
            }}"
        )
    };
    let launched = |says: &str, cluster: Option<[u32; 3]>| -> Result<Vec<u32>, String> {
        let mut machine = Machine::new(MachineConfig::new(1, 1)).expect("a valid machine");
        let module = machine.load_module("test.ptx", &text(says)).expect("a module");
        let buffer = machine.alloc(0, 16).expect("memory");
        let launch = Launch {
            gpu: 0,
            stream: StreamId::DEFAULT,
            module,
            entry: "k".into(),
            grid: [4, 1, 1],
            block: [32, 1, 1],
            shared_bytes: 0,
            args: buffer.to_le_bytes().to_vec(),
            access: Vec::new(),
        };
        machine.launch_clusters(launch, cluster).map_err(|error| error.to_string())?;
        machine.run_until_idle().expect("no fault");
        let mut bytes = [0; 16];
        machine.read(buffer, &mut bytes).expect("written");
        Ok(bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes"))).collect())
    };
    assert_eq!(launched("", None), Ok(vec![10; 4]));
    assert_eq!(launched("", Some([2, 1, 1])), Ok(vec![120, 121, 120, 121]));
    assert_eq!(launched(".explicitcluster", Some([4, 1, 1])), Ok(vec![140, 141, 142, 143]));
    assert_eq!(launched(".reqnctapercluster 2", None), Ok(vec![120, 121, 120, 121]));
    assert_eq!(launched(".reqnctapercluster 2", Some([2, 1, 1])), Ok(vec![120, 121, 120, 121]));
    let refused = |says, cluster, why: &str| {
        let error = launched(says, cluster).expect_err("no such launch");
        assert!(error.contains(why), "{error}");
    };
    refused(".reqnctapercluster 2", Some([4, 1, 1]), ".reqnctapercluster says");
    refused(".explicitcluster", None, "given at launch");
    refused("", Some([3, 1, 1]), "divides the grid's");
    refused("", Some([0, 1, 1]), "divides the grid's");
}
