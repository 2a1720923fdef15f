//! Barriers of a thread block: which hardware barrier each is, and for how many threads it waits.
//!
//! A column stands for a warp, so a barrier takes 32 threads for each column that comes to it. In the model the n-th time
//! that one column comes meets the n-th time of the others; the hardware counts arrivals only, so a test is refused where
//! that makes a difference.

use warpferry_litmus::{Instruction, Operand, Test};

use crate::stage::Stage;
use crate::unplayed::Unplayed;

/// Barriers of a block; number 0 is for the prologue.
const BARRIERS: usize = 16;

/// Its number, and the second one that must agree too.
type Key = (i64, Option<i64>);

/// Whether it is a barrier of the block.
pub fn is_barrier(it: &Instruction) -> bool {
    matches!(it, Instruction::Barrier { warp: false, .. })
}

fn key(it: &Instruction) -> Result<Key, Unplayed> {
    match *it {
        Instruction::Barrier { id: Operand::Constant(id), resource: None, .. } => Ok((id, None)),
        Instruction::Barrier { id: Operand::Constant(id), resource: Some(Operand::Constant(of)), .. } => {
            Ok((id, Some(of)))
        }
        _ => Err(Unplayed::unsuitable("a barrier whose number is in a register")),
    }
}

/// The barriers of a column, in program order.
fn keys(instructions: &[Instruction]) -> Result<Vec<Key>, Unplayed> {
    instructions.iter().filter(|it| is_barrier(it)).map(key).collect()
}

/// Refuses what lanes that play nobody cannot keep company at.
pub fn check(stage: &Stage) -> Result<(), Unplayed> {
    let (test, spots) = (stage.test, &stage.layout.spots);
    for (i, spot) in spots.iter().enumerate() {
        let column = &test.threads[i].instructions;
        if column.iter().enumerate().any(|(at, it)| is_barrier(it) && may_be_passed(column, at)) {
            return Err(Unplayed::unsuitable("a barrier that a jump may skip or repeat"));
        }
        for (j, other) in spots.iter().enumerate() {
            let mates = (other.gpu, other.cta, other.warp) == (spot.gpu, spot.cta, spot.warp);
            if mates && keys(column)? != keys(&test.threads[j].instructions)? {
                return Err(Unplayed::unsuitable("lanes of a warp that come to different barriers"));
            }
        }
        for &key in &keys(column)? {
            check_arrivals(stage, i, key)?;
        }
    }
    Ok(())
}

/// Refuses a barrier where arrivals of one column may count for another.
fn check_arrivals(stage: &Stage, thread: usize, of: Key) -> Result<(), Unplayed> {
    let times = |thread: usize| -> Result<usize, Unplayed> {
        Ok(keys(&stage.test.threads[thread].instructions)?.iter().filter(|key| **key == of).count())
    };
    let once = times(thread)? == 1;
    let column = &stage.test.threads[thread].instructions;
    for it in column.iter().filter(|it| is_barrier(it)) {
        if key(it)? != of {
            continue;
        }
        let Instruction::Barrier { waits, quorum, .. } = *it else { continue };
        if !once && !waits {
            return Err(Unplayed::unsuitable("a thread that arrives at a barrier and comes there again"));
        }
        let Some(Operand::Constant(quorum)) = quorum else { continue };
        let come = warps(stage, thread, of)? as i64;
        if quorum < come {
            return Err(Unplayed::unsuitable("more threads at a barrier than its quorum"));
        }
        if quorum > come && !once {
            return Err(Unplayed::unsuitable("a thread that comes again to a barrier which lacks others"));
        }
    }
    for (i, spot) in stage.layout.spots.iter().enumerate() {
        let here = stage.layout.spots[thread];
        let is_near = (spot.gpu, spot.cta) == (here.gpu, here.cta);
        if is_near && times(i)? > 0 && times(i)? != times(thread)? {
            return Err(Unplayed::unsuitable("threads that come to one barrier differently often"));
        }
    }
    Ok(())
}

/// Whether a jump leads over this index, or back before it.
fn may_be_passed(column: &[Instruction], at: usize) -> bool {
    column.iter().enumerate().any(|(from, it)| match *it {
        Instruction::Branch { target, .. } | Instruction::Jump { target } if target <= from => {
            (target..=from).contains(&at)
        }
        Instruction::Branch { target, .. } | Instruction::Jump { target } => (from + 1..target).contains(&at),
        _ => false,
    })
}

/// A barrier as PTX.
pub fn text(stage: &Stage, thread: usize, it: Instruction) -> Result<String, Unplayed> {
    let Instruction::Barrier { waits, quorum, .. } = it else { return Err(Unplayed::unsuitable("no barrier")) };
    let key = key(&it)?;
    let number = number(stage.test, key)?;
    if !agree(stage.test, key, quorum)? {
        return Err(Unplayed::unsuitable("one barrier with different quorums"));
    }
    let threads = match quorum {
        None => 32 * warps(stage, thread, key)?,
        Some(Operand::Constant(quorum @ 1..=32)) => 32 * quorum as usize,
        Some(_) => return Err(Unplayed::unsuitable("a quorum that is in a register or not in 1..=32")),
    };
    Ok(format!("barrier.{} {number}, {threads};", if waits { "sync" } else { "arrive" }))
}

/// Barriers are numbered as they first appear, so that they fit whatever the test calls them.
fn number(test: &Test, key: Key) -> Result<usize, Unplayed> {
    let mut known = Vec::new();
    for thread in &test.threads {
        known.extend(keys(&thread.instructions)?);
    }
    let first = known.iter().position(|other| *other == key).unwrap_or(0);
    let mut before = known[..first].to_vec();
    before.sort_unstable();
    before.dedup();
    let number = 1 + before.len();
    if number >= BARRIERS {
        return Err(Unplayed::unsuitable(format!("more than {} barriers", BARRIERS - 1)));
    }
    Ok(number)
}

/// Whether all barriers that meet here have this quorum.
fn agree(test: &Test, of: Key, wanted: Option<Operand>) -> Result<bool, Unplayed> {
    for it in test.threads.iter().flat_map(|thread| &thread.instructions) {
        if let Instruction::Barrier { warp: false, quorum, .. } = *it {
            if key(it)? == of && quorum != wanted {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// How many warps of the block come to a barrier.
fn warps(stage: &Stage, thread: usize, key: Key) -> Result<usize, Unplayed> {
    let spots = &stage.layout.spots;
    let spot = spots[thread];
    let mut warps = Vec::new();
    for (other, thread) in spots.iter().zip(&stage.test.threads) {
        let is_near = (other.gpu, other.cta) == (spot.gpu, spot.cta);
        if is_near && keys(&thread.instructions)?.contains(&key) && !warps.contains(&other.warp) {
            warps.push(other.warp);
        }
    }
    Ok(warps.len())
}
