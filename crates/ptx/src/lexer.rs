//! Text to tokens, with positions mapped through the C preprocessor's line markers.
//!
//! A modifier is one token with its dot (`.shared::cta`), so that a blank may stand before a dot and not after
//! one, as in ptxas.

use crate::ast::{FloatLiteral, Position};
use crate::error::ParseError;

/// Largest text accepted; offsets are kept in 32 bits.
const MAX_TEXT_BYTES: usize = 1 << 28;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind<'a> {
    /// A name, `%` included; `_` too.
    Word(&'a str),
    /// A directive or modifier, without its first dot.
    Dot(&'a str),
    /// An integer literal and whether it has type `.u64` rather than `.s64`.
    Integer(u64, bool),
    Float(FloatLiteral),
    /// A string, quotes removed, escapes kept.
    Text(&'a str),
    Mark(&'static str),
    End,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub kind: Kind<'a>,
    pub offset: u32,
    pub position: Position,
}

pub(crate) struct Lexed<'a> {
    /// Ends with one `End` token.
    pub tokens: Vec<Token<'a>>,
    pub files: Vec<String>,
}

pub(crate) fn lex<'a>(name: &str, text: &'a str) -> Result<Lexed<'a>, ParseError> {
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        at: 0,
        position: Position { file: 0, line: 1 },
        at_line_start: true,
        tokens: Vec::new(),
        files: vec![name.to_string()],
    };
    if text.len() > MAX_TEXT_BYTES {
        return Err(lexer.error(0, format!("text has {} bytes; at most {MAX_TEXT_BYTES} are read", text.len())));
    }
    while lexer.at < text.len() {
        lexer.step()?;
    }
    lexer.push(text.len(), Kind::End);
    Ok(Lexed { tokens: lexer.tokens, files: lexer.files })
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    position: Position,
    at_line_start: bool,
    tokens: Vec<Token<'a>>,
    files: Vec<String>,
}

/// Longest first, so that `>>` is not two `>`.
const MARKS: [&str; 32] = [
    "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "{", "}", "[", "]", "(", ")", ",", ";", ":", "@", "!", "|", "=",
    "+", "-", "*", "/", "&", "^", "~", "?", "<", ">", "%",
];

