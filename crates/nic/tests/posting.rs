//! Posting wrongly: what is a violation, and that the numbers in it are the right ones. Method: a
//! correct sequence with one thing changed.

mod common;

use common::{World, SOURCE};
use warpferry_nic::cqe;
use warpferry_nic::wqe::{self, Control, EntryError, Header};
use warpferry_nic::{Act, NetworkConfig, Plain, QueuePairNumber, QueueState, StepOutcome, Violation};

fn world() -> World {
    World::new(NetworkConfig::default())
}

fn small() -> World {
    World::with_queues(NetworkConfig::default(), |config| {
        config.send_queue_entries = 8;
    })
}

#[test]
fn a_doorbell_for_nobody_or_at_the_wrong_device() {
    let mut world = world();
    let stranger = QueuePairNumber(0x77);
    let value = wqe::doorbell_value(&wqe::nop(Control::new(stranger, 0)));
    world.network.doorbell(world.here, value);
    let (nic, queue_pair) = (world.here, stranger);
    let expected = Violation::UnknownDoorbell { nic, queue_pair };
    assert_eq!(world.network.violations(), [expected]);

    let own = wqe::doorbell_value(&wqe::nop(world.a.control()));
    world.network.doorbell(world.there, own);
    assert_eq!(world.network.violations().len(), 2);
    assert_eq!(world.network.ready(), 0);
}

#[test]
fn a_doorbell_in_reset() {
    let mut world = world();
    let queue_pair = world.a.pair.number;
    world.network.reset(queue_pair).unwrap();
    let value = wqe::doorbell_value(&wqe::nop(world.a.control()));
    world.network.doorbell(world.here, value);
    let expected = Violation::DoorbellInReset { queue_pair };
    assert_eq!(world.network.violations(), [expected]);
}

#[test]
fn a_doorbell_with_a_modifier() {
    let mut world = world();
    let queue_pair = world.a.pair.number;
    // The modifier is the byte that a little-endian store puts first.
    let value = wqe::doorbell_value(&wqe::nop(world.a.control())) + 1;
    world.network.doorbell(world.here, value);
    let expected = Violation::DoorbellModifier { queue_pair, modifier: 1 };
    assert_eq!(world.network.violations(), [expected]);
}

#[test]
fn a_doorbell_without_its_record() {
    let mut world = world();
    let mut a = world.a;
    let entry = wqe::nop(a.signaled());
    world.post(&mut a, &entry);
    world.write_record(&a, 0);
    world.ring(&a);
    world.run();
    let expected = Violation::RecordBehindDoorbell { queue_pair: a.pair.number, record: 0, doorbell: 1 };
    assert_eq!(world.network.violations(), [expected]);
    assert_eq!(world.network.state(a.pair.number), Ok(QueueState::Error));
}

#[test]
fn a_record_without_its_entry() {
    let mut world = world();
    world.run_one(&wqe::nop(Control::new(world.a.pair.number, 0)));
    let mut a = world.a;
    let wrong = wqe::nop(Control::new(a.pair.number, 7));
    world.post(&mut a, &wrong);
    // The doorbell is the one that belongs to position 1.
    let value = wqe::doorbell_value(&wqe::nop(Control::new(a.pair.number, 1)));
    world.network.doorbell(world.here, value);
    world.run();
    let expected = Violation::EntryPosition { queue_pair: a.pair.number, expected: 1, found: 7 };
    assert_eq!(world.network.violations(), [expected]);
    let completion = world.completion(&a);
    assert_eq!(completion.syndrome, cqe::SYNDROME_LOCAL_QUEUE_OPERATION);
    assert_eq!(completion.entry_counter, 1);
}

#[test]
fn an_entry_of_another_queue_pair() {
    let mut world = world();
    let mut a = world.a;
    let foreign = wqe::nop(Control::new(world.b.pair.number, 0));
    world.post(&mut a, &foreign);
    let value = wqe::doorbell_value(&wqe::nop(Control::new(a.pair.number, 0)));
    world.network.doorbell(world.here, value);
    world.run();
    let expected = Violation::EntryOfOther { queue_pair: a.pair.number, position: 0, found: world.b.pair.number };
    assert_eq!(world.network.violations(), [expected]);
}

