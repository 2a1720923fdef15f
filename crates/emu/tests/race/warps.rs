//! Lanes, warps and CTAs of one GPU through the generic proxy.

use crate::rig::{caught, clean, entry, launch, machine, module, pair, race_of, schedules, zeroed, Shape};

const WARP: Shape = Shape::of(1, 32);
const TWO_WARPS: Shape = Shape::of(1, 64);
const TWO_CTAS: Shape = Shape::of(2, 32);

const NO_PATH: &str = "no release/acquire path";

/// Thread 0 writes data and raises the flag; thread 0 of warp or CTA 1 waits for it and reads.
fn message(who: &str, raise: &str, look: &str, after: &str) -> String {
    format!(
        "
        setp.eq.u32 here, lane, 0;
        @!here bra over;
        setp.eq.u32 there, {who}, 1;
        @there bra reader;
        st.global.u32 [data], 7;
        {raise}
        bra over;
    reader:
        {look}
        setp.eq.u32 done, seen, 1;
        @!done bra reader;
        {after}
        ld.global.u32 value, [data];
    over:"
    )
}

#[test]
fn messages_between_warps_need_release_and_acquire() {
    let body = message("warp", "st.release.cta.global.u32 [flag], 1;", "ld.acquire.cta.global.u32 seen, [flag];", "");
    pair(&body, TWO_WARPS, "st.release.cta", "st.relaxed.cta", NO_PATH);
    pair(&body, TWO_WARPS, "ld.acquire.cta", "ld.relaxed.cta", NO_PATH);
    pair(&body, TWO_WARPS, "st.release.cta", "st", NO_PATH);
}

#[test]
fn messages_between_ctas_need_gpu_scope_at_both_ends() {
    let body = message("cta", "st.release.gpu.global.u32 [flag], 1;", "ld.acquire.gpu.global.u32 seen, [flag];", "");
    pair(&body, TWO_CTAS, "st.release.gpu", "st.release.cta", "do not include each other");
    pair(&body, TWO_CTAS, "ld.acquire.gpu", "ld.acquire.cta", "do not include each other");
    pair(&body, TWO_CTAS, "ld.acquire.gpu", "ld.volatile", NO_PATH);
    pair(&body, TWO_CTAS, "st.release.gpu", "st.volatile", NO_PATH);
}

#[test]
fn fences_make_patterns_of_relaxed_accesses() {
    let body = message(
        "cta",
        "fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [flag], 1;",
        "ld.relaxed.gpu.global.u32 seen, [flag];",
        "fence.acq_rel.gpu; // behind the load",
    );
    pair(&body, TWO_CTAS, "fence.acq_rel.gpu; st", "st", NO_PATH);
    pair(&body, TWO_CTAS, "fence.acq_rel.gpu; //", "//", NO_PATH);
    pair(&body, TWO_CTAS, "fence.acq_rel.gpu; st", "fence.acq_rel.cta; st", NO_PATH);
    clean(&body.replace("acq_rel.gpu", "sc.sys"), TWO_CTAS);
}

#[test]
fn a_release_carries_over_to_later_stores_of_the_same_thread_and_atomics_of_all() {
    let again = message(
        "warp",
        "st.release.cta.global.u32 [flag], 2; st.relaxed.cta.global.u32 [flag], 1;",
        "ld.acquire.cta.global.u32 seen, [flag];",
        "",
    );
    pair(&again, TWO_WARPS, "st.release.cta.global.u32 [flag], 2;", "", NO_PATH);
    // Three CTAs: 0 releases 1, 2 adds 1 with a relaxed atomic, 1 waits for 2.
    let chain = "
        setp.eq.u32 here, lane, 0;
        @!here bra over;
        setp.eq.u32 there, cta, 1;
        @there bra reader;
        setp.eq.u32 there, cta, 2;
        @there bra middle;
        st.global.u32 [data], 7;
        atom.release.gpu.global.add.u32 value, [flag], 1;
        bra over;
    middle:
        atom.relaxed.gpu.global.cas.b32 value, [flag], 1, 2;
        setp.eq.u32 done, value, 1;
        @!done bra middle;
        bra over;
    reader:
        atom.acquire.gpu.global.cas.b32 seen, [flag], 2, 3;
        setp.eq.u32 done, seen, 2;
        @!done bra reader;
        ld.global.u32 value, [data];
    over:";
    pair(chain, Shape::of(3, 32), "atom.release", "atom.relaxed", NO_PATH);
}

