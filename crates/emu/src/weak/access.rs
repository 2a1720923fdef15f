//! Accesses of lanes.

use super::history::{spread, Message, BLOCK};
use super::{knowing, nothing, Place, Weak};
use crate::choice::Choices;
use crate::error::FaultKind;
use crate::exec::{note_read, Env};
use crate::memory::{Memory, Storage};
use crate::park::Where;
use crate::program::{lanes as each, Access, Atomic, Column, Order, Scope};
use crate::race::{Asker, At, Mark, Race, Released, Seat, What};
use crate::warp::{CtaState, Warp};

/// Order and scope of an access that is not weak.
type Strength = Option<(Order, Scope)>;

/// What an access needs beside the bytes.
struct Parts<'a> {
    weak: &'a mut Weak,
    race: &'a mut Race,
    choices: &'a mut Choices,
    at: At,
    lane: u32,
    place: Place,
    of: Where,
}

/// Bytes of one element: offset, size, and its bytes in the block.
#[derive(Clone, Copy)]
struct Span {
    offset: usize,
    size: usize,
    mask: u8,
    shift: usize,
}

impl Span {
    /// None when it crosses blocks, which only misaligned accesses do.
    fn new(offset: usize, size: usize) -> Option<Span> {
        let at = offset % BLOCK;
        let mask = ((1u16 << size) - 1) << at;
        (at + size <= BLOCK).then_some(Span { offset, size, mask: mask as u8, shift: 8 * at })
    }
}

fn acquires(order: Order) -> bool {
    matches!(order, Order::Acquire | Order::AcqRel | Order::Sc)
}

fn releases(order: Order) -> bool {
    matches!(order, Order::Release | Order::AcqRel | Order::Sc)
}

fn place_of(cta: &CtaState, place: Where) -> Place {
    match place {
        Where::Shared => Place::Shared(cta.race),
        Where::Global(storage) => Place::Global(storage),
    }
}

fn storage_of<'a>(memory: &'a mut Memory, shared: &'a mut Storage, place: Where) -> &'a mut Storage {
    match place {
        Where::Shared => shared,
        Where::Global(storage) => memory.storage_mut(storage),
    }
}

/// `ld` of lanes from a storage, as `door` does it otherwise.
#[allow(clippy::too_many_arguments)]
pub(crate) fn load(
    env: &mut Env,
    cta: &CtaState,
    warp: &mut Warp,
    access: &Access,
    place: Where,
    offsets: &Column,
    set: u32,
    pc: u32,
) -> Result<(), (usize, FaultKind)> {
    let strength = (access.order != Order::Weak).then_some((access.order, access.scope));
    let size = access.size as usize;
    // Lanes that took the same, and what that carries.
    let mut taken: Vec<(u32, Vec<Released>)> = Vec::new();
    for lane in each(set) {
        for (element, &column) in access.columns[..access.count as usize].iter().enumerate() {
            let offset = offsets[lane] as usize + element * size;
            let storage = match place {
                Where::Shared => &cta.shared,
                Where::Global(storage) => env.memory.storage(storage),
            };
            let (Some(weak), Some(race)) = (env.weak.as_deref_mut(), env.race.as_deref_mut()) else { return Ok(()) };
            let at = At::new(cta, warp, pc);
            let lane_at = lane as u32;
            let mut parts =
                Parts { weak, race, choices: env.choices, at, lane: lane_at, place: place_of(cta, place), of: place };
            let (value, written) = parts.read(storage, offset, size, strength, access.constant, &mut taken);
            if env.checks.uninitialized && !written {
                return Err((lane, FaultKind::Uninitialized));
            }
            if warp.interval.records() {
                // Unparked by the storage, whose offset stands for the address.
                note_read(warp, place, offset, size, value, offset as u64);
            }
            let mut extended = value;
            if access.extend != 0 {
                let shift = 64 - 8 * access.size as u32;
                extended = ((value << shift) as i64 >> shift) as u64 & access.extend;
            }
            warp.registers.columns[column as usize][lane] = extended;
        }
    }
    if let (Some(race), Some((order, scope))) = (env.race.as_deref_mut(), strength) {
        for (lanes, released) in &taken {
            race.acquire(At::new(cta, warp, pc), *lanes, scope, acquires(order), released);
        }
    }
    Ok(())
}

