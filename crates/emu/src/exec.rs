//! A turn of a warp: groups of lanes run until they block, part, meet, or the turn is over.

use crate::choice::Choices;
use crate::config::Checks;
use crate::copies::{self, Copies};
use crate::error::FaultKind;
use crate::isa::Dynamic;
use crate::memory::Memory;
use crate::observe::{Event, Observer};
use crate::program::{lanes, Args, Inst, Op, Program, SaveSet, FULL, NO_GUARD};
use crate::race::{At, Race, RaceReport};
use crate::statistics::GpuStatistics;
use crate::time::meter::Meter;
use crate::warp::{first, Cta, CtaState, Group, GroupState, Happening, Trouble, Warp};
use crate::weak::Weak;
use crate::{barrier, cluster, collective, door, park, time as timed};
use warpferry_nic::Network;

/// What a warp reaches outside its CTA.
pub(crate) struct Env<'a> {
    pub memory: &'a mut Memory,
    pub choices: &'a mut Choices,
    pub network: &'a mut Network,
    pub copies: &'a mut Copies,
    pub statistics: &'a mut GpuStatistics,
    pub observer: &'a mut Option<Box<dyn Observer + Send>>,
    pub race: &'a mut Option<Box<Race>>,
    /// What loads may return, when memory is explored; `race` keeps the clocks then.
    pub weak: &'a mut Option<Box<Weak>>,
    /// A race that the access under way has found.
    pub raced: Option<Box<RaceReport>>,
    pub checks: Checks,
    pub gpu: usize,
    pub now_ns: u64,
    /// Sleeps that began in this turn: their ends.
    pub sleeps: &'a mut Vec<u64>,
    /// All CTAs but the one that runs, for those of its cluster.
    pub ctas: &'a mut [Option<Box<Cta>>],
    /// Slots of CTAs to which something happened in the turn.
    pub remote: &'a mut Vec<u32>,
    /// Measures the turn, when the machine's parts have times.
    pub meter: Option<&'a mut Meter>,
}

/// What a group does after an instruction that is not pure.
pub(crate) enum Flow {
    /// The next instruction.
    Next,
    /// The group's program counter was set, or it waits: look at the groups again.
    Switch,
}

/// How long groups run before others of their warp get a turn.
pub(crate) struct Pace {
    /// Instructions of the turn.
    pub quantum: u32,
    /// Backward branches of a group while others of its warp could run.
    pub spins: u32,
    /// The turn ends before a read that follows a write, and at a backward branch.
    pub blocks: bool,
}

type Stepped = Result<Flow, Trouble>;

/// A turn that ends before a read behind a write, and after a backward branch.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    has_written: bool,
    last: u32,
    is_over: bool,
}

impl Block {
    fn ends_before(&mut self, inst: &Inst, pc: u32) -> bool {
        let (reads, writes) = inst.op.touches();
        self.is_over = (reads && self.has_written) || pc < self.last;
        self.has_written |= writes;
        self.last = pc;
        self.is_over
    }
}

/// Runs one turn. Returns the number of instructions executed.
pub(crate) fn turn(env: &mut Env, cta: &mut CtaState, warp: &mut Warp, pace: &Pace) -> (u32, Result<(), Trouble>) {
    match (cta.shape.program.marks.is_some(), env.meter.is_some()) {
        (false, false) => turn_of::<false, false>(env, cta, warp, pace),
        (true, false) => turn_of::<true, false>(env, cta, warp, pace),
        (false, true) => turn_of::<false, true>(env, cta, warp, pace),
        (true, true) => turn_of::<true, true>(env, cta, warp, pace),
    }
}

/// One turn, marking what runs or not, measured or not.
fn turn_of<const MARK: bool, const TIMED: bool>(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    pace: &Pace,
) -> (u32, Result<(), Trouble>) {
    let shape = cta.shape.clone();
    let program: &Program = &shape.program;
    let mut left = pace.quantum;
    let mut rotated = None;
    let mut block = pace.blocks.then_some(Block::default());
    while left > 0 && !block.is_some_and(|block| block.is_over) {
        if TIMED && env.meter.as_ref().is_some_and(|meter| meter.is_over) {
            break;
        }
        merge(&mut warp.groups);
        let Some(index) = pick(&mut warp.groups, pace, &mut rotated) else { break };
        if let Err(trouble) = run::<MARK, TIMED>(env, cta, warp, program, index, &mut left, &mut block) {
            return (pace.quantum - left, Err(trouble));
        }
    }
    (pace.quantum - left, Ok(()))
}