/// PTX ISA, "Release and Acquire Patterns": a release and a later strong write of the same thread at the same place are a
/// pattern, whoever wrote there in between.
#[test]
fn a_release_carries_over_others_writes() {
    let body = "
        setp.eq.u32 here, lane, 0;
        @!here bra over;
        setp.eq.u32 there, cta, 1;
        @there bra between;
        setp.eq.u32 there, cta, 2;
        @there bra reader;
        st.global.u32 [data], 7;
        st.release.gpu.global.u32 [flag], 1;
    wait:
        ld.relaxed.gpu.global.u32 seen, [flag];
        setp.eq.u32 done, seen, 2;
        @!done bra wait;
        st.relaxed.gpu.global.u32 [flag], 3;
        bra over;
    between:
        ld.relaxed.gpu.global.u32 seen, [flag];
        setp.eq.u32 done, seen, 1;
        @!done bra between;
        st.relaxed.gpu.global.u32 [flag], 2;
        bra over;
    reader:
        ld.acquire.gpu.global.u32 seen, [flag];
        setp.eq.u32 done, seen, 3;
        @!done bra reader;
        ld.global.u32 value, [data];
    over:";
    let three = Shape::of(3, 32);
    pair(body, three, "st.release.gpu", "st.relaxed.gpu", NO_PATH);
    // Through a chain of atomics, of which the first is somebody else's.
    let chain = body
        .replace("st.release.gpu.global.u32 [flag], 1;", "atom.release.gpu.global.add.u32 value, [flag], 1;")
        .replace("st.relaxed.gpu.global.u32 [flag], 2;", "atom.relaxed.gpu.global.add.u32 value, [flag], 1;");
    pair(&chain, three, "atom.release", "atom.relaxed", NO_PATH);
}

/// A read and a later acquire of the same thread at the same place are a pattern, whatever the acquire sees.
#[test]
fn an_acquire_covers_earlier_reads_of_the_word() {
    let body = "
        setp.eq.u32 here, lane, 0;
        @!here bra over;
        setp.eq.u32 there, cta, 1;
        @there bra reader;
        st.global.u32 [data], 7;
        st.release.gpu.global.u32 [flag], 1;
    wait:
        ld.relaxed.gpu.global.u32 seen, [other];
        setp.eq.u32 done, seen, 1;
        @!done bra wait;
        bra over;
    reader:
        ld.relaxed.gpu.global.u32 seen, [flag];
        setp.eq.u32 done, seen, 1;
        @!done bra reader;
        st.relaxed.gpu.global.u32 [flag], 5;
        st.relaxed.gpu.global.u32 [other], 1;
        ld.acquire.gpu.global.u32 seen, [flag]; // again
        ld.global.u32 value, [data];
    over:";
    pair(body, TWO_CTAS, "ld.acquire.gpu.global.u32 seen, [flag]; // again", "", NO_PATH);
    pair(body, TWO_CTAS, "seen, [flag]; // again", "seen, [other];", NO_PATH);
}

#[test]
fn a_warp_needs_bar_warp_sync() {
    let body = "
        mad.lo.u32 at, thread, 4, 0;
        cvt.u64.u32 wide, at;
        add.u64 wide, wide, data;
        st.global.u32 [wide], thread;
        bar.warp.sync 0xffffffff;
        ld.global.u32 value, [data + 20];";
    pair(body, WARP, "bar.warp.sync 0xffffffff;", "", NO_PATH);
    pair(body, WARP, "bar.warp.sync 0xffffffff;", "shfl.sync.idx.b32 a, value, 0, 31, 0xffffffff;", NO_PATH);
    pair(body, WARP, "bar.warp.sync 0xffffffff;", "vote.sync.any.pred done, here, 0xffffffff;", NO_PATH);
    clean(&body.replace("bar.warp.sync 0xffffffff;", "bar.sync 0;"), WARP);
}

