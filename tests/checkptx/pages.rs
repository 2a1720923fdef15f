//! Pages of the kernels' bodies: the mover and the summer.

use warpferry::plan::blocks::LaunchBlock;
use warpferry::reference::bf16;

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::eight::sum;
use crate::rig::{poison, Arg, Rig, Run};

pub static MOVER: Check = Check { name: "mover", cases: moves, run: Runs::Kernels(run_mover) };
pub static SUMMER: Check = Check { name: "summer", cases: sums, run: Runs::Kernels(run_summer) };

/// Bytes of a header.
const HEADER: u64 = 16;
/// mbarriers of a worker, bytes of its result buffers.
const BARRIERS: u32 = 6;
const RESULT_BYTES: u32 = 2048;
/// Where mbarriers begin.
const BARRIERS_AT: u32 = 256;
/// A warp's scratch: its list, and 32 weights behind it.
const LIST_BYTES: u32 = 384;
const SCRATCH_BYTES: u32 = 512;
/// Slots of a message's terms.
const TERMS_MAX: u64 = 32;
/// `CODE_STALE_SLOT` of a status line.
const STALE_SLOT: u32 = 3;
/// `CODE_WEIGHTS`.
const WEIGHTS: u32 = 10;

/// Launch block for `warps` warps, and the bytes of their shared memory.
fn launch(warps: u32, piece_bytes: u32, stage_bytes: u32) -> (LaunchBlock, u32) {
    let scratch = (BARRIERS_AT + warps * BARRIERS * 8).next_multiple_of(128);
    let stages = scratch + warps * SCRATCH_BYTES;
    let results = stages + warps * stage_bytes;
    let block = LaunchBlock {
        barriers: BARRIERS_AT,
        scratch,
        scratch_bytes: SCRATCH_BYTES,
        counters: LIST_BYTES,
        stages,
        stage_bytes,
        piece_bytes,
        results,
        ..LaunchBlock::default()
    };
    (block, results + warps * RESULT_BYTES)
}

/// From rings and rows, to slots and rows; sizes around pieces, several claims, wraps, an early end at every place.
fn moves(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |piece: u64, used: u64, depth: u64, bare: u64, messages: u64, chunk: u64, copies: u64, stop: u64| {
        for seed in seeds(1, more) {
            let at = all.len() as u64;
            let case = Case::new("mover").with("piece", piece).with("used", used).with("pad", 16 * (at % 5));
            let case = case.with("depth", depth).with("bare", bare).with("messages", messages).with("chunk", chunk);
            let case = case.with("copies", copies).with("stop", stop).with("warps", [1, 1, 3, 16][at as usize % 4]);
            let position = if at.is_multiple_of(3) { 0xffff_fffa } else { at };
            all.push(case.with("position", position).with("seed", seed * 1000 + at));
        }
    };
    for depth in [0, 8] {
        for bare in [0, 1] {
            for piece in [32, 48, 128] {
                for used in [32, piece - 16, piece, piece + 16, 4 * piece - 16, 4 * piece, 5 * piece + 16] {
                    if used >= 32 {
                        add(piece, used, depth, bare, 7, 3, 2, 99);
                    }
                }
            }
            for stop in 0..7 {
                add(64, 144, depth, bare, 7, 4, 3, stop);
            }
        }
    }
    for messages in [0, 1, 31, 32, 33] {
        add(64, 80, 4, 0, messages, 32, 1, 5);
        add(64, 80, 0, 1, messages, 32, 32, 5);
    }
    all
}

