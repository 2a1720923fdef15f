//! Work-queue entries, doorbells, signals, credits, completions: what a NIC or a peer would find.

use warpferry::plan::blocks::{CommBlock, QueueBlock};

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{poison, Arg, Rig, Run, Zone};

pub static POST: Check = Check { name: "post", cases: posts, run: Runs::Kernels(run_post) };
pub static PUT_MLX5: Check = Check { name: "put_mlx5", cases: puts_mlx5, run: Runs::Kernels(run_put_mlx5) };
pub static PUT_LOOPBACK: Check =
    Check { name: "put_loopback", cases: puts_loopback, run: Runs::Kernels(run_put_loopback) };
pub static COMPLETIONS: Check = Check { name: "completions", cases: completions, run: Runs::Kernels(run_completions) };

const ENTRY: usize = 64;
/// Bytes between completion entries and between doorbell records.
const PITCH: u64 = 64;
/// `CODE_NIC` of a status line.
const NIC: u32 = 2;

/// A work request as the kernel means it.
#[derive(Debug, Clone, Copy)]
struct Request {
    local: u64,
    remote: u64,
    bytes: u32,
    add: u32,
    signal: bool,
}

/// The 64 bytes of a request, by the formats of `mlx5dv.h`: control, remote address, then data or add, then where the
/// former value goes.
fn entry(queue: &QueueBlock, index: u64, request: &Request) -> [u8; ENTRY] {
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
    put(48, &8_u32.to_be_bytes());
    put(52, &queue.local_key.to_be_bytes());
    put(56, &queue.scrap.to_be_bytes());
    bytes
}

/// Queues, and what their memory should hold.
struct Queues {
    blocks: Vec<QueueBlock>,
    entries: u64,
    ring: Zone,
    records: Zone,
    doorbells: Zone,
    completions: Zone,
    expected_ring: Vec<u8>,
    expected_records: Vec<u8>,
    expected_doorbells: Vec<u8>,
}

impl Queues {
    fn new(rig: &Rig, seed: u64, count: u64, entries: u64) -> Result<Queues, Mismatch> {
        Queues::completed(rig, seed, entries, &vec![0; (count * PITCH) as usize])
    }

    /// Queues whose completion entries hold these bytes.
    fn completed(rig: &Rig, seed: u64, entries: u64, completions: &[u8]) -> Result<Queues, Mismatch> {
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
    fn table(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(QueueBlock::to_bytes).collect()
    }

    /// Notes that `requests` are posted to queue `at` after `posted` others, and the doorbell rung once.
    fn post(&mut self, at: usize, posted: u64, requests: &[Request]) {
        let mut last = [0; ENTRY];
        for (index, request) in (posted..).zip(requests) {
            last = entry(&self.blocks[at], index, request);
            let place = at * (self.entries as usize) + (index % self.entries) as usize;
            self.expected_ring[place * ENTRY..][..ENTRY].copy_from_slice(&last);
        }
        let count = (posted + requests.len() as u64) as u16;
        let record = at * PITCH as usize + 4;
        self.expected_records[record..record + 4].copy_from_slice(&u32::from(count).to_be_bytes());
        self.expected_doorbells[8 * at..8 * at + 8].copy_from_slice(&last[..8]);
    }

    fn compare(&self, rig: &Rig) -> Result<(), Mismatch> {
        rig.expect(self.ring, &self.expected_ring)?;
        rig.expect(self.records, &self.expected_records)?;
        rig.expect(self.doorbells, &self.expected_doorbells)
    }

    fn reach(&self) -> [(Zone, bool); 4] {
        [(self.ring, true), (self.records, true), (self.doorbells, true), (self.completions, true)]
    }
}

/// Counts of requests, of which some are signals, from positions that wrap the queue and 16 bits.
fn posts(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    for (count, entries) in [(1, 1), (1, 16), (2, 4), (3, 4), (31, 32), (32, 32), (32, 64)] {
        for posted in [0, 1, 13, 0xffff, 0x1_0000, 0xffff_fffe_u64] {
            for seed in seeds(1, more) {
                let case = Case::new("post").with("count", count).with("entries", entries).with("posted", posted);
                all.push(case.with("seed", seed * 1000 + all.len() as u64));
            }
        }
    }
    all
}

fn run_post(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, count, posted) = (case.number("seed")?, case.number("count")?, case.number("posted")?);
    let mut queues = Queues::new(rig, seed, 1, case.number("entries")?)?;
    let table = rig.input("queue", &queues.table(), 64)?;
    let drawn = draws::words(seed, 1, 3 * count as usize);
    let given = rig.input("requests", &draws::bytes_of(drawn.iter().copied()), 8)?;
    let signals = draws::words(seed, 2, 1)[0] as u32;
    rig.run(Run {
        kernel: "post",
        grid: 1,
        block: 32,
        shared_bytes: 0,
        args: &[
            ("queue", Arg::Zone(table)),
            ("requests", Arg::Zone(given)),
            ("posted", Arg::Word(posted)),
            ("count", Arg::Word(count)),
            ("signals", Arg::Word(signals.into())),
        ],
        reach: &queues.reach(),
    })?;
    let request = |(lane, words): (usize, &[u64])| Request {
        local: words[0],
        remote: words[1],
        bytes: words[2] as u32,
        add: (words[2] >> 32) as u32,
        signal: signals >> lane & 1 == 1,
    };
    let requests: Vec<Request> = drawn.chunks(3).enumerate().map(request).collect();
    queues.post(0, posted, &requests);
    queues.compare(rig)
}

