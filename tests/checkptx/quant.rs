//! Rows of bf16 as FP8 with scales, eight elements a lane.

use warpferry::plan::{Fp8, Quantization, ScaleKind};
use warpferry::reference::{bf16, quantize};

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draw::Draw;
use crate::draws;
use crate::rig::{poison, Arg, Rig, Run};

pub static E4M3: Check = Check { name: "quant_e4m3", cases: e4m3, run: Runs::Kernels(run) };
pub static E5M2: Check = Check { name: "quant_e5m2", cases: e5m2, run: Runs::Kernels(run) };

/// Columns of 16 bytes in a group of 128 elements.
const GROUP_COLUMNS: usize = 16;

/// What the rows hold.
const HOLDS: [&str; 5] = ["sizes", "edges", "bits", "ties", "amax"];

fn e4m3(more: u64) -> Vec<Case> {
    cases(Fp8::E4m3, more)
}

fn e5m2(more: u64) -> Vec<Case> {
    cases(Fp8::E5m2, more)
}

/// Both scales of rows of every kind, of columns around groups and warps, blocks, grids, misalignments; every bf16.
fn cases(format: Fp8, more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |holds: &str, rows: u64, columns: u64, block: u32, grid: u32| {
        for power_of_two in [0, 1] {
            for seed in seeds(1, more) {
                let case = Case::new(&format!("quant_{format}")).with("holds", holds).with("rows", rows);
                let case = case.with("columns", columns).with("power_of_two", power_of_two);
                let case = case.with("offset", 16 * (all.len() as u64 % 8)).with("block", block).with("grid", grid);
                all.push(case.with("seed", seed * 1000 + all.len() as u64));
            }
        }
    };
    for columns in [0, 2, 14, 16, 18, 30, 32, 34, 48, 64, 130] {
        add("sizes", 3, columns, 64, 1);
        add("edges", 5, columns, 32, 2);
    }
    for (block, grid) in [(96, 2), (256, 3), (1024, 1)] {
        add("sizes", 7, 896, block, grid);
    }
    for columns in [16, 34] {
        add("ties", 8, columns, 128, 1);
    }
    add("bits", 16, 512, 256, 2);
    add("amax", 0x8000, 2, 1024, 2);
    all
}

/// Elements of all rows.
fn values(case: &Case, format: Fp8) -> Result<Vec<u16>, Mismatch> {
    let (seed, columns) = (case.number("seed")?, case.number("columns")? as usize);
    let count = case.number("rows")? as usize * 8 * columns;
    let holds = case.text("holds").unwrap_or_default();
    let mut draw = Draw::new(seed, &[2]);
    Ok(match holds {
        // Numbers of like size, another in each row.
        "sizes" => {
            let near =
                |(at, bits): (usize, u16)| (bits & 0x83ff) | ((40 + 29 * (at / (8 * columns)) as u16 % 160) << 7);
            let drawn: Vec<u16> = (0..count).map(|_| draw.next() as u16).collect();
            drawn.into_iter().enumerate().map(near).collect()
        }
        // Groups of zeros, of subnormals, of NaN, with infinities, with neither, and of anything.
        "edges" => draws::bf16s(seed, 1, count).chunks(128).flat_map(|group| edge(draw.next() % 6, group)).collect(),
        // Every bf16 in order: a group is a binade.
        "bits" => (0..count).map(|at| at as u16).collect(),
        // Every magnitude once as a row's largest, the others up to a dozen binades below.
        "amax" => (0..count)
            .map(|at| {
                let (amax, bits) = ((at / (8 * columns)) as u16 & 0x7fff, draw.next());
                match at % (8 * columns) {
                    11 => amax | (bits >> 48) as u16 & 0x8000,
                    _ => amax.saturating_sub(1 + (bits % 0x600) as u16) | (bits >> 48) as u16 & 0x8000,
                }
            })
            .collect(),
        // The largest is the format's largest times a power of two, the others half-way between two of its numbers.
        "ties" => {
            let middles = middles(format);
            let element = |at: usize| {
                let step = 2f32.powi((at / 128) as i32 % 60 - 10);
                let middle = middles[(draw.next() % middles.len() as u64) as usize];
                let value = if at % 128 == 5 { format.max() } else { middle };
                bf16::from_f32(if draw.next() & 1 == 0 { value * step } else { -value * step })
            };
            (0..count).map(element).collect()
        }
        _ => return Err(Mismatch::Failed(format!("holds={holds} is none of {HOLDS:?}"))),
    })
}

