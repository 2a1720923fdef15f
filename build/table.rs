// The table of kernels that the library includes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use warpferry_ptx::ast::{Function, Module, Space, Variable};
use warpferry_ptx::contract::{check_contract, Access, ArgKind, Contract, ContractVariant, Sharing};

use crate::assemble::Cubins;
use crate::expand::Expansion;
use crate::source::Source;

/// A kernel as the table lists it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Symbol.
    pub name: String,
    /// Kernel that the contract describes.
    pub kernel: String,
    /// What the preprocessor made.
    pub expansion: Expansion,
    /// Parameters in order.
    args: Vec<Arg>,
    /// Static shared memory in bytes.
    static_shared: u64,
    /// `.reqntid` or `.maxntid`, all dimensions.
    max_threads: u32,
}

/// A parameter.
#[derive(Debug, Clone)]
struct Arg {
    name: String,
    /// Variant of `ArgType`.
    ty: &'static str,
    offset: u32,
    /// What the contract says of a pointer.
    pointer: Option<ArgKind>,
}

impl Entry {
    /// Parses one expanded variant: it must hold one entry, called like the variant.
    pub fn new(source: &Source, variant: &ContractVariant, expansion: Expansion) -> Result<Entry, String> {
        let module = warpferry_ptx::parse(&source.label, &expansion.marked_text)
            .map_err(|error| format!("{} (variant {}): {error}", source.label, variant.name))?;
        let names: Vec<&str> = module.functions.iter().filter(|f| f.is_entry).map(|f| f.name.as_str()).collect();
        if names != [variant.name.as_str()] {
            let found = if names.is_empty() { "none".to_string() } else { names.join(", ") };
            return Err(format!(
                "{}: variant {} must hold one entry of its name; found: {found}",
                source.label, variant.name
            ));
        }
        let entry = module.function(&variant.name).expect("the entry was just listed");
        check_contract(&source.contract, entry).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(|error| format!("{}, {error}", source.label)).collect();
            lines.join("\n")
        })?;
        let at = format!("{}:{}", module.file(entry.position), entry.position.line);
        let threads = entry.required_threads.or(entry.max_threads);
        let threads = threads.ok_or_else(|| format!("{at}: entry {} has neither .maxntid nor .reqntid", entry.name))?;
        Ok(Entry {
            name: variant.name.clone(),
            kernel: source.contract.kernel.clone(),
            args: args(&source.contract, entry).map_err(|why| format!("{at}: {why}"))?,
            static_shared: static_shared(&module, entry),
            max_threads: threads.iter().product(),
            expansion,
        })
    }
}

/// Parameters with the offsets at which a launch packs them: natural alignment, in order.
fn args(contract: &Contract, entry: &Function) -> Result<Vec<Arg>, String> {
    let mut end = 0_u32;
    let mut args = Vec::new();
    for param in &entry.params {
        let ty = match (param.ty.bytes(), param.is_array) {
            (4, false) => "U32",
            (8, false) => "U64",
            _ => return Err(format!("parameter {} is neither a 32-bit nor a 64-bit value", param.name)),
        };
        let offset = end.next_multiple_of(param.align.max(1));
        end = offset + param.ty.bytes();
        let promised = contract.args.iter().find(|arg| arg.name == param.name).map(|arg| arg.kind.clone());
        let pointer = promised.filter(|kind| matches!(kind, ArgKind::Pointer { .. }));
        args.push(Arg { name: param.name.clone(), ty, offset, pointer });
    }
    Ok(args)
}

/// Bytes of the sized `.shared` variables, as ptxas lays them out: in order, each at its alignment.
fn static_shared(module: &Module, entry: &Function) -> u64 {
    let own = entry.body.as_ref().map(|body| body.variables.as_slice()).unwrap_or_default();
    let is_static = |variable: &&Variable| variable.space == Space::Shared && variable.elements.is_some();
    module
        .variables
        .iter()
        .chain(own)
        .filter(is_static)
        .fold(0_u64, |end, variable| end.next_multiple_of(u64::from(variable.align.max(1))) + variable.bytes())
}

/// Writes texts and the table `NAME.rs` into `out`. Its types are named by the library's crate name, so that tests and
/// benches can include a table too.
pub fn write(out: &Path, name: &str, entries: &[(Entry, Cubins)]) -> Result<(), String> {
    let mut table = String::from("&[\n");
    for (entry, cubins) in entries {
        let text = out.join(format!("{}.ptx", entry.name));
        let marked = out.join(format!("{}.marked.ptx", entry.name));
        save(&text, &entry.expansion.text)?;
        save(&marked, &entry.expansion.marked_text)?;
        let _ =
            writeln!(table, "warpferry::kernel::KernelImage {{ name: {:?}, kernel: {:?},", entry.name, entry.kernel);
        let _ = writeln!(table, "text: include_str!({text:?}), marked_text: include_str!({marked:?}),");
        table.push_str("args: &[\n");
        for arg in &entry.args {
            let (name, ty, offset, pointer) = (&arg.name, arg.ty, arg.offset, pointer(arg.pointer.as_ref()));
            let _ = writeln!(
                table,
                "warpferry::kernel::KernelArg {{ name: {name:?}, ty: warpferry::kernel::ArgType::{ty}, offset: {offset}, pointer: {pointer} }},"
            );
        }
        let _ = writeln!(table, "], static_shared: {}, max_threads: {},", entry.static_shared, entry.max_threads);
        table.push_str("cubins: &[");
        for (sm, cubin) in cubins {
            let _ = write!(table, "({sm}, include_bytes!({cubin:?})), ");
        }
        table.push_str("] },\n");
    }
    table.push_str("]\n");
    save(&out.join(format!("{name}.rs")), &table)
}

/// `Option<PointerContract>` as Rust text.
fn pointer(kind: Option<&ArgKind>) -> String {
    let Some(ArgKind::Pointer { access, sharing, align, bytes }) = kind else {
        return "None".to_string();
    };
    let reach = match sharing {
        Sharing::Gpu => "Gpu",
        Sharing::Sys => "Sys",
        Sharing::Host => "Host",
    };
    format!(
        "Some(warpferry::kernel::PointerContract {{ read: {}, write: {}, reach: warpferry::kernel::Reach::{reach}, align: {align}, bytes: {bytes:?} }})",
        *access != Access::Write,
        *access != Access::Read
    )
}

fn save(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