fn run_mover(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, used, messages) = (case.number("seed")?, case.number("used")?, case.number("messages")?);
    let (depth, copies, bare) = (case.number("depth")?, case.number("copies")?, case.number("bare")? > 0);
    let (warps, position) = (case.number("warps")?, case.number("position")?);
    let (slot, hidden) = (used + case.number("pad")?, used - HEADER);
    let (block, shared_bytes) = launch(warps as u32, case.word("piece")?, 4 * case.word("piece")?);
    let launch = rig.input("launch", &block.to_bytes(), 4)?;
    let source_rows = messages + 3;
    let source_bytes = if depth > 0 { warps * depth * slot } else { source_rows * hidden };
    let from = draws::bytes(seed, 1, source_bytes as usize);
    let source = rig.input("from", &from, 16 * (seed % 8))?;
    let rows: Vec<u32> =
        draws::words(seed, 2, messages as usize).iter().map(|word| (word % source_rows) as u32).collect();
    let list = rig.input("rows", &draws::bytes_of32(rows.iter().copied()), 4)?;
    let pitch = if bare { hidden } else { slot };
    let output = rig.output("to", warps * copies * messages * pitch, 16 * (seed % 7))?;
    let noted = rig.output("noted", 4 * warps * messages, 12)?;
    rig.run(Run {
        kernel: "mover",
        grid: 1,
        block: 32 * warps as u32,
        shared_bytes,
        args: &[
            ("launch", Arg::Zone(launch)),
            ("from", Arg::Zone(source)),
            ("rows", Arg::Zone(list)),
            ("to", Arg::Zone(output)),
            ("noted", Arg::Zone(noted)),
            ("slot", Arg::Word(slot)),
            ("used", Arg::Word(used)),
            ("messages", Arg::Word(messages)),
            ("position", Arg::Word(position)),
            ("depth", Arg::Word(depth)),
            ("chunk", Arg::Word(case.number("chunk")?)),
            ("copies", Arg::Word(copies)),
            ("bare", Arg::Word(bare.into())),
            ("stop", Arg::Word(case.number("stop")?)),
        ],
        reach: &[],
    })?;

    let mut expected: Vec<u8> = (0..output.bytes).map(poison).collect();
    let mut expected_noted: Vec<u8> = (0..noted.bytes).map(poison).collect();
    for warp in 0..warps {
        for message in 0..messages {
            let whole = if depth > 0 {
                let at = (warp * depth + (position + message) % depth) * slot;
                let whole = from[at as usize..(at + used) as usize].to_vec();
                let noted_at = 4 * (warp * messages + message) as usize;
                expected_noted[noted_at..noted_at + 4].copy_from_slice(&whole[..4]);
                whole
            } else {
                let at = (u64::from(rows[message as usize]) * hidden) as usize;
                let number = message as u32;
                let mut whole = draws::bytes_of32([number, !number, warp as u32, 0]);
                whole.extend(&from[at..at + hidden as usize]);
                whole
            };
            let stored = if bare { &whole[HEADER as usize..] } else { &whole };
            for copy in 0..copies {
                let at = (((warp * copies + copy) * messages + message) * pitch) as usize;
                expected[at..at + stored.len()].copy_from_slice(stored);
            }
        }
    }
    rig.expect(output, &expected)?;
    rig.expect(noted, &expected_noted)
}

/// Numbers of terms, sizes around pieces and result buffers; the home node's part first, last, whole or none; stale
/// headers.
fn sums(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |stage: u64, used: u64, terms: u64, bare: u64, messages: u64, stale: u64| {
        for seed in seeds(1, more) {
            let at = all.len() as u64;
            let (used, stage) = (used.max(64), if terms > 30 { stage.max(2048) } else { stage });
            let case = Case::new("summer").with("stage", stage).with("used", used).with("pad", 16 * (at % 5));
            // Headers of no, some and as many weights as leave a column of row.
            let topk = [0, 1, 5, 8, (used - 32).min(128) / 4][at as usize % 5];
            let case = case.with("topk", topk).with("weighs", (at / 3 % 2).min(topk)).with("biases", at / 2 % 3);
            // Terms from slots, rows of a tensor, rows times their scales.
            let rows = if stale < messages { 0 } else { at / 5 % 3 };
            let case = case.with("flag", at % 2).with("rows", rows);
            let case = if rows > 0 { case.with("biases", 0) } else { case };
            let case = case.with("terms", terms).with("bare", bare).with("messages", messages).with("stale", stale);
            all.push(case.with("warps", [1, 3, 16][at as usize % 3]).with("seed", seed * 1000 + at));
        }
    };
    for bare in [0, 1] {
        for used in [32, 240, 256, 272, 1008, 1024, 1040, 4112] {
            add(2048, used, 4, bare, 5, 99);
        }
        for terms in [0, 1, 2, 3, 8, 31, 32] {
            add(1024, 144, terms, bare, 9, 99);
        }
        add(8192, 6160, 2, bare, 4, 99);
    }
    for stale in 0..3 {
        add(1024, 272, 3, 0, 3, stale);
    }
    all
}

