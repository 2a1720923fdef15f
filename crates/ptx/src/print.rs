//! A module back to text that parses to an equal module.
//!
//! Scopes are gone after parsing, so two registers may have one name. [`normalized`] gives every register, variable
//! and label of a function a name of its own and forgets positions; [`print()`] writes the normalized module, and
//! parsing that text gives the normalized module again.

use crate::ast::*;
use crate::special::is_special_register;
use std::collections::HashSet;
use std::fmt::{Result, Write};

/// Text of a module.
pub fn print(module: &Module) -> String {
    let module = normalized(module);
    let mut text = String::new();
    write_module(&mut text, &module).expect("writing to a string does not fail");
    text
}

/// The module that parsing `print(module)` gives: unique names, no positions, one file called `file`.
pub fn normalized(module: &Module) -> Module {
    let mut module = module.clone();
    module.files = vec!["file".to_string()];
    let mut taken: HashSet<String> = module.variables.iter().map(|variable| variable.name.clone()).collect();
    taken.extend(module.functions.iter().map(|function| function.name.clone()));
    for variable in &mut module.variables {
        variable.position = Position { file: 0, line: 0 };
    }
    for function in &mut module.functions {
        function.position = Position { file: 0, line: 0 };
        normalize_function(function, &taken);
    }
    module
}

fn normalize_function(function: &mut Function, module_names: &HashSet<String>) {
    let mut taken = module_names.clone();
    let mut rename = |name: &mut String| {
        // A component of a vector register gets a name without a dot.
        let mut base = name.replace('.', "$");
        // Nor may a register hide a special register that some operand means.
        if base.strip_prefix('%').is_some_and(is_special_register) {
            base.replace_range(..1, "$");
        }
        let mut candidate = base.clone();
        let mut number = 1u32;
        while !taken.insert(candidate.clone()) {
            number += 1;
            candidate = format!("{base}${number}");
        }
        *name = candidate;
    };
    let place = Position { file: 0, line: 0 };
    for variable in function.returns.iter_mut().chain(&mut function.params) {
        variable.position = place;
        rename(&mut variable.name);
    }
    let Some(body) = &mut function.body else {
        return;
    };
    let signature = body.return_registers.iter().zip(&function.returns);
    let signature = signature.chain(body.param_registers.iter().zip(&function.params));
    let mut named = HashSet::new();
    for (register, variable) in signature {
        if let Some(id) = register {
            body.registers[id.0 as usize].name = variable.name.clone();
            named.insert(id.0 as usize);
        }
    }
    // The text that is printed has one pair of braces.
    let all = 0..body.code.len();
    body.registers.iter_mut().for_each(|register| register.block = all.clone());
    for (_, register) in body.registers.iter_mut().enumerate().filter(|(index, _)| !named.contains(index)) {
        rename(&mut register.name);
    }
    for variable in &mut body.variables {
        variable.position = place;
        rename(&mut variable.name);
    }
    for label in &mut body.labels {
        rename(&mut label.name);
    }
    rename_lists(body, &mut rename);
    for prototype in &mut body.prototypes {
        for (index, variable) in prototype.returns.iter_mut().chain(&mut prototype.params).enumerate() {
            variable.position = place;
            variable.name = format!("p{index}");
        }
    }
    for instruction in &mut body.code {
        instruction.position = place;
    }
}

/// Lists and prototypes are named in operands, so both change together.
fn rename_lists(body: &mut Body, rename: &mut impl FnMut(&mut String)) {
    let mut renamed = Vec::new();
    let names = body.branch_targets.iter_mut().map(|(name, _)| name);
    let names = names.chain(body.call_targets.iter_mut().map(|(name, _)| name));
    for name in names.chain(body.prototypes.iter_mut().map(|prototype| &mut prototype.name)) {
        let before = name.clone();
        rename(name);
        renamed.push((before, name.clone()));
    }
    for instruction in &mut body.code {
        let is_user = matches!(instruction.opcode.as_str(), "brx" | "call");
        let last = instruction.operands.len().saturating_sub(1);
        if let (true, Some(Operand::Name(name))) = (is_user && last > 0, instruction.operands.get_mut(last)) {
            if let Some((_, after)) = renamed.iter().find(|(before, _)| before == name) {
                *name = after.clone();
            }
        }
    }
}

