//! The error of the lexer and the parser.

use std::fmt;

/// Why a text is not a PTX module, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Source file, after the line markers of the C preprocessor.
    pub file: String,
    /// Line in that file, from 1.
    pub line: u32,
    /// Column in the text that was parsed, from 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// The line of the parsed text; long lines are cut around the column.
    pub snippet: String,
    /// Where the caret stands under the snippet, in characters from 0.
    pub caret: u32,
}

/// Most characters of a source line shown in an error; expanded macros give very long lines.
const SNIPPET_CHARACTERS: usize = 120;

impl ParseError {
    pub(crate) fn new(text: &str, offset: usize, file: &str, line: u32, message: String) -> ParseError {
        let offset = offset.min(text.len());
        let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
        let before = text[start..offset].chars().count();
        let skip = before.saturating_sub(SNIPPET_CHARACTERS / 2);
        let snippet = text[start..end].chars().skip(skip).take(SNIPPET_CHARACTERS);
        ParseError {
            file: file.to_string(),
            line,
            column: u32::try_from(before + 1).unwrap_or(u32::MAX),
            message,
            // A tab is one character here and a control character would spoil the caret.
            snippet: snippet.map(|c| if c.is_control() { ' ' } else { c }).collect(),
            caret: (before - skip) as u32,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", self.snippet)?;
        write!(f, "{margin} | {}^", " ".repeat(self.caret as usize))
    }
}

impl std::error::Error for ParseError {}
