//! What may and may not be reordered, over many seeds. Method: writes and atomics to distinct
//! addresses, and the log of what reached the target's memory, in which order.

mod common;

use std::collections::HashSet;

use common::{for_seeds, Random, World, SOURCE, TARGET};
use warpferry_nic::wqe::{self, Control, Fence};
use warpferry_nic::{NetworkConfig, Ordering, Plain, Purpose, StepOutcome};

const SLOT_BYTES: u64 = 256;
const PIECE_BYTES: u32 = 64;

fn config(ordering: Ordering) -> NetworkConfig {
    NetworkConfig { ordering, max_write_piece_bytes: PIECE_BYTES, ..NetworkConfig::default() }
}

/// One queue pair's entries: `kinds[i]` says whether entry i is an atomic. Entry i touches slot i.
fn post_all(world: &mut World, kinds: &[bool], fence: Fence) {
    let mut a = world.a;
    for (index, &is_atomic) in kinds.iter().enumerate() {
        let offset = index as u64 * SLOT_BYTES;
        let control = a.control().fenced(fence);
        let entry = if is_atomic {
            wqe::fetch_add(control, world.remote(offset), 1, world.data(offset, 8))
        } else {
            let data = [world.data(offset, SLOT_BYTES as u32)];
            wqe::rdma_write(control, world.remote(offset), &data)
        };
        world.post(&mut a, &entry);
    }
    let last = wqe::nop(a.signaled());
    world.post(&mut a, &last);
    world.a = a;
    world.ring(&a);
}

/// The entries and addresses in the order in which the target's memory saw them.
fn placed(world: &World) -> Vec<(usize, u64)> {
    world
        .bus
        .placed(world.there)
        .iter()
        .map(|access| {
            let offset = access.address - TARGET;
            ((offset / SLOT_BYTES) as usize, offset % SLOT_BYTES)
        })
        .collect()
}

fn random_kinds(random: &mut Random) -> Vec<bool> {
    (0..2 + random.below(40)).map(|_| random.below(3) == 0).collect()
}

#[test]
fn in_order_never_reorders() {
    for_seeds(200, |seed| {
        let mut random = Random(seed);
        let mut world = World::new(config(Ordering::InOrder));
        let kinds = random_kinds(&mut random);
        post_all(&mut world, &kinds, Fence::None);
        world.run_random(&mut random);
        let order = placed(&world);
        assert!(order.is_sorted(), "{order:?}");
        assert!(!world.completion(&world.a).is_error());
    });
}

/// Pieces before atomics of the same queue pair are all placed when the atomic runs, and atomics
/// run in order; whatever else happens.
#[test]
fn atomics_never_overtake_writes() {
    for_seeds(300, |seed| {
        let mut random = Random(seed);
        let mut world = World::new(config(Ordering::WritesUnordered));
        world.fill(SOURCE, 0x4000, &mut random);
        let kinds = random_kinds(&mut random);
        post_all(&mut world, &kinds, Fence::None);
        world.run_random(&mut random);
        let order = placed(&world);
        let pieces = (SLOT_BYTES / u64::from(PIECE_BYTES)) as usize;
        let mut seen = vec![0; kinds.len()];
        for &(entry, _) in &order {
            seen[entry] += 1;
            if kinds[entry] {
                for earlier in 0..entry {
                    let whole = if kinds[earlier] { 1 } else { pieces };
                    assert_eq!(seen[earlier], whole, "atomic {entry} before {earlier}");
                }
            }
        }
        for (entry, &is_atomic) in kinds.iter().enumerate() {
            assert_eq!(seen[entry], if is_atomic { 1 } else { pieces });
            if !is_atomic {
                let offset = entry as u64 * SLOT_BYTES;
                let bytes = SLOT_BYTES as usize;
                let memory = &world.bus.memory;
                assert_eq!(memory.bytes(SOURCE + offset, bytes), memory.bytes(TARGET + offset, bytes));
            }
        }
    });
}

