//! The queue pair of a test: made and connected here, its entries written by the kernel.

use warpferry_emu::Machine;
use warpferry_litmus::{Queue, Request, Test};
use warpferry_nic::wqe::{self, Control, DataSegment, Remote};
use warpferry_nic::{QueueConfig, QueuePairNumber, Rights};

use crate::layout::{offset, Layout};
use crate::unplayed::Unplayed;

/// Of a queue pair's memory: where its doorbell record and completion entry are, and where old values go.
const RECORD: u64 = 2048;
const COMPLETION: u64 = 2112;
const SCRAP: u64 = 2240;
const QUEUE_BYTES: u64 = 4096;

/// Entries of its ring.
const ENTRIES: usize = 16;

/// A queue pair as a kernel uses it.
#[derive(Debug)]
pub struct Pair {
    number: QueuePairNumber,
    pub entries: Vec<Vec<u8>>,
    pub queue: u64,
    pub record: u64,
    pub bell: u64,
    pub completion: u64,
}

/// What a word of a queue pair is.
#[derive(Debug, Clone, Copy)]
pub enum Word {
    Record,
    Doorbell,
    Completion,
    Entry(usize),
}

/// The word of a queue pair that a location is, if it is one.
pub fn word(queue: &Queue, location: usize) -> Option<Word> {
    let [record, doorbell, completed] = queue.words;
    match location {
        at if at == record => Some(Word::Record),
        at if at == doorbell => Some(Word::Doorbell),
        at if at == completed => Some(Word::Completion),
        _ => queue.entries.iter().position(|(at, _)| *at == location).map(Word::Entry),
    }
}

impl Pair {
    /// Whether the NIC has taken every entry: one that nobody rang for leaves it waiting, as a column that spins.
    pub fn is_done(&self, machine: &Machine) -> Result<bool, Unplayed> {
        let counters = machine.network().counters(self.number).map_err(Unplayed::failed)?;
        Ok(counters.entries_fetched >= self.entries.len() as u64)
    }
}

/// Makes it; `own` is where each GPU's locations are, all of them `bytes` long.
pub fn connect(
    machine: &mut Machine,
    (test, layout): (&Test, &Layout),
    queue: &Queue,
    own: &[u64],
    bytes: u64,
) -> Result<Pair, Unplayed> {
    let gpu = queue.poster.map_or(0, |place| layout.gpu(place.gpu));
    let remote_of = |request: &Request| match *request {
        Request::Write { remote, .. } | Request::Add { remote, .. } => layout.owner(test, remote),
    };
    let peer = queue.entries.first().map_or(gpu, |(_, request)| remote_of(request));
    if queue.entries.iter().any(|(_, request)| remote_of(request) != peer) {
        return Err(Unplayed::unsuitable(format!("queue {} has entries for two GPUs", queue.name)));
    }
    if queue.entries.len() > ENTRIES {
        return Err(Unplayed::unsuitable(format!("queue {} has more than {ENTRIES} entries", queue.name)));
    }
    let is_far =
        |request: &Request| matches!(*request, Request::Write { local, .. } if layout.owner(test, local) != gpu);
    if queue.entries.iter().any(|(_, request)| is_far(request)) {
        return Err(Unplayed::unsuitable(format!("queue {} reads memory of another GPU", queue.name)));
    }
    let mut ends = Vec::new();
    for at in [gpu, peer] {
        let base = machine.alloc(at, QUEUE_BYTES).map_err(Unplayed::failed)?;
        machine.fill(base, 0, QUEUE_BYTES).map_err(Unplayed::failed)?;
        machine.fill(base + COMPLETION, 0xff, 64).map_err(Unplayed::failed)?;
        let config = QueueConfig::collapsed(base, ENTRIES as u32, base + RECORD, base + COMPLETION);
        let pair = machine.create_queue_pair(at, config).map_err(Unplayed::failed)?;
        ends.push((base, pair));
    }
    let (base, number) = (ends[0].0, ends[0].1.number);
    machine.network_mut().connect(number, ends[1].1.number).map_err(Unplayed::failed)?;
    let local = machine.register_memory(gpu, own[gpu], bytes, Rights::default()).map_err(Unplayed::failed)?;
    let result = machine.register_memory(gpu, base, QUEUE_BYTES, Rights::remote()).map_err(Unplayed::failed)?;
    let remote = machine.register_memory(peer, own[peer], bytes, Rights::remote()).map_err(Unplayed::failed)?;
    let count = queue.entries.len();
    let entry = |(index, (_, request)): (usize, &(usize, Request))| {
        let control = Control::new(number, index as u16);
        let to = |location| Remote { address: own[peer] + offset(test, location), rkey: remote.rkey };
        match *request {
            Request::Write { remote, local: from } => {
                let address = own[gpu] + offset(test, from);
                let segment = DataSegment { bytes: 8, lkey: local.lkey, address };
                let control = if index + 1 == count { control.signaled() } else { control };
                wqe::rdma_write(control, to(remote), &[segment]).to_vec()
            }
            Request::Add { remote, by } => {
                let old = DataSegment { bytes: 8, lkey: result.lkey, address: base + SCRAP };
                wqe::fetch_add(control.signaled(), to(remote), by as u64, old).to_vec()
            }
        }
    };
    let entries = queue.entries.iter().enumerate().map(entry).collect();
    let bell = machine.map_doorbell(gpu, gpu).map_err(Unplayed::failed)? + ends[0].1.doorbell_offset_bytes;
    Ok(Pair { number, entries, queue: base, record: base + RECORD, bell, completion: base + COMPLETION })
}
