//! Holds the instructions of a module against the table.

use super::operand::{Context, Kind, OperandPattern};
use super::pattern::{self, Furthest};
use super::rows::MODIFIER_MINIMUMS;
use super::{table, Bindings, Compiled, Row};
use crate::ast::{Body, Function, Instruction, Module, Operand};
use std::fmt;

/// Something in a module that the table does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Source file.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Function it stands in.
    pub function: String,
    /// Opcode and modifiers as written.
    pub instruction: String,
    /// What is wrong.
    pub problem: Problem,
}

/// Kinds of [`Diagnostic`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The table has no such opcode.
    UnknownOpcode,
    /// A modifier does not fit where it stands.
    Modifier {
        /// The modifier; `None` where the instruction ends too early.
        found: Option<String>,
        /// What is valid there; empty where the instruction should have ended.
        expected: Vec<&'static str>,
    },
    /// Too few or too many operands.
    OperandCount {
        /// Operands found.
        found: usize,
        /// Operands accepted: fewest and most.
        expected: (usize, usize),
    },
    /// An operand of the wrong kind or type.
    Operand {
        /// Index from 0.
        index: usize,
        /// What is valid there.
        expected: String,
    },
    /// A call that does not agree with what it calls.
    Call {
        /// What does not agree.
        reason: String,
    },
    /// The instruction is newer than the module's `.version`.
    Version {
        /// Lowest version.
        need: (u32, u32),
        /// Version of the module.
        have: (u32, u32),
    },
    /// The instruction needs a newer or another `.target`.
    Target {
        /// Lowest target, such as 90.
        need: u32,
        /// A suffix such as the `a` of `sm_90a` is needed.
        needs_suffix: bool,
        /// Targets of the module.
        have: Vec<String>,
    },
}

/// Checks every instruction of a module; an empty list means that all are in the table.
pub fn check(module: &Module) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for function in &module.functions {
        let Some(body) = &function.body else {
            continue;
        };
        for instruction in &body.code {
            if let Err(problem) = check_instruction(module, function, body, instruction) {
                found.push(Diagnostic {
                    file: module.file(instruction.position).to_string(),
                    line: instruction.position.line,
                    function: function.name.clone(),
                    instruction: instruction.mnemonic(),
                    problem,
                });
            }
        }
    }
    found
}

/// The failure that came furthest, to be reported when no row fits.
struct Best {
    rank: usize,
    problem: Option<Problem>,
}

impl Best {
    fn offer(&mut self, rank: usize, problem: Problem) {
        if self.problem.is_none() || rank > self.rank {
            self.rank = rank;
            self.problem = Some(problem);
        }
    }
}

/// Ranks of failures: modifiers, then the number of operands, then operands by index, then version and target.
const RANK_COUNT: usize = 1;
const RANK_OPERAND: usize = 2;
const RANK_MINIMUM: usize = 1 << 16;

fn check_instruction(
    module: &Module,
    function: &Function,
    body: &Body,
    instruction: &Instruction,
) -> Result<(), Problem> {
    let Some(rows) = table().get(instruction.opcode.as_str()) else {
        return Err(Problem::UnknownOpcode);
    };
    let mut furthest = Furthest::default();
    let mut best = Best { rank: 0, problem: None };
    for compiled in rows {
        let Some(bindings) = pattern::matches(&compiled.syntax, &instruction.modifiers, &mut furthest) else {
            continue;
        };
        let context = Context { module, function, body, bindings };
        if let Err((rank, problem)) = check_operands(compiled, &context, &instruction.operands) {
            best.offer(rank, problem);
            continue;
        }
        match check_minimums(module, compiled.row, instruction) {
            Ok(()) => return Ok(()),
            Err(problem) => best.offer(RANK_MINIMUM, problem),
        }
    }
    Err(best.problem.unwrap_or_else(|| modifier_problem(&furthest, instruction)))
}

fn modifier_problem(furthest: &Furthest, instruction: &Instruction) -> Problem {
    let found = instruction.modifiers.get(furthest.at).cloned();
    Problem::Modifier { found, expected: furthest.expected.clone() }
}

fn check_minimums(module: &Module, row: &Row, instruction: &Instruction) -> Result<(), Problem> {
    let (mut version, mut sm) = (row.version, row.sm);
    for (modifier, least_version, least_sm) in MODIFIER_MINIMUMS {
        if instruction.has(modifier) {
            version = version.max(*least_version);
            sm = sm.max(*least_sm);
        }
    }
    if module.version < version {
        return Err(Problem::Version { need: version, have: module.version });
    }
    let fits = |target: &String| {
        let Some(name) = target.strip_prefix("sm_") else {
            return true;
        };
        let number = name.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let has_suffix = number.len() < name.len();
        number.parse::<u32>().is_ok_and(|number| number >= sm) && (has_suffix || !row.needs_suffix)
    };
    if module.targets.iter().all(fits) {
        return Ok(());
    }
    Err(Problem::Target { need: sm, needs_suffix: row.needs_suffix, have: module.targets.clone() })
}

/// The operands that the bindings call for, in order.
pub(super) fn present<'p>(
    patterns: &'p [OperandPattern],
    bindings: &'p Bindings,
) -> impl Iterator<Item = &'p OperandPattern> {
    patterns.iter().filter(|pattern| pattern.when.is_none_or(|letter| bindings.of(letter).is_some()))
}

