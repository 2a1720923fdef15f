//! Where an expanded instruction was written: the preprocessor's markers name the line that used a macro, not the line
//! inside it. Macros are followed by hand: their definitions are read from the sources, and the instructions of one line
//! are matched, in order, with those that its macros say.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use warpferry_ptx::ast::{Instruction, Module, Position};

/// Where an instruction was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// Macro, its file and the line in it; none when the instruction stands in the kernel's own text.
    pub inside: Option<(String, String, u32)>,
    /// What the source's comment `edge: NAME` says of the line.
    pub edge: Option<String>,
}

/// A macro: parameters, and the lines of its body.
#[derive(Debug, Clone)]
struct Macro {
    file: String,
    parameters: Vec<String>,
    body: Vec<(u32, String)>,
}

/// One instruction that a line's macros say, before arguments are put in.
#[derive(Debug, Clone)]
struct Said {
    mnemonic: String,
    origin: Origin,
}

/// All kernel sources.
#[derive(Debug)]
pub struct Sources {
    /// Lines by file, as markers name it.
    files: HashMap<String, Vec<String>>,
    /// Macros by file and name.
    macros: BTreeMap<(String, String), Macro>,
}

impl Sources {
    /// Reads `ptx/` of this repository.
    pub fn read() -> Sources {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut sources = Sources { files: HashMap::new(), macros: BTreeMap::new() };
        for folder in ["ptx", "ptx/include"] {
            let entries = fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "ptx" || end == "ptxh")) {
                let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let name = format!("{folder}/{}", path.file_name().unwrap_or_default().to_string_lossy());
                sources.add(name, &text);
            }
        }
        sources
    }

    fn add(&mut self, file: String, text: &str) {
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        let mut at = 0;
        while at < lines.len() {
            let Some(head) = lines[at].strip_prefix("#define ") else {
                at += 1;
                continue;
            };
            let first = at;
            while lines[at].trim_end().ends_with('\\') && at + 1 < lines.len() {
                at += 1;
            }
            let name: String = head.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            let rest = &head[name.len()..];
            let (parameters, tail) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
                Some((parameters, tail)) => (parameters.split(',').map(|word| word.trim().to_string()).collect(), tail),
                None => (Vec::new(), rest),
            };
            let mut body = vec![(first as u32 + 1, tail.to_string())];
            body.extend((first + 1..=at).map(|line| (line as u32 + 1, lines[line].clone())));
            self.macros.insert((file.clone(), name), Macro { file: file.clone(), parameters, body });
            at += 1;
        }
        self.files.insert(file, lines);
    }

    /// The macro called `name` for a kernel made of `files`: the fabrics have macros of the same names.
    fn find(&self, files: &[String], name: &str) -> Option<&Macro> {
        files.iter().find_map(|file| self.macros.get(&(file.clone(), name.to_string())))
    }

    /// Where each instruction was written.
    pub fn origins(&self, module: &Module, code: &[Instruction]) -> Vec<Origin> {
        let mut origins = vec![Origin::default(); code.len()];
        let mut lines: BTreeMap<(u16, u32), Vec<usize>> = BTreeMap::new();
        for (at, instruction) in code.iter().enumerate() {
            let Position { file, line } = instruction.position;
            lines.entry((file, line)).or_default().push(at);
        }
        for (&(file, line), instructions) in &lines {
            let file = &module.files[usize::from(file)];
            let said = self.said_by_line(&module.files, file, line);
            // The expansion says the same in the same order, but an argument may have put in more.
            let mut next = 0;
            for &at in instructions {
                let mnemonic = code[at].mnemonic();
                let found = (next..said.len()).find(|&index| said[index].mnemonic == mnemonic);
                if let Some(index) = found {
                    origins[at] = said[index].origin.clone();
                    next = index + 1;
                }
            }
        }
        origins
    }

    /// Instructions of a line of a file, its macros followed.
    fn said_by_line(&self, files: &[String], file: &str, line: u32) -> Vec<Said> {
        let Some(lines) = self.files.get(file) else { return Vec::new() };
        let first = line as usize - 1;
        let mut text = lines.get(first).cloned().unwrap_or_default();
        let mut last = first;
        // A call of a macro over several lines, and a definition of a body in the kernel's own file.
        while text.matches('(').count() > text.matches(')').count() && last + 1 < lines.len() && last < first + 8 {
            last += 1;
            text.push_str(&lines[last]);
        }
        let mut said = Vec::new();
        self.follow(files, &[(line, text)], None, &[], 0, &mut said);
        said
    }

    fn follow(
        &self,
        files: &[String],
        lines: &[(u32, String)],
        inside: Option<(&str, &str)>,
        arguments: &[(String, String)],
        depth: usize,
        said: &mut Vec<Said>,
    ) {
        if depth > 8 {
            return;
        }
        for (number, (line, text)) in lines.iter().enumerate() {
            let edge =
                edge(text).or_else(|| lines.get(number + 1).filter(|_| open(text)).and_then(|(_, next)| edge(next)));
            for statement in statements(text) {
                let word: String =
                    statement.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | ':')).collect();
                let argument = arguments.iter().find(|(name, _)| *name == word);
                if let Some((_, argument)) = argument {
                    let text = [(*line, argument.clone())];
                    self.follow(files, &text, inside, &[], depth + 1, said);
                } else if let Some(found) = self.find(files, &word) {
                    let given = given(&statement[word.len()..]);
                    let pairs: Vec<(String, String)> = found.parameters.iter().cloned().zip(given).collect();
                    self.follow(files, &found.body, Some((&word, &found.file)), &pairs, depth + 1, said);
                } else if word.starts_with(|c: char| c.is_ascii_lowercase()) {
                    let inside = inside.map(|(name, file)| (name.to_string(), file.to_string(), *line));
                    said.push(Said { mnemonic: word, origin: Origin { inside, edge: edge.clone() } });
                }
            }
        }
    }
}

