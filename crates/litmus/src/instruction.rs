//! Instructions: the cells of a test's rows.

use std::collections::HashMap;

use crate::ast::{Access, Binary, Compare, Instruction, Operand, Order, Proxy, ProxyFence, Scope, Thread, Update};
use crate::error::Error;
use crate::lexer::Token;
use crate::parse::{is_register, Names, Tokens};

/// A thread while its column is read.
pub(crate) struct Column {
    pub(crate) thread: Thread,
    labels: HashMap<String, usize>,
    /// Branches whose label may come later: instruction, label, line.
    open: Vec<(usize, String, usize)>,
}

impl Column {
    pub(crate) fn new(thread: Thread) -> Self {
        Self { thread, labels: HashMap::new(), open: Vec::new() }
    }

    /// The register of this name, new ones with the value 0.
    pub(crate) fn register(&mut self, name: &str) -> usize {
        if let Some(register) = self.thread.registers.iter().position(|register| register == name) {
            return register;
        }
        self.thread.registers.push(name.to_string());
        self.thread.initial.push(0);
        self.thread.registers.len() - 1
    }

    /// Resolves the labels.
    pub(crate) fn finish(mut self) -> Result<Thread, (usize, String)> {
        for (at, label, line) in self.open {
            let Some(&place) = self.labels.get(&label) else {
                return Err((line, format!("P{} has no label `{label}`", self.thread.id)));
            };
            match &mut self.thread.instructions[at] {
                Instruction::Branch { target, .. } | Instruction::Jump { target } => *target = place,
                _ => unreachable!("only branches have labels"),
            }
        }
        Ok(self.thread)
    }

    fn push(&mut self, instruction: Instruction, line: usize) {
        self.thread.instructions.push(instruction);
        self.thread.lines.push(line);
    }
}

/// Reads one cell up to its `|` or `;`.
pub(crate) fn cell(tokens: &mut Tokens<'_>, names: &mut Names, column: &mut Column) -> Result<(), Error> {
    while !matches!(tokens.peek(), Some(Token::Sign("|" | ";")) | None) {
        let line = tokens.line();
        let word = tokens.word("an instruction or a label")?;
        if tokens.take(":") {
            let here = column.thread.instructions.len();
            if column.labels.insert(word.clone(), here).is_some() {
                return Err(tokens.error_at(line, format!("label `{word}` is there twice")));
            }
            continue;
        }
        let mut reader = Reader { tokens, names, column, line };
        reader.instruction(&word)?;
        if !matches!(tokens.peek(), Some(Token::Sign("|" | ";"))) {
            return Err(tokens.error(format!("`{word}` has more operands than it takes, or `;` is missing")));
        }
    }
    Ok(())
}

pub(crate) struct Reader<'a, 'b> {
    pub(crate) tokens: &'a mut Tokens<'b>,
    pub(crate) names: &'a mut Names,
    pub(crate) column: &'a mut Column,
    line: usize,
}

/// Qualifiers of an instruction, in any order.
#[derive(Default)]
pub(crate) struct Qualifiers {
    pub(crate) order: Option<Order>,
    pub(crate) scope: Option<Scope>,
    operation: Option<&'static str>,
}

const OPERATIONS: [&str; 14] =
    ["add", "plus", "sub", "minus", "mul", "div", "and", "or", "xor", "min", "max", "exch", "cas", "inc"];

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "add" | "plus" => Binary::Add,
        "sub" | "minus" => Binary::Sub,
        "mul" => Binary::Mul,
        "div" => Binary::Div,
        "and" => Binary::And,
        "or" => Binary::Or,
        "xor" => Binary::Xor,
        "min" => Binary::Min,
        "max" => Binary::Max,
        "exch" => Binary::Second,
        _ => return None,
    })
}

