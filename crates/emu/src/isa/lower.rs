//! Context of lowering one instruction: operands to columns, emission of decoded instructions.

use super::link::Linker;
use super::modifiers::Modifiers;
use super::Dynamic;
use crate::memory::{FUNCTION_WINDOW, LOCAL_WINDOW, RESERVED_SHARED_BYTES, SHARED_WINDOW};
use crate::program::{Args, ColumnStart, Inst, LaneMask, Op, Pure, Special, NO_GUARD};
use std::collections::{HashMap, HashSet};
use warpferry_ptx::ast::{AddressBase, FloatLiteral, Instruction, Operand, RegisterId, Space, Type, VariableRef};

/// Why an instruction cannot be lowered.
pub(crate) type Reason = String;

/// Where a register lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Column(u16),
    /// A 128-bit register: low half, high half in the next column.
    Wide(u16),
    Predicate(u16),
}

/// Where a variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Offset in shared memory.
    Shared(u32),
    /// Offset in the thread's frame.
    Frame(u32),
    /// Offset from the stack pointer: of a function that may be entered again.
    Stack(u32),
    /// Offset in the kernel's parameters.
    Param(u32),
    /// A module variable in global or constant memory.
    Global(u32),
    /// A register parameter of a function.
    Register(RegisterId),
}

/// A destination register.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dest {
    pub column: u16,
    /// Width of the register.
    pub bytes: u32,
}

/// A memory operand: `column + offset`, and the space that a variable as base implies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub base: u16,
    pub offset: i64,
    pub place: Option<Place>,
    /// The base is a 32-bit register.
    pub narrow: bool,
}

/// Registers and variables of the function being lowered.
#[derive(Debug, Default, Clone)]
pub(crate) struct Scope {
    pub slots: Vec<Slot>,
    pub types: Vec<Type>,
    pub locals: Vec<Place>,
    pub params: Vec<Place>,
    pub returns: Vec<Place>,
    pub is_entry: bool,
    pub return_column: u16,
    /// The function may be entered again before it returns.
    pub is_recursive: bool,
    /// Its part of the stack, when it is.
    pub stack_bytes: u32,
}

pub(crate) struct Lower<'l, 'm> {
    pub linker: &'l mut Linker<'m>,
    pub scope: &'l Scope,
    pub instruction: &'m Instruction,
    pub modifiers: Modifiers<'m>,
    pub guard: u16,
    pub negated: bool,
    /// Index of the location of this instruction.
    pub location: u32,
    /// Index of the function.
    pub function: usize,
    /// Which registers of the function are read (and where first) and written.
    pub uses: &'l mut Uses,
}

/// Reads and writes of a function's registers.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Location of the first read of each register.
    pub read: HashMap<u32, u32>,
    pub written: HashSet<u32>,
}

