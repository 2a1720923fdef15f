//! What lanes of a warp do together: shuffles, votes, matches, reductions, elections, warp barriers.

use crate::error::FaultKind;
use crate::exec::Flow;
use crate::program::{lanes, Args, Column, Inst, Op, Redux, Registers, Shuffle, Vote, NO_GUARD};
use crate::visibility;
use crate::warp::{first, Group, GroupState, Trouble, Warp};

/// Lanes of `pool` whose member mask is that of `lane`, and that mask. A lane outside its own mask is an error.
fn members(column: &Column, pool: u32, lane: usize, pc: u32) -> Result<(u32, u32), Trouble> {
    let mask = column[lane] as u32;
    let set: u32 = lanes(pool).filter(|&l| column[l] as u32 == mask).map(|l| 1 << l).sum();
    if set & !mask != 0 {
        let kind = FaultKind::MemberMask { mask };
        return Err(Trouble { kind, lane: first(set & !mask), pc, address: None });
    }
    Ok((set, mask))
}

/// Takes lanes that are not active out of a group: they go on behind the instruction.
fn leave_inactive(warp: &mut Warp, index: usize, active: u32) {
    let Group { pc, mask, .. } = warp.groups[index];
    if mask & !active != 0 {
        warp.groups[index].mask = active;
        warp.groups.push(Group::ready(pc + 1, mask & !active));
    }
}

/// Executes a `.sync` instruction for every set of lanes that is complete; the others wait.
pub(crate) fn converge(warp: &mut Warp, inst: &Inst, index: usize, active: u32, pc: u32) -> Result<Flow, Trouble> {
    let column = warp.registers.columns[inst.args.c as usize];
    let (set, mask) = members(&column, active, first(active) as usize, pc)?;
    if set == active && active == warp.groups[index].mask && mask & !warp.exited & !active == 0 {
        execute(&mut warp.registers, inst, set);
        return Ok(Flow::Next);
    }
    leave_inactive(warp, index, active);
    let mut pool = active;
    for group in warp.groups.iter_mut().filter(|g| g.state == GroupState::Converge && g.pc == pc) {
        pool |= group.mask;
        group.mask = 0;
    }
    let (mut rest, mut done) = (pool, 0);
    while rest != 0 {
        let (set, mask) = members(&column, pool, first(rest) as usize, pc)?;
        rest &= !set;
        if mask & !warp.exited & !set == 0 {
            execute(&mut warp.registers, inst, set);
            done |= set;
        }
    }
    let group = &mut warp.groups[index];
    let waiting = pool & !done;
    if done == 0 {
        group.mask = waiting;
        group.state = GroupState::Converge;
    } else {
        group.mask = done;
        group.pc = pc + 1;
        if waiting != 0 {
            warp.groups.push(Group { state: GroupState::Converge, ..Group::ready(pc, waiting) });
        }
    }
    warp.groups.retain(|g| g.mask != 0);
    Ok(Flow::Switch)
}

/// For an instruction that all lanes of a warp execute together: waits for those that are not here yet. True when the
/// group has all that have not exited.
pub(crate) fn gather(warp: &mut Warp, index: usize, active: u32, pc: u32) -> bool {
    leave_inactive(warp, index, active);
    let mut pool = active;
    for group in warp.groups.iter_mut().filter(|g| g.state == GroupState::Converge && g.pc == pc) {
        pool |= group.mask;
        group.mask = 0;
    }
    warp.groups[index].mask = pool;
    let complete = pool == !warp.exited;
    if !complete {
        warp.groups[index].state = GroupState::Converge;
        warp.groups.retain(|g| g.mask != 0);
    }
    complete
}

/// `bar.warp.sync`: like the others, but lanes may wait for each other at different instructions.
pub(crate) fn warp_barrier(warp: &mut Warp, inst: &Inst, index: usize, active: u32, pc: u32) -> Result<Flow, Trouble> {
    let column = warp.registers.columns[inst.args.c as usize];
    let (set, mask) = members(&column, active, first(active) as usize, pc)?;
    if set == active && active == warp.groups[index].mask && mask & !warp.exited & !active == 0 {
        visibility::warp_barrier(&mut warp.unflushed, set);
        return Ok(Flow::Next);
    }
    leave_inactive(warp, index, active);
    let group = &mut warp.groups[index];
    group.state = GroupState::WarpBarrier;
    let mut rest = active;
    while rest != 0 {
        let (set, mask) = members(&column, active, first(rest) as usize, pc)?;
        rest &= !set;
        for lane in lanes(set) {
            warp.barrier_masks[lane] = mask;
        }
    }
    complete_warp_barriers(warp);
    Ok(Flow::Switch)
}