#[test]
fn the_barrier_of_a_cta_orders_all_its_threads() {
    let body = "
        mad.lo.u32 at, thread, 4, 0;
        cvt.u64.u32 wide, at;
        add.u64 wide, wide, data;
        st.global.u32 [wide], thread;
        bar.sync 0;
        xor.b32 at, at, 128;
        cvt.u64.u32 wide, at;
        add.u64 wide, wide, data;
        ld.global.u32 value, [wide];";
    pair(body, TWO_WARPS, "bar.sync 0;", "bar.warp.sync 0xffffffff;", NO_PATH);
}

#[test]
fn what_one_lane_acquired_the_others_have_behind_a_warp_barrier() {
    let body = "
        setp.eq.u32 there, warp, 1;
        @there bra reader;
        setp.eq.u32 here, lane, 0;
        @!here bra over;
        st.global.u32 [data], 7;
        st.release.cta.global.u32 [flag], 1;
        bra over;
    reader:
        setp.ne.u32 here, lane, 0;
        @here bra met;
    look:
        ld.acquire.cta.global.u32 seen, [flag];
        setp.eq.u32 done, seen, 1;
        @!done bra look;
    met:
        bar.warp.sync 0xffffffff;
        ld.global.u32 value, [data];
    over:";
    pair(
        body,
        TWO_WARPS,
        "met:\n        bar.warp.sync 0xffffffff;",
        "met: vote.sync.any.pred done, here, 0xffffffff;",
        NO_PATH,
    );
}

#[test]
fn what_other_lanes_wrote_is_released_behind_a_warp_barrier() {
    let body = "
        setp.eq.u32 there, warp, 1;
        @there bra reader;
        setp.eq.u32 there, lane, 9;
        @there st.shared.u32 [smem], 7;
        bar.warp.sync 0xffffffff;
        @here st.release.cta.shared.u32 [smem + 64], 1;
        bra over;
    reader:
        setp.ne.u32 here, lane, 0;
        @here bra over;
    look:
        ld.acquire.cta.shared.u32 seen, [smem + 64];
        setp.eq.u32 done, seen, 1;
        @!done bra look;
        ld.shared.u32 value, [smem];
    over:";
    let body = format!("@here st.shared.u32 [smem + 64], 0; bar.sync 0; {body}");
    pair(&body, TWO_WARPS, "bar.warp.sync 0xffffffff;", "vote.sync.any.pred done, here, 0xffffffff;", NO_PATH);
}

#[test]
fn unordered_atomics_are_no_race_but_a_weak_access_beside_them_is() {
    let body = "atom.relaxed.gpu.global.add.u32 value, [data], 1;";
    clean(body, TWO_CTAS);
    caught(&body.replace(".gpu", ".cta"), TWO_CTAS, "scopes cta and cta do not include each other");
    caught(&format!("{body} ld.global.u32 value, [data];"), TWO_CTAS, NO_PATH);
    caught(&format!("{body} ld.relaxed.gpu.global.u64 wide, [data];"), TWO_CTAS, "overlap in part");
}

#[test]
fn neighbours_do_not_race() {
    for (ty, bytes) in [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)] {
        let register = if bytes == 8 { "wide" } else { "value" };
        let ty = if bytes == 1 { "u8".to_string() } else { ty.to_string() };
        clean(
            &format!(
                "mad.lo.u32 at, cta, 32, thread; mul.lo.u32 at, at, {bytes}; cvt.u64.u32 other, at;
                 add.u64 data, data, other; mov.u64 wide, 3; mov.u32 value, 3;
                 st.global.{ty} [data], {register}; ld.global.{ty} {register}, [data]; st.global.{ty} [data], {register};"
            ),
            TWO_CTAS,
        );
    }
}

#[test]
fn a_constant_load_needs_memory_that_nobody_writes() {
    let body = "
        setp.eq.u32 there, warp, 1;
        @there bra second;
        ld.global.nc.u32 value, [data];
        bar.sync 0;
        bra over;
    second:
        bar.sync 0;
        @!there st.global.u32 [data], 1;
    over:";
    clean(body, TWO_WARPS);
    caught(&body.replace("@!there st", "st"), TWO_WARPS, "read through .nc");
    caught("@here st.global.u32 [data], 1; @here ld.global.nc.u32 value, [data];", WARP, "read through .nc");
}