/// `st` of lanes to a storage.
#[allow(clippy::too_many_arguments)]
pub(crate) fn store(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &Warp,
    access: &Access,
    place: Where,
    offsets: &Column,
    set: u32,
    pc: u32,
) {
    let strength = (access.order != Order::Weak).then_some((access.order, access.scope));
    let size = access.size as usize;
    let at = At::new(cta, warp, pc);
    let placed = place_of(cta, place);
    for lane in each(set) {
        for (element, &column) in access.columns[..access.count as usize].iter().enumerate() {
            let offset = offsets[lane] as usize + element * size;
            let (Some(weak), Some(race)) = (env.weak.as_deref_mut(), env.race.as_deref_mut()) else { return };
            let storage = storage_of(env.memory, &mut cta.shared, place);
            let value = warp.registers.columns[column as usize][lane];
            let mut parts = Parts { weak, race, choices: env.choices, at, lane: lane as u32, place: placed, of: place };
            parts.write(storage, offset, size, value, strength);
        }
    }
}

/// An atomic of a lane of at most eight bytes, whose old value `new` gets, and gives the new one if it writes at all; both
/// values.
#[allow(clippy::too_many_arguments)]
pub(crate) fn update(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &Warp,
    op: &Atomic,
    place: Where,
    lane: usize,
    offset: usize,
    pc: u32,
    new: impl Fn(u64) -> Option<u64>,
) -> (u64, u64) {
    let (at, placed) = (At::new(cta, warp, pc), place_of(cta, place));
    let storage = storage_of(env.memory, &mut cta.shared, place);
    let (Some(weak), Some(race)) = (env.weak.as_deref_mut(), env.race.as_deref_mut()) else {
        return storage.update(offset, op.size as usize, |old| new(old).unwrap_or(old));
    };
    let mut parts = Parts { weak, race, choices: env.choices, at, lane: lane as u32, place: placed, of: place };
    parts.update(storage, offset, op.size as usize, op, true, new)
}

/// Order of an atomic of 16 bytes that has happened: it read the last value and wrote what is there now.
#[allow(clippy::too_many_arguments)]
pub(crate) fn update_wide(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &Warp,
    op: &Atomic,
    place: Where,
    lane: usize,
    offset: usize,
    pc: u32,
) {
    let (at, placed) = (At::new(cta, warp, pc), place_of(cta, place));
    let storage = storage_of(env.memory, &mut cta.shared, place);
    let (Some(weak), Some(race)) = (env.weak.as_deref_mut(), env.race.as_deref_mut()) else { return };
    let mut parts = Parts { weak, race, choices: env.choices, at, lane: lane as u32, place: placed, of: place };
    for half in [offset, offset + 8] {
        parts.update(storage, half, 8, op, false, Some);
    }
}

