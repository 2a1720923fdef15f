//! Giving up: the first cause is kept whole. And the kernel that poisons shared memory on a GPU.

use crate::cases::{compare, Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{Arg, Rig, Run};

pub static GIVE_UP: Check = Check { name: "give_up", cases, run: Runs::Kernels(run) };
pub static POISON_SHARED: Check = Check { name: "poison_shared", cases: poisons, run: Runs::Kernels(run_poison) };

const SHARED_BYTES: u32 = 256;

fn cases(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    for (block, grid) in [(32, 1), (64, 2), (512, 1), (1024, 2)] {
        for (first, every) in [(0, 1), (0, 7), (31, 1), (17, 5), (2000, 1)] {
            for seed in seeds(1, more) {
                let case = Case::new("give_up").with("first", first).with("every", every);
                all.push(case.with("block", block).with("grid", grid).with("seed", seed * 1000 + all.len() as u64));
            }
        }
    }
    all
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (first, every, block) = (case.word("first")?, case.word("every")?, case.word("block")?);
    let grid = case.word("grid")?;
    let kept = rig.output("kept", 32 * u64::from(grid), 0)?;
    rig.run(Run {
        kernel: "give_up",
        grid,
        block,
        shared_bytes: SHARED_BYTES,
        args: &[("kept", Arg::Zone(kept)), ("first", Arg::Word(first.into())), ("every", Arg::Word(every.into()))],
        reach: &[],
    })?;
    let some = (first..block).any(|thread| thread.is_multiple_of(every));
    for line in rig.read(kept)?.chunks(32) {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| line[at + byte]));
        let thread = word(4);
        let gives_up = (first..block).contains(&thread) && thread.is_multiple_of(every);
        if some && !gives_up {
            let valid = format!("{first}..{block}, a multiple of {every}");
            return Err(Mismatch::value("thread that gave up", valid, thread));
        }
        let mine = u64::from(thread) * 0x1_0001;
        let cause = if some { thread % 9 + 1 } else { 0 };
        let words = if some { [mine, !mine] } else { [0, 0] };
        let mut expected = draws::bytes_of32([cause, if some { thread } else { 0 }]);
        expected.extend(draws::bytes_of(words));
        expected.extend(draws::bytes_of32([some.into(), 0]));
        compare("what is kept", line, &expected)?;
    }
    Ok(())
}

fn poisons(_more: u64) -> Vec<Case> {
    let case = |share: u64, block: u64| Case::new("poison_shared").with("share", share).with("block", block);
    vec![case(64, 1024).with("seed", 1), case(1, 96).with("seed", 2)]
}

/// All shared memory of every SM, or a part of it.
fn run_poison(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, share) = (case.number("seed")?, case.word("share")?);
    let bytes = rig.shared_bytes_max(rig.image("poison_shared")?) / 64 * share;
    let grid = if seed == 1 { 2 } else { 5 };
    let seen = rig.output("seen", 4 * u64::from(grid), 4)?;
    rig.run(Run {
        kernel: "poison_shared",
        grid,
        block: case.word("block")?,
        shared_bytes: bytes,
        args: &[
            ("seen", Arg::Zone(seen)),
            ("bytes", Arg::Word(bytes.into())),
            ("pattern", Arg::Word(draws::words(seed, 1, 1)[0] & 0xffff_ffff)),
        ],
        reach: &[],
    })?;
    rig.expect(seen, &(bytes / 4).to_le_bytes().repeat(grid as usize))
}

#[test]
fn the_first_cause_is_kept_whole() {
    run_all(&GIVE_UP);
}

#[test]
fn shared_memory_is_poisoned() {
    run_all(&POISON_SHARED);
}
