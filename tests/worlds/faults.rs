//! Things that break: NIC requests that fail, stall or get lost, ranks that do not call, cancel or disagree.
//!
//! Method: a fault is put at one queue pair of one rank. Whatever it is, every rank's calls must end within a few
//! deadlines of the cluster's time, some rank's error must name the culprit, and from the first error on a rank must
//! answer every call with that error as the cause.

use std::sync::Mutex;
use std::time::Duration;

use proptest::test_runner::TestCaseError;
use warpferry::comm::connect::{Offer, Prepared};
use warpferry::driver::emu::EmuMachine;
use warpferry::kernel::launch::KernelSet;
use warpferry::status::{Cause, Stage, StatusLine, Wait};
use warpferry::{Communicator, Error, Fabric};
use warpferry_nic::{cqe, FaultAction, FaultMatch};

use crate::case::{Case, Link};
use crate::damage::{Under, Word};
use crate::lanes::{Cluster, Lane, Mishap};
use crate::mutation::slots_again;
use crate::play::{self, Call, Stop, TIMEOUT};
use crate::random::{cases_that_are_valid, number, runner};
use crate::soak::with_nic_trouble;
use crate::trouble::{Trouble, LIMIT};

/// Rounds that every rank tries, whatever came before.
const ROUNDS: u32 = 3;

/// Small rings, so that every lane is busy.
fn busy() -> Case {
    Case {
        tokens: vec![24, 31],
        depth_ib: 4,
        depth_nv: 4,
        chunk_ib: 2,
        chunk_nv: 2,
        calls: ROUNDS,
        experts_per_rank: 4,
        ..Case::default()
    }
}

fn calls(case: &Case) -> Vec<Call> {
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let call = |number| Call::new(case, config.topology, config.shape, number);
    (0..ROUNDS).map(call).collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}"))
}

/// Tries all rounds; errors in order. Wrong bits end the test.
fn rounds(rank: &mut Communicator, case: &Case, calls: &[Call]) -> Vec<Error> {
    let mut errors = Vec::new();
    for call in calls {
        match play::round(rank, case, call) {
            Ok(()) => {}
            Err(Stop::Error(error)) => errors.push(error),
            Err(Stop::Wrong(what)) => panic!("rank {} of {case}: {what}", rank.rank()),
        }
    }
    errors
}

/// Plays all rounds with `mishaps`; every rank's errors.
fn suffer(case: &Case, mishaps: &[Mishap]) -> Vec<Vec<Error>> {
    let calls = calls(case);
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let mut cluster = Cluster::new(config).unwrap_or_else(|error| panic!("{error}"));
    cluster.plan(mishaps);
    let began = cluster.time();
    let errors = cluster.run(|rank| rounds(rank, case, &calls)).unwrap_or_else(|error| panic!("{error}"));
    let took = cluster.time() - began;
    assert_eq!(cluster.fired(), mishaps.len(), "faults that fired; {mishaps:?} of {case}");
    assert!(took < LIMIT, "{took:?} for all rounds; {mishaps:?} of {case}");
    cluster.close().unwrap_or_else(|error| panic!("close after {mishaps:?}: {error}"));
    errors
}

/// Every rank failed, and said so from then on.
fn all_broke(errors: &[Vec<Error>]) {
    for (rank, errors) in errors.iter().enumerate() {
        let Some((first, later)) = errors.split_first() else { panic!("rank {rank} noticed nothing") };
        assert!(matches!(first, Error::Ended { .. }), "rank {rank}: {first}");
        for error in later {
            let Error::Broken { cause, .. } = error else { panic!("rank {rank} went on: {error}") };
            assert_eq!(cause.to_string(), first.to_string(), "rank {rank}");
        }
    }
}

fn lines(errors: &[Error]) -> impl Iterator<Item = &StatusLine> {
    errors
        .iter()
        .filter_map(|error| match error {
            Error::Ended { report, .. } => Some(&report.lines),
            _ => None,
        })
        .flatten()
}

fn told(errors: &[Vec<Error>]) -> String {
    let mut text = String::new();
    for (rank, errors) in errors.iter().enumerate() {
        for error in errors {
            text.push_str(&format!("\n  rank {rank}: {error}"));
        }
    }
    text
}

