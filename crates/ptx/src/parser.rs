//! Module scope: header directives, variables, functions.

use crate::ast::{Function, Module, Variable};
use crate::body;
use crate::cursor::Cursor;
use crate::declaration::{self, Linkage};
use crate::error::ParseError;
use crate::lexer::{self, Kind};
use crate::raw::Name;
use crate::resolve::{Global, Resolver, Signature};
use std::collections::HashMap;

/// Parses a module. `name` is the file name used in positions until a line marker names another.
///
/// # Errors
/// The first thing in `text` that is not PTX, with its place. Instructions are not looked at beyond their syntax
/// and names: [`crate::check`] does that.
pub fn parse(name: &str, text: &str) -> Result<Module, ParseError> {
    let lexed = lexer::lex(name, text)?;
    let cursor = Cursor::new(&lexed.tokens, text, &lexed.files);
    let mut parser = Parser { cursor, module: Module::default(), globals: HashMap::new(), registers: 0 };
    parser.header()?;
    while parser.cursor.kind() != Kind::End {
        parser.item()?;
    }
    let mut module = parser.module;
    module.files = lexed.files;
    Ok(module)
}

struct Parser<'t, 'a> {
    cursor: Cursor<'t, 'a>,
    module: Module,
    globals: HashMap<String, Global>,
    /// Registers of all functions so far.
    registers: usize,
}

