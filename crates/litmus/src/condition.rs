//! The question a test asks about its final states.

use crate::ast::{Compare, Test};

/// A part of a final state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// A register of a thread.
    Register {
        /// Index of the thread.
        thread: usize,
        /// Index of the register within it.
        register: usize,
    },
    /// A location in memory.
    Memory {
        /// Index of the location.
        location: usize,
    },
}

/// A side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// A part of the state.
    Variable(Variable),
    /// A number.
    Constant(i64),
}

/// A statement about one final state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A comparison.
    Compare(Compare, Term, Term),
    /// `~`
    Not(Box<Expression>),
    /// `/\`
    And(Box<Expression>, Box<Expression>),
    /// `\/`
    Or(Box<Expression>, Box<Expression>),
    /// `true`
    True,
}

/// Which states must satisfy the expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// `exists`: at least one.
    Exists,
    /// `~exists`: none.
    NotExists,
    /// `forall`: all.
    Forall,
}

impl Quantifier {
    /// Its keyword.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::NotExists => "~exists",
            Self::Forall => "forall",
        }
    }
}

/// The last line of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which states.
    pub quantifier: Quantifier,
    /// Must say what.
    pub expression: Expression,
}

impl Expression {
    /// Whether it holds where `value` gives each variable.
    pub fn holds(&self, value: &impl Fn(Variable) -> i64) -> bool {
        let of = |term: &Term| match *term {
            Term::Variable(variable) => value(variable),
            Term::Constant(constant) => constant,
        };
        match self {
            Self::Compare(compare, a, b) => compare.holds(of(a), of(b)),
            Self::Not(inner) => !inner.holds(value),
            Self::And(a, b) => a.holds(value) && b.holds(value),
            Self::Or(a, b) => a.holds(value) || b.holds(value),
            Self::True => true,
        }
    }

    /// Appends the variables it names.
    pub fn variables(&self, into: &mut Vec<Variable>) {
        match self {
            Self::Compare(_, a, b) => {
                for term in [a, b] {
                    if let Term::Variable(variable) = term {
                        into.push(*variable);
                    }
                }
            }
            Self::Not(inner) => inner.variables(into),
            Self::And(a, b) | Self::Or(a, b) => {
                a.variables(into);
                b.variables(into);
            }
            Self::True => {}
        }
    }

    /// Appends the numbers that variables are compared with, each with its variable.
    pub fn constants(&self, into: &mut Vec<(Variable, i64)>) {
        match self {
            Self::Compare(_, Term::Variable(variable), Term::Constant(constant))
            | Self::Compare(_, Term::Constant(constant), Term::Variable(variable)) => into.push((*variable, *constant)),
            Self::Compare(..) | Self::True => {}
            Self::Not(inner) => inner.constants(into),
            Self::And(a, b) | Self::Or(a, b) => {
                a.constants(into);
                b.constants(into);
            }
        }
    }

    /// As text, with the names of the test.
    pub fn text(&self, test: &Test) -> String {
        let of = |term: &Term| match *term {
            Term::Variable(variable) => test.variable_name(variable),
            Term::Constant(constant) => constant.to_string(),
        };
        match self {
            Self::Compare(compare, a, b) => {
                let sign = match compare {
                    Compare::Equal => "==",
                    Compare::NotEqual => "!=",
                    Compare::Less => "<",
                    Compare::LessOrEqual => "<=",
                    Compare::Greater => ">",
                    Compare::GreaterOrEqual => ">=",
                };
                format!("{} {sign} {}", of(a), of(b))
            }
            Self::Not(inner) => format!("~({})", inner.text(test)),
            Self::And(a, b) => format!("({} /\\ {})", a.text(test), b.text(test)),
            Self::Or(a, b) => format!("({} \\/ {})", a.text(test), b.text(test)),
            Self::True => "true".to_string(),
        }
    }
}

impl Condition {
    /// As text, with the names of the test.
    pub fn text(&self, test: &Test) -> String {
        let text = self.expression.text(test);
        let enclosed = matches!(self.expression, Expression::And(..) | Expression::Or(..));
        let text = if enclosed { text } else { format!("({text})") };
        format!("{} {text}", self.quantifier.word())
    }
}