/// `rank` says that its NIC failed so. A completion entry is overwritten by the next one: what was flushed behind the
/// failed request may be all that is left to see.
fn blames_nic(errors: &[Vec<Error>], rank: usize, syndrome: u8, peer: u32, channel: Option<u32>) {
    let found = lines(&errors[rank]).any(|line| match line.cause {
        Cause::Nic { syndrome: seen, peer: at, channel: of } => {
            (seen == u32::from(syndrome) || seen == u32::from(cqe::SYNDROME_FLUSHED))
                && at == peer
                && channel.is_none_or(|channel| channel == of)
        }
        _ => false,
    });
    assert!(
        found,
        "rank {rank} does not blame syndrome {syndrome:#x}, peer {peer}, channel {channel:?}:{}",
        told(errors)
    );
}

/// `rank` says that it waited in vain as `wanted` says.
fn waited(errors: &[Vec<Error>], rank: usize, wanted: impl Fn(&Wait) -> bool) {
    let found = lines(&errors[rank])
        .filter(|line| line.cause == Cause::Timeout)
        .flat_map(|line| &line.waits)
        .any(|wait| wanted(wait) && wait.seen < wait.needed);
    assert!(found, "rank {rank} does not name what it waited for:{}", told(errors));
}

/// The rank whose queue pair fails, and the one at the other end: rail 0 of 2 x 2.
const OWNER: usize = 0;
const PEER: usize = 2;

fn mishap(lane: Lane, matching: FaultMatch, after: u64, action: FaultAction) -> Mishap {
    Mishap { rank: OWNER as u32, node: 1, lane, matching, after, action }
}

const RETRY: FaultAction = FaultAction::DropToError { syndrome: cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED };

#[test]
fn payload_requests_that_fail_are_named() {
    for (matching, after) in
        [(FaultMatch::Write, 0), (FaultMatch::Write, 3), (FaultMatch::Atomic, 0), (FaultMatch::Atomic, 5)]
    {
        for channel in [0, 1] {
            let errors = suffer(&busy(), &[mishap(Lane::Payload { channel }, matching, after, RETRY)]);
            all_broke(&errors);
            blames_nic(&errors, OWNER, cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED, PEER as u32, Some(channel));
        }
    }
}

/// The receiving rank's call fails too, and says which flow did not come: by what it waited for, or by its own end of
/// the queue pair, which fails with the other.
#[test]
fn a_flow_that_does_not_come_is_named() {
    let errors = suffer(&busy(), &[mishap(Lane::Payload { channel: 1 }, FaultMatch::Write, 0, RETRY)]);
    let named = lines(&errors[PEER]).any(|line| {
        let waited = line.waits.iter().any(|wait| {
            wait.stage == Stage::Forward && wait.channel == 1 && wait.peer == OWNER as u32 && wait.seen < wait.needed
        });
        let failed = matches!(line.cause, Cause::Nic { peer, channel: 1, .. } if peer == OWNER as u32);
        waited && (failed || line.cause == Cause::Timeout)
    });
    assert!(named, "rank {PEER} does not name the flow:{}", told(&errors));
}

#[test]
fn credit_requests_that_fail_are_named() {
    for after in [0, 2] {
        let errors = suffer(&busy(), &[mishap(Lane::Credit { channel: 0 }, FaultMatch::Atomic, after, RETRY)]);
        all_broke(&errors);
        blames_nic(&errors, OWNER, cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED, PEER as u32, Some(0));
    }
}

#[test]
fn exchange_requests_that_fail_are_named() {
    for (matching, after) in [(FaultMatch::Write, 0), (FaultMatch::Atomic, 0), (FaultMatch::Atomic, 1)] {
        let errors = suffer(&busy(), &[mishap(Lane::Exchange, matching, after, RETRY)]);
        all_broke(&errors);
        blames_nic(&errors, OWNER, cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED, PEER as u32, None);
        // Ranks without a part in it name one end or the other; one that had all counts in time went on to dispatch.
        for rank in [1, 3] {
            waited(&errors, rank, |wait| {
                wait.stage != Stage::Exchange || [OWNER as u32, PEER as u32].contains(&wait.peer)
            });
        }
    }
}

#[test]
fn a_key_that_the_peer_refuses_is_named() {
    let errors =
        suffer(&busy(), &[mishap(Lane::Payload { channel: 0 }, FaultMatch::Write, 1, FaultAction::CorruptKey)]);
    all_broke(&errors);
    blames_nic(&errors, OWNER, cqe::SYNDROME_REMOTE_ACCESS, PEER as u32, Some(0));
}

