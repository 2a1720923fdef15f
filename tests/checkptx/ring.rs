//! Publish and wait: rings between producers and consumers, and giving up by a deadline.

use warpferry::plan::blocks::{StatusHead, STATUS_LINE_BYTES};

use crate::cases::{compare, same, Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{poison, Arg, Rig, Run};

pub static RING: Check = Check { name: "ring", cases, run: Runs::Kernels(run) };

/// `CODE_TIMEOUT` of a status line.
const TIMEOUT: u32 = 1;
const STAGES_AT: u64 = 4096;

/// Messages around chunk and depth, more than one wrap, sizes, several rings; some that are never sent.
fn cases(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add =
        |messages: u64, slot: u64, depth: u64, chunk: u64, start: u64, pairs: u64, block: u32, withheld: u64| {
            for seed in seeds(1, more) {
                let case = Case::new("ring").with("messages", messages).with("slot", slot).with("depth", depth);
                let case = case.with("chunk", chunk).with("start", start).with("pairs", pairs).with("block", block);
                all.push(case.with("withheld", withheld).with("seed", seed * 1000 + all.len() as u64));
            }
        };
    for (depth, chunk) in [(1, 1), (2, 1), (4, 2), (4, 4), (8, 3)] {
        for messages in [0, 1, depth - 1, depth, depth + 1, 3 * depth + 1] {
            add(messages, 144, depth, chunk, 0, 1, 32, 0);
        }
    }
    for slot in [16, 32, 1008, 1024, 1040] {
        add(9, slot, 4, 2, 3, 1, 32, 0);
    }
    // Positions beyond 32 bits.
    add(11, 48, 4, 2, (1 << 32) - 5, 1, 32, 0);
    for (pairs, block) in [(2, 64), (1, 256), (4, 96)] {
        add(13, 80, 4, 2, 7, pairs, block, 0);
    }
    add(9, 64, 4, 2, 0, 1, 32, 1);
    add(9, 64, 4, 2, 5, 2, 64, 9);
    all
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (messages, withheld) = (case.number("messages")?, case.number("withheld")?);
    let (slot, depth, start) = (case.number("slot")?, case.number("depth")?, case.number("start")?);
    let (pairs, block) = (case.number("pairs")?, case.word("block")?);
    let rings = pairs * u64::from(block / 32);
    let from = draws::bytes(case.number("seed")?, 1, (rings * messages * slot) as usize);
    let source = rig.input("from", &from, 16)?;
    let ring = rig.output("ring", rings * depth * slot, 48)?;
    let words = rig.shared("words", &draws::bytes_of((0..2 * rings).map(|_| start)), 8)?;
    let output = rig.output("to", source.bytes, 112)?;
    let status = rig.shared("status", &vec![0; STATUS_LINE_BYTES * 2 * pairs as usize], 0)?;
    rig.run(Run {
        kernel: "ring",
        grid: 2 * pairs as u32,
        block,
        shared_bytes: (STAGES_AT + u64::from(block / 32) * 2 * slot) as u32,
        args: &[
            ("from", Arg::Zone(source)),
            ("ring", Arg::Zone(ring)),
            ("words", Arg::Zone(words)),
            ("to", Arg::Zone(output)),
            ("messages", Arg::Word(messages)),
            ("withheld", Arg::Word(withheld)),
            ("slot", Arg::Word(slot)),
            ("depth", Arg::Word(depth)),
            ("chunk", Arg::Word(case.number("chunk")?)),
            ("status", Arg::Zone(status)),
            ("deadline_ns", Arg::Word(rig.deadline_ns(withheld > 0))),
        ],
        reach: &[],
    })?;
    let sent = messages - withheld;
    lines(&rig.read(status)?, withheld > 0, start + sent)?;
    rig.expect(words, &draws::bytes_of((0..2 * rings).map(|_| start + sent)))?;
    let kept = |at: usize| (at as u64 / slot) % messages < sent;
    let expected: Vec<u8> = (0..from.len()).map(|at| if kept(at) { from[at] } else { poison(at as u64) }).collect();
    rig.expect(output, &expected)
}

/// Status lines: consumers gave up, or nobody did.
fn lines(status: &[u8], late: bool, arrived: u64) -> Result<(), Mismatch> {
    for (cta, line) in status.chunks(STATUS_LINE_BYTES).enumerate() {
        let word = |name: &str| {
            let at = StatusHead::FIELDS.iter().find(|field| field.0 == name).expect("a field of the status head").1;
            u64::from_le_bytes(std::array::from_fn(|byte| line[at + byte]))
        };
        if late && cta % 2 == 1 {
            same("code of a consumer that waits in vain", word("code") as u32, TIMEOUT)?;
            same("its CTA", word("cta") as u32, cta as u32)?;
            same("what it waits for", word("expected"), arrived + 1)?;
            same("what it saw", word("seen"), arrived)?;
        } else {
            compare(&format!("status line of CTA {cta}"), line, &[0; STATUS_LINE_BYTES])?;
        }
    }
    Ok(())
}

#[test]
fn what_was_published_arrives() {
    run_all(&RING);
}
