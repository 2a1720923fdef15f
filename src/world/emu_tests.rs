//! Worlds on the emulator without the real kernels: everything is set up, every launch runs, nothing is moved.
//!
//! Method: hollow kernels take the real arguments; what the host wrote for the kernels is read back from the
//! emulated memory; runs are repeated and compared.

use std::time::Duration;

use half::bf16;
use warpferry_emu::{Schedule, Stall};

use super::{World, WorldConfig};
use crate::comm::connect::{Offer, Prepared};
use crate::comm::Communicator;
use crate::error::Error;
use crate::kernel::hollow;
use crate::kernel::launch::KernelSet;
use crate::op::{Combine, Dispatch};
use crate::plan::blocks::{CommBlock, QueueBlock};
use crate::plan::{Fabric, Shape, Tuning};
use crate::status::Cause;
use crate::topology::Topology;

const HIDDEN: usize = 16;
const WAIT: Duration = Duration::from_secs(1);

fn config(nodes: u32, gpus: u32, fabric: Fabric) -> WorldConfig {
    let topology = Topology::new(nodes, gpus).expect("a small world");
    let shape = Shape::new(HIDDEN as u32, nodes * gpus, 1, 8).expect("a small shape");
    let mut tuning = Tuning::default_for(topology, 2 * HIDDEN as u32);
    (tuning.channels, tuning.dispatch_sms, tuning.combine_sms) = (3, 2, 1);
    WorldConfig::new(topology, shape).tuning(tuning).fabric(fabric)
}

fn world_of(nodes: u32, gpus: u32, fabric: Fabric, kernels: KernelSet) -> World {
    World::emulated_kernels(config(nodes, gpus, fabric), kernels).unwrap_or_else(|error| panic!("{error}"))
}

fn round_trip(rank: &mut Communicator) -> crate::Result<usize> {
    let x = rank.tensor(&[bf16::ONE; 2 * HIDDEN], &[2, HIDDEN])?;
    let topk_idx = rank.tensor(&[0i32, 0], &[2, 1])?;
    let dispatched = rank.dispatch(Dispatch::new(&x, &topk_idx))?.wait(WAIT)?;
    let rows = rank.tensor(&vec![bf16::ONE; dispatched.rows * HIDDEN], &[dispatched.rows, HIDDEN])?;
    rank.combine(Combine::new(&rows, &dispatched.handle))?.wait(WAIT)?;
    Ok(dispatched.rows)
}

#[test]
fn worlds_of_all_kinds_are_made_run_and_closed() {
    for (nodes, gpus, fabric) in [
        (1, 1, Fabric::Mlx5),
        (1, 2, Fabric::Loopback),
        (2, 2, Fabric::Mlx5),
        (3, 2, Fabric::Loopback),
        (3, 1, Fabric::Mlx5),
    ] {
        let mut world = world_of(nodes, gpus, fabric, hollow::set());
        for _ in 0..3 {
            let rows = world.run(round_trip).expect("no other run is under way");
            for rows in rows {
                assert_eq!(rows.unwrap_or_else(|error| panic!("{error}")), hollow::ROWS as usize);
            }
        }
        let machine = world.machine().cloned().expect("the world is emulated");
        world.close().unwrap_or_else(|error| panic!("{error}"));
        assert!(machine.with(|machine| machine.time_ns()) > 0);
    }
}

#[test]
fn one_thread_can_drive_all_ranks() {
    let mut world = world_of(1, 2, Fabric::Loopback, hollow::set());
    for rank in world.communicators() {
        assert_eq!(round_trip(rank).unwrap_or_else(|error| panic!("{error}")), hollow::ROWS as usize);
    }
}

/// Reads a word of the emulated memory.
fn word(world: &World, address: u64) -> u64 {
    let mut bytes = [0; 8];
    let machine = world.machine().expect("the world is emulated");
    machine.with(|machine| machine.read(address, &mut bytes)).unwrap_or_else(|error| panic!("{error}"));
    u64::from_le_bytes(bytes)
}

fn field(fields: &[(&str, usize)], name: &str) -> u64 {
    fields.iter().find(|(field, _)| *field == name).expect("the block has the field").1 as u64
}