#[test]
fn payload_that_stalls_is_named_at_both_ends() {
    for after in [0, 4] {
        let stall = mishap(Lane::Payload { channel: 1 }, FaultMatch::Any, after, FaultAction::Stall);
        let errors = suffer(&busy(), &[stall]);
        all_broke(&errors);
        waited(&errors, OWNER, |wait| wait.stage == Stage::Send && wait.channel == 1 && wait.peer == PEER as u32);
        waited(&errors, PEER, |wait| wait.stage == Stage::Forward && wait.channel == 1 && wait.peer == OWNER as u32);
    }
}

#[test]
fn credit_that_stalls_is_named_by_the_sender() {
    let stall = mishap(Lane::Credit { channel: 0 }, FaultMatch::Any, 0, FaultAction::Stall);
    let errors = suffer(&busy(), &[stall]);
    all_broke(&errors);
    waited(&errors, PEER, |wait| wait.stage == Stage::Send && wait.channel == 0 && wait.peer == OWNER as u32);
}

#[test]
fn an_exchange_that_stalls_is_named() {
    let errors = suffer(&busy(), &[mishap(Lane::Exchange, FaultMatch::Any, 0, FaultAction::Stall)]);
    all_broke(&errors);
    waited(&errors, PEER, |wait| wait.stage == Stage::Exchange && wait.peer == OWNER as u32);
}

#[test]
fn signals_that_are_lost_are_noticed() {
    let lost = |lane, after| mishap(lane, FaultMatch::Atomic, after, FaultAction::LoseSignal);
    for after in [0, 3] {
        let errors = suffer(&busy(), &[lost(Lane::Payload { channel: 0 }, after)]);
        all_broke(&errors);
        waited(&errors, PEER, |wait| wait.stage == Stage::Forward && wait.channel == 0 && wait.peer == OWNER as u32);
    }
    let errors = suffer(&busy(), &[lost(Lane::Exchange, 0)]);
    all_broke(&errors);
    waited(&errors, PEER, |wait| wait.stage == Stage::Exchange && wait.peer == OWNER as u32);
}

/// A ring of two slots gives back one credit at a time: without one the sender still has room, without both it has
/// none. A call may not give wrong bytes in between.
#[test]
fn credits_that_are_lost_are_survived_or_noticed() {
    let case = Case { depth_ib: 2, chunk_ib: 1, ..busy() };
    let lost = |after| mishap(Lane::Credit { channel: 0 }, FaultMatch::Atomic, after, FaultAction::LoseSignal);
    let errors = suffer(&case, &[lost(1)]);
    assert!(errors.iter().all(Vec::is_empty), "one credit was lost, one is left:{}", told(&errors));
    let errors = suffer(&case, &[lost(1), lost(2)]);
    all_broke(&errors);
    waited(&errors, PEER, |wait| wait.stage == Stage::Send && wait.channel == 0 && wait.peer == OWNER as u32);
}

/// A fault must not depend on luck: the same under schedules by chance, writes out of order, few SMs.
#[test]
fn faults_under_many_schedules() {
    for seed in 0..4 {
        let case = Case {
            schedule: Some(seed),
            unordered: true,
            piece_bytes: 64,
            sms: vec![(2, 1), (1, 2)],
            resident_ctas: Some(1),
            ..busy()
        };
        let errors = suffer(&case, &[mishap(Lane::Payload { channel: 1 }, FaultMatch::Write, 1 + seed, RETRY)]);
        all_broke(&errors);
        blames_nic(&errors, OWNER, cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED, PEER as u32, Some(1));
        let stall = mishap(Lane::Payload { channel: 0 }, FaultMatch::Any, 2 * seed, FaultAction::Stall);
        let errors = suffer(&case, &[stall]);
        all_broke(&errors);
        waited(&errors, PEER, |wait| wait.stage == Stage::Forward && wait.channel == 0 && wait.peer == OWNER as u32);
    }
}