#[test]
fn the_read_of_a_reduction_is_no_acquire_pattern() {
    // CTA 1 knows by another word, without order, that the flag is up.
    let body = "
        setp.eq.u32 here, lane, 0;
        @!here bra over;
        setp.eq.u32 there, cta, 1;
        @there bra reader;
        st.global.u32 [data], 7;
        st.release.gpu.global.u32 [flag], 1;
        st.relaxed.gpu.global.u32 [flag + 4], 1;
        bra over;
    reader:
        ld.relaxed.gpu.global.u32 seen, [flag + 4];
        setp.eq.u32 done, seen, 1;
        @!done bra reader;
        atom.relaxed.gpu.global.add.u32 seen, [flag], 1;
        fence.acq_rel.gpu;
        ld.global.u32 value, [data];
    over:";
    pair(body, TWO_CTAS, "atom.relaxed.gpu.global.add.u32 seen,", "red.relaxed.gpu.global.add.u32", NO_PATH);
    pair(body, TWO_CTAS, "fence.acq_rel.gpu;", "", NO_PATH);
}

#[test]
fn sequentially_consistent_fences_synchronize_by_themselves() {
    // Lane 0 of CTA 0 stores and fences; lane 1 sees that by a word and tells CTA 1 by another, all without order.
    let body = "
        setp.eq.u32 there, cta, 1;
        @there bra reader;
        setp.eq.u32 here, thread, 32;
        @here bra teller;
        setp.ne.u32 here, thread, 0;
        @here bra over;
        st.global.u32 [data], 7;
        fence.sc.gpu;
        st.relaxed.cta.global.u32 [flag], 1;
        bra over;
    teller:
        ld.relaxed.cta.global.u32 seen, [flag];
        setp.eq.u32 done, seen, 1;
        @!done bra teller;
        st.relaxed.gpu.global.u32 [flag + 4], 1;
        bra over;
    reader:
        setp.ne.u32 here, thread, 0;
        @here bra over;
    look:
        ld.relaxed.gpu.global.u32 seen, [flag + 4];
        setp.eq.u32 done, seen, 1;
        @!done bra look;
        fence.sc.gpu;
        ld.global.u32 value, [data];
    over:";
    let shape = Shape::of(2, 64);
    clean(body, shape);
    clean(&body.replacen("fence.sc.gpu", "membar.sys", 1), shape);
    caught(&body.replace("fence.sc", "fence.acq_rel"), shape, NO_PATH);
    caught(&body.replacen("fence.sc.gpu", "fence.sc.cta", 1), shape, NO_PATH);
    caught(&body.replacen("fence.sc", "fence.acq_rel", 1), shape, NO_PATH);
}

#[test]
fn votes_matches_reductions_and_elections_order_nothing() {
    let body = "
        mad.lo.u32 at, thread, 4, 0; cvt.u64.u32 wide, at; add.u64 wide, wide, data;
        st.global.u32 [wide], thread;
        bar.warp.sync 0xffffffff;
        ld.global.u32 value, [data + 20];";
    for other in [
        "vote.sync.ballot.b32 a, here, 0xffffffff;",
        "match.any.sync.b32 a, value, 0xffffffff;",
        "redux.sync.add.u32 value, lane, 0xffffffff;",
        "elect.sync a|done, 0xffffffff;",
        "activemask.b32 a;",
        "shfl.sync.bfly.b32 a, value, 1, 31, 0xffffffff;",
    ] {
        pair(body, WARP, "bar.warp.sync 0xffffffff;", other, NO_PATH);
    }
}

#[test]
fn a_warp_barrier_orders_the_lanes_of_its_mask() {
    let body = "
        mad.lo.u32 at, thread, 4, 0; cvt.u64.u32 wide, at; add.u64 wide, wide, data;
        st.global.u32 [wide], thread;
        setp.ge.u32 there, lane, 16;
        @there bra over;
        bar.warp.sync 0x0000ffff;
        ld.global.u32 value, [data + 20];
    over:";
    pair(body, WARP, "bar.warp.sync 0x0000ffff;", "", NO_PATH);
    // Lane 20 is not in the mask.
    caught(&body.replace("[data + 20]", "[data + 80]"), WARP, NO_PATH);
}