fn puts_mlx5(more: u64) -> Vec<Case> {
    puts("put_mlx5", more)
}

fn puts_loopback(more: u64) -> Vec<Case> {
    puts("put_loopback", more)
}

/// Chunks that end before, at and beyond the ring's end; nodes on both sides of the own.
fn puts(check: &str, more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    for (nodes, node, peer) in [(2, 0, 1), (2, 1, 0), (5, 2, 0), (5, 2, 4), (31, 30, 3)] {
        for (depth, count, position) in
            [(4, 1, 0), (4, 4, 0), (4, 2, 3), (4, 4, 1), (8, 3, 5), (8, 4, 5), (32, 32, 33), (8, 3, 0xffff_fffe_u32)]
        {
            for seed in seeds(1, more) {
                let case = Case::new(check).with("nodes", nodes).with("node", node).with("peer", peer);
                let case = case.with("depth", depth).with("count", count).with("position", position);
                all.push(case.with("seed", seed * 1000 + all.len() as u64));
            }
        }
    }
    all
}

/// What a put is done with.
struct Put {
    comm: CommBlock,
    channel: u64,
    peer: u64,
    position: u64,
    count: u64,
    credits: u32,
    reach: u64,
    delta: u32,
}

const CHANNELS: u64 = 3;
/// Slots' bytes, and bytes of a window of the loopback fabric.
const SLOT: u32 = 208;
const WINDOW: u64 = 8192;

impl Put {
    fn new(case: &Case) -> Result<Put, Mismatch> {
        let (nodes, node) = (case.word("nodes")?, case.word("node")?);
        let drawn = draws::words(case.number("seed")?, 3, 8);
        let others = !(1_u32 << node) & (u32::MAX >> (32 - nodes));
        Ok(Put {
            comm: CommBlock {
                node,
                nodes,
                depth_ib: case.word("depth")?,
                dispatch_slot_bytes: SLOT,
                window: 0x7000_0000_0000 + (drawn[0] & 0xffff_ff00),
                dispatch_forward_tail: 128,
                dispatch_send_head: 4096,
                dispatch_send_ring: 0x1_0000,
                dispatch_forward_ring: 0x200_0000,
                posted: 48,
                ..CommBlock::default()
            },
            channel: drawn[1] % CHANNELS,
            peer: case.number("peer")?,
            position: case.number("position")?,
            count: case.number("count")?,
            credits: drawn[2] as u32 & others,
            reach: drawn[3],
            delta: drawn[4] as u32,
        })
    }

