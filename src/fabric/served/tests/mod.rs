//! Served NICs over a flat memory whose streams a test can hold. Every test posts as a kernel does.

mod failures;
mod memory;
mod model;
mod rig;

use std::sync::Arc;
use std::time::Duration;

use warpferry_nic::cqe;
use warpferry_nic::wqe;

use self::memory::Memory;
use self::rig::{until, End, Rig, SCRAP, WINDOW_BYTES, WORD};
use super::doorbells::PAGE_LINES;
use crate::fabric::QueuePlace;
use crate::mem::DevicePtr;

#[test]
fn a_write_then_a_signal_then_the_completion() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 8);
    assert_eq!(rig.ranks[0].nic.queue_place(), QueuePlace::Host);
    let write = wqe::rdma_write(a.control(), rig.remote(1, 0x100), &[rig.data(0, 0x40, 777)]);
    rig.put(&mut a, &write);
    let add = rig.add(&a, 0, 1, 5);
    let completion = rig.run_one(&mut a, &add);
    assert_eq!((completion.opcode, completion.entry_counter), (cqe::OPCODE_REQUEST, 1));
    assert_eq!(rig.window(1, 0x100, 777), rig.window(0, 0x40, 777));
    assert_eq!((rig.word(1, WORD), rig.word(0, SCRAP)), (5, 0));
    let add = rig.add(&a, 0, 1, 7);
    rig.run_one(&mut a, &add);
    assert_eq!((rig.word(1, WORD), rig.word(0, SCRAP)), (12, 5));
    let counters = rig.ranks[0].nic.counters().expect("no fault");
    assert_eq!((counters.writes, counters.write_bytes, counters.atomics, counters.completions), (1, 777, 2, 2));
    assert_eq!(rig.ranks[0].nic.queue_counters(a.queue.number).expect("a queue pair"), counters);
    assert_eq!(rig.ranks[1].nic.counters().expect("no fault").writes, 0);
}

/// Method: the stream is held and then let go by one piece of work at a time. Payload must come before the signal, and
/// both before the completion.
#[test]
fn a_completion_is_not_seen_before_what_it_completes() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 8);
    // The first look at the word waits for the stream: it comes before the hold.
    let add = rig.add(&a, 0, 1, 1);
    rig.run_one(&mut a, &add);
    rig.memory.hold();
    let write = wqe::rdma_write(a.control(), rig.remote(1, 0), &[rig.data(0, 0x2000, 0x800)]);
    rig.put(&mut a, &write);
    let add = rig.add(&a, 0, 1, 1);
    rig.post(&mut a, &add);
    let busy = || rig.memory.waiting().into_iter().find(|&(_, works)| works > 0);
    // Copy, word, old value, last word of the completion.
    until("four pieces of work", || busy().is_some_and(|(_, works)| works == 4));
    let (stream, _) = busy().expect("work");
    let state = || {
        let copied = rig.window(1, 0, 0x800) == rig.window(0, 0x2000, 0x800);
        let completed = rig.completion(&a).map(|completion| completion.entry_counter);
        (copied, rig.word(1, WORD), rig.word(0, SCRAP), completed)
    };
    assert_eq!(state(), (false, 1, 0, Some(0)));
    let seen: Vec<_> = (0..4).map(|_| (rig.memory.step(stream), state()).1).collect();
    let expected = [(true, 1, 0, Some(0)), (true, 2, 0, Some(0)), (true, 2, 1, Some(0)), (true, 2, 1, Some(2))];
    assert_eq!(seen, expected);
    rig.memory.let_run();
}

/// An error's syndromes come in the stream's order, as its last word does.
#[test]
fn an_earlier_completion_keeps_its_meaning_until_the_error_is_seen() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 8);
    rig.memory.hold();
    let nop = wqe::nop(a.signaled());
    rig.put(&mut a, &nop);
    let mut target = rig.remote(1, 0);
    target.rkey ^= 0x1000;
    let bad = wqe::rdma_write(a.signaled(), target, &[rig.data(0, 0, 64)]);
    rig.post(&mut a, &bad);
    let busy = || rig.memory.waiting().into_iter().find(|&(_, works)| works > 0);
    until("three words", || busy().is_some_and(|(_, works)| works == 3));
    let (stream, _) = busy().expect("work");
    assert!(rig.completion(&a).is_none());
    assert!(rig.memory.step(stream));
    let first = rig.completion(&a).expect("the first completion");
    assert_eq!((first.opcode, first.entry_counter), (cqe::OPCODE_REQUEST, 0));
    rig.memory.let_run();
    let second = rig.wait(&a, 1);
    assert_eq!((second.opcode, second.syndrome), (cqe::OPCODE_REQUEST_ERROR, cqe::SYNDROME_REMOTE_ACCESS));
}

