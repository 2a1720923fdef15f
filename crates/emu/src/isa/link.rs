//! Links an entry with every function it calls into one program.

use super::calls::CallGraph;
use super::columns::BlockColumns;
use super::lower::{guard_of, Lower, Place, Scope, Slot, Uses};
use super::modifiers::Modifiers;
use super::{lower::Reason, lowering};
use crate::error::{LoadError, Location};
use crate::launch::{EntryInfo, Param};
use crate::memory::RESERVED_SHARED_BYTES;
use crate::program::{Args, ColumnStart, Inst, Op, Program, SaveSet, CARRY, NO_GUARD};
use crate::time::first_uses;
use std::collections::{BTreeSet, HashMap};
use warpferry_ptx::ast::{
    AddressBase, Body, Function, Instruction, LabelId, Module, Operand, Position, Space, Type, Variable, VariableRef,
};

/// Most columns and predicates of a program: numbers are 16 bits, and some are kept back.
const MAX_COLUMNS: usize = 65_000;
/// Stack of a thread for functions that may be entered again.
const STACK_BYTES: u32 = 1 << 16;
/// Most bytes of an entry's parameters (PTX ISA, "Kernel Function Parameters", from `sm_70` on).
const PARAM_BYTES_MAX: usize = 32764;

pub(crate) struct Linker<'m> {
    pub module: &'m Module,
    strict: bool,
    code: Vec<Inst>,
    source: Vec<u32>,
    starts: Vec<ColumnStart>,
    known: HashMap<ColumnStart, u16>,
    predicates: usize,
    sink_predicate: Option<u16>,
    true_predicate: Option<u16>,
    sink_column: Option<u16>,
    stack_pointer: Option<u16>,
    /// Where the stack begins: behind all frames that do not move.
    stack_start: u64,
    shared: HashMap<u32, u32>,
    /// Branches of the function being lowered: instruction, its target label.
    pub branches: Vec<(usize, LabelId)>,
    /// Indirect branches of the function being lowered.
    pub tables: Vec<(usize, Vec<LabelId>)>,
    /// Calls: instruction, function.
    pub calls: Vec<(usize, usize)>,
    /// Scopes of the linked functions.
    pub scopes: HashMap<usize, Scope>,
    /// Who calls whom.
    pub graph: CallGraph,
}

/// How the instruction is called that every function ends with.
pub(crate) const END_OF: &str = "end of ";

