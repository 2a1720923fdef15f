//! Records of coverage: one line of text an instruction of a kernel variant.

use std::fmt;

/// What has become of one instruction of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Name of the kernel variant, and the fingerprint of its text.
    pub kernel: String,
    pub text: u64,
    /// Place of the instruction among those of the kernel.
    pub index: usize,
    /// Some lane executed it.
    pub executed: bool,
    /// Some lane's guard was false.
    pub passed: bool,
    /// Where it stands, and what it says.
    pub file: String,
    pub line: u32,
    pub instruction: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { kernel, text, index, executed, passed, file, line, instruction } = self;
        let (executed, passed) = (u8::from(*executed), u8::from(*passed));
        write!(f, "{kernel}\t{text:016x}\t{index}\t{executed}\t{passed}\t{file}\t{line}\t{instruction}")
    }
}

impl Record {
    /// Reads a line; `None` for what is no record.
    pub fn parse(line: &str) -> Option<Record> {
        let mut words = line.splitn(8, '\t');
        let mut word = || words.next();
        Some(Record {
            kernel: word()?.to_string(),
            text: u64::from_str_radix(word()?, 16).ok()?,
            index: word()?.parse().ok()?,
            executed: word()? == "1",
            passed: word()? == "1",
            file: word()?.to_string(),
            line: word()?.parse().ok()?,
            instruction: word()?.to_string(),
        })
    }
}

/// Tells kernels of one name apart: tests damage some on purpose. FNV-1a (Fowler, Noll, Vo), 64 bits.
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