/// Joins groups that can run and are at the same instruction.
fn merge(groups: &mut Vec<Group>) {
    if groups.len() < 2 {
        return;
    }
    groups.retain(|g| g.mask != 0);
    let mut index = 0;
    while index < groups.len() {
        if groups[index].state == GroupState::Ready {
            let mut other = index + 1;
            while other < groups.len() {
                if groups[other].state == GroupState::Ready && groups[other].pc == groups[index].pc {
                    let joined = groups.remove(other);
                    groups[index].mask |= joined.mask;
                    groups[index].spins = groups[index].spins.min(joined.spins);
                } else {
                    other += 1;
                }
            }
        }
        index += 1;
    }
}

/// The group to run: the one that is furthest behind, unless it has spun too long while others could run.
fn pick(groups: &mut [Group], pace: &Pace, rotated: &mut Option<u32>) -> Option<usize> {
    let ready = |g: &Group| g.state == GroupState::Ready;
    let lowest = (0..groups.len()).filter(|&i| ready(&groups[i])).min_by_key(|&i| groups[i].pc)?;
    if groups[lowest].spins < pace.spins {
        return Some(lowest);
    }
    groups[lowest].spins = 0;
    // Others in turn, by ascending address after the one that ran last.
    let pc = groups[lowest].pc;
    let others = || (0..groups.len()).filter(|&i| ready(&groups[i]) && groups[i].pc != pc);
    let after = rotated.unwrap_or(pc);
    let next = others().filter(|&i| groups[i].pc > after).min_by_key(|&i| groups[i].pc);
    let next = next.or_else(|| others().min_by_key(|&i| groups[i].pc)).unwrap_or(lowest);
    *rotated = Some(groups[next].pc);
    Some(next)
}

/// Runs group `index` until it blocks, parts, meets another, turns back, or `left` is used up.
fn run<const MARK: bool, const TIMED: bool>(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    program: &Program,
    index: usize,
    left: &mut u32,
    block: &mut Option<Block>,
) -> Result<(), Trouble> {
    let code = &program.code[..];
    let Group { mut pc, mask, .. } = warp.groups[index];
    let others = warp.groups.iter().enumerate().filter(|(i, g)| *i != index && g.state == GroupState::Ready);
    // The next instruction at which another group waits to run.
    let stop = others.clone().map(|(_, g)| g.pc).filter(|&p| p > pc).min().unwrap_or(u32::MAX);
    let alone = others.count() == 0;
    warp.interval.lanes |= mask;
    while *left > 0 {
        let inst = &code[pc as usize];
        if let Some(block) = block {
            if block.ends_before(inst, pc) {
                break;
            }
        }
        if TIMED {
            if let Some(meter) = env.meter.as_deref_mut() {
                if meter.ends_before(inst, program.uses_loads[pc as usize]) {
                    break;
                }
                if let (true, Some(marks)) = (MARK, &program.marks) {
                    meter.spend(marks, pc);
                }
            }
        }
        let active = if inst.guard == NO_GUARD {
            mask
        } else {
            let bits = warp.registers.predicates[inst.guard as usize];
            mask & if inst.negated { !bits } else { bits }
        };
        if let (true, Some(marks)) = (MARK, &program.marks) {
            marks.note(pc, mask, active);
        }
        *left -= 1;
        if active == 0 {
            pc += 1;
        } else if let Op::Pure(run) = &inst.op {
            run(&mut warp.registers, active, &inst.args);
            pc += 1;
        } else if let (Op::Branch { target }, true) = (&inst.op, active == mask) {
            let back = *target <= pc;
            pc = *target;
            if back && !alone {
                warp.groups[index].pc = pc;
                warp.groups[index].spins += 1;
                return Ok(());
            }
        } else {
            warp.groups[index].pc = pc;
            if TIMED {
                if let Some(meter) = env.meter.as_deref_mut() {
                    meter.charge(&inst.op);
                }
            }
            match step(env, cta, warp, inst, index, active)? {
                // Lanes may have joined the group, or left it.
                Flow::Next if warp.groups[index].mask != mask => {
                    warp.groups[index].pc += 1;
                    return Ok(());
                }
                Flow::Next => pc += 1,
                Flow::Switch => return Ok(()),
            }
        }
        if pc >= stop {
            break;
        }
    }
    warp.groups[index].pc = pc;
    Ok(())
}