/// Method: a small ring, and more requests than positions have numbers.
#[test]
fn the_ring_and_its_positions_wrap() {
    const ENTRIES: u16 = 1024;
    const BATCHES: u16 = 70;
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, u32::from(ENTRIES));
    for batch in 0..BATCHES {
        for _ in 0..ENTRIES - 1 {
            let add = wqe::fetch_add(a.control(), rig.remote(1, WORD), 1, rig.data(0, SCRAP, 8));
            rig.put(&mut a, &add);
        }
        let add = rig.add(&a, 0, 1, 1);
        let completion = rig.run_one(&mut a, &add);
        assert!(!completion.is_error(), "batch {batch}: {completion:?}");
    }
    assert_eq!(rig.word(1, WORD), u64::from(BATCHES) * u64::from(ENTRIES));
    assert_eq!(rig.network.with(|network| network.violations().len()), 0);
}

#[test]
fn payload_in_the_entry() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 32);
    for bytes in [1, 7, 8, 28, 300, 900] {
        let payload: Vec<u8> = (0..bytes).map(|at| (at * 3 + bytes) as u8).collect();
        let entry = wqe::rdma_write_inline(a.signaled(), rig.remote(1, 0x400), &payload);
        assert!(!rig.run_one(&mut a, &entry).is_error());
        assert_eq!(rig.window(1, 0x400, bytes), payload);
    }
    assert_eq!(rig.ranks[0].nic.counters().expect("no fault").inline_writes, 6);
}

/// Method: more queue pairs than a page has lines, in both directions, all rung before the thread may look; then half
/// of them end and others take their lines.
#[test]
fn every_queue_pair_has_a_doorbell_of_its_own() {
    let rig = Rig::new(2);
    let mut pairs: Vec<_> = (0..PAGE_LINES + 3).map(|_| rig.pair(0, 1, 4)).collect();
    for round in 1..=2 {
        let mut bells = ends_of(&pairs);
        bells.sort();
        assert!(bells.windows(2).all(|two| two[0].address() + 64 <= two[1].address()));
        let before = rig.word(1, WORD);
        for (a, b) in &mut pairs {
            let add = rig.add(a, 0, 1, 1);
            rig.put(a, &add);
            let add = rig.add(b, 1, 0, 1);
            rig.put(b, &add);
        }
        rig.network.with(|_| pairs.iter().for_each(|(a, b)| [a, b].into_iter().for_each(|end| rig.ring(end))));
        for end in pairs.iter().flat_map(|(a, b)| [a, b]) {
            assert!(!rig.wait(end, end.next.wrapping_sub(1)).is_error());
        }
        assert_eq!(rig.word(1, WORD) - before, pairs.len() as u64, "round {round}");
        for pair in pairs.iter_mut().step_by(2) {
            for (rank, end) in [(0, pair.0), (1, pair.1)] {
                rig.ranks[rank].nic.destroy_queue(end.queue.number).expect("a queue pair");
            }
            *pair = rig.pair(0, 1, 4);
        }
        let again = ends_of(&pairs);
        assert!(again.iter().all(|bell| bells.contains(bell)), "lines are used again");
    }
    // A line that still held its last owner's word would ring for a queue pair that is gone.
    let add = rig.add(&pairs[0].0, 0, 1, 1);
    rig.run_one(&mut pairs[0].0, &add);
    assert_eq!(rig.network.with(|network| network.violations().to_vec()), []);
}

fn ends_of(pairs: &[(End, End)]) -> Vec<DevicePtr> {
    pairs.iter().flat_map(|(a, b)| [a.queue.doorbell, b.queue.doorbell]).collect()
}

