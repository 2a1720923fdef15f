//! Sums of bf16 in f32, eight elements a thread.

use warpferry::reference::bf16;

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{Arg, Rig, Run};

pub static EIGHT: Check = Check { name: "eight", cases, run: Runs::Kernels(run) };

/// Numbers of terms, columns around blocks, misalignments, block sizes.
fn cases(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |terms: u64, columns: u64, offset: u64, block: u32, grid: u32| {
        for seed in seeds(1, more) {
            let case = Case::new("eight").with("terms", terms).with("columns", columns).with("offset", offset);
            all.push(case.with("block", block).with("grid", grid).with("seed", seed * 1000 + all.len() as u64));
        }
    };
    for terms in [0, 1, 2, 3, 8, 32] {
        for columns in [0, 1, 31, 32, 33, 131] {
            add(terms, columns, 16 * ((terms + columns) % 8), 32, 1);
        }
    }
    for offset in (0..128).step_by(16) {
        add(4, 67, offset, 64, 1);
    }
    for (block, grid) in [(96, 2), (256, 3), (1024, 1)] {
        add(5, 777, 0, block, grid);
    }
    all
}

/// The first row, then every other added in f32; rounded once.
pub fn sum(rows: &[&[u16]], elements: usize) -> Vec<u16> {
    let widened = |row: &[u16]| row.iter().map(|&bits| bf16::to_f32(bits)).collect::<Vec<f32>>();
    let first = rows.first().map_or_else(|| vec![0.0; elements], |row| widened(row));
    let add = |total: Vec<f32>, row: &&[u16]| total.iter().zip(widened(row)).map(|(&a, b)| bf16::add(a, b)).collect();
    let total = rows.iter().skip(1).fold(first, add);
    total.into_iter().map(bf16::from_f32).collect()
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (terms, columns) = (case.number("terms")?, case.number("columns")?);
    let elements = 8 * columns as usize;
    let values = draws::bf16s(case.number("seed")?, 1, terms as usize * elements);
    let offset = case.number("offset")?;
    let input = rig.input("terms", &draws::bytes_of16(&values), offset)?;
    let output = rig.output("sum", 16 * columns, 112 - offset)?;
    rig.run(Run {
        kernel: "eight",
        grid: case.word("grid")?,
        block: case.word("block")?,
        shared_bytes: 0,
        args: &[
            ("terms", Arg::Zone(input)),
            ("sum", Arg::Zone(output)),
            ("count", Arg::Word(terms)),
            ("columns", Arg::Word(columns)),
        ],
        reach: &[],
    })?;
    let rows: Vec<&[u16]> = values.chunks(elements.max(1)).collect();
    rig.expect(output, &draws::bytes_of16(&sum(&rows, elements)))
}

#[test]
fn sums_round_once() {
    run_all(&EIGHT);
}