fn run_summer(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, used, messages) = (case.number("seed")?, case.number("used")?, case.number("messages")?);
    let (terms_max, bare) = (case.number("terms")?, case.number("bare")? > 0);
    let (topk, weighs, biases) = (case.number("topk")?, case.number("weighs")?, case.number("biases")?);
    let header = HEADER + (4 * topk).next_multiple_of(16);
    let rows = case.number("rows")?;
    let (stale, slot) = (case.number("stale")?, used + case.number("pad")?);
    let warps = case.word("warps")?;
    let (block, shared_bytes) = launch(warps, 0, case.word("stage")?);
    let launch = rig.input("launch", &block.to_bytes(), 4)?;
    let call = draws::words(seed, 3, 1)[0] as u32;
    let groups: Vec<[u64; 3]> = draws::words(seed, 4, messages as usize)
        .iter()
        .enumerate()
        .map(|(message, word)| {
            // The first messages have as many terms as there can be.
            let terms = if message < 3 { terms_max } else { word % (terms_max + 1) };
            let (a, b) = ((word >> 16) % (terms + 1), (word >> 32) % (terms + 1));
            match word >> 62 {
                _ if rows > 0 => [terms, 0, 0],
                0 => [terms, 0, terms],
                _ => [terms, a.min(b), a.max(b)],
            }
        })
        .collect();
    let hidden = (used - header) as usize / 2;
    let values = draws::bf16s(seed, 1, (messages * TERMS_MAX) as usize * hidden);
    let term = |message: u64, term: u64| &values[((message * TERMS_MAX + term) as usize * hidden)..][..hidden];
    let weights: Vec<f32> = draws::words(seed, 5, (messages * TERMS_MAX * topk) as usize)
        .iter()
        .map(|&word| f32::from_bits(word as u32))
        .collect();
    let weights_of =
        |message: u64, term: u64| &weights[((message * TERMS_MAX + term) * topk) as usize..][..topk as usize];
    let bias_values = draws::bf16s(seed, 6, (biases * messages) as usize * hidden);
    let bias = |message: u64, bias: u64| &bias_values[(bias * messages + message) as usize * hidden..][..hidden];
    // What is wrong with the message that is stale: an earlier call, or weights where there are none.
    let flag = case.number("flag")? > 0;
    let mut slots = draws::bytes(seed, 2, (messages * TERMS_MAX * slot) as usize);
    for message in 0..messages {
        for number in 0..TERMS_MAX {
            let at = ((message * TERMS_MAX + number) * slot) as usize;
            // One header of the message `stale` is of an earlier call.
            let old = message == stale && number + 1 == groups[message as usize][0];
            let (old, odd) = (old && !flag, old && flag);
            let head =
                draws::bytes_of32([call.wrapping_sub(old.into()), message as u32, weighs as u32 ^ u32::from(odd)]);
            slots[at..at + 12].copy_from_slice(&head);
            let given = draws::bytes_of32(weights_of(message, number).iter().map(|weight| weight.to_bits()));
            slots[at + HEADER as usize..][..given.len()].copy_from_slice(&given);
            let row = at + if rows > 0 { 0 } else { header as usize };
            slots[row..row + 2 * hidden].copy_from_slice(&draws::bytes_of16(term(message, number)));
        }
    }
    let source = rig.input("from", &slots, 16 * (seed % 8))?;
    let factors: Vec<f32> = draws::words(seed, 7, (2 * messages * TERMS_MAX) as usize)
        .iter()
        .map(|&word| f32::from_bits(word as u32 & 0x83ff_ffff | 0x3c00_0000))
        .collect();
    let (scales, own) = factors.split_at((messages * TERMS_MAX) as usize);
    let given = rig.input("scales", &draws::bytes_of32(factors.iter().map(|factor| factor.to_bits())), 4)?;
    let table = groups.iter().flat_map(|group| [group[0] as u32, group[1] as u32, group[2] as u32, 0]);
    let table = rig.input("groups", &draws::bytes_of32(table), 16)?;
    let pitch = if bare { used - header } else { slot };
    let bias_rows = rig.input("biases", &draws::bytes_of16(&bias_values), 16 * (seed % 3))?;
    let output = rig.output("to", messages * pitch, 16 * (seed % 7))?;
    let weights_out = rig.output("weights", 4 * messages * topk, 4 * (seed % 5))?;
    let kept = rig.output("kept", 32, 0)?;
    rig.run(Run {
        kernel: "summer",
        grid: 1,
        block: 32 * warps,
        shared_bytes,
        args: &[
            ("launch", Arg::Zone(launch)),
            ("from", Arg::Zone(source)),
            ("groups", Arg::Zone(table)),
            ("biases", Arg::Zone(bias_rows)),
            ("to", Arg::Zone(output)),
            ("weights", Arg::Zone(weights_out)),
            ("kept", Arg::Zone(kept)),
            ("slot", Arg::Word(slot)),
            ("used", Arg::Word(used)),
            ("topk", Arg::Word(topk)),
            ("weighs", Arg::Word(weighs)),
            ("bias", Arg::Word(biases)),
            ("rows", Arg::Word(rows)),
            ("scales", Arg::Zone(given)),
            ("messages", Arg::Word(messages)),
            ("call", Arg::Word(call.into())),
            ("bare", Arg::Word(bare.into())),
        ],
        reach: &[],
    })?;

    let word = |call: u32| u64::from(call) << 32 | stale;
    let (code, words) = match flag {
        true => (WEIGHTS, [weighs, weighs ^ 1]),
        false => (STALE_SLOT, [word(call), word(call.wrapping_sub(1))]),
    };
    let mut expected_line = draws::bytes_of32(if stale < messages { [code, stale as u32] } else { [0, 0] });
    let words = if stale < messages { words } else { [0, 0] };
    expected_line.extend(draws::bytes_of(words));
    expected_line.extend(draws::bytes_of32([(stale < messages).into(), 0]));
    rig.expect(kept, &expected_line)?;

    let have = rig.read(output)?;
    let mut expected = have.clone();
    let have_weights = rig.read(weights_out)?;
    let mut expected_weights = have_weights.clone();
    for message in 0..messages {
        // A warp ends with the message that has a stale slot: its later ones are not done.
        if stale < messages && message % u64::from(warps) == stale % u64::from(warps) && message >= stale {
            continue;
        }
        let at = (message * pitch) as usize;
        let group = groups[message as usize];
        let terms: Vec<&[u16]> = (0..group[0]).map(|number| term(message, number)).collect();
        let added: Vec<&[u16]> = (0..biases).map(|number| bias(message, number)).collect();
        let of = |all: &'_ [f32]| all[(message * TERMS_MAX) as usize..][..TERMS_MAX as usize].to_vec();
        let row = match rows {
            2 => scaled_total(&terms, &of(scales), hidden),
            _ => total(group, hidden, &[&terms[..], &added].concat()),
        };
        let row = draws::bytes_of16(&row);
        let weights: Vec<&[f32]> = (0..group[0]).map(|number| weights_of(message, number)).collect();
        let weights = match weighs {
            0 => vec![0; topk as usize],
            _ if rows > 0 => of(own)[..topk as usize].iter().map(|weight| weight.to_bits()).collect(),
            _ => total_weights(group, topk as usize, &weights),
        };
        if weighs > 0 && rows == 0 {
            let at = (4 * message * topk) as usize;
            expected_weights[at..][..4 * topk as usize].copy_from_slice(&draws::bytes_of32(weights.iter().copied()));
        }
        if bare {
            expected[at..at + row.len()].copy_from_slice(&row);
        } else {
            let mut head = draws::bytes_of32([call, message as u32 + 1000, weighs as u32, 0]);
            head.extend(draws::bytes_of32(weights.iter().copied()));
            // What pads the weights is the sum of what padded the terms': nobody reads it.
            head.extend_from_slice(&have[at + head.len()..at + header as usize]);
            expected[at..at + head.len()].copy_from_slice(&head);
            expected[at + header as usize..][..row.len()].copy_from_slice(&row);
            let pad = at + used as usize..at + slot as usize;
            let untouched: Vec<u8> = pad.clone().map(|at| poison(at as u64)).collect();
            expected[pad].copy_from_slice(&untouched);
        }
    }
    rig.expect(weights_out, &expected_weights)?;
    rig.expect(output, &expected)
}