/// Not vacuous: each kind of reordering that the mode allows does occur.
#[test]
fn unordered_writes_do_reorder() {
    let mut seen = HashSet::new();
    for seed in 0..50 {
        let mut random = Random(seed);
        let mut world = World::new(config(Ordering::WritesUnordered));
        let kinds = [false, true, false, false];
        post_all(&mut world, &kinds, Fence::None);
        world.run_random(&mut random);
        for pair in placed(&world).windows(2) {
            let ((first, from), (second, to)) = (pair[0], pair[1]);
            if first == second && from > to {
                seen.insert("pieces of one write");
            }
            if first > second && kinds[second] {
                seen.insert("a write before an earlier atomic");
            }
            if first > second && !kinds[second] {
                seen.insert("a write before an earlier write");
            }
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn fences_hold_in_unordered_mode() {
    for fence in [Fence::ReadsAndAtomics, Fence::All] {
        for_seeds(60, |seed| {
            let mut random = Random(seed);
            let mut world = World::new(config(Ordering::WritesUnordered));
            let kinds = random_kinds(&mut random);
            post_all(&mut world, &kinds, fence);
            world.run_random(&mut random);
            let mut last_atomic = None;
            let mut last = 0;
            for (entry, _) in placed(&world) {
                if fence == Fence::All {
                    assert!(entry >= last, "entry {entry} after {last}");
                }
                last = entry;
                if kinds[entry] {
                    last_atomic = Some(entry);
                }
                let earlier_atomic = kinds[..entry].iter().rposition(|&kind| kind);
                assert!(earlier_atomic <= last_atomic, "{entry} {last_atomic:?}");
            }
        });
    }
}

/// Completions come in order in both modes, and only when everything before them is placed.
#[test]
fn completions_are_in_order() {
    for ordering in [Ordering::InOrder, Ordering::WritesUnordered] {
        for_seeds(60, |seed| {
            let mut random = Random(seed);
            let mut world = World::with_queues(config(ordering), |config| {
                config.collapsed = false;
            });
            let mut a = world.a;
            let entries = 30;
            for index in 0..entries {
                let offset = index * SLOT_BYTES;
                let data = [world.data(offset, SLOT_BYTES as u32)];
                let entry = wqe::rdma_write(a.signaled(), world.remote(offset), &data);
                world.post(&mut a, &entry);
            }
            world.ring(&a);
            world.run_random(&mut random);
            let mut pieces = 0;
            let mut completions = 0;
            for access in &world.bus.log {
                match access.agent.purpose {
                    Purpose::Payload if access.write => pieces += 1,
                    Purpose::Completion => {
                        completions += 1;
                        assert!(pieces >= completions * SLOT_BYTES / u64::from(PIECE_BYTES));
                        let place = (access.address - a.config.completion_queue_address) / 64;
                        assert_eq!(place, completions - 1);
                    }
                    _ => {}
                }
            }
            assert_eq!(completions, entries);
        });
    }
}

/// Payload is read when a piece is placed, not when the entry is fetched or posted.
#[test]
fn payload_is_read_late() {
    let mut world = World::new(config(Ordering::InOrder));
    let mut a = world.a;
    let entry = wqe::rdma_write(a.signaled(), world.remote(0), &[world.data(0, 128)]);
    world.post(&mut a, &entry);
    world.ring(&a);
    for _ in 0..2 {
        world.network.step(&mut world.bus, &mut Plain);
    }
    world.set_word(SOURCE, 1);
    world.set_word(SOURCE + 64, 2);
    world.run();
    // The first step fetched, the second placed the first piece.
    assert_eq!(world.bus.memory.word(TARGET), 0);
    assert_eq!(world.bus.memory.word(TARGET + 64), 2);
}

/// The window bounds what is under way.
#[test]
fn outstanding_entries_are_bounded() {
    for most in [1, 2, 7] {
        let mut world = World::new(NetworkConfig { max_outstanding: most, ..config(Ordering::WritesUnordered) });
        post_all(&mut world, &[false; 20], Fence::None);
        let mut random = Random(u64::from(most));
        let mut largest = 0;
        loop {
            let mut choose = |n: usize| random.below(n as u64) as usize;
            if world.network.step(&mut world.bus, &mut choose) == StepOutcome::Idle {
                break;
            }
            largest = largest.max(world.network.outstanding(world.a.pair.number).unwrap());
        }
        assert_eq!(largest, most as usize);
    }
}

/// Queue pairs do not wait for each other: under random choice either can be first.
#[test]
fn queue_pairs_are_independent() {
    let mut firsts = HashSet::new();
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut world = World::new(config(Ordering::InOrder));
        let mut other = world.add_pair();
        post_all(&mut world, &[false], Fence::None);
        let control = Control::new(other.pair.number, 0);
        let entry = wqe::rdma_write(control, world.remote(SLOT_BYTES), &[world.data(0, 64)]);
        world.post(&mut other, &entry);
        world.ring(&other);
        assert_eq!(world.network.ready(), 2);
        world.run_random(&mut random);
        firsts.insert(placed(&world)[0].0);
    }
    assert_eq!(firsts.len(), 2);
}

/// The plain choice takes turns.
#[test]
fn the_plain_choice_is_fair() {
    let mut world = World::new(config(Ordering::InOrder));
    let mut ends = vec![world.a, world.add_pair(), world.add_pair()];
    for end in &mut ends {
        for _ in 0..50 {
            let entry = wqe::nop(end.control());
            world.post(end, &entry);
        }
        world.ring(end);
    }
    let mut acts = std::collections::HashMap::new();
    for _ in 0..90 {
        let StepOutcome::Did(event) = world.network.step(&mut world.bus, &mut Plain) else {
            panic!("idle");
        };
        *acts.entry(event.queue_pair).or_insert(0) += 1;
    }
    assert!(acts.values().all(|&count| count == 30), "{acts:?}");
}

#[test]
fn a_network_is_deterministic() {
    let run = |seed| {
        let mut random = Random(seed);
        let mut world = World::new(config(Ordering::WritesUnordered));
        post_all(&mut world, &[false, true, false, false, true], Fence::None);
        world.run_random(&mut random);
        world.bus.log
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
