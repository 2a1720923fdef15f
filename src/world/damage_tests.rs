//! Ranks with the real kernels whose memory was damaged, or whose driver fails: what only a bug elsewhere could do.
//!
//! Method: the host changes a word of one rank's window or state between calls, or a driver refuses one launch. Somebody's
//! status must name that cause, every rank must end, and none may take what it got for good.

use std::time::Duration;

use half::bf16;
use warpferry_emu::Schedule;

use super::{connect_kernels, World, WorldConfig};
use crate::comm::Communicator;
use crate::driver::emu::EmuMachine;
use crate::driver::fault::{FaultRule, Faults};
use crate::error::Error;
use crate::kernel::launch::KernelSet;
use crate::op::{Combine, Dispatch};
use crate::plan::blocks::{CommBlock, StateHead};
use crate::plan::window::Window;
use crate::plan::{Fabric, Role, Roles, Shape, Tuning};
use crate::status::Cause;
use crate::topology::Topology;

/// A row takes several pieces of a stage.
const HIDDEN: usize = 1032;
const TOKENS: usize = 12;
const TIMEOUT: Duration = Duration::from_millis(50);
const WAIT: Duration = Duration::from_secs(10);
const FABRICS: [Fabric; 2] = [Fabric::Mlx5, Fabric::Loopback];
const SCHEDULES: [Schedule; 3] = [Schedule::RoundRobin, Schedule::Random { seed: 1 }, Schedule::Random { seed: 2 }];

/// 2 nodes of 2 GPUs; every token goes to every rank. As many CTAs as channels, of which `resident` fit at once.
fn config(fabric: Fabric, channels: u32, resident: Option<usize>, schedule: &Schedule) -> WorldConfig {
    let topology = Topology::new(2, 2).expect("a small world");
    let shape = Shape::new(HIDDEN as u32, 4, 4, TOKENS as u32).expect("a small shape");
    let mut tuning = Tuning::default_for(topology, 2 * HIDDEN as u32);
    (tuning.channels, tuning.dispatch_sms, tuning.combine_sms) = (channels, channels, channels);
    (tuning.workers, tuning.stage_bytes) = (3, 2048);
    // Whoever takes looks before others store their counters again.
    tuning.roles = Roles::Custom(vec![vec![Role::Receive, Role::Forward, Role::Send]; 3]);
    // Rings that every call fills.
    (tuning.depth_ib, tuning.depth_nv, tuning.chunk_ib, tuning.chunk_nv) = (4, 4, 2, 2);
    let mut config = WorldConfig::new(topology, shape).tuning(tuning).fabric(fabric);
    config.machine.gpu.resident_ctas = resident;
    config.machine.schedule = schedule.clone();
    config
}

fn world(fabric: Fabric, channels: u32, schedule: &Schedule) -> World {
    World::emulated(config(fabric, channels, None, schedule)).unwrap_or_else(|error| panic!("{error}"))
}

fn round(rank: &mut Communicator) -> crate::Result<()> {
    let x = rank.tensor(&[bf16::ONE; TOKENS * HIDDEN], &[TOKENS, HIDDEN])?;
    let topk_idx = rank.tensor(&[0i32, 1, 2, 3].repeat(TOKENS), &[TOKENS, 4])?;
    let mut dispatched = rank.dispatch(Dispatch::new(&x, &topk_idx).timeout(TIMEOUT))?;
    let dispatched = dispatched.wait(WAIT)?;
    rank.combine(Combine::new(&dispatched.x, &dispatched.handle).timeout(TIMEOUT))?.wait(WAIT).map(drop)
}

/// Adds to the words of channel 0 of `channels` in an array of every rank's window.
fn add_to_words(world: &mut World, words: fn(&Window) -> (u64, u64), channels: u64, add: u64) {
    let machine = world.machine().cloned().expect("the world is emulated");
    for rank in world.communicators() {
        let own = rank.shared().addresses.comm.address() + std::mem::offset_of!(CommBlock, window) as u64;
        let mut window = [0; 8];
        machine.with(|machine| machine.read(own, &mut window)).expect("a word of the block");
        let window = u64::from_le_bytes(window);
        let (first, end) = words(&rank.plan().window);
        for at in (window + first..window + first + (end - first) / channels).step_by(8) {
            machine.with(|machine| {
                let mut word = [0; 8];
                machine.read_raw(at, &mut word).expect("a word of the window");
                let more = u64::from_le_bytes(word) + add;
                machine.write(at, &more.to_le_bytes()).expect("a word of the window");
            });
        }
    }
}

fn causes(outcomes: &[crate::Result<()>]) -> Vec<Cause> {
    let lines = outcomes.iter().filter_map(|outcome| match outcome {
        Err(Error::Ended { report, .. }) => Some(&report.lines),
        _ => None,
    });
    lines.flatten().map(|line| line.cause).collect()
}

fn run(world: &mut World) -> Vec<crate::Result<()>> {
    world.run(round).expect("no other run is under way")
}