/// Any instruction but pure ones and uniform branches; the group's `pc` is at it.
fn step(env: &mut Env, cta: &mut CtaState, warp: &mut Warp, inst: &Inst, index: usize, active: u32) -> Stepped {
    let pc = warp.groups[index].pc;
    let args = &inst.args;
    match &inst.op {
        Op::Pure(run) => run(&mut warp.registers, active, args),
        Op::Nop => {}
        Op::Load(access) => {
            if env.meter.is_some() {
                timed::load(env, warp, access, active);
            }
            door::load(env, cta, warp, access, active, pc)?;
        }
        Op::Store(access) => {
            if let Some(meter) = env.meter.as_deref_mut() {
                meter.fence(access.order, access.scope);
            }
            door::store(env, cta, warp, access, active, pc)?;
        }
        Op::LoadParam(access) => door::load_param(cta, warp, access, active, pc)?,
        Op::Atomic(atomic) => {
            if env.meter.is_some() {
                timed::atomic(env, warp, atomic, active);
            }
            crate::atomic::atomic(env, cta, warp, atomic, args, active, pc)?;
        }
        Op::AsyncCopy(copy) => crate::async_copy::copy(env, cta, warp, copy, active, pc)?,
        Op::CopyCommit => crate::async_copy::commit(env, cta, warp, active, pc),
        Op::CopyWait(pending) => crate::async_copy::wait(env, cta, warp, *pending, active, pc),
        Op::Matrix(op) => {
            if active != !warp.exited && !collective::gather(warp, index, active, pc) {
                return Ok(Flow::Switch);
            }
            let all = warp.groups[index].mask;
            crate::matrix::matrix(env, cta, warp, op, all, pc)?;
        }
        Op::Video(video) => crate::video::video(warp, video, args, active, pc)?,
        Op::Save(set) => save(warp, set, active, pc)?,
        Op::Restore(set) => restore(warp, set, active),
        Op::CopyFrame => door::copy_frame(warp, args, active, pc)?,
        Op::Dynamic(dynamic) => {
            let value = dynamic_value(env, warp, *dynamic, active);
            for lane in lanes(active) {
                warp.registers.columns[args.d as usize][lane] = value;
            }
        }
        Op::Branch { target } => return Ok(part(warp, index, active, *target)),
        Op::BranchIndex(targets) => return branch_index(warp, index, active, args, targets, pc),
        Op::Call { target } => {
            for lane in lanes(active) {
                warp.registers.columns[args.d as usize][lane] = pc as u64 + 1;
            }
            return Ok(part(warp, index, active, *target));
        }
        Op::Return => {
            let addresses = warp.registers.columns[args.a as usize];
            return Ok(scatter(warp, index, active, |lane| addresses[lane] as u32));
        }
        Op::Exit => {
            // The CTA's memory may go with its last thread, and nobody else can wait for a thread's bulk groups.
            let unawaited = env.checks.unawaited_copies.then(|| copies::unawaited(warp, active)).flatten();
            if let Some(lane) = unawaited {
                let reason =
                    "a thread ends without having waited for its bulk stores: they may still read shared memory";
                return Err(Trouble { kind: FaultKind::Bulk(reason.to_string()), lane, pc, address: None });
            }
            let flow = exit(env.race, cta, warp, index, active);
            cluster::exited(env, cta, warp);
            return Ok(flow);
        }
        Op::ClusterArrive { releases } => cluster::arrive(env, cta, warp, *releases, active, pc)?,
        Op::ClusterWait => return cluster::wait(env.race, cta, warp, index, active, pc),
        Op::Trap => return Err(Trouble { kind: FaultKind::Trap, lane: first(active), pc, address: None }),
        Op::Runtime(name) => {
            let kind = match &**name {
                "__assertfail" => FaultKind::Trap,
                name => FaultKind::Runtime(name.to_string()),
            };
            return Err(Trouble { kind, lane: first(active), pc, address: None });
        }
        Op::Fence { order, scope } => {
            door::fence(env, cta, warp, *order, *scope, active, pc);
            if let Some(meter) = env.meter.as_deref_mut() {
                meter.fence(*order, *scope);
            }
        }
        Op::ProxyFence(kind) => {
            if let Some(race) = env.race {
                race.fence_proxy(At::new(cta, warp, pc), active, *kind, !warp.exited);
            }
            if let Some(observer) = env.observer {
                observer.event(&Event::ProxyFence { warp: cta.warp_ref(warp.index).into(), lanes: active, pc });
            }
        }
        Op::Shuffle(_) | Op::Vote(_) | Op::Match { .. } | Op::Redux(_) | Op::Elect => {
            return collective::converge(warp, inst, index, active, pc);
        }
        Op::WarpBarrier => return collective::warp_barrier(env.race, cta, warp, inst, index, active, pc),
        Op::Barrier(barrier) => return barrier::named(env, cta, warp, barrier, args, index, active, pc),
        Op::Mbarrier(op) => return barrier::mbarrier(env, cta, warp, op, args, index, active, pc),
        Op::Bulk(bulk) => crate::copies::issue(env, cta, warp, bulk, args, active, pc)?,
        Op::StoreAsync(store) => cluster::store_async(env, cta, warp, store, active, pc)?,
        Op::BulkCommit => crate::copies::commit(warp, active),
        Op::BulkWait { pending, read } => {
            return Ok(crate::copies::wait(env.race, cta, warp, index, active, *pending, *read));
        }
        Op::Nanosleep => return Ok(nanosleep(env, cta, warp, index, active, args)),
    }
    Ok(Flow::Next)
}