/// Decodes `entry` of `module` with all functions it calls. `strict` refuses registers that are read and never written.
pub(crate) fn link(module: &Module, entry: usize, strict: bool) -> Result<Program, LoadError> {
    let graph = CallGraph::new(module, entry)?;
    let reached = graph.reached();
    let mut linker = Linker {
        module,
        strict,
        code: Vec::new(),
        source: Vec::new(),
        starts: Vec::new(),
        known: HashMap::new(),
        predicates: CARRY as usize + 1,
        sink_predicate: None,
        true_predicate: None,
        sink_column: None,
        stack_pointer: None,
        stack_start: 0,
        shared: HashMap::new(),
        branches: Vec::new(),
        tables: Vec::new(),
        calls: Vec::new(),
        scopes: HashMap::new(),
        graph: CallGraph::default(),
    };
    let function = &module.functions[entry];
    let symbol = |reason: String| symbol_error(module, &function.name, function.position, reason);
    let (shared_bytes, local_shared) = shared_layout(module, &reached, &mut linker.shared).map_err(symbol)?;
    let mut frame_bytes = 0u32;
    for &index in &reached {
        let recursive = graph.reaches(index, index);
        let scope = linker.scope(index, recursive, &local_shared, &mut frame_bytes).map_err(|reason| {
            symbol_error(module, &module.functions[index].name, module.functions[index].position, reason)
        })?;
        linker.scopes.insert(index, scope);
    }
    frame_bytes = frame_bytes.next_multiple_of(16);
    linker.stack_start = frame_bytes as u64;
    linker.graph = graph;
    let mut locations = Vec::new();
    let mut starts_at = HashMap::new();
    for &index in &reached {
        starts_at.insert(index, linker.code.len() as u32);
        linker.function(index, &mut locations)?;
    }
    for (at, callee) in std::mem::take(&mut linker.calls) {
        linker.code[at].op = Op::Call { target: starts_at[&callee] };
    }
    let (params, param_bytes) = param_layout(&function.params);
    if param_bytes > PARAM_BYTES_MAX {
        let reason = format!("its parameters have {param_bytes} bytes: valid is at most {PARAM_BYTES_MAX}");
        return Err(symbol_error(module, &function.name, function.position, reason));
    }
    let max_threads =
        function.required_threads.or(function.max_threads).map_or(1024, |t| t.iter().product::<u32>()).min(1024);
    let registers: usize =
        reached.iter().map(|&i| module.functions[i].body.as_ref().map_or(0, |b| b.registers.len())).sum();
    let takes_parameters = linker.known.contains_key(&ColumnStart::Parameters);
    Ok(Program {
        takes_parameters,
        name: function.name.clone(),
        uses_loads: first_uses(&linker.code),
        code: linker.code,
        source: linker.source,
        locations,
        starts: linker.starts,
        predicates: linker.predicates,
        true_predicate: linker.true_predicate,
        shared_bytes,
        frame_bytes: frame_bytes + if linker.stack_pointer.is_some() { STACK_BYTES } else { 0 },
        info: EntryInfo { params, param_bytes, static_shared_bytes: shared_bytes, registers, max_threads },
        required_threads: function.required_threads,
        required_cluster: function.required_cluster,
        marks: None,
        needs_cluster: function.is_explicit_cluster,
    })
}

impl<'m> Linker<'m> {
    /// Registers of a function, for saving them.
    pub fn save_set(&self, scope: &Scope) -> SaveSet {
        let mut set = SaveSet::default();
        for slot in &scope.slots {
            match *slot {
                Slot::Column(column) => set.columns.push(column),
                Slot::Wide(low) => set.columns.extend([low, low + 1]),
                Slot::Predicate(predicate) => set.predicates.push(predicate),
            }
        }
        if !scope.is_entry {
            set.columns.push(scope.return_column);
        }
        set
    }

    pub fn push(&mut self, inst: Inst, location: u32) {
        self.code.push(inst);
        self.source.push(location);
    }

    /// Number of the next instruction.
    pub fn next(&self) -> usize {
        self.code.len()
    }

    /// The column that starts as told; garbage columns are always new.
    pub fn start(&mut self, start: ColumnStart) -> Result<u16, Reason> {
        if let Some(&column) = self.known.get(&start) {
            return Ok(column);
        }
        self.new_column(start)
    }

    fn new_column(&mut self, start: ColumnStart) -> Result<u16, Reason> {
        if self.starts.len() >= MAX_COLUMNS {
            return Err(format!("the program needs more than {MAX_COLUMNS} registers and constants"));
        }
        let column = self.starts.len() as u16;
        self.starts.push(start);
        if !matches!(start, ColumnStart::Garbage(_) | ColumnStart::Initial(_)) {
            self.known.insert(start, column);
        }
        Ok(column)
    }

    /// A new column for a 64-bit register.
    pub fn column(&mut self) -> Result<u16, Reason> {
        self.new_column(ColumnStart::Garbage(8))
    }

    pub fn predicate(&mut self) -> Result<u16, Reason> {
        if self.predicates >= MAX_COLUMNS {
            return Err(format!("the program needs more than {MAX_COLUMNS} predicates"));
        }
        self.predicates += 1;
        Ok((self.predicates - 1) as u16)
    }

    /// The column that holds the stack pointer of functions that may be entered again.
    pub fn stack_pointer(&mut self) -> Result<u16, Reason> {
        if self.stack_pointer.is_none() {
            self.stack_pointer = Some(self.new_column(ColumnStart::Initial(self.stack_start))?);
        }
        Ok(self.stack_pointer.expect("just set"))
    }

