//! What must not matter: schedule, roles, chunks, depths, SMs, resident CTAs, NIC order, fabric.
//!
//! Method: the inputs of a case depend on its seed and shape only, and every run is compared with the reference bit
//! for bit; so variants that pass gave the same bytes.

use crate::case::{Case, Link, Warps};
use crate::lanes::{Cluster, Lane};
use crate::play::{self, check, Call, Stop};

fn base() -> Case {
    Case { seed: 5, nodes: 2, gpus: 3, topk: 4, tokens: vec![21, 17, 0, 30], channels: 4, ..Case::default() }
}

#[test]
fn schedules() {
    check(&base());
    for seed in 0..12 {
        check(&Case { schedule: Some(seed), ..base() });
    }
}

/// The same case costs the same, to the instruction: a failure can be replayed.
#[test]
fn runs_repeat_exactly() {
    for schedule in [None, Some(77)] {
        let case = Case { schedule, sms: vec![(2, 3)], ..base() };
        assert_eq!(check(&case), check(&case), "{case}");
    }
}

#[test]
fn roles() {
    let custom = |words: &[&str]| Warps::Custom(words.iter().map(|word| word.to_string()).collect());
    let all = [
        (3, Warps::Dynamic),
        (1, Warps::Dynamic),
        (15, Warps::Dynamic),
        (3, Warps::Fixed),
        (7, Warps::Fixed),
        (1, custom(&["sfr"])),
        (2, custom(&["s", "rf"])),
        (4, custom(&["s", "f", "r", "rs"])),
        (3, custom(&["fs", "r", "fr"])),
    ];
    for (index, (workers, roles)) in (0..).zip(all) {
        check(&Case { workers, roles: roles.clone(), ..base() });
        check(&Case { workers, roles, schedule: Some(100 + index), ..base() });
    }
}

#[test]
fn chunks_and_depths() {
    for (chunk_ib, chunk_nv, depth_ib, depth_nv) in
        [(1, 1, 2, 2), (1, 4, 2, 8), (4, 1, 8, 2), (3, 2, 8, 4), (8, 8, 16, 16), (5, 7, 32, 64), (32, 32, 64, 64)]
    {
        check(&Case { chunk_ib, chunk_nv, depth_ib, depth_nv, schedule: Some(chunk_ib.into()), ..base() });
    }
}

#[test]
fn stages() {
    for stage_bytes in [2048, 3072, 5120, 16384] {
        check(&Case { stage_bytes, hidden: 1032, tokens: vec![5, 4], ..base() });
    }
}

#[test]
fn sms_that_differ_between_ranks() {
    let all = [vec![(4, 4)], vec![(1, 4), (4, 1)], vec![(1, 1), (3, 2), (2, 3)], vec![(2, 1), (4, 3), (1, 2), (3, 4)]];
    for (index, sms) in (0..).zip(all) {
        for fabric in [Link::Mlx5, Link::Loopback] {
            check(&Case { sms: sms.clone(), fabric, schedule: Some(index), ..base() });
        }
    }
}

#[test]
fn resident_ctas() {
    for resident in [1, 2, 3] {
        for schedule in [None, Some(resident as u64)] {
            let sms = vec![(4, 4), (2, 3)];
            check(&Case { resident_ctas: Some(resident), sms, schedule, calls: 2, ..base() });
        }
    }
}

/// Any one queue pair may be much slower than all others: whatever overtakes it, the bytes are the same.
#[test]
fn slow_queue_pairs() {
    let case = Case { depth_ib: 2, chunk_ib: 1, tokens: vec![15, 20], calls: 2, ..Case::default() };
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let calls = (0..case.calls)
        .map(|number| Call::new(&case, config.topology, config.shape, number))
        .collect::<Result<Vec<Call>, _>>()
        .unwrap_or_else(|error| panic!("{error}"));
    for lane in [Lane::Payload { channel: 0 }, Lane::Credit { channel: 1 }, Lane::Exchange] {
        for (rank, node, ticks) in [(0, 1, 5_000), (3, 0, 200_000)] {
            let mut cluster = Cluster::new(config.clone()).unwrap_or_else(|error| panic!("{error}"));
            cluster.delay(rank, lane, node, ticks);
            let outcomes = cluster.run(|rank| calls.iter().try_for_each(|call| play::round(rank, &case, call)));
            for (at, outcome) in outcomes.unwrap_or_else(|error| panic!("{error}")).into_iter().enumerate() {
                match outcome {
                    Ok(()) => {}
                    Err(Stop::Wrong(what)) => panic!("{lane:?} of rank {rank} slow: rank {at}: {what}"),
                    Err(Stop::Error(error)) => panic!("{lane:?} of rank {rank} slow: rank {at}: {error}"),
                }
            }
            assert!(cluster.time().as_nanos() > ticks.into(), "nothing was slow");
            cluster.close().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn nics_and_fabrics() {
    for (unordered, piece_bytes, retransmit, outstanding) in
        [(false, 4096, false, 16), (false, 128, true, 1), (true, 128, false, 16), (true, 4096, true, 2)]
    {
        check(&Case { unordered, piece_bytes, retransmit, outstanding, schedule: Some(31), ..base() });
    }
    check(&Case { fabric: Link::Loopback, schedule: Some(31), ..base() });
}
