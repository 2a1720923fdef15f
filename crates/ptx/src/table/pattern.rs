//! The syntax half of a row: from text to a tree, and a tree against modifiers.

use super::rows::{PIECES, SETS};
use super::Bindings;

/// Nesting of brackets and pieces in a row.
const MAX_DEPTH: u32 = 8;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Word(&'static str),
    /// One of these, bound to the letter when there is one.
    Set(Option<char>, Vec<&'static str>),
    /// One of the sequences, or nothing when optional.
    Group(Vec<Vec<Node>>, bool),
}

/// How far matching came, for the message when it fails.
#[derive(Debug, Default)]
pub(super) struct Furthest {
    /// Index of the modifier that did not fit.
    pub at: usize,
    /// What would have fitted there; empty: no more modifiers.
    pub expected: Vec<&'static str>,
    /// The instruction could have ended there.
    pub could_end: bool,
}

impl Furthest {
    fn reach(&mut self, at: usize) -> bool {
        if at > self.at {
            self.at = at;
            self.expected.clear();
            self.could_end = false;
        }
        at == self.at
    }

    fn expect(&mut self, at: usize, words: &[&'static str]) {
        if self.reach(at) {
            for word in words {
                if !self.expected.contains(word) {
                    self.expected.push(word);
                }
            }
        }
    }
}

/// Compiles a row's syntax; the opcode, its first word, is left out.
pub(super) fn compile(syntax: &'static str) -> Result<Vec<Node>, String> {
    let rest = syntax.split_once(' ').map_or("", |(_, rest)| rest);
    let mut text = rest;
    let nodes = sequence(&mut text, 0)?;
    if text.is_empty() {
        Ok(nodes)
    } else {
        Err(format!("unexpected `{text}`"))
    }
}

fn sequence(text: &mut &'static str, depth: u32) -> Result<Vec<Node>, String> {
    if depth > MAX_DEPTH {
        return Err("nested too deep".to_string());
    }
    let mut nodes = Vec::new();
    loop {
        *text = text.trim_start();
        match text.chars().next() {
            None | Some('|' | ')' | ']') => return Ok(nodes),
            Some('<') => {
                let end = text.find('>').ok_or("`<` without `>`")?;
                nodes.push(set(&text[1..end])?);
                *text = &text[end + 1..];
            }
            Some(open @ ('(' | '[')) => {
                *text = &text[1..];
                let closing = if open == '(' { ')' } else { ']' };
                let alternatives = alternatives(text, closing, depth)?;
                nodes.push(Node::Group(alternatives, open == '['));
            }
            Some('$') => {
                let end = word_end(&text[1..]) + 1;
                let piece = PIECES.iter().find(|(name, _)| *name == &text[1..end]);
                let (_, piece) = piece.ok_or_else(|| format!("no piece `{}`", &text[..end]))?;
                let mut piece: &'static str = piece;
                nodes.extend(sequence(&mut piece, depth + 1)?);
                *text = &text[end..];
            }
            Some(_) => {
                let end = word_end(text);
                if end == 0 {
                    return Err(format!("unexpected `{text}`"));
                }
                nodes.push(Node::Word(&text[..end]));
                *text = &text[end..];
            }
        }
    }
}

fn alternatives(text: &mut &'static str, closing: char, depth: u32) -> Result<Vec<Vec<Node>>, String> {
    let mut found = Vec::new();
    loop {
        found.push(sequence(text, depth + 1)?);
        match text.chars().next() {
            Some('|') => *text = &text[1..],
            Some(other) if other == closing => {
                *text = &text[1..];
                return Ok(found);
            }
            _ => return Err(format!("expected `{closing}`")),
        }
    }
}

fn word_end(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len())
}

fn set(inside: &'static str) -> Result<Node, String> {
    let (letter, list) = match inside.split_once(':') {
        Some((letter, list)) if letter.len() == 1 => (letter.chars().next(), list),
        _ => (None, inside),
    };
    let list = SETS.iter().find(|(name, _)| *name == list).map_or(list, |(_, words)| words);
    let words: Vec<&'static str> = list.split_whitespace().collect();
    if words.is_empty() {
        return Err("an empty set".to_string());
    }
    Ok(Node::Set(letter, words))
}

/// Letters bound anywhere in the tree.
#[cfg(test)]
pub(super) fn letters(nodes: &[Node], found: &mut Vec<char>) {
    for node in nodes {
        match node {
            Node::Word(_) => {}
            Node::Set(letter, _) => found.extend(letter),
            Node::Group(alternatives, _) => alternatives.iter().for_each(|nodes| letters(nodes, found)),
        }
    }
}

/// Matches all of `modifiers`. Tries alternatives in order and goes back when what follows does not fit.
pub(super) fn matches(nodes: &[Node], modifiers: &[String], furthest: &mut Furthest) -> Option<Bindings> {
    let mut bindings = Bindings::default();
    let rest: Vec<&Node> = nodes.iter().collect();
    step(&rest, modifiers, 0, &mut bindings, furthest).then_some(bindings)
}

/// `nodes` is what is still to be matched, from `at` on. It shrinks with each call, since a group is replaced by
/// one of its alternatives, which is smaller.
fn step(nodes: &[&Node], modifiers: &[String], at: usize, bindings: &mut Bindings, furthest: &mut Furthest) -> bool {
    let Some((first, rest)) = nodes.split_first() else {
        if furthest.reach(at) {
            furthest.could_end = true;
        }
        return at == modifiers.len();
    };
    match first {
        Node::Word(word) => {
            furthest.expect(at, &[word]);
            modifiers.get(at).is_some_and(|modifier| modifier == word)
                && step(rest, modifiers, at + 1, bindings, furthest)
        }
        Node::Set(letter, words) => {
            furthest.expect(at, words);
            let found = modifiers.get(at).and_then(|modifier| words.iter().find(|word| *word == modifier));
            let Some(word) = found else {
                return false;
            };
            let Some(letter) = letter else {
                return step(rest, modifiers, at + 1, bindings, furthest);
            };
            let before = bindings.of(*letter);
            bindings.set(*letter, Some(word));
            if step(rest, modifiers, at + 1, bindings, furthest) {
                return true;
            }
            bindings.set(*letter, before);
            false
        }
        Node::Group(alternatives, is_optional) => {
            for alternative in alternatives {
                let nodes: Vec<&Node> = alternative.iter().chain(rest.iter().copied()).collect();
                if step(&nodes, modifiers, at, bindings, furthest) {
                    return true;
                }
            }
            *is_optional && step(rest, modifiers, at, bindings, furthest)
        }
    }
}
