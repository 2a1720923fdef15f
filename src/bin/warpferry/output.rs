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

/// Prints a line to standard error; nobody is left to hear that it cannot be written.
pub fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