/// Whether a line's last statement goes on in the next one.
fn open(text: &str) -> bool {
    let code = code(text);
    code.trim_end().ends_with('\\') && !code.trim_end_matches('\\').trim_end().ends_with([';', '{', '}', ':'])
}

fn code(text: &str) -> String {
    let mut out = text.to_string();
    while let (Some(from), Some(to)) = (out.find("/*"), out.find("*/")) {
        if to < from {
            break;
        }
        out.replace_range(from..to + 2, "");
    }
    out.split("//").next().unwrap_or_default().to_string()
}

/// The name behind `edge:` in a line's comment.
fn edge(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("edge:")?;
    let rest = rest.split("*/").next().unwrap_or(rest).trim_end_matches('\\').trim();
    Some(rest.split(['.', ';']).next().unwrap_or(rest).trim().to_string())
}

/// Statements of a line, without guards, labels and braces.
fn statements(text: &str) -> Vec<String> {
    let code = code(text).replace(['{', '}', '\\'], ";").replace(")", ");");
    code.split(';')
        .filter_map(|statement| {
            let mut statement = statement.trim();
            while let Some((label, rest)) = statement.split_once(':') {
                let is_label = label.chars().all(|c| c.is_alphanumeric() || c == '_') && !rest.starts_with(':');
                if !is_label {
                    break;
                }
                statement = rest.trim_start();
            }
            if statement.starts_with('@') {
                statement = statement.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
            }
            (!statement.is_empty()).then(|| statement.to_string())
        })
        .collect()
}

/// Arguments of a macro's use, `(A, B, C)`.
fn given(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        match (letter, depth) {
            (',', 1) => out.push(String::new()),
            ('(', 1) | (')', 0) => {}
            _ => out.last_mut().expect("never empty").push(letter),
        }
    }
    out.iter().map(|argument| argument.trim().to_string()).collect()
}