#[test]
fn queue_tables_of_both_ends_fit() {
    let mut world = world_of(3, 2, Fabric::Mlx5, hollow::set());
    let blocks: Vec<u64> = world.communicators().iter().map(|rank| rank.shared().addresses.comm.address()).collect();
    let comm = |rank: usize, name: &str| word(&world, blocks[rank] + field(CommBlock::FIELDS, name));
    for rank in 0..6 {
        let table = comm(rank, "queues");
        for node in (0..3).filter(|&node| node != rank / 2) {
            let peer = node * 2 + rank % 2;
            let entry = table + ((2 * 3 + node) * 2) as u64 * QueueBlock::BYTES as u64;
            assert_eq!(word(&world, entry + field(QueueBlock::FIELDS, "remote_window")), comm(peer, "window"));
            let completion = word(&world, entry + field(QueueBlock::FIELDS, "completion"));
            assert_eq!(word(&world, completion + 56), 0xf1 << 56);
            assert_eq!(word(&world, word(&world, entry + field(QueueBlock::FIELDS, "record")) - 4), 0);
        }
        let own = table + (rank / 2 * 2) as u64 * QueueBlock::BYTES as u64;
        assert_eq!(word(&world, own), 0);
        // The table of peers holds the own window as it is.
        assert_eq!(word(&world, comm(rank, "peers") + 8 * (rank % 2) as u64), comm(rank, "window"));
    }
}

#[test]
fn runs_repeat_exactly() {
    let play = |seed: u64| {
        let mut config = config(2, 2, Fabric::Mlx5);
        config.machine.schedule = Schedule::Random { seed };
        let mut world = World::emulated_kernels(config, hollow::set()).unwrap_or_else(|error| panic!("{error}"));
        for _ in 0..2 {
            for rows in world.run(round_trip).expect("no other run is under way") {
                rows.unwrap_or_else(|error| panic!("{error}"));
            }
        }
        let machine = world.machine().expect("the world is emulated");
        machine.with(|machine| (machine.time_ns(), machine.statistics().warp_instructions()))
    };
    for seed in 0..4 {
        let first = play(seed);
        assert!(first.1 > 0);
        assert_eq!(play(seed), first, "seed {seed}");
    }
}

#[test]
fn a_status_breaks_the_communicator_and_is_told_again() {
    let mut world = world_of(1, 2, Fabric::Loopback, hollow::failing_set(5));
    let results = world.run(|rank| (round_trip(rank), round_trip(rank))).expect("no other run is under way");
    for (first, second) in results {
        let first = first.expect_err("the exchange gives up");
        let Error::Ended { op: "dispatch", report, .. } = &first else { panic!("{first}") };
        assert_eq!(report.lines[0].cause, Cause::Overlap);
        let Err(Error::Broken { cause, .. }) = second else { panic!("a broken communicator goes on") };
        assert_eq!(cause.to_string(), first.to_string());
    }
}

#[test]
fn totals_that_never_come_are_a_bug_not_a_hang() {
    let mut world = world_of(1, 1, Fabric::Loopback, hollow::failing_set(0));
    let error = round_trip(&mut world.communicators()[0]).expect_err("the exchange says nothing");
    assert!(matches!(error, Error::Bug(_)), "{error}");
}

#[test]
fn a_kernel_that_cannot_go_on_ends_the_wait() {
    let mut config = config(1, 2, Fabric::Loopback);
    config.machine.stall = Stall::Report;
    let mut world = World::emulated_kernels(config, hollow::stuck_set()).unwrap_or_else(|error| panic!("{error}"));
    for result in world.run(round_trip).expect("no other run is under way") {
        let error = result.expect_err("the exchange waits for ever");
        assert!(matches!(error, Error::Driver { call: "wait_word", .. }), "{error}");
    }
}

#[test]
fn a_host_that_waits_too_long_says_so_and_tells_its_kernels_to_leave() {
    let mut world = World::emulated_kernels(config(1, 2, Fabric::Loopback), hollow::stuck_set())
        .unwrap_or_else(|error| panic!("{error}"));
    let results = world.run(|rank| {
        let x = rank.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN])?;
        let idx = rank.tensor(&[0i32], &[1, 1])?;
        let late = rank.dispatch(Dispatch::new(&x, &idx).timeout(Duration::from_millis(1))).map(drop);
        Ok::<_, Error>((late, rank.check_usable()))
    });
    for result in results.expect("no other run is under way") {
        let (late, after) = result.unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(late, Err(Error::WaitTimeout { op: "dispatch", waited_ms: 10002, .. })), "{late:?}");
        assert!(matches!(after, Err(Error::Broken { .. })), "{after:?}");
    }
    let state = world.communicators()[1].places().state;
    let cancel = field(crate::plan::blocks::StateHead::FIELDS, "cancel");
    let error = world.communicators()[0].driver().copy_from_device(&mut [0; 4], state, crate::driver::StreamId(99));
    assert!(matches!(error, Err(Error::Driver { call: "copy_from_device", .. })), "{error:?}");
    assert_eq!(word(&world, state.address() + cancel), 1);
    assert!(matches!(world.close(), Err(Error::WaitTimeout { .. })));
}