/// A group of drawn bits, made one `kind` of edge.
fn edge(kind: u64, group: &[u16]) -> Vec<u16> {
    let all = |f: fn(u16) -> u16| group.iter().map(|&bits| f(bits)).collect();
    match kind {
        0 => all(|bits| bits & 0x8000),
        1 => all(|bits| bits & 0x807f),
        2 => all(|bits| bits | 0x7fc0),
        3 => all(|bits| if bits & 0x700 == 0 { bits & 0x8000 | 0x7f80 } else { bits & 0xbfff }),
        4 => all(|bits| bits & 0xbfff),
        _ => group.to_vec(),
    }
}

/// Numbers half-way between two neighbours of a format, all of its normal range and some subnormal ones.
fn middles(format: Fp8) -> Vec<f32> {
    let value = |byte| warpferry::reference::fp8::to_f32(format, byte);
    (0..0x7f).map(|byte| (value(byte) + value(byte + 1)) / 2.0).filter(|middle| middle.is_finite()).collect()
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let format = if case.check == "quant_e4m3" { Fp8::E4m3 } else { Fp8::E5m2 };
    let (rows, columns) = (case.number("rows")?, case.number("columns")?);
    let power_of_two = case.number("power_of_two")?;
    let values = values(case, format)?;
    let offset = case.number("offset")?;
    let bytes = draws::bytes_of16(&values);
    let input = rig.input("rows", &bytes, offset)?;
    let elements = rig.output("elements", 8 * rows * columns, 112 - offset + 8)?;
    let scales = rig.output("scales", 4 * rows * columns, offset / 4)?;
    let scale_bytes = rig.output("scale bytes", rows * columns, offset / 16)?;
    rig.run(Run {
        kernel: if format == Fp8::E4m3 { "quant_e4m3" } else { "quant_e5m2" },
        grid: case.word("grid")?,
        block: case.word("block")?,
        shared_bytes: 0,
        args: &[
            ("rows", Arg::Zone(input)),
            ("elements", Arg::Zone(elements)),
            ("scales", Arg::Zone(scales)),
            ("bytes", Arg::Zone(scale_bytes)),
            ("count", Arg::Word(rows)),
            ("columns", Arg::Word(columns)),
            ("power_of_two", Arg::Word(power_of_two)),
        ],
        reach: &[],
    })?;
    let with = |scales| match power_of_two {
        0 => Quantization::new(format, ScaleKind::F32),
        _ => Quantization::new(format, scales).power_of_two(),
    };
    let columns = columns as usize;
    let (mut want_elements, mut want_scales, mut want_bytes) = (Vec::new(), Vec::new(), Vec::new());
    for row in bytes.chunks(16 * columns.max(1)) {
        let quantized = quantize(with(ScaleKind::F32), row);
        let in_bytes = quantize(with(ScaleKind::Ue8m0), row);
        want_elements.extend(quantized.elements);
        for column in 0..columns {
            let group = column / GROUP_COLUMNS;
            want_scales.extend(&quantized.scales[4 * group..][..4]);
            want_bytes.push(in_bytes.scales[group]);
        }
    }
    if power_of_two == 0 {
        want_bytes = (0..want_bytes.len() as u64).map(poison).collect();
    }
    rig.expect(scales, &want_scales)?;
    rig.expect(elements, &want_elements)?;
    rig.expect(scale_bytes, &want_bytes)
}

#[test]
fn rows_become_e4m3() {
    run_all(&E4M3);
}

#[test]
fn rows_become_e5m2() {
    run_all(&E5M2);
}