#[test]
fn an_entry_longer_than_what_was_posted() {
    let mut world = world();
    let mut a = world.a;
    let data = [world.data(0, 8), world.data(8, 8), world.data(16, 8)];
    let entry = wqe::rdma_write(a.control(), world.remote(0), &data);
    world.post(&mut a, &entry);
    world.write_record(&a, 1);
    let short = wqe::doorbell_value(&wqe::nop(Control::new(a.pair.number, 0)));
    world.network.doorbell(world.here, short);
    world.run();
    let expected = Violation::EntryLength { queue_pair: a.pair.number, position: 0, blocks: 2, posted: 1 };
    assert_eq!(world.network.violations(), [expected]);
}

#[test]
fn a_counter_that_goes_back() {
    let mut world = world();
    for _ in 0..3 {
        let nop = wqe::nop(world.a.signaled());
        world.run_one(&nop);
    }
    let old = wqe::doorbell_value(&wqe::nop(Control::new(world.a.pair.number, 1)));
    world.network.doorbell(world.here, old);
    let expected =
        Violation::SendCounter { queue_pair: world.a.pair.number, counter: 2, completed: 3, known: 3, entries: 256 };
    assert_eq!(world.network.violations(), [expected]);
}

#[test]
fn a_record_that_goes_back() {
    let mut world =
        World::new(NetworkConfig { max_outstanding: 1, read_before_post: true, ..NetworkConfig::default() });
    let mut a = world.a;
    for _ in 0..3 {
        let nop = wqe::nop(a.control());
        world.post(&mut a, &nop);
    }
    world.ring(&a);
    world.network.step(&mut world.bus, &mut Plain);
    world.write_record(&a, 2);
    world.run();
    let expected =
        Violation::SendCounter { queue_pair: a.pair.number, counter: 2, completed: 0, known: 3, entries: 256 };
    assert_eq!(world.network.violations(), [expected]);
}

/// Entries may be used again after a completion only: not after having been retired in silence.
#[test]
fn a_queue_that_runs_over() {
    for completes in [false, true] {
        let mut world = small();
        let mut a = world.a;
        for index in 0..8 {
            let last = completes && index == 7;
            let control = if last { a.signaled() } else { a.control() };
            world.post(&mut a, &wqe::nop(control));
        }
        world.ring(&a);
        world.run();
        world.a = a;
        let nop = wqe::nop(world.a.control());
        world.run_one(&nop);
        let expected =
            Violation::SendCounter { queue_pair: a.pair.number, counter: 9, completed: 0, known: 8, entries: 8 };
        let expected = if completes { vec![] } else { vec![expected] };
        assert_eq!(world.network.violations(), expected);
    }
}

#[test]
fn the_short_form_of_a_doorbell_is_accepted() {
    let mut world = world();
    let mut a = world.a;
    let entry = wqe::nop(a.signaled());
    world.post(&mut a, &entry);
    let header = Header { modifier: 0, position: 1, opcode: 0, queue_pair: a.pair.number, segments: 0 };
    let value = u64::from_le_bytes(header.encode());
    world.network.doorbell(world.here, value);
    world.run();
    assert_eq!(world.network.violations(), []);
    let counters = world.network.counters(a.pair.number).unwrap();
    assert_eq!((counters.doorbells, counters.completions), (1, 1));
}

#[test]
fn refused_operations_say_so() {
    let refused = [wqe::OPCODE_RDMA_WRITE_IMMEDIATE, wqe::OPCODE_SEND, wqe::OPCODE_SEND_IMMEDIATE];
    for opcode in refused {
        let mut world = world();
        let mut entry = wqe::rdma_write(world.a.signaled(), world.remote(0), &[world.data(0, 8)]);
        entry[3] = opcode;
        let completion = world.run_one(&entry);
        assert_eq!(completion.syndrome, cqe::SYNDROME_LOCAL_QUEUE_OPERATION);
        let expected =
            Violation::Entry { queue_pair: world.a.pair.number, position: 0, error: EntryError::Refused { opcode } };
        assert_eq!(world.network.violations(), [expected]);
    }
}