/// Lanes `active` of a group go to `target`, the rest goes on.
fn part(warp: &mut Warp, index: usize, active: u32, target: u32) -> Flow {
    let group = &mut warp.groups[index];
    let (rest, next) = (group.mask & !active, group.pc + 1);
    if target <= group.pc {
        group.spins += 1;
    }
    group.pc = target;
    group.mask = active;
    if rest != 0 {
        warp.groups.push(Group::ready(next, rest));
    }
    Flow::Switch
}

/// Lanes of a group go where `target` tells, those that are not active go on.
fn scatter(warp: &mut Warp, index: usize, active: u32, target: impl Fn(usize) -> u32) -> Flow {
    let Group { pc, mask, .. } = warp.groups[index];
    let mut parts: Vec<(u32, u32)> = Vec::new();
    if mask & !active != 0 {
        parts.push((pc + 1, mask & !active));
    }
    for lane in lanes(active) {
        let to = target(lane);
        match parts.iter_mut().find(|(at, _)| *at == to) {
            Some((_, lanes)) => *lanes |= 1 << lane,
            None => parts.push((to, 1 << lane)),
        }
    }
    let mut parts = parts.into_iter();
    if let Some((to, lanes)) = parts.next() {
        warp.groups[index].pc = to;
        warp.groups[index].mask = lanes;
    }
    for (to, lanes) in parts {
        warp.groups.push(Group::ready(to, lanes));
    }
    Flow::Switch
}

/// Words that the saved registers of one lane may take.
const MAX_SAVED: usize = 1 << 20;

/// Puts the registers of a function that may be entered again on each lane's stack.
fn save(warp: &mut Warp, set: &SaveSet, active: u32, pc: u32) -> Result<(), Trouble> {
    warp.saved.resize_with(32, Vec::new);
    for lane in lanes(active) {
        let stack = &mut warp.saved[lane];
        if stack.len() > MAX_SAVED {
            return Err(Trouble { kind: FaultKind::StackOverflow, lane: lane as u32, pc, address: None });
        }
        stack.extend(set.columns.iter().map(|&column| warp.registers.columns[column as usize][lane]));
        stack.extend(set.predicates.iter().map(|&p| (warp.registers.predicates[p as usize] >> lane & 1) as u64));
    }
    Ok(())
}

/// Takes back what [`save`] put there.
fn restore(warp: &mut Warp, set: &SaveSet, active: u32) {
    for lane in lanes(active) {
        let Some(stack) = warp.saved.get_mut(lane) else { continue };
        for &p in set.predicates.iter().rev() {
            let bit = stack.pop().unwrap_or(0) as u32;
            warp.registers.write_predicate(p, 1 << lane, bit << lane);
        }
        for &column in set.columns.iter().rev() {
            warp.registers.columns[column as usize][lane] = stack.pop().unwrap_or(0);
        }
    }
}

