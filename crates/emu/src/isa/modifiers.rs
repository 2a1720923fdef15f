//! Modifiers of an instruction, taken one by one until none is left.

use super::lower::Reason;
use crate::program::{Order, Scope};
use warpferry_ptx::ast::{Instruction, Type};

pub(crate) struct Modifiers<'m> {
    rest: Vec<&'m str>,
}

impl<'m> Modifiers<'m> {
    pub fn new(instruction: &'m Instruction) -> Modifiers<'m> {
        Modifiers { rest: instruction.modifiers.iter().map(String::as_str).collect() }
    }

    /// Takes `name` if it is there.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.rest.iter().position(|m| *m == name) {
            Some(index) => {
                self.rest.remove(index);
                true
            }
            None => false,
        }
    }

    /// Takes the first modifier that `table` names.
    pub fn choice<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        for index in 0..self.rest.len() {
            if let Some((_, value)) = table.iter().find(|(name, _)| *name == self.rest[index]) {
                self.rest.remove(index);
                return Some(*value);
            }
        }
        None
    }

    /// Like `choice`, and one must be there.
    pub fn require<T: Copy>(&mut self, what: &str, table: &[(&str, T)]) -> Result<T, Reason> {
        self.choice(table).ok_or_else(|| {
            let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            format!("{what} is missing, one of .{}", names.join(" ."))
        })
    }

    /// Takes the first type.
    pub fn maybe_type(&mut self) -> Option<Type> {
        let index = self.rest.iter().position(|m| Type::parse(m).is_some())?;
        Type::parse(self.rest.remove(index))
    }

    /// Takes the first type, which must be there.
    pub fn ty(&mut self) -> Result<Type, Reason> {
        self.maybe_type().ok_or_else(|| "the type is missing".to_string())
    }

    /// The first type, left in place.
    pub fn peek_type(&self) -> Option<Type> {
        self.rest.iter().find_map(|m| Type::parse(m))
    }

    /// True when `name` is there; left in place.
    pub fn has(&self, name: &str) -> bool {
        self.rest.contains(&name)
    }

    pub fn scope(&mut self) -> Option<Scope> {
        self.choice(&[("cta", Scope::Cta), ("cluster", Scope::Cluster), ("gpu", Scope::Gpu), ("sys", Scope::Sys)])
    }

    /// An order of an access, without `weak` and `volatile`.
    pub fn order(&mut self) -> Option<Order> {
        self.choice(&[
            ("relaxed", Order::Relaxed),
            ("acquire", Order::Acquire),
            ("release", Order::Release),
            ("acq_rel", Order::AcqRel),
            ("sc", Order::Sc),
        ])
    }

    /// Number of vector elements, 1 without a vector modifier.
    pub fn vector(&mut self) -> u8 {
        self.choice(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1)
    }

    /// Cache hints that change nothing here. True when a cache-policy operand follows.
    pub fn cache_hints(&mut self) -> bool {
        let policy = self.flag("L2::cache_hint");
        self.rest.retain(|m| {
            !matches!(
                *m,
                "L1::evict_normal"
                    | "L1::evict_unchanged"
                    | "L1::evict_first"
                    | "L1::evict_last"
                    | "L1::no_allocate"
                    | "L2::evict_normal"
                    | "L2::evict_first"
                    | "L2::evict_last"
                    | "L2::64B"
                    | "L2::128B"
                    | "L2::256B"
            )
        });
        policy
    }

    /// Takes all that is left.
    pub fn take_rest(&mut self) -> Vec<&'m str> {
        std::mem::take(&mut self.rest)
    }

    /// Nothing may be left.
    pub fn finish(&self) -> Result<(), Reason> {
        match self.rest.first() {
            None => Ok(()),
            Some(name) => Err(format!("modifier .{name} is unknown or not supported here")),
        }
    }
}
