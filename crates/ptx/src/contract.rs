//! The contract that stands above each kernel in its source: `//@` lines, read from the text as it was written,
//! before the C preprocessor.
//!
//! ```text
//! //@ kernel  put_signal
//! //@ args    arg_dst     w   sys  align 16  bytes arg_bytes     peer window
//! //@         arg_src     r   gpu  align 16  bytes arg_bytes
//! //@         arg_bytes   value u64
//! //@ needs   arg_bytes % 16 == 0; src and dst do not overlap
//! //@ launch  threads 32..=1024 multiple of 32; 1 block
//! //@ order   payload weak; bar.sync; thread 0 releases [signal] at sys
//! //@ waits   never
//! //@ target  PTX 8.0, sm_80
//! //@ budget  sm_90: 18 registers, 0 spills
//! ```
//!
//! Grammar:
//! - A line is `//@ KEY VALUE`. Keys are `kernel variants args needs launch order waits target budget`. `kernel`
//!   comes first and starts a contract; each other key stands at most once in it.
//! - A `//@` line whose first word is no key continues the key of the line right above it. A misspelt key therefore
//!   reads as a continuation; it shows as a missing key, or, under `args`, as a name without `arg_`.
//! - `variants` lists instantiations: `NAME: DEFINE[=VALUE] ..; NAME: ..`. Without the key there is one, named
//!   like the kernel.
//! - `args` has one parameter a line, in the order of the entry. A pointer is
//!   `arg_name r|w|rw gpu|sys|host align N [bytes EXPR] [text]`: how the kernel accesses it, who else may, the
//!   alignment and the size. `EXPR` ends at two blanks, a tab or the end of the line. A scalar is
//!   `arg_name value TYPE [text]`.
//! - `launch` begins with `threads A..=B multiple of M` or `threads N`; what follows is for readers.
//! - `needs`, `launch` and `order` must be there. The other keys are free text for readers.
//!
//! [`check_contract`] compares a contract with an entry. It does not look into the code: whether the kernel keeps its
//! promises is for the emulator to find out.

use crate::ast::{Function, Type};
use std::fmt;

/// What one kernel promises and asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contract {
    /// Kernel described.
    pub kernel: String,
    /// Instantiations; never empty.
    pub variants: Vec<ContractVariant>,
    /// Parameters in order.
    pub args: Vec<ContractArg>,
    /// What the caller must see to.
    pub needs: String,
    /// How it is launched, as written.
    pub launch: String,
    /// Threads of a block, from the start of `launch`.
    pub threads: Option<Threads>,
    /// How its memory accesses are ordered.
    pub order: String,
    /// What it waits for.
    pub waits: String,
    /// Lowest PTX version and target, as written.
    pub target: String,
    /// Registers and spills, as written.
    pub budget: String,
    /// Line of `//@ kernel`, from 1.
    pub line: u32,
}

/// One instantiation of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractVariant {
    /// Symbol of the entry.
    pub name: String,
    /// Preprocessor definitions, name and value.
    pub defines: Vec<(String, String)>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractArg {
    /// Name, `arg_` included.
    pub name: String,
    /// Pointer or scalar.
    pub kind: ArgKind,
    /// Free text after it.
    pub text: String,
    /// Line in the source, from 1.
    pub line: u32,
}

/// What a parameter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgKind {
    /// An address.
    Pointer {
        /// What the kernel does there.
        access: Access,
        /// Who else accesses it while the kernel runs.
        sharing: Sharing,
        /// Alignment in bytes.
        align: u32,
        /// Size in bytes, an expression over other parameters.
        bytes: Option<String>,
    },
    /// A number.
    Value(Type),
}

/// How a kernel accesses what a pointer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `r`
    Read,
    /// `w`
    Write,
    /// `rw`
    ReadWrite,
}

/// Who else accesses the memory while the kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// `gpu`: only this device.
    Gpu,
    /// `sys`: peers or a NIC too.
    Sys,
    /// `host`: host memory, the host too.
    Host,
}

