//! Arguments of an entry as typed on the command line: `u32:7`, `f32:1.5`, `buf:in.bin`, `zeros:256`, `hex:00ff`.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use half::{bf16, f16};

/// One argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// The bytes of a value or of a struct.
    Bytes(Vec<u8>),
    /// Address of a buffer with the bytes of a file.
    File(PathBuf),
    /// Address of a buffer of so many zeros.
    Zeros(u64),
}

/// Most bytes of a buffer of zeros: 16 GiB.
const ZEROS_MAX: u64 = 1 << 34;

impl Argument {
    /// What a buffer holds at the start; `None` for a value.
    pub fn contents(&self) -> Result<Option<Vec<u8>>, String> {
        match self {
            Argument::Bytes(_) => Ok(None),
            Argument::File(path) => read(path).map(Some),
            Argument::Zeros(bytes) => {
                let mut zeros = Vec::new();
                let size = usize::try_from(*bytes).ok().filter(|_| *bytes <= ZEROS_MAX);
                let room = size.is_some_and(|size| zeros.try_reserve_exact(size).is_ok());
                let size = size.filter(|_| room).ok_or_else(|| {
                    format!("zeros:{bytes}: valid is at most {ZEROS_MAX} bytes, and what this machine's memory holds")
                })?;
                zeros.resize(size, 0);
                Ok(Some(zeros))
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("buf:{}: {error}", path.display()))
}

impl FromStr for Argument {
    type Err = String;

    fn from_str(text: &str) -> Result<Argument, String> {
        let Some((kind, value)) = text.split_once(':') else {
            return Err(format!("`{text}`: write TYPE:VALUE, buf:FILE, zeros:BYTES or hex:BYTES"));
        };
        match kind {
            "buf" => Ok(Argument::File(PathBuf::from(value))),
            "zeros" => Ok(Argument::Zeros(integer(value, 64, false)? as u64)),
            "hex" => hex(value).map(Argument::Bytes),
            _ => scalar(kind, value).map(Argument::Bytes),
        }
    }
}

/// Little-endian bytes of `value` as the type `kind`.
fn scalar(kind: &str, value: &str) -> Result<Vec<u8>, String> {
    let (letter, bits) = kind.split_at(kind.find(|c: char| c.is_ascii_digit()).unwrap_or(kind.len()));
    let bits: u32 = bits.parse().map_err(|_| unknown(kind))?;
    let bytes = (bits / 8) as usize;
    let number = match (letter, bits) {
        ("u" | "b", 8 | 16 | 32 | 64) => integer(value, bits, letter == "b")?,
        ("s", 8 | 16 | 32 | 64) => integer(value, bits, true)?,
        ("f" | "bf", 16) | ("f", 32 | 64) => float(letter, bits, value)?,
        _ => return Err(unknown(kind)),
    };
    Ok(number.to_le_bytes()[..bytes].to_vec())
}

fn unknown(kind: &str) -> String {
    format!("`{kind}` is not a type: u8 u16 u32 u64 s8 s16 s32 s64 b8 b16 b32 b64 f16 bf16 f32 f64, or buf zeros hex")
}

/// Decimal, `0x`, `0b` or `0o`; hexadecimal digits of a signed type may give its bits.
fn integer(text: &str, bits: u32, is_signed: bool) -> Result<u128, String> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        _ => (10, digits),
    };
    let (least, most) = (if is_signed { -(1i128 << (bits - 1)) } else { 0 }, (1i128 << bits) - 1);
    let magnitude = i128::from_str_radix(&digits.replace('_', ""), radix)
        .ok()
        .filter(|_| !digits.starts_with(['-', '+']))
        .ok_or_else(|| format!("`{text}` is not an integer: valid is {least} to {most}"))?;
    let value = if is_negative { -magnitude } else { magnitude };
    if value < least || value > most {
        return Err(format!("{text} does not fit in {bits} bits: valid is {least} to {most}"));
    }
    Ok(value as u128)
}

/// A decimal number, rounded to nearest, or `0x` and the bits.
fn float(letter: &str, bits: u32, text: &str) -> Result<u128, String> {
    if text.starts_with("0x") || text.starts_with("0X") {
        return integer(text, bits, false);
    }
    let wide: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    let (number, overflows) = match (letter, bits) {
        ("f", 32) => {
            let value: f32 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
            (u128::from(value.to_bits()), value.is_infinite())
        }
        ("f", 64) => (u128::from(wide.to_bits()), wide.is_infinite()),
        ("f", _) => (u128::from(f16::from_f64(wide).to_bits()), f16::from_f64(wide).is_infinite()),
        _ => (u128::from(bf16::from_f64(wide).to_bits()), bf16::from_f64(wide).is_infinite()),
    };
    let says_so = text.trim_start_matches(['-', '+']).to_ascii_lowercase().starts_with("inf");
    if overflows && !says_so {
        return Err(format!("{text} is too large for {letter}{bits}: write inf, or 0x and the bits"));
    }
    Ok(number)
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .trim_start_matches("0x")
        .chars()
        .filter(|c| *c != '_')
        .map(|c| c.to_digit(16).ok_or_else(|| format!("hex:{text}: {c:?} is not a hexadecimal digit")))
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err(format!("hex:{text}: an odd number of digits"));
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        match text.parse() {
            Ok(Argument::Bytes(bytes)) => bytes,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn values_become_bytes() {
        assert_eq!(bytes("u32:7"), [7, 0, 0, 0]);
        assert_eq!(bytes("s16:-2"), [0xfe, 0xff]);
        assert_eq!(bytes("s32:0xffffffff"), [0xff; 4]);
        assert_eq!(bytes("b64:0x0102030405060708"), [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes("f32:1.5"), 1.5f32.to_le_bytes());
        assert_eq!(bytes("f32:0x7fffffff"), 0x7fff_ffffu32.to_le_bytes());
        assert_eq!(bytes("f64:-0"), (-0f64).to_le_bytes());
        assert_eq!(bytes("f16:1"), [0, 0x3c]);
        assert_eq!(bytes("bf16:1"), [0x80, 0x3f]);
        assert_eq!(bytes("hex:00ff10"), [0, 0xff, 0x10]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in [
            "u8:256",
            "u8:-1",
            "s8:128",
            "u32:1.5",
            "f8:1",
            "x:1",
            "7",
            "hex:0",
            "hex:xy",
            "zeros:-1",
            "u32:+-1",
            "f64:1e400",
            "f32:1e39",
            "f16:65520",
            "bf16:4e38",
        ] {
            let fits = match text.parse::<Argument>() {
                // Hexadecimal bits of a signed type may reach its unsigned range, decimals too.
                Ok(_) => text == "s8:128",
                Err(_) => false,
            };
            assert_eq!(fits, text == "s8:128", "{text}");
        }
    }
}
