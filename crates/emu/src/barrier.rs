//! Named barriers of a CTA, and mbarrier instructions.

use crate::cluster;
use crate::error::FaultKind;
use crate::exec::{note_read, Env, Flow};
use crate::mbarrier::State;
use crate::memory::{WarpRef, SHARED_WINDOW};
use crate::observe::Event;
use crate::park::Where;
use crate::program::{lanes, Args, Barrier, BarrierKind, Mbarrier, MbarrierKind};
use crate::race::{self, At, OnPhase};
use crate::visibility;
use crate::warp::{first, CtaState, Group, GroupState, Happening, NamedBarrier, Outcome, Trouble, Warp, BARRIERS};

type Stepped = Result<Flow, Trouble>;

/// `bar.sync`, `bar.arrive`, `bar.red` and their kind.
#[allow(clippy::too_many_arguments)]
pub(crate) fn named(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    op: &Barrier,
    args: &Args,
    index: usize,
    active: u32,
    pc: u32,
) -> Stepped {
    let live = !warp.exited;
    let mask = warp.groups[index].mask;
    if mask & !active != 0 {
        warp.groups[index].mask = active;
        warp.groups.push(Group::ready(pc + 1, mask & !active));
    }
    if op.aligned && active != live {
        // All lanes of the warp must be here: gather those that wait.
        let mut pool = active;
        for group in warp.groups.iter_mut().filter(|g| g.state == GroupState::Converge && g.pc == pc) {
            pool |= group.mask;
            group.mask = 0;
        }
        warp.groups[index].mask = pool;
        if pool != live {
            warp.groups[index].state = GroupState::Converge;
            warp.groups.retain(|g| g.mask != 0);
            return Ok(Flow::Switch);
        }
    }
    let lanes_here = warp.groups[index].mask;
    let fail =
        |reason: String| Trouble { kind: FaultKind::Barrier(reason), lane: first(lanes_here), pc, address: None };
    let uniform = |column: u16, what: &str| {
        let column = &warp.registers.columns[column as usize];
        let value = column[first(lanes_here) as usize] as u32;
        match lanes(lanes_here).all(|l| column[l] as u32 == value) {
            true => Ok(value),
            false => Err(fail(format!("lanes of a warp give different {what}"))),
        }
    };
    let id = uniform(op.id, "barriers")?;
    let expected = op.threads.map_or(Ok(0), |column| uniform(column, "thread counts"))?;
    if id as usize >= BARRIERS {
        return Err(fail(format!("barrier {id}: must be in 0..{BARRIERS}")));
    }
    if op.threads.is_some() && (expected == 0 || expected % 32 != 0) {
        return Err(fail(format!("thread count {expected}: must be a multiple of 32")));
    }
    let reduces = matches!(op.kind, BarrierKind::Popc | BarrierKind::And | BarrierKind::Or);
    let warps = cta.exited.len();
    let barrier = &mut cta.barriers[id as usize];
    if barrier.threads == 0 {
        *barrier = NamedBarrier {
            arrived: vec![0; warps],
            expected,
            outcome: Outcome { popc: 0, all: true },
            reduces,
            generation: barrier.generation,
            threads: 0,
        };
    }
    if barrier.expected != expected {
        let count = |n: u32| if n == 0 { "all threads".to_string() } else { format!("{n} threads") };
        return Err(fail(format!("barrier {id}: {} here, {} before", count(expected), count(barrier.expected))));
    }
    if barrier.reduces != reduces {
        return Err(fail(format!("barrier {id}: a reduction and a plain barrier meet")));
    }
    if barrier.arrived[warp.index as usize] & lanes_here != 0 {
        return Err(fail(format!("barrier {id}: a thread arrives twice in one phase")));
    }
    barrier.arrived[warp.index as usize] |= lanes_here;
    barrier.threads += if op.aligned { 32 } else { lanes_here.count_ones() };
    if reduces {
        let bits = warp.registers.predicates[args.c as usize] ^ if args.imm & 1 != 0 { u32::MAX } else { 0 };
        barrier.outcome.popc += (bits & lanes_here).count_ones();
        barrier.outcome.all &= bits & lanes_here == lanes_here;
    }
    if expected != 0 && barrier.threads > expected {
        return Err(fail(format!("barrier {id}: {} threads arrive, {expected} expected", barrier.threads)));
    }
    warp.interval.busy = true;
    env.memory.changes += 1;
    if env.checks.bus_visibility {
        visibility::cta_barrier(&mut warp.unflushed, &mut cta.unflushed, lanes_here);
    }
    let generation = cta.barriers[id as usize].generation;
    if let Some(race) = env.race {
        let waits = op.kind != BarrierKind::Arrive;
        race.barrier(At::new(cta, warp, pc), lanes_here, !warp.exited, id, generation, waits);
    }
    let finished = complete(cta, id);
    if let (Some(race), Some(_)) = (env.race.as_mut(), finished) {
        race.barrier_done(cta.race, id, generation);
    }
    match (op.kind, finished) {
        (BarrierKind::Arrive, _) => Ok(Flow::Next),
        (_, Some(outcome)) => {
            if let Some(observer) = env.observer {
                observer.event(&Event::Barrier { cta: cta.serial, id });
            }
            deliver(warp, op, args, lanes_here, outcome);
            Ok(Flow::Next)
        }
        (_, None) => {
            warp.groups[index].state = GroupState::Barrier { id, generation };
            Ok(Flow::Switch)
        }
    }
}

