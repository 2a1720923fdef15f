//! Queue pairs as a kernel finds them, and what posting should leave in their memory.

use warpferry::plan::blocks::QueueBlock;

use crate::cases::Mismatch;
use crate::draws;
use crate::rig::{poison, Rig, Zone};

const ENTRY: usize = 64;
/// Bytes between completion entries and between doorbell records.
pub const PITCH: u64 = 64;

/// A work request as the kernel means it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub local: u64,
    pub remote: u64,
    pub bytes: u32,
    pub add: u32,
    pub signal: bool,
}

/// The 64 bytes of a request, by the formats of `mlx5dv.h`: control, remote address, then data or add, then, of an add,
/// where the former value goes. A write has 48.
pub fn entry(queue: &QueueBlock, index: u64, request: &Request) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    let (opcode, units) = if request.signal { (0x12, 4) } else { (0x08, 3) };
    put(0, &[0, (index >> 8) as u8, index as u8, opcode]);
    put(4, &(queue.number << 8 | units).to_be_bytes());
    put(11, &[if request.signal { 8 } else { 0 }]);
    put(16, &request.remote.to_be_bytes());
    put(24, &queue.remote_key.to_be_bytes());
    if request.signal {
        put(32, &u64::from(request.add).to_be_bytes());
    } else {
        put(32, &request.bytes.to_be_bytes());
        put(36, &queue.local_key.to_be_bytes());
        put(40, &request.local.to_be_bytes());
    }
    if request.signal {
        put(48, &8_u32.to_be_bytes());
        put(52, &queue.local_key.to_be_bytes());
        put(56, &queue.scrap.to_be_bytes());
    }
    bytes
}

/// Queues, and what their memory should hold.
pub struct Queues {
    pub blocks: Vec<QueueBlock>,
    pub entries: u64,
    pub ring: Zone,
    pub records: Zone,
    pub doorbells: Zone,
    pub completions: Zone,
    pub expected_ring: Vec<u8>,
    pub expected_records: Vec<u8>,
    pub expected_doorbells: Vec<u8>,
}

impl Queues {
    pub fn new(rig: &Rig, seed: u64, count: u64, entries: u64) -> Result<Queues, Mismatch> {
        Queues::completed(rig, seed, entries, &vec![0; (count * PITCH) as usize])
    }

    /// Queues whose completion entries hold these bytes.
    pub fn completed(rig: &Rig, seed: u64, entries: u64, completions: &[u8]) -> Result<Queues, Mismatch> {
        let count = completions.len() as u64 / PITCH;
        let ring = rig.output("send queues", count * entries * ENTRY as u64, 0)?;
        let records = rig.output("doorbell records", count * PITCH, 64)?;
        let doorbells = rig.output("doorbells", 8 * count, 8)?;
        let completions = rig.shared("completion entries", completions, 0)?;
        let drawn = draws::words(seed, 10, 4 * count as usize);
        let blocks = drawn.chunks(4).zip(0_u64..).map(|(drawn, at)| QueueBlock {
            send_queue: ring.start.address() + at * entries * ENTRY as u64,
            record: records.start.address() + at * PITCH + 4,
            doorbell: doorbells.start.address() + 8 * at,
            completion: completions.start.address() + at * PITCH,
            remote_window: drawn[0] & !0xff,
            scrap: drawn[1] & !7,
            number: (drawn[2] as u32 >> 8) | 1,
            mask: entries as u32 - 1,
            local_key: (drawn[2] >> 32) as u32,
            remote_key: drawn[3] as u32,
        });
        let blank = |zone: Zone| (0..zone.bytes).map(poison).collect::<Vec<u8>>();
        Ok(Queues {
            blocks: blocks.collect(),
            entries,
            expected_ring: blank(ring),
            expected_records: blank(records),
            expected_doorbells: blank(doorbells),
            ring,
            records,
            doorbells,
            completions,
        })
    }

    /// The table as kernels read it.
    pub fn table(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(QueueBlock::to_bytes).collect()
    }

    /// Notes that `requests` are posted to queue `at` after `posted` others, and the doorbell rung once.
    pub fn post(&mut self, at: usize, posted: u64, requests: &[Request]) {
        let mut last = [0; ENTRY];
        for (index, request) in (posted..).zip(requests) {
            last = entry(&self.blocks[at], index, request);
            let place = at * (self.entries as usize) + (index % self.entries) as usize;
            let bytes = if request.signal { ENTRY } else { 48 };
            self.expected_ring[place * ENTRY..][..bytes].copy_from_slice(&last[..bytes]);
        }
        let count = (posted + requests.len() as u64) as u16;
        let record = at * PITCH as usize + 4;
        self.expected_records[record..record + 4].copy_from_slice(&u32::from(count).to_be_bytes());
        self.expected_doorbells[8 * at..8 * at + 8].copy_from_slice(&last[..8]);
    }

    pub fn compare(&self, rig: &Rig) -> Result<(), Mismatch> {
        rig.expect(self.ring, &self.expected_ring)?;
        rig.expect(self.records, &self.expected_records)?;
        rig.expect(self.doorbells, &self.expected_doorbells)
    }

    pub fn reach(&self) -> [(Zone, bool); 4] {
        [(self.ring, true), (self.records, true), (self.doorbells, true), (self.completions, true)]
    }
}
