//! Keys, bounds, rights and states: what is refused, with which syndrome, and what follows.

mod common;

use common::{Random, World, REGION_BYTES, SOURCE, TARGET};
use warpferry_nic::cqe;
use warpferry_nic::wqe::{self, DataSegment, Remote};
use warpferry_nic::{
    Cause, ConfigError, Network, NetworkConfig, NicId, Ordering, Plain, QueueConfig, QueuePairNumber, QueueState,
    Rights, Violation,
};

fn world() -> World {
    World::new(NetworkConfig::default())
}

/// Posts one signaled entry; the syndrome, and nothing may have been written at the target.
fn refused(world: &mut World, entry: &[u8]) -> u8 {
    let completion = world.run_one(entry);
    assert!(completion.is_error(), "not refused");
    assert_eq!(completion.entry_counter, world.a.next - 1);
    let failure = world.network.failures()[0];
    assert_eq!(failure.syndrome, completion.syndrome);
    assert_eq!(failure.cause.vendor_syndrome(), completion.vendor_syndrome);
    assert_eq!(world.bus.placed(world.there), []);
    assert_eq!(world.network.state(world.a.pair.number), Ok(QueueState::Error));
    completion.syndrome
}

#[test]
fn local_keys_and_bounds() {
    let good = world().data(0, 64);
    let end = SOURCE + REGION_BYTES;
    let cases: &[DataSegment] = &[
        DataSegment { lkey: 0, ..good },
        DataSegment { lkey: good.lkey ^ 1, ..good },
        DataSegment { lkey: world().source.rkey, ..good },
        DataSegment { lkey: world().target.lkey, address: TARGET, ..good },
        DataSegment { address: SOURCE - 1, ..good },
        DataSegment { address: end - 63, ..good },
        DataSegment { address: u64::MAX - 3, ..good },
        // A length of 0 stands for 2^31.
        DataSegment { bytes: 0, ..good },
    ];
    for &data in cases {
        let mut world = world();
        let entry = wqe::rdma_write(world.a.signaled(), world.remote(0), &[data]);
        assert_eq!(refused(&mut world, &entry), cqe::SYNDROME_LOCAL_PROTECTION, "{data:?}");
        // What goes wrong at home leaves the peer alone.
        let peer = world.network.state(world.b.pair.number);
        assert_eq!(peer, Ok(QueueState::ReadyToSend));
    }
    // The last bytes themselves are inside.
    let mut world = world();
    let last = DataSegment { address: end - 64, ..good };
    let entry = wqe::rdma_write(world.a.signaled(), world.remote(REGION_BYTES - 64), &[last]);
    assert!(!world.run_one(&entry).is_error());
}

#[test]
fn remote_keys_and_bounds() {
    let good = world().remote(0);
    let end = TARGET + REGION_BYTES;
    let cases: &[Remote] = &[
        Remote { rkey: 0, ..good },
        Remote { rkey: good.rkey ^ 0x100, ..good },
        Remote { rkey: world().target.lkey, ..good },
        Remote { rkey: world().source.rkey, address: SOURCE },
        Remote { address: TARGET - 1, ..good },
        Remote { address: end - 63, ..good },
        Remote { address: u64::MAX, ..good },
    ];
    for &remote in cases {
        let mut world = world();
        let entry = wqe::rdma_write(world.a.signaled(), remote, &[world.data(0, 64)]);
        assert_eq!(refused(&mut world, &entry), cqe::SYNDROME_REMOTE_ACCESS, "{remote:?}");
        // The responder goes to error too.
        let peer = world.network.state(world.b.pair.number);
        assert_eq!(peer, Ok(QueueState::Error));
    }
}