fn branch_index(warp: &mut Warp, index: usize, active: u32, args: &Args, targets: &[u32], pc: u32) -> Stepped {
    let indices = warp.registers.columns[args.a as usize];
    for lane in lanes(active) {
        let at = indices[lane] & 0xffff_ffff;
        if at >= targets.len() as u64 {
            let kind = FaultKind::BranchIndex { index: at, targets: targets.len() };
            return Err(Trouble { kind, lane: lane as u32, pc, address: None });
        }
    }
    Ok(scatter(warp, index, active, |lane| targets[(indices[lane] & 0xffff_ffff) as usize]))
}

fn exit(race: &mut Option<Box<Race>>, cta: &mut CtaState, warp: &mut Warp, index: usize, active: u32) -> Flow {
    warp.exited |= active;
    cta.exited[warp.index as usize] = warp.exited;
    let group = &mut warp.groups[index];
    group.mask &= !active;
    group.pc += 1;
    if group.mask == 0 {
        warp.groups.remove(index);
    }
    // Fewer lanes to wait for: whoever waits for lanes of this warp looks again.
    for group in warp.groups.iter_mut().filter(|g| g.state == GroupState::Converge) {
        group.state = GroupState::Ready;
    }
    collective::complete_warp_barriers(race, cta, warp);
    if warp.exited == FULL {
        cta.live_warps -= 1;
    }
    cta.happened.push(Happening::Exit);
    Flow::Switch
}

fn dynamic_value(env: &mut Env, warp: &mut Warp, dynamic: Dynamic, active: u32) -> u64 {
    let now_ps = env.meter.as_ref().map_or(env.now_ns * 1000, |meter| meter.now_ps());
    let clock = match env.meter.as_ref() {
        Some(meter) => now_ps / meter.clock_ps(),
        None => env.now_ns.wrapping_mul(2),
    };
    let now_ns = now_ps / 1000;
    if dynamic != Dynamic::ActiveMask {
        warp.interval.clock = true;
    }
    match dynamic {
        Dynamic::Clock => clock & 0xffff_ffff,
        Dynamic::ClockHigh => clock >> 32,
        Dynamic::Clock64 => clock,
        Dynamic::GlobalTimer => now_ns,
        Dynamic::GlobalTimerLow => now_ns & 0xffff_ffff,
        Dynamic::GlobalTimerHigh => now_ns >> 32,
        Dynamic::ActiveMask => active as u64,
    }
}

fn nanosleep(env: &mut Env, cta: &mut CtaState, warp: &mut Warp, index: usize, active: u32, args: &Args) -> Flow {
    let most = lanes(active).map(|l| warp.registers.columns[args.a as usize][l] & 0xffff_ffff).max().unwrap_or(0);
    // For these lanes, that is: no barrier of all threads ends without them.
    let waits_for_these = |state: &GroupState| match *state {
        GroupState::Converge | GroupState::WarpBarrier => true,
        GroupState::Barrier { id, generation } => cta.barriers[id as usize].awaits_all(generation),
        _ => false,
    };
    let others_wait =
        warp.groups.iter().enumerate().all(|(other, group)| other == index || waits_for_these(&group.state));
    let group = &mut warp.groups[index];
    let mask = group.mask;
    group.pc += 1;
    group.spins = 0;
    if mask == active && others_wait && warp.interval.may_park(mask, env.memory, &cta.shared) {
        group.state = GroupState::Parked;
        if let Some(meter) = env.meter.as_deref_mut() {
            meter.times.sleep_ps = most * 1000;
        }
        let me = cta.warp_ref(warp.index);
        warp.interval.park(me, env.memory, &mut cta.shared);
        return Flow::Switch;
    }
    // The duration is in 0 to twice the operand; most hardware sleeps about as long as told.
    let duration = match env.choices.choose(4) {
        0 => most,
        part => most * part as u64 / 2,
    };
    let now_ns = env.meter.as_ref().map_or(env.now_ns, |meter| meter.now_ps() / 1000);
    let until_ns = now_ns.saturating_add(duration.max(1));
    group.state = GroupState::Sleep { until_ns };
    env.sleeps.push(until_ns);
    warp.interval.restart();
    Flow::Switch
}

/// Reads of a warp, for parking.
pub(crate) fn note_read(warp: &mut Warp, place: park::Where, offset: usize, bytes: usize, value: u64, address: u64) {
    warp.interval.read(park::Read { place, offset: offset as u64, bytes: bytes as u8, value, address });
}
