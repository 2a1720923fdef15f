//! Accesses of bulk copies and NICs.

use super::history::{spread, Message, BLOCK};
use super::{knowing, Place, Weak};
use crate::choice::{splitmix, Choices};
use crate::memory::Storage;
use crate::race::{Asker, CopyRace, Mark, Race, Released, Seat, What};
use std::ops::Range;
use warpferry_nic::Agent;

/// The parts of a range that lie in one block each: where, and which bytes of the block.
fn blocks(range: Range<usize>) -> impl Iterator<Item = (Range<usize>, u8)> {
    let first = range.start / BLOCK;
    let last = if range.is_empty() { first } else { range.end.div_ceil(BLOCK) };
    (first..last).map(move |block| {
        let part = range.start.max(block * BLOCK)..range.end.min((block + 1) * BLOCK);
        let mask = (((1u16 << part.len()) - 1) << (part.start % BLOCK)) as u8;
        (part, mask)
    })
}

impl Weak {
    /// Puts into `bytes`, which hold the last value of a range, older values that the asker may see. `strong`: it is a
    /// strong read.
    #[allow(clippy::too_many_arguments)]
    fn make_late(
        &mut self,
        race: &Race,
        place: Place,
        asker: &Asker,
        start: usize,
        bytes: &mut [u8],
        strong: Option<What>,
        choose: &mut dyn FnMut(usize) -> usize,
    ) {
        for (part, mask) in blocks(start..start + bytes.len()) {
            let Some(history) = self.history(place, part.start) else { continue };
            if strong.is_none() && history.is_settled(mask, &knowing(race, asker)) {
                continue;
            }
            let positions = history.readable(mask, &knowing(race, asker));
            let chosen = choose(positions.len());
            if chosen > 0 {
                let (value, _) = history.value(mask, positions[chosen]);
                for at in part.clone() {
                    bytes[at - start] = (value >> (8 * (at % BLOCK))) as u8;
                }
            }
            if let Some(what) = strong {
                let (by, seat) = race.mark(asker, what);
                history.take((what, seat, mask), by, positions[chosen]);
            }
        }
    }

    /// A range is written with `bytes`, last in coherence order. The caller writes the storage afterwards.
    fn write_last(
        &mut self,
        race: &Race,
        place: Place,
        storage: &Storage,
        (mark, seat): (Mark, Seat),
        start: usize,
        bytes: &[u8],
    ) {
        for (part, mask) in blocks(start..start + bytes.len()) {
            let value = part.clone().fold(0, |all, at| all | u64::from(bytes[at - start]) << (8 * (at % BLOCK)));
            let history = self.begin(race, place, storage, part.start);
            let last = history.messages.len() - 1;
            let to = history.messages[last].number;
            let message = Message {
                number: 0,
                mask,
                written: mask,
                value: value & spread(mask),
                mark,
                seat,
                joined: mark.what.is_atomic().then_some(to),
                seen: Vec::new(),
                released: Vec::new(),
            };
            history.insert(last, message);
        }
    }
}

/// Older values that a bulk copy may read, into the bytes that it has read.
pub(crate) fn copy_reads(
    weak: &mut Weak,
    race: &Race,
    choices: &mut Choices,
    place: Place,
    (copy, number): (&CopyRace, u32),
    start: usize,
    bytes: &mut [u8],
) {
    let asker = Asker::Copy { copy, shared: matches!(place, Place::Shared(_)), number };
    weak.make_late(race, place, &asker, start, bytes, None, &mut |n| choices.late(n));
}

/// A bulk copy is about to write bytes.
pub(crate) fn copy_writes(
    weak: &mut Weak,
    race: &Race,
    storage: &Storage,
    place: Place,
    (copy, number): (&CopyRace, u32),
    start: usize,
    bytes: &[u8],
) {
    let asker = Asker::Copy { copy, shared: matches!(place, Place::Shared(_)), number };
    let by = race.mark(&asker, What::WRITE.by_copy());
    weak.write_last(race, place, storage, by, start, bytes);
}

/// Older values that a NIC may read, into the bytes that it has read.
pub(crate) fn nic_reads(weak: &mut Weak, race: &Race, agent: Agent, storage: usize, start: usize, bytes: &mut [u8]) {
    let what = Race::nic_what(agent, false, false);
    let mut draw = weak.draw;
    let plain = draw == 0;
    let mut choose = |n: usize| if plain || n < 2 { 0 } else { (splitmix(&mut draw) % n as u64) as usize };
    let asker = Asker::QueuePair(agent.queue_pair.0);
    let strong = what.is_strong().then_some(what);
    weak.make_late(race, Place::Global(storage), &asker, start, bytes, strong, &mut choose);
    weak.draw = draw;
}

/// A NIC is about to write bytes.
pub(crate) fn nic_writes(
    weak: &mut Weak,
    race: &Race,
    of: &Storage,
    storage: usize,
    by: (Mark, Seat),
    start: usize,
    bytes: &[u8],
) {
    weak.write_last(race, Place::Global(storage), of, by, start, bytes);
    // What a counter or a completion carries is known by now.
    for (part, _) in blocks(start..start + bytes.len()) {
        let released: Vec<Released> = race.released_on(storage, part.clone());
        if let (false, Some(history)) = (released.is_empty(), weak.history(Place::Global(storage), part.start)) {
            if let Some(last) = history.messages.last_mut().filter(|_| by.0.what.is_strong()) {
                last.released = released;
            }
        }
    }
}