impl<'m> Lower<'_, 'm> {
    fn note_read(&mut self, operand: &Operand) {
        if let Operand::Register(id) | Operand::NotRegister(id) = operand {
            self.uses.read.entry(id.0).or_insert(self.location);
        }
    }

    fn note_write(&mut self, operand: &Operand) {
        if let Operand::Register(id) = operand {
            self.uses.written.insert(id.0);
        }
    }

    /// Appends an instruction under the guard.
    pub fn emit(&mut self, op: Op, args: Args) {
        self.linker.push(Inst { op, args, guard: self.guard, negated: self.negated }, self.location);
    }

    /// Appends a pure instruction.
    pub fn emit_pure(&mut self, run: Pure, args: Args) {
        self.emit(Op::Pure(run), args);
    }

    /// All modifiers must be taken and the number of operands right.
    pub fn finish(&self, operands: std::ops::RangeInclusive<usize>) -> Result<(), Reason> {
        self.modifiers.finish()?;
        let have = self.instruction.operands.len();
        if operands.contains(&have) {
            Ok(())
        } else if operands.start() == operands.end() {
            Err(format!("{have} operands, must be {}", operands.start()))
        } else {
            Err(format!("{have} operands, must be {} to {}", operands.start(), operands.end()))
        }
    }

    pub fn operand(&self, index: usize) -> Result<&'m Operand, Reason> {
        self.instruction.operands.get(index).ok_or_else(|| format!("operand {} is missing", index + 1))
    }

    pub fn operands(&self) -> usize {
        self.instruction.operands.len()
    }

    /// A column that holds a constant.
    pub fn constant(&mut self, value: u64) -> Result<u16, Reason> {
        self.linker.start(ColumnStart::Constant(value))
    }

    /// A fresh column for an intermediate value.
    pub fn temporary(&mut self) -> Result<u16, Reason> {
        self.linker.column()
    }

    /// Source operand `index` read as `ty`.
    pub fn source(&mut self, index: usize, ty: Type) -> Result<u16, Reason> {
        let operand = self.operand(index)?;
        self.source_of(operand, ty)
    }

    /// An operand read as `ty`.
    pub fn source_of(&mut self, operand: &Operand, ty: Type) -> Result<u16, Reason> {
        self.note_read(operand);
        match operand {
            Operand::Register(id) => match self.scope.slots[id.0 as usize] {
                Slot::Column(column) => {
                    let have = self.scope.types[id.0 as usize];
                    if have.bytes() < ty.bytes() {
                        return Err(format!("a register of type {have:?} is too narrow for {ty:?}"));
                    }
                    Ok(column)
                }
                Slot::Wide(_) => Err("a 128-bit register cannot stand here".into()),
                Slot::Predicate(_) => Err("a predicate register cannot stand here".into()),
            },
            Operand::Special(name) => self.special(name),
            Operand::Variable(variable, offset) => match self.place(*variable)? {
                Place::Shared(at) => self.constant((at as i64 + offset) as u64),
                Place::Frame(at) => self.constant((at as i64 + offset) as u64),
                Place::Stack(at) => self.stack_address(at as i64 + offset),
                Place::Param(at) => self.constant((at as i64 + offset) as u64),
                Place::Global(index) => self.linker.start(ColumnStart::Variable(index, *offset)),
                Place::Register(id) => self.source_of(&Operand::Register(id), ty),
            },
            Operand::Name(name) => {
                let function = super::link::function_named(self.linker.module, name);
                let function = function.ok_or_else(|| format!("{name} is not a function with a body"))?;
                self.constant(function_address(function))
            }
            _ => {
                let bits = literal(operand, ty)?;
                self.constant(bits)
            }
        }
    }

    /// A column with the rank of the CTA in its cluster.
    pub fn own_rank(&mut self) -> Result<u16, Reason> {
        self.linker.start(ColumnStart::Special(Special::ClusterRank))
    }

    /// A column with the stack pointer plus an offset.
    pub fn stack_address(&mut self, offset: i64) -> Result<u16, Reason> {
        let (a, b, d) = (self.linker.stack_pointer()?, self.constant(offset as u64)?, self.temporary()?);
        self.emit_pure(binary!(|a, b| a.wrapping_add(b)), Args { d, a, b, ..Args::default() });
        Ok(d)
    }

    /// A special register as a source; one that changes is read into a temporary first.
    fn special(&mut self, name: &str) -> Result<u16, Reason> {
        if let Some(dynamic) = dynamic_special(name) {
            let column = self.temporary()?;
            self.emit(Op::Dynamic(dynamic), Args { d: column, ..Args::default() });
            return Ok(column);
        }
        let start = match name {
            // Nothing counts them, so the performance counters stand still.
            name if name.starts_with("envreg") || name.starts_with("pm") => ColumnStart::Constant(0),
            "current_graph_exec" => ColumnStart::Constant(0),
            "WARP_SZ" => ColumnStart::Constant(32),
            // The fourth component of every vector.
            name if name.ends_with(".w") => ColumnStart::Constant(0),
            "reserved_smem_offset_begin" | "reserved_smem_offset_0" => ColumnStart::Constant(0),
            "reserved_smem_offset_end" | "reserved_smem_offset_cap" => {
                ColumnStart::Constant(RESERVED_SHARED_BYTES.into())
            }
            _ => ColumnStart::Special(
                static_special(name).ok_or_else(|| format!("special register %{name} is not known"))?,
            ),
        };
        self.linker.start(start)
    }

    /// The place of a variable.
    pub fn place(&self, variable: VariableRef) -> Result<Place, Reason> {
        Ok(match variable {
            VariableRef::Module(index) => {
                let variable = &self.linker.module.variables[index as usize];
                match (variable.opaque, variable.space) {
                    (Some(kind), _) => return Err(format!("{} is a .{kind}, which is not supported", variable.name)),
                    (None, Space::Shared) => Place::Shared(self.linker.shared_offset(index)?),
                    _ => Place::Global(index),
                }
            }
            VariableRef::Local(index) => self.scope.locals[index as usize],
            VariableRef::Param(index) => self.scope.params[index as usize],
            VariableRef::Return(index) => self.scope.returns[index as usize],
        })
    }

    /// Destination operand `index`, a value register.
    pub fn dest(&mut self, index: usize) -> Result<Dest, Reason> {
        let operand = self.operand(index)?;
        self.dest_of(operand)
    }

    /// A destination operand, a value register or the sink.
    pub fn dest_of(&mut self, operand: &Operand) -> Result<Dest, Reason> {
        self.note_write(operand);
        match operand {
            Operand::Register(id) => match self.scope.slots[id.0 as usize] {
                Slot::Column(column) => Ok(Dest { column, bytes: self.scope.types[id.0 as usize].bytes() }),
                Slot::Wide(_) => Err("a 128-bit register cannot be written here".into()),
                Slot::Predicate(_) => Err("a predicate register cannot be written here".into()),
            },
            Operand::Sink => Ok(Dest { column: self.linker.sink_column()?, bytes: 8 }),
            _ => Err("the destination must be a register".into()),
        }
    }

    /// A destination that must be at least as wide as `ty`.
    pub fn dest_for(&mut self, index: usize, ty: Type) -> Result<u16, Reason> {
        let dest = self.dest(index)?;
        if dest.bytes < ty.bytes() {
            return Err(format!("the destination register of {} bytes is too narrow for {ty:?}", dest.bytes));
        }
        Ok(dest.column)
    }

    /// A destination predicate, or the sink.
    pub fn dest_predicate(&mut self, operand: &Operand) -> Result<u16, Reason> {
        self.note_write(operand);
        match operand {
            Operand::Register(id) => match self.scope.slots[id.0 as usize] {
                Slot::Predicate(predicate) => Ok(predicate),
                _ => Err("the destination must be a predicate register".into()),
            },
            Operand::Sink => self.linker.sink_predicate(),
            _ => Err("the destination must be a predicate register".into()),
        }
    }

    /// A source predicate and whether it is negated. Integer literals are constants: 0 is false.
    pub fn source_predicate(&mut self, operand: &Operand) -> Result<(u16, bool), Reason> {
        self.note_read(operand);
        let (id, negated) = match operand {
            Operand::Register(id) => (*id, false),
            Operand::NotRegister(id) => (*id, true),
            Operand::Integer(value) => return Ok((self.linker.true_predicate()?, *value == 0)),
            _ => return Err("a predicate register must stand here".into()),
        };
        match self.scope.slots[id.0 as usize] {
            Slot::Predicate(predicate) => Ok((predicate, negated)),
            _ => Err("a predicate register must stand here".into()),
        }
    }

    /// True when operand `index` is a predicate register, negated or not.
    pub fn is_predicate(&self, index: usize) -> bool {
        match self.instruction.operands.get(index) {
            Some(Operand::Register(id) | Operand::NotRegister(id)) => {
                matches!(self.scope.slots[id.0 as usize], Slot::Predicate(_))
            }
            _ => false,
        }
    }

    /// The two columns of a 128-bit register operand, written or read.
    pub fn wide(&mut self, operand: &Operand, written: bool) -> Result<(u16, u16), Reason> {
        if written {
            self.note_write(operand);
        } else {
            self.note_read(operand);
        }
        if let Operand::Register(id) = operand {
            if let Slot::Wide(low) = self.scope.slots[id.0 as usize] {
                return Ok((low, low + 1));
            }
        }
        Err("a 128-bit register must stand here".into())
    }

    /// A memory operand.
    pub fn address(&mut self, index: usize) -> Result<Address, Reason> {
        let operand = self.operand(index)?;
        match operand {
            Operand::Address(base, offset) => match base {
                AddressBase::Register(id) => {
                    self.note_read(&Operand::Register(*id));
                    let Slot::Column(base) = self.scope.slots[id.0 as usize] else {
                        return Err("an address must be a 32-bit or 64-bit register".into());
                    };
                    let bytes = self.scope.types[id.0 as usize].bytes();
                    if bytes < 4 {
                        return Err("an address must be a 32-bit or 64-bit register".into());
                    }
                    Ok(Address { base, offset: *offset, place: None, narrow: bytes == 4 })
                }
                AddressBase::Variable(variable) => {
                    let place = self.place(*variable)?;
                    let (base, offset) = match place {
                        Place::Shared(at) | Place::Frame(at) | Place::Param(at) => {
                            (self.constant(0)?, at as i64 + offset)
                        }
                        Place::Stack(at) => (self.linker.stack_pointer()?, at as i64 + offset),
                        Place::Global(index) => (self.linker.start(ColumnStart::Variable(index, 0))?, *offset),
                        Place::Register(_) => return Err("a register parameter has no address".into()),
                    };
                    Ok(Address { base, offset, place: Some(place), narrow: false })
                }
                AddressBase::Absolute => {
                    Ok(Address { base: self.constant(0)?, offset: *offset, place: None, narrow: false })
                }
            },
            Operand::TensorAddress(_) => Err("tensor copies are not supported".into()),
            _ => Err(format!("operand {} must be an address", index + 1)),
        }
    }

    /// A memory operand of a generic access: a variable's address becomes generic.
    pub fn generic(&self, address: Address) -> Result<Address, Reason> {
        let window = match address.place {
            None | Some(Place::Global(_)) => 0,
            Some(Place::Shared(_)) => SHARED_WINDOW,
            Some(Place::Frame(_) | Place::Stack(_)) => LOCAL_WINDOW,
            Some(_) => return Err("a parameter has no generic address".into()),
        };
        Ok(Address { offset: address.offset + window as i64, ..address })
    }
}