#[test]
fn rights_are_asked_for_one_by_one() {
    type Change = fn(&mut Rights);
    let without: [(Change, usize); 3] = [
        (|rights| rights.remote_write = false, 0),
        (|rights| rights.remote_atomic = false, 1),
        (|rights| rights.remote_read = false, 2),
    ];
    for (change, refused_one) in without {
        for operation in 0..3 {
            let mut world = world();
            let mut rights = Rights::all();
            change(&mut rights);
            let region = world.network.register(world.there, TARGET, 64, rights).unwrap();
            let remote = Remote { address: TARGET, rkey: region.rkey };
            let (control, data) = (world.a.signaled(), world.data(0, 8));
            let entry = match operation {
                0 => wqe::rdma_write(control, remote, &[data]),
                1 => wqe::fetch_add(control, remote, 1, data),
                _ => wqe::rdma_read(control, remote, &[data]),
            };
            if operation == refused_one {
                let syndrome = refused(&mut world, &entry);
                assert_eq!(syndrome, cqe::SYNDROME_REMOTE_ACCESS);
            } else {
                assert!(!world.run_one(&entry).is_error());
            }
        }
    }
}

#[test]
fn results_need_local_write() {
    for operation in 0..2 {
        let mut world = world();
        let rights = Rights { local_write: false, ..Rights::all() };
        let region = world.network.register(world.here, SOURCE, 64, rights).unwrap();
        let data = DataSegment { lkey: region.lkey, ..world.data(0, 8) };
        let control = world.a.signaled();
        let entry = match operation {
            0 => wqe::fetch_add(control, world.remote(0), 1, data),
            _ => wqe::rdma_read(control, world.remote(0), &[data]),
        };
        let syndrome = refused(&mut world, &entry);
        assert_eq!(syndrome, cqe::SYNDROME_LOCAL_PROTECTION);
    }
}

#[test]
fn a_misaligned_atomic_is_an_invalid_request() {
    for offset in 1..8 {
        let mut world = world();
        let control = world.a.signaled();
        let entry = wqe::fetch_add(control, world.remote(offset), 1, world.data(0, 8));
        let syndrome = refused(&mut world, &entry);
        assert_eq!(syndrome, cqe::SYNDROME_REMOTE_INVALID_REQUEST);
    }
}

#[test]
fn a_registration_taken_back_is_gone() {
    let mut world = world();
    world.network.deregister(world.target).unwrap();
    let again = world.network.deregister(world.target);
    assert!(matches!(again, Err(ConfigError::UnknownRegion { .. })));
    let entry = wqe::rdma_write(world.a.signaled(), world.remote(0), &[world.data(0, 8)]);
    let syndrome = refused(&mut world, &entry);
    assert_eq!(syndrome, cqe::SYNDROME_REMOTE_ACCESS);
    let cause = world.network.failures()[0].cause;
    assert!(matches!(cause, Cause::UnknownKey { .. }));
}

/// What precedes a failure is done and completes, the failure completes, the rest is flushed,
/// asked for a completion or not, and so is what is posted later.
#[test]
fn a_failure_flushes_what_follows() {
    let mut world = World::with_queues(NetworkConfig::default(), |config| {
        config.collapsed = false;
    });
    let bad = Remote { rkey: 7, ..world.remote(0) };
    let data = [world.data(0, 8)];
    world.set_word(SOURCE, 42);
    let mut a = world.a;
    let entries = [
        wqe::rdma_write(a.signaled(), world.remote(0), &data),
        wqe::rdma_write(wqe::Control { position: 1, ..a.control() }, bad, &data),
        wqe::rdma_write(wqe::Control { position: 2, ..a.control() }, world.remote(8), &data),
        wqe::nop(wqe::Control { position: 3, ..a.control() }),
    ];
    for entry in &entries {
        world.post(&mut a, entry);
    }
    world.a = a;
    world.ring(&a);
    world.run();
    let late = wqe::nop(world.a.control());
    world.run_one(&late);
    let expected =
        [0, cqe::SYNDROME_REMOTE_ACCESS, cqe::SYNDROME_FLUSHED, cqe::SYNDROME_FLUSHED, cqe::SYNDROME_FLUSHED];
    for (place, syndrome) in expected.into_iter().enumerate() {
        let completion = world.completion_at(&world.a, place as u64);
        assert_eq!(completion.syndrome, syndrome, "completion {place}");
        assert_eq!(usize::from(completion.entry_counter), place);
    }
    assert_eq!(world.bus.memory.word(TARGET), 42);
    assert_eq!(world.bus.memory.word(TARGET + 8), 0);
    assert_eq!(world.network.failures().len(), 1);
    assert_eq!(world.network.violations(), []);
    let counters = world.network.counters(world.a.pair.number).unwrap();
    assert_eq!((counters.completions, counters.errors), (1, 4));
}

