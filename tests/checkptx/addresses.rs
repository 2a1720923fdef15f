//! Where rings, slots, words, windows and queues are.

use warpferry::plan::blocks::{CommBlock, QueueBlock};

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{Arg, Rig, Run};

pub static MLX5: Check = Check { name: "addresses_mlx5", cases: mlx5, run: Runs::Kernels(run) };
pub static LOOPBACK: Check = Check { name: "addresses_loopback", cases: loopback, run: Runs::Kernels(run) };

fn mlx5(more: u64) -> Vec<Case> {
    cases("addresses_mlx5", more)
}

fn loopback(more: u64) -> Vec<Case> {
    cases("addresses_loopback", more)
}

fn cases(check: &str, more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    for (nodes, node, gpus, local) in [(2, 0, 1, 0), (2, 1, 8, 7), (5, 2, 3, 1), (16, 15, 64, 33)] {
        for (block, grid) in [(32, 1), (96, 2), (256, 1)] {
            for seed in seeds(1, more) {
                let case = Case::new(check).with("nodes", nodes).with("node", node).with("gpus", gpus);
                let case = case.with("local", local).with("block", block).with("grid", grid);
                all.push(case.with("count", 131).with("seed", seed * 1000 + all.len() as u64));
            }
        }
    }
    all
}

/// Positions of flows follow a list of this many bytes in a warp's scratch (`LIST_BYTES` in `shared.ptxh`).
const LIST_BYTES: u32 = 384;

/// Offsets are drawn: nothing of the plan decides what the macros do with them.
fn comm(case: &Case) -> Result<CommBlock, Mismatch> {
    let drawn = draws::words(case.number("seed")?, 1, 16);
    let (nodes, gpus) = (case.word("nodes")?, case.word("gpus")?);
    let offset = |at: usize| drawn[at] & 0xff_ffff_ff80;
    Ok(CommBlock {
        nodes,
        gpus,
        node: case.word("node")?,
        local: case.word("local")?,
        ranks: nodes * gpus,
        depth_ib: 1 << (drawn[0] % 7),
        depth_nv: 1 << (drawn[1] % 7),
        dispatch_slot_bytes: 16 * (1 + (drawn[2] % 1000) as u32),
        window: 0x7f00_0000_0000 + offset(3),
        state: 0x7e00_0000_0000 + offset(4),
        queues: 0x7d00_0000_0000 + offset(5),
        dispatch_send_ring: offset(6),
        dispatch_forward_ring: offset(7),
        dispatch_receive_ring: offset(8),
        dispatch_receive_tail: offset(9),
        combine_partial_tail: offset(10),
        dispatch_send_position: offset(11),
        dispatch_slot_requests: offset(12),
        posted: offset(13),
        send_tokens: offset(14),
        ..CommBlock::default()
    })
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, count) = (case.number("seed")?, case.number("count")?);
    let mut comm = comm(case)?;
    let (nodes, gpus, node) = (u64::from(comm.nodes), u64::from(comm.gpus), u64::from(comm.node));
    let peers = draws::words(seed, 2, gpus as usize);
    let rails = draws::words(seed, 3, nodes as usize);
    let peers_zone = rig.input("peers", &draws::bytes_of(peers.iter().copied()), 8)?;
    let rails_zone = rig.input("rails", &draws::bytes_of(rails.iter().copied()), 24)?;
    comm.peers = peers_zone.start.address();
    comm.rails = rails_zone.start.address();
    let handle = 0x7c00_0000_0000;

    let drawn = draws::words(seed, 4, count as usize);
    let places = drawn.iter().map(|&word| {
        let peer = (node + 1 + (word >> 8) % (nodes - 1)) % nodes;
        [word % 61, peer, (word >> 24) % gpus, (word >> 40) % 70_000]
    });
    let places: Vec<[u64; 4]> = places.collect();
    let given = rig.input("places", &draws::bytes_of32(places.iter().flatten().map(|&word| word as u32)), 16)?;
    let comm_zone = rig.input("comm", &comm.to_bytes(), 8)?;
    let output = rig.output("found", 112 * count, 32)?;
    rig.run(Run {
        kernel: &case.check,
        grid: case.word("grid")?,
        block: case.word("block")?,
        shared_bytes: 0,
        args: &[
            ("comm", Arg::Zone(comm_zone)),
            ("handle", Arg::Word(handle)),
            ("places", Arg::Zone(given)),
            ("found", Arg::Zone(output)),
            ("count", Arg::Word(count)),
        ],
        reach: &[(peers_zone, false), (rails_zone, false)],
    })?;

    let is_mlx5 = case.check == "addresses_mlx5";
    let (local, ranks) = (u64::from(comm.local), u64::from(comm.ranks));
    let (depth_ib, depth_nv) = (u64::from(comm.depth_ib), u64::from(comm.depth_nv));
    let slot = u64::from(comm.dispatch_slot_bytes);
    let mut expected = Vec::new();
    for &[channel, peer, dest, number] in &places {
        let without = |of: u64, left_out: u64| of - u64::from(of > left_out);
        let ring = |window: u64, ring: u64, index: u64| {
            window.wrapping_add(ring + ((channel * (nodes - 1) + index) * depth_ib) * slot)
        };
        let word = |zone: u64, field: u64, of: u64, index: u64| zone + field + 8 * (channel * of + index);
        expected.extend(draws::bytes_of32([(peer * gpus + local) as u32, (node * gpus + dest) as u32]));
        expected.extend(draws::bytes_of32([without(peer, node) as u32, without(node, peer) as u32]));
        expected.extend(draws::bytes_of([
            ring(comm.window, comm.dispatch_forward_ring, without(peer, node)),
            comm.window + comm.dispatch_receive_ring + (channel * ranks + dest) * depth_nv * slot,
            word(comm.state, comm.dispatch_send_position, nodes, peer),
            word(comm.window, comm.dispatch_receive_tail, ranks, dest),
            handle + comm.send_tokens + 4 * number,
            peers[dest as usize],
            word(comm.window, comm.combine_partial_tail, ranks, peer * gpus + dest),
            channel + 16 * number + u64::from(LIST_BYTES),
        ]));
        let flow = channel * nodes + peer;
        expected.extend(draws::bytes_of(if is_mlx5 {
            [
                ring(comm.window, comm.dispatch_send_ring, without(peer, node)),
                comm.state + comm.dispatch_slot_requests + 8 * (flow * depth_ib + number % depth_ib),
                comm.queues + QueueBlock::BYTES as u64 * number,
                comm.state + comm.posted + 8 * number,
            ]
        } else {
            let rail = rails[peer as usize];
            [ring(rail, comm.dispatch_forward_ring, without(node, peer)), rail, 0, 0]
        }));
    }
    rig.expect(output, &expected)
}

#[test]
fn addresses_with_queues() {
    run_all(&MLX5);
}

#[test]
fn addresses_in_one_domain() {
    run_all(&LOOPBACK);
}