fn write_module(out: &mut String, module: &Module) -> Result {
    writeln!(out, ".version {}.{}", module.version.0, module.version.1)?;
    writeln!(out, ".target {}", module.targets.join(", "))?;
    writeln!(out, ".address_size {}", module.address_size)?;
    for pragma in &module.pragmas {
        writeln!(out, ".pragma \"{pragma}\";")?;
    }
    for variable in &module.variables {
        write_variable(out, variable)?;
        out.push_str(";\n");
    }
    for function in &module.functions {
        write_function(out, module, function)?;
    }
    for (alias, target) in &module.aliases {
        writeln!(out, ".alias {alias}, {target};")?;
    }
    Ok(())
}

/// Without the semicolon.
fn write_variable(out: &mut String, variable: &Variable) -> Result {
    for (is_there, word) in [
        (variable.is_extern, ".extern "),
        (variable.is_visible, ".visible "),
        (variable.is_weak, ".weak "),
        (variable.is_common, ".common "),
    ] {
        if is_there {
            out.push_str(word);
        }
    }
    if variable.is_register {
        return write!(out, ".reg .{} {}", variable.ty.name(), variable.name);
    }
    write!(out, ".{} ", variable.space.name())?;
    if let Some(kind) = variable.opaque {
        write!(out, ".{kind} {}", variable.name)?;
        return match (variable.is_array, variable.elements) {
            (true, Some(elements)) => write!(out, "[{elements}]"),
            _ => Ok(()),
        };
    }
    if let Some(pointer) = variable.pointer {
        if variable.align != variable.ty.bytes() {
            write!(out, ".align {} ", variable.align)?;
        }
        write!(out, ".{} .ptr ", variable.ty.name())?;
        if pointer.space != Space::Generic {
            write!(out, ".{} ", pointer.space.name())?;
        }
        write!(out, ".align {} ", pointer.align)?;
    } else {
        write!(out, ".align {} .{} ", variable.align, variable.ty.name())?;
    }
    out.push_str(&variable.name);
    match (variable.is_array, variable.elements) {
        (_, None) => out.push_str("[]"),
        (true, Some(elements)) => write!(out, "[{elements}]")?,
        (false, Some(_)) => {}
    }
    if !variable.init.is_empty() {
        out.push_str(" = ");
        write_init(out, variable)?;
    }
    Ok(())
}

/// Every element by its bits.
fn write_init(out: &mut String, variable: &Variable) -> Result {
    let values: Vec<String> = variable
        .init
        .chunks(variable.ty.bytes() as usize)
        .enumerate()
        .map(|(index, bytes)| {
            let at = index as u64 * u64::from(variable.ty.bytes());
            if let Some(address) = variable.addresses.iter().find(|address| address.at == at) {
                return initial_address(address);
            }
            let bits = bytes.iter().rev().fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
            match variable.ty {
                Type::F32 => format!("0f{bits:08X}"),
                Type::F64 => format!("0d{bits:016X}"),
                _ => format!("0x{bits:x}"),
            }
        })
        .collect();
    if variable.is_array {
        write!(out, "{{{}}}", values.join(", "))
    } else {
        write!(out, "{}", values.join(", "))
    }
}

fn initial_address(address: &InitialAddress) -> String {
    let symbol = if address.is_generic { format!("generic({})", address.symbol) } else { address.symbol.clone() };
    let sum = if address.offset == 0 { symbol } else { format!("{symbol}+{}", address.offset) };
    match address.byte_shift {
        Some(shift) => format!("{:#x}({sum})", 0xffu64 << shift),
        None => sum,
    }
}

fn write_parameters(out: &mut String, variables: &[Variable]) -> Result {
    out.push('(');
    for (index, variable) in variables.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_variable(out, variable)?;
    }
    out.push(')');
    Ok(())
}

