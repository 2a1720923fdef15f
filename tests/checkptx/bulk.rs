//! Bulk copies through stages: `bulk_copy` and `bulk_edit`.

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{Arg, Rig, Run};

pub static COPY: Check = Check { name: "bulk_copy", cases: copies, run: Runs::Kernels(run) };
pub static EDIT: Check = Check { name: "bulk_edit", cases: edits, run: Runs::Kernels(run) };

/// Stages of a warp, and where they begin.
const STAGES: u64 = 4;
const STAGES_AT: u64 = 1024;

fn copies(more: u64) -> Vec<Case> {
    cases("bulk_copy", more)
}

fn edits(more: u64) -> Vec<Case> {
    cases("bulk_edit", more)
}

/// Lengths around piece and stages, every misalignment, block sizes, grids.
fn cases(check: &str, more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |bytes: u64, piece: u64, offset: u64, into: u64, block: u32, grid: u32| {
        for seed in seeds(1, more) {
            let case = Case::new(check).with("bytes", bytes).with("piece", piece).with("offset", offset);
            let case = case.with("into", into).with("block", block).with("grid", grid);
            all.push(case.with("seed", seed * 1000 + all.len() as u64));
        }
    };
    for piece in [16, 48, 512, 1040] {
        let around = [piece, 3 * piece, 4 * piece, 5 * piece, 9 * piece];
        let mut lengths = vec![0, 16, 32, 17 * 16];
        lengths.extend(around.iter().flat_map(|&bytes| [bytes - 16, bytes, bytes + 16]));
        for (at, bytes) in lengths.into_iter().enumerate() {
            let offset = 16 * (at as u64 % 8);
            add(bytes, piece, offset, 112 - offset, 32, 1);
        }
    }
    for offset in (0..128).step_by(16) {
        for into in (0..128).step_by(16) {
            add(2064, 512, offset, into, 64, 1);
        }
    }
    for (block, grid) in [(32, 3), (96, 1), (96, 2), (256, 1), (512, 2), (1024, 1)] {
        for bytes in [16 * 1023, 16 * 1024, 16 * 1025] {
            add(bytes, 256, 16, 48, block, grid);
        }
    }
    all
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, piece, block) = (case.number("seed")?, case.number("piece")?, case.word("block")?);
    let from = draws::bytes(seed, 1, case.number("bytes")? as usize);
    let key = draws::words(seed, 2, 1)[0] as u32;
    let source = rig.input("from", &from, case.number("offset")?)?;
    let output = rig.output("to", source.bytes, case.number("into")?)?;
    rig.run(Run {
        kernel: &case.check,
        grid: case.word("grid")?,
        block,
        shared_bytes: (STAGES_AT + u64::from(block / 32) * STAGES * piece) as u32,
        args: &[
            ("from", Arg::Zone(source)),
            ("to", Arg::Zone(output)),
            ("bytes", Arg::Word(source.bytes)),
            ("piece", Arg::Word(piece)),
            ("key", Arg::Word(key.into())),
        ],
        reach: &[],
    })?;
    let flips = if case.check == "bulk_edit" { key.to_le_bytes() } else { [0; 4] };
    let expected: Vec<u8> = from.iter().zip(flips.iter().cycle()).map(|(byte, flip)| byte ^ flip).collect();
    rig.expect(output, &expected)
}

#[test]
fn bulk_copies_arrive_whole() {
    run_all(&COPY);
}

#[test]
fn a_stage_changed_by_lanes_is_stored_changed() {
    run_all(&EDIT);
}
