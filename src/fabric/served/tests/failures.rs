//! What fails: requests on purpose, driver calls, contexts, arguments. Nothing may hang, and every error is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warpferry_nic::cqe;
use warpferry_nic::wqe;
use warpferry_nic::{Fault, FaultAction, FaultMatch, FaultPlan, QueuePairNumber};

use super::memory::Memory;
use super::rig::{until, Rig, PATIENCE, SCRAP, WINDOW_BYTES, WORD};
use crate::driver::fault::{FaultRule, Faults};
use crate::driver::Driver;
use crate::error::Error;
use crate::fabric::served::ServedNetwork;
use crate::fabric::{QueueAddress, QueueMemory};
use crate::mem::DevicePtr;

/// Each with the syndrome that crate `warpferry_nic` documents for it.
#[test]
fn bad_requests_end_in_error_completions() {
    for (local, remote, syndrome) in [
        (0, 0x1000, cqe::SYNDROME_REMOTE_ACCESS),
        (0x1000, 0, cqe::SYNDROME_LOCAL_PROTECTION),
        (0, 0, cqe::SYNDROME_REMOTE_ACCESS),
    ] {
        let rig = Rig::new(2);
        let (mut a, _) = rig.pair(0, 1, 8);
        // With good keys the write goes past the window's end.
        let offset = if (local, remote) == (0, 0) { WINDOW_BYTES - 63 } else { 0 };
        let (mut target, mut source) = (rig.remote(1, offset), rig.data(0, 0, 64));
        target.rkey ^= remote;
        source.lkey ^= local;
        let before = rig.window(1, 0, WINDOW_BYTES as usize);
        let bad = wqe::rdma_write(a.control(), target, &[source]);
        let completion = rig.run_one(&mut a, &bad);
        assert_eq!((completion.opcode, completion.syndrome), (cqe::OPCODE_REQUEST_ERROR, syndrome));
        assert_eq!(rig.window(1, 0, WINDOW_BYTES as usize), before);
        let nop = wqe::nop(a.signaled());
        assert_eq!(rig.run_one(&mut a, &nop).syndrome, cqe::SYNDROME_FLUSHED);
        assert_eq!(rig.ranks[0].nic.counters().expect("the driver is sound").errors, 2);
        assert!(rig.network.fault().is_none());
    }
}

#[test]
fn planned_faults_and_delays() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 8);
    let number = QueuePairNumber(a.queue.number);
    const DELAY: Duration = Duration::from_millis(20);
    rig.network.with(|network| network.set_delay(number, DELAY.as_nanos() as u64)).expect("a queue pair");
    let start = Instant::now();
    let nop = wqe::nop(a.signaled());
    rig.run_one(&mut a, &nop);
    assert!(start.elapsed() >= DELAY);
    let fault = Fault {
        queue_pair: Some(number),
        matching: FaultMatch::Atomic,
        after: 1,
        action: FaultAction::DropToError { syndrome: cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED },
    };
    rig.network.with(|network| {
        network.set_delay(number, 0).expect("a queue pair");
        network.set_faults(FaultPlan { faults: vec![fault] });
    });
    let add = rig.add(&a, 0, 1, 3);
    assert!(!rig.run_one(&mut a, &add).is_error());
    let add = rig.add(&a, 0, 1, 3);
    assert_eq!(rig.run_one(&mut a, &add).syndrome, cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED);
    assert_eq!(rig.word(1, WORD), 3);
    assert_eq!(rig.network.with(|network| network.fired().len()), 1);
}

fn breaking(call: &'static str, nth: u64) -> Rig {
    let memory = Memory::new();
    let rule = FaultRule { call, nth, message: "out of order".to_string() };
    let drivers = vec![Faults::wrap(memory.driver(), vec![rule]), memory.driver()];
    Rig::over(memory, drivers)
}

/// Method: each call that the thread makes fails once. The request ends in an error completion with the syndrome of a
/// memory fault at that end, and the driver's words are kept.
#[test]
fn a_failed_call_ends_in_an_error_completion_and_is_kept() {
    for (call, nth, syndrome) in [
        ("copy_within", 1, cqe::SYNDROME_REMOTE_OPERATION),
        ("copy_to_device", 1, cqe::SYNDROME_REMOTE_OPERATION),
        ("copy_from_device", 1, cqe::SYNDROME_REMOTE_OPERATION),
        ("write_word", 1, cqe::SYNDROME_REMOTE_OPERATION),
        ("write_word", 2, cqe::SYNDROME_LOCAL_PROTECTION),
    ] {
        let rig = breaking(call, nth);
        let (mut a, _) = rig.pair(0, 1, 8);
        let write = match call {
            "copy_within" => wqe::rdma_write(a.control(), rig.remote(1, 0), &[rig.data(0, 0, 64)]),
            _ => wqe::rdma_write_inline(a.control(), rig.remote(1, 0), &[1, 2, 3]),
        };
        rig.put(&mut a, &write);
        let add = rig.add(&a, 0, 1, 1);
        rig.post(&mut a, &add);
        until("an error", || rig.completion(&a).is_some_and(|completion| completion.is_error()));
        let failures = rig.network.with(|network| network.failures().to_vec());
        assert_eq!(failures.len(), 1);
        let place = format!("{call} {nth}: {failures:?}");
        assert_eq!(failures[0].syndrome, syndrome, "{place}");
        let fault = rig.network.fault().expect("a kept fault");
        assert_eq!(fault.nic, 0, "{place}");
        assert!(fault.error.to_string().contains("out of order"), "{place}: {}", fault.error);
        assert!(rig.ranks[0].nic.counters().is_err() && rig.ranks[1].nic.counters().is_ok(), "{place}");
        // Counted by the queue pair nevertheless: the failure, and the signal when it was flushed.
        let errors = 2 - u64::from(failures[0].position);
        let counters = rig.ranks[0].nic.queue_counters(a.queue.number).expect("a queue pair");
        until(&place, || {
            rig.ranks[0].nic.queue_counters(a.queue.number).is_ok_and(|counters| counters.errors == errors)
        });
        assert_eq!(counters.completions, 0, "{place}");
    }
}