fn write_function(out: &mut String, module: &Module, function: &Function) -> Result {
    for (is_there, word) in
        [(function.is_extern, ".extern "), (function.is_visible, ".visible "), (function.is_weak, ".weak ")]
    {
        if is_there {
            out.push_str(word);
        }
    }
    out.push_str(if function.is_entry { ".entry " } else { ".func " });
    if !function.returns.is_empty() {
        write_parameters(out, &function.returns)?;
        out.push(' ');
    }
    out.push_str(&function.name);
    write_parameters(out, &function.params)?;
    write_directives(out, function)?;
    let Some(body) = &function.body else {
        out.push_str(";\n");
        return Ok(());
    };
    out.push_str("\n{\n");
    write_body(out, &Names { module, function, body })?;
    out.push_str("}\n");
    Ok(())
}

fn write_directives(out: &mut String, function: &Function) -> Result {
    if function.is_noreturn {
        out.push_str(" .noreturn");
    }
    if function.is_explicit_cluster {
        out.push_str(" .explicitcluster");
    }
    for (word, sizes) in [
        ("maxntid", function.max_threads),
        ("reqntid", function.required_threads),
        ("reqnctapercluster", function.required_cluster),
    ] {
        if let Some([x, y, z]) = sizes {
            write!(out, " .{word} {x}, {y}, {z}")?;
        }
    }
    for (word, value) in [
        ("minnctapersm", function.min_ctas_per_sm),
        ("maxnreg", function.max_registers),
        ("maxclusterrank", function.max_cluster_rank),
    ] {
        if let Some(value) = value {
            write!(out, " .{word} {value}")?;
        }
    }
    for pragma in &function.pragmas {
        write!(out, " .pragma \"{pragma}\";")?;
    }
    Ok(())
}

struct Names<'n> {
    module: &'n Module,
    function: &'n Function,
    body: &'n Body,
}

fn write_body(out: &mut String, names: &Names<'_>) -> Result {
    let body = names.body;
    let is_parameter = |id: u32| {
        body.param_registers.iter().chain(&body.return_registers).any(|register| *register == Some(RegisterId(id)))
    };
    for (index, register) in body.registers.iter().enumerate() {
        if !is_parameter(index as u32) {
            writeln!(out, "    .reg .{} {};", register.ty.name(), register.name)?;
        }
    }
    for variable in &body.variables {
        out.push_str("    ");
        write_variable(out, variable)?;
        out.push_str(";\n");
    }
    for (name, labels) in &body.branch_targets {
        let labels: Vec<&str> = labels.iter().map(|id| body.labels[id.0 as usize].name.as_str()).collect();
        writeln!(out, "    {name}: .branchtargets {};", labels.join(", "))?;
    }
    for (name, functions) in &body.call_targets {
        writeln!(out, "    {name}: .calltargets {};", functions.join(", "))?;
    }
    for prototype in &body.prototypes {
        write!(out, "    {}: .callprototype ", prototype.name)?;
        if !prototype.returns.is_empty() {
            write_parameters(out, &prototype.returns)?;
            out.push(' ');
        }
        out.push_str("_ ");
        write_parameters(out, &prototype.params)?;
        out.push_str(if prototype.is_noreturn { " .noreturn;\n" } else { ";\n" });
    }
    let mut labels = body.labels.iter().peekable();
    let mut pragmas = body.pragmas.iter().peekable();
    for index in 0..=body.code.len() {
        while let Some(label) = labels.next_if(|label| label.at == index) {
            writeln!(out, "{}:", label.name)?;
        }
        while let Some((_, text)) = pragmas.next_if(|(at, _)| *at == index) {
            writeln!(out, "    .pragma \"{text}\";")?;
        }
        if let Some(instruction) = body.code.get(index) {
            write_instruction(out, names, instruction)?;
        }
    }
    Ok(())
}

