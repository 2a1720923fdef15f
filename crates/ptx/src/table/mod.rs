//! The instruction table: which modifiers an instruction takes in which order, which operands follow, and since when.
//!
//! A row is text, so that an instruction is added by writing it down much as the manual does:
//!
//! ```text
//! row("ld (relaxed|acquire) <scope> [<S:strong_space>] $load_hints $memory_type", "=T+*V [S] H:b64")
//! ```
//!
//! Syntax, the first word being the opcode:
//! - `word`: that modifier. `<a b c>`: one of these; `<name>`: one of a named set.
//! - `<T:a b c>`: one of these, bound to a letter that operands refer to.
//! - `(x|y)`: one of the sequences; `[x|y]`: one of them or nothing. `$name`: a named piece of syntax.
//!
//! Operands, separated by blanks:
//! - `T`, `u32`: a register or literal of the bound or given type. `=` before it: written, so a register. `2T`: twice
//!   as wide. After it `+`: the register may be wider; `!`: no literal; `_`: the sink `_` too; `*V`, `*4`: a vector.
//! - `p`: a predicate; `!p`: one that may be negated or a literal. `=T|p`: a pair, `=T|p?`: or its first half alone.
//! - `[S]`, `[global]`, `[generic]`: an address in that space. `[tensor]`: a map and coordinates.
//! - `#0-255`, `#4,8,16`, `#0-`: a literal in that range. `label`, `list`, `call`, `barrier`, `threads`, `parity`,
//!   `bytes16` (a multiple of 16), `fraction` (above 0, up to 1), `_`: as named.
//! - `move:T`, `place:T`: also an address of a variable, and, for `move`, a special register. `pack:T`: a vector
//!   that makes up a `T`.
//! - `?` at the end: may be left out. `H:` in front: there if and only if `H` was bound.
//!
//! [`check`] holds each instruction of a module against the rows. The rows follow the order of modifiers in the PTX
//! manual; ptxas is freer (it takes `atom.add.release.sys`), this table is not. Texture, surface, video, `wgmma`
//! and `tcgen05` instructions are not in the table, and of `mma` only the common shapes.

mod check;
mod example;
mod operand;
mod pattern;
mod rows;

pub use check::{check, Diagnostic, Problem};
pub use example::{Example, EXAMPLE_DECLARATIONS};
pub use rows::ROWS;

use operand::OperandPattern;
use pattern::Node;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Opcode and modifiers.
    pub syntax: &'static str,
    /// Operands.
    pub operands: &'static str,
    /// Lowest PTX version; (0, 0) where it is older than the oldest target that ptxas still assembles.
    pub version: (u32, u32),
    /// Lowest target, such as 90; 0 likewise.
    pub sm: u32,
    /// Only for targets with a suffix, such as `sm_90a`.
    pub needs_suffix: bool,
}

const fn row(syntax: &'static str, operands: &'static str) -> Row {
    Row { syntax, operands, version: (0, 0), sm: 0, needs_suffix: false }
}

impl Row {
    const fn since(self, major: u32, minor: u32) -> Row {
        Row { version: (major, minor), ..self }
    }

    const fn sm(self, sm: u32) -> Row {
        Row { sm, ..self }
    }

    const fn suffixed(self) -> Row {
        Row { needs_suffix: true, ..self }
    }

    /// The opcode.
    pub fn opcode(&self) -> &'static str {
        self.syntax.split_whitespace().next().unwrap_or("")
    }
}

/// A row made ready for matching.
struct Compiled {
    row: &'static Row,
    syntax: Vec<Node>,
    operands: Vec<OperandPattern>,
}

/// What letters are bound to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bindings([Option<&'static str>; 26]);

impl Bindings {
    fn of(&self, letter: char) -> Option<&'static str> {
        self.0.get((letter as usize).wrapping_sub('A' as usize)).copied().flatten()
    }

    fn set(&mut self, letter: char, value: Option<&'static str>) {
        if let Some(slot) = self.0.get_mut((letter as usize).wrapping_sub('A' as usize)) {
            *slot = value;
        }
    }
}

/// Rows by opcode.
fn table() -> &'static HashMap<&'static str, Vec<Compiled>> {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Compiled>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table: HashMap<&'static str, Vec<Compiled>> = HashMap::new();
        for row in ROWS {
            // A test compiles every row, so a malformed one does not get this far.
            let (Ok(syntax), Ok(operands)) = (pattern::compile(row.syntax), operand::compile(row.operands)) else {
                continue;
            };
            table.entry(row.opcode()).or_default().push(Compiled { row, syntax, operands });
        }
        table
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_compiles() {
        for row in ROWS {
            let syntax = pattern::compile(row.syntax).unwrap_or_else(|e| panic!("{}: {e}", row.syntax));
            let operands = operand::compile(row.operands).unwrap_or_else(|e| panic!("{}: {e}", row.operands));
            let mut letters = Vec::new();
            pattern::letters(&syntax, &mut letters);
            for letter in operands.iter().flat_map(OperandPattern::letters) {
                assert!(letters.contains(&letter), "{}: operand letter {letter} is never bound", row.syntax);
            }
        }
    }

    #[test]
    fn rows_of_an_opcode_stand_together() {
        let mut seen = Vec::new();
        for row in ROWS {
            if seen.last() != Some(&row.opcode()) {
                assert!(!seen.contains(&row.opcode()), "{}", row.syntax);
                seen.push(row.opcode());
            }
        }
    }
}