/// Sizes of a block that a kernel can be launched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// Fewest threads.
    pub least: u32,
    /// Most threads.
    pub most: u32,
    /// The number of threads is a multiple of this.
    pub multiple: u32,
}

/// What is wrong with a contract, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractError {
    /// Line in the source, from 1.
    pub line: u32,
    /// Kernel whose contract it is; empty before the first `//@ kernel`.
    pub kernel: String,
    /// What is wrong.
    pub problem: ContractProblem,
}

/// Kinds of [`ContractError`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContractProblem {
    /// A line before any `//@ kernel`, or a continuation of nothing.
    NoKernel {
        /// The line's text.
        text: String,
    },
    /// A key stands twice.
    Twice {
        /// The key.
        key: String,
    },
    /// A required key is missing or empty.
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A line that does not follow its key's grammar.
    Malformed {
        /// The line's text.
        text: String,
        /// What is valid.
        valid: &'static str,
    },
    /// The entry is neither the kernel nor one of its variants.
    WrongEntry {
        /// Name of the entry.
        entry: String,
    },
    /// The entry has a parameter that `args` does not name.
    MissingArg {
        /// The parameter.
        param: String,
    },
    /// `args` names something that is not a parameter of the entry.
    UnknownArg {
        /// The name.
        arg: String,
    },
    /// The names agree and their order does not.
    WrongOrder {
        /// Index from 0.
        index: usize,
        /// Name in `args`.
        arg: String,
        /// Name in the entry.
        param: String,
    },
    /// The entry's parameter has another type.
    WrongType {
        /// The parameter.
        arg: String,
        /// Its type in the entry.
        declared: String,
        /// Its type by the contract.
        expected: String,
    },
    /// `.ptr` of the entry promises another alignment than the contract.
    WrongAlignment {
        /// The parameter.
        arg: String,
        /// Bytes in the entry.
        declared: u32,
        /// Bytes in the contract.
        expected: u32,
    },
    /// The entry has neither `.maxntid` nor `.reqntid`.
    UnboundedThreads,
    /// `.maxntid` or `.reqntid` does not agree with `launch`.
    WrongThreads {
        /// Threads by the entry's directive.
        declared: u64,
        /// Most threads by `launch`.
        expected: u32,
    },
}

const KEYS: [&str; 9] = ["kernel", "variants", "args", "needs", "launch", "order", "waits", "target", "budget"];

const VALID_KERNEL: &str = "`//@ kernel NAME`";
const VALID_VARIANT: &str = "`NAME: DEFINE[=VALUE] ..; NAME: ..`";
const VALID_ARG: &str =
    "`arg_name r|w|rw gpu|sys|host align N [bytes EXPR] [text]` or `arg_name value TYPE [text]`, N a power of two";
const VALID_LAUNCH: &str =
    "`threads A..=B multiple of M` or `threads N` at the start, with 0 < A <= B <= 1024, both multiples of M";

/// Most threads of a block on every device.
const MAX_THREADS: u32 = 1024;

/// Reads every contract of a source.
///
/// # Errors
/// The first line that does not follow the grammar, or the first contract that lacks a key.
pub fn contracts(text: &str) -> Result<Vec<Contract>, ContractError> {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        let line_number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        match line.trim_start().strip_prefix("//@") {
            Some(rest) => reader.line(rest.trim(), line_number)?,
            None => reader.key = None,
        }
    }
    reader.finish()?;
    Ok(reader.done)
}

/// Compares a contract with one of its entries.
///
/// # Errors
/// Everything that does not agree.
pub fn check_contract(contract: &Contract, entry: &Function) -> Result<(), Vec<ContractError>> {
    let mut found = Vec::new();
    let mut report = |line: u32, problem| {
        found.push(ContractError { line, kernel: contract.kernel.clone(), problem });
    };
    if contract.kernel != entry.name && contract.variants.iter().all(|variant| variant.name != entry.name) {
        report(contract.line, ContractProblem::WrongEntry { entry: entry.name.clone() });
    }
    check_names(contract, entry, &mut report);
    for arg in &contract.args {
        check_type(arg, entry, &mut report);
    }
    check_threads(contract, entry, &mut report);
    if found.is_empty() {
        Ok(())
    } else {
        Err(found)
    }
}

