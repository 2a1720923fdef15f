//! A place in the token list, with the small steps that the parsers share.

use crate::ast::{FloatLiteral, Position};
use crate::error::ParseError;
use crate::lexer::{Kind, Token};

pub(crate) struct Cursor<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    text: &'a str,
    files: &'t [String],
}

impl<'t, 'a> Cursor<'t, 'a> {
    /// `tokens` ends with [`Kind::End`].
    pub fn new(tokens: &'t [Token<'a>], text: &'a str, files: &'t [String]) -> Self {
        Cursor { tokens, at: 0, text, files }
    }

    pub fn token(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    pub fn kind(&self) -> Kind<'a> {
        self.token().kind
    }

    /// The token after the current one; `End` repeats.
    pub fn second(&self) -> Kind<'a> {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub fn position(&self) -> Position {
        self.token().position
    }

    /// Moves on; stays at `End`.
    pub fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    pub fn error_at(&self, token: Token<'a>, message: impl Into<String>) -> ParseError {
        let file = self.files.get(usize::from(token.position.file)).map_or("", String::as_str);
        ParseError::new(self.text, token.offset as usize, file, token.position.line, message.into())
    }

    pub fn error(&self, message: impl Into<String>) -> ParseError {
        self.error_at(self.token(), message)
    }

    /// "expected A, found B" at the current token.
    pub fn expected(&self, what: &str) -> ParseError {
        self.error(format!("expected {what}, found {}", describe(self.kind())))
    }

    pub fn is_mark(&self, mark: &str) -> bool {
        matches!(self.kind(), Kind::Mark(found) if found == mark)
    }

    pub fn eat_mark(&mut self, mark: &str) -> bool {
        let found = self.is_mark(mark);
        if found {
            self.advance();
        }
        found
    }

    pub fn mark(&mut self, mark: &str) -> Result<(), ParseError> {
        if self.eat_mark(mark) {
            return Ok(());
        }
        Err(self.expected(&format!("`{mark}`")))
    }

    pub fn eat_dot(&mut self, word: &str) -> bool {
        let found = matches!(self.kind(), Kind::Dot(found) if found == word);
        if found {
            self.advance();
        }
        found
    }

    pub fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        let Kind::Word(word) = self.kind() else {
            return Err(self.expected(what));
        };
        self.advance();
        Ok(word)
    }

    pub fn text(&mut self, what: &str) -> Result<&'a str, ParseError> {
        let Kind::Text(text) = self.kind() else {
            return Err(self.expected(what));
        };
        self.advance();
        Ok(text)
    }

    /// Text of a decimal float token, as `.version 8.10` is not the number 8.1.
    pub fn version_text(&self) -> Option<&'a str> {
        let token = self.token();
        if !matches!(token.kind, Kind::Float(FloatLiteral::Decimal(_))) {
            return None;
        }
        let rest = &self.text[token.offset as usize..];
        let length = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        Some(&rest[..length])
    }

    /// A plain integer token that fits in 32 bits.
    pub fn small(&mut self, what: &str) -> Result<u32, ParseError> {
        let Kind::Integer(value, _) = self.kind() else {
            return Err(self.expected(what));
        };
        let Ok(value) = u32::try_from(value) else {
            return Err(self.error(format!("{what} is {value}, which does not fit in 32 bits")));
        };
        self.advance();
        Ok(value)
    }
}

pub(crate) fn describe(kind: Kind<'_>) -> String {
    match kind {
        Kind::Word(word) => format!("`{word}`"),
        Kind::Dot(word) => format!("`.{word}`"),
        Kind::Integer(value, _) => format!("`{value}`"),
        Kind::Float(_) => "a float".to_string(),
        Kind::Text(text) => format!("\"{text}\""),
        Kind::Mark(mark) => format!("`{mark}`"),
        Kind::End => "the end of the text".to_string(),
    }
}
