//! The end of a litmus file: `locations`, `filter` and the condition.

use crate::ast::{Compare, Thread};
use crate::condition::{Condition, Expression, Quantifier, Term, Variable};
use crate::error::Error;
use crate::lexer::Token;
use crate::parse::Parser;

/// Most comparisons, signs and brackets of a test's conditions: they are followed by recursion.
const PARTS_MAX: usize = 1000;

type Questions = (Condition, Option<Expression>, Vec<Variable>);

impl Parser<'_> {
    pub(crate) fn questions(&mut self, threads: &mut [Thread]) -> Result<Questions, Error> {
        let (mut condition, mut filter, mut listed) = (None, None, Vec::new());
        while self.tokens.peek().is_some() {
            if self.tokens.take_word("locations") {
                self.tokens.expect("[")?;
                while !self.tokens.take("]") {
                    if !self.tokens.take(";") {
                        listed.push(self.variable(threads)?);
                    }
                }
            } else if self.tokens.take_word("filter") {
                filter = Some(self.either(threads)?);
            } else if condition.is_none() {
                let negated = self.tokens.take("~") || self.tokens.take_word("not");
                let word = self.tokens.word("`exists`, `~exists` or `forall`")?;
                let quantifier = match (negated, word.as_str()) {
                    (false, "exists") => Quantifier::Exists,
                    (true, "exists") => Quantifier::NotExists,
                    (false, "forall") => Quantifier::Forall,
                    _ => {
                        return Err(self
                            .tokens
                            .error(format!("a condition is exists, ~exists or forall, not `{word}`")))
                    }
                };
                condition = Some(Condition { quantifier, expression: self.either(threads)? });
            } else {
                return Err(self.tokens.error(format!("{} comes after the condition", self.tokens.found())));
            }
            self.tokens.take(";");
        }
        let condition = condition.ok_or_else(|| self.tokens.error("no condition: exists, ~exists or forall"))?;
        Ok((condition, filter, listed))
    }

    fn either(&mut self, threads: &mut [Thread]) -> Result<Expression, Error> {
        let mut left = self.both(threads)?;
        while self.tokens.take("\\/") {
            left = Expression::Or(Box::new(left), Box::new(self.both(threads)?));
        }
        Ok(left)
    }

    fn both(&mut self, threads: &mut [Thread]) -> Result<Expression, Error> {
        let mut left = self.single(threads)?;
        while self.tokens.take("/\\") {
            left = Expression::And(Box::new(left), Box::new(self.single(threads)?));
        }
        Ok(left)
    }

    fn single(&mut self, threads: &mut [Thread]) -> Result<Expression, Error> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(self
                .tokens
                .error(format!("a condition has more than {PARTS_MAX} comparisons, signs and brackets")));
        }
        if self.tokens.take("~") || self.tokens.take_word("not") {
            return Ok(Expression::Not(Box::new(self.single(threads)?)));
        }
        if self.tokens.take("(") {
            let inner = self.either(threads)?;
            self.tokens.expect(")")?;
            return Ok(inner);
        }
        if self.tokens.take_word("true") {
            return Ok(Expression::True);
        }
        if self.tokens.take_word("false") {
            return Ok(Expression::Not(Box::new(Expression::True)));
        }
        let left = self.term(threads)?;
        let compare = match self.tokens.peek() {
            Some(Token::Sign("=" | "==")) => Compare::Equal,
            Some(Token::Sign("!=")) => Compare::NotEqual,
            Some(Token::Sign("<")) => Compare::Less,
            Some(Token::Sign("<=")) => Compare::LessOrEqual,
            Some(Token::Sign(">")) => Compare::Greater,
            Some(Token::Sign(">=")) => Compare::GreaterOrEqual,
            _ => return Err(self.tokens.error(format!("a comparison is missing before {}", self.tokens.found()))),
        };
        self.tokens.skip();
        Ok(Expression::Compare(compare, left, self.term(threads)?))
    }

    fn term(&mut self, threads: &mut [Thread]) -> Result<Term, Error> {
        let thread = matches!(self.tokens.peek_second(), Some(Token::Sign(":")));
        if let (false, Some(Token::Number(number))) = (thread, self.tokens.peek()) {
            let number = *number;
            self.tokens.skip();
            return Ok(Term::Constant(number));
        }
        self.variable(threads).map(Term::Variable)
    }

    fn variable(&mut self, threads: &mut [Thread]) -> Result<Variable, Error> {
        if let Some(id) = self.thread_prefix()? {
            let name = self.tokens.word("a register")?;
            let Some(thread) = threads.iter().position(|thread| thread.id == id) else {
                return Err(self.tokens.error(format!("there is no thread P{id}")));
            };
            // A register that nobody writes holds 0, as in the suites.
            let of = &mut threads[thread];
            let register = of.registers.iter().position(|register| *register == name).unwrap_or_else(|| {
                of.registers.push(name);
                of.initial.push(0);
                of.registers.len() - 1
            });
            return Ok(Variable::Register { thread, register });
        }
        let name = self.tokens.word("a location, a register `P0:r0` or a number")?;
        if matches!(self.tokens.peek(), Some(Token::Sign("["))) && !name.is_empty() {
            return Err(self.tokens.error("arrays are not supported: give each element a name"));
        }
        match self.names.by_name.get(&name) {
            Some(&location) => Ok(Variable::Memory { location }),
            None => Err(self.tokens.error(format!("no location is called `{name}`"))),
        }
    }
}