/// Rows times their scales, added in f32 in order and rounded once.
fn scaled_total(rows: &[&[u16]], scales: &[f32], hidden: usize) -> Vec<u16> {
    let term = |row: usize, at: usize| one_nan(bf16::to_f32(rows[row][at]) * scales[row]);
    let sum = |at: usize| (0..rows.len()).map(|row| term(row, at)).reduce(bf16::add).unwrap_or(0.0);
    (0..hidden).map(|at| bf16::from_f32(sum(at))).collect()
}

fn one_nan(value: f32) -> f32 {
    if value.is_nan() {
        f32::from_bits(0x7fff_ffff)
    } else {
        value
    }
}

/// Weights as [`total`] adds rows, in f32: bits.
fn total_weights([terms, home, home_end]: [u64; 3], topk: usize, all: &[&[f32]]) -> Vec<u32> {
    let sum = |values: &mut dyn Iterator<Item = f32>| values.reduce(bf16::add);
    let column = |at: usize| {
        let part = |from: u64, to: u64| all[from as usize..to as usize].iter().map(move |row| row[at]);
        let home_sum = sum(&mut part(home, home_end));
        let mut terms = part(0, home).chain(home_sum).chain(part(home_end, terms));
        sum(&mut terms).unwrap_or(0.0).to_bits()
    };
    (0..topk).map(column).collect()
}

/// The home node's terms are summed and rounded by themselves, and join where the first of them stands; biases come last.
fn total([_, home, home_end]: [u64; 3], hidden: usize, rows_all: &[&[u16]]) -> Vec<u16> {
    let part = |from: u64, to: u64| &rows_all[from as usize..to as usize];
    let home_sum = sum(part(home, home_end), hidden);
    let mut rows = part(0, home).to_vec();
    if home < home_end {
        rows.push(&home_sum);
    }
    rows.extend(part(home_end, rows_all.len() as u64));
    let sums = sum(&rows, hidden);
    // One term alone is rounded too: a NaN becomes the one NaN.
    sums.into_iter().map(|bits| bf16::from_f32(bf16::to_f32(bits))).collect()
}

#[test]
fn messages_are_carried_whole() {
    run_all(&MOVER);
}

#[test]
fn terms_are_summed_in_order() {
    run_all(&SUMMER);
}