fn check_names(contract: &Contract, entry: &Function, report: &mut impl FnMut(u32, ContractProblem)) {
    let mut names_agree = contract.args.len() == entry.params.len();
    for param in &entry.params {
        if contract.args.iter().all(|arg| arg.name != param.name) {
            names_agree = false;
            report(contract.line, ContractProblem::MissingArg { param: param.name.clone() });
        }
    }
    for arg in &contract.args {
        if entry.params.iter().all(|param| param.name != arg.name) {
            names_agree = false;
            report(arg.line, ContractProblem::UnknownArg { arg: arg.name.clone() });
        }
    }
    if !names_agree {
        return;
    }
    for (index, (arg, param)) in contract.args.iter().zip(&entry.params).enumerate() {
        if arg.name != param.name {
            let problem = ContractProblem::WrongOrder { index, arg: arg.name.clone(), param: param.name.clone() };
            report(arg.line, problem);
            return;
        }
    }
}

fn check_type(arg: &ContractArg, entry: &Function, report: &mut impl FnMut(u32, ContractProblem)) {
    let Some(param) = entry.params.iter().find(|param| param.name == arg.name) else {
        return;
    };
    let expected = match arg.kind {
        ArgKind::Pointer { .. } => Type::U64,
        ArgKind::Value(ty) => ty,
    };
    if param.ty != expected || param.is_array {
        let brackets = if param.is_array { "[]" } else { "" };
        let problem = ContractProblem::WrongType {
            arg: arg.name.clone(),
            declared: format!(".{}{brackets}", param.ty.name()),
            expected: format!(".{}", expected.name()),
        };
        report(arg.line, problem);
    }
    if let (ArgKind::Pointer { align, .. }, Some(pointer)) = (&arg.kind, param.pointer) {
        if pointer.align != *align {
            let problem =
                ContractProblem::WrongAlignment { arg: arg.name.clone(), declared: pointer.align, expected: *align };
            report(arg.line, problem);
        }
    }
}

fn check_threads(contract: &Contract, entry: &Function, report: &mut impl FnMut(u32, ContractProblem)) {
    let product = |sizes: [u32; 3]| sizes.iter().fold(1u64, |product, size| product.saturating_mul(u64::from(*size)));
    let Some(threads) = contract.threads else {
        return;
    };
    let (declared, is_exact) = match (entry.required_threads, entry.max_threads) {
        (Some(sizes), _) => (product(sizes), true),
        (None, Some(sizes)) => (product(sizes), false),
        (None, None) => return report(contract.line, ContractProblem::UnboundedThreads),
    };
    if declared != u64::from(threads.most) || (is_exact && threads.least != threads.most) {
        report(contract.line, ContractProblem::WrongThreads { declared, expected: threads.most });
    }
}

#[derive(Default)]
struct Reader {
    done: Vec<Contract>,
    /// The contract being read.
    open: Option<Contract>,
    /// Key that the next line may continue.
    key: Option<&'static str>,
    /// Keys of the open contract so far.
    seen: Vec<&'static str>,
}

impl Reader {
    fn error(&self, line: u32, problem: ContractProblem) -> ContractError {
        ContractError { line, kernel: self.open.as_ref().map_or(String::new(), |c| c.kernel.clone()), problem }
    }