/// Method: after the close of a communicator the other ones' memory may lie where its own was; a late cancel must not
/// reach it.
#[test]
fn a_cancel_after_the_close_touches_nothing() {
    let config = config(1, 2, Fabric::Loopback);
    let machine = crate::driver::emu::EmuMachine::new(config.machine.clone()).unwrap_or_else(|error| panic!("{error}"));
    let ranks =
        || super::connect_kernels(&config, &machine.devices(), hollow::set()).unwrap_or_else(|error| panic!("{error}"));
    let first = ranks();
    let cancellers: Vec<_> = first.iter().map(Communicator::canceller).collect();
    super::close(first).unwrap_or_else(|error| panic!("{error}"));
    let mut second = ranks();
    for canceller in &cancellers {
        canceller.cancel().unwrap_or_else(|error| panic!("{error}"));
    }
    for rank in &mut second {
        assert_eq!(round_trip(rank).unwrap_or_else(|error| panic!("{error}")), hollow::ROWS as usize);
    }
    super::close(second).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn two_worlds_and_two_sets_of_ranks_do_not_meet() {
    let mut world = world_of(1, 2, Fabric::Loopback, hollow::set());
    let machine = world.machine().cloned().expect("the world is emulated");
    let mut others = super::connect_kernels(&config(1, 2, Fabric::Loopback), &machine.devices(), hollow::set())
        .unwrap_or_else(|error| panic!("{error}"));
    let pairs = world.communicators().iter_mut().zip(others.iter_mut()).collect();
    let rows = machine
        .run(pairs, |(here, there): (&mut Communicator, &mut Communicator)| {
            let first = round_trip(here);
            let second = round_trip(there);
            let x = here.tensor(&[bf16::ONE; HIDDEN], &[1, HIDDEN]).expect("a row");
            let idx = here.tensor(&[0i32], &[1, 1]).expect("a token");
            let crossed = there.dispatch(Dispatch::new(&x, &idx)).err();
            (first.is_ok(), second.is_ok(), matches!(crossed, Some(Error::Argument { .. })))
        })
        .expect("no other run is under way");
    assert_eq!(rows, vec![(true, true, true); 2]);
}

/// Method: ranks are prepared; one may not join, since its peer's plan differs. When all is dropped the NICs know none of
/// the queue pairs any more.
#[test]
fn ranks_that_do_not_join_give_everything_back() {
    let alike = config(2, 1, Fabric::Mlx5);
    let mut odd = config(2, 1, Fabric::Mlx5);
    odd.tuning.channels = 4;
    let machine = crate::driver::emu::EmuMachine::new(alike.machine.clone()).unwrap_or_else(|error| panic!("{error}"));
    let devices = machine.devices();
    let made: Vec<Prepared> = (0..)
        .zip([&alike, &odd])
        .map(|(rank, config)| Prepared::new(&devices[rank as usize], config.plan(rank)?, rank, hollow::set()))
        .collect::<Result<_, Error>>()
        .unwrap_or_else(|error| panic!("{error}"));
    let offers: Vec<Offer> = made.iter().map(Prepared::offer).collect();
    let numbers: Vec<u32> =
        offers.iter().flat_map(|offer| &offer.nic).flat_map(|nic| &nic.queues).map(|queue| queue.number).collect();
    assert_eq!(numbers.len(), (2 * 3 + 1) + (2 * 4 + 1));
    let known = || {
        let state = |&&number: &&u32| {
            machine.with(|machine| machine.network().state(warpferry_nic::QueuePairNumber(number)).is_ok())
        };
        numbers.iter().filter(state).count()
    };
    assert_eq!(known(), numbers.len());
    let mut made = made.into_iter();
    let unjoined = made.next().expect("two ranks").join(&offers).expect_err("the peer's plan differs");
    let said = unjoined.error.to_string();
    assert!(said.contains("rank 1") && said.contains("(channels is 4 there and 3 here)"), "{said}");
    assert_eq!(known(), numbers.len(), "a rank that did not join keeps what it has until it is dropped");
    drop((unjoined, made));
    assert_eq!(known(), 0);
}
