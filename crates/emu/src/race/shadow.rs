//! Shadow of a storage: the last accesses to each place.
//!
//! Pages are made when they are touched. A block of 128 bytes is *coarse* while every access covered it whole, one
//! lane or copy after another: then it holds one write and two reads as patterns. Otherwise it is *fine*: a cell for
//! every four bytes, with one write and one read at hand and a list of others.

// A fine block moves between its place and the spare ones without being copied.
#![allow(clippy::vec_box)]

use super::actor::{Actor, Missing};
use super::mark::Mark;

const PAGE: usize = 4096;
const BLOCK: usize = 128;
const CELL: usize = 4;
const BLOCKS: usize = PAGE / BLOCK;
const CELLS: usize = BLOCK / CELL;

/// How the lanes of an access lie: lane `i` has `1 << shift` bytes from `origin + (i << shift)` on; with
/// [`Pattern::ONE`] all of the mark's lanes have all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pattern {
    pub origin: u32,
    pub shift: u8,
}

impl Pattern {
    pub const ONE: Pattern = Pattern { origin: 0, shift: u8::MAX };

    /// Lanes that have bytes in `start..end`.
    #[inline(always)]
    fn lanes(self, all: u32, start: usize, end: usize) -> u32 {
        if self.shift == u8::MAX {
            return all;
        }
        // Bytes before lane 0 and behind lane 31 belong to no lane; an origin may lie before the page.
        let lane = |at: usize| ((at as u32).wrapping_sub(self.origin) as i32) >> self.shift;
        let (first, last) = (lane(start).max(0), lane(end - 1).min(31));
        if first > last {
            return 0;
        }
        (u32::MAX << first) & (u32::MAX >> (31 - last))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Lay {
    mark: Mark,
    pattern: Pattern,
}

#[derive(Debug, Clone, Default)]
struct Cell {
    write: Mark,
    read: Mark,
    more: Option<Box<More>>,
}

/// What few cells need.
#[derive(Debug, Clone, Default)]
struct More {
    marks: Vec<Mark>,
    /// Strong writes, and strong reads that saw them: what is ordered behind the read is ordered behind the write.
    seen: Vec<(Mark, Mark)>,
}

/// Most strong reads that a cell keeps.
const SEEN_MAX: usize = 64;

type Fine = [Cell; CELLS];

#[derive(Debug, Default)]
struct Block {
    write: Lay,
    reads: [Lay; 2],
    fine: Option<Box<Fine>>,
}

type Page = [Block; BLOCKS];

/// A conflict that nothing orders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conflict {
    pub old: Mark,
    pub new: Mark,
    /// Offset of the first cell concerned.
    pub offset: usize,
    pub missing: Missing,
}

/// Shadow of one storage.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    pages: Vec<Option<Box<Page>>>,
    spare: Vec<Box<Fine>>,
}

/// Bits of the bytes of `start..end` in the cell at `at`.
#[inline(always)]
fn bytes_of(at: usize, start: usize, end: usize) -> u8 {
    if start <= at && at + CELL <= end {
        return 0xf;
    }
    let from = start.max(at) - at;
    let to = end.min(at + CELL) - at;
    ((1u8 << to) - 1) & !((1u8 << from) - 1)
}

impl Shadow {
    fn page(&mut self, index: usize) -> &mut Page {
        if self.pages.len() <= index {
            self.pages.resize_with(index + 1, || None);
        }
        self.pages[index].get_or_insert_with(|| Box::new(std::array::from_fn(|_| Block::default())))
    }

    /// Records an access to `start..end` and checks it against earlier ones.
    pub fn access(
        &mut self,
        actor: &Actor,
        mut mark: Mark,
        pattern: Pattern,
        start: usize,
        end: usize,
    ) -> Result<(), Conflict> {
        mark.bytes = 0xf;
        let mut spare = std::mem::take(&mut self.spare);
        let mut at = start;
        let mut result = Ok(());
        while at < end && result.is_ok() {
            let base = at & !(BLOCK - 1);
            let stop = end.min(base + BLOCK);
            let block = &mut self.page(at / PAGE)[at % PAGE / BLOCK];
            let lay = Lay { mark, pattern };
            result = block.access(actor, lay, base, at, stop, &mut spare);
            at = stop;
        }
        self.spare = spare;
        result
    }

