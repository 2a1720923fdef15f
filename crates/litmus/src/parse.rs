//! The parts of a litmus file: header, initial values, threads, rows of instructions, condition.

use std::collections::HashMap;

use crate::ast::{Expectation, Location, Place, Queue, Space, Test, Thread};
use crate::error::Error;
use crate::instruction::{self, Column};
use crate::lexer::{lex, Token};
use crate::queue;

/// Parses a test; `file` is what errors call it.
pub fn parse(file: &str, text: &str) -> Result<Test, Error> {
    let lexed = lex(file, text)?;
    let tokens = Tokens { file, tokens: &lexed.tokens, next: 0, last_line: lexed.lines };
    let mut parser = Parser { parts: 0, tokens, names: Names::default(), columns: 0 };
    let registers = parser.initial_values()?;
    let declared = parser.names.locations.len();
    let mut columns = parser.threads()?;
    for (thread, register, value, line) in registers {
        let Some(column) = columns.iter_mut().find(|column| column.thread.id == thread) else {
            return Err(parser.tokens.error_at(line, format!("there is no thread P{thread}")));
        };
        let register = column.register(&register);
        column.thread.initial[register] = value;
    }
    parser.rows(&mut columns)?;
    let threads = columns.into_iter().map(Column::finish).collect::<Result<Vec<_>, _>>();
    let mut threads = threads.map_err(|(line, message)| parser.tokens.error_at(line, message))?;
    parser.places(&threads)?;
    for queue in &parser.names.queues {
        if let Some(name) = queue::unreachable(queue, &parser.names.locations) {
            return Err(parser.tokens.error(format!("`{name}` is in shared memory, which no NIC reaches")));
        }
        let number = threads.len() as u32;
        threads.push(queue::nic(queue, number));
    }
    // Parts of a queue have a dot in their names and are declared with it.
    let is_slip = |name: &str| declared > 0 && !name.contains('.');
    let undeclared = parser.names.locations.iter().skip(declared).filter(|location| is_slip(&location.name));
    let mut assumed: Vec<String> = undeclared
        .map(|location| format!("`{}` is not declared and counts as 0 at the start", location.name))
        .collect();
    let written: Vec<usize> = threads.iter().map(|thread| thread.registers.len()).collect();
    let (condition, filter, listed) = parser.questions(&mut threads)?;
    for (thread, written) in threads.iter().zip(written) {
        let unknown = thread.registers.iter().skip(written);
        assumed.extend(unknown.map(|name| format!("no instruction names P{}:{name}, which counts as 0", thread.id)));
    }
    let expectation = expectation(&lexed.comments).map_err(|message| parser.tokens.error(message))?;
    Ok(Test {
        name: lexed.name,
        threads,
        locations: parser.names.locations,
        initial: parser.names.initial,
        mbarriers: parser.names.mbarriers,
        queues: parser.names.queues,
        condition,
        filter,
        listed,
        expectation,
        assumed,
    })
}

/// Keys of a comment that says what is expected, and the words behind them that mean yes and no.
const EXPECTED: [(&str, &str, &str); 3] =
    [("expect:", "holds", "fails"), ("liveness:", "terminates", "stuck"), ("race:", "some", "none")];

fn expectation(comments: &[String]) -> Result<Expectation, String> {
    let mut found = [None; 3];
    for comment in comments {
        let word = |key: &str| {
            let (_, rest) = comment.split_once(key)?;
            Some(rest.trim_start().split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
        };
        // Keys within a sentence are no expectation. A comment that begins with one is, or one of which a key is understood:
        // then all of it must be.
        let first = comment.split_whitespace().next().unwrap_or_default();
        let is_key = |word: &str| EXPECTED.iter().any(|(key, ..)| *key == word);
        let understood =
            |(key, yes, no): &(&str, &str, &str)| word(key).is_some_and(|word| word == *yes || word == *no);
        if !is_key(first) && !EXPECTED.iter().any(understood) {
            continue;
        }
        if first.ends_with(':') && !is_key(first) {
            return Err(format!("`{first}` beside an expectation: valid is expect:, liveness: or race:"));
        }
        for ((key, yes, no), found) in EXPECTED.iter().zip(&mut found) {
            match word(key) {
                None => {}
                Some(word) if word == *yes => *found = found.or(Some(true)),
                Some(word) if word == *no => *found = found.or(Some(false)),
                Some(word) => return Err(format!("`{key} {word}`: valid is {yes} or {no}")),
            }
        }
    }
    let [holds, terminates, races] = found;
    Ok(Expectation { holds, terminates, races })
}

/// The rest of a file.
pub(crate) struct Tokens<'a> {
    file: &'a str,
    tokens: &'a [(Token, usize)],
    next: usize,
    last_line: usize,
}