impl Reader<'_, '_> {
    pub(crate) fn refuse<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(self.tokens.error_at(self.line, message.into()))
    }

    fn instruction(&mut self, word: &str) -> Result<(), Error> {
        let mut parts = word.split('.');
        let mnemonic = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        let instruction = match mnemonic {
            "ld" | "tld" | "suld" | "cold" => self.load(mnemonic, &rest)?,
            "st" | "sust" => self.store(mnemonic, &rest)?,
            "atom" | "suatom" | "red" | "sured" => self.atomic(mnemonic, &rest)?,
            "fence" if rest.first() == Some(&"proxy") => self.proxy_fence(&rest[1..])?,
            "fence" if rest.first() == Some(&"mbarrier_init") => self.mbarrier_fence(&rest)?,
            "cp" => self.copy(&rest)?,
            "mbarrier" => self.on_mbarrier(&rest)?,
            "nic" => self.post(&rest)?,
            "fence" => self.fence(&rest)?,
            "membar" => self.membar(&rest)?,
            "bar" | "barrier" => self.barrier(&rest)?,
            "mov" if rest.is_empty() => self.compute(Binary::Second)?,
            "add" | "sub" | "mul" | "div" | "and" | "or" | "xor" | "min" | "max" if rest.is_empty() => {
                self.compute(binary(mnemonic).unwrap_or(Binary::Second))?
            }
            "beq" | "bne" | "blt" | "ble" | "bgt" | "bge" if rest.is_empty() => self.branch(mnemonic)?,
            "goto" | "bra" if rest.is_empty() => {
                self.label()?;
                Instruction::Jump { target: 0 }
            }
            _ => {
                return self.refuse(format!(
                    "`{word}` is not supported: ld, st, atom, red, their tex/surf/const forms (tld suld cold sust \
                     suatom sured), fence, membar, bar.cta, bar.warp.sync, cp.async.bulk, mbarrier, nic, mov, \
                     add sub mul div and or xor min max, beq bne blt ble bgt bge, goto"
                ))
            }
        };
        self.column.push(instruction, self.line);
        Ok(())
    }

    pub(crate) fn qualifiers(&self, mnemonic: &str, rest: &[&str]) -> Result<Qualifiers, Error> {
        let mut found = Qualifiers::default();
        let twice = |it: bool, part: &str| {
            if it {
                self.refuse(format!("`.{part}` is one qualifier too many"))
            } else {
                Ok(())
            }
        };
        let mut mmio = false;
        for part in rest {
            let order = match *part {
                "weak" => Some(Order::Weak),
                "relaxed" | "volatile" => Some(Order::Relaxed),
                "acquire" => Some(Order::Acquire),
                "release" => Some(Order::Release),
                "acq_rel" => Some(Order::AcquireRelease),
                "sc" => Some(Order::SequentiallyConsistent),
                _ => None,
            };
            let scope = match *part {
                "cta" => Some(Scope::Cta),
                "cluster" => Some(Scope::Cluster),
                "gpu" => Some(Scope::Gpu),
                "sys" | "volatile" => Some(Scope::Sys),
                _ => None,
            };
            let operation = OPERATIONS.iter().find(|name| *name == part);
            twice(order.is_some() && found.order.is_some(), part)?;
            twice(scope.is_some() && found.scope.is_some(), part)?;
            twice(operation.is_some() && found.operation.is_some(), part)?;
            found.order = found.order.or(order);
            found.scope = found.scope.or(scope);
            found.operation = found.operation.or(operation.copied());
            mmio |= *part == "mmio";
            if order.is_none()
                && scope.is_none()
                && operation.is_none()
                && !matches!(*part, "mmio" | "global" | "shared" | "shared::cta")
            {
                return self.refuse(format!("`.{part}` is not supported on `{mnemonic}`"));
            }
        }
        if mmio && (found.order, found.scope) != (Some(Order::Relaxed), Some(Scope::Sys)) {
            return self.refuse("`.mmio` comes with `.relaxed.sys`");
        }
        Ok(found)
    }

    /// Order, scope and proxy; `orders` are those that the instruction has.
    pub(crate) fn access(&self, mnemonic: &str, found: &Qualifiers, orders: &[Order]) -> Result<Access, Error> {
        let atomic = mnemonic.contains("atom") || mnemonic.ends_with("red");
        let order = found.order.unwrap_or(if atomic { Order::Relaxed } else { Order::Weak });
        if !orders.contains(&order) {
            return self.refuse(format!("`{mnemonic}` has no order {order:?}"));
        }
        let scope = match (order, found.scope) {
            (Order::Weak, Some(_)) => return self.refuse("a weak operation has no scope"),
            (Order::Weak, None) => Scope::Cta,
            (_, Some(scope)) => scope,
            (_, None) if atomic => Scope::Gpu,
            (_, None) => return self.refuse(format!("`{mnemonic}` needs a scope: .cta, .cluster, .gpu or .sys")),
        };
        let proxy = match mnemonic {
            "tld" => Proxy::Texture,
            "cold" => Proxy::Constant,
            _ if mnemonic.starts_with("su") => Proxy::Surface,
            _ => Proxy::Generic,
        };
        Ok(Access { order, scope, proxy })
    }

    fn load(&mut self, mnemonic: &str, rest: &[&str]) -> Result<Instruction, Error> {
        let found = self.qualifiers(mnemonic, rest)?;
        if found.operation.is_some() {
            return self.refuse("a load has no operation");
        }
        let access = self.access(mnemonic, &found, &[Order::Weak, Order::Relaxed, Order::Acquire])?;
        let into = self.destination()?;
        // `ld r0, 1` sets a register in older tests.
        if self.at_value() {
            let b = self.operand()?;
            return Ok(Instruction::Compute { into, operation: Binary::Second, a: Operand::Constant(0), b });
        }
        let location = self.location()?;
        Ok(Instruction::Load { into, location, access })
    }

    fn store(&mut self, mnemonic: &str, rest: &[&str]) -> Result<Instruction, Error> {
        let found = self.qualifiers(mnemonic, rest)?;
        if found.operation.is_some() {
            return self.refuse("a store has no operation");
        }
        let access = self.access(mnemonic, &found, &[Order::Weak, Order::Relaxed, Order::Release])?;
        let location = self.location()?;
        self.tokens.expect(",")?;
        let value = self.operand()?;
        Ok(Instruction::Store { location, value, access })
    }

    fn atomic(&mut self, mnemonic: &str, rest: &[&str]) -> Result<Instruction, Error> {
        let found = self.qualifiers(mnemonic, rest)?;
        let orders = [Order::Relaxed, Order::Acquire, Order::Release, Order::AcquireRelease];
        let access = self.access(mnemonic, &found, &orders)?;
        let Some(operation) = found.operation else {
            return self.refuse(format!("`{mnemonic}` needs an operation: add, exch, cas ..."));
        };
        let into = if mnemonic.ends_with("red") { None } else { Some(self.destination()?) };
        let location = self.location()?;
        self.tokens.expect(",")?;
        let first = self.operand()?;
        let update = match binary(operation) {
            Some(operation) => Update::Apply(operation, first),
            None if operation == "cas" => {
                self.tokens.expect(",")?;
                Update::CompareAndSwap { expected: first, replacement: self.operand()? }
            }
            None => return self.refuse(format!("the atomic operation `{operation}` is not supported")),
        };
        Ok(Instruction::Atomic { into, location, update, access })
    }

    fn fence(&mut self, rest: &[&str]) -> Result<Instruction, Error> {
        if rest.iter().any(|part| part.contains("sync_restrict")) {
            return self.refuse("fences of one address space are not supported");
        }
        let found = self.qualifiers("fence", rest)?;
        let order = found.order.unwrap_or(Order::AcquireRelease);
        if matches!(order, Order::Weak | Order::Relaxed) || found.operation.is_some() {
            return self.refuse("a fence is .sc, .acq_rel, .acquire or .release");
        }
        let Some(scope) = found.scope else {
            return self.refuse("a fence needs a scope: .cta, .cluster, .gpu or .sys");
        };
        Ok(Instruction::Fence { order, scope })
    }

    fn membar(&mut self, rest: &[&str]) -> Result<Instruction, Error> {
        let scope = match rest {
            ["cta"] => Scope::Cta,
            ["gl"] => Scope::Gpu,
            ["sys"] => Scope::Sys,
            _ => return self.refuse("a membar is .cta, .gl or .sys"),
        };
        Ok(Instruction::Fence { order: Order::SequentiallyConsistent, scope })
    }

    fn proxy_fence(&mut self, rest: &[&str]) -> Result<Instruction, Error> {
        Ok(Instruction::FenceProxy(match rest {
            ["alias"] => ProxyFence::Alias,
            ["generic"] => ProxyFence::Proxy(Proxy::Generic),
            ["texture"] => ProxyFence::Proxy(Proxy::Texture),
            ["surface"] => ProxyFence::Proxy(Proxy::Surface),
            ["constant"] => ProxyFence::Proxy(Proxy::Constant),
            ["async"] => ProxyFence::Async { global: true, shared: true },
            ["async", "global"] => ProxyFence::Async { global: true, shared: false },
            ["async", "shared::cta" | "shared::cluster"] => ProxyFence::Async { global: false, shared: true },
            _ => {
                let message = format!(
                    "fence.proxy.{} is not supported: alias, generic, texture, surface, constant, async, \
                     async.global, async.shared::cta",
                    rest.join(".")
                );
                return self.refuse(message);
            }
        }))
    }

    fn barrier(&mut self, rest: &[&str]) -> Result<Instruction, Error> {
        if rest == ["warp", "sync"] {
            return self.warp_barrier();
        }
        let rest: Vec<&str> = rest.iter().copied().filter(|part| !matches!(*part, "cta" | "aligned")).collect();
        let waits =
            match rest.as_slice() {
                ["sync"] => true,
                ["arrive"] => false,
                _ => return self.refuse(
                    "a barrier is bar.cta.sync, bar.cta.arrive or bar.warp.sync; clusters and red are not supported",
                ),
            };
        let id = self.operand()?;
        let resource = if self.tokens.take(",") { Some(self.operand()?) } else { None };
        let quorum = if self.tokens.take(",") { Some(self.operand()?) } else { None };
        Ok(Instruction::Barrier { warp: false, waits, id, resource, quorum })
    }

    fn warp_barrier(&mut self) -> Result<Instruction, Error> {
        if self.column.thread.place.warp.is_none() {
            return self.refuse("`bar.warp.sync` needs a thread in a warp: `P0@warp 0,cta 0,gpu 0`");
        }
        let id = self.operand()?;
        Ok(Instruction::Barrier { warp: true, waits: true, id, resource: None, quorum: None })
    }

    fn compute(&mut self, operation: Binary) -> Result<Instruction, Error> {
        let into = self.destination()?;
        let a = if operation == Binary::Second { Operand::Constant(0) } else { self.operand()? };
        if operation != Binary::Second {
            self.tokens.expect(",")?;
        }
        let b = self.operand()?;
        Ok(Instruction::Compute { into, operation, a, b })
    }

    fn branch(&mut self, mnemonic: &str) -> Result<Instruction, Error> {
        let compare = match mnemonic {
            "beq" => Compare::Equal,
            "bne" => Compare::NotEqual,
            "blt" => Compare::Less,
            "ble" => Compare::LessOrEqual,
            "bgt" => Compare::Greater,
            _ => Compare::GreaterOrEqual,
        };
        let a = self.operand()?;
        self.tokens.expect(",")?;
        let b = self.operand()?;
        self.tokens.expect(",")?;
        self.label()?;
        Ok(Instruction::Branch { compare, a, b, target: 0 })
    }

    fn label(&mut self) -> Result<(), Error> {
        let label = self.tokens.word("a label")?;
        self.column.open.push((self.column.thread.instructions.len(), label, self.line));
        Ok(())
    }

    /// A register and its comma.
    pub(crate) fn destination(&mut self) -> Result<usize, Error> {
        let name = self.tokens.word("a register")?;
        if !is_register(&name) && !self.column.thread.registers.contains(&name) {
            return self.refuse(format!("`{name}` is not a register: r0, r1 ... or one with an initial value"));
        }
        self.tokens.expect(",")?;
        Ok(self.column.register(&name))
    }

    fn at_value(&self) -> bool {
        match self.tokens.peek() {
            Some(Token::Number(_)) => true,
            Some(Token::Word(word)) => is_register(word) || self.column.thread.registers.contains(word),
            _ => false,
        }
    }

    pub(crate) fn operand(&mut self) -> Result<Operand, Error> {
        if let Some(Token::Number(number)) = self.tokens.peek() {
            let number = *number;
            self.tokens.skip();
            return Ok(Operand::Constant(number));
        }
        let name = self.tokens.word("a number or a register")?;
        if !is_register(&name) && !self.column.thread.registers.contains(&name) {
            return self.refuse(format!("`{name}` is neither a number nor a register"));
        }
        Ok(Operand::Register(self.column.register(&name)))
    }

    pub(crate) fn location(&mut self) -> Result<usize, Error> {
        let bracket = self.tokens.take("[");
        let name = self.tokens.word("a location")?;
        if is_register(&name) || self.column.thread.registers.contains(&name) {
            return self.refuse(format!("`{name}` is a register: addresses in registers are not supported"));
        }
        if bracket {
            self.tokens.expect("]")?;
        }
        Ok(self.names.location(&name))
    }
}
