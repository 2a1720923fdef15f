//! Columns to and from storage: the inner loops of loads and stores.

use crate::memory::Storage;
use crate::program::{lanes, Access, Column, Registers, FULL};

/// How the lanes of an access lie in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// All lanes, one behind the other from this address on.
    Row(u64),
    /// All lanes at this address.
    Point(u64),
    Scattered,
}

/// How lanes that access `bytes` each lie.
#[inline(always)]
pub(crate) fn place(addresses: &Column, set: u32, bytes: u64) -> Place {
    if set != FULL {
        return Place::Scattered;
    }
    let (first, mut row, mut point) = (addresses[0], 0u64, 0u64);
    for (lane, address) in addresses.iter().enumerate() {
        row |= address ^ first.wrapping_add(lane as u64 * bytes);
        point |= address ^ first;
    }
    match (row, point) {
        (0, _) => Place::Row(first),
        (_, 0) => Place::Point(first),
        _ => Place::Scattered,
    }
}

/// Calls a function with size and count of an access as constants.
macro_rules! by_shape {
    ($access:expr, $run:ident ( $($arg:expr),* )) => {
        match ($access.size, $access.count) {
            (4, 1) => $run::<4, 1>($($arg),*),
            (4, 2) => $run::<4, 2>($($arg),*),
            (4, 4) => $run::<4, 4>($($arg),*),
            (4, _) => $run::<4, 8>($($arg),*),
            (8, 1) => $run::<8, 1>($($arg),*),
            (8, 2) => $run::<8, 2>($($arg),*),
            (8, _) => $run::<8, 4>($($arg),*),
            (2, 1) => $run::<2, 1>($($arg),*),
            (2, 2) => $run::<2, 2>($($arg),*),
            (2, _) => $run::<2, 4>($($arg),*),
            (_, 1) => $run::<1, 1>($($arg),*),
            (_, 2) => $run::<1, 2>($($arg),*),
            _ => $run::<1, 4>($($arg),*),
        }
    };
}

/// Little-endian value of `SIZE` bytes.
#[inline(always)]
fn value<const SIZE: usize>(bytes: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    word[..SIZE].copy_from_slice(&bytes[..SIZE]);
    u64::from_le_bytes(word)
}

/// Loads the elements of all lanes, which lie in a row from `start` on. With `checked`, false when a byte of it was
/// never written, and nothing is loaded.
pub(crate) fn read_row(
    storage: &Storage,
    start: usize,
    registers: &mut Registers,
    access: &Access,
    checked: bool,
) -> bool {
    let bytes = 32 * access.size as usize * access.count as usize;
    if checked && storage.first_uninitialized(start, bytes).is_some() {
        return false;
    }
    by_shape!(access, read_row_of(storage, start, registers, access));
    extend(registers, access, FULL);
    true
}

fn read_row_of<const SIZE: usize, const COUNT: usize>(
    storage: &Storage,
    start: usize,
    registers: &mut Registers,
    access: &Access,
) {
    let rows = &storage.bytes[start..start + 32 * SIZE * COUNT];
    for (element, &d) in access.columns[..COUNT].iter().enumerate() {
        let column = &mut registers.columns[d as usize];
        for (into, row) in column.iter_mut().zip(rows.chunks_exact(SIZE * COUNT)) {
            *into = value::<SIZE>(&row[element * SIZE..]);
        }
    }
}

/// Loads the elements of all lanes from one place. With `checked`, false as for a row.
pub(crate) fn read_point(
    storage: &Storage,
    start: usize,
    registers: &mut Registers,
    access: &Access,
    checked: bool,
) -> bool {
    let size = access.size as usize;
    if checked && !storage.is_initialized(start, size * access.count as usize) {
        return false;
    }
    for (element, &d) in access.columns[..access.count as usize].iter().enumerate() {
        registers.columns[d as usize] = [storage.load(start + element * size, size); 32];
    }
    extend(registers, access, FULL);
    true
}

/// Loads the elements of every lane in `set`, whose offsets are within the storage. With `checked`, gives the first
/// lane that would read a byte nobody wrote.
pub(crate) fn read(
    storage: &Storage,
    offsets: &Column,
    registers: &mut Registers,
    access: &Access,
    set: u32,
    checked: bool,
) -> Result<(), usize> {
    if storage.words().is_some() {
        read_words(storage, offsets, registers, access, set);
    } else {
        by_shape!(access, read_of(storage, offsets, registers, access, set, checked))?;
    }
    extend(registers, access, set);
    Ok(())
}

/// Loads from memory that threads of the host use too: each element in one act.
#[cold]
fn read_words(storage: &Storage, offsets: &Column, registers: &mut Registers, access: &Access, set: u32) {
    let size = access.size as usize;
    for lane in lanes(set) {
        for (element, &d) in access.columns[..access.count as usize].iter().enumerate() {
            registers.columns[d as usize][lane] = storage.load(offsets[lane] as usize + element * size, size);
        }
    }
}