/// Ends the phase of a barrier when everyone has arrived.
fn complete(cta: &mut CtaState, id: u32) -> Option<Outcome> {
    let barrier = &mut cta.barriers[id as usize];
    let done = match barrier.expected {
        0 => barrier.arrived.iter().zip(&cta.exited).all(|(arrived, exited)| arrived | exited == u32::MAX),
        expected => barrier.threads >= expected,
    };
    if !done {
        return None;
    }
    let (outcome, generation) = (barrier.outcome, barrier.generation);
    *barrier = NamedBarrier { generation: generation + 1, ..NamedBarrier::default() };
    cta.happened.push(Happening::Barrier { id, generation, outcome });
    Some(outcome)
}

/// Threads have exited: barriers that wait for all threads may be complete.
pub(crate) fn recheck(cta: &mut CtaState) {
    for id in 0..BARRIERS as u32 {
        let barrier = &cta.barriers[id as usize];
        if barrier.threads > 0 && barrier.expected == 0 {
            complete(cta, id);
        }
    }
}

/// Writes the result of a reduction.
fn deliver(warp: &mut Warp, op: &Barrier, args: &Args, mask: u32, outcome: Outcome) {
    let truth = |holds: bool| if holds { u32::MAX } else { 0 };
    match op.kind {
        BarrierKind::Popc => warp.registers.write(args.d, mask, &[outcome.popc as u64; 32]),
        BarrierKind::And => warp.registers.write_predicate(args.d, mask, truth(outcome.all)),
        BarrierKind::Or => warp.registers.write_predicate(args.d, mask, truth(outcome.popc > 0)),
        BarrierKind::Sync | BarrierKind::Arrive => {}
    }
}

/// Lets go of a warp's groups that waited for a phase of a named barrier.
pub(crate) fn release(cta: &CtaState, warp: &mut Warp, id: u32, generation: u64, outcome: Outcome) {
    let program = &cta.shape.program;
    for index in 0..warp.groups.len() {
        if warp.groups[index].state != (GroupState::Barrier { id, generation }) {
            continue;
        }
        let inst = &program.code[warp.groups[index].pc as usize];
        if let crate::program::Op::Barrier(op) = &inst.op {
            deliver(warp, op, &inst.args, warp.groups[index].mask, outcome);
        }
        warp.groups[index].state = GroupState::Ready;
        warp.groups[index].pc += 1;
    }
}

/// The mbarrier at an offset of shared memory.
pub(crate) fn mbarrier_at(cta: &CtaState, offset: u64) -> Result<State, String> {
    if offset & 7 != 0 {
        return Err("an mbarrier is aligned to 8 bytes".into());
    }
    if !cta.holds(offset, 8) {
        return Err("the mbarrier lies outside shared memory".into());
    }
    let state = State::decode(cta.shared.load(offset as usize, 8));
    state.filter(|_| cta.shared.is_initialized(offset as usize, 8)).ok_or_else(|| "no valid mbarrier here".into())
}

/// Stores an mbarrier, ends its phase when it is complete, and wakes who watches the word.
fn put(cta: &mut CtaState, offset: u64, mut state: State, woken: &mut Vec<WarpRef>) {
    if state.complete() {
        cta.happened.push(Happening::Phase(offset as u32));
    }
    put_word(cta, offset, state.encode(), woken);
}

fn put_word(cta: &mut CtaState, offset: u64, word: u64, woken: &mut Vec<WarpRef>) {
    cta.shared.store(offset as usize, 8, word);
    if cta.shared.is_watched() {
        cta.shared.touched(offset as usize, 8, woken);
    }
}