/// The value of a function's name: an address at which nothing is mapped.
pub(crate) fn function_address(function: usize) -> u64 {
    FUNCTION_WINDOW + 16 * (function as u64 + 1)
}

/// Bits of a literal read as `ty`.
pub(crate) fn literal(operand: &Operand, ty: Type) -> Result<u64, Reason> {
    use Type::*;
    let mask = mask_of(ty.bytes());
    match operand {
        Operand::Integer(value) => match ty {
            F16 | BF16 | F32 | F64 => Err("an integer literal cannot be read as a float".into()),
            _ => Ok(*value as u64 & mask),
        },
        Operand::Float(float) => {
            let double = match float {
                FloatLiteral::Single(bits) => {
                    if matches!(ty, B32 | F32 | U32) {
                        return Ok(*bits as u64);
                    }
                    // The assembler puts these 32 bits where 64 belong, which nobody means.
                    return Err(format!("a literal 0f.. has 32 bits and cannot be read as {ty:?}: write 0d.."));
                }
                FloatLiteral::Double(bits) => {
                    if matches!(ty, B64 | F64 | U64) {
                        return Ok(*bits);
                    }
                    f64::from_bits(*bits)
                }
                FloatLiteral::Decimal(value) => *value,
            };
            match ty {
                F32 | B32 => Ok((double as f32).to_bits() as u64),
                F64 | B64 => Ok(double.to_bits()),
                _ => Err(format!("a float literal cannot be read as {ty:?}")),
            }
        }
        _ => Err("a register or a literal must stand here".into()),
    }
}