impl Tokens<'_> {
    pub(crate) fn line(&self) -> usize {
        self.tokens.get(self.next).map_or(self.last_line, |(_, line)| *line)
    }

    pub(crate) fn error_at(&self, line: usize, message: String) -> Error {
        Error { file: self.file.to_string(), line, message }
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        self.error_at(self.line(), message.into())
    }

    pub(crate) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    pub(crate) fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.next + 1).map(|(token, _)| token)
    }

    pub(crate) fn skip(&mut self) {
        self.next += 1;
    }

    pub(crate) fn found(&self) -> String {
        self.peek().map_or("the end of the file".to_string(), |token| format!("`{}`", token.text()))
    }

    /// Whether the next token is this sign; takes it then.
    pub(crate) fn take(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.next += usize::from(is);
        is
    }

    /// Whether the next token is this word; takes it then.
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.next += usize::from(is);
        is
    }

    pub(crate) fn expect(&mut self, sign: &str) -> Result<(), Error> {
        if self.take(sign) {
            return Ok(());
        }
        Err(self.error(format!("`{sign}` is missing before {}", self.found())))
    }

    pub(crate) fn word(&mut self, what: &str) -> Result<String, Error> {
        if let Some(Token::Word(word)) = self.peek() {
            let word = word.clone();
            self.skip();
            return Ok(word);
        }
        Err(self.error(format!("{what} is missing before {}", self.found())))
    }

    pub(crate) fn number(&mut self, what: &str) -> Result<i64, Error> {
        if let Some(Token::Number(number)) = self.peek() {
            let number = *number;
            self.skip();
            return Ok(number);
        }
        Err(self.error(format!("{what} is missing before {}", self.found())))
    }
}

/// Names for memory.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) locations: Vec<Location>,
    initial: Vec<i64>,
    /// Arrivals of a phase, of each place that is an mbarrier; 0 before the test initializes it.
    pub(crate) mbarriers: Vec<Option<i64>>,
    pub(crate) queues: Vec<Queue>,
    addresses: usize,
    pub(crate) by_name: HashMap<String, usize>,
}

impl Names {
    /// The location of this name; a name that is new is a new place in memory with the value 0.
    pub(crate) fn location(&mut self, name: &str) -> usize {
        if let Some(&location) = self.by_name.get(name) {
            return location;
        }
        self.initial.push(0);
        self.mbarriers.push(None);
        self.addresses += 1;
        self.add(name, self.addresses - 1, self.initial.len() - 1)
    }

    fn add(&mut self, name: &str, address: usize, memory: usize) -> usize {
        let (space, gpu) = (Space::Global, None);
        self.locations.push(Location { name: name.to_string(), address, memory, space, gpu });
        self.by_name.insert(name.to_string(), self.locations.len() - 1);
        self.locations.len() - 1
    }
}

/// Whether a word is a register by its form: `r` and digits, with or without `%`.
pub(crate) fn is_register(word: &str) -> bool {
    let digits = word.strip_prefix('%').unwrap_or(word).strip_prefix('r');
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn thread_id(word: &str) -> Option<u32> {
    word.strip_prefix('P')?.parse().ok()
}

pub(crate) struct Parser<'a> {
    /// Comparisons, signs and brackets of conditions so far.
    pub(crate) parts: usize,
    pub(crate) tokens: Tokens<'a>,
    pub(crate) names: Names,
    columns: usize,
}

