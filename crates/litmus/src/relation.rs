//! Relations over the events of one execution, as bit matrices.
//!
//! An execution has at most [`EVENTS`] events, so a row is one machine integer and the algebra is a few loops.

/// The most events one execution may have.
pub const EVENTS: usize = 128;

/// A set of events.
pub type Set = u128;

/// The events of a set, in ascending order.
pub fn members(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let event = set.trailing_zeros() as usize;
        set &= set - 1;
        Some(event)
    })
}

/// A relation: row `a` holds every `b` with `(a, b)` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    rows: Vec<Set>,
}

impl Relation {
    /// The empty relation over `events` events.
    pub fn empty(events: usize) -> Self {
        Self { rows: vec![0; events] }
    }

    /// The pairs for which `holds` is true.
    pub fn of(events: usize, holds: impl Fn(usize, usize) -> bool) -> Self {
        let mut relation = Self::empty(events);
        for a in 0..events {
            for b in 0..events {
                if holds(a, b) {
                    relation.add(a, b);
                }
            }
        }
        relation
    }

    /// How many events it ranges over.
    pub fn events(&self) -> usize {
        self.rows.len()
    }

    /// Adds one pair.
    pub fn add(&mut self, a: usize, b: usize) {
        self.rows[a] |= 1 << b;
    }

    /// Whether the pair is in it.
    pub fn has(&self, a: usize, b: usize) -> bool {
        self.rows[a] >> b & 1 == 1
    }

    /// Everything that `a` is related to.
    pub fn row(&self, a: usize) -> Set {
        self.rows[a]
    }

    /// Its pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.rows.iter().enumerate().flat_map(|(a, &row)| members(row).map(move |b| (a, b)))
    }

    /// Union.
    pub fn or(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// Intersection.
    pub fn and(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// Composition: `(a, c)` where some `b` has `(a, b)` here and `(b, c)` there.
    pub fn then(&self, other: &Self) -> Self {
        let rows = self.rows.iter().map(|&row| members(row).fold(0, |sum, b| sum | other.rows[b])).collect();
        Self { rows }
    }

    /// The pairs the other way round.
    pub fn inverse(&self) -> Self {
        let mut inverse = Self::empty(self.events());
        for (a, b) in self.pairs() {
            inverse.add(b, a);
        }
        inverse
    }

    /// With the identity.
    pub fn or_same(&self) -> Self {
        Self { rows: self.rows.iter().enumerate().map(|(a, &row)| row | 1 << a).collect() }
    }

    /// Only the pairs that start in `from` and end in `to`.
    pub fn between(&self, from: Set, to: Set) -> Self {
        let rows = self.rows.iter().enumerate().map(|(a, &row)| if from >> a & 1 == 1 { row & to } else { 0 });
        Self { rows: rows.collect() }
    }

    /// The transitive closure.
    pub fn closure(&self) -> Self {
        let mut rows = self.rows.clone();
        for middle in 0..rows.len() {
            let reach = rows[middle];
            for row in &mut rows {
                if *row >> middle & 1 == 1 {
                    *row |= reach;
                }
            }
        }
        Self { rows }
    }

    /// Adds `(a, b)` to a relation that is already transitive and keeps it so.
    pub fn add_closed(&mut self, a: usize, b: usize) {
        let reach = self.rows[b] | 1 << b;
        for (from, row) in self.rows.iter_mut().enumerate() {
            if from == a || *row >> a & 1 == 1 {
                *row |= reach;
            }
        }
    }

    /// Whether no event is related to itself.
    pub fn is_irreflexive(&self) -> bool {
        self.rows.iter().enumerate().all(|(a, row)| row >> a & 1 == 0)
    }

    /// Whether no chain of pairs leads back to its start.
    pub fn is_acyclic(&self) -> bool {
        self.closure().is_irreflexive()
    }

    /// Whether `(a, b)` here never meets `(b, a)` there: the composition is irreflexive.
    pub fn never_meets_back(&self, other: &Self) -> bool {
        self.pairs().all(|(a, b)| !other.has(b, a))
    }

    fn zip(&self, other: &Self, combine: impl Fn(Set, Set) -> Set) -> Self {
        Self { rows: self.rows.iter().zip(&other.rows).map(|(&a, &b)| combine(a, b)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closure_follows_chains() {
        let mut relation = Relation::empty(4);
        relation.add(0, 1);
        relation.add(1, 2);
        let closed = relation.closure();
        assert!(closed.has(0, 2) && !closed.has(2, 0) && closed.is_irreflexive());
        let mut again = closed;
        again.add_closed(2, 0);
        relation.add(2, 0);
        assert_eq!(again, relation.closure());
        assert!(!relation.is_acyclic());
    }

    #[test]
    fn composition_and_inverse_agree() {
        let a = Relation::of(5, |x, y| (x * 3 + y) % 4 == 1);
        let b = Relation::of(5, |x, y| (x + y * 2) % 3 == 0);
        assert_eq!(a.then(&b).inverse(), b.inverse().then(&a.inverse()));
    }
}
