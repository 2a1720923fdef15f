//! Survivors that are no holes: why no machine can show a difference.

use super::record::Line;

/// A set of survivors and the argument for them.
#[derive(Debug)]
pub struct Argument {
    /// Part of the place (`file:line MACRO from ...`); the file, or the macro.
    pub place: &'static str,
    /// The label before it; empty: any.
    pub phase: &'static str,
    /// Part of the instruction.
    pub text: &'static str,
    /// The change; empty: any.
    pub change: &'static str,
    /// Why.
    pub why: &'static str,
}

/// All arguments.
const ARGUMENTS: &[Argument] = &[];

/// The argument for a survivor.
pub fn of(line: &Line) -> Option<&'static Argument> {
    ARGUMENTS.iter().find(|argument| {
        line.place.contains(argument.place)
            && (argument.phase.is_empty() || line.phase == argument.phase)
            && line.text.contains(argument.text)
            && (argument.change.is_empty() || line.change == argument.change)
    })
}