#[test]
fn a_peer_that_was_reset_does_not_answer_and_both_can_start_again() {
    let mut world = world();
    world.network.reset(world.b.pair.number).unwrap();
    let entry = wqe::rdma_write(world.a.signaled(), world.remote(0), &[world.data(0, 8)]);
    let syndrome = refused(&mut world, &entry);
    assert_eq!(syndrome, cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED);
    let (a, b) = (world.a.pair.number, world.b.pair.number);
    let early = world.network.connect(a, b);
    assert!(matches!(early, Err(ConfigError::State { .. })));
    world.network.reset(a).unwrap();
    world.network.connect(a, b).unwrap();
    world.a.next = 0;
    let entry = wqe::rdma_write(world.a.signaled(), world.remote(0), &[world.data(0, 8)]);
    assert!(!world.run_one(&entry).is_error());
}

/// A peer that is connected anew, to another queue pair, does not answer its old one.
#[test]
fn a_peer_that_went_to_another_does_not_answer() {
    let mut world = world();
    let b = world.b.pair.number;
    let third = world.add_pair().pair.number;
    world.network.reset(b).unwrap();
    world.network.reset(third).unwrap();
    world.network.connect(b, third).unwrap();
    let entry = wqe::rdma_write(world.a.signaled(), world.remote(0), &[world.data(0, 8)]);
    let syndrome = refused(&mut world, &entry);
    assert_eq!(syndrome, cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED);
}

/// A refusal that is told late leaves alone a peer that is no longer connected.
#[test]
fn a_late_refusal_does_not_reach_a_new_connection() {
    let mut world = world();
    let mut a = world.a;
    let remote = Remote { rkey: 0, ..world.remote(0) };
    let entry = wqe::rdma_write(a.signaled(), remote, &[world.data(0, 8)]);
    world.post(&mut a, &entry);
    world.ring(&a);
    // Fetched, and refused, but not retired.
    for _ in 0..2 {
        world.network.step(&mut world.bus, &mut Plain);
    }
    let b = world.b.pair.number;
    let third = world.add_pair().pair.number;
    world.network.reset(b).unwrap();
    world.network.reset(third).unwrap();
    world.network.connect(b, third).unwrap();
    world.run();
    assert_eq!(world.completion(&a).syndrome, cqe::SYNDROME_REMOTE_ACCESS);
    assert_eq!(world.network.state(b), Ok(QueueState::ReadyToSend));
}

/// A write that was placed early, past one that failed, does not complete as if all were well.
#[test]
fn nothing_succeeds_after_a_failure() {
    let mut placed_early = 0;
    for seed in 0..60 {
        let mut random = Random(seed);
        let config = NetworkConfig { ordering: Ordering::WritesUnordered, ..NetworkConfig::default() };
        let mut world = World::with_queues(config, |config| config.collapsed = false);
        let mut a = world.a;
        let failing = random.below(8);
        for index in 0..8 {
            world.set_word(SOURCE + index * 8, 1);
            let mut remote = world.remote(index * 8);
            remote.rkey ^= u32::from(index == failing);
            let data = [world.data(index * 8, 8)];
            let entry = wqe::rdma_write(a.signaled(), remote, &data);
            world.post(&mut a, &entry);
        }
        world.ring(&a);
        world.run_random(&mut random);
        for index in 0..8 {
            let completion = world.completion_at(&a, index);
            let expected = match index.cmp(&failing) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => cqe::SYNDROME_REMOTE_ACCESS,
                std::cmp::Ordering::Greater => cqe::SYNDROME_FLUSHED,
            };
            assert_eq!(completion.syndrome, expected, "seed {seed} entry {index}");
            let word = world.bus.memory.word(TARGET + index * 8);
            placed_early += u64::from(index > failing && word == 1);
        }
    }
    assert!(placed_early > 0);
}

