//! Completion entries: counters are widened, errors are told.

use warpferry::plan::blocks::CommBlock;

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::queues::{Queues, PITCH};
use crate::rig::{Arg, Rig, Run};

pub static COMPLETIONS: Check = Check { name: "completions", cases, run: Runs::Kernels(run) };

/// `CODE_NIC` of a status line.
const NIC: u32 = 2;

/// Counters that stand still, go on, wrap; entries not written yet; errors.
fn cases(more: u64) -> Vec<Case> {
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

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
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

    // Completed counts: a little behind what is posted at the start, then on by less than 65536 a step.
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
fn completions_are_widened() {
    run_all(&COMPLETIONS);
}