/// Method: two NICs, with one driver or two, add to one word of a third while streams are held; then the streams are let
/// go in the order that would lose an add.
#[test]
fn two_nics_add_to_one_word() {
    for drivers in [1, 3] {
        let memory = Memory::new();
        let drivers: Vec<_> = (0..drivers).map(|_| memory.driver()).collect();
        let rig = Rig::over(memory, (0..3).map(|rank| Arc::clone(&drivers[rank % drivers.len()])).collect());
        let (mut a, _) = rig.pair(0, 2, 8);
        let (mut b, _) = rig.pair(1, 2, 8);
        let add = rig.add(&a, 0, 2, 1);
        rig.run_one(&mut a, &add);
        rig.memory.hold();
        let add = rig.add(&a, 0, 2, 10);
        rig.post(&mut a, &add);
        until("work of the first NIC", || rig.memory.waiting()[0].1 >= 3);
        let add = rig.add(&b, 1, 2, 100);
        rig.post(&mut b, &add);
        if drivers.len() == 1 {
            // Record in the first; wait, word, old value, completion in the second.
            until("work of the second NIC", || rig.memory.waiting()[1].1 >= 4);
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
        let streams: Vec<u64> = rig.memory.waiting().into_iter().map(|(stream, _)| stream).collect();
        while streams.iter().rev().any(|&stream| rig.memory.step(stream)) {}
        rig.memory.let_run();
        assert!(!rig.wait(&a, 1).is_error() && !rig.wait(&b, 0).is_error());
        assert_eq!((rig.word(2, WORD), rig.word(1, SCRAP)), (111, 11), "{} drivers", drivers.len());
    }
}

#[test]
fn words_are_forgotten_with_their_window() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 8);
    let add = rig.add(&a, 0, 1, 3);
    rig.run_one(&mut a, &add);
    let kept = || rig.network.server.shared.lock().ports.words_kept();
    assert_eq!(kept(), 1);
    let window = DevicePtr::new(rig.ranks[1].window);
    rig.ranks[1].nic.deregister(rig.ranks[1].keys).expect("a window");
    assert_eq!(kept(), 0);
    assert!(rig.ranks[1].nic.deregister(rig.ranks[1].keys).is_err());
    // Another owner of the memory begins at zero.
    rig.memory.write(window.address() + WORD, &[0; 8]);
    let keys = rig.ranks[1].nic.register(window, WINDOW_BYTES).expect("a window");
    let target = wqe::Remote { rkey: keys.remote, ..rig.remote(1, WORD) };
    let add = wqe::fetch_add(a.signaled(), target, 4, rig.data(0, SCRAP, 8));
    assert!(!rig.run_one(&mut a, &add).is_error());
    assert_eq!(rig.word(1, WORD), 4);
    // A payload write over the word by the same NIC counts.
    let write = wqe::rdma_write_inline(a.control(), wqe::Remote { address: target.address + 1, ..target }, &[1]);
    rig.put(&mut a, &write);
    let add = wqe::fetch_add(a.signaled(), target, 1, rig.data(0, SCRAP, 8));
    rig.run_one(&mut a, &add);
    assert_eq!(rig.word(1, WORD), 4 + 0x100 + 1);
    // And so does one that is copied.
    rig.memory.write(rig.ranks[0].window, &1000u64.to_le_bytes());
    let write = wqe::rdma_write(a.control(), target, &[rig.data(0, 0, 8)]);
    rig.put(&mut a, &write);
    let add = wqe::fetch_add(a.signaled(), target, 1, rig.data(0, SCRAP, 8));
    rig.run_one(&mut a, &add);
    assert_eq!(rig.word(1, WORD), 1001);
    // Memory that is registered once more begins anew.
    rig.memory.write(target.address, &[0; 8]);
    rig.ranks[1].nic.register(window, WINDOW_BYTES).expect("a window");
    let add = wqe::fetch_add(a.signaled(), target, 1, rig.data(0, SCRAP, 8));
    rig.run_one(&mut a, &add);
    assert_eq!(rig.word(1, WORD), 1);
}

/// As for windows: completion entries come in the stream, into memory that is freed next.
#[test]
fn a_queue_pair_ends_when_its_completions_are_written() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 8);
    rig.memory.hold();
    let nop = wqe::nop(a.signaled());
    rig.post(&mut a, &nop);
    until("the completion", || rig.memory.waiting().iter().any(|&(_, works)| works > 0));
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| rig.ranks[0].nic.destroy_queue(a.queue.number));
        std::thread::sleep(Duration::from_millis(5));
        assert!(!ending.is_finished());
        rig.memory.let_run();
        ending.join().expect("no panic").expect("a queue pair");
    });
    assert_eq!(rig.completion(&a).map(|completion| completion.entry_counter), Some(0));
}

/// Method: the window is taken back while a peer's copy into it is held; that must wait for the copy.
#[test]
fn a_window_is_taken_back_when_nothing_is_written_to_it_any_more() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 8);
    rig.memory.hold();
    let write = wqe::rdma_write(a.signaled(), rig.remote(1, 0), &[rig.data(0, 0x100, 64)]);
    rig.post(&mut a, &write);
    until("the copy", || rig.memory.waiting().iter().any(|&(_, works)| works > 0));
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| rig.ranks[1].nic.deregister(rig.ranks[1].keys));
        std::thread::sleep(Duration::from_millis(5));
        assert!(!taking.is_finished());
        rig.memory.let_run();
        taking.join().expect("no panic").expect("a window");
    });
    assert_eq!(rig.window(1, 0, 64), rig.window(0, 0x100, 64));
}

#[test]
fn the_last_handle_ends_the_thread_and_gives_everything_back() {
    let rig = Rig::new(3);
    let (mut a, b) = rig.pair(0, 1, 8);
    let add = rig.add(&a, 0, 1, 3);
    rig.run_one(&mut a, &add);
    for (rank, end) in [(0, a), (1, b)] {
        rig.ranks[rank].nic.destroy_queue(end.queue.number).expect("a queue pair");
        rig.ranks[rank].driver.free_host(&end.block).expect("a block");
    }
    let shared = Arc::downgrade(&rig.network.server.shared);
    let memory = rig.memory.clone();
    assert_eq!(memory.leaks(), (2, 3, 0));
    let nic = Arc::clone(&rig.ranks[2].nic);
    drop(rig);
    assert!(shared.upgrade().is_some(), "a NIC is a handle");
    drop(nic);
    assert!(shared.upgrade().is_none());
    assert_eq!(memory.leaks(), (0, 0, 0));
}
