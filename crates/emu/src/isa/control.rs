//! Branches, calls and ends.

use super::calls::{callee_of, runtime_function, targets};
use super::link::variable_bytes;
use super::lower::{function_address, Lower, Place, Reason};
use super::moves::copy;
use crate::program::{Access, AccessSpace, Args, Op, Order, Registers, Scope, NO_GUARD};
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

/// A call as written.
struct Call<'m> {
    returns: &'m [Operand],
    arguments: &'m [Operand],
}

pub(super) fn call(l: &mut Lower) -> Done {
    l.modifiers.flag("uni");
    l.modifiers.finish()?;
    let instruction = l.instruction;
    let module = l.linker.module;
    if let Some(name) = runtime_function(module, instruction) {
        l.emit(Op::Runtime(name.into()), Args::default());
        return Ok(());
    }
    let body = module.functions[l.function].body.as_ref().ok_or("the function has no body")?;
    let (callee, _) = callee_of(instruction).ok_or("the callee is missing")?;
    let list = |operand: Option<&'_ Operand>| matches!(operand, Some(Operand::List(_)));
    let operands = &instruction.operands;
    let has_returns = list(operands.first());
    let given = |index: usize| match operands.get(index) {
        Some(Operand::List(list)) => list.as_slice(),
        _ => &[],
    };
    let written =
        Call { returns: if has_returns { given(0) } else { &[] }, arguments: given(1 + has_returns as usize) };
    let targets = targets(module, body, instruction)?;
    for &target in &targets {
        let function = &module.functions[target];
        if written.arguments.len() != function.params.len() || written.returns.len() != function.returns.len() {
            return Err(format!(
                "{} takes {} arguments and gives {} values; the call has {} and {}",
                function.name,
                function.params.len(),
                function.returns.len(),
                written.arguments.len(),
                written.returns.len()
            ));
        }
    }
    let indirect = matches!(callee, Operand::Register(_));
    if !indirect && !l.scope.is_recursive {
        return call_function(l, targets[0], &written);
    }
    // Lanes outside the guard go around: registers, the guard among them, change under a call.
    let mut around = Vec::new();
    if l.guard != NO_GUARD {
        l.negated = !l.negated;
        around.push(branch(l));
        l.guard = NO_GUARD;
        l.negated = false;
    }
    if !indirect {
        call_function(l, targets[0], &written)?;
    } else {
        let address = l.source_of(callee, Type::U64)?;
        for target in targets {
            let (b, p) = (l.constant(function_address(target))?, l.linker.predicate()?);
            l.emit_pure(is_equal, Args { d: p, a: address, b, ..Args::default() });
            (l.guard, l.negated) = (p, true);
            let other = branch(l);
            (l.guard, l.negated) = (NO_GUARD, false);
            call_function(l, target, &written)?;
            around.push(branch(l));
            l.linker.branch_here(other);
        }
        // Not the address of a function that fits.
        l.emit(Op::Trap, Args::default());
    }
    for at in around {
        l.linker.branch_here(at);
    }
    Ok(())
}

fn is_equal(r: &mut Registers, mask: u32, s: &Args) {
    let bits = r.compare(mask, s, |a, b| a == b);
    r.write_predicate(s.d, mask, bits);
}

/// A branch whose target is set later.
fn branch(l: &mut Lower) -> usize {
    let at = l.linker.next();
    l.emit(Op::Branch { target: 0 }, Args::default());
    at
}

/// A place in the frames of a thread: a column plus an offset.
#[derive(Clone, Copy)]
struct Spot {
    base: u16,
    offset: i64,
}

/// Passes the arguments, calls, and fetches the results.
fn call_function(l: &mut Lower, callee: usize, written: &Call) -> Done {
    let function = &l.linker.module.functions[callee];
    let scope = l.linker.scopes.get(&callee).ok_or("the callee is not linked")?;
    let (formals, results, return_column) = (scope.params.clone(), scope.returns.clone(), scope.return_column);
    // The callee's part of the stack lies behind the caller's.
    let own = if l.scope.is_recursive { l.scope.stack_bytes } else { 0 };
    let enters_again = l.scope.is_recursive && l.linker.graph.reaches(callee, l.function);
    let mut registers = Vec::new();
    for ((operand, place), formal) in written.arguments.iter().zip(formals).zip(&function.params) {
        if let Some(d) = formal_column(l, callee, place)? {
            let a = l.source_of(operand, formal.ty)?;
            let kept = l.temporary()?;
            l.emit_pure(copy(), Args { d: kept, a, ..Args::default() });
            registers.push((d, kept));
            continue;
        }
        let to = callee_spot(l, place, own)?;
        pass(l, operand, to, formal)?;
    }
    let saved = enters_again.then(|| l.linker.save_set(l.scope));
    if let Some(set) = &saved {
        l.emit(Op::Save(set.clone().into()), Args::default());
    }
    for (d, a) in registers {
        l.emit_pure(copy(), Args { d, a, ..Args::default() });
    }
    move_stack(l, own as i64)?;
    let at = l.linker.next();
    l.linker.calls.push((at, callee));
    l.emit(Op::Call { target: 0 }, Args { d: return_column, ..Args::default() });
    move_stack(l, -(own as i64))?;
    let mut fetched = Vec::new();
    for place in &results {
        fetched.push(match formal_column(l, callee, *place)? {
            Some(a) => {
                let d = l.temporary()?;
                l.emit_pure(copy(), Args { d, a, ..Args::default() });
                Some(d)
            }
            None => None,
        });
    }
    if let Some(set) = saved {
        l.emit(Op::Restore(set.into()), Args::default());
    }
    for (index, (operand, formal)) in written.returns.iter().zip(&function.returns).enumerate() {
        match fetched[index] {
            Some(a) => {
                let d = l.dest_of(operand)?.column;
                l.emit_pure(copy(), Args { d, a, ..Args::default() });
            }
            None => {
                let from = callee_spot(l, results[index], own)?;
                fetch(l, operand, from, formal)?;
            }
        }
    }
    Ok(())
}

