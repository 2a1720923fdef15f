//! Ranks whose NICs are served, and the bookkeeping of a kernel: positions, record, doorbell, completions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warpferry_nic::cqe::{self, Completion};
use warpferry_nic::wqe::{self, Control, DataSegment, Remote};
use warpferry_nic::QueuePairNumber;

use super::memory::Memory;
use crate::driver::Driver;
use crate::fabric::served::ServedNetwork;
use crate::fabric::{Nic, Queue, QueueMemory, WindowKeys};
use crate::mem::{DevicePtr, HostBlock};

/// Bytes of a rank's window.
pub const WINDOW_BYTES: u64 = 0x1_0000;
/// Word of a window that atomics of tests add to.
pub const WORD: u64 = 0xff00;
/// Where old values go.
pub const SCRAP: u64 = 0xff80;
/// Longest wait for the thread.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done`, or fails with what did not happen.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_micros(20));
    }
}

pub struct Rank {
    pub nic: Arc<dyn Nic>,
    pub driver: Arc<dyn Driver>,
    pub window: u64,
    pub keys: WindowKeys,
}

/// A queue pair and what its owner keeps.
#[derive(Clone, Copy)]
pub struct End {
    pub queue: Queue,
    pub block: HostBlock,
    pub entries: u32,
    pub memory: QueueMemory,
    /// Position of the next entry.
    pub next: u16,
    last: [u8; 8],
}

impl End {
    pub fn control(&self) -> Control {
        Control::new(QueuePairNumber(self.queue.number), self.next)
    }

    pub fn signaled(&self) -> Control {
        self.control().signaled()
    }
}

pub struct Rig {
    pub memory: Memory,
    pub network: ServedNetwork,
    pub ranks: Vec<Rank>,
}

impl Rig {
    /// `ranks` GPUs of one flat memory; every window holds a pattern of its own, its words and scrap are zero.
    pub fn new(ranks: usize) -> Rig {
        let memory = Memory::new();
        let drivers = (0..ranks).map(|_| memory.driver()).collect();
        Rig::over(memory, drivers)
    }

    pub fn over(memory: Memory, drivers: Vec<Arc<dyn Driver>>) -> Rig {
        let network = ServedNetwork::new(&drivers).expect("a network of some drivers");
        let ranks = network.nics().into_iter().zip(drivers).enumerate();
        let ranks = ranks
            .map(|(rank, (nic, driver))| {
                let window = memory.take(WINDOW_BYTES);
                let contents: Vec<u8> = (0..WORD).map(|at| (at * 7 + at / 256 + 31 * rank as u64) as u8).collect();
                memory.write(window, &contents);
                memory.write(window + WORD, &vec![0; (WINDOW_BYTES - WORD) as usize]);
                let keys = nic.register(DevicePtr::new(window), WINDOW_BYTES).expect("a window");
                Rank { nic, driver, window, keys }
            })
            .collect();
        Rig { memory, network, ranks }
    }

    /// A queue pair of a rank, not connected.
    pub fn queue(&self, rank: usize, entries: u32) -> End {
        let Rank { nic, driver, .. } = &self.ranks[rank];
        let bytes = u64::from(entries) * 64;
        let block = driver.alloc_host(bytes + 128).expect("a host block");
        let start = block.device;
        let memory = QueueMemory {
            host: Some(block),
            send_queue: start,
            entries,
            record: start.offset(bytes),
            completion: start.offset(bytes + 64),
        };
        self.memory.write(start.address(), &vec![0; bytes as usize + 128]);
        self.memory.write(memory.completion.address() + 63, &[cqe::OPCODE_INVALID << 4 | 1]);
        let queue = nic.create_queue(&memory).expect("a queue pair");
        End { queue, block, entries, memory, next: 0, last: [0; 8] }
    }

    /// A connected pair of queue pairs; both ends connect, as ranks do.
    pub fn pair(&self, from: usize, to: usize, entries: u32) -> (End, End) {
        let (a, b) = (self.queue(from, entries), self.queue(to, entries));
        let (here, there) = (&self.ranks[from].nic, &self.ranks[to].nic);
        here.connect(a.queue.number, there.address(b.queue.number)).expect("the first end connects");
        there.connect(b.queue.number, here.address(a.queue.number)).expect("the second end connects");
        (a, b)
    }

    pub fn remote(&self, rank: usize, offset: u64) -> Remote {
        Remote { address: self.ranks[rank].window + offset, rkey: self.ranks[rank].keys.remote }
    }

    pub fn data(&self, rank: usize, offset: u64, bytes: u32) -> DataSegment {
        DataSegment { bytes, lkey: self.ranks[rank].keys.local, address: self.ranks[rank].window + offset }
    }

    /// Contents of a window.
    pub fn window(&self, rank: usize, offset: u64, bytes: usize) -> Vec<u8> {
        self.memory.read(self.ranks[rank].window + offset, bytes)
    }

    pub fn word(&self, rank: usize, offset: u64) -> u64 {
        self.memory.word(self.ranks[rank].window + offset)
    }

    /// Writes an entry, not yet known to the NIC.
    pub fn put(&self, end: &mut End, entry: &[u8]) {
        for block in entry.chunks_exact(wqe::BLOCK_BYTES) {
            let place = u64::from(u32::from(end.next) & (end.entries - 1)) * wqe::BLOCK_BYTES as u64;
            self.memory.write(end.memory.send_queue.address() + place, block);
            end.next = end.next.wrapping_add(1);
        }
        end.last.copy_from_slice(&entry[..8]);
    }

    /// Makes what was written known: record, then doorbell.
    pub fn ring(&self, end: &End) {
        let counter = u32::from(end.next).to_be_bytes();
        self.memory.write(end.memory.record.address() + wqe::RECORD_SEND_COUNTER_OFFSET, &counter);
        self.memory.write(end.queue.doorbell.address(), &end.last);
    }

    pub fn post(&self, end: &mut End, entry: &[u8]) {
        self.put(end, entry);
        self.ring(end);
    }

    /// The completion entry; none before the first.
    pub fn completion(&self, end: &End) -> Option<Completion> {
        let bytes = self.memory.read(end.memory.completion.address(), cqe::ENTRY_BYTES);
        let completion = Completion::decode(bytes.as_slice().try_into().expect("64 bytes"));
        (completion.opcode != cqe::OPCODE_INVALID).then_some(completion)
    }

    /// Waits for the completion of the entry that begins at `position`.
    pub fn wait(&self, end: &End, position: u16) -> Completion {
        let mut last = None;
        until("a completion", || {
            last = self.completion(end);
            last.is_some_and(|completion| completion.entry_counter == position)
        });
        last.expect("waited for")
    }

    /// Posts one signaled entry and waits for its completion.
    pub fn run_one(&self, end: &mut End, entry: &[u8]) -> Completion {
        let position = end.next;
        self.post(end, entry);
        self.wait(end, position)
    }

    pub fn add(&self, end: &End, from: usize, to: usize, add: u64) -> Vec<u8> {
        wqe::fetch_add(end.signaled(), self.remote(to, WORD), add, self.data(from, SCRAP, 8))
    }
}
