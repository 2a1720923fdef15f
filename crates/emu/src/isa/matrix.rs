//! Matrices of 8 x 8 elements, and the register hints of warps.

use super::lower::{Lower, Place, Reason};
use crate::program::{Args, Elements, Integers, Matrix, MatrixKind, Op};
use warpferry_ptx::ast::{Operand, Type};

type Done = Result<(), Reason>;

/// `ldmatrix` and `stmatrix`.
pub(super) fn transfer(l: &mut Lower) -> Done {
    let kind = if l.instruction.opcode == "ldmatrix" { MatrixKind::Load } else { MatrixKind::Store };
    if !l.modifiers.flag("sync") || !l.modifiers.flag("aligned") || !l.modifiers.flag("m8n8") {
        return Err("only .sync.aligned.m8n8 is supported".into());
    }
    let count = l.modifiers.require("number of matrices", &[("x1", 1), ("x2", 2), ("x4", 4)])?;
    let transposed = l.modifiers.flag("trans");
    let shared = l.modifiers.choice(&[("shared", ()), ("shared::cta", ())]).is_some();
    l.modifiers.require("type", &[("b16", ())])?;
    l.finish(2..=2)?;
    let (at, vector) = if kind == MatrixKind::Load { (1, 0) } else { (0, 1) };
    let operand = l.operand(vector)?;
    let parts: Vec<&Operand> = match operand {
        Operand::Vector(parts) => parts.iter().collect(),
        single => vec![single],
    };
    if parts.len() != count as usize {
        return Err(format!("{} registers for {count} matrices", parts.len()));
    }
    let mut columns = [0; 16];
    for (column, part) in columns.iter_mut().zip(parts) {
        *column = match kind {
            MatrixKind::Load => l.dest_of(part)?.column,
            _ => l.source_of(part, Type::B32)?,
        };
    }
    let mut address = l.address(at)?;
    match (shared, address.place) {
        (true, None | Some(Place::Shared(_))) => {}
        (false, _) => address = l.generic(address)?,
        _ => return Err("the address is not in shared memory".into()),
    }
    let matrix =
        Matrix { kind, count, transposed, generic: !shared, base: address.base, offset: address.offset, columns };
    l.emit(Op::Matrix(matrix.into()), Args::default());
    Ok(())
}

pub(super) fn movmatrix(l: &mut Lower) -> Done {
    for word in ["sync", "aligned", "m8n8", "trans", "b16"] {
        if !l.modifiers.flag(word) {
            return Err(format!(".{word} is missing"));
        }
    }
    l.finish(2..=2)?;
    let mut columns = [0; 16];
    columns[0] = l.dest_for(0, Type::B32)?;
    columns[1] = l.source(1, Type::B32)?;
    let base = l.constant(0)?;
    let kind = MatrixKind::Move;
    let matrix = Matrix { kind, count: 1, transposed: true, generic: false, base, offset: 0, columns };
    l.emit(Op::Matrix(matrix.into()), Args::default());
    Ok(())
}

/// Matrices of integers: elements and registers of `a`.
fn integers(words: &[&str]) -> Option<(Elements, usize)> {
    let (["sync", "aligned", shape, "row", "col"], rest) = words.split_at_checked(5)? else { return None };
    let (saturate, rest) = match rest {
        ["satfinite", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (bits, signed, differs) = match rest {
        ["s32", a @ ("s8" | "u8"), b @ ("s8" | "u8"), "s32"] => (8, [*a == "s8", *b == "s8"], false),
        ["s32", a @ ("s4" | "u4"), b @ ("s4" | "u4"), "s32"] => (4, [*a == "s4", *b == "s4"], false),
        ["s32", "b1", "b1", "s32", kind @ ("xor" | "and"), "popc"] if !saturate => (1, [false; 2], *kind == "xor"),
        _ => return None,
    };
    // Of 32-bit registers: rows with k of 128 bits, or of 256.
    let count = match (*shape, bits) {
        ("m8n8k16", 8) | ("m8n8k32", 4) | ("m8n8k128", 1) => 1,
        ("m16n8k16", 8) | ("m16n8k32", 4) | ("m16n8k128", 1) => 2,
        ("m16n8k32", 8) | ("m16n8k64", 4) | ("m16n8k256", 1) => 4,
        _ => return None,
    };
    Some((Elements::Integers(Integers { bits, signed, saturate, differs }), count))
}

/// Matrices of floats: elements and registers of `a`.
fn floats(words: &[&str]) -> Option<(Elements, usize)> {
    let ["sync", "aligned", shape, "row", "col", d, a, b, c] = words else { return None };
    if a != b || d != c {
        return None;
    }
    Some(match (*shape, *a, *d) {
        ("m16n8k16", "f16", "f32") => (Elements::F16, 4),
        ("m16n8k8", "f16", "f32") => (Elements::F16, 2),
        ("m16n8k16", "f16", "f16") => (Elements::HalfSums, 4),
        ("m16n8k8", "f16", "f16") => (Elements::HalfSums, 2),
        ("m16n8k16", "bf16", "f32") => (Elements::Bf16, 4),
        ("m16n8k8", "bf16", "f32") => (Elements::Bf16, 2),
        ("m16n8k8", "tf32", "f32") => (Elements::Tf32, 4),
        ("m16n8k4", "tf32", "f32") => (Elements::Tf32, 2),
        _ => return None,
    })
}

/// `mma` of 16 x 8 or 8 x 8 results in f32, f16 or s32.
pub(super) fn mma(l: &mut Lower) -> Done {
    let words: Vec<&str> = l.modifiers.take_rest();
    let found = integers(&words).or_else(|| floats(&words));
    let (elements, count) = found.ok_or("this shape of these types is not supported")?;
    l.finish(4..=4)?;
    let sums = match (elements, count) {
        (Elements::HalfSums, _) | (_, 1) => 2,
        _ => 4,
    };
    let mut columns = Vec::new();
    for (index, registers) in [(0, sums), (1, count), (2, (count / 2).max(1)), (3, sums)] {
        let parts = match l.operand(index)? {
            Operand::Vector(parts) => parts.as_slice(),
            single => std::slice::from_ref(single),
        };
        if parts.len() != registers {
            return Err(format!("operand {} has {} registers, must have {registers}", index + 1, parts.len()));
        }
        for part in parts {
            columns.push(match index {
                0 => l.dest_of(part)?.column,
                _ => l.source_of(part, Type::B32)?,
            });
        }
    }
    columns.resize(16, 0);
    let columns: [u16; 16] = columns.try_into().map_err(|_| "too many registers".to_string())?;
    let base = l.constant(0)?;
    let kind = MatrixKind::Multiply(elements);
    let matrix = Matrix { kind, count: count as u8, transposed: false, generic: false, base, offset: 0, columns };
    l.emit(Op::Matrix(matrix.into()), Args::default());
    Ok(())
}

/// `setmaxnreg` changes nothing that a program can see.
pub(super) fn setmaxnreg(l: &mut Lower) -> Done {
    l.modifiers.require("kind", &[("inc", ()), ("dec", ())])?;
    for word in ["sync", "aligned", "u32"] {
        if !l.modifiers.flag(word) {
            return Err(format!(".{word} is missing"));
        }
    }
    l.finish(1..=1)?;
    match l.operand(0)? {
        Operand::Integer(count) if (24..=256).contains(count) && count % 8 == 0 => {
            l.emit(Op::Nop, Args::default());
            Ok(())
        }
        _ => Err("the number of registers is a literal: a multiple of 8 in 24..=256".into()),
    }
}