/// A counter of arrivals that runs ahead shows slots of an earlier call.
#[test]
fn slots_of_an_earlier_call_are_refused() {
    type Words = fn(&Window) -> (u64, u64);
    let arrays: [(&str, Words); 4] = [
        ("dispatch, forward", |window| (window.dispatch_forward_tail, window.dispatch_send_head)),
        ("dispatch, receive", |window| (window.dispatch_receive_tail, window.dispatch_receive_head)),
        ("combine, partial rows", |window| (window.combine_partial_tail, window.combine_partial_head)),
        ("combine, sums", |window| (window.combine_sum_tail, window.combine_send_head)),
    ];
    let variants = FABRICS.into_iter().flat_map(|fabric| SCHEDULES.map(|schedule| (fabric, schedule)));
    for (number, (fabric, schedule)) in (0..).zip(variants) {
        for (name, words) in arrays {
            // The other CTA's channel is whole: it leaves because the first one does.
            let channels = 1 + number % 2;
            let mut world = world(fabric, channels, &schedule);
            assert!(run(&mut world).iter().all(Result::is_ok), "before the damage");
            add_to_words(&mut world, words, channels.into(), 2);
            let outcomes = run(&mut world);
            let stale = causes(&outcomes).iter().any(|cause| matches!(cause, Cause::StaleSlot { .. }));
            assert!(stale, "{name} over {fabric:?}: {outcomes:?}");
            assert!(outcomes.iter().all(Result::is_err), "{name} over {fabric:?}: {outcomes:?}");
            world.close().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Two launches of one operation cannot meet through the library; the kernel sees it all the same.
#[test]
fn launches_that_overlap_are_refused() {
    for fabric in FABRICS {
        for (op, at) in [
            ("dispatch", std::mem::offset_of!(StateHead, dispatch_busy)),
            ("combine", std::mem::offset_of!(StateHead, combine_busy)),
        ] {
            let mut world = world(fabric, 1, &Schedule::RoundRobin);
            let machine = world.machine().cloned().expect("the world is emulated");
            let state = world.communicators()[1].places().state.address();
            machine.with(|machine| machine.write(state + at as u64, &1u32.to_le_bytes())).expect("a word of the state");
            let outcomes = run(&mut world);
            let Err(Error::Ended { op: which, report, .. }) = &outcomes[1] else { panic!("{op}: {outcomes:?}") };
            assert_eq!((*which, report.lines[0].cause), (op, Cause::Overlap));
            assert!(outcomes.iter().all(Result::is_err), "{op} over {fabric:?}: {outcomes:?}");
            world.close().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// A world of which rank 2 cannot make its launch number `nth` (layout, exchange, dispatch, combine); the ranks' outcomes.
fn without_launch(config: &WorldConfig, nth: u64, cancels: bool) -> Vec<crate::Result<()>> {
    let mut machine = config.machine.clone();
    if config.fabric == Fabric::Loopback {
        (machine.nodes, machine.gpus_per_node) = (1, 4);
    }
    let machine = EmuMachine::new(machine).unwrap_or_else(|error| panic!("{error}"));
    let mut devices = machine.devices();
    let rule = FaultRule { call: "launch", nth, message: "refused".to_string() };
    devices[2].driver = Faults::wrap(devices[2].driver.clone(), vec![rule]);
    let kernels = KernelSet::embedded(config.fabric).unwrap_or_else(|error| panic!("{error}"));
    let mut ranks = connect_kernels(config, &devices, kernels).unwrap_or_else(|error| panic!("{error}"));
    let cancellers: Vec<_> = ranks.iter().map(Communicator::canceller).collect();
    let act = |rank: &mut Communicator| {
        let outcome = round(rank);
        if cancels && rank.rank() == 2 {
            cancellers.iter().for_each(|canceller| canceller.cancel().unwrap_or_else(|error| panic!("{error}")));
        }
        outcome
    };
    let outcomes = machine.run(ranks.iter_mut().collect(), act).expect("no other run is under way");
    super::close(ranks).unwrap_or_else(|error| panic!("{error}"));
    outcomes
}

/// The launch that is missing leaves the others waiting there, until their deadline or until they are told to leave; CTAs
/// that come to run only then leave at once.
#[test]
fn a_launch_that_fails_is_waited_for_by_the_others() {
    for fabric in FABRICS {
        for (nth, op) in [(3, "dispatch"), (4, "combine")] {
            for (channels, resident) in [(1, None), (2, Some(1)), (2, None)] {
                for cancels in [false, true] {
                    let config = config(fabric, channels, resident, &Schedule::RoundRobin);
                    let outcomes = without_launch(&config, nth, cancels);
                    assert!(matches!(outcomes[2], Err(Error::Driver { call: "launch", .. })), "{outcomes:?}");
                    let cause = if cancels { Cause::Cancelled } else { Cause::Timeout };
                    for rank in [0, 1, 3] {
                        let Err(Error::Ended { op: which, report, .. }) = &outcomes[rank] else {
                            panic!("{op}: {outcomes:?}")
                        };
                        // A cancel may find a rank that has not come so far.
                        let there = cancels || *which == op;
                        let named = report.lines.iter().any(|line| line.cause == cause);
                        assert!(there && named, "rank {rank} over {fabric:?}: {outcomes:?}");
                    }
                }
            }
        }
    }
}
