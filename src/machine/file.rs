//! The form of a machine's file: sections of values, each with its source.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};

/// A number and where it is from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Value {
    pub value: f64,
    pub source: String,
}

/// Values by name.
type Section = BTreeMap<String, Value>;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Values {
    pub name: String,
    pub about: String,
    pub base: Option<String>,
    #[serde(default)]
    gpu: Section,
    #[serde(default)]
    links: Section,
    #[serde(default)]
    nic: Section,
    #[serde(default)]
    beside: Section,
}

/// Reads a file's text.
pub(super) fn parse(origin: &str, text: &str) -> Result<Values> {
    let values: Values = toml::from_str(text)
        .map_err(|error| Error::argument("machine", origin, format!("a machine's file, but: {error}")))?;
    let unsourced = values.all().find(|(_, _, _, source)| source.trim().is_empty());
    if let Some((section, name, ..)) = unsourced {
        let value = format!("{section}.{name} of {origin}");
        return Err(Error::argument("source", value, "words that say where the value is from"));
    }
    Ok(values)
}

impl Values {
    /// These, and what only `base` has.
    pub fn over(self, base: Values) -> Values {
        let merge = |own: Section, base: Section| base.into_iter().chain(own).collect();
        Values {
            gpu: merge(self.gpu, base.gpu),
            links: merge(self.links, base.links),
            nic: merge(self.nic, base.nic),
            beside: merge(self.beside, base.beside),
            base: base.base,
            ..self
        }
    }

    fn section(&self, section: &str) -> Option<&Section> {
        match section {
            "gpu" => Some(&self.gpu),
            "links" => Some(&self.links),
            "nic" => Some(&self.nic),
            "beside" => Some(&self.beside),
            _ => None,
        }
    }

    pub fn get(&self, section: &str, name: &str) -> Option<&Value> {
        self.section(section)?.get(name)
    }

    pub fn set(&mut self, section: &str, name: &str, value: f64) -> Result<()> {
        let values = match section {
            "gpu" => Some(&mut self.gpu),
            "links" => Some(&mut self.links),
            "nic" => Some(&mut self.nic),
            "beside" => Some(&mut self.beside),
            _ => None,
        };
        if let Some(found) = values.and_then(|values| values.get_mut(name)) {
            *found = Value { value, source: "set by the caller".to_string() };
            return Ok(());
        }
        let all: Vec<String> = self.all().map(|(section, name, ..)| format!("{section}.{name}")).collect();
        Err(Error::argument("name", format!("{section}.{name}"), format!("one of {}", all.join(", "))))
    }

    /// Section, name, value and source of each.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, f64, &str)> {
        let sections = [("gpu", &self.gpu), ("links", &self.links), ("nic", &self.nic), ("beside", &self.beside)];
        sections.into_iter().flat_map(|(section, values)| {
            values.iter().map(move |(name, value)| (section, name.as_str(), value.value, value.source.as_str()))
        })
    }
}
