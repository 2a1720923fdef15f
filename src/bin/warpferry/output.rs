//! Prints lines to whoever reads: one that stopped reading (`| head`) ends the program without a word.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Exit code of a program whose reader went away: 128 and the number of SIGPIPE, as shells count it.
const READER_GONE: i32 = 141;

/// Prints a line to standard output. Ends the program when it cannot be written.
pub fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(READER_GONE);
        }
        complain(format_args!("error: standard output: {error}"));
        std::process::exit(1);
    }
}

/// The command line of this process, to be pasted into a shell.
pub fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    std::iter::once("warpferry".to_string()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Prints a line to standard error; nobody is left to hear that it cannot be written.
pub fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_part_them() {
        assert_eq!(quoted("--arg=f32:-1.5"), "--arg=f32:-1.5");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