impl<'a> Parser<'_, 'a> {
    /// `.version 8.2 .target sm_90 .address_size 64`
    fn header(&mut self) -> Result<(), ParseError> {
        let cursor = &mut self.cursor;
        if !cursor.eat_dot("version") {
            return Err(cursor.expected("`.version` at the start of the module"));
        }
        self.module.version = version(cursor)?;
        if !cursor.eat_dot("target") {
            return Err(cursor.expected("`.target` after `.version`"));
        }
        loop {
            self.module.targets.push(cursor.word("a target such as `sm_90`")?.to_string());
            if !cursor.eat_mark(",") {
                break;
            }
        }
        // The manual says 32 when it is left out; ptxas takes 64 for every target we know.
        self.module.address_size = 64;
        if cursor.eat_dot("address_size") {
            let token = cursor.token();
            let bits = cursor.small("address size")?;
            if bits != 32 && bits != 64 {
                return Err(cursor.error_at(token, format!("address size {bits}; it is 32 or 64")));
            }
            self.module.address_size = bits;
        }
        Ok(())
    }

    fn item(&mut self) -> Result<(), ParseError> {
        let linkage = self.linkage()?;
        let start = self.cursor.token();
        let Kind::Dot(word) = start.kind else {
            return Err(self.cursor.expected("a directive at module scope"));
        };
        self.cursor.advance();
        if let Some(space) = declaration::space(word) {
            if space == crate::ast::Space::Param {
                return Err(self.cursor.error_at(start, "`.param` variables belong in functions"));
            }
            for (name, variable) in declaration::variables(&mut self.cursor, space, linkage)? {
                self.variable(name, variable)?;
            }
            return Ok(());
        }
        match word {
            "entry" | "func" => self.function(word == "entry", linkage),
            _ if linkage != Linkage::default() => {
                Err(self.cursor.error_at(start, format!("`.{word}` takes no linkage directive")))
            }
            "pragma" => {
                self.module.pragmas.extend(body::pragma(&mut self.cursor)?);
                Ok(())
            }
            "file" => self.skip_file(),
            "loc" => body::skip_loc(&mut self.cursor),
            "section" => self.skip_section(),
            "alias" => self.alias(),
            "reg" => Err(self.cursor.error_at(start, "registers are declared in functions")),
            "version" | "target" | "address_size" => {
                Err(self.cursor.error_at(start, format!("`.{word}` stands once, at the start of the module")))
            }
            _ => Err(self.cursor.error_at(start, format!("unknown directive `.{word}` at module scope"))),
        }
    }

    fn linkage(&mut self) -> Result<Linkage, ParseError> {
        let mut linkage = Linkage::default();
        while let Kind::Dot(word) = self.cursor.kind() {
            let flag = match word {
                "extern" => &mut linkage.is_extern,
                "visible" => &mut linkage.is_visible,
                "weak" => &mut linkage.is_weak,
                "common" => &mut linkage.is_common,
                _ => break,
            };
            *flag = true;
            self.cursor.advance();
            if [linkage.is_extern, linkage.is_visible, linkage.is_weak, linkage.is_common]
                .iter()
                .filter(|f| **f)
                .count()
                > 1
            {
                return Err(self.cursor.error("a declaration has at most one linkage directive"));
            }
        }
        Ok(linkage)
    }

    fn variable(&mut self, name: Name<'a>, variable: Variable) -> Result<(), ParseError> {
        self.initial_addresses(name, &variable)?;
        let known = match self.globals.get(name.text) {
            None => None,
            Some(Global::Variable(index)) => Some(*index as usize),
            Some(Global::Function) => return Err(self.twice(name)),
        };
        if let Some(index) = known {
            // `.extern` first and the definition later is one variable.
            let before = &mut self.module.variables[index];
            let is_linked = variable.is_extern || variable.is_visible || variable.is_weak || variable.is_common;
            let agrees = before.space == variable.space && before.ty == variable.ty && is_linked;
            if !agrees || !(before.is_extern || variable.is_extern) {
                return Err(self.twice(name));
            }
            if before.is_extern {
                *before = variable;
            }
            return Ok(());
        }
        self.globals.insert(name.text.to_string(), Global::Variable(self.module.variables.len() as u32));
        self.module.variables.push(variable);
        Ok(())
    }

    /// Initial addresses are of what was declared before, in global or constant memory.
    fn initial_addresses(&self, name: Name<'a>, variable: &Variable) -> Result<(), ParseError> {
        for address in &variable.addresses {
            let fits = match self.globals.get(&address.symbol) {
                Some(Global::Function) => true,
                Some(Global::Variable(index)) => {
                    let found = &self.module.variables[*index as usize];
                    if let Some(kind) = found.opaque {
                        let message = format!("the handle of `.{kind} {}` cannot be an initial value", found.name);
                        return Err(self.cursor.error_at(name.token, message));
                    }
                    matches!(found.space, crate::ast::Space::Global | crate::ast::Space::Const)
                }
                None => false,
            };
            if !fits {
                let message =
                    format!("`{}` is no variable in global or constant memory, nor a function", address.symbol);
                return Err(self.cursor.error_at(name.token, message));
            }
        }
        Ok(())
    }

    fn twice(&self, name: Name<'a>) -> ParseError {
        self.cursor.error_at(name.token, format!("`{}` is declared twice in the module", name.text))
    }

    /// After `.file`: `1 "kernel.cu" [, 123, 456]`.
    fn skip_file(&mut self) -> Result<(), ParseError> {
        self.cursor.small("file index")?;
        self.cursor.text("a file name")?;
        while self.cursor.eat_mark(",") {
            let Kind::Integer(..) = self.cursor.kind() else {
                return Err(self.cursor.expected("a timestamp or a size"));
            };
            self.cursor.advance();
        }
        Ok(())
    }

    /// After `.section`: a name and a block in braces, which holds debug data only.
    fn skip_section(&mut self) -> Result<(), ParseError> {
        let start = self.cursor.token();
        while !self.cursor.eat_mark("{") {
            if self.cursor.kind() == Kind::End {
                return Err(self.cursor.error_at(start, "section without a block"));
            }
            self.cursor.advance();
        }
        while !self.cursor.eat_mark("}") {
            if self.cursor.kind() == Kind::End {
                return Err(self.cursor.error_at(start, "this section is never closed"));
            }
            self.cursor.advance();
        }
        Ok(())
    }

    /// After `.alias`: `new, existing;`.
    fn alias(&mut self) -> Result<(), ParseError> {
        let token = self.cursor.token();
        let text = self.cursor.word("a function name")?;
        self.cursor.mark(",")?;
        let target_token = self.cursor.token();
        let target = self.cursor.word("a function name")?;
        self.cursor.mark(";")?;
        for (name, place) in [(text, token), (target, target_token)] {
            if !matches!(self.globals.get(name), Some(Global::Function)) {
                return Err(self.cursor.error_at(place, format!("function `{name}` is not declared")));
            }
        }
        self.module.aliases.push((text.to_string(), target.to_string()));
        Ok(())
    }

    fn function(&mut self, is_entry: bool, linkage: Linkage) -> Result<(), ParseError> {
        let returns =
            if !is_entry && self.cursor.is_mark("(") { body::parameters(&mut self.cursor)? } else { Vec::new() };
        let token = self.cursor.token();
        let text = self.cursor.word("a function name")?;
        let params = if self.cursor.is_mark("(") { body::parameters(&mut self.cursor)? } else { Vec::new() };
        if is_entry {
            if let Some((name, _)) = params.iter().find(|(_, variable)| variable.is_register) {
                return Err(self.cursor.error_at(name.token, "the parameters of an entry are `.param`"));
            }
        }
        let only = |list: &[(Name<'a>, Variable)]| list.iter().map(|(_, variable)| variable.clone()).collect();
        let mut function = Function {
            name: text.to_string(),
            is_entry,
            is_visible: linkage.is_visible,
            is_extern: linkage.is_extern,
            is_weak: linkage.is_weak,
            is_noreturn: false,
            returns: only(&returns),
            params: only(&params),
            max_threads: None,
            required_threads: None,
            min_ctas_per_sm: None,
            max_registers: None,
            required_cluster: None,
            max_cluster_rank: None,
            is_explicit_cluster: false,
            pragmas: Vec::new(),
            body: None,
            position: token.position,
        };
        self.directives(&mut function)?;
        if function.max_threads.is_some() && function.required_threads.is_some() {
            return Err(self.cursor.error_at(token, format!("`{text}` has both `.maxntid` and `.reqntid`")));
        }
        self.declare_function(Name { text, token }, &function)?;
        if !self.cursor.eat_mark(";") {
            if !self.cursor.is_mark("{") {
                return Err(self.cursor.expected("a function directive, `{` or `;`"));
            }
            let statements = body::body(&mut self.cursor)?;
            let resolver = Resolver {
                cursor: &self.cursor,
                globals: &self.globals,
                module_variables: &self.module.variables,
                registers_before: self.registers,
            };
            let signature = Signature { returns: &returns, params: &params };
            let (body, variables) = resolver.resolve(&signature, &statements)?;
            for (name, variable) in &variables {
                self.initial_addresses(*name, variable)?;
            }
            self.module.variables.extend(variables.into_iter().map(|(_, variable)| variable));
            self.registers += body.registers.len();
            function.body = Some(body);
        }
        if self.module.functions.iter().any(|f| f.name == text && f.body.is_some()) && function.body.is_some() {
            return Err(self.cursor.error_at(token, format!("`{text}` is defined twice")));
        }
        self.module.functions.push(function);
        Ok(())
    }

    fn declare_function(&mut self, name: Name<'a>, function: &Function) -> Result<(), ParseError> {
        match self.globals.get(name.text) {
            Some(Global::Variable(_)) => return Err(self.twice(name)),
            Some(Global::Function) => {
                let before = self.module.function(name.text);
                if before.is_some_and(|before| !same_signature(before, function)) {
                    let message = format!("`{}` does not agree with its earlier declaration", name.text);
                    return Err(self.cursor.error_at(name.token, message));
                }
            }
            None => {}
        }
        self.globals.insert(name.text.to_string(), Global::Function);
        Ok(())
    }

    /// Performance and cluster directives between the parameters and the body.
    fn directives(&mut self, function: &mut Function) -> Result<(), ParseError> {
        let cursor = &mut self.cursor;
        while let Kind::Dot(word) = cursor.kind() {
            let token = cursor.token();
            cursor.advance();
            match word {
                "noreturn" => function.is_noreturn = true,
                "maxntid" => function.max_threads = Some(dimensions(cursor)?),
                "reqntid" => function.required_threads = Some(dimensions(cursor)?),
                "reqnctapercluster" => function.required_cluster = Some(dimensions(cursor)?),
                "minnctapersm" => function.min_ctas_per_sm = Some(cursor.small("number of CTAs")?),
                "maxnctapersm" => {
                    return Err(cursor.error_at(token, "`.maxnctapersm` is deprecated; use `.minnctapersm`"));
                }
                "maxnreg" => function.max_registers = Some(cursor.small("number of registers")?),
                "maxclusterrank" => function.max_cluster_rank = Some(cursor.small("number of CTAs")?),
                "explicitcluster" => function.is_explicit_cluster = true,
                "pragma" => function.pragmas.extend(body::pragma(cursor)?),
                _ => return Err(cursor.error_at(token, format!("unknown function directive `.{word}`"))),
            }
        }
        Ok(())
    }
}

fn version(cursor: &mut Cursor<'_, '_>) -> Result<(u32, u32), ParseError> {
    let token = cursor.token();
    let text = match cursor.version_text() {
        Some(text) => text,
        None => return Err(cursor.expected("a version such as `8.2`")),
    };
    let parts = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    cursor.advance();
    parts.ok_or_else(|| cursor.error_at(token, format!("`{text}` is not a version such as `8.2`")))
}

/// `1024`, `32, 4` or `8, 8, 8`.
fn dimensions(cursor: &mut Cursor<'_, '_>) -> Result<[u32; 3], ParseError> {
    let mut found = [1; 3];
    for (index, dimension) in found.iter_mut().enumerate() {
        if index > 0 && !cursor.eat_mark(",") {
            break;
        }
        let token = cursor.token();
        *dimension = cursor.small("dimension")?;
        if *dimension == 0 {
            return Err(cursor.error_at(token, "dimension is 0"));
        }
    }
    Ok(found)
}

fn same_signature(one: &Function, other: &Function) -> bool {
    let same = |a: &[Variable], b: &[Variable]| {
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| a.ty == b.ty && a.elements == b.elements && a.is_register == b.is_register)
    };
    one.is_entry == other.is_entry && same(&one.returns, &other.returns) && same(&one.params, &other.params)
}