#[test]
fn malformed_entries_have_a_reason() {
    let world = world();
    let (control, remote) = (world.a.control(), world.remote(0));
    let data = world.data(0, 8);
    let write = wqe::rdma_write(control, remote, &[data]);
    let add = wqe::fetch_add(control, remote, 1, data);
    let changed = |entry: &[u8], at: usize, byte: u8| {
        let mut entry = entry.to_vec();
        entry[at] = byte;
        wqe::decode(&entry).unwrap_err()
    };
    let opcode = wqe::OPCODE_RDMA_WRITE;
    let modifier = 8;
    assert_eq!(changed(&write, 0, 8), EntryError::Modifier { opcode, modifier });
    assert_eq!(changed(&write, 3, 0x3f), EntryError::UnknownOpcode { opcode: 0x3f });
    assert_eq!(changed(&write, 11, 5 << 5), EntryError::FenceMode { mode: 5 });
    assert_eq!(changed(&write, 7, 1), EntryError::Segments { opcode, have: 1, min: 2, max: 63 });
    let atomic = wqe::OPCODE_ATOMIC_FETCH_ADD;
    assert_eq!(changed(&add, 7, 3), EntryError::Segments { opcode: atomic, have: 3, min: 4, max: 4 });
    assert_eq!(changed(&add, 51, 4), EntryError::AtomicLength { bytes: 4 });
    assert_eq!(changed(&add, 48, 0x80), EntryError::InlineResult { opcode: atomic });
    let inline = wqe::rdma_write_inline(control, remote, &[0; 12]);
    assert_eq!(changed(&inline, 35, 13), EntryError::InlineLength { bytes: 13, room_bytes: 12 });
    let long = wqe::rdma_write(control, remote, &[wqe::DataSegment { bytes: 0, ..data }; 2]);
    assert_eq!(wqe::decode(&long).unwrap_err(), EntryError::MessageLength { bytes: 1 << 32 });
}

#[test]
fn a_completion_ring_that_runs_over() {
    let mut world = World::with_queues(NetworkConfig::default(), |config| {
        config.collapsed = false;
        config.completion_queue_entries = 4;
    });
    for count in 0..5 {
        assert_eq!(world.network.violations(), [], "after {count}");
        let nop = wqe::nop(world.a.signaled());
        world.run_one(&nop);
    }
    let expected =
        Violation::CompletionOverrun { queue_pair: world.a.pair.number, produced: 4, consumed: 0, entries: 4 };
    assert_eq!(world.network.violations(), [expected]);
    // The first completion was not overwritten.
    assert_eq!(world.completion_at(&world.a, 0).entry_counter, 0);
}

/// A device that may look early finds entries whose doorbell has not come, and takes the late
/// doorbell well.
#[test]
fn entries_are_found_before_their_doorbell() {
    let mut found = 0;
    for seed in 0..40 {
        let mut random = common::Random(seed);
        let mut world = World::new(NetworkConfig { read_before_post: true, ..NetworkConfig::default() });
        let mut a = world.a;
        let first = wqe::rdma_write(a.control(), world.remote(0), &[world.data(0, 8)]);
        world.post(&mut a, &first);
        world.ring(&a);
        world.network.step(&mut world.bus, &mut Plain);
        let second = wqe::nop(a.signaled());
        world.post(&mut a, &second);
        world.run_random(&mut random);
        let early = world.network.counters(a.pair.number).unwrap();
        found += early.completions;
        world.ring(&a);
        world.run_random(&mut random);
        let late = world.network.counters(a.pair.number).unwrap();
        assert_eq!((late.completions, late.entries_fetched), (1, 2));
        assert_eq!(world.network.violations(), [], "seed {seed}");
    }
    assert!(found > 0 && found < 40, "{found} of 40");
}

