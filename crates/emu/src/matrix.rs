//! `ldmatrix`, `stmatrix` and `movmatrix`: 8 x 8 matrices of 16-bit elements spread over the lanes of a warp.
//!
//! Lane `n` holds, of row `n / 4`, the elements `2 * (n % 4)` and the one behind it, in one 32-bit register. Of memory,
//! lane `8 * m + r` gives the address of row `r` of matrix `m`.

use crate::door;
use crate::error::FaultKind;
use crate::exec::Env;
use crate::memory::SHARED_WINDOW;
use crate::program::{Matrix, MatrixKind, FULL};
use crate::race::{self, At};
use crate::warp::{CtaState, Trouble, Warp};
use crate::weak::Place;

/// Bytes of a row.
const ROW_BYTES: u64 = 16;

type Elements = [[u16; 8]; 8];

/// Does the instruction for all lanes of a warp.
pub(crate) fn matrix(
    env: &mut Env,
    cta: &mut CtaState,
    warp: &mut Warp,
    op: &Matrix,
    active: u32,
    pc: u32,
) -> Result<(), Trouble> {
    if active != FULL {
        let kind = FaultKind::MemberMask { mask: FULL };
        return Err(Trouble { kind, lane: crate::warp::first(active), pc, address: None });
    }
    if let MatrixKind::Multiply(elements) = op.kind {
        return crate::multiply::multiply(warp, op, elements, pc);
    }
    if op.kind == MatrixKind::Move {
        let elements = gather(warp, op.columns[1]);
        spread(warp, op.columns[0], &elements, true);
        return Ok(());
    }
    let window = if op.generic { SHARED_WINDOW } else { 0 };
    let addresses = door::addresses(&warp.registers, op.base, op.offset.wrapping_sub(window as i64));
    let used = u32::MAX >> (32 - 8 * op.count as u32);
    door::aligned(&addresses, used, ROW_BYTES, pc)?;
    for (lane, &address) in addresses.iter().enumerate().take(8 * op.count as usize) {
        if !cta.holds(address, ROW_BYTES) {
            let kind = FaultKind::OutOfBounds { bytes: ROW_BYTES };
            return Err(door::trouble(kind, lane, pc, address.wrapping_add(SHARED_WINDOW)));
        }
        let from = address as usize;
        let reads = op.kind == MatrixKind::Load && env.checks.uninitialized;
        if reads && !cta.shared.is_initialized(from, ROW_BYTES as usize) {
            return Err(door::trouble(FaultKind::Uninitialized, lane, pc, address + SHARED_WINDOW));
        }
    }
    for index in 0..op.count as usize {
        let rows: [usize; 8] = std::array::from_fn(|row| addresses[8 * index + row] as usize);
        let column = op.columns[index];
        if let Some(race) = env.race.as_mut() {
            let at = At::new(cta, warp, pc);
            let checked = race.matrix(at, &rows, op.transposed, op.kind == MatrixKind::Store);
            checked.map_err(|report| race::trouble(env.memory, report, 8 * index as u32, pc))?;
        }
        if op.kind == MatrixKind::Load {
            let elements = rows.map(|row| std::array::from_fn(|at| cta.shared.load(row + 2 * at, 2) as u16));
            spread(warp, column, &elements, op.transposed);
            continue;
        }
        let elements = gather(warp, column);
        for (row, start) in rows.into_iter().enumerate() {
            let values: [u16; 8] =
                std::array::from_fn(|at| if op.transposed { elements[at][row] } else { elements[row][at] });
            for (at, value) in values.into_iter().enumerate() {
                cta.shared.store(start + 2 * at, 2, value as u64);
            }
            if let Some(weak) = env.weak {
                weak.settle(Place::Shared(cta.race), start, ROW_BYTES as usize);
            }
            if cta.shared.is_watched() {
                cta.shared.touched(start, ROW_BYTES as usize, &mut env.memory.woken);
            }
        }
    }
    if op.kind == MatrixKind::Store {
        env.memory.changes += 1;
    }
    warp.interval.busy = true;
    Ok(())
}

/// The matrix that the lanes hold in a column.
fn gather(warp: &Warp, column: u16) -> Elements {
    let held = &warp.registers.columns[column as usize];
    std::array::from_fn(|row| std::array::from_fn(|at| (held[4 * row + at / 2] >> (16 * (at % 2))) as u16))
}

/// Gives every lane its two elements.
fn spread(warp: &mut Warp, column: u16, elements: &Elements, transposed: bool) {
    let element = |row: usize, at: usize| if transposed { elements[at][row] } else { elements[row][at] };
    warp.registers.columns[column as usize] = std::array::from_fn(|lane| {
        let (row, at) = (lane / 4, 2 * (lane % 4));
        element(row, at) as u64 | (element(row, at + 1) as u64) << 16
    });
}
