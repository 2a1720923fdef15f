//! Who calls whom.

use super::link::{body_of, function_named, symbol_error};
use crate::error::LoadError;
use std::collections::{BTreeMap, BTreeSet};
use warpferry_ptx::ast::{Body, Function, Instruction, Module, Operand, Variable};

/// Functions that an entry reaches, with those that each calls.
#[derive(Debug, Default)]
pub(crate) struct CallGraph {
    order: Vec<usize>,
    reach: BTreeMap<usize, BTreeSet<usize>>,
}

impl CallGraph {
    /// Follows all calls from `entry` on. An indirect call may go wherever [`targets`] says.
    pub fn new(module: &Module, entry: usize) -> Result<CallGraph, LoadError> {
        let mut order = vec![entry];
        let mut edges: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut next = 0;
        while next < order.len() {
            let caller = order[next];
            let function = &module.functions[caller];
            let fail = |reason: String| symbol_error(module, &function.name, function.position, reason);
            let body = body_of(function).map_err(fail)?;
            let calls = body.code.iter().filter(|i| i.opcode == "call" && runtime_function(module, i).is_none());
            for instruction in calls {
                for callee in targets(module, body, instruction).map_err(fail)? {
                    edges.entry(caller).or_default().insert(callee);
                    if !order.contains(&callee) {
                        order.push(callee);
                    }
                }
            }
            next += 1;
        }
        let mut reach = BTreeMap::new();
        for &from in &order {
            let mut found: BTreeSet<usize> = BTreeSet::new();
            let mut open: Vec<usize> = vec![from];
            while let Some(caller) = open.pop() {
                for &callee in edges.get(&caller).into_iter().flatten() {
                    if found.insert(callee) {
                        open.push(callee);
                    }
                }
            }
            reach.insert(from, found);
        }
        Ok(CallGraph { order, reach })
    }

    /// The entry and all that it reaches.
    pub fn reached(&self) -> Vec<usize> {
        self.order.clone()
    }

    /// Whether calls lead from one function to another, by at least one call.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.reach.get(&from).is_some_and(|found| found.contains(&to))
    }
}

/// The callee operand of a call, and the name behind its arguments.
pub(crate) fn callee_of(instruction: &Instruction) -> Option<(&Operand, Option<&str>)> {
    let mut rest = instruction.operands.iter().filter(|operand| !matches!(operand, Operand::List(_)));
    let callee = rest.next()?;
    let through = match rest.next() {
        Some(Operand::Name(name)) => Some(name.as_str()),
        _ => None,
    };
    Some((callee, through))
}

/// Functions that modules declare and the driver gives. A call of one is a fault where it is reached: a module whose
/// failing assertion or whose message is never reached runs.
const RUNTIME: [&str; 8] =
    ["vprintf", "__assertfail", "malloc", "free", "cudaMalloc", "cudaFree", "cudaGetDevice", "cudaDeviceSynchronize"];

/// The function of the driver that an instruction calls by name, if it is one.
pub(crate) fn runtime_function<'m>(module: &Module, instruction: &'m Instruction) -> Option<&'m str> {
    match callee_of(instruction)? {
        (Operand::Name(name), None) if function_named(module, name).is_none() => {
            RUNTIME.contains(&name.as_str()).then_some(name)
        }
        _ => None,
    }
}

/// Functions that a call may go to.
pub(crate) fn targets(module: &Module, body: &Body, instruction: &Instruction) -> Result<Vec<usize>, String> {
    let missing = |name: &str| format!("calls {name}, which is not a function with a body");
    match callee_of(instruction) {
        Some((Operand::Name(name), None)) => Ok(vec![function_named(module, name).ok_or_else(|| missing(name))?]),
        Some((Operand::Register(_), Some(through))) => {
            if let Some((_, names)) = body.call_targets.iter().find(|(list, _)| list == through) {
                return names.iter().map(|name| function_named(module, name).ok_or_else(|| missing(name))).collect();
            }
            let prototype = body.prototypes.iter().find(|prototype| prototype.name == through);
            let prototype = prototype.ok_or_else(|| format!("{through} is neither a prototype nor a list"))?;
            let fits = |function: &&usize| {
                let function = &module.functions[**function];
                agree(&function.params, &prototype.params) && agree(&function.returns, &prototype.returns)
            };
            Ok(taken(module).iter().filter(fits).copied().collect())
        }
        _ => Err("a call names a function, or a register with a prototype or a list of targets".into()),
    }
}

fn agree(one: &[Variable], other: &[Variable]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(a, b)| a.bytes() == b.bytes() && a.is_register == b.is_register)
}

/// Functions whose address is used as a value.
fn taken(module: &Module) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut note = |name: &str| found.extend(function_named(module, name));
    for body in module.functions.iter().filter_map(|function: &Function| function.body.as_ref()) {
        for instruction in body.code.iter().filter(|i| i.opcode != "call") {
            for operand in &instruction.operands {
                if let Operand::Name(name) = operand {
                    note(name);
                }
            }
        }
    }
    for variable in &module.variables {
        for address in &variable.addresses {
            note(&address.symbol);
        }
    }
    found
}