    /// Makes the branch at `at` go to the next instruction.
    pub fn branch_here(&mut self, at: usize) {
        let target = self.code.len() as u32;
        self.code[at].op = Op::Branch { target };
    }

    /// The predicate that `_` writes.
    pub fn sink_predicate(&mut self) -> Result<u16, Reason> {
        if self.sink_predicate.is_none() {
            self.sink_predicate = Some(self.predicate()?);
        }
        Ok(self.sink_predicate.expect("just set"))
    }

    /// A predicate that is true in every lane: the last one, which nothing writes.
    pub fn true_predicate(&mut self) -> Result<u16, Reason> {
        if self.true_predicate.is_none() {
            self.true_predicate = Some(self.predicate()?);
        }
        Ok(self.true_predicate.expect("just set"))
    }

    /// The column that `_` writes.
    pub fn sink_column(&mut self) -> Result<u16, Reason> {
        if self.sink_column.is_none() {
            self.sink_column = Some(self.column()?);
        }
        Ok(self.sink_column.expect("just set"))
    }

    pub fn shared_offset(&self, variable: u32) -> Result<u32, Reason> {
        self.shared.get(&variable).copied().ok_or_else(|| "the shared variable is not laid out".into())
    }

    /// Gives the registers and variables of a function their places.
    fn scope(
        &mut self,
        index: usize,
        is_recursive: bool,
        local_shared: &HashMap<(usize, usize), u32>,
        frame: &mut u32,
    ) -> Result<Scope, Reason> {
        let function = &self.module.functions[index];
        let body = body_of(function)?;
        let mut scope = Scope { is_entry: function.is_entry, is_recursive, ..Scope::default() };
        let mut shared = BlockColumns::default();
        for register in &body.registers {
            let slot = match register.ty {
                Type::Pred => Slot::Predicate(self.predicate()?),
                Type::B128 => {
                    let low = self.column()?;
                    let high = self.column()?;
                    debug_assert_eq!(high, low + 1);
                    Slot::Wide(low)
                }
                ty => Slot::Column(shared.column(ty.bytes() as u8, &register.block, || {
                    self.new_column(ColumnStart::Garbage(ty.bytes() as u8))
                })?),
            };
            scope.slots.push(slot);
            scope.types.push(register.ty);
        }
        let mut stack = 0u32;
        let end = if is_recursive { &mut stack } else { &mut *frame };
        let mut on_frame = |variable: &Variable| -> Result<Place, Reason> {
            let bytes = variable_bytes(variable).ok_or_else(|| format!("{} has no size", variable.name))?;
            let at = end.next_multiple_of(variable.align.max(1));
            *end = u32::try_from(at as u64 + bytes).map_err(|_| "local memory is too large".to_string())?;
            Ok(if is_recursive { Place::Stack(at) } else { Place::Frame(at) })
        };
        for (number, variable) in body.variables.iter().enumerate() {
            let place = match variable.space {
                Space::Shared => Place::Shared(local_shared[&(index, number)]),
                Space::Local | Space::Param => on_frame(variable)?,
                _ => return Err(format!("variable {} of a function must be shared, local or param", variable.name)),
            };
            scope.locals.push(place);
        }
        if let Some((param, kind)) = function.params.iter().find_map(|p| Some((p, p.opaque?))) {
            return Err(format!("parameter {} is a .{kind}, which is not supported", param.name));
        }
        if function.is_entry {
            let (params, _) = param_layout(&function.params);
            scope.params = params.iter().map(|p| Place::Param(p.offset as u32)).collect();
        } else {
            for (number, param) in function.params.iter().enumerate() {
                let register = body.param_registers.get(number).copied().flatten();
                scope.params.push(register.map_or_else(|| on_frame(param), |id| Ok(Place::Register(id)))?);
            }
            for (number, value) in function.returns.iter().enumerate() {
                let register = body.return_registers.get(number).copied().flatten();
                scope.returns.push(register.map_or_else(|| on_frame(value), |id| Ok(Place::Register(id)))?);
            }
            scope.return_column = self.column()?;
        }
        scope.stack_bytes = stack.next_multiple_of(64);
        if *frame > 1 << 20 {
            return Err("more than 1 MiB of local memory".into());
        }
        Ok(scope)
    }