fn check_operands(compiled: &Compiled, context: &Context<'_>, operands: &[Operand]) -> Result<(), (usize, Problem)> {
    if matches!(compiled.operands.as_slice(), [OperandPattern { kind: Kind::Call, .. }]) {
        return check_call(context, operands).map_err(|reason| (RANK_OPERAND, Problem::Call { reason }));
    }
    let patterns: Vec<&OperandPattern> = present(&compiled.operands, &context.bindings).collect();
    let least = patterns.iter().filter(|pattern| !pattern.is_optional).count();
    if operands.len() < least || operands.len() > patterns.len() {
        let expected = (least, patterns.len());
        return Err((RANK_COUNT, Problem::OperandCount { found: operands.len(), expected }));
    }
    // Optional operands are given up from the first one on, as many as are missing.
    let mut missing = patterns.len() - operands.len();
    let mut rest = operands.iter().enumerate();
    for pattern in patterns {
        if pattern.is_optional && missing > 0 {
            missing -= 1;
            continue;
        }
        let Some((index, operand)) = rest.next() else {
            break;
        };
        if let Some(expected) = context.refuses(pattern, operand) {
            return Err((RANK_OPERAND + index, Problem::Operand { index, expected }));
        }
    }
    Ok(())
}

/// `call (returns), callee, (arguments), prototype`, all but the callee optional.
fn check_call(context: &Context<'_>, operands: &[Operand]) -> Result<(), String> {
    let mut rest = operands.iter().peekable();
    let mut list = |wanted: bool| match rest.peek() {
        Some(Operand::List(elements)) if wanted => {
            rest.next();
            Some(elements.as_slice())
        }
        _ => None,
    };
    let returns = list(true).unwrap_or(&[]);
    let Some(callee) = rest.next() else {
        return Err("the callee is missing".to_string());
    };
    let mut arguments: &[Operand] = &[];
    if let Some(Operand::List(elements)) = rest.peek() {
        arguments = elements;
        rest.next();
    }
    let through = rest.next();
    if rest.next().is_some() {
        return Err("more operands than returns, callee, arguments and prototype".to_string());
    }
    let (returned, taken) = match (callee, through) {
        (Operand::Name(name), None) => match context.module.function(name) {
            Some(function) => (&function.returns, &function.params),
            None => return Err(format!("`{name}` is not a function")),
        },
        (Operand::Register(_), Some(Operand::Name(name))) => {
            match context.body.prototypes.iter().find(|prototype| prototype.name == *name) {
                Some(prototype) => (&prototype.returns, &prototype.params),
                None if context.body.call_targets.iter().any(|(list, _)| list == name) => return Ok(()),
                None => return Err(format!("`{name}` is neither a prototype nor a list of call targets")),
            }
        }
        (Operand::Register(_), _) => return Err("an indirect call names its prototype or targets".to_string()),
        _ => return Err("the callee is a function or a register".to_string()),
    };
    for (what, given, formal) in [("returns", returns, returned), ("arguments", arguments, taken)] {
        if given.len() != formal.len() {
            return Err(format!("{} {what} given, {} declared", given.len(), formal.len()));
        }
        for (operand, formal) in given.iter().zip(formal) {
            let Operand::Variable(reference, _) = operand else {
                continue;
            };
            let agrees = context
                .variable(*reference)
                .is_some_and(|variable| variable.bytes() == formal.bytes() && variable.is_array == formal.is_array);
            if !agrees {
                return Err(format!("`{}` of the {what} has another size", formal.name));
            }
        }
    }
    Ok(())
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}` in `{}`: ", self.file, self.line, self.instruction, self.function)?;
        match &self.problem {
            Problem::UnknownOpcode => write!(f, "this opcode is not in the instruction table"),
            Problem::Modifier { found, expected } => {
                match found {
                    Some(found) => write!(f, "`.{found}` does not fit here")?,
                    None => write!(f, "a modifier is missing at the end")?,
                }
                if expected.is_empty() {
                    return write!(f, "; no modifier does");
                }
                let list: Vec<String> = expected.iter().map(|word| format!(".{word}")).collect();
                write!(f, "; valid is {}", list.join(" "))
            }
            Problem::OperandCount { found, expected: (least, most) } if least == most => {
                write!(f, "{found} operands; it takes {least}")
            }
            Problem::OperandCount { found, expected: (least, most) } => {
                write!(f, "{found} operands; it takes {least} to {most}")
            }
            Problem::Operand { index, expected } => write!(f, "operand {} must be {expected}", index + 1),
            Problem::Call { reason } => write!(f, "{reason}"),
            Problem::Version { need, have } => {
                write!(f, "needs .version {}.{}; the module has {}.{}", need.0, need.1, have.0, have.1)
            }
            Problem::Target { need, needs_suffix, have } => {
                let suffix = if *needs_suffix { " with a suffix such as `a`" } else { "" };
                write!(f, "needs .target sm_{need}{suffix} or later; the module has {}", have.join(", "))
            }
        }
    }
}

impl std::error::Error for Diagnostic {}
