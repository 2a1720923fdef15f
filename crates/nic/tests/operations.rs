//! Every operation moves the right bytes and completes as told; entries and completions survive a
//! round trip. Method: one entry at a time against what it should leave in memory.

mod common;

use common::{for_seeds, Random, World, SOURCE, TARGET};
use warpferry_nic::cqe::{self, Completion};
use warpferry_nic::wqe::{self, Fence, Header, Payload, Work};
use warpferry_nic::{NetworkConfig, Ordering, QueuePairNumber};

#[test]
fn a_write_moves_its_segments_end_to_end() {
    for_seeds(40, |seed| {
        let mut random = Random(seed);
        let mut world = World::new(NetworkConfig {
            max_write_piece_bytes: 1 + random.below(5000) as u32,
            ordering: [Ordering::InOrder, Ordering::WritesUnordered][seed as usize % 2],
            ..NetworkConfig::default()
        });
        world.fill(SOURCE, 0x2_0000, &mut random);
        let mut expected = Vec::new();
        let mut segments = Vec::new();
        for _ in 0..1 + random.below(9) {
            let (offset, bytes) = (random.below(0x1_0000), 1 + random.below(9000));
            let source = world.bus.memory.bytes(SOURCE + offset, bytes as usize);
            expected.extend_from_slice(source);
            segments.push(world.data(offset, bytes as u32));
        }
        let at = random.below(100);
        let entry = wqe::rdma_write(world.a.signaled(), world.remote(at), &segments);
        let completion = world.run_one(&entry);
        assert!(!completion.is_error(), "{:?}", world.network.failures());
        assert_eq!(world.bus.memory.bytes(TARGET + at, expected.len()), expected);
        let after = TARGET + at + expected.len() as u64;
        assert_eq!(world.bus.memory.bytes(after, 64), [0; 64]);
        let counters = world.network.counters(world.a.pair.number).unwrap();
        assert_eq!(counters.writes, 1);
        assert_eq!(counters.write_bytes, expected.len() as u64);
        assert_eq!(counters, world.network.nic_counters(world.here).unwrap());
    });
}

#[test]
fn an_inline_write_moves_its_own_bytes_also_across_the_end_of_the_queue() {
    let mut random = Random(1);
    let mut world = World::with_queues(NetworkConfig::default(), |config| {
        config.send_queue_entries = 16;
    });
    for bytes in (0..=972).step_by(4) {
        let payload: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
        let control = world.a.signaled();
        let entry = wqe::rdma_write_inline(control, world.remote(8), &payload);
        let completion = world.run_one(&entry);
        assert!(!completion.is_error(), "{:?}", world.network.failures());
        assert_eq!(completion.entry_counter, control.position);
        assert_eq!(world.bus.memory.bytes(TARGET + 8, bytes), payload);
    }
    let counters = world.network.counters(world.a.pair.number).unwrap();
    assert_eq!(counters.inline_writes, counters.writes);
    assert!(world.network.violations().is_empty());
}

/// Payload in the entry and in memory, side by side: inline payload is padded to a segment's end.
#[test]
fn inline_payload_and_memory_mix() {
    let mut random = Random(3);
    let mut world = World::new(NetworkConfig { max_write_piece_bytes: 7, ..NetworkConfig::default() });
    world.fill(SOURCE, 32, &mut random);
    let data = [world.data(0, 9), world.data(16, 5)];
    let both = wqe::rdma_write(world.a.signaled(), world.remote(0), &data);
    let mut entry = both[..48].to_vec();
    entry.extend_from_slice(&(wqe::INLINE_BIT | 13).to_be_bytes());
    entry.extend_from_slice(&[7; 13]);
    entry.resize(80, 0);
    entry.extend_from_slice(&both[48..64]);
    entry.resize(128, 0);
    entry[7] = 6;
    assert!(!world.run_one(&entry).is_error());
    let mut expected = world.bus.memory.bytes(SOURCE, 9).to_vec();
    expected.extend_from_slice(&[7; 13]);
    expected.extend_from_slice(world.bus.memory.bytes(SOURCE + 16, 5));
    assert_eq!(world.bus.memory.bytes(TARGET, 27), expected);
    let counters = world.network.counters(world.a.pair.number).unwrap();
    assert_eq!((counters.write_pieces, counters.write_bytes), (4, 27));
}