fn read_of<const SIZE: usize, const COUNT: usize>(
    storage: &Storage,
    offsets: &Column,
    registers: &mut Registers,
    access: &Access,
    set: u32,
    checked: bool,
) -> Result<(), usize> {
    for lane in lanes(set) {
        let start = offsets[lane] as usize;
        if checked && !storage.is_initialized(start, SIZE * COUNT) {
            return Err(lane);
        }
        let row = &storage.bytes[start..start + SIZE * COUNT];
        for (element, &d) in access.columns[..COUNT].iter().enumerate() {
            registers.columns[d as usize][lane] = value::<SIZE>(&row[element * SIZE..]);
        }
    }
    Ok(())
}

/// Extends the sign of what was loaded, when the access says so.
#[inline(always)]
fn extend(registers: &mut Registers, access: &Access, set: u32) {
    if access.extend == 0 {
        return;
    }
    let shift = 64 - 8 * access.size as u32;
    for &d in &access.columns[..access.count as usize] {
        let column = &mut registers.columns[d as usize];
        for lane in lanes(set) {
            column[lane] = ((column[lane] << shift) as i64 >> shift) as u64 & access.extend;
        }
    }
}

/// Stores the elements of all lanes in a row from `start` on.
pub(crate) fn write_row(storage: &mut Storage, start: usize, registers: &Registers, access: &Access) {
    by_shape!(access, write_row_of(storage, start, registers, access));
    storage.mark(start, 32 * access.size as usize * access.count as usize);
}

fn write_row_of<const SIZE: usize, const COUNT: usize>(
    storage: &mut Storage,
    start: usize,
    registers: &Registers,
    access: &Access,
) {
    let rows = &mut storage.bytes[start..start + 32 * SIZE * COUNT];
    for (element, &a) in access.columns[..COUNT].iter().enumerate() {
        let column = &registers.columns[a as usize];
        for (from, row) in column.iter().zip(rows.chunks_exact_mut(SIZE * COUNT)) {
            row[element * SIZE..][..SIZE].copy_from_slice(&from.to_le_bytes()[..SIZE]);
        }
    }
}

/// Stores every lane's elements; lanes in ascending order, so that the highest wins where they overlap.
pub(crate) fn write(storage: &mut Storage, offsets: &Column, registers: &Registers, access: &Access, set: u32) {
    if storage.words().is_some() {
        return write_words(storage, offsets, registers, access, set);
    }
    by_shape!(access, write_of(storage, offsets, registers, access, set))
}

/// What a lane stores.
pub(crate) fn bytes(registers: &Registers, access: &Access, lane: usize) -> Vec<u8> {
    let columns = &access.columns[..access.count as usize];
    let words = columns.iter().map(|&column| registers.columns[column as usize][lane].to_le_bytes());
    words.flat_map(|word| word.into_iter().take(access.size as usize)).collect()
}

/// Stores to memory that threads of the host use too: each element in one act, in ascending order.
#[cold]
fn write_words(storage: &mut Storage, offsets: &Column, registers: &Registers, access: &Access, set: u32) {
    let size = access.size as usize;
    for lane in lanes(set) {
        for (element, &a) in access.columns[..access.count as usize].iter().enumerate() {
            storage.store(offsets[lane] as usize + element * size, size, registers.columns[a as usize][lane]);
        }
    }
}

fn write_of<const SIZE: usize, const COUNT: usize>(
    storage: &mut Storage,
    offsets: &Column,
    registers: &Registers,
    access: &Access,
    set: u32,
) {
    for lane in lanes(set) {
        let start = offsets[lane] as usize;
        let row = &mut storage.bytes[start..start + SIZE * COUNT];
        for (element, &a) in access.columns[..COUNT].iter().enumerate() {
            let from = registers.columns[a as usize][lane].to_le_bytes();
            row[element * SIZE..][..SIZE].copy_from_slice(&from[..SIZE]);
        }
        storage.mark(start, SIZE * COUNT);
    }
}

/// Whether the store would change anything.
pub(crate) fn changes(storage: &Storage, offsets: &Column, registers: &Registers, access: &Access, set: u32) -> bool {
    let size = access.size as usize;
    let keep = u64::MAX >> (64 - 8 * size as u32);
    access.columns[..access.count as usize].iter().enumerate().any(|(element, &column)| {
        lanes(set).any(|lane| {
            let at = offsets[lane] as usize + element * size;
            storage.load(at, size) != registers.columns[column as usize][lane] & keep
                || !storage.is_initialized(at, size)
        })
    })
}
