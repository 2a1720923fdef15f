//! From parsed instructions to decoded ones, one family a file.
//!
//! Every lowering takes the modifiers it knows; whatever is left over makes the load fail, so nothing in a source is
//! silently ignored.

#[macro_use]
mod macros;

mod atomics;
mod bulk;
mod calls;
mod carry;
mod columns;
mod control;
mod convert;
mod f32math;
mod float;
mod half;
mod integer;
mod link;
mod logic;
mod lower;
mod matrix;
mod memory;
mod modifiers;
mod moves;
mod predicate;
mod soft;
mod sync;
mod video;

pub(crate) use half::{add_bf16, add_f16, extreme_bf16, extreme_f16, f16_nearest, f16_value};
pub(crate) use link::{link, END_OF};
pub(crate) use lower::{Lower, Slot};
pub(crate) use soft_exports::*;

/// What atomics take from the arithmetic of instructions.
mod soft_exports {
    pub(crate) use super::f32math::{bits32, flush};
    pub(crate) use super::soft::settle64;
}

use lower::Reason;

/// Special registers that change while a warp lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dynamic {
    Clock,
    ClockHigh,
    Clock64,
    GlobalTimer,
    GlobalTimerLow,
    GlobalTimerHigh,
    /// `activemask`.
    ActiveMask,
}

/// The value of a function's name.
pub(crate) fn function_value(module: &warpferry_ptx::ast::Module, name: &str) -> Option<u64> {
    link::function_named(module, name).map(lower::function_address)
}

type Lowering = fn(&mut Lower) -> Result<(), Reason>;

/// The lowering of an opcode.
fn lowering(opcode: &str) -> Option<Lowering> {
    Some(match opcode {
        "add" => integer::add,
        "sub" => integer::sub,
        "mul" => integer::mul,
        "mad" => integer::mad,
        "mul24" => integer::mul24,
        "mad24" => integer::mad24,
        "addc" => carry::addc,
        "subc" => carry::subc,
        "madc" => carry::madc,
        "sad" => integer::sad,
        "div" => integer::div,
        "rem" => integer::rem,
        "abs" => integer::abs,
        "neg" => integer::neg,
        "min" => integer::min,
        "max" => integer::max,
        "popc" => integer::popc,
        "clz" => integer::clz,
        "bfind" => integer::bfind,
        "brev" => integer::brev,
        "bfe" => integer::bfe,
        "bfi" => integer::bfi,
        "bmsk" => integer::bmsk,
        "szext" => integer::szext,
        "fns" => integer::fns,
        "dp4a" => integer::dp4a,
        "dp2a" => integer::dp2a,
        "and" | "or" | "xor" | "not" | "cnot" | "lop3" => logic::logic,
        "shl" | "shr" => logic::shift,
        "shf" => logic::funnel,
        "prmt" => logic::prmt,
        "setp" => predicate::setp,
        "set" => predicate::set,
        "selp" => predicate::selp,
        "slct" => predicate::slct,
        "testp" => predicate::testp,
        "vadd" | "vsub" | "vabsdiff" | "vmin" | "vmax" | "vshl" | "vshr" | "vset" => video::scalar,
        "vmad" => video::multiply,
        "vadd2" | "vsub2" | "vavrg2" | "vabsdiff2" | "vmin2" | "vmax2" | "vset2" | "vadd4" | "vsub4" | "vavrg4"
        | "vabsdiff4" | "vmin4" | "vmax4" | "vset4" => video::lanes,
        "mov" => moves::mov,
        "cvt" => convert::cvt,
        "fma" => float::fma,
        "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => float::function,
        "copysign" => float::copysign,
        "ld" | "ldu" => memory::load,
        "st" => memory::store,
        "atom" | "red" => atomics::atomic,
        "cvta" => memory::cvta,
        "isspacep" => memory::isspacep,
        "prefetch" | "prefetchu" | "applypriority" => memory::hint,
        "discard" => memory::discard,
        "createpolicy" => memory::createpolicy,
        "mapa" => memory::mapa,
        "getctarank" => memory::getctarank,
        "fence" => sync::fence,
        "membar" => sync::membar,
        "bar" | "barrier" => sync::barrier,
        "mbarrier" => sync::mbarrier,
        "vote" => sync::vote,
        "shfl" => sync::shfl,
        "match" => sync::match_lanes,
        "redux" => sync::redux,
        "activemask" => sync::activemask,
        "elect" => sync::elect,
        "nanosleep" => sync::nanosleep,
        "griddepcontrol" => sync::griddepcontrol,
        "cp" => bulk::cp,
        "ldmatrix" | "stmatrix" => matrix::transfer,
        "mma" => matrix::mma,
        "movmatrix" => matrix::movmatrix,
        "setmaxnreg" => matrix::setmaxnreg,
        "bra" => control::bra,
        "brx" => control::brx,
        "call" => control::call,
        "ret" => control::ret,
        "exit" => control::exit,
        "trap" | "brkpt" => control::trap,
        "pmevent" => control::pmevent,
        _ => return None,
    })
}