    fn run(&self, rig: &Rig, kernel: &str, reach: &[(Zone, bool)]) -> Result<(), Mismatch> {
        let comm = rig.input("comm", &self.comm.to_bytes(), 8)?;
        rig.run(Run {
            kernel,
            grid: 1,
            block: 32,
            shared_bytes: 0,
            args: &[
                ("comm", Arg::Zone(comm)),
                ("channel", Arg::Word(self.channel)),
                ("peer", Arg::Word(self.peer)),
                ("position", Arg::Word(self.position)),
                ("count", Arg::Word(self.count)),
                ("credits", Arg::Word(self.credits.into())),
                ("reach", Arg::Word(self.reach)),
                ("delta", Arg::Word(self.delta.into())),
            ],
            reach,
        })
    }

    /// Nodes that get credit.
    fn credited(&self) -> impl Iterator<Item = u64> + '_ {
        (0..u64::from(self.comm.nodes)).filter(|&node| self.credits >> node & 1 == 1)
    }

    /// Word of the flow between the own node and another, in an array `[channel][node]` at the other's.
    fn own_word(&self, array: u64) -> u64 {
        array + 8 * (self.channel * u64::from(self.comm.nodes) + u64::from(self.comm.node))
    }
}

/// Number of `of` in a list of all nodes but `without`.
fn place(of: u64, without: u64) -> u64 {
    of - u64::from(of > without)
}

fn run_put_mlx5(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let mut put = Put::new(case)?;
    let seed = case.number("seed")?;
    let (nodes, node, depth) = (u64::from(put.comm.nodes), u64::from(put.comm.node), u64::from(put.comm.depth_ib));
    let mut queues = Queues::new(rig, seed, CHANNELS * nodes * 2, 8)?;
    let table = rig.input("queues", &queues.table(), 0)?;
    let flows = CHANNELS * nodes;
    put.comm.dispatch_slot_requests = put.comm.posted + 8 * flows * 2;
    let words = draws::words(seed, 4, (2 * flows + flows * depth) as usize);
    let mut state = vec![0; put.comm.posted as usize];
    state.extend(draws::bytes_of(words.iter().copied()));
    let state_zone = rig.shared("state", &state, 16)?;
    put.comm.state = state_zone.start.address();
    put.comm.queues = table.start.address();
    let [ring, records, doorbells, entries] = queues.reach();
    put.run(rig, &case.check, &[(table, false), (state_zone, true), ring, records, doorbells, entries])?;

    let flow = put.channel * nodes + put.peer;
    let posted = words[2 * flow as usize];
    let (slot, first_run) = (put.position % depth, depth - put.position % depth);
    let remote_window = queues.blocks[2 * flow as usize].remote_window;
    let at = |base: u64, ring: u64, index: u64, slot: u64| {
        let flow = put.channel * (nodes - 1) + index;
        base.wrapping_add(ring).wrapping_add((flow * depth + slot) * u64::from(SLOT))
    };
    let write = |slot: u64, count: u64| Request {
        local: at(put.comm.window, put.comm.dispatch_send_ring, place(put.peer, node), slot),
        remote: at(remote_window, put.comm.dispatch_forward_ring, place(node, put.peer), slot),
        bytes: count as u32 * SLOT,
        add: 0,
        signal: false,
    };
    let signal = |remote: u64, add: u32| Request { local: 0, remote, bytes: 0, add, signal: true };
    let mut requests = vec![write(slot, put.count.min(first_run))];
    if put.count > first_run {
        requests.push(write(0, put.count - first_run));
    }
    let tail = remote_window.wrapping_add(put.own_word(put.comm.dispatch_forward_tail));
    requests.push(signal(tail, put.count as u32));
    queues.post(2 * flow as usize, posted, &requests);
    let now = posted.wrapping_add(requests.len() as u64);
    let mut set = |array: u64, index: u64, value: u64| {
        state[(array + 8 * index) as usize..][..8].copy_from_slice(&value.to_le_bytes());
    };
    set(put.comm.posted, 2 * flow, now);
    for position in put.position..put.position + put.count {
        set(put.comm.dispatch_slot_requests, flow * depth + position % depth, now);
    }
    for to in put.credited() {
        let queue = 2 * (put.channel * nodes + to) + 1;
        let posted = words[queue as usize];
        let head = queues.blocks[queue as usize].remote_window.wrapping_add(put.own_word(put.comm.dispatch_send_head));
        queues.post(queue as usize, posted, &[signal(head, put.delta.wrapping_add(to as u32))]);
        set(put.comm.posted, queue, posted.wrapping_add(1));
    }
    rig.expect(state_zone, &state)?;
    queues.compare(rig)
}

