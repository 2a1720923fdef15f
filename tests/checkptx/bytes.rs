//! Byte order, bits, channel bounds, counters of completion entries, shuffles.

use warpferry::reference::channel_tokens;

use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{Arg, Rig, Run};

pub static BITS: Check = Check { name: "bits", cases, run: Runs::Kernels(run) };

fn cases(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    for (block, grid, count) in [(32, 1, 0), (32, 1, 32), (64, 1, 96), (1024, 1, 1024), (96, 3, 320)] {
        for (channels, turn) in [(1, 0), (3, 1), (16, 31), (31, 17)] {
            for seed in seeds(1, more) {
                let case = Case::new("bits").with("count", count).with("channels", channels).with("turn", turn);
                all.push(case.with("block", block).with("grid", grid).with("seed", seed * 1000 + all.len() as u64));
            }
        }
    }
    all
}

/// Low words with few and many bits; a channel in the high 16 bits.
fn values(seed: u64, count: usize, channels: u64) -> Vec<u64> {
    let drawn = draws::words(seed, 1, count).into_iter().enumerate();
    drawn
        .map(|(at, bits)| {
            let low = match at % 3 {
                0 => 1 << (bits % 32),
                1 => (bits | 1) & 0xffff_ffff,
                _ => ((bits | 1) << (bits >> 59)) & 0xffff_ffff,
            };
            let channel = (bits >> 40) % channels;
            let middle = (bits >> 16) & 0xffff_0000_0000;
            (channel << 48) | middle | if low == 0 { 1 << 31 } else { low }
        })
        .collect()
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (count, channels, turn) = (case.number("count")?, case.number("channels")?, case.number("turn")?);
    let given = values(case.number("seed")?, count as usize, channels);
    let input = rig.input("values", &draws::bytes_of(given.iter().copied()), 8)?;
    let output = rig.output("results", 48 * count, 24)?;
    rig.run(Run {
        kernel: "bits",
        grid: case.word("grid")?,
        block: case.word("block")?,
        shared_bytes: 0,
        args: &[
            ("values", Arg::Zone(input)),
            ("results", Arg::Zone(output)),
            ("count", Arg::Word(count)),
            ("channels", Arg::Word(channels)),
            ("turn", Arg::Word(turn)),
        ],
        reach: &[],
    })?;
    let mut expected = Vec::new();
    for (at, &value) in given.iter().enumerate() {
        let low = value as u32;
        let tokens = channel_tokens(low & 0xffff, (value >> 48) as u32, channels as u32);
        let other = given[at / 32 * 32 + (at % 32 + turn as usize) % 32];
        // Byte 6 of the little-endian value is the high byte of the big-endian counter at byte 60 of the entry.
        let counter = u16::from_be_bytes([(value >> 32) as u8, (value >> 40) as u8]);
        expected.extend(draws::bytes_of32([low.swap_bytes(), low.trailing_zeros()]));
        expected.extend(value.swap_bytes().to_le_bytes());
        expected.extend(draws::bytes_of32([tokens.start, tokens.end]));
        expected.extend(draws::bytes_of([u64::from(counter) + 1, other, other ^ value]));
    }
    rig.expect(output, &expected)
}

#[test]
fn bytes_and_bits_are_where_they_belong() {
    run_all(&BITS);
}