    /// Lowers the body of a function.
    fn function(&mut self, index: usize, locations: &mut Vec<Location>) -> Result<(), LoadError> {
        let module = self.module;
        let function = &module.functions[index];
        let body = body_of(function).map_err(|r| symbol_error(module, &function.name, function.position, r))?;
        let scope = self.scopes.get(&index).cloned().expect("every reached function has a scope");
        let mut uses = Uses::default();
        let mut at = Vec::with_capacity(body.code.len() + 1);
        for instruction in &body.code {
            at.push(self.code.len() as u32);
            let location = location_of(module, function, instruction);
            locations.push(location.clone());
            let fail = |reason: String| LoadError::Instruction {
                file: location.file.clone(),
                line: location.line,
                instruction: location.instruction.clone(),
                reason,
            };
            let run = lowering(&instruction.opcode).ok_or_else(|| fail(unknown(&instruction.opcode)))?;
            let (guard, negated) = guard_of(instruction, &scope).map_err(fail)?;
            let mut lower = Lower {
                linker: self,
                scope: &scope,
                instruction,
                modifiers: Modifiers::new(instruction),
                guard,
                negated,
                location: locations.len() as u32 - 1,
                function: index,
                uses: &mut uses,
            };
            run(&mut lower).map_err(fail)?;
            if let Some(guard) = instruction.guard {
                uses.read.entry(guard.register.0).or_insert(locations.len() as u32 - 1);
            }
        }
        if self.strict {
            unwritten(function, body, &uses, locations)?;
        }
        at.push(self.code.len() as u32);
        locations.push(Location {
            file: file_of(module, function.position),
            line: function.position.line,
            instruction: format!("{END_OF}{}", function.name),
        });
        let (op, args) = end_of(&scope);
        self.push(Inst { op, args, guard: NO_GUARD, negated: false }, locations.len() as u32 - 1);
        let target = |label: LabelId| at[body.labels[label.0 as usize].at];
        for (branch, label) in std::mem::take(&mut self.branches) {
            self.code[branch].op = Op::Branch { target: target(label) };
        }
        for (branch, labels) in std::mem::take(&mut self.tables) {
            self.code[branch].op = Op::BranchIndex(labels.into_iter().map(target).collect());
        }
        Ok(())
    }
}

/// A register that is read but never written is a mistake, most often a macro's local that hides the caller's.
fn unwritten(function: &Function, body: &Body, uses: &Uses, locations: &[Location]) -> Result<(), LoadError> {
    let params = body.param_registers.iter().flatten().map(|id| id.0);
    let given: BTreeSet<u32> = params.collect();
    let missing = uses.read.iter().filter(|(id, _)| !uses.written.contains(id) && !given.contains(id));
    let Some((id, location)) = missing.min_by_key(|(_, location)| **location) else { return Ok(()) };
    let (name, at) = (&body.registers[*id as usize].name, &locations[*location as usize]);
    Err(LoadError::Instruction {
        file: at.file.clone(),
        line: at.line,
        instruction: at.instruction.clone(),
        reason: format!("nothing in {} writes register {name}, which is read", function.name),
    })
}

/// The instruction that leaves a function.
pub(crate) fn end_of(scope: &Scope) -> (Op, Args) {
    if scope.is_entry {
        (Op::Exit, Args::default())
    } else {
        (Op::Return, Args { a: scope.return_column, ..Args::default() })
    }
}

pub(crate) fn body_of(function: &Function) -> Result<&Body, Reason> {
    function.body.as_ref().ok_or_else(|| "the function has no body".to_string())
}

/// The function of this name that has a body.
pub(crate) fn function_named(module: &Module, name: &str) -> Option<usize> {
    let alias = module.aliases.iter().find(|(new, _)| new == name);
    let name = alias.map_or(name, |(_, existing)| existing.as_str());
    module.functions.iter().position(|f| f.name == name && f.body.is_some())
}