#[test]
fn arrivals_at_a_barrier_are_before_who_waits_and_not_behind_others() {
    let body = "
        setp.eq.u32 there, warp, 1;
        mad.lo.u32 at, lane, 4, 0; cvt.u64.u32 wide, at; add.u64 wide, wide, data;
        @there bra consumer;
        st.global.u32 [wide], thread;
        bar.arrive 1, 64;
        bra over;
    consumer:
        bar.sync 1, 64;
        ld.global.u32 value, [data + 20];
    over:";
    pair(body, TWO_WARPS, "bar.sync 1, 64;", "", NO_PATH);
    clean(
        &body
            .replace("bar.arrive 1", "barrier.cta.arrive.aligned 1")
            .replace("bar.sync 1", "barrier.cta.sync.aligned 1"),
        TWO_WARPS,
    );
    // The other way round: who only arrives knows nothing.
    let other = body
        .replace(
            "st.global.u32 [wide], thread;\n        bar.arrive 1, 64;",
            "bar.arrive 1, 64; ld.global.u32 value, [data + 20];",
        )
        .replace(
            "bar.sync 1, 64;\n        ld.global.u32 value, [data + 20];",
            "st.global.u32 [wide], thread; bar.sync 1, 64;",
        );
    caught(&other, TWO_WARPS, NO_PATH);
    clean(&other.replace("bar.arrive 1, 64;", "bar.sync 1, 64;"), TWO_WARPS);
    // Reductions wait too; another barrier is another one.
    let reduces = body
        .replace("bar.sync 1, 64;", "bar.red.popc.u32 count, 1, 64, here;")
        .replace("bar.arrive 1, 64;", "bar.red.popc.u32 count, 1, 64, here;");
    pair(&reduces, TWO_WARPS, "bar.red.popc.u32 count, 1, 64, here;", "bar.sync 1, 32;", NO_PATH);
}

#[test]
fn volatile_accesses_are_relaxed_at_system_scope() {
    let body = message(
        "cta",
        "fence.acq_rel.gpu; st.volatile.global.u32 [flag], 1;",
        "ld.volatile.global.u32 seen, [flag];",
        "fence.acq_rel.gpu;",
    );
    pair(&body, TWO_CTAS, "fence.acq_rel.gpu; st.volatile", "st.volatile", NO_PATH);
    pair(&body, TWO_CTAS, "st.volatile", "st", NO_PATH);
    clean(&body.replace("ld.volatile.global", "ld.mmio.relaxed.sys.global"), TWO_CTAS);
    clean(&body.replace("st.volatile.global", "st.mmio.relaxed.sys.global"), TWO_CTAS);
    caught(
        &body.replace("ld.volatile", "ld.relaxed.cta"),
        TWO_CTAS,
        "scopes sys and cta do not include each other|scopes cta and sys",
    );
    clean("st.volatile.global.u32 [data], cta; ld.volatile.global.u32 value, [data];", TWO_CTAS);
}

#[test]
fn lanes_that_store_to_one_place_race_whatever_they_store() {
    clean("@here st.global.u32 [data], 1;", WARP);
    caught("st.global.u32 [data], 1;", WARP, NO_PATH);
    caught("st.shared.u32 [smem], lane;", WARP, NO_PATH);
    clean("st.relaxed.cta.global.u32 [data], 1;", WARP);
}

#[test]
fn a_later_kernel_may_write_what_an_earlier_one_read_through_nc() {
    let read = entry("read", "ld.global.nc.u32 value, [data];");
    let write = entry("write", "@here st.global.u32 [data], 1;");
    for names in [["read", "write"], ["write", "read"]] {
        for schedule in schedules() {
            let mut machine = machine(1, 1, schedule);
            let id = machine.load_module("program.ptx", &module(&[read.clone(), write.clone()])).unwrap();
            let data = zeroed(&mut machine, 0, 4096);
            for name in names {
                launch(&mut machine, id, 0, name, (1, 64), [data, 0, 0]);
            }
            assert_eq!(race_of(&mut machine), None, "{names:?}");
        }
    }
}