/// `ce` 1 asks for a completion of the first error only.
#[test]
fn completions_of_the_first_error_only() {
    let mut world = world();
    let mut a = world.a;
    let first_error = |control: wqe::Control| wqe::Control { completion: wqe::COMPLETION_ON_FIRST_ERROR, ..control };
    for _ in 0..4 {
        let remote = Remote { rkey: 0, ..world.remote(0) };
        let entry = wqe::rdma_write(first_error(a.control()), remote, &[world.data(0, 8)]);
        world.post(&mut a, &entry);
    }
    world.ring(&a);
    world.run();
    let counters = world.network.counters(a.pair.number).unwrap();
    assert_eq!((counters.entries_fetched, counters.errors), (4, 1));
    assert_eq!(world.completion(&a).entry_counter, 0);
}

/// A completion queue that is not there is told once, and ends the queue pair.
#[test]
fn completions_that_cannot_be_written() {
    let mut world = World::with_queues(NetworkConfig::default(), |config| {
        config.completion_queue_address = 64;
    });
    let mut a = world.a;
    for _ in 0..3 {
        let entry = wqe::nop(a.signaled());
        world.post(&mut a, &entry);
    }
    world.ring(&a);
    world.run();
    let violations = world.network.violations();
    assert_eq!(violations.len(), 1);
    assert!(matches!(violations[0], Violation::Memory { .. }));
    assert_eq!(world.network.state(a.pair.number), Ok(QueueState::Error));
}

#[test]
fn memory_that_refuses_a_registered_access_is_told() {
    let mut world = world();
    let beyond = common::BASE + common::MEMORY_BYTES as u64;
    let region = world.network.register(world.there, beyond, 64, Rights::all()).unwrap();
    let remote = Remote { address: beyond, rkey: region.rkey };
    let entry = wqe::rdma_write(world.a.signaled(), remote, &[world.data(0, 8)]);
    let completion = world.run_one(&entry);
    assert_eq!(completion.syndrome, cqe::SYNDROME_REMOTE_OPERATION);
    let Violation::Memory { agent, fault } = world.network.violations()[0] else {
        panic!("{:?}", world.network.violations());
    };
    assert_eq!((agent.nic, fault.address), (world.there, beyond));
}

#[test]
fn setting_up_wrongly_is_an_error_with_the_numbers() {
    let config = NetworkConfig { max_outstanding: 0, ..NetworkConfig::default() };
    assert!(matches!(Network::new(config), Err(ConfigError::Range { .. })));
    let mut network = Network::new(NetworkConfig::default()).unwrap();
    let nic = network.add_nic().unwrap();
    let good = QueueConfig::collapsed(0x1000, 16, 0x2000, 0x3000);
    let other = NicId(1);
    assert_eq!(network.create_queue_pair(other, good), Err(ConfigError::UnknownNic { nic: other, nics: 1 }));
    let bad: [fn(&mut QueueConfig); 8] = [
        |config| config.send_queue_address += 32,
        |config| config.send_queue_entries = 0,
        |config| config.send_queue_entries = 12,
        |config| config.send_queue_entries = 2 * QueueConfig::MAX_ENTRIES,
        |config| config.doorbell_record_address += 4,
        |config| config.completion_queue_address += 8,
        |config| config.completion_record_address = Some(4),
        |config| config.send_queue_address = u64::MAX - 63,
    ];
    for (case, change) in bad.into_iter().enumerate() {
        let mut config = good;
        change(&mut config);
        let made = network.create_queue_pair(nic, config);
        assert!(made.is_err(), "case {case}");
    }
    let pair = network.create_queue_pair(nic, good).unwrap().number;
    assert!(network.connect(pair, pair).is_err());
    assert!(network.connect(pair, QueuePairNumber(5)).is_err());
    assert!(network.register(nic, 0, 0, Rights::all()).is_err());
    assert!(network.register(nic, u64::MAX, 2, Rights::all()).is_err());
    network.destroy_queue_pair(pair).unwrap();
    assert!(network.state(pair).is_err());
}
