//! Raw statements to a flat body: every register, variable and label gets a number, names are looked up from the
//! innermost scope outwards.

use crate::ast::{
    AddressBase, Body, Guard, Instruction, Label, LabelId, Operand, Register, RegisterId, Space, Type, Variable,
    VariableRef,
};
use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::lexer::Token;
use crate::raw::{Name, RawInstruction, RawOperand, RawRegister, Statement};
use crate::special;
use std::collections::{HashMap, HashSet};

/// Most registers in one module, so that `.reg .b32 r<1000000000>` is an error and not a wait.
pub(crate) const MAX_REGISTERS: usize = 1 << 18;

/// What a module-scope name is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Global {
    Variable(u32),
    Function,
}

#[derive(Debug, Clone)]
enum Symbol {
    Register(RegisterId),
    /// First component and width of a vector register.
    VectorRegister(u32, u32),
    Variable(VariableRef),
    Label(LabelId),
    /// A target list or a prototype, by its unique name.
    List(String),
}

type Scope = HashMap<String, Symbol>;

/// Block of a register whose braces are still open.
const OPEN: std::ops::Range<usize> = 0..usize::MAX;

pub(crate) struct Resolver<'r, 't, 'a> {
    pub cursor: &'r Cursor<'t, 'a>,
    pub globals: &'r HashMap<String, Global>,
    pub module_variables: &'r [Variable],
    /// Registers of the module's earlier functions.
    pub registers_before: usize,
}

/// Parameters of the function, with their names' tokens.
pub(crate) struct Signature<'s, 'a> {
    pub returns: &'s [(Name<'a>, Variable)],
    pub params: &'s [(Name<'a>, Variable)],
}

impl<'r, 't, 'a> Resolver<'r, 't, 'a> {
    /// The body, and its variables in global and constant memory: they become the module's next ones.
    pub fn resolve(
        &self,
        signature: &Signature<'_, 'a>,
        statements: &[Statement<'a>],
    ) -> Result<(Body, Hoisted<'a>), ParseError> {
        let mut state = State {
            resolver: self,
            body: Body::default(),
            hoisted: Vec::new(),
            scopes: Vec::new(),
            blocks: Vec::new(),
            lists: HashSet::new(),
            signature,
        };
        let mut labelled = state.label_scopes(statements)?;
        labelled.reverse();
        for statement in statements {
            if matches!(statement, Statement::Open) {
                let scope = labelled.pop().expect("label_scopes gives one scope for each opening brace");
                state.scopes.push(scope);
                state.blocks.push((state.body.code.len(), state.body.registers.len()));
                if state.scopes.len() == 1 {
                    state.declare_signature()?;
                }
            } else {
                state.statement(statement)?;
            }
        }
        Ok((state.body, state.hoisted))
    }
}

/// Variables of a function that live as long as the module.
type Hoisted<'a> = Vec<(Name<'a>, Variable)>;

struct State<'r, 't, 'a, 's> {
    resolver: &'r Resolver<'r, 't, 'a>,
    body: Body,
    hoisted: Hoisted<'a>,
    scopes: Vec<Scope>,
    /// Of each open brace the first instruction and the first register behind it.
    blocks: Vec<(usize, usize)>,
    /// Names of target lists and prototypes given so far.
    lists: HashSet<String>,
    signature: &'s Signature<'s, 'a>,
}