/// The others' calls end by their deadline and name a rank that is missing.
#[test]
fn a_rank_that_never_calls_is_named() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        for missing in [0, 3] {
            let case = Case { fabric, ..busy() };
            let calls = calls(&case);
            let config = case.config().unwrap_or_else(|error| panic!("{error}"));
            let mut world = warpferry::World::emulated(config).unwrap_or_else(|error| panic!("{error}"));
            let act = |rank: &mut Communicator| {
                if rank.rank() == missing {
                    Vec::new()
                } else {
                    rounds(rank, &case, &calls)
                }
            };
            let mut errors = world.run(act).unwrap_or_else(|error| panic!("{error}"));
            errors.remove(missing as usize);
            all_broke(&errors);
            // Its rail peer on the other node waits for its box, its neighbours for its row box.
            let named = errors.iter().filter(|errors| {
                lines(errors)
                    .flat_map(|line| &line.waits)
                    .any(|wait| wait.stage == Stage::Exchange && wait.peer == missing && wait.seen < wait.needed)
            });
            assert_eq!(named.count(), 3, "who names rank {missing}:{}", told(&errors));
            world.close().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// A rank that stops between dispatch and combine leaves the others waiting in combine.
#[test]
fn a_rank_that_does_not_combine_is_named() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        let case = Case { fabric, ..busy() };
        let calls = calls(&case);
        let config = case.config().unwrap_or_else(|error| panic!("{error}"));
        let mut world = warpferry::World::emulated(config).unwrap_or_else(|error| panic!("{error}"));
        let act = |rank: &mut Communicator| {
            if rank.rank() != 1 {
                return rounds(rank, &case, &calls);
            }
            match play::dispatch(rank, &case, &calls[0]) {
                Ok(_) => Vec::new(),
                Err(Stop::Error(error)) => panic!("rank 1: {error}"),
                Err(Stop::Wrong(what)) => panic!("rank 1: {what}"),
            }
        };
        let mut errors = world.run(act).unwrap_or_else(|error| panic!("{error}"));
        errors.remove(1);
        all_broke(&errors);
        // Rank 0 takes partial rows from its neighbour for both its own tokens and those it forwards for.
        waited(&errors, 0, |wait| wait.peer == 1);
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Method: a rank calls alone: a combine with a long timeout and, behind it, a dispatch with a very short one. The host
/// waits for the combine first, and names it; nothing that queued kernels use is freed, or the emulator would fault.
#[test]
fn a_short_timeout_behind_a_long_one_starts_late() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        let case = Case { fabric, ..busy() };
        let calls = calls(&case);
        let config = case.config().unwrap_or_else(|error| panic!("{error}"));
        let mut world = warpferry::World::emulated(config).unwrap_or_else(|error| panic!("{error}"));
        let act = |rank: &mut Communicator| {
            let dispatched = match play::dispatch(rank, &case, &calls[0]) {
                Ok(dispatched) => dispatched,
                Err(Stop::Error(error)) => panic!("rank {}: {error}", rank.rank()),
                Err(Stop::Wrong(what)) => panic!("rank {}: {what}", rank.rank()),
            };
            if rank.rank() != 0 {
                return None;
            }
            let combine = warpferry::Combine::new(&dispatched.x, &dispatched.handle).timeout(TIMEOUT * 100);
            let mut combine = rank.combine(combine).unwrap_or_else(|error| panic!("{error}"));
            let (hidden, topk) = (rank.plan().shape.hidden() as usize, rank.plan().shape.topk() as usize);
            let x = rank.tensor(&vec![half::bf16::ONE; hidden], &[1, hidden]).unwrap_or_else(|error| panic!("{error}"));
            let idx = rank.tensor(&vec![-1i32; topk], &[1, topk]).unwrap_or_else(|error| panic!("{error}"));
            let late = warpferry::Dispatch::new(&x, &idx).timeout(Duration::from_millis(1));
            let late = rank.dispatch(late).map(drop);
            drop((x, idx));
            Some((late, combine.wait(TIMEOUT).map(drop), combine.wait(TIMEOUT).map(drop)))
        };
        let outcomes = world.run(act).unwrap_or_else(|error| panic!("{error}"));
        let (late, combine, again) = outcomes.into_iter().flatten().next().expect("rank 0 called alone");
        let combine = combine.expect_err("nobody else combines");
        assert!(matches!(combine, Error::Ended { op: "combine", .. }), "{combine}");
        let again = again.expect_err("a failed operation has no results");
        assert_eq!(again.to_string(), combine.to_string(), "an operation says why every time");
        let Err(Error::Broken { cause, .. }) = late else { panic!("the dispatch follows the combine: {late:?}") };
        assert_eq!(cause.to_string(), combine.to_string());
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Method: the last rank of a run cancels all others from its own thread, while their kernels wait for it.
#[test]
fn calls_are_cancelled_from_another_thread() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        let case = Case { fabric, ..busy() };
        let calls = calls(&case);
        let config = case.config().unwrap_or_else(|error| panic!("{error}"));
        let mut world = warpferry::World::emulated(config).unwrap_or_else(|error| panic!("{error}"));
        let machine = world.machine().cloned().expect("the world is emulated");
        let cancellers: Vec<_> = world.communicators().iter().map(Communicator::canceller).collect();
        let began = machine.with(|machine| machine.time_ns());
        let outcomes = world.run(|rank| {
            if rank.rank() == 3 {
                let failed = cancellers.iter().filter_map(|canceller| canceller.cancel().err()).collect();
                return (failed, began);
            }
            let errors = rounds(rank, &case, &calls);
            (errors, machine.with(|machine| machine.time_ns()))
        });
        let mut outcomes = outcomes.unwrap_or_else(|error| panic!("{error}"));
        let (failed, _) = outcomes.remove(3);
        assert!(failed.is_empty(), "{failed:?}");
        for (rank, (errors, ended)) in outcomes.iter().enumerate() {
            let took = Duration::from_nanos(ended - began);
            assert!(took < TIMEOUT / 2, "rank {rank} ended {took:?} after the cancel: by its deadline");
            assert!(lines(errors).any(|line| line.cause == Cause::Cancelled), "rank {rank}: {errors:?}");
        }
        all_broke(&outcomes.into_iter().map(|(errors, _)| errors).collect::<Vec<_>>());
        world.close().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A rank that waits for its own NIC can be cancelled as well. Its boxes stall on one queue pair, while all other ranks'
/// boxes come; the last rank cancels it.
#[test]
fn a_rank_that_waits_for_its_nic_is_cancelled() {
    let case = Case { nodes: 2, gpus: 1, experts_per_rank: 4, ..busy() };
    let calls = calls(&case);
    let config = case.config().unwrap_or_else(|error| panic!("{error}"));
    let mut cluster = Cluster::new(config).unwrap_or_else(|error| panic!("{error}"));
    cluster.plan(&[mishap(Lane::Exchange, FaultMatch::Write, 0, FaultAction::Stall)]);
    let canceller = cluster.canceller(OWNER);
    let outcomes = cluster.run(|rank| {
        if rank.rank() as usize == OWNER {
            return rounds(rank, &case, &calls);
        }
        // This rank misses the box and ends by its deadline, half of the other's.
        let begun = play::begin_with(rank, &case, &calls[0], TIMEOUT / 2).map(drop);
        canceller.cancel().unwrap_or_else(|error| panic!("{error}"));
        begun.err().into_iter().collect()
    });
    let errors = outcomes.unwrap_or_else(|error| panic!("{error}"));
    assert!(lines(&errors[OWNER]).any(|line| line.cause == Cause::Cancelled), "{}", told(&errors));
    assert!(cluster.time() < TIMEOUT * 3 / 4, "{:?}: by the deadline, not by the cancel", cluster.time());
    cluster.close().unwrap_or_else(|error| panic!("{error}"));
}

/// Method: ranks join with offers that were made to look alike, as when the check at joining had not been there.
#[test]
fn ranks_with_different_plans_disagree() {
    for (link, fabric) in [(Link::Mlx5, Fabric::Mlx5), (Link::Loopback, Fabric::Loopback)] {
        for odd in [0, 3] {
            let case = Case { fabric: link, ..busy() };
            let kernels = KernelSet::embedded(fabric).unwrap_or_else(|error| panic!("{error}"));
            let mut config = case.config().unwrap_or_else(|error| panic!("{error}")).machine;
            if fabric == Fabric::Loopback {
                (config.nodes, config.gpus_per_node) = (1, 4);
            }
            let machine = EmuMachine::new(config).unwrap_or_else(|error| panic!("{error}"));
            let made: Vec<Prepared> = (0..)
                .zip(machine.devices())
                .map(|(rank, device)| {
                    let depth_nv = if rank == odd { 8 } else { 4 };
                    let config = Case { depth_nv, ..case.clone() }.config()?;
                    Prepared::new(&device, config.plan(rank)?, rank, kernels)
                })
                .collect::<Result<_, Error>>()
                .unwrap_or_else(|error| panic!("{error}"));
            let offers: Vec<Offer> = made.iter().map(Prepared::offer).collect();
            assert_ne!(offers[odd as usize].plan_hash, offers[1].plan_hash);
            let mut ranks: Vec<Communicator> = made
                .into_iter()
                .zip(&offers)
                .map(|(rank, own)| {
                    let plan_hash = own.plan_hash;
                    let alike: Vec<Offer> = offers.iter().map(|offer| Offer { plan_hash, ..offer.clone() }).collect();
                    rank.join(&alike).map_err(Error::from)
                })
                .collect::<Result<_, Error>>()
                .unwrap_or_else(|error| panic!("{error}"));
            let calls = calls(&case);
            let errors = machine
                .run(ranks.iter_mut().collect(), |rank: &mut Communicator| rounds(rank, &case, &calls))
                .unwrap_or_else(|error| panic!("{error}"));
            all_broke(&errors);
            let (one, other) = (offers[odd as usize].plan_hash, offers[1].plan_hash);
            for (rank, errors_here) in errors.iter().enumerate() {
                let (own, others) = if rank == odd as usize { (one, other) } else { (other, one) };
                let named = lines(errors_here).any(|line| match line.cause {
                    Cause::Disagree { rank: with, expected, seen } => {
                        (rank == odd as usize || with == odd) && expected == own && seen == others
                    }
                    // Who disagreed first leaves at once; its neighbours then miss what it would have passed on.
                    Cause::Timeout => true,
                    _ => false,
                });
                assert!(named, "rank {rank}, rank {odd} being different:{}", told(&errors));
            }
            let disagreed =
                errors.iter().filter(|errors| lines(errors).any(|line| matches!(line.cause, Cause::Disagree { .. })));
            assert!(disagreed.count() >= 2, "rank {odd} being different:{}", told(&errors));
            warpferry::world::close(ranks).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Memory of a call that failed is given back only after its kernels have ended, and closing ends well.
#[test]
fn a_world_that_broke_gives_its_memory_back() {
    let case = busy();
    let calls = calls(&case);
    let mut cluster =
        Cluster::new(case.config().unwrap_or_else(|error| panic!("{error}"))).unwrap_or_else(|error| panic!("{error}"));
    cluster.plan(&[mishap(Lane::Payload { channel: 0 }, FaultMatch::Write, 0, RETRY)]);
    let kept = Mutex::new(Vec::new());
    let outcomes = cluster.run(|rank| {
        // Dropped without a wait: the operation goes on by itself.
        match play::begin(rank, &case, &calls[0]) {
            Ok(pending) => drop(pending),
            Err(error) => kept.lock().expect("no rank panics").push(error),
        }
        let tensor = rank.empty(warpferry::DType::Bf16, &[4, case.hidden as usize])?;
        rank.check_usable().and(tensor.to_vec::<half::bf16>().map(drop))
    });
    drop(outcomes.unwrap_or_else(|error| panic!("{error}")));
    cluster.close().unwrap_or_else(|error| panic!("{error}"));
}

/// Whatever goes wrong wherever: all calls end in time, what comes back is right, and who stops says why (`trouble.rs`).
#[test]
fn faults_from_a_generator() {
    let seed = number("WARPFERRY_SEED", 1);
    let cases = number("WARPFERRY_CASES", 24) as u32;
    println!("WARPFERRY_SEED={seed} WARPFERRY_CASES={cases}");
    let outcome = runner(cases, seed).run(&with_nic_trouble(cases_that_are_valid()), |case| {
        play::play(&case).map(drop).map_err(|failure| TestCaseError::fail(failure.to_string()))
    });
    if let Err(error) = outcome {
        panic!("WARPFERRY_SEED={seed}: {error}");
    }
}

/// A cancel comes at any time of an exchange: at each of its waits.
#[test]
fn an_exchange_is_cancelled_wherever_it_waits() {
    for (fabric, after_ns) in [Link::Mlx5, Link::Loopback].into_iter().flat_map(|f| (0..32).map(move |n| (f, 100 * n)))
    {
        let trouble = Some(Trouble::CancelsWithin { rank: 3, call: 1, under: Under::Exchange, after_ns });
        play::check(&Case { fabric, trouble, seed: 30, calls: 2, ..busy() });
    }
}

/// Arrivals that run ahead within a call lead to slots of the same call: only their position or token is an earlier one.
#[test]
fn slots_of_a_call_are_not_taken_twice() {
    for fabric in [Link::Mlx5, Link::Loopback] {
        for word in Word::ALL.into_iter().filter(|word| word.runs_ahead()) {
            for case in slots_again(fabric, word) {
                play::check(&case);
            }
        }
    }
}
