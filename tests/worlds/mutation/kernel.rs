//! A kernel as the generator sees it: parsed, each instruction with its place in our sources; and back to a text that
//! the emulator runs, with markers, so that reports name our lines.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use warpferry::kernel::image::KernelImage;
use warpferry_ptx::ast::{Body, Function, Instruction, Label, Module, Operand, RegisterId, Type};
use warpferry_ptx::print::print;

use super::origin::{Origin, Sources};

/// A kernel of the set under test.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub image: &'static KernelImage,
    pub module: Module,
    /// Where each instruction of the entry was written: inside a macro, its line there.
    pub origins: Vec<Origin>,
    /// Number of this instruction among those of its line that came from the same place.
    pub nth: Vec<usize>,
    /// Text of the instruction, names as in the source.
    pub texts: Vec<String>,
    /// The file whose instructions are changed, if not those of all.
    pub only: Option<&'static str>,
    /// Places of a kernel that has the rest: they are changed there.
    known: HashSet<String>,
}

impl Kernel {
    pub fn new(image: &'static KernelImage, sources: &Sources) -> Kernel {
        let module = warpferry_ptx::parse(image.name, image.marked_text)
            .unwrap_or_else(|error| panic!("{}: the embedded text parses: {error}", image.name));
        let entry = entry(&module);
        let code = &entry.body.as_ref().expect("a kernel has a body").code;
        let origins = sources.origins(&module, code);
        let alike =
            |one: usize, other: usize| code[one].position == code[other].position && origins[one] == origins[other];
        let nth = (0..code.len()).map(|at| (0..at).filter(|&before| alike(before, at)).count()).collect();
        let texts = instruction_lines(&print(&module)).into_iter().map(|line| plain(&line)).collect();
        Kernel { image, module, origins, nth, texts, only: None, known: HashSet::new() }
    }

    /// With nothing to change of what stands in `other` too.
    pub fn beside(mut self, other: &Kernel) -> Kernel {
        self.known = (0..other.body().code.len()).map(|at| other.place(at)).collect();
        self
    }

    pub fn body(&self) -> &Body {
        entry(&self.module).body.as_ref().expect("a kernel has a body")
    }

    /// The label that stands last before an instruction: the phase it belongs to. Labels of macros do not count.
    pub fn phase(&self, at: usize) -> &str {
        let before = |label: &&Label| label.at <= at && !label.name.starts_with('_');
        self.body().labels.iter().filter(before).max_by_key(|label| label.at).map_or("entry", |label| &label.name)
    }

    /// Whether the instruction is one to change.
    pub fn is_own(&self, at: usize) -> bool {
        self.only.is_none_or(|file| short(self.module.file(self.body().code[at].position)) == file)
            && !self.known.contains(&self.place(at))
    }

    /// `file:line` of our sources where the instruction was written, and where from when a macro put it there.
    pub fn place(&self, at: usize) -> String {
        let position = self.body().code[at].position;
        let own = format!("{}:{}", short(self.module.file(position)), position.line);
        match &self.origins[at].inside {
            None => format!("{own}#{}", self.nth[at]),
            Some((name, file, line)) => format!("{}:{line} {name} from {own}#{}", short(file), self.nth[at]),
        }
    }

    /// What a result depends on besides the mutant.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // Without markers: a comment added elsewhere moves no line of ours, and a line moved changes names.
        self.image.text.hash(&mut hasher);
        hasher.finish()
    }

    /// An image of a changed module.
    pub fn image_of(&self, module: &Module) -> &'static KernelImage {
        let code = &entry(module).body.as_ref().expect("a kernel has a body").code;
        let text = marked(&print(module), module, code);
        let text: &'static str = Box::leak(text.into_boxed_str());
        Box::leak(Box::new(KernelImage { text, marked_text: text, cubins: &[], ..*self.image }))
    }
}

fn short(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// The one entry of a kernel's module.
pub fn entry(module: &Module) -> &Function {
    module.functions.iter().find(|function| function.is_entry).expect("a kernel has an entry")
}

/// Its body, to change it.
pub fn body_mut(module: &mut Module) -> &mut Body {
    let entry = module.functions.iter_mut().find(|function| function.is_entry).expect("a kernel has an entry");
    entry.body.as_mut().expect("a kernel has a body")
}

/// Lines of a printed module that are instructions, in the order of its code.
fn instruction_lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| is_instruction(line)).map(str::to_string).collect()
}

fn is_instruction(line: &str) -> bool {
    line.starts_with("    ") && line.ends_with(';') && !line.trim_start().starts_with('.')
}

/// The printed text with a marker in front of each instruction.
fn marked(text: &str, module: &Module, code: &[Instruction]) -> String {
    let mut out = String::with_capacity(2 * text.len());
    let mut left = code.iter();
    for line in text.lines() {
        if is_instruction(line) {
            let position = left.next().expect("a line an instruction").position;
            out.push_str(&format!("# {} \"{}\"\n", position.line, module.file(position)));
        }
        out.push_str(line);
        out.push('\n');
    }
    assert!(left.next().is_none(), "every instruction was printed");
    out
}

/// A printed line with the names that the source has.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.trim().trim_end_matches(';').chars().peekable();
    while let Some(letter) = rest.next() {
        if letter == '$' && rest.peek().is_some_and(char::is_ascii_digit) {
            while rest.next_if(char::is_ascii_digit).is_some() {}
        } else {
            out.push(letter);
        }
    }
    out
}

/// A register that the kernel has not, of all its code.
pub fn fresh(body: &mut Body, ty: Type) -> RegisterId {
    let id = RegisterId(body.registers.len() as u32);
    body.registers.push(warpferry_ptx::ast::Register { name: format!("mutant{}", id.0), ty, block: 0..usize::MAX });
    id
}

/// An instruction at the place of another.
pub fn instruction(like: &Instruction, mnemonic: &str, operands: Vec<Operand>) -> Instruction {
    let mut words = mnemonic.split('.').map(str::to_string);
    let opcode = words.next().unwrap_or_default();
    Instruction { position: like.position, guard: like.guard, opcode, modifiers: words.collect(), operands }
}

/// Puts an instruction in front of the one at `at`; labels that stood there stay in front of both.
pub fn insert(body: &mut Body, at: usize, what: Instruction) {
    body.code.insert(at, what);
    body.labels.iter_mut().filter(|label| label.at > at).for_each(|label| label.at += 1);
}

/// Takes the instruction at `at` out.
pub fn remove(body: &mut Body, at: usize) -> Instruction {
    body.labels.iter_mut().filter(|label| label.at > at).for_each(|label| label.at -= 1);
    body.code.remove(at)
}