impl Parser<'_> {
    /// `{ ... }`; gives the initial values of registers, whose threads are named only later.
    fn initial_values(&mut self) -> Result<Vec<(u32, String, i64, usize)>, Error> {
        let mut registers = Vec::new();
        self.tokens.expect("{")?;
        while !self.tokens.take("}") {
            if self.tokens.take(";") {
                continue;
            }
            let line = self.tokens.line();
            if let Some(thread) = self.thread_prefix()? {
                let register = self.tokens.word("a register")?;
                self.tokens.expect("=")?;
                registers.push((thread, register, self.initial_value()?, line));
            } else {
                self.initial_location()?;
            }
            if !matches!(self.tokens.peek(), Some(Token::Sign(";" | "}"))) {
                return Err(self.tokens.error("initial values are separated by `;`"));
            }
        }
        self.tokens.take(";");
        Ok(registers)
    }

    /// `P0:` or `0:`.
    pub(crate) fn thread_prefix(&mut self) -> Result<Option<u32>, Error> {
        if !matches!(self.tokens.peek_second(), Some(Token::Sign(":"))) {
            return Ok(None);
        }
        let thread = match self.tokens.peek() {
            Some(Token::Number(number)) => u32::try_from(*number).ok(),
            Some(Token::Word(word)) => thread_id(word).or_else(|| self.queue_id(word)),
            _ => None,
        };
        let Some(thread) = thread else {
            return Err(self.tokens.error("a thread is written `P0:` or `0:`"));
        };
        self.tokens.skip();
        self.tokens.skip();
        Ok(Some(thread))
    }

    fn initial_value(&mut self) -> Result<i64, Error> {
        if matches!(self.tokens.peek(), Some(Token::Sign("&") | Token::Word(_))) {
            return Err(self.tokens.error("addresses as values are not supported: initial values are numbers"));
        }
        self.tokens.number("a number")
    }

    fn initial_location(&mut self) -> Result<(), Error> {
        let name = self.tokens.word("a location")?;
        if self.names.by_name.contains_key(&name) {
            return Err(self.tokens.error(format!("`{name}` is already there")));
        }
        if self.tokens.take("=") {
            let value = self.initial_value()?;
            let location = self.names.location(&name);
            self.names.initial[self.names.locations[location].memory] = value;
            if self.tokens.take("@") {
                let what = self.tokens.word("`shared` or `gpu`")?;
                self.declared(&name, &what)?;
            }
            return Ok(());
        }
        self.tokens.expect("@")?;
        let proxy =
            self.tokens.word("a proxy (generic, texture, surface, constant), shared, gpu, mbarrier or queue")?;
        if matches!(proxy.as_str(), "shared" | "gpu" | "mbarrier" | "queue") {
            return self.declared(&name, &proxy);
        }
        if !matches!(proxy.as_str(), "generic" | "texture" | "surface" | "constant") {
            let message = format!("no proxy is called `{proxy}`: generic, texture, surface or constant");
            return Err(self.tokens.error(message));
        }
        if !self.tokens.take_word("aliases") {
            return Err(self.tokens.error("an alias is written `NAME @ PROXY aliases LOCATION`"));
        }
        let target = self.tokens.word("a location")?;
        let Some(&target) = self.names.by_name.get(&target) else {
            return Err(self.tokens.error(format!("`{target}` is not declared before its alias")));
        };
        let target = self.names.locations[target].clone();
        // A generic alias is another virtual address; the others are other ways to the same one.
        let address = if proxy == "generic" {
            self.names.addresses += 1;
            self.names.addresses - 1
        } else {
            target.address
        };
        self.names.add(&name, address, target.memory);
        Ok(())
    }

    /// What follows `NAME @` where it is not an alias: `shared`, `gpu 1`, `mbarrier 2`, `queue`.
    fn declared(&mut self, name: &str, what: &str) -> Result<(), Error> {
        if what == "queue" {
            if self.names.queues.iter().any(|queue| queue.name == name) {
                return Err(self.tokens.error(format!("queue pair `{name}` is there twice")));
            }
            self.names.add_queue(name);
            return Ok(());
        }
        let location = self.names.location(name);
        let of = &mut self.names.locations[location];
        match what {
            "shared" => of.space = Space::Shared,
            "mbarrier" => {
                of.space = Space::Shared;
                let memory = of.memory;
                let declared = matches!(self.tokens.peek(), Some(Token::Number(_)));
                let arrivals = if declared { self.tokens.number("arrivals")? } else { 0 };
                if declared && arrivals < 1 {
                    return Err(self.tokens.error(format!("mbarrier `{name}` takes a number of arrivals from 1")));
                }
                self.names.mbarriers[memory] = Some(arrivals);
            }
            "gpu" => {
                let number = self.tokens.number("the number of a GPU")?;
                let number = u32::try_from(number).map_err(|_| self.tokens.error("a GPU is a number from 0"))?;
                self.names.locations[location].gpu = Some(number);
            }
            _ => return Err(self.tokens.error(format!("a location is `@ shared` or `@ gpu 1`, not `@ {what}`"))),
        }
        Ok(())
    }

    /// The thread number of a queue pair's NIC: they come behind the columns.
    fn queue_id(&self, word: &str) -> Option<u32> {
        let queue = self.names.queues.iter().position(|queue| queue.name == word)?;
        Some((self.columns + queue) as u32)
    }

    /// A thread block is in one cluster, shared memory is one thread block's, and weak loads and stores are not for
    /// mbarriers.
    fn places(&self, threads: &[Thread]) -> Result<(), Error> {
        for (at, thread) in threads.iter().enumerate() {
            let Place { gpu, cta, cluster, .. } = thread.place;
            let apart =
                |other: &&Thread| (other.place.gpu, other.place.cta) == (gpu, cta) && other.place.cluster != cluster;
            if let Some(other) = threads[..at].iter().find(apart) {
                let (a, b) = (other.name(), thread.name());
                let message = format!("{a} and {b} are in cta {cta} of gpu {gpu} and not in the same cluster");
                return Err(self.tokens.error(message));
            }
        }
        for (location, of) in self.names.locations.iter().enumerate() {
            if self.names.mbarriers[of.memory] == Some(0) {
                return Err(self
                    .tokens
                    .error(format!("`{}` is neither declared with a count nor initialized", of.name)));
            }
            if of.space == Space::Global {
                continue;
            }
            let mut first: Option<Place> = None;
            for thread in threads {
                for (instruction, &line) in thread.instructions.iter().zip(&thread.lines) {
                    if !instruction.names(location) {
                        continue;
                    }
                    let place = *first.get_or_insert(thread.place);
                    if (place.gpu, place.cta) != (thread.place.gpu, thread.place.cta) {
                        let message = format!("`{}` is shared memory of another thread block", of.name);
                        return Err(self.tokens.error_at(line, message));
                    }
                    if self.names.mbarriers[of.memory].is_some() && instruction.is_plain() {
                        let message = format!("`{}` is an mbarrier: only mbarrier instructions use it", of.name);
                        return Err(self.tokens.error_at(line, message));
                    }
                }
            }
        }
        Ok(())
    }

    /// `P0@cta 0,gpu 0 | P1@cta 1,gpu 0 ;`
    fn threads(&mut self) -> Result<Vec<Column>, Error> {
        let mut columns: Vec<Column> = Vec::new();
        loop {
            let name = self.tokens.word("a thread `P0@cta 0,gpu 0`")?;
            let Some(id) = thread_id(&name) else {
                return Err(self.tokens.error(format!("`{name}` is not a thread `P0`")));
            };
            if columns.iter().any(|column| column.thread.id == id) {
                return Err(self.tokens.error(format!("thread P{id} is there twice")));
            }
            self.tokens.expect("@")?;
            let place = self.place()?;
            self.columns = columns.len() + 1;
            let thread = Thread {
                id,
                queue: None,
                place,
                registers: Vec::new(),
                initial: Vec::new(),
                instructions: Vec::new(),
                lines: Vec::new(),
            };
            columns.push(Column::new(thread));
            if self.tokens.take(";") {
                return Ok(columns);
            }
            self.tokens.expect("|")?;
        }
    }

    fn place(&mut self) -> Result<Place, Error> {
        let (mut warp, mut cta, mut cluster, mut gpu) = (None, None, None, None);
        loop {
            let level = self.tokens.word("`warp`, `cta`, `cluster` or `gpu`")?;
            let number = self.tokens.number("a number")?;
            let number = u32::try_from(number).map_err(|_| self.tokens.error("a place is a number from 0"))?;
            match level.as_str() {
                "warp" => warp = Some(number),
                "cta" => cta = Some(number),
                "cluster" => cluster = Some(number),
                "gpu" => gpu = Some(number),
                _ => return Err(self.tokens.error(format!("a thread has a cta and a gpu, not a `{level}`"))),
            }
            if !self.tokens.take(",") {
                break;
            }
        }
        match (cta, gpu) {
            (Some(cta), Some(gpu)) => Ok(Place { cta, warp, cluster, gpu }),
            _ => Err(self.tokens.error("a thread is placed as `P0@cta 0,gpu 0`")),
        }
    }

    fn rows(&mut self, columns: &mut [Column]) -> Result<(), Error> {
        while let Some(token) = self.tokens.peek() {
            match token {
                Token::Word(word)
                    if matches!(word.as_str(), "exists" | "forall" | "filter" | "locations" | "final" | "not") =>
                {
                    break
                }
                Token::Sign("~") => break,
                _ => {}
            }
            let mut cell = 0;
            loop {
                let end = matches!(self.tokens.peek(), Some(Token::Sign("|" | ";")));
                if !end {
                    let Some(column) = columns.get_mut(cell) else {
                        return Err(self.tokens.error(format!("column {} has no thread", cell + 1)));
                    };
                    instruction::cell(&mut self.tokens, &mut self.names, column)?;
                }
                if self.tokens.take(";") {
                    break;
                }
                self.tokens.expect("|")?;
                cell += 1;
            }
        }
        Ok(())
    }
}