fn write_instruction(out: &mut String, names: &Names<'_>, instruction: &Instruction) -> Result {
    out.push_str("    ");
    if let Some(guard) = instruction.guard {
        write!(out, "@{}{} ", if guard.negated { "!" } else { "" }, names.register(guard.register))?;
    }
    out.push_str(&instruction.mnemonic());
    for (index, operand) in instruction.operands.iter().enumerate() {
        out.push_str(if index == 0 { " " } else { ", " });
        write_operand(out, names, operand)?;
    }
    out.push_str(";\n");
    Ok(())
}

impl Names<'_> {
    fn register(&self, id: RegisterId) -> &str {
        &self.body.registers[id.0 as usize].name
    }

    fn variable(&self, reference: VariableRef) -> &str {
        match reference {
            VariableRef::Module(index) => &self.module.variables[index as usize].name,
            VariableRef::Local(index) => &self.body.variables[index as usize].name,
            VariableRef::Param(index) => &self.function.params[index as usize].name,
            VariableRef::Return(index) => &self.function.returns[index as usize].name,
        }
    }
}

fn write_operands(out: &mut String, names: &Names<'_>, open: char, operands: &[Operand], close: char) -> Result {
    out.push(open);
    for (index, operand) in operands.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_operand(out, names, operand)?;
    }
    out.push(close);
    Ok(())
}

fn write_operand(out: &mut String, names: &Names<'_>, operand: &Operand) -> Result {
    match operand {
        Operand::Register(id) => write!(out, "{}", names.register(*id)),
        Operand::NotRegister(id) => write!(out, "!{}", names.register(*id)),
        Operand::Special(name) => write!(out, "%{name}"),
        Operand::Integer(value) => write_integer(out, *value),
        Operand::Float(FloatLiteral::Single(bits)) => write!(out, "0f{bits:08X}"),
        Operand::Float(FloatLiteral::Double(bits)) => write!(out, "0d{bits:016X}"),
        Operand::Float(FloatLiteral::Decimal(value)) => write!(out, "{value:?}"),
        Operand::Variable(reference, 0) => write!(out, "{}", names.variable(*reference)),
        Operand::Variable(reference, offset) => write!(out, "{}+{offset}", names.variable(*reference)),
        Operand::Address(base, offset) => write_address(out, names, *base, *offset),
        Operand::TensorAddress(elements) => write_operands(out, names, '[', elements, ']'),
        Operand::Vector(elements) => write_operands(out, names, '{', elements, '}'),
        Operand::List(elements) => write_operands(out, names, '(', elements, ')'),
        Operand::Pair(first, second) => {
            write_operand(out, names, first)?;
            out.push('|');
            write_operand(out, names, second)
        }
        Operand::Label(id) => write!(out, "{}", names.body.labels[id.0 as usize].name),
        Operand::Name(name) => write!(out, "{name}"),
        Operand::Sink => write!(out, "_"),
        Operand::Part { register, selector, negated } => {
            let (sign, dot) = (if *negated { "-" } else { "" }, if selector.is_empty() { "" } else { "." });
            write!(out, "{sign}{}{dot}{selector}", names.register(*register))
        }
        Operand::Component(id, index) => {
            write!(out, "{}.{}", names.register(*id), ["x", "y", "z", "w"][usize::from(*index).min(3)])
        }
    }
}

/// The smallest signed literal has no digits of its own: `9223372036854775808` is unsigned.
fn write_integer(out: &mut String, value: i128) -> Result {
    if value == i128::from(i64::MIN) {
        return write!(out, "(.s64)0x8000000000000000");
    }
    write!(out, "{value}")
}

fn write_address(out: &mut String, names: &Names<'_>, base: AddressBase, offset: i64) -> Result {
    let name = match base {
        AddressBase::Register(id) => names.register(id),
        AddressBase::Variable(reference) => names.variable(reference),
        AddressBase::Absolute => return write!(out, "[{}]", offset as u64),
    };
    match offset {
        0 => write!(out, "[{name}]"),
        i64::MIN => write!(out, "[{name}+(.s64)0x8000000000000000]"),
        offset => write!(out, "[{name}+{offset}]"),
    }
}