#[test]
fn atomics_change_a_little_endian_word_and_return_the_old_one() {
    let mut world = World::new(NetworkConfig::default());
    let add = 0x0102_0304_0506_0708;
    world.set_word(TARGET + 64, 5);
    let (remote, result) = (world.remote(64), world.data(8, 8));
    let entry = wqe::fetch_add(world.a.signaled(), remote, add, result);
    let completion = world.run_one(&entry);
    assert_eq!(completion.byte_count, 8);
    assert_eq!(completion.entry_opcode, wqe::OPCODE_ATOMIC_FETCH_ADD);
    assert_eq!(world.bus.memory.word(TARGET + 64), add + 5);
    assert_eq!(world.bus.memory.word(SOURCE + 8), 5);

    let refused = wqe::compare_swap(world.a.signaled(), remote, 1, 2, result);
    world.run_one(&refused);
    assert_eq!(world.bus.memory.word(TARGET + 64), add + 5);
    assert_eq!(world.bus.memory.word(SOURCE + 8), add + 5);
    let accepted = wqe::compare_swap(world.a.signaled(), remote, add + 5, 2, result);
    world.run_one(&accepted);
    assert_eq!(world.bus.memory.word(TARGET + 64), 2);
    let counters = world.network.counters(world.a.pair.number).unwrap();
    assert_eq!((counters.atomics, counters.completions), (3, 3));
}

#[test]
fn a_read_brings_remote_bytes() {
    let mut random = Random(2);
    let mut world = World::new(NetworkConfig::default());
    world.fill(TARGET, 20_000, &mut random);
    let into = [world.data(0, 7000), world.data(0x8000, 13_000)];
    let entry = wqe::rdma_read(world.a.signaled(), world.remote(0), &into);
    let completion = world.run_one(&entry);
    assert_eq!(completion.byte_count, 20_000);
    let memory = &world.bus.memory;
    assert_eq!(memory.bytes(SOURCE, 7000), memory.bytes(TARGET, 7000));
    let rest = memory.bytes(SOURCE + 0x8000, 13_000);
    assert_eq!(rest, memory.bytes(TARGET + 7000, 13_000));
}

#[test]
fn only_signaled_entries_complete() {
    let mut world = World::new(NetworkConfig::default());
    let idle = world.completion(&world.a);
    let nop = wqe::nop(world.a.control());
    assert_eq!(world.run_one(&nop), idle);
    let write = wqe::rdma_write(world.a.control(), world.remote(0), &[world.data(0, 8)]);
    assert_eq!(world.run_one(&write), idle);
    let nop = wqe::nop(world.a.signaled());
    let completion = world.run_one(&nop);
    assert_eq!((completion.entry_counter, completion.entry_opcode), (2, 0));
    assert_eq!(completion.queue_pair, world.a.pair.number);
    assert_eq!(completion.opcode, cqe::OPCODE_REQUEST);
}

#[test]
fn a_write_of_nothing_needs_no_key() {
    let mut world = World::new(NetworkConfig::default());
    let remote = wqe::Remote { address: 1, rkey: 2 };
    let entry = wqe::rdma_write(world.a.signaled(), remote, &[]);
    assert!(!world.run_one(&entry).is_error());
}

/// The completion ring turns its owner bit with each pass, and a consumer that keeps up lets it.
#[test]
fn a_completion_ring_turns() {
    let mut world = World::with_queues(NetworkConfig::default(), |config| {
        config.collapsed = false;
        config.completion_queue_entries = 4;
        config.completion_record_address = Some(config.doorbell_record_address + 64);
    });
    for count in 0..20u32 {
        let nop = wqe::nop(world.a.signaled());
        world.run_one(&nop);
        let completion = world.completion_at(&world.a, u64::from(count % 4));
        assert_eq!(u32::from(completion.entry_counter), count);
        assert_eq!(completion.owner, count / 4 % 2 == 1);
        let record = world.a.config.completion_record_address.unwrap();
        let bytes = world.bus.memory.bytes_mut(record, 4);
        bytes.copy_from_slice(&(count + 1).to_be_bytes());
    }
    assert!(world.network.violations().is_empty());
}