/// Method: the store of one NIC fails; what another queue pair adds to is what the word holds.
#[test]
fn a_word_that_could_not_be_stored_is_read_again() {
    let rig = breaking("write_word", 1);
    let (mut a, _) = rig.pair(0, 1, 8);
    let add = rig.add(&a, 0, 1, 1);
    assert!(rig.run_one(&mut a, &add).is_error());
    let (mut c, _) = rig.pair(0, 1, 8);
    let add = rig.add(&c, 0, 1, 100);
    assert!(!rig.run_one(&mut c, &add).is_error());
    assert_eq!((rig.word(1, WORD), rig.word(0, SCRAP)), (100, 0));
}

/// Method: the word of an error completion cannot be put into the stream; it comes without it.
#[test]
fn an_error_is_told_when_the_stream_takes_no_more_work() {
    let rig = breaking("write_word", 1);
    let (mut a, _) = rig.pair(0, 1, 8);
    let mut target = rig.remote(1, 0);
    target.rkey ^= 0x1000;
    let bad = wqe::rdma_write(a.signaled(), target, &[rig.data(0, 0, 64)]);
    let completion = rig.run_one(&mut a, &bad);
    assert_eq!((completion.opcode, completion.syndrome), (cqe::OPCODE_REQUEST_ERROR, cqe::SYNDROME_REMOTE_ACCESS));
    assert!(rig.network.fault().is_some());
}

/// Method: the context is lost with work posted and unposted. No NIC can be looked at any more: the thread ends by
/// itself, and every call says why.
#[test]
fn a_lost_context_ends_the_thread() {
    let rig = Rig::new(2);
    let (mut a, _) = rig.pair(0, 1, 8);
    let add = rig.add(&a, 0, 1, 3);
    rig.post(&mut a, &add);
    rig.memory.lose();
    let shared = Arc::downgrade(&rig.network.server.shared);
    // The thread's own reference is gone.
    until("the end of the thread", || shared.strong_count() == 1);
    for rank in &rig.ranks {
        assert!(rank.nic.counters().is_err());
        let refused = rank.nic.register(DevicePtr::new(rank.window), WINDOW_BYTES);
        assert!(matches!(refused, Err(Error::Driver { call: "read_host", .. })), "{refused:?}");
    }
    assert_eq!(rig.network.fault().map(|fault| fault.nic), Some(0));
    let start = Instant::now();
    drop(rig);
    assert!(start.elapsed() < PATIENCE / 2);
}

#[test]
fn arguments_are_checked() {
    let none: Vec<Arc<dyn Driver>> = Vec::new();
    assert!(matches!(ServedNetwork::new(&none), Err(Error::Argument { .. })));
    let rig = Rig::new(2);
    let (a, b) = (rig.queue(0, 8), rig.queue(1, 8));
    let nic = &rig.ranks[0].nic;
    let outside = DevicePtr::new(a.block.device.address() + a.block.bytes);
    for memory in [
        QueueMemory { host: None, ..a.memory },
        QueueMemory { entries: 16, ..a.memory },
        QueueMemory { send_queue: DevicePtr::NULL, ..a.memory },
        QueueMemory { record: outside, ..a.memory },
        QueueMemory { completion: outside, ..a.memory },
    ] {
        assert!(matches!(nic.create_queue(&memory), Err(Error::Argument { .. })), "{memory:?}");
    }
    let misaligned = QueueMemory { record: a.memory.record.offset(4), ..a.memory };
    assert!(matches!(nic.create_queue(&misaligned), Err(Error::Driver { call: "create_queue", .. })));
    for peer in [QueueAddress { nic: 0, number: b.queue.number }, QueueAddress { nic: 1, number: 7 }] {
        assert!(matches!(nic.connect(a.queue.number, peer), Err(Error::Argument { .. })), "{peer:?}");
    }
    assert!(nic.connect(99, nic.address(a.queue.number)).is_err());
    assert!(nic.destroy_queue(99).is_err());
    assert!(nic.queue_counters(99).is_err());
}