    /// Forgets accesses to `start..end`, in cells that have it whole.
    pub fn forget(&mut self, start: usize, end: usize) {
        for at in (start.next_multiple_of(CELL)..end / CELL * CELL).step_by(CELL) {
            let block = &mut self.page(at / PAGE)[at % PAGE / BLOCK];
            if let Some(fine) = &mut block.fine {
                fine[at % BLOCK / CELL] = Cell::default();
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.pages.clear();
    }
}

impl Block {
    #[inline(always)]
    fn access(
        &mut self,
        actor: &Actor,
        lay: Lay,
        base: usize,
        start: usize,
        end: usize,
        spare: &mut Vec<Box<Fine>>,
    ) -> Result<(), Conflict> {
        let whole = end - start == BLOCK && !lay.mark.what.is_strong();
        if self.fine.is_none() {
            if whole && self.coarse(actor, lay, base) {
                return Ok(());
            }
            self.refine(base, spare);
        }
        let fine = self.fine.as_mut().expect("it was refined");
        let mut at = start & !(CELL - 1);
        while at < end {
            // A cell holds several lanes when each has one or two bytes.
            let step = if lay.pattern.shift < 2 { 1 << lay.pattern.shift } else { CELL };
            for piece in (at.max(start)..end.min(at + CELL)).step_by(step) {
                let stop = end.min(at + CELL).min(piece + step);
                let mut mark = lay.mark;
                mark.lanes = lay.pattern.lanes(mark.lanes, piece, stop);
                mark.bytes = bytes_of(at, piece, stop);
                fine[at % BLOCK / CELL].access(actor, mark, at)?;
            }
            at += CELL;
        }
        if whole && lay.mark.what.writes() {
            // Nothing older is left beside a whole weak write.
            self.write = lay;
            self.reads = Default::default();
            if let Some(mut fine) = self.fine.take() {
                if spare.len() < 256 {
                    fine.iter_mut().for_each(|cell| *cell = Cell::default());
                    spare.push(fine);
                }
            }
        }
        Ok(())
    }

    /// Does a whole access on coarse marks; false when that is not precise enough.
    #[inline(always)]
    fn coarse(&mut self, actor: &Actor, lay: Lay, base: usize) -> bool {
        let end = base + BLOCK;
        let part = |of: &Lay| Mark { lanes: of.pattern.lanes(of.mark.lanes, base, end), ..of.mark };
        let new = part(&lay);
        // Lane by lane the same bytes: program order.
        let own = |old: &Lay| {
            old.mark.slot == new.slot
                && old.pattern == lay.pattern
                && (lay.pattern != Pattern::ONE || new.lanes.count_ones() == 1 && old.mark.lanes == new.lanes)
                && !old.mark.what.is_deferred()
                && !new.what.is_deferred()
        };
        let clean = |old: &Lay| {
            let plain = !old.mark.what.is_constant() && !new.what.is_constant();
            (own(old) && plain) || actor.check(&part(old), &new).is_ok()
        };
        if !clean(&self.write) {
            return false;
        }
        if new.what.writes() {
            if !self.reads.iter().all(clean) {
                return false;
            }
            self.write = lay;
            self.reads = Default::default();
            return true;
        }
        for index in 0..2 {
            let old = &self.reads[index];
            let free = old.mark.what.is_none()
                || (own(old) && old.mark.what == new.what)
                || actor.supersedes(&part(old), &new);
            if free {
                self.reads[index] = lay;
                return true;
            }
        }
        false
    }

    /// Makes cells of the patterns.
    #[cold]
    fn refine(&mut self, base: usize, spare: &mut Vec<Box<Fine>>) {
        let mut fine = spare.pop().unwrap_or_else(|| Box::new(std::array::from_fn(|_| Cell::default())));
        for (index, cell) in fine.iter_mut().enumerate() {
            let at = base + index * CELL;
            let part = |of: &Lay| {
                let lanes = of.pattern.lanes(of.mark.lanes, at, at + CELL);
                Mark { lanes, bytes: 0xf, ..of.mark }
            };
            if !self.write.mark.what.is_none() {
                cell.write = part(&self.write);
            }
            for read in self.reads.iter().filter(|read| !read.mark.what.is_none()) {
                cell.keep_read(part(read));
            }
        }
        self.fine = Some(fine);
    }
}

impl Cell {
    #[inline(always)]
    fn access(&mut self, actor: &Actor, new: Mark, offset: usize) -> Result<(), Conflict> {
        // The same again: a plain write in between would have taken the mark away.
        let last = &self.read;
        if !new.what.writes()
            && (last.slot, last.time, last.what, last.bytes) == (new.slot, new.time, new.what, new.bytes)
            && new.lanes & !last.lanes == 0
            && !self.write.what.is_strong()
        {
            return Ok(());
        }
        let more = self.more.as_deref();
        let found = |old: &Mark| match actor.check(old, &new) {
            Err(_) if more.is_some_and(|more| more.shows(actor, old, &new)) => Ok(()),
            Err(missing) => Err(Conflict { old: *old, new, offset, missing }),
            Ok(()) => Ok(()),
        };
        found(&self.write)?;
        if new.what.writes() {
            found(&self.read)?;
        }
        if let Some(more) = more {
            more.marks.iter().try_for_each(found)?;
        }
        if new.what.is_strong() && !new.what.is_deferred() && (new.what.is_atomic() || !new.what.writes()) {
            self.see(actor, &new);
        }
        if new.what.writes() {
            self.keep_write(actor, new);
        } else {
            self.keep_read_after(actor, new);
        }
        Ok(())
    }

    fn keep_write(&mut self, actor: &Actor, new: Mark) {
        if let Some(more) = &mut self.more {
            more.marks.retain(|old| !replaces(actor, old, &new));
            if more.marks.is_empty() && more.seen.is_empty() {
                self.more = None;
            }
        }
        if !self.read.what.is_none() && replaces(actor, &self.read, &new) {
            self.read = Mark::default();
        }
        let old = std::mem::replace(&mut self.write, new);
        if !old.what.is_none() && !replaces(actor, &old, &new) {
            self.more.get_or_insert_default().marks.push(old);
        }
    }

    /// A strong read sees the last write, and what that saw through a chain of atomics.
    fn see(&mut self, actor: &Actor, new: &Mark) {
        let last = self.write;
        if !last.what.is_strong() || actor.ordered(&last, new.lanes) {
            return;
        }
        let more = self.more.get_or_insert_default();
        let chain =
            more.marks.iter().filter(|mark| last.what.is_atomic() && mark.what.writes() && mark.what.is_strong());
        let seen: Vec<Mark> = std::iter::once(last).chain(chain.copied()).collect();
        let kept: Vec<Mark> = seen.iter().chain(&more.marks).copied().collect();
        more.seen.retain(|(write, _)| kept.contains(write));
        for write in seen {
            let again = |(of, by): &(Mark, Mark)| *of == write && by.slot == new.slot && by.lanes == new.lanes;
            if more.seen.len() < SEEN_MAX && !more.seen.iter().any(again) {
                more.seen.push((write, *new));
            }
        }
    }

    fn keep_read_after(&mut self, actor: &Actor, new: Mark) {
        let old = self.read;
        if old.what.is_none() || replaces(actor, &old, &new) {
            self.read = new;
            return;
        }
        if old.slot == new.slot && old.time == new.time && old.what == new.what && old.bytes == new.bytes {
            self.read.lanes |= new.lanes;
            return;
        }
        self.read = new;
        let more = self.more.get_or_insert_default();
        let same = |m: &Mark| m.slot == old.slot && m.what == old.what && m.bytes == old.bytes;
        more.marks.retain(|m| !(same(m) && m.lanes & !old.lanes == 0 && m.time <= old.time));
        more.marks.retain(|m| m.what.writes() || !replaces(actor, m, &new));
        more.marks.push(old);
    }

    fn keep_read(&mut self, mark: Mark) {
        if self.read.what.is_none() {
            self.read = mark;
        } else {
            self.more.get_or_insert_default().marks.push(mark);
        }
    }
}

impl More {
    /// Whether somebody saw the write `old` by a strong read that is ordered before `new`.
    #[cold]
    fn shows(&self, actor: &Actor, old: &Mark, new: &Mark) -> bool {
        let mut seen = self.seen.iter().filter(|(write, _)| write == old);
        seen.any(|(_, by)| actor.ordered(by, new.lanes))
    }
}

/// Whether `old` may be forgotten for `new`.
#[inline(always)]
fn replaces(actor: &Actor, old: &Mark, new: &Mark) -> bool {
    let again = old.slot == new.slot
        && old.what == new.what
        && old.bytes == new.bytes
        && !new.what.is_deferred()
        && old.lanes & !new.lanes == 0
        && (new.lanes.count_ones() == 1 || !new.what.writes());
    again || actor.supersedes(old, new)
}

impl Shadow {
    /// The writes that a cell holds.
    pub fn last_writes(&self, at: usize) -> Vec<Mark> {
        let Some(Some(page)) = self.pages.get(at / PAGE) else { return Vec::new() };
        let block = &page[at % PAGE / BLOCK];
        let Some(fine) = &block.fine else { return Vec::new() };
        let cell = &fine[at % BLOCK / CELL];
        let more = cell.more.iter().flat_map(|more| &more.marks).filter(|mark| mark.what.writes());
        std::iter::once(&cell.write).chain(more).copied().collect()
    }

    /// Checks a read against earlier writes and records nothing.
    /// `saw` tells of writes that the reader has seen.
    pub fn look(
        &self,
        actor: &Actor,
        mark: Mark,
        (start, end): (usize, usize),
        saw: &dyn Fn(usize, &Mark) -> bool,
    ) -> Result<(), Conflict> {
        let mut at = start & !(CELL - 1);
        while at < end {
            let Some(Some(page)) = self.pages.get(at / PAGE) else {
                at = (at / PAGE + 1) * PAGE;
                continue;
            };
            let new = Mark { bytes: bytes_of(at, start, end), ..mark };
            let block = &page[at % PAGE / BLOCK];
            let found = |old: &Mark| match actor.check(old, &new) {
                Err(missing) if !saw(at, old) => Err(Conflict { old: *old, new, offset: at, missing }),
                _ => Ok(()),
            };
            match &block.fine {
                None => {
                    let lanes = block.write.pattern.lanes(block.write.mark.lanes, at, at + CELL);
                    found(&Mark { lanes, ..block.write.mark })?;
                }
                Some(fine) => {
                    let cell = &fine[at % BLOCK / CELL];
                    found(&cell.write)?;
                    cell.more.iter().flat_map(|more| &more.marks).try_for_each(found)?;
                }
            }
            at += CELL;
        }
        Ok(())
    }
}