    fn line(&mut self, text: &str, line: u32) -> Result<(), ContractError> {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let Some(key) = KEYS.iter().find(|key| **key == word).copied() else {
            let Some(key) = self.key else {
                return Err(self.error(line, ContractProblem::NoKernel { text: text.to_string() }));
            };
            return self.value(key, text, line);
        };
        if key == "kernel" {
            self.finish()?;
            return self.start(rest.trim(), line);
        }
        if self.open.is_none() {
            return Err(self.error(line, ContractProblem::NoKernel { text: text.to_string() }));
        }
        if self.seen.contains(&key) {
            return Err(self.error(line, ContractProblem::Twice { key: key.to_string() }));
        }
        self.seen.push(key);
        self.key = Some(key);
        self.value(key, rest.trim(), line)
    }

    fn start(&mut self, name: &str, line: u32) -> Result<(), ContractError> {
        if !is_name(name) {
            let problem = ContractProblem::Malformed { text: format!("kernel {name}"), valid: VALID_KERNEL };
            return Err(ContractError { line, kernel: String::new(), problem });
        }
        self.open = Some(Contract { kernel: name.to_string(), line, ..Contract::default() });
        self.seen.clear();
        // A kernel's name is one word: nothing continues it.
        self.key = None;
        Ok(())
    }

    /// One line's worth of a key's value.
    fn value(&mut self, key: &'static str, text: &str, line: u32) -> Result<(), ContractError> {
        if text.is_empty() {
            return Ok(());
        }
        let malformed = |valid| ContractProblem::Malformed { text: text.to_string(), valid };
        let twice = |arg: &str| ContractProblem::Twice { key: arg.to_string() };
        let Some(contract) = self.open.as_mut() else {
            return Err(self.error(line, ContractProblem::NoKernel { text: text.to_string() }));
        };
        let free = match key {
            "variants" => {
                let Some(variants) = variants(text) else {
                    return Err(self.error(line, malformed(VALID_VARIANT)));
                };
                contract.variants.extend(variants);
                return Ok(());
            }
            "args" => {
                let Some(arg) = arg(text, line) else {
                    return Err(self.error(line, malformed(VALID_ARG)));
                };
                if contract.args.iter().any(|known| known.name == arg.name) {
                    let problem = twice(&arg.name);
                    return Err(self.error(line, problem));
                }
                contract.args.push(arg);
                return Ok(());
            }
            "launch" => {
                if contract.launch.is_empty() {
                    let Some(found) = threads(text) else {
                        return Err(self.error(line, malformed(VALID_LAUNCH)));
                    };
                    contract.threads = Some(found);
                }
                &mut contract.launch
            }
            "needs" => &mut contract.needs,
            "order" => &mut contract.order,
            "waits" => &mut contract.waits,
            "target" => &mut contract.target,
            _ => &mut contract.budget,
        };
        if !free.is_empty() {
            free.push('\n');
        }
        free.push_str(text);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ContractError> {
        let Some(contract) = &mut self.open else {
            return Ok(());
        };
        if contract.variants.is_empty() {
            contract.variants.push(ContractVariant { name: contract.kernel.clone(), defines: Vec::new() });
        }
        let required = [("needs", &contract.needs), ("launch", &contract.launch), ("order", &contract.order)];
        let missing = required.iter().find(|(_, value)| value.is_empty()).map(|(key, _)| *key);
        let line = contract.line;
        if let Some(key) = missing {
            return Err(self.error(line, ContractProblem::Missing { key }));
        }
        self.done.extend(self.open.take());
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn variants(text: &str) -> Option<Vec<ContractVariant>> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(variant).collect()
}

fn variant(part: &str) -> Option<ContractVariant> {
    let (name, defines) = part.split_once(':').unwrap_or((part, ""));
    let name = name.trim();
    if !is_name(name) {
        return None;
    }
    let define = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, "1"));
        is_name(name).then(|| (name.to_string(), value.to_string()))
    };
    let defines = defines.split_whitespace().map(define).collect::<Option<_>>()?;
    Some(ContractVariant { name: name.to_string(), defines })
}