fn is_follow(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

impl<'a> Lexer<'a> {
    fn error(&self, offset: usize, message: String) -> ParseError {
        ParseError::new(self.text, offset, &self.files[usize::from(self.position.file)], self.position.line, message)
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn push(&mut self, offset: usize, kind: Kind<'a>) {
        self.tokens.push(Token { kind, offset: offset as u32, position: self.position });
        self.at_line_start = false;
    }

    /// Consumes a blank, a comment, a marker or one token. Always moves forward.
    fn step(&mut self) -> Result<(), ParseError> {
        match self.byte(0) {
            b'\n' => {
                self.at += 1;
                self.next_line();
            }
            b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
            b'/' if self.byte(1) == b'/' => self.skip_line(),
            b'/' if self.byte(1) == b'*' => self.skip_comment()?,
            b'#' if self.at_line_start => self.line_marker()?,
            b'"' => self.string()?,
            b'.' if self.byte(1).is_ascii_digit() && self.after_mark() => self.number()?,
            b'.' if is_follow(self.byte(1)) => self.dot_word(),
            byte if byte.is_ascii_digit() => self.number()?,
            byte if byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$' => self.word(),
            b'%' if is_follow(self.byte(1)) => self.word(),
            _ => self.mark()?,
        }
        Ok(())
    }

    fn next_line(&mut self) {
        self.position.line = self.position.line.saturating_add(1);
        self.at_line_start = true;
    }

    fn skip_line(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    }

    fn skip_comment(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let Some(length) = self.text[start + 2..].find("*/") else {
            return Err(self.error(start, "comment without its `*/`".to_string()));
        };
        self.at = start + 2 + length + 2;
        let lines = self.bytes[start..self.at].iter().filter(|&&b| b == b'\n').count();
        self.position.line = self.position.line.saturating_add(lines as u32);
        Ok(())
    }

    /// `# 12 "file" 1 2` and `#line 12 "file"`: the next line is line 12 of that file.
    fn line_marker(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        self.skip_line();
        let line = self.text[start + 1..self.at].trim();
        let line = line.strip_prefix("line").unwrap_or(line).trim_start();
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number) = line[..digits].parse::<u32>() else {
            return Err(self.error(
                start,
                "a line marker or an unexpanded preprocessor directive: expected `# LINE \"FILE\"`".to_string(),
            ));
        };
        let rest = line[digits..].trim_start();
        let file = if rest.is_empty() {
            self.position.file
        } else {
            let Some(file) = marker_file(rest) else {
                return Err(self.error(start, "line marker without a quoted file name".to_string()));
            };
            self.file_index(file, start)?
        };
        // The marker's own newline follows and counts one line.
        self.position = Position { file, line: number.saturating_sub(1) };
        Ok(())
    }

    fn file_index(&mut self, file: String, offset: usize) -> Result<u16, ParseError> {
        let index = match self.files.iter().position(|known| *known == file) {
            Some(index) => index,
            None => {
                self.files.push(file);
                self.files.len() - 1
            }
        };
        u16::try_from(index).map_err(|_| self.error(offset, format!("line markers name more than {} files", u16::MAX)))
    }

    fn string(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let mut end = start + 1;
        loop {
            match self.bytes.get(end) {
                None | Some(b'\n') => return Err(self.error(start, "string without its closing quote".to_string())),
                Some(b'"') => break,
                Some(b'\\') if self.bytes.get(end + 1) != Some(&b'\n') => end += 2,
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        self.push(start, Kind::Text(&self.text[start + 1..end]));
        Ok(())
    }

    fn dot_word(&mut self) {
        let start = self.at;
        self.at += 1;
        self.skip_follow();
        while self.byte(0) == b':' && self.byte(1) == b':' && is_follow(self.byte(2)) {
            self.at += 2;
            self.skip_follow();
        }
        self.push(start, Kind::Dot(&self.text[start + 1..self.at]));
    }

    fn word(&mut self) {
        let start = self.at;
        self.at += 1;
        self.skip_follow();
        self.push(start, Kind::Word(&self.text[start..self.at]));
    }

    fn skip_follow(&mut self) {
        while is_follow(self.byte(0)) {
            self.at += 1;
        }
    }

    /// After a mark, `.5` is a float and not a modifier.
    fn after_mark(&self) -> bool {
        matches!(self.tokens.last().map(|t| t.kind), Some(Kind::Mark(_)))
    }

    fn mark(&mut self) -> Result<(), ParseError> {
        let rest = &self.bytes[self.at..];
        let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(mark.as_bytes())) else {
            let shown = self.text[self.at..].chars().next().unwrap_or(' ');
            return Err(self.error(self.at, format!("unexpected character {shown:?}")));
        };
        let start = self.at;
        self.at += mark.len();
        self.push(start, Kind::Mark(mark));
        Ok(())
    }

    fn number(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let kind = match (self.byte(0), self.byte(1)) {
            (b'0', b'f' | b'F') => Kind::Float(FloatLiteral::Single(self.float_bits(8)? as u32)),
            (b'0', b'd' | b'D') => Kind::Float(FloatLiteral::Double(self.float_bits(16)?)),
            (b'0', b'x' | b'X') => self.integer(2, 16)?,
            (b'0', b'b' | b'B') => self.integer(2, 2)?,
            _ if self.is_decimal_float() => self.decimal_float()?,
            (b'0', b'0'..=b'9') => self.integer(1, 8)?,
            _ => self.integer(0, 10)?,
        };
        self.push(start, kind);
        Ok(())
    }

    /// `0f` with 8 or `0d` with 16 hexadecimal digits.
    fn float_bits(&mut self, digits: usize) -> Result<u64, ParseError> {
        let start = self.at;
        self.skip_follow();
        let found = &self.text[start + 2..self.at];
        match u64::from_str_radix(found, 16) {
            Ok(bits) if found.len() == digits => Ok(bits),
            _ => Err(self
                .error(start, format!("`{}` takes exactly {digits} hexadecimal digits", &self.text[start..start + 2]))),
        }
    }

    fn integer(&mut self, prefix: usize, radix: u32) -> Result<Kind<'a>, ParseError> {
        let start = self.at;
        self.skip_follow();
        let word = &self.text[start..self.at];
        let digits = &word[prefix..];
        let (digits, has_suffix) = match digits.strip_suffix(['U', 'u']) {
            Some(digits) => (digits, true),
            None => (digits, false),
        };
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Err(self.error(start, format!("`{word}` is not an integer of base {radix}")));
        }
        match u64::from_str_radix(digits, radix) {
            Ok(value) => Ok(Kind::Integer(value, has_suffix || i64::try_from(value).is_err())),
            Err(_) => Err(self.error(start, format!("`{word}` does not fit in 64 bits"))),
        }
    }

    fn is_decimal_float(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        match rest.get(digits) {
            Some(b'.') => true,
            Some(b'e' | b'E') => match rest.get(digits + 1) {
                Some(b'+' | b'-') => rest.get(digits + 2).is_some_and(u8::is_ascii_digit),
                next => next.is_some_and(u8::is_ascii_digit),
            },
            _ => false,
        }
    }

    fn decimal_float(&mut self) -> Result<Kind<'a>, ParseError> {
        let start = self.at;
        self.skip_digits();
        if self.byte(0) == b'.' {
            self.at += 1;
            self.skip_digits();
        }
        if matches!(self.byte(0), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(0), b'+' | b'-') {
                self.at += 1;
            }
            self.skip_digits();
        }
        let word = &self.text[start..self.at];
        match word.parse::<f64>() {
            Ok(value) if value.is_finite() && !is_follow(self.byte(0)) => Ok(Kind::Float(FloatLiteral::Decimal(value))),
            _ => Err(self.error(start, format!("`{word}` is not a finite decimal float"))),
        }
    }

    fn skip_digits(&mut self) {
        while self.byte(0).is_ascii_digit() {
            self.at += 1;
        }
    }
}

/// The quoted name at the start of `rest`, with `\"` and `\\` undone.
fn marker_file(rest: &str) -> Option<String> {
    let mut name = String::new();
    let mut characters = rest.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some(name),
            '\\' => name.push(characters.next()?),
            other => name.push(other),
        }
    }
}
