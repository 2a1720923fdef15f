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
const ARGUMENTS: &[Argument] = &[
    Argument { text: "st.relaxed.sys.global.u32 [status+", change: "weak", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u64 [status+", change: "weak", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u32 [status+", change: ".sys -> .gpu", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u64 [status+", change: ".sys -> .gpu", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u32 [line+", change: "weak", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u64 [line+", change: "weak", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u32 [line+", change: ".sys -> .gpu", ..BEHIND_THE_CODE },
    Argument { text: "st.relaxed.sys.global.u64 [line+", change: ".sys -> .gpu", ..BEHIND_THE_CODE },
];

/// Fields of a status line.
const BEHIND_THE_CODE: Argument = Argument {
    place: "",
    phase: "",
    text: "",
    change: "",
    why: "the host reads a field only behind its acquire of the code, which the same thread, or lane 0 behind a barrier of \
          the warp, stores later with st.release.sys: that release covers the field whatever its own order and scope",
};

/// The argument for a survivor.
pub fn of(line: &Line) -> Option<&'static Argument> {
    ARGUMENTS.iter().find(|argument| {
        line.place.contains(argument.place)
            && (argument.phase.is_empty() || line.phase == argument.phase)
            && line.text.contains(argument.text)
            && (argument.change.is_empty() || line.change == argument.change)
    })
}