fn run_put_loopback(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let mut put = Put::new(case)?;
    let nodes = u64::from(put.comm.nodes);
    let windows = rig.output("windows", nodes * WINDOW, 0)?;
    let rails = (0..nodes).map(|node| windows.start.address() + node * WINDOW);
    let rails = rig.input("rails", &draws::bytes_of(rails), 8)?;
    put.comm.rails = rails.start.address();
    put.run(rig, &case.check, &[(rails, false), (windows, true)])?;
    let mut expected: Vec<u8> = (0..windows.bytes).map(poison).collect();
    let mut set = |node: u64, array: u64, value: u64| {
        let at = (node * WINDOW + put.own_word(array)) as usize;
        expected[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    set(put.peer, put.comm.dispatch_forward_tail, put.position + put.count);
    for to in put.credited() {
        set(to, put.comm.dispatch_send_head, put.reach.wrapping_add(to));
    }
    rig.expect(windows, &expected)
}

/// Counters that stand still, go on, wrap; entries not written yet; errors.
fn completions(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    for (nodes, channels, steps) in [(2, 1, 0), (2, 1, 9), (3, 4, 5), (8, 5, 7)] {
        for failing in [0, 1] {
            for seed in seeds(2, more) {
                let case = Case::new("completions").with("nodes", nodes).with("channels", channels);
                let case = case.with("steps", steps).with("failing", failing.min(steps));
                all.push(case.with("seed", seed * 1000 + all.len() as u64));
            }
        }
    }
    all
}

/// Last 8 bytes of a completion entry: opcode in the high nibble of the last byte, big-endian counter at byte 4.
fn end(opcode: u8, counter: u16) -> u64 {
    let [high, low] = counter.to_be_bytes();
    u64::from_le_bytes([0x11, 0x22, 0x33, 0x44, high, low, 0x55, opcode << 4 | 1])
}

const UNWRITTEN: u8 = 15;
const FAILED: u8 = 13;
const SYNDROME: u8 = 0x15;

fn run_completions(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, nodes, channels) = (case.number("seed")?, case.number("nodes")?, case.number("channels")?);
    let (steps, fails) = (case.number("steps")?, case.number("failing")? > 0);
    let first = 1;
    let total = (channels * nodes * 2) as usize;
    let skipped = (first * nodes * 2) as usize;
    // The own node has no queues.
    let own = draws::words(seed, 5, 1)[0] % nodes;
    let lives = |at: usize| at as u64 / 2 % nodes != own;
    let posted: Vec<u64> = draws::words(seed, 6, skipped + total).iter().map(|word| word >> (word % 40)).collect();
    let mut state = vec![0; 48];
    state.extend(draws::bytes_of(posted.iter().copied()));
    let state = rig.input("state", &state, 0)?;

    // Completed counts as they go on: within 16 bits behind what is posted at the start, then by less than 65536 a step.
    let drawn = draws::words(seed, 7, total * (steps as usize + 1));
    let mut counts: Vec<u64> =
        (0..total).map(|at| posted[skipped + at] - drawn[at].min(posted[skipped + at]) % 1000).collect();
    let mut written: Vec<bool> = (0..total).map(|at| drawn[at] >> 60 != 0).collect();
    let mut entries = vec![0; (skipped + total) * PITCH as usize];
    for at in 0..total {
        let value = if written[at] { end(0, counts[at].wrapping_sub(1) as u16) } else { end(UNWRITTEN, 0) };
        let place = (skipped + at) * PITCH as usize;
        entries[place + 56..place + 64].copy_from_slice(&value.to_le_bytes());
        entries[place + 55] = SYNDROME;
    }
    let mut queues = Queues::completed(rig, seed, 8, &entries)?;
    for (_, block) in queues.blocks.iter_mut().enumerate().filter(|(at, _)| !lives(*at)) {
        block.number = 0;
    }
    let table = rig.input("queues", &queues.table(), 0)?;
    let mut expected = Vec::new();
    let mut note = |counts: &[u64], written: &[bool]| {
        expected.extend(draws::bytes_of((0..total).map(|at| match (lives(at), written[at]) {
            (true, true) => counts[at],
            (true, false) => 0,
            (false, _) => posted[skipped + at],
        })));
    };
    // A queue without completions starts from none; a node's own queue does not exist and stays.
    note(&counts, &written);
    let failing = (0..total).filter(|&at| lives(at)).nth(seed as usize % 2);
    let mut ends = Vec::new();
    for step in 1..=steps as usize {
        for at in 0..total {
            let word = drawn[step * total + at];
            let is_last = step == steps as usize;
            if fails && is_last && Some(at) == failing {
                ends.push(end(FAILED, 0));
                continue;
            }
            if !written[at] && word >> 62 == 0 {
                ends.push(end(UNWRITTEN, 0));
                continue;
            }
            if !written[at] {
                written[at] = true;
                counts[at] = 1 + (word & 0x3fff);
            } else {
                counts[at] += [0, 1, 65535, word & 0xffff][(word >> 60) as usize % 4];
            }
            ends.push(end(0, counts[at].wrapping_sub(1) as u16));
        }
        note(&counts, &written);
    }
    let comm = CommBlock {
        nodes: nodes as u32,
        state: state.start.address(),
        posted: 48,
        queues: table.start.address(),
        ..CommBlock::default()
    };
    let comm = rig.input("comm", &comm.to_bytes(), 0)?;
    let ends = rig.input("ends", &draws::bytes_of(ends), 0)?;
    let output = rig.output("counts", expected.len() as u64, 8)?;
    let kept = rig.output("kept", 32, 0)?;
    rig.run(Run {
        kernel: "completions",
        grid: 1,
        block: 32,
        shared_bytes: 256 + 16 * (channels * nodes) as u32,
        args: &[
            ("comm", Arg::Zone(comm)),
            ("ends", Arg::Zone(ends)),
            ("counts", Arg::Zone(output)),
            ("kept", Arg::Zone(kept)),
            ("first", Arg::Word(first)),
            ("last", Arg::Word(first + channels)),
            ("steps", Arg::Word(steps)),
        ],
        reach: &[(table, false), (state, false), (queues.completions, true)],
    })?;
    rig.expect(output, &expected)?;
    let failing = failing.filter(|_| fails).map(|at| (skipped + at) as u64 / 2);
    let mut expected = draws::bytes_of32(failing.map_or([0, 0], |_| [NIC, SYNDROME.into()]));
    expected.extend(draws::bytes_of(failing.map_or([0, 0], |number| [number % nodes, number / nodes])));
    expected.extend(draws::bytes_of32([failing.is_some().into(), 0]));
    rig.expect(kept, &expected)
}

#[test]
fn a_nic_finds_entries_and_doorbells() {
    run_all(&POST);
}

#[test]
fn a_put_is_writes_and_a_signal() {
    run_all(&PUT_MLX5);
}

#[test]
fn a_put_within_a_domain_is_a_word() {
    run_all(&PUT_LOOPBACK);
}

#[test]
fn completions_are_widened() {
    run_all(&COMPLETIONS);
}
