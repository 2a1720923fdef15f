//! The served NIC does what the bare model does over flat memory.
//!
//! Method: random requests, some of them wrong, are posted to a served NIC and to a bare network whose keys, numbers and
//! addresses are the same; afterwards windows, completion entry and counters must agree byte for byte.

use warpferry_nic as nic;
use warpferry_nic::wqe::{self, DataSegment, Remote};
use warpferry_nic::{FlatBus, Network, NetworkConfig, NicId, Plain, QueueConfig, Rights};

use super::memory::BASE;
use super::rig::{End, Rig, SCRAP, WINDOW_BYTES, WORD};

const CASES: u64 = 60;
const ENTRIES: u32 = 32;
/// Most basic blocks of an entry that a case posts.
const BLOCKS_MAX: u32 = 5;

struct Random(u64);

impl Random {
    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The same world over flat memory, with a copy of what the rig's memory holds.
struct Bare {
    network: Network,
    bus: FlatBus,
    base: u64,
}

impl Bare {
    fn of(rig: &Rig, a: &End, b: &End) -> Bare {
        let config = NetworkConfig { max_write_piece_bytes: u32::MAX, ..NetworkConfig::default() };
        let mut network = Network::new(config).expect("a network");
        let rights = Rights { local_write: true, remote_write: true, remote_atomic: true, ..Rights::default() };
        for rank in &rig.ranks {
            let nic = network.add_nic().expect("a device");
            let region = network.register(nic, rank.window, WINDOW_BYTES, rights).expect("a window");
            assert_eq!((region.lkey, region.rkey), (rank.keys.local, rank.keys.remote));
        }
        let queues = (0..).zip([a, b]).map(|(nic, end)| {
            let memory = &end.memory;
            let config = QueueConfig::collapsed(
                memory.send_queue.address(),
                memory.entries,
                memory.record.address(),
                memory.completion.address(),
            );
            let pair = network.create_queue_pair(NicId(nic), config).expect("a queue pair");
            assert_eq!(pair.number.0, end.queue.number);
            pair.number
        });
        let numbers: Vec<_> = queues.collect();
        network.connect(numbers[0], numbers[1]).expect("a connection");
        let bytes = 4 << 20;
        let mut bus = FlatBus::new(BASE, bytes);
        bus.bytes_mut(BASE, bytes).copy_from_slice(&rig.memory.read(BASE, bytes));
        Bare { network, bus, base: BASE }
    }

    /// Takes the queue memory of `end` as it was posted, rings and runs.
    fn run(&mut self, rig: &Rig, end: &End, doorbell: &[u8]) {
        let (start, bytes) = (end.memory.send_queue.address(), end.entries as usize * 64 + 8);
        assert!(start >= self.base);
        self.bus.bytes_mut(start, bytes).copy_from_slice(&rig.memory.read(start, bytes));
        self.network.doorbell(NicId(0), wqe::doorbell_value(doorbell));
        while self.network.ready() > 0 {
            self.network.step(&mut self.bus, &mut Plain);
        }
    }
}

/// One entry for queue `a`; `wrong` is set when it must fail.
fn entry(random: &mut Random, rig: &Rig, a: &End, wrong: &mut bool) -> Vec<u8> {
    let control = a.signaled();
    let mut remote = |random: &mut Random, bytes: u64, align: u64| {
        let mut remote: Remote = rig.remote(1, random.below((WINDOW_BYTES - bytes) / align) * align);
        match random.below(60) {
            0 => (remote.rkey, *wrong) = (remote.rkey ^ 1 << random.below(32), true),
            1 => (remote.address, *wrong) = (rig.ranks[1].window + WINDOW_BYTES - bytes + 8, true),
            2 => (remote.rkey, *wrong) = (rig.ranks[1].keys.local, true),
            _ => {}
        }
        remote
    };
    match random.below(6) {
        0 | 1 => {
            let mut data = Vec::new();
            let mut bytes = 0;
            for _ in 0..1 + random.below(4) {
                let length = 1 + random.below(3000) as u32;
                data.push(rig.data(0, random.below(WINDOW_BYTES - u64::from(length)), length));
                bytes += u64::from(length);
            }
            let remote = remote(random, bytes, 1);
            if random.one_in(40) {
                let last: &mut DataSegment = data.last_mut().expect("one segment at least");
                (last.lkey, *wrong) = (last.lkey ^ 0x100, true);
            }
            wqe::rdma_write(control, remote, &data)
        }
        2 => {
            let bytes: Vec<u8> = (0..1 + random.below(200)).map(|_| random.below(256) as u8).collect();
            let remote = remote(random, bytes.len() as u64, 1);
            wqe::rdma_write_inline(control, remote, &bytes)
        }
        3 | 4 => {
            let at = if random.one_in(3) { remote(random, 8, 8) } else { rig.remote(1, WORD) };
            let result = rig.data(0, SCRAP + 8 * random.below(4), 8);
            let (add, compare) = (random.below(1 << 20), random.below(3));
            if random.one_in(4) {
                wqe::compare_swap(control, at, compare, add, result)
            } else {
                wqe::fetch_add(control, at, add, result)
            }
        }
        _ => wqe::nop(control),
    }
}

#[test]
fn requests_do_what_the_bare_model_does() {
    let mut errors = 0;
    for seed in 0..CASES {
        let mut random = Random(seed);
        let rig = Rig::new(2);
        let (mut a, b) = rig.pair(0, 1, ENTRIES);
        let mut bare = Bare::of(&rig, &a, &b);
        for batch in 0..1 + random.below(12) {
            let mut wrong = false;
            let mut last = (0, Vec::new());
            for _ in 0..1 + random.below(u64::from(ENTRIES / BLOCKS_MAX)) {
                last = (a.next, entry(&mut random, &rig, &a, &mut wrong));
                rig.put(&mut a, &last.1);
            }
            rig.ring(&a);
            bare.run(&rig, &a, &last.1);
            rig.wait(&a, last.0);
            let place = format!("seed {seed}, batch {batch}");
            for rank in 0..2 {
                let expected = bare.bus.bytes(rig.ranks[rank].window, WINDOW_BYTES as usize);
                let seen = rig.window(rank, 0, WINDOW_BYTES as usize);
                let differs = seen.iter().zip(expected).position(|(seen, expected)| seen != expected);
                assert_eq!(differs, None, "{place}: window {rank} differs at this offset");
            }
            let completion = a.memory.completion.address();
            assert_eq!(rig.memory.read(completion, 64), bare.bus.bytes(completion, 64), "{place}: completion entry");
            rig.network.with(|network| {
                let number = nic::QueuePairNumber(a.queue.number);
                assert_eq!(network.failures(), bare.network.failures(), "{place}");
                assert_eq!(network.state(number), bare.network.state(number), "{place}");
                let (have, mut want) = (network.counters(number), bare.network.counters(number));
                assert_eq!(network.violations(), bare.network.violations(), "{place}");
                // The only thing that may differ is how often a bell was heard.
                if let (Ok(have), Ok(want)) = (&have, &mut want) {
                    want.doorbells = have.doorbells;
                }
                assert_eq!(have, want, "{place}");
            });
            if rig.completion(&a).is_some_and(|completion| completion.is_error()) {
                errors += 1;
                break;
            }
            assert!(!wrong, "{place}: a wrong request completed");
        }
        assert!(rig.network.fault().is_none());
    }
    assert!((CASES / 10..CASES).contains(&errors), "{errors} of {CASES} cases ended in error: too few or all");
}