impl<'a> State<'_, '_, 'a, '_> {
    fn error(&self, token: Token<'a>, message: impl Into<String>) -> ParseError {
        self.resolver.cursor.error_at(token, message)
    }

    /// Labels may be used before they stand, so they are entered first: one map for each opening brace.
    fn label_scopes(&mut self, statements: &[Statement<'a>]) -> Result<Vec<Scope>, ParseError> {
        let mut scopes: Vec<Scope> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for statement in statements {
            let name = match statement {
                Statement::Open => {
                    open.push(scopes.len());
                    scopes.push(Scope::new());
                    continue;
                }
                Statement::Close => {
                    open.pop();
                    continue;
                }
                Statement::Label(name) => name,
                _ => continue,
            };
            let symbol = Symbol::Label(LabelId(self.body.labels.len() as u32));
            self.body.labels.push(Label { name: name.text.to_string(), at: 0 });
            let scope = open.last().map(|&index| &mut scopes[index]);
            let scope = scope.expect("a body's statements stand between its braces");
            if scope.insert(name.text.to_string(), symbol).is_some() {
                return Err(self.error(name.token, format!("`{}` is declared twice in this scope", name.text)));
            }
        }
        Ok(scopes)
    }

    fn declare_signature(&mut self) -> Result<(), ParseError> {
        let signature = self.signature;
        for (index, (name, variable)) in signature.returns.iter().enumerate() {
            let register = self.declare_parameter(name, variable, VariableRef::Return(index as u32))?;
            self.body.return_registers.push(register);
        }
        for (index, (name, variable)) in signature.params.iter().enumerate() {
            let register = self.declare_parameter(name, variable, VariableRef::Param(index as u32))?;
            self.body.param_registers.push(register);
        }
        Ok(())
    }

    fn declare_parameter(
        &mut self,
        name: &Name<'a>,
        variable: &Variable,
        reference: VariableRef,
    ) -> Result<Option<RegisterId>, ParseError> {
        if !variable.is_register {
            self.declare(name.token, name.text.to_string(), Symbol::Variable(reference))?;
            return Ok(None);
        }
        let id = self.new_register(name.token, variable.name.clone(), variable.ty)?;
        match variable.name.strip_prefix(name.text) {
            None | Some("") => self.declare(name.token, name.text.to_string(), Symbol::Register(id))?,
            // The components of a vector follow each other.
            Some(".x") => self.declare(name.token, name.text.to_string(), Symbol::VectorRegister(id.0, 1))?,
            Some(_) => {
                let scope = self.scopes.last_mut().and_then(|scope| scope.get_mut(name.text));
                if let Some(Symbol::VectorRegister(_, width)) = scope {
                    *width += 1;
                }
            }
        }
        Ok(Some(id))
    }

    fn declare(&mut self, token: Token<'a>, name: String, symbol: Symbol) -> Result<(), ParseError> {
        let scope = self.scopes.last_mut().expect("declarations stand inside the body's braces");
        if scope.contains_key(&name) {
            return Err(self.error(token, format!("`{name}` is declared twice in this scope")));
        }
        scope.insert(name, symbol);
        Ok(())
    }

    fn new_register(&mut self, token: Token<'a>, name: String, ty: Type) -> Result<RegisterId, ParseError> {
        let id = self.body.registers.len();
        if self.resolver.registers_before + id >= MAX_REGISTERS {
            return Err(self.error(token, format!("the module has more than {MAX_REGISTERS} registers")));
        }
        self.body.registers.push(Register { name, ty, block: OPEN });
        Ok(RegisterId(id as u32))
    }

    fn statement(&mut self, statement: &Statement<'a>) -> Result<(), ParseError> {
        match statement {
            Statement::Open => {}
            Statement::Close => {
                self.scopes.pop();
                self.close_block();
            }
            Statement::Register(register) => self.registers(register)?,
            Statement::Variable(name, variable) if matches!(variable.space, Space::Global | Space::Const) => {
                let index = self.resolver.module_variables.len() + self.hoisted.len();
                self.declare(name.token, name.text.to_string(), Symbol::Variable(VariableRef::Module(index as u32)))?;
                self.hoisted.push((*name, variable.clone()));
            }
            Statement::Variable(name, variable) => {
                let id = VariableRef::Local(self.body.variables.len() as u32);
                self.declare(name.token, name.text.to_string(), Symbol::Variable(id))?;
                self.body.variables.push(variable.clone());
            }
            Statement::Label(name) => {
                let Some(Symbol::Label(id)) = self.find(name.text) else {
                    return Err(self.error(name.token, format!("`{}` is declared twice", name.text)));
                };
                let id = id.0 as usize;
                self.body.labels[id].at = self.body.code.len();
            }
            Statement::Instruction(raw) => {
                let instruction = self.instruction(raw)?;
                self.body.code.push(instruction);
            }
            Statement::BranchTargets(name, targets) => {
                let labels = targets.iter().map(|target| self.label(target)).collect::<Result<_, _>>()?;
                let list = self.declare_list(name)?;
                self.body.branch_targets.push((list, labels));
            }
            Statement::CallTargets(name, targets) => {
                let targets = targets.iter().map(|target| self.function(target)).collect::<Result<_, _>>()?;
                let list = self.declare_list(name)?;
                self.body.call_targets.push((list, targets));
            }
            Statement::Prototype(name, prototype) => {
                let list = self.declare_list(name)?;
                self.body.prototypes.push(crate::ast::Prototype { name: list, ..prototype.clone() });
            }
            Statement::Pragma(text) => self.body.pragmas.push((self.body.code.len(), text.clone())),
        }
        Ok(())
    }

    /// Registers that the innermost braces declare have their block; those of braces within have theirs already.
    fn close_block(&mut self) {
        let Some((first, register)) = self.blocks.pop() else { return };
        let end = self.body.code.len();
        for register in self.body.registers[register..].iter_mut().filter(|register| register.block == OPEN) {
            register.block = first..end;
        }
    }

    fn registers(&mut self, register: &RawRegister<'a>) -> Result<(), ParseError> {
        let token = register.name.token;
        let names: Box<dyn Iterator<Item = String>> = match register.count {
            None => Box::new(std::iter::once(register.name.text.to_string())),
            Some(count) => Box::new((0..count).map(|index| format!("{}{index}", register.name.text))),
        };
        for name in names {
            if register.width == 1 {
                let id = self.new_register(token, name.clone(), register.ty)?;
                self.declare(token, name, Symbol::Register(id))?;
                continue;
            }
            let first = self.body.registers.len() as u32;
            for component in ["x", "y", "z", "w"].iter().take(register.width as usize) {
                self.new_register(token, format!("{name}.{component}"), register.ty)?;
            }
            self.declare(token, name, Symbol::VectorRegister(first, register.width))?;
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<Symbol> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name).cloned())
    }

    fn declare_list(&mut self, name: &Name<'a>) -> Result<String, ParseError> {
        let list = unique(&mut self.lists, name.text);
        self.declare(name.token, name.text.to_string(), Symbol::List(list.clone()))?;
        Ok(list)
    }

    fn label(&self, name: &Name<'a>) -> Result<LabelId, ParseError> {
        match self.find(name.text) {
            Some(Symbol::Label(id)) => Ok(id),
            Some(_) => Err(self.error(name.token, format!("`{}` is not a label", name.text))),
            None => Err(self.error(name.token, format!("label `{}` is missing", name.text))),
        }
    }

    fn function(&self, name: &Name<'a>) -> Result<String, ParseError> {
        match self.resolver.globals.get(name.text) {
            Some(Global::Function) => Ok(name.text.to_string()),
            _ => Err(self.error(name.token, format!("function `{}` is not declared", name.text))),
        }
    }

    fn register(&self, name: &Name<'a>) -> Result<RegisterId, ParseError> {
        match self.find(name.text) {
            Some(Symbol::Register(id)) => Ok(id),
            Some(_) => Err(self.error(name.token, format!("`{}` is not a register", name.text))),
            None => Err(self.error(name.token, format!("register `{}` is not declared", name.text))),
        }
    }

    fn instruction(&self, raw: &RawInstruction<'a>) -> Result<Instruction, ParseError> {
        let guard = match &raw.guard {
            None => None,
            Some((name, negated)) => {
                let register = self.register(name)?;
                if self.body.registers[register.0 as usize].ty != Type::Pred {
                    return Err(self.error(name.token, format!("guard `{}` is not a predicate", name.text)));
                }
                Some(Guard { register, negated: *negated })
            }
        };
        // A branch's only name is a label, so say so when it is missing.
        if let ("bra", [RawOperand::Name(name)]) = (raw.opcode, &raw.operands[..]) {
            self.label(name)?;
        }
        let is_move = matches!(raw.opcode, "mov" | "cvta");
        // `ld.global.b32 {r}, [a]`: braces around the one register of a scalar access mean nothing.
        let is_scalar = matches!(raw.opcode, "ld" | "ldu" | "st" | "mov")
            && !raw.modifiers.iter().any(|modifier| matches!(*modifier, "v2" | "v4" | "v8"));
        let unwrapped = |operand: &RawOperand<'a>| match operand {
            RawOperand::Vector(elements) if is_scalar && elements.len() == 1 => self.operand(&elements[0], is_move),
            operand => self.operand(operand, is_move),
        };
        Ok(Instruction {
            position: raw.token.position,
            guard,
            opcode: raw.opcode.to_string(),
            modifiers: raw.modifiers.iter().map(|modifier| modifier.to_string()).collect(),
            operands: raw.operands.iter().map(unwrapped).collect::<Result<_, _>>()?,
        })
    }

    fn operands(&self, raw: &[RawOperand<'a>], is_move: bool) -> Result<Vec<Operand>, ParseError> {
        raw.iter().map(|operand| self.operand(operand, is_move)).collect()
    }

    fn operand(&self, raw: &RawOperand<'a>, is_move: bool) -> Result<Operand, ParseError> {
        Ok(match raw {
            RawOperand::Name(name) => self.name(name)?,
            RawOperand::Component(name, component) => self.component(name, component)?,
            RawOperand::Negated(name, selector) => {
                let register = self.register(name)?;
                if !selector.is_empty() && !is_selector(selector) {
                    let message = format!("`.{selector}` selects no bytes or halves of `{}`", name.text);
                    return Err(self.error(name.token, message));
                }
                Operand::Part { register, selector: selector.to_string(), negated: true }
            }
            RawOperand::Not(name) => Operand::NotRegister(self.register(name)?),
            RawOperand::Offset(name, offset) => Operand::Variable(self.variable(name)?, *offset),
            RawOperand::Indexed(name, index) => {
                let variable = self.variable(name)?;
                let bytes = i64::from(self.declaration(variable).ty.bytes());
                let Some(offset) = index.checked_mul(bytes) else {
                    return Err(self.error(name.token, format!("index {index} is too large")));
                };
                if is_move {
                    Operand::Variable(variable, offset)
                } else {
                    Operand::Address(AddressBase::Variable(variable), offset)
                }
            }
            RawOperand::Integer(value) => Operand::Integer(*value),
            RawOperand::Float(literal) => Operand::Float(*literal),
            RawOperand::Address(name, offset) => Operand::Address(self.base(name)?, *offset),
            RawOperand::Absolute(offset) => Operand::Address(AddressBase::Absolute, *offset),
            RawOperand::Tuple(elements) => Operand::TensorAddress(self.operands(elements, is_move)?),
            RawOperand::Vector(elements) => Operand::Vector(self.operands(elements, is_move)?),
            RawOperand::List(elements) => {
                // A vector register is an argument for each of its components.
                let flat = |operand| match operand {
                    Operand::Vector(components) => components,
                    single => vec![single],
                };
                Operand::List(self.operands(elements, is_move)?.into_iter().flat_map(flat).collect())
            }
            RawOperand::Pair(first, second) => {
                Operand::Pair(Box::new(self.operand(first, is_move)?), Box::new(self.operand(second, is_move)?))
            }
            RawOperand::Sink => Operand::Sink,
        })
    }

    fn name(&self, name: &Name<'a>) -> Result<Operand, ParseError> {
        if let Some(symbol) = self.find(name.text) {
            return Ok(match symbol {
                Symbol::Register(id) => Operand::Register(id),
                Symbol::VectorRegister(first, width) => {
                    Operand::Vector((first..first + width).map(|id| Operand::Register(RegisterId(id))).collect())
                }
                Symbol::Variable(reference) => Operand::Variable(reference, 0),
                Symbol::Label(id) => Operand::Label(id),
                Symbol::List(list) => Operand::Name(list),
            });
        }
        match self.resolver.globals.get(name.text) {
            Some(Global::Variable(index)) => return Ok(Operand::Variable(VariableRef::Module(*index), 0)),
            Some(Global::Function) => return Ok(Operand::Name(name.text.to_string())),
            None => {}
        }
        match name.text.strip_prefix('%') {
            Some(special) if special::is_special_register(special) => Ok(Operand::Special(special.to_string())),
            Some(_) => Err(self
                .error(name.token, format!("`{}` is neither a declared register nor a special register", name.text))),
            None => Err(self.error(name.token, format!("`{}` is not declared", name.text))),
        }
    }

    fn component(&self, name: &Name<'a>, component: &str) -> Result<Operand, ParseError> {
        if let Some(symbol) = self.find(name.text) {
            if let (Symbol::Register(register), true) = (&symbol, is_selector(component)) {
                let selector = component.to_string();
                return Ok(Operand::Part { register: *register, selector, negated: false });
            }
            let Symbol::VectorRegister(first, width) = symbol else {
                return Err(self.error(name.token, format!("`{}` is not a vector register", name.text)));
            };
            let index = match component {
                "x" | "r" => 0,
                "y" | "g" => 1,
                "z" | "b" => 2,
                "w" | "a" => 3,
                _ => u32::MAX,
            };
            if index >= width {
                let message = format!("`{}` has {width} components; `.{component}` is not one", name.text);
                return Err(self.error(name.token, message));
            }
            return Ok(Operand::Register(RegisterId(first + index)));
        }
        // The components have the names of colours too.
        let component = match component {
            "r" => "x",
            "g" => "y",
            "b" => "z",
            "a" => "w",
            other => other,
        };
        let special = name.text.strip_prefix('%').map(|vector| format!("{vector}.{component}"));
        match special {
            Some(special) if special::is_special_register(&special) => Ok(Operand::Special(special)),
            _ => Err(self.error(name.token, format!("`{}.{component}` is not declared", name.text))),
        }
    }

    fn variable(&self, name: &Name<'a>) -> Result<VariableRef, ParseError> {
        match self.find(name.text) {
            Some(Symbol::Variable(reference)) => return Ok(reference),
            Some(_) => return Err(self.error(name.token, format!("`{}` is not a variable", name.text))),
            None => {}
        }
        match self.resolver.globals.get(name.text) {
            Some(Global::Variable(index)) => Ok(VariableRef::Module(*index)),
            Some(Global::Function) => Err(self.error(name.token, format!("`{}` is not a variable", name.text))),
            None => Err(self.error(name.token, format!("variable `{}` is not declared", name.text))),
        }
    }

    fn base(&self, name: &Name<'a>) -> Result<AddressBase, ParseError> {
        match self.find(name.text) {
            Some(Symbol::Register(id)) => Ok(AddressBase::Register(id)),
            Some(Symbol::Variable(reference)) => Ok(AddressBase::Variable(reference)),
            Some(_) => Err(self.error(name.token, format!("`{}` cannot be an address", name.text))),
            None => match self.resolver.globals.get(name.text) {
                Some(Global::Variable(index)) => Ok(AddressBase::Variable(VariableRef::Module(*index))),
                Some(Global::Function) => Err(self.error(name.token, format!("`{}` cannot be an address", name.text))),
                None => Err(self.error(name.token, format!("`{}` is not declared", name.text))),
            },
        }
    }

    fn declaration(&self, reference: VariableRef) -> &Variable {
        match reference {
            VariableRef::Module(index) => {
                let (index, before) = (index as usize, self.resolver.module_variables.len());
                match index.checked_sub(before) {
                    None => &self.resolver.module_variables[index],
                    Some(hoisted) => &self.hoisted[hoisted].1,
                }
            }
            VariableRef::Local(index) => &self.body.variables[index as usize],
            VariableRef::Param(index) => &self.signature.params[index as usize].1,
            VariableRef::Return(index) => &self.signature.returns[index as usize].1,
        }
    }
}

/// What video instructions select of a register: `b0`, `h1`, `h32`, `b7654`.
fn is_selector(text: &str) -> bool {
    let (kind, digits) = text.split_at(text.len().min(1));
    let most = match kind {
        "b" => b'7',
        "h" => b'3',
        _ => return false,
    };
    (1..=4).contains(&digits.len()) && digits.bytes().all(|digit| (b'0'..=most).contains(&digit))
}

/// `name`, or `name$2`, `name$3` .. when taken.
fn unique(taken: &mut HashSet<String>, name: &str) -> String {
    let mut candidate = name.to_string();
    let mut number = 1u32;
    while !taken.insert(candidate.clone()) {
        number += 1;
        candidate = format!("{name}${number}");
    }
    candidate
}
