//! Planned faults fire where and when planned, once, and are told; delays hold queue pairs back.

mod common;

use common::{for_seeds, Random, World, SOURCE, TARGET};
use warpferry_nic::cqe;
use warpferry_nic::wqe;
use warpferry_nic::{
    Cause, Fault, FaultAction, FaultMatch, FaultPlan, NetworkConfig, Ordering, Plain, QueueState, StepOutcome,
};

const ENTRIES: u64 = 12;

/// Twelve signaled entries, write and atomic by turns, each to its own word, completions in a ring.
fn world(fault: Fault) -> World {
    let mut world = World::with_queues(NetworkConfig::default(), |config| {
        config.collapsed = false;
    });
    world.network.set_faults(FaultPlan { faults: vec![fault] });
    let mut a = world.a;
    for index in 0..ENTRIES {
        let at = index * 8;
        world.set_word(SOURCE + at, 1);
        let entry = if index % 2 == 0 {
            wqe::rdma_write(a.signaled(), world.remote(at), &[world.data(at, 8)])
        } else {
            wqe::fetch_add(a.signaled(), world.remote(at), 1, world.data(0x100, 8))
        };
        world.post(&mut a, &entry);
    }
    world.a = a;
    world.ring(&a);
    world.run();
    world
}

fn words(world: &World) -> Vec<u64> {
    (0..ENTRIES).map(|index| world.bus.memory.word(TARGET + index * 8)).collect()
}

fn fault(matching: FaultMatch, after: u64, action: FaultAction) -> Fault {
    Fault { queue_pair: None, matching, after, action }
}

#[test]
fn the_nth_entry_that_counts_drops_to_error() {
    let syndrome = cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED;
    let action = FaultAction::DropToError { syndrome };
    for (matching, after, position) in
        [(FaultMatch::Any, 0, 0), (FaultMatch::Any, 5, 5), (FaultMatch::Write, 2, 4), (FaultMatch::Atomic, 2, 5)]
    {
        let world = world(fault(matching, after, action));
        let fired = world.network.fired();
        assert_eq!(fired.len(), 1);
        assert_eq!((fired[0].position, fired[0].action), (position, action));
        assert_eq!(fired[0].queue_pair, world.a.pair.number);
        for index in 0..ENTRIES {
            let expected = match index.cmp(&u64::from(position)) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => syndrome,
                std::cmp::Ordering::Greater => cqe::SYNDROME_FLUSHED,
            };
            assert_eq!(world.completion_at(&world.a, index).syndrome, expected);
            let done = u64::from(index < u64::from(position));
            assert_eq!(words(&world)[index as usize], done);
        }
        assert_eq!(world.network.failures()[0].cause, Cause::Planned);
        let state = world.network.state(world.a.pair.number);
        assert_eq!(state, Ok(QueueState::Error));
        assert_eq!(world.network.violations(), []);
    }
}

#[test]
fn a_stall_is_silent() {
    let world = world(fault(FaultMatch::Atomic, 1, FaultAction::Stall));
    assert_eq!(words(&world), [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let counters = world.network.counters(world.a.pair.number).unwrap();
    assert_eq!((counters.completions, counters.errors), (3, 0));
    assert_eq!(world.network.ready(), 0);
    assert_eq!(world.network.outstanding(world.a.pair.number), Ok(1));
    let stalled: Vec<_> = world.network.stalled().collect();
    assert_eq!(stalled, [world.a.pair.number]);
    let state = world.network.state(world.a.pair.number);
    assert_eq!(state, Ok(QueueState::ReadyToSend));
}

#[test]
fn a_stall_holds_back_unordered_writes_too() {
    for_seeds(20, |seed| {
        let mut random = Random(seed);
        let mut world = World::new(NetworkConfig { ordering: Ordering::WritesUnordered, ..NetworkConfig::default() });
        world.network.set_faults(FaultPlan { faults: vec![fault(FaultMatch::Write, 1, FaultAction::Stall)] });
        let mut a = world.a;
        for index in 0..4 {
            world.set_word(SOURCE + index * 8, 1);
            let data = [world.data(index * 8, 8)];
            let entry = wqe::rdma_write(a.signaled(), world.remote(index * 8), &data);
            world.post(&mut a, &entry);
        }
        world.ring(&a);
        world.run_random(&mut random);
        assert_eq!(words(&world)[..4], [1, 0, 0, 0]);
    });
}

#[test]
fn a_corrupt_key_is_refused_by_the_peer() {
    let world = world(fault(FaultMatch::Write, 1, FaultAction::CorruptKey));
    let failure = world.network.failures()[0];
    assert_eq!(failure.syndrome, cqe::SYNDROME_REMOTE_ACCESS);
    assert_eq!(failure.position, 2);
    assert_eq!(words(&world)[2], 0);
}

#[test]
fn a_lost_signal_completes_without_effect() {
    let world = world(fault(FaultMatch::Atomic, 1, FaultAction::LoseSignal));
    assert_eq!(words(&world), [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
    let counters = world.network.counters(world.a.pair.number).unwrap();
    assert_eq!((counters.completions, counters.atomics), (12, 5));
}

#[test]
fn a_fault_for_another_queue_pair_does_not_fire() {
    let mut here = fault(FaultMatch::Any, 0, FaultAction::Stall);
    let b = World::new(NetworkConfig::default()).b.pair.number;
    here.queue_pair = Some(b);
    let world = world(here);
    assert_eq!(world.network.fired(), []);
    assert_eq!(words(&world), [1; ENTRIES as usize]);
}

#[test]
fn a_held_queue_pair_waits_for_its_time() {
    let mut world = World::new(NetworkConfig::default());
    let mut a = world.a;
    world.network.hold_until(a.pair.number, 100).unwrap();
    assert_eq!(world.network.next_time(), None);
    let entry = wqe::nop(a.signaled());
    world.post(&mut a, &entry);
    world.ring(&a);
    assert_eq!(world.network.ready(), 0);
    assert_eq!(world.network.next_time(), Some(100));
    world.network.advance(99);
    let idle = world.network.step(&mut world.bus, &mut Plain);
    assert_eq!(idle, StepOutcome::Idle);
    world.network.advance(100);
    assert_eq!((world.network.ready(), world.network.next_time()), (1, None));
    world.run();
    assert_eq!(world.completion(&a).entry_counter, 0);
    let counters = world.network.counters(a.pair.number).unwrap();
    assert_eq!(counters.completions, 1);
}

#[test]
fn a_delayed_queue_pair_acts_once_in_so_many_ticks() {
    let mut world = World::new(NetworkConfig::default());
    let mut a = world.a;
    world.network.advance(1000);
    world.network.set_delay(a.pair.number, 10).unwrap();
    let entry = wqe::rdma_write(a.signaled(), world.remote(0), &[world.data(0, 8)]);
    world.post(&mut a, &entry);
    world.ring(&a);
    let mut times = Vec::new();
    while let Some(time) = world.network.next_time() {
        world.network.advance(time);
        times.push(time);
        let acted = world.network.step(&mut world.bus, &mut Plain);
        assert!(matches!(acted, StepOutcome::Did(_)));
    }
    // Fetch, place, retire.
    assert_eq!(times, [1010, 1020, 1030]);
    assert_eq!(world.network.ready(), 0);
}