/// Lets go of every set of lanes that has met at warp barriers.
pub(crate) fn complete_warp_barriers(warp: &mut Warp) {
    let waiting = warp.groups.iter().filter(|g| g.state == GroupState::WarpBarrier).fold(0, |m, g| m | g.mask);
    let (mut rest, mut freed) = (waiting, 0u32);
    while rest != 0 {
        let mask = warp.barrier_masks[first(rest) as usize];
        let set: u32 = lanes(waiting).filter(|&l| warp.barrier_masks[l] == mask).map(|l| 1 << l).sum();
        rest &= !set;
        if mask & !warp.exited & !set == 0 {
            freed |= set;
            visibility::warp_barrier(&mut warp.unflushed, set);
        }
    }
    if freed == 0 {
        return;
    }
    let mut parted = Vec::new();
    for group in warp.groups.iter_mut().filter(|g| g.state == GroupState::WarpBarrier && g.mask & freed != 0) {
        parted.push(Group::ready(group.pc + 1, group.mask & freed));
        group.mask &= !freed;
    }
    warp.groups.extend(parted);
    warp.groups.retain(|g| g.mask != 0);
}

fn execute(registers: &mut Registers, inst: &Inst, set: u32) {
    let args = &inst.args;
    match &inst.op {
        Op::Shuffle(kind) => shuffle(registers, args, *kind, set),
        Op::Vote(kind) => vote(registers, args, *kind, set),
        Op::Match { bytes, all } => match_lanes(registers, args, *bytes, *all, set),
        Op::Redux(kind) => redux(registers, args, *kind, set),
        _ => elect(registers, args, set),
    }
}

/// Source lane and whether it is in range, as the manual's pseudo-code has it.
fn shuffle_source(kind: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (value, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let most = (lane & segment) | (clamp & !segment);
    let least = lane & segment;
    let (source, inside) = match kind {
        Shuffle::Up => {
            let source = lane as i32 - value as i32;
            (source, source >= most as i32)
        }
        Shuffle::Down => ((lane + value) as i32, lane + value <= most),
        Shuffle::Butterfly => ((lane ^ value) as i32, lane ^ value <= most),
        Shuffle::Index => {
            let source = least | (value & !segment);
            (source as i32, source <= most)
        }
    };
    (if inside { source as u32 } else { lane }, inside)
}

fn shuffle(registers: &mut Registers, args: &Args, kind: Shuffle, set: u32) {
    let column = |c: u16| registers.columns[c as usize];
    let (a, b, c) = (column(args.a), column(args.b), column(args.e));
    let (mut out, mut inside_lanes) = ([0u64; 32], 0);
    for lane in lanes(set) {
        let (source, inside) = shuffle_source(kind, lane as u32, b[lane] as u32, c[lane] as u32);
        // A source lane outside the set gives an undefined value; here the register it has.
        out[lane] = a[source as usize] & 0xffff_ffff;
        inside_lanes |= (inside as u32) << lane;
    }
    registers.write(args.d, set, &out);
    if args.imm != NO_GUARD as u32 {
        registers.write_predicate(args.imm as u16, set, inside_lanes);
    }
}

fn vote(registers: &mut Registers, args: &Args, kind: Vote, set: u32) {
    let bits = registers.predicates[args.a as usize] ^ if args.imm & 1 != 0 { u32::MAX } else { 0 };
    let bits = bits & set;
    let truth = match kind {
        Vote::Ballot => {
            registers.write(args.d, set, &[bits as u64; 32]);
            return;
        }
        Vote::All => bits == set,
        Vote::Any => bits != 0,
        Vote::Uniform => bits == set || bits == 0,
    };
    registers.write_predicate(args.d, set, if truth { u32::MAX } else { 0 });
}

fn match_lanes(registers: &mut Registers, args: &Args, bytes: u8, all: bool, set: u32) {
    let keep = if bytes == 4 { 0xffff_ffff } else { u64::MAX };
    let values = registers.columns[args.a as usize].map(|v| v & keep);
    let same = |lane: usize| lanes(set).filter(|&l| values[l] == values[lane]).map(|l| 1u64 << l).sum::<u64>();
    let mut out = [0u64; 32];
    let whole = same(first(set) as usize) == set as u64;
    for lane in lanes(set) {
        out[lane] = match all {
            false => same(lane),
            true if whole => set as u64,
            true => 0,
        };
    }
    registers.write(args.d, set, &out);
    if args.e != NO_GUARD {
        registers.write_predicate(args.e, set, if whole { u32::MAX } else { 0 });
    }
}

fn redux(registers: &mut Registers, args: &Args, kind: Redux, set: u32) {
    let values = registers.columns[args.a as usize];
    let join = |x: u32, y: u32| match kind {
        Redux::Add => x.wrapping_add(y),
        Redux::MinSigned => (x as i32).min(y as i32) as u32,
        Redux::MaxSigned => (x as i32).max(y as i32) as u32,
        Redux::MinUnsigned => x.min(y),
        Redux::MaxUnsigned => x.max(y),
        Redux::And => x & y,
        Redux::Or => x | y,
        Redux::Xor => x ^ y,
    };
    let result = lanes(set).map(|l| values[l] as u32).reduce(join).unwrap_or(0);
    registers.write(args.d, set, &[result as u64; 32]);
}

fn elect(registers: &mut Registers, args: &Args, set: u32) {
    let leader = first(set);
    registers.write(args.d, set, &[leader as u64; 32]);
    registers.write_predicate(args.e, set, 1 << leader);
}