/// The bulk unit reports bytes; true when that ended the phase.
pub(crate) fn complete_tx(
    cta: &mut CtaState,
    offset: u64,
    bytes: u32,
    woken: &mut Vec<WarpRef>,
) -> Result<bool, String> {
    let mut state = mbarrier_at(cta, offset)?;
    let phase = state.phase;
    cta.unseen_loads.insert((offset as u32, phase));
    state.expect(-(bytes as i64))?;
    put(cta, offset, state, woken);
    Ok(mbarrier_at(cta, offset)?.phase != phase)
}

/// `mbarrier.*`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn mbarrier(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    op: &Mbarrier,
    args: &Args,
    index: usize,
    active: u32,
    pc: u32,
) -> Stepped {
    if op.kind == MbarrierKind::PendingCount {
        for lane in lanes(active) {
            let token = warp.registers.columns[args.a as usize][lane];
            let state = State::decode(token).ok_or_else(|| Trouble {
                kind: FaultKind::Mbarrier("not a state of an mbarrier".into()),
                lane: lane as u32,
                pc,
                address: None,
            })?;
            warp.registers.columns[args.d as usize][lane] = state.pending as u64;
        }
        return Ok(Flow::Next);
    }
    let base = warp.registers.columns[op.base as usize];
    let window = if op.generic { SHARED_WINDOW } else { 0 };
    let mut offsets: [u64; 32] = std::array::from_fn(|i| base[i].wrapping_add(op.offset as u64).wrapping_sub(window));
    let remote = cluster::localize(cta, &mut offsets, active);
    let fail = |lane: usize, reason: String| Trouble {
        kind: FaultKind::Mbarrier(reason),
        lane: lane as u32,
        pc,
        address: Some(offsets[lane].wrapping_add(SHARED_WINDOW)),
    };
    if let MbarrierKind::Wait { parity, suspends } = op.kind {
        if remote != 0 {
            return Err(fail(first(remote) as usize, "a wait needs an mbarrier of the CTA itself".into()));
        }
        let flow =
            wait(env, cta, warp, args, index, active, &offsets, parity, suspends).map_err(|(l, r)| fail(l, r))?;
        if let (Some(race), Flow::Next) = (env.race.as_mut(), &flow) {
            let done = warp.registers.predicates[args.d as usize] & active;
            for (set, act) in
                [(done, OnPhase::Waited { order: op.order, scope: op.scope }), (active & !done, OnPhase::Polled)]
            {
                let mut rest = set;
                while rest != 0 {
                    let lane = first(rest) as usize;
                    let same = lanes(rest).filter(|&l| offsets[l] == offsets[lane]).fold(0, |m, l| m | 1 << l);
                    rest &= !same;
                    let told = race.mbarrier(At::new(cta, warp, pc), same, offsets[lane] as usize, act, false);
                    told.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
                }
            }
        }
        return Ok(flow);
    }
    for lane in lanes(active) {
        let column = |c: u16| warp.registers.columns[c as usize][lane];
        let (a, b, offset) = (column(args.a) as u32, column(args.b) as u32, offsets[lane]);
        if remote >> lane & 1 == 1 {
            let far = match op.kind {
                MbarrierKind::Arrive { no_complete, .. } => !no_complete,
                MbarrierKind::ExpectTx | MbarrierKind::CompleteTx => true,
                _ => false,
            };
            if !far {
                return Err(fail(lane, "this operation needs an mbarrier of the CTA itself".into()));
            }
            let rank = cluster::rank_of(offset).unwrap_or(u64::MAX >> 8);
            let other = cluster::member(env.ctas, env.remote, cta, rank)
                .map_err(|kind| Trouble { kind, ..fail(lane, String::new()) })?;
            let offset = offset & cluster::OFFSET_MASK;
            let found = mbarrier_at(&other.state, offset);
            let before = found.as_ref().map(|state| state.phase).ok();
            apply(&mut other.state, op.kind, found, a, b, offset, &mut env.memory.woken).map_err(|r| fail(lane, r))?;
            if let Some(race) = env.race.as_mut() {
                let ends = mbarrier_at(&other.state, offset).ok().map(|state| state.phase) != before;
                let at = At::new(cta, warp, pc).toward(&other.state);
                let told = race.mbarrier(at, 1 << lane, offset as usize, on_phase(op), ends);
                told.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
            }
            continue;
        }
        let found = mbarrier_at(cta, offset);
        let before = found.as_ref().map(|state| state.phase).ok();
        let token = apply(cta, op.kind, found, a, b, offset, &mut env.memory.woken).map_err(|r| fail(lane, r))?;
        if let Some(race) = env.race.as_mut() {
            let ends = mbarrier_at(cta, offset).ok().map(|state| state.phase) != before;
            let told = race.mbarrier(At::new(cta, warp, pc), 1 << lane, offset as usize, on_phase(op), ends);
            told.map_err(|report| race::trouble(env.memory, report, lane as u32, pc))?;
        }
        if let (MbarrierKind::Arrive { .. }, Some(token)) = (op.kind, token) {
            warp.registers.columns[args.d as usize][lane] = token;
        }
    }
    warp.interval.busy = true;
    env.memory.changes += 1;
    Ok(Flow::Next)
}