/// Positions are 16-bit: 70,000 blocks go past their end, with entries of one and two blocks.
#[test]
fn positions_wrap() {
    let mut world = World::new(NetworkConfig::default());
    let result = world.data(0, 8);
    let mut blocks = 0u64;
    let mut adds = 0u64;
    while blocks < 70_000 {
        let mut a = world.a;
        for _ in 0..16 {
            let add = wqe::fetch_add(a.control(), world.remote(0), 3, result);
            world.post(&mut a, &add);
            adds += 1;
            let long = [world.data(0, 8), world.data(8, 8), world.data(16, 8)];
            let write = wqe::rdma_write(a.control(), world.remote(64), &long);
            assert_eq!(write.len(), 128);
            world.post(&mut a, &write);
            blocks += 3;
        }
        let last = a.signaled();
        world.a = a;
        let completion = world.run_one(&wqe::nop(last));
        blocks += 1;
        assert_eq!(completion.entry_counter, last.position);
        assert!(!completion.is_error());
    }
    assert_eq!(world.bus.memory.word(TARGET), adds * 3);
    assert_eq!(world.network.violations(), []);
}

#[test]
fn completions_survive_a_round_trip() {
    for_seeds(200, |seed| {
        let mut random = Random(seed);
        let error = random.below(2) == 1;
        let completion = Completion {
            opcode: if error { cqe::OPCODE_REQUEST_ERROR } else { 0 },
            owner: random.below(2) == 1,
            entry_opcode: random.next() as u8,
            queue_pair: QueuePairNumber(random.below(1 << 24) as u32),
            entry_counter: random.next() as u16,
            byte_count: if error { 0 } else { random.next() as u32 },
            syndrome: if error { random.next() as u8 } else { 0 },
            vendor_syndrome: if error { random.next() as u8 } else { 0 },
        };
        assert_eq!(Completion::decode(&completion.encode()), completion);
    });
}

/// The bytes of one entry of each kind, written out by hand from the format's table.
#[test]
fn entries_have_the_documented_bytes() {
    let control = wqe::Control::new(QueuePairNumber(0xabcdef), 0x1234).signaled().fenced(Fence::ReadsAndAtomics);
    let remote = wqe::Remote { address: 0x1122_3344_5566_7788, rkey: 0x99aa_bbcc };
    let data = wqe::DataSegment { bytes: 8, lkey: 0xddee_ff00, address: 0x0102_0304_0506_0708 };
    let mut expected = [0; 64];
    expected[..16].copy_from_slice(&[0x00, 0x12, 0x34, 0x12, 0xab, 0xcd, 0xef, 0x04, 0, 0, 0, 0x88, 0, 0, 0, 0]);
    expected[16..32]
        .copy_from_slice(&[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0, 0, 0, 0]);
    expected[39] = 7;
    expected[48..].copy_from_slice(&[0, 0, 0, 8, 0xdd, 0xee, 0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(wqe::fetch_add(control, remote, 7, data), expected);

    let mut write = [0; 64];
    write.copy_from_slice(&expected);
    write[3] = wqe::OPCODE_RDMA_WRITE;
    write[7] = 3;
    write[32..].fill(0);
    write[32..48].copy_from_slice(&expected[48..]);
    assert_eq!(wqe::rdma_write(control, remote, &[data]), write);

    let inline = wqe::rdma_write_inline(control, remote, &[5; 13]);
    assert_eq!(inline[7], 4);
    assert_eq!(inline[32..36], [0x80, 0, 0, 13]);
    assert_eq!(inline[36..49], [5; 13]);
}

#[test]
fn entries_survive_a_round_trip() {
    for_seeds(200, |seed| {
        let mut random = Random(seed);
        let control = wqe::Control {
            queue_pair: QueuePairNumber(random.below(1 << 24) as u32),
            position: random.next() as u16,
            completion: random.below(4) as u8,
            fence: [Fence::None, Fence::ReadsAndAtomics, Fence::All][random.below(3) as usize],
        };
        let remote = wqe::Remote { address: random.next(), rkey: random.next() as u32 };
        let data: Vec<_> = (0..1 + random.below(60))
            .map(|_| wqe::DataSegment {
                bytes: 1 + random.below(1 << 24) as u32,
                lkey: random.next() as u32,
                address: random.next(),
            })
            .collect();
        let entry = wqe::rdma_write(control, remote, &data);
        let request = wqe::decode(&entry).unwrap();
        let payload = data.iter().copied().map(Payload::Memory).collect();
        assert_eq!(request.work, Work::Write { remote, payload });
        assert_eq!(request.completion, control.completion);
        assert_eq!(request.fence, control.fence);
        assert_eq!(request.header.position, control.position);
        assert_eq!(request.header.queue_pair, control.queue_pair);
        let mut first = [0; 8];
        first.copy_from_slice(&entry[..8]);
        assert_eq!(request.header.encode(), first);
        assert_eq!(Header::decode(wqe::doorbell_value(&entry).to_le_bytes()), request.header);
    });
}