/// The next word and what follows it, blanks removed.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn arg(text: &str, line: u32) -> Option<ContractArg> {
    let (name, rest) = word(text);
    if !name.starts_with("arg_") || !is_name(name) {
        return None;
    }
    let (first, rest) = word(rest);
    if first == "value" {
        let (ty, rest) = word(rest);
        let kind = ArgKind::Value(Type::parse(ty)?);
        return Some(ContractArg { name: name.to_string(), kind, text: rest.to_string(), line });
    }
    let access = match first {
        "r" => Access::Read,
        "w" => Access::Write,
        "rw" => Access::ReadWrite,
        _ => return None,
    };
    let (sharing, rest) = word(rest);
    let sharing = match sharing {
        "gpu" => Sharing::Gpu,
        "sys" => Sharing::Sys,
        "host" => Sharing::Host,
        _ => return None,
    };
    let (align_key, rest) = word(rest);
    let (align, rest) = word(rest);
    let align = align.parse::<u32>().ok().filter(|align| align_key == "align" && align.is_power_of_two())?;
    let (bytes, rest) = match word(rest) {
        ("bytes", rest) => {
            let end = rest.find("  ").into_iter().chain(rest.find('\t')).min().unwrap_or(rest.len());
            let (expression, rest) = rest.split_at(end);
            if expression.is_empty() {
                return None;
            }
            (Some(expression.to_string()), rest.trim_start())
        }
        _ => (None, rest),
    };
    let kind = ArgKind::Pointer { access, sharing, align, bytes };
    Some(ContractArg { name: name.to_string(), kind, text: rest.to_string(), line })
}

fn threads(text: &str) -> Option<Threads> {
    let rest = text.strip_prefix("threads")?.trim_start();
    let head = rest.split([';', ',']).next().unwrap_or("");
    let mut words = head.split_whitespace();
    let range = words.next()?;
    let (least, most) = range.split_once("..=").unwrap_or((range, range));
    let multiple = match (words.next(), words.next(), words.next()) {
        (Some("multiple"), Some("of"), Some(multiple)) => multiple.parse().ok()?,
        _ => 1,
    };
    let threads = Threads { least: least.parse().ok()?, most: most.parse().ok()?, multiple };
    let fits = |count: u32| count > 0 && count <= MAX_THREADS && count.checked_rem(multiple) == Some(0);
    let is_sound = threads.least <= threads.most && fits(threads.least) && fits(threads.most);
    is_sound.then_some(threads)
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.kernel.is_empty() {
            write!(f, "contract of `{}`: ", self.kernel)?;
        }
        match &self.problem {
            ContractProblem::NoKernel { text } => {
                write!(f, "`//@ {text}` belongs to no key and no kernel; a contract starts with {VALID_KERNEL}")
            }
            ContractProblem::Twice { key } => write!(f, "`{key}` stands twice"),
            ContractProblem::Missing { key } => write!(f, "`//@ {key}` is missing"),
            ContractProblem::Malformed { text, valid } => write!(f, "`{text}` is not valid here; valid is {valid}"),
            ContractProblem::WrongEntry { entry } => {
                write!(f, "entry `{entry}` is neither the kernel nor one of its variants")
            }
            ContractProblem::MissingArg { param } => write!(f, "parameter `{param}` of the entry is not in `args`"),
            ContractProblem::UnknownArg { arg } => write!(f, "`{arg}` is not a parameter of the entry"),
            ContractProblem::WrongOrder { index, arg, param } => {
                write!(f, "parameter {index} is `{param}` in the entry and `{arg}` in `args`")
            }
            ContractProblem::WrongType { arg, declared, expected } => {
                write!(f, "`{arg}` is {declared} in the entry and {expected} by the contract")
            }
            ContractProblem::WrongAlignment { arg, declared, expected } => {
                write!(f, "`{arg}` is aligned to {declared} in the entry and to {expected} by the contract")
            }
            ContractProblem::UnboundedThreads => write!(f, "the entry has neither `.maxntid` nor `.reqntid`"),
            ContractProblem::WrongThreads { declared, expected } => {
                write!(f, "the entry is declared for {declared} threads and `launch` says {expected}")
            }
        }
    }
}

impl std::error::Error for ContractError {}