/// The low `bytes` bytes.
pub(crate) fn mask_of(bytes: u32) -> u64 {
    match bytes {
        0 => 0,
        1..=7 => (1 << (8 * bytes)) - 1,
        _ => u64::MAX,
    }
}

fn dynamic_special(name: &str) -> Option<Dynamic> {
    Some(match name {
        "clock" => Dynamic::Clock,
        "clock_hi" => Dynamic::ClockHigh,
        "clock64" => Dynamic::Clock64,
        "globaltimer" => Dynamic::GlobalTimer,
        "globaltimer_lo" => Dynamic::GlobalTimerLow,
        "globaltimer_hi" => Dynamic::GlobalTimerHigh,
        _ => return None,
    })
}

fn static_special(name: &str) -> Option<Special> {
    let axis = |suffix: &str| match suffix {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    if let Some((stem, suffix)) = name.split_once('.') {
        let axis = axis(suffix)?;
        return Some(match stem {
            "tid" => Special::Tid(axis),
            "ntid" => Special::Ntid(axis),
            "ctaid" => Special::Ctaid(axis),
            "nctaid" => Special::Nctaid(axis),
            "clusterid" => Special::ClusterId(axis),
            "nclusterid" => Special::ClusterCount(axis),
            "cluster_ctaid" => Special::ClusterCta(axis),
            "cluster_nctaid" => Special::ClusterCtas(axis),
            _ => return None,
        });
    }
    Some(match name {
        "cluster_ctarank" => Special::ClusterRank,
        "cluster_nctarank" => Special::ClusterSize,
        "laneid" => Special::LaneId,
        "warpid" => Special::WarpId,
        "nwarpid" => Special::WarpCount,
        "smid" => Special::SmId,
        "nsmid" => Special::SmCount,
        "gridid" => Special::GridId,
        "lanemask_eq" => Special::LaneMask(LaneMask::Equal),
        "lanemask_lt" => Special::LaneMask(LaneMask::Less),
        "lanemask_le" => Special::LaneMask(LaneMask::LessEqual),
        "lanemask_gt" => Special::LaneMask(LaneMask::Greater),
        "lanemask_ge" => Special::LaneMask(LaneMask::GreaterEqual),
        "is_explicit_cluster" => Special::ExplicitCluster,
        "dynamic_smem_size" => Special::DynamicSharedBytes,
        "total_smem_size" => Special::TotalSharedBytes,
        "aggr_smem_size" => Special::AggregateSharedBytes,
        _ => return None,
    })
}

/// Guard of an instruction as predicate number and negation.
pub(crate) fn guard_of(instruction: &Instruction, scope: &Scope) -> Result<(u16, bool), Reason> {
    match instruction.guard {
        None => Ok((NO_GUARD, false)),
        Some(guard) => match scope.slots[guard.register.0 as usize] {
            Slot::Predicate(predicate) => Ok((predicate, guard.negated)),
            _ => Err("the guard is not a predicate register".into()),
        },
    }
}
