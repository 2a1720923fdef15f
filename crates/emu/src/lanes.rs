//! Columns to and from storage: the inner loops of loads and stores.

use crate::memory::Storage;
use crate::program::{lanes, Access, Column, Registers, FULL};

/// How the lanes of an access lie in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// All lanes, one behind the other.
    Row,
    /// All lanes at the same place.
    Point,
    Scattered,
}

#[inline(always)]
fn shape(offsets: &Column, set: u32, bytes: u64) -> Shape {
    if set != FULL {
        return Shape::Scattered;
    }
    let (first, mut row, mut point) = (offsets[0], 0u64, 0u64);
    for (lane, offset) in offsets.iter().enumerate() {
        row |= offset ^ first.wrapping_add(lane as u64 * bytes);
        point |= offset ^ first;
    }
    match (row, point) {
        (0, _) => Shape::Row,
        (_, 0) => Shape::Point,
        _ => Shape::Scattered,
    }
}

/// Little-endian value of `SIZE` bytes.
#[inline(always)]
fn value<const SIZE: usize>(bytes: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    word[..SIZE].copy_from_slice(&bytes[..SIZE]);
    u64::from_le_bytes(word)
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
    match (access.size, access.count) {
        (4, 1) => read_shaped::<4, 1>(storage, offsets, registers, access, set, checked),
        (4, 2) => read_shaped::<4, 2>(storage, offsets, registers, access, set, checked),
        (4, 4) => read_shaped::<4, 4>(storage, offsets, registers, access, set, checked),
        (4, _) => read_shaped::<4, 8>(storage, offsets, registers, access, set, checked),
        (8, 1) => read_shaped::<8, 1>(storage, offsets, registers, access, set, checked),
        (8, 2) => read_shaped::<8, 2>(storage, offsets, registers, access, set, checked),
        (8, _) => read_shaped::<8, 4>(storage, offsets, registers, access, set, checked),
        (2, 1) => read_shaped::<2, 1>(storage, offsets, registers, access, set, checked),
        (2, 2) => read_shaped::<2, 2>(storage, offsets, registers, access, set, checked),
        (2, _) => read_shaped::<2, 4>(storage, offsets, registers, access, set, checked),
        (_, 1) => read_shaped::<1, 1>(storage, offsets, registers, access, set, checked),
        (_, 2) => read_shaped::<1, 2>(storage, offsets, registers, access, set, checked),
        _ => read_shaped::<1, 4>(storage, offsets, registers, access, set, checked),
    }
}

#[inline(always)]
fn read_shaped<const SIZE: usize, const COUNT: usize>(
    storage: &Storage,
    offsets: &Column,
    registers: &mut Registers,
    access: &Access,
    set: u32,
    checked: bool,
) -> Result<(), usize> {
    let bytes = SIZE * COUNT;
    match shape(offsets, set, bytes as u64) {
        Shape::Row => {
            let start = offsets[0] as usize;
            if checked {
                if let Some(at) = storage.first_uninitialized(start, 32 * bytes) {
                    return Err((at - start) / bytes);
                }
            }
            let rows = &storage.bytes[start..start + 32 * bytes];
            for (element, &d) in access.columns[..COUNT].iter().enumerate() {
                let column = &mut registers.columns[d as usize];
                for (into, row) in column.iter_mut().zip(rows.chunks_exact(bytes)) {
                    *into = value::<SIZE>(&row[element * SIZE..]);
                }
            }
        }
        Shape::Point => {
            let start = offsets[0] as usize;
            if checked && !storage.is_initialized(start, bytes) {
                return Err(0);
            }
            for (element, &d) in access.columns[..COUNT].iter().enumerate() {
                registers.columns[d as usize] = [value::<SIZE>(&storage.bytes[start + element * SIZE..]); 32];
            }
        }
        Shape::Scattered => {
            for lane in lanes(set) {
                let start = offsets[lane] as usize;
                if checked && !storage.is_initialized(start, bytes) {
                    return Err(lane);
                }
                let row = &storage.bytes[start..start + bytes];
                for (element, &d) in access.columns[..COUNT].iter().enumerate() {
                    registers.columns[d as usize][lane] = value::<SIZE>(&row[element * SIZE..]);
                }
            }
        }
    }
    if access.extend != 0 {
        let shift = 64 - 8 * SIZE as u32;
        for &d in &access.columns[..COUNT] {
            for lane in lanes(set) {
                let column = &mut registers.columns[d as usize];
                column[lane] = ((column[lane] << shift) as i64 >> shift) as u64 & access.extend;
            }
        }
    }
    Ok(())
}

/// Stores every lane's elements; lanes in ascending order, so that the highest wins where they overlap.
pub(crate) fn write(storage: &mut Storage, offsets: &Column, registers: &Registers, access: &Access, set: u32) {
    match (access.size, access.count) {
        (4, 1) => write_shaped::<4, 1>(storage, offsets, registers, access, set),
        (4, 2) => write_shaped::<4, 2>(storage, offsets, registers, access, set),
        (4, 4) => write_shaped::<4, 4>(storage, offsets, registers, access, set),
        (4, _) => write_shaped::<4, 8>(storage, offsets, registers, access, set),
        (8, 1) => write_shaped::<8, 1>(storage, offsets, registers, access, set),
        (8, 2) => write_shaped::<8, 2>(storage, offsets, registers, access, set),
        (8, _) => write_shaped::<8, 4>(storage, offsets, registers, access, set),
        (2, 1) => write_shaped::<2, 1>(storage, offsets, registers, access, set),
        (2, 2) => write_shaped::<2, 2>(storage, offsets, registers, access, set),
        (2, _) => write_shaped::<2, 4>(storage, offsets, registers, access, set),
        (_, 1) => write_shaped::<1, 1>(storage, offsets, registers, access, set),
        (_, 2) => write_shaped::<1, 2>(storage, offsets, registers, access, set),
        _ => write_shaped::<1, 4>(storage, offsets, registers, access, set),
    }
}

#[inline(always)]
fn write_shaped<const SIZE: usize, const COUNT: usize>(
    storage: &mut Storage,
    offsets: &Column,
    registers: &Registers,
    access: &Access,
    set: u32,
) {
    let bytes = SIZE * COUNT;
    if shape(offsets, set, bytes as u64) == Shape::Row {
        let start = offsets[0] as usize;
        let rows = &mut storage.bytes[start..start + 32 * bytes];
        for (element, &a) in access.columns[..COUNT].iter().enumerate() {
            let column = &registers.columns[a as usize];
            for (from, row) in column.iter().zip(rows.chunks_exact_mut(bytes)) {
                row[element * SIZE..][..SIZE].copy_from_slice(&from.to_le_bytes()[..SIZE]);
            }
        }
        storage.mark(start, 32 * bytes);
        return;
    }
    for lane in lanes(set) {
        let start = offsets[lane] as usize;
        let row = &mut storage.bytes[start..start + bytes];
        for (element, &a) in access.columns[..COUNT].iter().enumerate() {
            let from = registers.columns[a as usize][lane].to_le_bytes();
            row[element * SIZE..][..SIZE].copy_from_slice(&from[..SIZE]);
        }
        storage.mark(start, bytes);
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