/// Offsets of shared variables: of the module those that are used, and of each function. Unsized ones come last and
/// overlap, as the dynamic shared memory.
#[allow(clippy::type_complexity)]
fn shared_layout(
    module: &Module,
    reached: &[usize],
    offsets: &mut HashMap<u32, u32>,
) -> Result<(u32, HashMap<(usize, usize), u32>), Reason> {
    let mut used = BTreeSet::new();
    for &index in reached {
        for instruction in &body_of(&module.functions[index])?.code {
            instruction.operands.iter().for_each(|o| module_variables(o, &mut used));
        }
    }
    let mut end = u64::from(RESERVED_SHARED_BYTES);
    let mut place = |variable: &Variable| -> Option<u32> {
        let bytes = variable_bytes(variable)?;
        let at = end.next_multiple_of(variable.align.max(1) as u64);
        end = at + bytes;
        u32::try_from(at).ok()
    };
    let shared = |index: &&u32| module.variables[**index as usize].space == Space::Shared;
    for &index in used.iter().filter(shared) {
        if let Some(at) = place(&module.variables[index as usize]) {
            offsets.insert(index, at);
        }
    }
    let mut locals = HashMap::new();
    let mut unsized_locals = Vec::new();
    for &index in reached {
        for (number, variable) in body_of(&module.functions[index])?.variables.iter().enumerate() {
            if variable.space == Space::Shared {
                match place(variable) {
                    Some(at) => {
                        locals.insert((index, number), at);
                    }
                    None => unsized_locals.push((index, number, variable.align)),
                }
            }
        }
    }
    let mut align = 16;
    let dynamic: Vec<u32> = used.iter().filter(shared).copied().filter(|i| !offsets.contains_key(i)).collect();
    for &index in &dynamic {
        align = align.max(module.variables[index as usize].align);
    }
    for &(.., local_align) in &unsized_locals {
        align = align.max(local_align);
    }
    let end = u32::try_from(end).map_err(|_| "more than 4 GiB of shared memory".to_string())?;
    let end = end.next_multiple_of(align);
    offsets.extend(dynamic.into_iter().map(|index| (index, end)));
    locals.extend(unsized_locals.into_iter().map(|(index, number, _)| ((index, number), end)));
    Ok((end - RESERVED_SHARED_BYTES, locals))
}

fn module_variables(operand: &Operand, used: &mut BTreeSet<u32>) {
    match operand {
        Operand::Variable(VariableRef::Module(index), _)
        | Operand::Address(AddressBase::Variable(VariableRef::Module(index)), _) => {
            used.insert(*index);
        }
        Operand::Vector(parts) | Operand::List(parts) | Operand::TensorAddress(parts) => {
            parts.iter().for_each(|p| module_variables(p, used))
        }
        Operand::Pair(a, b) => [a, b].iter().for_each(|p| module_variables(p, used)),
        _ => {}
    }
}

/// Size of a variable; `None` when it is unsized.
pub(crate) fn variable_bytes(variable: &Variable) -> Option<u64> {
    variable.elements.map(|n| n * variable.ty.bytes() as u64)
}

/// Offsets of kernel parameters, as CUDA packs them, and their total size.
fn param_layout(params: &[Variable]) -> (Vec<Param>, usize) {
    let mut end = 0usize;
    let mut placed = Vec::with_capacity(params.len());
    for param in params {
        let bytes = variable_bytes(param).unwrap_or(0) as usize;
        let offset = end.checked_next_multiple_of(param.align.max(1) as usize).unwrap_or(end);
        end = offset.saturating_add(bytes);
        placed.push(Param { name: param.name.clone(), offset, bytes });
    }
    (placed, end)
}

pub(crate) fn symbol_error(module: &Module, symbol: &str, position: Position, reason: String) -> LoadError {
    LoadError::Symbol { file: file_of(module, position), line: position.line, symbol: symbol.to_string(), reason }
}

