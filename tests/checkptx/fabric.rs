//! Work-queue entries, doorbells, signals, credits: what a NIC or a peer would find.

use warpferry::plan::blocks::CommBlock;

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::queues::{Queues, Request};
use crate::rig::{poison, Arg, Rig, Run, Zone};

pub static POST: Check = Check { name: "post", cases: posts, run: Runs::Kernels(run_post) };
pub static PUT_MLX5: Check = Check { name: "put_mlx5", cases: puts_mlx5, run: Runs::Kernels(run_put_mlx5) };
pub static PUT_LOOPBACK: Check =
    Check { name: "put_loopback", cases: puts_loopback, run: Runs::Kernels(run_put_loopback) };

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
