//! Branches, calls and ends.

use super::link::{function_named, variable_bytes};
use super::lower::{Lower, Place, Reason};
use super::moves::copy;
use crate::program::{Access, AccessSpace, Args, Op, Order, Scope};
use warpferry_ptx::ast::{Operand, Type, Variable};

type Done = Result<(), Reason>;

pub(super) fn bra(l: &mut Lower) -> Done {
    l.modifiers.flag("uni");
    l.finish(1..=1)?;
    let Operand::Label(label) = l.operand(0)? else {
        return Err("the target must be a label".into());
    };
    let at = l.linker.next();
    l.linker.branches.push((at, *label));
    l.emit(Op::Branch { target: 0 }, Args::default());
    Ok(())
}

pub(super) fn brx(l: &mut Lower) -> Done {
    l.modifiers.flag("uni");
    l.modifiers.require("kind", &[("idx", ())])?;
    l.finish(2..=2)?;
    let a = l.source(0, Type::U32)?;
    let Operand::Name(name) = l.operand(1)? else {
        return Err("the targets must be a .branchtargets list".into());
    };
    let function = &l.linker.module.functions[l.function];
    let lists = function.body.as_ref().map_or(&[][..], |b| b.branch_targets.as_slice());
    let (_, labels) = lists.iter().find(|(n, _)| n == name).ok_or_else(|| format!("no list {name}"))?;
    let at = l.linker.next();
    l.linker.tables.push((at, labels.clone()));
    l.emit(Op::BranchIndex(Box::default()), Args { a, ..Args::default() });
    Ok(())
}

pub(super) fn call(l: &mut Lower) -> Done {
    l.modifiers.flag("uni");
    l.modifiers.finish()?;
    let mut operands = l.instruction.operands.iter().peekable();
    let returns = match operands.peek() {
        Some(Operand::List(list)) => {
            operands.next();
            list.as_slice()
        }
        _ => &[],
    };
    let Some(Operand::Name(name)) = operands.next() else {
        return Err("only direct calls are supported".into());
    };
    let arguments = match operands.peek() {
        Some(Operand::List(list)) => {
            operands.next();
            list.as_slice()
        }
        _ => &[],
    };
    if operands.next().is_some() {
        return Err("a direct call takes no prototype".into());
    }
    let module = l.linker.module;
    let callee = function_named(module, name).ok_or_else(|| format!("{name} has no body"))?;
    let function = &module.functions[callee];
    if arguments.len() != function.params.len() || returns.len() != function.returns.len() {
        return Err(format!(
            "{name} takes {} arguments and gives {} values; the call has {} and {}",
            function.params.len(),
            function.returns.len(),
            arguments.len(),
            returns.len()
        ));
    }
    let Some(scope) = l.linker.scopes.get(&callee) else {
        return Err("recursion is not supported".into());
    };
    let (formals, results, return_column) = (scope.params.clone(), scope.returns.clone(), scope.return_column);
    for ((operand, place), formal) in arguments.iter().zip(formals).zip(&function.params) {
        pass(l, callee, operand, place, formal)?;
    }
    let at = l.linker.next();
    l.linker.calls.push((at, callee));
    l.emit(Op::Call { target: 0 }, Args { d: return_column, ..Args::default() });
    for ((operand, place), formal) in returns.iter().zip(results).zip(&function.returns) {
        fetch(l, callee, operand, place, formal)?;
    }
    Ok(())
}

/// The column of a register parameter of the callee.
fn formal_column(l: &Lower, callee: usize, place: Place) -> Result<Option<u16>, Reason> {
    let Place::Register(id) = place else { return Ok(None) };
    let slot = l.linker.scopes.get(&callee).map(|s| s.slots[id.0 as usize]);
    match slot {
        Some(super::Slot::Column(column)) => Ok(Some(column)),
        _ => Err("predicates and 128-bit registers cannot be parameters".into()),
    }
}

/// Access of one element at a frame offset.
fn frame_access(l: &mut Lower, at: u32, ty: Type, column: u16) -> Result<Access, Reason> {
    Ok(Access {
        space: AccessSpace::Local,
        order: Order::Weak,
        scope: Scope::Cta,
        mmio: false,
        constant: false,
        size: ty.bytes() as u8,
        count: 1,
        columns: [column, 0, 0, 0, 0, 0, 0, 0],
        extend: 0,
        base: l.constant(0)?,
        offset: at as i64,
    })
}

/// Frame offset of a variable given as an argument.
fn frame_of(l: &Lower, operand: &Operand) -> Result<Option<u32>, Reason> {
    match operand {
        Operand::Variable(variable, 0) => match l.place(*variable)? {
            Place::Frame(at) => Ok(Some(at)),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn copy_frame(l: &mut Lower, from: u32, to: u32, formal: &Variable) -> Done {
    let bytes = variable_bytes(formal).and_then(|n| u32::try_from(n).ok()).ok_or("the parameter has no size")?;
    let (a, b) = (l.constant(from as u64)?, l.constant(to as u64)?);
    l.emit(Op::CopyFrame, Args { a, b, imm: bytes, ..Args::default() });
    Ok(())
}

fn pass(l: &mut Lower, callee: usize, operand: &Operand, place: Place, formal: &Variable) -> Done {
    if let Some(d) = formal_column(l, callee, place)? {
        let a = l.source_of(operand, formal.ty)?;
        l.emit_pure(copy(), Args { d, a, ..Args::default() });
        return Ok(());
    }
    let Place::Frame(to) = place else { return Err("a parameter has no place".into()) };
    if let Some(from) = frame_of(l, operand)? {
        return copy_frame(l, from, to, formal);
    }
    let a = l.source_of(operand, formal.ty)?;
    let access = frame_access(l, to, formal.ty, a)?;
    l.emit(Op::Store(access.into()), Args::default());
    Ok(())
}

fn fetch(l: &mut Lower, callee: usize, operand: &Operand, place: Place, formal: &Variable) -> Done {
    if let Some(a) = formal_column(l, callee, place)? {
        let d = l.dest_of(operand)?.column;
        l.emit_pure(copy(), Args { d, a, ..Args::default() });
        return Ok(());
    }
    let Place::Frame(from) = place else { return Err("a return value has no place".into()) };
    if let Some(to) = frame_of(l, operand)? {
        return copy_frame(l, from, to, formal);
    }
    let d = l.dest_of(operand)?.column;
    let access = frame_access(l, from, formal.ty, d)?;
    l.emit(Op::Load(access.into()), Args::default());
    Ok(())
}

pub(super) fn ret(l: &mut Lower) -> Done {
    l.modifiers.flag("uni");
    l.finish(0..=0)?;
    let (op, args) = super::link::end_of(l.scope);
    l.emit(op, args);
    Ok(())
}

pub(super) fn exit(l: &mut Lower) -> Done {
    l.finish(0..=0)?;
    l.emit(Op::Exit, Args::default());
    Ok(())
}

pub(super) fn trap(l: &mut Lower) -> Done {
    l.finish(0..=0)?;
    l.emit(Op::Trap, Args::default());
    Ok(())
}

/// Profiler events mean nothing here.
pub(super) fn pmevent(l: &mut Lower) -> Done {
    l.modifiers.flag("mask");
    l.finish(1..=1)?;
    l.emit(Op::Nop, Args::default());
    Ok(())
}
