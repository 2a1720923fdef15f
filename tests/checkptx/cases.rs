//! One case: a check's name and what it is run with, as one line of text.

use std::fmt;

/// Name of a check and its parameters, in order. As text: `bulk_copy bytes=4112 offset=16 block=64 seed=7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub check: String,
    values: Vec<(String, String)>,
}

impl Case {
    /// A case without parameters.
    pub fn new(check: &str) -> Case {
        Case { check: check.to_string(), values: Vec::new() }
    }

    /// With `name` set to `value`, which has no blanks.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Case {
        let value = value.to_string();
        assert!(!value.contains(char::is_whitespace), "{name}=`{value}` is more than one word");
        self.values.retain(|(known, _)| known != name);
        self.values.push((name.to_string(), value));
        self
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Case, String> {
        let mut words = text.split_whitespace();
        let check = words.next().ok_or("a case begins with the name of its check")?;
        words.try_fold(Case::new(check), |case, word| match word.split_once('=') {
            Some((name, value)) => Ok(case.with(name, value)),
            None => Err(format!("`{word}` is not NAME=VALUE")),
        })
    }

    /// The value called `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The number called `name`.
    pub fn number(&self, name: &str) -> Result<u64, Mismatch> {
        let value = self.text(name).ok_or_else(|| Mismatch::Failed(format!("the case names no {name}")))?;
        value.parse().map_err(|_| Mismatch::Failed(format!("{name}={value} is no number")))
    }

    /// The same, of 32 bits.
    pub fn word(&self, name: &str) -> Result<u32, Mismatch> {
        let value = self.number(name)?;
        u32::try_from(value).map_err(|_| Mismatch::Failed(format!("{name}={value} is too large")))
    }

    /// Takes the value called `name` out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.values.iter().position(|(known, _)| known == name)?;
        Some(self.values.remove(at).1)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.check)?;
        self.values.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// How a run differs from its reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Bytes of a buffer.
    Bytes { what: String, offset: usize, expected: Vec<u8>, got: Vec<u8>, differ: usize },
    /// Bytes around a buffer, which nobody may touch; the offset counts from the buffer's start.
    Guard { what: String, offset: i64, expected: u8, got: u8 },
    /// A value.
    Value { what: String, expected: String, got: String },
    /// The run itself: a fault, a deadline, an error of the driver.
    Failed(String),
}

impl Mismatch {
    /// A value that is not as expected.
    pub fn value(what: &str, expected: impl fmt::Debug, got: impl fmt::Debug) -> Mismatch {
        Mismatch::Value { what: what.to_string(), expected: format!("{expected:x?}"), got: format!("{got:x?}") }
    }
}

impl From<warpferry::Error> for Mismatch {
    fn from(error: warpferry::Error) -> Mismatch {
        Mismatch::Failed(error.to_string())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Bytes { what, offset, expected, got, differ } => write!(
                f,
                "{what} differs first at byte {offset}: expected {expected:02x?}, got {got:02x?} ({differ} in all)"
            ),
            Mismatch::Guard { what, offset, expected, got } => {
                write!(f, "{what}: guard byte at {offset} was overwritten: expected {expected:02x}, got {got:02x}")
            }
            Mismatch::Value { what, expected, got } => write!(f, "{what}: expected {expected}, got {got}"),
            Mismatch::Failed(what) => f.write_str(what),
        }
    }
}

/// Compares bytes; shows eight from the first that differ.
pub fn compare(what: &str, got: &[u8], expected: &[u8]) -> Result<(), Mismatch> {
    if got.len() != expected.len() {
        return Err(Mismatch::value(&format!("bytes of {what}"), expected.len(), got.len()));
    }
    let Some(offset) = got.iter().zip(expected).position(|(got, expected)| got != expected) else { return Ok(()) };
    let differ = got.iter().zip(expected).filter(|(got, expected)| got != expected).count();
    let shown = |bytes: &[u8]| bytes[offset..bytes.len().min(offset + 8)].to_vec();
    Err(Mismatch::Bytes { what: what.to_string(), offset, expected: shown(expected), got: shown(got), differ })
}

/// Compares values.
pub fn same<T: PartialEq + fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), Mismatch> {
    if got == expected {
        Ok(())
    } else {
        Err(Mismatch::value(what, expected, got))
    }
}

#[test]
fn text_gives_the_case_back() {
    let case = Case::new("bulk_copy").with("bytes", 16).with("seed", 7).with("bytes", 32);
    assert_eq!(case.to_string(), "bulk_copy seed=7 bytes=32");
    assert_eq!(Case::parse(&case.to_string()), Ok(case.clone()));
    assert_eq!(case.number("bytes"), Ok(32));
    assert!(case.number("offset").is_err());
    assert!(Case::parse("").is_err());
    assert!(Case::parse("bulk_copy bytes").is_err_and(|error| error.contains("`bytes`")));
}

#[test]
fn the_first_difference_is_shown() {
    let error = compare("out", &[1, 2, 3, 4], &[1, 2, 9, 8]).expect_err("two bytes differ").to_string();
    assert!(error.contains("byte 2") && error.contains("2 in all"), "{error}");
}
