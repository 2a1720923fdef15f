//! Whether a stream's owner may go on, and what it waits for when not.

use warpferry::plan::blocks::{CommBlock, QueueBlock};

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{Arg, Rig, Run};

pub static ROOM: Check = Check { name: "room", cases, run: Runs::Kernels(run) };

/// First channel of the CTA.
const FIRST: u64 = 2;
/// Where the posted counts begin in the state.
const POSTED: u64 = 48;

fn cases(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    for (nodes, channels, depth, entries) in [(2, 1, 4, 16), (3, 4, 1, 8), (8, 5, 32, 64)] {
        for seed in seeds(2, more) {
            let case = Case::new("room").with("nodes", nodes).with("channels", channels).with("depth", depth);
            all.push(case.with("entries", entries).with("count", 97).with("seed", seed * 1000 + all.len() as u64));
        }
    }
    all
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, nodes, channels) = (case.number("seed")?, case.number("nodes")?, case.number("channels")?);
    let (depth, mask, count) = (case.number("depth")?, case.number("entries")? - 1, case.number("count")?);
    let last = FIRST + channels;
    let own = draws::words(seed, 1, 1)[0] % nodes;
    let block = QueueBlock { number: 7, mask: mask as u32, ..QueueBlock::default() };
    let queues = rig.input("queues", &block.to_bytes().repeat((last * nodes * 2) as usize), 64)?;

    // Completed counts stand at, just below and just above what posts and slots ask for.
    let posted = draws::words(seed, 2, (last * nodes * 2) as usize).iter().map(|word| word >> 8).collect::<Vec<u64>>();
    let near = draws::words(seed, 3, (channels * nodes * 2) as usize);
    let skipped = (FIRST * nodes * 2) as usize;
    let completed: Vec<u64> = near
        .iter()
        .zip(&posted[skipped..])
        .map(|(word, posted)| posted - [0, 1, mask, mask + 1, 9][(word % 5) as usize])
        .collect();
    let payload_done = |flow: u64| completed[2 * (flow - FIRST * nodes) as usize];
    let requests: Vec<u64> = draws::words(seed, 4, (last * nodes * depth) as usize)
        .iter()
        .zip(0..)
        .map(|(word, slot)| {
            let flow = slot / depth;
            let base = if flow < FIRST * nodes { posted[2 * flow as usize] } else { payload_done(flow) };
            base + word % 3 - 1
        })
        .collect();
    let mut state = vec![0; POSTED as usize];
    state.extend(draws::bytes_of(posted.iter().chain(&requests).copied()));
    let state = rig.input("state", &state, 8)?;
    let comm = CommBlock {
        node: own as u32,
        nodes: nodes as u32,
        depth_ib: depth as u32,
        state: state.start.address(),
        queues: queues.start.address(),
        posted: POSTED,
        dispatch_slot_requests: POSTED + 8 * posted.len() as u64,
        ..CommBlock::default()
    };
    let comm = rig.input("comm", &comm.to_bytes(), 8)?;
    let counts = rig.input("completed", &draws::bytes_of(completed.iter().copied()), 8)?;
    let places: Vec<[u64; 3]> = draws::words(seed, 5, count as usize)
        .iter()
        .map(|word| {
            let peer = (own + 1 + (word >> 8) % (nodes - 1)) % nodes;
            // Positions on both sides of the first turn of the ring, and far on.
            let reach = if word >> 63 == 0 { 1 + (word >> 16) % (2 * depth) } else { 1 + (word >> 16) % (1 << 40) };
            [FIRST + word % channels, peer, reach]
        })
        .collect();
    let given = places.iter().flat_map(|&[channel, peer, reach]| [channel | peer << 32, reach]);
    let given = rig.input("places", &draws::bytes_of(given), 16)?;
    let output = rig.output("found", 80 * count, 16)?;
    rig.run(Run {
        kernel: "room",
        grid: 1,
        block: 32,
        shared_bytes: 16 * (channels * nodes) as u32,
        args: &[
            ("comm", Arg::Zone(comm)),
            ("completed", Arg::Zone(counts)),
            ("places", Arg::Zone(given)),
            ("found", Arg::Zone(output)),
            ("first", Arg::Word(FIRST)),
            ("last", Arg::Word(last)),
            ("count", Arg::Word(count)),
        ],
        reach: &[(state, false), (queues, false)],
    })?;

    let mut expected = Vec::new();
    for &[channel, peer, reach] in &places {
        let flow = channel * nodes + peer;
        let (payload, credit) = (2 * flow as usize, 2 * flow as usize + 1);
        let at = |queue: usize| 8 * (queue - skipped) as u64;
        let done = |queue: usize| completed[queue - skipped];
        let has_room = posted[credit] <= done(credit) + mask;
        expected.extend([has_room.into(), at(credit), posted[credit] - mask]);
        expected.extend([(done(payload) >= posted[payload]).into(), at(payload), posted[payload]]);
        let needed = requests[(flow * depth + (reach - 1) % depth) as usize];
        let waits = reach > depth && done(payload) < needed;
        expected.extend(if waits { [at(payload), needed, 0, 0] } else { [0, 0, 1, 0] });
    }
    rig.expect(output, &draws::bytes_of(expected))
}

#[test]
fn an_owner_knows_what_it_waits_for() {
    run_all(&ROOM);
}
