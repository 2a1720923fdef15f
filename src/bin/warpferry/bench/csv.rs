//! Records as CSV: a head, then a line a record.
//!
//! Text stands in double quotes, doubled where it has one; numbers and truth values as in JSON; nothing for none. A list of
//! numbers is `[1;2;3]`. The fields of `samples` are columns `samples.NAME`.

use serde_json::{Map, Value};
use warpferry::bench::Record;
use warpferry::{Error, Result};

/// What the columns of samples begin with.
const SAMPLES: &str = "samples.";

/// Writes records.
pub fn write(records: &[Record]) -> Result<String> {
    let rows = records.iter().map(columns).collect::<Result<Vec<_>>>()?;
    let head = rows.first().map(|row| row.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(","));
    let lines = rows.iter().map(|row| row.iter().map(|(_, value)| cell(value)).collect::<Vec<_>>().join(","));
    Ok(head.into_iter().chain(lines).map(|line| line + "\n").collect())
}

/// Reads records; the error says the line.
pub fn read(text: &str) -> std::result::Result<Vec<Record>, String> {
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().map(|line| line.split(',').collect()).unwrap_or_default();
    let record = |(at, line): (usize, &str)| {
        let at = at + 2; // lines count from 1, and the head is one
        let cells = cells(line).map_err(|why| format!("line {at}: {why}"))?;
        if cells.len() != head.len() {
            return Err(format!("line {at} has {} cells, the head {}", cells.len(), head.len()));
        }
        serde_json::from_value(object(&head, cells)).map_err(|error| format!("line {at}: {error}"))
    };
    lines.enumerate().filter(|(_, line)| !line.is_empty()).map(record).collect()
}

/// Names and values of a record in the order of its fields.
fn columns(record: &Record) -> Result<Vec<(String, Value)>> {
    let bug = |error: serde_json::Error| Error::Bug(format!("a record that is no JSON: {error}"));
    // Its text has the fields in order; a map of them would be sorted.
    let text = serde_json::to_string(record).map_err(bug)?;
    let Ordered(fields) = serde_json::from_str(&text).map_err(bug)?;
    let flat = |(name, value): (String, Value)| match value {
        Value::Object(inner) => inner.into_iter().map(|(part, value)| (format!("{name}.{part}"), value)).collect(),
        value => vec![(name, value)],
    };
    Ok(fields.into_iter().flat_map(flat).collect())
}

/// Fields of an object in the order of its text.
struct Ordered(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Ordered, D::Error> {
        struct Fields;
        impl<'de> serde::de::Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> std::result::Result<Ordered, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => format!("\"{}\"", text.replace('"', "\"\"")),
        Value::Array(list) => format!("[{}]", list.iter().map(Value::to_string).collect::<Vec<_>>().join(";")),
        other => other.to_string(),
    }
}

/// Cells of a line.
fn cells(line: &str) -> std::result::Result<Vec<Value>, String> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let (value, behind) = if rest.starts_with('"') { quoted(rest)? } else { plain(rest)? };
        cells.push(value);
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(cells),
            None => return Err(format!("`{behind}` behind a quoted cell")),
        }
    }
}

/// A quoted cell, and what is behind it.
fn quoted(rest: &str) -> std::result::Result<(Value, &str), String> {
    let mut text = String::new();
    let mut rest = &rest[1..];
    loop {
        let end = rest.find('"').ok_or("a quote that does not end")?;
        text.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                text.push('"');
                rest = more;
            }
            None => return Ok((Value::String(text), rest)),
        }
    }
}

/// A cell without quotes, and what is behind it.
fn plain(rest: &str) -> std::result::Result<(Value, &str), String> {
    let (text, behind) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
    let value = match text {
        "" => Ok(Value::Null),
        list if list.starts_with('[') => serde_json::from_str(&list.replace(';', ",")),
        number => serde_json::from_str(number),
    };
    Ok((value.map_err(|_| format!("`{text}` is no number"))?, behind))
}

/// What a line says, as a record's object.
fn object(head: &[&str], cells: Vec<Value>) -> Value {
    let (mut fields, mut samples) = (Map::new(), Map::new());
    for (name, value) in head.iter().zip(cells) {
        match name.strip_prefix(SAMPLES) {
            Some(part) => samples.insert(part.to_string(), value),
            None => fields.insert((*name).to_string(), value),
        };
    }
    fields.insert(SAMPLES.trim_end_matches('.').to_string(), Value::Object(samples));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::super::tests::records;
    use super::*;

    #[test]
    fn records_come_back() {
        let records = records();
        let text = write(&records).expect("records are CSV");
        assert_eq!(text.lines().count(), records.len() + 1);
        assert!(text.starts_with("nodes,gpus_per_node,tokens,"), "{text}");
        assert_eq!(read(&text), Ok(records));
    }

    #[test]
    fn a_bad_line_is_named() {
        let text = write(&records()).expect("records are CSV");
        for (from, to, says) in
            [("\"emu\"", "\"emu", "line 2"), ("\"emu\"", "emu", "line 2: `emu`"), ("\"emu\",", "", "cells, the head")]
        {
            let said = read(&text.replacen(from, to, 1)).expect_err("refused");
            assert!(said.contains(says), "{said}");
        }
    }
}