fn move_stack(l: &mut Lower, bytes: i64) -> Done {
    if bytes != 0 {
        let (d, b) = (l.linker.stack_pointer()?, l.constant(bytes as u64)?);
        l.emit_pure(binary!(|a, b| a.wrapping_add(b)), Args { d, a: d, b, ..Args::default() });
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

/// Where a parameter of the callee lies, seen before or after the call.
fn callee_spot(l: &mut Lower, place: Place, own: u32) -> Result<Spot, Reason> {
    match place {
        Place::Frame(at) => Ok(Spot { base: l.constant(0)?, offset: at as i64 }),
        Place::Stack(at) => Ok(Spot { base: l.linker.stack_pointer()?, offset: own as i64 + at as i64 }),
        _ => Err("a parameter has no place".into()),
    }
}

/// Access of one element of a frame.
fn frame_access(spot: Spot, ty: Type, columns: [u16; 2]) -> Access {
    let wide = ty.bytes() == 16;
    Access {
        space: AccessSpace::Local,
        order: Order::Weak,
        scope: Scope::Cta,
        mmio: false,
        constant: false,
        size: if wide { 8 } else { ty.bytes() as u8 },
        count: 1 + wide as u8,
        columns: [columns[0], columns[1], 0, 0, 0, 0, 0, 0],
        extend: 0,
        base: spot.base,
        offset: spot.offset,
    }
}

/// Where a variable of the caller lies that is given as an argument.
fn own_spot(l: &mut Lower, operand: &Operand) -> Result<Option<Spot>, Reason> {
    let Operand::Variable(variable, 0) = operand else { return Ok(None) };
    Ok(match l.place(*variable)? {
        Place::Frame(at) => Some(Spot { base: l.constant(0)?, offset: at as i64 }),
        Place::Stack(at) => Some(Spot { base: l.linker.stack_pointer()?, offset: at as i64 }),
        _ => None,
    })
}

/// A column with the offset of a place in the thread's frames.
fn column_of(l: &mut Lower, spot: Spot) -> Result<u16, Reason> {
    let (b, d) = (l.constant(spot.offset as u64)?, l.temporary()?);
    l.emit_pure(binary!(|a, b| a.wrapping_add(b)), Args { d, a: spot.base, b, ..Args::default() });
    Ok(d)
}

fn copy_frame(l: &mut Lower, from: Spot, to: Spot, formal: &Variable) -> Done {
    let bytes = variable_bytes(formal).and_then(|n| u32::try_from(n).ok()).ok_or("the parameter has no size")?;
    let (a, b) = (column_of(l, from)?, column_of(l, to)?);
    l.emit(Op::CopyFrame, Args { a, b, imm: bytes, ..Args::default() });
    Ok(())
}

fn pass(l: &mut Lower, operand: &Operand, to: Spot, formal: &Variable) -> Done {
    if let Some(from) = own_spot(l, operand)? {
        return copy_frame(l, from, to, formal);
    }
    if formal.is_array {
        return Err(format!("an array or struct must be passed as {}", formal.name));
    }
    let columns = if formal.ty == Type::B128 {
        let (low, high) = l.wide(operand, false)?;
        [low, high]
    } else {
        [l.source_of(operand, formal.ty)?, 0]
    };
    l.emit(Op::Store(frame_access(to, formal.ty, columns).into()), Args::default());
    Ok(())
}

fn fetch(l: &mut Lower, operand: &Operand, from: Spot, formal: &Variable) -> Done {
    if matches!(operand, Operand::Sink) {
        return Ok(());
    }
    if let Some(to) = own_spot(l, operand)? {
        return copy_frame(l, from, to, formal);
    }
    let columns = if formal.ty == Type::B128 {
        let (low, high) = l.wide(operand, true)?;
        [low, high]
    } else {
        [l.dest_of(operand)?.column, 0]
    };
    l.emit(Op::Load(frame_access(from, formal.ty, columns).into()), Args::default());
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
