//! Whatever a kernel leaves in memory, the devices come to rest without a panic. Method: queues,
//! records and doorbells of random bytes, and sound entries with random bits flipped.

mod common;

use common::{for_seeds, Random, World, MAX_STEPS, SOURCE};
use warpferry_nic::wqe::{self, Control};
use warpferry_nic::{
    Fault, FaultAction, FaultMatch, FaultPlan, Network, NetworkConfig, Ordering, QueueState, StepOutcome,
};

fn random_world(random: &mut Random) -> World {
    let orderings = [Ordering::InOrder, Ordering::WritesUnordered];
    let config = NetworkConfig {
        ordering: orderings[random.below(2) as usize],
        max_write_piece_bytes: 1 + random.below(9000) as u32,
        max_outstanding: 1 + random.below(40) as u32,
        read_before_post: random.below(2) == 0,
        retransmit: random.below(2) == 0,
        late_completions: random.below(2) == 0,
    };
    let entries = 1 << random.below(9);
    let collapsed = random.below(2) == 0;
    let record = random.below(2) == 0;
    World::with_queues(config, |config| {
        config.send_queue_entries = entries;
        config.completion_queue_entries = entries;
        config.collapsed = collapsed;
        config.completion_record_address = record.then_some(config.doorbell_record_address + 8);
    })
}

fn comes_to_rest(world: &mut World, random: &mut Random) {
    for _ in 0..MAX_STEPS {
        let mut choose = |n: usize| random.below(n as u64 + 1) as usize;
        if world.network.step(&mut world.bus, &mut choose) == StepOutcome::Idle {
            return;
        }
    }
    panic!("the devices do not come to rest");
}

#[test]
fn random_bytes() {
    for_seeds(300, |seed| {
        let mut random = Random(seed);
        let mut world = random_world(&mut random);
        for end in [world.a, world.b] {
            let bytes = end.config.send_queue_entries as usize * wqe::BLOCK_BYTES;
            world.fill(end.config.send_queue_address, bytes, &mut random);
            world.fill(end.config.doorbell_record_address, 16, &mut random);
        }
        for _ in 0..40 {
            let end = [world.a, world.b][random.below(2) as usize];
            // Sometimes the number is right, or the doorbell would rarely get through.
            let value = match random.below(3) {
                0 => random.next(),
                _ => {
                    let position = random.below(8) as u16;
                    wqe::doorbell_value(&wqe::nop(Control::new(end.pair.number, position)))
                }
            };
            world.network.doorbell(end.pair.nic, value);
            comes_to_rest(&mut world, &mut random);
        }
        assert!(!world.network.violations().is_empty());
        // Reports of anything can be printed.
        for violation in world.network.violations() {
            assert!(!violation.to_string().is_empty());
        }
    });
}

/// Entries that get past the first checks: sound ones with a few bits flipped.
#[test]
fn flipped_bits() {
    let mut errors = 0;
    let mut successes = 0;
    for seed in 0..1500 {
        let mut random = Random(seed);
        let mut world = random_world(&mut random);
        let actions = [
            FaultAction::Stall,
            FaultAction::CorruptKey,
            FaultAction::LoseSignal,
            FaultAction::DropToError { syndrome: 0x15 },
        ];
        world.network.set_faults(FaultPlan {
            faults: vec![Fault {
                queue_pair: None,
                matching: FaultMatch::Any,
                after: random.below(20),
                action: actions[random.below(4) as usize],
            }],
        });
        world.fill(SOURCE, 4096, &mut random);
        for _ in 0..12 {
            let mut end = [world.a, world.b][random.below(2) as usize];
            let entry = random_entry(&world, end.signaled(), &mut random);
            let blocks = entry.len() / wqe::BLOCK_BYTES;
            if blocks > end.config.send_queue_entries as usize {
                continue;
            }
            let mut flipped = entry.clone();
            for _ in 0..random.below(3) {
                let bit = random.below(entry.len() as u64 * 8) as usize;
                flipped[bit / 8] ^= 1 << (bit % 8);
            }
            world.post(&mut end, &flipped);
            world.network.doorbell(end.pair.nic, wqe::doorbell_value(&entry));
            if end.pair.nic == world.here {
                world.a = end;
            } else {
                world.b = end;
            }
            comes_to_rest(&mut world, &mut random);
        }
        for failure in world.network.failures() {
            assert!(!failure.to_string().is_empty());
        }
        for nic in [world.here, world.there] {
            let counters = world.network.nic_counters(nic).unwrap();
            errors += counters.errors;
            successes += counters.completions;
        }
        for end in [world.a, world.b] {
            let state = world.network.state(end.pair.number).unwrap();
            assert_ne!(state, QueueState::Reset);
        }
    }
    assert!(errors > 1000 && successes > 1000, "{errors} {successes}");
}

fn random_entry(world: &World, control: Control, random: &mut Random) -> Vec<u8> {
    let remote = world.remote(random.below(512) * 8);
    let data = world.data(random.below(4000), 1 + random.below(4000) as u32);
    match random.below(6) {
        0 => wqe::nop(control),
        1 => wqe::rdma_write_inline(control, remote, &[9; 40]),
        2 => wqe::fetch_add(control, remote, 1, world.data(0, 8)),
        3 => wqe::compare_swap(control, remote, 1, 2, world.data(0, 8)),
        4 => wqe::rdma_read(control, remote, &[data, data]),
        _ => wqe::rdma_write(control, remote, &[data; 4]),
    }
}

/// The decoder by itself, on lengths that no device would give it.
#[test]
fn decoding_anything() {
    for_seeds(50, |seed| {
        let mut random = Random(seed);
        for _ in 0..2000 {
            let bytes = random.below(1100) as usize;
            let mut entry: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
            if let Some(opcode) = entry.get_mut(3) {
                *opcode = random.below(0x14) as u8;
            }
            if let Some(modifier) = entry.get_mut(0) {
                *modifier = 0;
            }
            let _ = wqe::decode(&entry);
        }
    });
}

/// A network can be handed to a thread of its own.
#[test]
fn a_network_is_send() {
    fn is_send<T: Send>() {}
    is_send::<Network>();
}