fn file_of(module: &Module, position: Position) -> String {
    module.files.get(position.file as usize).cloned().unwrap_or_default()
}

fn location_of(module: &Module, function: &Function, instruction: &Instruction) -> Location {
    let mut text = String::new();
    if let (Some(guard), Some(body)) = (instruction.guard, &function.body) {
        let name = &body.registers[guard.register.0 as usize].name;
        text.push_str(if guard.negated { "@!" } else { "@" });
        text.push_str(name);
        text.push(' ');
    }
    text.push_str(&instruction.mnemonic());
    for (index, operand) in instruction.operands.iter().enumerate() {
        text.push_str(if index == 0 { " " } else { ", " });
        text.push_str(&operand_text(module, function, operand));
    }
    Location { file: file_of(module, instruction.position), line: instruction.position.line, instruction: text }
}

fn operand_text(module: &Module, function: &Function, operand: &Operand) -> String {
    let body = function.body.as_ref();
    let register = |index: u32| {
        body.and_then(|b| b.registers.get(index as usize)).map_or_else(|| format!("r{index}"), |r| r.name.clone())
    };
    let variable = |v: &VariableRef| {
        match v {
            VariableRef::Module(i) => module.variables.get(*i as usize),
            VariableRef::Local(i) => body.and_then(|b| b.variables.get(*i as usize)),
            VariableRef::Param(i) => function.params.get(*i as usize),
            VariableRef::Return(i) => function.returns.get(*i as usize),
        }
        .map_or_else(String::new, |v| v.name.clone())
    };
    let plus = |offset: i64| match offset {
        0 => String::new(),
        n if n < 0 => format!("{n}"),
        n => format!("+{n}"),
    };
    let list =
        |parts: &[Operand]| parts.iter().map(|p| operand_text(module, function, p)).collect::<Vec<_>>().join(", ");
    match operand {
        Operand::Register(id) => register(id.0),
        Operand::NotRegister(id) => format!("!{}", register(id.0)),
        Operand::Special(name) => format!("%{name}"),
        Operand::Integer(value) => format!("{value}"),
        Operand::Float(float) => format!("{float:?}"),
        Operand::Variable(v, offset) => format!("{}{}", variable(v), plus(*offset)),
        Operand::Address(AddressBase::Register(id), offset) => format!("[{}{}]", register(id.0), plus(*offset)),
        Operand::Address(AddressBase::Variable(v), offset) => format!("[{}{}]", variable(v), plus(*offset)),
        Operand::Address(AddressBase::Absolute, offset) => format!("[{offset:#x}]"),
        Operand::TensorAddress(parts) => format!("[{}]", list(parts)),
        Operand::Vector(parts) => format!("{{{}}}", list(parts)),
        Operand::List(parts) => format!("({})", list(parts)),
        Operand::Pair(a, b) => {
            format!("{}|{}", operand_text(module, function, a), operand_text(module, function, b))
        }
        Operand::Label(id) => {
            body.and_then(|b| b.labels.get(id.0 as usize)).map_or_else(String::new, |l| l.name.clone())
        }
        Operand::Name(name) => name.clone(),
        Operand::Sink => "_".to_string(),
        Operand::Part { register: id, selector, negated } => {
            let (sign, dot) = (if *negated { "-" } else { "" }, if selector.is_empty() { "" } else { "." });
            format!("{sign}{}{dot}{selector}", register(id.0))
        }
        other => format!("{other:?}"),
    }
}

/// What is said of an instruction without a lowering.
fn unknown(opcode: &str) -> String {
    let family = match opcode {
        "wgmma" | "tcgen05" => "matrix instructions of warp groups and of tensor memory",
        "wmma" => "wmma (mma.sync is supported)",
        "multimem" => "multimem addresses",
        "tex" | "tld4" | "txq" | "istypep" => "textures",
        "suld" | "sust" | "sured" | "suq" => "surfaces",
        "tensormap" => "tensor maps",
        _ => return "PTX has no such instruction".to_string(),
    };
    format!("not supported: {family}")
}