/// What the race check calls an operation that changes an mbarrier.
fn on_phase(op: &Mbarrier) -> OnPhase {
    match op.kind {
        _ if op.copies => OnPhase::Copies,
        MbarrierKind::Init => OnPhase::Init,
        MbarrierKind::Inval => OnPhase::Inval,
        MbarrierKind::Arrive { .. } => OnPhase::Arrive { order: op.order, scope: op.scope },
        _ => OnPhase::Count,
    }
}

/// Any operation that changes an mbarrier. Gives the state before it.
fn apply(
    cta: &mut CtaState,
    kind: MbarrierKind,
    found: Result<State, String>,
    a: u32,
    b: u32,
    offset: u64,
    woken: &mut Vec<WarpRef>,
) -> Result<Option<u64>, String> {
    let mut state = match (kind, found) {
        // Stale bytes may look like an object; only the shadow tells that somebody made it.
        (MbarrierKind::Init, Ok(_)) if cta.shared.is_shadowed() => {
            return Err("init of a valid mbarrier: it needs inval first".into())
        }
        (MbarrierKind::Init, Err(reason)) if !reason.starts_with("no valid") => return Err(reason),
        (MbarrierKind::Init, _) => {
            put_word(cta, offset, State::new(a)?.encode(), woken);
            return Ok(None);
        }
        (_, found) => found?,
    };
    let before = state.encode();
    match kind {
        MbarrierKind::Inval => {
            put_word(cta, offset, 0, woken);
            return Ok(None);
        }
        MbarrierKind::ExpectTx => state.expect(a as i64)?,
        MbarrierKind::CompleteTx => state.expect(-(a as i64))?,
        MbarrierKind::Arrive { expect, drop, no_complete } => {
            if expect {
                state.expect(b as i64)?;
            }
            state.arrive(a)?;
            if drop {
                state.expected -= a;
            }
            if no_complete && state.pending == 0 && state.tx_count == 0 {
                return Err("an arrival with .noComplete completes the phase".into());
            }
        }
        MbarrierKind::Init | MbarrierKind::Wait { .. } | MbarrierKind::PendingCount => {}
    }
    put(cta, offset, state, woken);
    Ok(Some(before))
}

/// `test_wait` and `try_wait`: a try that would fail suspends the lanes until the phase is complete.
#[allow(clippy::too_many_arguments)]
fn wait(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    args: &Args,
    index: usize,
    active: u32,
    offsets: &[u64; 32],
    parity: bool,
    suspends: bool,
) -> Result<Flow, (usize, String)> {
    let mut done = 0u32;
    let one = offsets[first(active) as usize];
    let mut together = true;
    for lane in lanes(active) {
        let state = mbarrier_at(cta, offsets[lane]).map_err(|reason| (lane, reason))?;
        let operand = warp.registers.columns[args.a as usize][lane];
        let phase = if parity {
            operand as u32 & 1
        } else {
            State::decode(operand).ok_or_else(|| (lane, "not a state of an mbarrier".to_string()))?.phase
        };
        done |= ((state.phase != phase) as u32) << lane;
        together &= offsets[lane] == one;
        if state.phase != phase && !cta.unseen_loads.is_empty() {
            cta.unseen_loads.remove(&(offsets[lane] as u32, phase));
        }
    }
    let group = &mut warp.groups[index];
    let expired = std::mem::take(&mut group.expired);
    // A real try may give up early; a varied schedule tries that too.
    let gives_up = suspends && done == 0 && env.choices.varies() && env.choices.choose(16) == 1;
    if suspends && done == 0 && together && !expired && !gives_up && group.mask == active {
        group.state = GroupState::Mbarrier { offset: one as u32 };
        return Ok(Flow::Switch);
    }
    if warp.interval.records() {
        for lane in lanes(active & !done) {
            let word = cta.shared.load(offsets[lane] as usize, 8);
            note_read(warp, Where::Shared, offsets[lane] as usize, 8, word, offsets[lane] + SHARED_WINDOW);
        }
    }
    warp.registers.write_predicate(args.d, active, done);
    Ok(Flow::Next)
}