impl Parts<'_> {
    #[allow(clippy::too_many_arguments)]
    /// The value that a load returns, and whether all of it was ever written.
    fn read(
        &mut self,
        storage: &Storage,
        offset: usize,
        size: usize,
        strength: Strength,
        constant: bool,
        taken: &mut Vec<(u32, Vec<Released>)>,
    ) -> (u64, bool) {
        let last = (storage.load(offset, size), storage.is_initialized(offset, size));
        let Some(span) = Span::new(offset, size) else { return last };
        let Parts { weak, race, choices, at, lane, place, of, .. } = self;
        let asker = Asker::Lane { at: *at, lane: *lane, constant };
        if strength.is_some() && weak.history(*place, offset).is_none() {
            // The host or a NIC may have released it.
            let Where::Global(id) = *of else { return last };
            if race.released_on(id, offset..offset + size).is_empty() {
                return last;
            }
            weak.begin(race, *place, storage, offset);
        }
        let Some(history) = weak.history(*place, offset) else { return last };
        if strength.is_none() && history.is_settled(span.mask, &knowing(race, &asker)) {
            return last;
        }
        let positions = match storage.words() {
            None => history.readable(span.mask, &knowing(race, &asker)),
            Some(_) => vec![history.messages.len() - 1],
        };
        let chosen = choices.late(positions.len());
        let result = if chosen == 0 {
            last
        } else {
            let (value, written) = history.value(span.mask, positions[chosen]);
            (value >> span.shift, written == span.mask || !storage.is_shadowed())
        };
        if let Some((order, scope)) = strength {
            let what = What::READ.strong(order, scope, size);
            let (by, seat) = race.mark(&asker, what);
            let further = if acquires(order) { history.read_before(by, positions[chosen]) } else { nothing() };
            let mut released = history.take((what, seat, span.mask), by, positions[chosen]);
            released.extend(further);
            let same = |(_, list): &&mut (u32, Vec<Released>)| {
                list.len() == released.len() && list.iter().zip(&released).all(|(a, b)| a.is(b))
            };
            match taken.iter_mut().find(same) {
                Some((lanes, _)) => *lanes |= 1 << *lane,
                None if released.is_empty() => {}
                None => taken.push((1 << *lane, released)),
            }
        }
        result
    }

    fn message(&self, span: Span, value: u64, (mark, seat): (Mark, Seat)) -> Message {
        Message {
            number: 0,
            mask: span.mask,
            written: span.mask,
            value: value << span.shift & spread(span.mask),
            mark,
            seat,
            joined: None,
            seen: Vec::new(),
            released: nothing(),
        }
    }

    fn write(&mut self, storage: &mut Storage, offset: usize, size: usize, value: u64, strength: Strength) {
        let Some(span) = Span::new(offset, size) else {
            self.weak.settle(self.place, offset, size);
            return storage.store(offset, size, value);
        };
        let asker = Asker::Lane { at: self.at, lane: self.lane, constant: false };
        let what = strength.map_or(What::WRITE, |(order, scope)| What::WRITE.strong(order, scope, size));
        let (mark, seat) = self.race.mark(&asker, what);
        let mut message = self.message(span, value, (mark, seat));
        let history = self.weak.begin(self.race, self.place, storage, offset);
        let positions = match storage.words() {
            None => history.writable((what, seat, span.mask), &knowing(self.race, &asker)),
            Some(_) => vec![history.messages.len() - 1],
        };
        let position = positions[self.choices.late(positions.len())];
        if let Some((order, scope)) = strength {
            let before = history.pattern(span.mask, mark.slot, self.lane);
            let own = self.race.released(self.at, self.lane, scope, releases(order));
            message.released = Race::chained(before, own);
        }
        self.place_message(storage, span, position, message);
    }

    /// Puts a message behind a position, and what it shows into the storage.
    fn place_message(&mut self, storage: &mut Storage, span: Span, position: usize, message: Message) {
        let released = message.released.clone();
        let value = message.value >> span.shift;
        let Some(history) = self.weak.history(self.place, span.offset) else { return };
        let shown = history.insert(position, message);
        if shown == span.mask {
            storage.store(span.offset, span.size, value);
            self.race.set_released(self.of, span.offset, &released);
            return;
        }
        for byte in (0..span.size).filter(|byte| shown >> (span.offset % BLOCK + byte) & 1 == 1) {
            storage.store(span.offset + byte, 1, value >> (8 * byte) & 0xff);
        }
    }

    fn update(
        &mut self,
        storage: &mut Storage,
        offset: usize,
        size: usize,
        op: &Atomic,
        late: bool,
        new: impl Fn(u64) -> Option<u64>,
    ) -> (u64, u64) {
        let Some(span) = Span::new(offset, size) else {
            return storage.update(offset, size, |old| new(old).unwrap_or(old));
        };
        let (order, scope) = (op.order, op.scope);
        let asker = Asker::Lane { at: self.at, lane: self.lane, constant: false };
        let what = What::ATOMIC.strong(order, scope, size);
        let (mark, seat) = self.race.mark(&asker, what);
        let history = self.weak.begin(self.race, self.place, storage, offset);
        let nature = (what, seat, span.mask);
        let positions = match (late, storage.words()) {
            (true, None) => {
                let knows = knowing(self.race, &asker);
                let mut positions = history.readable(span.mask, &knows);
                let last = positions[0];
                positions.retain(|&at| at == last || !history.behind(nature, at, &knows).is_empty());
                positions
            }
            _ => vec![history.messages.len() - 1],
        };
        let chosen = self.choices.late(positions.len());
        let position = positions[chosen];
        let old = match chosen {
            0 => storage.load(offset, size),
            _ => history.value(span.mask, position).0 >> span.shift,
        };
        let next = new(old);
        let behind = match positions.len() {
            1 => vec![position],
            _ => history.behind(nature, position, &knowing(self.race, &asker)),
        };
        let target = behind[if next.is_some() { self.choices.late(behind.len()) } else { 0 }];
        let joined = history.messages[position].number;
        let (strong, is_earlier) = (history.is_strong_with(nature, position), target < position);
        let length = history.messages.len();
        let further = if acquires(order) { history.read_before(mark, position) } else { nothing() };
        let before = history.take(nature, mark, position);
        // Remembering the read may have made the history shorter at its beginning.
        let target = target.saturating_sub(length - history.messages.len());
        // The read of a reduction is no part of an acquire pattern.
        for list in [&before, &further].into_iter().filter(|list| op.returns && !list.is_empty()) {
            self.race.acquire(self.at, 1 << self.lane, scope, acquires(order), list);
        }
        let Some(next) = next else { return (old, old) };
        let own = self.race.released(self.at, self.lane, scope, releases(order));
        let mut message = self.message(span, next, (mark, seat));
        message.released = Race::chained(if strong { before } else { nothing() }, own);
        message.joined = (!is_earlier).then_some(joined);
        self.place_message(storage, span, target, message);
        (old, next)
    }
}