/// A device that looks whenever it can comes to rest all the same.
#[test]
fn looking_early_ends() {
    let mut world = World::new(NetworkConfig { read_before_post: true, ..NetworkConfig::default() });
    let mut a = world.a;
    for _ in 0..3 {
        let entry = wqe::rdma_write(a.signaled(), world.remote(0), &[world.data(0, 8)]);
        world.post(&mut a, &entry);
    }
    world.ring(&a);
    // Fetching is the last of the acts offered.
    let mut last = |n: usize| n - 1;
    let steps = (0..100).take_while(|_| {
        let acted = world.network.step(&mut world.bus, &mut last);
        acted != StepOutcome::Idle
    });
    assert!(steps.count() < 100);
    let counters = world.network.counters(a.pair.number).unwrap();
    assert_eq!(counters.completions, 3);
}

/// Changing an entry or its payload before the completion is found when the device reads again.
#[test]
fn what_is_under_way_must_not_change() {
    for change in 0..3 {
        let mut found = 0;
        for seed in 0..20 {
            let mut random = common::Random(seed);
            let mut world = World::new(NetworkConfig { retransmit: true, ..NetworkConfig::default() });
            let mut a = world.a;
            let data = [world.data(0, 5000), world.data(6000, 3000)];
            let entry = wqe::rdma_write(a.signaled(), world.remote(0), &data);
            world.post(&mut a, &entry);
            world.ring(&a);
            let counters = |world: &World| world.network.counters(a.pair.number).unwrap();
            while counters(&world).writes == 0 {
                let acted = world.network.step(&mut world.bus, &mut Plain);
                assert_ne!(acted, StepOutcome::Idle);
            }
            match change {
                0 => {}
                1 => world.set_word(SOURCE + 6000, 1),
                _ => world.set_word(a.config.send_queue_address + 16, 1),
            }
            world.run_random(&mut random);
            let expected = match change {
                0 => continue,
                1 => Violation::SourceChanged { queue_pair: a.pair.number, position: 0, offset_bytes: 4096 },
                _ => Violation::EntryChanged { queue_pair: a.pair.number, position: 0 },
            };
            let violations = world.network.violations();
            assert!(violations.is_empty() || violations == [expected]);
            found += violations.len();
        }
        assert_eq!(found > 0, change > 0, "change {change}: {found} of 20");
    }
}

/// A device that is late is late in most runs, ends all the same, and is not late when it was not asked to be.
#[test]
fn late_completions_come() {
    let acts = |late_completions: bool, seed: u64| {
        let mut random = common::Random(seed);
        let mut world = World::new(NetworkConfig { late_completions, ..NetworkConfig::default() });
        let mut a = world.a;
        let data = [world.data(0, 64)];
        let entry = wqe::rdma_write(a.signaled(), world.remote(0), &data);
        world.post(&mut a, &entry);
        world.ring(&a);
        let mut late = 0;
        for _ in 0..10_000 {
            let mut choose = |n: usize| random.below(n as u64) as usize;
            match world.network.step(&mut world.bus, &mut choose) {
                StepOutcome::Did(event) if event.act == Act::Late => late += 1,
                StepOutcome::Did(_) => {}
                _ => break,
            }
        }
        assert_eq!(world.network.counters(a.pair.number).unwrap().completions, 1, "seed {seed}");
        late
    };
    assert!((0..20).all(|seed| acts(false, seed) == 0));
    let late: Vec<u32> = (0..20).map(|seed| acts(true, seed)).collect();
    let most = u32::from(NetworkConfig::patience(World::new(NetworkConfig::default()).a.pair.number));
    assert!(most > 0 && late.iter().all(|&acts| acts <= most), "{late:?}");
    assert!(late.iter().filter(|&&acts| acts > most / 4).count() > 10, "{late:?}");
}
