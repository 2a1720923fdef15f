//! Words and signs of a litmus file. Comments are `(* ... *)` and `// ...`; text before the first `{` is the header.

use crate::error::Error;

/// One word or sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A name, a register or an instruction with its qualifiers.
    Word(String),
    /// A number.
    Number(i64),
    /// Anything else.
    Sign(&'static str),
}

impl Token {
    /// As it is written.
    pub fn text(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Number(number) => number.to_string(),
            Self::Sign(sign) => (*sign).to_string(),
        }
    }
}

/// A file cut into its parts.
#[derive(Debug)]
pub struct Lexed {
    /// The word after `PTX`.
    pub name: String,
    /// Tokens from the first `{` on, each with its line.
    pub tokens: Vec<(Token, usize)>,
    /// Lines in the file.
    pub lines: usize,
    /// The text of all comments, quoted ones too.
    pub comments: Vec<String>,
}

// Longer signs first.
const SIGNS: [&str; 23] = [
    "/\\", "\\/", "==", "!=", ">=", "<=", "{", "}", "(", ")", "[", "]", ";", ":", ",", "|", "@", "=", "<", ">", "~",
    "&", "!",
];

/// Cuts a file into tokens.
pub fn lex(file: &str, text: &str) -> Result<Lexed, Error> {
    let fail = |line: usize, message: String| Error { file: file.to_string(), line, message };
    let mut cursor = Cursor { rest: text, line: 1, comments: Vec::new() };
    cursor.skip_blank().map_err(|line| fail(line, "a comment that does not end".to_string()))?;
    let header = cursor.rest.split(|c: char| c.is_whitespace()).next().unwrap_or_default();
    if !header.eq_ignore_ascii_case("ptx") {
        let message = format!("a PTX litmus test starts with `PTX NAME`; here is `{header}`");
        return Err(fail(cursor.line, message));
    }
    cursor.take(header.len());
    let end = cursor.rest.find('\n').unwrap_or(cursor.rest.len());
    let name = cursor.take(end).trim().to_string();
    // Descriptions, quoted or not, up to the initial values.
    while !cursor.rest.starts_with('{') {
        cursor.skip_blank().map_err(|line| fail(line, "a comment that does not end".to_string()))?;
        if cursor.rest.starts_with('"') {
            let line = cursor.line;
            let Some(end) = cursor.rest[1..].find('"') else {
                return Err(fail(line, "a quoted comment that does not end".to_string()));
            };
            let quoted = cursor.take(end + 2);
            cursor.comments.push(quoted.trim_matches('"').to_string());
        } else if let Some(first) = cursor.rest.chars().next() {
            if first != '{' {
                cursor.take(first.len_utf8());
            }
        } else {
            return Err(fail(cursor.line, "no `{` with the initial values".to_string()));
        }
    }
    let mut tokens = Vec::new();
    loop {
        cursor.skip_blank().map_err(|line| fail(line, "a comment that does not end".to_string()))?;
        let line = cursor.line;
        match cursor.token() {
            Ok(Some(token)) => tokens.push((token, line)),
            Ok(None) => break,
            Err(message) => return Err(fail(line, message)),
        }
    }
    Ok(Lexed { name, tokens, lines: cursor.line, comments: cursor.comments })
}

struct Cursor<'a> {
    rest: &'a str,
    line: usize,
    comments: Vec<String>,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Skips white space and comments; the line of a comment that does not end is the error.
    fn skip_blank(&mut self) -> Result<(), usize> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if self.rest.starts_with("(*") {
                let end = self.rest.find("*)").ok_or(self.line)?;
                let comment = self.take(end + 2);
                self.comments.push(comment[2..end].to_string());
            } else if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                let comment = self.take(end);
                self.comments.push(comment[2..].to_string());
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Option<Token>, String> {
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '%' | '.' | '$');
        let second = self.rest[first.len_utf8()..].chars().next().unwrap_or(' ');
        if first.is_ascii_digit() || first == '-' && second.is_ascii_digit() {
            let end = self.rest[1..].find(|c: char| !c.is_alphanumeric()).map_or(self.rest.len(), |end| end + 1);
            let text = self.take(end);
            return number(text).map(|value| Some(Token::Number(value)));
        }
        if word(first) {
            let mut end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
            // `ld.shared::cta` is one word; `P0:r1` is three.
            while self.rest[end..].starts_with("::") {
                let after = &self.rest[end + 2..];
                end += 2 + after.find(|c| !word(c)).unwrap_or(after.len());
            }
            return Ok(Some(Token::Word(self.take(end).to_string())));
        }
        for sign in SIGNS {
            if self.rest.starts_with(sign) {
                self.take(sign.len());
                return Ok(Some(Token::Sign(sign)));
            }
        }
        Err(format!("`{first}` has no meaning here"))
    }
}

fn number(text: &str) -> Result<i64, String> {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |digits| (digits, true));
    let value = match digits.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| format!("`{text}` is not a number of 64 bits"))?;
    Ok(if negative { -value } else { value })
}
